//! Spans of what Watchpost itself does: runs of probes, exports, reloads. Off unless somebody puts a
//! tracer in; then a span is made when the work has ended, out of the times that were taken anyway.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, Tracer as _};
use opentelemetry_sdk::trace::Tracer;

use crate::base::clock::Timestamp;

static ON: AtomicBool = AtomicBool::new(false);
static TRACER: RwLock<Option<Tracer>> = RwLock::new(None);

/// Makes spans with this tracer from now on; `None`: makes none.
pub fn install(tracer: Option<Tracer>) {
    ON.store(tracer.is_some(), Ordering::Relaxed);
    *TRACER.write().unwrap_or_else(PoisonError::into_inner) = tracer;
}

/// Whether spans are made.
#[must_use]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Work that asks somebody else, or only ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It asks somebody else.
    Client,
    /// It is our own affair.
    Internal,
}

/// Makes a span of work that has ended. `describe` is asked for attributes, and for what went wrong,
/// only when spans are made.
pub fn record(
    name: &'static str,
    work: Work,
    started: Timestamp,
    took: Duration,
    describe: impl FnOnce(&mut Vec<(&'static str, String)>) -> Option<String>,
) {
    if !is_on() {
        return;
    }
    let tracer = TRACER.read().unwrap_or_else(PoisonError::into_inner);
    let Some(tracer) = tracer.as_ref() else { return };
    let start = SystemTime::UNIX_EPOCH + Duration::from_nanos(started.0);
    let kind = match work {
        Work::Client => SpanKind::Client,
        Work::Internal => SpanKind::Internal,
    };
    let mut span =
        tracer.build(SpanBuilder::from_name(name).with_kind(kind).with_start_time(start));
    // What is not sampled is not described, either.
    if span.is_recording() {
        let mut attributes = Vec::new();
        let fault = describe(&mut attributes);
        for (key, value) in attributes {
            span.set_attribute(KeyValue::new(key, value));
        }
        if let Some(fault) = fault {
            span.set_status(Status::error(fault));
        }
    }
    span.end_with_timestamp(start + took);
}
