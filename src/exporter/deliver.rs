//! Sees the batches of a queue through, whatever the protocol: one request in flight, retried until
//! it is taken over, so that the samples of a series arrive in order.

mod answer;
mod ledger;
mod round;
mod secrets;
mod stamps;

use std::collections::HashSet;
use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use crate::base::backoff::Backoff;
use crate::base::clock::{self, Moment};
use crate::base::seldom::Seldom;
use crate::exporter::client::Client;
use crate::exporter::health::Health;
use crate::exporter::retry::{Action, HOLD};
use crate::net::auth::Authenticator;
use crate::pipeline::selfmetrics::Meter;
use crate::pipeline::selftrace;
use crate::queue::cursor::{Cursor, Outcome, Taken};
use crate::queue::log::Surroundings;
use crate::queue::quarantine::Quarantine;
use crate::signal::batch::Sample;
use crate::signal::names::EXPORT_REQUESTS;
#[doc(hidden)] // Public for the fuzz targets.
pub use answer::Answer;
pub(super) use answer::short;
use round::Round;
pub(super) use secrets::Secrets;
use stamps::{Now, Stamps};

/// How long the request under way may take when another exporter takes over.
const LAST: Duration = Duration::from_secs(2);
/// Series that are known to be refused, at most.
const MAX_ACCUSED: usize = 10_000;
/// What is refused for so many of the longest waits (and ten times) is looked into.
const PERSISTS: u32 = 20;

/// The file of a batch that is through is needed no more.
async fn remove(file: Option<PathBuf>) {
    if let Some(file) = file {
        let _ = tokio::task::spawn_blocking(move || std::fs::remove_file(file)).await;
    }
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
    pub queue: Arc<Cursor>,
    /// Where what is refused for good is put aside.
    pub quarantine: Option<Quarantine>,
    /// What the log knows of this machine.
    pub surroundings: Surroundings,
    /// Told how sending goes.
    pub health: Arc<Health>,
    /// Where requests are counted.
    pub meter: Arc<Meter>,
    /// Set when the daemon stops: no more waiting, one last try.
    pub hurry: CancellationToken,
    /// Set when another exporter takes the queue over: what was not sent stays in it.
    pub leave: CancellationToken,
}

impl Duty {
    fn now(&self) -> Now {
        Now {
            moment: clock::now(),
            synchronized: (self.surroundings.synchronized)(),
            boot_id: self.surroundings.boot_id,
        }
    }
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
    stamps: Stamps,
    logged: Seldom,
    failing: bool,
    told_loss: Seldom,
    /// Samples that were lost and not told of yet.
    lost: usize,
    /// Series that the backend refuses while it takes others.
    accused: HashSet<u64>,
}

impl<T: Transport> Delivery<T> {
    fn new(duty: Duty, client: &Client, transport: T) -> Self {
        let (backoff, max_elapsed) = (client.backoff, client.max_elapsed);
        Self {
            duty,
            backoff,
            max_elapsed,
            transport,
            stamps: Stamps::default(),
            logged: Seldom::default(),
            failing: false,
            told_loss: Seldom::default(),
            lost: 0,
            accused: HashSet::new(),
        }
    }

    /// Runs until the queue is closed and empty, nothing more can be sent in a hurry, or another one
    /// takes over.
    async fn run(mut self) {
        loop {
            let leave = self.duty.leave.clone();
            let taken = tokio::select! {
                biased;
                () = leave.cancelled() => return,
                taken = self.duty.queue.take() => taken,
            };
            let Some(taken) = taken else { return };
            if !self.deliver(taken).await {
                return;
            }
            self.transport.tidy();
        }
    }

    /// Sees a batch through: sent, refused, or given up because the daemon stops. `false`: another
    /// one takes over, now or after a restart.
    async fn deliver(&mut self, taken: Taken) -> bool {
        let mut batch = Round::new(taken);
        loop {
            let Some(part) = batch.next() else {
                if self.conclude(&mut batch).await {
                    continue;
                }
                batch.ledger.tell(&self.duty.queue);
                remove(batch.taken.file.take()).await;
                return true;
            };
            let (answer, stamped) = self.attempt(&batch, &part).await;
            self.react(&mut batch, part, answer, stamped).await;
            if self.duty.leave.is_cancelled() || batch.stays {
                let Round { mut taken, ledger, .. } = batch;
                let told = ledger.told();
                taken.samples.drain(..told);
                taken.runs.retain_mut(|run| {
                    run.until = run.until.saturating_sub(told);
                    run.until > 0
                });
                taken.first = taken.first.map(|first| first + told as u64);
                taken.again = true;
                if taken.samples.is_empty() {
                    remove(taken.file.take()).await;
                }
                self.duty.queue.give_back(taken);
                return false;
            }
        }
    }

