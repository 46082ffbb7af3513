//! How sending goes, for whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::clock::BootTime;

#[derive(Default)]
struct State {
    /// Since when nothing has been taken over, although there was something to send.
    failing: Option<BootTime>,
    failures: u64,
}

/// How sending goes for one exporter.
#[derive(Default)]
pub struct Health(Mutex<State>);

impl Health {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt has failed.
    pub fn failed(&self, now: BootTime) {
        let mut state = self.lock();
        state.failing.get_or_insert(now);
        state.failures += 1;
    }

    /// Something was taken over.
    pub fn succeeded(&self) {
        *self.lock() = State::default();
    }

    /// For how long every attempt has failed; `None`: the last one has not.
    #[must_use]
    pub fn failing(&self, now: BootTime) -> Option<Duration> {
        self.lock().failing.map(|since| now.since(since))
    }

    /// Attempts that have failed, one after the other.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.lock().failures
    }
}
