//! Times every poll of the tasks of a loop, and is the only place that spawns tasks (`tests/tidy.rs` checks it).
//! A turn is one poll of one task or of the root future: nothing else of the loop runs meanwhile.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_util::task::TaskTracker;

use crate::base::clock;

type Record = Rc<dyn Fn(Duration)>;

thread_local! {
    static RECORD: RefCell<Option<Record>> = const { RefCell::new(None) };
}

/// From now on `record` gets the CPU time of each turn of this thread.
pub fn record(record: impl Fn(Duration) + 'static) {
    RECORD.set(Some(Rc::new(record)));
}

/// A future whose polls are timed, in CPU time of the thread, where the thread records them.
pub fn timed<F: Future>(future: F) -> impl Future<Output = F::Output> + use<F> {
    let mut future = Box::pin(future);
    poll_fn(move |context| {
        let Some(record) = RECORD.with_borrow(Option::clone) else {
            return future.as_mut().poll(context);
        };
        let began = clock::thread_cpu();
        let polled = future.as_mut().poll(context);
        record(clock::thread_cpu().saturating_sub(began));
        polled
    })
}

/// Spawns a task on its own. Its owner keeps the handle.
#[allow(clippy::disallowed_methods, reason = "this is the one place that spawns")]
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(timed(future))
}

/// Spawns a task that belongs to a tracker.
pub fn track<T: Send + 'static>(
    tasks: &TaskTracker,
    future: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tasks.spawn(timed(future))
}

/// Spawns a task that belongs to a set, and ends with it.
pub fn join<T: Send + 'static>(
    tasks: &mut JoinSet<T>,
    future: impl Future<Output = T> + Send + 'static,
) -> AbortHandle {
    tasks.spawn(timed(future))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn each_poll_is_one_turn_in_cpu_time() {
        let turns = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&turns);
        record(move |took| seen.borrow_mut().push(took));
        let polls = Cell::new(0);
        let work = poll_fn(|context| {
            polls.set(polls.get() + 1);
            if polls.get() == 3 {
                return std::task::Poll::Ready(());
            }
            let until = clock::thread_cpu() + Duration::from_millis(2 * polls.get());
            while clock::thread_cpu() < until {}
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        });
        timed(work).await;
        spawn(async {}).await.expect("no panic");
        let turns = turns.borrow();
        assert_eq!(turns.len(), 4, "{turns:?}");
        assert!(turns[0] >= Duration::from_millis(2) && turns[1] >= Duration::from_millis(4));
    }
}
