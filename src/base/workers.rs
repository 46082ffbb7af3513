//! Two threads that compute over bytes which somebody else decides: certificates, and rules over answers. A loop never
//! does that itself, because nothing else of it would run meanwhile.
//!
//! Work of a bounded length goes first, but for one slice after every few. Rules come in slices and take turns, so that a
//! rule which computes for long slows the others down and does not stop them; whoever does not wait for a result any more
//! is not computed for.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::oneshot;

/// How many threads there are.
const THREADS: usize = 2;
/// How many sliced jobs may wait for a thread.
const MAX_SLICED: usize = 32;
/// How many bounded jobs may wait for a thread.
const MAX_BOUNDED: usize = 1024;
/// After how many bounded jobs a sliced one gets its turn.
const BOUNDED_IN_A_ROW: u32 = 4;

/// Does a slice of its work; `false`: nothing is left, or nobody waits for it.
type Job = Box<dyn FnMut() -> bool + Send>;

/// Why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// As many jobs wait as may.
    #[error("too much waits to be checked")]
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
    /// Bounded jobs since the last sliced one.
    in_a_row: u32,
}

impl Queues {
    /// The next job, and whether it is a sliced one.
    fn next(&mut self) -> Option<(Job, bool)> {
        let sliced_first = self.in_a_row >= BOUNDED_IN_A_ROW || self.bounded.is_empty();
        let next = match sliced_first.then(|| self.sliced.pop_front()).flatten() {
            Some(job) => (job, true),
            None => (self.bounded.pop_front()?, false),
        };
        self.in_a_row = if next.1 { 0 } else { self.in_a_row.saturating_add(1) };
        Some(next)
    }
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

    /// Starts the threads; `None`: the system gives none.
    fn start() -> Option<Arc<Self>> {
        let pool = Arc::new(Pool::default());
        let started = (0..THREADS).filter(|n| {
            let pool = Arc::clone(&pool);
            let thread = std::thread::Builder::new().name(format!("compute {n}"));
            thread.spawn(move || pool.work()).is_ok()
        });
        (started.count() > 0).then_some(pool)
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Lost> {
        let (result, arrives) = oneshot::channel();
        let mut once = Some((work, result));
        let job = move || {
            if let Some((work, result)) = once.take().filter(|(_, result)| !result.is_closed()) {
                let _ = result.send(work());
            }
            false
        };
        {
            let mut queues = self.lock();
            if queues.bounded.len() >= MAX_BOUNDED {
                return Err(Lost::Full);
            }
            queues.bounded.push_back(Box::new(job));
        }
        self.filled.notify_one();
        arrives.await.map_err(|_| Lost::Failed)
    }

    async fn sliced<T: Send + 'static>(
        &self,
        mut slice: impl FnMut() -> Option<T> + Send + 'static,
    ) -> Result<T, Lost> {
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
            let mut queues = self.lock();
            if queues.sliced.len() + queues.running >= MAX_SLICED + THREADS {
                return Err(Lost::Full);
            }
            queues.sliced.push_back(Box::new(job));
        }
        self.filled.notify_one();
        arrives.await.map_err(|_| Lost::Failed)
    }

    fn work(&self) {
        let mut queues = self.lock();
        loop {
            let Some((mut job, sliced)) = queues.next() else {
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

/// The threads of the process, which are started when they are first needed.
fn pool() -> Result<&'static Arc<Pool>, Lost> {
    static POOL: OnceLock<Option<Arc<Pool>>> = OnceLock::new();
    POOL.get_or_init(Pool::start).as_ref().ok_or(Lost::Failed)
}

/// Computes something whose length is bounded.
///
/// # Errors
/// [`Lost::Full`] at once, when as many wait as may; [`Lost::Failed`].
pub async fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Lost> {
    pool()?.compute(work).await
}

/// Computes something that may take long, in slices of a few milliseconds: `slice` is called until it has a result.
///
/// # Errors
/// [`Lost::Full`] at once, when as many wait as may; [`Lost::Failed`].
pub async fn sliced<T: Send + 'static>(
    slice: impl FnMut() -> Option<T> + Send + 'static,
) -> Result<T, Lost> {
    pool()?.sliced(slice).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn sliced_job_has_its_turn_between_bounded_ones() {
        let mut queues = Queues::default();
        for _ in 0..10 {
            queues.bounded.push_back(Box::new(|| false));
            queues.sliced.push_back(Box::new(|| true));
        }
        let order: Vec<bool> = std::iter::from_fn(|| Some(queues.next()?.1)).take(11).collect();
        let (bounded, sliced) = ([false; 4], [true]);
        let expected = [&bounded[..], &sliced, &bounded, &sliced, &bounded[..1]].concat();
        assert_eq!(order, expected);
    }

    #[tokio::test]
    async fn long_work_takes_turns_is_bounded_and_ends_with_its_waiters() {
        let pool = Pool::start().expect("threads");
        assert_eq!(pool.compute(|| 7).await, Ok(7));
        assert_eq!(pool.compute(|| panic!("on purpose")).await, Err::<(), _>(Lost::Failed));
        // Work without an end, in as many slices as somebody waits for.
        let endless = || {
            pool.sliced(|| {
                std::hint::black_box((0..10_000).sum::<u64>());
                None::<()>
            })
        };
        let mut waiting: Vec<_> = (0..MAX_SLICED).map(|_| Box::pin(endless())).collect();
        for one in &mut waiting {
            let once = tokio::time::timeout(Duration::ZERO, one).await;
            assert!(once.is_err(), "{once:?}");
        }
        let mut n = 0;
        let counted = pool.sliced(move || {
            n += 1;
            (n == 50).then_some(n)
        });
        assert_eq!(counted.await, Ok(50), "the others do not stop it");
        assert_eq!(pool.compute(|| 8).await, Ok(8));
        // Two more fit, once the one that has ended is counted out, and no third.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while waiting.len() < MAX_SLICED + THREADS {
            let mut one = Box::pin(endless());
            match tokio::time::timeout(Duration::ZERO, &mut one).await {
                Err(_) => waiting.push(one),
                Ok(refused) => assert_eq!(refused, Err(Lost::Full)),
            }
            assert!(tokio::time::Instant::now() < deadline, "{} fit", waiting.len());
            tokio::task::yield_now().await;
        }
        assert_eq!(endless().await, Err(Lost::Full));
        drop(waiting);
        // Those whose waiters are gone leave at their next slice.
        while pool.sliced(|| Some(())).await == Err(Lost::Full) {
            assert!(tokio::time::Instant::now() < deadline, "abandoned work goes on");
            tokio::task::yield_now().await;
        }
    }
}
