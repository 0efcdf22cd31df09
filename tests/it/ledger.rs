//! The ledger of a hub: it balances, and it can fail.

use crate::broker_packets::message;
use crate::seed::epoch;
use rmqtt::broker::bell::Bell;
use rmqtt::broker::hub::{Arrival, Attached, Batch, Fate, Hub, Outcome};
use rmqtt::broker::protocol::{FilterRequest, Room};
use rmqtt::broker::registry::ConnectRequest;
use rmqtt::broker::{ClientInfo, Limits};
use rmqtt::codec::{ProtocolVersion, SubscriptionOptions};
use rmqtt::message::QoS;
use rmqtt::session::Session;
use rmqtt::topic::TopicFilter;
use std::sync::Arc;

/// A hub with a ledger, and a client that subscribed to `a` with QoS 1.
fn subscribed() -> (Hub, Attached) {
    let hub = Hub::new(Arc::new(Limits::default())).with_ledger();
    let arrival = Arrival {
        request: ConnectRequest {
            client_id: "valve".into(),
            clean_start: true,
            session_expiry_interval: 0,
            will: None,
            user: None,
            listener: None,
            rights: None,
            proof: None,
        },
        info: ClientInfo {
            client_id: "valve".to_owned(),
            version: ProtocolVersion::V5,
            peer: rmqtt::transport::PeerInfo::default(),
            username: None,
            user: None,
            keep_alive: 0,
        },
        bell: Arc::new(Bell::default()),
    };
    let Outcome::Granted(granted) = hub.connect(arrival, epoch()) else {
        panic!("not let in");
    };
    let filter = FilterRequest {
        filter: Ok(TopicFilter::new("a").expect("valid")),
        options: SubscriptionOptions {
            qos: QoS::AtLeastOnce,
            ..SubscriptionOptions::default()
        },
    };
    hub.subscribe(&granted.attached, &[filter], None);
    (hub, granted.attached)
}

fn publish(hub: &Hub) {
    let message = message("a", "1", QoS::AtLeastOnce);
    hub.publish(&message, None, &mut Batch::default(), epoch())
        .expect("room");
}

fn difference(hub: &Hub, attached: &Attached) -> (usize, i128) {
    let still = hub.begin_standstill();
    hub.leave_copy(attached, Session::default());
    let balance = hub.try_balance().expect("all stand still");
    drop(still);
    (balance.open, balance.difference())
}

#[test]
fn a_message_that_is_lost_between_two_places_is_missed() {
    let (hub, attached) = subscribed();
    publish(&hub);
    assert_eq!(difference(&hub, &attached), (1, 0));
    let room = Room {
        at_most_once: true,
        acknowledged: true,
    };
    // The fault: it is taken out of the queue, and nothing becomes of it.
    assert!(hub.take(&attached, room, epoch()).is_some());
    assert_eq!(difference(&hub, &attached), (0, 1));
}

#[test]
fn a_message_that_ends_twice_is_one_too_many() {
    let (hub, attached) = subscribed();
    publish(&hub);
    let ended = rmqtt::broker::protocol::Ended {
        acknowledged: 1,
        ..rmqtt::broker::protocol::Ended::default()
    };
    // The fault: it is still in the queue.
    hub.note_settled(&attached, &ended);
    assert_eq!(difference(&hub, &attached), (1, -1));
    let balance = hub.try_balance();
    assert_eq!(balance, None, "somebody does not stand still");
    let _still = hub.begin_standstill();
    hub.leave_copy(&attached, Session::default());
    let ended = hub.try_balance().expect("all stand still").ended;
    assert_eq!(
        ended.into_iter().collect::<Vec<_>>(),
        [(
            (Some("valve".into()), Fate::Acknowledged, "acknowledged"),
            1
        )]
    );
}
