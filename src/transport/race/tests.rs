//! Addresses that answer, refuse or say nothing, on a clock that jumps.

use super::{HEAD_START, TRIES_MAX, interleaved, race};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn v4(last: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, last], 1883))
}

fn v6(last: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, last], 1883))
}

/// What comes of trying an address, and after how many milliseconds.
type Plan = (SocketAddr, u64, Result<(), io::ErrorKind>);

/// Races these, and says who won, when each was tried, and how long it all took.
async fn raced(
    plans: &[Plan],
) -> (
    Option<io::Result<SocketAddr>>,
    Vec<(SocketAddr, u128)>,
    Duration,
) {
    let begin = Instant::now();
    let tried = RefCell::new(Vec::new());
    let won = race(plans.iter().map(|plan| plan.0).collect(), |address| {
        tried
            .borrow_mut()
            .push((address, begin.elapsed().as_millis()));
        let (_, after, outcome) = plans
            .iter()
            .find(|plan| plan.0 == address)
            .copied()
            .unwrap();
        async move {
            sleep(Duration::from_millis(after)).await;
            outcome.map(|()| address).map_err(io::Error::from)
        }
    })
    .await;
    (won, tried.into_inner(), begin.elapsed())
}

#[test]
fn the_families_take_turns_beginning_with_the_one_the_system_prefers() {
    let resolved = [v6(1), v6(2), v6(2), v6(3), v4(1)];
    assert_eq!(
        interleaved(resolved.into_iter()),
        [v6(1), v4(1), v6(2), v6(3)]
    );
    let resolved = [v4(1), v4(2), v6(1), v6(2), v6(3)];
    assert_eq!(
        interleaved(resolved.into_iter()),
        [v4(1), v6(1), v4(2), v6(2), v6(3)]
    );
    assert!(interleaved(std::iter::empty()).is_empty());
}

#[test]
fn a_name_with_endless_addresses_does_not_make_endless_tries() {
    let resolved = (0..1000).map(v6);
    assert_eq!(interleaved(resolved).len(), TRIES_MAX);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_leads_nowhere_costs_its_head_start_and_no_more() {
    let (won, tried, took) = raced(&[(v6(1), 60_000, Ok(())), (v4(1), 10, Ok(()))]).await;
    assert_eq!(won.unwrap().unwrap(), v4(1));
    assert_eq!(tried, [(v6(1), 0), (v4(1), HEAD_START.as_millis())]);
    assert_eq!(took, HEAD_START + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn the_first_address_has_time_to_answer() {
    let (won, tried, _) = raced(&[(v6(1), 200, Ok(())), (v4(1), 0, Ok(()))]).await;
    assert_eq!(won.unwrap().unwrap(), v6(1));
    assert_eq!(tried, [(v6(1), 0)]);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_refuses_makes_way_at_once() {
    let refused = Err(io::ErrorKind::ConnectionRefused);
    let (won, _, took) = raced(&[(v6(1), 1, refused), (v4(1), 1, Ok(()))]).await;
    assert_eq!(won.unwrap().unwrap(), v4(1));
    assert_eq!(took, Duration::from_millis(2));
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_try_still_wins_when_the_others_fail() {
    let refused = Err(io::ErrorKind::ConnectionRefused);
    let (won, _, _) = raced(&[(v6(1), 900, Ok(())), (v4(1), 0, refused)]).await;
    assert_eq!(won.unwrap().unwrap(), v6(1));
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_failure_of_the_preferred_address_is_told() {
    let plans = [
        (v6(1), 900, Err(io::ErrorKind::PermissionDenied)),
        (v4(1), 0, Err(io::ErrorKind::ConnectionRefused)),
    ];
    let (lost, tried, _) = raced(&plans).await;
    assert_eq!(
        lost.unwrap().unwrap_err().kind(),
        io::ErrorKind::PermissionDenied
    );
    assert_eq!(tried.len(), 2);
    assert!(raced(&[]).await.0.is_none());
}
