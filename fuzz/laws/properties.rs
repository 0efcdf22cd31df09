//! Bytes as a list of properties of any packet: read or refused as a second table says, and what is read is written with
//! the same properties, those that may repeat in the same order.

use bytes::{Buf, BytesMut};
use rmqtt::codec::{Limits, ProtocolVersion, SendBuffer, decode, encode};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A byte, 0 or 1.
    Flag,
    Two,
    TwoNotZero,
    Four,
    FourNotZero,
    Variable,
    Text,
    Topic,
    Binary,
    Pair,
}

/// Packet types by their number; 0 is the will.
type Places = &'static [u8];

const MESSAGE: Places = &[0, 3];
const CONNACK: Places = &[2];
const BOTH_ENDS: Places = &[1, 2];
const ANSWERS: Places = &[2, 4, 5, 6, 7, 9, 11, 14, 15];
const ALL: Places = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15];

/// Written from the standard, section 2.2.2.2, and by nobody who looked at the codec's.
#[rustfmt::skip]
const TABLE: [(u8, Form, Places); 27] = [
    (0x01, Form::Flag, MESSAGE), (0x02, Form::Four, MESSAGE), (0x03, Form::Text, MESSAGE), (0x08, Form::Topic, MESSAGE),
    (0x09, Form::Binary, MESSAGE), (0x0B, Form::Variable, &[3, 8]), (0x11, Form::Four, &[1, 2, 14]), (0x12, Form::Text, CONNACK),
    (0x13, Form::Two, CONNACK), (0x15, Form::Text, &[1, 2, 15]), (0x16, Form::Binary, &[1, 2, 15]), (0x17, Form::Flag, &[1]),
    (0x18, Form::Four, &[0]), (0x19, Form::Flag, &[1]), (0x1A, Form::Text, CONNACK), (0x1C, Form::Text, &[2, 14]),
    (0x1F, Form::Text, ANSWERS), (0x21, Form::TwoNotZero, BOTH_ENDS), (0x22, Form::Two, BOTH_ENDS), (0x23, Form::TwoNotZero, &[3]),
    (0x24, Form::Flag, CONNACK), (0x25, Form::Flag, CONNACK), (0x26, Form::Pair, ALL), (0x27, Form::FourNotZero, BOTH_ENDS),
    (0x28, Form::Flag, CONNACK), (0x29, Form::Flag, CONNACK), (0x2A, Form::Flag, CONNACK),
];

const USER_PROPERTY: u8 = 0x26;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;

/// A property: its number, and its value as it stands on the wire.
type Property = (u8, Vec<u8>);

pub(crate) fn check(data: &[u8]) {
    let mut source = Source(data);
    let place = ALL[usize::from(source.byte()) % ALL.len()];
    let mut given: Vec<Property> = Vec::new();
    let mut is_good = true;
    while !source.0.is_empty() && given.len() < 40 {
        let (property, is_in_range) = source.property();
        is_good &= is_in_range && is_allowed(property.0, place, &given);
        given.push(property);
    }
    let has = |number: u8| given.iter().any(|property| property.0 == number);
    // Data without a method; and AUTH is nothing without one, save in its shortest form.
    is_good &= !has(0x16) || has(0x15);
    is_good &= place != 15 || has(0x15);

    let (first, head, tail) = packet(place);
    let list: Vec<u8> = given
        .iter()
        .flat_map(|(number, value)| [vec![*number], value.clone()].concat())
        .collect();
    let body = [head.clone(), variable(list.len()), list, tail.clone()].concat();
    let bytes = [vec![first], variable(body.len()), body].concat();
    let read = decode(
        &mut BytesMut::from(&bytes[..]),
        ProtocolVersion::V5,
        &Limits::default(),
    );
    assert_eq!(read.is_ok(), is_good, "{read:?} of {given:02x?} in {place}");
    let Ok(Some(packet)) = read else { return };

    let mut out = SendBuffer::new();
    encode(&packet, ProtocolVersion::V5, &mut out).expect("what was read can be written");
    let mut rest = &out.copy_to_bytes(out.len())[1..];
    let length = take_variable(&mut rest);
    assert_eq!(length, rest.len());
    if given.is_empty() {
        // Then it may be shorter.
        return;
    }
    let mut rest = rest.strip_prefix(&head[..]).expect("the same head");
    let length = take_variable(&mut rest);
    let (list, behind) = rest.split_at(length);
    assert_eq!(behind, tail);
    let mut written = properties(list);
    // The sort is stable: what repeats keeps its order.
    given.sort_by_key(|property| property.0);
    written.sort_by_key(|property| property.0);
    assert_eq!(written, given);
}

fn is_allowed(number: u8, place: u8, before: &[Property]) -> bool {
    let Some((_, _, places)) = TABLE.iter().find(|row| row.0 == number) else {
        return false;
    };
    let may_repeat = number == USER_PROPERTY || (number == SUBSCRIPTION_IDENTIFIER && place == 3);
    let is_first = before.iter().all(|property| property.0 != number);
    places.contains(&place) && (is_first || may_repeat)
}

