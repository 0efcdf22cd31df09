//! Putting messages in, and telling the client's task of it.

use super::work::{Outgoing, Reply};
use super::{MESSAGE_OVERHEAD, Phase, Publishes, Queue, Restored, State, offline, publishes};
use crate::client::{ClientError, Done, DropCause, OnFull, Published, Rouse, TryPublish};
use crate::message::{Message, QoS};
use crate::storage::{Change, Store};
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// With so much put in, the client's task is woken in any case: it is enough for a write.
const UNSEEN_BYTES_MAX: usize = 16 << 10;

impl Queue {
    /// See [`crate::client::Client::try_publish`]. It is published at this hour, where that matters.
    pub(in crate::client) fn publish(
        &self,
        message: Message,
        put_at: Option<SystemTime>,
        done: Option<Done<Published>>,
        rouse: Rouse,
    ) -> Result<TryPublish, ClientError> {
        let size = publishes::size_of(&message);
        let mut state = self.state.lock();
        state.check_open()?;
        if let Some(error) = state.store.as_ref().and_then(Store::failure) {
            return Err(error.clone().into());
        }
        if let Some(granted) = &state.granted {
            granted.check_publish(&message)?;
        }
        if message.qos == QoS::AtMostOnce && !self.keep_qos0 && state.phase == Phase::Offline {
            drop(state);
            self.note_drops(DropCause::Offline, 1);
            Reply::new(done).send(Err(offline()));
            return Ok(TryPublish::Queued);
        }
        let mut dropped = Vec::new();
        if !self.has_room(&state, size) {
            match self.on_full {
                OnFull::Wait => {
                    state.was_full = true;
                    return Ok(TryPublish::Full(message, done));
                }
                OnFull::Error => return Err(ClientError::OutboxFull),
                OnFull::DropOldest => dropped = self.drop_oldest(&mut state, size),
            }
        }
        let number = state.count(size);
        if let Some(store) = &state.store
            && message.qos != QoS::AtMostOnce
        {
            store.write(Change::Put {
                number,
                message: message.clone(),
                put_at,
            });
        }
        state.work.publishes.push(Outgoing {
            message,
            size,
            number,
            put_at,
            reply: Reply::new(done),
        });
        self.wake_for_message(state, rouse);
        self.give_up_on(dropped, DropCause::OutboxFull, &ClientError::Dropped);
        Ok(TryPublish::Queued)
    }

    /// See [`crate::client::Client::try_publish_brief`].
    pub(in crate::client) fn publish_brief(
        &self,
        topic: &str,
        payload: &[u8],
        retain: bool,
        rouse: Rouse,
    ) -> bool {
        let bytes = topic.len() + payload.len();
        let size = bytes + MESSAGE_OVERHEAD;
        let mut state = self.state.lock();
        let is_plain = self.ttl.is_none()
            && state.phase == Phase::Online
            && state.closing.is_none()
            && payload.len() <= publishes::BRIEF_MAX
            && state
                .granted
                .is_some_and(|granted| granted.takes_brief(bytes, retain))
            && self.has_room(&state, size);
        if is_plain {
            let number = state.count(size);
            let publishes = &mut state.work.publishes;
            publishes.push_brief(topic, payload, retain, number);
            self.wake_for_message(state, rouse);
        }
        is_plain
    }

    /// From now on messages of QoS 1 and 2 go into this store. So many, and so many bytes, are in it from before; the
    /// last has this number, and these have not been sent.
    pub(in crate::client) fn restore(
        &self,
        store: Store,
        (messages, bytes): (usize, usize),
        last: u64,
        waiting: Publishes,
    ) {
        let mut state = self.state.lock();
        state.store = Some(store);
        state.messages = messages;
        state.bytes = bytes;
        state.put_in = last;
        state.restored = Restored {
            up_to: last,
            left: messages,
        };
        state.work.publishes = waiting;
    }

    pub(super) fn has_room(&self, state: &State, size: usize) -> bool {
        // One message that is larger than the bound goes alone, rather than never.
        state.messages == 0
            || (state.messages < self.messages_max && state.bytes + size <= self.bytes_max)
    }

    /// Lets go of the lock and wakes the task, unless it knows already.
    pub(super) fn wake(&self, state: MutexGuard<'_, State>) {
        drop(state);
        self.rouse();
    }

    fn wake_for_message(&self, state: MutexGuard<'_, State>, rouse: Rouse) {
        if rouse == Rouse::Now || state.unseen_bytes >= UNSEEN_BYTES_MAX {
            self.wake(state);
        }
    }

    /// See [`crate::client::Client::rouse`].
    pub(in crate::client) fn rouse(&self) {
        if !self.is_roused.swap(true, Ordering::AcqRel) {
            self.work.notify_one();
        }
    }

    /// See [`crate::client::Client::rouser`].
    pub(in crate::client) fn rouser(self: &Arc<Self>) -> impl Fn() + Send + Sync + use<> {
        let queue = Arc::downgrade(self);
        move || {
            if let Some(queue) = queue.upgrade() {
                queue.rouse();
            }
        }
    }

    /// See [`crate::client::Client::is_roused`].
    pub(in crate::client) fn is_roused(&self) -> bool {
        self.is_roused.load(Ordering::Acquire)
    }
}
