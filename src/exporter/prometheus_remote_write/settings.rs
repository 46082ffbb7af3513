//! The keys of the exporter, in the Collector's words, and what they become.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

use http::{HeaderName, Uri};
use secrecy::SecretString;
use serde::Deserialize;

use crate::base::backoff::Backoff;
use crate::base::duration::GoDuration;
use crate::base::place::{At, Place, Problems, given as get};
use crate::net::tls::{TlsSettings, Version};
use crate::queue::memory::{Batching, DEFAULT_SAMPLES};
use crate::wire::naming::{self, Naming};

/// Keys of the Collector's exporter that are not built yet.
pub const LATER: &[(&str, &[&str])] = &[
    (
        "RawRemoteWrite",
        &[
            "auth",
            "wal",
            "remote_write_queue",
            "send_metadata",
            "proxy_url",
            "compression",
            "read_buffer_size",
            "write_buffer_size",
            "max_batch_size_bytes",
            "max_batch_request_parallelism",
            "protobuf_message",
            "export_created_metric",
            "http2_ping_timeout",
            "http2_read_idle_timeout",
            "idle_conn_timeout",
            "max_idle_conns",
            "max_idle_conns_per_host",
            "max_conns_per_host",
            "cookies",
            "translation_strategy",
            "disable_scope_info",
        ],
    ),
    ("RawRetry", &["max_elapsed_time"]),
    ("RawQueue", &["num_consumers", "wait_for_result", "block_on_overflow", "sizer", "storage"]),
];

/// The exporter as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawRemoteWrite {
    endpoint: Option<At<String>>,
    headers: BTreeMap<String, At<String>>,
    external_labels: BTreeMap<String, At<String>>,
    resource_to_telemetry_conversion: Option<At<RawEnabled>>,
    target_info: Option<At<RawEnabled>>,
    add_metric_suffixes: Option<At<bool>>,
    namespace: Option<At<String>>,
    timeout: Option<At<GoDuration>>,
    tls: Option<At<RawClientTls>>,
    retry_on_failure: Option<At<RawRetry>>,
    sending_queue: Option<At<RawQueue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawEnabled {
    enabled: Option<At<bool>>,
}

