//! The `service:` section: which components run, and in which order samples go through them.

use std::collections::{BTreeMap, BTreeSet};

use watchpost_targets::yaml::{Node, Value};

use super::Checker;
use super::components::{
    CONNECTORS, Declared, EXPORTERS, EXTENSIONS, Id, Kinds, PROCESSORS, RECEIVERS,
};
use crate::base::place::{At, Place, hint};
use crate::config::decode::decode;
use crate::config::plan::{Exporter, Pipeline, Processor, Receiver};
use crate::config::raw::{RawPipeline, RawService, SERVICE_IDLE, SERVICE_LATER};
use crate::host::run::HostPlan;
use crate::processor::filter;
use crate::signal::names;
use crate::signal::series::Metric;

/// The signals of the Collector that are not built here.
const SIGNALS_LATER: [&str; 3] = ["traces", "logs", "profiles"];
/// The order of processors when nobody names one.
const DEFAULT_ORDER: [&str; 6] =
    ["memory_limiter", "resource_detection", "resource", "attributes", "filter", "batch"];

/// The section as it is written.
pub(super) struct Service {
    /// Where the pipelines are written; `None`: everything goes everywhere.
    place: Option<Place>,
    pub(super) raw: RawService,
    pipelines: Vec<Written>,
}

struct Written {
    name: String,
    place: Place,
    supported: bool,
    /// Whether it could be read.
    read: bool,
    raw: RawPipeline,
}

/// What is declared, and what is declared and does not exist here.
pub(super) struct Found<'a> {
    pub(super) receivers: &'a [Declared<'a>],
    pub(super) processors: &'a [Declared<'a>],
    pub(super) exporters: &'a [Declared<'a>],
    pub(super) extensions: &'a [Declared<'a>],
    /// By section.
    pub(super) missing: BTreeMap<&'static str, Vec<Id>>,
}

impl Found<'_> {
    /// Whether something is declared that exists only in the Collector: that has been told.
    fn lacks(&self, kinds: &Kinds, id: &Id) -> bool {
        let in_section = |section| self.missing.get(section).is_some_and(|ids| ids.contains(id));
        let connects = matches!(kinds.what, "receiver" | "exporter");
        in_section(kinds.section) || (connects && in_section(CONNECTORS.section))
    }
}

impl Service {
    /// Whether it says which pipelines there are.
    pub(super) fn is_written(&self) -> bool {
        self.place.is_some()
    }

    fn names(&self, kinds: &Kinds) -> Vec<&At<String>> {
        match kinds.what {
            "extension" => self.raw.extensions.iter().collect(),
            "connector" => {
                let all = self.pipelines.iter();
                all.flat_map(|written| written.raw.receivers.iter().chain(&written.raw.exporters))
                    .collect()
            }
            what => self
                .pipelines
                .iter()
                .flat_map(|written| match what {
                    "receiver" => &written.raw.receivers,
                    "processor" => &written.raw.processors,
                    _ => &written.raw.exporters,
                })
                .collect(),
        }
    }

    /// Whether somebody needs a component of a section.
    pub(super) fn uses(&self, kinds: &'static Kinds) -> impl Fn(&Id) -> bool + use<> {
        let all = !self.is_written();
        let names = self.names(kinds).into_iter();
        let used: BTreeSet<Id> =
            names.filter_map(|at| Some(Id::parse(at.as_ref()?).ok()?.present(kinds))).collect();
        move |id: &Id| all || used.contains(&id.present(kinds))
    }
}

