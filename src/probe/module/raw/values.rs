//! The values of a module's keys, one kind each: codes, versions, sizes, expressions, secrets, TLS.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr as _;

use http::{HeaderName, Method};
use secrecy::SecretString;

use super::{RawHeaderRule, RawHttp, RawTls, Settler};
use crate::base::flight;
use crate::base::place::{At, Place, given as get};
use crate::base::regexp::search::Pattern;
use crate::net::resolve::Family;
use crate::net::tls::{TlsSettings, Version};
use crate::probe::module::{Credentials, HeaderRule, Secret};

impl Settler<'_> {
    pub(super) fn family(
        &mut self,
        preferred: &Option<At<String>>,
        fallback: &Option<At<bool>>,
    ) -> Family {
        let word = get(preferred).map_or("", String::as_str);
        if let Some(at) = preferred.as_ref().filter(|_| !matches!(word, "" | "ip4" | "ip6")) {
            self.error(&at.place, format!("{word:?} is neither ip4 nor ip6"));
        }
        Family { prefer_ip6: word != "ip4", fallback: get(fallback).copied().unwrap_or(true) }
    }

    pub(super) fn source(&mut self, at: &Option<At<String>>) -> Option<IpAddr> {
        let at = at.as_ref()?;
        let text = at.as_ref().filter(|text| !text.is_empty())?;
        text.parse()
            .map_err(|_| self.error(&at.place, format!("{text:?} is not an IP address")))
            .ok()
    }

    pub(super) fn status(&mut self, at: &At<String>) -> Option<(u16, u16)> {
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

    pub(super) fn version(&mut self, at: &At<String>) -> Option<String> {
        let text = at.as_ref()?;
        match text.as_str() {
            "HTTP/1.0" | "HTTP/1.1" | "HTTP/2.0" => return Some(text.clone()),
            "HTTP/2" => return Some("HTTP/2.0".to_owned()),
            "HTTP/3.0" | "HTTP/3" => self.error(&at.place, "HTTP/3 is not supported yet"),
            _ => self.error(&at.place, format!("{text:?} is none of HTTP/1.0, HTTP/1.1, HTTP/2.0")),
        }
        None
    }

    pub(super) fn method(&mut self, at: &At<String>) -> Option<Method> {
        let text = at.as_ref()?;
        let method = Method::from_str(&text.to_ascii_uppercase()).ok();
        if method.is_none() || text.is_empty() {
            self.error(&at.place, format!("{text:?} is not a method"));
        }
        method
    }

    pub(super) fn credentials(&mut self, raw: &RawHttp) -> Option<Credentials> {
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

    pub(super) fn secret(
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
    pub(super) fn path(&mut self, at: &At<String>, secret: bool) -> Option<PathBuf> {
        let path = at.place.beside(at.as_ref()?);
        let looked = path.clone();
        let seen = flight::promptly(&path, move || std::fs::metadata(looked).map(|_| ()))
            .unwrap_or_else(|| Err(std::io::ErrorKind::TimedOut.into()));
        if let Err(error) = seen {
            let what = if secret { "the secret" } else { "the file" };
            self.problems.warning(&at.place, format!("{what} {}: {error}", path.display()));
        }
        Some(path)
    }

    pub(super) fn regexes(&mut self, list: &[At<String>]) -> Vec<Pattern> {
        list.iter().filter_map(|at| self.regex(at)).collect()
    }

    pub(super) fn regex(&mut self, at: &At<String>) -> Option<Pattern> {
        let text = at.as_ref()?;
        Pattern::new(text).map_err(|why| self.error(&at.place, why)).ok()
    }

    pub(super) fn header_rules(&mut self, list: &[At<RawHeaderRule>]) -> Vec<HeaderRule> {
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
    pub(super) fn size(&mut self, at: &At<String>) -> Option<u64> {
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

    pub(super) fn tls(&mut self, at: &Option<At<RawTls>>) -> TlsSettings {
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

    pub(super) fn tls_version(
        &mut self,
        at: &Option<At<String>>,
        default: Version,
        lowest: bool,
    ) -> Version {
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
