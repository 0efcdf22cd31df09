//! The forms of the packets, field by field, for reading aloud.

use super::super::header::{fits, prescribed_flags};
use super::super::properties::{Form, Id, Place, find};
use super::super::{PacketType, ProtocolVersion, ReasonCode};
use super::walker::{Step, Stop, Walker, show_bytes, show_payload, show_text};
use super::words::{property_meaning, reason_meaning, return_code_meaning};

pub(super) fn packet(walker: &mut Walker<'_>) -> Step {
    let mut header = None;
    walker.group("fixed header", |walker| {
        let (packet_type, flags) = first_byte(walker)?;
        let start = walker.at();
        let remaining = walker.variable("remaining length")?;
        walker.size = Some(walker.at() + remaining);
        if !fits(packet_type, remaining, walker.version) {
            walker.suspect(start..walker.at());
        }
        header = Some((packet_type, flags, remaining));
        let meaning = format!("{remaining} bytes follow");
        Ok((packet_type.name().to_owned(), meaning))
    })?;
    let Some((packet_type, flags, remaining)) = header else {
        return Err(Stop);
    };
    let end = walker.narrow(remaining);
    let step = body(walker, packet_type, flags);
    if step.is_ok() && walker.left() > 0 {
        let left = walker.left();
        walker.take(left, "leftover")?;
        walker.say("", "nothing may stand behind the last field");
        walker.suspect_last(left);
    }
    walker.widen(end);
    step
}

fn first_byte(walker: &mut Walker<'_>) -> Step<(PacketType, u8)> {
    let byte = walker.byte("type and flags")?;
    walker.say(format!("0x{byte:02X}"), "");
    let packet_type = PacketType::from_number(byte >> 4)
        .filter(|&packet_type| packet_type != PacketType::Auth || walker.is_v5());
    let flags = byte & 0x0F;
    let Some(packet_type) = packet_type else {
        walker.bits(7, 4, "packet type", "there is no such packet");
        walker.suspect_last(1);
        return Err(Stop);
    };
    walker.bits(7, 4, "packet type", packet_type.name());
    if packet_type == PacketType::Publish {
        let dup = match flags >> 3 {
            0 => "first sending",
            _ => "may have been sent before",
        };
        walker.bits(3, 3, "DUP", dup);
        walker.bits(2, 1, "QoS", qos_meaning(flags >> 1));
        walker.bits(
            0,
            0,
            "RETAIN",
            yes(flags, "a retained message", "not retained"),
        );
        if flags & 0b110 == 0b110 || flags & 0b1110 == 0b1000 {
            walker.suspect_last(1);
        }
    } else if flags == prescribed_flags(packet_type) {
        walker.bits(3, 0, "reserved", "as prescribed");
    } else {
        walker.bits(3, 0, "reserved", "not as prescribed");
        walker.suspect_last(1);
    }
    Ok((packet_type, flags))
}

fn body(walker: &mut Walker<'_>, packet_type: PacketType, flags: u8) -> Step {
    match packet_type {
        PacketType::Connect => connect(walker),
        PacketType::ConnAck => connack(walker),
        PacketType::Publish => publish(walker, flags),
        PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp => {
            packet_id(walker)?;
            reason_and_properties(walker, packet_type)
        }
        PacketType::Subscribe | PacketType::Unsubscribe => request(walker, packet_type),
        PacketType::SubAck | PacketType::UnsubAck => answer(walker, packet_type),
        PacketType::PingReq | PacketType::PingResp => Ok(()),
        PacketType::Disconnect | PacketType::Auth => reason_and_properties(walker, packet_type),
    }
}

