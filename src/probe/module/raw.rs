//! What may be written in a module, and how it becomes what will run. Every wrong value is told with
//! its place; a module with an error is none.

mod values;

use std::collections::BTreeMap;
use std::str::FromStr as _;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::{Http, Icmp, LazyTls, Module, Prober, Step, Tcp};
use crate::base::duration::GoDuration;
use crate::base::place::{At, Place, Problems, given as get};

/// Keys of blackbox_exporter that are not built yet, by the block where they stand: they are refused
/// by name rather than as unknown.
pub const LATER: &[(&str, &[&str])] = &[
    ("RawModule", &["dns", "grpc", "unix", "websocket"]),
    (
        "RawHttp",
        &[
            "skip_resolve_phase_with_proxy",
            "no_follow_redirects",
            "http_headers",
            "fail_if_body_json_matches_cel",
            "fail_if_body_json_not_matches_cel",
            "body_file",
            "compression",
            "enable_http2",
            "enable_http3",
            "oauth2",
            "bearer_token",
            "bearer_token_file",
            "proxy_url",
            "no_proxy",
            "proxy_from_environment",
            "proxy_connect_header",
        ],
    ),
    ("RawStep", &["expect_bytes", "labels", "starttls"]),
    ("RawIcmp", &["dont_fragment"]),
    ("RawTls", &["ca", "cert", "key"]),
];

const LATER_PROBERS: [&str; 4] = ["dns", "grpc", "unix", "websocket"];

/// A module as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the keys are documented on the types that they become")]
pub struct RawModule {
    pub prober: Option<At<String>>,
    pub timeout: Option<At<GoDuration>>,
    pub http: Option<At<RawHttp>>,
    pub tcp: Option<At<RawTcp>>,
    pub icmp: Option<At<RawIcmp>>,
}

/// The `http:` block.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawHttp {
    valid_status_codes: Vec<At<String>>,
    valid_http_versions: Vec<At<String>>,
    preferred_ip_protocol: Option<At<String>>,
    ip_protocol_fallback: Option<At<bool>>,
    method: Option<At<String>>,
    headers: BTreeMap<String, At<String>>,
    body: Option<At<String>>,
    basic_auth: Option<At<RawBasicAuth>>,
    authorization: Option<At<RawAuthorization>>,
    follow_redirects: Option<At<bool>>,
    fail_if_ssl: Option<At<bool>>,
    fail_if_not_ssl: Option<At<bool>>,
    fail_if_body_matches_regexp: Vec<At<String>>,
    fail_if_body_not_matches_regexp: Vec<At<String>>,
    fail_if_header_matches: Vec<At<RawHeaderRule>>,
    fail_if_header_not_matches: Vec<At<RawHeaderRule>>,
    body_size_limit: Option<At<String>>,
    tls_config: Option<At<RawTls>>,
}

/// The `tcp:` block.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawTcp {
    preferred_ip_protocol: Option<At<String>>,
    ip_protocol_fallback: Option<At<bool>>,
    source_ip_address: Option<At<String>>,
    query_response: Vec<At<RawStep>>,
    tls: Option<At<bool>>,
    tls_config: Option<At<RawTls>>,
}

