//! Channels to gRPC backends, over our own connector: our resolver, our TLS.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Error};

use crate::net::AGENT;
use crate::net::http_client::Connector;
use crate::net::resolve::Resolver;
use crate::net::tls::{TlsClient, TlsSettings};

/// A channel to an endpoint, which connects when it is first used. `origin` is what requests say that
/// they are for. Must be called within a runtime.
///
/// # Errors
/// When a certificate or key cannot be read, or the endpoint is none.
pub fn channel(
    endpoint: &Uri,
    origin: &Uri,
    resolver: Resolver,
    tls: &TlsSettings,
) -> Result<Channel, String> {
    let tls = TlsClient::new(tls, &[b"h2"])?;
    let secure = endpoint.scheme_str() == Some("https");
    // The channel leaves TLS to our own connector and must not look for its own.
    let plain = format!("http://{}", endpoint.authority().map_or("", |a| a.as_str()));
    let endpoint = Endpoint::from_shared(plain)
        .and_then(|endpoint| endpoint.user_agent(AGENT))
        .map_err(|error| error.to_string())?
        .origin(origin.clone());
    Ok(endpoint.connect_with_connector_lazy(Connector::new(resolver, tls, secure)))
}

/// A channel whose answers are fit for tonic, which panics (as of 0.14.9) when the details of a status are no base64.
#[derive(Clone, Debug)]
pub struct Fit(pub Channel);

impl tower_service::Service<Request<Body>> for Fit {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            mend(answer.headers_mut());
            Ok(answer.map(|body| {
                Body::new(body.map_frame(|mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        mend(trailers);
                    }
                    frame
                }))
            }))
        })
    }
}

/// Takes away details that cannot be read: code and message say enough.
#[doc(hidden)] // Public for the fuzz targets.
pub fn mend(headers: &mut HeaderMap) {
    const DETAILS: &str = "grpc-status-details-bin";
    const READER: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    // The first one is read.
    if headers.get(DETAILS).is_some_and(|details| READER.decode(details).is_err()) {
        headers.remove(DETAILS);
    }
}
