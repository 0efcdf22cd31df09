//! A clock that is moved by hand, and what it has to know for that: who is runnable, and who waits until when.
//!
//! Rest is counted: a wake-up counts from before its task is told until the task was polled, a poll counts while it
//! lasts, and so the count is never zero while anything can still happen by itself. Deadlines are met one at a time, in
//! their order and among equals in that of asking, with rest in between: the same acts give the same hours.
//!
//! Three locks, none held while another is taken or a waker called, except that whoever moves the clock keeps all others
//! from moving it (`turn`).

use super::Busy;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// How long rest has to last while sockets are open: what the kernel holds has reached their tasks by then, if the machine
/// is not overloaded.
const MOMENT: Duration = Duration::from_millis(2);

/// Further than anything reaches, and still a time.
const FAR: Duration = Duration::from_secs(500 * 365 * 86_400);

/// Something stayed busy, so that the clock could not be moved on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the clock cannot be moved on: something has kept the broker busy for {} s without a rest", Self::PATIENCE.as_secs())]
pub struct Restless;

impl Restless {
    /// How long rest is waited for, in real time.
    pub const PATIENCE: Duration = Duration::from_secs(30);
}

/// Deadlines with who waits for each; equal ones by number.
type Timers = BTreeMap<(Instant, u64), Waker>;

#[derive(Debug)]
pub(super) struct Manual {
    began: Instant,
    never: Instant,
    /// Nanoseconds since then; changed only under the lock of the timers.
    passed: AtomicU64,
    timers: Mutex<Timers>,
    last_timer: AtomicU64,
    /// Wake-ups not yet followed, polls under way, and other work.
    busy: AtomicIsize,
    polls: AtomicU64,
    outside: AtomicUsize,
    resting: Mutex<()>,
    rested: Condvar,
    turn: Mutex<()>,
}

impl Manual {
    pub(super) fn new() -> Self {
        let began = real_now();
        Self {
            began,
            never: began.checked_add(FAR).unwrap_or(began + super::FOREVER),
            passed: AtomicU64::new(0),
            timers: Mutex::default(),
            last_timer: AtomicU64::new(0),
            busy: AtomicIsize::new(0),
            polls: AtomicU64::new(0),
            outside: AtomicUsize::new(0),
            resting: Mutex::new(()),
            rested: Condvar::new(),
            turn: Mutex::new(()),
        }
    }

    pub(super) fn passed(&self) -> Duration {
        Duration::from_nanos(self.passed.load(Ordering::Acquire))
    }

    pub(super) fn now(&self) -> Instant {
        self.began + self.passed()
    }

    pub(super) fn never(&self) -> Instant {
        self.never
    }

    pub(super) fn polls(&self) -> u64 {
        self.polls.load(Ordering::SeqCst)
    }

    pub(super) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        if self.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Who waits has looked either before, and sleeps by now, or after.
            drop(self.resting.lock());
            self.rested.notify_all();
        }
    }

    pub(super) fn watch(&self, more: bool) {
        if more {
            self.outside.fetch_add(1, Ordering::SeqCst);
        } else {
            self.outside.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn is_at_rest(&self) -> bool {
        self.busy.load(Ordering::SeqCst) == 0
    }

    /// Waits until nothing is runnable.
    fn rest(&self) -> Result<(), Restless> {
        let until = real_now() + Restless::PATIENCE;
        let mut resting = self.resting.lock();
        loop {
            if !self.is_at_rest() {
                let waited = self.rested.wait_until(&mut resting, until);
                if waited.timed_out() && !self.is_at_rest() {
                    return Err(Restless);
                }
                continue;
            }
            if self.outside.load(Ordering::SeqCst) == 0 {
                return Ok(());
            }
            let polls = self.polls();
            let waited = self.rested.wait_for(&mut resting, MOMENT);
            if waited.timed_out() && self.is_at_rest() && self.polls() == polls {
                return Ok(());
            }
            if real_now() >= until {
                return Err(Restless);
            }
        }
    }

    pub(super) fn advance(&self, by: Duration) -> Result<(), Restless> {
        let _turn = self.turn.lock();
        let target = self.now().checked_add(by).unwrap_or(self.never);
        let target = target.min(self.never);
        self.rest()?;
        while let Some(waker) = self.next_until(target) {
            waker.wake();
            self.rest()?;
        }
        Ok(())
    }

    /// Moves to the next deadline, if nothing is runnable and nobody else moves the clock.
    pub(super) fn jump(&self) {
        let Some(_turn) = self.turn.try_lock() else {
            return;
        };
        let next = self.timers.lock().keys().next().map(|(at, _)| *at);
        if let Some(next) = next.filter(|_| self.is_at_rest())
            && let Some(waker) = self.next_until(next)
        {
            waker.wake();
        }
    }

    /// Moves to the earliest deadline up to the target and says who waits for it; without one, to the target.
    fn next_until(&self, target: Instant) -> Option<Waker> {
        let mut timers = self.timers.lock();
        let due = timers.first_entry().filter(|timer| timer.key().0 <= target);
        let (at, waker) = match due {
            Some(timer) => (timer.key().0, Some(timer.remove())),
            None => (target, None),
        };
        let passed = at.saturating_duration_since(self.began).as_nanos();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.passed.fetch_max(passed, Ordering::AcqRel);
        waker
    }
}

/// For what is waited for in real time.
#[expect(
    clippy::disallowed_methods,
    reason = "this room is where everybody else gets the time from"
)]
fn real_now() -> Instant {
    Instant::now()
}

