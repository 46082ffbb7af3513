//! Asking a condition.

use super::bind::{Bound, Condition, Path};
use super::functions::{Work, text_of};
use super::value::{Val, compare, reckon};
use crate::base::clock::Timestamp;
use crate::signal::batch::{Sample, Value};
use crate::signal::names::{SCOPE_NAME, SCOPE_VERSION};
use crate::signal::series::{Attributes, Kind, Metric, Resource, Series};

/// What is known of a point. What is `None` is not known, and neither is what depends on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct View<'a> {
    /// Its metric.
    pub metric: Option<&'a Metric>,
    /// Its resource.
    pub resource: Option<&'a Resource>,
    /// Its series.
    pub series: Option<&'a Series>,
    /// The sample, and the time of day.
    pub sample: Option<(&'a Sample, Timestamp)>,
    /// The series of all points of the metric in the payload.
    pub group: Option<&'a [&'a Series]>,
}

impl<'a> View<'a> {
    /// What a series says, whatever its samples are.
    #[must_use]
    pub fn of_series(series: &'a Series) -> Self {
        Self {
            metric: Some(series.metric),
            resource: Some(&series.resource),
            series: Some(series),
            ..Self::default()
        }
    }

    /// What a sample says.
    #[must_use]
    pub fn of_sample(sample: &'a Sample, now: Timestamp) -> Self {
        Self { sample: Some((sample, now)), ..Self::of_series(&sample.series) }
    }
}

/// What a condition answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// That depends on what is not known.
    Unknown,
}

impl Condition {
    /// Whether it holds.
    ///
    /// # Errors
    /// When a converter is given what it cannot read: what, and what it found.
    pub fn ask(&self, view: &View<'_>) -> Result<Answer, String> {
        Ok(match eval(&self.root, view)? {
            Val::Bool(true) => Answer::Yes,
            Val::Bool(false) => Answer::No,
            Val::Unknown => Answer::Unknown,
            other => return Err(format!("a condition is expected, found {}", other.kind())),
        })
    }
}

fn eval<'a>(bound: &'a Bound, view: &View<'a>) -> Result<Val<'a>, String> {
    Ok(match bound {
        Bound::Or(list) => several(list, view, true)?,
        Bound::And(list) => several(list, view, false)?,
        Bound::Not(inner) => match eval(inner, view)? {
            Val::Bool(bool) => Val::Bool(!bool),
            other => other,
        },
        Bound::Compare(left, how, right) => {
            compare(&eval(left, view)?, *how, &eval(right, view)?).map_or(Val::Unknown, Val::Bool)
        }
        Bound::Math(left, how, right) => reckon(&eval(left, view)?, *how, &eval(right, view)?)?,
        Bound::Negative(inner) => match eval(inner, view)? {
            Val::Int(int) => Val::Int(int.checked_neg().ok_or("the result does not fit 64 bits")?),
            Val::Double(double) => Val::Double(-double),
            Val::Span(span) => Val::Span(-span),
            Val::Unknown => Val::Unknown,
            other => return Err(format!("cannot reckon with {}", other.kind())),
        },
        Bound::Constant(value) => borrowed(value),
        Bound::List(list) => {
            let values: Vec<Val<'a>> =
                list.iter().map(|inner| eval(inner, view)).collect::<Result<_, _>>()?;
            if values.contains(&Val::Unknown) { Val::Unknown } else { Val::List(values) }
        }
        Bound::Map(entries) => {
            let entry = |(key, inner): &'a (String, Bound)| {
                eval(inner, view).map(|value| (key.as_str().into(), value))
            };
            Val::Map(entries.iter().map(entry).collect::<Result<_, String>>()?)
        }
        Bound::Path(path, indexes) => picked(read(*path, indexes, view)?, *path, indexes, view)?,
        Bound::Match(target, regex) => match eval(target, view)? {
            Val::Unknown => Val::Unknown,
            Val::Nil => Val::Bool(false),
            Val::Text(text) => Val::Bool(regex.is_match(text.as_bytes())),
            other => Val::Bool(regex.is_match(text_of(&other).as_bytes())),
        },
        Bound::Call(function, arguments, indexes) => {
            let values: Vec<Val<'a>> =
                arguments.iter().map(|argument| eval(argument, view)).collect::<Result<_, _>>()?;
            if values.contains(&Val::Unknown) {
                return Ok(Val::Unknown);
            }
            let mut value = match function.work {
                Work::Plain(convert) => {
                    convert(&values).map_err(|why| format!("{}: {why}", function.name))?
                }
                Work::Now => view.sample.map_or(Val::Unknown, |(_, now)| time(now)),
                Work::PointHas | Work::PointHasKey => point_has(&values, view)?,
                Work::Match => return Err("IsMatch is bound apart".to_owned()),
            };
            for index in indexes {
                value = value.pick(&eval(index, view)?)?;
            }
            value
        }
    })
}

