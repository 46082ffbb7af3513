//! Prometheus remote write 1.0: what a `WriteRequest` is made of, and a decoder for what others send.
//!
//! Labels of a series never change, so they are encoded once and copied into each request; samples
//! are a few bytes behind them.

use std::sync::Arc;

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::signal::batch::Exponential;

/// The value that ends a series: a NaN that Prometheus tells from all others.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// A whole request.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// The series.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// A series with its labels and samples.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// Sorted by name, `__name__` among them.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// Ascending in time.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    /// Native histograms, ascending in time (an extension that Prometheus has from 2.40 on).
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<Histogram>,
}

/// A native histogram at a time.
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    /// How many values there are.
    #[prost(uint64, tag = "1")]
    pub count_int: u64,
    /// The sum of all values.
    #[prost(double, tag = "3")]
    pub sum: f64,
    /// How fine the buckets are: `2^schema` of them for each doubling.
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    /// Values up to this count as zero.
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    /// How many do.
    #[prost(uint64, tag = "6")]
    pub zero_count_int: u64,
    /// Where buckets stand without a gap.
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<BucketSpan>,
    /// Counts, each as the difference from the one before.
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
}

/// Buckets without a gap.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct BucketSpan {
    /// The index of the first, counted from the end of the span before.
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    /// How many.
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

/// The zero threshold that OpenTelemetry's translation uses.
const ZERO_THRESHOLD: f64 = 1e-128;

impl Histogram {
    /// A native histogram from OpenTelemetry's form: its bucket `i` is bucket `i + 1` here, because
    /// here a bucket is named by its upper bound.
    #[must_use]
    pub fn from_exponential(from: &Exponential, timestamp: i64) -> Self {
        let mut before = 0;
        let deltas = from.counts.iter().map(|count| {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            count - std::mem::replace(&mut before, count)
        });
        let positive_deltas: Vec<i64> = deltas.collect();
        let length = from.counts.len() as u32;
        let span = BucketSpan { offset: from.offset.saturating_add(1), length };
        Self {
            count_int: from.count(),
            sum: from.sum,
            schema: from.scale,
            zero_threshold: ZERO_THRESHOLD,
            zero_count_int: from.zeros,
            positive_spans: if length > 0 { vec![span] } else { Vec::new() },
            positive_deltas,
            timestamp,
        }
    }
}

/// A name and a value.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A value at a time.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// The value.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// Some labels as they stand in a `TimeSeries`, encoded. Shared: all series of a target that have no
/// labels of their own differ in their name alone.
pub type EncodedLabels = Arc<[u8]>;

/// Encodes labels, sorted bytewise by name.
#[must_use]
pub fn encode_labels(mut labels: Vec<(String, String)>) -> EncodedLabels {
    labels.sort();
    let labels = labels.into_iter().map(|(name, value)| Label { name, value }).collect();
    TimeSeries { labels, ..TimeSeries::default() }.encode_to_vec().into()
}

/// All labels of a series in two parts, the first of which sorts before the second.
#[derive(Clone, Debug)]
pub struct SeriesLabels(pub EncodedLabels, pub EncodedLabels);

/// Builds a `WriteRequest`.
#[derive(Debug, Default)]
pub struct Encoder {
    buffer: Vec<u8>,
    samples: Vec<u8>,
}

impl Encoder {
    /// Appends a series with its samples (value and milliseconds since 1970).
    pub fn series(&mut self, labels: &SeriesLabels, samples: &[(f64, i64)]) {
        self.samples.clear();
        for (value, timestamp) in samples {
            let sample = Sample { value: *value, timestamp: *timestamp };
            encode_key(2, WireType::LengthDelimited, &mut self.samples);
            encode_varint(sample.encoded_len() as u64, &mut self.samples);
            sample.encode_raw(&mut self.samples);
        }
        self.close(labels);
    }

    /// Appends a series with native histograms.
    pub fn histograms(&mut self, labels: &SeriesLabels, histograms: &[Histogram]) {
        self.samples.clear();
        for histogram in histograms {
            encode_key(4, WireType::LengthDelimited, &mut self.samples);
            encode_varint(histogram.encoded_len() as u64, &mut self.samples);
            histogram.encode_raw(&mut self.samples);
        }
        self.close(labels);
    }

