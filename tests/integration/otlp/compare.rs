//! What must hold of a point, and what Prometheus must have when it was given the same.

use std::collections::BTreeMap;

use serde_json::Value;

use watchpost::signal::any_value::AnyValue;
use watchpost::signal::names::{self, SCOPE_NAME, SCOPE_VERSION};
use watchpost::signal::series::{Attributes, Kind, Metric, Resource};
use watchpost::wire::naming::{self, Naming};

use crate::support::otlp_reader::{Point, Typed};
use crate::support::peers::Peer;

fn metric(point: &Point) -> &'static Metric {
    let mut all = names::ALL.iter();
    all.find(|metric| metric.name == point.name).unwrap_or_else(|| panic!("{}", point.name))
}

/// It is what the table of metrics says, and what the data model of OTLP asks for.
pub(super) fn assert_sound(point: &Point) {
    let metric = metric(point);
    assert_eq!((&*point.unit, &*point.description), (metric.unit, metric.description), "{point:?}");
    assert_eq!(point.scope, (SCOPE_NAME.to_owned(), SCOPE_VERSION.to_owned()));
    let (kind, temporality, monotonic) = match metric.kind {
        Kind::Gauge => ("gauge", None, None),
        Kind::Counter => ("sum", Some("cumulative"), Some(true)),
        Kind::UpDownCounter => ("sum", Some("cumulative"), Some(false)),
        Kind::Histogram => ("histogram", Some("cumulative"), None),
        Kind::ExponentialHistogram => ("exponential_histogram", Some("cumulative"), None),
    };
    let found = (&*point.kind, point.temporality.as_deref(), point.monotonic);
    assert_eq!(found, (kind, temporality, monotonic), "{point:?}");
    assert!(point.time > 1_600_000_000_000_000_000, "{point:?}");
    assert!(point.flags <= 1, "{point:?}");
    assert!(point.negative.as_ref().is_none_or(|side| side.counts.is_empty()), "{point:?}");
    for name in metric.attributes {
        // A reason is there only where something has one.
        let optional = ["reason", "group", "name"].contains(name);
        assert!(optional || point.attributes.contains_key(*name), "{name}: {point:?}");
    }
    if point.flags == 1 {
        assert_eq!((&point.value, point.count.unwrap_or(0)), (&None, 0), "{point:?}");
        return;
    }
    match (metric.kind, &point.value) {
        (Kind::Gauge, Some(Typed::Double(_))) => assert_eq!(point.start, 0, "{point:?}"),
        (Kind::Counter, Some(Typed::Int(count))) => assert!(*count >= 0, "{point:?}"),
        // Time is no count.
        (Kind::Counter, Some(Typed::Double(_))) => assert_eq!(point.unit, "s", "{point:?}"),
        (Kind::Histogram, None) => {
            assert_eq!(point.counts.len(), point.bounds.len() + 1, "{point:?}");
            assert_eq!(point.count, Some(point.counts.iter().sum()), "{point:?}");
            assert!(point.sum.is_some(), "{point:?}");
        }
        (Kind::ExponentialHistogram, None) => {
            let counts: u64 = point.positive.iter().flat_map(|side| &side.counts).sum();
            assert_eq!(point.count, point.zeros.map(|zeros| zeros + counts), "{point:?}");
            assert!(point.sum.is_some() && point.scale.is_some(), "{point:?}");
        }
        other => panic!("{other:?}: {point:?}"),
    }
    if metric.kind != Kind::Gauge {
        let in_order = point.start > 0 && point.start <= point.time;
        assert!(in_order, "{point:?}");
    }
}

/// A value as Prometheus has it; doubles by their bits.
#[derive(Clone, Debug, PartialEq)]
enum Had {
    Number(u64),
    /// Count, sum, and by the logarithm of its upper bound how much a bucket holds.
    Native(u64, u64, BTreeMap<i64, u64>),
}

type Labels = BTreeMap<String, String>;
type Store = BTreeMap<Labels, BTreeMap<i64, Had>>;

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

fn any(value: &Typed) -> AnyValue {
    match value {
        Typed::String(text) => text.as_str().into(),
        Typed::Bool(bool) => (*bool).into(),
        Typed::Int(int) => (*int).into(),
        Typed::Double(double) => number(double).into(),
        Typed::Array(list) => AnyValue::List(list.iter().map(any).collect()),
    }
}

fn attributes(of: &BTreeMap<String, Typed>) -> Attributes {
    Attributes::new(of.iter().map(|(name, value)| (name.as_str(), any(value))))
}

/// The labels of a point's series, but for its name; `job` and `instance` as its resource says.
fn labels(point: &Point) -> Labels {
    let resource = Resource { attributes: attributes(&point.resource) };
    let mut labels: Labels =
        naming::labels(attributes(&point.attributes).iter()).into_iter().collect();
    labels.extend(naming::job(&resource).map(|job| ("job".to_owned(), job)));
    labels.extend(naming::instance(&resource).map(|id| ("instance".to_owned(), id.to_owned())));
    labels
}