/// `or` (one true decides) and `and` (one false decides); what is unknown decides nothing.
fn several<'a>(list: &'a [Bound], view: &View<'a>, decides: bool) -> Result<Val<'a>, String> {
    let mut unknown = false;
    for inner in list {
        match eval(inner, view)? {
            Val::Bool(bool) if bool == decides => return Ok(Val::Bool(decides)),
            Val::Bool(_) => {}
            Val::Unknown => unknown = true,
            other => return Err(format!("a condition is expected, found {}", other.kind())),
        }
    }
    Ok(if unknown { Val::Unknown } else { Val::Bool(!decides) })
}

fn borrowed<'a>(value: &'a Val<'static>) -> Val<'a> {
    match value {
        Val::Text(text) => Val::text(text),
        other => other.clone(),
    }
}

/// Picks out what an attribute's first index has not picked already.
fn picked<'a>(
    value: Val<'a>,
    path: Path,
    indexes: &'a [Bound],
    view: &View<'a>,
) -> Result<Val<'a>, String> {
    let attributes = matches!(path, Path::Attributes | Path::ResourceAttributes);
    let mut value = value;
    for index in indexes.iter().skip(usize::from(attributes)) {
        value = value.pick(&eval(index, view)?)?;
    }
    Ok(value)
}

fn point_has<'a>(values: &[Val<'a>], view: &View<'a>) -> Result<Val<'a>, String> {
    let Some(group) = view.group else { return Ok(Val::Unknown) };
    let Val::Text(key) = &values[0] else {
        return Err(format!("a text is expected, found {}", values[0].kind()));
    };
    let has = |series: &&Series| {
        let found = series.own.get(key).or_else(|| series.shared.get(key));
        match (found, values.get(1)) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(found), Some(wanted)) => Val::of(found) == *wanted,
        }
    };
    Ok(Val::Bool(group.iter().any(has)))
}

fn time(at: Timestamp) -> Val<'static> {
    Val::Time(i64::try_from(at.0).unwrap_or(i64::MAX))
}

fn nanos(at: Timestamp) -> Val<'static> {
    Val::Int(i64::try_from(at.0).unwrap_or(i64::MAX))
}

fn whole_map<'a>(lists: &[&'a Attributes]) -> Val<'a> {
    let mut entries: Vec<(std::borrow::Cow<'a, str>, Val<'a>)> = Vec::new();
    for (name, value) in lists.iter().flat_map(|list| list.iter()) {
        if !entries.iter().any(|(have, _)| have == name) {
            entries.push((name.into(), Val::of(value)));
        }
    }
    Val::Map(entries)
}

/// The attribute that the first index names, or all of them.
fn attribute<'a>(
    lists: &[&'a Attributes],
    indexes: &'a [Bound],
    view: &View<'a>,
) -> Result<Val<'a>, String> {
    let Some(first) = indexes.first() else { return Ok(whole_map(lists)) };
    Ok(match eval(first, view)? {
        Val::Text(key) => lists.iter().find_map(|list| list.get(&key)).map_or(Val::Nil, Val::of),
        Val::Unknown => Val::Unknown,
        other => return Err(format!("an attribute's name is a text, not {}", other.kind())),
    })
}

