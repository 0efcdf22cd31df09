//! One packet in half a line: what a log shows. Passwords, and what mechanisms of authentication say, never stand in it.

use crate::codec::{
    AckProperties, Connect, Limits, Packet, PacketType, ProtocolVersion, Publish, ReasonCode,
    decode,
};
use bytes::BytesMut;
use std::fmt::Write;

/// What a packet says, in half a line without its size; `topic` stands for one that only an alias names.
pub fn summary(raw: &[u8], version: ProtocolVersion, topic: Option<&str>) -> String {
    let packet = decode(&mut BytesMut::from(raw), version, &Limits::default());
    let Ok(Some(packet)) = packet else {
        let first = raw
            .first()
            .and_then(|first| PacketType::from_number(first >> 4));
        let name = first.map_or("bytes", PacketType::name);
        return format!("{name} (not a whole packet, or malformed)");
    };
    let mut text = packet.packet_type().name().to_owned();
    // Writing to a text cannot fail.
    let _ = describe(&packet, topic, &mut text);
    text
}

fn describe(packet: &Packet, topic: Option<&str>, out: &mut String) -> std::fmt::Result {
    match packet {
        Packet::Connect(connect) => describe_connect(connect, out),
        Packet::ConnAck(connack) => {
            let present = if connack.session_present {
                " session present"
            } else {
                ""
            };
            reason(connack.reason, out)?;
            out.push_str(present);
            Ok(())
        }
        Packet::Publish(publish) => describe_publish(publish, topic, out),
        Packet::Ack(ack) => {
            write!(out, " #{}", ack.packet_id.get())?;
            reason_unless_success(ack.reason, ack.properties.as_deref(), out)
        }
        Packet::Subscribe(subscribe) => {
            write!(out, " #{}", subscribe.packet_id.get())?;
            subscribe.filters.iter().try_for_each(|filter| {
                let qos = filter.options.qos as u8;
                write!(out, " {} qos{qos}", filter.filter)
            })
        }
        Packet::SubAck(suback) => {
            write!(out, " #{}", suback.packet_id.get())?;
            reasons(&suback.reasons, out)
        }
        Packet::Unsubscribe(packet) => {
            write!(out, " #{}", packet.packet_id.get())?;
            let mut filters = packet.filters.iter();
            filters.try_for_each(|filter| write!(out, " {filter}"))
        }
        Packet::UnsubAck(unsuback) => {
            write!(out, " #{}", unsuback.packet_id.get())?;
            reasons(&unsuback.reasons, out)
        }
        Packet::PingReq | Packet::PingResp => Ok(()),
        Packet::Disconnect(disconnect) => reason(disconnect.reason, out),
        Packet::Auth(auth) => {
            reason(auth.reason, out)?;
            write!(out, " {:?}", &*auth.method)
        }
    }
}

fn describe_connect(connect: &Connect, out: &mut String) -> std::fmt::Result {
    let version = match connect.version {
        ProtocolVersion::V5 => "v5",
        ProtocolVersion::V3_1_1 => "v3.1.1",
        ProtocolVersion::V3_1 => "v3.1",
    };
    write!(out, " {:?} {version}", &*connect.client_id)?;
    let clean = if connect.clean_start { " clean" } else { "" };
    write!(out, "{clean} keep-alive {} s", connect.keep_alive)?;
    if let Some(will) = &connect.will {
        write!(out, " will {}", will.message.topic.as_str())?;
    }
    if connect.username.is_some() {
        out.push_str(" user");
    }
    Ok(())
}

fn describe_publish(publish: &Publish, topic: Option<&str>, out: &mut String) -> std::fmt::Result {
    let message = &publish.message;
    let own = publish.topic_on_wire.then_some(message.topic.as_str());
    let topic = own.or(topic).unwrap_or("(unknown alias)");
    write!(out, " {topic} qos{}", message.qos as u8)?;
    if let Some(id) = publish.packet_id {
        write!(out, " #{}", id.get())?;
    }
    let flags = [(publish.dup, " dup"), (message.retain, " retain")];
    out.extend(
        flags
            .iter()
            .filter(|(is_set, _)| *is_set)
            .map(|(_, word)| *word),
    );
    Ok(())
}

fn reason(reason: ReasonCode, out: &mut String) -> std::fmt::Result {
    write!(out, " 0x{:02X} {}", reason.number(), reason.name())
}

fn reason_unless_success(
    code: ReasonCode,
    properties: Option<&AckProperties>,
    out: &mut String,
) -> std::fmt::Result {
    if code != ReasonCode::Success || properties.is_some() {
        reason(code, out)?;
    }
    Ok(())
}

fn reasons(all: &[ReasonCode], out: &mut String) -> std::fmt::Result {
    let mut all = all.iter();
    all.try_for_each(|code| write!(out, " 0x{:02X}", code.number()))
}
