//! Reads of files that never run twice at once: who asks while a read is under way waits for its result. A file system
//! that hangs so holds one thread for each file, however often it is asked.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::base::clock;

/// Threads of a runtime that may read at one time.
pub const MAX_THREADS: usize = 32;

type Waiting<T> = watch::Receiver<Option<T>>;

/// Reads in progress, by key.
#[derive(Debug)]
pub struct Flights<K, T>(Arc<Mutex<HashMap<K, Waiting<T>>>>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

/// The read panicked, or the runtime has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the read broke off: please report it")]
pub struct BrokenOff;

impl<K, T> Flights<K, T>
where
    K: Clone + Eq + Hash + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Reads on a thread for blocking work, or waits for the read of this key that is under way. What was read while
    /// nobody waited any more is the result of the next call.
    ///
    /// # Errors
    /// [`BrokenOff`].
    pub async fn read(
        &self,
        key: K,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BrokenOff> {
        let waiting = {
            let mut flights = self.open();
            match Self::under_way(&mut flights, &key) {
                Some(waiting) => waiting,
                None => {
                    let (result, waiting) = watch::channel(None);
                    flights.insert(key.clone(), waiting.clone());
                    let all = Self(Arc::clone(&self.0));
                    tokio::task::spawn_blocking(move || {
                        let value = work();
                        let mut flights = all.open();
                        // The table waits, too.
                        if result.receiver_count() > 1 {
                            flights.remove(&key);
                        }
                        let _ = result.send(Some(value));
                    });
                    waiting
                }
            }
        };
        Self::arrived(waiting).await
    }

    /// The result of the read of this key that is under way; `None`: there is none.
    pub async fn join(&self, key: &K) -> Option<Result<T, BrokenOff>> {
        let waiting = Self::under_way(&mut self.open(), key)?;
        Some(Self::arrived(waiting).await)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<K, Waiting<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A read that has not ended, or whose result nobody has taken. One that broke off is forgotten.
    fn under_way(flights: &mut HashMap<K, Waiting<T>>, key: &K) -> Option<Waiting<T>> {
        let waiting = flights.get(key)?.clone();
        let is_there = waiting.borrow().is_some();
        let runs = waiting.has_changed().is_ok();
        if is_there || !runs {
            flights.remove(key);
        }
        (is_there || runs).then_some(waiting)
    }

    async fn arrived(mut waiting: Waiting<T>) -> Result<T, BrokenOff> {
        let value = waiting.wait_for(Option::is_some).await.map_err(|_| BrokenOff)?;
        value.clone().ok_or(BrokenOff)
    }
}

/// Reads on a thread of their own, one for each path, that somebody waits for only so long. For those who may block, and
/// go on without what hangs.
#[derive(Debug)]
pub struct Patient<T>(HashMap<PathBuf, mpsc::Receiver<T>>);

impl<T> Default for Patient<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Send + 'static> Patient<T> {
    /// The result of the work by then, or within a quarter of a second; `None`: it hangs, or too many hang. A later
    /// call with this path waits no more, and gets what the earlier one did not wait for.
    pub fn read(
        &mut self,
        path: &Path,
        until: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let mut left = Duration::ZERO;
        if !self.0.contains_key(path) {
            left = until.saturating_duration_since(clock::instant()).max(LEAST);
            if self.0.len() >= MAX_THREADS {
                return None;
            }
            let (result, waiting) = mpsc::channel();
            let thread = std::thread::Builder::new().name("read".to_owned());
            // Without a thread the sender is dropped, and nothing is received.
            let _ = thread.spawn(move || result.send(work()));
            self.0.insert(path.to_owned(), waiting);
        }
        match self.0.get(path)?.recv_timeout(left) {
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            done => {
                self.0.remove(path);
                done.ok()
            }
        }
    }
}

/// The time that each read has, however long the reads before it took.
const LEAST: Duration = Duration::from_millis(250);
/// How long a look at a file may take.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// The folders in which a look hangs.
static HANGING: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// A look at a path that is not waited for when its file system hangs, nor begun when another one hangs in the same
/// folder; `None` then. For those who may block.
pub fn promptly<T: Send + 'static>(
    path: &Path,
    look: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let hanging = || HANGING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = path.parent().unwrap_or(path).to_owned();
    {
        let hanging = hanging();
        if hanging.contains(&folder) || hanging.len() >= MAX_THREADS {
            return None;
        }
    }
    let (result, waiting) = mpsc::channel();
    let thread = std::thread::Builder::new().name("look".to_owned());
    let looked = folder.clone();
    let begun = thread.spawn(move || {
        let _ = result.send(look());
        hanging().remove(&looked);
    });
    begun.ok()?;
    waiting.recv_timeout(LOOK_WITHIN).ok().or_else(|| {
        let mut hanging = hanging();
        // It may have come meanwhile.
        waiting.try_recv().ok().or_else(|| {
            hanging.insert(folder);
            None
        })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn folder_in_which_a_look_hangs_is_not_looked_at() {
        let (go_on, wait) = mpsc::channel::<()>();
        let hangs = Path::new("/of-the-test/hangs/file");
        assert_eq!(promptly(hangs, move || wait.recv()), None);
        assert_eq!(promptly(Path::new("/of-the-test/hangs/other"), || 1), None, "the same folder");
        assert_eq!(promptly(Path::new("/of-the-test/fine/file"), || 2), Some(2));
        go_on.send(()).expect("it waits");
        let until = clock::instant() + Duration::from_secs(10);
        while promptly(hangs, || 3) != Some(3) {
            assert!(clock::instant() < until, "it hangs no more");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_hangs_is_left_and_taken_later() {
        let mut reads = Patient::default();
        let (go_on, wait) = mpsc::channel::<()>();
        let now = clock::instant();
        let path = Path::new("hangs");
        assert_eq!(reads.read(path, now, move || wait.recv().map_or(1, |()| 2)), None);
        assert_eq!(reads.read(Path::new("fine"), now + Duration::from_secs(60), || 3), Some(3));
        go_on.send(()).expect("it waits");
        let later = now + Duration::from_secs(60);
        let again = std::iter::from_fn(|| Some(reads.read(path, later, || 4))).flatten().next();
        assert_eq!(again, Some(2), "it is not begun a second time");
        assert_eq!(reads.read(path, later, || 5), Some(5));
    }

    #[tokio::test]
    async fn one_read_at_a_time_serves_all_who_wait() {
        let flights = Flights::<&str, usize>::default();
        let reads = Arc::new(AtomicUsize::new(0));
        let (go_on, wait) = mpsc::channel();
        let wait = Arc::new(Mutex::new(wait));
        let read = |key| {
            let (reads, wait) = (Arc::clone(&reads), Arc::clone(&wait));
            flights.read(key, move || {
                let number = reads.fetch_add(1, Ordering::SeqCst);
                let _ = wait.lock().expect("no panic").recv();
                number
            })
        };
        let open = async {
            while reads.load(Ordering::SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            go_on.send(()).expect("it waits");
        };
        let (a, b, ()) = tokio::join!(read("a"), read("a"), open);
        assert_eq!((a, b), (Ok(0), Ok(0)), "the second one waited for the first");
        go_on.send(()).expect("nobody has closed it");
        assert_eq!(read("a").await, Ok(1), "a later one reads anew");
        assert_eq!(flights.read("b", || panic!("on purpose")).await, Err(BrokenOff));
        assert_eq!(flights.read("b", || 5).await, Ok(5), "after one that broke off");
        assert!(flights.join(&"b").await.is_none(), "it was taken");
    }

    #[tokio::test]
    async fn result_that_nobody_waited_for_is_the_next_ones() {
        let flights = Flights::<&str, usize>::default();
        let (go_on, wait) = mpsc::channel::<()>();
        let slow = flights.read("a", move || wait.recv().map_or(0, |()| 1));
        assert!(tokio::time::timeout(Duration::ZERO, slow).await.is_err());
        go_on.send(()).expect("it waits");
        let arrived = async {
            while flights.open().get("a").is_some_and(|waiting| waiting.borrow().is_none()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), arrived).await.expect("it ends");
        assert_eq!(flights.read("a", || 2).await, Ok(1));
        assert_eq!(flights.read("a", || 3).await, Ok(3), "only once");
    }
}
