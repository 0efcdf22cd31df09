//! Messages on their way to the client's task, in the order of publishing.
//!
//! Short ones of QoS 0 that say nothing but topic and payload are *brief*: they lie one behind the other in one piece of
//! memory, so that nothing is allocated for each on one thread and given back on another. The task sees messages alone.

use super::work::{Outgoing, Reply};
use crate::message::{Message, QoS};
use crate::topic::TopicName;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use bytestring::ByteString;
use std::collections::VecDeque;
use std::time::SystemTime;

/// Larger payloads are worth memory of their own, which is then written from where it is.
pub(super) const BRIEF_MAX: usize = 2048;
/// As much lies in one piece of memory.
const PIECE_MAX: usize = 64 << 10;
/// And as much there is room for at first.
const PIECE_MIN: usize = 512;
/// In front of a brief message: the lengths of topic and payload, and whether it is to be retained.
const HEAD: usize = 2 + 4 + 1;

enum Entry {
    One(Outgoing),
    Briefs(Briefs),
}

struct Briefs {
    bytes: BytesMut,
    /// The number of the first, as in [`Outgoing`]; the others have those behind it.
    number: u64,
}

/// Messages in the order of publishing.
#[derive(Default)]
pub(in crate::client) struct Publishes {
    entries: VecDeque<Entry>,
}

impl Publishes {
    pub(in crate::client) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(in crate::client) fn push(&mut self, outgoing: Outgoing) {
        self.entries.push_back(Entry::One(outgoing));
    }

    /// Puts in a message of QoS 0 with this number: one more than that of the message before.
    pub(super) fn push_brief(&mut self, topic: &str, payload: &[u8], retain: bool, number: u64) {
        let size = HEAD + topic.len() + payload.len();
        let has_room = matches!(
            self.entries.back(),
            Some(Entry::Briefs(briefs)) if briefs.bytes.len() + size <= PIECE_MAX
        );
        if !has_room {
            let bytes = BytesMut::with_capacity(size.max(PIECE_MIN));
            let briefs = Briefs { bytes, number };
            self.entries.push_back(Entry::Briefs(briefs));
        }
        let (Some(Entry::Briefs(Briefs { bytes, .. })), Ok(topic_len), Ok(payload_len)) = (
            self.entries.back_mut(),
            u16::try_from(topic.len()),
            u32::try_from(payload.len()),
        ) else {
            return;
        };
        bytes.reserve(size);
        bytes.put_u16(topic_len);
        bytes.put_u32(payload_len);
        bytes.put_u8(u8::from(retain));
        bytes.put_slice(topic.as_bytes());
        bytes.put_slice(payload);
    }

    /// QoS and number of the first message.
    pub(in crate::client) fn front(&self) -> Option<(QoS, u64)> {
        Some(match self.entries.front()? {
            Entry::One(outgoing) => (outgoing.message.qos, outgoing.number),
            Entry::Briefs(briefs) => (QoS::AtMostOnce, briefs.number),
        })
    }

    /// What the first message takes of the bound on bytes, where it is not brief.
    pub(super) fn front_size(&self) -> usize {
        match self.entries.front() {
            Some(Entry::One(outgoing)) => outgoing.size,
            Some(Entry::Briefs(_)) | None => 0,
        }
    }

    /// When the first message was published, where that is known.
    pub(super) fn put_at(&self) -> Option<SystemTime> {
        match self.entries.front()? {
            Entry::One(outgoing) => outgoing.put_at,
            Entry::Briefs(_) => None,
        }
    }

    pub(in crate::client) fn pop(&mut self) -> Option<Outgoing> {
        if let Entry::Briefs(briefs) = self.entries.front_mut()? {
            let outgoing = briefs.pop();
            if briefs.bytes.is_empty() {
                self.entries.pop_front();
            }
            return outgoing;
        }
        match self.entries.pop_front()? {
            Entry::One(outgoing) => Some(outgoing),
            Entry::Briefs(_) => None,
        }
    }

    /// Moves the messages of QoS 0 out; the others stay, in their order.
    pub(in crate::client) fn take_qos0(&mut self) -> Vec<Outgoing> {
        let mut taken = Vec::new();
        let mut waiting = std::mem::take(self);
        while let Some(outgoing) = waiting.pop() {
            if outgoing.message.qos == QoS::AtMostOnce {
                taken.push(outgoing);
            } else {
                self.push(outgoing);
            }
        }
        taken
    }

    /// Moves all from `later` behind these.
    pub(super) fn append(&mut self, later: &mut Self) {
        super::append(&mut self.entries, &mut later.entries);
    }
}

impl Briefs {
    fn pop(&mut self) -> Option<Outgoing> {
        let topic_len = usize::from(self.bytes.get_u16());
        let payload_len = usize::try_from(self.bytes.get_u32()).ok()?;
        let retain = self.bytes.get_u8() != 0;
        let topic = self.bytes.split_to(topic_len).freeze();
        let payload: Bytes = self.bytes.split_to(payload_len).freeze();
        let number = self.number;
        self.number += 1;
        let topic = TopicName::new(ByteString::try_from(topic).ok()?).ok()?;
        let message = Message::new(topic, payload).with_retain(retain);
        Some(Outgoing {
            size: size_of(&message),
            message,
            number,
            put_at: None,
            reply: Reply::new(None),
        })
    }
}

/// What a message takes of the bound on bytes.
pub(in crate::client) fn size_of(message: &Message) -> usize {
    message.size() + super::MESSAGE_OVERHEAD
}
