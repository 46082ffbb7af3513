//! Asking file systems with a deadline. A mount whose server is gone never answers, and whoever asks
//! it cannot be stopped: a thread of its own asks, and is left behind when it does not come back.
//! Such a mount is not asked again before it has answered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use crate::host::kernel::{Kernel, Usage};

/// How long a mount may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long others may take once one has missed its deadline.
const LATER: Duration = Duration::from_millis(200);
/// Threads that are left behind, beyond which only mounts are asked that answered the last time.
const MAX_STUCK: usize = 8;
/// Threads that are left behind at most.
const MAX_THREADS: usize = 4 * MAX_STUCK;

/// Mounts that have not answered, each with a mark that is set when it does. All that ask share it:
/// who asks anew after a reload knows what hangs.
pub type Stuck = Mutex<BTreeMap<PathBuf, Arc<AtomicBool>>>;

/// A thread that asks.
struct Worker {
    jobs: Sender<Job>,
    answers: Receiver<(usize, Result<Usage, Errno>)>,
}

/// One question, and a mark that is set when it was answered, in time or not.
struct Job {
    number: usize,
    path: PathBuf,
    answered: Arc<AtomicBool>,
}

/// Asks file systems.
pub struct Asker {
    kernel: Arc<dyn Kernel>,
    worker: Option<Worker>,
    /// Mounts that answered the last time: they are asked whatever hangs elsewhere.
    good: BTreeSet<PathBuf>,
}

impl Asker {
    /// Asks by these calls.
    #[must_use]
    pub fn new(kernel: Arc<dyn Kernel>) -> Self {
        Self { kernel, worker: None, good: BTreeSet::new() }
    }

