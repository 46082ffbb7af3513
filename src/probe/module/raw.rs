//! What may be written in a module, and how it becomes what will run. Every wrong value is told with
//! its place; a module with an error is none.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use http::{HeaderName, HeaderValue, Method};
use regex::bytes::Regex;
use secrecy::SecretString;
use serde::Deserialize;

use super::{Credentials, HeaderRule, Http, Icmp, LazyTls, Module, Prober, Secret, Step, Tcp};
use crate::base::duration::GoDuration;
use crate::base::place::{At, Place, Problems};
use crate::net::resolve::Family;
use crate::net::tls::{TlsSettings, Version};

/// How many bytes of a body are read when the module does not say.
pub const DEFAULT_BODY_LIMIT: u64 = 16 << 20;

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

/// Turns what is written into what will run. `folder` is where relative paths begin.
#[must_use]
pub fn settle(
    name: &str,
    place: &Place,
    raw: RawModule,
    folder: &Path,
    problems: &mut Problems,
) -> Option<Module> {
    let mut settler = Settler { folder, problems, failed: false };
    let prober = settler.prober(place, &raw);
    let timeout = raw.timeout.as_ref().and_then(|at| settler.timeout(at));
    (!settler.failed).then_some(())?;
    Some(Module { name: name.to_owned(), timeout, prober: prober? })
}

struct Settler<'a> {
    folder: &'a Path,
    problems: &'a mut Problems,
    failed: bool,
}

