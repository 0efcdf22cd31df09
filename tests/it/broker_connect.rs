//! CONNECT, CONNACK, keep alive, take-over and the life of sessions, seen by the peers of a broker without sockets.

use crate::broker_house::{House, PeerId};
use crate::broker_packets::{
    BOTH, V4, V5, ack, connect, disconnect, message, options, publish, resume, subscribe,
};
use crate::seed::epoch;
use bytes::{Buf, BytesMut};
use bytestring::ByteString;
use rmqtt::broker::Limits;
use rmqtt::broker::protocol::{Accept, Event, Protocol};
use rmqtt::codec::{AckKind, ConnAck, Connect, Disconnect, Packet, ReasonCode, Will};
use rmqtt::message::QoS;
use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn connack(house: &mut House, peer: PeerId) -> ConnAck {
    match house.heard(peer).into_iter().next() {
        Some(Packet::ConnAck(connack)) => *connack,
        other => panic!("not a CONNACK: {other:?}"),
    }
}

fn refusal(house: &mut House, connect: Connect) -> ReasonCode {
    let peer = house.connect(connect);
    let connack = connack(house, peer);
    assert!(!connack.session_present);
    assert!(house.is_closed(peer));
    connack.reason
}

/// spec(4): MQTT-3.1.4-4, MQTT-3.2.0-1, MQTT-3.2.2-3
/// spec(5): MQTT-3.1.4-5, MQTT-3.2.0-1, MQTT-3.2.0-2, MQTT-3.1.2-6
#[test]
fn a_good_connect_is_answered_first_and_once() {
    for version in BOTH {
        let mut house = House::new();
        let peer = house.connect(resume(version, "c"));
        house.send(peer, &Packet::PingReq);
        let heard = house.heard(peer);
        assert!(matches!(&heard[..], [Packet::ConnAck(_), Packet::PingResp]));
        let Packet::ConnAck(connack) = &heard[0] else {
            unreachable!("matched above")
        };
        assert_eq!(
            (connack.reason, connack.session_present),
            (ReasonCode::Success, false)
        );
    }
}

/// spec(5): MQTT-3.2.2-9, MQTT-3.1.2-28, MQTT-4.12.0-6
/// spec(5): RMQTT-3.2.2-2
#[test]
fn connack_promises_what_the_limits_say() {
    let mut house = House::with(Limits {
        receive_maximum: 7,
        packet_size_max: 5000,
        topic_alias_max: 3,
        session_expiry_max: 60,
        keep_alive_max: 30,
        ..Limits::default()
    });
    let mut asking = resume(V5, "c");
    asking.keep_alive = 90;
    let peer = house.connect(asking);
    let properties = connack(&mut house, peer).properties;
    assert_eq!(properties.receive_maximum, NonZeroU16::new(7));
    assert_eq!(properties.maximum_packet_size, NonZeroU32::new(5000));
    assert_eq!(properties.topic_alias_maximum, Some(3));
    assert_eq!(properties.session_expiry_interval, Some(60));
    assert_eq!(properties.server_keep_alive, Some(30));
    assert_eq!(properties.shared_subscription_available, None);
    assert_eq!(properties.maximum_qos, None);
    assert_eq!(properties.response_information, None);
    assert_eq!(properties.authentication_method, None);

    let peer = house.connect(connect(V5, "d"));
    let properties = connack(&mut house, peer).properties;
    assert_eq!(
        (
            properties.session_expiry_interval,
            properties.server_keep_alive
        ),
        (None, Some(30))
    );
}

/// spec(4): MQTT-3.1.3-5
/// spec(5): MQTT-3.1.3-5
#[test]
fn client_ids_of_letters_and_digits_are_accepted() {
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in BOTH {
        let mut house = House::new();
        for id in ["0", &all[..23], &all[23..46], &all[39..]] {
            house.connected(version, id);
        }
    }
}

