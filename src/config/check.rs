//! From what may be written to what will run.

pub(super) mod advice;
mod components;
mod discovery;
mod modules;
mod pipelines;
mod receivers;
#[cfg(test)]
mod reference;
mod settings;
mod telemetry;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use watchpost_targets::yaml::{Node, Value};

use crate::base::duration::GoDuration;
use crate::base::place::{At, Place, Problems, given};
use crate::config::decode::{Context, Keys, decode, unknown_key};
use crate::config::plan::{Http, Modules, Plan, Storage};
use crate::config::raw::{RawHttp, RawResolver, RawStorage, SECTIONS, SECTIONS_LATER};
use crate::net::http_server;
use crate::net::resolve::ResolverSettings;
use crate::probe::module::raw::LATER as MODULE_LATER;
use crate::queue::log::store::Limits;
use components::{CONNECTORS, EXPORTERS, EXTENSIONS, PROCESSORS, RECEIVERS};
use modules::builtin_modules;

/// Targets are probed this often when nobody says otherwise.
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
/// They are never probed more often.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Where our own page listens when nobody says otherwise.
pub(super) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9115);

/// Reads a whole document, which refers to these variables of the process. What could not be read is among the
/// problems.
pub(super) fn plan(
    document: &Rc<Node>,
    files: &[String],
    variables: &BTreeSet<String>,
    problems: &RefCell<Problems>,
) -> Option<Plan> {
    let mut modules = builtin_modules();
    let checker =
        Checker { context: context(files, &[MODULE_LATER], problems), renamed: RefCell::default() };
    if !matches!(document.value, Value::Mapping(_) | Value::Null) {
        let message = format!("a map of sections is expected, found {}", document.kind());
        checker.error(&checker.place(document, ""), message);
        return None;
    }
    checker.sections(document);
    let service = checker.service(document);
    if let Some(section) = document.get("modules") {
        checker.modules(section, &mut modules);
    }
    let used = |kinds| service.uses(kinds);
    let (receivers, no_receivers) = checker.declared(document, &RECEIVERS, &used(&RECEIVERS));
    let (processors, no_processors) = checker.declared(document, &PROCESSORS, &used(&PROCESSORS));
    let (exporters, no_exporters) = checker.declared(document, &EXPORTERS, &used(&EXPORTERS));
    let (extensions, no_extensions) = checker.declared(document, &EXTENSIONS, &used(&EXTENSIONS));
    let connectors = checker.connectors(document, &service);
    let found = pipelines::Found {
        receivers: &receivers,
        processors: &processors,
        exporters: &exporters,
        extensions: &extensions,
        missing: BTreeMap::from([
            (RECEIVERS.section, no_receivers),
            (PROCESSORS.section, no_processors),
            (EXPORTERS.section, no_exporters),
            (EXTENSIONS.section, no_extensions),
            (CONNECTORS.section, connectors),
        ]),
    };
    let mut pipelines = checker.pipelines(&service, &found);
    let enabled = checker.enabled_extensions(&service, &found);
    let vantage = document.get("vantage").map(|node| {
        let at: Option<At<String>> = decode(node, "vantage", &checker.context);
        at.and_then(|at| at.value).unwrap_or_default()
    });
    let processor_plans = checker.processors(&processors);
    for pipeline in &mut pipelines {
        settings::batching(pipeline, &processor_plans);
    }
    let exporter_plans = checker.exporters(&exporters, &enabled);
    let watched = |name: &String| pipelines.iter().any(|p| p.receivers.contains(name));
    let (mut probes, mut hosts, mut named) = (Vec::new(), Vec::new(), Vec::new());
    for declared in &receivers {
        let name = declared.id.text();
        let (place, node) = (&declared.place, declared.node);
        let (probe, host, nothing) = match declared.kind {
            "probe" => {
                let plan = checker.receiver(&name, node, place, &modules);
                (plan, None, "its targets are not watched")
            }
            _ => (None, checker.host(declared, !service.is_written()), "it is not read"),
        };
        if !watched(&name) && service.is_written() && !problems.borrow().has_errors() {
            problems.borrow_mut().warning(place, format!("is in no pipeline: {nothing}"));
            continue;
        }
        probes.extend(probe);
        // Where no pipeline is written, they say which machine they are of.
        named.extend(host.as_ref().filter(|_| service.is_written()).map(|_| (name, place.clone())));
        hosts.extend(host);
    }
    checker.lookalikes(&pipelines, &processor_plans, &exporter_plans, &named);
    checker.doubts(&pipelines, &processor_plans, (&probes, &hosts), &service);
    let known: BTreeSet<String> = modules.keys().cloned().collect();
    let modules: Modules =
        modules.into_iter().filter_map(|(name, known)| Some((name, known.built?))).collect();
    let (http, storage, resolver) =
        (checker.http(document), checker.storage(document), checker.resolver(document));
    let around = discovery::Around { modules: &modules, known: &known, variables };
    let discovery = checker.discovery(document, &around);
    Some(Plan {
        receivers: probes,
        hosts,
        modules,
        processors: processor_plans,
        exporters: exporter_plans,
        extensions: checker.extensions(&extensions, &enabled),
        telemetry: checker.telemetry(&service),
        http,
        storage,
        vantage: vantage.unwrap_or_default(),
        resolver,
        discovery,
        unsupported: problems.borrow().skipped().to_vec(),
        renamed: checker.renamed.into_inner().into_iter().collect(),
        pipelines,
    })
}

