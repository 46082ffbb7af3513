//! How long a thread has waited for a processor, by the kernel's account.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

/// The account of the thread that opened it (`/proc/thread-self/schedstat`, Documentation/scheduler/sched-stats.rst).
#[derive(Debug)]
pub struct RunQueue(Option<File>);

impl RunQueue {
    /// Opens the account of this thread. A kernel without one says nothing.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "that it is missing is no error")]
    pub fn of_this_thread() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    /// The time that the thread was ready to run and did not; `None`: unknown.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        let mut text = [0; 96];
        let read = self.0.as_ref()?.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..read]).ok()?;
        // Time on a processor, time in a run queue, both in nanoseconds, and how often it ran.
        text.split_ascii_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
    }
}
