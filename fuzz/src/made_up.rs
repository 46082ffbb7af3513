//! Samples of every kind, made up from bytes.

use std::sync::Arc;

use watchpost::base::clock::Timestamp;
use watchpost::signal::any_value::AnyValue;
use watchpost::signal::batch::{Exponential, Histogram, Sample, Value};
use watchpost::signal::names;
use watchpost::signal::series::{Attributes, Metric, Resource, Series};

const BOUNDS: [&[f64]; 2] = [&[0.001, 0.01, 0.1, 1.0], &[0.005, f64::MAX]];

/// Bytes that are used up as decisions; after their end all are zero.
pub struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// Yes or no.
    pub fn coin(&mut self) -> bool {
        self.byte() & 1 > 0
    }

    /// A number below another one, which is not zero.
    pub fn below(&mut self, limit: usize) -> usize {
        let low = usize::from(self.byte());
        let all = if limit > 256 { low | usize::from(self.byte()) << 8 } else { low };
        all % limit
    }

    /// A number of as many bytes as it is told.
    pub fn number(&mut self) -> u64 {
        let count = self.below(9);
        self.bytes(count).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    pub fn double(&mut self) -> f64 {
        match self.byte() % 4 {
            0 => self.number() as f64,
            1 => self.number() as f64 / 1e9,
            _ => f64::from_bits(self.number()),
        }
    }

    pub fn text(&mut self) -> String {
        let count = self.below(24);
        String::from_utf8_lossy(self.bytes(count)).into_owned()
    }

    fn value(&mut self, depth: u8) -> AnyValue {
        match self.byte() % 8 {
            0 => AnyValue::Bool(true),
            1 => AnyValue::Int(self.number() as i64),
            2 => AnyValue::Double(self.double()),
            3 if depth > 0 => {
                let count = self.below(4);
                let list: Vec<AnyValue> = (0..count).map(|_| self.value(depth - 1)).collect();
                AnyValue::List(list.into())
            }
            _ => AnyValue::Text(self.text().into()),
        }
    }

    fn attributes(&mut self) -> Attributes {
        let count = self.below(5);
        Attributes::new((0..count).map(|_| (self.text(), self.value(2))).collect::<Vec<_>>())
    }

    fn metric(&mut self) -> &'static Metric {
        let host = names::host::TABLE;
        let number = self.below(names::ALL.len() + host.len());
        match number.checked_sub(names::ALL.len()) {
            None => names::ALL[number],
            Some(number) => host[number].metric,
        }
    }

    /// A few series; some share a resource and attributes.
    pub fn series(&mut self) -> Vec<Arc<Series>> {
        let mut all = Vec::new();
        for _ in 0..=self.below(3) {
            let resource = Arc::new(Resource { attributes: self.attributes() });
            let shared = self.attributes();
            for _ in 0..=self.below(3) {
                let (metric, own) = (self.metric(), self.attributes());
                all.push(Series::new(metric, shared.clone(), own, Arc::clone(&resource)));
            }
        }
        all
    }

    /// At least one sample of these series.
    pub fn samples(&mut self, series: &[Arc<Series>]) -> Vec<Sample> {
        let count = 1 + self.below(8);
        (0..count)
            .map(|_| Sample {
                series: Arc::clone(&series[self.below(series.len())]),
                start: self.coin().then(|| Timestamp(self.number())),
                time: Timestamp(self.number()),
                value: self.point(),
            })
            .collect()
    }

    fn point(&mut self) -> Value {
        match self.byte() % 8 {
            0 => Value::Stale,
            1 => Value::Int(self.number() as i64),
            2 => {
                let bounds = BOUNDS[self.below(BOUNDS.len())];
                let counts = (0..=bounds.len()).map(|_| self.number()).collect();
                Value::Histogram(Arc::new(Histogram { bounds, counts, sum: self.double() }))
            }
            3 => {
                let (scale, offset) = (self.number() as i32, self.number() as i32);
                let count = self.below(12);
                let counts = (0..count).map(|_| self.number()).collect();
                let (zeros, sum) = (self.number(), self.double());
                Value::Exponential(Arc::new(Exponential { scale, offset, counts, zeros, sum }))
            }
            _ => Value::Double(self.double()),
        }
    }
}

/// Decisions that differ from one seed to the next.
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = |n: u64| {
        let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        (0..64 + 64 * n).map(|_| next()).collect()
    };
    (0..12).map(seed).collect()
}
