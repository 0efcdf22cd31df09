//! The places for connections, before anybody is known by name: how many there are, how many for one address, how fast
//! they are given, and how much strangers make us hold.
//!
//! One small lock of its own, taken once when a connection comes and once when it goes. What strangers hold is one number
//! for all, changed only between a socket's first byte and the end of its CONNECT.

use crate::broker::quota::{Crowd, Meter, Meters, Pace};
use crate::broker::{Limit, Limits};
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long all together may come faster.
const BURST: Duration = Duration::from_secs(1);

/// How many seconds' worth of connections may wait.
const WAIT_SECONDS: usize = 5;

/// How long one address may: many clients behind one router come back at once.
const BURST_OF_ADDRESS: Duration = Duration::from_secs(10);

/// So much each stranger may hold beside what is counted: most CONNECT packets are smaller, so whoever sends one does not
/// notice that others have taken all there is.
pub const HELD_FREE: usize = 1024;

/// All places of a broker.
#[derive(Debug)]
pub struct Places {
    limits: Arc<Limits>,
    state: Mutex<State>,
    held: AtomicUsize,
}

#[derive(Debug)]
struct State {
    taken: usize,
    by_address: Crowd<IpAddr>,
    pace: Meter,
    paces: Meters<IpAddr>,
}

impl Places {
    /// All are free.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        let pace = Pace {
            per_second: limits.connect_rate_max,
            burst: BURST,
        };
        let of_address = Pace {
            per_second: limits.connect_rate_per_address_max,
            burst: BURST_OF_ADDRESS,
        };
        Self {
            state: Mutex::new(State {
                taken: 0,
                by_address: Crowd::default(),
                pace: Meter::new(pace, now),
                paces: Meters::new(of_address),
            }),
            limits,
            held: AtomicUsize::new(0),
        }
    }

    /// Until when nobody else is to be let through, if connections have come too fast.
    pub fn closed_until(&self, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        (state.pace.left(now) == 0).then(|| state.pace.ready_at())
    }

    /// How many may wait until there is room in the rate: as long as somebody may be expected to.
    pub fn waiting_max(&self) -> usize {
        let rate = usize::try_from(self.limits.connect_rate_max).unwrap_or(usize::MAX);
        rate.saturating_mul(WAIT_SECONDS)
            .min(self.limits.connections_max)
    }

    /// A place for a connection from there; who is in this process has no address.
    ///
    /// # Errors
    /// The limit that it would go beyond.
    pub fn take(self: &Arc<Self>, address: Option<IpAddr>, now: Instant) -> Result<Place, Limit> {
        let address = address.map(network_of);
        let mut state = self.state.lock();
        if let Some(address) = address {
            state.check(address, &self.limits, now)?;
        }
        if state.taken >= self.limits.connections_max {
            return Err(Limit::ConnectionsMax);
        }
        state.taken += 1;
        if let Some(address) = address {
            state.by_address.add(address);
        }
        Ok(Place {
            places: Arc::clone(self),
            address,
            held: 0,
        })
    }
}

impl State {
    /// Whether one more may come from there.
    fn check(&mut self, address: IpAddr, limits: &Limits, now: Instant) -> Result<(), Limit> {
        self.pace.take(1, now);
        if !self.paces.try_take(address, now) {
            return Err(Limit::ConnectRatePerAddressMax);
        }
        let max = limits.connections_per_address_max;
        if max > 0 && self.by_address.count(&address) >= max {
            return Err(Limit::ConnectionsPerAddressMax);
        }
        Ok(())
    }
}

/// One of the places; free again when dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
    held: usize,
}

impl Place {
    /// It was taken before it was known for whom: for somebody from there.
    ///
    /// # Errors
    /// The limit that it would go beyond.
    pub fn assign(&mut self, address: Option<IpAddr>, now: Instant) -> Result<(), Limit> {
        let Some(address) = address.map(network_of) else {
            return Ok(());
        };
        let mut state = self.places.state.lock();
        state.check(address, &self.places.limits, now)?;
        state.by_address.add(address);
        if let Some(before) = self.address.replace(address) {
            state.by_address.remove(&before);
        }
        Ok(())
    }

    /// A stranger makes us hold so many bytes now; says whether there is room for them. It counts what was most: a CONNECT
    /// that waits to be judged lies elsewhere, and is held all the same.
    pub fn hold(&mut self, bytes: usize) -> bool {
        let counted = bytes.saturating_sub(HELD_FREE);
        let more = counted.saturating_sub(self.held);
        if more == 0 {
            return true;
        }
        self.held = counted;
        let before = self.places.held.fetch_add(more, Ordering::Relaxed);
        before + more <= self.places.limits.unaccepted_bytes_max
    }

    /// It is no stranger any more.
    pub fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.places.held.fetch_sub(held, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release();
        let mut state = self.places.state.lock();
        state.taken -= 1;
        if let Some(address) = &self.address {
            state.by_address.remove(address);
        }
    }
}

/// What one subscriber to the internet has: of IPv6 that is a network of 64 bits at least.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [one, two, three, four, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(one, two, three, four, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}