/// spec(4): MQTT-3.1.3-6
/// spec(5): MQTT-3.1.3-6, MQTT-3.1.3-7, MQTT-3.2.2-16
#[test]
fn an_empty_client_id_gets_one_of_its_own() {
    let mut house = House::new();
    let (one, two) = (
        house.connect(connect(V4, "")),
        house.connect(connect(V4, "")),
    );
    assert!(!house.let_in(one) && !house.let_in(two));
    assert!(!house.is_closed(one));

    let mut ids = BTreeSet::new();
    for _ in 0..10 {
        let mut asking = resume(V5, "");
        asking.properties.session_expiry_interval = Some(60);
        let peer = house.connect(asking);
        ids.extend(
            connack(&mut house, peer)
                .properties
                .assigned_client_identifier,
        );
    }
    assert_eq!(ids.len(), 10);
    let back = house.connect(resume(V5, ids.first().unwrap()));
    assert!(connack(&mut house, back).session_present);
}

/// spec(4): MQTT-3.1.3-8, MQTT-3.1.3-9, MQTT-3.2.2-5, MQTT-3.1.4-5
/// spec(5): MQTT-3.1.4-2, MQTT-3.2.2-7, MQTT-4.12.0-1, MQTT-4.12.0-4
#[test]
fn who_cannot_be_let_in_is_told_why_and_heard_no_more() {
    let mut house = House::new();
    let watcher = house.subscriber(V4, "#", QoS::AtMostOnce);
    let nameless = Connect {
        clean_start: false,
        ..connect(V4, "")
    };
    assert_eq!(
        refusal(&mut house, nameless),
        ReasonCode::ClientIdentifierNotValid
    );

    let mut strange = connect(V5, "c");
    strange.properties.authentication_method = Some(ByteString::from("NOPE"));
    assert_eq!(
        refusal(&mut house, strange),
        ReasonCode::BadAuthenticationMethod
    );

    let haughty = |version, topic: &str| Connect {
        will: Some(Will {
            message: message(topic, "", QoS::AtMostOnce),
            delay_interval: None,
        }),
        ..connect(version, "c")
    };
    for version in BOTH {
        assert_eq!(
            refusal(&mut house, haughty(version, "$SYS/x")),
            ReasonCode::NotAuthorized
        );
    }
    let deep = "/".repeat(300);
    assert_eq!(
        refusal(&mut house, haughty(V5, &deep)),
        ReasonCode::TopicNameInvalid
    );

    // What follows in the same breath is not looked at.
    let peer = house.open(V4);
    house.send_bytes(peer, b"\x10\x0c\0\x04MQTT\x04\0\0\0\0\0\x30\x03\0\x01a");
    assert!(house.is_closed(peer));
    assert!(house.heard(watcher).is_empty());
    assert_eq!(house.hub.stats().sessions, 1);
}

/// spec(4): MQTT-3.1.3-9, MQTT-3.2.2-5, MQTT-3.1.4-5
/// spec(5): MQTT-3.1.3-8, MQTT-3.1.4-2, MQTT-3.1.4-6, MQTT-3.2.2-7
#[test]
fn a_client_id_that_is_refused_is_told_so_and_the_connection_ends() {
    let cases: [(&[u8], &[u8]); 2] = [
        (
            b"\x10\x0F\0\x04MQTT\x04\x02\0\0\0\x03bad\xC0\0",
            &[0x20, 2, 0, 2],
        ),
        (
            b"\x10\x10\0\x04MQTT\x05\x02\0\0\0\0\x03bad\xC0\0",
            &[0x20, 3, 0, 0x85, 0],
        ),
    ];
    for (bytes, refused) in cases {
        let mut protocol = Protocol::new(Arc::new(Limits::default()), epoch());
        let mut input = BytesMut::from(bytes);
        let asked = protocol.receive(&mut input, epoch());
        assert!(matches!(asked, Ok(Some(Event::ConnectRequested(it))) if it.client_id == "bad"));
        protocol.refuse(ReasonCode::ClientIdentifierNotValid);
        let out = protocol.outgoing();
        assert_eq!(&out.copy_to_bytes(out.remaining())[..], refused);
        // What came behind it is not answered.
        assert!(protocol.receive(&mut input, epoch()).is_err());
        assert!(!protocol.is_connected() && !protocol.outgoing().has_remaining());
    }
}

