//! `prometheus`: the latest value of each series, for whoever scrapes it. Beside the queues: nothing
//! waits here. A value is served until its source has had the time to bring the next one, and not
//! after its series has ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use crate::base::clock::{BootTime, Moment};
use crate::base::duration::GoDuration;
use crate::base::place::{At, Problems, given as get};
use crate::exporter::client::{RawEnabled, enabled};
use crate::exporter::identity::{Identity, RawIdentity};
use crate::pipeline::memory::Holder;
use crate::pipeline::stage::Sink;
use crate::signal::batch::{Batch, Sample, Value};
use crate::signal::series::SeriesTable;
use crate::wire::exposition::{self, Family, Format, Point};

/// Keys of the Collector's exporter that are not built yet.
pub const LATER: &[(&str, &[&str])] = &[("RawPrometheus", &["tls", "auth", "cors"])];
/// Keys of the Collector's exporter that change nothing here.
pub const IDLE: &[(&str, &[&str])] = &[(
    "RawPrometheus",
    &[
        "without_scope_info",
        "keep_alives_enabled",
        "include_metadata",
        "max_request_body_size",
        "response_headers",
        "read_timeout",
        "read_header_timeout",
        "write_timeout",
        "idle_timeout",
    ],
)];

/// How long a value is served when its source does not say how often it comes.
const DEFAULT_EXPIRATION: Duration = Duration::from_secs(300);

/// The exporter as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawPrometheus {
    endpoint: Option<At<String>>,
    namespace: Option<At<String>>,
    const_labels: BTreeMap<String, At<String>>,
    send_timestamps: Option<At<bool>>,
    metric_expiration: Option<At<GoDuration>>,
    enable_open_metrics: Option<At<bool>>,
    add_metric_suffixes: Option<At<bool>>,
    translation_strategy: Option<At<String>>,
    resource_to_telemetry_conversion: Option<At<RawEnabled>>,
    target_info: Option<At<RawEnabled>>,
}

/// What runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens; `None`: on our own page.
    pub endpoint: Option<SocketAddr>,
    /// What series are called.
    pub identity: Identity,
    /// Whether times are written.
    pub timestamps: bool,
    /// How long a value is served; `None`: until its source has had the time to bring the next one.
    pub expiration: Option<Duration>,
    /// Whether OpenMetrics is written for those who ask for it.
    pub open_metrics: bool,
}

impl RawPrometheus {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, problems: &mut Problems) -> Settings {
        let endpoint = self.endpoint.as_ref().and_then(|at| {
            let address = crate::net::http_server::address(at.as_ref()?);
            if address.is_none() {
                problems.error(&at.place, "must be an address and a port, such as 127.0.0.1:8889");
            }
            address
        });
        let identity = RawIdentity {
            labels: &self.const_labels,
            namespace: &self.namespace,
            add_metric_suffixes: &self.add_metric_suffixes,
            translation_strategy: &self.translation_strategy,
            resource_to_telemetry: enabled(&self.resource_to_telemetry_conversion),
            target_info: enabled(&self.target_info),
        };
        Settings {
            endpoint,
            identity: identity.settle(problems),
            timestamps: get(&self.send_timestamps).copied().unwrap_or(false),
            expiration: get(&self.metric_expiration).map(|d| d.0).filter(|d| !d.is_zero()),
            open_metrics: get(&self.enable_open_metrics).copied().unwrap_or(true),
        }
    }
}

/// The latest values.
pub struct Prometheus {
    settings: Settings,
    latest: Mutex<SeriesTable<Latest>>,
}

struct Latest {
    name: Arc<str>,
    labels: Vec<(String, String)>,
    sample: Sample,
    expires: BootTime,
}

impl Prometheus {
    /// An exporter that has nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, latest: Mutex::default() }
    }

    /// The format that an `Accept` header asks for.
    #[must_use]
    pub fn format(&self, accept: &str) -> Format {
        if self.settings.open_metrics && accept.contains("application/openmetrics-text") {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }

    /// What a scrape reads now.
    #[must_use]
    pub fn render(&self, format: Format, now: BootTime) -> String {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.retain(|_, have| have.expires > now);
        let one = Value::Double(1.0);
        let mut families: BTreeMap<&str, Family<'_>> = BTreeMap::new();
        let mut newest = BTreeMap::new();
        let mut infos = BTreeMap::new();
        for have in latest.values() {
            let metric = have.sample.series.metric;
            let family = families.entry(&have.name).or_insert_with(|| Family {
                name: have.name.to_string(),
                kind: Some(metric.kind),
                help: metric.description,
                points: BTreeMap::new(),
            });
            // Two metrics that have one name in Prometheus and are of different kinds: one has to go.
            if family.kind != Some(metric.kind) {
                continue;
            }
            let time = self.settings.timestamps.then_some(have.sample.time);
            let point = Point { value: &have.sample.value, time };
            // Two series may have the same labels there: the newer one is meant.
            let age = (have.sample.time, have.sample.series.id);
            let newest = newest.entry((&*have.name, &have.labels)).or_insert(age);
            if age >= *newest {
                *newest = age;
                family.points.insert(have.labels.clone(), point);
            }
            infos.entry(Arc::as_ptr(&have.sample.series.resource)).or_insert(&have.sample);
        }
        let identity = &self.settings.identity;
        let about: BTreeMap<Vec<(String, String)>, Point<'_>> = infos
            .values()
            .filter_map(|sample| identity.info(&sample.series.resource))
            .map(|labels| (labels.into_iter().collect(), Point { value: &one, time: None }))
            .collect();
        let mut families: Vec<Family<'_>> = families.into_values().collect();
        if !about.is_empty() {
            let help = "Facts about the target.";
            families.push(Family { name: identity.info_name(), kind: None, help, points: about });
        }
        exposition::text(&families, format)
    }
}

impl Sink for Prometheus {
    fn append(&self, batches: &[Batch], now: Moment) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        for batch in batches {
            let lives = self.settings.expiration.or(batch.lifetime).unwrap_or(DEFAULT_EXPIRATION);
            let expires = now.boot + lives;
            for sample in &batch.samples {
                let id = sample.series.id;
                if sample.value == Value::Stale {
                    latest.remove(&id);
                    continue;
                }
                match latest.get_mut(&id) {
                    Some(have) if have.sample.time > sample.time => {}
                    Some(have) => {
                        have.sample = sample.clone();
                        have.expires = expires;
                    }
                    None => {
                        let identity = &self.settings.identity;
                        let name = identity.naming.metric(sample.series.metric).into();
                        let labels = identity.labels(&sample.series).into_iter().collect();
                        let sample = sample.clone();
                        latest.insert(id, Latest { name, labels, sample, expires });
                    }
                }
            }
        }
    }

    fn close(&self) {}
}

impl Holder for Prometheus {
    fn bytes(&self) -> usize {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let one = |have: &Latest| have.sample.bytes() + size_of::<Latest>() + 256;
        latest.values().map(one).sum()
    }
}

#[cfg(test)]
mod tests;
