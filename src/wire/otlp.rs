//! OTLP metrics: samples as the messages of opentelemetry-proto, in protobuf or JSON, and what an
//! answer says. Only this file and those below it name the crate of the messages.

mod json;

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1 as service;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue as ProtoValue, ArrayValue, InstrumentationScope, KeyValue, any_value,
};
use opentelemetry_proto::tonic::metrics::v1 as proto;
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use prost::Message as _;

use crate::signal::any_value::AnyValue;
use crate::signal::batch::{Exponential, Histogram, Sample, Value};
use crate::signal::names::{SCOPE_NAME, SCOPE_VERSION};
use crate::signal::series::{Kind, Metric, Resource};

/// A request, ready to be encoded.
pub type Request = service::ExportMetricsServiceRequest;
/// An answer.
pub type Response = service::ExportMetricsServiceResponse;

/// The path of the gRPC method.
pub const GRPC_PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// The path of the HTTP endpoint, below its base.
pub const HTTP_PATH: &str = "/v1/metrics";

/// The flag of a point that ends its series.
const NO_RECORDED_VALUE: u32 = proto::DataPointFlags::NoRecordedValueMask as u32;

/// A request with these samples: grouped by resource and metric, each in the order of the samples.
#[must_use]
pub fn request(samples: &[Sample]) -> Request {
    let mut resources: Vec<proto::ResourceMetrics> = Vec::new();
    let mut by_resource: HashMap<*const Resource, usize> = HashMap::new();
    let mut by_metric: HashMap<(usize, *const Metric), usize> = HashMap::new();
    for sample in samples {
        let series = &sample.series;
        let resource = *by_resource.entry(Arc::as_ptr(&series.resource)).or_insert_with(|| {
            resources.push(of_resource(&series.resource));
            resources.len() - 1
        });
        let metrics = &mut resources[resource].scope_metrics[0].metrics;
        let key = (resource, std::ptr::from_ref(series.metric));
        let metric = *by_metric.entry(key).or_insert_with(|| {
            metrics.push(of_metric(series.metric));
            metrics.len() - 1
        });
        push(&mut metrics[metric], sample);
    }
    Request { resource_metrics: resources }
}

/// A request as protobuf.
#[must_use]
pub fn protobuf(request: &Request) -> Vec<u8> {
    request.encode_to_vec()
}

/// A request as JSON, by the rules of OTLP: 64-bit numbers as text, names in lowerCamelCase.
#[must_use]
pub fn json(request: &Request) -> Vec<u8> {
    json::request(request).to_string().into_bytes()
}

/// How many points an answer says were refused, and why. `None`: the bytes are no answer.
#[must_use]
pub fn rejected_protobuf(body: &[u8]) -> Option<(u64, String)> {
    Response::decode(body).ok().map(|response| rejected(&response))
}

/// As [`rejected_protobuf`], from JSON.
#[must_use]
pub fn rejected_json(body: &[u8]) -> Option<(u64, String)> {
    let answer: serde_json::Value = serde_json::from_slice(body).ok()?;
    let partial = answer.as_object()?.get("partialSuccess");
    let count = partial.and_then(|partial| partial.get("rejectedDataPoints"));
    let count = match count {
        Some(serde_json::Value::String(text)) => text.parse().unwrap_or(0),
        Some(number) => number.as_u64().unwrap_or(0),
        None => 0,
    };
    let message = partial.and_then(|partial| partial.get("errorMessage")?.as_str());
    Some((count, message.unwrap_or_default().to_owned()))
}

/// How many points an answer says were refused, and why.
#[must_use]
pub fn rejected(response: &Response) -> (u64, String) {
    response.partial_success.as_ref().map_or_else(Default::default, |partial| {
        (u64::try_from(partial.rejected_data_points).unwrap_or(0), partial.error_message.clone())
    })
}

