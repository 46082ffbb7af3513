//! Sees the batches of a queue through, whatever the protocol: one request in flight, retried until
//! it is taken over, so that the samples of a series arrive in order.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use crate::base::backoff::Backoff;
use crate::base::clock::{self, BootTime, Moment};
use crate::base::text::tame;
use crate::exporter::client::Client;
use crate::exporter::retry::{Action, HOLD, MAX_REFUSED, classify};
use crate::net::auth::Authenticator;
use crate::pipeline::selfmetrics::Meter;
use crate::pipeline::selftrace;
use crate::queue::memory::MemoryQueue;
use crate::signal::batch::Sample;
use crate::signal::names::EXPORT_REQUESTS;

/// How long the request under way may take when another exporter takes over.
const LAST: Duration = Duration::from_secs(2);
/// How often a fault that lasts is logged at most.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// Requests that finding the refused samples of one batch may cost; what is left then is refused as
/// a whole.
const MAX_BISECT: u32 = 64;

/// What a backend has made of a batch.
#[doc(hidden)] // Public for the fuzz targets.
#[derive(Debug)]
pub struct Answer {
    /// What to do with the batch.
    pub action: Action,
    /// What it said.
    pub why: String,
    /// Of a batch that was taken over, how many samples were not.
    pub rejected: usize,
}

impl Answer {
    pub(super) fn new(action: Action, why: impl Into<String>) -> Self {
        Self { action, why: why.into(), rejected: 0 }
    }

    /// The answer of an HTTP backend by its status, with what it says made fit for a log.
    #[must_use]
    pub fn of_http(response: &Response<bytes::Bytes>) -> Self {
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let text = String::from_utf8_lossy(response.body());
        let action = classify(response.status().as_u16(), after, &text);
        Self::new(action, format!("{} {}", response.status(), short(&text)))
    }
}

/// Foreign text, short and on one line.
pub(super) fn short(text: &str) -> String {
    let one_line = |c: char| if c.is_whitespace() { ' ' } else { c };
    tame(&text.trim().chars().take(200).map(one_line).collect::<String>())
}

/// A protocol.
pub(super) trait Transport: Send {
    /// Sends samples once.
    fn send(&mut self, samples: &[Sample]) -> impl Future<Output = Answer> + Send;

    /// A batch is through: time to tidy up.
    fn tidy(&mut self) {}
}

/// What an exporter needs besides its protocol.
pub struct Duty {
    /// The exporter's name.
    pub name: String,
    /// The pipeline that it serves.
    pub pipeline: String,
    /// Where its samples wait.
    pub queue: Arc<MemoryQueue>,
    /// Where requests are counted.
    pub meter: Arc<Meter>,
    /// Set when the daemon stops: no more waiting, one last try.
    pub hurry: CancellationToken,
    /// Set when another exporter takes the queue over: what was not sent stays in it.
    pub leave: CancellationToken,
}

/// An exporter's work. It does nothing until it is begun, and ends when the queue is closed and empty,
/// nothing more can be sent in a hurry, or another one takes the queue over.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The work of an exporter that speaks a protocol.
pub(super) fn work<T: Transport + 'static>(duty: Duty, client: &Client, transport: T) -> Work {
    Box::pin(Delivery::new(duty, client, transport).run())
}

/// An exporter at work.
struct Delivery<T> {
    duty: Duty,
    backoff: Backoff,
    max_elapsed: Option<Duration>,
    transport: T,
    logged: Option<BootTime>,
    failing: bool,
    told_loss: Option<BootTime>,
    /// Samples that were lost and not told of yet.
    lost: usize,
}

impl<T: Transport> Delivery<T> {
    fn new(duty: Duty, client: &Client, transport: T) -> Self {
        let (backoff, max_elapsed) = (client.backoff, client.max_elapsed);
        Self {
            duty,
            backoff,
            max_elapsed,
            transport,
            logged: None,
            failing: false,
            told_loss: None,
            lost: 0,
        }
    }

    /// Runs until the queue is closed and empty, nothing more can be sent in a hurry, or another one
    /// takes over.
    async fn run(mut self) {
        loop {
            let leave = self.duty.leave.clone();
            let samples = tokio::select! {
                biased;
                () = leave.cancelled() => return,
                samples = self.duty.queue.take() => samples,
            };
            let Some(samples) = samples else { return };
            if !self.deliver(&samples).await {
                return;
            }
            self.transport.tidy();
        }
    }

