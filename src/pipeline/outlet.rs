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

    /// What of this outlet another one does not reach: a source that changes from one to the other
    /// ends its series there.
    #[must_use]
    pub fn without(&self, other: &Outlet) -> Outlet {
        let reaches = |ring: &Arc<Ring>| other.rings.iter().any(|have| Arc::ptr_eq(have, ring));
        let rings = self.rings.iter().filter(|ring| !reaches(ring)).cloned().collect();
        Outlet { board: Arc::clone(&self.board), rings }
    }

    /// Whether samples that are offered here reach nobody.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.rings.is_empty()
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
