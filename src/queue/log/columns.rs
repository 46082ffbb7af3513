//! Samples in columns: what hardly changes from one to the next (which series, which time) takes next to
//! nothing, and a value as few bytes as it has digits. A record can be read without the one before it.

use std::sync::{Arc, Mutex, PoisonError};

use super::bytes::{Broken, Input, put, put_signed, signed, unsigned};
use crate::base::clock::Timestamp;
use crate::signal::batch::{Exponential, Histogram, Sample, Value};
use crate::signal::series::Series;

/// Buckets of all histograms of a record that are read: a few bytes can ask for many that are alike.
const MAX_BUCKETS: usize = 4 << 20;
/// Different bounds of histograms that are read.
const MAX_BOUNDS: usize = 64;

/// Writes a column: each value with how often it stands in a row.
fn put_runs<T: PartialEq + Copy>(
    out: &mut Vec<u8>,
    values: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    let mut run: Option<(T, u64)> = None;
    for value in values {
        match &mut run {
            Some((same, count)) if *same == value => *count += 1,
            _ => {
                if let Some((value, count)) = run.replace((value, 1)) {
                    write(out, value);
                    put(out, count);
                }
            }
        }
    }
    if let Some((value, count)) = run {
        write(out, value);
        put(out, count);
    }
}

/// Reads a column of so many values.
fn runs<'a, T: Copy>(
    input: &mut Input<'a>,
    count: usize,
    mut read: impl FnMut(&mut Input<'a>) -> Result<T, Broken>,
) -> Result<Vec<T>, Broken> {
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let value = read(input)?;
        let run = usize::try_from(input.number()?).unwrap_or(usize::MAX);
        if run == 0 || run > count - values.len() {
            return Err(Broken("as many values as there are samples"));
        }
        values.resize(values.len() + run, value);
    }
    Ok(values)
}

/// What the dictionary says of a series for the sake of its samples: what the first one was. Most series hardly ever
/// have another value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usual {
    start: Option<Timestamp>,
    value: Option<f64>,
}

impl Usual {
    /// What is usual after a first sample.
    #[must_use]
    pub fn of(sample: &Sample) -> Self {
        let value = match sample.value {
            Value::Double(double) => Some(double),
            _ => None,
        };
        Self { start: sample.start, value }
    }

