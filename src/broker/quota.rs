//! How much somebody may have: at a time ([`Crowd`]), or in a time ([`Pace`], [`Meter`], [`Meters`]), and whose turn it is
//! ([`Turns`]). Plain arithmetic over the time that is passed in.
//!
//! A pace is kept by one instant: until when all that was taken will have been earned. It lies ahead of now by what was
//! taken in advance, at most by the burst; nothing has to be refilled, and whoever takes nothing costs nothing.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Fewer keys than this are not worth looking through for those that can be forgotten.
const SWEEP_MIN: usize = 1024;

/// So many for each second on average, and at once no more than are earned in the time of the burst. 0: no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// On average.
    pub per_second: u32,
    /// How long may be taken in advance.
    pub burst: Duration,
}

impl Pace {
    /// How many there are to take now, by one who has spent all that is earned until then.
    fn left(self, spent_until: Instant, now: Instant) -> u64 {
        let ahead = spent_until.saturating_duration_since(now);
        let nanos = self.burst.saturating_sub(ahead).as_nanos() * u128::from(self.per_second);
        u64::try_from(nanos / 1_000_000_000).unwrap_or(u64::MAX)
    }

    /// Until when one who takes so many more has spent it.
    fn spent(self, spent_until: Instant, count: u64, now: Instant) -> Instant {
        let begin = spent_until.max(now);
        let nanos = u128::from(count) * 1_000_000_000 / u128::from(self.per_second.max(1));
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        begin.checked_add(cost).unwrap_or(begin)
    }

    /// When there will be one to take.
    fn ready_at(self, spent_until: Instant) -> Instant {
        let one = Duration::from_secs(1) / self.per_second.max(1);
        let early = self.burst.saturating_sub(one);
        spent_until.checked_sub(early).unwrap_or(spent_until)
    }
}

/// What one has taken of a pace.
#[derive(Debug, Clone)]
pub struct Meter {
    pace: Pace,
    spent_until: Instant,
}

impl Meter {
    /// Nothing has been taken.
    pub fn new(pace: Pace, now: Instant) -> Self {
        Self {
            pace,
            spent_until: now,
        }
    }

    /// How many may be taken now.
    pub fn left(&self, now: Instant) -> u64 {
        if self.pace.per_second == 0 {
            return u64::MAX;
        }
        self.pace.left(self.spent_until, now)
    }

    /// So many are taken. More than are left are owed, and make the next ones come later.
    pub fn take(&mut self, count: u64, now: Instant) {
        if self.pace.per_second > 0 && count > 0 {
            self.spent_until = self.pace.spent(self.spent_until, count, now);
        }
    }

    /// When one may be taken.
    pub fn ready_at(&self) -> Instant {
        self.pace.ready_at(self.spent_until)
    }
}

/// What each of many has taken of a pace of its own. Who has earned all again is forgotten, so only those are known who
/// have taken something within the time of the burst.
#[derive(Debug, Clone)]
pub struct Meters<K> {
    pace: Pace,
    spent_until: BTreeMap<K, Instant>,
    sweep_at: usize,
}

impl<K: Ord> Meters<K> {
    /// Nobody has taken anything.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            spent_until: BTreeMap::new(),
            sweep_at: SWEEP_MIN,
        }
    }

    /// Takes one, if there is one to take.
    pub fn try_take(&mut self, key: K, now: Instant) -> bool {
        if self.pace.per_second == 0 {
            return true;
        }
        if self.spent_until.len() >= self.sweep_at {
            self.spent_until.retain(|_, until| *until > now);
            self.sweep_at = (2 * self.spent_until.len()).max(SWEEP_MIN);
        }
        let pace = self.pace;
        let until = self.spent_until.entry(key).or_insert(now);
        let may = pace.left(*until, now) > 0;
        if may {
            *until = pace.spent(*until, 1, now);
        }
        may
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.spent_until.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.spent_until.is_empty()
    }
}

/// How many of each there are now.
#[derive(Debug, Clone)]
pub struct Crowd<K> {
    counts: BTreeMap<K, usize>,
}

impl<K> Default for Crowd<K> {
    fn default() -> Self {
        Self {
            counts: BTreeMap::new(),
        }
    }
}

impl<K: Ord> Crowd<K> {
    /// How many of this kind.
    pub fn count(&self, key: &K) -> usize {
        self.counts.get(key).copied().unwrap_or(0)
    }

    /// One more.
    pub fn add(&mut self, key: K) {
        *self.counts.entry(key).or_insert(0) += 1;
    }

    /// One less.
    pub fn remove(&mut self, key: &K) {
        if let Some(count) = self.counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(key);
            }
        }
    }

    /// How many kinds.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}

/// Who waits, each in the line of its key; the lines take turns, so that a long one does not keep the others waiting.
#[derive(Debug)]
pub struct Turns<K, V> {
    lines: BTreeMap<K, VecDeque<V>>,
    /// Whose turn comes next. Each that has a line is in it once.
    order: VecDeque<K>,
    len: usize,
    len_max: usize,
}

impl<K: Ord + Clone, V> Turns<K, V> {
    /// Nobody waits, and so many may.
    pub fn new(len_max: usize) -> Self {
        Self {
            lines: BTreeMap::new(),
            order: VecDeque::new(),
            len: 0,
            len_max,
        }
    }

    /// One more waits. If that is too many, the last one of the longest line comes back.
    pub fn push(&mut self, key: K, value: V) -> Option<V> {
        let line = self.lines.entry(key.clone()).or_default();
        if line.is_empty() {
            self.order.push_back(key);
        }
        line.push_back(value);
        self.len += 1;
        if self.len <= self.len_max {
            return None;
        }
        let longest = self.lines.iter().max_by_key(|(_, line)| line.len());
        let key = longest.map(|(key, _)| key.clone())?;
        let last = self.lines.get_mut(&key)?.pop_back();
        self.len -= usize::from(last.is_some());
        self.forget_if_empty(&key);
        last
    }

    /// The one whose turn it is.
    pub fn pop(&mut self) -> Option<V> {
        let key = self.order.pop_front()?;
        let first = self.lines.get_mut(&key)?.pop_front();
        self.len -= usize::from(first.is_some());
        self.order.push_back(key.clone());
        self.forget_if_empty(&key);
        first
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody does.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn forget_if_empty(&mut self, key: &K) {
        if self.lines.get(key).is_some_and(VecDeque::is_empty) {
            self.lines.remove(key);
            self.order.retain(|other| other != key);
        }
    }
}
