// MQTT.js for tests that are written in Python: one JSON object a line, requests come in, answers and events go out.
//
// A request names a client and what it is to do; its answer bears the same `id`, and `error` where it failed. Bytes are
// written as {"hex": "…"}, both ways. The tests' side of this is `javascript.py`.

'use strict'

const mqtt = require('mqtt')
const readline = require('readline')

/** By name: the client, and what its packets have shown that its callbacks do not tell. */
const clients = new Map()

function say(object) {
  process.stdout.write(JSON.stringify(plain(object)) + '\n')
}

/** As it can be written: buffers in hex. */
function plain(value) {
  if (Buffer.isBuffer(value)) return { hex: value.toString('hex') }
  if (Array.isArray(value)) return value.map(plain)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item)]))
}

/** The way back. */
function alive(value) {
  if (Array.isArray(value)) return value.map(alive)
  if (value === null || typeof value !== 'object') return value
  if (typeof value.hex === 'string') return Buffer.from(value.hex, 'hex')
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, alive(item)]))
}

const acts = {
  connect(name, { options, auth }, done) {
    const client = mqtt.connect({ ...options, reconnectPeriod: 0, connectTimeout: 10000 })
    const state = { client, acks: new Map(), aliases: { sent: 0, received: 0 } }
    clients.set(name, state)
    if (auth) client.handleAuth = (packet, next) => state.answerAuth(packet, next)
    state.answerAuth = (packet, next) => {
      say({ client: name, event: 'auth', reason: packet.reasonCode, properties: packet.properties })
      state.nextAuth = next
    }
    let answer = done
    client.on('connect', (packet) => {
      answer(null, { session_present: packet.sessionPresent, properties: packet.properties || {} })
      answer = null
    })
    client.on('error', (error) => {
      if (answer) answer(error)
      else say({ client: name, event: 'error', message: error.message, reason: error.code })
      answer = null
    })
    client.on('message', (topic, payload, { qos, retain, dup, properties }) => {
      say({ client: name, event: 'message', topic, payload, qos, retain, dup, properties: properties || {} })
    })
    client.on('disconnect', ({ reasonCode, properties }) => {
      say({ client: name, event: 'disconnect', reason: reasonCode, properties: properties || {} })
    })
    client.on('close', () => say({ client: name, event: 'close' }))
    client.on('packetreceive', (packet) => {
      if (packet.cmd === 'puback' || packet.cmd === 'pubrec') state.acks.set(packet.messageId, packet)
      if (packet.cmd === 'publish' && packet.topic.length === 0) state.aliases.received += 1
    })
    client.on('packetsend', (packet) => {
      if (packet.cmd === 'publish' && packet.topic.length === 0) state.aliases.sent += 1
    })
  },

  auth(name, { packet, error }, done) {
    const state = clients.get(name)
    state.nextAuth(error ? new Error(error) : null, packet)
    done(null, {})
  },

  publish(name, { topic, payload, options }, done) {
    const { client, acks } = clients.get(name)
    let id = 0 // QoS 0 is done before `publish` returns
    client.publish(topic, payload, options, (error) => {
      const ack = acks.get(id)
      acks.delete(id)
      if (error && error.code === undefined) return done(error)
      done(null, { reason: (ack && ack.reasonCode) || 0, properties: (ack && ack.properties) || {} })
    })
    if (options.qos > 0) id = client.getLastMessageId()
  },

  subscribe(name, { filter, options, properties }, done) {
    const { client } = clients.get(name)
    client.subscribe({ [filter]: options }, { properties }, (error, granted, packet) => {
      if (!packet) return done(error || new Error('no SUBACK'))
      done(null, { reason: packet.granted[0], properties: packet.properties || {} })
    })
  },

  unsubscribe(name, { filter, properties }, done) {
    const { client } = clients.get(name)
    client.unsubscribe(filter, { properties }, (error, packet) => {
      if (error) return done(error)
      done(null, { reason: packet.granted ? packet.granted[0] : 0 })
    })
  },

  aliases(name, _, done) {
    done(null, clients.get(name).aliases)
  },

  disconnect(name, { reason, properties }, done) {
    const { client } = clients.get(name)
    client.end(false, { reasonCode: reason, properties }, () => done(null, {}))
  },

  die(name, _, done) {
    const { client } = clients.get(name)
    client.stream.once('close', () => done(null, {}))
    client.stream.destroy()
  },

  forget(name, _, done) {
    const state = clients.get(name)
    clients.delete(name)
    if (state) state.client.end(true, () => done(null, {}))
    else done(null, {})
  },
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, client, act, ...rest } = alive(JSON.parse(line))
  const done = (error, answer) => say(error ? { id, error: error.message, reason: error.code } : { id, ...answer })
  try {
    acts[act](client, rest, done)
  } catch (error) {
    done(error)
  }
})
