//! Wills and the end of sessions, whichever comes first, by a clock that only the test moves.

use crate::broker_house::{House, PeerId};
use crate::broker_packets::{BOTH, V5, connect, disconnect, message, options, resume, subscribe};
use rmqtt::broker::Limits;
use rmqtt::codec::{Connect, Disconnect, Packet, ReasonCode, Will};
use rmqtt::message::{MessageProperties, QoS};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const ALMOST_A_SECOND: Duration = Duration::from_nanos(999_999_999);

/// From a session that lives for so long, with a will that waits for so long.
fn asking(session_expiry: u32, delay: u32) -> Connect {
    let mut connect = connect(V5, "dying");
    connect.clean_start = false;
    connect.keep_alive = 10;
    connect.properties.session_expiry_interval = Some(session_expiry);
    connect.will = Some(Will {
        message: message("will", "gone", QoS::AtLeastOnce),
        delay_interval: Some(delay),
    });
    connect
}

fn leaving(reason: ReasonCode, session_expiry: u32) -> Packet {
    Packet::Disconnect(Disconnect {
        session_expiry_interval: Some(session_expiry),
        ..Disconnect::new(reason)
    })
}

/// The second at which the will is heard; `None`: not within a thousand.
fn heard_after(house: &mut House, watcher: PeerId) -> Option<u32> {
    for second in 0..1000 {
        match house.messages(watcher).len() {
            0 => house.wait(SECOND),
            1 => return Some(second),
            many => panic!("{many} wills"),
        }
    }
    None
}

type Act = fn(&mut House, PeerId);

/// spec(5): MQTT-3.1.2-8, MQTT-3.1.2-10, MQTT-3.14.4-3
#[test]
fn a_will_is_published_at_its_delay_or_the_end_of_its_session_however_the_connection_ended() {
    let cut: Act = |house, peer| house.cut(peer);
    let with_will: Act = |house, peer| {
        house.send(peer, &disconnect(ReasonCode::DisconnectWithWill));
    };
    let fault: Act = |house, peer| house.send_bytes(peer, &[0, 0]);
    let goodbye: Act = |house, peer| house.send(peer, &disconnect(ReasonCode::Success));
    let sent_away: Act = |house, _| {
        house
            .hub
            .disconnect("dying", ReasonCode::AdministrativeAction);
        house.settle();
    };
    let silence: Act = |house, _| house.wait(15 * SECOND);
    let with_will_and_no_session: Act =
        |house, peer| house.send(peer, &leaving(ReasonCode::DisconnectWithWill, 0));
    let with_will_and_shorter: Act =
        |house, peer| house.send(peer, &leaving(ReasonCode::DisconnectWithWill, 2));
    let with_will_and_longer: Act =
        |house, peer| house.send(peer, &leaving(ReasonCode::DisconnectWithWill, 9));
    let goodbye_and_no_session: Act =
        |house, peer| house.send(peer, &leaving(ReasonCode::Success, 0));
    let cases: [(u32, u32, Act, Option<u32>); 18] = [
        // Session expiry, will delay, how it ends, when the will is heard.
        (100, 0, cut, Some(0)),
        (100, 3, cut, Some(3)),
        (3, 100, cut, Some(3)),
        (5, 5, cut, Some(5)),
        (0, 100, cut, Some(0)),
        (u32::MAX, u32::MAX, cut, None),
        (100, 3, with_will, Some(3)),
        (3, 100, with_will, Some(3)),
        (100, 3, fault, Some(3)),
        (100, 3, sent_away, Some(3)),
        (100, 3, silence, Some(3)),
        (0, 3, silence, Some(0)),
        (100, 3, goodbye, None),
        (0, 3, goodbye, None),
        (100, 5, with_will_and_no_session, Some(0)),
        (100, 5, with_will_and_shorter, Some(2)),
        (3, 100, with_will_and_longer, Some(9)),
        (100, 5, goodbye_and_no_session, None),
    ];
    for (number, (session_expiry, delay, end, expected)) in cases.into_iter().enumerate() {
        let mut house = House::new();
        let watcher = house.subscriber(V5, "will", QoS::AtMostOnce);
        let peer = house.connect(asking(session_expiry, delay));
        house.let_in(peer);
        end(&mut house, peer);
        assert!(house.is_closed(peer), "case {number}");
        assert_eq!(heard_after(&mut house, watcher), expected, "case {number}");
    }
}

/// spec(5): MQTT-3.1.2-8, MQTT-3.1.3-9
#[test]
fn a_client_that_comes_back_keeps_its_old_will_back_only_if_it_takes_its_session_up() {
    // Will delay, still connected or cut, clean start: whether the old will is published.
    for (delay, is_cut, clean_start, is_published) in [
        (5, true, false, false),
        (5, true, true, true),
        (5, false, false, false),
        (5, false, true, true),
        // Without a delay it was published when the connection ended.
        (0, true, false, true),
        (0, false, false, true),
        (0, false, true, true),
    ] {
        let case = format!("{delay} {is_cut} {clean_start}");
        let mut house = House::new();
        let watcher = house.subscriber(V5, "will", QoS::AtMostOnce);
        let peer = house.connect(asking(100, delay));
        if is_cut {
            house.cut(peer);
        }
        let mut back = resume(V5, "dying");
        back.clean_start = clean_start;
        let back = house.connect(back);
        assert!(!house.is_closed(back) && house.is_closed(peer), "{case}");
        let heard = heard_after(&mut house, watcher);
        assert_eq!(heard, is_published.then_some(0), "{case}");
        // The one that has come back has none.
        house.cut(back);
        assert_eq!(heard_after(&mut house, watcher), None, "{case}");
    }
}