fn connect(walker: &mut Walker<'_>) -> Step {
    let name = walker.text("protocol name", "")?;
    let level = walker.byte("protocol level")?;
    let (version, meaning) = match (name, level) {
        (b"MQTT", 5) => (ProtocolVersion::V5, "MQTT 5.0"),
        (b"MQTT", 4) => (ProtocolVersion::V3_1_1, "MQTT 3.1.1"),
        (b"MQIsdp", 3) => (ProtocolVersion::V3_1, "MQTT 3.1"),
        _ => {
            walker.say(level.to_string(), "not a protocol that is spoken here");
            walker.suspect_last(3 + name.len());
            return Err(Stop);
        }
    };
    walker.say(level.to_string(), meaning);
    walker.version = version;
    let flags = connect_flags(walker)?;
    let keep_alive = walker.two("keep alive")?;
    let meaning = match keep_alive {
        0 => "no limit",
        _ => "seconds between two packets of the client at most",
    };
    walker.say(keep_alive.to_string(), meaning);
    if walker.is_v5() {
        properties(walker, "properties", Place::Packet(PacketType::Connect))?;
    }
    walker.text("client identifier", "who the session belongs to")?;
    if flags & 0b100 != 0 {
        if walker.is_v5() {
            properties(walker, "will properties", Place::Will)?;
        }
        let topic = walker.text("will topic", "where the will is published")?;
        suspect_topic(walker, topic);
        walker.binary("will payload", "what it says")?;
    }
    if flags & 0x80 != 0 {
        walker.text("user name", "")?;
    }
    if flags & 0x40 != 0 {
        walker.group("password", |walker| {
            let length = walker.two("length")?;
            walker.say(length.to_string(), "bytes");
            walker.take(length.into(), "bytes")?;
            // A breakdown ends up in logs and notebooks.
            walker.say("(not shown)", "");
            Ok(("(not shown)".to_owned(), String::new()))
        })?;
    }
    Ok(())
}

fn connect_flags(walker: &mut Walker<'_>) -> Step<u8> {
    let flags = walker.byte("connect flags")?;
    walker.say(format!("0x{flags:02X}"), "");
    let has_will = flags & 0b100 != 0;
    let has = |bit: u8| yes(flags >> bit, "present", "absent");
    let will_qos = flags >> 3 & 0b11;
    walker.bits(7, 7, "user name", has(7));
    walker.bits(6, 6, "password", has(6));
    walker.bits(
        5,
        5,
        "will retain",
        yes(flags >> 5, "retained", "not retained"),
    );
    walker.bits(4, 3, "will QoS", qos_meaning(will_qos));
    walker.bits(2, 2, "will", has(2));
    let fresh = yes(
        flags >> 1,
        "a new session",
        "go on with the session there is",
    );
    if walker.is_v5() {
        walker.bits(1, 1, "clean start", fresh);
    } else {
        walker.bits(1, 1, "clean session", fresh);
    }
    walker.bits(0, 0, "reserved", yes(flags, "must be 0", "as prescribed"));
    let will_without_will = !has_will && flags & 0b0011_1000 != 0;
    let password_alone = !walker.is_v5() && flags & 0xC0 == 0x40;
    if flags & 1 != 0 || will_qos == 3 || will_without_will || password_alone {
        walker.suspect_last(1);
    }
    Ok(flags)
}

fn connack(walker: &mut Walker<'_>) -> Step {
    let flags = walker.byte("acknowledge flags")?;
    walker.say(format!("0x{flags:02X}"), "");
    walker.bits(7, 1, "reserved", "0 as prescribed");
    let present = yes(flags, "the server still has the session", "a new session");
    walker.bits(0, 0, "session present", present);
    if flags > 1 {
        walker.suspect_last(1);
    }
    if walker.is_v5() {
        reason(walker, PacketType::ConnAck)?;
        return properties(walker, "properties", Place::Packet(PacketType::ConnAck));
    }
    let code = walker.byte("return code")?;
    walker.say(code.to_string(), return_code_meaning(code));
    if code > 5 || flags == 1 && code > 0 {
        walker.suspect_last(1);
    }
    Ok(())
}

fn publish(walker: &mut Walker<'_>, flags: u8) -> Step {
    let topic = walker.text("topic name", "what the message is about")?;
    suspect_topic(walker, topic);
    if flags & 0b110 != 0 {
        packet_id(walker)?;
    }
    if walker.is_v5() {
        properties(walker, "properties", Place::Packet(PacketType::Publish))?;
    }
    let length = walker.left();
    if length > 0 {
        let payload = show_payload(walker.take(length, "payload")?);
        walker.say(payload, "the application message");
    }
    Ok(())
}

