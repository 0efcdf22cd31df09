//! The client's machine and the broker's, face to face: a fake wire, a clock of their own, no task and no socket.
//!
//! The wire has what TCP has: pieces of any size, delay, stalls, and an end at any byte, which one side may not notice.
//! [`Pair::step`] moves the clock to whatever happens next. The applications at both ends are part of the pair: they
//! number their messages, and take their time to accept what comes.

mod pipe;
mod world;

pub(crate) use self::pipe::Pipe;

use self::world::Pair;
use crate::seed::{Seed, each};
use rmqtt::client::ClientError;
use rmqtt::codec::{ProtocolVersion, ReasonCode};
use std::time::Duration;

const VERSIONS: [ProtocolVersion; 2] = [ProtocolVersion::V3_1_1, ProtocolVersion::V5];

/// spec(4, client): MQTT-3.1.2-4, MQTT-4.1.0-1, MQTT-4.3.2-1, MQTT-4.3.3-1, MQTT-4.3.3-2, MQTT-4.4.0-1, MQTT-4.6.0-1
/// spec(4, server): MQTT-4.1.0-1, MQTT-4.3.2-1, MQTT-4.3.2-2, MQTT-4.3.3-1, MQTT-4.3.3-2, MQTT-4.4.0-1
/// spec(5, client): MQTT-4.4.0-1, MQTT-4.6.0-1
/// spec(5, server): MQTT-3.1.2-5, MQTT-4.4.0-1
#[test]
fn every_message_arrives_as_its_qos_promises_whatever_the_wire_does() {
    each(2_000, |mut seed| {
        let version = VERSIONS[seed.pick(0..2)];
        let mut pair = Pair::new(version, seed.clone());
        for _ in 0..seed.pick(10..80) {
            match seed.pick(0..20) {
                0..4 => pair.publish(true),
                4..8 => pair.publish(false),
                8..10 => pair.accept_one(),
                10 => pair.budget = pair.budget.min(seed.pick(0..200)),
                11 => pair.to_client.is_stalled = seed.one_in(2),
                12 => pair.server.from_client.is_stalled = seed.one_in(2),
                13 if !pair.is_up => pair.connect(),
                14 => pair.answer_all(),
                _ => {
                    pair.pump();
                    pair.step();
                }
            }
        }
        pair.run_until_quiet();
        pair.check();
    });
}

/// One message of each kind in each direction, cut at every single byte of what that takes.
#[test]
fn a_cut_at_any_byte_loses_nothing_and_repeats_no_qos_2() {
    for version in VERSIONS {
        for at in 0..700 {
            let mut pair = Pair::new(version, Seed::new(at as u64));
            for _ in 0..3 {
                pair.publish(true);
                pair.publish(false);
            }
            pair.budget = at;
            while pair.is_up && pair.next_event().is_some() {
                pair.step();
                pair.accept_one();
                pair.answer_all();
                pair.pump();
            }
            pair.run_until_quiet();
            pair.check();
        }
    }
}

/// spec(4): MQTT-3.1.2-23, MQTT-3.12.4-1
/// spec(5): MQTT-3.1.2-20, MQTT-3.12.4-1
#[test]
fn an_idle_connection_stays_up_by_pings() {
    for version in VERSIONS {
        let mut pair = Pair::new(version, Seed::new(1));
        let begin = pair.now;
        while pair.now < begin + Duration::from_secs(3600) {
            assert!(pair.step() && pair.is_up, "{:?}", pair.errors);
        }
        assert!(pair.errors.is_empty());
    }
}

/// spec(4): MQTT-3.1.2-24
/// spec(5): MQTT-3.1.2-22
#[test]
fn each_side_notices_that_the_other_is_gone() {
    for version in VERSIONS {
        let mut pair = Pair::new(version, Seed::new(1));
        pair.run_until_quiet();
        pair.cut(true);
        let begin = pair.now;
        while pair.half_open.is_some() {
            assert!(pair.step());
        }
        let patience = pair.now - begin;
        assert!(
            (14_900..=15_000).contains(&patience.as_millis()),
            "one and a half keep alive intervals, less what the last packet took: {patience:?}"
        );

        let mut pair = Pair::new(version, Seed::new(1));
        pair.run_until_quiet();
        pair.to_client.is_stalled = true;
        let begin = pair.now;
        while pair.errors.is_empty() {
            assert!(pair.step());
        }
        assert!(
            pair.now - begin <= Duration::from_secs(20),
            "a ping, and its answer's time"
        );
    }
}

#[test]
fn a_connection_that_is_taken_over_is_told() {
    let mut pair = Pair::new(ProtocolVersion::V5, Seed::new(1));
    pair.run_until_quiet();
    pair.server.protocol.close(ReasonCode::SessionTakenOver);
    pair.pump();
    while pair.errors.is_empty() {
        assert!(pair.step());
    }
    let [ClientError::ServerDisconnected(disconnect)] = &pair.errors[..] else {
        panic!("{:?}", pair.errors);
    };
    assert_eq!(disconnect.reason, ReasonCode::SessionTakenOver);
}