/// One deadline on a manual clock.
#[derive(Debug)]
pub(super) struct Timer {
    clock: Arc<Manual>,
    at: Instant,
    number: u64,
}

impl Timer {
    pub(super) fn new(clock: Arc<Manual>, at: Instant) -> Self {
        let number = clock.last_timer.fetch_add(1, Ordering::Relaxed);
        Self { clock, at, number }
    }

    pub(super) fn has_passed(&self) -> bool {
        self.at <= self.clock.now()
    }

    pub(super) fn reset(&mut self, at: Instant) {
        self.forget();
        self.at = at;
    }

    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut timers = self.clock.timers.lock();
        if self.at <= self.clock.now() {
            return Poll::Ready(());
        }
        // Whoever waits for ever is no reason to jump there.
        let previous = if self.at < self.clock.never {
            timers.insert((self.at, self.number), cx.waker().clone())
        } else {
            None
        };
        drop(timers);
        // Only now: its drop may be the end of a task, and of timers.
        drop(previous);
        Poll::Pending
    }

    fn forget(&self) {
        let waker = self.clock.timers.lock().remove(&(self.at, self.number));
        drop(waker);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.forget();
    }
}

const IDLE: u8 = 0;
const WOKEN: u8 = 1;
const OVER: u8 = 2;

/// Whether one task is runnable.
#[derive(Debug)]
pub(super) struct Tracker {
    clock: Arc<Manual>,
    state: AtomicU8,
    waker: Mutex<Waker>,
}

impl Tracker {
    /// A task that is new is runnable.
    pub(super) fn new(clock: &Arc<Manual>) -> Arc<Self> {
        clock.begin();
        Arc::new(Self {
            clock: Arc::clone(clock),
            state: AtomicU8::new(WOKEN),
            waker: Mutex::new(Waker::noop().clone()),
        })
    }

    /// A poll begins, and lasts until what is returned is dropped.
    pub(super) fn begin(&self, waker: &Waker) -> Busy {
        let busy = Busy::new(Some(Arc::clone(&self.clock)));
        self.clock.polls.fetch_add(1, Ordering::SeqCst);
        self.waker.lock().clone_from(waker);
        self.leave(IDLE);
        busy
    }

    /// There will be no more polls.
    pub(super) fn end(&self) {
        self.leave(OVER);
    }

    fn leave(&self, state: u8) {
        if self.state.swap(state, Ordering::SeqCst) == WOKEN {
            self.clock.end();
        }
    }
}

impl Wake for Tracker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Counted first: between the two there must be no moment of rest.
        self.clock.begin();
        let woken = self
            .state
            .compare_exchange(IDLE, WOKEN, Ordering::SeqCst, Ordering::SeqCst);
        if woken.is_err() {
            self.clock.end();
        }
        let waker = self.waker.lock().clone();
        waker.wake();
    }
}
