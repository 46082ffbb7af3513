//! What will run: everything decided, nothing optional that means "default".

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use watchpost_targets::{Labels, Target};

use crate::exporter::prometheus_remote_write::settings::Settings as RemoteWrite;
use crate::net::resolve::ResolverSettings;
use crate::probe::module::Module;

/// Modules by name.
pub type Modules = BTreeMap<String, Arc<Module>>;

/// A whole configuration.
#[derive(Debug)]
pub struct Plan {
    /// What is probed.
    pub receivers: Vec<Receiver>,
    /// How it may be probed.
    pub modules: Modules,
    /// Where results go.
    pub exporters: Vec<Exporter>,
    /// Our own page.
    pub http: Http,
    /// Where things are kept; `None`: the default of the machine.
    pub storage: Option<PathBuf>,
    /// Where this instance stands; empty: nowhere in particular.
    pub vantage: String,
    /// Who is asked for names.
    pub resolver: ResolverSettings,
}

/// Our own page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether the next free port is taken when that one is not.
    pub search: bool,
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

/// An exporter.
#[derive(Debug)]
pub struct Exporter {
    /// The whole name, such as `prometheus_remote_write/home`.
    pub name: String,
    /// Its settings, by kind.
    pub settings: ExporterSettings,
}

/// The settings of an exporter, by kind.
#[derive(Debug)]
pub enum ExporterSettings {
    /// `prometheus_remote_write`.
    RemoteWrite(Box<RemoteWrite>),
}
