//! Samples as remote write wants them: names and labels are made once for each series and kept as
//! bytes; `target_info` is added once for each resource.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::exporter::identity::Identity;
use crate::signal::batch::{Sample, Value};
use crate::signal::series::{Attributes, Resource, Series, SeriesId, SeriesTable};
use crate::wire::remote_write::{
    EncodedLabels, Encoder, Histogram, STALE_NAN, SeriesLabels, encode_labels,
};

/// The label that holds a metric's name.
const NAME: &str = "__name__";
/// Requests after which a series that was not seen leaves the table.
const UNSEEN: u64 = 4096;

/// What is kept of a series: one set of labels, or those of all parts of a histogram.
struct Known {
    parts: Parts,
    resource: usize,
    /// In which request it was seen last, and the how many-th series of that it was.
    seen: u64,
    place: usize,
}

/// The series that a metric becomes: one, or those of a histogram's parts.
enum Parts {
    One(SeriesLabels),
    Many(Vec<SeriesLabels>),
}

impl Parts {
    fn all(&self) -> &[SeriesLabels] {
        match self {
            Parts::One(labels) => std::slice::from_ref(labels),
            Parts::Many(list) => list,
        }
    }
}

/// Samples, those of one series after each other.
struct Groups<'a> {
    samples: Vec<&'a Sample>,
    /// Where each series ends.
    ends: Vec<usize>,
}

impl<'a> Groups<'a> {
    fn iter(&self) -> impl Iterator<Item = &[&'a Sample]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.samples[begin..*end])
    }
}

/// What is kept of a resource.
struct About {
    /// Keeps the address, which is the key, from being used again.
    _resource: Arc<Resource>,
    info: Option<SeriesLabels>,
    /// The labels of its series that have none of their own, but for the name.
    plain: Option<(Attributes, EncodedLabels)>,
    series: usize,
}

/// The tables of one exporter.
pub struct Translator {
    identity: Identity,
    known: SeriesTable<Known>,
    about: HashMap<usize, About>,
    names: HashMap<&'static str, EncodedLabels>,
    requests: u64,
}