    /// Sends a part once. The second half of what is returned: samples that are not sent because of their time, as
    /// (ahead, behind).
    async fn attempt(&mut self, batch: &Round, part: &Range<usize>) -> (Answer, (usize, usize)) {
        let now = self.duty.now();
        if now.is_implausible() {
            let why = "the clock of this machine is not set yet";
            return (Answer::new(Action::Retry(None), why), (0, 0));
        }
        // What is sent once more on purpose, and what others of its series have overtaken, may be older.
        let strict = batch.taken.first.is_some() && !batch.guilty;
        let stamped = self.stamps.stamp(&batch.taken, part, &now, strict);
        let kept_back = (stamped.ahead, stamped.behind);
        if stamped.samples.is_empty() {
            return (Answer::new(Action::Done, ""), kept_back);
        }
        let started = clock::now();
        let leave = self.duty.leave.clone();
        let left = async {
            leave.cancelled().await;
            tokio::time::sleep(LAST).await;
        };
        let answer = tokio::select! {
            answer = self.transport.send(&stamped.samples) => answer,
            // Whether it was taken over is not known: the next one sends it again.
            () = left => Answer::none("left while it was being sent"),
        };
        if answer.action == Action::Done {
            self.stamps.sent(&stamped.samples, started.boot);
        }
        self.trace(&started, stamped.samples.len(), &answer.action, &answer.why);
        self.count(&answer.action);
        (answer, kept_back)
    }

    async fn react(
        &mut self,
        batch: &mut Round,
        part: Range<usize>,
        answer: Answer,
        (ahead, behind): (usize, usize),
    ) {
        let Answer { action, why, rejected, unanswered } = answer;
        let queue = Arc::clone(&self.duty.queue);
        batch.taken.again |= unanswered;
        if action == Action::Done {
            let sent = part.len() - ahead - behind;
            let rejected = rejected.min(sent);
            // What was not sent at all says nothing of the backend.
            if sent > 0 {
                self.recovered();
                batch.accepted();
            }
            if rejected > 0 || !why.is_empty() {
                self.lose("the backend refuses them", &why, rejected);
            }
            if ahead + behind > 0 {
                self.lose("their time", "the clock of this machine was set back", ahead + behind);
            }
            let outcomes = [
                (sent - rejected, Outcome::Sent),
                (rejected, Outcome::Rejected("partial_success")),
                (ahead, Outcome::Dropped("future")),
                (behind, Outcome::Dropped("backwards")),
            ];
            batch.ledger.note(&queue, &part, outcomes);
            return;
        }
        let late =
            self.max_elapsed.is_some_and(|limit| clock::now().boot.since(batch.began) >= limit);
        match action {
            // Halves are smaller; looking for refused samples has to end some time.
            Action::Split | Action::Bisect(_)
                if part.len() > 1 && (action == Action::Split || batch.may_ask()) =>
            {
                batch.halve(&part);
            }
            Action::Bisect(blame) if batch.taken.again && blame.may_be_there() => {
                // An earlier attempt has brought them there.
                batch.accepted();
                batch.ledger.note(&queue, &part, [(part.len(), Outcome::Sent)]);
            }
            Action::Bisect(blame) => {
                self.lose("the backend refuses them for good", &why, part.len());
                let outcome = Outcome::Rejected(blame.word());
                batch.ledger.note(&queue, &part, [(part.len(), outcome)]);
            }
            Action::Split => self.put_aside(batch, &part, "too_large", &why).await,
            Action::Refused if batch.guilty => match part.len() > 1 && batch.may_ask() {
                true => batch.halve(&part),
                false => self.put_aside(batch, &part, "refused", &why).await,
            },
            _ if self.duty.hurry.is_cancelled() && queue.is_durable() => {
                batch.work.push(part);
                batch.stays = true;
            }
            _ if self.duty.hurry.is_cancelled() => {
                self.lose("no time is left to send them", &why, part.len());
                batch.ledger.note(&queue, &part, [(part.len(), Outcome::Dropped("shutdown"))]);
            }
            _ if late => {
                self.lose("max_elapsed_time is over", &why, part.len());
                let outcome = Outcome::Dropped("max_elapsed_time");
                batch.ledger.note(&queue, &part, [(part.len(), outcome)]);
            }
            Action::Refused if batch.trial.is_some() => batch.suspect(part),
            // Of these the backend takes others, it is known.
            Action::Refused if self.knows(batch, &part) => batch.begin_trial(part),
            Action::Refused => {
                self.failed();
                self.log(&why, part.len());
                if batch.refused(clock::now().boot, self.backoff.max_interval * PERSISTS) {
                    // Is it the backend, or something in this batch?
                    batch.begin_trial(part);
                } else {
                    let own = self.backoff.wait(batch.failures, random());
                    self.wait(own).await;
                    batch.work.push(part);
                }
            }
            Action::Retry(after) => {
                self.failed();
                batch.failures += 1;
                batch.end_trial();
                self.log(&why, part.len());
                let own = self.backoff.wait(batch.failures, random());
                self.wait(after.unwrap_or_default().max(own)).await;
                batch.work.push(part);
            }
            Action::Hold => {
                self.failed();
                batch.end_trial();
                self.log(
                    &format!("held until this is mended, tried again in a minute: {why}"),
                    part.len(),
                );
                self.wait(HOLD).await;
                batch.work.push(part);
            }
            Action::Done => {}
        }
    }