impl Checker<'_> {
    /// Reads the section. Before anything else: it says what becomes of what does not exist here.
    pub(super) fn service(&self, document: &Node) -> Service {
        let Some(node) = document.get("service") else {
            return Service { place: None, raw: RawService::default(), pipelines: Vec::new() };
        };
        if let Some(at) = node.get("unsupported") {
            match at.text() {
                Some("skip") => self.context.problems.borrow_mut().skip_unsupported(),
                Some("refuse") => {}
                _ => self.error(&self.place(at, "service.unsupported"), "must be refuse or skip"),
            }
        }
        let context = self.with(&[SERVICE_LATER], &[SERVICE_IDLE]);
        let raw = match &node.value {
            Value::Mapping(_) => decode::<At<RawService>>(node, "service", &context),
            _ => None,
        };
        let written = node.get("pipelines");
        let place = written.map(|node| self.place(node, "service.pipelines"));
        let mut pipelines = Vec::new();
        let entries = written.map(|node| node.entries()).unwrap_or_default();
        if let (true, Some(place), Some(node)) = (entries.is_empty(), &place, written) {
            match node.value {
                Value::Mapping(_) | Value::Null => {
                    self.error(place, "there must be at least one pipeline");
                }
                _ => self.error(place, format!("a map is expected, found {}", node.kind())),
            }
        }
        for entry in entries {
            let path = format!("service.pipelines.{}", entry.key);
            let place = self.context.place(entry.key_mark, &path);
            let id = match Id::parse(&entry.key) {
                Ok(id) => id,
                Err(why) => {
                    self.error(&place, why);
                    continue;
                }
            };
            let supported = id.kind == "metrics";
            if SIGNALS_LATER.contains(&id.kind.as_str()) {
                let message = format!("pipelines of {} are not supported yet", id.kind);
                self.context.problems.borrow_mut().unsupported(&place, message);
            } else if !supported {
                let hint = hint(&id.kind, ["metrics", "traces", "logs"]);
                self.error(&place, format!("unknown signal {:?}{hint}", id.kind));
            }
            let raw =
                decode::<At<RawPipeline>>(&entry.value, &path, &context).and_then(|at| at.value);
            let (read, raw) = (raw.is_some(), raw.unwrap_or_default());
            pipelines.push(Written { name: id.text(), place, supported, read, raw });
        }
        let raw = raw.and_then(|at| at.value).unwrap_or_default();
        Service { place, raw, pipelines }
    }

    /// The connectors: none exists here yet.
    pub(super) fn connectors(&self, document: &Node, service: &Service) -> Vec<Id> {
        self.declared(document, &CONNECTORS, &service.uses(&CONNECTORS)).1
    }

    /// The pipelines that run.
    pub(super) fn pipelines(&self, service: &Service, found: &Found<'_>) -> Vec<Pipeline> {
        let Some(place) = &service.place else { return vec![everything(found)] };
        let skipping = self.context.problems.borrow().is_skipping();
        let mut pipelines: Vec<Pipeline> = Vec::new();
        for written in &service.pipelines {
            let raw = &written.raw;
            let receivers = self.resolve(&raw.receivers, &RECEIVERS, found.receivers, found);
            let processors = self.resolve(&raw.processors, &PROCESSORS, found.processors, found);
            let exporters = self.resolve(&raw.exporters, &EXPORTERS, found.exporters, found);
            for (list, what) in [(&raw.receivers, "receiver"), (&raw.exporters, "exporter")] {
                if list.is_empty() && written.read {
                    self.error(&written.place, format!("there must be at least one {what}"));
                }
            }
            if !written.supported {
                continue;
            }
            let lacks = match (receivers.is_empty(), exporters.is_empty()) {
                (true, _) if !raw.receivers.is_empty() => Some("receiver"),
                (_, true) if !raw.exporters.is_empty() => Some("exporter"),
                _ => None,
            };
            if let Some(lacks) = lacks {
                if skipping {
                    let message = format!("no {lacks} is left: the pipeline is left out");
                    self.context.problems.borrow_mut().warning(&written.place, message);
                }
                continue;
            }
            if pipelines.iter().any(|have| have.name == written.name) {
                self.error(&written.place, "there are two pipelines of this name");
            }
            let name = written.name.clone();
            let batching = None;
            pipelines.push(Pipeline { name, receivers, processors, exporters, batching });
        }
        // Otherwise what is missing has been told.
        if pipelines.is_empty() && !service.pipelines.is_empty() && skipping {
            self.error(place, "no pipeline is left");
        }
        pipelines
    }

    /// The names of declared components that a list names.
    fn resolve(
        &self,
        list: &[At<String>],
        kinds: &Kinds,
        declared: &[Declared<'_>],
        found: &Found<'_>,
    ) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for at in list {
            let Some(text) = at.as_ref() else { continue };
            let id = match Id::parse(text) {
                Ok(id) => id,
                Err(why) => {
                    self.error(&at.place, why);
                    continue;
                }
            };
            let present = id.present(kinds);
            if let Some(component) = declared.iter().find(|d| d.id.present(kinds) == present) {
                let name = component.id.text();
                if names.contains(&name) {
                    let first =
                        if *text == name { String::new() } else { format!(", first as {name}") };
                    let message = format!("the {} {text} is here twice{first}", kinds.what);
                    self.error(&at.place, message);
                } else {
                    names.push(name);
                }
            } else if !found.lacks(kinds, &id) {
                let all: Vec<String> = declared.iter().map(|d| d.id.text()).collect();
                let hint = hint(text, all.iter().map(String::as_str));
                let message = format!("the {} {text:?} is not declared{hint}", kinds.what);
                self.error(&at.place, message);
            }
        }
        names
    }

    /// The extensions that run.
    pub(super) fn enabled_extensions(
        &self,
        service: &Service,
        found: &Found<'_>,
    ) -> BTreeSet<String> {
        if service.place.is_none() && service.raw.extensions.is_empty() {
            return found.extensions.iter().map(|declared| declared.id.text()).collect();
        }
        self.resolve(&service.raw.extensions, &EXTENSIONS, found.extensions, found)
            .into_iter()
            .collect()
    }

    /// Warns of filters that drop nothing, or everything, of what their pipeline can carry.
    pub(super) fn doubts(
        &self,
        pipelines: &[Pipeline],
        processors: &BTreeMap<String, Processor>,
        (receivers, hosts): (&[Receiver], &[HostPlan]),
        service: &Service,
    ) {
        use crate::config::plan::ProcessorSettings;
        // Of a configuration that is wrong there is enough to say.
        if self.context.problems.borrow().has_errors() {
            return;
        }
        let quiet = self.is_quiet(service);
        for pipeline in pipelines {
            let probes = receivers.iter().filter(|r| pipeline.receivers.contains(&r.name));
            let hosts =
                || hosts.iter().filter(|host| pipeline.receivers.iter().any(|r| **r == *host.name));
            // Of receivers that are not built here nobody knows the series.
            if probes.clone().count() + hosts().count() < pipeline.receivers.len() {
                continue;
            }
            let own = |metric: &&&'static Metric| {
                let probed = metric.name.starts_with("probe.");
                let wanted = || probes.clone().any(|r| !r.disabled.contains(metric.name));
                if probed { wanted() } else { !quiet }
            };
            let read = names::host::TABLE.iter().map(|entry| &entry.metric);
            let read = read.filter(|metric| hosts().any(|host| host.settings.wanted.has(metric)));
            let metrics: Vec<&'static Metric> =
                names::ALL.iter().filter(own).chain(read).copied().collect();
            for name in &pipeline.processors {
                let Some(ProcessorSettings::Filter(settings)) =
                    processors.get(name).map(|processor| &processor.settings)
                else {
                    continue;
                };
                for (index, doubt) in filter::doubts(settings, &metrics) {
                    let text = &settings.rules[index].condition.text;
                    let message = format!("in the pipeline {}, {doubt}: {text}", pipeline.name);
                    let place = &settings.places[index];
                    self.context.problems.borrow_mut().warning(place, message);
                }
            }
        }
    }
}

