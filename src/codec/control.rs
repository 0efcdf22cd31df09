//! DISCONNECT and AUTH. The two pings have no content and need no file.

use super::error::{protocol_error, refused};
use super::properties::{
    Id, Place, Properties, Value, not_here, put_binary, put_four, put_text, put_user_properties,
};
use super::reason::{check_reason, read_reason};
use super::wire::{Counter, Reader, Sink, Write};
use super::{Auth, DecodeError, Disconnect, EncodeError, PacketType, ProtocolVersion, ReasonCode};
use bytestring::ByteString;

pub(super) fn decode_disconnect(packet: &mut Reader) -> Result<Disconnect, DecodeError> {
    let mut disconnect = Disconnect::new(ReasonCode::Success);
    if !packet.is_v5() || packet.is_empty() {
        return Ok(disconnect);
    }
    // spec(5): MQTT-3.14.2-1
    disconnect.reason = read_reason(packet, PacketType::Disconnect)?;
    if packet.is_empty() {
        return Ok(disconnect);
    }
    let mut list = Properties::open(packet, Place::Packet(PacketType::Disconnect))?;
    while let Some(property) = list.next()? {
        match property {
            (Id::SessionExpiryInterval, Value::Four(seconds)) => {
                disconnect.session_expiry_interval = Some(seconds);
            }
            (Id::ReasonString, Value::Text(text)) => disconnect.reason_string = Some(text),
            (Id::ServerReference, Value::Text(text)) => disconnect.server_reference = Some(text),
            (Id::UserProperty, Value::Pair(name, value)) => {
                disconnect.user_properties.push((name, value));
            }
            _ => return Err(not_here()),
        }
    }
    Ok(disconnect)
}

/// Before MQTT 5 a DISCONNECT cannot say why: the two bytes are written whatever the reason.
pub(super) fn write_disconnect<S: Sink>(
    disconnect: &Disconnect,
    version: ProtocolVersion,
    out: &mut S,
) -> Result<(), EncodeError> {
    if version != ProtocolVersion::V5 {
        return Ok(());
    }
    check_reason(disconnect.reason, PacketType::Disconnect)?;
    let has_properties = Counter::measure(disconnect)? > 0;
    if has_properties || disconnect.reason != ReasonCode::Success {
        out.byte(disconnect.reason.number());
    }
    if has_properties {
        out.block(disconnect)?;
    }
    Ok(())
}

impl Write for Disconnect {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        put_four(out, Id::SessionExpiryInterval, self.session_expiry_interval);
        put_text(out, Id::ReasonString, self.reason_string.as_deref())?;
        put_text(out, Id::ServerReference, self.server_reference.as_deref())?;
        put_user_properties(out, &self.user_properties)
    }
}

pub(super) fn decode_auth(packet: &mut Reader) -> Result<Auth, DecodeError> {
    if packet.is_empty() {
        return Err(no_method());
    }
    // spec(5): MQTT-3.15.2-1
    let reason = read_reason(packet, PacketType::Auth)?;
    let mut auth = Auth {
        reason,
        method: ByteString::new(),
        data: None,
        reason_string: None,
        user_properties: Vec::new(),
    };
    let mut has_method = false;
    let mut list = Properties::open(packet, Place::Packet(PacketType::Auth))?;
    while let Some(property) = list.next()? {
        match property {
            (Id::AuthenticationMethod, Value::Text(text)) => {
                auth.method = text;
                has_method = true;
            }
            (Id::AuthenticationData, Value::Binary(data)) => auth.data = Some(data),
            (Id::ReasonString, Value::Text(text)) => auth.reason_string = Some(text),
            (Id::UserProperty, Value::Pair(name, value)) => {
                auth.user_properties.push((name, value));
            }
            _ => return Err(not_here()),
        }
    }
    if has_method {
        Ok(auth)
    } else {
        Err(no_method())
    }
}

fn no_method() -> DecodeError {
    protocol_error("an AUTH names no method", "MQTT 5, 3.15.2.2.2")
}

pub(super) fn write_auth<S: Sink>(
    auth: &Auth,
    version: ProtocolVersion,
    out: &mut S,
) -> Result<(), EncodeError> {
    if version != ProtocolVersion::V5 {
        return Err(refused(
            "AUTH does not exist before MQTT 5",
            "MQTT 3.1.1, 2.2.1",
        ));
    }
    check_reason(auth.reason, PacketType::Auth)?;
    out.byte(auth.reason.number());
    out.block(auth)
}

impl Write for Auth {
    fn write<S: Sink>(&self, out: &mut S) -> Result<(), EncodeError> {
        put_text(out, Id::AuthenticationMethod, Some(&self.method))?;
        put_binary(out, Id::AuthenticationData, self.data.as_ref())?;
        put_text(out, Id::ReasonString, self.reason_string.as_deref())?;
        put_user_properties(out, &self.user_properties)
    }
}
