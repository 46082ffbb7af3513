//! What all sending exporters have in common, in the Collector's words: endpoint, headers, TLS,
//! authentication, retry, queue.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use http::{HeaderName, Uri};
use secrecy::SecretString;
use serde::Deserialize;

use crate::base::backoff::Backoff;
use crate::base::duration::GoDuration;
use crate::base::place::{At, Place, Problems, given as get};
use crate::net::tls::{TlsSettings, Version};
use crate::queue::books::Batching;

/// Keys of the common blocks that are not built yet.
pub const LATER: &[(&str, &[&str])] = &[
    ("RawTls", &["ca_pem", "cert_pem", "key_pem", "include_system_ca_certs_pool", "tpm"]),
    ("RawQueue", &["storage"]),
    ("RawBatch", &["partition"]),
    ("RawEnabled", &["exclude_service_attributes"]),
];

/// Keys of the common blocks that change nothing here.
pub const IDLE: &[(&str, &[&str])] = &[
    ("RawTls", &["reload_interval", "cipher_suites", "curve_preferences"]),
    ("RawQueue", &["num_consumers", "wait_for_result", "block_on_overflow"]),
    ("RawBatch", &["sizer"]),
];

/// A switch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawEnabled {
    pub(super) enabled: Option<At<bool>>,
}

