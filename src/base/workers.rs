//! Two threads that compute over bytes which somebody else decides: certificates, and rules over answers. A loop never
//! does that itself, because nothing else of it would run meanwhile.
//!
//! Work of a bounded length goes first. Rules come in slices and take turns, so that a rule which computes for long
//! slows the others down and does not stop them; whoever does not wait for a result any more is not computed for.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::oneshot;

/// How many threads there are.
const THREADS: usize = 2;
/// How many sliced jobs may wait for a thread.
const MAX_SLICED: usize = 32;

/// Does a slice of its work; `false`: nothing is left, or nobody waits for it.
type Job = Box<dyn FnMut() -> bool + Send>;

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// As many jobs wait as may.
    #[error("too many rules wait to be checked")]
    Full,
    /// The job panicked, or the system gave no thread.
    #[error("the computation failed: please report it")]
    Failed,
}

#[derive(Default)]
struct Queues {
    bounded: VecDeque<Job>,
    sliced: VecDeque<Job>,
    /// Sliced jobs that are in a thread.
    running: usize,
}

#[derive(Default)]
struct Pool {
    queues: Mutex<Queues>,
    filled: Condvar,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queues = self.lock();
        loop {
            let sliced = queues.bounded.is_empty();
            let Some(mut job) = queues.bounded.pop_front().or_else(|| queues.sliced.pop_front())
            else {
                queues = self.filled.wait(queues).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queues.running += usize::from(sliced);
            drop(queues);
            // A panic drops the job, and with it the way of its result.
            let again = catch_unwind(AssertUnwindSafe(&mut job)).unwrap_or(false);
            let job = again.then_some(job);
            queues = self.lock();
            queues.running -= usize::from(sliced);
            queues.sliced.extend(job);
        }
    }
}

/// The threads, which are started when they are first needed.
fn pool() -> Option<&'static Arc<Pool>> {
    static POOL: OnceLock<Option<Arc<Pool>>> = OnceLock::new();
    let start = || {
        let pool = Arc::new(Pool::default());
        let started = (0..THREADS).filter(|n| {
            let pool = Arc::clone(&pool);
            let thread = std::thread::Builder::new().name(format!("compute {n}"));
            thread.spawn(move || pool.work()).is_ok()
        });
        (started.count() > 0).then_some(pool)
    };
    POOL.get_or_init(start).as_ref()
}

/// Computes something whose length is bounded.
///
/// # Errors
/// [`Lost::Failed`].
pub async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Lost> {
    let pool = pool().ok_or(Lost::Failed)?;
    let (result, arrives) = oneshot::channel();
    let mut once = Some((work, result));
    let job = move || {
        if let Some((work, result)) = once.take().filter(|(_, result)| !result.is_closed()) {
            let _ = result.send(work());
        }
        false
    };
    pool.lock().bounded.push_back(Box::new(job));
    pool.filled.notify_one();
    arrives.await.map_err(|_| Lost::Failed)
}

/// Computes something that may take long, in slices of a few milliseconds: `slice` is called until it has a result.
///
/// # Errors
/// [`Lost::Full`] at once, when as many wait as may; [`Lost::Failed`].
pub async fn sliced<T: Send + 'static>(
    mut slice: impl FnMut() -> Option<T> + Send + 'static,
) -> Result<T, Lost> {
    let pool = pool().ok_or(Lost::Failed)?;
    let (result, arrives) = oneshot::channel();
    let mut way = Some(result);
    let job = move || {
        if way.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return false;
        }
        let Some(value) = slice() else { return true };
        if let Some(way) = way.take() {
            let _ = way.send(value);
        }
        false
    };
    {
        let mut queues = pool.lock();
        if queues.sliced.len() + queues.running >= MAX_SLICED + THREADS {
            return Err(Lost::Full);
        }
        queues.sliced.push_back(Box::new(job));
    }
    pool.filled.notify_one();
    arrives.await.map_err(|_| Lost::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// One test, because all share the threads.
    #[tokio::test]
    async fn long_work_takes_turns_is_bounded_and_ends_with_its_waiters() {
        assert_eq!(compute(|| 7).await, Ok(7));
        assert_eq!(compute(|| panic!("on purpose")).await, Err::<(), _>(Lost::Failed));
        // Work without an end, in as many slices as somebody waits for.
        let endless = || {
            sliced(|| {
                std::hint::black_box((0..10_000).sum::<u64>());
                None::<()>
            })
        };
        let mut waiting: Vec<_> =
            (0..MAX_SLICED + THREADS - 1).map(|_| Box::pin(endless())).collect();
        for one in &mut waiting {
            let once = tokio::time::timeout(Duration::ZERO, one).await;
            assert!(once.is_err(), "{once:?}");
        }
        let mut n = 0;
        let counted = sliced(move || {
            n += 1;
            (n == 50).then_some(n)
        });
        assert_eq!(counted.await, Ok(50), "the others do not stop it");
        assert_eq!(compute(|| 8).await, Ok(8));
        let mut last = Box::pin(endless());
        assert!(tokio::time::timeout(Duration::ZERO, &mut last).await.is_err());
        assert_eq!(endless().await, Err(Lost::Full));
        drop((waiting, last));
        // Those whose waiters are gone leave at their next slice.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while sliced(|| Some(())).await == Err(Lost::Full) {
            assert!(tokio::time::Instant::now() < deadline, "abandoned work goes on");
            tokio::task::yield_now().await;
        }
    }
}
