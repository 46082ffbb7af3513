//! `debug`: writes what comes by into the log. Beside the queues: it never holds anything up.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use crate::base::clock::{BootTime, Moment};
use crate::base::place::{At, Problems, given as get};
use crate::base::text::tame;
use crate::pipeline::stage::Sink;
use crate::signal::batch::{Batch, Sample, Value};
use crate::signal::series::{Kind, Resource};

/// Keys of the Collector's exporter that are not built yet.
pub const LATER: &[(&str, &[&str])] = &[("RawDebug", &["output_paths"])];
/// Keys of the Collector's exporter that change nothing here.
pub const IDLE: &[(&str, &[&str])] =
    &[("RawDebug", &["use_internal_logger", "sending_queue", "loglevel"])];

/// The exporter as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawDebug {
    verbosity: Option<At<String>>,
    sampling_initial: Option<At<u64>>,
    sampling_thereafter: Option<At<u64>>,
}

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// How many there are.
    Basic,
    /// A line for each sample.
    Normal,
    /// Everything.
    Detailed,
}

/// What runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How much is told.
    pub verbosity: Verbosity,
    /// So many payloads are told of in each second.
    pub initial: u64,
    /// And then each of this number; 0: none.
    pub thereafter: u64,
}

impl RawDebug {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, problems: &mut Problems) -> Settings {
        let verbosity = match get(&self.verbosity).map(|word| word.to_ascii_lowercase()).as_deref()
        {
            None | Some("basic") => Verbosity::Basic,
            Some("normal") => Verbosity::Normal,
            Some("detailed") => Verbosity::Detailed,
            Some(other) => {
                let at = self.verbosity.as_ref().expect("it was given");
                problems.error(&at.place, format!("{other:?} is none of basic, normal, detailed"));
                Verbosity::Basic
            }
        };
        Settings {
            verbosity,
            initial: get(&self.sampling_initial).copied().unwrap_or(2),
            thereafter: get(&self.sampling_thereafter).copied().unwrap_or(1),
        }
    }
}

/// The exporter.
pub struct Debug {
    name: String,
    settings: Settings,
    /// The second that is counted, and how many payloads it has seen.
    seen: Mutex<(BootTime, u64)>,
}

impl Debug {
    /// An exporter of this name.
    #[must_use]
    pub fn new(name: &str, settings: Settings) -> Self {
        Self { name: name.to_owned(), settings, seen: Mutex::default() }
    }

    /// Whether this payload is one of those that are told of.
    fn sampled(&self, now: BootTime) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0.0.as_secs() != now.0.as_secs() {
            *seen = (now, 0);
        }
        seen.1 += 1;
        let Settings { initial, thereafter, .. } = self.settings;
        seen.1 <= initial || (thereafter > 0 && (seen.1 - initial).is_multiple_of(thereafter))
    }
}

impl Sink for Debug {
    fn append(&self, batches: &[Batch], now: Moment) {
        for batch in batches {
            if self.sampled(now.boot) {
                let text = describe(batch, self.settings.verbosity);
                tracing::info!(exporter = %self.name, "{text}");
            }
        }
    }

    fn close(&self) {}
}

/// A payload in words.
fn describe(batch: &Batch, verbosity: Verbosity) -> String {
    let mut resources: Vec<*const Resource> = Vec::new();
    let mut metrics: Vec<(*const Resource, &str)> = Vec::new();
    for sample in &batch.samples {
        let resource = std::sync::Arc::as_ptr(&sample.series.resource);
        resources.push(resource);
        metrics.push((resource, sample.series.metric.name));
    }
    resources.sort_unstable();
    resources.dedup();
    metrics.sort_unstable();
    metrics.dedup();
    let mut out = format!(
        "metrics: {} resources, {} metrics, {} data points",
        resources.len(),
        metrics.len(),
        batch.len()
    );
    match verbosity {
        Verbosity::Basic => {}
        Verbosity::Normal => {
            for sample in &batch.samples {
                let _ = write!(out, "\n{}{{", sample.series.metric.name);
                for (index, (name, value)) in sample.series.attributes().into_iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    let _ = write!(out, "{comma}{}={}", tame(name), tame(&value.text()));
                }
                let _ = write!(out, "}} {}", value(&sample.value));
            }
        }
        Verbosity::Detailed => detailed(batch, &mut out),
    }
    out
}

fn detailed(batch: &Batch, out: &mut String) {
    let mut resource: *const Resource = std::ptr::null();
    let mut metric = "";
    for sample in &batch.samples {
        let series = &sample.series;
        if std::sync::Arc::as_ptr(&series.resource) != resource {
            resource = std::sync::Arc::as_ptr(&series.resource);
            metric = "";
            out.push_str("\nResource attributes:");
            for (name, value) in series.resource.attributes.iter() {
                let _ = write!(out, "\n  -> {}: {}", tame(name), tame(&value.text()));
            }
        }
        if series.metric.name != metric {
            metric = series.metric.name;
            let kind = match series.metric.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "sum, monotonic, cumulative",
                Kind::UpDownCounter => "sum, cumulative",
                Kind::Histogram => "histogram, cumulative",
                Kind::ExponentialHistogram => "exponential histogram, cumulative",
            };
            let (unit, description) = (series.metric.unit, series.metric.description);
            let _ = write!(out, "\nMetric {metric}: {kind}, unit {unit:?}, {description}");
        }
        let _ = write!(out, "\n  Point:");
        for (name, value) in series.attributes() {
            let _ = write!(out, "\n    -> {}: {}", tame(name), tame(&value.text()));
        }
        point(sample, out);
    }
}

fn point(sample: &Sample, out: &mut String) {
    if let Some(start) = sample.start {
        let _ = write!(out, "\n    start: {start:?}");
    }
    let _ = write!(out, "\n    time: {:?}", sample.time);
    let _ = match &sample.value {
        Value::Histogram(histogram) => write!(
            out,
            "\n    bounds: {:?}\n    counts: {:?}\n    sum: {}",
            histogram.bounds, histogram.counts, histogram.sum
        ),
        Value::Exponential(histogram) => write!(
            out,
            "\n    scale: {}\n    offset: {}\n    counts: {:?}\n    zeros: {}\n    sum: {}",
            histogram.scale, histogram.offset, histogram.counts, histogram.zeros, histogram.sum
        ),
        other => write!(out, "\n    value: {}", value(other)),
    };
}

fn value(value: &Value) -> String {
    match value {
        Value::Double(double) => double.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Stale => "no recorded value".to_owned(),
        Value::Histogram(histogram) => format!("count={} sum={}", histogram.count(), histogram.sum),
        Value::Exponential(histogram) => {
            format!("count={} sum={}", histogram.count(), histogram.sum)
        }
    }
}

#[cfg(test)]
mod tests;