    /// Writes it.
    pub fn put(&self, out: &mut Vec<u8>) {
        put(out, self.start.map_or(0, |start| start.0.wrapping_add(1)));
        out.push(u8::from(self.value.is_some()));
        if let Some(value) = self.value {
            put_double(out, value);
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is cut off.
    pub fn read(input: &mut Input<'_>) -> Result<Self, Broken> {
        let start = input.number()?;
        let start = (start > 0).then(|| Timestamp(start.wrapping_sub(1)));
        let value = if input.take(1)?[0] == 0 { None } else { Some(double(input)?) };
        Ok(Self { start, value })
    }

    fn is(&self, value: &Value) -> bool {
        let usual = self.value.map(f64::to_bits);
        matches!(value, Value::Double(value) if Some(value.to_bits()) == usual)
    }
}

/// The kind of a value that is the usual one.
const USUAL: u8 = 5;
/// A kind and how often it stands in a row are one byte, below this.
const ROW: u64 = 1 << 5;

/// Writes the column of kinds.
fn put_kinds(out: &mut Vec<u8>, kinds: impl IntoIterator<Item = u8>) {
    let mut rows: Vec<(u8, u64)> = Vec::new();
    for kind in kinds {
        match rows.last_mut() {
            Some((same, count)) if *same == kind => *count += 1,
            _ => rows.push((kind, 1)),
        }
    }
    for (kind, count) in rows {
        out.push(kind | if count < ROW { (count as u8) << 3 } else { 0 });
        if count >= ROW {
            put(out, count);
        }
    }
}

/// Reads the column of kinds.
fn kinds(input: &mut Input<'_>, count: usize) -> Result<Vec<u8>, Broken> {
    let mut kinds = Vec::with_capacity(count);
    while kinds.len() < count {
        let byte = input.take(1)?[0];
        let row = match byte >> 3 {
            0 => input.number()?,
            row => row.into(),
        };
        let row = usize::try_from(row).unwrap_or(usize::MAX);
        if row == 0 || row > count - kinds.len() {
            return Err(Broken("as many values as there are samples"));
        }
        kinds.resize(kinds.len() + row, byte & 7);
    }
    Ok(kinds)
}

/// Writes samples. `named`: the numbers of their series in the dictionary and what is usual there, one for each
/// sample; `about`: the time at which most were taken, about.
pub fn put_samples(
    out: &mut Vec<u8>,
    samples: &[Sample],
    named: &[(u32, Usual)],
    about: Timestamp,
) {
    put(out, samples.len() as u64);
    let mut before = -1;
    let steps = named.iter().map(|(number, _)| {
        let number = i64::from(*number);
        number - std::mem::replace(&mut before, number)
    });
    put_runs(out, steps, put_signed);
    let mut before = about.0;
    let steps = samples.iter().map(|sample| {
        let time = sample.time.0;
        time.wrapping_sub(std::mem::replace(&mut before, time)) as i64
    });
    put_runs(out, steps, put_signed);
    // 0: no start; 1: as the dictionary says; else before that time.
    let starts = samples.iter().zip(named).map(|(sample, (_, usual))| match sample.start {
        None => 0,
        start if start == usual.start => 1,
        Some(start) => unsigned(about.0.wrapping_sub(start.0) as i64).saturating_add(2),
    });
    put_runs(out, starts, put);
    let kind = |(sample, (_, usual)): (&Sample, &(u32, Usual))| {
        if usual.is(&sample.value) { USUAL } else { kind(&sample.value) }
    };
    put_kinds(out, samples.iter().zip(named).map(kind));
    for (sample, (_, usual)) in samples.iter().zip(named) {
        match &sample.value {
            value if usual.is(value) => {}
            Value::Double(double) => put_double(out, *double),
            Value::Int(int) => put_signed(out, *int),
            Value::Histogram(histogram) => {
                put(out, histogram.bounds.len() as u64);
                for bound in histogram.bounds {
                    put_double(out, *bound);
                }
                put_double(out, histogram.sum);
                put_counts(out, &histogram.counts);
            }
            Value::Exponential(histogram) => {
                put_signed(out, histogram.scale.into());
                put_signed(out, histogram.offset.into());
                put(out, histogram.zeros);
                put_double(out, histogram.sum);
                put_counts(out, &histogram.counts);
            }
            Value::Stale => {}
        }
    }
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Double(_) => 0,
        Value::Int(_) => 1,
        Value::Histogram(_) => 2,
        Value::Exponential(_) => 3,
        Value::Stale => 4,
    }
}

fn put_counts(out: &mut Vec<u8>, counts: &[u64]) {
    put(out, counts.len() as u64);
    put_runs(out, counts.iter().copied(), put);
}

/// Powers of ten by which numbers with few digits become whole: seconds counted in nanoseconds, most of all.
const SCALES: [f64; 4] = [1.0, 1e3, 1e6, 1e9];
/// Marks a number that stands as it is, in eight bytes.
const AS_IT_IS: u64 = 4;
/// Whole numbers beyond are not told apart by a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Writes a number: as a whole one of thousandths, millionths or billionths, where the very same comes
/// back by dividing.
fn put_double(out: &mut Vec<u8>, double: f64) {
    for (scale, factor) in SCALES.into_iter().enumerate() {
        let whole = (double * factor).round();
        if whole.abs() >= EXACT / 16.0 {
            continue;
        }
        let whole = whole as i64;
        // Not so a negative zero.
        if (whole as f64 / factor).to_bits() == double.to_bits() {
            put(out, unsigned(whole) << 3 | scale as u64);
            return;
        }
    }
    put(out, AS_IT_IS);
    out.extend_from_slice(&double.to_le_bytes());
}

fn double(input: &mut Input<'_>) -> Result<f64, Broken> {
    let number = input.number()?;
    if number == AS_IT_IS {
        return input.double();
    }
    let factor = SCALES.get((number & 7) as usize).ok_or(Broken("a scale"))?;
    Ok(signed(number >> 3) as f64 / factor)
}

/// `room`: how many there may be still.
fn counts(input: &mut Input<'_>, room: &mut usize) -> Result<Vec<u64>, Broken> {
    let count = usize::try_from(input.number()?).map_err(|_| Broken("so many buckets"))?;
    *room = room.checked_sub(count).ok_or(Broken("so many buckets"))?;
    runs(input, count, Input::number)
}

/// Bounds that are kept for good: there are as many as histograms in the table of metrics, and those of other
/// versions. `None`: too many to be true.
fn known_bounds(bounds: &[f64]) -> Option<&'static [f64]> {
    static KNOWN: Mutex<Vec<&'static [f64]>> = Mutex::new(Vec::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(same) = known.iter().find(|have| **have == bounds) {
        return Some(same);
    }
    if known.len() >= MAX_BOUNDS {
        return None;
    }
    let kept: &'static [f64] = Box::leak(bounds.to_vec().into_boxed_slice());
    known.push(kept);
    Some(kept)
}

