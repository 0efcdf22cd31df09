//! Strategies: any packet that can be written, in its one normal form.

use super::{V5, id};
use bytes::Bytes;
use bytestring::ByteString;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rmqtt::codec::{
    Ack, AckKind, AckProperties, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties,
    Disconnect, Packet, PacketType, ProtocolVersion, Publish, ReasonCode, RetainHandling, SubAck,
    Subscribe, SubscribeFilter, SubscriptionOptions, UnsubAck, Unsubscribe, Will,
};
use rmqtt::message::{Message, MessageProperties, QoS, UserProperty};
use rmqtt::topic::TopicName;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

/// A packet with the version it belongs to.
pub(super) fn any_packet() -> impl Strategy<Value = (ProtocolVersion, Packet)> {
    prop_oneof![
        packet(ProtocolVersion::V3_1).prop_map(|packet| (ProtocolVersion::V3_1, packet)),
        packet(ProtocolVersion::V3_1_1).prop_map(|packet| (ProtocolVersion::V3_1_1, packet)),
        packet(V5).prop_map(|packet| (V5, packet)),
        packet(V5).prop_map(|packet| (V5, packet)),
    ]
}

fn packet(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let is_v5 = version == V5;
    let both = prop_oneof![
        connect(version).prop_map(|connect| Packet::Connect(Box::new(connect))),
        connack(is_v5).prop_map(|connack| Packet::ConnAck(Box::new(connack))),
        publish(is_v5).prop_map(Packet::Publish),
        ack(is_v5).prop_map(Packet::Ack),
        subscribe(is_v5).prop_map(Packet::Subscribe),
        suback(is_v5).prop_map(Packet::SubAck),
        unsubscribe(is_v5).prop_map(Packet::Unsubscribe),
        unsuback(is_v5).prop_map(Packet::UnsubAck),
        Just(Packet::PingReq),
        Just(Packet::PingResp),
        disconnect(is_v5).prop_map(Packet::Disconnect),
    ];
    if is_v5 {
        prop_oneof![12 => both, 1 => auth().prop_map(Packet::Auth)].boxed()
    } else {
        both.boxed()
    }
}

fn text() -> impl Strategy<Value = ByteString> {
    "[^\\x00]{0,12}".prop_map(ByteString::from)
}

fn filter() -> impl Strategy<Value = ByteString> {
    "[^\\x00]{1,12}".prop_map(ByteString::from)
}

fn topic() -> impl Strategy<Value = TopicName> {
    "[^\\x00+#]{1,12}".prop_map(|text| TopicName::new(text).unwrap())
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..12).prop_map(Bytes::from)
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![4 => binary(), 1 => vec(any::<u8>(), 0..9000).prop_map(Bytes::from)]
}

fn user_properties() -> impl Strategy<Value = Vec<UserProperty>> {
    vec((text(), text()), 0..4)
}

fn qos() -> impl Strategy<Value = QoS> {
    (0..3_u8).prop_map(|number| QoS::from_number(number).unwrap())
}

fn nonzero_u16() -> impl Strategy<Value = NonZeroU16> {
    (1..=u16::MAX).prop_map(|number| NonZeroU16::new(number).unwrap())
}

fn nonzero_u32(most: u32) -> impl Strategy<Value = NonZeroU32> {
    (1..=most).prop_map(|number| NonZeroU32::new(number).unwrap())
}

fn subscription_id() -> impl Strategy<Value = NonZeroU32> {
    nonzero_u32(268_435_455)
}

fn reason(packet_type: PacketType) -> impl Strategy<Value = ReasonCode> {
    let listed: Vec<_> = (0..=u8::MAX)
        .filter_map(ReasonCode::from_number)
        .filter(|reason| reason.is_allowed_in(packet_type))
        .collect();
    prop::sample::select(listed)
}

fn message_properties() -> impl Strategy<Value = Option<Arc<MessageProperties>>> {
    let fields = (
        any::<Option<bool>>(),
        any::<Option<u32>>(),
        option::of(text()),
        option::of(topic()),
        option::of(binary()),
        user_properties(),
    );
    fields.prop_map(|fields| {
        let properties = MessageProperties {
            payload_is_utf8: fields.0,
            message_expiry_interval: fields.1,
            content_type: fields.2,
            response_topic: fields.3,
            correlation_data: fields.4,
            user_properties: fields.5,
        };
        (properties != MessageProperties::default()).then(|| Arc::new(properties))
    })
}

