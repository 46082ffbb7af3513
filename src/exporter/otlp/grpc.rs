//! OTLP over gRPC.

use std::sync::Arc;

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;

use crate::exporter::client::Compression;
use crate::exporter::deliver::{Answer, Duty, Secrets, Transport, Work, dress, short, work};
use crate::exporter::otlp::settings::Grpc as Settings;
use crate::exporter::retry::{Action, classify_grpc};
use crate::net::auth::Authenticator;
use crate::net::grpc_client::{Fit, channel};
use crate::net::http_client::chain;
use crate::net::resolve::Resolver;
use crate::net::tls::TlsClient;
use crate::signal::batch::Sample;
use crate::wire::otlp;

struct Protocol {
    settings: Settings,
    client: Grpc<Fit>,
    auth: Option<Arc<Authenticator>>,
}

/// The work of an exporter that empties the queue of its duty.
///
/// # Errors
/// When the endpoint is none.
pub fn exporter(
    settings: Settings,
    (resolver, tls): (Resolver, TlsClient),
    auth: Option<Arc<Authenticator>>,
    duty: Duty,
) -> Result<Work, String> {
    let channel = channel(&settings.endpoint, &settings.origin, resolver, tls)?;
    let mut client = Grpc::new(channel).accept_compressed(CompressionEncoding::Gzip);
    if settings.compression == Compression::Gzip {
        client = client.send_compressed(CompressionEncoding::Gzip);
    }
    let common = settings.client.clone();
    Ok(work(duty, &common, Protocol { settings, client, auth }))
}

impl Protocol {
    async fn call(
        &mut self,
        samples: &[Sample],
        secrets: &mut Secrets,
    ) -> Result<otlp::Response, Status> {
        let mut head = http::Request::new(());
        *secrets = dress(&mut head, &self.settings.client.headers, self.auth.as_ref())
            .await
            .map_err(Status::unauthenticated)?;
        let mut request = Request::new(otlp::request(samples));
        request.set_timeout(self.settings.client.timeout);
        let mut headers = std::mem::take(head.headers_mut());
        headers.extend(std::mem::take(request.metadata_mut()).into_headers());
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        self.client.ready().await.map_err(|error| Status::unavailable(chain(&error)))?;
        let path = PathAndQuery::from_static(otlp::GRPC_PATH);
        let codec: ProstCodec<otlp::Request, otlp::Response> = ProstCodec::default();
        self.client.unary(request, path, codec).await.map(tonic::Response::into_inner)
    }
}

impl Transport for Protocol {
    async fn send(&mut self, samples: &[Sample]) -> Answer {
        let timeout = self.settings.client.timeout;
        let mut secrets = Secrets::default();
        let called = tokio::time::timeout(timeout, self.call(samples, &mut secrets)).await;
        let answer = match called {
            Err(_) => Answer::none(format!("no answer within {timeout:?}")),
            Ok(Ok(response)) => {
                let (rejected, why) = otlp::rejected(&response);
                Answer { rejected: rejected as usize, ..Answer::new(Action::Done, short(&why)) }
            }
            Ok(Err(status)) => answer(&status),
        };
        answer.without(&secrets)
    }
}

/// What a status means that is no success.
#[doc(hidden)] // Public for the fuzz targets.
#[must_use]
pub fn answer(status: &Status) -> Answer {
    let after = status.get_details_retry_info().and_then(|info| info.retry_delay);
    // What has a cause on our side is no answer.
    let said = |why: &str| format!("{:?} {}", status.code(), short(why));
    match std::error::Error::source(status) {
        Some(cause) => Answer::none(said(&chain(cause))),
        None => {
            let action = classify_grpc(status.code() as i32, after, status.message());
            Answer::new(action, said(status.message()))
        }
    }
}
