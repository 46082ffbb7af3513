//! Channels to gRPC backends, over our own connector: our resolver, our TLS.

use http::Uri;
use tonic::transport::{Channel, Endpoint};

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
