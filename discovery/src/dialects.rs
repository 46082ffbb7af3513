//! Where a service answers, by the labels and variables that people write for reverse proxies and
//! start pages. Each dialect adds candidates, or says why it cannot.

mod caddy;
mod homepage;
pub(crate) mod known;
mod kuma;
mod nginx_proxy;
mod own;
mod ports;
mod traefik;

use std::collections::{BTreeMap, BTreeSet};

use watchpost_targets::label::{HUMAN_NAME, INTERVAL_HINT, MODULE_HINT};
use watchpost_targets::{Labels, Origin, Target, without_userinfo};

use crate::address::{is_address, normal};
use crate::job::{Check, Settings};
use crate::rule::Place;
use crate::service::{Service, Written};
pub use crate::skipped::Skipped;
use crate::text;
use known::NOT_READ;

/// An address at which a service may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// A URL, or `host:port`, or a host.
    pub address: String,
    /// Its name for people.
    pub name: Option<String>,
    /// The dialect that told it.
    pub dialect: &'static str,
    /// Where it stands.
    pub origin: Origin,
    /// How often it is to be probed.
    pub interval: Option<String>,
}

/// Addresses of one service, and reasons why others are none: what is more than this is no service.
const MAX_FOUND: usize = 256;
/// The length of a reason, in bytes: it may name a rule of any length.
const MAX_REASON: usize = 1_000;

/// What is found of one service.
pub(crate) struct Finder<'a> {
    pub(crate) service: &'a Service,
    pub(crate) settings: &'a Settings,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) skipped: Vec<Skipped>,
    /// Values of variables, which may be secret: reasons do not show them.
    filled: BTreeSet<String>,
}

