//! The one thread that empties a ring into the queues of its exporters: at once when it is idle, with
//! everything that has gathered when it is not.

use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use crate::pipeline::ring::Ring;
use crate::queue::memory::MemoryQueue;

/// Starts the writer. It ends when the ring is closed and empty, and closes the queues.
///
/// # Errors
/// When the system has no thread left.
pub fn start(
    pipeline: &str,
    ring: Arc<Ring>,
    queues: Vec<Arc<MemoryQueue>>,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(format!("write {pipeline}")).spawn(move || {
        while let Some(batches) = ring.take_all() {
            for queue in &queues {
                queue.append(&batches);
            }
        }
        for queue in &queues {
            queue.close();
        }
    })
}