/// The shortest packet of each kind: its first byte, what stands before its properties and what behind them.
fn packet(place: u8) -> (u8, Vec<u8>, Vec<u8>) {
    let connect = |flags: u8| b"\x00\x04MQTT\x05".iter().copied().chain([flags, 0, 60]);
    match place {
        // No properties of its own and no client id; topic and payload of the will.
        0 => (
            0x10,
            connect(0x06).chain([0, 0, 0]).collect(),
            b"\x00\x01w\x00\x00".to_vec(),
        ),
        1 => (0x10, connect(0x02).collect(), vec![0, 0]),
        2 => (0x20, vec![0, 0], vec![]),
        3 => (0x30, b"\x00\x01t".to_vec(), b"payload".to_vec()),
        6 => (0x62, vec![0, 1, 0], vec![]),
        4..=7 => (place << 4, vec![0, 1, 0], vec![]),
        8 => (0x82, vec![0, 1], b"\x00\x01f\x00".to_vec()),
        9 | 11 => (place << 4, vec![0, 1], vec![0]),
        10 => (0xA2, vec![0, 1], b"\x00\x01f".to_vec()),
        _ => (place << 4, vec![0], vec![]),
    }
}

/// Takes a well-formed list apart.
fn properties(mut list: &[u8]) -> Vec<Property> {
    let mut found = Vec::new();
    while let Some((&number, rest)) = list.split_first() {
        let (_, form, _) = TABLE
            .iter()
            .find(|row| row.0 == number)
            .expect("a property of the table");
        let field = |at: usize| 2 + usize::from(u16::from_be_bytes([rest[at], rest[at + 1]]));
        let length = match form {
            Form::Flag => 1,
            Form::Two | Form::TwoNotZero => 2,
            Form::Four | Form::FourNotZero => 4,
            Form::Variable => {
                let mut behind = rest;
                take_variable(&mut behind);
                rest.len() - behind.len()
            }
            Form::Text | Form::Topic | Form::Binary => field(0),
            Form::Pair => field(0) + field(field(0)),
        };
        let (value, behind) = rest.split_at(length);
        found.push((number, value.to_vec()));
        list = behind;
    }
    found
}

fn variable(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value > 0x7F {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

fn take_variable(bytes: &mut &[u8]) -> usize {
    let (mut value, mut shift) = (0, 0);
    while let Some((&byte, rest)) = bytes.split_first() {
        *bytes = rest;
        value |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// Properties are made out of these bytes; behind their end there are zeros.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let (head, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        let mut taken = head.to_vec();
        taken.resize(length, 0);
        taken
    }

    fn field(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()) % 24;
        self.take(length)
    }

    /// A property with a value of its form, and whether the value is one that it may have. Mostly one of the table.
    fn property(&mut self) -> (Property, bool) {
        let choice = usize::from(self.byte()) % 32;
        let number = TABLE
            .get(choice)
            .map_or_else(|| self.byte() & 0x7F, |row| row.0);
        let Some((_, form, _)) = TABLE.iter().find(|row| row.0 == number) else {
            return ((number, Vec::new()), false);
        };
        let (value, is_good) = self.value(*form);
        ((number, value), is_good)
    }

    fn value(&mut self, form: Form) -> (Vec<u8>, bool) {
        match form {
            Form::Flag => {
                let byte = self.byte();
                (vec![byte], byte < 2)
            }
            Form::Two | Form::TwoNotZero => {
                let bytes = self.take(2);
                let is_good = form == Form::Two || bytes != [0, 0];
                (bytes, is_good)
            }
            Form::Four | Form::FourNotZero => {
                let bytes = self.take(4);
                let is_good = form == Form::Four || bytes != [0; 4];
                (bytes, is_good)
            }
            Form::Variable => {
                let value = self
                    .take(4)
                    .iter()
                    .fold(0, |value, byte| value << 8 | usize::from(*byte));
                let value = value & 0x0FFF_FFFF;
                (variable(value), value != 0)
            }
            Form::Text | Form::Topic => {
                let bytes = self.field();
                let is_topic = !bytes.is_empty() && !bytes.iter().any(|byte| b"+#".contains(byte));
                (
                    prefixed(&bytes),
                    is_text(&bytes) && (form == Form::Text || is_topic),
                )
            }
            Form::Binary => (prefixed(&self.field()), true),
            Form::Pair => {
                let (name, value) = (self.field(), self.field());
                let is_good = is_text(&name) && is_text(&value);
                ([prefixed(&name), prefixed(&value)].concat(), is_good)
            }
        }
    }
}

fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'))
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short field");
    [&length.to_be_bytes()[..], bytes].concat()
}