/// The `icmp:` block.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawIcmp {
    preferred_ip_protocol: Option<At<String>>,
    ip_protocol_fallback: Option<At<bool>>,
    source_ip_address: Option<At<String>>,
    payload_size: Option<At<u32>>,
    ttl: Option<At<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawStep {
    expect: Option<At<String>>,
    send: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawHeaderRule {
    header: Option<At<String>>,
    regexp: Option<At<String>>,
    allow_missing: Option<At<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawBasicAuth {
    username: Option<At<String>>,
    username_file: Option<At<String>>,
    password: Option<At<String>>,
    password_file: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawAuthorization {
    r#type: Option<At<String>>,
    credentials: Option<At<String>>,
    credentials_file: Option<At<String>>,
}

/// TLS settings in Prometheus' words.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawTls {
    insecure_skip_verify: Option<At<bool>>,
    ca_file: Option<At<String>>,
    cert_file: Option<At<String>>,
    key_file: Option<At<String>>,
    server_name: Option<At<String>>,
    min_version: Option<At<String>>,
    max_version: Option<At<String>>,
}

/// Turns what is written into what will run.
#[must_use]
pub fn settle(
    name: &str,
    place: &Place,
    raw: RawModule,
    problems: &mut Problems,
) -> Option<Module> {
    let mut settler = Settler { problems, failed: false };
    let prober = settler.prober(place, &raw);
    let timeout = raw.timeout.as_ref().and_then(|at| settler.timeout(at));
    (!settler.failed).then_some(())?;
    Some(Module { name: name.to_owned(), timeout, prober: prober? })
}

struct Settler<'a> {
    problems: &'a mut Problems,
    failed: bool,
}

impl Settler<'_> {
    fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.failed = true;
        self.problems.error(place, message);
    }

    fn timeout(&mut self, at: &At<GoDuration>) -> Option<std::time::Duration> {
        // blackbox_exporter reads 0 as "not set".
        at.as_ref().map(|d| d.0).filter(|d| !d.is_zero())
    }

    fn prober(&mut self, place: &Place, raw: &RawModule) -> Option<Prober> {
        let Some(at) = &raw.prober else {
            self.error(place, "`prober:` is missing: http, tcp or icmp");
            return None;
        };
        let word = at.as_ref()?.as_str();
        for (block, there) in [
            ("http", raw.http.as_ref().map(|b| &b.place)),
            ("tcp", raw.tcp.as_ref().map(|b| &b.place)),
            ("icmp", raw.icmp.as_ref().map(|b| &b.place)),
        ] {
            if let Some(there) = there.filter(|_| block != word) {
                self.problems.warning(there, format!("not used: the prober is {word}"));
            }
        }
        match word {
            "http" => {
                let default = RawHttp::default();
                Some(Prober::Http(Box::new(self.http(get(&raw.http).unwrap_or(&default)))))
            }
            "tcp" => {
                let default = RawTcp::default();
                Some(Prober::Tcp(Box::new(self.tcp(get(&raw.tcp).unwrap_or(&default)))))
            }
            "icmp" => {
                let default = RawIcmp::default();
                Some(Prober::Icmp(self.icmp(get(&raw.icmp).unwrap_or(&default))))
            }
            later if LATER_PROBERS.contains(&later) => {
                self.error(&at.place, format!("the prober {later:?} is not supported yet"));
                None
            }
            unknown => {
                self.error(&at.place, format!("unknown prober {unknown:?}: http, tcp or icmp"));
                None
            }
        }
    }

    fn http(&mut self, raw: &RawHttp) -> Http {
        let mut headers = Vec::new();
        for (name, at) in &raw.headers {
            let Some(value) = at.as_ref() else { continue };
            match (HeaderName::from_str(name), HeaderValue::from_str(value)) {
                (Ok(name), Ok(value)) => headers.push((name, value)),
                (Err(_), _) => self.error(&at.place, format!("{name:?} is not a header name")),
                (_, Err(_)) => self.error(&at.place, "not a header value: control characters"),
            }
        }
        let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
        Http {
            valid_status_codes: raw
                .valid_status_codes
                .iter()
                .filter_map(|at| self.status(at))
                .collect(),
            valid_http_versions: raw
                .valid_http_versions
                .iter()
                .filter_map(|at| self.version(at))
                .collect(),
            family: self.family(&raw.preferred_ip_protocol, &raw.ip_protocol_fallback),
            method: raw.method.as_ref().and_then(|at| self.method(at)).unwrap_or_default(),
            headers,
            body: get(&raw.body).map_or("", String::as_str).into(),
            credentials: self.credentials(raw),
            follow_redirects: get(&raw.follow_redirects).copied().unwrap_or(true),
            fail_if_ssl: get(&raw.fail_if_ssl).copied().unwrap_or(false),
            fail_if_not_ssl: get(&raw.fail_if_not_ssl).copied().unwrap_or(false),
            fail_if_body_matches: self.regexes(&raw.fail_if_body_matches_regexp),
            fail_if_body_not_matches: self.regexes(&raw.fail_if_body_not_matches_regexp),
            fail_if_header_matches: self.header_rules(&raw.fail_if_header_matches),
            fail_if_header_not_matches: self.header_rules(&raw.fail_if_header_not_matches),
            body_size_limit: raw.body_size_limit.as_ref().and_then(|at| self.size(at)),
            tls: LazyTls::new(self.tls(&raw.tls_config), alpn),
        }
    }

    fn tcp(&mut self, raw: &RawTcp) -> Tcp {
        let mut steps = Vec::new();
        for at in &raw.query_response {
            let Some(step) = at.as_ref() else { continue };
            steps.push(Step {
                expect: step.expect.as_ref().and_then(|at| self.regex(at)),
                send: get(&step.send).cloned(),
            });
        }
        let settings = self.tls(&raw.tls_config);
        let tls = get(&raw.tls).copied().unwrap_or(false).then(|| LazyTls::new(settings, &[]));
        if let (Some(at), None) = (&raw.tls_config, &tls) {
            self.problems.warning(&at.place, "not used without `tls: true`");
        }
        Tcp {
            family: self.family(&raw.preferred_ip_protocol, &raw.ip_protocol_fallback),
            source: self.source(&raw.source_ip_address),
            query_response: steps,
            tls,
        }
    }

    fn icmp(&mut self, raw: &RawIcmp) -> Icmp {
        let payload_size = get(&raw.payload_size).copied().unwrap_or(0) as usize;
        if let Some(at) = raw.payload_size.as_ref().filter(|_| payload_size > 65_000) {
            self.error(&at.place, "must be at most 65000");
        }
        let ttl = get(&raw.ttl).copied();
        if let (Some(at), Some(value)) = (&raw.ttl, ttl)
            && !(0..=255).contains(&value)
        {
            self.error(&at.place, "must be between 0 and 255");
        }
        Icmp {
            family: self.family(&raw.preferred_ip_protocol, &raw.ip_protocol_fallback),
            source: self.source(&raw.source_ip_address),
            payload_size,
            // blackbox_exporter reads 0 as "not set".
            ttl: ttl.and_then(|ttl| u32::try_from(ttl).ok()).filter(|ttl| *ttl > 0),
        }
    }
}
