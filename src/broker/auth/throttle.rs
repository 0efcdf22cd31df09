//! What a wrong password costs whoever tries: the next tries have to wait.
//!
//! Each address and each user name may fail so many times in a row, and one failure is forgotten every so often. Beyond, a
//! login is refused before anything is hashed. Two rules keep that from hitting the honest:
//!
//! * A user that has logged in from an address before is counted apart there: who guesses behind the same address, or at
//!   the same name from elsewhere, does not lock it out.
//! * Nothing is refused for longer than it takes to forget one failure, if no further one comes.
//!
//! Names count as prepared by RFC 4013, as they are compared where users are a mapping.
//!
//! Only what has failed or succeeded lately is remembered, by a keyed hash, and never more than so many of each.

use crate::scram;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How much logins may cost, and how often they may fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthLimits {
    /// Failed logins of one address (of IPv6: of its /64) in a row; 0: any number.
    pub failures_per_address: u32,
    /// Failed logins under one user name in a row; 0: any number.
    pub failures_per_user: u32,
    /// One of them is forgotten after so long.
    pub forget_failure_after: Duration,
    /// Addresses, names and users of addresses that are remembered, of each.
    pub remembered_max: usize,
    /// Passwords hashed at a time; 0: as many as half of the cores.
    pub hashing_max: usize,
    /// Logins that wait for their turn.
    pub waiting_max: usize,
    /// Logins that a hook is asked about at a time.
    pub hooks_max: usize,
    /// How long a hook may think.
    pub hook_timeout: Duration,
}

impl Default for AuthLimits {
    fn default() -> Self {
        Self {
            failures_per_address: 30,
            failures_per_user: 10,
            forget_failure_after: Duration::from_secs(10),
            remembered_max: 100_000,
            hashing_max: 0,
            waiting_max: 1000,
            hooks_max: 16,
            hook_timeout: Duration::from_secs(5),
        }
    }
}

/// Who tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    /// Where from; `None`: out of this process, which is not throttled.
    pub(crate) address: Option<IpAddr>,
    /// Under which name, if under any.
    pub(crate) user: Option<&'a str>,
}

/// Failures by address, by user, and by both for those that belong together.
#[derive(Debug)]
pub(crate) struct Throttle {
    limits: AuthLimits,
    secret: RandomState,
    known: Mutex<Known>,
}

/// By keyed hash.
#[derive(Debug, Default)]
struct Known {
    addresses: Failures,
    users: Failures,
    /// Whoever is in it has succeeded before.
    pairs: Failures,
}

/// When all failures will be forgotten.
type Failures = HashMap<u64, Instant>;

impl Throttle {
    pub(crate) fn new(limits: AuthLimits) -> Self {
        Self {
            limits,
            secret: RandomState::new(),
            known: Mutex::default(),
        }
    }

    /// Whether this login is to be refused unheard.
    pub(crate) fn refuses(&self, attempt: Attempt<'_>, now: Instant) -> bool {
        let Some(keys) = self.keys(attempt) else {
            return false;
        };
        let known = self.known.lock();
        if let Some(due) = keys.pair.and_then(|pair| known.pairs.get(&pair)) {
            return self.is_over(Some(due), self.limits.failures_per_user, now);
        }
        let due = known.addresses.get(&keys.address);
        let user_due = keys.user.and_then(|user| known.users.get(&user));
        self.is_over(due, self.limits.failures_per_address, now)
            || self.is_over(user_due, self.limits.failures_per_user, now)
    }

    /// It was wrong.
    pub(crate) fn failed(&self, attempt: Attempt<'_>, now: Instant) {
        let Some(keys) = self.keys(attempt) else {
            return;
        };
        let mut known = self.known.lock();
        if let Some(due) = keys.pair.and_then(|pair| known.pairs.get_mut(&pair)) {
            *due = self.later(Some(*due), now);
            return;
        }
        self.add(&mut known.addresses, keys.address, now);
        if let Some(user) = keys.user {
            self.add(&mut known.users, user, now);
        }
    }

    /// It was right: this user, who it has proven to be, is known there from now on.
    pub(crate) fn succeeded(&self, attempt: Attempt<'_>, now: Instant) {
        if let Some(pair) = self.keys(attempt).and_then(|keys| keys.pair) {
            let mut known = self.known.lock();
            self.halve(&mut known.pairs);
            known.pairs.insert(pair, now);
        }
    }

    fn add(&self, failures: &mut Failures, key: u64, now: Instant) {
        if !failures.contains_key(&key) {
            self.make_room(failures, now);
        }
        let due = self.later(failures.get(&key).copied(), now);
        failures.insert(key, due);
    }

    fn later(&self, due: Option<Instant>, now: Instant) -> Instant {
        let due = due.unwrap_or(now).max(now);
        due.checked_add(self.limits.forget_failure_after)
            .unwrap_or(due)
    }

    fn is_over(&self, due: Option<&Instant>, failures_max: u32, now: Instant) -> bool {
        let bound = self
            .limits
            .forget_failure_after
            .saturating_mul(failures_max.saturating_sub(1));
        failures_max > 0 && due.is_some_and(|due| due.saturating_duration_since(now) > bound)
    }

    /// Forgets what is over; and when that is not enough, the half that is over first.
    fn make_room(&self, failures: &mut Failures, now: Instant) {
        if failures.len() >= self.limits.remembered_max {
            failures.retain(|_, due| *due > now);
            self.halve(failures);
        }
    }

    fn halve(&self, failures: &mut Failures) {
        if failures.len() < self.limits.remembered_max.max(1) {
            return;
        }
        let mut dues: Vec<Instant> = failures.values().copied().collect();
        let middle = dues.len() / 2;
        let median = *dues.select_nth_unstable(middle).1;
        failures.retain(|_, due| *due > median);
    }

    fn keys(&self, attempt: Attempt<'_>) -> Option<Keys> {
        let address = network(attempt.address?);
        // A name has as many spellings as somebody likes to try.
        let user = attempt.user.map(|user| {
            let prepared = scram::prepare(user);
            prepared.unwrap_or(Cow::Borrowed(user))
        });
        Some(Keys {
            address: self.secret.hash_one(address),
            user: user.as_ref().map(|user| self.secret.hash_one(user)),
            pair: user.map(|user| self.secret.hash_one((address, user))),
        })
    }
}

struct Keys {
    address: u64,
    user: Option<u64>,
    pair: Option<u64>,
}

/// Of IPv6, whoever has one address has the 2⁶⁴ beside it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}
