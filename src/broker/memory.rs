//! What a broker holds in all, in bytes, and what it still grants.
//!
//! Owns one number for all. Whoever holds something has a [`Charge`] of its own, which follows what is held in steps, so
//! that what comes and goes quickly costs the others nothing; a large payload has one too, however many queues it is in.
//! What is held is known by what was put in and taken out, not by asking the allocator: see `docs/limits.md` for what that
//! leaves out.
//!
//! | held, of the bound | who is refused |
//! |---|---|
//! | three quarters | clients without a session |
//! | seven eighths | what grows: retained messages, subscriptions, what absent clients are sent; publishers wait for those that are here |
//! | all | connections, and packets that are large and not complete |
//!
//! The last eighth is for those who come for what they were promised: that makes room. Nothing that was acknowledged is
//! ever given up.

use crate::broker::Limits;
use crate::message::{LARGE_PAYLOAD, Message};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes may always wait for a client that is here: whoever takes them in time does not notice that others hold all
/// there is.
pub const QUEUE_FREE: usize = 8 << 10;

/// A charge that follows is off by less than this.
const STEP: usize = 4096;

/// Something that may be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// A client that has no session.
    Newcomer,
    /// More to be kept for those who are known.
    Growth,
    /// Whatever there is room for at all.
    Rest,
}

/// What a broker holds. Alone in its cache line: it is read for each message, and seldom written.
#[derive(Debug)]
#[repr(align(64))]
pub struct Memory {
    held: AtomicUsize,
    high: AtomicUsize,
    max: usize,
}

impl Memory {
    /// Nothing is held.
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            held: AtomicUsize::new(0),
            high: AtomicUsize::new(0),
            max: match limits.held_bytes_max {
                0 => usize::MAX,
                max => max,
            },
        })
    }

    /// Bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The most that ever were.
    pub fn high(&self) -> usize {
        self.high.load(Ordering::Relaxed)
    }

    /// Whether there is room for this.
    pub fn grants(&self, claim: Claim) -> bool {
        let mark = match claim {
            Claim::Newcomer => self.max / 4 * 3,
            Claim::Growth => self.max / 8 * 7,
            Claim::Rest => self.max,
        };
        self.held() < mark
    }

    /// The same message, with a large payload charged for as long as anybody has it: once, however many that are.
    pub fn hold(self: &Arc<Self>, message: Message) -> Message {
        if message.payload.len() < LARGE_PAYLOAD {
            return message;
        }
        Message {
            payload: self.hold_bytes(message.payload),
            ..message
        }
    }

    /// The same bytes, charged for as long as anybody has them.
    pub fn hold_bytes(self: &Arc<Self>, bytes: Bytes) -> Bytes {
        let mut charge = Charge::new(self);
        charge.set(bytes.len());
        Bytes::from_owner(Held {
            bytes,
            _charge: charge,
        })
    }

    /// The same message in memory of its own, as [`Message::compact`], and held.
    pub fn keep(self: &Arc<Self>, message: &Message) -> Message {
        self.hold(message.compact())
    }

    fn add(&self, bytes: usize) {
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if held > self.high() {
            self.high.fetch_max(held, Ordering::Relaxed);
        }
    }

    fn sub(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes, and what they are charged.
struct Held {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What one of many holds; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Charge {
    /// Nothing yet.
    pub fn new(memory: &Arc<Memory>) -> Self {
        Self {
            memory: Arc::clone(memory),
            bytes: 0,
        }
    }

    /// Where it is charged.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// It is exactly so much now.
    pub fn set(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            Some(more) => self.memory.add(more),
            None => self.memory.sub(self.bytes - bytes),
        }
        self.bytes = bytes;
    }

    /// It is about so much now: what is less than a step is not worth telling.
    pub fn follow(&mut self, bytes: usize) {
        if bytes.abs_diff(self.bytes) >= STEP {
            self.set(bytes);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.sub(self.bytes);
    }
}
