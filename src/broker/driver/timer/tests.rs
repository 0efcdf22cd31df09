//! When it goes off.

use super::Timer;
use crate::clock::Clock;
use std::future::poll_fn;
use std::time::Duration;
use tokio::time::Instant;

/// What it says when it is asked without waiting.
async fn has_gone_off(timer: &mut Timer) -> bool {
    poll_fn(|cx| std::task::Poll::Ready(timer.poll(cx).is_ready())).await
}

#[tokio::test(start_paused = true)]
async fn it_wakes_at_the_time_that_was_set_last_if_that_is_earlier() {
    let began = Instant::now();
    let mut timer = Timer::new(
        &Clock::default(),
        (began + Duration::from_secs(90)).into_std(),
    );
    assert!(!has_gone_off(&mut timer).await);
    timer.set((began + Duration::from_secs(10)).into_std());
    poll_fn(|cx| timer.poll(cx)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_later_time_counts_only_from_the_next_time_it_goes_off() {
    let began = Instant::now();
    let mut timer = Timer::new(
        &Clock::default(),
        (began + Duration::from_secs(10)).into_std(),
    );
    for _ in 0..3 {
        timer.set((began + Duration::from_secs(30)).into_std());
        assert!(!has_gone_off(&mut timer).await);
    }
    poll_fn(|cx| timer.poll(cx)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    assert!(has_gone_off(&mut timer).await);
    timer.set((began + Duration::from_secs(30)).into_std());
    assert!(!has_gone_off(&mut timer).await);
    poll_fn(|cx| timer.poll(cx)).await;
    assert_eq!(began.elapsed(), Duration::from_secs(30));
}
