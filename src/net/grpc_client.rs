//! Channels to gRPC backends, over our own connector: our resolver, our TLS.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt as _;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint, Error};

use crate::net::AGENT;
use crate::net::budget::Budget;
use crate::net::detached::Detached;
use crate::net::http_client::{self, Connector};
use crate::net::resolve::Resolver;
use crate::net::tls::TlsClient;

/// The ALPN protocols of a channel.
pub const ALPN: &[&[u8]] = &[b"h2"];

/// A channel to an endpoint, which connects when it is first used. `origin` is what requests say that
/// they are for. Must be called within a runtime.
///
/// # Errors
/// When the endpoint is none.
pub fn channel(
    endpoint: &Uri,
    origin: &Uri,
    resolver: Resolver,
    tls: TlsClient,
) -> Result<Fit, String> {
    let secure = endpoint.scheme_str() == Some("https");
    // The channel leaves TLS to our own connector and must not look for its own.
    let plain = format!("http://{}", endpoint.authority().map_or("", |a| a.as_str()));
    let endpoint = Endpoint::from_shared(plain)
        .and_then(|endpoint| endpoint.user_agent(AGENT))
        .map_err(|error| error.to_string())?
        .origin(origin.clone())
        .executor(Detached);
    let budget = http_client::budget();
    let connector = Connector::new(resolver, tls, secure, Arc::clone(&budget));
    Ok(Fit { channel: endpoint.connect_with_connector_lazy(connector), budget })
}

/// A channel whose answers are fit for tonic, which panics (as of 0.14.9) when the details of a status are no base64,
/// and takes the page of a proxy for a broken message.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The channel as it is.
    pub channel: Channel,
    /// The read budget of a request, renewed by each one that goes through here.
    pub budget: Arc<Budget>,
}

impl tower_service::Service<Request<Body>> for Fit {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.budget.renew();
        let answer = self.channel.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            let headers = answer.headers();
            let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok());
            let speaks = kind.is_some_and(|kind| kind.starts_with("application/grpc"));
            if !headers.contains_key("grpc-status")
                && (answer.status() != StatusCode::OK || !speaks)
            {
                return Ok(translated(answer.status()));
            }
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

/// The answer of somebody on the way who speaks no gRPC, as gRPC would say it.
fn translated(status: StatusCode) -> Response<Body> {
    // UNAUTHENTICATED, PERMISSION_DENIED, UNIMPLEMENTED, RESOURCE_EXHAUSTED, UNAVAILABLE, UNKNOWN
    let code: u16 = match status.as_u16() {
        401 => 16,
        403 => 7,
        200..=299 | 404 | 405 | 415 => 12,
        413 => 8,
        408 | 429 | 300..=399 | 500..=599 => 14,
        _ => 2,
    };
    let said = if code == 8 { "too large: " } else { "" };
    let mut answer = Response::new(Body::empty());
    let headers = answer.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", code.into());
    let message = HeaderValue::from_str(&format!("{said}HTTP status {status}"));
    headers.extend(message.ok().map(|message| (HeaderName::from_static("grpc-message"), message)));
    answer
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