/// TLS settings in the Collector's words.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawClientTls {
    insecure: Option<At<bool>>,
    insecure_skip_verify: Option<At<bool>>,
    ca_file: Option<At<String>>,
    cert_file: Option<At<String>>,
    key_file: Option<At<String>>,
    server_name_override: Option<At<String>>,
    min_version: Option<At<String>>,
    max_version: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawRetry {
    enabled: Option<At<bool>>,
    initial_interval: Option<At<GoDuration>>,
    max_interval: Option<At<GoDuration>>,
    multiplier: Option<At<f64>>,
    randomization_factor: Option<At<f64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawQueue {
    enabled: Option<At<bool>>,
    queue_size: Option<At<u64>>,
    batch: Option<At<RawBatch>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawBatch {
    flush_timeout: Option<At<GoDuration>>,
    min_size: Option<At<u64>>,
    max_size: Option<At<u64>>,
}

/// What runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where requests go.
    pub endpoint: Uri,
    /// Headers of each request.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// Labels of every series that does not have them.
    pub external_labels: BTreeMap<String, String>,
    /// Whether resource attributes become labels of every series.
    pub resource_to_telemetry: bool,
    /// Whether `target_info` is sent.
    pub target_info: bool,
    /// How names are made.
    pub naming: Naming,
    /// How long a request may take.
    pub timeout: Duration,
    /// How TLS is spoken to an `https` endpoint.
    pub tls: TlsSettings,
    /// How long to wait after a failure.
    pub backoff: Backoff,
    /// When a batch is worth a request.
    pub batching: Batching,
    /// Samples that the queue holds.
    pub queue_size: usize,
}

impl RawRemoteWrite {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(self, place: &Place, folder: &Path, problems: &mut Problems) -> Option<Settings> {
        let endpoint = self.endpoint(place, problems);
        let headers = self.headers(problems);
        let defaults = Backoff::default();
        let retry = get(&self.retry_on_failure);
        let backoff = retry.map_or(defaults, |raw| Backoff {
            initial_interval: get(&raw.initial_interval).map_or(defaults.initial_interval, |d| d.0),
            max_interval: get(&raw.max_interval).map_or(defaults.max_interval, |d| d.0),
            multiplier: get(&raw.multiplier).copied().unwrap_or(defaults.multiplier),
            randomization_factor: get(&raw.randomization_factor)
                .copied()
                .unwrap_or(defaults.randomization_factor),
        });
        if let Some(at) =
            retry.and_then(|raw| raw.enabled.as_ref()).filter(|at| at.value == Some(false))
        {
            problems.warning(
                &at.place,
                "nothing is thrown away here without a try: sending is always retried",
            );
        }
        if !(1.0..=100.0).contains(&backoff.multiplier)
            || !(0.0..=1.0).contains(&backoff.randomization_factor)
        {
            let place = self.retry_on_failure.as_ref().map_or(place, |at| &at.place);
            problems.error(place, "multiplier must be 1 to 100, randomization_factor 0 to 1");
        }
        let (queue_size, batching) = self.queue(problems);
        let timeout = get(&self.timeout).map_or(Duration::from_secs(5), |d| d.0);
        if let Some(at) = self.timeout.as_ref().filter(|_| timeout.is_zero()) {
            problems.error(&at.place, "must be more than 0s");
        }
        let mut external_labels = BTreeMap::new();
        for (name, at) in &self.external_labels {
            let Some(value) = at.as_ref() else { continue };
            if naming::label(name) == *name && !name.starts_with("__") {
                external_labels.insert(name.clone(), value.clone());
            } else {
                problems.error(&at.place, format!("{name:?} is not a label name"));
            }
        }
        let enabled =
            |at: &Option<At<RawEnabled>>| get(at).and_then(|raw| get(&raw.enabled).copied());
        let tls = self.tls(folder, problems);
        Some(Settings {
            endpoint: endpoint?,
            headers,
            external_labels,
            resource_to_telemetry: enabled(&self.resource_to_telemetry_conversion).unwrap_or(false),
            target_info: enabled(&self.target_info).unwrap_or(true),
            naming: Naming {
                namespace: get(&self.namespace).cloned().unwrap_or_default(),
                add_metric_suffixes: get(&self.add_metric_suffixes).copied().unwrap_or(true),
            },
            timeout,
            tls,
            backoff,
            batching,
            queue_size,
        })
    }

    fn endpoint(&self, place: &Place, problems: &mut Problems) -> Option<Uri> {
        let Some(at) = &self.endpoint else {
            problems
                .error(place, "`endpoint:` is missing, such as http://127.0.0.1:9090/api/v1/write");
            return None;
        };
        let text = at.as_ref()?;
        let uri = Uri::from_str(text).ok().filter(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        });
        if uri.is_none() {
            problems.error(&at.place, "must be a URL that begins with http:// or https://");
        }
        if uri
            .as_ref()
            .and_then(Uri::authority)
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            problems.error(&at.place, "credentials do not belong into the URL: use `headers:`");
            return None;
        }
        uri
    }

    fn headers(&self, problems: &mut Problems) -> Vec<(HeaderName, SecretString)> {
        let mut headers = Vec::new();
        for (name, at) in &self.headers {
            let Some(value) = at.as_ref() else { continue };
            match HeaderName::from_str(name) {
                Ok(name) if http::HeaderValue::from_str(value).is_ok() => {
                    headers.push((name, SecretString::from(value.clone())));
                }
                Ok(_) => problems.error(&at.place, "not a header value: control characters"),
                Err(_) => problems.error(&at.place, format!("{name:?} is not a header name")),
            }
        }
        headers
    }

    fn queue(&self, problems: &mut Problems) -> (usize, Batching) {
        let defaults = Batching::default();
        let Some(raw) = get(&self.sending_queue) else { return (DEFAULT_SAMPLES, defaults) };
        if let Some(at) = raw.enabled.as_ref().filter(|at| at.value == Some(false)) {
            problems
                .warning(&at.place, "there is always a queue: probing never waits for a backend");
        }
        let size = get(&raw.queue_size).map_or(DEFAULT_SAMPLES, |n| *n as usize);
        if let Some(at) = raw.queue_size.as_ref().filter(|_| !(1_000..=10_000_000).contains(&size))
        {
            problems.error(&at.place, "counts samples here: 1000 to 10000000");
        }
        let Some(batch) = get(&raw.batch) else { return (size, defaults) };
        let max_size = get(&batch.max_size).map_or(defaults.max_size, |n| *n as usize);
        let batching = Batching {
            flush_timeout: get(&batch.flush_timeout).map_or(defaults.flush_timeout, |d| d.0),
            min_size: get(&batch.min_size).map_or(defaults.min_size, |n| *n as usize).min(max_size),
            max_size,
        };
        if let Some(at) = batch.max_size.as_ref().filter(|_| !(1..=100_000).contains(&max_size)) {
            problems.error(&at.place, "must be 1 to 100000 samples");
        }
        (size, batching)
    }

    fn tls(&self, folder: &Path, problems: &mut Problems) -> TlsSettings {
        let Some(raw) = get(&self.tls) else { return TlsSettings::default() };
        let place = self.tls.as_ref().map(|at| at.place.clone()).unwrap_or_default();
        let path = |at: &Option<At<String>>| get(at).map(|text| folder.join(text));
        let (certificate, key) = (path(&raw.cert_file), path(&raw.key_file));
        if certificate.is_some() != key.is_some() {
            problems.error(&place, "`cert_file:` and `key_file:` belong together");
        }
        if let Some(at) = raw.insecure.as_ref().filter(|at| at.value == Some(true)) {
            let secure = get(&self.endpoint).is_some_and(|text| text.starts_with("https://"));
            if secure {
                problems.warning(&at.place, "not used: an https endpoint is spoken to with TLS");
            }
        }
        let mut version =
            |at: &Option<At<String>>, default| match at.as_ref().map(|at| (at, at.as_ref())) {
                None | Some((_, None)) => default,
                Some((_, Some(text))) if text == "1.2" => Version::Tls12,
                Some((_, Some(text))) if text == "1.3" => Version::Tls13,
                Some((at, Some(text))) => {
                    problems.error(&at.place, format!("{text:?} is neither 1.2 nor 1.3"));
                    default
                }
            };
        TlsSettings {
            min_version: version(&raw.min_version, Version::Tls12),
            max_version: version(&raw.max_version, Version::Tls13),
            ca_file: path(&raw.ca_file),
            identity: certificate.zip(key),
            server_name: get(&raw.server_name_override).cloned(),
            insecure_skip_verify: get(&raw.insecure_skip_verify).copied().unwrap_or(false),
        }
    }
}
