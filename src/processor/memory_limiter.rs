//! `memory_limiter`: our own bytes under a limit. Above the soft limit the rings hold less, above the
//! hard one the oldest samples that wait are dropped and counted. Probes and host metrics are never
//! refused.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::base::clock::{BootTime, Moment};
use crate::base::duration::GoDuration;
use crate::base::place::{At, Place, Problems, given as get};
use crate::base::seldom::Seldom;
use crate::pipeline::memory::Memory;
use crate::pipeline::stage::{Judgement, Processor, Refused};
use crate::signal::series::Series;

/// What part of the hard limit is left to samples that wait, whatever else is held.
const WAITING_SHARE: u64 = 4;

/// The limiter as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawMemoryLimiter {
    check_interval: Option<At<GoDuration>>,
    limit_mib: Option<At<u64>>,
    spike_limit_mib: Option<At<u64>>,
    limit_percentage: Option<At<u64>>,
    spike_limit_percentage: Option<At<u64>>,
    // These steer a garbage collector: there is none here.
    #[serde(rename = "min_gc_interval_when_soft_limited")]
    _soft: Option<At<GoDuration>>,
    #[serde(rename = "min_gc_interval_when_hard_limited")]
    _hard: Option<At<GoDuration>>,
}

/// What a limit is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes.
    Bytes(u64),
    /// Hundredths of the memory that this process may have.
    Percent(u64),
}

impl Limit {
    fn of(self, total: u64) -> u64 {
        match self {
            Limit::Bytes(bytes) => bytes,
            Limit::Percent(percent) => total / 100 * percent,
        }
    }
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often memory is looked at.
    pub check_interval: Duration,
    /// The hard limit.
    pub limit: Limit,
    /// How far below it the soft limit is; `None`: a fifth of it.
    pub spike: Option<Limit>,
}

impl RawMemoryLimiter {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, place: &Place, problems: &mut Problems) -> Option<Settings> {
        let check_interval = match &self.check_interval {
            None => {
                problems.error(place, "`check_interval:` is missing, such as 1s");
                None
            }
            Some(at) => at.as_ref().map(|span| span.0).filter(|interval| {
                if interval.is_zero() {
                    problems.error(&at.place, "must be more than 0s");
                }
                !interval.is_zero()
            }),
        };
        let limit = match (&self.limit_mib, &self.limit_percentage) {
            (Some(at), None) | (None, Some(at)) if at.value == Some(0) => {
                problems.error(&at.place, "must be more than 0");
                return None;
            }
            // The Collector, too, prefers the bytes.
            (Some(at), _) => Limit::Bytes(at.value?.saturating_mul(1 << 20)),
            (None, Some(at)) => Limit::Percent(percent(at, problems)?),
            (None, None) => {
                problems.error(place, "`limit_mib:` or `limit_percentage:` is missing");
                return None;
            }
        };
        let spike = match (limit, &self.spike_limit_mib, &self.spike_limit_percentage) {
            (Limit::Bytes(limit), Some(at), _) => {
                let spike = at.value?.saturating_mul(1 << 20);
                if spike >= limit {
                    problems.error(&at.place, "must be less than limit_mib");
                }
                Some(Limit::Bytes(spike))
            }
            (Limit::Percent(limit), _, Some(at)) => {
                let spike = percent(at, problems)?;
                if spike >= limit {
                    problems.error(&at.place, "must be less than limit_percentage");
                }
                Some(Limit::Percent(spike))
            }
            _ => None,
        };
        let _ = (get(&self._soft), get(&self._hard));
        let idle = match limit {
            Limit::Bytes(_) => &self.spike_limit_percentage,
            Limit::Percent(_) => &self.spike_limit_mib,
        };
        if let Some(at) = idle {
            problems.warning(&at.place, "has no effect beside a limit of the other kind");
        }
        Some(Settings { check_interval: check_interval?, limit, spike })
    }
}

fn percent(at: &At<u64>, problems: &mut Problems) -> Option<u64> {
    let percent = at.value?;
    if percent > 100 {
        problems.error(&at.place, "must be 1 to 100");
        return None;
    }
    Some(percent)
}

/// The processor.
pub struct MemoryLimiter {
    name: String,
    check_interval: Duration,
    hard: u64,
    soft: u64,
    memory: Arc<Memory>,
    checked: Option<BootTime>,
    logged: Seldom,
    /// Whether it has said that memory is short.
    short: bool,
    /// What it has dropped and not told yet.
    dropped: usize,
}

impl MemoryLimiter {
    /// A limiter of what `memory` counts; `total` is the memory that this process may have, in bytes.
    #[must_use]
    pub fn new(name: &str, settings: Settings, total: u64, memory: Arc<Memory>) -> Self {
        let hard = settings.limit.of(total);
        let soft = hard - settings.spike.map_or(hard / 5, |spike| spike.of(total)).min(hard);
        let name = name.to_owned();
        let check_interval = settings.check_interval;
        Self {
            name,
            check_interval,
            hard,
            soft,
            memory,
            checked: None,
            logged: Seldom::default(),
            short: false,
            dropped: 0,
        }
    }
}

impl Processor for MemoryLimiter {
    fn judge(&mut self, _: &Arc<Series>) -> Result<Judgement, Refused> {
        Ok(Judgement::Keep)
    }

    fn tick(&mut self, now: Moment) -> bool {
        if self.checked.is_some_and(|at| now.boot.since(at) < self.check_interval) {
            return false;
        }
        self.checked = Some(now.boot);
        let used = self.memory.bytes() as u64;
        if (used > self.soft) != self.short {
            self.short = !self.short;
            self.memory.squeeze(self.short);
        }
        if used > self.hard {
            // Tables and what is on its way cannot be given back: what waits keeps a share in any case, so
            // that a backend that is well loses nothing.
            let waiting = self.memory.sheddable() as u64;
            let fixed = used.saturating_sub(waiting);
            let allowed = self.hard.saturating_sub(fixed).max(self.hard / WAITING_SHARE);
            self.dropped += self.memory.shed(waiting.saturating_sub(allowed) as usize);
        }
        if used > self.soft && self.logged.passes(now.boot) {
            tracing::warn!(processor = %self.name, used, soft = self.soft, hard = self.hard, dropped = std::mem::take(&mut self.dropped), "memory is short");
        }
        false
    }
}

impl Drop for MemoryLimiter {
    fn drop(&mut self) {
        if self.short {
            self.memory.squeeze(false);
        }
    }
}

#[cfg(test)]
mod tests;
