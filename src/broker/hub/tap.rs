//! Taps: what is published, for those who look on from inside this process.
//!
//! Owns the messages that a [`Tap`] has caught and nobody has fetched yet, and who waits for more. A message is caught
//! before it is queued for anybody and before its publisher is answered, so whoever has the answer finds it there. While
//! nobody looks on, a message costs one look at a flag. Small locks of their own, never held while another is taken.

use crate::message::Message;
use crate::topic::TopicFilter;
use bytestring::ByteString;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// A message as it was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caught {
    /// What.
    pub message: Message,
    /// The client id of its publisher; `None`: the broker itself, or a will.
    pub publisher: Option<ByteString>,
}

/// What one onlooker sees. Dropping it ends it.
#[derive(Debug)]
pub struct Tap {
    filter: TopicFilter,
    messages_max: usize,
    caught: Mutex<VecDeque<Caught>>,
    /// Dropped unread, the oldest first, because more came than there is room for.
    dropped: AtomicUsize,
    /// How many were caught so far.
    total: watch::Sender<u64>,
}

impl Tap {
    fn new(filter: TopicFilter, messages_max: usize) -> Self {
        Self {
            filter,
            messages_max,
            caught: Mutex::default(),
            dropped: AtomicUsize::new(0),
            total: watch::Sender::new(0),
        }
    }

    /// Everything caught since the last time, oldest first.
    pub fn fetch(&self) -> VecDeque<Caught> {
        std::mem::take(&mut *self.caught.lock())
    }

    /// How many were dropped before anybody fetched them.
    pub fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Told how many were caught so far, whenever there are more.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.total.subscribe()
    }

    fn catch(&self, message: &Message, publisher: Option<&ByteString>) {
        if !self.filter.matches(&message.topic) {
            return;
        }
        {
            let mut caught = self.caught.lock();
            caught.push_back(Caught {
                // Kept for who knows how long: it must not pin a read buffer.
                message: message.compact(),
                publisher: publisher.cloned(),
            });
            if caught.len() > self.messages_max {
                caught.pop_front();
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.total.send_modify(|total| *total += 1);
    }
}

/// All who look on.
#[derive(Debug, Default)]
pub(super) struct Taps {
    is_any: AtomicBool,
    list: Mutex<Vec<Weak<Tap>>>,
}

impl Taps {
    /// Whether anybody looks on.
    pub(super) fn is_any(&self) -> bool {
        self.is_any.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, filter: TopicFilter, messages_max: usize) -> Arc<Tap> {
        let tap = Arc::new(Tap::new(filter, messages_max));
        self.list.lock().push(Arc::downgrade(&tap));
        self.is_any.store(true, Ordering::Relaxed);
        tap
    }

    pub(super) fn catch(&self, message: &Message, publisher: Option<&ByteString>) {
        let taps: Vec<Arc<Tap>> = {
            let mut list = self.list.lock();
            list.retain(|tap| tap.strong_count() > 0);
            self.is_any.store(!list.is_empty(), Ordering::Relaxed);
            list.iter().filter_map(Weak::upgrade).collect()
        };
        for tap in taps {
            tap.catch(message, publisher);
        }
    }
}