/// At the very second of its end a session is over, and its will is out.
#[test]
fn who_comes_back_a_moment_too_late_finds_neither_session_nor_will() {
    let mut house = House::new();
    let watcher = house.subscriber(V5, "will", QoS::AtMostOnce);
    let peer = house.connect(asking(5, 5));
    house.cut(peer);
    house.wait(4 * SECOND + ALMOST_A_SECOND);
    let peer = house.connect(asking(5, 5));
    assert!(house.let_in(peer));
    assert!(house.messages(watcher).is_empty());
    house.cut(peer);
    house.wait(5 * SECOND);
    assert_eq!(house.payloads(watcher), ["gone"]);
    let peer = house.connect(asking(5, 5));
    assert!(!house.let_in(peer));
    assert!(house.messages(watcher).is_empty());
}

/// spec(5): MQTT-3.1.2-7, MQTT-3.3.2-6
#[test]
fn a_wills_own_time_begins_when_it_is_published() {
    let mut house = House::new();
    let live = house.subscriber(V5, "will", QoS::AtMostOnce);
    let absent = house.connect(resume(V5, "absent"));
    house.send(absent, &subscribe(&[("will", options(QoS::AtLeastOnce))]));
    house.cut(absent);
    let mut connect = asking(1000, 60);
    let properties = MessageProperties {
        message_expiry_interval: Some(10),
        ..MessageProperties::default()
    };
    let will = connect.will.as_mut().unwrap();
    will.message.properties = Some(Arc::new(properties));
    let peer = house.connect(connect);
    house.wait(14 * SECOND);
    house.cut(peer);
    house.wait(59 * SECOND);
    assert!(house.messages(live).is_empty());
    house.wait(SECOND);
    let left = |house: &mut House, peer| {
        let messages = house.messages(peer);
        messages
            .iter()
            .map(|publish| publish.message.properties().message_expiry_interval)
            .collect::<Vec<_>>()
    };
    assert_eq!(left(&mut house, live), [Some(10)]);
    house.wait(4 * SECOND);
    let absent = house.connect(resume(V5, "absent"));
    assert!(
        matches!(house.heard(absent)[..], [Packet::ConnAck(_), Packet::Publish(ref publish)]
        if publish.message.properties().message_expiry_interval == Some(6))
    );
}

/// spec(5): RMQTT-3.14.2-1, RMQTT-3.14.2-2
#[test]
fn disconnect_changes_the_end_of_a_session_within_what_is_granted() {
    // Ceiling, asked for, changed to: how long it lives. Nothing: as it was.
    for (ceiling, asked, changed, lives) in [
        (u32::MAX, 5, Some(9), 9),
        (u32::MAX, 9, Some(5), 5),
        (u32::MAX, 9, None, 9),
        (u32::MAX, u32::MAX, Some(3), 3),
        (7, 5, Some(9), 7),
        (7, 9, None, 7),
        // It asked for a session, though it was granted none.
        (0, 9, Some(9), 0),
        (0, 9, None, 0),
        (u32::MAX, 9, Some(0), 0),
        (u32::MAX, 0, Some(0), 0),
    ] {
        let case = format!("{ceiling} {asked} {changed:?}");
        let mut house = House::with(Limits {
            session_expiry_max: ceiling,
            ..Limits::default()
        });
        let mut connect = connect(V5, "c");
        connect.properties.session_expiry_interval = Some(asked);
        let peer = house.connect(connect);
        house.let_in(peer);
        match changed {
            Some(seconds) => house.send(peer, &leaving(ReasonCode::Success, seconds)),
            None => house.send(peer, &disconnect(ReasonCode::Success)),
        }
        assert!(
            house.is_closed(peer) && house.heard(peer).is_empty(),
            "{case}"
        );
        if lives > 0 {
            house.wait((lives - 1) * SECOND + ALMOST_A_SECOND);
            assert_eq!(house.hub.stats().sessions, 1, "{case}");
            house.wait(Duration::from_nanos(1));
        }
        assert_eq!(house.hub.stats().sessions, 0, "{case}");
    }
    // Who asked for none cannot want one in the end, whatever the ceiling.
    for ceiling in [0, 9, u32::MAX] {
        let mut house = House::with(Limits {
            session_expiry_max: ceiling,
            ..Limits::default()
        });
        let peer = house.connected(V5, "c");
        house.send(peer, &leaving(ReasonCode::Success, 9));
        assert_eq!(house.heard(peer), [disconnect(ReasonCode::ProtocolError)]);
        assert_eq!(house.hub.stats().sessions, 0);
    }
}

/// A stop is the end of every connection, and wills are said: sessions stay for the next start.
#[test]
fn a_will_is_published_when_the_broker_sends_everybody_away() {
    for version in BOTH {
        let mut house = House::new();
        let watcher = house.subscriber(version, "will", QoS::AtMostOnce);
        let mut dying = connect(version, "dying");
        dying.will = Some(Will {
            message: message("will", "gone", QoS::AtMostOnce),
            delay_interval: None,
        });
        let peer = house.connect(dying);
        house.let_in(peer);
        house
            .hub
            .disconnect("dying", ReasonCode::ServerShuttingDown);
        house.settle();
        assert!(house.is_closed(peer));
        assert_eq!(house.payloads(watcher), ["gone"]);
    }
}
