//! The three clocks, read together: boot time (schedules), monotonic (latencies), wall (timestamps).
//!
//! Boot time goes on during suspend, so a suspended laptop's missed slots can be counted. Nobody else
//! in this crate reads a clock, so that time can be passed in.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A moment on `CLOCK_BOOTTIME`: the time since the machine started, suspend included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootTime(pub Duration);

impl BootTime {
    /// The time from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: BootTime) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootTime {
    type Output = BootTime;
    fn add(self, span: Duration) -> BootTime {
        BootTime(self.0.saturating_add(span))
    }
}

impl Sub<Duration> for BootTime {
    type Output = BootTime;
    fn sub(self, span: Duration) -> BootTime {
        BootTime(self.0.saturating_sub(span))
    }
}

/// A moment of the wall clock: nanoseconds since 1970-01-01 UTC, as OpenTelemetry counts them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

/// Before 2025 no program of this name was there: a clock that says so is wrong.
pub const PLAUSIBLE: Timestamp = Timestamp(1_735_689_600_000_000_000);

impl Timestamp {
    /// Milliseconds since 1970, as Prometheus counts them.
    #[must_use]
    pub fn millis(self) -> i64 {
        i64::try_from(self.0 / 1_000_000).unwrap_or(i64::MAX)
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// This moment, a span earlier.
    #[must_use]
    pub fn before(self, span: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.as_nanos() as u64))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// The three clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For schedules.
    pub boot: BootTime,
    /// For latencies and timeouts.
    pub monotonic: Instant,
    /// For timestamps.
    pub wall: Timestamp,
}

impl Moment {
    /// The wall clock's time of a boot time, by this moment's offset between the two.
    #[must_use]
    pub fn wall_at(&self, boot: BootTime) -> Timestamp {
        let wall =
            i128::from(self.wall.0) + boot.0.as_nanos() as i128 - self.boot.0.as_nanos() as i128;
        Timestamp(u64::try_from(wall).unwrap_or(0))
    }
}

/// Reads all three clocks.
#[must_use]
pub fn now() -> Moment {
    Moment { boot: BootTime(read(ClockId::Boottime)), monotonic: instant(), wall: wall() }
}

/// Reads the monotonic clock alone.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads it")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Reads the wall clock alone.
#[must_use]
pub fn wall() -> Timestamp {
    Timestamp(u64::try_from(read(ClockId::Realtime).as_nanos()).unwrap_or(0))
}

/// The CPU time that this thread has used.
#[must_use]
pub fn thread_cpu() -> Duration {
    read(ClockId::ThreadCPUTime)
}

fn read(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_follows_boot() {
        let at = Moment {
            boot: BootTime(Duration::from_secs(100)),
            monotonic: instant(),
            wall: Timestamp(1_000_000_000_000_000_000),
        };
        let before = at.wall_at(BootTime(Duration::from_secs(98)));
        assert_eq!(before, Timestamp(999_999_998_000_000_000));
        assert_eq!(at.wall_at(at.boot), at.wall);
        assert_eq!(Timestamp(1_500_000_000).millis(), 1500);
    }
}