fn message(is_v5: bool) -> impl Strategy<Value = Message> {
    let fields = (
        topic(),
        payload(),
        qos(),
        any::<bool>(),
        message_properties(),
    );
    fields.prop_map(move |(topic, payload, qos, retain, properties)| Message {
        topic,
        payload,
        qos,
        retain,
        properties: properties.filter(|_| is_v5),
    })
}

fn connect(version: ProtocolVersion) -> impl Strategy<Value = Connect> {
    let is_v5 = version == V5;
    let will = (message(is_v5), any::<Option<u32>>()).prop_map(move |(message, delay)| Will {
        message,
        delay_interval: delay.filter(|_| is_v5),
    });
    let fields = (
        any::<bool>(),
        any::<u16>(),
        text(),
        option::of(will),
        option::of(text()),
        option::of(binary()),
        connect_properties(),
    );
    fields.prop_map(move |fields| Connect {
        version,
        clean_start: fields.0,
        keep_alive: fields.1,
        client_id: fields.2,
        will: fields.3,
        password: fields.5.filter(|_| is_v5 || fields.4.is_some()),
        username: fields.4,
        properties: if is_v5 {
            fields.6
        } else {
            ConnectProperties::default()
        },
    })
}

type Authentication = (Option<ByteString>, Option<Bytes>);

fn authentication() -> impl Strategy<Value = Authentication> {
    option::of((text(), option::of(binary())))
        .prop_map(|both| both.map_or((None, None), |(method, data)| (Some(method), data)))
}

fn connect_properties() -> impl Strategy<Value = ConnectProperties> {
    let fields = (
        any::<Option<u32>>(),
        option::of(nonzero_u16()),
        option::of(nonzero_u32(u32::MAX)),
        any::<Option<u16>>(),
        any::<Option<bool>>(),
        any::<Option<bool>>(),
        authentication(),
        user_properties(),
    );
    fields.prop_map(|fields| ConnectProperties {
        session_expiry_interval: fields.0,
        receive_maximum: fields.1,
        maximum_packet_size: fields.2,
        topic_alias_maximum: fields.3,
        request_response_information: fields.4,
        request_problem_information: fields.5,
        authentication_method: fields.6.0,
        authentication_data: fields.6.1,
        user_properties: fields.7,
    })
}

fn connack(is_v5: bool) -> impl Strategy<Value = ConnAck> {
    let numbers = (
        any::<Option<u32>>(),
        option::of(nonzero_u16()),
        any::<Option<bool>>(),
        any::<[Option<bool>; 4]>(),
        option::of(nonzero_u32(u32::MAX)),
        any::<[Option<u16>; 2]>(),
    );
    let texts = (
        option::of(text()),
        option::of(text()),
        option::of(text()),
        option::of(text()),
        authentication(),
        user_properties(),
    );
    let properties = (numbers, texts).prop_map(|(numbers, texts)| ConnAckProperties {
        session_expiry_interval: numbers.0,
        receive_maximum: numbers.1,
        maximum_qos: numbers.2.and_then(|flag| QoS::from_number(u8::from(flag))),
        retain_available: numbers.3[0],
        wildcard_subscription_available: numbers.3[1],
        subscription_identifiers_available: numbers.3[2],
        shared_subscription_available: numbers.3[3],
        maximum_packet_size: numbers.4,
        topic_alias_maximum: numbers.5[0],
        server_keep_alive: numbers.5[1],
        assigned_client_identifier: texts.0,
        reason_string: texts.1,
        response_information: texts.2,
        server_reference: texts.3,
        authentication_method: texts.4.0,
        authentication_data: texts.4.1,
        user_properties: texts.5,
    });
    let fields = (any::<bool>(), reason(PacketType::ConnAck), properties);
    fields.prop_map(move |(session_present, reason, properties)| {
        let code = ReasonCode::from_return_code(reason.to_return_code());
        let reason = if is_v5 { reason } else { code.unwrap() };
        ConnAck {
            session_present: session_present && reason == ReasonCode::Success,
            reason,
            properties: if is_v5 {
                properties
            } else {
                ConnAckProperties::default()
            },
        }
    })
}

fn publish(is_v5: bool) -> impl Strategy<Value = Publish> {
    let fields = (
        message(is_v5),
        nonzero_u16(),
        any::<bool>(),
        option::of(nonzero_u16()),
        vec(subscription_id(), 0..3),
    );
    fields.prop_map(move |(message, number, dup, topic_alias, ids)| {
        let has_qos = message.qos != QoS::AtMostOnce;
        Publish {
            packet_id: has_qos.then(|| id(number.get())),
            dup: dup && has_qos,
            topic_alias: topic_alias.filter(|_| is_v5),
            topic_on_wire: true,
            subscription_ids: if is_v5 { ids } else { Vec::new() },
            message,
        }
    })
}

