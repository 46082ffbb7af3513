//! What will run: everything decided, nothing optional that means "default".

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use watchpost_targets::{Labels, Target};

use crate::discover::Job;
use crate::exporter::client::Client;
use crate::exporter::otlp::settings as otlp;
use crate::exporter::prometheus_remote_write::settings::Settings as RemoteWrite;
use crate::exporter::{debug, prometheus};
use crate::extension::health_check;
use crate::host::run::HostPlan;
use crate::net::auth::Scheme;
use crate::net::resolve::ResolverSettings;
use crate::probe::module::Module;
use crate::processor::actions::Action;
use crate::processor::{filter, memory_limiter, resource_detection};
use crate::queue::books::Batching;
use crate::queue::log::store::Limits;

/// Modules by name.
pub type Modules = BTreeMap<String, Arc<Module>>;

/// A whole configuration.
#[derive(Debug)]
pub struct Plan {
    /// What is probed, and by whom: those that a pipeline names.
    pub receivers: Vec<Receiver>,
    /// What is read of this machine: those that a pipeline names.
    pub hosts: Vec<HostPlan>,
    /// How it may be probed.
    pub modules: Modules,
    /// The ways from receivers to exporters.
    pub pipelines: Vec<Pipeline>,
    /// What samples go through on their way, by name.
    pub processors: BTreeMap<String, Processor>,
    /// Where results go, by name.
    pub exporters: BTreeMap<String, Exporter>,
    /// What stands beside the pipelines: those that `service.extensions` names.
    pub extensions: BTreeMap<String, Extension>,
    /// What we tell of ourselves.
    pub telemetry: Telemetry,
    /// Our own page.
    pub http: Http,
    /// What is kept, and where.
    pub storage: Storage,
    /// Where this instance stands; empty: nowhere in particular.
    pub vantage: String,
    /// Who is asked for names.
    pub resolver: ResolverSettings,
    /// The discovery jobs.
    pub discovery: Vec<Job>,
    /// What is left out because it does not exist here.
    pub unsupported: Vec<String>,
    /// Older spellings that were read, each with the present one.
    pub renamed: Vec<(String, String)>,
}

/// A pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The whole name, such as `metrics/lan`.
    pub name: String,
    /// The names of its receivers.
    pub receivers: Vec<String>,
    /// The names of its processors, in their order, without those that only say how to batch.
    pub processors: Vec<String>,
    /// The names of its exporters.
    pub exporters: Vec<String>,
    /// How its exporters batch, unless they say so themselves.
    pub batching: Option<Batching>,
}

/// A processor.
#[derive(Debug)]
pub struct Processor {
    /// Its settings, by kind.
    pub settings: ProcessorSettings,
    /// What is written about it, in one number: another text, another number.
    pub fingerprint: u64,
}

/// The settings of a processor, by kind.
#[derive(Debug)]
pub enum ProcessorSettings {
    /// `memory_limiter`.
    MemoryLimiter(memory_limiter::Settings),
    /// `resource_detection`.
    ResourceDetection(resource_detection::Settings),
    /// `resource`.
    Resource(Vec<Action>),
    /// `attributes`.
    Attributes(Vec<Action>),
    /// `filter`.
    Filter(Arc<filter::Settings>),
    /// `batch`: how exporters batch.
    Batch(Batching),
}

/// An extension.
#[derive(Debug)]
pub struct Extension {
    /// Its settings, by kind.
    pub settings: ExtensionSettings,
    /// What is written about it, in one number.
    pub fingerprint: u64,
}

/// The settings of an extension, by kind.
#[derive(Debug)]
pub enum ExtensionSettings {
    /// `health_check`.
    HealthCheck(health_check::Settings),
    /// `basicauth` and `bearertokenauth`.
    Auth(Scheme),
    /// Accepted, and without effect (`memory_ballast`).
    Nothing,
}

/// What we tell of ourselves.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// Whether our own metrics stay out of the pipelines.
    pub quiet: bool,
    /// Where our own metrics are served besides our page.
    pub listeners: Vec<SocketAddr>,
    /// How much is logged, unless the command line says so.
    pub log_level: Option<String>,
    /// Whether log lines are JSON, unless the command line says so.
    pub log_json: Option<bool>,
    /// Attributes of what our own metrics and spans are about; `None`: that one is left out.
    pub resource: BTreeMap<String, Option<String>>,
    /// Where our own spans go; `None`: there are none.
    pub traces: Option<Traces>,
}

/// Where our own spans go.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// The URL of an OTLP endpoint.
    pub endpoint: String,
    /// Headers of each request. They are secret.
    pub headers: BTreeMap<String, String>,
    /// How long a request may take.
    pub timeout: Duration,
    /// The share of runs that are told of, 0 to 1.
    pub ratio: f64,
}

/// Our own page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether the next free port is taken when that one is not.
    pub search: bool,
    /// After how long without a success of an exporter it is not ready; `None`: never.
    pub export_failure_limit: Option<Duration>,
    /// Names besides `localhost` under which loopback listeners answer.
    pub hosts: Arc<[String]>,
    /// Whether reloads may be asked for; `None`: on a loopback address only.
    pub reload: Option<bool>,
}

/// A `probe/*` receiver.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// The whole name, such as `probe/services`.
    pub name: String,
    /// The job: what stands after the slash.
    pub job: String,
    /// How often its targets are probed.
    pub interval: Duration,
    /// How long an attempt may take, when neither target nor module say so.
    pub timeout: Option<Duration>,
    /// The module of targets that name none; `None`: by the shape of the address.
    pub module: Option<String>,
    /// Labels of all its targets.
    pub labels: Labels,
    /// Metrics that are switched off.
    pub disabled: BTreeSet<String>,
    /// Targets that the configuration itself names.
    pub inline: Vec<Inline>,
    /// Files that name targets; the last segment may have a `*`.
    pub files: Vec<PathBuf>,
}

/// A target that the configuration itself names.
#[derive(Clone, Debug)]
pub struct Inline {
    /// The target.
    pub target: Target,
    /// A module of its own.
    pub module: Option<Arc<Module>>,
}

/// What is kept, and where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Storage {
    /// The folder; `None`: that of the machine, if it names one.
    pub directory: Option<PathBuf>,
    /// What the queues may take.
    pub limits: Limits,
}

/// An exporter.
#[derive(Debug)]
pub struct Exporter {
    /// Its settings, by kind.
    pub settings: ExporterSettings,
    /// What is written about it, in one number.
    pub fingerprint: u64,
}

/// The settings of an exporter, by kind.
#[derive(Clone, Debug)]
pub enum ExporterSettings {
    /// `prometheus_remote_write`.
    RemoteWrite(Box<RemoteWrite>),
    /// `otlp_grpc`.
    OtlpGrpc(Box<otlp::Grpc>),
    /// `otlp_http`.
    OtlpHttp(Box<otlp::Http>),
    /// `prometheus`.
    Prometheus(Box<prometheus::Settings>),
    /// `debug`.
    Debug(debug::Settings),
}

impl ExporterSettings {
    /// How it reaches its backend, when it has one.
    #[must_use]
    pub fn client(&self) -> Option<&Client> {
        match self {
            ExporterSettings::RemoteWrite(settings) => Some(&settings.client),
            ExporterSettings::OtlpGrpc(settings) => Some(&settings.client),
            ExporterSettings::OtlpHttp(settings) => Some(&settings.client),
            ExporterSettings::Prometheus(_) | ExporterSettings::Debug(_) => None,
        }
    }
}
