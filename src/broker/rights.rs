//! Who may do what: rules about topics, and the rights that follow from them for one client.
//!
//! Owns [`Acl`], the rules of a broker as they were given, and [`Rights`], what they come to for one client: a small
//! matcher that its connection, its queue and the router ask. What is not allowed is denied. It knows no client but by
//! its id and the user it has proven to be; who that is, is found out in `auth`. A file of Mosquitto's is read by
//! `mosquitto`; where the application says what a client may do, it is a `referee`.
//!
//! # How an answer is found
//!
//! Rights have one *stage*, or two where they come from a file of Mosquitto's: first what is said for the user by name,
//! then the patterns for all. In each, a rule that denies goes before all that allow, in whatever order they stand; the
//! first stage with a rule for the topic decides; with none, the answer is no.
//!
//! # Names in patterns
//!
//! `%c` stands for the client id, `%u` for the user. A client chooses its id, so one that has a `+`, `#`, `/` or a control
//! character, or is empty, must not make a pattern match more than one level of it would; and one that begins with `$` must
//! not make it one for topics that begin so: a rule that would allow something with such a name in it allows nothing. One
//! that denies is as it reads.

mod filters;
mod mosquitto;
mod policy;
mod referee;

pub use filters::{covers, overlaps};
pub use mosquitto::AclFault;
pub use policy::{Policies, Policy};
pub use referee::{Referee, RefereeLimits, Ruling, Thinking};

use crate::scram;
use crate::topic::{TopicFilter, TopicName};
use bytestring::ByteString;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// What a client does with a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Publishes to it.
    Publish = 1,
    /// Is sent what is published to it.
    Read = 2,
    /// Asks for it by a filter.
    Subscribe = 4,
}

/// A set of [`Access`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accesses(u8);

impl Accesses {
    /// All there are.
    pub const ALL: Self = Self(7);

    /// These.
    pub fn of(list: &[Access]) -> Self {
        Self(list.iter().fold(0, |bits, access| bits | *access as u8))
    }

    fn has(self, access: Access) -> bool {
        self.0 & access as u8 != 0
    }
}

/// One rule, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What topics it is about; `%c` and `%u` are names if it is a pattern.
    filter: TopicFilter,
    is_pattern: bool,
    accesses: Accesses,
    is_denial: bool,
    /// As it is told to people.
    text: Arc<str>,
}

impl Rule {
    /// A rule in which `%c` and `%u` are names.
    pub fn new(filter: TopicFilter, accesses: Accesses, is_denial: bool) -> Self {
        let verb = if is_denial { "deny" } else { "allow" };
        Self {
            text: format!("{verb} {filter}").into(),
            filter,
            is_pattern: true,
            accesses,
            is_denial,
        }
    }

    fn names(&self, placeholder: &str) -> bool {
        self.is_pattern && self.filter.as_str().contains(placeholder)
    }

    /// The rule with the names of a client in it, if it is one for it.
    fn filled(&self, client_id: &str, user: Option<&str>) -> Option<Self> {
        let (has_client, has_user) = (self.names("%c"), self.names("%u"));
        if !has_client && !has_user {
            return Some(self.clone());
        }
        let user = user.or(if has_user { None } else { Some("") })?;
        let is_harmless =
            (!has_client || is_harmless(client_id)) && (!has_user || is_harmless(user));
        if !is_harmless && !self.is_denial {
            return None;
        }
        let text = fill(self.filter.as_str(), client_id, user);
        // Nor must it lead to what wildcards do not see.
        if text.starts_with('$') && !self.filter.as_str().starts_with('$') && !self.is_denial {
            return None;
        }
        let filter = TopicFilter::new(text).ok()?;
        Some(Self {
            filter,
            ..self.clone()
        })
    }
}

/// In one pass, so that a name that has a placeholder in it stays as it is.
fn fill(pattern: &str, client_id: &str, user: &str) -> String {
    let mut text = String::with_capacity(pattern.len() + client_id.len() + user.len());
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let (name, length) = match from.as_bytes().get(1) {
            Some(b'c') => (client_id, 2),
            Some(b'u') => (user, 2),
            _ => ("%", 1),
        };
        text.push_str(name);
        rest = &from[length..];
    }
    text.push_str(rest);
    text
}

