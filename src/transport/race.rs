//! Which of the addresses of a name gets the connection: those of IPv6 and IPv4 take turns, each tried a moment after
//! the one before, and the first that answers wins (RFC 8305). So a host whose IPv6 leads nowhere costs that moment, and
//! not the whole time-out.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::sleep;

/// How long one try is ahead of the next. A failure starts the next at once.
const HEAD_START: Duration = Duration::from_millis(250);
/// More addresses than this are not tried: a name has a handful.
const TRIES_MAX: usize = 16;

/// The addresses in the order of trying: the family of the first one, then the other, and so on in turn.
pub(super) fn interleaved(addresses: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !seen.contains(&address) && seen.len() < TRIES_MAX {
            seen.push(address);
        }
    }
    let starts_with_v6 = seen.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) = seen
        .into_iter()
        .partition(|address| address.is_ipv6() == starts_with_v6);
    let mut order = VecDeque::with_capacity(first.len() + second.len());
    while let Some(address) = first.pop_front() {
        order.push_back(address);
        order.extend(second.pop_front());
    }
    order.extend(second);
    order
}

/// The first connection that comes about; the tries that are still under way are given up. Without any, the failure of
/// the address that was tried first, which is the one the system prefers; `None`: there was nothing to try.
pub(super) async fn race<T, F: Future<Output = io::Result<T>>>(
    mut addresses: VecDeque<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Option<io::Result<T>> {
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut failure: Option<(usize, io::Error)> = None;
    let mut started = 0;
    loop {
        if let Some(address) = addresses.pop_front() {
            running.push((started, Box::pin(connect(address))));
            started += 1;
        } else if running.is_empty() {
            return failure.map(|(_, error)| Err(error));
        }
        let mut head_start = pin!(sleep(HEAD_START));
        let ended = poll_fn(|cx| {
            if let Poll::Ready(ended) = poll_each(&mut running, cx) {
                return Poll::Ready(Some(ended));
            }
            if addresses.is_empty() {
                return Poll::Pending;
            }
            head_start.as_mut().poll(cx).map(|()| None)
        })
        .await;
        match ended {
            Some((_, Ok(connection))) => return Some(Ok(connection)),
            Some((place, Err(error))) if failure.as_ref().is_none_or(|(of, _)| place < *of) => {
                failure = Some((place, error));
            }
            _ => {}
        }
    }
}

/// The next try that ended, which is taken out.
fn poll_each<T, F: Future<Output = io::Result<T>>>(
    running: &mut Vec<(usize, Pin<Box<F>>)>,
    cx: &mut Context<'_>,
) -> Poll<(usize, io::Result<T>)> {
    for at in 0..running.len() {
        let (place, attempt) = &mut running[at];
        let place = *place;
        if let Poll::Ready(outcome) = attempt.as_mut().poll(cx) {
            drop(running.remove(at));
            return Poll::Ready((place, outcome));
        }
    }
    Poll::Pending
}
