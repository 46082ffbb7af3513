//! The text that a scrape reads: Prometheus' exposition format 0.0.4 and OpenMetrics 1.0.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::base::clock::Timestamp;
use crate::signal::batch::{Batch, Value};
use crate::signal::series::Kind;
use crate::wire::naming::{Naming, labels};

/// Which of the two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The content type of the text.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What is told of a family of series.
#[derive(Clone, Debug)]
pub struct Family<'a> {
    /// The name of its series, with all suffixes but those of a histogram's parts.
    pub name: String,
    /// What kind it is; `None`: facts about a target.
    pub kind: Option<Kind>,
    /// One sentence for people.
    pub help: &'a str,
    /// The series by their labels.
    pub points: BTreeMap<Vec<(String, String)>, Point<'a>>,
}

/// A point of a series.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// The value; those that end a series are not written.
    pub value: &'a Value,
    /// The time, where it is to be written.
    pub time: Option<Timestamp>,
}

/// Families from samples that stand sorted by metric, without resources and times.
#[must_use]
pub fn families<'a>(batch: &'a Batch, naming: &Naming) -> Vec<Family<'a>> {
    let mut families: Vec<Family<'a>> = Vec::new();
    for sample in &batch.samples {
        let metric = sample.series.metric;
        let name = naming.metric(metric);
        if families.last().is_none_or(|family| family.name != name) {
            let (kind, help) = (Some(metric.kind), metric.description);
            families.push(Family { name, kind, help, points: BTreeMap::new() });
        }
        let point = Point { value: &sample.value, time: None };
        if let Some(family) = families.last_mut() {
            family.points.insert(labels(sample.series.attributes()), point);
        }
    }
    families
}

/// Writes families, one after the other.
#[must_use]
pub fn text(families: &[Family<'_>], format: Format) -> String {
    let mut out = String::new();
    for family in families {
        write(family, format, &mut out);
    }
    if format == Format::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

fn write(family: &Family<'_>, format: Format, out: &mut String) {
    let open = format == Format::OpenMetrics;
    let name = family.name.as_str();
    // OpenMetrics' families are named without the suffix of their series.
    let (title, kind) = match family.kind {
        None if open => (name.strip_suffix("_info").unwrap_or(name), "info"),
        Some(Kind::Counter) if open => match name.strip_suffix("_total") {
            Some(title) => (title, "counter"),
            None => (name, "unknown"),
        },
        Some(Kind::Counter) => (name, "counter"),
        None | Some(Kind::Gauge | Kind::UpDownCounter) => (name, "gauge"),
        Some(Kind::Histogram | Kind::ExponentialHistogram) => (name, "histogram"),
    };
    let help = escape(family.help, open);
    let _ = writeln!(out, "# HELP {title} {help}\n# TYPE {title} {kind}");
    let mut line =
        |suffix: &str, pairs: &[(String, String)], le: Option<&str>, value: f64, time| {
            let _ = write!(out, "{name}{suffix}");
            let all = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            for (index, (label, text)) in all.chain(le.map(|le| ("le", le))).enumerate() {
                let begin = if index == 0 { '{' } else { ',' };
                let _ = write!(out, "{begin}{label}=\"{}\"", escape(text, true));
            }
            if !pairs.is_empty() || le.is_some() {
                out.push('}');
            }
            let _ = match value {
                v if v.is_nan() => write!(out, " NaN"),
                v if v.is_infinite() => write!(out, " {}Inf", if v > 0.0 { '+' } else { '-' }),
                v => write!(out, " {v}"),
            };
            let _ = match time {
                Some(time) if open => writeln!(out, " {}", seconds(time)),
                Some(time) => writeln!(out, " {}", Timestamp::millis(time)),
                None => writeln!(out),
            };
        };
    for (pairs, point) in &family.points {
        let time = point.time;
        match point.value {
            Value::Double(value) => line("", pairs, None, *value, time),
            Value::Int(value) => line("", pairs, None, *value as f64, time),
            Value::Histogram(histogram) => {
                let mut sum = 0_u64;
                for (index, count) in histogram.counts.iter().enumerate() {
                    sum = sum.saturating_add(*count);
                    let bound = histogram.bounds.get(index).map(|bound| le(*bound, open));
                    let bound = bound.unwrap_or_else(|| "+Inf".to_owned());
                    line("_bucket", pairs, Some(&bound), sum as f64, time);
                }
                line("_sum", pairs, None, histogram.sum, time);
                line("_count", pairs, None, sum as f64, time);
            }
            // The texts have no native histograms: what they can carry is sum and count.
            Value::Exponential(histogram) => {
                let count = histogram.count() as f64;
                line("_bucket", pairs, Some("+Inf"), count, time);
                line("_sum", pairs, None, histogram.sum, time);
                line("_count", pairs, None, count, time);
            }
            Value::Stale => {}
        }
    }
}

/// A bucket's bound: OpenMetrics wants a point in it.
fn le(bound: f64, open: bool) -> String {
    let text = bound.to_string();
    if open && !text.contains('.') { text + ".0" } else { text }
}

fn seconds(time: Timestamp) -> String {
    format!("{}.{:03}", time.0 / 1_000_000_000, time.0 / 1_000_000 % 1000)
}

fn escape(text: &str, quotes: bool) -> String {
    let mut out = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes {
        out = out.replace('"', "\\\"");
    }
    out
}

#[cfg(test)]
mod tests;
