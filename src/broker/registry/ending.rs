//! How sessions end: what is put on the clock when a connection has let go, and what becomes of the will.

use super::{Effects, Entry, Registry, Timer};
use crate::broker::router::SessionKey;
use crate::codec::Will;
use std::time::{Duration, Instant};

impl Registry {
    /// A session without connection: its will and its end are put on the clock, or happen at once.
    pub(super) fn start_waiting(&mut self, key: SessionKey, now: Instant, effects: &mut Effects) {
        let Some(entry) = self.entry(key) else {
            return;
        };
        let expiry_interval = entry.expiry_interval;
        if expiry_interval == 0 {
            return self.end(key, effects);
        }
        if let Some(will) = &entry.will {
            let delay = delay(will);
            // spec(5): MQTT-3.1.2-8
            match after(now, delay) {
                Some(due) if delay > 0 => entry.will_due = Some(due),
                _ => take_will(entry, effects),
            }
        }
        if expiry_interval < u32::MAX {
            entry.ends_at = after(now, expiry_interval);
        }
        let timers = [
            entry.will_due.map(|at| (at, key, Timer::Will)),
            entry.ends_at.map(|at| (at, key, Timer::End)),
        ];
        self.timers.extend(timers.into_iter().flatten());
    }

    pub(super) fn stop_timers(&mut self, key: SessionKey) {
        let Some(entry) = self.entry(key) else {
            return;
        };
        let (will_due, ends_at) = (entry.will_due.take(), entry.ends_at);
        if let Some(at) = will_due {
            self.timers.remove(&(at, key, Timer::Will));
        }
        if let Some(at) = ends_at {
            self.timers.remove(&(at, key, Timer::End));
        }
    }

    /// Ends a session that nobody has; that of a connection ends when it lets go.
    pub fn end_absent(&mut self, key: SessionKey, effects: &mut Effects) {
        if self
            .get(key)
            .is_some_and(|entry| entry.connection.is_none())
        {
            self.end(key, effects);
        }
    }

    /// The session is over: its will, if still unsaid, is published now.
    pub(super) fn end(&mut self, key: SessionKey, effects: &mut Effects) {
        self.stop_timers(key);
        let Some(mut entry) = self.entries.get_mut(key.0).and_then(Option::take) else {
            return;
        };
        self.by_client_id.remove(&entry.client_id);
        self.free.push(key);
        take_will(&mut entry, effects);
        effects.ended.push(key);
    }
}

/// Forgets the will; it is published, if its client may still do that.
// spec(4): MQTT-3.1.2-10
// spec(5): MQTT-3.1.2-10
pub(super) fn take_will(entry: &mut Entry, effects: &mut Effects) {
    let Some(will) = entry.will.take() else {
        return;
    };
    let rights = entry.rights.as_ref();
    if rights.is_none_or(|rights| rights.may_publish(&will.message.topic)) {
        let author = will.message.retain.then(|| entry.author());
        effects.wills.push((will.message, author));
    } else {
        effects.wills_denied += 1;
    }
}

pub(super) fn compact(will: &Will) -> Will {
    Will {
        message: will.message.compact(),
        delay_interval: will.delay_interval,
    }
}

pub(super) fn delay(will: &Will) -> u32 {
    will.delay_interval.unwrap_or(0)
}

fn after(now: Instant, seconds: u32) -> Option<Instant> {
    now.checked_add(Duration::from_secs(u64::from(seconds)))
}
