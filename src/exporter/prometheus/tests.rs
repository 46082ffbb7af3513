use super::*;
use crate::base::clock::{self, Timestamp};
use crate::signal::batch::Histogram;
use crate::signal::names::{PROBE_ATTEMPTS, PROBE_SUCCESS, SLOT_LATENESS};
use crate::signal::series::{Attributes, Metric, Resource, Series};

fn exporter(change: impl FnOnce(&mut Settings)) -> Prometheus {
    let identity = Identity { target_info: true, ..Identity::default() };
    let mut settings = Settings {
        endpoint: None,
        identity,
        timestamps: false,
        expiration: None,
        open_metrics: true,
    };
    change(&mut settings);
    Prometheus::new(settings)
}

fn series(metric: &'static Metric, own: &[(&str, &str)]) -> Arc<Series> {
    let resource = Arc::new(Resource::new("web", "a:1", [("server.address", "a")]));
    let own = Attributes::new(own.iter().copied());
    Series::new(metric, Attributes::new([("humanname", "Web")]), own, resource)
}

fn put(exporter: &Prometheus, samples: Vec<Sample>, lifetime: Option<Duration>, now: Moment) {
    exporter.append(&[Batch { samples, lifetime }], now);
}

#[test]
fn golden_texts() {
    let histogram = Histogram { bounds: &[0.5, 1.0], counts: vec![1, 0, 2], sum: 7.25 };
    let value = Value::Histogram(Arc::new(histogram));
    let time = Timestamp(1_234_567_891_234);
    let exporter = exporter(|settings| settings.timestamps = true);
    let now = clock::now();
    let samples = vec![
        Sample::number(&series(&PROBE_SUCCESS, &[]), time, 1.0),
        Sample {
            series: series(&PROBE_ATTEMPTS, &[("kind", "first")]),
            start: None,
            time,
            value: Value::Int(4),
        },
        Sample { series: series(&SLOT_LATENESS, &[]), start: None, time, value },
    ];
    put(&exporter, samples, None, now);
    let text = exporter.render(Format::Text, now.boot);
    let labels = "humanname=\"Web\",instance=\"a:1\",job=\"web\"";
    let expected = format!(
        "# HELP probe_attempts_total Attempts made.\n# TYPE probe_attempts_total counter\n\
         probe_attempts_total{{humanname=\"Web\",instance=\"a:1\",job=\"web\",kind=\"first\"}} 4 1234567\n\
         # HELP probe_success Whether the probe succeeded.\n# TYPE probe_success gauge\n\
         probe_success{{{labels}}} 1 1234567\n\
         # HELP watchpost_slot_lateness_seconds Time from a slot's due time to the begin of its attempt.\n\
         # TYPE watchpost_slot_lateness_seconds histogram\n\
         watchpost_slot_lateness_seconds_bucket{{{labels},le=\"0.5\"}} 1 1234567\n\
         watchpost_slot_lateness_seconds_bucket{{{labels},le=\"1\"}} 1 1234567\n\
         watchpost_slot_lateness_seconds_bucket{{{labels},le=\"+Inf\"}} 3 1234567\n\
         watchpost_slot_lateness_seconds_sum{{{labels}}} 7.25 1234567\n\
         watchpost_slot_lateness_seconds_count{{{labels}}} 3 1234567\n\
         # HELP target_info Facts about the target.\n# TYPE target_info gauge\n\
         target_info{{instance=\"a:1\",job=\"web\",server_address=\"a\"}} 1\n"
    );
    assert_eq!(text, expected);
    let open = exporter.render(Format::OpenMetrics, now.boot);
    for line in [
        "# TYPE probe_attempts counter\n",
        "kind=\"first\"} 4 1234.567\n",
        "# TYPE target info\ntarget_info{",
        "le=\"1.0\"} 1 1234.567\n",
    ] {
        assert!(open.contains(line), "{line} in {open}");
    }
    assert!(open.ends_with("# EOF\n"));
}

#[test]
fn a_value_is_served_until_the_next_one_should_be_there() {
    let exporter = exporter(|_| {});
    let now = clock::now();
    let one = series(&PROBE_SUCCESS, &[]);
    let lifetime = Some(Duration::from_secs(20));
    put(&exporter, vec![Sample::number(&one, Timestamp(1), 1.0)], lifetime, now);
    let shown = |after: u64| {
        exporter
            .render(Format::Text, now.boot + Duration::from_secs(after))
            .contains("probe_success{")
    };
    assert!(shown(19));
    put(&exporter, vec![Sample::number(&one, Timestamp(2), 0.0)], lifetime, now);
    assert!(!shown(21));
    put(&exporter, vec![Sample::number(&one, Timestamp(3), 1.0)], lifetime, now);
    put(&exporter, vec![Sample::stale(one, Timestamp(4))], lifetime, now);
    assert_eq!(exporter.render(Format::Text, now.boot), "", "an ended series is gone at once");
}

#[test]
fn metric_expiration_wins() {
    let exporter = exporter(|settings| settings.expiration = Some(Duration::from_secs(5)));
    let now = clock::now();
    let sample = Sample::number(&series(&PROBE_SUCCESS, &[]), Timestamp(1), 1.0);
    put(&exporter, vec![sample], Some(Duration::from_secs(3600)), now);
    assert_eq!(exporter.render(Format::Text, now.boot + Duration::from_secs(6)), "");
}

#[test]
fn of_two_series_with_the_same_labels_the_newer_one_is_told() {
    let exporter = exporter(|_| {});
    let now = clock::now();
    let (old, new) = (series(&PROBE_SUCCESS, &[]), series(&PROBE_SUCCESS, &[]));
    let samples =
        vec![Sample::number(&new, Timestamp(9), 0.0), Sample::number(&old, Timestamp(1), 1.0)];
    put(&exporter, samples, None, now);
    let text = exporter.render(Format::Text, now.boot);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("probe_success{")).collect();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with(" 0"), "{text}");
}

#[test]
fn who_asks_for_openmetrics_gets_it_where_it_is_on() {
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    assert_eq!(exporter(|_| {}).format(accept), Format::OpenMetrics);
    assert_eq!(exporter(|_| {}).format("*/*"), Format::Text);
    assert_eq!(exporter(|settings| settings.open_metrics = false).format(accept), Format::Text);
}
