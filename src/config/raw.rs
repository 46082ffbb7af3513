//! What may be written outside of components: receivers' common keys, `http`, `storage`, `resolver`.
//! Modules and exporters own what may be written in them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::base::duration::GoDuration;
use crate::base::place::At;

/// The keys of a document.
pub(super) const SECTIONS: [&str; 12] = [
    "receivers",
    "modules",
    "processors",
    "exporters",
    "extensions",
    "connectors",
    "service",
    "http",
    "storage",
    "vantage",
    "resolver",
    "discovery",
];

/// Sections that exist in the Collector's language, or come here later.
pub(super) const SECTIONS_LATER: [&str; 1] = ["modules_file"];

/// A `probe/*` receiver, but for `module:` and `targets:`, which may be a text or a map.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawReceiver {
    pub(super) interval: Option<At<GoDuration>>,
    pub(super) timeout: Option<At<GoDuration>>,
    pub(super) labels: BTreeMap<String, At<String>>,
    pub(super) metrics: BTreeMap<String, At<RawSwitch>>,
    pub(super) target_files: Vec<At<String>>,
    #[serde(rename = "module")]
    pub(super) _module: Option<IgnoredAny>,
    #[serde(rename = "targets")]
    pub(super) _targets: Option<IgnoredAny>,
}

