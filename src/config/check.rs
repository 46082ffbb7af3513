//! From what may be written to what will run.

mod modules;
mod receivers;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use watchpost_targets::yaml::{Entry, Node, Value};

use crate::base::place::{At, Place, Problems, nearest};
use crate::config::decode::{Context, decode, unknown_key};
use crate::config::plan::{Exporter, ExporterSettings, Http, Modules, Plan};
use crate::config::raw::{RawHttp, RawResolver, RawStorage, SECTIONS, SECTIONS_LATER};
use crate::exporter::prometheus_remote_write::settings::{self as remote_write, RawRemoteWrite};
use crate::net::resolve::ResolverSettings;
use crate::probe::module::raw::LATER as MODULE_LATER;
use modules::builtin_modules;

/// Targets are probed this often when nobody says otherwise.
pub(super) const DEFAULT_INTERVAL: Duration = Duration::from_secs(15);
/// They are never probed more often.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Where our own page listens when nobody says otherwise.
pub(super) const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9115);

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
