//! A whole broker of four connections, driven by bytes as its driver would be: connect, send anything in pieces, stop
//! reading, cut, let time pass. It does not panic, says only what a server may say, keeps to the bounds, and when all are
//! gone it keeps nothing it was not asked to keep.
//!
//! Three bytes make an act: which connection, what, how much; some acts take more bytes behind them. Ready-made packets
//! are there so that the bytes soon come to more than a CONNECT; [`line`] is one connection, [`peer`] what it hears.

mod line;
mod peer;

use line::Line;
use rmqtt::broker::Limits;
use rmqtt::broker::hub::Hub;
use rmqtt::codec::{Packet, ProtocolVersion};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LINES: usize = 4;

/// Small, so that few bytes reach them; what there is of each is checked after every act.
fn limits() -> Limits {
    Limits {
        packet_size_max: 4_000,
        control_packet_size_max: 1_000,
        topic_levels_max: 8,
        receive_maximum: 6,
        in_flight_max: 5,
        queue_messages_max: 12,
        queue_bytes_max: 6_000,
        sessions_max: 3,
        session_expiry_max: 1_000,
        subscriptions_max: 5,
        retained_messages_max: 4,
        retained_bytes_max: 4_000,
        topic_alias_max: 3,
        keep_alive_max: 500,
        ..Limits::default()
    }
}

pub(crate) fn check(data: &[u8]) {
    let mut world = World::new();
    let mut acts = data;
    for _ in 0..400 {
        let [who, what, much, rest @ ..] = acts else {
            break;
        };
        acts = rest;
        world.act(usize::from(*who), *what, *much, &mut acts);
        world.settle();
        world.check_bounds();
    }
    world.end();
}

struct World {
    hub: Hub,
    lines: [Line; LINES],
    now: Instant,
}

impl World {
    fn new() -> Self {
        let hub = Hub::new(Arc::new(limits()));
        let now = epoch();
        Self {
            lines: std::array::from_fn(|_| Line::new(&hub, now)),
            hub,
            now,
        }
    }

    fn act(&mut self, who: usize, what: u8, much: u8, more: &mut &[u8]) {
        let who = who % LINES;
        let line = &mut self.lines[who];
        match what % 16 {
            0 => line.feed(&take(more, much.into())),
            1 => line.feed_packet(&canned::connect(who, much)),
            2 => line.feed_packet(&canned::publish(much, more)),
            3 => line.feed_packet(&canned::subscribe(much)),
            4 => line.feed_packet(&canned::unsubscribe(much)),
            5 => line.acknowledge(usize::from(much)),
            6 => line.feed_packet(&canned::release(much)),
            7 => line.feed_packet(&Packet::PingReq),
            8 => line.feed_packet(&canned::disconnect(much)),
            9 => line.is_reading = much.is_multiple_of(2),
            10 => line.close_pipe(&self.hub, self.now),
            11 => {
                // A new connection in its place; the broker may not have noticed the end of the old one yet.
                line.close_pipe(&self.hub, self.now);
                *line = Line::new(&self.hub, self.now);
            }
            12 => self.pass(Duration::from_millis(u64::from(much) * 100)),
            13 => self.pass(Duration::from_secs(u64::from(much) * 10)),
            14 => {
                let client_id = canned::client_id(usize::from(much));
                self.hub
                    .disconnect(&client_id, rmqtt::codec::ReasonCode::AdministrativeAction);
            }
            _ => {
                // The same message many times: this is how queues run over.
                let packet = canned::publish(much, more);
                for _ in 0..much / 4 {
                    line.feed_packet(&packet);
                }
            }
        }
    }

    /// Every connection does what it can, as often as it is woken; it must come to rest.
    fn settle(&mut self) {
        for line in &mut self.lines {
            line.run(&self.hub, self.now);
        }
        for _ in 0..10_000 {
            let Some(line) = self.lines.iter_mut().find(|line| line.has_rung()) else {
                return;
            };
            line.run(&self.hub, self.now);
        }
        panic!("the connections wake each other for ever");
    }

