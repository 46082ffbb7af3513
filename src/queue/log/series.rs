//! A series as a segment's dictionary has it, and its way back. What many series share (resources, the labels
//! of a target) is shared again after reading, so that exporters know it by its address.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::bytes::{Broken, Input, put, put_signed, put_text};
use crate::signal::any_value::{AnyValue, Text};
use crate::signal::names;
use crate::signal::series::{Attributes, Kind, Metric, Resource, Series};

/// Lists in lists that are read; nothing here writes any.
const DEPTH: u8 = 4;
/// Metrics that this version does not know, of which the names are kept for good.
const MAX_STRANGERS: usize = 4_096;

/// Writes a series.
pub fn put_series(out: &mut Vec<u8>, series: &Series) {
    put_text(out, series.metric.name);
    put_text(out, series.metric.unit);
    out.push(match series.metric.kind {
        Kind::Gauge => 0,
        Kind::Counter => 1,
        Kind::UpDownCounter => 2,
        Kind::Histogram => 3,
        Kind::ExponentialHistogram => 4,
    });
    put_attributes(out, &series.resource.attributes);
    put_attributes(out, &series.shared);
    put_attributes(out, &series.own);
}

fn put_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    put(out, attributes.iter().count() as u64);
    for (name, value) in attributes.iter() {
        put_text(out, name);
        put_value(out, value);
    }
}

fn put_value(out: &mut Vec<u8>, value: &AnyValue) {
    match value {
        AnyValue::Text(text) => {
            out.push(0);
            put_text(out, text);
        }
        AnyValue::Bool(bool) => out.push(1 + u8::from(*bool)),
        AnyValue::Int(int) => {
            out.push(3);
            put_signed(out, *int);
        }
        AnyValue::Double(double) => {
            out.push(4);
            out.extend_from_slice(&double.to_le_bytes());
        }
        AnyValue::List(list) => {
            out.push(5);
            put(out, list.len() as u64);
            for value in list.iter() {
                put_value(out, value);
            }
        }
    }
}

/// Reads series, and shares what they have in common.
#[derive(Debug, Default)]
pub struct Reader {
    resources: HashMap<Attributes, Arc<Resource>>,
    shared: HashSet<Attributes>,
}

impl Reader {
    /// Reads a series. It has a new number.
    ///
    /// # Errors
    /// When it is none.
    pub fn series(&mut self, input: &mut Input<'_>) -> Result<Arc<Series>, Broken> {
        let (name, unit) = (input.text()?, input.text()?);
        let kind = match input.take(1)?[0] {
            0 => Kind::Gauge,
            1 => Kind::Counter,
            2 => Kind::UpDownCounter,
            3 => Kind::Histogram,
            4 => Kind::ExponentialHistogram,
            _ => return Err(Broken("a kind of metric")),
        };
        let metric = metric(name, unit, kind).ok_or(Broken("a metric that is known"))?;
        let about = attributes(input)?;
        let resource = self
            .resources
            .entry(about)
            .or_insert_with_key(|attributes| Arc::new(Resource { attributes: attributes.clone() }));
        let resource = Arc::clone(resource);
        let read = attributes(input)?;
        let shared = match self.shared.get(&read) {
            Some(known) => known.clone(),
            None => {
                self.shared.insert(read.clone());
                read
            }
        };
        Ok(Series::new(metric, shared, attributes(input)?, resource))
    }
}

fn attributes(input: &mut Input<'_>) -> Result<Attributes, Broken> {
    let count = input.count()?;
    let mut pairs: Vec<(Text, AnyValue)> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = input.text()?.into();
        pairs.push((name, value(input, DEPTH)?));
    }
    Ok(Attributes::new(pairs))
}

fn value(input: &mut Input<'_>, depth: u8) -> Result<AnyValue, Broken> {
    Ok(match input.take(1)?[0] {
        0 => AnyValue::Text(input.text()?.into()),
        1 => AnyValue::Bool(false),
        2 => AnyValue::Bool(true),
        3 => AnyValue::Int(input.signed()?),
        4 => AnyValue::Double(input.double()?),
        5 if depth > 0 => {
            let count = input.count()?;
            let list: Result<Vec<AnyValue>, Broken> =
                (0..count).map(|_| value(input, depth - 1)).collect();
            AnyValue::List(list?.into())
        }
        _ => return Err(Broken("a value of an attribute")),
    })
}

/// The metric of that name. What another version has published, and this one does not, is kept for good:
/// there are few of them. `None`: too many to be true.
fn metric(name: &str, unit: &str, kind: Kind) -> Option<&'static Metric> {
    static STRANGERS: Mutex<Vec<&'static Metric>> = Mutex::new(Vec::new());
    let host = names::host::TABLE.iter().map(|entry| entry.metric);
    let fits = |metric: &&'static Metric| {
        metric.name == name && metric.unit == unit && metric.kind == kind
    };
    if let Some(known) = names::ALL.iter().copied().chain(host).find(|metric| fits(metric)) {
        return Some(known);
    }
    let mut strangers = STRANGERS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = strangers.iter().copied().find(|metric| fits(metric)) {
        return Some(known);
    }
    if strangers.len() >= MAX_STRANGERS {
        return None;
    }
    let keep = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let (name, unit) = (keep(name), keep(unit));
    let stranger = Metric { name, unit, kind, description: "", attributes: &[] };
    let stranger: &'static Metric = Box::leak(Box::new(stranger));
    strangers.push(stranger);
    Some(stranger)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signal::names::PROBE_HTTP_DURATION;

    fn any_value() -> impl Strategy<Value = AnyValue> {
        let leaf = prop_oneof![
            any::<String>().prop_map(|text| AnyValue::Text(text.into())),
            any::<bool>().prop_map(AnyValue::Bool),
            any::<i64>().prop_map(AnyValue::Int),
            any::<f64>().prop_map(AnyValue::Double),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            proptest::collection::vec(inner, 0..4).prop_map(|list| AnyValue::List(list.into()))
        })
    }

    fn any_attributes() -> impl Strategy<Value = Attributes> {
        proptest::collection::vec(("[a-z.]{1,12}", any_value()), 0..6).prop_map(Attributes::new)
    }

    proptest! {
        #[test]
        fn a_series_comes_back(
            about in any_attributes(), shared in any_attributes(), own in any_attributes(),
        ) {
            let resource = Arc::new(Resource { attributes: about });
            let series = Series::new(&PROBE_HTTP_DURATION, shared, own, resource);
            let mut out = Vec::new();
            put_series(&mut out, &series);
            put_series(&mut out, &series);
            let (mut reader, mut input) = (Reader::default(), Input::new(&out));
            let one = reader.series(&mut input).unwrap();
            let two = reader.series(&mut input).unwrap();
            prop_assert!(input.is_empty());
            prop_assert!(one.is_same(&series) && std::ptr::eq(one.metric, series.metric));
            prop_assert!(Arc::ptr_eq(&one.resource, &two.resource) && one.shared.is(&two.shared));
        }

        #[test]
        fn any_bytes_are_a_series_or_an_error(bytes: Vec<u8>) {
            let _ = Reader::default().series(&mut Input::new(&bytes));
        }
    }

    #[test]
    fn a_metric_of_another_version_is_kept() {
        let one = metric("probe.of_tomorrow", "s", Kind::Gauge).unwrap();
        let two = metric("probe.of_tomorrow", "s", Kind::Gauge).unwrap();
        assert!(std::ptr::eq(one, two));
        assert_eq!((one.name, one.unit, one.kind), ("probe.of_tomorrow", "s", Kind::Gauge));
    }
}