/// Whether a switch is on, where it is written.
pub(super) fn enabled(at: &Option<At<RawEnabled>>) -> Option<bool> {
    get(at).and_then(|raw| get(&raw.enabled).copied())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTls {
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
pub(super) struct RawAuth {
    authenticator: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRetry {
    enabled: Option<At<bool>>,
    initial_interval: Option<At<GoDuration>>,
    max_interval: Option<At<GoDuration>>,
    multiplier: Option<At<f64>>,
    randomization_factor: Option<At<f64>>,
    max_elapsed_time: Option<At<GoDuration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawQueue {
    enabled: Option<At<bool>>,
    queue_size: Option<At<u64>>,
    sizer: Option<At<String>>,
    batch: Option<At<RawBatch>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawBatch {
    flush_timeout: Option<At<GoDuration>>,
    min_size: Option<At<u64>>,
    max_size: Option<At<u64>>,
}

/// How bodies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
}

/// How an endpoint is reached and how long it is tried.
#[derive(Clone, Debug)]
pub struct Client {
    /// Headers of each request.
    pub headers: Vec<(HeaderName, SecretString)>,
    /// How long a request may take.
    pub timeout: Duration,
    /// How TLS is spoken.
    pub tls: TlsSettings,
    /// `tls.insecure`: TLS is not spoken where the endpoint does not say so.
    pub insecure: bool,
    /// The extension that authenticates, by its name.
    pub auth: Option<At<String>>,
    /// How long to wait after a failure.
    pub backoff: Backoff,
    /// After this long a batch is given up; `None`: never.
    pub max_elapsed: Option<Duration>,
    /// Samples that may wait; `None`: as many as there is room for.
    pub queue_size: Option<usize>,
    /// When a batch is worth a request; `None`: as the pipeline says.
    pub batching: Option<Batching>,
}

impl Client {
    /// The files whose content decides how the endpoint is reached.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.tls.files().cloned().collect()
    }
}

/// The common keys as an exporter has read them.
pub(super) struct RawClient<'a> {
    pub(super) headers: &'a BTreeMap<String, At<String>>,
    pub(super) timeout: &'a Option<At<GoDuration>>,
    pub(super) tls: &'a Option<At<RawTls>>,
    pub(super) auth: &'a Option<At<RawAuth>>,
    pub(super) retry: &'a Option<At<RawRetry>>,
    pub(super) queue: &'a Option<At<RawQueue>>,
}

impl RawClient<'_> {
    /// Turns what is written into what will run.
    pub(super) fn settle(
        &self,
        place: &Place,
        default_timeout: Duration,
        problems: &mut Problems,
    ) -> Client {
        let (backoff, max_elapsed) = self.retry(problems);
        let (queue_size, batching) = self.queue(problems);
        let timeout = get(self.timeout).map_or(default_timeout, |d| d.0);
        if let Some(at) = self.timeout.as_ref().filter(|_| timeout.is_zero()) {
            problems.error(&at.place, "must be more than 0s");
        }
        let auth = get(self.auth).and_then(|raw| {
            let named = raw.authenticator.clone().filter(|at| at.value.is_some());
            if raw.authenticator.is_none() {
                let place = self.auth.as_ref().map_or(place, |at| &at.place);
                problems.error(place, "`authenticator:` is missing: the name of an extension");
            }
            named
        });
        let insecure = get(self.tls).and_then(|raw| get(&raw.insecure).copied()).unwrap_or(false);
        Client {
            headers: headers(self.headers, problems),
            timeout,
            tls: self.tls(problems),
            insecure,
            auth,
            backoff,
            max_elapsed,
            queue_size,
            batching,
        }
    }

    fn retry(&self, problems: &mut Problems) -> (Backoff, Option<Duration>) {
        let defaults = Backoff::default();
        let Some(raw) = get(self.retry) else { return (defaults, None) };
        let backoff = Backoff {
            initial_interval: get(&raw.initial_interval).map_or(defaults.initial_interval, |d| d.0),
            max_interval: get(&raw.max_interval).map_or(defaults.max_interval, |d| d.0),
            multiplier: get(&raw.multiplier).copied().unwrap_or(defaults.multiplier),
            randomization_factor: get(&raw.randomization_factor)
                .copied()
                .unwrap_or(defaults.randomization_factor),
        };
        if let Some(at) = raw.enabled.as_ref().filter(|at| at.value == Some(false)) {
            problems.warning(
                &at.place,
                "nothing is thrown away here without a try: sending is always retried",
            );
        }
        let mut bound = |at: Option<&Place>, sound: bool, message: &str| {
            if let (Some(at), false) = (at, sound) {
                problems.error(at, message);
            }
        };
        let sound = (1.0..=100.0).contains(&backoff.multiplier);
        bound(raw.multiplier.as_ref().map(|at| &at.place), sound, "must be 1 to 100");
        let sound = (0.0..=1.0).contains(&backoff.randomization_factor);
        bound(raw.randomization_factor.as_ref().map(|at| &at.place), sound, "must be 0 to 1");
        let first = raw.initial_interval.as_ref().map(|at| &at.place);
        bound(first, !backoff.initial_interval.is_zero(), "must be more than 0s");
        let most = raw.max_interval.as_ref().map(|at| &at.place);
        let sound = backoff.max_interval >= backoff.initial_interval;
        bound(most.or(first), sound, "max_interval must be at least initial_interval");
        let max_elapsed = get(&raw.max_elapsed_time).map(|d| d.0).filter(|d| !d.is_zero());
        (backoff, max_elapsed)
    }

    fn queue(&self, problems: &mut Problems) -> (Option<usize>, Option<Batching>) {
        let defaults = Batching::default();
        let Some(raw) = get(self.queue) else { return (None, None) };
        if let Some(at) = raw.enabled.as_ref().filter(|at| at.value == Some(false)) {
            problems
                .warning(&at.place, "there is always a queue: probing never waits for a backend");
        }
        // The Collector counts requests unless told otherwise; samples are what is counted here.
        let each = match get(&raw.sizer).map(String::as_str) {
            None | Some("requests") => defaults.max_size as u64,
            Some("items") => 1,
            Some("bytes") => 0,
            Some(other) => {
                let at = raw.sizer.as_ref().expect("it was given");
                let message = format!("{other:?} is none of requests, items, bytes");
                problems.error(&at.place, message);
                1
            }
        };
        let size = match get(&raw.queue_size).copied() {
            None => None,
            Some(0) => {
                let at = raw.queue_size.as_ref().expect("it was given");
                problems.error(&at.place, "must be more than 0");
                None
            }
            Some(bytes) if each == 0 => Some(bytes / crate::signal::batch::SAMPLE_BYTES as u64),
            Some(count) => Some(count.saturating_mul(each)),
        };
        let size = size.map(|size| usize::try_from(size).unwrap_or(usize::MAX).max(1_000));
        let Some(batch) = get(&raw.batch) else { return (size, None) };
        let max_size = match get(&batch.max_size).copied() {
            None | Some(0) => defaults.max_size,
            Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
        };
        if let Some(at) = batch.max_size.as_ref().filter(|_| !(1..=100_000).contains(&max_size)) {
            problems.error(&at.place, "must be 1 to 100000 samples");
        }
        let min_size = get(&batch.min_size).map_or(defaults.min_size, |n| *n as usize);
        let bounded = get(&batch.max_size).is_some_and(|max| *max > 0);
        if let Some(at) = batch.min_size.as_ref().filter(|_| bounded && min_size > max_size) {
            problems.error(&at.place, format!("must be at most max_size, {max_size}"));
        }
        let batching = Batching {
            flush_timeout: get(&batch.flush_timeout).map_or(defaults.flush_timeout, |d| d.0),
            min_size: min_size.min(max_size),
            max_size,
        };
        (size, Some(batching))
    }

    fn tls(&self, problems: &mut Problems) -> TlsSettings {
        let Some(raw) = get(self.tls) else { return TlsSettings::default() };
        let place = self.tls.as_ref().map(|at| at.place.clone()).unwrap_or_default();
        let path = |at: &Option<At<String>>| {
            at.as_ref().and_then(|at| at.as_ref().map(|text| at.place.beside(text)))
        };
        let (certificate, key) = (path(&raw.cert_file), path(&raw.key_file));
        if certificate.is_some() != key.is_some() {
            problems.error(&place, "`cert_file:` and `key_file:` belong together");
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
        let min_version = version(&raw.min_version, Version::Tls12);
        let max_version = version(&raw.max_version, Version::Tls13);
        if let Some(at) = raw.min_version.as_ref().filter(|_| min_version > max_version) {
            problems.error(&at.place, "must not be above max_version");
        }
        TlsSettings {
            min_version,
            max_version,
            ca_file: path(&raw.ca_file),
            identity: certificate.zip(key),
            server_name: get(&raw.server_name_override).cloned(),
            insecure_skip_verify: get(&raw.insecure_skip_verify).copied().unwrap_or(false),
        }
    }
}

fn headers(
    raw: &BTreeMap<String, At<String>>,
    problems: &mut Problems,
) -> Vec<(HeaderName, SecretString)> {
    let mut headers = Vec::new();
    for (name, at) in raw {
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

/// Reads the URL of an endpoint.
pub(super) fn url(
    at: &Option<At<String>>,
    place: &Place,
    example: &str,
    problems: &mut Problems,
) -> Option<Uri> {
    let Some(at) = at else {
        problems.error(place, format!("`endpoint:` is missing, such as {example}"));
        return None;
    };
    let text = at.as_ref()?;
    let uri = Uri::from_str(text).ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    });
    let Some(uri) = uri else {
        problems.error(&at.place, "must be a URL that begins with http:// or https://");
        return None;
    };
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let port = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest).rsplit_once(':');
    if let Some((_, port)) = port.filter(|_| !authority.contains('@'))
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
    {
        problems.error(&at.place, format!("{port:?} is not a port: 1 to 65535"));
        return None;
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        problems
            .error(&at.place, "credentials do not belong into the URL: use `headers:` or `auth:`");
        return None;
    }
    Some(uri)
}
