//! What is known of an attempt while it runs, so that an attempt that is cut off by its timeout still
//! tells what it saw.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::base::clock::{self, Moment};
use crate::base::duration;
use crate::base::workers::Lost;
use crate::signal::outcome::{Http, Icmp, Outcome, Phase, Phases, Reason, Skip, Tls, Verdict};

/// The longest detail that is kept: text of a target may be in it.
const MAX_DETAIL: usize = 300;

/// Why an attempt stopped.
pub(super) enum Stop {
    /// The target is down; the phase is the one that was begun last.
    Down(Reason, Cow<'static, str>),
    /// We could not try.
    Skip(Skip, String),
}

impl Stop {
    pub(super) fn down(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Stop::Down(reason, detail.into())
    }
}

/// A wait of an attempt for us instead of its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// For the machine's settings of name resolution.
    Names,
    /// For the files of the module.
    Files,
    /// For the certificate to be judged.
    Judge,
    /// For memory that bodies of other attempts have.
    Memory,
    /// For the rules to be checked.
    Rules,
}

impl Wait {
    /// How an attempt ends whose timeout is over meanwhile.
    pub(super) fn ran_out(self, within: Duration) -> Stop {
        let within = duration::format(within);
        let (skip, what) = match self {
            Wait::Rules => {
                let detail = format!("rules not decided within {within}");
                return Stop::down(Reason::RuleTimeout, detail);
            }
            Wait::Names => (Skip::Overload, "resolv.conf and hosts were not read"),
            Wait::Files => (Skip::NoCredentials, "the module's certificates were not read"),
            Wait::Judge => (Skip::Overload, "too many certificates wait to be judged: not done"),
            Wait::Memory => (Skip::Overload, "no memory for the body"),
        };
        Stop::Skip(skip, format!("{what} within {within}"))
    }
}

impl From<Lost> for Stop {
    fn from(lost: Lost) -> Self {
        let skip = match lost {
            Lost::Full => Skip::Overload,
            Lost::Failed => Skip::Internal,
        };
        Stop::Skip(skip, lost.to_string())
    }
}

/// The notes of one attempt.
pub(super) struct Trace {
    began: Moment,
    phase: Phase,
    since: Instant,
    phases: Phases,
    pub(super) lookup: Option<Duration>,
    pub(super) address: Option<IpAddr>,
    pub(super) failed_due_to_regex: Option<bool>,
    /// A rule that failed already; what goes wrong later does not change why.
    pub(super) broken: Option<(Reason, String)>,
    /// Set while the attempt waits for us.
    pub(super) waits: Option<Wait>,
    pub(super) http: Option<Http>,
    pub(super) tls: Option<Box<Tls>>,
    pub(super) icmp: Option<Icmp>,
}

impl Trace {
    pub(super) fn new() -> Self {
        let began = clock::now();
        Self {
            began,
            phase: Phase::Resolve,
            since: began.monotonic,
            phases: Phases::default(),
            lookup: None,
            address: None,
            failed_due_to_regex: None,
            broken: None,
            waits: None,
            http: None,
            tls: None,
            icmp: None,
        }
    }

    /// A phase begins.
    pub(super) fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = clock::instant();
    }

    /// The phase that began last is over; returns how long it took.
    pub(super) fn end(&mut self) -> Duration {
        let took = clock::instant().duration_since(self.since);
        self.phases.add(self.phase, took);
        took
    }

    /// A phase that somebody else has timed.
    pub(super) fn timed(&mut self, phase: Phase, took: Duration) {
        self.phase = phase;
        self.phases.add(phase, took);
    }

    /// The phase that began last.
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// The attempt is over.
    pub(super) fn finish(self, result: Result<(), (Reason, Cow<'static, str>)>) -> Outcome {
        let duration = clock::instant().duration_since(self.began.monotonic);
        let (verdict, detail) = match result {
            Ok(()) => (Verdict::Up, Cow::Borrowed("")),
            Err((reason, detail)) => (Verdict::Down { reason, phase: self.phase }, bounded(detail)),
        };
        Outcome {
            verdict,
            detail,
            started: self.began.wall,
            duration,
            phases: self.phases,
            lookup: self.lookup,
            address: self.address,
            failed_due_to_regex: self.failed_due_to_regex,
            http: self.http,
            tls: self.tls,
            icmp: self.icmp,
        }
    }
}

/// Text of a peer, cut and without control characters.
pub(super) fn bounded(text: Cow<'static, str>) -> Cow<'static, str> {
    let fine = text.len() <= MAX_DETAIL && !text.chars().any(char::is_control);
    if fine {
        return text;
    }
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_DETAIL)
        .collect::<String>()
        .into()
}
