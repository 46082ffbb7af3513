//! Spawns the connections of the exporters' clients, which end with their client.

use std::future::Future;

use hyper::rt::Executor;

use crate::base::turn;

/// Spawns tasks whose owner is the connection that they drive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detached;

impl<F> Executor<F> for Detached
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        drop(turn::spawn(future));
    }
}
