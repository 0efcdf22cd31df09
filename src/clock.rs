//! Time: the system's, or one that a test moves by hand.
//!
//! Everybody who needs the hour or wants to sleep asks a [`Clock`]; everything else gets the time as an argument. Owns what
//! makes a test's hour exact: which tasks are runnable, and which deadlines are waited for (`manual`). Knows nothing of
//! MQTT, sockets or who asks. On the system's clock all of this is tokio's, and costs nothing more.

mod manual;

pub use manual::Restless;

use manual::{Manual, Timer, Tracker};
use pin_project_lite::pin_project;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

/// A duration that nothing outlasts.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Where time comes from. Clones are the same clock; the default is the system's.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<Manual>>);

impl Clock {
    /// A clock that stands still until it is moved.
    pub fn manual() -> Self {
        Self(Some(Arc::new(Manual::new())))
    }

    /// The hour.
    pub fn now(&self) -> Instant {
        match &self.0 {
            Some(manual) => manual.now(),
            // Tokio's, since tests may have stopped it.
            None => tokio::time::Instant::now().into_std(),
        }
    }

    /// What the clock on the wall shows: for what is compared by another process. A clock that was moved is so much ahead.
    #[expect(clippy::disallowed_methods, reason = "this is where it is asked")]
    pub fn wall(&self) -> SystemTime {
        let ahead = match &self.0 {
            Some(manual) => manual.passed(),
            // Of one that tests have stopped.
            None => self.now().saturating_duration_since(Instant::now()),
        };
        SystemTime::now() + ahead
    }

    /// How far a manual clock has been moved since it was made; zero on the system's.
    pub fn passed(&self) -> Duration {
        self.0
            .as_ref()
            .map_or(Duration::ZERO, |manual| manual.passed())
    }

    /// An hour that does not come.
    pub fn never(&self) -> Instant {
        if let Some(manual) = &self.0 {
            return manual.never();
        }
        let now = self.now();
        now.checked_add(FOREVER).unwrap_or(now)
    }

    /// Sleeps until then.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        match &self.0 {
            Some(manual) => Sleep::Manual {
                timer: Timer::new(Arc::clone(manual), at),
            },
            None => Sleep::System {
                sleep: tokio::time::sleep_until(at.into()),
            },
        }
    }

    /// Sleeps for so long.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let at = self.now().checked_add(duration);
        self.sleep_until(at.unwrap_or_else(|| self.never()))
    }

    /// Waits for a future, no longer than this.
    pub fn timeout<F: Future>(&self, limit: Duration, future: F) -> Timeout<F> {
        Timeout {
            future,
            sleep: self.sleep(limit),
            real: None,
        }
    }

    /// Waits for a future, no longer than this by this clock, nor by the system's: for the courtesies at the end of a
    /// connection, which must come to an end also while nobody moves the clock.
    pub fn timeout_real<F: Future>(&self, limit: Duration, future: F) -> Timeout<F> {
        Timeout {
            real: self.0.as_ref().map(|_| tokio::time::sleep(limit)),
            ..self.timeout(limit, future)
        }
    }

    /// A task that a manual clock waits for while it has something to do. Whoever works for a broker or client is one.
    pub fn track<F: Future>(&self, future: F) -> Tracked<F> {
        Tracked {
            future,
            tracker: self.0.as_ref().map(Tracker::new),
        }
    }

    /// Work that is no task: a manual clock waits until this is dropped.
    pub fn busy(&self) -> Busy {
        Busy::new(self.0.clone())
    }

    /// Something whose next move the operating system may hold, such as a socket: while this lives, a manual clock believes
    /// in rest only when it has lasted for a moment.
    pub fn outside(&self) -> Outside {
        Outside::new(self.0.clone())
    }

    /// Moves a manual clock: to every deadline up to the target in turn, each time waiting until nothing that is tracked
    /// is runnable any more. Blocks the thread; does nothing on the system's clock.
    ///
    /// # Errors
    /// Something stayed busy for [`Restless::PATIENCE`] of real time.
    pub fn advance(&self, by: Duration) -> Result<(), Restless> {
        self.0.as_ref().map_or(Ok(()), |manual| manual.advance(by))
    }

    /// For ever: moves a manual clock to its next deadline whenever nothing was runnable for `patience` of real time.
    pub async fn jump_along(&self, patience: Duration) {
        let Some(manual) = &self.0 else {
            return;
        };
        loop {
            let polls = manual.polls();
            tokio::time::sleep(patience).await;
            if manual.polls() == polls {
                manual.jump();
            }
        }
    }
}

