//! Which fault befalls which packet. A quiet file: rules in the order in which they were made, counters, and chances that
//! come from a seed.
//!
//! A chance belongs to a rule and to the how manieth packet it strikes, not to the order in which connections happen to
//! run: the same seed and the same traffic of a client make the same faults.

use crate::codec::{PacketType, ReasonCode};
use crate::topic::{TopicFilter, TopicName};
use std::collections::BTreeSet;
use std::time::Duration;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the client to the broker.
    In,
    /// From the broker to the client.
    Out,
}

/// One packet, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its kind.
    pub packet_type: PacketType,
    /// Its way.
    pub direction: Direction,
    /// Whose connection it is on; empty before a CONNECT has named it.
    pub client_id: &'a str,
    /// Of a PUBLISH, and of what acknowledges one.
    pub topic: Option<&'a TopicName>,
    /// Its bytes.
    pub size: usize,
}

/// How a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A reset: what was under way is lost.
    Reset,
    /// Closed in good order, without a word of MQTT.
    Close,
    /// Nothing is read or written any more, and nobody is told.
    HalfOpen,
    /// By DISCONNECT with this reason (3.1.1: closed).
    Reason(ReasonCode),
}

/// What a rule does to the packets it strikes.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// The packet does not arrive.
    Drop,
    /// It arrives later, by so much and a chance of `jitter` more, and all behind it wait.
    Delay {
        /// At least.
        by: Duration,
        /// At most so much more.
        jitter: Duration,
    },
    /// It arrives twice.
    Duplicate,
    /// So many others overtake it.
    Reorder(usize),
    /// One of its bytes is another: this one, or any.
    Corrupt(Option<usize>),
    /// Only its first bytes arrive, and then nothing in this direction.
    Truncate(usize),
    /// It is lost with its connection.
    Disconnect(Cut),
    /// A CONNECT is refused.
    Refuse(ReasonCode),
    /// The client's session is gone when it connects (again).
    LoseSession,
    /// From here on so many bytes a second pass in this direction.
    Throttle(u64),
    /// From here on nothing is read from this client.
    StopReading,
}

/// An action with its chance taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the action of its name")]
pub enum Deed {
    Drop,
    Delay(Duration),
    Duplicate,
    Reorder(usize),
    Corrupt { at: usize, mask: u8 },
    Truncate(usize),
    Cut(Cut),
    Refuse(ReasonCode),
    LoseSession,
    Throttle(u64),
    StopReading,
}

/// Which packets a rule strikes.
#[derive(Debug, Clone)]
pub struct Match {
    /// `None`: every kind.
    pub packet_type: Option<PacketType>,
    /// A client id; `*` stands for any text.
    pub client: String,
    /// `None`: whatever the topic, and without one.
    pub topic: Option<TopicFilter>,
    /// `None`: both.
    pub direction: Option<Direction>,
    /// From the how manieth packet on, from 1.
    pub nth: u64,
    /// How many of them; `None`: all.
    pub times: Option<u64>,
}

impl Match {
    fn fits(&self, seen: &Seen<'_>) -> bool {
        self.packet_type.is_none_or(|it| it == seen.packet_type)
            && self.direction.is_none_or(|it| it == seen.direction)
            && fits_pattern(&self.client, seen.client_id)
            && self
                .topic
                .as_ref()
                .is_none_or(|filter| seen.topic.is_some_and(|topic| filter.matches(topic)))
    }
}

/// Whether a text is one of those a pattern means.
fn fits_pattern(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else {
            return false;
        };
        text = &text[at + part.len()..];
    }
    text.ends_with(end)
}

#[derive(Debug)]
struct Rule {
    number: u64,
    r#match: Match,
    actions: Vec<Action>,
    seen: u64,
    hits: u64,
}

impl Rule {
    /// Whether it strikes this packet. A rule that does nothing yet has not begun.
    fn strikes(&mut self, seen: &Seen<'_>) -> bool {
        if self.actions.is_empty() || !self.r#match.fits(seen) {
            return false;
        }
        self.seen += 1;
        let is_left = self.r#match.times.is_none_or(|times| self.hits < times);
        let strikes = is_left && self.seen >= self.r#match.nth;
        self.hits += u64::from(strikes);
        strikes
    }
}

