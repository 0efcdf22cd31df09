//! The life of a session as the two standards tell it, done the simple way: when it is resumed, when it ends, and what
//! becomes of the will. Times are compared, nothing is put on a clock.

use rmqtt::codec::Will;
use rmqtt::message::Message;
use std::time::{Duration, Instant};

/// What a CONNECT asks.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) clean_start: bool,
    /// In seconds; `u32::MAX`: for ever.
    pub(super) expiry: u32,
    pub(super) will: Option<Will>,
    /// Through which door it came, in a world with rules.
    pub(super) door: Option<usize>,
}

/// One session's life.
#[derive(Debug)]
pub(super) struct Life {
    expiry: u32,
    will: Option<Will>,
    /// Since when nobody is connected.
    alone_since: Option<Instant>,
}

impl Life {
    pub(super) fn begin(wish: &Wish) -> Self {
        Self {
            expiry: wish.expiry,
            will: wish.will.clone(),
            alone_since: None,
        }
    }

    /// Whether a connection that wants this goes on with the session.
    pub(super) fn goes_on(&self, wish: &Wish) -> bool {
        !wish.clean_start && self.expiry > 0
    }

    /// A connection goes on with the session: what the last one left to be said is taken back.
    pub(super) fn go_on(&mut self, wish: &Wish) {
        *self = Self::begin(wish);
    }

    /// The connection has ended. `is_clean`: by a DISCONNECT that takes the will back.
    pub(super) fn leave(&mut self, is_clean: bool, expiry: Option<u32>, now: Instant) {
        if is_clean {
            self.will = None;
        }
        self.expiry = expiry.unwrap_or(self.expiry);
        self.alone_since = Some(now);
    }

    pub(super) fn ends_at(&self) -> Option<Instant> {
        let since = self.alone_since.filter(|_| self.expiry < u32::MAX)?;
        Some(since + Duration::from_secs(self.expiry.into()))
    }

    /// The delay or the session's end, whichever is first.
    pub(super) fn will_due(&self) -> Option<Instant> {
        let delay = self.will.as_ref()?.delay_interval.unwrap_or(0);
        let due = self.alone_since? + Duration::from_secs(delay.into());
        Some(self.ends_at().map_or(due, |end| end.min(due)))
    }

    /// What is left to be said.
    pub(super) fn speak(&mut self) -> Option<Message> {
        self.will.take().map(|will| will.message)
    }

    pub(super) fn speak_if(&mut self, is_due: bool) -> Option<Message> {
        self.will.take_if(|_| is_due).map(|will| will.message)
    }
}
