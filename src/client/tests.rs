//! The bounds of an inbox, who gets which message, and what the end of a client waits for.

use super::commands::{Queue, Work};
use super::dispatch::{Dispatch, Key};
use super::inbox::{Aftermath, Resumption};
use super::{
    Ack, ClientError, ClientOptions, ClientStats, Close, Delivery, DeliveryReceipt, Inbox,
    Overflow, SubscriptionSettings, Taken,
};
use crate::codec::{PacketId, Publish, ReasonCode, SubscribeFilter, SubscriptionOptions};
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use crate::transport::Address;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::SystemTime;

fn key(number: u32) -> Key {
    NonZeroU32::new(number).unwrap()
}

fn queue() -> Queue {
    Queue::new(&ClientOptions::new(Address::Memory {
        name: "unused".to_owned(),
    }))
}

fn inbox(messages_max: usize, overflow: Option<Overflow>, ack: Ack) -> Inbox {
    let settings = SubscriptionSettings {
        messages_max,
        bytes_max: 1000,
        overflow,
        ack,
        user_properties: Vec::new(),
    };
    Inbox::new(key(1), settings, Arc::new(queue()))
}

fn delivery(number: u16, qos: QoS) -> Delivery {
    Delivery {
        message: Message::new(TopicName::new("t").unwrap(), number.to_string()).with_qos(qos),
        dup: false,
        received_at: SystemTime::UNIX_EPOCH,
        receipt: (qos != QoS::AtMostOnce).then(|| DeliveryReceipt {
            packet_id: PacketId::new(number).unwrap(),
            delivery: u64::from(number),
        }),
    }
}

fn push_all(inbox: &Inbox, count: u16, qos: QoS) -> Aftermath {
    let mut after = Aftermath::default();
    for number in 1..=count {
        inbox.push(delivery(number, qos), &mut after);
    }
    after
}

fn taken(inbox: &Inbox) -> Vec<String> {
    let mut into = VecDeque::new();
    inbox.take(&mut into, usize::MAX, None);
    into.iter()
        .map(|delivery| String::from_utf8(delivery.message.payload.to_vec()).unwrap())
        .collect()
}

fn settled(after: &Aftermath) -> Vec<u64> {
    after
        .settled
        .iter()
        .map(|(_, receipt)| receipt.delivery)
        .collect()
}

/// Each batch is one read buffer, which one message keeps alive as well as a thousand.
#[test]
fn an_inbox_keeps_no_more_read_buffers_alive_than_it_may() {
    let inbox = inbox(1000, None, Ack::Processed);
    let message = Message::new(TopicName::new("t").unwrap(), "in a read buffer");
    let mut after = Aftermath::default();
    let push = |after: &mut Aftermath| {
        let one = delivery(1, QoS::AtMostOnce);
        let message = message.clone();
        inbox.push(Delivery { message, ..one }, after);
    };
    let is_next_copied = || {
        let taken = inbox.take_one(None).unwrap().message;
        assert_eq!(taken, message);
        taken.payload.as_ptr() != message.payload.as_ptr()
    };
    for _ in 0..20 {
        push(&mut after);
        push(&mut after);
        after.batch += 1;
    }
    let copied: Vec<_> = (0..40).map(|_| is_next_copied()).collect();
    assert!(copied.iter().position(|copied| *copied) == Some(2 * 17));
    assert!(copied[34..].iter().all(|copied| *copied));
    push(&mut after);
    assert!(!is_next_copied(), "it was empty before");
}

#[test]
fn each_policy_keeps_what_it_says_and_acknowledges_what_it_drops() {
    let one = QoS::AtLeastOnce;
    for (overflow, qos, kept, dropped) in [
        (None, QoS::AtMostOnce, &["3", "4"][..], 2),
        (Some(Overflow::Wait), QoS::AtMostOnce, &["3", "4"], 2),
        (None, one, &["1", "2", "3", "4"], 0),
        (Some(Overflow::DropOldest), one, &["3", "4"], 2),
        (Some(Overflow::DropNewest), one, &["1", "2"], 2),
        (Some(Overflow::Latest), one, &["4"], 3),
    ] {
        let inbox = inbox(2, overflow, Ack::Processed);
        let after = push_all(&inbox, 4, qos);
        assert_eq!(inbox.pending(), kept.len(), "{overflow:?}");
        assert_eq!(taken(&inbox), kept, "{overflow:?}");
        assert_eq!(inbox.dropped(), dropped, "{overflow:?}");
        if qos == one {
            assert_eq!(after.settled.len() as u64, dropped, "{overflow:?}");
        }
    }
}

