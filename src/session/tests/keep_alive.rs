//! Deadlines.

use super::*;
use std::time::{Duration, Instant};

#[expect(
    clippy::disallowed_methods,
    reason = "an instant cannot be made otherwise"
)]
fn start() -> Instant {
    Instant::now()
}

/// spec(4): MQTT-3.1.2-23
/// spec(5): MQTT-3.1.2-20
#[test]
fn a_silent_client_pings_and_gives_up_without_an_answer() {
    let start = start();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut keep_alive = KeepAlive::new(Duration::from_secs(10), at(0));
    keep_alive.on_sent(at(4));
    assert_eq!(keep_alive.next_timeout(), Some(at(14)));
    assert_eq!(keep_alive.handle_timeout(at(13)), Beat::Wait);
    assert_eq!(keep_alive.handle_timeout(at(14)), Beat::Ping);
    keep_alive.on_ping_sent(at(14));
    keep_alive.on_pong();
    assert_eq!(keep_alive.handle_timeout(at(24)), Beat::Ping);
    keep_alive.on_ping_sent(at(24));
    keep_alive.on_sent(at(30));
    keep_alive.on_received(at(32));
    assert_eq!(keep_alive.next_timeout(), Some(at(40)));
    assert_eq!(keep_alive.handle_timeout(at(40)), Beat::Ping);
    keep_alive.on_ping_sent(at(40));
    assert_eq!(keep_alive.next_timeout(), Some(at(42)));
    assert_eq!(keep_alive.handle_timeout(at(42)), Beat::Dead);
}

/// spec(4): MQTT-3.1.2-24
/// spec(5): MQTT-3.1.2-22
#[test]
fn a_server_waits_one_and_a_half_intervals() {
    let start = start();
    let mut silence = Silence::new(Duration::from_secs(2), start);
    assert!(!silence.is_over(start + Duration::from_millis(2_999)));
    assert!(silence.is_over(start + Duration::from_secs(3)));
    silence.on_received(start + Duration::from_secs(2));
    assert_eq!(silence.next_timeout(), Some(start + Duration::from_secs(5)));
}

#[test]
fn an_interval_of_zero_never_ends() {
    let start = start();
    let later = start + Duration::from_secs(1_000_000);
    assert_eq!(
        KeepAlive::new(Duration::ZERO, start).handle_timeout(later),
        Beat::Wait
    );
    assert_eq!(Silence::new(Duration::ZERO, start).next_timeout(), None);
    assert_eq!(Silence::new(Duration::MAX, start).next_timeout(), None);
}
