//! What can happen: one act at a time, chosen by the seed.

use super::books::payload;
use super::client::Order;
use super::groups::ROOT;
use super::machine::{Machine, Setup};
use super::world::{End, World};
use rmqtt::codec::{
    ProtocolVersion, ReasonCode, RetainHandling, SubscribeFilter, SubscriptionOptions, Will,
};
use rmqtt::message::{Message, MessageProperties, QoS};
use rmqtt::topic::TopicName;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

/// What is published to.
const TOPICS: [&str; 6] = ["sim/0", "sim/1", "sim/a/b", "sim/a", "sim//x", "$sim/1"];

/// What has the name of a client in it, in worlds with rules.
const NAMED: [&str; 3] = ["sim/client-0", "sim/client-1", "client-0/x"];

/// What is subscribed to.
const FILTERS: [&str; 12] = [
    "sim/0", "sim/1", "sim/a/b", "sim/+", "sim/#", "sim/a/#", "+/1", "#", "sim/+/+", "$sim/#",
    "+/+/x", "sim/a",
];

/// What is published to for groups alone: see `groups::ROOT`.
const DEALT: [&str; 4] = ["$deal/a", "$deal/b", "$deal/b/c", "$deal/d/c"];

/// By client: what it may share. No two of one client match the same topic.
const SHARES: [&[&str]; 3] = [
    &["$share/g/$deal/+", "$share/h/$deal/+/c"],
    &["$share/g/$deal/+", "$share/g/$deal/+/c"],
    &["$share/h/$deal/#"],
];

/// Wills are told apart from what is published by who they say they are from.
const WILLS: u64 = 1_000;

impl World {
    pub(super) fn any_qos(&mut self) -> QoS {
        let number = u8::try_from(self.seed.pick(0..3)).expect("small");
        QoS::from_number(number).expect("0 to 2")
    }

    /// Nearly always small.
    pub(super) fn any_size(&mut self) -> usize {
        match self.seed.pick(0..40) {
            0..34 => 16,
            34..39 => self.seed.pick(16..400),
            _ => self.seed.pick(4_000..40_000),
        }
    }

