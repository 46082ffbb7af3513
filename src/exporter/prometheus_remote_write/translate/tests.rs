use super::*;
use crate::signal::batch::Histogram;
use crate::signal::names::{
    PROBE_ATTEMPTS, PROBE_DURATION, PROBE_HTTP_DURATION, PROBE_SUCCESS, SLOT_LATENESS,
};
use crate::signal::series::{Attributes, Metric};
use crate::wire::naming::Naming;
use crate::wire::remote_write::{TimeSeries, decode};

fn settings() -> Identity {
    Identity {
        external_labels: BTreeMap::from([
            ("cluster".into(), "home".into()),
            ("routing".into(), "never wins".into()),
        ]),
        resource_to_telemetry: false,
        target_info: true,
        naming: Naming::default(),
    }
}

fn resource() -> Arc<Resource> {
    Arc::new(Resource::new("services", "http://127.0.0.1:1/", [("server.address", "127.0.0.1")]))
}

fn series(resource: &Arc<Resource>, metric: &'static Metric, own: &[(&str, &str)]) -> Arc<Series> {
    let shared = Attributes::new([("humanname", "web"), ("routing", "internal")]);
    Series::new(metric, shared, Attributes::new(own.iter().copied()), Arc::clone(resource))
}

fn lines(body: &[u8]) -> Vec<String> {
    let line = |series: &TimeSeries| {
        let labels: Vec<String> =
            series.labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
        let samples: Vec<String> = series
            .samples
            .iter()
            .map(|s| {
                if s.value.to_bits() == STALE_NAN {
                    format!("stale@{}", s.timestamp)
                } else {
                    format!("{}@{}", s.value, s.timestamp)
                }
            })
            .collect();
        format!("{} {}", labels.join(","), samples.join(" "))
    };
    decode(body).expect("a request").timeseries.iter().map(line).collect()
}

const T1: Timestamp = Timestamp(1_700_000_000_123_456_789);
const T2: Timestamp = Timestamp(1_700_000_015_123_456_789);

/// The whole request of a small probe, with and without suffixes: names, labels, order, times.
#[test]
fn golden_request() {
    let resource = resource();
    let batch = [
        Sample::number(&series(&resource, &PROBE_SUCCESS, &[]), T1, 1.0),
        Sample::number(&series(&resource, &PROBE_DURATION, &[]), T1, 0.25),
        Sample::number(&series(&resource, &PROBE_HTTP_DURATION, &[("phase", "tls")]), T1, 0.125),
        Sample::number(&series(&resource, &PROBE_ATTEMPTS, &[("kind", "scheduled")]), T1, 7.0),
    ];
    let tail = "instance=http://127.0.0.1:1/,job=services";
    let expected = |duration: &str, phases: &str, attempts: &str| {
        vec![
            format!(
                "__name__=probe_success,cluster=home,humanname=web,{tail},routing=internal 1@1700000000123"
            ),
            format!(
                "__name__={duration},cluster=home,humanname=web,{tail},routing=internal 0.25@1700000000123"
            ),
            format!(
                "__name__={phases},cluster=home,humanname=web,{tail},phase=tls,routing=internal 0.125@1700000000123"
            ),
            format!(
                "__name__={attempts},cluster=home,humanname=web,{tail},kind=scheduled,routing=internal 7@1700000000123"
            ),
            format!(
                "__name__=target_info,cluster=home,{tail},routing=never wins,server_address=127.0.0.1 1@1700000000123"
            ),
        ]
    };
    let with = Translator::new(&settings()).encode(&batch);
    assert_eq!(
        lines(&with),
        expected("probe_duration_seconds", "probe_http_duration_seconds", "probe_attempts_total")
    );
    let mut bare = settings();
    bare.naming.add_metric_suffixes = false;
    let without = Translator::new(&bare).encode(&batch);
    assert_eq!(
        lines(&without),
        expected("probe_duration", "probe_http_duration", "probe_attempts")
    );
}

#[test]
fn runs_of_one_series_stand_together_and_stale_markers_end_it() {
    let resource = resource();
    let one = series(&resource, &PROBE_SUCCESS, &[]);
    let mut translator = Translator::new(&settings());
    let found =
        lines(&translator.encode(&[Sample::number(&one, T1, 1.0), Sample::number(&one, T2, 0.0)]));
    assert!(found[0].ends_with(" 1@1700000000123 0@1700000015123"), "{}", found[0]);
    assert_eq!(translator.known.len(), 1);
    let found = lines(&translator.encode(&[Sample::stale(Arc::clone(&one), T2)]));
    assert!(found[0].ends_with(" stale@1700000015123"), "{}", found[0]);
    assert!(
        found[1].starts_with("__name__=target_info") && found[1].ends_with("stale@1700000015123")
    );
    assert!(
        translator.known.is_empty() && translator.about.is_empty(),
        "what has ended leaves the tables"
    );
}

