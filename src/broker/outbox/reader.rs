//! What a session may read, where its messages wait: asked for what comes in by older rights, and when rights change.

use super::state::{Entry, State};
use super::{Outbox, ring_all};
use crate::broker::protocol::Outgoing;
use crate::broker::rights::Reader;
use crate::topic::TopicName;

impl State {
    /// Whether a message may wait here. `stamp` says by which rights that has been found out already.
    pub(super) fn may_read(&self, topic: &TopicName, stamp: u64) -> bool {
        match &self.reader {
            Some(reader) => reader.stamp == stamp || reader.rights.may_read(topic),
            None => true,
        }
    }
}

impl Entry {
    fn topic(&self) -> &TopicName {
        match &self.outgoing {
            Outgoing::One(delivery) => &delivery.message.topic,
            Outgoing::Run(run) => run.topic(),
        }
    }
}

impl Outbox {
    /// What the session may read; `None`: everything.
    pub fn reader(&self) -> Option<Reader> {
        self.state.lock().reader.clone()
    }

    /// From now on the session may read this, if it is newer than what is known. What waits and may not be read any more
    /// goes; says how many messages that were.
    pub fn set_reader(&self, reader: Option<&Reader>) -> usize {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let known = state.reader.as_ref().map_or(0, |reader| reader.stamp);
        if reader.is_some_and(|reader| reader.stamp < known) {
            return 0;
        }
        state.reader = reader.cloned();
        let Some(reader) = reader else {
            return 0;
        };
        let mut denied = 0;
        let (count, bytes) = (&mut state.count, &mut state.bytes);
        let held_bytes = &mut state.held_bytes;
        let mut stays = |entry: &Entry| {
            let stays = reader.rights.may_read(entry.topic());
            if !stays {
                denied += entry.len();
                *count -= entry.len();
                *bytes -= entry.cost;
                *held_bytes -= entry.held();
            }
            stays
        };
        state.at_most_once.retain(&mut stays);
        state.acknowledged.retain(&mut stays);
        if let Some(held) = &mut state.held {
            held.retain(&mut stays);
        }
        state.charge_about();
        let waiting = self.note_room(state);
        drop(guard);
        ring_all(&waiting);
        denied
    }
}
