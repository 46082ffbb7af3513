//! The one match over every kind of component.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::app::StartError;
use crate::app::files::Files;
use crate::config::plan::{ExporterSettings, ProcessorSettings};
use crate::exporter::debug::Debug;
use crate::exporter::deliver::{Duty, Work};
use crate::exporter::prometheus::Prometheus;
use crate::exporter::{otlp, prometheus_remote_write};
use crate::net::auth::Authenticator;
use crate::net::grpc_client;
use crate::net::resolve::Resolver;
use crate::net::tls::TlsClient;
use crate::pipeline::memory::Memory;
use crate::pipeline::stage::{Processor, Sink};
use crate::processor::actions::{PointActions, ResourceActions};
use crate::processor::filter::Filter;
use crate::processor::memory_limiter::MemoryLimiter;
use crate::processor::resource_detection::{Facts, ResourceDetection};

/// What components are built with.
pub(super) struct Tools<'a> {
    pub(super) memory: &'a Arc<Memory>,
    /// The memory that this process may have, in bytes.
    pub(super) total_memory: u64,
    /// What is known of this machine, by processor.
    pub(super) facts: &'a BTreeMap<String, Arc<Facts>>,
    pub(super) authenticators: &'a BTreeMap<String, Arc<Authenticator>>,
    pub(super) resolver: &'a Resolver,
}

/// Builds a processor; `None` for what is no step of its own.
pub(super) fn processor(
    name: &str,
    settings: &ProcessorSettings,
    tools: &Tools<'_>,
) -> Option<Box<dyn Processor>> {
    Some(match settings {
        ProcessorSettings::MemoryLimiter(settings) => {
            let memory = Arc::clone(tools.memory);
            Box::new(MemoryLimiter::new(name, *settings, tools.total_memory, memory))
        }
        ProcessorSettings::ResourceDetection(settings) => {
            let facts = tools.facts.get(name).map(Arc::clone).unwrap_or_default();
            Box::new(ResourceDetection::new(settings.overrides, facts))
        }
        ProcessorSettings::Resource(actions) => Box::new(ResourceActions::new(actions.clone())),
        ProcessorSettings::Attributes(actions) => Box::new(PointActions::new(actions.clone())),
        ProcessorSettings::Filter(settings) => Box::new(Filter::new(name, Arc::clone(settings))),
        ProcessorSettings::Batch(_) => return None,
    })
}

/// An exporter that stands beside the queues, and the values that it serves.
#[derive(Clone)]
pub(super) enum Standing {
    /// Latest values, for whoever scrapes them.
    Prometheus(Arc<Prometheus>),
    /// The log.
    Debug(Arc<Debug>),
}

impl Standing {
    pub(super) fn sink(&self) -> Arc<dyn Sink> {
        match self {
            Standing::Prometheus(exporter) => Arc::clone(exporter) as Arc<dyn Sink>,
            Standing::Debug(exporter) => Arc::clone(exporter) as Arc<dyn Sink>,
        }
    }
}

/// Builds an exporter that stands beside the queues.
pub(super) fn standing(
    name: &str,
    settings: &ExporterSettings,
    memory: &Memory,
) -> Option<Standing> {
    match settings {
        ExporterSettings::Prometheus(settings) => {
            let exporter = Arc::new(Prometheus::new((**settings).clone()));
            memory.count(&(Arc::clone(&exporter) as _));
            Some(Standing::Prometheus(exporter))
        }
        ExporterSettings::Debug(settings) => {
            Some(Standing::Debug(Arc::new(Debug::new(name, *settings))))
        }
        ExporterSettings::RemoteWrite(_)
        | ExporterSettings::OtlpGrpc(_)
        | ExporterSettings::OtlpHttp(_) => None,
    }
}

/// The ALPN protocols of an exporter that sends; `None` for one without a queue.
pub(super) fn alpn(settings: &ExporterSettings) -> Option<&'static [&'static [u8]]> {
    match settings {
        ExporterSettings::RemoteWrite(_) | ExporterSettings::OtlpHttp(_) => Some(&[b"http/1.1"]),
        ExporterSettings::OtlpGrpc(_) => Some(grpc_client::ALPN),
        ExporterSettings::Prometheus(_) | ExporterSettings::Debug(_) => None,
    }
}

/// Builds an exporter that sends; it does nothing until its work is begun. One whose files are not read yet waits for
/// them, and is built then.
pub(super) fn sending(
    settings: &ExporterSettings,
    files: &Files,
    tools: &Tools<'_>,
    duty: Duty,
) -> Result<Work, StartError> {
    let name = duty.name.clone();
    let failed = |why| StartError::Exporter(name.clone(), why);
    let auth = settings.client().and_then(|client| client.auth.as_ref()?.as_ref());
    let auth = auth.and_then(|auth| tools.authenticators.get(auth).map(Arc::clone));
    let resolver = tools.resolver.clone();
    let unread = match files {
        Files::Read(Err(why)) => return Err(failed(why.clone())),
        Files::Read(Ok(tls)) => {
            return exporter(settings, (resolver, tls.clone()), auth, duty).map_err(failed);
        }
        Files::Hang(unread) => unread.clone(),
    };
    tracing::warn!(
        exporter = name,
        "certificates not read within 5 s; the exporter starts once their file system answers"
    );
    let (settings, leave, hurry) = (settings.clone(), duty.leave.clone(), duty.hurry.clone());
    Ok(Box::pin(async move {
        let tls = tokio::select! {
            tls = unread.client() => tls,
            () = leave.cancelled() => return,
            () = hurry.cancelled() => return,
        };
        match exporter(&settings, (resolver, tls), auth, duty) {
            Ok(work) => work.await,
            Err(why) => tracing::error!(exporter = name, "{why}"),
        }
    }))
}

fn exporter(
    settings: &ExporterSettings,
    net: (Resolver, TlsClient),
    auth: Option<Arc<Authenticator>>,
    duty: Duty,
) -> Result<Work, String> {
    match settings {
        ExporterSettings::RemoteWrite(settings) => {
            Ok(prometheus_remote_write::exporter((**settings).clone(), net, auth, duty))
        }
        ExporterSettings::OtlpGrpc(settings) => {
            otlp::grpc::exporter((**settings).clone(), net, auth, duty)
        }
        ExporterSettings::OtlpHttp(settings) => {
            Ok(otlp::http::exporter((**settings).clone(), net, auth, duty))
        }
        ExporterSettings::Prometheus(_) | ExporterSettings::Debug(_) => {
            Ok(Box::pin(std::future::ready(())) as Work)
        }
    }
}