fn of_resource(resource: &Resource) -> proto::ResourceMetrics {
    let scope = InstrumentationScope {
        name: SCOPE_NAME.to_owned(),
        version: SCOPE_VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_metrics = proto::ScopeMetrics { scope: Some(scope), ..Default::default() };
    proto::ResourceMetrics {
        resource: Some(ProtoResource {
            attributes: pairs(resource.attributes.iter()),
            ..ProtoResource::default()
        }),
        scope_metrics: vec![scope_metrics],
        schema_url: String::new(),
    }
}

fn of_metric(metric: &Metric) -> proto::Metric {
    let cumulative = proto::AggregationTemporality::Cumulative as i32;
    let sum = |is_monotonic| {
        proto::metric::Data::Sum(proto::Sum {
            aggregation_temporality: cumulative,
            is_monotonic,
            ..proto::Sum::default()
        })
    };
    let data = match metric.kind {
        Kind::Gauge => proto::metric::Data::Gauge(proto::Gauge::default()),
        Kind::Counter => sum(true),
        Kind::UpDownCounter => sum(false),
        Kind::Histogram => proto::metric::Data::Histogram(proto::Histogram {
            aggregation_temporality: cumulative,
            ..proto::Histogram::default()
        }),
        Kind::ExponentialHistogram => {
            proto::metric::Data::ExponentialHistogram(proto::ExponentialHistogram {
                aggregation_temporality: cumulative,
                ..proto::ExponentialHistogram::default()
            })
        }
    };
    proto::Metric {
        name: metric.name.to_owned(),
        description: metric.description.to_owned(),
        unit: metric.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn push(metric: &mut proto::Metric, sample: &Sample) {
    use proto::metric::Data;
    match &mut metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.push(number(sample)),
        Some(Data::Sum(sum)) => sum.data_points.push(number(sample)),
        Some(Data::Histogram(list)) => list.data_points.push(histogram(sample)),
        Some(Data::ExponentialHistogram(list)) => list.data_points.push(exponential(sample)),
        Some(Data::Summary(_)) | None => {}
    }
}

fn flags(sample: &Sample) -> u32 {
    if sample.value == Value::Stale { NO_RECORDED_VALUE } else { 0 }
}

fn number(sample: &Sample) -> proto::NumberDataPoint {
    proto::NumberDataPoint {
        attributes: pairs(sample.series.attributes()),
        start_time_unix_nano: sample.start.map_or(0, |start| start.0),
        time_unix_nano: sample.time.0,
        exemplars: Vec::new(),
        flags: flags(sample),
        value: match sample.value {
            Value::Double(double) => Some(proto::number_data_point::Value::AsDouble(double)),
            Value::Int(int) => Some(proto::number_data_point::Value::AsInt(int)),
            _ => None,
        },
    }
}

fn histogram(sample: &Sample) -> proto::HistogramDataPoint {
    let point = proto::HistogramDataPoint {
        attributes: pairs(sample.series.attributes()),
        start_time_unix_nano: sample.start.map_or(0, |start| start.0),
        time_unix_nano: sample.time.0,
        flags: flags(sample),
        ..proto::HistogramDataPoint::default()
    };
    let Value::Histogram(value) = &sample.value else { return point };
    let Histogram { bounds, counts, sum } = &**value;
    proto::HistogramDataPoint {
        count: value.count(),
        sum: Some(*sum),
        bucket_counts: counts.clone(),
        explicit_bounds: bounds.to_vec(),
        ..point
    }
}

fn exponential(sample: &Sample) -> proto::ExponentialHistogramDataPoint {
    let point = proto::ExponentialHistogramDataPoint {
        attributes: pairs(sample.series.attributes()),
        start_time_unix_nano: sample.start.map_or(0, |start| start.0),
        time_unix_nano: sample.time.0,
        flags: flags(sample),
        ..proto::ExponentialHistogramDataPoint::default()
    };
    let Value::Exponential(value) = &sample.value else { return point };
    let Exponential { scale, offset, counts, zeros, sum } = &**value;
    proto::ExponentialHistogramDataPoint {
        count: value.count(),
        sum: Some(*sum),
        scale: *scale,
        zero_count: *zeros,
        positive: Some(proto::exponential_histogram_data_point::Buckets {
            offset: *offset,
            bucket_counts: counts.clone(),
        }),
        ..point
    }
}

fn pairs<'a>(list: impl IntoIterator<Item = (&'a str, &'a AnyValue)>) -> Vec<KeyValue> {
    let pair = |(key, value): (&str, &AnyValue)| KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
        ..KeyValue::default()
    };
    list.into_iter().map(pair).collect()
}

fn any(value: &AnyValue) -> ProtoValue {
    use any_value::Value as Proto;
    let value = match value {
        AnyValue::Text(text) => Proto::StringValue(text.to_string()),
        AnyValue::Bool(bool) => Proto::BoolValue(*bool),
        AnyValue::Int(int) => Proto::IntValue(*int),
        AnyValue::Double(double) => Proto::DoubleValue(*double),
        AnyValue::List(list) => {
            Proto::ArrayValue(ArrayValue { values: list.iter().map(any).collect() })
        }
    };
    ProtoValue { value: Some(value) }
}

#[cfg(test)]
mod tests;
