//! The reference of all keys, `docs/CONFIG_KEYS.md`, made from what the decoder accepts: the types say
//! which keys there are and what they take, `meanings.txt` what each means. Built for tests only.

mod describe;
mod page;

use std::collections::BTreeSet;

use serde::Deserialize;

use super::components::{EXPORTERS, EXTENSIONS, Kinds, PROCESSORS, RECEIVERS};
use crate::config::decode::Keys;
use crate::config::raw::{
    RawBatchProcessor, RawHttp, RawJob, RawPipeline, RawReceiver, RawResolver, RawService,
    RawStorage, RawTarget, SERVICE_IDLE, SERVICE_LATER,
};
use crate::exporter::otlp::settings::{self as otlp, RawOtlpGrpc, RawOtlpHttp};
use crate::exporter::prometheus_remote_write::settings::{self as remote_write, RawRemoteWrite};
use crate::exporter::{client, debug, prometheus};
use crate::extension::{basicauth, bearertokenauth, health_check};
use crate::host::settings::{self as host, RawHostMetrics};
use crate::probe::module::raw::{LATER as MODULE_LATER, RawModule};
use crate::processor::{actions::settings as actions, filter, memory_limiter, resource_detection};
use describe::{Block, Key, Shape, describe};

/// The sections that hold components.
const KINDS: [&Kinds; 4] = [&RECEIVERS, &PROCESSORS, &EXPORTERS, &EXTENSIONS];

/// Keys that code of its own reads, and what they take.
const APART: [(&str, &str); 7] = [
    ("receivers.probe.module", "text"),
    ("receivers.probe.targets", "list of texts or maps"),
    ("receivers.probe.targets[].module", "text or map"),
    ("modules.NAME.extends", "text"),
    ("processors.filter.metric_conditions", "list of texts or maps"),
    ("service.pipelines", "map"),
    ("vantage", "text"),
];

/// What may be written at a place, and what may be written there elsewhere.
struct Part {
    shape: Shape,
    later: Vec<Keys>,
    idle: Vec<Keys>,
}

fn part<T: for<'de> Deserialize<'de>>(path: &str, later: &[Keys], idle: &[Keys]) -> Part {
    Part { shape: describe::<T>(path), later: later.to_vec(), idle: idle.to_vec() }
}

/// Every place, with the type that is decoded there and the tables by which unknown keys are judged.
fn parts() -> Vec<Part> {
    vec![
        part::<RawReceiver>("receivers.probe", &[], &[]),
        part::<RawTarget>("receivers.probe.targets[]", &[], &[]),
        part::<RawHostMetrics>("receivers.host_metrics", &[host::LATER], &[host::IDLE]),
        part::<RawModule>("modules.NAME", &[MODULE_LATER], &[]),
        part::<memory_limiter::RawMemoryLimiter>("processors.memory_limiter", &[], &[]),
        part::<resource_detection::RawResourceDetection>(
            "processors.resource_detection",
            &[resource_detection::LATER],
            &[resource_detection::IDLE],
        ),
        part::<actions::RawResource>("processors.resource", &[actions::LATER], &[]),
        part::<actions::RawAttributes>("processors.attributes", &[actions::LATER], &[]),
        part::<filter::settings::RawFilter>("processors.filter", &[filter::settings::LATER], &[]),
        part::<filter::settings::RawGroup>("processors.filter.metric_conditions[]", &[], &[]),
        part::<RawBatchProcessor>("processors.batch", &[], &[SERVICE_IDLE]),
        part::<RawRemoteWrite>(
            "exporters.prometheus_remote_write",
            &[remote_write::LATER, client::LATER],
            &[remote_write::IDLE, client::IDLE],
        ),
        part::<RawOtlpGrpc>(
            "exporters.otlp_grpc",
            &[otlp::LATER, client::LATER],
            &[otlp::IDLE, client::IDLE],
        ),
        part::<RawOtlpHttp>(
            "exporters.otlp_http",
            &[otlp::LATER, client::LATER],
            &[otlp::IDLE, client::IDLE],
        ),
        part::<prometheus::RawPrometheus>(
            "exporters.prometheus",
            &[prometheus::LATER],
            &[prometheus::IDLE],
        ),
        part::<debug::RawDebug>("exporters.debug", &[debug::LATER], &[debug::IDLE]),
        part::<health_check::RawHealthCheck>(
            "extensions.health_check",
            &[health_check::LATER],
            &[health_check::IDLE],
        ),
        part::<basicauth::RawBasicAuth>("extensions.basicauth", &[basicauth::LATER], &[]),
        part::<bearertokenauth::RawBearerTokenAuth>(
            "extensions.bearertokenauth",
            &[bearertokenauth::LATER],
            &[],
        ),
        part::<RawService>("service", &[SERVICE_LATER], &[SERVICE_IDLE]),
        part::<RawPipeline>("service.pipelines.NAME", &[SERVICE_LATER], &[SERVICE_IDLE]),
        part::<RawHttp>("http", &[], &[]),
        part::<RawStorage>("storage", &[], &[]),
        part::<RawResolver>("resolver", &[], &[]),
        part::<RawJob>("discovery.NAME", &[], &[]),
    ]
}

