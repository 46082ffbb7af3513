//! `service.telemetry`: what we tell of ourselves, in the Collector's words.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::Checker;
use super::pipelines::Service;
use crate::base::place::{At, given};
use crate::config::plan::{Telemetry, Traces};
use crate::config::raw::{RawMetrics, RawSampler, RawTraces};
use crate::net::http_server;

impl Checker<'_> {
    /// Whether our own metrics stay out of the pipelines.
    pub(super) fn is_quiet(&self, service: &Service) -> bool {
        let telemetry = given(&service.raw.telemetry);
        let metrics = telemetry.and_then(|telemetry| given(&telemetry.metrics));
        metrics
            .and_then(|metrics| given(&metrics.level))
            .is_some_and(|level| level.eq_ignore_ascii_case("none"))
    }

    /// What we tell of ourselves.
    pub(super) fn telemetry(&self, service: &Service) -> Telemetry {
        let Some(raw) = given(&service.raw.telemetry) else { return Telemetry::default() };
        let logs = given(&raw.logs);
        let log_level = logs.and_then(|logs| logs.level.as_ref()).and_then(|at| {
            let level = at.as_ref()?.to_ascii_lowercase();
            match level.as_str() {
                "debug" | "info" | "warn" | "error" => Some(level),
                // The Collector ends at these; nothing here is as loud.
                "dpanic" | "panic" | "fatal" => Some("error".to_owned()),
                other => {
                    let message = format!("{other:?} is none of debug, info, warn, error");
                    self.error(&at.place, message);
                    None
                }
            }
        });
        let log_json = logs.and_then(|logs| logs.encoding.as_ref()).and_then(|at| {
            match at.as_ref()?.as_str() {
                "json" => Some(true),
                "console" => Some(false),
                other => {
                    self.error(&at.place, format!("{other:?} is none of console, json"));
                    None
                }
            }
        });
        let metrics = given(&raw.metrics);
        if let Some(at) = metrics.and_then(|metrics| metrics.level.as_ref())
            && at.as_ref().is_some_and(|level| {
                !["none", "basic", "normal", "detailed"].contains(&level.to_lowercase().as_str())
            })
        {
            self.error(&at.place, "must be none, basic, normal or detailed");
        }
        let resource = raw.resource.iter().map(|(name, value)| {
            let value = value.as_ref().and_then(|at| at.as_ref()).filter(|text| !text.is_empty());
            (name.clone(), value.cloned())
        });
        Telemetry {
            quiet: self.is_quiet(service),
            listeners: metrics.map(|metrics| self.listeners(metrics)).unwrap_or_default(),
            log_level,
            log_json,
            resource: resource.collect(),
            traces: given(&raw.traces).and_then(|traces| self.traces(traces)),
        }
    }

    fn listeners(&self, metrics: &RawMetrics) -> Vec<SocketAddr> {
        let mut listeners = Vec::new();
        let mut add = |at: &At<()>, text: &str| match http_server::address(text) {
            Some(address) => listeners.push(address),
            None => self.error(&at.place, format!("{text:?} is not an IP address and a port")),
        };
        if let Some(at) = &metrics.address
            && let Some(text) = at.as_ref()
        {
            add(&At { place: at.place.clone(), value: Some(()) }, text);
        }
        for reader in metrics.readers.iter().filter_map(At::as_ref) {
            let pull = given(&reader.pull).and_then(|pull| given(&pull.exporter));
            let Some(at) = pull.and_then(|exporter| exporter.prometheus.as_ref()) else { continue };
            let Some(raw) = at.as_ref() else { continue };
            let host =
                raw.host.as_ref().map_or(Some("localhost"), |at| at.as_ref().map(|t| t.as_str()));
            let Some(host) = host else { continue };
            let place = raw.port.as_ref().map_or(&at.place, |at| &at.place).clone();
            let at = At { place, value: Some(()) };
            add(&at, &format!("{host}:{}", given(&raw.port).copied().unwrap_or(8888)));
        }
        if given(&metrics.level).is_some_and(|level| level == "none") {
            listeners.clear();
        }
        listeners
    }

    fn traces(&self, raw: &RawTraces) -> Option<Traces> {
        if given(&raw.level).is_some_and(|level| level == "none") {
            return None;
        }
        if let Some(at) = raw.level.as_ref().filter(|at| {
            at.as_ref().is_some_and(|level| {
                !["none", "basic", "normal", "detailed"].contains(&level.as_str())
            })
        }) {
            self.error(&at.place, "must be none, basic, normal or detailed");
        }
        let ratio = given(&raw.sampler).map_or(1.0, |sampler| self.ratio(sampler));
        let mut found = None;
        for processor in &raw.processors {
            let exporter = processor.as_ref().and_then(|p| given(&p.batch));
            let exporter = exporter.and_then(|batch| given(&batch.exporter));
            let Some(at) = exporter.and_then(|exporter| exporter.otlp.as_ref()) else {
                let message = "no exporter is named: its spans go nowhere";
                self.context.problems.borrow_mut().warning(&processor.place, message);
                continue;
            };
            let Some(otlp) = at.as_ref() else { continue };
            if found.is_some() {
                self.error(&at.place, "only one exporter of spans is supported");
                continue;
            }
            if let Some(at) = &otlp.protocol {
                match at.as_ref().map(String::as_str) {
                    Some("grpc") | None => {}
                    Some(other) => {
                        let message = format!("the protocol {other:?} is not supported yet");
                        self.context.problems.borrow_mut().unsupported(&at.place, message);
                    }
                }
            }
            let Some(endpoint) = &otlp.endpoint else {
                self.error(&at.place, "`endpoint:` is missing, such as http://127.0.0.1:4317");
                continue;
            };
            let Some(text) = endpoint.as_ref() else { continue };
            let insecure = given(&otlp.insecure).copied().unwrap_or(false);
            let url = match (text.contains("://"), insecure) {
                (true, _) => text.clone(),
                (false, true) => format!("http://{text}"),
                (false, false) => format!("https://{text}"),
            };
            let parsed: Option<http::Uri> = url.parse().ok();
            if !parsed.is_some_and(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
            }) {
                self.error(&endpoint.place, "must be a URL, such as http://127.0.0.1:4317");
                continue;
            }
            let headers: BTreeMap<String, String> = otlp
                .headers
                .iter()
                .filter_map(|(name, at)| Some((name.clone(), at.as_ref()?.clone())))
                .collect();
            let timeout = given(&otlp.timeout).copied().unwrap_or(10_000);
            let timeout = Duration::from_millis(timeout);
            found = Some(Traces { endpoint: url, headers, timeout, ratio });
        }
        found
    }
}

impl Checker<'_> {
    /// The share of runs that are told of.
    fn ratio(&self, sampler: &RawSampler) -> f64 {
        if sampler.always_off.is_some() {
            return 0.0;
        }
        let root = given(&sampler.parent_based).and_then(|parent| given(&parent.root));
        let own = given(&sampler.trace_id_ratio_based)
            .or_else(|| root.and_then(|root| given(&root.trace_id_ratio_based)));
        let Some(at) = own.and_then(|raw| raw.ratio.as_ref()) else { return 1.0 };
        let ratio = at.value.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&ratio) {
            self.error(&at.place, "must be 0 to 1");
        }
        ratio.clamp(0.0, 1.0)
    }
}