/// The rules of a broker.
#[derive(Debug, Default)]
pub struct Plan {
    rules: Vec<Rule>,
    last_rule: u64,
    /// Where chances come from.
    pub seed: u64,
    /// Whose sessions are to be lost.
    doomed: BTreeSet<String>,
}

impl Plan {
    /// A rule that does nothing yet; its number.
    pub fn add(&mut self, r#match: Match) -> u64 {
        self.last_rule += 1;
        self.rules.push(Rule {
            number: self.last_rule,
            r#match,
            actions: Vec::new(),
            seen: 0,
            hits: 0,
        });
        self.last_rule
    }

    /// Has a rule do one thing more. Nothing, if there is no such rule any more.
    pub fn act(&mut self, number: u64, action: Action) {
        if let Some(rule) = self.rule(number) {
            if let Action::Refuse(_) = action {
                rule.r#match.packet_type = Some(PacketType::Connect);
                rule.r#match.direction = Some(Direction::In);
            }
            rule.actions.push(action);
        }
    }

    /// Changes how often a rule strikes.
    pub fn limit(&mut self, number: u64, times: u64) {
        if let Some(rule) = self.rule(number) {
            rule.r#match.times = Some(times);
        }
    }

    /// How many packets a rule has struck; 0 where there is no such rule any more.
    pub fn hits(&self, number: u64) -> u64 {
        let rule = self.rules.iter().find(|rule| rule.number == number);
        rule.map_or(0, |rule| rule.hits)
    }

    /// Forgets all rules, and whose sessions were to be lost.
    pub fn clear(&mut self) {
        self.rules.clear();
        self.doomed.clear();
    }

    /// What befalls this packet, in order.
    pub fn meet(&mut self, seen: &Seen<'_>) -> Vec<Deed> {
        let mut deeds = Vec::new();
        for rule in &mut self.rules {
            if !rule.strikes(seen) {
                continue;
            }
            let chances = self.seed ^ rule.number.rotate_left(32) ^ rule.hits;
            for (index, action) in (0..).zip(&rule.actions) {
                deeds.push(take_chance(action, seen, mix(chances ^ index << 16)));
            }
        }
        if deeds.contains(&Deed::LoseSession) {
            self.doomed.insert(seen.client_id.to_owned());
        }
        if seen.packet_type == PacketType::Connect
            && seen.direction == Direction::In
            && self.doomed.remove(seen.client_id)
            && !deeds.contains(&Deed::LoseSession)
        {
            deeds.push(Deed::LoseSession);
        }
        deeds
    }

    fn rule(&mut self, number: u64) -> Option<&mut Rule> {
        self.rules.iter_mut().find(|rule| rule.number == number)
    }
}

fn take_chance(action: &Action, seen: &Seen<'_>, chance: u64) -> Deed {
    match *action {
        Action::Drop => Deed::Drop,
        Action::Delay { by, jitter } => {
            let most = u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX);
            let more = chance.checked_rem(most.saturating_add(1)).unwrap_or(chance);
            Deed::Delay(by.saturating_add(Duration::from_nanos(more)))
        }
        Action::Duplicate => Deed::Duplicate,
        Action::Reorder(depth) => Deed::Reorder(depth),
        Action::Corrupt(at) => {
            let last = seen.size.saturating_sub(1);
            let any = usize::try_from(chance >> 8).unwrap_or(usize::MAX) % (last + 1);
            Deed::Corrupt {
                at: at.map_or(any, |at| at.min(last)),
                mask: 1 << (chance % 8),
            }
        }
        Action::Truncate(keep) => Deed::Truncate(keep),
        Action::Disconnect(cut) => Deed::Cut(cut),
        Action::Refuse(reason) => Deed::Refuse(reason),
        Action::LoseSession => Deed::LoseSession,
        Action::Throttle(rate) => Deed::Throttle(rate.max(1)),
        Action::StopReading => Deed::StopReading,
    }
}

/// Splitmix64: every bit of the answer depends on every bit of the question.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}