    /// Lets time pass, in steps of whatever is due on the way.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..10_000 {
            let due = self.lines.iter().filter_map(Line::next_timeout);
            let due = due.chain(self.hub.next_timeout()).min();
            let Some(due) = due.filter(|due| *due <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(due);
            self.hub.handle_timeout(self.now);
            self.settle();
        }
        panic!("something is due again and again");
    }

    fn check_bounds(&self) {
        let (limits, stats) = (self.hub.limits(), self.hub.stats());
        assert!(stats.connections <= LINES && stats.sessions <= limits.sessions_max);
        assert!(stats.subscriptions <= stats.sessions * limits.subscriptions_max);
        assert!(stats.retained_messages <= limits.retained_messages_max);
        assert!(stats.retained_bytes <= limits.retained_bytes_max);
        for session in self.hub.sessions() {
            assert!(session.in_flight <= limits.in_flight_max.into());
            // Four times the bound where a client floods itself, all that one act brings before it is sent away, and one
            // message of everybody else.
            let queue_max = 4 * limits.queue_messages_max + 64 + 2 * LINES;
            assert!(session.queued_messages <= queue_max, "{session:?}");
        }
    }

    /// Everybody leaves. Sessions and retained messages go when their time is over, and nothing is due for ever.
    fn end(&mut self) {
        for line in &mut self.lines {
            line.close_pipe(&self.hub, self.now);
        }
        self.settle();
        assert_eq!(self.hub.stats().connections, 0);
        self.pass(Duration::from_secs(2_000));
        assert_eq!(self.hub.stats().sessions, 0);
        assert_eq!(self.hub.stats().subscriptions, 0);
        assert_eq!(self.hub.stats().queued_messages, 0);
    }
}

/// So many bytes, or what is left.
fn take(more: &mut &[u8], length: usize) -> Vec<u8> {
    let (taken, rest) = more.split_at(length.min(more.len()));
    *more = rest;
    taken.to_vec()
}

/// Time is counted from here; which instant it is makes no difference.
#[expect(
    clippy::disallowed_methods,
    reason = "an instant cannot be made otherwise"
)]
fn epoch() -> Instant {
    Instant::now()
}

/// Packets of which one byte says nearly everything.
mod canned {
    use super::{Packet, ProtocolVersion, take};
    use rmqtt::codec::{
        Ack, AckKind, Connect, ConnectProperties, Disconnect, PacketId, Publish, ReasonCode,
        RetainHandling, Subscribe, SubscribeFilter, SubscriptionOptions, Unsubscribe, Will,
    };
    use rmqtt::message::{Message, MessageProperties, QoS};
    use rmqtt::topic::TopicName;
    use std::num::{NonZeroU16, NonZeroU32};
    use std::sync::Arc;

    const TOPICS: [&str; 4] = ["a", "a/b", "$x", "1/2/3/4/5/6/7/8/9"];
    const FILTERS: [&str; 8] = [
        "a",
        "a/b",
        "#",
        "a/#",
        "+/b",
        "$share/g/a",
        "$share/h/#",
        "a/+/",
    ];

    pub(super) fn client_id(number: usize) -> String {
        ["one", "two", "three", ""][number % 4].to_owned()
    }

    fn id(byte: u8) -> PacketId {
        PacketId::new(u16::from(byte % 8) + 1).expect("not 0")
    }

    fn qos(byte: u8) -> QoS {
        QoS::from_number(byte % 3).unwrap_or_default()
    }

    fn topic(byte: u8) -> TopicName {
        TopicName::new(TOPICS[usize::from(byte) % TOPICS.len()]).expect("valid")
    }

