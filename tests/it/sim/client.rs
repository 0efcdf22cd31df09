//! One client of the simulation.

use super::books::{Books, Key, TOPICS, key, topic};
use crate::seed::Seed;
use bytes::BytesMut;
use rmqtt::client::protocol::{Event, Protocol};
use rmqtt::client::{ClientError, ClientOptions};
use rmqtt::codec::{
    PacketId, ProtocolVersion, ReasonCode, SubscribeFilter, SubscriptionOptions, Will,
};
use rmqtt::message::{Message, QoS};
use rmqtt::topic::TopicName;
use rmqtt::transport::Address;
use std::collections::VecDeque;
use std::num::NonZeroU16;
use std::time::Instant;

/// One client: its machine, and an application that takes its time.
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) protocol: Protocol,
    pub(super) input: BytesMut,
    /// Its connection, among the lines.
    pub(super) line: Option<usize>,
    /// Bytes that still pass before the connection is cut.
    pub(super) budget: usize,
    pub(super) backlog: VecDeque<Message>,
    /// Delivered and not yet accepted: id, delivery, message.
    pub(super) pending: Vec<(PacketId, u64, Key)>,
    wants: Vec<(usize, QoS)>,
    lasts: bool,
    has_asked: bool,
    is_subscribed: bool,
}

impl Client {
    pub(super) fn new(number: usize, seed: &mut Seed, now: Instant) -> Self {
        let lasts = number.is_multiple_of(2);
        let mut options = ClientOptions::new(Address::Memory {
            name: "sim".to_owned(),
        });
        options.version = [ProtocolVersion::V3_1_1, ProtocolVersion::V5][seed.pick(0..2)];
        options.clean_start = !lasts;
        options.session_expiry = if lasts { u32::MAX } else { 0 };
        options.receive_maximum =
            NonZeroU16::new(u16::try_from(seed.pick(1..12)).expect("small")).expect("not 0");
        options.will = (number % 3 == 1).then(|| Will {
            message: Message::new(TopicName::new("sim/will").expect("valid"), "gone")
                .with_qos(QoS::ExactlyOnce),
            delay_interval: None,
        });
        let wants = (0..TOPICS).filter(|_| !seed.one_in(3)).collect::<Vec<_>>();
        let granted =
            |seed: &mut Seed| QoS::from_number(u8::try_from(seed.pick(0..3)).expect("small"));
        let wants = wants
            .into_iter()
            .filter_map(|topic| Some((topic, granted(seed)?)))
            .collect();
        Self {
            number,
            protocol: Protocol::new(options, &format!("client-{number}"), now),
            input: BytesMut::new(),
            line: None,
            budget: usize::MAX,
            backlog: VecDeque::new(),
            pending: Vec::new(),
            wants,
            lasts,
            has_asked: false,
            is_subscribed: false,
        }
    }

    /// Lets the machine do all it can with what has arrived.
    pub(super) fn run(
        &mut self,
        books: &mut Books,
        wills_seen: &mut u64,
        now: Instant,
    ) -> Result<(), ClientError> {
        while let Some(event) = self.protocol.receive(&mut self.input, now)? {
            match event {
                Event::Connected { connack, lost } => {
                    self.on_connected(connack.session_present, lost, books)?;
                }
                Event::Message { publish, delivery } => {
                    let is_will = publish.message.topic.as_str() == "sim/will";
                    let key = if is_will {
                        (usize::MAX, 0)
                    } else {
                        key(&publish.message.payload)
                    };
                    *wills_seen += u64::from(is_will && self.number == 0);
                    let is_live = !is_will && !publish.message.retain;
                    if is_live {
                        books.arrived(self.number, key);
                    }
                    match publish.packet_id {
                        Some(id) if is_live => self.pending.push((id, delivery, key)),
                        Some(id) => self.protocol.accepted(id, delivery, ReasonCode::Success),
                        None if is_live => books.accepted(self.number, key),
                        None => {}
                    }
                }
                Event::Published { token, reason, .. } => {
                    assert!(!reason.is_error(), "{reason:?}");
                    books.acknowledged((self.number, token));
                }
                Event::Refused { error, .. } => panic!("{error}"),
                Event::Subscribed { suback, .. } => {
                    assert!(suback.reasons.iter().all(|reason| !reason.is_error()));
                    self.is_subscribed = true;
                    if self.lasts {
                        for (topic, qos) in &self.wants {
                            books.subscribed(self.number, *topic, *qos);
                        }
                    }
                }
                Event::Unsubscribed { .. } => panic!("nobody unsubscribes"),
            }
        }
        while let Some(message) = self.backlog.pop_front() {
            if !self.protocol.can_publish(message.qos) {
                self.backlog.push_front(message);
                break;
            }
            let (_, number) = key(&message.payload);
            self.protocol.publish(message, number)?;
        }
        Ok(())
    }

    fn on_connected(
        &mut self,
        session_present: bool,
        lost: Vec<(u64, Option<Message>)>,
        books: &mut Books,
    ) -> Result<(), ClientError> {
        for (number, _) in lost {
            assert!(!self.lasts, "{number} is lost with a session that lasts");
            books.uncertain((self.number, number));
        }
        assert!(
            session_present || !self.lasts || !self.is_subscribed,
            "the broker forgot a session that lasts"
        );
        if !session_present {
            self.pending.clear();
        }
        if !session_present || !self.is_subscribed {
            self.subscribe()?;
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(), ClientError> {
        let filter = |filter: &str, qos| SubscribeFilter {
            filter: filter.into(),
            options: SubscriptionOptions {
                qos,
                ..SubscriptionOptions::default()
            },
        };
        let wants = self
            .wants
            .iter()
            .map(|(number, qos)| filter(topic(*number).as_str(), *qos));
        let filters: Vec<_> = wants
            .chain([filter("sim/will", QoS::ExactlyOnce)])
            .collect();
        self.has_asked = true;
        self.protocol.subscribe(filters, None, &[], 0)
    }
}