#[test]
fn the_policy_error_fails_behind_what_owes_nothing() {
    let inbox = inbox(2, Some(Overflow::Error), Ack::Received);
    let after = push_all(&inbox, 3, QoS::AtLeastOnce);
    assert_eq!(settled(&after), [1, 2]);
    assert_eq!(after.abandoned.len(), 1);
    assert_eq!(taken(&inbox), ["1", "2"]);
    let end = inbox.take(&mut VecDeque::new(), 1, None);
    assert_eq!(end, Taken::Failed(ClientError::QueueFull));
}

#[test]
fn the_policy_error_abandons_what_is_not_acknowledged() {
    let inbox = inbox(2, Some(Overflow::Error), Ack::Processed);
    let after = push_all(&inbox, 4, QoS::AtLeastOnce);
    assert_eq!(after.failed, [key(1)]);
    let abandoned = after.abandoned.iter().map(|receipt| receipt.delivery);
    assert_eq!(abandoned.collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(inbox.dropped(), 4);
    let end = inbox.take(&mut VecDeque::new(), 1, None);
    assert_eq!(end, Taken::Failed(ClientError::QueueFull));
}

#[test]
fn what_is_parked_is_not_received_yet() {
    let inbox = inbox(2, None, Ack::Received);
    let after = push_all(&inbox, 4, QoS::AtLeastOnce);
    assert_eq!(settled(&after), [1, 2]);
    // A QoS 0 message finds no room behind them.
    let mut after = Aftermath::default();
    inbox.push(delivery(9, QoS::AtMostOnce), &mut after);
    assert_eq!(inbox.dropped(), 1);
    assert_eq!(taken(&inbox), ["1", "2", "3", "4"]);
}

#[test]
fn bytes_are_a_bound_too_but_one_message_always_fits() {
    let inbox = inbox(100, Some(Overflow::DropOldest), Ack::Processed);
    let mut after = Aftermath::default();
    for size in [2000, 600, 300, 200] {
        let mut large = delivery(1, QoS::AtMostOnce);
        large.message.payload = vec![0; size].into();
        inbox.push(large, &mut after);
    }
    assert_eq!(inbox.pending(), 2);
    assert_eq!(inbox.dropped(), 2);
}

#[test]
fn a_resumed_connection_leaves_qos_2_and_a_new_session_leaves_the_inbox_proper() {
    let both = || {
        let inbox = inbox(2, None, Ack::Processed);
        let mut after = Aftermath::default();
        for (number, qos) in [
            (1, QoS::AtLeastOnce),
            (2, QoS::ExactlyOnce),
            (3, QoS::AtLeastOnce),
            (4, QoS::ExactlyOnce),
        ] {
            inbox.push(delivery(number, qos), &mut after);
        }
        inbox
    };
    let resumed = both();
    resumed.begin_connection(Resumption::Sure);
    assert_eq!(taken(&resumed), ["2", "4"]);
    let new = both();
    new.begin_connection(Resumption::None);
    assert_eq!(taken(&new), ["1", "2"]);
}

fn filters(texts: &[&str]) -> Vec<SubscribeFilter> {
    texts
        .iter()
        .map(|text| SubscribeFilter {
            filter: (*text).into(),
            options: SubscriptionOptions::default(),
        })
        .collect()
}

fn routed(dispatch: &mut Dispatch, topic: &str, ids: &[u32]) -> Vec<u32> {
    let topic = TopicName::new(topic.to_owned()).unwrap();
    let mut publish = Publish::new(Message::new(topic, ""));
    publish.subscription_ids = ids.iter().map(|id| key(*id)).collect();
    let mut keys = Vec::new();
    dispatch.route(&publish, &mut keys);
    keys.into_iter().map(NonZeroU32::get).collect()
}

#[test]
fn identifiers_decide_where_they_make_sense_and_filters_elsewhere() {
    let mut dispatch = Dispatch::default();
    dispatch.add(key(1), &filters(&["a/#", "x"]));
    dispatch.add(key(2), &filters(&["a/b"]));
    dispatch.add(key(3), &filters(&["$share/g/s/+"]));
    assert_eq!(routed(&mut dispatch, "a/b", &[2]), [2]);
    assert_eq!(routed(&mut dispatch, "a/b", &[1, 2]), [1, 2]);
    assert_eq!(routed(&mut dispatch, "a/b", &[]), [1, 2]);
    assert_eq!(routed(&mut dispatch, "s/1", &[]), [3]);
    // An identifier of another process's session, whose number means something else here.
    assert_eq!(routed(&mut dispatch, "x", &[2]), [1]);
    assert!(routed(&mut dispatch, "nobody", &[]).is_empty());
}

#[test]
fn who_gets_a_topic_changes_with_the_subscriptions_though_nothing_came_between() {
    let mut dispatch = Dispatch::default();
    assert!(routed(&mut dispatch, "a", &[]).is_empty());
    dispatch.add(key(1), &filters(&["a"]));
    assert_eq!(routed(&mut dispatch, "a", &[]), [1]);
    dispatch.add(key(2), &filters(&["#"]));
    assert_eq!(routed(&mut dispatch, "a", &[]), [1, 2]);
    assert_eq!(routed(&mut dispatch, "a", &[1]), [1]);
    dispatch.remove(key(1));
    assert_eq!(routed(&mut dispatch, "a", &[]), [2]);
}

#[test]
fn subscriptions_with_one_filter_are_one_to_the_broker_and_two_here() {
    let mut dispatch = Dispatch::default();
    dispatch.add(key(1), &filters(&["a/+"]));
    dispatch.add(key(2), &filters(&["a/+", "b"]));
    assert_eq!(routed(&mut dispatch, "a/b", &[2]), [2, 1]);
    assert!(dispatch.is_shared_with_others(key(2), &"a/+".into()));
    assert_eq!(dispatch.remove(key(2)), ["b"]);
    // The broker still knows the filter by the identifier of the one that went.
    assert_eq!(routed(&mut dispatch, "a/b", &[2]), [1]);
    assert_eq!(dispatch.remove(key(1)), ["a/+"]);
    assert!(routed(&mut dispatch, "a/b", &[2]).is_empty());
}

#[test]
fn a_message_for_two_is_done_when_both_are_with_the_first_failure() {
    let mut dispatch = Dispatch::default();
    let mut publish = Publish::new(Message::new(TopicName::new("t").unwrap(), ""));
    publish.packet_id = PacketId::new(7);
    dispatch.owe(&publish, 1, &[key(1), key(2)]);
    let refused = ReasonCode::NotAuthorized;
    assert_eq!(dispatch.processed(key(1), 1, refused), None);
    assert_eq!(dispatch.processed(key(1), 1, ReasonCode::Success), None);
    let done = dispatch.processed(key(2), 1, ReasonCode::Success).unwrap();
    assert_eq!((done.packet_id.get(), done.reason), (7, refused));
    assert_eq!(dispatch.processed(key(2), 1, ReasonCode::Success), None);
}

#[test]
fn the_end_is_there_when_all_have_been_told() {
    let queue = queue();
    queue.begin().unwrap();
    let mut ended = pin!(queue.ended());
    let mut context = Context::from_waker(Waker::noop());
    drop(queue.end(ClientError::Closed));
    assert!(ended.as_mut().poll(&mut context).is_pending());
    queue.over();
    assert!(ended.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_connection_that_comes_up_while_the_client_is_closed_is_cut() {
    let queue = queue();
    queue.begin().unwrap();
    queue.close(Close::Drain(std::time::Duration::MAX));
    let closing = queue.take(&mut Work::default(), &ClientStats::default());
    assert_eq!(closing, Some(Close::Abort));
}