/// All keys, each with what it takes, in the order in which they are declared.
fn keys() -> Vec<(String, String)> {
    let apart = |path: &str| APART.iter().find(|(apart, _)| *apart == path).map(|(_, form)| *form);
    let mut keys: Vec<(String, String)> = Vec::new();
    for part in parts() {
        for Key { path, form } in part.shape.keys {
            let form = form.or_else(|| apart(&path).map(str::to_owned));
            keys.push((path.clone(), form.unwrap_or_else(|| panic!("{path}: what does it take?"))));
        }
    }
    for (path, form) in APART {
        if !keys.iter().any(|(have, _)| have == path) {
            keys.push((path.to_owned(), form.to_owned()));
        }
    }
    keys
}

/// What a line of `meanings.txt` says.
struct Meaning {
    pattern: &'static str,
    default: &'static str,
    text: &'static str,
}

/// What all keys mean.
fn meanings() -> Vec<Meaning> {
    let lines = include_str!("reference/meanings.txt").lines();
    let read = |line: &'static str| {
        let mut cells = line.splitn(3, '|').map(str::trim);
        let mut cell = || cells.next().unwrap_or_else(|| panic!("three cells in {line:?}"));
        Meaning { pattern: cell(), default: cell(), text: cell() }
    };
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(read).collect()
}

impl Meaning {
    fn fits(&self, path: &str) -> bool {
        let mut path = path.split('.');
        let same = self.pattern.split('.').all(|wanted| {
            path.next().is_some_and(|segment| match wanted {
                "*" => !segment.ends_with("[]"),
                "*[]" => segment.ends_with("[]"),
                _ => wanted == segment,
            })
        });
        same && path.next().is_none()
    }

    fn stars(&self) -> usize {
        self.pattern.matches('*').count()
    }
}

/// The place of the meaning of a key in a list: of those that fit, the one with the fewest stars.
fn meaning_of(path: &str, meanings: &[Meaning]) -> Option<usize> {
    let fitting = meanings.iter().enumerate().filter(|(_, meaning)| meaning.fits(path));
    fitting.min_by_key(|(_, meaning)| meaning.stars()).map(|(index, _)| index)
}

/// A key of a table of those that come later or change nothing, by its path.
fn listed(part: &Part, tables: &[Keys]) -> Vec<String> {
    let of = |Block { path, name, .. }: &Block| {
        let named = tables.iter().flat_map(|table| table.iter()).filter(|(block, _)| block == name);
        let keys: BTreeSet<&str> = named.flat_map(|(_, keys)| keys.iter().copied()).collect();
        keys.into_iter().map(|key| format!("{path}.{key}")).collect::<Vec<_>>()
    };
    part.shape.blocks.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests;
