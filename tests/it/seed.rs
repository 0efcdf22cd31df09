//! Random choices that can be repeated: every seeded suite runs through [`each`].
//!
//! `RMQTT_SEED=n` runs that seed alone, `RMQTT_SEEDS=n` runs the seeds 1 to n.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

/// A source of choices: xorshift over a seed, the same on every machine.
#[derive(Debug, Clone)]
pub(crate) struct Seed(u64);

impl Seed {
    pub(crate) fn new(number: u64) -> Self {
        // Neighbouring seeds must not begin alike, and the state must not be zero.
        Self(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// A number of this range, which is not empty.
    pub(crate) fn pick(&mut self, range: Range<usize>) -> usize {
        let width = range.end - range.start;
        range.start + usize::try_from(self.next()).unwrap_or(0) % width
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.pick(0..n) == 0
    }
}

/// Runs `scenario` for each seed, at most `usual` of them unless the environment says otherwise, and names the seed of
/// the first that fails.
pub(crate) fn each(usual: u64, scenario: impl Fn(Seed)) {
    let asked = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match (asked("RMQTT_SEED"), asked("RMQTT_SEEDS")) {
        (Some(one), _) => one..=one,
        (None, Some(many)) => 1..=many,
        (None, None) => 1..=usual,
    };
    for number in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(Seed::new(number)))) {
            eprintln!("failed; repeat it with RMQTT_SEED={number}");
            resume_unwind(panic);
        }
    }
}

/// An instant to count from: the clock is asked here, and nowhere else in these suites.
#[expect(
    clippy::disallowed_methods,
    reason = "an instant cannot be made otherwise"
)]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}