    /// All parts have been tried. `true`: there is more to do.
    async fn conclude(&mut self, batch: &mut Round) -> bool {
        let Some(trial) = &mut batch.trial else { return false };
        if !trial.accepted && !std::mem::replace(&mut batch.extended, true) {
            // Nothing of it was accepted: do later samples fare better?
            if let Some(further) = self.duty.queue.further(&mut batch.taken).await {
                batch.work = std::mem::take(&mut trial.suspects);
                batch.work.push(further);
                batch.sort();
                return true;
            }
        }
        let trial = batch.trial.take().expect("it is there");
        batch.judge(trial);
        if !batch.guilty {
            self.accused.clear();
            // The backend takes nothing: that is no fault of these samples.
            let own = self.backoff.wait(batch.failures, random());
            self.wait(own).await;
        }
        !batch.work.is_empty()
    }

    /// Whether one of the series in a part was refused before while others were taken.
    fn knows(&mut self, batch: &Round, part: &Range<usize>) -> bool {
        let samples = &batch.taken.samples[part.clone()];
        samples.iter().any(|sample| self.accused.contains(&self.stamps.place(&sample.series)))
    }

    /// Puts samples into the quarantine.
    async fn put_aside(
        &mut self,
        batch: &mut Round,
        part: &Range<usize>,
        reason: &'static str,
        why: &str,
    ) {
        self.lose("the backend refuses them for good; they are put aside", why, part.len());
        if reason == "refused" && self.accused.len() < MAX_ACCUSED {
            for sample in &batch.taken.samples[part.clone()] {
                self.accused.insert(self.stamps.place(&sample.series));
            }
        }
        if let Some(quarantine) = self.duty.quarantine.clone() {
            let samples = batch.taken.samples[part.clone()].to_vec();
            let (name, why, now) = (self.duty.name.clone(), why.to_owned(), self.duty.now());
            let put = tokio::task::spawn_blocking(move || {
                let captured = now.captured();
                quarantine.put(&name, &samples, captured, now.boot_id, &why)
            });
            if let Ok(Err(error)) = put.await {
                tracing::warn!(exporter = %self.duty.name, "they cannot be put aside: {error}");
            }
        }
        let outcome = Outcome::Rejected(reason);
        batch.ledger.note(&self.duty.queue, part, [(part.len(), outcome)]);
    }

    fn failed(&mut self) {
        self.duty.health.failed(clock::now().boot);
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
        if self.told_loss.passes(now) {
            let lost = std::mem::take(&mut self.lost);
            tracing::warn!(exporter = %self.duty.name, samples = lost, "samples are lost, {what}: {why}");
        }
    }

    fn log(&mut self, why: &str, samples: usize) {
        self.failing = true;
        let now = clock::now().boot;
        if self.logged.passes(now) {
            let queued = self.duty.queue.len();
            tracing::warn!(exporter = %self.duty.name, samples, queued, "sending failed: {why}");
        }
    }

    fn recovered(&mut self) {
        self.duty.health.succeeded();
        if std::mem::take(&mut self.failing) {
            self.logged.reset();
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
        Action::Bisect(_) | Action::Refused => "refused",
    }
}

/// Adds the headers of the configuration, then those that authenticate. Returns the secrets in them,
/// which no log shall show.
pub(super) async fn dress<B>(
    request: &mut Request<B>,
    headers: &[(HeaderName, SecretString)],
    auth: Option<&Arc<Authenticator>>,
) -> Result<Secrets, String> {
    for (name, value) in headers {
        if let Ok(mut value) = HeaderValue::from_str(value.expose_secret()) {
            value.set_sensitive(true);
            request.headers_mut().insert(name.clone(), value);
        }
    }
    if let Some(auth) = auth {
        auth.apply(request.headers_mut()).await?;
    }
    Ok(Secrets::of(request.headers()))
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
