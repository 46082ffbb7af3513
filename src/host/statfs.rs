//! Asking file systems with a deadline. A mount whose server is gone never answers, and whoever asks
//! it cannot be stopped: a thread of its own asks, and is left behind when it does not come back.
//! Such a mount is not asked again before it has answered.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use rustix::io::Errno;

use crate::host::kernel::{Kernel, Usage};

/// How long a mount may take to answer.
const DEADLINE: Duration = Duration::from_secs(2);
/// Threads that are left behind at most; beyond that nothing is asked that might need another.
const MAX_STUCK: usize = 8;

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
    /// Mounts that have not answered.
    stuck: BTreeMap<PathBuf, Arc<AtomicBool>>,
}

impl Asker {
    /// Asks by these calls.
    #[must_use]
    pub fn new(kernel: Arc<dyn Kernel>) -> Self {
        Self { kernel, worker: None, stuck: BTreeMap::new() }
    }

    /// Asks all of them, in order. Each has the deadline to itself; `TIMEDOUT` is the answer of those
    /// that miss it.
    pub fn ask(&mut self, paths: &[PathBuf]) -> Vec<Result<Usage, Errno>> {
        self.stuck.retain(|_, answered| !answered.load(Ordering::Acquire));
        let mut answers = vec![Err(Errno::TIMEDOUT); paths.len()];
        let mut waiting: Vec<(usize, Arc<AtomicBool>)> = Vec::with_capacity(paths.len());
        let mut asked = 0;
        while asked < paths.len() || !waiting.is_empty() {
            if self.stuck.len() >= MAX_STUCK {
                break;
            }
            let Some(worker) = self.worker() else { break };
            // All questions at once: the thread needs no second call to go on.
            while let Some(path) = paths.get(asked) {
                if !self.stuck.contains_key(path) {
                    let answered = Arc::new(AtomicBool::new(false));
                    let job =
                        Job { number: asked, path: path.clone(), answered: Arc::clone(&answered) };
                    if worker.jobs.send(job).is_err() {
                        break;
                    }
                    waiting.push((asked, answered));
                }
                asked += 1;
            }
            let mut late = None;
            while let Some((number, _)) = waiting.first() {
                match worker.answers.recv_timeout(DEADLINE) {
                    Ok((of, answer)) => {
                        answers[of] = answer;
                        waiting.retain(|(number, _)| *number != of);
                    }
                    Err(_) => {
                        late = Some(*number);
                        break;
                    }
                }
            }
            let Some(late) = late else {
                self.worker = Some(worker);
                continue;
            };
            // The thread stands at the first one that has not been answered, and is left there.
            let (_, answered) = waiting.remove(0);
            self.stuck.insert(paths[late].clone(), answered);
            // The others are asked by another thread.
            let first = waiting.first().map_or(asked, |(number, _)| *number);
            waiting.clear();
            asked = first;
        }
        answers
    }

    /// How many mounts do not answer.
    #[must_use]
    pub fn stuck(&self) -> usize {
        self.stuck.len()
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
    use std::sync::{Condvar, Mutex};

    /// A kernel on which mounts named `hung` answer when they are let go.
    #[derive(Default)]
    struct Hanging {
        free: Mutex<bool>,
        wake: Condvar,
        calls: Mutex<Vec<PathBuf>>,
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

    #[test]
    fn many_that_hang_cost_a_bounded_number_of_threads() {
        let kernel = Arc::new(Hanging::default());
        let mut asker = Asker::new(Arc::clone(&kernel) as Arc<dyn Kernel>);
        asker.stuck = (0..MAX_STUCK - 1)
            .map(|n| (PathBuf::from(format!("/hung{n}")), Arc::new(AtomicBool::new(false))))
            .collect();
        let paths: Vec<PathBuf> = ["/hung-a", "/hung-b", "/c"].map(PathBuf::from).to_vec();
        assert_eq!(asker.ask(&paths), [Err(Errno::TIMEDOUT); 3]);
        assert_eq!(kernel.calls.lock().expect("no panic").len(), 1);
        *kernel.free.lock().expect("no panic") = true;
        kernel.wake.notify_all();
    }
}