/// A backlog has each series many times: its labels stand in a request once, its samples in their order.
#[test]
fn each_series_stands_in_a_request_once() {
    let resource = resource();
    let all: Vec<Arc<Series>> = [&PROBE_SUCCESS, &PROBE_DURATION, &PROBE_ATTEMPTS]
        .map(|metric| series(&resource, metric, &[]))
        .into();
    let later = |n: u64| Timestamp(T1.0 + n * 15_000_000_000);
    let mut samples: Vec<Sample> = Vec::new();
    for n in 0..4 {
        // One of them comes later than the others, and one ends, and is there again.
        let some = all.iter().enumerate().filter(|(which, _)| *which != 1 || n > 0);
        samples.extend(some.map(|(which, series)| match (which, n) {
            (2, 1) => Sample::stale(Arc::clone(series), later(n)),
            _ => Sample::number(series, later(n), (which as u64 * 10 + n) as f64),
        }));
    }
    let mut translator = Translator::new(&settings());
    for _ in 0..2 {
        let found = lines(&translator.encode(&samples));
        let values: Vec<&str> = found.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        let at = |n: u64| later(n).millis();
        let whole = |which: u64, from: u64| {
            let points = (from..4).map(|n| match (which, n) {
                (2, 1) => format!("stale@{}", at(n)),
                _ => format!("{}@{}", which * 10 + n, at(n)),
            });
            points.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(values[..3], [whole(0, 0), whole(2, 0), whole(1, 1)]);
        assert!(found.len() == 4 && found[3].ends_with(&format!(" 1@{}", at(3))), "{found:?}");
        assert_eq!(translator.known.len(), 3, "who is there again has not ended");
    }
    samples.push(Sample::stale(Arc::clone(&all[2]), later(4)));
    translator.encode(&samples);
    assert_eq!(translator.known.len(), 2);
}

#[test]
fn histograms_become_their_buckets() {
    let resource = Arc::new(Resource::new("watchpost", "h", []));
    let late = Series::new(&SLOT_LATENESS, Attributes::default(), Attributes::default(), resource);
    let histogram = Histogram { bounds: &[0.5, 1.0], counts: vec![1, 2, 4], sum: 9.5 };
    let value = Value::Histogram(Arc::new(histogram));
    let mut plain = settings();
    plain.external_labels.clear();
    let found = lines(&Translator::new(&plain).encode(&[Sample {
        series: late,
        start: None,
        time: T1,
        value,
    }]));
    let values: Vec<String> = found
        .iter()
        .map(|l| {
            l.replace("__name__=watchpost_slot_lateness_seconds", "")
                .replace(",instance=h,job=watchpost", "")
                .replace("@1700000000123", "")
        })
        .collect();
    assert_eq!(
        values,
        ["_sum 9.5", "_count 7", "_bucket,le=0.5 1", "_bucket,le=1 3", "_bucket,le=+Inf 7"]
    );
}

#[test]
fn resource_attributes_become_labels_when_asked() {
    let mut settings = settings();
    settings.resource_to_telemetry = true;
    let sample = Sample::number(&series(&resource(), &PROBE_SUCCESS, &[]), T1, 1.0);
    let found = lines(&Translator::new(&settings).encode(&[sample]));
    assert!(
        found[0].contains(
            "server_address=127.0.0.1,service_instance_id=http://127.0.0.1:1/,service_name=services"
        ),
        "{}",
        found[0]
    );
}

#[test]
fn labels_that_sort_before_the_name_do() {
    let resource = resource();
    let shared = Attributes::new([("Env", "prod"), ("zone", "a")]);
    let one =
        Series::new(&PROBE_SUCCESS, shared.clone(), Attributes::default(), Arc::clone(&resource));
    let two = Series::new(&PROBE_DURATION, shared, Attributes::default(), resource);
    let samples = [Sample::number(&one, T1, 1.0), Sample::number(&two, T1, 2.0)];
    let found = lines(&Translator::new(&settings()).encode(&samples));
    assert!(found[0].starts_with("Env=prod,__name__=probe_success,cluster=home,"), "{}", found[0]);
    assert!(found[1].starts_with("Env=prod,__name__=probe_duration_seconds,"), "{}", found[1]);
}
