//! Requests to reload. However many come, the configuration is read at most once a second for them.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Requests are answered by a reload that begins this long after the last one has ended.
const PAUSE: Duration = Duration::from_secs(1);
/// Requests that may wait to be noticed; a connection that asks waits, too.
const CAPACITY: usize = 64;

/// A request to reload, which waits for what came of it.
pub(super) type Ask = oneshot::Sender<Result<(), String>>;

/// All requests that wait for the next reload.
pub(super) struct Asks {
    asked: mpsc::Receiver<Ask>,
    waiting: Vec<Ask>,
    /// When they may be answered.
    next: Instant,
}

impl Asks {
    /// No request yet, and where they are sent.
    pub(super) fn new() -> (mpsc::Sender<Ask>, Self) {
        let (sender, asked) = mpsc::channel(CAPACITY);
        (sender, Self { asked, waiting: Vec::new(), next: Instant::now() })
    }

    /// Waits until a reload is due for those that have asked. Nothing is lost when it is cancelled.
    pub(super) async fn due(&mut self) {
        while self.waiting.is_empty() || Instant::now() < self.next {
            let pause = sleep_until(self.next);
            tokio::select! {
                Some(ask) = self.asked.recv() => self.waiting.push(ask),
                () = pause, if !self.waiting.is_empty() => {}
                // The last sender is gone: the daemon stops.
                else => std::future::pending().await,
            }
        }
    }

    /// A reload begins: these have asked before, and are answered by it.
    pub(super) fn begin(&mut self) -> Vec<Ask> {
        while let Ok(ask) = self.asked.try_recv() {
            self.waiting.push(ask);
        }
        std::mem::take(&mut self.waiting)
    }

    /// A reload has ended.
    pub(super) fn end(&mut self, asked: Vec<Ask>, outcome: &Result<(), String>) {
        self.next = Instant::now() + PAUSE;
        for ask in asked {
            let _ = ask.send(outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_within_a_second_share_the_reload_that_begins_after_them() {
        let (sender, mut asks) = Asks::new();
        let ask = || {
            let (answer, answered) = oneshot::channel();
            sender.try_send(answer).expect("room");
            answered
        };
        let begin = Instant::now();
        let mut first = ask();
        asks.due().await;
        assert_eq!(begin.elapsed(), Duration::ZERO, "nothing to wait for");
        let asked = asks.begin();
        // These come while it is under way: it may have read the files already.
        let (mut second, mut third) = (ask(), ask());
        asks.end(asked, &Ok(()));
        assert_eq!(first.try_recv(), Ok(Ok(())));
        assert!(second.try_recv().is_err(), "not by a reload that had begun");
        asks.due().await;
        assert_eq!(begin.elapsed(), PAUSE);
        let asked = asks.begin();
        asks.end(asked, &Err("broken".to_owned()));
        assert_eq!(second.try_recv(), Ok(Err("broken".to_owned())));
        assert_eq!(third.try_recv(), Ok(Err("broken".to_owned())));
        let more = tokio::time::timeout(PAUSE * 10, asks.due());
        assert!(more.await.is_err(), "nobody asks");
    }
}
