//! Groups of shared subscriptions, and members that are out to make them costly.

use crate::seed::epoch;
use rmqtt::broker::Limits;
use rmqtt::broker::bell::Bell;
use rmqtt::broker::group::{After, Group, Shared, Sharing};
use rmqtt::broker::memory::Memory;
use rmqtt::broker::outbox::{Letter, Next, Outbox, Pressure, Ready};
use rmqtt::broker::protocol::Room;
use rmqtt::broker::router::SessionKey;
use rmqtt::broker::subscriptions::Subscription;
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;
use std::sync::Arc;
use std::time::Instant;

fn granted(qos: QoS) -> Subscription {
    let mut subscription = Subscription::default();
    subscription.options.qos = qos;
    subscription
}

/// A group, and what its members are told, without a broker around it.
struct Table {
    group: Arc<Group>,
    members: Vec<Arc<Outbox>>,
    now: Instant,
    memory: Arc<Memory>,
}

impl Table {
    fn new(members: usize) -> Self {
        let limits = Limits::default();
        let memory = Memory::new(&limits);
        let outbox = || {
            let outbox = Arc::new(Outbox::new(&limits, &memory));
            outbox.connect(Arc::new(Bell::default()), 0);
            outbox
        };
        Self {
            group: Arc::new(Group::new(&limits, &memory, Sharing::default())),
            members: (0..members).map(|_| outbox()).collect(),
            now: epoch(),
            memory,
        }
    }

    fn follow(&self, after: After) {
        for (outbox, member) in after.ready {
            let group = Arc::downgrade(&self.group);
            outbox.make_ready(Ready { group, member });
        }
    }

    fn join(&self, at: usize, qos: QoS) {
        let outbox = &self.members[at];
        self.follow(self.group.join(SessionKey(at), outbox, granted(qos)));
    }

    fn leave(&self, at: usize) {
        self.follow(self.group.leave(&self.members[at]));
        self.members[at].forget_hand(&self.group);
    }

    fn push(&self, qos: QoS) -> Shared {
        let message = Message::new(TopicName::new("t").expect("a topic"), "m").with_qos(qos);
        let mut letter = Letter::new(&message, 0, &self.memory, self.now);
        let mut shared = self.group.push(&mut letter, None, self.now);
        self.follow(std::mem::take(&mut shared.after));
        shared
    }

    fn hand(&self, at: usize) -> usize {
        self.group.len_of(&self.members[at])
    }
}

#[test]
fn who_joins_and_leaves_without_end_does_not_have_all_hands_dealt_anew_each_time() {
    let table = Table::new(4);
    for at in 0..3 {
        table.join(at, QoS::AtLeastOnce);
    }
    for _ in 0..180 {
        table.push(QoS::AtLeastOnce);
    }
    // Who comes first gets its part of what others have in hand.
    table.join(3, QoS::AtLeastOnce);
    assert_eq!([0, 1, 2, 3].map(|at| table.hand(at)), [45; 4]);
    for _ in 0..1000 {
        table.leave(3);
        assert_eq!(table.group.len(), 180);
        table.join(3, QoS::AtLeastOnce);
        assert_eq!(table.hand(3), 0, "everything was moved for one packet");
    }
    // As much traffic later it does again.
    for _ in 0..180 {
        table.push(QoS::AtLeastOnce);
    }
    table.leave(3);
    table.join(3, QoS::AtLeastOnce);
    assert_eq!(table.group.len(), 360);
    assert!(table.hand(3) > 0);
}

#[test]
fn to_subscribe_again_to_the_same_moves_nothing() {
    let table = Table::new(2);
    table.join(0, QoS::AtLeastOnce);
    table.join(1, QoS::AtLeastOnce);
    for _ in 0..10 {
        table.push(QoS::AtLeastOnce);
    }
    let after = table
        .group
        .join(SessionKey(1), &table.members[1], granted(QoS::AtLeastOnce));
    assert!(after.ready.is_empty());
    assert_eq!([0, 1].map(|at| table.hand(at)), [5, 5]);
}

#[test]
fn hands_of_groups_that_were_left_are_not_remembered() {
    let table = Table::new(2);
    table.join(0, QoS::AtLeastOnce);
    for _ in 0..10 {
        table.push(QoS::AtLeastOnce);
    }
    for _ in 0..1000 {
        table.join(1, QoS::AtLeastOnce);
        table.leave(1);
    }
    table.join(1, QoS::AtLeastOnce);
    let room = Room {
        at_most_once: true,
        acknowledged: true,
    };
    assert!(matches!(table.members[1].take(room), Next::Hand(_)));
    assert!(matches!(table.members[1].take(room), Next::Nothing));
}

#[test]
fn where_every_member_was_granted_qos_0_it_is_qos_0_that_is_dropped_and_nobody_is_held_back() {
    let table = Table::new(1);
    table.join(0, QoS::AtMostOnce);
    let limit = Limits::default().queue_messages_max;
    let mut dropped = 0;
    for _ in 0..2 * limit {
        let shared = table.push(QoS::AtLeastOnce);
        assert_eq!(shared.pressure, Pressure::None);
        assert_eq!(shared.qos, QoS::AtMostOnce);
        dropped += usize::from(shared.is_dropped);
    }
    assert!(table.group.len() <= limit);
    assert_eq!(dropped, 2 * limit - table.group.len());
    let after = table.group.set_online(&table.members[0], false);
    assert_eq!((after.dropped, table.group.len()), (2 * limit - dropped, 0));
    let absent = table.push(QoS::AtLeastOnce);
    assert!(absent.is_dropped);
    assert_eq!(absent.qos, QoS::AtMostOnce);
}
