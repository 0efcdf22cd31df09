//! What a session has to do with groups of shared subscriptions: where it has a hand to take from, and what is on its way.
//!
//! Plain data under the outbox's lock. Groups are named weakly: a group names its members, and must be able to end.

use crate::broker::group::{Group, MemberId, Parcel};
use crate::session::Token;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Weak;

/// A hand that is not empty.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Of which group.
    pub group: Weak<Group>,
    /// Which member's.
    pub member: MemberId,
}

/// What is on its way and goes back to its group if the session ends first.
#[derive(Debug)]
pub struct Sent {
    /// Where it goes back to.
    pub group: Weak<Group>,
    /// Its place in the order of the group.
    pub number: u64,
    /// The message as it was published.
    pub parcel: Parcel,
}

/// A session's ties to its groups.
#[derive(Debug, Default)]
pub(super) struct Shares {
    ready: VecDeque<Ready>,
    /// Groups and the session's own queue take turns.
    is_turn: bool,
    sent: BTreeMap<Token, Sent>,
    tokens: Token,
}

impl Shares {
    /// A hand is not empty any more.
    pub(super) fn add(&mut self, ready: Ready) {
        let is_known = |known: &Ready| {
            known.member == ready.member && Weak::ptr_eq(&known.group, &ready.group)
        };
        if !self.ready.iter().any(is_known) {
            self.ready.push_back(ready);
        }
    }

    /// It has no hand in this group any more.
    pub(super) fn remove(&mut self, group: &Weak<Group>) {
        self.ready
            .retain(|ready| !Weak::ptr_eq(&ready.group, group));
    }

    /// The next hand to take from, if it is its turn or nothing else has one.
    pub(super) fn next(&mut self, is_only: bool) -> Option<Ready> {
        if self.ready.is_empty() {
            return None;
        }
        self.is_turn = !self.is_turn;
        if self.is_turn || is_only {
            return self.ready.pop_front();
        }
        None
    }

    /// Remembers what is on its way, and by which token it is settled.
    pub(super) fn note(&mut self, sent: Sent) -> Token {
        self.tokens += 1;
        self.sent.insert(self.tokens, sent);
        self.tokens
    }

    pub(super) fn settle(&mut self, token: Token) -> Option<Sent> {
        self.sent.remove(&token)
    }

    /// What is on its way, by token, and the last token that was given.
    pub(super) fn sent(&self) -> (impl Iterator<Item = (&Token, &Sent)>, Token) {
        (self.sent.iter(), self.tokens)
    }

    /// As they were, with no hand to take from.
    pub(super) fn restored(sent: BTreeMap<Token, Sent>, tokens: Token) -> Self {
        Self {
            sent,
            tokens,
            ..Self::default()
        }
    }

    /// The session has ended: hands out what is still on its way.
    pub(super) fn take_sent(&mut self) -> Vec<Sent> {
        self.ready = VecDeque::new();
        std::mem::take(&mut self.sent).into_values().collect()
    }

    /// The connection is gone: its groups deal what was in its hands to others.
    pub(super) fn forget_ready(&mut self) {
        self.ready = VecDeque::new();
    }
}