fn suspect_topic(walker: &mut Walker<'_>, topic: &[u8]) {
    if topic.iter().any(|byte| b"+#".contains(byte)) {
        walker.suspect_last(topic.len());
    } else if topic.is_empty() && !walker.is_v5() {
        walker.suspect_last(2);
    }
}

fn packet_id(walker: &mut Walker<'_>) -> Step {
    let number = walker.two("packet identifier")?;
    walker.say(number.to_string(), "names the exchange");
    if number == 0 {
        walker.say("0", "must not be 0");
        walker.suspect_last(2);
    }
    Ok(())
}

/// What acknowledgements, DISCONNECT and AUTH end with, where it is left out if it says nothing.
fn reason_and_properties(walker: &mut Walker<'_>, packet_type: PacketType) -> Step {
    if !walker.is_v5() || walker.left() == 0 {
        return Ok(());
    }
    reason(walker, packet_type)?;
    if walker.left() == 0 && packet_type != PacketType::Auth {
        return Ok(());
    }
    properties(walker, "properties", Place::Packet(packet_type))
}

fn reason(walker: &mut Walker<'_>, packet_type: PacketType) -> Step {
    let number = walker.byte("reason code")?;
    let reason = ReasonCode::from_number(number);
    let meaning = reason.map_or("unknown", |reason| reason_meaning(reason, packet_type));
    walker.say(format!("0x{number:02X}"), meaning);
    if !reason.is_some_and(|reason| reason.is_allowed_in(packet_type)) {
        walker.suspect_last(1);
    }
    Ok(())
}

fn request(walker: &mut Walker<'_>, packet_type: PacketType) -> Step {
    packet_id(walker)?;
    if walker.is_v5() {
        properties(walker, "properties", Place::Packet(packet_type))?;
    }
    while walker.left() > 0 {
        let filter = walker.text("topic filter", "")?;
        if filter.is_empty() {
            walker.suspect_last(2);
        }
        if packet_type == PacketType::Subscribe {
            options(walker, filter)?;
        }
    }
    Ok(())
}

fn options(walker: &mut Walker<'_>, filter: &[u8]) -> Step {
    let byte = walker.byte("subscription options")?;
    walker.say(format!("0x{byte:02X}"), "");
    let (mut reserved, mut is_wrong) = (0xFC, byte & 0b11 == 3);
    if walker.is_v5() {
        reserved = 0xC0;
        let handling = match byte >> 4 & 0b11 {
            0 => "retained messages come at every subscription",
            1 => "retained messages come if the subscription is new",
            2 => "retained messages do not come",
            _ => "there is no such value",
        };
        let published = yes(byte >> 3, "retain flag as published", "retain flag cleared");
        let local = yes(byte >> 2, "not what I published", "also what I published");
        walker.bits(7, 6, "reserved", "0 as prescribed");
        walker.bits(5, 4, "retain handling", handling);
        walker.bits(3, 3, "retain as published", published);
        walker.bits(2, 2, "no local", local);
        is_wrong |= byte >> 4 & 0b11 == 3;
        is_wrong |= byte & 0b100 != 0 && filter.starts_with(b"$share/");
    } else {
        walker.bits(7, 2, "reserved", "0 as prescribed");
    }
    walker.bits(1, 0, "maximum QoS", qos_meaning(byte));
    if is_wrong || byte & reserved != 0 {
        walker.suspect_last(1);
    }
    Ok(())
}