/// spec(5, server): MQTT-3.14.4-1
#[test]
fn an_answer_that_was_held_back_does_not_follow_the_disconnect() {
    let mut protocol = Protocol::new(Arc::new(Limits::default()), epoch());
    let mut input = BytesMut::from(
        &b"\x10\x0E\0\x04MQTT\x05\x02\0\0\0\0\x01c\x32\x06\0\x01a\0\x07\0\xF7\0"[..],
    );
    let asked = protocol.receive(&mut input, epoch());
    assert!(matches!(asked, Ok(Some(Event::ConnectRequested(_)))));
    protocol.accept(Accept::default(), epoch()).unwrap();
    let published = protocol.receive(&mut input, epoch());
    let Ok(Some(Event::Publish {
        packet_id: Some(id),
        ..
    })) = published
    else {
        panic!("not a message: {published:?}");
    };
    assert!(protocol.receive(&mut input, epoch()).is_err());
    let told = protocol.outgoing().len();
    // The broker has the message by now, but it is too late to say so.
    protocol.accepted(id, ReasonCode::Success);
    assert_eq!(protocol.outgoing().len(), told);
}

/// spec(5): MQTT-3.2.2-19, MQTT-3.2.2-20
/// spec(5, server): MQTT-3.14.2-3, MQTT-3.14.2-4
#[test]
fn a_client_of_small_packets_is_spoken_to_in_small_packets() {
    let mut house = House::new();
    let mut asking = connect(V5, "c");
    asking.properties.maximum_packet_size = NonZeroU32::new(12);
    let peer = house.connect(asking.clone());
    let connack = connack(&mut house, peer);
    assert_eq!(connack.reason, ReasonCode::Success);
    assert!(rmqtt::codec::encoded_size(&Packet::ConnAck(Box::new(connack)), V5).unwrap() <= 12);
    house.send(
        peer,
        &subscribe(&[("$share/g/a", options(QoS::AtMostOnce))]),
    );
    let heard = house.heard(peer);
    assert!(matches!(&heard[..], [Packet::SubAck(suback)] if suback.properties.is_none()));
    let successor = house.connect(asking);
    let heard = house.heard(peer);
    assert_eq!(heard, [disconnect(ReasonCode::SessionTakenOver)]);
    assert!(!house.is_closed(successor));
}

/// spec(4): MQTT-3.1.2-24
/// spec(5): MQTT-3.1.2-22, MQTT-3.2.2-22
#[test]
fn silence_for_one_and_a_half_keep_alives_ends_the_connection() {
    for version in BOTH {
        let mut house = House::new();
        let mut asking = connect(version, "c");
        asking.keep_alive = 2;
        let peer = house.connect(asking);
        house.let_in(peer);
        house.wait(2 * SECOND);
        house.send(peer, &Packet::PingReq);
        assert_eq!(house.heard(peer), [Packet::PingResp]);
        house.wait(Duration::from_millis(2999));
        assert!(!house.is_closed(peer));
        house.wait(Duration::from_millis(1));
        assert!(house.is_closed(peer));
        let last_words = house.heard(peer);
        match version {
            V5 => assert_eq!(last_words, [disconnect(ReasonCode::KeepAliveTimeout)]),
            _ => assert!(last_words.is_empty()),
        }
        let patient = house.connected(version, "patient");
        house.wait(100_000 * SECOND);
        assert!(!house.is_closed(patient));
    }
}

/// spec(4): MQTT-3.12.4-1
/// spec(5): MQTT-3.12.4-1
#[test]
fn every_ping_is_answered() {
    for version in BOTH {
        let mut house = House::new();
        let peer = house.connected(version, "c");
        house.send_bytes(peer, &[0xC0, 0].repeat(5));
        assert_eq!(house.heard(peer), vec![Packet::PingResp; 5]);
    }
}

