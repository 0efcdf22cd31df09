//! What comes before a load: CONNECT and SUBSCRIBE on a blocking socket; and the packets that are made once.

use crate::Outcome;
use crate::peer::{Peer, put_length};
use crate::pipe::{Pipe, Way};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Nobody who does this waits for an answer for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// How one client introduces itself.
#[derive(Debug, Clone, Copy)]
pub struct Hello<'a> {
    pub port: u16,
    /// MQTT 5 instead of 3.1.1.
    pub v5: bool,
    pub client_id: &'a str,
    /// Begin with no session, and leave none.
    pub is_clean: bool,
    /// Topic and payload, of QoS 1.
    pub will: Option<(&'a str, &'a [u8])>,
}

impl Hello<'_> {
    /// Connects; says also whether the broker had the session.
    pub fn say(&self) -> Outcome<(TcpStream, bool)> {
        let mut stream = self.open()?;
        let had_session = self.say_over(&mut stream)?;
        Ok((stream, had_session))
    }

    /// The same, by this way.
    pub fn say_by(&self, way: &Way) -> Outcome<Pipe<TcpStream>> {
        let mut pipe = Pipe::shake(self.open()?, way)?;
        self.say_over(&mut pipe)?;
        Ok(pipe)
    }

    fn open(&self) -> Outcome<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn say_over(&self, stream: &mut (impl Read + Write)) -> Outcome<bool> {
        send_packet(stream, 0x10, &self.body()?)?;
        let (first_byte, body) = read_packet(stream)?;
        if first_byte != 0x20 || body.get(1) != Some(&0) {
            return Err(format!("not let in: {first_byte:#x} {body:?}").into());
        }
        Ok(body[0] & 1 == 1)
    }

    fn body(&self) -> Outcome<Vec<u8>> {
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', if self.v5 { 5 } else { 4 }];
        let will_flags = if self.will.is_some() { 0x0C } else { 0 };
        body.push(will_flags | u8::from(self.is_clean) << 1);
        body.extend([0, 0]);
        if self.v5 {
            // Receive Maximum 65,535, said since some brokers take its absence for less.
            let receive_maximum = [0x21, 0xFF, 0xFF];
            let expiry = [0x11, 0, 0, 0x0E, 0x10];
            body.push(if self.is_clean { 3 } else { 8 });
            body.extend(receive_maximum);
            body.extend(if self.is_clean { &[][..] } else { &expiry[..] });
        }
        put_text(&mut body, self.client_id)?;
        if let Some((topic, payload)) = self.will {
            body.extend(if self.v5 { &[0][..] } else { &[] });
            put_text(&mut body, topic)?;
            body.extend(u16::try_from(payload.len())?.to_be_bytes());
            body.extend(payload);
        }
        Ok(body)
    }
}

/// Subscribes to all of these, and hears that they are granted. Messages that come first are lost: for clients that have
/// no session yet.
pub fn subscribe(
    stream: &mut (impl Read + Write),
    v5: bool,
    filters: &[String],
    qos: u8,
) -> Outcome<()> {
    send_packet(stream, 0x82, &subscribe_body(v5, filters, qos)?)?;
    loop {
        let (first_byte, body) = read_packet(stream)?;
        if first_byte >> 4 == 3 {
            continue;
        }
        if first_byte != 0x90 || body.iter().skip(2).any(|code| *code >= 0x80) {
            return Err(format!("not subscribed: {first_byte:#x}").into());
        }
        return Ok(());
    }
}

fn subscribe_body(v5: bool, filters: &[String], qos: u8) -> Outcome<Vec<u8>> {
    let mut body = vec![0, 1];
    body.extend(if v5 { &[0][..] } else { &[] });
    for filter in filters {
        put_text(&mut body, filter)?;
        body.push(qos);
    }
    Ok(body)
}

/// From now on the socket does not block.
pub fn unblocked(stream: impl Into<Pipe<TcpStream>>) -> Outcome<Peer> {
    Ok(Peer::new(stream.into().unblock()?))
}

fn put_text(out: &mut Vec<u8>, text: &str) -> Outcome<()> {
    out.extend(u16::try_from(text.len())?.to_be_bytes());
    out.extend(text.as_bytes());
    Ok(())
}

fn send_packet(stream: &mut impl Write, first_byte: u8, body: &[u8]) -> Outcome<()> {
    let mut out = vec![first_byte];
    put_length(&mut out, body.len());
    out.extend(body);
    stream.write_all(&out)?;
    Ok(())
}

/// Blocks until one packet is there: its first byte and its body.
pub fn read_packet(stream: &mut impl Read) -> Outcome<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let first_byte = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7F) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((first_byte, body))
}

/// Appends a PUBLISH; with QoS 1 or 2 in `first_byte` its packet id is 1, to be changed. Says where the id is, if any, and
/// where the payload.
pub fn put_publish(
    out: &mut Vec<u8>,
    v5: bool,
    topic: &str,
    first_byte: u8,
    payload: &[u8],
) -> (usize, usize) {
    let id = if first_byte & 6 > 0 { &[0, 1][..] } else { &[] };
    let properties = if v5 { &[0][..] } else { &[] };
    out.push(first_byte);
    put_length(
        out,
        2 + topic.len() + id.len() + properties.len() + payload.len(),
    );
    out.extend(u16::try_from(topic.len()).unwrap_or(0).to_be_bytes());
    out.extend(topic.as_bytes());
    let id_at = out.len();
    out.extend(id);
    out.extend(properties);
    let payload_at = out.len();
    out.extend(payload);
    (id_at, payload_at)
}

/// What a received PUBLISH holds: topic, packet id (with QoS 1 and 2) and payload, as ranges of its bytes.
pub struct Parts {
    pub qos: u8,
    pub topic: std::ops::Range<usize>,
    pub id: [u8; 2],
    pub payload: usize,
}

impl Parts {
    /// `body`: where it begins in `bytes`, one whole packet.
    pub fn of(bytes: &[u8], body: usize, v5: bool) -> Self {
        let qos = bytes[0] >> 1 & 3;
        let length = usize::from(u16::from_be_bytes([bytes[body], bytes[body + 1]]));
        let topic = body + 2..body + 2 + length;
        let mut at = topic.end;
        let id = match qos {
            0 => [0, 0],
            _ => [bytes[at], bytes[at + 1]],
        };
        at += if qos > 0 { 2 } else { 0 };
        if v5 {
            let (length, digits) = variable(&bytes[at..]);
            at += digits + length;
        }
        Self {
            qos,
            topic,
            id,
            payload: at,
        }
    }
}

/// A variable byte integer, and how many bytes it takes.
fn variable(bytes: &[u8]) -> (usize, usize) {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return (value, index + 1);
        }
    }
    (value, 4)
}
