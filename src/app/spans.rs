//! Our own spans on their way out: `service.telemetry.traces`. Sent by a thread of the SDK over a
//! channel of ours. What sends them makes no spans itself, and no log lines of ours, so that nothing
//! feeds itself.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tonic::metadata::{MetadataKey, MetadataMap};

use crate::config::plan::Traces;
use crate::net::grpc_client::{ALPN, channel};
use crate::net::resolve::Resolver;
use crate::net::tls::{TlsClient, TlsSettings};
use crate::pipeline::selftrace;
use crate::signal::names::{SCOPE_NAME, SCOPE_VERSION};

/// How long the last spans may take to leave.
const LAST: Duration = Duration::from_secs(2);

/// What sends spans, when something does.
#[derive(Default)]
pub(super) struct Spans {
    running: Option<(Traces, SdkTracerProvider)>,
}

/// What would send them.
pub(super) enum Prepared {
    /// The same as now.
    Same,
    /// Another one, or none.
    Other(Option<(Traces, SdkTracerProvider)>),
}

impl Spans {
    /// Builds what a plan says, next to what runs.
    ///
    /// # Errors
    /// Why it cannot be built.
    pub(super) async fn prepare(
        &self,
        traces: Option<&Traces>,
        resource: &crate::signal::series::Resource,
        resolver: Resolver,
    ) -> Result<Prepared, String> {
        if self.running.as_ref().map(|(running, _)| running) == traces {
            return Ok(Prepared::Same);
        }
        let Some(traces) = traces else { return Ok(Prepared::Other(None)) };
        let provider = provider(traces, resource, resolver).await?;
        Ok(Prepared::Other(Some((traces.clone(), provider))))
    }

    /// Lets what was prepared run.
    /// What is no longer needed is returned: it has to be shut down.
    #[must_use]
    pub(super) fn commit(&mut self, prepared: Prepared) -> Option<SdkTracerProvider> {
        let Prepared::Other(next) = prepared else { return None };
        let tracer = next.as_ref().map(|(_, provider)| {
            let scope = opentelemetry::InstrumentationScope::builder(SCOPE_NAME);
            provider.tracer_with_scope(scope.with_version(SCOPE_VERSION).build())
        });
        selftrace::install(tracer);
        std::mem::replace(&mut self.running, next).map(|(_, provider)| provider)
    }

    /// Sends the last spans.
    pub(super) async fn stop(&mut self) {
        if let Some(provider) = self.commit(Prepared::Other(None)) {
            shut_down(provider).await;
        }
    }
}

/// The thread that sends waits for this runtime, and must not be waited for on it.
pub(super) async fn shut_down(provider: SdkTracerProvider) {
    let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST));
    match tokio::time::timeout(LAST * 2, ended).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "the last spans of our own are lost"),
        Ok(Err(error)) => tracing::warn!(%error, "the last spans of our own are lost"),
        Err(_) => tracing::warn!("the last spans of our own are lost: nobody took them in time"),
    }
}

async fn provider(
    traces: &Traces,
    resource: &crate::signal::series::Resource,
    resolver: Resolver,
) -> Result<SdkTracerProvider, String> {
    let fail = |why: String| format!("service.telemetry.traces: {why}");
    let endpoint: http::Uri =
        traces.endpoint.parse().map_err(|_| fail("the endpoint is no URL".to_owned()))?;
    let tls = TlsClient::load(TlsSettings::default(), ALPN).await.map_err(fail)?;
    let fit = channel(&endpoint, &endpoint, resolver, tls).map_err(fail)?;
    let budget = fit.budget;
    let mut metadata = MetadataMap::new();
    for (name, value) in &traces.headers {
        let key = MetadataKey::from_bytes(name.to_lowercase().as_bytes());
        match (key, value.parse()) {
            (Ok(key), Ok(value)) => drop(metadata.insert(key, value)),
            _ => return Err(fail(format!("the header {name} cannot be sent"))),
        }
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_channel(fit.channel)
        .with_interceptor(move |request| {
            budget.renew();
            Ok(request)
        })
        .with_metadata(metadata)
        .with_timeout(traces.timeout)
        .build()
        .map_err(|error| fail(error.to_string()))?;
    let attributes = resource.attributes.iter();
    let attributes = attributes.map(|(name, value)| {
        opentelemetry::KeyValue::new(name.to_owned(), value.text().into_owned())
    });
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::TraceIdRatioBased(traces.ratio))
        .with_resource(Resource::builder_empty().with_attributes(attributes).build())
        .build())
}
