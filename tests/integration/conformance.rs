//! The cases by which blackbox_exporter is known, tried on ours and, side by side, on Debian's:
//! what the case says must come out, and whatever both publish must be the same.

mod http;
mod tcp;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use watchpost::signal::outcome::{Reason, Verdict};

use crate::support::dns::Dns;
use crate::support::peers::{self, Peer};
use crate::support::servers::Server;
use crate::support::{self, Metrics};

/// What Go writes for a time that is not set.
const GO_ZERO_TIME: f64 = -62_135_596_800.0;

/// Measured, so never the same twice.
const DURATIONS: [&str; 3] =
    ["probe_duration_seconds", "probe_dns_lookup_time_seconds", "probe_http_duration_seconds"];

/// Metrics of blackbox_exporter that ours may leave out, and why.
const LEFT_OUT: [(&str, &str); 3] = [
    (
        "probe_failed_due_to_regex",
        "tcp: 0.23 says 0 before there is a connection, newer ones do not",
    ),
    ("probe_http_duration_seconds", "a phase that did not happen has no duration"),
    ("probe_ssl_last_chain_expiry_timestamp_seconds", "no date where nothing was verified"),
];

/// What Debian's blackbox_exporter 0.23 cannot do, or cannot be asked: cases with these run against
/// ours alone. Metrics that it does not know are not compared anyhow: `probe_timeout_seconds`,
/// `probe_tls_cipher_info`, the label `serialnumber` and `probe_tcp_duration_seconds` (only ours).
mod lacks {
    pub(super) const NAMES: &str = "names come from the test's own name server";
    pub(super) const HOSTS: &str = "which addresses localhost has depends on the machine";
    pub(super) const SCHEME: &str = "it knows no scheme in capitals";
    pub(super) const REFUSED_BODY: &str =
        "it closes the body of a redirect that it does not follow";
    pub(super) const CONFIG: &str = "the configuration is refused as a whole";
}

/// One case: a server, a module, a target, and what must come out.
struct Case {
    id: &'static str,
    servers: Vec<Server>,
    prober: &'static str,
    block: String,
    target: String,
    /// `None`: up.
    down: Option<Reason>,
    /// Ours does not even try.
    refused: bool,
    expect: Vec<(String, f64)>,
    dates: Vec<(String, f64)>,
    absent: Vec<&'static str>,
    /// These phases were timed, and no others.
    phases: Option<Vec<&'static str>>,
    /// How many connections the first server gets from one probe.
    connections: Option<usize>,
    alone: Option<&'static str>,
    /// A metric that blackbox_exporter has otherwise, and why ours may differ.
    differs: Option<(&'static str, &'static str)>,
}

impl Case {
    /// A case that ends well; `block` is the inside of the prober's block.
    fn new(
        id: &'static str,
        prober: &'static str,
        server: Server,
        block: &str,
        target: String,
    ) -> Self {
        let (block, servers) = (block.to_owned(), vec![server]);
        let (expect, dates, absent) = (Vec::new(), Vec::new(), Vec::new());
        let (down, refused, phases, connections) = (None, false, None, None);
        Self {
            id,
            servers,
            prober,
            block,
            target,
            down,
            refused,
            expect,
            dates,
            absent,
            phases,
            connections,
            alone: None,
            differs: None,
        }
    }

    fn down(mut self, reason: Reason) -> Self {
        self.down = Some(reason);
        self
    }

    fn refused(mut self) -> Self {
        self.refused = true;
        self
    }

    /// A series with at least these labels has this value.
    fn is(mut self, series: &str, value: f64) -> Self {
        self.expect.push((format!("probe_{series}"), value));
        self
    }

    /// A date, to the second: certificates were made a moment ago.
    fn about(mut self, series: &str, value: f64) -> Self {
        self.dates.push((format!("probe_{series}"), value));
        self
    }

