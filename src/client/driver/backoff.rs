//! When to try again after a cut. Whether at all is not asked here, but for the number of tries.

use crate::client::Reconnect;
use std::time::Duration;

/// Counts the tries since the last connection that lasted.
#[derive(Debug)]
pub(super) struct Backoff {
    options: Option<Reconnect>,
    tries: u32,
}

impl Backoff {
    pub(super) fn new(options: Option<Reconnect>) -> Self {
        Self { options, tries: 0 }
    }

    /// A connection has ended after so long: if it was stable, the delays start over.
    pub(super) fn connection_lasted(&mut self, duration: Duration) {
        if self
            .options
            .as_ref()
            .is_some_and(|options| duration >= options.stable_after)
        {
            self.tries = 0;
        }
    }

    /// The delay before the next try; `None`: there is none. `share` is random, from 0 to 1. `is_unwanted`: the broker asks
    /// to be left alone, and there is no other.
    pub(super) fn next(&mut self, is_unwanted: bool, share: f64) -> Option<Duration> {
        let options = self.options.as_ref()?;
        if options.max_attempts.is_some_and(|max| self.tries >= max) {
            return None;
        }
        let growth = options
            .factor
            .max(1.0)
            .powi(i32::try_from(self.tries).unwrap_or(i32::MAX));
        let ceiling = options.max.as_secs_f64();
        let delay = (options.initial.as_secs_f64() * growth).min(ceiling);
        let delay = if is_unwanted {
            // It is left alone for as long as we may, and by each client for long.
            let spread = if options.jitter { share } else { 1.0 };
            ceiling * f64::midpoint(1.0, spread)
        } else if options.jitter {
            delay * share
        } else {
            delay
        };
        self.tries = self.tries.saturating_add(1);
        // A factor that is no number, or an endless delay, means the ceiling.
        Some(Duration::try_from_secs_f64(delay).unwrap_or(options.max))
    }

    pub(super) fn retries_first(&self) -> bool {
        self.options
            .as_ref()
            .is_some_and(|options| options.retry_first)
    }
}