/// The targets that a service tells, each with the dialect that told it, and why others are none. One
/// of both lists has something in it.
#[must_use]
pub fn find(service: &Service, settings: &Settings) -> (Vec<(Target, &'static str)>, Vec<Skipped>) {
    find_checked(service, settings, &|_| Ok(()), BTreeSet::new())
}

/// As [`find`]; what `check` refuses is no target, and no reason shows the texts in `filled`.
pub(crate) fn find_checked(
    service: &Service,
    settings: &Settings,
    check: Check<'_>,
    filled: BTreeSet<String>,
) -> (Vec<(Target, &'static str)>, Vec<Skipped>) {
    let (candidates, skipped) = (Vec::new(), Vec::new());
    let mut finder = Finder { service, settings, candidates, skipped, filled };
    let mut targets = finder.targets();
    targets.retain(|(target, _)| match check(target) {
        Ok(()) => true,
        Err(why) => {
            finder.skip(&target.origin, why);
            false
        }
    });
    (targets, finder.skipped)
}

impl Finder<'_> {
    fn targets(&mut self) -> Vec<(Target, &'static str)> {
        let own = self.own();
        if own.enable == Some(false) {
            self.skip(&self.service.origin.clone(), "watchpost.enable is false");
            return Vec::new();
        }
        if own.enable != Some(true)
            && let Some(reason) = self.sleeps()
        {
            self.skip(&self.service.origin.clone(), reason);
            return Vec::new();
        }
        // Probed by another module, it would be up or down for the wrong reason.
        if let Some((module, origin)) = &own.module
            && !self.settings.limits.modules.contains(module)
        {
            let module = text::foreign(module);
            let why = "labels may not name it (`modules:` of the job)";
            self.skip(origin, format!("the module {module:?}: {why}"));
            return Vec::new();
        }
        match &own.address {
            Some((address, origin)) => self.candidate(address.clone(), None, "watchpost", origin),
            None => {
                self.traefik();
                self.caddy();
                self.nginx_proxy();
                self.kuma();
                self.homepage();
                if self.settings.ports {
                    self.ports();
                }
            }
        }
        if self.candidates.is_empty() && self.skipped.is_empty() {
            let reason = self.nothing();
            self.skip(&self.service.origin.clone(), reason);
        }
        let several = self.candidates.len() > 1;
        let homepage = self.homepage_name();
        let candidates = std::mem::take(&mut self.candidates);
        let target = |candidate: Candidate| {
            let short = short_name(&candidate.address);
            let given = own.name.clone().or_else(|| homepage.clone());
            let name = match given {
                Some(given) if several => Some(format!("{given} {short}")),
                Some(given) => Some(given),
                None => candidate.name.clone().or(Some(short)),
            };
            // The job's labels win: alerts are routed by them.
            let foreign =
                own.labels.iter().map(|(name, value)| (name.clone(), text::foreign(value)));
            let mut labels: Labels = foreign.collect();
            labels.extend(self.settings.labels.clone());
            labels.extend(name.map(|name| (HUMAN_NAME.to_owned(), text::foreign(&name))));
            let mut hints = Labels::new();
            let interval = own.interval.clone().or(candidate.interval);
            hints.extend(interval.map(|interval| (INTERVAL_HINT.to_owned(), interval)));
            hints.extend(own.module.clone().map(|(module, _)| (MODULE_HINT.to_owned(), module)));
            let (address, origin) = (candidate.address, candidate.origin);
            (Target { address, labels, hints, origin }, candidate.dialect)
        };
        candidates.into_iter().map(target).collect()
    }

    /// Why a service does not run by default.
    fn sleeps(&mut self) -> Option<String> {
        let profiles: Vec<String> =
            self.service.profiles.iter().map(|profile| profile.fill().text).collect();
        // The user's own wish stands beside the file, or in the environment. Where there is none, the
        // profile without a name is started.
        let variables = self.service.profiles.first().map(|profile| &profile.variables);
        let wish = variables.and_then(|variables| variables.get("COMPOSE_PROFILES"));
        let wish = wish.map_or("", String::as_str).split(',').map(str::trim);
        let all = self.settings.profiles.iter().map(String::as_str).chain(wish);
        let all: Vec<&str> = all.collect();
        let wanted = |profile: &String| all.iter().any(|have| have == profile || *have == "*");
        if !profiles.is_empty() && !profiles.iter().any(wanted) {
            let list = profiles.join(", ");
            return Some(format!("started only with the profile {list}"));
        }
        let replicas = self.service.replicas.as_ref()?.fill().text;
        (replicas.trim() == "0").then(|| "no instance of it runs (0 replicas)".to_owned())
    }

    /// What to say of a service that tells no address.
    fn nothing(&self) -> String {
        let labels = self.service.labels.keys().map(String::as_str);
        let variables = self.service.environment.keys().map(String::as_str);
        let known = |name: &str| NOT_READ.iter().find(|(begin, _)| name.starts_with(begin));
        if let Some((_, dialect)) = labels.clone().find_map(known) {
            return format!("labels of {dialect} are not read");
        }
        let coolify =
            |name: &str| name.starts_with("SERVICE_FQDN_") || name.starts_with("SERVICE_URL_");
        if variables.clone().any(coolify) {
            return "variables of coolify are not read".to_owned();
        }
        if self.service.name == "app_proxy" {
            return "umbrel's app_proxy is not read".to_owned();
        }
        if self.service.labels.get("traefik.enable").is_some_and(|on| on.text.trim() == "true") {
            return "no rule of traefik: the host is traefik's default one, which is not read"
                .to_owned();
        }
        match (self.service.ports.is_empty(), self.settings.ports) {
            (false, false) => {
                "no label names an address; it publishes ports (`ports: true` makes them targets)"
                    .to_owned()
            }
            _ => "no label names an address".to_owned(),
        }
    }

    pub(crate) fn skip(&mut self, origin: &Origin, reason: impl Into<String>) {
        let mut reason: String = reason.into();
        hide(&self.filled, &mut reason);
        if reason.len() > MAX_REASON {
            let end = (0..=MAX_REASON).rev().find(|at| reason.is_char_boundary(*at));
            reason.truncate(end.unwrap_or(0));
            reason.push('…');
        }
        let skipped = Skipped {
            service: self.service.name.clone(),
            file: origin.file.to_string(),
            line: origin.line,
            reason,
        };
        if self.skipped.len() < MAX_FOUND && !self.skipped.contains(&skipped) {
            self.skipped.push(skipped);
        }
    }

    /// A label's value with its variables; one that cannot be known is told.
    pub(crate) fn value(&mut self, name: &str, written: &Written) -> Option<String> {
        let filled = written.fill();
        if written.text.contains('$') {
            let used = written.variables.iter().filter(|(name, value)| {
                value.len() > 3
                    && self.settings.domain.as_ref() != Some(value)
                    && written.text.contains(name.as_str())
            });
            self.filled.extend(used.map(|(_, value)| value.clone()));
        }
        if let Some(wrong) = filled.wrong {
            self.skip(&written.origin, format!("{name}: {wrong}"));
            return None;
        }
        if !filled.unset.is_empty() {
            let plural = if filled.unset.len() == 1 { "variable" } else { "variables" };
            let verb = if filled.unset.len() == 1 { "is" } else { "are" };
            let names = filled.unset.join(", ");
            self.skip(&written.origin, format!("{name}: the {plural} {names} {verb} not set"));
            return None;
        }
        Some(filled.text)
    }

    /// Adds an address that a label or a rule has written, once. One that no target file can hold, or that the job
    /// does not allow, is told.
    pub(crate) fn candidate(
        &mut self,
        address: String,
        name: Option<String>,
        dialect: &'static str,
        origin: &Origin,
    ) {
        if self.candidates.len() >= MAX_FOUND {
            // The rest is not judged: it costs time and changes nothing.
            let reason = format!("it has more than {MAX_FOUND} addresses");
            return self.skip(&self.service.origin.clone(), reason);
        }
        let judged = is_address(&address).and_then(|()| self.settings.limits.hosts.judge(&address));
        self.judged(judged, address, name, dialect, origin);
    }

    /// Adds an address of this machine, which no label has chosen, once.
    pub(crate) fn published(
        &mut self,
        address: String,
        name: Option<String>,
        dialect: &'static str,
        origin: &Origin,
    ) {
        let hosts = &self.settings.limits.hosts;
        let judged = is_address(&address).and_then(|()| hosts.judge_published(&address));
        self.judged(judged, address, name, dialect, origin);
    }

    fn judged(
        &mut self,
        judged: Result<(), String>,
        address: String,
        name: Option<String>,
        dialect: &'static str,
        origin: &Origin,
    ) {
        if let Err(why) = judged {
            return self.skip(origin, format!("{:?}: {why}", without_userinfo(&address)));
        }
        let same = |have: &&mut Candidate| normal(&have.address) == normal(&address);
        let full = self.candidates.len() >= MAX_FOUND;
        match self.candidates.iter_mut().find(same) {
            Some(have) => have.name = have.name.take().or(name),
            None if full => {
                let reason = format!("it has more than {MAX_FOUND} addresses");
                self.skip(&self.service.origin.clone(), reason);
            }
            None => self.candidates.push(Candidate {
                address,
                name,
                dialect,
                origin: origin.clone(),
                interval: None,
            }),
        }
    }

    /// Adds a place that is asked by HTTP.
    pub(crate) fn place(
        &mut self,
        place: &Place,
        secure: Option<bool>,
        port: Option<u16>,
        dialect: &'static str,
        origin: &Origin,
    ) {
        let scheme = match secure {
            Some(true) => "https",
            Some(false) => "http",
            None => self.settings.scheme.as_deref().unwrap_or("http"),
        };
        let usual = matches!((scheme, port), ("https", Some(443)) | ("http", Some(80)) | (_, None));
        let host = bracketed(&place.host);
        let port = port.filter(|_| !usual).map(|port| format!(":{port}")).unwrap_or_default();
        let address = format!("{scheme}://{host}{port}{}", place.path);
        // What leads from http to https is one service.
        let twin = |scheme: &str| format!("{scheme}://{host}{}", place.path);
        if scheme == "http" && self.candidates.iter().any(|c| c.address == twin("https")) {
            return;
        }
        if scheme == "https" {
            self.candidates.retain(|candidate| candidate.address != twin("http"));
        }
        self.candidate(address, None, dialect, origin);
    }
}

/// Takes texts out of another one, the longest first: one may begin as another does.
pub(crate) fn hide(secrets: &BTreeSet<String>, text: &mut String) {
    let mut secrets: Vec<&String> = secrets.iter().collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        *text = text.replace(secret.as_str(), "…");
    }
}

/// A host as it stands before a port.
pub(crate) fn bracketed(host: &str) -> String {
    match host.parse::<std::net::Ipv6Addr>() {
        Ok(_) => format!("[{host}]"),
        Err(_) => host.to_owned(),
    }
}

/// A short name of an address: the first part of its host, and its path.
pub(crate) fn short_name(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    // Neither a query nor who asks belongs into a name: either may be secret.
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let numeric =
        host.starts_with('[') || host.chars().all(|c| c.is_ascii_digit() || ".:".contains(c));
    let first = if numeric { host } else { host.split(['.', ':']).next().unwrap_or(host) };
    let path = path.trim_end_matches('/');
    if path.is_empty() { first.to_owned() } else { format!("{first}/{path}") }
}

/// Labels that begin with a prefix, without it.
pub(crate) fn below<'s>(
    labels: &'s BTreeMap<String, Written>,
    prefix: &str,
) -> Vec<(&'s str, &'s Written)> {
    labels.iter().filter_map(|(name, value)| Some((name.strip_prefix(prefix)?, value))).collect()
}

#[cfg(test)]
mod tests;
