//! A pipeline at work: one thread that empties the ring, sends each payload through the chain and
//! hands what is left to the sinks. Chain and sinks can be exchanged while it runs.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

use crate::base::clock::{self, Moment};
use crate::base::seldom::Seldom;
use crate::pipeline::chain::Chain;
use crate::pipeline::memory::Holder;
use crate::pipeline::ring::Ring;
use crate::pipeline::selfmetrics::Counter;
use crate::pipeline::stage::Sink;
use crate::signal::batch::{Batch, Sample};

/// A running pipeline.
pub struct Pipeline {
    ring: Arc<Ring>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    exchange: Mutex<Option<Exchange>>,
    /// Bytes that the chain's tables take.
    bytes: AtomicUsize,
}

impl Holder for Shared {
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What takes the place of what runs.
pub struct Exchange {
    /// Another chain; `None`: the old one goes on.
    pub chain: Option<Chain>,
    /// All sinks from now on.
    pub sinks: Vec<Arc<dyn Sink>>,
    /// Those whose series end: they get stale markers first, and are closed.
    pub ended: Vec<Arc<dyn Sink>>,
    /// Those that begin: they get what comes after the exchange.
    pub begun: Vec<Arc<dyn Sink>>,
    /// Told when it is done.
    pub done: oneshot::Sender<()>,
}

impl Pipeline {
    /// Starts the thread. It ends when the ring is closed and empty, and closes the sinks.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        name: &str,
        ring: Arc<Ring>,
        chain: Chain,
        sinks: Vec<Arc<dyn Sink>>,
        refused: Counter,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            name: name.to_owned(),
            ring: Arc::clone(&ring),
            shared: Arc::clone(&shared),
            chain,
            sinks,
            refused,
            logged: Seldom::default(),
        };
        let thread = Builder::new().name(format!("write {name}")).spawn(move || worker.run())?;
        Ok(Self { ring, shared, thread })
    }

    /// The inlet.
    #[must_use]
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// What the tables of the chain hold.
    #[must_use]
    pub fn tables(&self) -> Arc<dyn Holder> {
        Arc::clone(&self.shared) as Arc<dyn Holder>
    }

    /// Lets other processors and sinks take over once everything that is in the ring now is through.
    pub fn exchange(&self, exchange: Exchange) {
        *self.shared.exchange.lock().unwrap_or_else(PoisonError::into_inner) = Some(exchange);
        self.ring.nudge();
    }

    /// Ends it: nothing more is taken, what is in the ring goes through.
    pub fn stop(self) {
        self.ring.close();
        // The thread only moves memory: it ends at once.
        let _ = self.thread.join();
    }
}

struct Worker {
    name: String,
    ring: Arc<Ring>,
    shared: Arc<Shared>,
    chain: Chain,
    sinks: Vec<Arc<dyn Sink>>,
    refused: Counter,
    logged: Seldom,
}

impl Worker {
    fn run(mut self) {
        loop {
            // Asked for before the ring is emptied: what was offered before it goes the old way.
            let exchange =
                self.shared.exchange.lock().unwrap_or_else(PoisonError::into_inner).take();
            if exchange.is_some() {
                self.ring.nudge();
            }
            let Some(batches) = self.ring.take_all() else { break };
            let now = clock::now();
            self.forward(batches, now);
            if let Some(exchange) = exchange {
                self.take_over(exchange, now);
            }
            self.shared.bytes.store(self.chain.bytes(), Ordering::Relaxed);
        }
        for sink in &self.sinks {
            sink.close();
        }
    }

    fn forward(&mut self, batches: Vec<Batch>, now: Moment) {
        let ended = self.chain.tick(now);
        let mut out = Vec::with_capacity(batches.len() + 1);
        out.extend(payload(ended));
        for batch in batches {
            let samples = batch.len();
            match self.chain.process(batch, now.boot) {
                Ok(batch) if batch.is_empty() => {}
                Ok(batch) => out.push(batch),
                Err(why) => {
                    self.refused.add(samples as u64);
                    if self.logged.passes(now.boot) {
                        tracing::warn!(pipeline = %self.name, samples, "a payload is refused: {why}");
                    }
                }
            }
        }
        if !out.is_empty() {
            for sink in &self.sinks {
                sink.append(&out, now);
            }
        }
    }

    fn take_over(&mut self, exchange: Exchange, now: Moment) {
        let Exchange { chain, sinks, ended, begun, done } = exchange;
        if let Some(farewell) = payload(self.chain.farewell(now.wall)).filter(|_| !ended.is_empty())
        {
            for sink in &ended {
                sink.append(std::slice::from_ref(&farewell), now);
            }
        }
        ended.iter().for_each(|sink| sink.close());
        if let Some(mut chain) = chain {
            let ended = chain.succeed(&self.chain, now);
            if let Some(markers) = payload(ended) {
                // Through the sinks that stay: they alone have seen these series and see the new ones.
                for sink in self.sinks.iter().filter(|sink| sinks.iter().any(|s| same(s, sink))) {
                    sink.append(std::slice::from_ref(&markers), now);
                }
            }
            self.chain = chain;
        }
        for sink in self.sinks.iter().filter(|sink| !sinks.iter().any(|s| same(s, sink))) {
            sink.close();
        }
        self.sinks = sinks;
        begun.iter().for_each(|sink| sink.open());
        let _ = done.send(());
    }
}

fn same(one: &Arc<dyn Sink>, other: &Arc<dyn Sink>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

fn payload(samples: Vec<Sample>) -> Option<Batch> {
    (!samples.is_empty()).then_some(Batch { samples, lifetime: None })
}