/// What a sample is, before it is known of which series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The series, by its number in the dictionary.
    pub number: u32,
    /// When a cumulative series began to count.
    pub start: Option<Timestamp>,
    /// The time of the value.
    pub time: Timestamp,
    /// The value.
    pub value: Value,
}

impl Point {
    /// The sample, now that the series is known.
    #[must_use]
    pub fn of(self, series: &Arc<Series>) -> Sample {
        Sample { series: Arc::clone(series), start: self.start, time: self.time, value: self.value }
    }
}

/// Reads samples, of which there are `most` at most.
///
/// # Errors
/// When they are none.
pub fn points(
    input: &mut Input<'_>,
    most: usize,
    about: Timestamp,
    usual: impl Fn(u32) -> Usual,
) -> Result<Vec<Point>, Broken> {
    let count = usize::try_from(input.number()?).ok().filter(|count| *count <= most);
    let count = count.ok_or(Broken("so many samples"))?;
    let steps = runs(input, count, Input::signed)?;
    let time_steps = runs(input, count, Input::signed)?;
    let starts = runs(input, count, Input::number)?;
    let kinds = kinds(input, count)?;
    let (mut number, mut time) = (-1_i64, about.0);
    let mut points = Vec::with_capacity(count);
    let mut room = MAX_BUCKETS;
    for (((step, time_step), start), kind) in
        steps.into_iter().zip(time_steps).zip(starts).zip(kinds)
    {
        number = number.wrapping_add(step);
        time = time.wrapping_add(time_step as u64);
        let number = u32::try_from(number).map_err(|_| Broken("the number of a series"))?;
        points.push(Point {
            number,
            start: match start {
                0 => None,
                1 => usual(number).start,
                start => Some(Timestamp(about.0.wrapping_sub(signed(start - 2) as u64))),
            },
            time: Timestamp(time),
            // Of a series that is not known, nothing is.
            value: match kind {
                USUAL => Value::Double(usual(number).value.unwrap_or_default()),
                kind => value(input, kind, &mut room)?,
            },
        });
    }
    Ok(points)
}

