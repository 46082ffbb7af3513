//! Why the schedule was not looked at for a while: the machine slept or the process was stopped, or there was too much
//! to do. The one is nobody's fault; the other is overload, whoever caused it.

use std::time::Duration;

use crate::base::clock::{self, Moment};
use crate::base::run_queue::RunQueue;

/// A shorter gap loses no slot.
const GAP: Duration = Duration::from_millis(500);
/// How often the account of the run queue is read.
const ACCOUNT_EVERY: Duration = Duration::from_millis(250);
/// The share of a gap in which a thread that was stopped may have run or waited, as a divisor: both are known from
/// shortly before it only.
const BUSY: u32 = 4;

/// CPU time and run-queue delay of a thread.
#[derive(Clone, Copy, Debug)]
struct Used {
    cpu: Duration,
    delay: Option<Duration>,
}

/// The clocks at the last look.
pub(super) struct Absence {
    last: Moment,
    used: Used,
    accounted: Moment,
    queue: RunQueue,
}

impl Absence {
    /// From now on, for this thread.
    pub(super) fn new(now: Moment) -> Self {
        let queue = RunQueue::of_this_thread();
        let used = Used { cpu: clock::thread_cpu(), delay: queue.delay() };
        Self { last: now, used, accounted: now, queue }
    }

    /// Whether the thread was suspended since the last look. Called at each look.
    pub(super) fn since_last(&mut self, now: Moment) -> bool {
        let gap = now.boot.since(self.last.boot);
        let monotonic = now.monotonic.duration_since(self.last.monotonic);
        self.last = now;
        let look = || Used { cpu: clock::thread_cpu(), delay: self.queue.delay() };
        if gap < GAP {
            if now.monotonic.duration_since(self.accounted.monotonic) >= ACCOUNT_EVERY {
                (self.used, self.accounted) = (look(), now);
            }
            return false;
        }
        let before = self.used;
        (self.used, self.accounted) = (look(), now);
        suspended(gap, gap.saturating_sub(monotonic), before, self.used)
    }
}

/// `asleep` is by how much boot time, which goes on while the machine sleeps, has outrun monotonic time.
fn suspended(gap: Duration, asleep: Duration, before: Used, after: Used) -> bool {
    let ran = after.cpu.saturating_sub(before.cpu);
    let waited = before.delay.zip(after.delay).map(|(a, b)| b.saturating_sub(a));
    asleep > gap / 2 || waited.is_some_and(|waited| ran + waited < gap / BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sleep_and_stops_are_suspension() {
        let s = Duration::from_secs;
        let used = |cpu, delay: Option<u64>| Used { cpu: s(cpu), delay: delay.map(s) };
        let none = used(1, Some(1));
        for (gap, asleep, after, expected, what) in [
            (60, 59, none, true, "the machine slept"),
            (60, 0, none, true, "stopped by a signal"),
            (60, 0, used(59, Some(1)), false, "a long computation"),
            (60, 0, used(2, Some(50)), false, "others had the processor"),
            (60, 0, used(30, Some(31)), false, "both"),
            (60, 20, used(41, Some(1)), false, "a short sleep and a long computation"),
            (60, 0, used(1, None), false, "nothing is known of the queue"),
            (60, 40, used(1, None), true, "nothing is known of the queue, and the machine slept"),
        ] {
            assert_eq!(suspended(s(gap), s(asleep), none, after), expected, "{what}");
        }
    }
}