    /// Client ids go with the connection, and every fourth with one bit of the byte, so that there are take-overs.
    pub(super) fn connect(who: usize, byte: u8) -> Packet {
        let version = [ProtocolVersion::V3_1_1, ProtocolVersion::V5][usize::from(byte & 1)];
        let is_v5 = version == ProtocolVersion::V5;
        let name = if byte & 2 == 0 { who } else { who / 2 };
        let will = (byte & 8 != 0).then(|| Will {
            message: Message::new(topic(byte >> 4), "will")
                .with_qos(qos(byte >> 5))
                .with_retain(byte & 16 != 0),
            delay_interval: (is_v5 && byte & 32 != 0).then_some(5),
        });
        let mut properties = ConnectProperties::default();
        if is_v5 {
            properties.session_expiry_interval = (byte & 64 != 0).then_some(u32::from(byte));
            properties.receive_maximum = NonZeroU16::new(u16::from(byte >> 6));
            properties.maximum_packet_size = NonZeroU32::new(u32::from(byte >> 4) * 8);
            properties.topic_alias_maximum = (byte & 128 != 0).then_some(2);
        }
        let client_id = client_id(name);
        Packet::Connect(Box::new(Connect {
            version,
            clean_start: byte & 4 != 0 || (client_id.is_empty() && !is_v5),
            keep_alive: u16::from(byte >> 4),
            client_id: client_id.into(),
            will,
            username: None,
            password: None,
            properties,
        }))
    }

    pub(super) fn publish(byte: u8, more: &mut &[u8]) -> Packet {
        let [second, size] = <[u8; 2]>::try_from(take(more, 2)).unwrap_or_default();
        let mut message = Message::new(topic(second), vec![b'.'; usize::from(size) * 4])
            .with_qos(qos(byte))
            .with_retain(byte & 32 != 0);
        if second & 0x40 != 0 {
            message.properties = Some(Arc::new(MessageProperties {
                message_expiry_interval: Some(u32::from(second >> 4)),
                user_properties: vec![("name".into(), "value".into())],
                ..MessageProperties::default()
            }));
        }
        if second & 0x80 != 0 {
            message.payload = bytes::Bytes::new();
        }
        let has_id = message.qos != QoS::AtMostOnce;
        Packet::Publish(Publish {
            packet_id: has_id.then(|| id(byte >> 2)),
            dup: has_id && byte & 64 != 0,
            topic_alias: NonZeroU16::new(u16::from(second >> 2) % 6),
            topic_on_wire: second % 6 != 5 || (second >> 2) % 6 == 0,
            ..Publish::new(message)
        })
    }

    pub(super) fn subscribe(byte: u8) -> Packet {
        let filter = FILTERS[usize::from(byte) % FILTERS.len()];
        Packet::Subscribe(Subscribe {
            packet_id: id(byte >> 3),
            filters: vec![SubscribeFilter {
                filter: filter.into(),
                options: SubscriptionOptions {
                    qos: qos(byte >> 3),
                    no_local: byte & 32 != 0 && !filter.starts_with("$share"),
                    retain_as_published: byte & 64 != 0,
                    retain_handling: [RetainHandling::Always, RetainHandling::IfNew]
                        [usize::from(byte >> 7)],
                },
            }],
            subscription_id: NonZeroU32::new(u32::from(byte >> 6)),
            user_properties: Vec::new(),
        })
    }

    pub(super) fn unsubscribe(byte: u8) -> Packet {
        Packet::Unsubscribe(Unsubscribe {
            packet_id: id(byte >> 3),
            filters: vec![FILTERS[usize::from(byte) % FILTERS.len()].into()],
            user_properties: Vec::new(),
        })
    }

    pub(super) fn release(byte: u8) -> Packet {
        Packet::Ack(Ack::new(AckKind::PubRel, id(byte), ReasonCode::Success))
    }

    pub(super) fn disconnect(byte: u8) -> Packet {
        let reason = if byte & 1 == 0 {
            ReasonCode::Success
        } else {
            ReasonCode::DisconnectWithWill
        };
        Packet::Disconnect(Disconnect {
            session_expiry_interval: (byte & 2 != 0).then_some(u32::from(byte >> 2)),
            ..Disconnect::new(reason)
        })
    }
}