    fn close(&mut self, labels: &SeriesLabels) {
        let length = (labels.0.len() + labels.1.len() + self.samples.len()) as u64;
        self.buffer.reserve(1 + encoded_len_varint(length) + length as usize);
        encode_key(1, WireType::LengthDelimited, &mut self.buffer);
        encode_varint(length, &mut self.buffer);
        self.buffer.extend_from_slice(&labels.0);
        self.buffer.extend_from_slice(&labels.1);
        self.buffer.extend_from_slice(&self.samples);
    }

    /// The request, compressed as the protocol wants it (snappy's block format). The encoder is empty
    /// after that.
    #[must_use]
    pub fn finish(&mut self) -> Vec<u8> {
        let body = snap::raw::Encoder::new().compress_vec(&self.buffer).expect("less than 4 GiB");
        self.buffer.clear();
        body
    }
}

/// Decodes a compressed request.
///
/// # Errors
/// A sentence, when the bytes are no such request.
pub fn decode(body: &[u8]) -> Result<WriteRequest, String> {
    const LIMIT: usize = 64 << 20;
    let length = snap::raw::decompress_len(body).map_err(|error| error.to_string())?;
    if length > LIMIT {
        return Err(format!("{length} bytes decompressed, at most {LIMIT} are read"));
    }
    let raw = snap::raw::Decoder::new().decompress_vec(body).map_err(|error| error.to_string())?;
    WriteRequest::decode(raw.as_slice()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> SeriesLabels {
        let whole =
            encode_labels(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect());
        SeriesLabels(Arc::default(), whole)
    }

    /// Written by hand from the protocol's definition: these bytes are the promise.
    #[test]
    fn golden_bytes() {
        let mut encoder = Encoder::default();
        encoder.series(
            &labels(&[("b", "2"), ("__name__", "up")]),
            &[(1.0, 1000), (f64::from_bits(STALE_NAN), 2000)],
        );
        let expected: Vec<u8> = [
            &[0x0a, 0x32][..], // timeseries, 50 bytes
            &[0x0a, 0x0e, 0x0a, 0x08],
            b"__name__",
            &[0x12, 0x02],
            b"up", // label
            &[0x0a, 0x06, 0x0a, 0x01],
            b"b",
            &[0x12, 0x01],
            b"2",                                                                // label
            &[0x12, 0x0c, 0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 0xe8, 0x07], // 1.0 @ 1000
            &[0x12, 0x0c, 0x09, 2, 0, 0, 0, 0, 0, 0xf0, 0x7f, 0x10, 0xd0, 0x0f], // stale @ 2000
        ]
        .concat();
        let raw = snap::raw::Decoder::new().decompress_vec(&encoder.finish()).expect("snappy");
        assert_eq!(raw[2..], expected[2..]);
        assert_eq!(usize::from(raw[1]), raw.len() - 2);
        assert!(encoder.buffer.is_empty());
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut encoder = Encoder::default();
        encoder
            .series(&labels(&[("__name__", "a"), ("A", "upper case sorts first")]), &[(0.5, -1)]);
        encoder.series(&labels(&[("__name__", "b")]), &[]);
        let request = decode(&encoder.finish()).expect("a request");
        assert_eq!(request.timeseries[0].labels[0].name, "A");
        assert_eq!(request.timeseries[0].samples, [Sample { value: 0.5, timestamp: -1 }]);
        assert_eq!(request.timeseries[1].samples, []);
        assert!(decode(b"garbage").is_err());
    }

    #[test]
    fn exponential_histograms_become_native_ones() {
        let from = Exponential { scale: 3, offset: -2, counts: vec![1, 0, 4], zeros: 2, sum: 3.5 };
        let native = Histogram::from_exponential(&from, 7);
        assert_eq!((native.count_int, native.zero_count_int, native.schema), (7, 2, 3));
        assert_eq!(native.positive_spans, [BucketSpan { offset: -1, length: 3 }]);
        assert_eq!(native.positive_deltas, [1, -1, 4]);
        let mut encoder = Encoder::default();
        encoder.histograms(&labels(&[("__name__", "h")]), std::slice::from_ref(&native));
        assert_eq!(
            decode(&encoder.finish()).expect("a request").timeseries[0].histograms,
            [native]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
