//! The codec from outside: golden bytes, what is refused and why, and what must hold for any bytes at all.
//!
//! The codec knows no role: what it shows about the content of a packet it shows for both ends, and says so.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod any_packet;
mod explained;
mod golden;
mod laws;
mod limits;
mod refused;
mod refused_v5;

use bytes::{Buf, BytesMut};
use rmqtt::codec::{
    DecodeError, EncodeError, Limits, Packet, PacketId, ProtocolVersion, ReasonCode, SendBuffer,
    decode, encode, encoded_size,
};
use rmqtt::topic::TopicName;

const V4: ProtocolVersion = ProtocolVersion::V3_1_1;
const V5: ProtocolVersion = ProtocolVersion::V5;

/// Bytes from hexadecimal digits, spaces ignored.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn read(bytes: &[u8], version: ProtocolVersion) -> Result<Option<Packet>, DecodeError> {
    let mut input = BytesMut::from(bytes);
    decode(&mut input, version, &Limits::default())
}

/// A packet that fills `bytes` to the last one.
#[track_caller]
fn read_whole(bytes: &[u8], version: ProtocolVersion) -> Packet {
    let mut input = BytesMut::from(bytes);
    let packet = decode(&mut input, version, &Limits::default())
        .unwrap_or_else(|error| panic!("{bytes:02X?}: {error}"))
        .unwrap_or_else(|| panic!("{bytes:02X?}: asks for more"));
    assert!(input.is_empty(), "{} bytes are left", input.len());
    packet
}

fn write(packet: &Packet, version: ProtocolVersion) -> Result<Vec<u8>, EncodeError> {
    let mut out = SendBuffer::new();
    let result = encode(packet, version, &mut out);
    let size = encoded_size(packet, version);
    if let Err(error) = result {
        assert!(out.is_empty(), "an error left {} bytes behind", out.len());
        assert_eq!(size, Err(error.clone()));
        return Err(error);
    }
    assert_eq!(size, Ok(out.len()));
    Ok(out.copy_to_bytes(out.len()).to_vec())
}

/// The code a peer of MQTT 5 would be told, with the clause.
#[track_caller]
fn refusal(digits: &str, version: ProtocolVersion) -> (ReasonCode, &'static str) {
    let bytes = hex(digits);
    match read(&bytes, version) {
        Err(error) => {
            let clause = match error {
                DecodeError::Malformed { clause, .. } | DecodeError::NotAllowed { clause, .. } => {
                    clause
                }
                _ => "",
            };
            (error.reason(), clause)
        }
        Ok(packet) => panic!("{digits} was taken as {packet:?}"),
    }
}

#[track_caller]
fn assert_malformed(digits: &str, version: ProtocolVersion) {
    assert_eq!(
        refusal(digits, version).0,
        ReasonCode::MalformedPacket,
        "{digits}"
    );
}

#[track_caller]
fn assert_protocol_error(digits: &str, version: ProtocolVersion) {
    assert_eq!(
        refusal(digits, version).0,
        ReasonCode::ProtocolError,
        "{digits}"
    );
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}
