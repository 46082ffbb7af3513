//! The tasks that HTTP/2 spawns for a connection: they belong to the attempt and end with it. A peer that never reads
//! would otherwise keep the connection for as long as it likes.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hyper::rt::Executor;
use tokio::task::JoinSet;

use crate::base::turn;

/// Tasks that are aborted when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Owned(Arc<Mutex<JoinSet<()>>>);

/// Spawns into what an attempt owns, as long as it does. Tasks hold it, so it must not own them.
#[derive(Clone, Debug)]
pub(super) struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl Owned {
    pub(super) fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }

    /// Ends all tasks, and returns when they are gone.
    pub(super) async fn end(self) {
        let mut tasks = {
            let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *tasks)
        };
        tasks.shutdown().await;
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        let Some(tasks) = self.0.upgrade() else { return };
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        turn::join(&mut tasks, future);
    }
}