fn ack_properties(is_v5: bool) -> impl Strategy<Value = Option<Box<AckProperties>>> {
    let fields = (option::of(text()), user_properties());
    fields.prop_map(move |(reason_string, user_properties)| {
        let properties = AckProperties {
            reason_string,
            user_properties,
        };
        (is_v5 && properties != AckProperties::default()).then(|| Box::new(properties))
    })
}

fn ack(is_v5: bool) -> impl Strategy<Value = Ack> {
    let kinds = [
        AckKind::PubAck,
        AckKind::PubRec,
        AckKind::PubRel,
        AckKind::PubComp,
    ];
    prop::sample::select(kinds.to_vec()).prop_flat_map(move |kind| {
        let reason = reason(kind.packet_type());
        let fields = (nonzero_u16(), reason, ack_properties(is_v5));
        fields.prop_map(move |(number, reason, properties)| {
            let reason = if is_v5 { reason } else { ReasonCode::Success };
            Ack {
                properties,
                ..Ack::new(kind, id(number.get()), reason)
            }
        })
    })
}

fn subscribe(is_v5: bool) -> impl Strategy<Value = Subscribe> {
    let options = (qos(), any::<bool>(), any::<bool>(), 0..3_u8);
    let line = (filter(), options).prop_map(move |(filter, (qos, local, published, handling))| {
        let all = SubscriptionOptions {
            qos,
            no_local: local && !filter.starts_with("$share/"),
            retain_as_published: published,
            retain_handling: match handling {
                0 => RetainHandling::Always,
                1 => RetainHandling::IfNew,
                _ => RetainHandling::Never,
            },
        };
        let only_qos = SubscriptionOptions {
            qos,
            ..SubscriptionOptions::default()
        };
        SubscribeFilter {
            filter,
            options: if is_v5 { all } else { only_qos },
        }
    });
    let fields = (
        nonzero_u16(),
        vec(line, 1..4),
        option::of(subscription_id()),
        user_properties(),
    );
    fields.prop_map(move |(number, filters, subscription_id, users)| Subscribe {
        packet_id: id(number.get()),
        filters,
        subscription_id: subscription_id.filter(|_| is_v5),
        user_properties: if is_v5 { users } else { Vec::new() },
    })
}

fn suback(is_v5: bool) -> impl Strategy<Value = SubAck> {
    let fields = (
        nonzero_u16(),
        vec(reason(PacketType::SubAck), 1..4),
        ack_properties(is_v5),
    );
    fields.prop_map(move |(number, mut reasons, properties)| {
        for reason in reasons.iter_mut().filter(|reason| reason.is_error()) {
            if !is_v5 {
                *reason = ReasonCode::UnspecifiedError;
            }
        }
        SubAck {
            packet_id: id(number.get()),
            reasons,
            properties,
        }
    })
}

fn unsubscribe(is_v5: bool) -> impl Strategy<Value = Unsubscribe> {
    let fields = (nonzero_u16(), vec(filter(), 1..4), user_properties());
    fields.prop_map(move |(number, filters, users)| Unsubscribe {
        packet_id: id(number.get()),
        filters,
        user_properties: if is_v5 { users } else { Vec::new() },
    })
}

fn unsuback(is_v5: bool) -> impl Strategy<Value = UnsubAck> {
    let fields = (
        nonzero_u16(),
        vec(reason(PacketType::UnsubAck), 1..4),
        ack_properties(is_v5),
    );
    fields.prop_map(move |(number, reasons, properties)| UnsubAck {
        packet_id: id(number.get()),
        reasons: if is_v5 { reasons } else { Vec::new() },
        properties,
    })
}

fn disconnect(is_v5: bool) -> impl Strategy<Value = Disconnect> {
    let fields = (
        reason(PacketType::Disconnect),
        any::<Option<u32>>(),
        option::of(text()),
        option::of(text()),
        user_properties(),
    );
    fields.prop_map(move |fields| {
        if !is_v5 {
            return Disconnect::new(ReasonCode::Success);
        }
        Disconnect {
            reason: fields.0,
            session_expiry_interval: fields.1,
            reason_string: fields.2,
            server_reference: fields.3,
            user_properties: fields.4,
        }
    })
}

fn auth() -> impl Strategy<Value = Auth> {
    let fields = (
        reason(PacketType::Auth),
        text(),
        option::of(binary()),
        option::of(text()),
        user_properties(),
    );
    fields.prop_map(|fields| Auth {
        reason: fields.0,
        method: fields.1,
        data: fields.2,
        reason_string: fields.3,
        user_properties: fields.4,
    })
}
