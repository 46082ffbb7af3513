//! Metrics, resources and series: what a sample is a value of.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::signal::any_value::{AnyValue, Text};

/// What kind of numbers a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A value at a moment.
    Gauge,
    /// A monotonic cumulative sum.
    Counter,
    /// A cumulative sum that may also fall.
    UpDownCounter,
    /// A cumulative histogram with explicit bounds.
    Histogram,
    /// A cumulative histogram whose bounds grow by a constant factor.
    ExponentialHistogram,
}

/// The description of a metric, by OpenTelemetry's rules for names and units.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Metric {
    /// The name, such as `probe.http.duration`.
    pub name: &'static str,
    /// The unit in UCUM, empty for booleans and codes (a gauge of unit `1` becomes `_ratio`).
    pub unit: &'static str,
    /// The kind.
    pub kind: Kind,
    /// One sentence for people.
    pub description: &'static str,
    /// The attributes that a point has besides those of its target.
    pub attributes: &'static [&'static str],
}

/// Attributes, sorted by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(Arc<[(Text, AnyValue)]>);

impl Attributes {
    /// Sorts the pairs; of two with one name the later one stays.
    pub fn new<K: Into<Text>, V: Into<AnyValue>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut list: Vec<(Text, AnyValue)> = Vec::new();
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            match list.iter_mut().find(|(have, _)| *have == name) {
                Some(pair) => pair.1 = value,
                None => list.push((name, value)),
            }
        }
        list.sort();
        Self(list.into())
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &AnyValue)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// Bytes of memory that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pair = |(name, value): (&str, &AnyValue)| name.len() + value.bytes();
        self.0.len() * size_of::<(Text, AnyValue)>() + self.iter().map(pair).sum::<usize>()
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&AnyValue> {
        self.iter().find(|(have, _)| *have == name).map(|(_, value)| value)
    }

    /// The value of a name, when it is text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// Whether two are the very same, not only equal: cheap.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the samples are about: one for each probed target, one for Watchpost itself.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// `service.name`, `service.instance.id` and more, sorted.
    pub attributes: Attributes,
}

impl Resource {
    /// A resource with the two attributes that become `job` and `instance`, and others.
    pub fn new<'a>(
        service: &'a str,
        instance: &'a str,
        others: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let own = [(SERVICE_NAME, service), (SERVICE_INSTANCE_ID, instance)];
        Self { attributes: Attributes::new(own.into_iter().chain(others)) }
    }
}

/// The resource attribute that becomes Prometheus' `job`.
pub const SERVICE_NAME: &str = "service.name";
/// The resource attribute that becomes Prometheus' `instance`.
pub const SERVICE_INSTANCE_ID: &str = "service.instance.id";
/// The resource attribute that stands before `job` as `namespace/`.
pub const SERVICE_NAMESPACE: &str = "service.namespace";

/// The number of a series within this process: given once, never again. Stages keep their own
/// tables by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u64);

/// A table of what depends on a series alone.
pub type SeriesTable<T> = HashMap<SeriesId, T, BuildHasherDefault<SeriesHasher>>;

/// Hashes the number of a series: numbers are given out one after the other, so that spreading them
/// is all that is needed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SeriesHasher(u64);

impl Hasher for SeriesHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 << 8 | u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The low bits say where an entry stands: neighbours, which come one after the other, stand
        // together. The high ones, by which a table tells entries apart, are spread (Fibonacci hashing).
        let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let low = (1 << 57) - 1;
        self.0 = (number & low) | (spread & !low);
    }
}

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A metric with its attributes and its resource: made once, when its target appears, and shared.
pub struct Series {
    /// The number.
    pub id: SeriesId,
    /// The metric.
    pub metric: &'static Metric,
    /// Attributes that all series of a target share.
    pub shared: Attributes,
    /// Attributes of this series alone (`phase`, `reason`, ...).
    pub own: Attributes,
    /// What it is about.
    pub resource: Arc<Resource>,
    /// Bytes of memory that it takes alone: what is shared with other series is not among them.
    own_bytes: u32,
}

impl Series {
    /// Makes a series with a number of its own.
    #[must_use]
    pub fn new(
        metric: &'static Metric,
        shared: Attributes,
        own: Attributes,
        resource: Arc<Resource>,
    ) -> Arc<Self> {
        let id = SeriesId(NEXT.fetch_add(1, Ordering::Relaxed));
        let own_bytes = u32::try_from(own.bytes()).unwrap_or(u32::MAX);
        Arc::new(Self { id, metric, shared, own, resource, own_bytes })
    }

    /// Bytes of memory that its own attributes take. Somebody else may have written their values.
    #[must_use]
    pub fn own_bytes(&self) -> usize {
        self.own_bytes as usize
    }

    /// Whether two are one and the same for whoever reads them: metric, attributes and resource.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.id == other.id
            || (std::ptr::eq(self.metric, other.metric)
                && (Arc::ptr_eq(&self.resource, &other.resource)
                    || self.resource == other.resource)
                && self.attributes() == other.attributes())
    }

    /// All attributes of the point, sorted by name; its own win over the shared ones.
    #[must_use]
    pub fn attributes(&self) -> Vec<(&str, &AnyValue)> {
        let mut all: Vec<(&str, &AnyValue)> = self.own.iter().collect();
        all.extend(self.shared.iter().filter(|(name, _)| self.own.get(name).is_none()));
        all.sort_unstable();
        all
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.metric.name, self.attributes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_sorted_and_unique() {
        let attributes = Attributes::new([("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(attributes.iter().collect::<Vec<_>>(), [("a", &"2".into()), ("b", &"3".into())]);
        assert_eq!(attributes.text("b"), Some("3"));
    }

    #[test]
    fn own_attributes_win() {
        let resource = Arc::new(Resource::new("job", "instance", []));
        let shared = Attributes::new([("phase", "mine"), ("z", "1")]);
        let own = Attributes::new([("phase", "tls")]);
        let one = Series::new(
            &super::super::names::PROBE_HTTP_DURATION,
            shared.clone(),
            own.clone(),
            Arc::clone(&resource),
        );
        let two = Series::new(&super::super::names::PROBE_HTTP_DURATION, shared, own, resource);
        assert_eq!(one.attributes(), [("phase", &"tls".into()), ("z", &"1".into())]);
        assert_ne!(one.id, two.id);
    }
}
