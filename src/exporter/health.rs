//! How sending goes, for whoever asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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

/// How sending goes for all exporters of a process.
#[derive(Default)]
pub struct Healths(Mutex<Vec<(String, Weak<Health>)>>);

impl Healths {
    /// Counts an exporter in for as long as it works.
    pub fn add(&self, exporter: &str, health: &Arc<Health>) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(_, health)| health.strong_count() > 0);
        list.push((exporter.to_owned(), Arc::downgrade(health)));
    }

    fn all(&self) -> Vec<(String, Arc<Health>)> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().filter_map(|(name, health)| Some((name.clone(), health.upgrade()?))).collect()
    }

    /// The exporter that has failed for the longest, and for how long that is.
    #[must_use]
    pub fn longest(&self, now: BootTime) -> Option<(String, Duration)> {
        let failing = self.all().into_iter();
        let failing = failing.filter_map(|(name, health)| Some((name, health.failing(now)?)));
        failing.max_by_key(|(_, span)| *span)
    }

    /// The most attempts that have failed for one exporter, one after the other.
    #[must_use]
    pub fn most_failures(&self) -> u64 {
        self.all().iter().map(|(_, health)| health.failures()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_failure_is_told_until_something_works() {
        let at = |seconds| BootTime(Duration::from_secs(seconds));
        let healths = Healths::default();
        let (one, other) = (Arc::new(Health::default()), Arc::new(Health::default()));
        healths.add("one", &one);
        healths.add("other", &other);
        assert_eq!((healths.longest(at(9)), healths.most_failures()), (None, 0));
        one.failed(at(10));
        one.failed(at(20));
        other.failed(at(15));
        assert_eq!(healths.longest(at(30)), Some(("one".to_owned(), Duration::from_secs(20))));
        assert_eq!(healths.most_failures(), 2);
        one.succeeded();
        assert_eq!(healths.longest(at(30)), Some(("other".to_owned(), Duration::from_secs(15))));
        drop(other);
        assert_eq!((healths.longest(at(30)), healths.most_failures()), (None, 0));
    }
}
