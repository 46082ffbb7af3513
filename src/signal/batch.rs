//! Samples, and the batches in which they travel.

use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::signal::series::Series;

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// A cumulative histogram.
    Histogram(Arc<Histogram>),
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
        self.counts.iter().sum()
    }
}

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
        Self { series: Arc::clone(series), start: None, time, value: Value::Number(value) }
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
}

impl Batch {
    /// How many samples there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }
}