/// After how long without a success of an exporter we are not ready when nobody says otherwise.
const EXPORT_FAILURE_LIMIT: Duration = Duration::from_secs(600);

/// The settings of the page when there is no configuration.
pub(super) fn default_http(search: bool) -> Http {
    Http {
        listen: DEFAULT_LISTEN,
        search,
        export_failure_limit: Some(EXPORT_FAILURE_LIMIT),
        hosts: Arc::from([]),
        reload: None,
    }
}

fn context<'a>(
    files: &'a [String],
    later: &'a [Keys],
    problems: &'a RefCell<Problems>,
) -> Context<'a> {
    Context { files, later, idle: &[], problems }
}

/// A map without some of its keys.
fn without(node: &Rc<Node>, keys: &[&str]) -> Rc<Node> {
    let entries = node
        .entries()
        .iter()
        .filter(|entry| !keys.contains(&entry.key.as_str()))
        .cloned()
        .collect();
    match &node.value {
        Value::Mapping(_) => Rc::new(Node::new(node.mark, Value::Mapping(entries))),
        _ => Rc::clone(node),
    }
}

struct Checker<'a> {
    context: Context<'a>,
    /// Older spellings that were read, and the present ones.
    renamed: RefCell<BTreeMap<String, String>>,
}

impl Checker<'_> {
    fn place(&self, node: &Node, path: &str) -> Place {
        self.context.place(node.mark, path)
    }

    fn error(&self, place: &Place, message: impl Into<String>) {
        self.context.problems.borrow_mut().error(place, message);
    }

    /// A context in which other keys are known to come later, or to have no effect.
    fn with<'c>(&'c self, later: &'c [Keys], idle: &'c [Keys]) -> Context<'c> {
        Context { later, idle, files: self.context.files, problems: self.context.problems }
    }

    fn sections(&self, document: &Node) {
        for entry in document.entries() {
            let (key, node) = (entry.key.as_str(), &entry.value);
            if !SECTIONS.contains(&key) {
                let place = self.context.place(entry.key_mark, key);
                let mut problems = self.context.problems.borrow_mut();
                if SECTIONS_LATER.contains(&key) {
                    problems.unsupported(&place, "this section is not supported yet");
                } else {
                    problems.error(&place, unknown_key(key, &SECTIONS));
                }
                continue;
            }
            let map = !matches!(key, "vantage");
            if map && !matches!(node.value, Value::Mapping(_) | Value::Null) {
                let message = format!("a map is expected, found {}", node.kind());
                self.error(&self.place(node, key), message);
            }
        }
    }

    fn section<T: for<'de> serde::Deserialize<'de>>(
        &self,
        document: &Node,
        key: &str,
    ) -> Option<T> {
        let node = document.get(key)?;
        // What is no map has been told.
        matches!(node.value, Value::Mapping(_) | Value::Null).then_some(())?;
        decode::<At<T>>(node, key, &self.context)?.value
    }

    fn http(&self, document: &Node) -> Http {
        let raw: Option<RawHttp> = self.section(document, "http");
        let Some(raw) = raw else { return default_http(false) };
        let limit = given(&raw.export_failure_limit).map_or(EXPORT_FAILURE_LIMIT, |span| span.0);
        let export_failure_limit = Some(limit).filter(|limit| !limit.is_zero());
        let listen = raw.listen.and_then(|at| {
            let listen = http_server::address(at.as_ref()?);
            if listen.is_none() {
                self.error(&at.place, "must be an address and a port, such as 127.0.0.1:9115");
            }
            listen
        });
        let host = |at: &At<String>| {
            let name = http_server::host_name(at.as_ref()?);
            if name.is_none() {
                let message = "must be a host name without scheme and port, such as watch.lan";
                self.error(&at.place, message);
            }
            name
        };
        Http {
            listen: listen.unwrap_or(DEFAULT_LISTEN),
            search: false,
            export_failure_limit,
            hosts: raw.hosts.iter().filter_map(host).collect(),
            reload: given(&raw.reload).copied(),
        }
    }

    fn storage(&self, document: &Node) -> Storage {
        let Some(raw) = self.section::<RawStorage>(document, "storage") else {
            return Storage::default();
        };
        let directory = raw.directory.and_then(|at| Some(at.place.beside(at.as_ref()?)));
        let mut limits = Limits::default();
        let Some(raw) = given(&raw.queue) else { return Storage { directory, limits } };
        let mib = |at: &Option<At<u64>>, least: u64, default: u64| {
            let Some(at) = at else { return default };
            let Some(mib) = at.value else { return default };
            if mib < least || mib > 1 << 30 {
                self.error(&at.place, format!("must be {least} to {} MiB", 1 << 30));
            }
            mib << 20
        };
        limits.max_bytes = mib(&raw.max_size_mib, 1, limits.max_bytes);
        limits.min_free = mib(&raw.min_free_mib, 0, limits.min_free);
        limits.segment_bytes = mib(&raw.segment_size_mib, 1, limits.segment_bytes).min(32 << 20);
        let span = |at: &Option<At<GoDuration>>| given(at).map(|span| span.0);
        limits.max_age = span(&raw.max_age).filter(|age| !age.is_zero());
        limits.fsync_interval = span(&raw.fsync_interval).unwrap_or(limits.fsync_interval);
        limits.orphan_ttl = span(&raw.orphan_ttl).unwrap_or(limits.orphan_ttl);
        Storage { directory, limits }
    }

    fn resolver(&self, document: &Node) -> ResolverSettings {
        let Some(raw) = self.section::<RawResolver>(document, "resolver") else {
            return ResolverSettings::default();
        };
        let mut nameservers = Vec::new();
        for at in &raw.nameservers {
            let Some(text) = at.as_ref() else { continue };
            let bare = text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53));
            match bare.or_else(|| text.parse().ok()) {
                Some(address) => nameservers.push(address),
                None => self.error(
                    &at.place,
                    format!("{text:?} is not an IP address, with or without a port"),
                ),
            }
        }
        let timeout = raw.timeout.as_ref().and_then(|at| {
            let timeout = at.as_ref()?.0;
            if timeout.is_zero() {
                self.error(&at.place, "must be more than 0s");
            }
            Some(timeout)
        });
        let attempts = raw.attempts.as_ref().and_then(|at| {
            let attempts = *at.as_ref()?;
            if !(1..=10).contains(&attempts) {
                self.error(&at.place, "must be 1 to 10");
            }
            Some(attempts as usize)
        });
        ResolverSettings { nameservers, timeout, attempts }
    }
}
