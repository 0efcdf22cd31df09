//! The packet ids of one direction: which are in use, for what, and, where they are ours, which comes next.
//!
//! Ids are handed out going round, as most peers do too, never the one just freed: an answer that a peer sends twice then finds no exchange,
//! instead of settling the message that came after. So what is in use is nearly always a run of neighbours, and the run
//! is a ring: the place of an id is its distance from the first. An exchange that stays while the others go on would
//! stretch the ring for ever; such strays are moved out of it, into a small tree. Every step is O(1) on average, and the
//! memory is a few times what is in use, shrinking with it.

use crate::codec::PacketId;
use std::collections::{BTreeMap, VecDeque};

/// How many ids may be in use at once: three quarters of all, so that a free one is never far.
pub(super) const IN_USE_MAX: usize = 49_151;

/// A ring this short is not worth tidying.
const RING_SMALL: usize = 64;

/// A free ring this short is kept for the next.
const RING_KEPT: usize = 4;

/// How many packet ids there are: 1 to 65 535.
const ALL: usize = 65_535;

/// The ids in use, each with what it is in use for, in the order of taking.
#[derive(Debug, Clone)]
pub(super) struct PacketIds<T> {
    /// Neighbouring ids, beginning with `first`. `None`: free again, or a stray.
    ring: VecDeque<Option<T>>,
    /// The id of the ring's first place, less one: 0 to 65 534.
    first: usize,
    /// What was left behind in the ring, with its rank in the order.
    strays: BTreeMap<PacketId, (u64, T)>,
    /// The rank of the next stray: they leave the ring in the order of taking.
    next_rank: u64,
    in_use: usize,
}

impl<T> Default for PacketIds<T> {
    fn default() -> Self {
        Self {
            ring: VecDeque::new(),
            first: 0,
            strays: BTreeMap::new(),
            next_rank: 0,
            in_use: 0,
        }
    }
}

impl<T> PacketIds<T> {
    /// How many are in use.
    pub(super) fn len(&self) -> usize {
        self.in_use
    }

    /// How many places are held in memory.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.ring.capacity() + self.strays.len()
    }

    /// Takes an id that is not in use; `None`, if too many are.
    pub(super) fn take(&mut self, value: T) -> Option<PacketId> {
        if self.in_use >= IN_USE_MAX {
            return None;
        }
        // spec(4): MQTT-2.3.1-2, MQTT-2.3.1-4
        // spec(5): MQTT-2.2.1-3, MQTT-2.2.1-4
        loop {
            if self.ring.len() == ALL {
                self.leave_first();
            }
            let id = id_at(self.first + self.ring.len())?;
            if self.strays.contains_key(&id) {
                self.ring.push_back(None);
            } else {
                self.ring.push_back(Some(value));
                self.in_use += 1;
                self.tidy();
                return Some(id);
            }
        }
    }

    /// Puts an id to use that the peer has chosen; whatever it was in use for is gone.
    pub(super) fn insert(&mut self, id: PacketId, value: T) {
        self.free(id);
        if self.ring.is_empty() {
            self.first = place_of(id, 0);
        }
        let place = place_of(id, self.first);
        if place == self.ring.len() {
            self.ring.push_back(Some(value));
        } else if let Some(free) = self.ring.get_mut(place) {
            *free = Some(value);
        } else {
            self.strays.insert(id, (self.next_rank, value));
            self.next_rank += 1;
        }
        self.in_use += 1;
    }

    /// Puts an id to use again that was ours before, behind those put back so far: in the order of taking.
    pub(super) fn put_back(&mut self, id: PacketId, value: T) {
        self.free(id);
        if self.ring.is_empty() {
            self.first = place_of(id, 0);
        }
        while self.ring.len() < place_of(id, self.first) {
            self.ring.push_back(None);
        }
        if place_of(id, self.first) == self.ring.len() {
            self.ring.push_back(Some(value));
        } else {
            // No order of taking looks like this. The id is in use all the same.
            self.strays.insert(id, (self.next_rank, value));
            self.next_rank += 1;
        }
        self.in_use += 1;
        self.tidy();
    }

    /// Frees the ids for which `keeps` is false.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&mut T) -> bool) {
        let freed: Vec<PacketId> = self
            .iter_mut()
            .filter_map(|(id, value)| (!keeps(value)).then_some(id))
            .collect();
        for id in freed {
            self.free(id);
        }
    }

    /// What this id is in use for.
    pub(super) fn get(&self, id: PacketId) -> Option<&T> {
        match self.ring.get(place_of(id, self.first)) {
            Some(Some(value)) => Some(value),
            _ => self.strays.get(&id).map(|(_, value)| value),
        }
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, id: PacketId) -> Option<&mut T> {
        match self.ring.get_mut(place_of(id, self.first)) {
            Some(Some(value)) => Some(value),
            _ => self.strays.get_mut(&id).map(|(_, value)| value),
        }
    }

    /// Frees this id and gives back what it was in use for.
    pub(super) fn free(&mut self, id: PacketId) -> Option<T> {
        let place = place_of(id, self.first);
        let value = match self.ring.get_mut(place).and_then(Option::take) {
            Some(value) => value,
            None => self.strays.remove(&id)?.1,
        };
        self.in_use -= 1;
        self.tidy();
        Some(value)
    }

    /// All in use, in the order of taking.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (PacketId, &mut T)> {
        let first = self.first;
        let mut strays: Vec<_> = self.strays.iter_mut().collect();
        strays.sort_unstable_by_key(|(_, (rank, _))| *rank);
        let strays = strays.into_iter().map(|(id, (_, value))| (*id, value));
        let ring = self.ring.iter_mut().enumerate();
        strays.chain(
            ring.filter_map(move |(place, value)| Some((id_at(first + place)?, value.as_mut()?))),
        )
    }

    /// Keeps the ring dense: no free places in front, few within, no room left over from busier times.
    fn tidy(&mut self) {
        while let Some(front) = self.ring.front() {
            let is_sparse = self.ring.len() > RING_SMALL && self.ring.len() > 4 * self.in_use;
            if front.is_some() && !is_sparse {
                break;
            }
            self.leave_first();
        }
        if self.ring.is_empty() {
            if self.ring.capacity() > RING_KEPT {
                // An idle session holds next to nothing; `first` stays, so that ids go on going round.
                self.ring = VecDeque::new();
            }
        } else if self.ring.capacity() > RING_SMALL && self.ring.capacity() > 4 * self.ring.len() {
            self.ring.shrink_to(2 * self.ring.len());
        }
    }

    /// Drops the ring's first place; what is still in use there becomes a stray.
    fn leave_first(&mut self) {
        if let Some(Some(value)) = self.ring.pop_front()
            && let Some(id) = id_at(self.first)
        {
            self.strays.insert(id, (self.next_rank, value));
            self.next_rank += 1;
        }
        self.first = (self.first + 1) % ALL;
    }
}

/// The id so many places after the first of all, going round.
fn id_at(place: usize) -> Option<PacketId> {
    u16::try_from(place % ALL + 1).ok().and_then(PacketId::new)
}

/// How far the id is from the place `first`, going round.
fn place_of(id: PacketId, first: usize) -> usize {
    let place = usize::from(id.get()) - 1;
    // As `%` would have it, which is slow, and this is asked several times for each message.
    if place >= first {
        place - first
    } else {
        place + ALL - first
    }
}
