//! The primitives of the wire, both ways: integers, variable byte integers, text and binary.
//!
//! Owns [`Reader`], which cuts fields off the front of one packet without copying, and [`Sink`], which takes fields in
//! the same order. A [`Counter`] is a sink that only measures and checks: every packet is written to one first, so that
//! a packet that cannot be written leaves no half of itself behind. Next: `header.rs`, then one family of packets.

use super::error::{malformed, protocol_error};
use super::{DecodeError, EncodeError, PACKET_SIZE_MAX, PacketId, ProtocolVersion};
use crate::topic::{TopicError, TopicName};
use bytes::{Buf, Bytes};
use bytestring::ByteString;

/// The largest number a variable byte integer takes.
pub(super) const VARIABLE_MAX: usize = 268_435_455;

/// A variable byte integer as it was found at the front of some bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variable {
    pub(super) value: usize,
    /// How many bytes it took.
    pub(super) length: usize,
    /// Whether fewer bytes could not have said it.
    pub(super) is_shortest: bool,
}

/// Reads a variable byte integer; `None` while its last byte is missing.
pub(super) fn read_variable(bytes: &[u8]) -> Result<Option<Variable>, DecodeError> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte < 0x80 {
            return Ok(Some(Variable {
                value,
                length: index + 1,
                is_shortest: index == 0 || byte != 0,
            }));
        }
    }
    if bytes.len() < 4 {
        return Ok(None);
    }
    Err(malformed(
        "a variable byte integer is longer than four bytes",
        "MQTT 5, 1.5.5; MQTT 3.1.1, 2.2.3",
    ))
}

/// How many bytes a variable byte integer takes in its shortest form.
pub(super) fn variable_length(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// What is left of one packet.
#[derive(Debug)]
pub(super) struct Reader {
    rest: Bytes,
    /// The version that governs the packet; a CONNECT sets it when it has been read.
    pub(super) version: ProtocolVersion,
}

impl Reader {
    pub(super) fn new(rest: Bytes, version: ProtocolVersion) -> Self {
        Self { rest, version }
    }

    pub(super) fn is_v5(&self) -> bool {
        self.version == ProtocolVersion::V5
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `length` bytes, which stay in the read buffer.
    pub(super) fn take(&mut self, length: usize) -> Result<Bytes, DecodeError> {
        if length > self.rest.len() {
            return Err(self.truncated());
        }
        Ok(self.rest.split_to(length))
    }

    /// Everything that is left.
    pub(super) fn take_rest(&mut self) -> Bytes {
        std::mem::take(&mut self.rest)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.rest.try_get_u8().map_err(|_| self.truncated())
    }

    pub(super) fn two(&mut self) -> Result<u16, DecodeError> {
        self.rest.try_get_u16().map_err(|_| self.truncated())
    }

    pub(super) fn four(&mut self) -> Result<u32, DecodeError> {
        self.rest.try_get_u32().map_err(|_| self.truncated())
    }

    /// A variable byte integer inside a packet: MQTT 5 only, so always in its shortest form.
    pub(super) fn variable(&mut self) -> Result<usize, DecodeError> {
        let variable = read_variable(&self.rest)?.ok_or_else(|| self.truncated())?;
        check_shortest(variable.is_shortest)?;
        self.rest.advance(variable.length);
        Ok(variable.value)
    }

    pub(super) fn binary(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.two()?;
        self.take(length.into())
    }

    /// Text that was checked for UTF-8 and nothing else.
    pub(super) fn utf8(&mut self) -> Result<ByteString, DecodeError> {
        // Surrogates and overlong forms fail here too, and a byte order mark is a character like any other.
        // spec(4): MQTT-1.5.3-1, MQTT-1.5.3-3
        // spec(5): MQTT-1.5.4-1, MQTT-1.5.4-3, MQTT-1.5.7-1
        ByteString::try_from(self.binary()?).map_err(|_| {
            let clause = self.clause("MQTT-1.5.3-1", "MQTT-1.5.4-1");
            malformed("a text is not valid UTF-8", clause)
        })
    }

    pub(super) fn text(&mut self) -> Result<ByteString, DecodeError> {
        let text = self.utf8()?;
        if text.as_bytes().contains(&0) {
            return Err(self.nul());
        }
        Ok(text)
    }

    /// A topic name that a peer wants to publish to, now or by its will.
    pub(super) fn topic(&self, text: ByteString) -> Result<TopicName, DecodeError> {
        TopicName::new(text).map_err(|error| match error {
            // Not 0x90: that is for names that are well formed and unwelcome all the same.
            TopicError::WildcardInName { .. } => {
                protocol_error("a topic name has a wildcard", "MQTT-3.3.2-2")
            }
            TopicError::Nul(_) => self.nul(),
            _ => protocol_error("a topic name is empty", "MQTT-4.7.3-1"),
        })
    }

    /// spec(4): MQTT-2.3.1-1
    /// spec(5): MQTT-2.2.1-3
    pub(super) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        let number = self.two()?;
        PacketId::new(number).ok_or_else(|| {
            let clause = self.clause("MQTT-2.3.1-1", "MQTT-2.2.1-3");
            protocol_error("a packet id is 0", clause)
        })
    }

    /// Whatever follows the last field is a sign that the two ends disagree on the form.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() {
            return Ok(());
        }
        let clause = self.clause("MQTT-4.8.0-1", "MQTT-4.13.1-1");
        Err(malformed("bytes are left after the last field", clause))
    }

    /// The clause of the version that governs the packet.
    pub(super) fn clause(&self, v4: &'static str, v5: &'static str) -> &'static str {
        if self.is_v5() { v5 } else { v4 }
    }

    fn truncated(&self) -> DecodeError {
        let clause = self.clause("MQTT-4.8.0-1", "MQTT-4.13.1-1");
        malformed("a field runs past the end of the packet", clause)
    }

    fn nul(&self) -> DecodeError {
        // spec(4): MQTT-1.5.3-2
        // spec(5): MQTT-1.5.4-2
        let clause = self.clause("MQTT-1.5.3-2", "MQTT-1.5.4-2");
        malformed("a text contains the character U+0000", clause)
    }
}

