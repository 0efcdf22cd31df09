//! Which member of a group gets the next message: plain data, and the same every time from the same seed.

use super::member::{Member, Share};
use crate::broker::SharedStrategy;
use crate::topic::TopicName;

/// A strategy and where it has got to.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    strategy: SharedStrategy,
    /// The number of the member that was chosen last.
    last: u64,
    /// The state of a small generator of numbers (`SplitMix64`), given by who owns chance.
    random: u64,
    /// Makes hashes differ from one group and one broker to the next.
    key: u64,
}

impl Choice {
    pub(super) fn new(strategy: SharedStrategy, seed: u64) -> Self {
        Self {
            strategy,
            last: 0,
            random: seed,
            key: mix(seed),
        }
    }

    pub(super) fn strategy(&self) -> SharedStrategy {
        self.strategy
    }

    /// The place of a member that is connected and has room. `members` are sorted by number.
    pub(super) fn choose(
        &mut self,
        members: &[Member],
        share: Share,
        topic: &TopicName,
    ) -> Option<usize> {
        let can_take = |at: &usize| {
            let member = &members[*at];
            member.can_take(share) && member.may_read(topic)
        };
        let able = (0..members.len()).filter(can_take);
        let at = match self.strategy {
            SharedStrategy::RoundRobin => around(members, self.last + 1).find(can_take),
            SharedStrategy::Sticky => around(members, self.last).find(can_take),
            SharedStrategy::Random => {
                let able: Vec<usize> = able.collect();
                let count = u64::try_from(able.len()).ok().filter(|count| *count > 0)?;
                let drawn = usize::try_from(self.draw() % count).ok()?;
                able.get(drawn).copied()
            }
            // The member with the greatest weight for this topic: who is not it loses no topic when it goes.
            SharedStrategy::Hash => {
                let topic = hash(topic.as_str(), self.key);
                able.max_by_key(|at| mix(topic ^ mix(members[*at].number)))
            }
            SharedStrategy::LeastInFlight => {
                let least = able.map(|at| members[at].load()).min()?;
                let is_least = |at: &usize| can_take(at) && members[*at].load() == least;
                around(members, self.last + 1).find(is_least)
            }
        }?;
        self.last = members[at].number;
        Some(at)
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.random)
    }
}

/// All places, from the member with this number on and around.
fn around(members: &[Member], number: u64) -> impl Iterator<Item = usize> + use<> {
    let first = members.partition_point(|member| member.number < number);
    (first..members.len()).chain(0..first)
}

/// FNV-1a, begun with a key.
fn hash(text: &str, key: u64) -> u64 {
    let start = 0xCBF2_9CE4_8422_2325 ^ key;
    text.bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// Spreads every bit over all others (the finalizer of `SplitMix64`).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