/// spec(4): MQTT-3.1.4-2
/// spec(5): MQTT-3.1.4-3
#[test]
fn a_second_connection_of_a_client_ends_the_first() {
    for version in BOTH {
        let mut house = House::new();
        let first = house.connected(version, "c");
        let second = house.connected(version, "c");
        assert!(house.is_closed(first));
        match version {
            V5 => assert_eq!(
                house.heard(first),
                [disconnect(ReasonCode::SessionTakenOver)]
            ),
            _ => assert!(house.heard(first).is_empty()),
        }
        house.send(second, &Packet::PingReq);
        assert_eq!(house.heard(second), [Packet::PingResp]);
    }
}

/// spec(4, server): MQTT-3.1.2-4, MQTT-3.1.2-6, MQTT-3.1.3-2, MQTT-4.1.0-1
/// spec(4): MQTT-3.1.4-3, MQTT-3.2.2-1, MQTT-3.2.2-2, MQTT-3.2.2-3, MQTT-3.1.2-5
/// spec(5, server): MQTT-3.1.2-4, MQTT-3.1.2-23, MQTT-3.1.3-2
/// spec(5): MQTT-3.1.2-5, MQTT-3.1.4-4, MQTT-3.2.2-2, MQTT-3.2.2-3
#[test]
fn a_session_is_resumed_with_what_it_missed_or_thrown_away() {
    for version in BOTH {
        let mut house = House::new();
        let publisher = house.connected(version, "p");
        let peer = house.connect(resume(version, "c"));
        assert!(!house.let_in(peer));
        house.send(peer, &subscribe(&[("t", options(QoS::ExactlyOnce))]));
        house.heard(peer);
        house.cut(peer);
        for number in 1..=20u16 {
            let qos = if number % 2 == 0 {
                QoS::AtLeastOnce
            } else {
                QoS::ExactlyOnce
            };
            house.send(publisher, &publish("t", &number.to_string(), qos, number));
        }
        house.send(publisher, &publish("t", "lost", QoS::AtMostOnce, 0));
        // Another client's session is another session.
        let other = house.connect(resume(version, "other"));
        assert!(!house.let_in(other));

        let back = house.connect(resume(version, "c"));
        let heard = house.heard(back);
        assert!(matches!(&heard[0], Packet::ConnAck(connack) if connack.session_present));
        let payloads: Vec<_> = heard[1..]
            .iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => publish.message.payload.to_vec(),
                other => panic!("{other:?}"),
            })
            .collect();
        let wanted: Vec<_> = (1..=20)
            .map(|number: u16| number.to_string().into_bytes())
            .collect();
        assert_eq!(payloads, wanted);
        house.cut(back);

        let fresh = house.connect(connect(version, "c"));
        assert!(!house.let_in(fresh));
        house.send(publisher, &publish("t", "21", QoS::AtLeastOnce, 21));
        assert!(house.heard(fresh).is_empty());
        house.cut(fresh);
        let again = house.connect(resume(version, "c"));
        assert!(!house.let_in(again));
    }
}

/// spec(5, server): MQTT-4.1.0-1
/// spec(5): MQTT-4.1.0-2
/// spec(5): RMQTT-3.1.2-1, RMQTT-3.1.2-2
#[test]
fn a_session_ends_when_its_time_has_come_and_not_before() {
    let mut house = House::new();
    let expiring = |seconds| {
        let mut connect = resume(V5, "c");
        connect.properties.session_expiry_interval = seconds;
        connect
    };
    let peer = house.connect(expiring(Some(5)));
    house.let_in(peer);
    house.send(peer, &subscribe(&[("t", options(QoS::AtLeastOnce))]));
    house.heard(peer);
    // Not while it is connected.
    house.wait(100 * SECOND);
    house.cut(peer);
    house.wait(4 * SECOND);
    let peer = house.connect(expiring(Some(5)));
    assert!(house.let_in(peer));
    house.cut(peer);
    house.wait(5 * SECOND);
    assert_eq!(house.hub.stats().sessions, 0);
    assert_eq!(house.hub.stats().subscriptions, 0);
    let peer = house.connect(expiring(Some(u32::MAX)));
    assert!(!house.let_in(peer));
    house.cut(peer);
    house.wait(1_000_000 * SECOND);
    let peer = house.connect(expiring(None));
    assert!(house.let_in(peer));
    house.cut(peer);
    assert_eq!(house.hub.stats().sessions, 0);
}