fn read<'a>(path: Path, indexes: &'a [Bound], view: &View<'a>) -> Result<Val<'a>, String> {
    let metric = |value: fn(&'a Metric) -> Val<'a>| view.metric.map_or(Val::Unknown, value);
    Ok(match path {
        Path::Attributes => match view.series {
            Some(series) => attribute(&[&series.own, &series.shared], indexes, view)?,
            None => Val::Unknown,
        },
        Path::ResourceAttributes => match view.resource {
            Some(resource) => attribute(&[&resource.attributes], indexes, view)?,
            None => Val::Unknown,
        },
        Path::ScopeName => Val::text(SCOPE_NAME),
        Path::ScopeVersion => Val::text(SCOPE_VERSION),
        Path::ScopeAttributes => Val::Map(Vec::new()),
        Path::Name => metric(|metric| Val::text(metric.name)),
        Path::Description => metric(|metric| Val::text(metric.description)),
        Path::Unit => metric(|metric| Val::text(metric.unit)),
        Path::Type => metric(|metric| {
            Val::Int(match metric.kind {
                Kind::Gauge => 1,
                Kind::Counter | Kind::UpDownCounter => 2,
                Kind::Histogram => 3,
                Kind::ExponentialHistogram => 4,
            })
        }),
        Path::Temporality => metric(|metric| match metric.kind {
            Kind::Gauge => Val::Nil,
            _ => Val::Int(2),
        }),
        Path::Monotonic => metric(|metric| match metric.kind {
            Kind::Counter => Val::Bool(true),
            Kind::UpDownCounter => Val::Bool(false),
            _ => Val::Nil,
        }),
        Path::Nothing => Val::Nil,
        _ => match view.sample {
            Some((sample, _)) => of_sample(path, sample),
            None => Val::Unknown,
        },
    })
}

fn of_sample<'a>(path: Path, sample: &'a Sample) -> Val<'a> {
    let count = |count: u64| Val::Int(i64::try_from(count).unwrap_or(i64::MAX));
    let counts = |list: &[u64]| Val::List(list.iter().map(|n| count(*n)).collect());
    match (path, &sample.value) {
        (Path::Time, _) => time(sample.time),
        (Path::TimeNano, _) => nanos(sample.time),
        // A point without a start says 0, as in the Collector's data.
        (Path::StartTime, _) => time(sample.start.unwrap_or_default()),
        (Path::StartTimeNano, _) => nanos(sample.start.unwrap_or_default()),
        (Path::Flags, value) => Val::Int(i64::from(*value == Value::Stale)),
        (Path::ValueDouble, Value::Double(double)) => Val::Double(*double),
        (Path::ValueInt, Value::Int(int)) => Val::Int(*int),
        (Path::Count, Value::Histogram(histogram)) => count(histogram.count()),
        (Path::Count, Value::Exponential(histogram)) => count(histogram.count()),
        (Path::Sum, Value::Histogram(histogram)) => Val::Double(histogram.sum),
        (Path::Sum, Value::Exponential(histogram)) => Val::Double(histogram.sum),
        (Path::Bounds, Value::Histogram(histogram)) => {
            Val::List(histogram.bounds.iter().map(|bound| Val::Double(*bound)).collect())
        }
        (Path::BucketCounts, Value::Histogram(histogram)) => counts(&histogram.counts),
        (Path::Scale, Value::Exponential(histogram)) => Val::Int(i64::from(histogram.scale)),
        (Path::ZeroCount, Value::Exponential(histogram)) => count(histogram.zeros),
        (Path::PositiveOffset, Value::Exponential(histogram)) => {
            Val::Int(i64::from(histogram.offset))
        }
        (Path::PositiveCounts, Value::Exponential(histogram)) => counts(&histogram.counts),
        (Path::NegativeOffset, Value::Exponential(_)) => Val::Int(0),
        (Path::NegativeCounts, Value::Exponential(_)) => Val::List(Vec::new()),
        _ => Val::Nil,
    }
}
