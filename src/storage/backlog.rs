//! What was taken and is not written: in its order, and without what undoes itself.
//!
//! A full outbox that drops its oldest messages says of each that it is there and that it has gone, as fast as the program
//! publishes, which is faster than a disk is. What is held here is bounded by the outbox all the same: a message that goes
//! before it was written was never there.

use super::{Answer, Change};
use std::collections::{BTreeMap, VecDeque};

/// So many changes go into one transaction at most.
const BATCH_MAX: usize = 8192;

/// Changes by their place in the order.
#[derive(Default)]
pub(super) struct Backlog {
    changes: BTreeMap<u64, Change>,
    next: u64,
    /// The places of messages, by their numbers, of which nothing more has been said.
    puts: BTreeMap<u64, u64>,
    /// Those who wait until everything before a place is written.
    answers: VecDeque<(u64, Answer)>,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.answers.is_empty()
    }

    /// How many changes there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    pub(super) fn add(&mut self, change: Change) {
        match &change {
            Change::Put { number, .. } => drop(self.puts.insert(*number, self.next)),
            Change::Done(number) => {
                if let Some(place) = self.puts.remove(number) {
                    self.changes.remove(&place);
                    return;
                }
            }
            Change::Sent(number, _) | Change::Released(number, ..) | Change::Waiting(number) => {
                self.puts.remove(number);
            }
            Change::Taken(_)
            | Change::Forgotten(_)
            | Change::AllForgotten
            | Change::Subscribed { .. }
            | Change::Unsubscribed(_) => {}
        }
        self.changes.insert(self.next, change);
        self.next += 1;
    }

    /// Somebody waits until everything that is here is written.
    pub(super) fn wait(&mut self, answer: Answer) {
        self.answers.push_back((self.next, answer));
    }

    /// The first changes, for one transaction.
    pub(super) fn take(&mut self) -> Vec<Change> {
        let mut batch = Vec::with_capacity(self.changes.len().min(BATCH_MAX));
        while batch.len() < BATCH_MAX
            && let Some((_, change)) = self.changes.pop_first()
        {
            if let Change::Put { number, .. } = &change {
                self.puts.remove(number);
            }
            batch.push(change);
        }
        batch
    }

    /// The next of those who wait, if everything that they wait for has been taken.
    pub(super) fn answered(&mut self) -> Option<Answer> {
        let first = self.changes.first_key_value().map(|(place, _)| *place);
        let (place, _) = self.answers.front()?;
        if first.is_some_and(|first| first < *place) {
            return None;
        }
        self.answers.pop_front().map(|(_, answer)| answer)
    }

    /// Nothing can be written any more.
    pub(super) fn forget(&mut self) {
        self.changes.clear();
        self.puts.clear();
    }
}
