//! When attempts are due: pure, on the boot-time clock, without sockets or tasks.
//!
//! Slot *k* of a target is due at `k·interval + phase`, where the phase comes from a hash of the
//! target's identity: the same after every restart and reload, spread over the interval, and never
//! moved by a slow answer (an open model). Slots that a stall or a suspend has passed over are counted
//! as skipped and not caught up in a burst.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use crate::base::clock::BootTime;
use crate::signal::outcome::{Kind, Skip};

/// The shell asks at least this often, so that a longer pause is a stall.
pub const MAX_WAIT: Duration = Duration::from_secs(1);
/// `first` slots are paced over this time at start, or over the interval when that is shorter.
pub const FIRST_SPREAD: Duration = Duration::from_secs(5);

/// The number of a target within a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u32);

/// A slot that has come due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Whose slot.
    pub key: Key,
    /// Of which kind.
    pub kind: Kind,
    /// When it was due.
    pub due: BootTime,
    /// Whether it is to be run, or why not.
    pub decision: Result<(), Skip>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    interval: Duration,
    generation: u32,
}

/// The times of all targets.
#[derive(Debug, Default)]
pub struct Schedule {
    entries: BTreeMap<Key, Entry>,
    heap: BinaryHeap<Reverse<(BootTime, Kind, Key, u32)>>,
    generation: u32,
}

/// The phase of a target within its interval.
#[must_use]
pub fn phase(hash: u64, interval: Duration) -> Duration {
    let nanos = interval.as_nanos().max(1);
    // The high half of a product spreads the hash evenly, also over intervals that are no power of 2.
    Duration::from_nanos(((u128::from(hash) * nanos) >> 64) as u64)
}

/// The first due time of a target's slots at or after `now`.
#[must_use]
pub fn next_due(hash: u64, interval: Duration, now: BootTime) -> BootTime {
    let (nanos, phase) = (interval.as_nanos().max(1), phase(hash, interval).as_nanos());
    let slots = now.0.as_nanos().saturating_sub(phase).div_ceil(nanos);
    BootTime(Duration::from_nanos((slots * nanos + phase) as u64))
}

/// How late a slot may begin; later than that it is skipped.
#[must_use]
pub fn tolerance(interval: Duration) -> Duration {
    (interval / 2).min(MAX_WAIT)
}

impl Schedule {
    /// An empty schedule.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a target in. `first` is when it gets an extra slot, unless a scheduled one comes earlier.
    pub fn insert(
        &mut self,
        key: Key,
        hash: u64,
        interval: Duration,
        now: BootTime,
        first: Option<BootTime>,
    ) {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        self.entries.insert(key, Entry { interval, generation });
        let due = next_due(hash, interval, now);
        self.heap.push(Reverse((due, Kind::Scheduled, key, generation)));
        if let Some(first) = first.filter(|first| *first < due) {
            self.heap.push(Reverse((first, Kind::First, key, generation)));
        }
    }

    /// Takes a target out: no slot of it comes due any more.
    pub fn remove(&mut self, key: Key) {
        self.entries.remove(&key);
    }

    /// How many targets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When to ask again.
    #[must_use]
    pub fn next(&self) -> Option<BootTime> {
        self.heap.peek().map(|Reverse((due, ..))| *due)
    }

    /// All slots that have come due since the last time, each exactly once. `suspended` says why those that come too
    /// late do: the machine slept, or the process was stopped.
    pub fn due(&mut self, now: BootTime, suspended: bool) -> Vec<Slot> {
        let missed = if suspended { Skip::Suspended } else { Skip::Overload };
        let mut slots = Vec::new();
        while let Some(Reverse((due, kind, key, generation))) = self.heap.peek().copied() {
            if due > now {
                break;
            }
            self.heap.pop();
            let Some(entry) = self.entries.get(&key).filter(|entry| entry.generation == generation)
            else {
                continue;
            };
            if kind != Kind::Scheduled {
                slots.push(Slot { key, kind, due, decision: Ok(()) });
                continue;
            }
            let mut due = due;
            loop {
                let next = due + entry.interval;
                let late = now.since(due) > tolerance(entry.interval);
                let decision = if next <= now || late { Err(missed) } else { Ok(()) };
                slots.push(Slot { key, kind, due, decision });
                due = next;
                if due > now {
                    break;
                }
            }
            self.heap.push(Reverse((due, kind, key, generation)));
        }
        slots
    }
}

#[cfg(test)]
mod tests;