#[test]
fn disconnect_may_change_the_end_of_a_session_but_not_revive_it() {
    let mut house = House::new();
    let leaving = |seconds| {
        Packet::Disconnect(Disconnect {
            session_expiry_interval: Some(seconds),
            ..Disconnect::new(ReasonCode::Success)
        })
    };
    let peer = house.connect(resume(V5, "c"));
    house.let_in(peer);
    house.send(peer, &leaving(2));
    assert!(house.is_closed(peer));
    house.wait(SECOND);
    assert_eq!(house.hub.stats().sessions, 1);
    house.wait(SECOND);
    assert_eq!(house.hub.stats().sessions, 0);

    let peer = house.connected(V5, "d");
    house.send(peer, &leaving(2));
    assert_eq!(house.heard(peer), [disconnect(ReasonCode::ProtocolError)]);
    assert_eq!(house.hub.stats().sessions, 0);
}

/// spec(4, server): MQTT-3.3.1-1, MQTT-4.3.2-1, MQTT-4.3.3-1, MQTT-4.4.0-1
/// spec(4): MQTT-2.3.1-4
/// spec(5, server): MQTT-3.3.1-1, MQTT-4.3.2-3, MQTT-4.3.3-3, MQTT-4.3.3-5, MQTT-4.3.3-6, MQTT-4.4.0-1
#[test]
fn what_was_not_acknowledged_is_sent_again_even_after_a_take_over() {
    for version in BOTH {
        let mut house = House::new();
        let publisher = house.connected(version, "p");
        let peer = house.connect(resume(version, "c"));
        house.let_in(peer);
        house.send(peer, &subscribe(&[("t", options(QoS::ExactlyOnce))]));
        house.heard(peer);
        house.send(publisher, &publish("t", "1", QoS::AtLeastOnce, 1));
        house.send(publisher, &publish("t", "2", QoS::ExactlyOnce, 2));
        house.send(publisher, &publish("t", "3", QoS::ExactlyOnce, 3));
        let sent = house.messages(peer);
        assert!(sent.iter().all(|publish| !publish.dup));
        let ids: Vec<_> = sent
            .iter()
            .map(|publish| publish.packet_id.unwrap())
            .collect();
        house.send(peer, &ack(AckKind::PubRec, ids[1]));
        assert_eq!(house.heard(peer), [ack(AckKind::PubRel, ids[1])]);
        house.wait(60 * SECOND);
        assert!(house.heard(peer).is_empty(), "not before it comes back");

        let successor = house.connect(resume(version, "c"));
        let heard = house.heard(successor);
        assert!(matches!(&heard[0], Packet::ConnAck(connack) if connack.session_present));
        assert!(
            matches!(&heard[1], Packet::Publish(again) if again.dup && again.packet_id == Some(ids[0]))
        );
        assert_eq!(heard[2], ack(AckKind::PubRel, ids[1]));
        assert!(
            matches!(&heard[3], Packet::Publish(again) if again.dup && again.packet_id == Some(ids[2]))
        );
        assert_eq!(heard.len(), 4);
    }
}

#[test]
fn no_more_sessions_are_opened_than_allowed() {
    let mut house = House::with(Limits {
        sessions_max: 1,
        ..Limits::default()
    });
    house.connected(V5, "c");
    assert_eq!(
        refusal(&mut house, connect(V5, "d")),
        ReasonCode::QuotaExceeded
    );
    assert_eq!(
        refusal(&mut house, connect(V4, "d")),
        ReasonCode::ServerUnavailable
    );
    // But whoever has one may have it again.
    house.connected(V5, "c");
}
