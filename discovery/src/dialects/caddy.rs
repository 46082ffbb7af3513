//! caddy-docker-proxy: site addresses in the labels `caddy`, `caddy_0`, `caddy_1`, ...

use super::Finder;
use crate::rule::{Place, Reason, is_host};

impl Finder<'_> {
    pub(super) fn caddy(&mut self) {
        let site = |name: &str| {
            name.strip_prefix("caddy").is_some_and(|rest| {
                rest.is_empty()
                    || rest
                        .strip_prefix('_')
                        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            })
        };
        let sites: Vec<_> = self.service.labels.iter().filter(|(name, _)| site(name)).collect();
        for (name, written) in sites {
            let Some(text) = self.value(name, written) else { continue };
            for address in text.split([',', ' ']).map(str::trim).filter(|text| !text.is_empty()) {
                // A snippet is no site.
                if address.starts_with('(')
                    || address.starts_with('{') && !address.starts_with("{{")
                {
                    continue;
                }
                match place(address) {
                    Some((place, secure, port)) => {
                        self.place(&place, Some(secure), port, "caddy", &written.origin);
                    }
                    None => {
                        let reason = Reason::Pattern(address.to_owned());
                        self.skip(&written.origin, format!("{name}: {reason}"));
                    }
                }
            }
        }
    }
}

/// A site address of a Caddyfile: https unless it says otherwise.
fn place(address: &str) -> Option<(Place, bool, Option<u16>)> {
    let (secure, rest) = match address.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some(_) => return None,
        None => (true, address),
    };
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    // The colons of an address in brackets begin no port.
    let behind = if host.starts_with('[') { host.find(']')? + 1 } else { 0 };
    let (host, port) = match host[behind..].rfind(':') {
        Some(at) => (&host[..behind + at], Some(host[behind + at + 1..].parse().ok()?)),
        None => (host, None),
    };
    let path = path.trim_end_matches('*').trim_end_matches('/');
    let secure = secure && port != Some(80);
    is_host(host)
        .then(|| (Place { host: host.to_ascii_lowercase(), path: path.to_owned() }, secure, port))
}
