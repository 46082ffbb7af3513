//! What targets are by their last slot, counted for each receiver.

use crate::pipeline::selfmetrics::{Gauge, Meter};
use crate::signal::names;

/// What a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No slot of it has ended yet.
    Waiting,
    /// It was up.
    Up,
    /// It was down.
    Down,
    /// It is an address of a subnet, and nobody has ever answered there.
    NeverSeen,
}

const ALL: [State; 4] = [State::Waiting, State::Up, State::Down, State::NeverSeen];

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Up => "up",
            State::Down => "down",
            State::NeverSeen => "never_seen",
        }
    }
}

/// How many targets of a receiver are what.
pub(super) struct States {
    counts: [(u64, Gauge); 4],
}

impl States {
    pub(super) fn new(meter: &Meter, receiver: &str) -> Self {
        let gauge = |state: State| {
            let own = [("receiver", receiver), ("state", state.word())];
            (0, meter.gauge(&names::TARGETS_BY_STATE, &own))
        };
        Self { counts: ALL.map(gauge) }
    }

    /// One target was this, and is that now; `None`: it was not watched, or is not any more.
    pub(super) fn moved(&mut self, from: Option<State>, to: Option<State>) {
        if from == to {
            return;
        }
        for (state, (count, gauge)) in ALL.iter().zip(&mut self.counts) {
            if from == Some(*state) {
                *count = count.saturating_sub(1);
            }
            if to == Some(*state) {
                *count += 1;
            }
            gauge.set(*count as f64);
        }
    }
}
