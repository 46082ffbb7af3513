//! From what may be written to what will run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use watchpost_targets::label::{INTERVAL_HINT, TIMEOUT_HINT};
use watchpost_targets::yaml::{self, Entry, Node, Value};
use watchpost_targets::{Labels, Origin, expand_pattern, is_label_name, parse_line};

use crate::base::duration::{self, GoDuration};
use crate::base::place::{At, Place, Problems, nearest};
use crate::config::builtin;
use crate::config::decode::{Context, decode, unknown_key};
use crate::config::plan::{Exporter, ExporterSettings, Http, Inline, Modules, Plan, Receiver};
use crate::config::raw::{
    RawHttp, RawReceiver, RawResolver, RawStorage, RawTarget, SECTIONS, SECTIONS_LATER,
};
use crate::config::targets::plan_target;
use crate::exporter::prometheus_remote_write::settings::{self as remote_write, RawRemoteWrite};
use crate::net::resolve::ResolverSettings;
use crate::probe::module::Module;
use crate::probe::module::raw::{LATER as MODULE_LATER, RawModule, settle};

/// Targets are probed this often when nobody says otherwise.
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
/// They are never probed more often.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Where our own page listens when nobody says otherwise.
pub(super) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9115);

const RECEIVERS: [&str; 1] = ["probe"];
const RECEIVERS_LATER: [&str; 14] = [
    "hostmetrics",
    "host_metrics",
    "otlp",
    "prometheus",
    "prometheusremotewrite",
    "filelog",
    "journald",
    "jaeger",
    "fluentforward",
    "kubeletstats",
    "k8s_cluster",
    "zipkin",
    "docker_stats",
    "httpcheck",
];
const EXPORTERS: [&str; 2] = ["prometheus_remote_write", "prometheusremotewrite"];
const EXPORTERS_LATER: [&str; 9] = [
    "otlp",
    "otlp_grpc",
    "otlphttp",
    "otlp_http",
    "prometheus",
    "debug",
    "logging",
    "file",
    "loki",
];

/// Reads a whole document. What could not be read is among the problems.
pub(super) fn plan(
    document: &Rc<Node>,
    file: &str,
    folder: &Path,
    problems: &RefCell<Problems>,
) -> Option<Plan> {
    let mut modules = builtin_modules();
    let checker = Checker { folder, context: context(file, MODULE_LATER, problems) };
    if !matches!(document.value, Value::Mapping(_) | Value::Null) {
        let message = format!("a map of sections is expected, found {}", document.kind());
        checker.error(&checker.place(document, ""), message);
        return None;
    }
    checker.sections(document);
    if let Some(section) = document.get("modules") {
        checker.modules(section, &mut modules);
    }
    let receivers =
        document.get("receivers").map(|node| checker.receivers(node, &modules)).unwrap_or_default();
    let exporters =
        document.get("exporters").map(|node| checker.exporters(node)).unwrap_or_default();
    let vantage = document.get("vantage").map(|node| {
        let at: Option<At<String>> = decode(node, "vantage", &checker.context);
        at.and_then(|at| at.value).unwrap_or_default()
    });
    Some(Plan {
        receivers,
        exporters,
        http: checker.http(document),
        storage: checker.storage(document),
        vantage: vantage.unwrap_or_default(),
        resolver: checker.resolver(document),
        modules: modules
            .into_iter()
            .filter_map(|(name, known)| Some((name, known.built?)))
            .collect(),
    })
}

/// The settings of the page when there is no configuration.
pub(super) fn default_http(search: bool) -> Http {
    Http { listen: DEFAULT_LISTEN, search }
}

/// The modules that exist without being declared.
pub(crate) fn builtin() -> Modules {
    builtin_modules().into_iter().filter_map(|(name, known)| Some((name, known.built?))).collect()
}

/// A module as it is written, for those that extend it, and built, unless it is wrong.
struct Known {
    node: Rc<Node>,
    built: Option<Arc<Module>>,
}

fn builtin_modules() -> BTreeMap<String, Known> {
    let problems = RefCell::new(Problems::default());
    let document = yaml::parse(builtin::MODULES).expect("the built-in modules are valid");
    let mut modules = BTreeMap::new();
    let folder = Path::new("");
    Checker { folder, context: context("built-in", MODULE_LATER, &problems) }
        .modules(&document, &mut modules);
    debug_assert!(!problems.borrow().has_errors(), "the built-in modules are valid");
    modules
}

