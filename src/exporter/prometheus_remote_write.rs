//! Sends samples by Prometheus remote write 1.0.

pub mod settings;
mod translate;

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http_body_util::Full;

use crate::exporter::deliver::{Answer, Duty, Transport, Work, dress, work};
use crate::exporter::retry::Action;
use crate::net::AGENT;
use crate::net::auth::Authenticator;
use crate::net::http_client::HttpClient;
use crate::net::resolve::Resolver;
use crate::net::tls::TlsClient;
use crate::signal::batch::Sample;
use settings::Settings;
pub use translate::Translator;

struct Protocol {
    settings: Settings,
    client: HttpClient,
    auth: Option<Arc<Authenticator>>,
    translator: Translator,
}

/// The work of an exporter that empties the queue of its duty.
#[must_use]
pub fn exporter(
    settings: Settings,
    (resolver, tls): (Resolver, TlsClient),
    auth: Option<Arc<Authenticator>>,
    duty: Duty,
) -> Work {
    let translator = Translator::new(&settings.identity);
    let client = HttpClient::new(resolver, tls);
    let common = settings.client.clone();
    let protocol = Protocol { settings, client, auth, translator };
    work(duty, &common, protocol)
}

impl Transport for Protocol {
    async fn send(&mut self, samples: &[Sample]) -> Answer {
        let body = self.translator.encode(samples);
        let mut request = Request::post(self.settings.endpoint.clone())
            .header(USER_AGENT, AGENT)
            .body(Full::new(Bytes::from(body)))
            .expect("the endpoint was read as a URL");
        let dressed = dress(&mut request, &self.settings.client.headers, self.auth.as_ref()).await;
        let secrets = match dressed {
            Ok(secrets) => secrets,
            Err(why) => return Answer::new(Action::Hold, why),
        };
        // What the protocol demands is not for the configuration to change.
        for (name, value) in [
            (CONTENT_TYPE, "application/x-protobuf"),
            (CONTENT_ENCODING, "snappy"),
            (http::HeaderName::from_static("x-prometheus-remote-write-version"), "0.1.0"),
        ] {
            request.headers_mut().insert(name, http::HeaderValue::from_static(value));
        }
        match self.client.send(request, self.settings.client.timeout).await {
            Err(error) => Answer::none(error.to_string()).without(&secrets),
            Ok(response) => {
                let answer = Answer::of_http(&response).without(&secrets);
                // A backend that is content has nothing to say.
                let why = if answer.action == Action::Done { String::new() } else { answer.why };
                Answer { why, ..answer }
            }
        }
    }

    fn tidy(&mut self) {
        self.translator.forget_unseen();
    }
}