/// Lets others run once.
///
/// Unlike tokio's, it wakes its task before it returns: a task that yields is runnable all the while.
pub async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

pin_project! {
    /// A deadline to be waited for.
    #[project = SleepKind]
    #[derive(Debug)]
    #[allow(missing_docs, reason = "private to this room")]
    pub enum Sleep {
        System {
            #[pin]
            sleep: tokio::time::Sleep,
        },
        Manual {
            timer: Timer,
        },
    }
}

impl Sleep {
    /// Moves the deadline.
    pub fn reset(self: Pin<&mut Self>, at: Instant) {
        match self.project() {
            SleepKind::System { sleep } => sleep.reset(at.into()),
            SleepKind::Manual { timer } => timer.reset(at),
        }
    }

    /// Whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        match self {
            Self::System { sleep } => sleep.is_elapsed(),
            Self::Manual { timer } => timer.has_passed(),
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.project() {
            SleepKind::System { sleep } => sleep.poll(cx),
            SleepKind::Manual { timer } => timer.poll(cx),
        }
    }
}

pin_project! {
    /// A future that is not waited for any longer than this: see [`Clock::timeout`]. `None`: that was too long.
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Sleep,
        #[pin]
        real: Option<tokio::time::Sleep>,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(value) = this.future.poll(cx) {
            return Poll::Ready(Some(value));
        }
        let real = this.real.as_pin_mut();
        let is_late =
            this.sleep.poll(cx).is_ready() || real.is_some_and(|real| real.poll(cx).is_ready());
        if is_late {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

pin_project! {
    /// A future whose work a manual clock waits for: see [`Clock::track`].
    #[derive(Debug)]
    pub struct Tracked<F> {
        #[pin]
        future: F,
        tracker: Option<Arc<Tracker>>,
    }

    impl<F> PinnedDrop for Tracked<F> {
        fn drop(this: Pin<&mut Self>) {
            if let Some(tracker) = this.project().tracker {
                tracker.end();
            }
        }
    }
}

impl<F: Future> Future for Tracked<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let Some(tracker) = this.tracker else {
            return this.future.poll(cx);
        };
        let _busy = tracker.begin(cx.waker());
        let waker = Waker::from(Arc::clone(tracker));
        // Who has used up tokio's budget is woken later, and by a clone of the waker: it would look idle until then.
        let mut future = pin!(tokio::task::unconstrained(this.future));
        future.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Holds a manual clock up: see [`Clock::busy`].
#[derive(Debug)]
pub struct Busy(Option<Arc<Manual>>);

impl Busy {
    fn new(manual: Option<Arc<Manual>>) -> Self {
        if let Some(manual) = &manual {
            manual.begin();
        }
        Self(manual)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(manual) = &self.0 {
            manual.end();
        }
    }
}

/// Makes a manual clock patient: see [`Clock::outside`].
#[derive(Debug)]
pub struct Outside(Option<Arc<Manual>>);

impl Outside {
    fn new(manual: Option<Arc<Manual>>) -> Self {
        if let Some(manual) = &manual {
            manual.watch(true);
        }
        Self(manual)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(manual) = &self.0 {
            manual.watch(false);
        }
    }
}