    /// Sees a batch through: sent, refused, or given up because the daemon stops. `false`: another
    /// one takes over.
    async fn deliver(&mut self, samples: &[Sample]) -> bool {
        let mut work: Vec<Range<usize>> = Vec::new();
        work.push(0..samples.len());
        let mut failures = 0;
        let mut asked = 0;
        let mut refused = 0;
        let began = clock::now().boot;
        while let Some(range) = work.pop() {
            let part = &samples[range.clone()];
            let started = clock::now();
            let leave = self.duty.leave.clone();
            let left = async {
                leave.cancelled().await;
                tokio::time::sleep(LAST).await;
            };
            let answer = tokio::select! {
                answer = self.transport.send(part) => answer,
                // Whether it was taken over is not known: the next one sends it again.
                () = left => Answer::new(Action::Retry(None), "left while it was being sent"),
            };
            let Answer { mut action, why, rejected } = answer;
            self.trace(&started, part.len(), &action, &why);
            if action == Action::Refused {
                refused += 1;
                if refused > MAX_REFUSED {
                    action = Action::Bisect;
                }
            }
            self.count(&action);
            let late =
                || self.max_elapsed.is_some_and(|limit| clock::now().boot.since(began) >= limit);
            let queue = Arc::clone(&self.duty.queue);
            let half = range.start + range.len() / 2;
            match action {
                Action::Done => {
                    self.recovered();
                    failures = 0;
                    let rejected = rejected.min(part.len());
                    if rejected > 0 || !why.is_empty() {
                        self.lose("the backend refuses them", &why, rejected);
                    }
                    queue.settle(part.len() - rejected, rejected, 0);
                }
                // Halves are smaller; looking for refused samples has to end some time.
                Action::Split | Action::Bisect
                    if range.len() > 1 && (action == Action::Split || asked < MAX_BISECT) =>
                {
                    asked += u32::from(action == Action::Bisect);
                    work.push(half..range.end);
                    work.push(range.start..half);
                }
                Action::Split | Action::Bisect => {
                    self.lose("the backend refuses them for good", &why, part.len());
                    queue.settle(0, part.len(), 0);
                }
                Action::Retry(_) | Action::Hold | Action::Refused
                    if self.duty.hurry.is_cancelled() =>
                {
                    self.lose("no time is left to send them", &why, part.len());
                    queue.settle(0, 0, part.len());
                }
                Action::Retry(_) | Action::Hold | Action::Refused if late() => {
                    self.lose("max_elapsed_time is over", &why, part.len());
                    queue.settle(0, 0, part.len());
                }
                Action::Retry(after) => {
                    failures += 1;
                    self.log(&why, part.len());
                    let own = self.backoff.wait(failures, random());
                    self.wait(after.unwrap_or_default().max(own)).await;
                    work.push(range);
                }
                Action::Hold | Action::Refused => {
                    self.log(&format!("held until this is mended: {why}"), part.len());
                    self.wait(HOLD).await;
                    work.push(range);
                }
            }
            if self.duty.leave.is_cancelled() {
                work.sort_by_key(|range| range.start);
                let left = work.iter().flat_map(|range| samples[range.clone()].iter().cloned());
                queue.give_back(left.collect());
                return false;
            }
        }
        true
    }

    async fn wait(&mut self, span: Duration) {
        tokio::select! {
            () = tokio::time::sleep(span) => {}
            () = self.duty.hurry.cancelled() => {}
            () = self.duty.leave.cancelled() => {}
        }
    }

    fn trace(&self, started: &Moment, samples: usize, action: &Action, why: &str) {
        let took = clock::instant().duration_since(started.monotonic);
        selftrace::record("export", selftrace::Work::Client, started.wall, took, |attributes| {
            attributes.push(("watchpost.exporter", self.duty.name.clone()));
            attributes.push(("watchpost.pipeline", self.duty.pipeline.clone()));
            attributes.push(("watchpost.samples", samples.to_string()));
            attributes.push(("watchpost.result", word(action).to_owned()));
            (*action != Action::Done).then(|| why.to_owned())
        });
    }

    fn count(&self, action: &Action) {
        let result = word(action);
        let own = [
            ("exporter", self.duty.name.as_str()),
            ("pipeline", self.duty.pipeline.as_str()),
            ("result", result),
        ];
        self.duty.meter.counter(&EXPORT_REQUESTS, &own).add(1);
    }

    /// Tells of samples that nobody will have: all of them, now and then.
    fn lose(&mut self, what: &str, why: &str, samples: usize) {
        self.lost += samples;
        let now = clock::now().boot;
        if self.told_loss.is_none_or(|at| now.since(at) >= LOG_EVERY) {
            self.told_loss = Some(now);
            let lost = std::mem::take(&mut self.lost);
            tracing::warn!(exporter = %self.duty.name, samples = lost, "samples are lost, {what}: {why}");
        }
    }

    fn log(&mut self, why: &str, samples: usize) {
        self.failing = true;
        let now = clock::now().boot;
        if self.logged.is_none_or(|at| now.since(at) >= LOG_EVERY) {
            self.logged = Some(now);
            let queued = self.duty.queue.len();
            tracing::warn!(exporter = %self.duty.name, samples, queued, "sending failed: {why}");
        }
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.failing) {
            self.logged = None;
            let queued = self.duty.queue.len();
            tracing::info!(exporter = %self.duty.name, queued, "sending works again");
        }
    }
}

fn word(action: &Action) -> &'static str {
    match action {
        Action::Done => "sent",
        Action::Retry(_) => "retried",
        Action::Hold => "held",
        Action::Split => "split",
        Action::Bisect | Action::Refused => "refused",
    }
}

/// Adds the headers of the configuration, then those that authenticate.
pub(super) async fn dress<B>(
    request: &mut Request<B>,
    headers: &[(HeaderName, SecretString)],
    auth: Option<&Arc<Authenticator>>,
) -> Result<(), String> {
    for (name, value) in headers {
        if let Ok(mut value) = HeaderValue::from_str(value.expose_secret()) {
            value.set_sensitive(true);
            request.headers_mut().insert(name.clone(), value);
        }
    }
    match auth {
        Some(auth) => auth.apply(request.headers_mut()).await,
        None => Ok(()),
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