impl Checker<'_> {
    /// Warns where what several machines tell of themselves would become the same series: in a pipeline
    /// that is written, host metrics have no resource of their own.
    pub(super) fn lookalikes(
        &self,
        pipelines: &[Pipeline],
        processors: &BTreeMap<String, Processor>,
        exporters: &BTreeMap<String, Exporter>,
        hosts: &[(String, Place)],
    ) {
        use crate::config::plan::{ExporterSettings, ProcessorSettings};
        for (host, place) in hosts {
            let carry = pipelines.iter().filter(|pipeline| pipeline.receivers.contains(host));
            for pipeline in carry {
                let settings = pipeline.processors.iter().filter_map(|name| processors.get(name));
                let (mut labels, mut resource) = (false, false);
                for processor in settings {
                    match &processor.settings {
                        ProcessorSettings::Attributes(_) => labels = true,
                        ProcessorSettings::ResourceDetection(_)
                        | ProcessorSettings::Resource(_) => resource = true,
                        _ => {}
                    }
                }
                for name in &pipeline.exporters {
                    let missing = match exporters.get(name).map(|exporter| &exporter.settings) {
                        Some(ExporterSettings::RemoteWrite(settings)) => {
                            let identity = &settings.identity;
                            let promoted = resource && identity.resource_to_telemetry;
                            (!labels && !promoted && identity.external_labels.is_empty())
                                .then_some("`external_labels:`, or resource_detection and `resource_to_telemetry_conversion:`")
                        }
                        Some(ExporterSettings::OtlpGrpc(_) | ExporterSettings::OtlpHttp(_)) => {
                            (!labels && !resource).then_some("resource_detection")
                        }
                        _ => None,
                    };
                    if let Some(missing) = missing {
                        let message = format!(
                            "in the pipeline {}, nothing tells {name} which machine this is: add {missing}",
                            pipeline.name
                        );
                        self.context.problems.borrow_mut().warning(place, message);
                    }
                }
            }
        }
    }
}

/// Without a service section every receiver feeds every exporter through all processors.
fn everything(found: &Found<'_>) -> Pipeline {
    let names = |list: &[Declared<'_>]| list.iter().map(|d| d.id.text()).collect::<Vec<_>>();
    let mut processors: Vec<&Declared<'_>> = found.processors.iter().collect();
    processors.sort_by_key(|declared| DEFAULT_ORDER.iter().position(|kind| *kind == declared.kind));
    Pipeline {
        name: "metrics".to_owned(),
        receivers: names(found.receivers),
        processors: processors.into_iter().map(|declared| declared.id.text()).collect(),
        exporters: names(found.exporters),
        batching: None,
    }
}