/// The value of an optional key; a value that could not be read has been told already.
fn get<T>(at: &Option<At<T>>) -> Option<&T> {
    at.as_ref().and_then(At::as_ref)
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
            body_size_limit: raw
                .body_size_limit
                .as_ref()
                .and_then(|at| self.size(at))
                .unwrap_or(DEFAULT_BODY_LIMIT),
            tls: LazyTls::new(self.tls(&raw.tls_config), alpn),
        }
    }

    fn tcp(&mut self, raw: &RawTcp) -> Tcp {
        let mut steps = Vec::new();
        for at in &raw.query_response {
            let Some(step) = at.as_ref() else { continue };
            if step.expect.is_none() && step.send.is_none() {
                self.error(&at.place, "a step needs `expect:` or `send:`");
            }
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

    fn family(&mut self, preferred: &Option<At<String>>, fallback: &Option<At<bool>>) -> Family {
        let word = get(preferred).map_or("", String::as_str);
        if let Some(at) = preferred.as_ref().filter(|_| !matches!(word, "" | "ip4" | "ip6")) {
            self.error(&at.place, format!("{word:?} is neither ip4 nor ip6"));
        }
        Family { prefer_ip6: word != "ip4", fallback: get(fallback).copied().unwrap_or(true) }
    }

    fn source(&mut self, at: &Option<At<String>>) -> Option<IpAddr> {
        let at = at.as_ref()?;
        let text = at.as_ref().filter(|text| !text.is_empty())?;
        text.parse()
            .map_err(|_| self.error(&at.place, format!("{text:?} is not an IP address")))
            .ok()
    }

    fn status(&mut self, at: &At<String>) -> Option<(u16, u16)> {
        let text = at.as_ref()?.as_str();
        let range = match (text.split_once('-'), text.strip_suffix("xx")) {
            (Some((low, high)), _) => low.trim().parse().ok().zip(high.trim().parse().ok()),
            (None, Some(class)) => class.parse::<u16>().ok().map(|c| (c * 100, c * 100 + 99)),
            (None, None) => text.parse().ok().map(|code| (code, code)),
        };
        let range =
            range.filter(|(low, high)| (100..=599).contains(low) && (*low..=599).contains(high));
        if range.is_none() {
            self.error(
                &at.place,
                format!("{text:?} is not a status code (200), a class (2xx) or a range (200-299)"),
            );
        }
        range
    }

    fn version(&mut self, at: &At<String>) -> Option<String> {
        let text = at.as_ref()?;
        match text.as_str() {
            "HTTP/1.0" | "HTTP/1.1" | "HTTP/2.0" => return Some(text.clone()),
            "HTTP/2" => return Some("HTTP/2.0".to_owned()),
            "HTTP/3.0" | "HTTP/3" => self.error(&at.place, "HTTP/3 is not supported yet"),
            _ => self.error(&at.place, format!("{text:?} is none of HTTP/1.0, HTTP/1.1, HTTP/2.0")),
        }
        None
    }

    fn method(&mut self, at: &At<String>) -> Option<Method> {
        let text = at.as_ref()?;
        let method = Method::from_str(&text.to_ascii_uppercase()).ok();
        if method.is_none() || text.is_empty() {
            self.error(&at.place, format!("{text:?} is not a method"));
        }
        method
    }

    fn credentials(&mut self, raw: &RawHttp) -> Option<Credentials> {
        if let (Some(one), Some(_)) = (&raw.authorization, &raw.basic_auth) {
            self.error(&one.place, "`authorization:` and `basic_auth:` exclude each other");
        }
        if let Some(at) = &raw.basic_auth {
            let auth = at.as_ref()?;
            let username = self.secret(&at.place, "username", &auth.username, &auth.username_file);
            let password = self.secret(&at.place, "password", &auth.password, &auth.password_file);
            let username =
                username.unwrap_or_else(|| Secret::Inline(SecretString::from(String::new())));
            return Some(Credentials::Basic { username, password });
        }
        let at = raw.authorization.as_ref()?;
        let auth = at.as_ref()?;
        let scheme = get(&auth.r#type).cloned().unwrap_or_else(|| "Bearer".to_owned());
        if scheme.eq_ignore_ascii_case("basic") {
            self.error(&at.place, "use `basic_auth:` for the type Basic");
        }
        let Some(credentials) =
            self.secret(&at.place, "credentials", &auth.credentials, &auth.credentials_file)
        else {
            self.error(&at.place, "`credentials:` or `credentials_file:` is missing");
            return None;
        };
        Some(Credentials::Scheme { scheme, credentials })
    }

    fn secret(
        &mut self,
        place: &Place,
        key: &str,
        text: &Option<At<String>>,
        file: &Option<At<String>>,
    ) -> Option<Secret> {
        if text.is_some() && file.is_some() {
            self.error(place, format!("`{key}:` and `{key}_file:` exclude each other"));
        }
        if let Some(at) = file {
            return self.path(at, true).map(Secret::File);
        }
        get(text).map(|text| Secret::Inline(SecretString::from(text.clone())))
    }

    /// A path as it is written in the configuration. A file that is not there is only a warning:
    /// `check` needs no secrets.
    fn path(&mut self, at: &At<String>, secret: bool) -> Option<PathBuf> {
        let path = self.folder.join(at.as_ref()?);
        if let Err(error) = std::fs::metadata(&path) {
            let what = if secret { "the secret" } else { "the file" };
            self.problems.warning(&at.place, format!("{what} {}: {error}", path.display()));
        }
        Some(path)
    }

    fn regexes(&mut self, list: &[At<String>]) -> Vec<Regex> {
        list.iter().filter_map(|at| self.regex(at)).collect()
    }

    fn regex(&mut self, at: &At<String>) -> Option<Regex> {
        let text = at.as_ref()?;
        let built = regex::bytes::RegexBuilder::new(text).size_limit(4 << 20).build();
        built
            .map_err(|error| {
                // The library draws the expression over several lines; the last one says what is wrong.
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default().trim().to_owned();
                self.error(
                    &at.place,
                    format!("not a regular expression: {}", last.trim_start_matches("error: ")),
                );
            })
            .ok()
    }

    fn header_rules(&mut self, list: &[At<RawHeaderRule>]) -> Vec<HeaderRule> {
        let mut rules = Vec::new();
        for at in list {
            let Some(raw) = at.as_ref() else { continue };
            let header = get(&raw.header).and_then(|name| HeaderName::from_str(name).ok());
            if header.is_none() {
                self.error(&at.place, "`header:` must be a header name");
            }
            let regexp = match &raw.regexp {
                Some(at) => self.regex(at),
                None => {
                    self.error(&at.place, "`regexp:` is missing");
                    None
                }
            };
            if let (Some(header), Some(regexp)) = (header, regexp) {
                rules.push(HeaderRule {
                    header,
                    regexp,
                    allow_missing: get(&raw.allow_missing).copied().unwrap_or(false),
                });
            }
        }
        rules
    }

    /// A size in bytes: a number, perhaps with B, KB, MB, GB or KiB, MiB, GiB, all to the base 1024,
    /// as blackbox_exporter reads them.
    fn size(&mut self, at: &At<String>) -> Option<u64> {
        let text = at.as_ref()?.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let scale = match text[digits..].trim() {
            "" | "B" => Some(0),
            "KB" | "KiB" | "K" => Some(10),
            "MB" | "MiB" | "M" => Some(20),
            "GB" | "GiB" | "G" => Some(30),
            _ => None,
        };
        let bytes = scale.and_then(|scale| text[..digits].parse::<u64>().ok()?.checked_shl(scale));
        let Some(bytes) = bytes.filter(|bytes| *bytes <= 1 << 30) else {
            self.error(&at.place, format!("{text:?} is not a size up to 1GB, such as 16MB"));
            return None;
        };
        // blackbox_exporter reads 0 as "no limit"; here the default stands.
        (bytes > 0).then_some(bytes)
    }

    fn tls(&mut self, at: &Option<At<RawTls>>) -> TlsSettings {
        let Some(raw) = get(at) else { return TlsSettings::default() };
        let place = at.as_ref().map(|at| at.place.clone()).unwrap_or_default();
        let certificate = raw.cert_file.as_ref().and_then(|at| self.path(at, false));
        let key = raw.key_file.as_ref().and_then(|at| self.path(at, true));
        if certificate.is_some() != key.is_some() {
            self.error(&place, "`cert_file:` and `key_file:` belong together");
        }
        let min_version = self.tls_version(&raw.min_version, Version::Tls12, true);
        let max_version = self.tls_version(&raw.max_version, Version::Tls13, false);
        if min_version > max_version {
            self.error(&place, "`min_version:` is higher than `max_version:`");
        }
        TlsSettings {
            ca_file: raw.ca_file.as_ref().and_then(|at| self.path(at, false)),
            identity: certificate.zip(key),
            server_name: get(&raw.server_name).filter(|name| !name.is_empty()).cloned(),
            insecure_skip_verify: get(&raw.insecure_skip_verify).copied().unwrap_or(false),
            min_version,
            max_version,
        }
    }

    fn tls_version(&mut self, at: &Option<At<String>>, default: Version, lowest: bool) -> Version {
        let Some(at) = at else { return default };
        match at.as_ref().map(String::as_str) {
            None => default,
            Some("TLS12") => Version::Tls12,
            Some("TLS13") => Version::Tls13,
            Some("TLS10" | "TLS11") if lowest => {
                self.problems
                    .warning(&at.place, "TLS 1.0 and 1.1 are not spoken: the lowest is TLS12");
                Version::Tls12
            }
            Some(other) => {
                self.error(&at.place, format!("{other:?} is neither TLS12 nor TLS13"));
                default
            }
        }
    }
}
