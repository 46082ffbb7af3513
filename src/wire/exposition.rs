//! The text that a scrape reads: Prometheus' exposition format 0.0.4.

use std::fmt::Write as _;

use crate::signal::batch::{Batch, Value};
use crate::signal::series::Kind;
use crate::wire::naming::{Naming, labels};

/// The content type of [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes samples, one family after the other. The samples of one metric must stand together.
/// Resources and times are left out: whoever scrapes adds them.
#[must_use]
pub fn text(batch: &Batch, naming: &Naming) -> String {
    let mut out = String::new();
    let mut family = "";
    for sample in &batch.samples {
        let metric = sample.series.metric;
        let name = naming.metric(metric);
        if family != metric.name {
            family = metric.name;
            let kind = match metric.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
                Kind::Histogram | Kind::ExponentialHistogram => "histogram",
            };
            let _ = writeln!(
                out,
                "# HELP {name} {}\n# TYPE {name} {kind}",
                escape(metric.description, false)
            );
        }
        let pairs = labels(sample.series.attributes());
        match &sample.value {
            Value::Number(value) => line(&mut out, &name, "", &pairs, None, *value),
            Value::Histogram(histogram) => {
                let mut sum = 0;
                for (index, count) in histogram.counts.iter().enumerate() {
                    sum += count;
                    let bound = histogram
                        .bounds
                        .get(index)
                        .map_or_else(|| "+Inf".to_owned(), f64::to_string);
                    line(&mut out, &name, "_bucket", &pairs, Some(&bound), sum as f64);
                }
                line(&mut out, &name, "_sum", &pairs, None, histogram.sum);
                line(&mut out, &name, "_count", &pairs, None, sum as f64);
            }
            // The text format has no native histograms, and no own metric is one.
            Value::Exponential(_) | Value::Stale => {}
        }
    }
    out
}

fn line(
    out: &mut String,
    name: &str,
    suffix: &str,
    pairs: &[(String, String)],
    le: Option<&str>,
    value: f64,
) {
    let _ = write!(out, "{name}{suffix}");
    let all = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain(le.map(|le| ("le", le)));
    for (index, (label, text)) in all.enumerate() {
        let _ =
            write!(out, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escape(text, true));
    }
    if !pairs.is_empty() || le.is_some() {
        out.push('}');
    }
    let _ = match value {
        v if v.is_nan() => writeln!(out, " NaN"),
        v if v.is_infinite() => writeln!(out, " {}Inf", if v > 0.0 { '+' } else { '-' }),
        v => writeln!(out, " {v}"),
    };
}

fn escape(text: &str, quotes: bool) -> String {
    let mut out = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes {
        out = out.replace('"', "\\\"");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::clock::Timestamp;
    use crate::signal::batch::{Histogram, Sample};
    use crate::signal::names::{QUEUE_SAMPLES, SLOT_LATENESS, SLOTS};
    use crate::signal::series::{Attributes, Resource, Series};

    #[test]
    fn golden_text() {
        let resource = Arc::new(Resource::new("watchpost", "h", []));
        let series = |metric, pairs: &[(&str, &str)]| {
            Series::new(
                metric,
                Attributes::default(),
                Attributes::new(pairs.iter().copied()),
                Arc::clone(&resource),
            )
        };
        let number = |series, value| Sample::number(&series, Timestamp(1), value);
        let histogram = Histogram { bounds: &[0.5, 1.0], counts: vec![1, 0, 2], sum: 7.25 };
        let late = Sample {
            series: series(&SLOT_LATENESS, &[]),
            start: None,
            time: Timestamp(1),
            value: Value::Histogram(Arc::new(histogram)),
        };
        let batch = Batch {
            samples: vec![
                number(series(&QUEUE_SAMPLES, &[("exporter", "a \"b\"\\\n")]), 3.0),
                late,
                number(series(&SLOTS, &[("outcome", "ok"), ("reason", "")]), 1e15),
            ],
        };
        let expected = "# HELP watchpost_queue_samples Samples that wait for an exporter.\n\
            # TYPE watchpost_queue_samples gauge\n\
            watchpost_queue_samples{exporter=\"a \\\"b\\\"\\\\\\n\"} 3\n\
            # HELP watchpost_slot_lateness_seconds Time from a slot's due time to the begin of its attempt.\n\
            # TYPE watchpost_slot_lateness_seconds histogram\n\
            watchpost_slot_lateness_seconds_bucket{le=\"0.5\"} 1\n\
            watchpost_slot_lateness_seconds_bucket{le=\"1\"} 1\n\
            watchpost_slot_lateness_seconds_bucket{le=\"+Inf\"} 3\n\
            watchpost_slot_lateness_seconds_sum 7.25\n\
            watchpost_slot_lateness_seconds_count 3\n\
            # HELP watchpost_slots_total Slots by how they ended: ok, failed, skipped or cancelled.\n\
            # TYPE watchpost_slots_total counter\n\
            watchpost_slots_total{outcome=\"ok\"} 1000000000000000\n";
        assert_eq!(text(&batch, &Naming::default()), expected);
    }
}