/// Whether a name is one level of a topic, with nothing in it that could be more.
fn is_harmless(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| matches!(c, '+' | '#' | '/') || c.is_control())
}

/// Which filters may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Subscribing {
    /// Those that may bring something which the client may read.
    #[default]
    Readable,
    /// Those that the rules for [`Access::Subscribe`] say.
    ByRule,
    /// Any: what comes of them is seen to when it does.
    Any,
}

/// Whom a list of rules is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// All, whoever they are.
    Everybody,
    /// Who is no user.
    Anonymous,
    /// The user with this name.
    User(String),
    /// Who connects with this client id.
    Client(String),
}

impl Whom {
    /// A user, by the name as it was given.
    pub fn user(name: &str) -> Self {
        Self::User(name.to_owned())
    }

    /// The same user where names are compared as prepared by RFC 4013, if that makes another of this one: what is said
    /// for it has to go there as well as where they are compared byte by byte.
    fn prepared(&self) -> Option<Self> {
        let Self::User(name) = self else {
            return None;
        };
        let prepared = scram::prepare(name).map(Cow::into_owned);
        prepared.filter(|it| it != name).map(Self::User)
    }
}

/// The rules of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Acl {
    lists: BTreeMap<Whom, Vec<Rule>>,
    /// For whom only what rules name may be subscribed to, though there is none.
    named_only: BTreeSet<Whom>,
    /// Whether what is for everybody is asked only where the rest has no answer.
    is_staged: bool,
    is_any_filter_granted: bool,
}

impl Acl {
    /// No rules: nobody may do anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds rules for somebody.
    pub fn extend(&mut self, whom: Whom, rules: impl IntoIterator<Item = Rule>) {
        let rules: Vec<_> = rules.into_iter().collect();
        if let Some(prepared) = whom.prepared() {
            self.lists
                .entry(prepared)
                .or_default()
                .extend(rules.clone());
        }
        self.lists.entry(whom).or_default().extend(rules);
    }

    /// From now on these may subscribe to nothing but what rules name.
    pub fn name_filters(&mut self, whom: Whom) {
        self.named_only.extend(whom.prepared());
        self.named_only.insert(whom);
    }

    /// Whether something is said for users by their names.
    pub fn names_users(&self) -> bool {
        let mut lists = self.lists.iter();
        lists.any(|(whom, rules)| {
            matches!(whom, Whom::User(_)) || rules.iter().any(|rule| rule.names("%u"))
        })
    }

    /// What a client with this id may do, if it is this user.
    pub fn rights(&self, client_id: &str, user: Option<&str>) -> Rights {
        let whom = [
            Whom::Everybody,
            user.map_or(Whom::Anonymous, |name| Whom::User(name.to_owned())),
            Whom::Client(client_id.to_owned()),
        ];
        let list = |whom| self.lists.get(whom).map_or(&[][..], Vec::as_slice);
        let [everybody, by_user, by_client] = whom.each_ref().map(list);
        let own = by_user.iter().chain(by_client);
        let filled = |rule: &Rule| rule.filled(client_id, user);
        let stages = if self.is_staged {
            let has_wildcard = |name: &str| name.contains(['+', '#']);
            let is_dangerous = has_wildcard(client_id) || user.is_some_and(has_wildcard);
            let patterns = everybody
                .iter()
                .filter(|_| !is_dangerous)
                .filter_map(filled);
            vec![
                own.filter_map(filled).collect(),
                patterns.collect::<Stage>(),
            ]
        } else {
            vec![everybody.iter().chain(own).filter_map(filled).collect()]
        };
        let has_filters = |rule: &Rule| !rule.is_denial && rule.accesses.has(Access::Subscribe);
        let mut given = everybody.iter().chain(by_user).chain(by_client);
        let subscribing = if self.is_any_filter_granted {
            Subscribing::Any
        } else if given.any(has_filters) || whom.iter().any(|whom| self.named_only.contains(whom)) {
            Subscribing::ByRule
        } else {
            Subscribing::Readable
        };
        Rights {
            stages,
            subscribing,
        }
    }
}

/// Rules that are asked together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Stage {
    denials: Rules,
    permits: Rules,
}

