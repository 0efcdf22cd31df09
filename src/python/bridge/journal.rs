//! What the network's threads write down for a log, and a thread of Python's reads. It is bounded: what nobody reads in
//! time is missing, and that is said. Nobody waits to write.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

/// So many entries wait to be read.
const ENTRIES_MAX: usize = 1024;

/// One entry.
pub(crate) struct Noted<T> {
    pub(crate) at: SystemTime,
    /// So many before it are missing.
    pub(crate) missing: u64,
    /// `None`: only that.
    pub(crate) what: Option<T>,
}

struct State<T> {
    entries: VecDeque<Noted<T>>,
    missing: u64,
    /// The reader sleeps until there is one.
    is_awaited: bool,
    is_closed: bool,
}

/// The entries that nobody has read yet.
pub(crate) struct Journal<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

impl<T> Journal<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                entries: VecDeque::new(),
                missing: 0,
                is_awaited: false,
                is_closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Writes it down, unless there are too many already.
    pub(crate) fn note(&self, what: T) {
        let at = SystemTime::now();
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        if state.entries.len() >= ENTRIES_MAX {
            state.missing += 1;
            return;
        }
        let missing = std::mem::take(&mut state.missing);
        let what = Some(what);
        state.entries.push_back(Noted { at, missing, what });
        if state.is_awaited {
            self.changed.notify_all();
        }
    }

    /// The next entry. Where there is none, it is waited for, but not before this rest is over, so that what comes
    /// meanwhile wakes nobody; not while attached to Python. `None`: closed, and all are read.
    pub(crate) fn next(&self, rest: Duration) -> Option<Noted<T>> {
        let mut state = self.state.lock();
        if state.entries.is_empty() {
            self.changed
                .wait_while_for(&mut state, |state| !state.is_closed, rest);
        }
        state.is_awaited = true;
        self.changed.wait_while(&mut state, |state| {
            state.entries.is_empty() && state.missing == 0 && !state.is_closed
        });
        state.is_awaited = false;
        if let Some(noted) = state.entries.pop_front() {
            return Some(noted);
        }
        let missing = std::mem::take(&mut state.missing);
        (missing > 0).then(|| Noted {
            at: SystemTime::now(),
            missing,
            what: None,
        })
    }

    /// Nothing more is written down. What is there can still be read.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_all();
    }
}
