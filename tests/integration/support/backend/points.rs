//! Samples as backends get them, whatever the way.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, metric::Data, number_data_point};
use prost::Message as _;
use watchpost::wire::{otlp, remote_write};

use super::Way;

/// A sample as it came, by names that are the same on all ways.
#[derive(Clone, Debug)]
pub struct Point {
    /// Such as `probe_success`.
    pub name: String,
    /// All that tells its series from others.
    pub series: String,
    pub labels: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub time: i64,
    pub value: f64,
    pub stale: bool,
    /// Whether the answer to its batch went wrong: it may come again.
    pub lost: bool,
    /// When it came, likewise.
    pub came: i64,
}

impl Point {
    pub fn target(&self) -> &str {
        self.labels.get("humanname").map_or("", String::as_str)
    }
}

/// The samples of a request.
pub fn points(way: Way, body: &[u8]) -> Vec<Point> {
    match way {
        Way::Write => of_write(&remote_write::decode(body).expect("a request of remote write")),
        Way::Http => of_otlp(&otlp::Request::decode(body).expect("a request of OTLP")),
        Way::Grpc => {
            assert_eq!(body[0], 0, "not compressed");
            of_otlp(&otlp::Request::decode(&body[5..]).expect("a request of OTLP"))
        }
    }
}

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_millis()).expect("not for a while")
}

fn point(
    name: &str,
    labels: BTreeMap<String, String>,
    time: i64,
    value: f64,
    stale: bool,
) -> Point {
    let name = name.replace('.', "_").trim_end_matches("_total").to_owned();
    let series = format!("{name}{labels:?}");
    Point { name, series, labels, time, value, stale, lost: false, came: now() }
}

fn of_write(request: &remote_write::WriteRequest) -> Vec<Point> {
    let mut all = Vec::new();
    for series in &request.timeseries {
        let mut labels: BTreeMap<String, String> =
            series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
        let name = labels.remove("__name__").expect("a name");
        assert!(series.histograms.is_empty(), "nobody asked for them");
        for sample in &series.samples {
            let stale = sample.value.to_bits() == remote_write::STALE_NAN;
            all.push(point(&name, labels.clone(), sample.timestamp, sample.value, stale));
        }
    }
    all
}

fn of_otlp(request: &otlp::Request) -> Vec<Point> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|v| v.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    let pairs = |list: &[KeyValue]| -> BTreeMap<String, String> {
        list.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect()
    };
    let mut all = Vec::new();
    for of_resource in &request.resource_metrics {
        let about = pairs(&of_resource.resource.as_ref().expect("a resource").attributes);
        for metric in of_resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            let points: &[NumberDataPoint] = match metric.data.as_ref().expect("data") {
                Data::Gauge(gauge) => &gauge.data_points,
                Data::Sum(sum) => &sum.data_points,
                other => panic!("nobody asked for {other:?}"),
            };
            for one in points {
                let mut labels = pairs(&one.attributes);
                labels.extend(about.clone());
                let value = match one.value {
                    Some(number_data_point::Value::AsDouble(value)) => value,
                    Some(number_data_point::Value::AsInt(value)) => value as f64,
                    None => f64::NAN,
                };
                let time = (one.time_unix_nano / 1_000_000) as i64;
                all.push(point(&metric.name, labels, time, value, one.flags == 1));
            }
        }
    }
    all
}
