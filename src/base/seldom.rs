//! What may be said once a minute.

use std::time::Duration;

use super::clock::BootTime;

/// How often one and the same thing is logged at most.
pub const EVERY: Duration = Duration::from_secs(60);

/// Lets the first one pass, and then one a minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seldom(Option<BootTime>);

impl Seldom {
    /// Whether this one passes.
    pub fn passes(&mut self, now: BootTime) -> bool {
        let passes = self.0.is_none_or(|at| now.since(at) >= EVERY);
        if passes {
            self.0 = Some(now);
        }
        passes
    }

    /// The next one passes.
    pub fn reset(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute() {
        let mut seldom = Seldom::default();
        let at = |seconds| BootTime(Duration::from_secs(seconds));
        let passed: Vec<u64> = (5..200).filter(|n| seldom.passes(at(*n))).collect();
        assert_eq!(passed, [5, 65, 125, 185]);
        seldom.reset();
        assert!(seldom.passes(at(201)) && !seldom.passes(at(202)));
    }
}
