//! What we write, and what we read of others' requests.

use std::collections::BTreeSet;

use prost::Message as _;
use watchpost::signal::batch::{Batch, Sample, Value};
use watchpost::wire::exposition::{Format, families, text};
use watchpost::wire::naming::Naming;
use watchpost::wire::otlp;
use watchpost::wire::remote_write::{
    Encoder, Histogram, SeriesLabels, TimeSeries, WriteRequest, decode, encode_labels,
};

use super::made_up::Take;

/// Any bytes are a request of remote write or an error, compressed or not; what is read is written and read again.
pub fn remote_write(bytes: &[u8]) {
    let zipped = snap::raw::Encoder::new().compress_vec(bytes).expect("less than 4 GiB");
    for body in [bytes, &zipped] {
        let Ok(request) = decode(body) else { continue };
        let mut encoder = Encoder::default();
        for series in &request.timeseries {
            let labels = series.labels.iter().map(|l| (l.name.clone(), l.value.clone()));
            let labels = SeriesLabels(Default::default(), encode_labels(labels.collect()));
            let samples: Vec<(f64, i64)> =
                series.samples.iter().map(|sample| (sample.value, sample.timestamp)).collect();
            encoder.series(&labels, &samples);
        }
        let again = decode(&encoder.finish()).expect("what was written is read");
        assert_eq!(again.timeseries.len(), request.timeseries.len());
        for (again, before) in again.timeseries.iter().zip(&request.timeseries) {
            assert_eq!(points(again), points(before));
            let names = |series: &TimeSeries| {
                let pair =
                    |l: &watchpost::wire::remote_write::Label| (l.name.clone(), l.value.clone());
                let mut pairs: Vec<_> = series.labels.iter().map(pair).collect();
                pairs.sort();
                pairs
            };
            assert_eq!(names(again), names(before));
        }
    }
}

fn points(series: &TimeSeries) -> Vec<(u64, i64)> {
    series.samples.iter().map(|sample| (sample.value.to_bits(), sample.timestamp)).collect()
}

/// Whatever samples hold, every protocol can carry it.
pub fn encode(samples: &[Sample]) {
    let request = otlp::request(samples);
    let body = otlp::protobuf(&request);
    let again = otlp::Request::decode(body.as_slice()).expect("OTLP is read again");
    let count = |request: &otlp::Request| {
        let metrics = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
        metrics.map(|scope| scope.metrics.len()).sum::<usize>()
    };
    assert_eq!(count(&again), count(&request));
    let _: serde_json::Value =
        serde_json::from_slice(&otlp::json(&request)).expect("JSON is read again");
    let mut encoder = Encoder::default();
    for sample in samples {
        if let Value::Exponential(histogram) = &sample.value {
            let labels = SeriesLabels(Default::default(), encode_labels(Vec::new()));
            let native = Histogram::from_exponential(histogram, 0);
            encoder.histograms(&labels, std::slice::from_ref(&native));
        }
    }
    let _: WriteRequest = decode(&encoder.finish()).expect("remote write is read again");
}

/// A line of the exposition format that is no comment: its series, once.
fn line(line: &str) -> &str {
    let end = line.find(['{', ' ']).expect("a name and something behind it");
    let mut name = line[..end].chars();
    let first = name.next().expect("a name");
    assert!(first.is_ascii_alphabetic() || first == '_' || first == ':', "{line:?}");
    assert!(name.all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'), "{line:?}");
    let mut at = end;
    if line[at..].starts_with('{') {
        let mut names = BTreeSet::new();
        loop {
            let label = &line[at + 1..];
            let (name, value) = label.split_once("=\"").expect("a label");
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(!name.is_empty() && name.chars().all(plain), "{line:?}");
            assert!(!name.starts_with(|c: char| c.is_ascii_digit()), "{line:?}");
            assert!(names.insert(name), "{name} twice in {line:?}");
            let mut escaped = false;
            let long = value.find(|c| {
                let end = c == '"' && !escaped;
                assert!(!escaped || matches!(c, '"' | '\\' | 'n'), "{line:?}");
                escaped = c == '\\' && !escaped;
                end
            });
            at += 1 + name.len() + 2 + long.expect("the end of a value") + 1;
            if !line[at..].starts_with(',') {
                break;
            }
        }
        assert!(line[at..].starts_with('}'), "{line:?}");
        at += 1;
    }
    let value = line[at..].strip_prefix(' ').expect("a value");
    assert!(value.parse::<f64>().is_ok() || value == "+Inf" || value == "-Inf", "{line:?}");
    &line[..at]
}

/// Samples with anything in them are written in every protocol, and the text of a scrape can be read.
pub fn written(bytes: &[u8]) {
    let mut take = Take::new(bytes);
    let series = take.series();
    let mut samples = take.samples(&series);
    encode(&samples);
    samples.sort_by_key(|sample| sample.series.metric.name);
    let batch = Batch { samples, lifetime: None };
    for format in [Format::Text, Format::OpenMetrics] {
        let all = text(&families(&batch, &Naming::default()), format);
        // A text ends its lines with a line feed, whatever else stands in it.
        for one in all.split('\n').filter(|one| !one.is_empty() && !one.starts_with('#')) {
            line(one);
        }
    }
}

/// Requests as they are.
pub fn seeds() -> Vec<Vec<u8>> {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let labels = encode_labels(vec![label("__name__", "up"), label("instance", "a.invalid")]);
    let labels = SeriesLabels(Default::default(), labels);
    let mut encoder = Encoder::default();
    encoder.series(&labels, &[(1.0, 1_790_000_000_000), (f64::NAN, -1)]);
    let exponential =
        watchpost::signal::batch::Exponential { counts: vec![1, 0, 4], ..Default::default() };
    encoder.histograms(&labels, &[Histogram::from_exponential(&exponential, 7)]);
    let zipped = encoder.finish();
    let plain = snap::raw::Decoder::new().decompress_vec(&zipped).expect("what was written");
    // The last one says that it is as long as can be said.
    vec![zipped, plain, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0]]
}