    /// Exactly these phases were timed.
    fn phases(mut self, phases: &[&'static str]) -> Self {
        self.phases = Some(phases.to_vec());
        self
    }

    /// The lengths of the last response: as it was announced and as it was read.
    fn lengths(self, content: f64, body: f64) -> Self {
        self.is("http_content_length", content).is("http_uncompressed_body_length", body)
    }

    /// Ours publishes no such series.
    fn without(mut self, series: &'static str) -> Self {
        self.absent.push(series);
        self
    }

    fn also(mut self, server: Server) -> Self {
        self.servers.push(server);
        self
    }

    fn connections(mut self, count: usize) -> Self {
        self.connections = Some(count);
        self
    }

    fn alone(mut self, why: &'static str) -> Self {
        self.alone = Some(why);
        self
    }

    fn differs(mut self, metric: &'static str, why: &'static str) -> Self {
        self.differs = Some((metric, why));
        self
    }

    fn module(&self) -> String {
        self.id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
    }

    /// The module as a line below `modules:`.
    fn yaml(&self) -> String {
        let Self { prober, block, .. } = self;
        format!("  {}: {{prober: {prober}, timeout: 10s, {prober}: {{{block}}}}}\n", self.module())
    }

    fn run(&self, dns: &Dns, blackbox: Option<&Peer>, wrong: &mut Vec<String>) {
        let mut note = |what: String| wrong.push(format!("{}: {what}", self.id));
        let count = || self.servers.first().map_or(0, |s| s.connections.load(Ordering::SeqCst));
        let before = count();
        let ours =
            support::attempt_with(&self.yaml(), Some(dns.address), &self.module(), &self.target);
        if let Some(expected) = self.connections {
            let seen = count() - before;
            if seen != expected {
                note(format!("{seen} connections, not {expected}"));
            }
        }
        let ours = match ours {
            Err(_) if self.refused => Metrics::from([("probe_success".to_owned(), 0.0)]),
            Err(error) => return note(format!("was not tried: {error}")),
            Ok(_) if self.refused => return note("was tried".to_owned()),
            Ok((outcome, metrics)) => {
                let reason = match outcome.verdict {
                    Verdict::Up => None,
                    Verdict::Down { reason, .. } => Some(reason),
                };
                if reason != self.down {
                    note(format!("{reason:?}, not {:?}: {}", self.down, outcome.detail));
                }
                metrics
            }
        };
        let up = self.down.is_none() && !self.refused;
        let success = ("probe_success".to_owned(), f64::from(u8::from(up)));
        for (series, value) in self.expect.iter().chain([&success]) {
            let found = find(&ours, series);
            if found != Some(*value) {
                note(format!("{series} is {found:?}, not {value}"));
            }
        }
        for (series, value) in &self.dates {
            let found = find(&ours, series);
            if !found.is_some_and(|have| (have - value).abs() <= 60.0) {
                note(format!("{series} is {found:?}, not about {value}"));
            }
        }
        if let Some(phases) = &self.phases {
            let name = format!("probe_{}_duration_seconds", self.prober);
            let timed = ours.keys().filter(|series| split(series).0 == name);
            let seen: BTreeSet<String> = timed.cloned().collect();
            let wanted =
                phases.iter().map(|phase| format!("{name}{{phase=\"{phase}\"}}")).collect();
            if seen != wanted {
                note(format!("the phases {seen:?}, not {wanted:?}"));
            }
        }
        for series in &self.absent {
            if let Some(value) = find(&ours, &format!("probe_{series}")) {
                note(format!("{series} is there, and {value}"));
            }
        }
        if let Some(blackbox) = blackbox.filter(|_| self.alone.is_none()) {
            let mut theirs = blackbox.probe(&self.module(), &self.target);
            if let Some((metric, _)) = self.differs {
                theirs.remove(&format!("probe_{metric}"));
            }
            differences(&ours, &theirs, self.refused).into_iter().for_each(note);
        }
    }
}

/// A series' name and its labels, each as `name="value"`.
fn split(series: &str) -> (&str, BTreeSet<&str>) {
    let Some((name, labels)) = series.split_once('{') else { return (series, BTreeSet::new()) };
    let inner = labels.trim_end_matches('}');
    (name, inner.split_inclusive("\",").map(|pair| pair.trim_end_matches(',')).collect())
}

/// The value of the series that has this name and at least these labels.
fn find(metrics: &Metrics, series: &str) -> Option<f64> {
    let (name, labels) = split(series);
    let fits = |have: &str| split(have).0 == name && split(have).1.is_superset(&labels);
    metrics.iter().find(|(have, _)| fits(have)).map(|(_, value)| *value)
}

/// Whether two sets of labels agree in every label that both have.
fn agree(one: &BTreeSet<&str>, other: &BTreeSet<&str>) -> bool {
    let other: BTreeMap<_, _> = other.iter().filter_map(|pair| pair.split_once('=')).collect();
    let mut shared = one.iter().filter_map(|pair| pair.split_once('='));
    shared.all(|(name, value)| other.get(name).is_none_or(|have| *have == value))
}

/// What blackbox_exporter publishes and ours does not, or not so.
fn differences(ours: &Metrics, theirs: &Metrics, refused: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (series, value) in theirs {
        // The text format doubles what Go's names have escaped already.
        let series = series.replace("\\\\", "\\");
        let (name, labels) = split(&series);
        let named: Vec<_> = ours.iter().filter(|(have, _)| split(have).0 == name).collect();
        if named.is_empty() {
            let left_out = refused || LEFT_OUT.iter().any(|(known, _)| *known == name);
            let empty = match name {
                "probe_failed_due_to_regex" => *value == 0.0,
                "probe_ssl_last_chain_expiry_timestamp_seconds" => *value == GO_ZERO_TIME,
                _ => true,
            };
            if !left_out || !(empty || refused) {
                found.push(format!("blackbox_exporter publishes {series} {value}, ours does not"));
            }
        } else if !DURATIONS.contains(&name) {
            let same = named.iter().find(|(have, _)| agree(&labels, &split(have).1));
            if same.is_none_or(|(_, have)| *have != value) {
                found.push(format!("blackbox_exporter publishes {series} {value}, ours {named:?}"));
            }
        }
    }
    found
}

/// Runs all cases, those that can on blackbox_exporter too, and tells everything that is wrong.
fn run(name: &str, cases: &[Case], dns: &Dns) {
    let modules: String = cases.iter().filter(|c| c.alone.is_none()).map(Case::yaml).collect();
    let names: BTreeSet<String> = cases.iter().map(Case::module).collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same name");
    let blackbox = peers::blackbox(&format!("modules:\n{modules}"));
    if blackbox.is_none() {
        support::skip(name, "prometheus-blackbox-exporter is not installed");
        return;
    }
    let mut wrong = Vec::new();
    for case in cases {
        case.run(dns, blackbox.as_ref(), &mut wrong);
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
