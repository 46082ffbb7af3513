//! Reads the body of an answer: counts it, and keeps of it what rules may see. All bodies that are kept at one time
//! share a budget of memory.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::explain;
use crate::net::budget::Budget;
use crate::probe::module::Http;
use crate::probe::rules::{self, question};
use crate::probe::trace::{Stop, Trace, Wait};
use crate::signal::outcome::{Reason, Skip};

/// Bytes that are read where the module has no limit.
const MAX_READ: u64 = 256 << 20;
/// Bytes that rules see where the module has no limit.
const MAX_SEEN: u64 = 1 << 20;
/// Memory for all bodies that are kept at one time: bytes for the beginnings of bodies, as many for what is behind them,
/// and in what portions they are given out.
const KEPT: usize = 32 << 20;
const PORTION: usize = 64 << 10;
/// Bytes that are the beginning of a body. It waits for memory; what is behind it gets memory at once, or not at all, so
/// that long bodies hold up no others.
const BEGINNING: usize = 1 << 20;
/// Frames that a body may have, besides one for each KiB: each costs as much as many bytes.
const MAX_FRAMES: u64 = 64 << 10;

/// The memory for beginnings, in portions.
static BEGINNINGS: Semaphore = Semaphore::const_new(KEPT / PORTION);
/// The memory for what is behind them.
static REST: Semaphore = Semaphore::const_new(KEPT / PORTION);

/// How long a body may be.
pub(super) fn limit(module: &Http) -> u64 {
    module.body_size_limit.unwrap_or(MAX_READ)
}

/// A body that was read.
pub(super) struct Body {
    kept: Kept,
    /// The reason why rules do not see all of it; `None`: they do.
    cut: Option<String>,
}

/// The kept part of a body, and the memory that it has taken.
#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    portions: usize,
    permits: Vec<SemaphorePermit<'static>>,
}

impl Kept {
    /// Keeps more, waiting for memory where there is none.
    async fn extend(&mut self, more: &[u8], trace: &mut Trace) -> Result<(), Stop> {
        let length = self.bytes.len() + more.len();
        if length > self.portions * PORTION {
            let needed = length.div_ceil(PORTION);
            let next = if length > BEGINNING { self.portions * 5 / 4 } else { self.portions * 2 };
            self.grow(next.max(needed), trace).await?;
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    async fn grow(&mut self, portions: usize, trace: &mut Trace) -> Result<(), Stop> {
        const FIRST: usize = BEGINNING / PORTION;
        let most = FIRST + KEPT / PORTION;
        let portions = portions.min(most);
        let (had, have) = (self.portions.min(FIRST), portions.min(FIRST));
        let rest = portions - self.portions - (have - had);
        if have > had {
            trace.waits = Some(Wait::Memory);
            // It is never closed.
            self.permits.extend(BEGINNINGS.acquire_many((have - had) as u32).await);
            trace.waits = None;
        }
        if rest > 0 {
            let permit = REST.try_acquire_many(rest as u32).map_err(|_| {
                let why = "no memory for a long body: other bodies have it";
                Stop::Skip(Skip::Overload, why.to_owned())
            })?;
            self.permits.push(permit);
        }
        self.portions = portions;
        self.bytes.reserve_exact(portions * PORTION - self.bytes.len());
        Ok(())
    }
}

/// Reads a body to its end or to its limit, and keeps it only when a rule wants it.
pub(super) async fn read(
    module: &Http,
    mut body: Incoming,
    keep: bool,
    budget: &Budget,
    trace: &mut Trace,
) -> Result<Body, Stop> {
    let limit = limit(module);
    let seen = module.body_size_limit.unwrap_or(MAX_SEEN).min((BEGINNING + KEPT) as u64);
    let mut kept = Kept::default();
    let (mut length, mut frames) = (0_u64, 0_u64);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| explain(&error, budget))?;
        frames += 1;
        if frames > MAX_FRAMES + length / 1024 {
            let why = format!("more than {frames} chunks for {length} bytes");
            return Err(Stop::down(Reason::BodyTooLarge, why));
        }
        let Some(data) = frame.data_ref() else { continue };
        if keep && length < seen {
            let room = usize::try_from(seen - length).unwrap_or(usize::MAX);
            kept.extend(&data[..data.len().min(room)], trace).await?;
        }
        length += data.len() as u64;
        trace.http.get_or_insert_default().body_length = length.min(limit);
        if length > limit {
            break;
        }
    }
    let cut = match (length > limit, keep && length > seen) {
        (true, false) => {
            return Err(Stop::down(Reason::BodyTooLarge, format!("more than {limit} bytes")));
        }
        (_, true) => {
            Some(format!("more than {seen} bytes, and what rules see of it decides nothing"))
        }
        (false, false) => None,
    };
    Ok(Body { kept, cut })
}

impl Body {
    /// Checks the rules about the body.
    pub(super) async fn judge(self, module: &Http, trace: &mut Trace) -> Result<(), Stop> {
        let Kept { bytes, permits, .. } = self.kept;
        let questions = rules::body(module, &Bytes::from(bytes));
        let cut = self.cut.map(|why| (Reason::BodyTooLarge, why));
        let answer = question::ask(questions, cut, permits, trace).await?;
        answer.map_err(|(reason, detail)| {
            trace.failed_due_to_regex = Some(reason == Reason::BodyMismatch);
            Stop::down(reason, detail)
        })
    }
}
