//! OTLP's JSON: protobuf's mapping with 64-bit numbers as text and enums as numbers.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1 as proto;
use serde_json::{Map, Value, json};

use super::Request;

pub(super) fn request(request: &Request) -> Value {
    let resources: Vec<Value> = request.resource_metrics.iter().map(resource).collect();
    json!({ "resourceMetrics": resources })
}

fn resource(of: &proto::ResourceMetrics) -> Value {
    let attributes = of.resource.as_ref().map(|resource| pairs(&resource.attributes));
    let scopes: Vec<Value> = of
        .scope_metrics
        .iter()
        .map(|scope| {
            let own = scope.scope.as_ref();
            let own = own.map(|scope| json!({ "name": scope.name, "version": scope.version }));
            let metrics: Vec<Value> = scope.metrics.iter().map(metric).collect();
            json!({ "scope": own, "metrics": metrics })
        })
        .collect();
    json!({ "resource": { "attributes": attributes }, "scopeMetrics": scopes })
}

fn metric(metric: &proto::Metric) -> Value {
    use proto::metric::Data;
    let mut out = Map::new();
    out.insert("name".to_owned(), json!(metric.name));
    out.insert("description".to_owned(), json!(metric.description));
    out.insert("unit".to_owned(), json!(metric.unit));
    let numbers = |points: &[proto::NumberDataPoint]| points.iter().map(number).collect::<Vec<_>>();
    let (key, data) = match &metric.data {
        Some(Data::Gauge(gauge)) => ("gauge", json!({ "dataPoints": numbers(&gauge.data_points) })),
        Some(Data::Sum(sum)) => (
            "sum",
            json!({
                "dataPoints": numbers(&sum.data_points),
                "aggregationTemporality": sum.aggregation_temporality,
                "isMonotonic": sum.is_monotonic,
            }),
        ),
        Some(Data::Histogram(list)) => (
            "histogram",
            json!({
                "dataPoints": list.data_points.iter().map(histogram).collect::<Vec<_>>(),
                "aggregationTemporality": list.aggregation_temporality,
            }),
        ),
        Some(Data::ExponentialHistogram(list)) => (
            "exponentialHistogram",
            json!({
                "dataPoints": list.data_points.iter().map(exponential).collect::<Vec<_>>(),
                "aggregationTemporality": list.aggregation_temporality,
            }),
        ),
        Some(Data::Summary(_)) | None => return Value::Object(out),
    };
    out.insert(key.to_owned(), data);
    Value::Object(out)
}

fn number(point: &proto::NumberDataPoint) -> Value {
    use proto::number_data_point::Value as Number;
    let mut out =
        common(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
    match point.value {
        Some(Number::AsDouble(value)) => {
            out.insert("asDouble".to_owned(), double(value));
        }
        Some(Number::AsInt(value)) => {
            out.insert("asInt".to_owned(), json!(value.to_string()));
        }
        None => {}
    }
    Value::Object(out)
}

fn histogram(point: &proto::HistogramDataPoint) -> Value {
    let mut out =
        common(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
    out.insert("count".to_owned(), json!(point.count.to_string()));
    out.extend(point.sum.map(|sum| ("sum".to_owned(), double(sum))));
    out.insert("bucketCounts".to_owned(), texts(&point.bucket_counts));
    let bounds: Vec<Value> = point.explicit_bounds.iter().map(|bound| double(*bound)).collect();
    out.insert("explicitBounds".to_owned(), json!(bounds));
    Value::Object(out)
}

fn exponential(point: &proto::ExponentialHistogramDataPoint) -> Value {
    let mut out =
        common(&point.attributes, point.start_time_unix_nano, point.time_unix_nano, point.flags);
    out.insert("count".to_owned(), json!(point.count.to_string()));
    out.extend(point.sum.map(|sum| ("sum".to_owned(), double(sum))));
    out.insert("scale".to_owned(), json!(point.scale));
    out.insert("zeroCount".to_owned(), json!(point.zero_count.to_string()));
    if let Some(positive) = &point.positive {
        let counts = texts(&positive.bucket_counts);
        let positive = json!({ "offset": positive.offset, "bucketCounts": counts });
        out.insert("positive".to_owned(), positive);
    }
    Value::Object(out)
}

fn common(attributes: &[KeyValue], start: u64, time: u64, flags: u32) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("attributes".to_owned(), pairs(attributes));
    if start > 0 {
        out.insert("startTimeUnixNano".to_owned(), json!(start.to_string()));
    }
    out.insert("timeUnixNano".to_owned(), json!(time.to_string()));
    if flags > 0 {
        out.insert("flags".to_owned(), json!(flags));
    }
    out
}

fn texts(counts: &[u64]) -> Value {
    counts.iter().map(u64::to_string).collect::<Vec<_>>().into()
}

/// JSON has no word for what is no number.
fn double(value: f64) -> Value {
    match value {
        value if value.is_nan() => json!("NaN"),
        value if value.is_infinite() => json!(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        value => json!(value),
    }
}

fn pairs(list: &[KeyValue]) -> Value {
    list.iter()
        .map(|pair| json!({ "key": pair.key, "value": pair.value.as_ref().map(any) }))
        .collect::<Vec<_>>()
        .into()
}

fn any(value: &AnyValue) -> Value {
    use any_value::Value as Proto;
    match &value.value {
        Some(Proto::StringValue(text)) => json!({ "stringValue": text }),
        Some(Proto::BoolValue(bool)) => json!({ "boolValue": bool }),
        Some(Proto::IntValue(int)) => json!({ "intValue": int.to_string() }),
        Some(Proto::DoubleValue(value)) => json!({ "doubleValue": double(*value) }),
        Some(Proto::ArrayValue(list)) => {
            let values: Vec<Value> = list.values.iter().map(any).collect();
            json!({ "arrayValue": { "values": values } })
        }
        _ => json!({}),
    }
}
