use super::*;
use crate::base::clock::Timestamp;
use crate::signal::names::{
    PROBE_ATTEMPTS, PROBE_DURATION, PROBE_LATENCY, PROBE_SUCCESS, SLOT_LATENESS,
};
use crate::signal::series::{Attributes, Series};

fn samples() -> Vec<Sample> {
    let one = Arc::new(Resource::new("web", "a:1", [("server.address", "a")]));
    let other = Arc::new(Resource::new("web", "b:1", []));
    let series = |metric, own: &[(&str, &str)], resource: &Arc<Resource>| {
        let own = Attributes::new(own.iter().copied());
        Series::new(metric, Attributes::new([("humanname", "Web")]), own, Arc::clone(resource))
    };
    let sample =
        |series, value| Sample { series, start: Some(Timestamp(5)), time: Timestamp(9), value };
    let histogram = Histogram { bounds: &[0.5, 1.0], counts: vec![1, 0, 2], sum: 7.25 };
    let exponential = Exponential { scale: 3, offset: -7, counts: vec![2, 1], zeros: 4, sum: 1.5 };
    vec![
        Sample::number(&series(&PROBE_SUCCESS, &[], &one), Timestamp(9), 1.0),
        Sample::number(&series(&PROBE_SUCCESS, &[], &other), Timestamp(9), f64::NAN),
        sample(series(&PROBE_ATTEMPTS, &[("kind", "first")], &one), Value::Int(i64::MAX)),
        sample(series(&SLOT_LATENESS, &[], &one), Value::Histogram(Arc::new(histogram))),
        sample(series(&PROBE_LATENCY, &[], &one), Value::Exponential(Arc::new(exponential))),
        Sample::stale(series(&PROBE_DURATION, &[], &one), Timestamp(10)),
        Sample::stale(series(&SLOT_LATENESS, &[("receiver", "x")], &one), Timestamp(10)),
    ]
}

#[test]
fn samples_are_grouped_by_resource_and_metric() {
    let request = request(&samples());
    assert_eq!(request.resource_metrics.len(), 2);
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let names: Vec<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    let expected = [
        "probe.success",
        "probe.attempts",
        "watchpost.slot_lateness",
        "probe.latency",
        "probe.duration",
    ];
    assert_eq!(names, expected);
    let Some(proto::metric::Data::Sum(sum)) = &metrics[1].data else { panic!("a sum") };
    assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
    let point = &sum.data_points[0];
    assert_eq!(point.value, Some(proto::number_data_point::Value::AsInt(i64::MAX)));
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano, point.flags), (5, 9, 0));
    let Some(proto::metric::Data::Histogram(list)) = &metrics[2].data else {
        panic!("a histogram")
    };
    assert_eq!((list.data_points[0].count, list.data_points[0].sum), (3, Some(7.25)));
    assert_eq!((list.data_points[1].flags, list.data_points[1].sum), (1, None));
    let Some(proto::metric::Data::Gauge(gauge)) = &metrics[4].data else { panic!("a gauge") };
    assert_eq!((gauge.data_points[0].flags, &gauge.data_points[0].value), (1, &None));
    assert!(super::request(&[]).resource_metrics.is_empty(), "no empty envelopes");
}

#[test]
fn what_is_encoded_is_decoded_as_the_same() {
    let samples: Vec<Sample> =
        samples().into_iter().filter(|s| s.time.0 != 9 || !is_nan(s)).collect();
    let request = request(&samples);
    assert_eq!(Request::decode(protobuf(&request).as_slice()), Ok(request));
}

fn is_nan(sample: &Sample) -> bool {
    matches!(sample.value, Value::Double(value) if value.is_nan())
}

#[test]
fn json_by_its_rules() {
    let text = String::from_utf8(json(&request(&samples()))).expect("text");
    for part in [
        r#""asInt":"9223372036854775807""#,
        r#""asDouble":"NaN""#,
        r#""timeUnixNano":"9""#,
        r#""startTimeUnixNano":"5""#,
        r#""aggregationTemporality":2"#,
        r#""isMonotonic":true"#,
        r#""bucketCounts":["1","0","2"]"#,
        r#""explicitBounds":[0.5,1.0]"#,
        r#""positive":{"bucketCounts":["2","1"],"offset":-7}"#,
        r#""zeroCount":"4""#,
        r#""flags":1"#,
        r#"{"key":"humanname","value":{"stringValue":"Web"}}"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn what_an_answer_refuses() {
    assert_eq!(rejected_protobuf(&[]), Some((0, String::new())));
    let partial = service::ExportMetricsPartialSuccess {
        rejected_data_points: 3,
        error_message: "too old".to_owned(),
    };
    let answer = Response { partial_success: Some(partial) };
    assert_eq!(rejected_protobuf(&answer.encode_to_vec()), Some((3, "too old".to_owned())));
    assert_eq!(rejected_protobuf(b"<html>"), None);
    for (text, expected) in [
        ("{}", Some((0, ""))),
        (r#"{"partialSuccess":{}}"#, Some((0, ""))),
        (r#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"old"}}"#, Some((3, "old"))),
        (r#"{"partialSuccess":{"rejectedDataPoints":3}}"#, Some((3, ""))),
        ("[]", None),
        ("no", None),
    ] {
        let expected = expected.map(|(count, why)| (count, why.to_owned()));
        assert_eq!(rejected_json(text.as_bytes()), expected, "{text}");
    }
}
