//! OTLP over HTTP.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Full;

use crate::exporter::client::Compression;
use crate::exporter::deliver::{Answer, Duty, Transport, Work, dress, short, work};
use crate::exporter::otlp::settings::{Encoding, Http as Settings};
use crate::exporter::retry::Action;
use crate::net::AGENT;
use crate::net::auth::Authenticator;
use crate::net::http_client::HttpClient;
use crate::net::resolve::Resolver;
use crate::net::tls::TlsClient;
use crate::signal::batch::Sample;
use crate::wire::otlp;

struct Protocol {
    settings: Settings,
    client: HttpClient,
    auth: Option<Arc<Authenticator>>,
}

/// The work of an exporter that empties the queue of its duty.
#[must_use]
pub fn exporter(
    settings: Settings,
    (resolver, tls): (Resolver, TlsClient),
    auth: Option<Arc<Authenticator>>,
    duty: Duty,
) -> Work {
    let client = HttpClient::new(resolver, tls);
    let common = settings.client.clone();
    work(duty, &common, Protocol { settings, client, auth })
}

impl Transport for Protocol {
    async fn send(&mut self, samples: &[Sample]) -> Answer {
        let message = otlp::request(samples);
        let (body, kind) = match self.settings.encoding {
            Encoding::Proto => (otlp::protobuf(&message), "application/x-protobuf"),
            Encoding::Json => (otlp::json(&message), "application/json"),
        };
        drop(message);
        let gzip = self.settings.compression == Compression::Gzip;
        let body = if gzip { compressed(&body) } else { body };
        let mut request = Request::post(self.settings.endpoint.clone())
            .header(USER_AGENT, AGENT)
            .body(Full::new(Bytes::from(body)))
            .expect("the endpoint was read as a URL");
        let dressed = dress(&mut request, &self.settings.client.headers, self.auth.as_ref()).await;
        let secrets = match dressed {
            Ok(secrets) => secrets,
            Err(why) => return Answer::new(Action::Hold, why),
        };
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if gzip {
            request.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let response = match self.client.send(request, self.settings.client.timeout).await {
            Err(error) => return Answer::none(error.to_string()).without(&secrets),
            Ok(response) => response,
        };
        let answer = Answer::of_http(&response).without(&secrets);
        if answer.action != Action::Done {
            return answer;
        }
        // Taken over, but for what the body says. A body that says nothing to us refuses nothing.
        let body = response.body();
        let said = match self.settings.encoding {
            _ if body.is_empty() => None,
            Encoding::Proto => otlp::rejected_protobuf(body),
            Encoding::Json => otlp::rejected_json(body),
        };
        let (rejected, why) = said.unwrap_or_default();
        Answer { rejected: rejected as usize, ..Answer::new(Action::Done, short(&why)) }
            .without(&secrets)
    }
}

/// The fastest level: the others cost seven times as much for a tenth of the size.
fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Level::fast());
    let written = encoder.write_all(body);
    debug_assert!(written.is_ok(), "writing into memory does not fail");
    encoder.finish().unwrap_or_default()
}
