//! Who is woken, and how often.

use super::Bell;
use crate::codec::ReasonCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

#[derive(Default)]
struct Sleeper(AtomicUsize);

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn sleeper() -> (Arc<Sleeper>, Waker) {
    let sleeper = Arc::new(Sleeper::default());
    (Arc::clone(&sleeper), sleeper.into())
}

#[test]
fn a_ring_before_anybody_listens_is_answered_once() {
    let (sleeper, waker) = sleeper();
    let bell = Bell::default();
    bell.ring();
    bell.ring();
    assert!(bell.answer(&waker));
    assert!(!bell.answer(&waker));
    assert_eq!(sleeper.0.load(Ordering::Relaxed), 0);
}

#[test]
fn however_often_it_is_rung_a_sleeper_is_woken_once() {
    let (sleeper, waker) = sleeper();
    let bell = Bell::default();
    assert!(!bell.answer(&waker));
    bell.ring();
    bell.ring();
    assert_eq!(sleeper.0.load(Ordering::Relaxed), 1);
    assert!(bell.answer(&waker));
    assert!(!bell.answer(&waker));
    bell.ring();
    assert_eq!(sleeper.0.load(Ordering::Relaxed), 2);
}

#[test]
fn who_listened_last_is_woken() {
    let ((first, first_waker), (second, second_waker)) = (sleeper(), sleeper());
    let bell = Bell::default();
    assert!(!bell.answer(&first_waker));
    assert!(!bell.answer(&second_waker));
    bell.ring();
    assert_eq!(first.0.load(Ordering::Relaxed), 0);
    assert_eq!(second.0.load(Ordering::Relaxed), 1);
}

#[test]
fn who_is_told_to_go_is_woken_and_hears_the_first_reason() {
    let (sleeper, waker) = sleeper();
    let bell = Bell::default();
    assert!(!bell.answer(&waker));
    assert_eq!(bell.told_to_go(), None);
    bell.tell_to_go(ReasonCode::SessionTakenOver);
    bell.tell_to_go(ReasonCode::QuotaExceeded);
    assert_eq!(sleeper.0.load(Ordering::Relaxed), 1);
    assert!(bell.answer(&waker));
    let reason = bell.told_to_go().map(|farewell| farewell.reason);
    assert_eq!(reason, Some(ReasonCode::SessionTakenOver));
}
