//! How long to wait before the next try: doubling, with jitter, up to a ceiling.

use std::time::Duration;

/// The settings of a backoff, with the Collector's names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub initial_interval: Duration,
    /// The ceiling.
    pub max_interval: Duration,
    /// By how much each wait grows.
    pub multiplier: f64,
    /// Each wait is spread by this share to both sides, 0 to 1.
    pub randomization_factor: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
            multiplier: 2.0,
            randomization_factor: 0.5,
        }
    }
}

impl Backoff {
    /// The wait before try number `failures` (1 after the first failure). `random` is in `0..1`.
    #[must_use]
    pub fn wait(&self, failures: u32, random: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX).min(64);
        let wait = self.initial_interval.as_secs_f64() * self.multiplier.powi(exponent);
        let wait = wait.min(self.max_interval.as_secs_f64());
        let spread = 1.0 + self.randomization_factor * (2.0 * random - 1.0);
        Duration::from_secs_f64((wait * spread).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_ceiling() {
        let backoff = Backoff { randomization_factor: 0.0, ..Backoff::default() };
        let waits: Vec<u64> = (1..8).map(|n| backoff.wait(n, 0.9).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.wait(u32::MAX, 0.0), Duration::from_secs(30));
    }

    #[test]
    fn jitter_stays_in_its_bounds() {
        let backoff = Backoff::default();
        assert_eq!(backoff.wait(1, 0.0), Duration::from_millis(500));
        assert_eq!(backoff.wait(1, 1.0), Duration::from_millis(1500));
    }
}
