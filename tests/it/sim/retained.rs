//! The retained messages, done the simple way: a map from topic to the last value.

use rmqtt::message::Message;
use std::collections::BTreeMap;
use std::time::Instant;

/// A client, and through which door it came.
pub(super) type Author = (usize, Option<usize>);

/// The last value of a topic.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) message: Message,
    pub(super) expires_at: Option<Instant>,
    pub(super) author: Option<Author>,
}

impl Kept {
    fn is_of_use(&self, now: Instant) -> bool {
        self.expires_at.is_none_or(|at| at > now)
    }
}

/// The last value of each topic that has one.
#[derive(Debug, Default)]
pub(super) struct Retained(BTreeMap<String, Kept>);

impl Retained {
    pub(super) fn set(&mut self, message: &Message, expires_at: Option<Instant>) {
        let topic = message.topic.to_string();
        if message.payload.is_empty() {
            self.0.remove(&topic);
        } else {
            let kept = Kept {
                message: message.clone(),
                expires_at,
                author: None,
            };
            self.0.insert(topic, kept);
        }
    }

    /// What was kept last of this topic is from this client.
    pub(super) fn is_from(&mut self, topic: &str, author: Author) {
        if let Some(kept) = self.0.get_mut(topic) {
            kept.author = Some(author);
        }
    }

    /// Forgets what is of no more use; says how many those were.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        let before = self.0.len();
        self.0.retain(|_, kept| kept.is_of_use(now));
        (before - self.0.len()) as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// What a new subscription gets, by the levels of the topics.
    pub(super) fn matching(&self, filter: &str, now: Instant) -> Vec<Kept> {
        let mut found: Vec<_> = self
            .0
            .values()
            .filter(|kept| kept.is_of_use(now) && matches(filter, kept.message.topic.as_str()))
            .cloned()
            .collect();
        let levels = |message: &Message| -> Vec<String> {
            message
                .topic
                .as_str()
                .split('/')
                .map(str::to_owned)
                .collect()
        };
        found.sort_by_key(|kept| levels(&kept.message));
        found
    }

    /// The broker says it keeps these.
    pub(super) fn check(&self, kept: &[Message], now: Instant) {
        let alive = self.0.values();
        let alive = alive.filter(|kept| kept.is_of_use(now));
        let mine: Vec<_> = alive.map(|kept| &kept.message).collect();
        let theirs: Vec<_> = kept.iter().collect();
        assert_eq!(theirs, mine, "retained messages: the broker's, the model's");
    }
}

/// Whether a filter matches a topic, by the words of the standard.
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    let (filter_levels, levels): (Vec<_>, Vec<_>) =
        (filter.split('/').collect(), topic.split('/').collect());
    let is_wild = filter_levels[0] == "+" || filter_levels[0] == "#";
    !(is_wild && topic.starts_with('$')) && levels_match(&filter_levels, &levels)
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => levels_match(filter, topic),
        ([one, filter @ ..], [other, topic @ ..]) => one == other && levels_match(filter, topic),
        _ => false,
    }
}