    pub(super) fn any_topic(&mut self) -> &'static str {
        if self.seed.pick(0..4) < self.shared_of_4 {
            DEALT[self.seed.pick(0..DEALT.len())]
        } else if self.rights.is_ruled() && self.seed.one_in(6) {
            NAMED[self.seed.pick(0..NAMED.len())]
        } else {
            TOPICS[self.seed.pick(0..TOPICS.len())]
        }
    }

    fn any_filter(&mut self, number: usize) -> &'static str {
        let shares = SHARES[number % SHARES.len()];
        if self.seed.pick(0..4) < self.shared_of_4 {
            shares[self.seed.pick(0..shares.len())]
        } else if self.rights.is_ruled() && self.seed.one_in(12) {
            "$SYS/#"
        } else {
            FILTERS[self.seed.pick(0..FILTERS.len())]
        }
    }

    pub(super) fn any_properties(&mut self) -> Option<Arc<MessageProperties>> {
        let message_expiry_interval = match self.seed.pick(0..4) {
            0 => Some(u32::try_from(self.seed.pick(0..20)).expect("small")),
            _ => None,
        };
        let has_user_property = self.seed.one_in(8);
        if message_expiry_interval.is_none() && !has_user_property {
            return None;
        }
        let mut properties = MessageProperties {
            message_expiry_interval,
            ..MessageProperties::default()
        };
        if has_user_property {
            properties.user_properties = vec![("key".into(), "value".into())];
        }
        Some(Arc::new(properties))
    }

    pub(super) fn any_setup(&mut self, number: usize) -> Setup {
        let seed = &mut self.seed;
        let version = [ProtocolVersion::V3_1_1, ProtocolVersion::V5][seed.pick(0..2)];
        let session_expiry = [0, 3, 30, u32::MAX, u32::MAX][seed.pick(0..5)];
        let receive_maximum = u16::try_from(seed.pick(1..12)).expect("small");
        let mut setup = Setup {
            version,
            clean_start: seed.one_in(4),
            session_expiry,
            keep_alive: [0, 5, 60][seed.pick(0..3)],
            receive_maximum: NonZeroU16::new(receive_maximum).expect("not 0"),
            packet_size_max: (version == ProtocolVersion::V5 && seed.one_in(8)).then_some(200),
            topic_alias_max: [0, 2, 10][seed.pick(0..3)],
            will: None,
        };
        if self.rights.is_ruled() {
            // What is not sent again is to have one reason.
            setup.packet_size_max = None;
        }
        let will = self.seed.one_in(2).then(|| self.any_will(number, version));
        Setup { will, ..setup }
    }

    fn any_will(&mut self, number: usize, version: ProtocolVersion) -> Will {
        self.wills += 1;
        let topic = self.any_topic();
        let key = (WILLS + number as u64, self.wills);
        let message = Message::new(TopicName::new(topic).expect("valid"), payload(key, 16));
        let mut message = message
            .with_qos(self.any_qos())
            .with_retain(self.seed.one_in(4));
        let mut delay_interval = None;
        if version == ProtocolVersion::V5 {
            message.properties = self.any_properties();
            delay_interval = [None, Some(2), Some(10), Some(60)][self.seed.pick(0..4)];
        }
        Will {
            message,
            delay_interval,
        }
    }

    fn publish(&mut self, number: usize) {
        let qos = self.any_qos();
        let retain = self.seed.one_in(5);
        let topic = self.any_topic_or_reserved();
        // What a group was given must be known again.
        let is_nameless = retain && !topic.starts_with(ROOT) && self.seed.one_in(3);
        let key = self.model.books.next(number, qos, is_nameless);
        let size = self.any_size();
        let topic = TopicName::new(topic).expect("valid");
        let mut message = if is_nameless {
            Message::new(topic, "")
        } else {
            Message::new(topic, payload(key, size))
        };
        message = message.with_qos(qos).with_retain(retain);
        message.properties = self.any_properties();
        let alias = u16::try_from(self.seed.pick(0..5)).expect("small");
        self.clients[number].backlog.push_back(Order {
            message,
            token: key.1,
            alias,
        });
    }

    fn accept(&mut self, number: usize) {
        let client = &mut self.clients[number];
        if client.pending.is_empty() {
            return;
        }
        let is_v5 = client.setup.version == ProtocolVersion::V5;
        let reason = if is_v5 && self.seed.one_in(12) {
            ReasonCode::ImplementationSpecificError
        } else {
            ReasonCode::Success
        };
        let at = self.seed.pick(0..client.pending.len());
        client.accept(at, reason, &mut self.model.books);
    }

    fn any_line(&mut self, number: usize) -> SubscribeFilter {
        let filter = self.any_filter(number);
        let handling = [
            RetainHandling::Always,
            RetainHandling::IfNew,
            RetainHandling::Never,
        ];
        SubscribeFilter {
            filter: filter.into(),
            options: SubscriptionOptions {
                qos: self.any_qos(),
                no_local: self.seed.one_in(4) && !filter.starts_with("$share/"),
                retain_as_published: self.seed.one_in(2),
                retain_handling: handling[self.seed.pick(0..3)],
            },
        }
    }

    fn subscribe(&mut self, number: usize) {
        let mut filters: Vec<SubscribeFilter> = Vec::new();
        for _ in 0..self.seed.pick(1..4) {
            let filter = self.any_line(number);
            if filters.iter().all(|line| line.filter != filter.filter) {
                filters.push(filter);
            }
        }
        let id = u32::try_from(self.seed.pick(0..6)).expect("small");
        let client = &mut self.clients[number];
        if client.machine.is_connected() {
            client.machine.subscribe(filters, NonZeroU32::new(id), 0);
        }
    }

    fn unsubscribe(&mut self, number: usize) {
        let filter = self.any_filter(number);
        let client = &mut self.clients[number];
        if client.machine.is_connected() {
            client.machine.unsubscribe(vec![filter.into()], 0);
        }
    }

    /// Connects: with the session and the options of before, or with others.
    fn come(&mut self, number: usize) {
        let is_real = matches!(self.clients[number].machine, Machine::Real(_));
        let is_new = self.seed.one_in(3);
        if is_real && is_new {
            self.cut(number, End::BehindTheRest);
            let mut setup = self.any_setup(number);
            // Who knows nothing of a session must not go on with it.
            setup.clean_start = true;
            let client = &mut self.clients[number];
            client.setup = setup;
            client.restart(&mut self.model.books, self.now);
        } else if !is_real {
            self.clients[number].setup = self.any_setup(number);
        }
        self.connect(number);
    }

    /// Takes its leave as a client may; the broker hears of it, if nothing is cut before.
    fn go(&mut self, number: usize) {
        let setup = &self.clients[number].setup;
        let is_v5 = setup.version == ProtocolVersion::V5;
        let may_extend = is_v5 && setup.session_expiry > 0;
        let reason = match self.seed.pick(0..2) {
            0 if is_v5 => ReasonCode::DisconnectWithWill,
            _ => ReasonCode::Success,
        };
        let expiry = [None, Some(0), Some(5), Some(u32::MAX)][self.seed.pick(0..4)];
        let client = &mut self.clients[number];
        if client.machine.is_connected() && !client.is_frozen {
            client.disconnect(reason, expiry.filter(|_| may_extend));
            self.run();
            self.cut(number, End::BehindTheRest);
        }
    }

    /// One act of somebody.
    pub(super) fn act(&mut self) {
        let number = self.seed.pick(0..self.clients.len());
        let is_up = self.clients[number].line.is_some();
        match self.seed.pick(0..60) {
            0..13 => self.publish(number),
            13 => (0..12).for_each(|_| self.publish(number)),
            14..22 => self.accept(number),
            22..26 => self.subscribe(number),
            26 => self.unsubscribe(number),
            27 => self.clients[number].budget = self.seed.pick(1..250),
            28 if is_up => {
                let end = self.any_end();
                self.cut(number, end);
            }
            29 | 30 if is_up => self.come(number),
            31 if is_up => self.go(number),
            32 => self.clients[number].freeze_or_thaw(self.now),
            33 => self.kick(number),
            34 => self.slow_down(number),
            35..37 => {
                let time = Duration::from_millis(self.seed.pick(1..20_000) as u64);
                self.pass(time);
            }
            37 | 38 => {
                self.step(true);
            }
            39 if self.seed.one_in(4) => self.power_cut(),
            40..45 if !is_up => self.come(number),
            _ => {
                self.run();
                self.step(false);
            }
        }
    }

    fn slow_down(&mut self, number: usize) {
        if let Machine::Raw(raw) = &mut self.clients[number].machine {
            raw.is_slow_to_release ^= true;
            raw.release();
        }
    }

    /// Nobody comes back: everybody asks for a new session and leaves it behind at once.
    pub(super) fn dissolve(&mut self) {
        for number in 0..self.clients.len() {
            self.cut(number, End::AtOnce);
            let mut setup = self.any_setup(number);
            setup.version = ProtocolVersion::V5;
            setup.clean_start = true;
            setup.session_expiry = 0;
            setup.will = None;
            let client = &mut self.clients[number];
            client.setup = setup;
            client.restart(&mut self.model.books, self.now);
            self.connect(number);
        }
        self.come_to_rest();
        for number in 0..self.clients.len() {
            self.clients[number].disconnect(ReasonCode::Success, None);
            self.run();
            self.cut(number, End::BehindTheRest);
        }
        while self.step(false) {}
        self.forget_retained();
    }

    fn forget_retained(&mut self) {
        let topics: Vec<String> = self.model.retained.topics().cloned().collect();
        let mut batch = rmqtt::broker::hub::Batch::default();
        for topic in topics {
            let message = Message::new(TopicName::new(topic).expect("valid"), "").with_retain(true);
            self.model.route(&message, None, self.now);
            let published = self.hub.publish(&message, None, &mut batch, self.now);
            published.expect("nothing is kept");
        }
    }
}