impl Translator {
    /// Tables that are empty.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        Self {
            identity: identity.clone(),
            known: SeriesTable::default(),
            about: HashMap::new(),
            names: HashMap::new(),
            requests: 0,
        }
    }

    /// A compressed request with these samples: each series once, in the order in which they come first.
    pub fn encode(&mut self, samples: &[Sample]) -> Vec<u8> {
        self.requests += 1;
        let groups = self.group(samples);
        let mut encoder = Encoder::default();
        let mut touched: BTreeMap<usize, Timestamp> = BTreeMap::new();
        for same in groups.iter() {
            let (first, last) = (same[0], same[same.len() - 1]);
            let known = &self.known[&first.series.id];
            points(known, same, &mut encoder);
            let time = touched.entry(known.resource).or_insert(last.time);
            *time = last.time.max(*time);
            if last.value == Value::Stale {
                self.forget(first.series.id);
            }
        }
        for (key, time) in touched {
            let Some(about) = self.about.get(&key) else { continue };
            let gone = about.series == 0;
            if let Some(info) = &about.info {
                let value = if gone { f64::from_bits(STALE_NAN) } else { 1.0 };
                encoder.series(info, &[(value, time.millis())]);
            }
            if gone {
                self.about.remove(&key);
            }
        }
        encoder.finish()
    }

    /// The samples by their series. A backlog has each of them many times, and their labels are most of a request.
    fn group<'a>(&mut self, samples: &'a [Sample]) -> Groups<'a> {
        let mut ends: Vec<usize> = Vec::new();
        let places: Vec<usize> = samples
            .iter()
            .map(|sample| {
                let place = self.learn(sample, ends.len());
                match ends.get_mut(place) {
                    Some(count) => *count += 1,
                    None => ends.push(1),
                }
                place
            })
            .collect();
        let mut sorted: Vec<&Sample> = samples.iter().collect();
        if ends.len() == samples.len() {
            // None of them is there twice.
            ends = (1..=samples.len()).collect();
            return Groups { samples: sorted, ends };
        }
        let mut end = 0;
        for count in &mut ends {
            // Where each group begins; it is where it ends when all are in.
            end += std::mem::replace(count, end);
        }
        for (sample, place) in samples.iter().zip(places) {
            sorted[ends[place]] = sample;
            ends[place] += 1;
        }
        Groups { samples: sorted, ends }
    }

    /// Drops what has not been seen for a long time.
    pub fn forget_unseen(&mut self) {
        if !self.requests.is_multiple_of(UNSEEN) {
            return;
        }
        let old: Vec<SeriesId> = self
            .known
            .iter()
            .filter(|(_, known)| known.seen + UNSEEN < self.requests)
            .map(|(id, _)| *id)
            .collect();
        for id in old {
            self.forget(id);
        }
        self.about.retain(|_, about| about.series > 0);
    }

    fn forget(&mut self, id: SeriesId) {
        if let Some(known) = self.known.remove(&id)
            && let Some(about) = self.about.get_mut(&known.resource)
        {
            about.series = about.series.saturating_sub(1);
        }
    }

    /// Makes a series known; returns its place in this request, which is `next` when it was in none yet.
    fn learn(&mut self, sample: &Sample, next: usize) -> usize {
        let series = &sample.series;
        if let Some(known) = self.known.get_mut(&series.id) {
            if known.seen != self.requests {
                (known.seen, known.place) = (self.requests, next);
            }
            return known.place;
        }
        let resource = Arc::as_ptr(&series.resource) as usize;
        if !self.about.contains_key(&resource) {
            let (info, kept) = (self.info(&series.resource), Arc::clone(&series.resource));
            self.about.insert(resource, About { _resource: kept, info, plain: None, series: 0 });
        }
        if let Some(about) = self.about.get_mut(&resource) {
            about.series += 1;
        }
        let parts = match &sample.value {
            Value::Histogram(histogram) => {
                let bounds = histogram.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                let buckets = bounds.map(|le| self.part(series, "_bucket", Some(le)));
                let sums = [self.part(series, "_sum", None), self.part(series, "_count", None)];
                Parts::Many(sums.into_iter().chain(buckets).collect())
            }
            _ => Parts::One(self.whole(series, resource)),
        };
        let known = Known { parts, resource, seen: self.requests, place: next };
        self.known.insert(series.id, known);
        next
    }

    /// The labels of one part of a histogram.
    fn part(&self, series: &Series, suffix: &str, le: Option<String>) -> SeriesLabels {
        let mut labels = self.identity.labels(series);
        labels.insert(NAME.to_owned(), self.identity.naming.metric(series.metric) + suffix);
        labels.extend(le.map(|le| ("le".to_owned(), le)));
        SeriesLabels(EncodedLabels::default(), encode_labels(labels.into_iter().collect()))
    }

    /// The labels of a series: its name, which all targets share, and the rest, which the series of
    /// one target share when they have no labels of their own.
    fn whole(&mut self, series: &Series, resource: usize) -> SeriesLabels {
        let plain = self.about.get(&resource).and_then(|about| about.plain.clone());
        let rest =
            match plain.filter(|(shared, _)| series.own.is_empty() && *shared == series.shared) {
                Some((_, rest)) => rest,
                None => {
                    let labels = self.identity.labels(series);
                    if labels.keys().next().is_some_and(|first| first.as_str() < NAME) {
                        // Capitals sort before the name: the parts cannot be kept apart.
                        return self.part(series, "", None);
                    }
                    let rest = encode_labels(labels.into_iter().collect());
                    if series.own.is_empty()
                        && let Some(about) = self.about.get_mut(&resource)
                    {
                        about.plain = Some((series.shared.clone(), Arc::clone(&rest)));
                    }
                    rest
                }
            };
        let naming = &self.identity.naming;
        let name = self.names.entry(series.metric.name).or_insert_with(|| {
            encode_labels(vec![(NAME.to_owned(), naming.metric(series.metric))])
        });
        SeriesLabels(Arc::clone(name), rest)
    }

    fn info(&self, resource: &Resource) -> Option<SeriesLabels> {
        let mut labels = self.identity.info(resource)?;
        labels.insert(NAME.to_owned(), self.identity.info_name());
        let whole = encode_labels(labels.into_iter().collect());
        Some(SeriesLabels(EncodedLabels::default(), whole))
    }
}

/// Writes the samples of one series, in order; a histogram as the classic series of its buckets.
fn points(known: &Known, samples: &[&Sample], encoder: &mut Encoder) {
    let native: Vec<Histogram> = samples
        .iter()
        .filter_map(|sample| match &sample.value {
            Value::Exponential(from) => {
                Some(Histogram::from_exponential(from, sample.time.millis()))
            }
            _ => None,
        })
        .collect();
    if let (Some(labels), false) = (known.parts.all().first(), native.is_empty()) {
        encoder.histograms(labels, &native);
    }
    for (part, labels) in known.parts.all().iter().enumerate() {
        let numbers: Vec<(f64, i64)> = samples
            .iter()
            .filter_map(|sample| {
                let value = match &sample.value {
                    Value::Double(value) => *value,
                    Value::Int(value) => *value as f64,
                    Value::Stale => f64::from_bits(STALE_NAN),
                    Value::Exponential(_) => return None,
                    Value::Histogram(histogram) => match part {
                        0 => histogram.sum,
                        1 => histogram.count() as f64,
                        bucket => histogram.counts.get(..=bucket - 2)?.iter().sum::<u64>() as f64,
                    },
                };
                Some((value, sample.time.millis()))
            })
            .collect();
        encoder.series(labels, &numbers);
    }
}

#[cfg(test)]
mod tests;
