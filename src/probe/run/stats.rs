//! What a receiver counts, and how much of it is logged.

use std::collections::HashMap;

use crate::base::clock::{self, BootTime};
use crate::base::seldom::{self, Seldom};
use crate::pipeline::selfmetrics::{Counter, Gauge, Meter, Timing};
use crate::probe::run::state::States;
use crate::signal::names;
use crate::signal::outcome::Skip;

/// Changes of state that are logged in a minute for a receiver; the metrics have them all.
const MAX_CHANGES: u32 = 50;

/// What a receiver counts.
pub(super) struct Stats {
    pub(super) due: Counter,
    pub(super) ok: Counter,
    /// Slots by other ends, by outcome and reason; made when they first happen.
    ended: HashMap<(&'static str, &'static str), Counter>,
    pub(super) cancelled: Counter,
    pub(super) lateness: Timing,
    pub(super) targets: Gauge,
    pub(super) states: States,
    pub(super) in_flight: Gauge,
    pub(super) flying: u64,
    pub(super) logged: HashMap<Skip, Seldom>,
    /// The minute whose changes are being logged, and how many there were.
    changes: (BootTime, u32),
}

impl Stats {
    /// The counters of a receiver.
    pub(super) fn new(meter: &Meter, receiver: &str) -> Self {
        let own = [("receiver", receiver)];
        let outcome =
            |outcome| meter.counter(&names::SLOTS, &[own[0], ("outcome", outcome), ("reason", "")]);
        Stats {
            due: meter.counter(&names::SLOTS_DUE, &own),
            ok: outcome("ok"),
            ended: HashMap::new(),
            cancelled: outcome("cancelled"),
            lateness: meter.timing(&names::SLOT_LATENESS, &own),
            targets: meter.gauge(&names::TARGETS, &own),
            states: States::new(meter, receiver),
            in_flight: meter.gauge(&names::IN_FLIGHT, &own),
            flying: 0,
            logged: HashMap::new(),
            changes: (BootTime::default(), 0),
        }
    }

    /// Counts a slot that ended in this way.
    pub(super) fn ended(
        &mut self,
        meter: &Meter,
        receiver: &str,
        outcome: &'static str,
        reason: &'static str,
    ) {
        let counter = self.ended.entry((outcome, reason)).or_insert_with(|| {
            let own = [("receiver", receiver), ("outcome", outcome), ("reason", reason)];
            meter.counter(&names::SLOTS, &own)
        });
        counter.add(1);
    }

    /// Whether a change of state may still be logged in this minute.
    pub(super) fn may_log_change(&mut self, receiver: &str) -> bool {
        let now = clock::now().boot;
        if now.since(self.changes.0) >= seldom::EVERY {
            self.changes = (now, 0);
        }
        self.changes.1 += 1;
        if self.changes.1 == MAX_CHANGES + 1 {
            tracing::warn!(receiver, "many targets change: no more is logged for a minute");
        }
        self.changes.1 <= MAX_CHANGES
    }
}
