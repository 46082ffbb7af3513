//! What becomes of samples, counted; and when a batch is worth a request.

use std::sync::Arc;
use std::time::Duration;

use crate::pipeline::selfmetrics::{Counter, Meter};
use crate::signal::names::{EXPORT_LOST, EXPORT_SAMPLES};

/// When a batch is worth a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batching {
    /// Wait this long for more, counted from when something is there.
    pub flush_timeout: Duration,
    /// Do not wait when there are so many.
    pub min_size: usize,
    /// Never more than this at once.
    pub max_size: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self { flush_timeout: Duration::from_secs(1), min_size: 8192, max_size: 8192 }
    }
}

/// What becomes of samples, counted since the process started:
/// accepted + recovered = sent + rejected + dropped + queued.
#[derive(Clone)]
pub struct Books {
    /// Put into the queue.
    pub accepted: Counter,
    /// Found in the queue when we started.
    pub recovered: Counter,
    /// Taken over by the backend.
    pub sent: Counter,
    /// Refused by the backend for good.
    pub rejected: Counter,
    /// Given up by us.
    pub dropped: Counter,
    meter: Arc<Meter>,
    exporter: String,
    pipeline: String,
}

impl Books {
    /// The books of an exporter in a pipeline.
    #[must_use]
    pub fn new(meter: &Arc<Meter>, exporter: &str, pipeline: &str) -> Self {
        let result = |result| {
            let own = [("exporter", exporter), ("pipeline", pipeline), ("result", result)];
            meter.counter(&EXPORT_SAMPLES, &own)
        };
        Self {
            accepted: result("accepted"),
            recovered: result("recovered"),
            sent: result("sent"),
            rejected: result("rejected"),
            dropped: result("dropped"),
            meter: Arc::clone(meter),
            exporter: exporter.to_owned(),
            pipeline: pipeline.to_owned(),
        }
    }

    /// The exporter's name.
    #[must_use]
    pub fn exporter(&self) -> &str {
        &self.exporter
    }

    /// Counts samples that were given up, and why.
    pub fn drop(&self, samples: u64, reason: &str) {
        self.dropped.add(samples);
        self.lose(samples, reason);
    }

    /// Counts samples that were refused, and why.
    pub fn reject(&self, samples: u64, reason: &str) {
        self.rejected.add(samples);
        self.lose(samples, reason);
    }

    fn lose(&self, samples: u64, reason: &str) {
        if samples > 0 {
            let own = [
                ("exporter", self.exporter.as_str()),
                ("pipeline", self.pipeline.as_str()),
                ("reason", reason),
            ];
            self.meter.counter(&EXPORT_LOST, &own).add(samples);
        }
    }
}
