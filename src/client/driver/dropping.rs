//! Telling of messages that were dropped: what came together is told together, at most once a second.

use super::Driver;
use crate::client::Event;
use std::time::{Duration, Instant};

/// Between two tellings.
const INTERVAL: Duration = Duration::from_secs(1);

/// What has been told, and when to tell more.
#[derive(Default)]
pub(super) struct Drops {
    /// When to tell, if there is something.
    pub(super) due: Option<Instant>,
    told_at: Option<Instant>,
    told_offline: u64,
}

impl Driver {
    /// Something was dropped.
    pub(super) fn note_drops(&mut self) {
        if self.drops.due.is_none() {
            let now = self.now();
            let earliest = self.drops.told_at.and_then(|at| at.checked_add(INTERVAL));
            self.drops.due = Some(earliest.map_or(now, |earliest| earliest.max(now)));
        }
    }

    /// A connection begins: what was dropped while there was none is told.
    pub(super) fn note_offline_drops(&mut self) {
        if self.dropped_offline() > self.drops.told_offline {
            self.note_drops();
        }
    }

    fn dropped_offline(&self) -> u64 {
        self.stats.dropped_offline + self.queue.dropped()
    }

    /// Tells each subscription's drops since the last time, and those of what was to be sent.
    pub(super) fn tell_drops(&mut self, now: Instant) {
        self.drops.due = None;
        self.drops.told_at = Some(now);
        let mut events = Vec::new();
        let offline = self.dropped_offline();
        if offline > self.drops.told_offline {
            events.push(Event::Dropped {
                count: offline - self.drops.told_offline,
                filters: Vec::new(),
            });
            self.drops.told_offline = offline;
        }
        for subscribed in self.subscriptions.values_mut() {
            let Some(inbox) = subscribed.inbox.upgrade() else {
                continue;
            };
            let dropped = inbox.dropped();
            if dropped > subscribed.told_dropped {
                let filters = subscribed.filters.iter();
                events.push(Event::Dropped {
                    count: dropped - subscribed.told_dropped,
                    filters: filters.map(|asked| asked.filter.to_string()).collect(),
                });
                subscribed.told_dropped = dropped;
            }
        }
        for event in events {
            self.tell(event);
        }
    }
}
