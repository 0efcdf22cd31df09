//! Whether the session that a broker says it has is the one that we mean.
//!
//! A broker that has lost our session begins a new one with our CONNECT, and says so in CONNACK. When that answer is lost on
//! the way, the next CONNECT finds the new session, and the broker truthfully says that it has one: without our
//! subscriptions, and with packet ids that mean something else. So every CONNECT that may have arrived and was not answered
//! leaves a doubt, until the broker says that it begins anew.

/// What is known of CONNECTs without an answer.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    /// The size of the CONNECT that is not answered yet.
    unanswered: Option<usize>,
    /// One before it may have begun a session, or the next broker is another one.
    is_pending: bool,
    /// The session of this connection may be such a one.
    is_there: bool,
}

impl Doubt {
    /// CONNECT, of so many bytes, is about to leave.
    pub(super) fn asked(&mut self, size: usize) {
        self.unanswered = Some(size);
        self.is_there = false;
    }

    /// There is another reason to doubt.
    pub(super) fn raise(&mut self) {
        self.is_pending = true;
    }

    /// The connection is over; so many bytes have not left. Where that is all of CONNECT, the broker knows nothing of it.
    pub(super) fn connection_ended(&mut self, unwritten: usize) {
        if self.unanswered.take().is_some_and(|size| unwritten < size) {
            self.is_pending = true;
        }
    }

    /// The broker has refused: it begins no session.
    pub(super) fn refused(&mut self) {
        self.unanswered = None;
    }

    /// The broker has consented, with a session that it had or with a new one.
    pub(super) fn accepted(&mut self, session_present: bool) {
        self.unanswered = None;
        self.is_there = std::mem::take(&mut self.is_pending) && session_present;
    }

    pub(super) fn is_there(&self) -> bool {
        self.is_there
    }
}
