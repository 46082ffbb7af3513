//! Processors, exporters and extensions: each kind with its own keys.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use watchpost_targets::yaml::{Node, Value};

use super::Checker;
use super::components::{Declared, EXTENSIONS, Id};
use crate::base::place::{At, Problems, given};
use crate::config::decode::{Keys, decode};
use crate::config::plan::{
    Exporter, ExporterSettings, Extension, ExtensionSettings, Pipeline, Processor,
    ProcessorSettings,
};
use crate::config::raw::{RawBatchProcessor, SERVICE_IDLE};
use crate::exporter::otlp::settings::{self as otlp, RawOtlpGrpc, RawOtlpHttp};
use crate::exporter::prometheus_remote_write::settings::{self as remote_write, RawRemoteWrite};
use crate::exporter::{client, debug, prometheus};
use crate::extension::{basicauth, bearertokenauth, health_check};
use crate::host::run::HostPlan;
use crate::host::settings::{self as host, RawHostMetrics};
use crate::processor::{actions, filter, memory_limiter, resource_detection};
use crate::queue::books::Batching;

/// The largest batch, in samples.
const MAX_BATCH: u64 = 100_000;

/// A number for what is written below a node, wherever it stands.
fn fingerprint(node: &Node) -> u64 {
    fn walk(node: &Node, hasher: &mut DefaultHasher) {
        std::mem::discriminant(&node.value).hash(hasher);
        match &node.value {
            Value::Null | Value::Unknown => {}
            Value::Scalar { text, plain } => (text, plain).hash(hasher),
            Value::Sequence(items) => items.iter().for_each(|item| walk(item, hasher)),
            Value::Mapping(entries) => {
                for entry in entries {
                    entry.key.hash(hasher);
                    walk(&entry.value, hasher);
                }
            }
        }
    }
    let mut hasher = DefaultHasher::new();
    walk(node, &mut hasher);
    hasher.finish()
}

/// Takes `batch` out of a pipeline's processors: it says how the exporters batch.
pub(super) fn batching(pipeline: &mut Pipeline, processors: &BTreeMap<String, Processor>) {
    pipeline.processors.retain(|name| {
        match processors.get(name).map(|processor| &processor.settings) {
            Some(ProcessorSettings::Batch(batching)) => {
                pipeline.batching = Some(*batching);
                false
            }
            _ => true,
        }
    });
}