fn answer(walker: &mut Walker<'_>, packet_type: PacketType) -> Step {
    packet_id(walker)?;
    if walker.is_v5() {
        properties(walker, "properties", Place::Packet(packet_type))?;
        while walker.left() > 0 {
            reason(walker, packet_type)?;
        }
        return Ok(());
    }
    while walker.left() > 0 && packet_type == PacketType::SubAck {
        let code = walker.byte("return code")?;
        let meaning = match code {
            0..=2 => qos_meaning(code),
            0x80 => "failure",
            _ => "reserved",
        };
        walker.say(format!("0x{code:02X}"), meaning);
        if meaning == "reserved" {
            walker.suspect_last(1);
        }
    }
    Ok(())
}

fn properties(walker: &mut Walker<'_>, field: &'static str, place: Place) -> Step {
    let mut seen = 0_u64;
    walker.group(field, |walker| {
        let start = walker.at();
        let length = walker.variable("property length")?;
        if length > walker.left() {
            walker.suspect(start..walker.at());
        }
        let end = walker.narrow(length);
        let mut count = 0;
        let step = loop {
            if walker.left() == 0 {
                break Ok(());
            }
            count += 1;
            let step = property(walker, place, &mut seen);
            if step.is_err() {
                break step;
            }
        };
        walker.widen(end);
        let count = match count {
            0 => "none".to_owned(),
            count => count.to_string(),
        };
        step.map(|()| (count, String::new()))
    })
}

fn property(walker: &mut Walker<'_>, place: Place, seen: &mut u64) -> Step {
    let start = walker.at();
    let number = walker.peek();
    let row = find(number.into());
    walker.group(row.map_or("unknown property", |row| row.name), |walker| {
        walker.byte("identifier")?;
        let Some(row) = row else {
            walker.say(format!("0x{number:02X}"), "there is no such property");
            walker.suspect_last(1);
            return Err(Stop);
        };
        walker.say(format!("0x{number:02X}"), row.name);
        let bit = 1 << number;
        if !row.is_allowed(place) {
            walker.say(format!("0x{number:02X}"), "not allowed in this place");
            walker.suspect(start..walker.at());
        } else if *seen & bit != 0 && !row.may_repeat(place) {
            walker.say(format!("0x{number:02X}"), "may stand here once only");
            walker.suspect(start..walker.at());
        }
        *seen |= bit;
        value(walker, row.form, row.id)
    })
}

/// The value of a property as parts of its own, and as text for the property's line.
fn value(walker: &mut Walker<'_>, form: Form, id: Id) -> Step<(String, String)> {
    let shown = match form {
        Form::Flag => {
            let number = walker.byte("value")?;
            if number > 1 {
                walker.suspect_last(1);
            }
            number.to_string()
        }
        Form::Two | Form::TwoNonZero => {
            let number = walker.two("value")?;
            if number == 0 && form == Form::TwoNonZero {
                walker.suspect_last(2);
            }
            number.to_string()
        }
        Form::Four | Form::FourNonZero => {
            let number = walker.four("value")?;
            if number == 0 && form == Form::FourNonZero {
                walker.suspect_last(4);
            }
            number.to_string()
        }
        Form::Variable => {
            let start = walker.at();
            let number = walker.variable("value")?;
            if number == 0 {
                walker.suspect(start..walker.at());
            }
            number.to_string()
        }
        Form::Text => show_text(walker.text("value", "")?).0,
        Form::Topic => {
            let topic = walker.text("value", "")?;
            suspect_topic(walker, topic);
            if topic.is_empty() {
                walker.suspect_last(2);
            }
            show_text(topic).0
        }
        Form::Binary => show_bytes(walker.binary("value", "")?),
        Form::Pair => {
            let name = walker.text("name", "")?;
            let value = walker.text("value", "")?;
            format!("{} = {}", show_text(name).0, show_text(value).0)
        }
    };
    Ok((shown, property_meaning(id).to_owned()))
}

fn qos_meaning(bits: u8) -> &'static str {
    match bits & 0b11 {
        0 => "QoS 0: at most once",
        1 => "QoS 1: at least once",
        2 => "QoS 2: exactly once",
        _ => "there is no QoS 3",
    }
}

fn yes(bits: u8, set: &'static str, clear: &'static str) -> &'static str {
    if bits & 1 == 0 { clear } else { set }
}
