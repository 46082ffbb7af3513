//! Sends samples by Prometheus remote write 1.0: one request in flight, retried until it is taken
//! over, so that the samples of a series arrive in order.

pub mod settings;
mod translate;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Full;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::base::clock::{self, BootTime};
use crate::exporter::retry::{Action, HOLD, MAX_REFUSED, classify};
use crate::net::AGENT;
use crate::net::http_client::HttpClient;
use crate::net::resolve::Resolver;
use crate::net::tls::TlsClient;
use crate::pipeline::selfmetrics::Meter;
use crate::queue::memory::MemoryQueue;
use crate::signal::batch::Sample;
use crate::signal::names::EXPORT_REQUESTS;
use settings::Settings;
use translate::Translator;

/// How often a fault that lasts is logged at most.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Requests that finding the refused samples of one batch may cost; what is left then is refused as
/// a whole.
const MAX_BISECT: u32 = 64;

/// The exporter.
pub struct RemoteWrite {
    name: String,
    settings: Settings,
    client: HttpClient,
    translator: Translator,
    queue: Arc<MemoryQueue>,
    meter: Arc<Meter>,
    /// Set when the daemon stops: no more waiting, one last try.
    hurry: CancellationToken,
    logged: Option<BootTime>,
    failing: bool,
}

impl RemoteWrite {
    /// An exporter that empties this queue.
    ///
    /// # Errors
    /// When a certificate or key cannot be read.
    pub fn new(
        name: &str,
        settings: Settings,
        resolver: Resolver,
        queue: Arc<MemoryQueue>,
        meter: Arc<Meter>,
        hurry: CancellationToken,
    ) -> Result<Self, String> {
        let tls = TlsClient::new(&settings.tls, &[b"http/1.1"])?;
        let translator = Translator::new(&settings);
        let client = HttpClient::new(resolver, tls);
        Ok(Self {
            name: name.to_owned(),
            settings,
            client,
            translator,
            queue,
            meter,
            hurry,
            logged: None,
            failing: false,
        })
    }

    /// Runs until the queue is closed and empty, or nothing more can be sent in a hurry.
    pub async fn run(mut self) {
        while let Some(samples) = self.queue.take().await {
            self.deliver(&samples).await;
            self.translator.forget_unseen();
        }
    }

    /// Sees a batch through: sent, refused, or given up because the daemon stops.
    async fn deliver(&mut self, samples: &[Sample]) {
        let mut work: Vec<Range<usize>> = Vec::new();
        work.push(0..samples.len());
        let mut failures = 0;
        let mut asked = 0;
        let mut refused = 0;
        while let Some(range) = work.pop() {
            let part = &samples[range.clone()];
            let (mut action, why) = self.send(part).await;
            if action == Action::Refused {
                refused += 1;
                if refused > MAX_REFUSED {
                    action = Action::Bisect;
                }
            }
            self.meter
                .counter(
                    &EXPORT_REQUESTS,
                    &[("exporter", &self.name), ("result", result_word(&action))],
                )
                .add(1);
            let half = range.start + range.len() / 2;
            match action {
                Action::Done => {
                    self.recovered();
                    failures = 0;
                    self.queue.settle(part.len(), 0, 0);
                }
                Action::Split | Action::Bisect if range.len() > 1 && asked < MAX_BISECT => {
                    asked += 1;
                    work.push(half..range.end);
                    work.push(range.start..half);
                }
                Action::Split | Action::Bisect => {
                    self.log(&format!("refused for good: {why}"), part.len());
                    self.queue.settle(0, part.len(), 0);
                }
                Action::Retry(_) | Action::Hold | Action::Refused if self.hurry.is_cancelled() => {
                    self.log(&format!("given up, because the daemon stops: {why}"), part.len());
                    self.queue.settle(0, 0, part.len());
                }
                Action::Retry(after) => {
                    failures += 1;
                    self.log(&why, part.len());
                    let own = self.settings.backoff.wait(failures, random());
                    self.wait(after.unwrap_or_default().max(own)).await;
                    work.push(range);
                }
                Action::Hold | Action::Refused => {
                    self.log(&format!("held until this is mended: {why}"), part.len());
                    self.wait(HOLD).await;
                    work.push(range);
                }
            }
        }
    }

    async fn wait(&self, span: Duration) {
        tokio::select! {
            () = tokio::time::sleep(span) => {}
            () = self.hurry.cancelled() => {}
        }
    }

    async fn send(&mut self, samples: &[Sample]) -> (Action, String) {
        let body = self.translator.encode(samples);
        let mut request = Request::post(self.settings.endpoint.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(CONTENT_ENCODING, "snappy")
            .header("X-Prometheus-Remote-Write-Version", "0.1.0")
            .header(USER_AGENT, AGENT)
            .body(Full::new(Bytes::from(body)))
            .expect("the endpoint was read as a URL");
        for (name, value) in &self.settings.headers {
            if let Ok(mut value) = HeaderValue::from_str(value.expose_secret()) {
                value.set_sensitive(true);
                request.headers_mut().insert(name.clone(), value);
            }
        }
        match self.client.send(request, self.settings.timeout).await {
            Err(error) => (Action::Retry(None), error.to_string()),
            Ok(response) => {
                let after =
                    response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let text = String::from_utf8_lossy(response.body());
                let action = classify(response.status().as_u16(), after, &text);
                let text: String = text
                    .trim()
                    .chars()
                    .take(200)
                    .map(|c| if c.is_control() { ' ' } else { c })
                    .collect();
                (action, format!("{} {text}", response.status()))
            }
        }
    }

    fn log(&mut self, why: &str, samples: usize) {
        self.failing = true;
        let now = clock::now().boot;
        if self.logged.is_none_or(|at| now.since(at) >= LOG_EVERY) {
            self.logged = Some(now);
            let queued = self.queue.len();
            tracing::warn!(exporter = %self.name, samples, queued, "sending failed: {why}");
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.failing) {
            self.logged = None;
            tracing::info!(exporter = %self.name, queued = self.queue.len(), "sending works again");
        }
    }
}

fn result_word(action: &Action) -> &'static str {
    match action {
        Action::Done => "sent",
        Action::Retry(_) => "retried",
        Action::Hold => "held",
        Action::Split => "split",
        Action::Bisect | Action::Refused => "refused",
    }
}

/// A number in 0..1 that differs between processes and moments: jitter needs no more.
fn random() -> f64 {
    let now = clock::now();
    let seed = crate::base::hash::stable_64(
        &[now.boot.0.as_nanos() as u64, u64::from(std::process::id())]
            .map(u64::to_be_bytes)
            .concat(),
    );
    seed as f64 / u64::MAX as f64
}
