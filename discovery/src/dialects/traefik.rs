//! `traefik.http.routers.*` of versions 2 and 3, `traefik.tcp.routers.*`, and version 1's
//! `traefik.frontend.rule`.

use std::collections::BTreeMap;

use super::{Finder, below, bracketed};
use crate::rule::{self, Place, Reason};
use crate::service::Written;

/// What is written of a router.
#[derive(Default)]
struct Router<'s> {
    rule: Option<&'s Written>,
    entry_points: Option<&'s Written>,
    tls: bool,
}

impl Finder<'_> {
    pub(super) fn traefik(&mut self) {
        let labels = &self.service.labels;
        let off = labels.get("traefik.enable");
        if let Some(off) =
            off.filter(|written| written.fill().text.trim().eq_ignore_ascii_case("false"))
        {
            let any = below(labels, "traefik.").iter().any(|(name, _)| name.ends_with("rule"));
            if any {
                self.skip(&off.origin, "traefik.enable is false");
            }
            return;
        }
        for (protocol, prefix) in
            [("http", "traefik.http.routers."), ("tcp", "traefik.tcp.routers.")]
        {
            for (name, router) in routers(below(labels, prefix)) {
                self.router(protocol, &name, &router);
            }
        }
        let old = below(labels, "traefik.");
        for (name, written) in old {
            let is_rule = name == "frontend.rule"
                || (name.ends_with(".frontend.rule") && !name.starts_with("http."));
            if is_rule && let Some(text) = self.value(&format!("traefik.{name}"), written) {
                match rule::version_1(&text) {
                    Ok(places) => {
                        for place in places {
                            self.place(&place, None, None, "traefik", &written.origin);
                        }
                    }
                    Err(reason) => self.skip(&written.origin, format!("{text}: {reason}")),
                }
            }
        }
    }

    fn router(&mut self, protocol: &str, name: &str, router: &Router<'_>) {
        let Some(written) = router.rule else { return };
        let label = format!("router {name}");
        let Some(text) = self.value(&label, written) else { return };
        let entry_points = match router.entry_points {
            Some(written) => self.value(&label, written).unwrap_or_default(),
            None => String::new(),
        };
        let origin = &written.origin;
        let found = found(&text, &entry_points, router.tls, protocol == "tcp", self.settings);
        for (place, secure, port) in found.places {
            if protocol == "tcp" {
                match port {
                    Some(port) => {
                        let address = format!("{}:{port}", bracketed(&place.host));
                        let name = Some(self.service.name.clone());
                        match found.is_here {
                            true => self.published(address, name, "traefik", origin),
                            false => self.candidate(address, name, "traefik", origin),
                        }
                    }
                    None => self.skip(origin, format!("{label}: the port of its entry point {entry_points:?} is not known (`entrypoints:` of the job tells it)")),
                }
            } else {
                self.place(&place, secure, port, "traefik", origin);
            }
        }
        for reason in found.reasons {
            self.skip(origin, format!("{label}: {reason}"));
        }
    }
}

fn routers<'s>(labels: Vec<(&'s str, &'s Written)>) -> BTreeMap<String, Router<'s>> {
    let mut routers: BTreeMap<String, Router<'s>> = BTreeMap::new();
    for (rest, written) in labels {
        let Some((name, key)) = rest.split_once('.') else { continue };
        let router = routers.entry(name.to_owned()).or_default();
        match key {
            "rule" => router.rule = Some(written),
            "entrypoints" => router.entry_points = Some(written),
            "tls" => router.tls |= written.fill().text.trim().eq_ignore_ascii_case("true"),
            _ if key.starts_with("tls.") => router.tls = true,
            _ => {}
        }
    }
    routers
}

/// Where a router leads.
pub(crate) struct Led {
    /// The places, whether by TLS (where that is known), and the port (where it is).
    pub(crate) places: Vec<(Place, Option<bool>, Option<u16>)>,
    /// Why others are none.
    pub(crate) reasons: Vec<Reason>,
    /// Whether the place is this machine, which the rule does not name.
    pub(crate) is_here: bool,
}

/// Where a rule leads by its entry points.
pub(crate) fn found(
    text: &str,
    entry_points: &str,
    tls: bool,
    tcp: bool,
    settings: &crate::job::Settings,
) -> Led {
    let names: Vec<String> =
        entry_points.split(',').map(|name| name.trim().to_ascii_lowercase()).collect();
    // Of several entry points one is asked: one by TLS, if there is one.
    let secured = names.iter().find(|name| secure_by_name(name) == Some(true));
    let name = secured.or(names.first()).map_or("", String::as_str);
    let port = settings.entry_points.get(name).copied();
    let secure = match (tls, port) {
        (true, _) | (_, Some(443)) => Some(true),
        (_, Some(80)) => Some(false),
        _ => secure_by_name(name),
    };
    let usual = match name {
        "websecure" | "web-secure" | "https" => Some(443),
        "web" | "http" => Some(80),
        _ => None,
    };
    let port = port.or(usual.filter(|_| tcp));
    let anywhere = |parsed: &rule::Rule| matches!(parsed, rule::Rule::Is(name, values) if name == "HostSNI" && values.iter().any(|v| v == "*"));
    match rule::parse(text) {
        // Whatever name is asked for: the machine itself answers.
        Ok(parsed) if tcp && anywhere(&parsed) => {
            let place = Place { host: settings.ports_host.clone(), path: String::new() };
            Led { places: vec![(place, None, port)], reasons: Vec::new(), is_here: true }
        }
        Ok(parsed) => match rule::places(&parsed, settings.domain.as_deref()) {
            Ok((places, reasons)) => {
                let places = places.into_iter().map(|place| (place, secure, port)).collect();
                Led { places, reasons, is_here: false }
            }
            Err(reason) => Led { places: Vec::new(), reasons: vec![reason], is_here: false },
        },
        Err(reason) => Led { places: Vec::new(), reasons: vec![reason], is_here: false },
    }
}

/// What the usual names of entry points say.
fn secure_by_name(name: &str) -> Option<bool> {
    match name {
        _ if name.contains("https")
            || name.contains("secure")
            || name.contains("tls")
            || name.contains("443") =>
        {
            Some(!name.contains("insecure"))
        }
        "web" | "http" | "http80" => Some(false),
        _ => None,
    }
}
