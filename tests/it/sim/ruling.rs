//! What else can happen where there are users and rules: other rules, a thief, and the broker's own words.

use super::books::payload;
use super::client::client_id;
use super::world::World;
use rmqtt::broker::ClientInfo;
use rmqtt::broker::bell::Bell;
use rmqtt::broker::hub::{Arrival, Batch, Outcome};
use rmqtt::broker::registry::ConnectRequest;
use rmqtt::broker::rights::Access;
use rmqtt::codec::{ProtocolVersion, ReasonCode};
use rmqtt::message::Message;
use rmqtt::topic::TopicName;
use rmqtt::transport::PeerInfo;
use std::sync::Arc;

/// Nobody but the broker publishes there.
const RESERVED: &str = "$SYS/broker/x";

/// Who the broker's own messages are from.
const BROKER: usize = 2_000;

impl World {
    /// The rules go for everybody.
    pub(super) fn begin_to_rule(&mut self) {
        if self.rights.is_ruled() {
            // Groups whose queues are full drop what only they know.
            if self.hub.limits().queue_messages_max < 10
                || self.hub.limits().queue_bytes_max < 10_000
            {
                self.shared_of_4 = 0;
            }
            self.hub.set_policies(self.rights.policies());
        }
    }

    /// One act of those that only a world with rules has.
    pub(super) fn rule(&mut self) {
        if !self.rights.is_ruled() {
            return;
        }
        let number = self.seed.pick(0..self.clients.len());
        match self.seed.pick(0..24) {
            0 => self.change_rules(),
            1 | 2 => self.steal(number),
            3 => self.announce(),
            _ => {}
        }
    }

    fn change_rules(&mut self) {
        self.rights.change(&mut self.seed);
        self.trace.say(|| format!("other rules: {:?}", self.rights));
        self.hub.set_policies(self.rights.policies());
        self.model.rules_have_changed();
        self.run();
    }

    /// Somebody comes with the client id of another user: it is refused, and nothing of the session changes.
    fn steal(&mut self, number: usize) {
        if !self.model.has_session(number) {
            return;
        }
        let thief = self.rights.any_other_user(number, &mut self.seed);
        let client_id = client_id(number);
        self.trace
            .say(|| format!("{thief:?} wants the session of {client_id}"));
        let listener = self.rights.any_door(&mut self.seed);
        let arrival = Arrival {
            info: ClientInfo {
                client_id: client_id.clone(),
                version: ProtocolVersion::V5,
                peer: PeerInfo {
                    listener,
                    ..PeerInfo::default()
                },
                username: self.rights.user(number).map(str::to_owned),
                user: thief.map(str::to_owned),
                keep_alive: 0,
            },
            request: ConnectRequest {
                client_id: client_id.into(),
                clean_start: self.seed.one_in(2),
                session_expiry_interval: [0, u32::MAX][self.seed.pick(0..2)],
                will: None,
                user: thief.map(Into::into),
                listener,
                rights: None,
                proof: None,
            },
            bell: Arc::new(Bell::default()),
        };
        let outcome = self.hub.connect(arrival, self.now);
        let is_refused = matches!(&outcome, Outcome::Refused(farewell) if farewell.reason == ReasonCode::NotAuthorized);
        assert!(
            is_refused,
            "{thief:?} has the session of client {number}: {outcome:?}"
        );
        self.run();
    }

    /// The broker says something itself: nobody asks whether it may, but who reads it has to have the right to.
    fn announce(&mut self) {
        let topic = self.any_topic_or_reserved();
        let (qos, size) = (self.any_qos(), self.any_size());
        let key = self.model.books.next(BROKER, qos, false);
        let topic = TopicName::new(topic).expect("valid");
        let message = Message::new(topic, payload(key, size)).with_qos(qos);
        let message = message.with_retain(self.seed.one_in(4));
        self.model.books.routed(&message);
        // Nobody answers it.
        self.model.books.uncertain(key);
        let mut batch = Batch::default();
        let published = self.hub.publish(&message, None, &mut batch, self.now);
        batch.finish();
        let expected = self.model.route(&message, None, self.now);
        assert_eq!(published.expect("there is room").matched, expected);
        self.run();
    }

    pub(super) fn any_topic_or_reserved(&mut self) -> &'static str {
        if self.rights.is_ruled() && self.seed.one_in(12) {
            return RESERVED;
        }
        self.any_topic()
    }

    /// A client that wants a will that it may not have is told, and mostly knows.
    pub(super) fn mind_will(&mut self, number: usize, door: Option<usize>) {
        let will = self.clients[number].setup.will.as_ref();
        let is_denied = will.is_some_and(|will| {
            let topic = will.message.topic.as_str();
            !self.rights.may_at(number, door, Access::Publish, topic)
        });
        if is_denied && !self.seed.one_in(4) {
            let (books, now) = (&mut self.model.books, self.now);
            self.clients[number].forget_will(books, now);
        }
    }
}