/// The series that a point belongs to in Prometheus, with their values.
fn translated(point: &Point) -> Vec<(Labels, Had)> {
    let name = Naming::default().metric(metric(point));
    let series = |suffix: &str, le: Option<&str>| {
        let mut labels = labels(point);
        labels.insert("__name__".to_owned(), format!("{name}{suffix}"));
        labels.extend(le.map(|le| ("le".to_owned(), le.to_owned())));
        labels
    };
    let float = |value: f64| Had::Number(value.to_bits());
    let sum = || number(point.sum.as_ref().unwrap());
    match (&*point.kind, &point.value) {
        ("gauge" | "sum", Some(Typed::Int(int))) => vec![(series("", None), float(*int as f64))],
        ("gauge" | "sum", Some(Typed::Double(text))) => {
            vec![(series("", None), float(number(text)))]
        }
        ("histogram", _) => {
            let mut list = vec![
                (series("_sum", None), float(sum())),
                (series("_count", None), float(point.count.unwrap() as f64)),
            ];
            let mut below = 0;
            let bounds = point.bounds.iter().map(|bound| number(bound).to_string());
            for (le, count) in bounds.chain(["+Inf".to_owned()]).zip(&point.counts) {
                below += count;
                list.push((series("_bucket", Some(&le)), float(below as f64)));
            }
            list
        }
        ("exponential_histogram", _) => {
            let side = point.positive.as_ref().unwrap();
            // Bucket `i` ends at 2^((i + 1) / 2^scale).
            let fine = i64::from(FINE >> point.scale.unwrap());
            let filled = side.counts.iter().zip(1..).filter(|(count, _)| **count > 0);
            let buckets = filled.map(|(count, n)| ((i64::from(side.offset) + n) * fine, *count));
            let native = Had::Native(point.count.unwrap(), sum().to_bits(), buckets.collect());
            vec![(series("", None), native)]
        }
        other => panic!("{other:?}"),
    }
}

/// Bounds are compared by their logarithm, in parts of this.
const FINE: i32 = 1 << 20;

fn millis(point: &Point) -> i64 {
    (point.time / 1_000_000) as i64
}

fn labels_of(result: &Value) -> Labels {
    serde_json::from_value(result["metric"].clone()).unwrap()
}

/// Everything that Prometheus has.
fn stored(prometheus: &Peer) -> Store {
    let mut store = Store::new();
    for result in prometheus.results("{__name__=~\".+\"}[1h]", None) {
        let series = store.entry(labels_of(&result)).or_default();
        let time = |pair: &Value| (pair[0].as_f64().unwrap() * 1e3).round() as i64;
        let list = |key: &str| result[key].as_array().cloned().unwrap_or_default();
        let float = |value: &Value| number(value.as_str().unwrap());
        for pair in list("values") {
            series.insert(time(&pair), Had::Number(float(&pair[1]).to_bits()));
        }
        for pair in list("histograms") {
            let native = &pair[1];
            let buckets = native["buckets"].as_array().into_iter().flatten().map(|bucket| {
                let end = float(&bucket[2]).log2() * f64::from(FINE);
                (end.round() as i64, float(&bucket[3]) as u64)
            });
            let (count, sum) = (float(&native["count"]) as u64, float(&native["sum"]).to_bits());
            series.insert(time(&pair), Had::Native(count, sum, buckets.collect()));
        }
    }
    store
}

/// Prometheus has these points, under the names and labels that they translate to, to the
/// millisecond and the bit, and nothing else; and what ended has ended there at the same moment.
pub(super) fn assert_prometheus_has(prometheus: &Peer, points: &[Point]) {
    let mut expected = Store::new();
    for point in points.iter().filter(|point| point.flags == 0) {
        for (labels, value) in translated(point) {
            expected.entry(labels).or_default().insert(millis(point), value);
        }
    }
    let mut stored = stored(prometheus);
    // `target_info` is not among the points: it is what Prometheus is told of their resources.
    let infos: Vec<Labels> =
        stored.keys().filter(|labels| labels["__name__"] == "target_info").cloned().collect();
    for labels in &infos {
        stored.remove(labels);
    }
    let differ = expected.iter().find(|(labels, values)| stored.get(*labels) != Some(*values));
    if let Some((labels, values)) = differ {
        panic!("{labels:?}\nexpected {values:?}\nfound    {:?}", stored.get(labels));
    }
    let more: Vec<_> = stored.keys().filter(|labels| !expected.contains_key(*labels)).collect();
    assert!(more.is_empty(), "{more:?}");

    let mut wanted: Vec<Labels> = points.iter().filter_map(info).collect();
    wanted.sort();
    wanted.dedup();
    assert_eq!(infos, wanted);

    let mut ends: BTreeMap<i64, Vec<&Point>> = BTreeMap::new();
    for point in points.iter().filter(|point| point.flags == 1) {
        ends.entry(millis(point)).or_default().push(point);
    }
    assert!(!ends.is_empty());
    for (time, points) in ends {
        let there = |time| -> Vec<Labels> {
            prometheus.results("{__name__=~\".+\"}", Some(time)).iter().map(labels_of).collect()
        };
        let (before, after) = (there(time - 1), there(time));
        for point in points {
            let mut labels = labels(point);
            labels.insert("__name__".to_owned(), Naming::default().metric(metric(point)));
            assert!(before.contains(&labels), "{labels:?} was never there");
            assert!(!after.contains(&labels), "{labels:?} has not ended");
        }
    }
}

/// The labels of `target_info`: what the resource says besides its job and its instance.
fn info(point: &Point) -> Option<Labels> {
    let own = ["service.name", "service.namespace", "service.instance.id"];
    let all = attributes(&point.resource);
    let others = naming::labels(all.iter().filter(|(name, _)| !own.contains(name)));
    let mut labels: Labels = others.into_iter().collect();
    if labels.is_empty() {
        return None;
    }
    let resource = Resource { attributes: all };
    labels.insert("job".to_owned(), naming::job(&resource)?);
    labels.insert("instance".to_owned(), naming::instance(&resource)?.to_owned());
    labels.insert("__name__".to_owned(), "target_info".to_owned());
    Some(labels)
}