impl Checker<'_> {
    /// Reads what is written about a component.
    fn read<T: for<'de> Deserialize<'de>>(
        &self,
        declared: &Declared<'_>,
        later: &[Keys],
        idle: &[Keys],
        node: &Rc<Node>,
    ) -> Option<T> {
        let context = self.with(later, idle);
        decode::<At<T>>(node, &declared.place.path, &context)?.value
    }

    /// Reads what is written about a `host_metrics` receiver.
    ///
    /// `short`: no pipeline is written, so that nobody else says which machine it is.
    pub(super) fn host(&self, declared: &Declared<'_>, short: bool) -> Option<HostPlan> {
        let raw: RawHostMetrics =
            self.read(declared, &[host::LATER], &[host::IDLE], declared.node)?;
        let mut settings = raw.settle(&declared.place, &mut self.problems());
        settings.job = short.then_some("host_metrics");
        Some(HostPlan {
            name: declared.id.text().into(),
            settings: Arc::new(settings),
            fingerprint: fingerprint(declared.node) ^ u64::from(short),
        })
    }

    pub(super) fn processors(&self, list: &[Declared<'_>]) -> BTreeMap<String, Processor> {
        let mut plans = BTreeMap::new();
        for declared in list {
            if let Some(settings) = self.processor(declared) {
                let fingerprint = fingerprint(declared.node);
                plans.insert(declared.id.text(), Processor { settings, fingerprint });
            }
        }
        plans
    }

    fn processor(&self, declared: &Declared<'_>) -> Option<ProcessorSettings> {
        let (place, node) = (&declared.place, declared.node);
        Some(match declared.kind {
            "memory_limiter" => {
                let raw: memory_limiter::RawMemoryLimiter = self.read(declared, &[], &[], node)?;
                ProcessorSettings::MemoryLimiter(raw.settle(place, &mut self.problems())?)
            }
            "resource_detection" => {
                let later = &[resource_detection::LATER];
                let raw: resource_detection::RawResourceDetection =
                    self.read(declared, later, &[resource_detection::IDLE], node)?;
                ProcessorSettings::ResourceDetection(raw.settle(place, &mut self.problems()))
            }
            "resource" => {
                let later = &[actions::settings::LATER];
                let raw: actions::settings::RawResource = self.read(declared, later, &[], node)?;
                ProcessorSettings::Resource(raw.settle(place, &mut self.problems()))
            }
            "attributes" => {
                let later = &[actions::settings::LATER];
                let raw: actions::settings::RawAttributes =
                    self.read(declared, later, &[], node)?;
                ProcessorSettings::Attributes(raw.settle(place, &mut self.problems()))
            }
            "filter" => ProcessorSettings::Filter(Arc::new(self.filter(declared)?)),
            _ => {
                let raw: RawBatchProcessor = self.read(declared, &[], &[SERVICE_IDLE], node)?;
                ProcessorSettings::Batch(batch(&raw, &mut self.problems()))
            }
        })
    }

    fn problems(&self) -> std::cell::RefMut<'_, Problems> {
        self.context.problems.borrow_mut()
    }

    fn filter(&self, declared: &Declared<'_>) -> Option<filter::Settings> {
        const NEW: &str = "metric_conditions";
        let later = &[filter::settings::LATER];
        let raw: filter::settings::RawFilter = self.read(declared, later, &[], declared.node)?;
        let path = format!("{}.{NEW}", declared.place.path);
        let items = declared.node.get(NEW).map(|node| self.conditions(node, &path));
        Some(raw.settle(&declared.place, items, &mut self.problems()))
    }

    fn conditions(&self, node: &Rc<Node>, path: &str) -> Vec<filter::settings::RawItem> {
        let Value::Sequence(list) = &node.value else {
            let message = format!("a list is expected, found {}", node.kind());
            if !node.is_null() {
                self.error(&self.place(node, path), message);
            }
            return Vec::new();
        };
        let item = |(index, item): (usize, &Rc<Node>)| {
            let path = format!("{path}[{index}]");
            if matches!(item.value, Value::Mapping(_)) {
                let group = decode::<At<filter::settings::RawGroup>>(item, &path, &self.context);
                return group.and_then(|at| at.value).map(filter::settings::RawItem::Group);
            }
            decode(item, &path, &self.context).map(filter::settings::RawItem::Text)
        };
        list.iter().enumerate().filter_map(item).collect()
    }

    pub(super) fn exporters(
        &self,
        list: &[Declared<'_>],
        extensions: &BTreeSet<String>,
    ) -> BTreeMap<String, Exporter> {
        let mut plans = BTreeMap::new();
        for declared in list {
            let Some(mut settings) = self.exporter(declared) else { continue };
            self.authenticator(&mut settings, extensions);
            let fingerprint = fingerprint(declared.node);
            plans.insert(declared.id.text(), Exporter { settings, fingerprint });
        }
        plans
    }

    fn exporter(&self, declared: &Declared<'_>) -> Option<ExporterSettings> {
        let (place, node) = (&declared.place, declared.node);
        Some(match declared.kind {
            "prometheus_remote_write" => {
                let later = &[remote_write::LATER, client::LATER];
                let idle = &[remote_write::IDLE, client::IDLE];
                let raw: RawRemoteWrite = self.read(declared, later, idle, node)?;
                let settings = raw.settle(place, &mut self.problems())?;
                ExporterSettings::RemoteWrite(Box::new(settings))
            }
            "otlp_grpc" => {
                let (later, idle) = ([otlp::LATER, client::LATER], [otlp::IDLE, client::IDLE]);
                let raw: RawOtlpGrpc = self.read(declared, &later, &idle, node)?;
                let settings = raw.settle(place, &mut self.problems())?;
                ExporterSettings::OtlpGrpc(Box::new(settings))
            }
            "otlp_http" => {
                let (later, idle) = ([otlp::LATER, client::LATER], [otlp::IDLE, client::IDLE]);
                let raw: RawOtlpHttp = self.read(declared, &later, &idle, node)?;
                let settings = raw.settle(place, &mut self.problems())?;
                ExporterSettings::OtlpHttp(Box::new(settings))
            }
            "prometheus" => {
                let (later, idle) = (&[prometheus::LATER], &[prometheus::IDLE]);
                let raw: prometheus::RawPrometheus = self.read(declared, later, idle, node)?;
                ExporterSettings::Prometheus(Box::new(raw.settle(&mut self.problems())))
            }
            _ => {
                let (later, idle) = (&[debug::LATER], &[debug::IDLE]);
                let raw: debug::RawDebug = self.read(declared, later, idle, node)?;
                ExporterSettings::Debug(raw.settle(&mut self.problems()))
            }
        })
    }

    /// Looks up the extension that authenticates, and puts its name as it is declared.
    fn authenticator(&self, settings: &mut ExporterSettings, extensions: &BTreeSet<String>) {
        let client = match settings {
            ExporterSettings::RemoteWrite(settings) => &mut settings.client,
            ExporterSettings::OtlpGrpc(settings) => &mut settings.client,
            ExporterSettings::OtlpHttp(settings) => &mut settings.client,
            ExporterSettings::Prometheus(_) | ExporterSettings::Debug(_) => return,
        };
        let Some(at) = &mut client.auth else { return };
        let Some(text) = at.as_ref() else { return };
        let wanted = Id::parse(text).map(|id| id.present(&EXTENSIONS));
        let same = |name: &&String| {
            Id::parse(name).map(|id| id.present(&EXTENSIONS)).is_ok_and(|id| Ok(id) == wanted)
        };
        match extensions.iter().find(same) {
            Some(name) if wanted.is_ok_and(|id| id.kind.ends_with("auth")) => {
                at.value = Some(name.clone());
            }
            Some(name) => {
                let message = format!("the extension {name} does not authenticate");
                self.problems().error(&at.place, message);
            }
            // Never left out: what is sent would be sent by nobody.
            None if unsupported(text) => {
                let message = format!(
                    "the extension {text:?} does not exist here: nothing can be sent without it"
                );
                self.problems().error(&at.place, message);
            }
            None => {
                let message = format!("the extension {text:?} is not among service.extensions");
                self.problems().error(&at.place, message);
            }
        }
    }

    pub(super) fn extensions(
        &self,
        list: &[Declared<'_>],
        enabled: &BTreeSet<String>,
    ) -> BTreeMap<String, Extension> {
        let mut plans = BTreeMap::new();
        for declared in list {
            let name = declared.id.text();
            if let Some(settings) = self.extension(declared)
                && enabled.contains(&name)
            {
                let fingerprint = fingerprint(declared.node);
                plans.insert(name, Extension { settings, fingerprint });
            }
        }
        plans
    }

    fn extension(&self, declared: &Declared<'_>) -> Option<ExtensionSettings> {
        let (place, node) = (&declared.place, declared.node);
        Some(match declared.kind {
            "health_check" => {
                let (later, idle) = (&[health_check::LATER], &[health_check::IDLE]);
                let raw: health_check::RawHealthCheck = self.read(declared, later, idle, node)?;
                ExtensionSettings::HealthCheck(raw.settle(&mut self.problems()))
            }
            "basicauth" => {
                let later = &[basicauth::LATER];
                let raw: basicauth::RawBasicAuth = self.read(declared, later, &[], node)?;
                ExtensionSettings::Auth(raw.settle(place, &mut self.problems())?)
            }
            "bearertokenauth" => {
                let later = &[bearertokenauth::LATER];
                let raw: bearertokenauth::RawBearerTokenAuth =
                    self.read(declared, later, &[], node)?;
                ExtensionSettings::Auth(raw.settle(place, &mut self.problems())?)
            }
            _ => {
                let message = "has no effect: there is no garbage collector to be calmed";
                self.problems().warning(place, message);
                ExtensionSettings::Nothing
            }
        })
    }
}

/// Whether an extension exists only in the Collector.
fn unsupported(text: &str) -> bool {
    Id::parse(text).is_ok_and(|id| EXTENSIONS.later.contains(&id.kind.as_str()))
}

/// What `batch` says, for exporters.
fn batch(raw: &RawBatchProcessor, problems: &mut Problems) -> Batching {
    let size = given(&raw.send_batch_size).copied().unwrap_or(8192);
    let max = given(&raw.send_batch_max_size).copied().unwrap_or(0);
    if let Some(at) = raw.send_batch_max_size.as_ref().filter(|_| max > 0 && max < size) {
        problems.error(&at.place, format!("must be at least send_batch_size, {size}, or 0"));
    }
    let timeout = given(&raw.timeout).map_or(Duration::from_millis(200), |span| span.0);
    // Without a timeout nothing waits; without a size the timeout alone decides.
    let min = if timeout.is_zero() {
        1
    } else if size == 0 {
        MAX_BATCH
    } else {
        size
    };
    let max = if max == 0 { min.max(8192) } else { max };
    Batching {
        flush_timeout: timeout,
        min_size: min.min(MAX_BATCH) as usize,
        max_size: max.min(MAX_BATCH) as usize,
    }
}
