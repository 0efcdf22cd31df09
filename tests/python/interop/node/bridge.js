// Speaks WebSocket for a broker that does not, at a port that it prints: Debian builds mosquitto without. The frames are made
// by the package ws, on which MQTT.js stands.
"use strict";
const fs = require("fs");
const http = require("http");
const https = require("https");
const net = require("net");
const { WebSocketServer, createWebSocketStream } = require("ws");

const [broker, cert, key] = process.argv.slice(2);
const server = cert ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }) : http.createServer();
const handleProtocols = offered => (offered.has("mqtt") ? "mqtt" : false);
new WebSocketServer({ server, path: "/mqtt", handleProtocols }).on("connection", socket => {
  const frames = createWebSocketStream(socket);
  const bytes = net.connect(Number(broker), "127.0.0.1");
  frames.pipe(bytes).pipe(frames);
  for (const end of [frames, bytes]) {
    end.on("error", () => { frames.destroy(); bytes.destroy(); });
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
