//! Packets as a client writes them, put together byte by byte: our own encoder has no part in it, so it may be wrong.

use super::Version;

/// A packet with this first byte and body; the length is written in its shortest form.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    out.extend(variable(body.len()));
    out.extend_from_slice(body);
    out
}

/// A variable byte integer in its shortest form.
pub(crate) fn variable(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let digit = u8::try_from(value % 128).unwrap();
        value /= 128;
        if value == 0 {
            out.push(digit);
            return out;
        }
        out.push(digit | 0x80);
    }
}

/// A text or binary field: two bytes of length, then the bytes, which need not be text.
pub(crate) fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

/// A block of properties behind its length; nothing at all under 3.1.1.
pub(crate) fn block(version: Version, properties: &[u8]) -> Vec<u8> {
    match version {
        Version::V4 => Vec::new(),
        Version::V5 => [variable(properties.len()), properties.to_vec()].concat(),
    }
}

/// A user property.
pub(crate) fn user_property(name: &str, value: &str) -> Vec<u8> {
    [vec![0x26], field(name), field(value)].concat()
}

/// CONNECT, well-formed unless told otherwise: clean, keep alive 0.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) protocol: Vec<u8>,
    pub(crate) level: u8,
    pub(crate) flags: u8,
    pub(crate) keep_alive: u16,
    pub(crate) properties: Vec<u8>,
    /// The payload, client id first.
    pub(crate) payload: Vec<u8>,
}

impl Connect {
    pub(crate) fn new(version: Version, client_id: impl AsRef<[u8]>) -> Self {
        Self {
            version,
            protocol: b"MQTT".to_vec(),
            level: version.level(),
            flags: 0x02,
            keep_alive: 0,
            properties: Vec::new(),
            payload: field(client_id),
        }
    }

    /// Asks for what the session has kept, and to keep it: an hour is longer than any test.
    pub(crate) fn resume(self) -> Self {
        self.dirty().properties(&[0x11, 0, 0, 0x0E, 0x10])
    }

    /// Clean session or clean start 0.
    pub(crate) fn dirty(mut self) -> Self {
        self.flags &= !0x02;
        self
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// Adds properties; 3.1.1 leaves them out.
    pub(crate) fn properties(mut self, properties: &[u8]) -> Self {
        self.properties.extend_from_slice(properties);
        self
    }

    pub(crate) fn will(mut self, will: &Will) -> Self {
        self.flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
        self.payload.extend(block(self.version, &will.properties));
        self.payload.extend(field(&will.topic));
        self.payload.extend(field(&will.payload));
        self
    }

    /// Adds bytes behind the payload.
    pub(crate) fn more(mut self, bytes: &[u8]) -> Self {
        self.payload.extend_from_slice(bytes);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let body = [
            field(&self.protocol),
            vec![self.level, self.flags],
            self.keep_alive.to_be_bytes().to_vec(),
            block(self.version, &self.properties),
            self.payload.clone(),
        ]
        .concat();
        packet(0x10, &body)
    }
}

/// What CONNECT says is to be published in the client's name.
#[derive(Clone)]
pub(crate) struct Will {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Vec<u8>,
}

impl Will {
    pub(crate) fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            qos: 0,
            retain: false,
            properties: Vec::new(),
        }
    }
}

/// PUBLISH: QoS 0 unless told otherwise.
#[derive(Clone)]
pub(crate) struct Publish {
    pub(crate) first: u8,
    pub(crate) topic: Vec<u8>,
    pub(crate) id: u16,
    pub(crate) properties: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Publish {
    pub(crate) fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            first: 0x30,
            topic: topic.as_ref().to_vec(),
            id: 0,
            properties: Vec::new(),
            payload: payload.as_ref().to_vec(),
        }
    }

    pub(crate) fn qos(mut self, qos: u8, id: u16) -> Self {
        self.first |= qos << 1;
        self.id = id;
        self
    }

    pub(crate) fn retain(mut self) -> Self {
        self.first |= 0x01;
        self
    }

    pub(crate) fn dup(mut self) -> Self {
        self.first |= 0x08;
        self
    }

    pub(crate) fn properties(mut self, properties: &[u8]) -> Self {
        self.properties.extend_from_slice(properties);
        self
    }

    pub(crate) fn bytes(&self, version: Version) -> Vec<u8> {
        let mut body = field(&self.topic);
        if self.first & 0x06 != 0 {
            body.extend(self.id.to_be_bytes());
        }
        body.extend(block(version, &self.properties));
        body.extend_from_slice(&self.payload);
        packet(self.first, &body)
    }
}

/// SUBSCRIBE with these filters and option bytes.
pub(crate) fn subscribe(version: Version, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    subscribe_with(version, id, &[], filters)
}

/// SUBSCRIBE with properties.
pub(crate) fn subscribe_with(
    version: Version,
    id: u16,
    properties: &[u8],
    filters: &[(&str, u8)],
) -> Vec<u8> {
    let mut body = [id.to_be_bytes().to_vec(), block(version, properties)].concat();
    for (filter, options) in filters {
        body.extend(field(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// UNSUBSCRIBE.
pub(crate) fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = [id.to_be_bytes().to_vec(), block(version, &[])].concat();
    for filter in filters {
        body.extend(field(filter));
    }
    packet(0xA2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP by its first byte, in the short form.
pub(crate) fn ack(first: u8, id: u16) -> Vec<u8> {
    packet(first, &id.to_be_bytes())
}

pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0x00];
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0x00];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0x00];
