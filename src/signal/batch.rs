//! Samples, and the batches in which they travel.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::signal::series::Series;

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Double(f64),
    /// A whole number.
    Int(i64),
    /// A cumulative histogram.
    Histogram(Arc<Histogram>),
    /// A cumulative histogram whose bounds grow by a constant factor.
    Exponential(Arc<Exponential>),
    /// The series has ended: its last value must not be repeated (Prometheus' stale marker,
    /// OpenTelemetry's "no recorded value").
    Stale,
}

/// A cumulative histogram with explicit bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper bounds of all buckets but the last, ascending.
    pub bounds: &'static [f64],
    /// Counts by bucket, not cumulative; one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: f64,
}

impl Histogram {
    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |all, count| all.saturating_add(*count))
    }
}

/// A base-2 exponential histogram, as OpenTelemetry defines it: bucket `i` holds the values above
/// `base^i` and up to `base^(i+1)`, where `base = 2^(2^-scale)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Exponential {
    /// How fine the buckets are: `2^scale` of them for each doubling.
    pub scale: i32,
    /// The index of the first bucket.
    pub offset: i32,
    /// Counts by bucket, from `offset` on without a gap.
    pub counts: Vec<u64>,
    /// Values that are 0.
    pub zeros: u64,
    /// The sum of all values.
    pub sum: f64,
}

impl Default for Exponential {
    fn default() -> Self {
        Self { scale: Self::FINEST, offset: 0, counts: Vec::new(), zeros: 0, sum: 0.0 }
    }
}

impl Exponential {
    /// The scale to begin with: buckets 9 % wide.
    const FINEST: i32 = 3;
    /// Buckets that are kept; beyond that neighbours are put together.
    const MAX_BUCKETS: usize = 160;

    /// Counts a value that is not negative.
    pub fn record(&mut self, value: f64) {
        self.sum += value;
        if value <= 0.0 {
            self.zeros += 1;
            return;
        }
        loop {
            let index = self.index(value);
            if self.counts.is_empty() {
                self.offset = index;
            }
            let low = self.offset.min(index);
            let high = (self.offset + self.counts.len() as i32 - 1).max(index);
            if (high - low) as usize >= Self::MAX_BUCKETS {
                self.coarsen();
                continue;
            }
            let before = (self.offset - low) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, before));
            self.counts.resize((high - low + 1) as usize, 0);
            self.offset = low;
            self.counts[(index - low) as usize] += 1;
            return;
        }
    }

    fn index(&self, value: f64) -> i32 {
        (value.log2() * f64::from(self.scale).exp2()).ceil() as i32 - 1
    }

    /// Halves the number of buckets.
    fn coarsen(&mut self) {
        let mut merged: Vec<u64> = Vec::with_capacity(self.counts.len() / 2 + 1);
        let offset = self.offset.div_euclid(2);
        for (n, count) in self.counts.iter().enumerate() {
            let at = ((self.offset + n as i32).div_euclid(2) - offset) as usize;
            if at == merged.len() {
                merged.push(0);
            }
            merged[at] += count;
        }
        self.counts = merged;
        self.offset = offset;
        self.scale -= 1;
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(self.zeros, |all, count| all.saturating_add(*count))
    }
}

/// Bytes that are reckoned for each sample where a number of samples is a limit of memory, too.
pub const ALLOWANCE: usize = 256;

/// Bytes that a sample takes, without its series and without the buckets of a histogram.
pub const SAMPLE_BYTES: usize = size_of::<Sample>();

/// A value of a series at a time.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The series.
    pub series: Arc<Series>,
    /// When a cumulative series began to count; `None` for gauges.
    pub start: Option<Timestamp>,
    /// The time of the value.
    pub time: Timestamp,
    /// The value.
    pub value: Value,
}

impl Sample {
    /// A plain number at a time.
    #[must_use]
    pub fn number(series: &Arc<Series>, time: Timestamp, value: f64) -> Self {
        Self { series: Arc::clone(series), start: None, time, value: Value::Double(value) }
    }

    /// Bytes of memory that it takes, about: with its buckets, and with what its series has alone. A series is counted
    /// with each of its samples, because the last one keeps it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let buckets = match &self.value {
            Value::Histogram(histogram) => histogram.counts.len() * size_of::<u64>(),
            Value::Exponential(histogram) => histogram.counts.len() * size_of::<u64>(),
            Value::Double(_) | Value::Int(_) | Value::Stale => 0,
        };
        SAMPLE_BYTES + buckets + self.series.own_bytes()
    }

    /// The end of a series.
    #[must_use]
    pub fn stale(series: Arc<Series>, time: Timestamp) -> Self {
        Self { series, start: None, time, value: Value::Stale }
    }
}

/// Samples that travel together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The samples; those of one series ascend in time.
    pub samples: Vec<Sample>,
    /// How long these values hold at most: until their source has had the time to bring the next
    /// ones (its interval and its timeout).
    pub lifetime: Option<Duration>,
}

impl Batch {
    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Bytes of memory that they take, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.samples.iter().map(Sample::bytes).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_their_bounds_say() {
        let mut histogram = Exponential::default();
        for value in [0.0, 0.001, 0.001, 0.25, 1.0, 2.0, 2.0001] {
            histogram.record(value);
        }
        assert_eq!((histogram.count(), histogram.zeros, histogram.scale), (7, 1, 3));
        let base = 2_f64.powf(2_f64.powi(-histogram.scale));
        for (n, count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let low = base.powi(histogram.offset + n as i32);
            let high = low * base;
            let inside = [0.001, 0.001, 0.25, 1.0, 2.0, 2.0001]
                .iter()
                .filter(|v| (low * (1.0 - 1e-9)..=high * (1.0 + 1e-9)).contains(*v));
            assert!(inside.count() as u64 >= *count, "{low}..{high}: {count}");
        }
        // 1.0 is the upper bound of its bucket: the one below index 0.
        assert_eq!(histogram.index(1.0), -1);
        assert_eq!(histogram.index(1.000_001), 0);
    }

    #[test]
    fn a_wide_range_makes_buckets_coarser_and_loses_no_count() {
        let mut histogram = Exponential::default();
        for exponent in -30..30 {
            histogram.record(2_f64.powi(exponent) * 1.1);
        }
        assert_eq!(histogram.count(), 60);
        assert!(histogram.counts.len() <= Exponential::MAX_BUCKETS && histogram.scale < 3);
    }
}