    fn stuck_now(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Arc<AtomicBool>>> {
        self.kernel.stuck().lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks all of them. `TIMEDOUT` is the answer of those that miss the deadline, `BUSY` of those
    /// that are not asked because so many others do not answer.
    pub fn ask(&mut self, paths: &[PathBuf]) -> Vec<Result<Usage, Errno>> {
        self.stuck_now().retain(|_, answered| !answered.load(Ordering::Acquire));
        let hangs = |stuck: &BTreeMap<PathBuf, _>, path| stuck.contains_key(path);
        let mut answers: Vec<Result<Usage, Errno>> = {
            let stuck = self.stuck_now();
            let answer = |path| if hangs(&stuck, path) { Errno::TIMEDOUT } else { Errno::BUSY };
            paths.iter().map(|path| Err(answer(path))).collect()
        };
        let mut queue: Vec<usize> =
            (0..paths.len()).filter(|at| answers[*at] == Err(Errno::BUSY)).collect();
        // What answered the last time comes first: it waits for nobody.
        queue.sort_by_key(|at| !self.good.contains(&paths[*at]));
        let mut patience = DEADLINE;
        while !queue.is_empty() {
            let stuck = self.stuck_now().len();
            if stuck >= MAX_STUCK {
                queue.retain(|at| self.good.contains(&paths[*at]));
            }
            if queue.is_empty() || stuck >= MAX_THREADS {
                break;
            }
            let Some(worker) = self.worker() else { break };
            // All questions at once: the thread needs no second call to go on.
            let mut waiting: VecDeque<(usize, Arc<AtomicBool>)> = VecDeque::new();
            for at in queue.drain(..) {
                let answered = Arc::new(AtomicBool::new(false));
                let (path, mark) = (paths[at].clone(), Arc::clone(&answered));
                if worker.jobs.send(Job { number: at, path, answered: mark }).is_ok() {
                    waiting.push_back((at, answered));
                }
            }
            while !waiting.is_empty() {
                let Ok((of, answer)) = worker.answers.recv_timeout(patience) else { break };
                answers[of] = answer;
                waiting.retain(|(at, _)| *at != of);
            }
            let Some((late, answered)) = waiting.pop_front() else {
                self.worker = Some(worker);
                break;
            };
            // The thread stands at the first one that has not been answered, and is left there; the
            // others are asked by another thread.
            answers[late] = Err(Errno::TIMEDOUT);
            self.stuck_now().insert(paths[late].clone(), answered);
            queue.extend(waiting.into_iter().map(|(at, _)| at));
            patience = LATER;
        }
        let good = paths.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        self.good = good.map(|(path, _)| path.clone()).collect();
        answers
    }

    /// How many mounts do not answer.
    #[must_use]
    pub fn stuck(&self) -> usize {
        self.stuck_now().len()
    }

    fn worker(&mut self) -> Option<Worker> {
        if let Some(worker) = self.worker.take() {
            return Some(worker);
        }
        let (jobs, questions) = mpsc::channel::<Job>();
        let (answer, answers) = mpsc::channel();
        let kernel = Arc::clone(&self.kernel);
        let work = move || {
            for job in questions {
                let result = kernel.statfs(&job.path);
                job.answered.store(true, Ordering::Release);
                // Left behind: nobody wants to know any more.
                if answer.send((job.number, result)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("statfs".to_owned()).spawn(work).ok()?;
        Some(Worker { jobs, answers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::kernel::{Clock, Connections};
    use std::path::Path;
    use std::sync::Condvar;

    /// A kernel on which mounts named `hung` answer when they are let go.
    #[derive(Default)]
    struct Hanging {
        free: Mutex<bool>,
        wake: Condvar,
        calls: Mutex<Vec<PathBuf>>,
        stuck: Stuck,
    }

    impl Kernel for Hanging {
        fn statfs(&self, path: &Path) -> Result<Usage, Errno> {
            self.calls.lock().expect("no panic").push(path.to_owned());
            if path.to_string_lossy().contains("hung") {
                let mut free = self.free.lock().expect("no panic");
                while !*free {
                    free = self.wake.wait(free).expect("no panic");
                }
            }
            if path.ends_with("denied") { Err(Errno::ACCESS) } else { Ok(Usage::default()) }
        }
        fn clock(&self) -> Result<Clock, Errno> {
            Err(Errno::NOSYS)
        }
        fn connections(&self) -> Result<Connections, Errno> {
            Err(Errno::NOSYS)
        }
        fn shares_network(&self, _: &Path) -> bool {
            true
        }
        fn stuck(&self) -> &Stuck {
            &self.stuck
        }
    }

    /// Edge case 12: a mount that hangs delays the first answer by the deadline, no later one, and
    /// hides no other mount.
    #[test]
    fn a_mount_that_hangs() {
        let kernel = Arc::new(Hanging::default());
        let mut asker = Asker::new(Arc::clone(&kernel) as Arc<dyn Kernel>);
        let paths: Vec<PathBuf> = ["/a", "/hung", "/denied", "/b"].map(PathBuf::from).to_vec();
        let expected =
            [Ok(Usage::default()), Err(Errno::TIMEDOUT), Err(Errno::ACCESS), Ok(Usage::default())];
        assert_eq!(asker.ask(&paths), expected);
        assert_eq!((asker.stuck(), kernel.calls.lock().expect("no panic").len()), (1, 4));
        let before = crate::base::clock::instant();
        assert_eq!(asker.ask(&paths), expected);
        assert!(before.elapsed() < DEADLINE, "it is not asked again");
        assert_eq!(kernel.calls.lock().expect("no panic").len(), 7);
        // When it answers it is asked again.
        *kernel.free.lock().expect("no panic") = true;
        kernel.wake.notify_all();
        let mut tries = 0;
        while asker.ask(&paths)[1].is_err() {
            tries += 1;
            assert!(tries < 100_000, "it is asked again when it answers");
            std::thread::yield_now();
        }
        assert_eq!(asker.stuck(), 0);
    }

    /// Many that hang cost a bounded number of threads, hide no mount that answers, and who asks anew
    /// knows of them.
    #[test]
    fn many_mounts_that_hang() {
        let kernel = Arc::new(Hanging::default());
        let mut asker = Asker::new(Arc::clone(&kernel) as Arc<dyn Kernel>);
        let mut paths: Vec<PathBuf> = vec!["/a".into()];
        assert_eq!(asker.ask(&paths), [Ok(Usage::default())]);
        paths.extend((0..12).map(|n| PathBuf::from(format!("/hung{n}"))));
        paths.push("/new".into());
        let answers = asker.ask(&paths);
        assert_eq!(answers[0], Ok(Usage::default()), "it answered before");
        let late = answers.iter().filter(|answer| **answer == Err(Errno::TIMEDOUT)).count();
        assert_eq!((late, asker.stuck()), (MAX_STUCK, MAX_STUCK));
        assert_eq!(answers[13], Err(Errno::BUSY), "it is not asked, and not blamed");
        let calls = kernel.calls.lock().expect("no panic").len();
        let mut other = Asker::new(Arc::clone(&kernel) as Arc<dyn Kernel>);
        assert_eq!(other.ask(&paths)[1], Err(Errno::TIMEDOUT));
        assert_eq!(kernel.calls.lock().expect("no panic").len(), calls, "no thread more");
        *kernel.free.lock().expect("no panic") = true;
        kernel.wake.notify_all();
    }
}
