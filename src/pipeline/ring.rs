//! A bounded ring of batches between the sources and the one writer thread. `offer` never waits: a
//! full ring drops its oldest and counts.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::pipeline::memory::Holder;
use crate::pipeline::selfmetrics::Counter;
use crate::signal::batch::{ALLOWANCE, Batch};

/// Samples that a ring holds when nobody says otherwise.
pub const DEFAULT_SAMPLES: usize = 64 << 10;

/// What part of its usual samples a ring holds while memory is short.
const SHORT: usize = 4;

/// The writer takes no more often than this: at once when it was idle, and then what has gathered.
/// A thread that wakes for every single probe costs more than the probe's samples do.
const PACE: Duration = Duration::from_millis(100);

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    samples: usize,
    bytes: usize,
    capacity: usize,
    closed: bool,
    /// The writer is wanted, whether there is something to take or not.
    nudged: bool,
    /// The writer waits for something to take.
    waiting: bool,
    /// When it has taken last.
    taken: Option<Instant>,
}

/// The ring.
pub struct Ring {
    state: Mutex<State>,
    filled: Condvar,
    dropped: Counter,
    /// The capacity when memory is not short.
    usual: usize,
}

impl Ring {
    /// A ring for so many samples, and the bytes that are reckoned for them; `dropped` counts those that had to go.
    #[must_use]
    pub fn new(capacity: usize, dropped: Counter) -> Self {
        let state = Mutex::new(State { capacity, ..State::default() });
        Self { state, filled: Condvar::new(), dropped, usual: capacity }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a batch in; the oldest batches leave when there is no room. After [`Ring::close`] nothing
    /// is taken any more, and what is offered counts as dropped.
    pub fn offer(&self, batch: Batch) {
        let mut state = self.lock();
        if state.closed {
            self.dropped.add(batch.len() as u64);
            return;
        }
        state.samples += batch.len();
        state.bytes += batch.bytes();
        state.batches.push_back(batch);
        while state.samples > state.capacity || state.bytes > state.capacity * ALLOWANCE {
            let Some(oldest) = state.batches.pop_front() else { break };
            state.samples -= oldest.len();
            state.bytes -= oldest.bytes();
            self.dropped.add(oldest.len() as u64);
        }
        if std::mem::take(&mut state.waiting) {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Wakes the writer, although there may be nothing to take.
    pub fn nudge(&self) {
        self.lock().nudged = true;
        self.filled.notify_all();
    }

    /// Samples that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().samples
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn set_capacity(&self, samples: usize) {
        self.lock().capacity = samples;
    }

    /// Waits for something and takes all that is there, which is nothing after a nudge; `None` once
    /// the ring is closed and empty.
    pub fn take_all(&self) -> Option<Vec<Batch>> {
        let mut state = self.lock();
        loop {
            let rest =
                state.taken.map(|at| PACE.saturating_sub(clock::instant().duration_since(at)));
            match rest.filter(|rest| !rest.is_zero() && !state.closed && !state.nudged) {
                Some(rest) => {
                    let waited = self.filled.wait_timeout(state, rest);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None if !state.batches.is_empty() || state.nudged => break,
                None if state.closed => return None,
                None => {
                    state.waiting = true;
                    state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        (state.samples, state.bytes) = (0, 0);
        state.nudged = false;
        state.taken = Some(clock::instant());
        Some(std::mem::take(&mut state.batches).into())
    }

    /// No more is taken; the writer ends when it has taken what is left.
    pub fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }
}

impl Holder for Ring {
    fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn squeeze(&self, short: bool) {
        let share = if short { SHORT } else { 1 };
        self.set_capacity(self.usual / share);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::Timestamp;
    use crate::signal::batch::Sample;
    use crate::signal::names::PROBE_SUCCESS;
    use crate::signal::series::{Attributes, Resource, Series};

    fn batch(samples: usize) -> Batch {
        let resource = Arc::new(Resource::new("j", "i", []));
        let series =
            Series::new(&PROBE_SUCCESS, Attributes::default(), Attributes::default(), resource);
        Batch { samples: vec![Sample::number(&series, Timestamp(1), 1.0); samples], lifetime: None }
    }

    #[test]
    fn a_full_ring_drops_its_oldest_and_counts() {
        let dropped = Counter::default();
        let ring = Ring::new(10, dropped.clone());
        for size in [4, 4, 4, 1] {
            ring.offer(batch(size));
        }
        assert_eq!(dropped.get(), 4);
        let sizes: Vec<usize> = ring.take_all().expect("filled").iter().map(Batch::len).collect();
        assert_eq!(sizes, [4, 4, 1]);
        ring.offer(batch(11));
        assert_eq!(dropped.get(), 15, "a batch larger than the ring goes, too");
    }

    #[test]
    fn a_closed_ring_gives_what_it_has_and_then_ends() {
        let dropped = Counter::default();
        let ring = Arc::new(Ring::new(10, dropped.clone()));
        let reader = std::thread::spawn({
            let ring = Arc::clone(&ring);
            move || std::iter::from_fn(|| ring.take_all()).flatten().map(|b| b.len()).sum::<usize>()
        });
        ring.offer(batch(3));
        ring.offer(batch(2));
        ring.close();
        ring.offer(batch(1));
        assert_eq!(reader.join().expect("no panic"), 5);
        assert_eq!(dropped.get(), 1);
    }
}
