//! What of the exchanges outlives the process: what is to be written of each step, what has to be on the disk before a byte
//! leaves, and what the next process takes up. See `storage`, which does the writing.

use super::{Progress, Protocol};
use crate::client::commands::aged;
use crate::codec::PacketId;
use crate::session::Token;
use crate::storage::{Change, Stage, StoredMessage};
use bytes::Buf;
use std::time::SystemTime;

/// Who knows what is written and not on the disk yet.
#[derive(Debug)]
pub struct Lasting {
    is_unsynced: bool,
}

impl Lasting {
    /// Takes up what an earlier process has left, before the first connection. Messages that were not sent go to `wait`;
    /// those that were get a token from `exchange`, and are sent again as they are by `now`.
    pub fn take_up(
        protocol: &mut Protocol,
        (messages, taken): (Vec<StoredMessage>, &[PacketId]),
        now: SystemTime,
        mut wait: impl FnMut(StoredMessage),
        mut exchange: impl FnMut(&StoredMessage) -> Token,
    ) -> Self {
        let mut in_flight = Vec::new();
        for left in messages {
            let (packet_id, released) = match left.stage {
                Stage::Waiting => {
                    wait(left);
                    continue;
                }
                Stage::Sent(packet_id) => (packet_id, None),
                Stage::Released(packet_id, reason) => (packet_id, Some(reason)),
            };
            let token = exchange(&left);
            let waited = left.put_at.and_then(|at| now.duration_since(at).ok());
            let rest = match released {
                None => Ok(aged(left.message, waited.unwrap_or_default())),
                Some(reason) => Err(reason),
            };
            in_flight.push((packet_id, token, rest));
        }
        protocol.restore(in_flight, taken);
        protocol.note_progress();
        Self { is_unsynced: false }
    }

    /// Says what is to be written: the steps since the last time, by the `number` of each message, and `then` behind them.
    /// For a packet id may be in use again by what comes then.
    pub fn note(
        &mut self,
        protocol: &mut Protocol,
        number: impl Fn(Token) -> Option<u64>,
        then: Option<Change>,
        mut write: impl FnMut(Change),
    ) {
        let steps = protocol.take_progress();
        let steps = steps.into_iter().filter_map(|step| match step {
            Progress::Sent(token, id) => number(token).map(|it| Change::Sent(it, id)),
            Progress::Released(token, id, reason) => {
                number(token).map(|it| Change::Released(it, id, reason))
            }
            Progress::Taken(id) => Some(Change::Taken(id)),
            Progress::Forgotten(id) => Some(Change::Forgotten(id)),
        });
        for change in steps.chain(then) {
            write(change);
            self.is_unsynced = true;
        }
    }

    /// The same before what the protocol has to say leaves; whether it must not before all of it is on the disk.
    pub fn note_all(
        &mut self,
        protocol: &mut Protocol,
        number: impl Fn(Token) -> Option<u64>,
        write: impl FnMut(Change),
    ) -> bool {
        // What is sent again may be given up in this moment.
        let has_output = protocol.outgoing().has_remaining();
        self.note(protocol, number, None, write);
        has_output && self.is_unsynced
    }

    /// All of it is on the disk.
    pub fn synced(&mut self) {
        self.is_unsynced = false;
    }
}