fn context<'a>(
    file: &'a str,
    later: &'a [(&'a str, &'a [&'a str])],
    problems: &'a RefCell<Problems>,
) -> Context<'a> {
    Context { file, later, problems }
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
        Value::Mapping(_) => Rc::new(Node { mark: node.mark, value: Value::Mapping(entries) }),
        _ => Rc::clone(node),
    }
}

/// A map laid over another: maps are merged, everything else is replaced.
fn overlay(base: &Rc<Node>, over: &Rc<Node>) -> Rc<Node> {
    let (Value::Mapping(below), Value::Mapping(above)) = (&base.value, &over.value) else {
        return Rc::clone(over);
    };
    let mut entries: Vec<Entry> = above
        .iter()
        .map(|entry| match base.get(&entry.key) {
            Some(value) => Entry { value: overlay(value, &entry.value), ..entry.clone() },
            None => entry.clone(),
        })
        .collect();
    entries.extend(below.iter().filter(|entry| over.get(&entry.key).is_none()).cloned());
    Rc::new(Node { mark: over.mark, value: Value::Mapping(entries) })
}

struct Checker<'a> {
    folder: &'a Path,
    context: Context<'a>,
}

impl Checker<'_> {
    fn place(&self, node: &Node, path: &str) -> Place {
        self.context.place(node.mark, path)
    }

    fn error(&self, place: &Place, message: impl Into<String>) {
        self.context.problems.borrow_mut().error(place, message);
    }

    fn sections(&self, document: &Node) {
        for entry in
            document.entries().iter().filter(|entry| !SECTIONS.contains(&entry.key.as_str()))
        {
            let place = self.context.place(entry.key_mark, &entry.key);
            let later = [("document", &SECTIONS_LATER[..])];
            self.error(&place, unknown_key(&entry.key, "document", &SECTIONS, &later));
        }
        for (key, node) in document.entries().iter().map(|entry| (&entry.key, &entry.value)) {
            let map = matches!(key.as_str(), "receivers" | "modules" | "exporters");
            if map && !matches!(node.value, Value::Mapping(_) | Value::Null) {
                self.error(
                    &self.place(node, key),
                    format!("a map is expected, found {}", node.kind()),
                );
            }
        }
    }

    /// The type and the whole name of a component, when the type is known here.
    fn component<'n>(
        &self,
        entry: &'n Entry,
        what: &str,
        known: &[&str],
        later: &[&str],
    ) -> Option<(&'n str, Place)> {
        let kind = entry.key.split('/').next().unwrap_or_default().trim();
        let place = self.context.place(entry.key_mark, &format!("{what}s.{}", entry.key));
        if known.contains(&kind) {
            if entry.key.split_once('/').is_some_and(|(_, name)| name.trim().is_empty()) {
                self.error(&place, "there is no name after the slash");
            }
            return Some((kind, place));
        }
        let message = if later.contains(&kind) {
            format!("the {what} {kind:?} is not supported yet")
        } else {
            match nearest(kind, known.iter().copied()) {
                Some(near) => format!("unknown {what} {kind:?} (did you mean {near}?)"),
                None => format!("unknown {what} {kind:?} (known: {})", known.join(", ")),
            }
        };
        self.error(&place, message);
        None
    }

    fn modules(&self, section: &Rc<Node>, modules: &mut BTreeMap<String, Known>) {
        let own: BTreeMap<&str, &Entry> =
            section.entries().iter().map(|entry| (entry.key.as_str(), entry)).collect();
        for entry in section.entries() {
            let path = format!("modules.{}", entry.key);
            let mut seen = vec![entry.key.clone()];
            let Some(node) = self.extended(&entry.value, &path, &own, modules, &mut seen) else {
                continue;
            };
            let built = self.module(&entry.key, &node, &path);
            modules.insert(entry.key.clone(), Known { node, built });
        }
    }

    /// A module with what it extends laid below it.
    fn extended(
        &self,
        node: &Rc<Node>,
        path: &str,
        own: &BTreeMap<&str, &Entry>,
        known: &BTreeMap<String, Known>,
        seen: &mut Vec<String>,
    ) -> Option<Rc<Node>> {
        let Some(base) = node.get("extends") else { return Some(Rc::clone(node)) };
        let place = self.place(base, &format!("{path}.extends"));
        let Some(name) = base.text() else {
            self.error(&place, format!("the name of a module is expected, found {}", base.kind()));
            return None;
        };
        let own_module = own.get(name).filter(|_| !seen.iter().any(|s| s == name));
        let below = if let Some(entry) = own_module {
            seen.push(name.to_owned());
            self.extended(&entry.value, &format!("modules.{name}"), own, known, seen)?
        } else if let Some(known) = known
            .get(name)
            .filter(|_| !own.contains_key(name) || seen.first().is_some_and(|s| s == name))
        {
            Rc::clone(&known.node)
        } else if seen.iter().any(|s| s == name) {
            self.error(
                &place,
                format!("the modules extend each other in a circle: {}", seen.join(", ")),
            );
            return None;
        } else {
            let names = own.keys().copied().chain(known.keys().map(String::as_str));
            let hint = nearest(name, names)
                .map(|near| format!(" (did you mean {near}?)"))
                .unwrap_or_default();
            self.error(&place, format!("there is no module {name:?}{hint}"));
            return None;
        };
        Some(overlay(&below, &without(node, &["extends"])))
    }

    fn module(&self, name: &str, node: &Rc<Node>, path: &str) -> Option<Arc<Module>> {
        let raw: RawModule = decode::<At<RawModule>>(node, path, &self.context)?.value?;
        let place = self.place(node, path);
        let mut problems = self.context.problems.borrow_mut();
        settle(name, &place, raw, self.folder, &mut problems).map(Arc::new)
    }

    fn receivers(&self, section: &Rc<Node>, modules: &BTreeMap<String, Known>) -> Vec<Receiver> {
        let mut list = Vec::new();
        for entry in section.entries() {
            if let Some((_, place)) =
                self.component(entry, "receiver", &RECEIVERS, &RECEIVERS_LATER)
            {
                list.extend(self.receiver(&entry.key, &entry.value, &place, modules));
            }
        }
        list
    }

    fn receiver(
        &self,
        name: &str,
        node: &Rc<Node>,
        place: &Place,
        modules: &BTreeMap<String, Known>,
    ) -> Option<Receiver> {
        let path = place.path.as_str();
        let special = ["module", "targets"];
        let raw: RawReceiver =
            decode::<At<RawReceiver>>(&without(node, &special), path, &self.context)?.value?;
        let interval = self.interval(&raw.interval).unwrap_or(DEFAULT_INTERVAL);
        let timeout = self.timeout(&raw.timeout, interval);
        let mut receiver = Receiver {
            name: name.to_owned(),
            job: name.split_once('/').map_or(name, |(_, job)| job).to_owned(),
            interval,
            timeout,
            module: None,
            labels: self.labels(&raw.labels),
            disabled: self.disabled(&raw.metrics),
            inline: Vec::new(),
            files: Vec::new(),
        };
        if let Some(module) = node.get("module") {
            receiver.module = self.module_name(module, &format!("{path}.module"), modules);
            let known = receiver.module.as_ref().and_then(|name| modules.get(name)?.built.as_ref());
            if let Some(long) = known
                .and_then(|module| module.timeout)
                .filter(|long| *long > interval && timeout.is_none())
            {
                let at = raw.interval.as_ref().map_or_else(|| place.clone(), |at| at.place.clone());
                let (long, interval) = (duration::format(long), duration::format(interval));
                self.error(
                    &at,
                    format!("the interval {interval} is shorter than the module's timeout {long}"),
                );
            }
        }
        for at in &raw.target_files {
            let Some(text) = at.as_ref() else { continue };
            let file = self.folder.join(text);
            match expand_pattern(&file) {
                Ok(found) if found.iter().all(|f| f.exists()) && !found.is_empty() => {}
                Ok(_) => self.context.problems.borrow_mut().warning(
                    &at.place,
                    format!(
                        "{}: no such file; its targets are watched when it appears",
                        file.display()
                    ),
                ),
                Err(why) => self.error(&at.place, why),
            }
            receiver.files.push(file);
        }
        if let Some(targets) = node.get("targets") {
            self.targets(targets, &format!("{path}.targets"), &mut receiver, modules);
        }
        if receiver.inline.is_empty() && receiver.files.is_empty() && node.get("targets").is_none()
        {
            self.context
                .problems
                .borrow_mut()
                .warning(place, "no `targets:` and no `target_files:`: nothing is watched");
        }
        Some(receiver)
    }

    fn interval(&self, at: &Option<At<GoDuration>>) -> Option<Duration> {
        let at = at.as_ref()?;
        let interval = at.as_ref()?.0;
        if interval < MIN_INTERVAL {
            self.error(&at.place, "must be at least 1s");
            return None;
        }
        Some(interval)
    }

    fn timeout(&self, at: &Option<At<GoDuration>>, interval: Duration) -> Option<Duration> {
        let at = at.as_ref()?;
        let timeout = at.as_ref()?.0;
        if timeout.is_zero() || timeout > interval {
            let interval = duration::format(interval);
            self.error(
                &at.place,
                format!("must be more than 0s and at most the interval, {interval}"),
            );
            return None;
        }
        Some(timeout)
    }

    fn labels(&self, raw: &BTreeMap<String, At<String>>) -> Labels {
        let mut labels = Labels::new();
        for (name, at) in raw {
            if !is_label_name(name) {
                self.error(&at.place, format!("{name:?} is not a label name"));
            } else if let Some(value) = at.as_ref() {
                labels.insert(name.clone(), value.clone());
            }
        }
        labels
    }

    fn disabled(
        &self,
        raw: &BTreeMap<String, At<crate::config::raw::RawSwitch>>,
    ) -> BTreeSet<String> {
        let known: Vec<&str> = crate::signal::names::ALL
            .iter()
            .map(|m| m.name)
            .filter(|name| name.starts_with("probe."))
            .collect();
        let mut disabled = BTreeSet::new();
        for (name, at) in raw {
            if !known.contains(&name.as_str()) {
                self.error(
                    &at.place,
                    format!("the metric {}", unknown_key(name, "metrics", &known, &[])),
                );
            }
            let enabled =
                at.as_ref().and_then(|switch| switch.enabled.as_ref()?.value).unwrap_or(true);
            if !enabled {
                disabled.insert(name.clone());
            }
        }
        disabled
    }

    fn module_name(
        &self,
        node: &Rc<Node>,
        path: &str,
        modules: &BTreeMap<String, Known>,
    ) -> Option<String> {
        let place = self.place(node, path);
        let Some(name) = node.text() else {
            self.error(&place, format!("the name of a module is expected, found {}", node.kind()));
            return None;
        };
        if !modules.contains_key(name) {
            let hint = nearest(name, modules.keys().map(String::as_str))
                .map(|near| format!(" (did you mean {near}?)"));
            self.error(&place, format!("there is no module {name:?}{}", hint.unwrap_or_default()));
            return None;
        }
        Some(name.to_owned())
    }

    fn targets(
        &self,
        node: &Rc<Node>,
        path: &str,
        receiver: &mut Receiver,
        modules: &BTreeMap<String, Known>,
    ) {
        let Value::Sequence(items) = &node.value else {
            if !node.is_null() {
                self.error(
                    &self.place(node, path),
                    format!("a list is expected, found {}", node.kind()),
                );
            }
            return;
        };
        let built: Modules = modules
            .iter()
            .filter_map(|(name, known)| Some((name.clone(), Arc::clone(known.built.as_ref()?))))
            .collect();
        let mut seen: BTreeMap<(String, Option<String>), u32> = BTreeMap::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(inline) = self.target(item, &path, modules) else { continue };
            let place = self.place(item, &path);
            let named = inline.module.as_ref().map(|module| module.name.clone());
            let id = inline.target.id();
            if let Some(line) = seen.insert((id.address, named.or(id.module)), item.mark.line) {
                let message =
                    format!("{} is a target already, in line {line}", inline.target.address);
                self.context.problems.borrow_mut().warning(&place, message);
            }
            // A wrong module of the receiver has been told; its targets are not blamed for it.
            let wrong = |name: &str| modules.get(name).is_some_and(|known| known.built.is_none());
            let hint = inline.target.id().module;
            if !hint.as_deref().or(receiver.module.as_deref()).is_some_and(wrong)
                && let Err(why) =
                    plan_target(receiver, &built, &inline.target, inline.module.as_ref())
            {
                self.error(&place, why);
            }
            receiver.inline.push(inline);
        }
    }

    fn target(
        &self,
        item: &Rc<Node>,
        path: &str,
        modules: &BTreeMap<String, Known>,
    ) -> Option<Inline> {
        let place = self.place(item, path);
        let origin = Origin { file: self.context.file.into(), line: item.mark.line };
        if let Some(text) = item.text() {
            let target = parse_line(text, &Labels::new(), origin)
                .map_err(|problem| self.error(&place, problem.message));
            return Some(Inline { target: target.ok()?, module: None });
        }
        let raw: RawTarget =
            decode::<At<RawTarget>>(&without(item, &["module"]), path, &self.context)?.value?;
        let Some(address) = &raw.address else {
            self.error(&place, "`address:` is missing");
            return None;
        };
        let mut labels = self.labels(&raw.labels);
        labels.extend(
            raw.name
                .as_ref()
                .and_then(At::as_ref)
                .map(|name| ("humanname".to_owned(), name.clone())),
        );
        let mut target = match parse_line(address.as_ref()?, &labels, origin) {
            Ok(target) => target,
            Err(problem) => {
                self.error(&address.place, problem.message);
                return None;
            }
        };
        for (hint, at) in [(INTERVAL_HINT, &raw.interval), (TIMEOUT_HINT, &raw.timeout)] {
            if let Some(span) = at.as_ref().and_then(At::as_ref) {
                target.hints.insert(hint.to_owned(), duration::format(span.0));
            }
        }
        let mut module = None;
        match item.get("module") {
            Some(node) if matches!(node.value, Value::Mapping(_)) => {
                let path = format!("{path}.module");
                let own = BTreeMap::new();
                let extended = self.extended(node, &path, &own, modules, &mut Vec::new())?;
                let base = node.get("extends").and_then(|base| base.text()).unwrap_or("module");
                module = Some(self.module(&format!("{base}/inline"), &extended, &path)?);
            }
            Some(node) => {
                let name = self.module_name(node, &format!("{path}.module"), modules)?;
                target.hints.insert(watchpost_targets::label::MODULE_HINT.to_owned(), name);
            }
            None => {}
        }
        Some(Inline { target, module })
    }

    fn exporters(&self, section: &Rc<Node>) -> Vec<Exporter> {
        let mut list = Vec::new();
        for entry in section.entries() {
            let Some((_, place)) = self.component(entry, "exporter", &EXPORTERS, &EXPORTERS_LATER)
            else {
                continue;
            };
            let raw = {
                // The keys that come later are those of this kind of exporter.
                let context =
                    context(self.context.file, remote_write::LATER, self.context.problems);
                decode::<At<RawRemoteWrite>>(&entry.value, &place.path, &context)
                    .and_then(|at| at.value)
            };
            let mut problems = self.context.problems.borrow_mut();
            let settings = raw.and_then(|raw| raw.settle(&place, self.folder, &mut problems));
            list.extend(settings.map(|settings| Exporter {
                name: entry.key.clone(),
                settings: ExporterSettings::RemoteWrite(Box::new(settings)),
            }));
        }
        list
    }

    fn section<T: for<'de> serde::Deserialize<'de>>(
        &self,
        document: &Node,
        key: &str,
    ) -> Option<T> {
        decode::<At<T>>(document.get(key)?, key, &self.context)?.value
    }

    fn http(&self, document: &Node) -> Http {
        let raw: Option<RawHttp> = self.section(document, "http");
        let Some(at) = raw.and_then(|raw| raw.listen) else { return default_http(false) };
        let listen = at.as_ref().and_then(|text| {
            let text = text
                .strip_prefix("localhost:")
                .map_or(text.clone(), |port| format!("127.0.0.1:{port}"));
            // `:9115` means every address, as Go has it.
            let text = text.strip_prefix(':').map_or(text.clone(), |port| format!("[::]:{port}"));
            text.parse().ok()
        });
        if listen.is_none() && at.value.is_some() {
            self.error(&at.place, "must be an address and a port, such as 127.0.0.1:9115");
        }
        Http { listen: listen.unwrap_or(DEFAULT_LISTEN), search: false }
    }

    fn storage(&self, document: &Node) -> Option<std::path::PathBuf> {
        let raw: RawStorage = self.section(document, "storage")?;
        raw.directory.and_then(|at| at.value).map(|text| self.folder.join(text))
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
