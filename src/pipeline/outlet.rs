//! The inlet of a pipeline, as sources see it.

use std::sync::Arc;

use crate::pipeline::board::Board;
use crate::pipeline::ring::Ring;
use crate::signal::payload::Payload;

/// Where sources hand over what they have. Cheap to clone; never waits.
#[derive(Clone)]
pub struct Outlet {
    board: Arc<Board>,
    rings: Arc<[Arc<Ring>]>,
}

impl Outlet {
    /// An outlet to a board and to the rings of the pipelines that a source feeds.
    #[must_use]
    pub fn new(board: Arc<Board>, rings: Vec<Arc<Ring>>) -> Self {
        Self { board, rings: rings.into() }
    }

    /// Hands a payload over. Events reach the board before any processor; samples go into every ring.
    pub fn offer(&self, payload: Payload) {
        match payload {
            Payload::Events(events) => self.board.apply(&events),
            Payload::Metrics(batch) => {
                if batch.is_empty() {
                    return;
                }
                if let Some((last, others)) = self.rings.split_last() {
                    for ring in others {
                        ring.offer(batch.clone());
                    }
                    last.offer(batch);
                }
            }
        }
    }
}