// spec(5): MQTT-1.5.5-1
pub(super) fn check_shortest(is_shortest: bool) -> Result<(), DecodeError> {
    if is_shortest {
        return Ok(());
    }
    Err(malformed(
        "a variable byte integer is not in its shortest form",
        "MQTT-1.5.5-1",
    ))
}

/// Something that is written to a [`Sink`], perhaps twice: once to measure it.
pub(super) trait Write {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError>;
}

/// Takes fields in wire order.
pub(super) trait Sink: Sized {
    fn put(&mut self, bytes: &[u8]);

    /// Bytes that may be kept by reference.
    fn put_shared(&mut self, bytes: &Bytes);

    fn byte(&mut self, byte: u8) {
        self.put(&[byte]);
    }

    fn two(&mut self, number: u16) {
        self.put(&number.to_be_bytes());
    }

    fn four(&mut self, number: u32) {
        self.put(&number.to_be_bytes());
    }

    fn variable(&mut self, value: usize) {
        let mut rest = value.min(VARIABLE_MAX);
        let mut bytes = [0; 4];
        let length = variable_length(rest);
        for (index, byte) in bytes.iter_mut().take(length).enumerate() {
            let more = if index + 1 < length { 0x80 } else { 0 };
            *byte = rest.to_le_bytes()[0] & 0x7F | more;
            rest >>= 7;
        }
        self.put(bytes.get(..length).unwrap_or_default());
    }

    fn text(&mut self, field: &'static str, text: &str) -> Result<(), EncodeError> {
        self.checked_text(field, text)
    }

    /// A text that was checked before, as a topic name is.
    fn checked_text(&mut self, field: &'static str, text: &str) -> Result<(), EncodeError> {
        self.two(field_length(field, text.len())?);
        self.put(text.as_bytes());
        Ok(())
    }

    fn binary(&mut self, field: &'static str, bytes: &Bytes) -> Result<(), EncodeError> {
        self.two(field_length(field, bytes.len())?);
        self.put_shared(bytes);
        Ok(())
    }

    /// A part that is preceded by its length.
    fn block(&mut self, block: &impl Write) -> Result<(), EncodeError> {
        self.variable(Counter::measure(block)?);
        block.write(self)
    }
}

fn field_length(field: &'static str, length: usize) -> Result<u16, EncodeError> {
    // spec(4): MQTT-4.7.3-3
    // spec(5): MQTT-4.7.3-3
    u16::try_from(length).map_err(|_| EncodeError::FieldTooLong { field, length })
}

/// Measures, and checks what only has to be checked once.
#[derive(Debug, Default)]
pub(super) struct Counter {
    count: usize,
}

impl Counter {
    pub(super) fn measure(part: &impl Write) -> Result<usize, EncodeError> {
        let mut counter = Self::default();
        part.write(&mut counter)?;
        if counter.count > VARIABLE_MAX {
            let size = counter.count.saturating_add(PACKET_SIZE_MAX - VARIABLE_MAX);
            return Err(EncodeError::TooLarge { size });
        }
        Ok(counter.count)
    }
}

impl Sink for Counter {
    fn put(&mut self, bytes: &[u8]) {
        self.count = self.count.saturating_add(bytes.len());
    }

    fn put_shared(&mut self, bytes: &Bytes) {
        self.put(bytes);
    }

    fn text(&mut self, field: &'static str, text: &str) -> Result<(), EncodeError> {
        self.two(field_length(field, text.len())?);
        // spec(4): MQTT-1.5.3-2
        // spec(5): MQTT-1.5.4-2
        if text.as_bytes().contains(&0) {
            return Err(EncodeError::NotAllowed {
                what: "a text contains the character U+0000",
                clause: "MQTT 5: MQTT-1.5.4-2; MQTT 3.1.1: MQTT-1.5.3-2",
            });
        }
        self.put(text.as_bytes());
        Ok(())
    }

    fn block(&mut self, block: &impl Write) -> Result<(), EncodeError> {
        let length = Self::measure(block)?;
        self.count = self.count.saturating_add(variable_length(length) + length);
        Ok(())
    }
}