fn value(input: &mut Input<'_>, kind: u8, room: &mut usize) -> Result<Value, Broken> {
    Ok(match kind {
        0 => Value::Double(double(input)?),
        1 => Value::Int(input.signed()?),
        2 => {
            let bounds = input.count()?;
            let bounds: Vec<f64> = (0..bounds).map(|_| double(input)).collect::<Result<_, _>>()?;
            let (sum, counts) = (double(input)?, counts(input, room)?);
            if counts.len() != bounds.len() + 1 {
                return Err(Broken("one bucket more than bounds"));
            }
            let bounds = known_bounds(&bounds).ok_or(Broken("bounds that are known"))?;
            Value::Histogram(Arc::new(Histogram { bounds, counts, sum }))
        }
        3 => {
            let small = |number: i64| i32::try_from(number).map_err(|_| Broken("a small number"));
            let (scale, offset) = (small(input.signed()?)?, small(input.signed()?)?);
            let (zeros, sum) = (input.number()?, double(input)?);
            let counts = counts(input, room)?;
            Value::Exponential(Arc::new(Exponential { scale, offset, counts, zeros, sum }))
        }
        4 => Value::Stale,
        _ => return Err(Broken("a kind of value")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signal::names::PROBE_DURATION;
    use crate::signal::series::{Attributes, Resource};

    fn any_value() -> impl Strategy<Value = Value> {
        let counts = || proptest::collection::vec(0..1_000_000_u64, 4);
        let bounds: &'static [f64] = &[0.001, 0.1, 10.0];
        prop_oneof![
            any::<f64>().prop_map(Value::Double),
            // As durations are: whole nanoseconds, told in seconds.
            any::<u32>().prop_map(|ns| Value::Double(f64::from(ns) / 1e9)),
            any::<i32>().prop_map(|whole| Value::Double(whole.into())),
            any::<i64>().prop_map(Value::Int),
            (counts(), any::<f64>()).prop_map(move |(counts, sum)| Value::Histogram(Arc::new(
                Histogram { bounds, counts, sum }
            ))),
            (any::<i32>(), any::<i32>(), counts(), any::<u64>(), any::<f64>()).prop_map(
                |(scale, offset, counts, zeros, sum)| Value::Exponential(Arc::new(Exponential {
                    scale,
                    offset,
                    counts,
                    zeros,
                    sum
                }))
            ),
            Just(Value::Stale),
        ]
    }

    /// The same to the bit: what is no number equals itself.
    fn bits(value: &Value) -> String {
        match value {
            Value::Double(double) => format!("{:x}", double.to_bits()),
            Value::Histogram(h) => format!("{:?} {:?} {:x}", h.bounds, h.counts, h.sum.to_bits()),
            Value::Exponential(e) => {
                format!("{} {} {} {:?} {:x}", e.scale, e.offset, e.zeros, e.counts, e.sum.to_bits())
            }
            other => format!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn samples_come_back(
            rows in proptest::collection::vec(
                (any::<u32>(), any::<u64>(), proptest::option::of(0..u64::MAX), any_value()), 0..50,
            ),
        ) {
            let resource = Arc::new(Resource::new("j", "i", []));
            let none = Attributes::default();
            let series = Series::new(&PROBE_DURATION, none.clone(), none, resource);
            let (mut samples, mut numbers) = (Vec::new(), Vec::new());
            let usual = |number: u32| Usual {
                start: number.is_multiple_of(2).then_some(Timestamp(77)),
                value: number.is_multiple_of(5).then_some(0.25),
            };
            for (number, time, start, value) in rows {
                let start = if number % 3 == 0 { Some(77) } else { start };
                let value = if number % 5 < 2 { Value::Double(0.25) } else { value };
                let (start, time) = (start.map(Timestamp), Timestamp(time));
                samples.push(Sample { series: Arc::clone(&series), start, time, value });
                numbers.push((number, usual(number)));
            }
            let mut out = Vec::new();
            let about = Timestamp(1_790_000_000_000_000_000);
            put_samples(&mut out, &samples, &numbers, about);
            let mut input = Input::new(&out);
            let read = points(&mut input, 50, about, usual).unwrap();
            prop_assert!(input.is_empty());
            prop_assert_eq!(read.len(), samples.len());
            for ((point, sample), (number, _)) in read.iter().zip(&samples).zip(&numbers) {
                prop_assert_eq!((point.number, point.start, point.time), (*number, sample.start, sample.time));
                prop_assert_eq!(bits(&point.value), bits(&sample.value));
            }
        }

        #[test]
        fn any_bytes_are_samples_or_an_error(bytes: Vec<u8>) {
            let _ = points(&mut Input::new(&bytes), 1000, Timestamp(5), |_| Usual::default());
        }
    }

    /// What most samples are takes a byte or two beside its record.
    #[test]
    fn what_hardly_changes_takes_next_to_nothing() {
        let resource = Arc::new(Resource::new("j", "i", []));
        let none = Attributes::default();
        let samples: Vec<Sample> = (0..100)
            .map(|_| {
                Series::new(&PROBE_DURATION, none.clone(), none.clone(), Arc::clone(&resource))
            })
            .map(|series| Sample::number(&series, Timestamp(1_790_000_000_000_000_000), 1.0))
            .collect();
        let numbers: Vec<(u32, Usual)> = (0..100).map(|n| (n, Usual::default())).collect();
        let mut out = Vec::new();
        put_samples(&mut out, &samples, &numbers, Timestamp(0));
        assert!(out.len() < 130, "{}", out.len());
        let mut short = Vec::new();
        put_double(&mut short, 0.001_5);
        assert!(short.len() <= 3, "a millisecond and a half: {short:?}");
    }
}
