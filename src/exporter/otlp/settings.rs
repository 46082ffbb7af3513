//! The keys of both exporters, in the Collector's words, and what they become.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::time::Duration;

use http::Uri;
use serde::Deserialize;

use crate::base::duration::GoDuration;
use crate::base::place::{At, Place, Problems, given as get};
use crate::exporter::client::{
    Client, Compression, RawAuth, RawClient, RawQueue, RawRetry, RawTls, url,
};
use crate::wire::otlp::HTTP_PATH;

/// Keys of the Collector's exporters that are not built yet.
pub const LATER: &[(&str, &[&str])] = &[
    ("RawOtlpGrpc", &["proxy_url", "middlewares"]),
    ("RawOtlpHttp", &["proxy_url", "cookies", "middlewares"]),
];

/// Keys of the Collector's exporters that change nothing here.
pub const IDLE: &[(&str, &[&str])] = &[
    (
        "RawOtlpGrpc",
        &["keepalive", "read_buffer_size", "write_buffer_size", "wait_for_ready", "balancer_name"],
    ),
    (
        "RawOtlpHttp",
        &[
            "traces_endpoint",
            "logs_endpoint",
            "profiles_endpoint",
            "read_buffer_size",
            "write_buffer_size",
            "compression_params",
            "max_idle_conns",
            "max_idle_conns_per_host",
            "max_conns_per_host",
            "idle_conn_timeout",
            "disable_keep_alives",
            "http2_read_idle_timeout",
            "http2_ping_timeout",
            "force_attempt_http2",
        ],
    ),
];

/// `otlp_grpc` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawOtlpGrpc {
    endpoint: Option<At<String>>,
    authority: Option<At<String>>,
    compression: Option<At<String>>,
    headers: BTreeMap<String, At<String>>,
    timeout: Option<At<GoDuration>>,
    tls: Option<At<RawTls>>,
    auth: Option<At<RawAuth>>,
    retry_on_failure: Option<At<RawRetry>>,
    sending_queue: Option<At<RawQueue>>,
}

/// `otlp_http` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawOtlpHttp {
    endpoint: Option<At<String>>,
    metrics_endpoint: Option<At<String>>,
    encoding: Option<At<String>>,
    compression: Option<At<String>>,
    headers: BTreeMap<String, At<String>>,
    timeout: Option<At<GoDuration>>,
    tls: Option<At<RawTls>>,
    auth: Option<At<RawAuth>>,
    retry_on_failure: Option<At<RawRetry>>,
    sending_queue: Option<At<RawQueue>>,
}

/// What runs, over gRPC.
#[derive(Clone, Debug)]
pub struct Grpc {
    /// The host and the port that are connected to.
    pub endpoint: Uri,
    /// What requests say that they are for: scheme and authority.
    pub origin: Uri,
    /// How bodies are compressed.
    pub compression: Compression,
    /// How requests get there.
    pub client: Client,
}

/// How bodies are written over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Protobuf.
    Proto,
    /// JSON.
    Json,
}

/// What runs, over HTTP.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where requests go.
    pub endpoint: Uri,
    /// How bodies are written.
    pub encoding: Encoding,
    /// How bodies are compressed.
    pub compression: Compression,
    /// How requests get there.
    pub client: Client,
}

impl RawOtlpGrpc {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, place: &Place, problems: &mut Problems) -> Option<Grpc> {
        let client = RawClient {
            headers: &self.headers,
            timeout: &self.timeout,
            tls: &self.tls,
            auth: &self.auth,
            retry: &self.retry_on_failure,
            queue: &self.sending_queue,
        };
        let client = client.settle(place, Duration::from_secs(5), problems);
        let compression = compression(&self.compression, problems);
        let Some(at) = &self.endpoint else {
            problems.error(place, "`endpoint:` is missing, such as 127.0.0.1:4317");
            return None;
        };
        let text = at.as_ref()?;
        // The Collector takes a URL, too, and its scheme decides about TLS.
        let (secure, authority) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(("dns" | "passthrough", rest)) => (!client.insecure, rest.trim_start_matches('/')),
            _ => (!client.insecure, text.as_str()),
        };
        let authority = authority.trim_end_matches('/');
        let of = |scheme: &str, authority: &str| {
            Uri::from_str(&format!("{scheme}://{authority}")).ok().filter(|uri| {
                let whole = uri.authority().is_some_and(|have| have.as_str() == authority);
                whole && uri.port_u16().is_some_and(|port| port > 0) && !authority.contains('@')
            })
        };
        let scheme = if secure { "https" } else { "http" };
        if authority.contains('@') {
            let message = "credentials do not belong into the endpoint: use `headers:` or `auth:`";
            problems.error(&at.place, message);
            return None;
        }
        let Some(endpoint) = of(scheme, authority) else {
            problems
                .error(&at.place, "must be a host and a port, such as collector.example.org:4317");
            return None;
        };
        let origin = match &self.authority {
            None => endpoint.clone(),
            Some(at) => {
                let authority = at.as_ref()?;
                match Uri::from_str(&format!("{scheme}://{authority}")) {
                    Ok(origin) => origin,
                    Err(_) => {
                        problems.error(&at.place, "must be a host name");
                        return None;
                    }
                }
            }
        };
        Some(Grpc { endpoint, origin, compression, client })
    }
}

impl RawOtlpHttp {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, place: &Place, problems: &mut Problems) -> Option<Http> {
        let client = RawClient {
            headers: &self.headers,
            timeout: &self.timeout,
            tls: &self.tls,
            auth: &self.auth,
            retry: &self.retry_on_failure,
            queue: &self.sending_queue,
        };
        let client = client.settle(place, Duration::from_secs(30), problems);
        let compression = compression(&self.compression, problems);
        let encoding = match get(&self.encoding).map(String::as_str) {
            None | Some("proto") => Encoding::Proto,
            Some("json") => Encoding::Json,
            Some(other) => {
                let at = self.encoding.as_ref().expect("it was given");
                problems.error(&at.place, format!("{other:?} is none of proto, json"));
                Encoding::Proto
            }
        };
        let example = "http://127.0.0.1:4318";
        let endpoint = if self.metrics_endpoint.is_some() {
            url(&self.metrics_endpoint, place, example, problems)?
        } else {
            let base = url(&self.endpoint, place, example, problems)?;
            if let Some(at) = self.endpoint.as_ref().filter(|_| base.query().is_some()) {
                let message = "a path is added here: write the whole URL as metrics_endpoint";
                problems.error(&at.place, message);
                return None;
            }
            let base = base.to_string();
            Uri::from_str(&format!("{}{HTTP_PATH}", base.trim_end_matches('/'))).ok()?
        };
        Some(Http { endpoint, encoding, compression, client })
    }
}

fn compression(at: &Option<At<String>>, problems: &mut Problems) -> Compression {
    let Some(at) = at else { return Compression::Gzip };
    match at.as_ref().map(String::as_str) {
        Some("gzip") => Compression::Gzip,
        Some("none" | "") | None => Compression::None,
        Some(other @ ("snappy" | "zstd" | "zlib" | "deflate" | "lz4" | "x-snappy-framed")) => {
            problems.unsupported(&at.place, format!("compression {other} is not supported yet"));
            Compression::None
        }
        Some(other) => {
            problems.error(&at.place, format!("{other:?} is none of gzip, none"));
            Compression::None
        }
    }
}