/// A target that is written as a map, but for `module:`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTarget {
    pub(super) address: Option<At<String>>,
    pub(super) name: Option<At<String>>,
    #[serde(rename = "module")]
    pub(super) _module: Option<IgnoredAny>,
    pub(super) interval: Option<At<GoDuration>>,
    pub(super) timeout: Option<At<GoDuration>>,
    pub(super) labels: BTreeMap<String, At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSwitch {
    pub(super) enabled: Option<At<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawHttp {
    pub(super) listen: Option<At<String>>,
    pub(super) export_failure_limit: Option<At<GoDuration>>,
    pub(super) hosts: Vec<At<String>>,
    pub(super) reload: Option<At<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStorage {
    pub(super) directory: Option<At<String>>,
    pub(super) queue: Option<At<RawStoredQueue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawStoredQueue {
    pub(super) max_size_mib: Option<At<u64>>,
    pub(super) min_free_mib: Option<At<u64>>,
    pub(super) segment_size_mib: Option<At<u64>>,
    pub(super) max_age: Option<At<GoDuration>>,
    pub(super) fsync_interval: Option<At<GoDuration>>,
    pub(super) orphan_ttl: Option<At<GoDuration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawResolver {
    pub(super) nameservers: Vec<At<String>>,
    pub(super) timeout: Option<At<GoDuration>>,
    pub(super) attempts: Option<At<u64>>,
}

/// The `service:` section, but for `pipelines:`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawService {
    pub(super) extensions: Vec<At<String>>,
    pub(super) telemetry: Option<At<RawTelemetry>>,
    pub(super) unsupported: Option<At<String>>,
    #[serde(rename = "pipelines")]
    pub(super) _pipelines: Option<IgnoredAny>,
}

/// A pipeline.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPipeline {
    pub(super) receivers: Vec<At<String>>,
    pub(super) processors: Vec<At<String>>,
    pub(super) exporters: Vec<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTelemetry {
    pub(super) logs: Option<At<RawLogs>>,
    pub(super) metrics: Option<At<RawMetrics>>,
    pub(super) traces: Option<At<RawTraces>>,
    pub(super) resource: BTreeMap<String, Option<At<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawLogs {
    pub(super) level: Option<At<String>>,
    pub(super) encoding: Option<At<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawMetrics {
    pub(super) level: Option<At<String>>,
    pub(super) address: Option<At<String>>,
    pub(super) readers: Vec<At<RawReader>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawReader {
    pub(super) pull: Option<At<RawPull>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPull {
    pub(super) exporter: Option<At<RawPullExporter>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPullExporter {
    pub(super) prometheus: Option<At<RawPullPrometheus>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawPullPrometheus {
    pub(super) host: Option<At<String>>,
    pub(super) port: Option<At<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawTraces {
    pub(super) level: Option<At<String>>,
    pub(super) processors: Vec<At<RawSpanProcessor>>,
    pub(super) sampler: Option<At<RawSampler>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSpanProcessor {
    pub(super) batch: Option<At<RawSpanBatch>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSpanBatch {
    pub(super) exporter: Option<At<RawSpanExporter>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSpanExporter {
    pub(super) otlp: Option<At<RawSpanOtlp>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSpanOtlp {
    pub(super) protocol: Option<At<String>>,
    pub(super) endpoint: Option<At<String>>,
    pub(super) headers: BTreeMap<String, At<String>>,
    pub(super) timeout: Option<At<u64>>,
    pub(super) insecure: Option<At<bool>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSampler {
    pub(super) trace_id_ratio_based: Option<At<RawRatio>>,
    pub(super) always_on: Option<At<RawNothing>>,
    pub(super) always_off: Option<At<RawNothing>>,
    pub(super) parent_based: Option<At<RawParentBased>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawParentBased {
    pub(super) root: Option<At<RawRootSampler>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRootSampler {
    pub(super) trace_id_ratio_based: Option<At<RawRatio>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawRatio {
    pub(super) ratio: Option<At<f64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawNothing {}

/// The keys of `batch`, which becomes the exporters' batching.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawBatchProcessor {
    pub(super) timeout: Option<At<GoDuration>>,
    pub(super) send_batch_size: Option<At<u64>>,
    pub(super) send_batch_max_size: Option<At<u64>>,
}

/// A job of `discovery:`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawJob {
    pub(super) compose: Option<At<RawSource>>,
    pub(super) docker: Option<At<RawSource>>,
    pub(super) sweep: Option<At<RawSweep>>,
    pub(super) output: Option<At<RawOutput>>,
    pub(super) interval: Option<At<GoDuration>>,
    pub(super) modules: Option<At<Vec<At<String>>>>,
    pub(super) allow: Vec<At<String>>,
    pub(super) deny: Vec<At<String>>,
    pub(super) environment: Vec<At<String>>,
    pub(super) max_targets: Option<At<u64>>,
}

/// A source of a job: `compose:` has `paths`, `docker:` has `endpoint`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSource {
    pub(super) paths: Vec<At<String>>,
    pub(super) endpoint: Option<At<String>>,
    pub(super) domain: Option<At<String>>,
    pub(super) scheme: Option<At<String>>,
    pub(super) labels: BTreeMap<String, At<String>>,
    pub(super) ports: Option<At<bool>>,
    pub(super) ports_host: Option<At<String>>,
    pub(super) profiles: Vec<At<String>>,
    pub(super) entrypoints: BTreeMap<String, At<u64>>,
}

/// The source `sweep:` of a job.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawSweep {
    pub(super) subnets: Vec<At<String>>,
    pub(super) ports: Vec<At<u64>>,
    pub(super) effort: Option<At<String>>,
    pub(super) rate: Option<At<u64>>,
    pub(super) force: Option<At<bool>>,
    pub(super) leases: Vec<At<String>>,
    pub(super) hosts: Option<At<String>>,
    pub(super) dns: Option<At<bool>>,
    pub(super) labels: BTreeMap<String, At<String>>,
    pub(super) grace: Option<At<GoDuration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RawOutput {
    pub(super) file: Option<At<String>>,
    pub(super) keep_until: Option<At<String>>,
    pub(super) format: Option<At<String>>,
    pub(super) template: Option<At<String>>,
}

/// Keys of the service section that are not built yet.
pub(super) const SERVICE_LATER: &[(&str, &[&str])] = &[
    ("RawReader", &["periodic"]),
    ("RawPullExporter", &["otlp"]),
    ("RawSpanProcessor", &["simple"]),
    ("RawSpanExporter", &["console", "zipkin"]),
    ("RawSpanOtlp", &["certificate", "client_key", "client_certificate", "tls", "compression"]),
    ("RawSampler", &["jaeger_remote"]),
];

/// Keys of the service section that change nothing here.
pub(super) const SERVICE_IDLE: &[(&str, &[&str])] = &[
    (
        "RawLogs",
        &[
            "development",
            "sampling",
            "output_paths",
            "error_output_paths",
            "disable_caller",
            "disable_stacktrace",
            "initial_fields",
            "processors",
        ],
    ),
    ("RawMetrics", &["views"]),
    ("RawTraces", &["propagators"]),
    (
        "RawSpanBatch",
        &["schedule_delay", "export_timeout", "max_queue_size", "max_export_batch_size"],
    ),
    (
        "RawPullPrometheus",
        &[
            "without_scope_info",
            "without_type_suffix",
            "without_units",
            "with_resource_constant_labels",
        ],
    ),
    ("RawBatchProcessor", &["metadata_keys", "metadata_cardinality_limit"]),
];
