//! One connection's timer, which costs nothing while nothing is due.

#[cfg(test)]
mod tests;

use crate::clock::{Clock, Sleep};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Goes off once, at a time that may be moved.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    due: Instant,
    /// Whom the sleep wakes: it is asked again only when that has changed.
    waker: Option<Waker>,
}

impl Timer {
    pub(super) fn new(clock: &Clock, due: Instant) -> Self {
        Self {
            sleep: Box::pin(clock.sleep_until(due)),
            due,
            waker: None,
        }
    }

    /// It has to go off no later than `wanted`. It may go off too early: that costs less than to move it with every packet.
    pub(super) fn set(&mut self, wanted: Instant) {
        if wanted < self.due || self.sleep.has_passed() {
            self.due = wanted;
            self.waker = None;
            self.sleep.as_mut().reset(wanted);
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let knows = |waker: &Waker| waker.will_wake(cx.waker());
        if self.waker.as_ref().is_some_and(knows) && !self.sleep.has_passed() {
            return Poll::Pending;
        }
        let polled = self.sleep.as_mut().poll(cx);
        self.waker = polled.is_pending().then(|| cx.waker().clone());
        polled
    }
}