impl FromIterator<Rule> for Stage {
    fn from_iter<I: IntoIterator<Item = Rule>>(rules: I) -> Self {
        let mut stage = Self::default();
        for rule in rules {
            let list = if rule.is_denial {
                &mut stage.denials
            } else {
                &mut stage.permits
            };
            list.add(rule);
        }
        stage
    }
}

/// Rules that say the same: those about one topic by its name, those with wildcards in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Rules {
    exact: BTreeMap<ByteString, Vec<Rule>>,
    wild: Vec<Rule>,
}

impl Rules {
    fn add(&mut self, rule: Rule) {
        if rule.filter.has_wildcard() {
            self.wild.push(rule);
            return;
        }
        let topic = ByteString::from(rule.filter.as_str());
        self.exact.entry(topic).or_default().push(rule);
    }

    fn find(&self, access: Access, topic: &TopicName) -> Option<&Rule> {
        let exact = self.exact.get(topic.as_str()).into_iter().flatten();
        let wild = self.wild.iter().filter(|rule| rule.filter.matches(topic));
        exact.chain(wild).find(|rule| rule.accesses.has(access))
    }

    fn any(&self, access: Access, holds: impl Fn(&str) -> bool) -> bool {
        let mut all = self.exact.values().flatten().chain(&self.wild);
        all.any(|rule| rule.accesses.has(access) && holds(rule.filter.as_str()))
    }
}

/// What one client may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    stages: Vec<Stage>,
    subscribing: Subscribing,
}

impl Rights {
    /// Whether it may.
    pub fn allow(&self, access: Access, topic: &TopicName) -> bool {
        self.decide(access, topic).0
    }

    /// Whether it may publish there.
    pub fn may_publish(&self, topic: &TopicName) -> bool {
        self.allow(Access::Publish, topic)
    }

    /// Whether it may be sent what is published there.
    pub fn may_read(&self, topic: &TopicName) -> bool {
        self.allow(Access::Read, topic)
    }

    /// Whether it may ask for what this filter matches. Of a shared subscription it is the filter in it that counts.
    pub fn may_subscribe(&self, filter: &TopicFilter) -> bool {
        let asked = filter.as_str();
        let (access, fits): (_, fn(&str, &str) -> bool) = match self.subscribing {
            Subscribing::Any => return true,
            Subscribing::ByRule => (Access::Subscribe, covers),
            Subscribing::Readable => (Access::Read, overlaps),
        };
        for stage in &self.stages {
            let is_denied = |access| stage.denials.any(access, |rule| covers(rule, asked));
            if is_denied(Access::Subscribe) || is_denied(access) {
                return false;
            }
            if stage.permits.any(access, |rule| fits(rule, asked)) {
                return true;
            }
        }
        false
    }

    /// Whether it may, and in words by which rule; without one, no rule allows it.
    pub fn explain(&self, access: Access, topic: &TopicName) -> (bool, Option<&str>) {
        let (is_allowed, rule) = self.decide(access, topic);
        (is_allowed, rule.map(|rule| &*rule.text))
    }

    fn decide(&self, access: Access, topic: &TopicName) -> (bool, Option<&Rule>) {
        for stage in &self.stages {
            if let Some(rule) = stage.denials.find(access, topic) {
                return (false, Some(rule));
            }
            if let Some(rule) = stage.permits.find(access, topic) {
                return (true, Some(rule));
            }
        }
        (false, None)
    }
}

/// The rights of a session where it is sent something, with a number by which others know whether they asked the same.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Greater than that of any rights before; no two sessions have the same.
    pub stamp: u64,
    /// What it may do.
    pub rights: Arc<Rights>,
}

/// Rights that clients have, so that those with the same share them.
#[derive(Debug, Default)]
pub struct Shelf {
    by_user: BTreeMap<Option<String>, Weak<Rights>>,
    sweep_at: usize,
}

impl Shelf {
    /// These rights, or those of another client of this user that are the same.
    pub fn share(&mut self, user: Option<&str>, rights: Arc<Rights>) -> Arc<Rights> {
        let user = user.map(str::to_owned);
        let known = self.by_user.get(&user).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| *known == rights) {
            return known;
        }
        if self.by_user.len() >= self.sweep_at {
            self.by_user.retain(|_, rights| rights.strong_count() > 0);
            self.sweep_at = 64 + 2 * self.by_user.len();
        }
        self.by_user.insert(user, Arc::downgrade(&rights));
        rights
    }
}
