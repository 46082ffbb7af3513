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
        lifetime: None,
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
    let families = families(&batch, &Naming::default());
    assert_eq!(text(&families, Format::Text), expected);
}
