//! What all scrapers have in common: a turn in which they read, and what they could not read.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::clock::{BootTime, Moment};
use crate::host::points::Points;
use crate::host::source::{Source, Trouble};

/// A part of the host that is read at once. One that fails as a whole says why; what fails in part
/// is told to the turn, and hides nothing else.
pub trait Scraper: Send {
    /// Reads once.
    ///
    /// # Errors
    /// Why nothing could be read.
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble>;
}

/// One reading of one scraper.
pub struct Turn<'a> {
    /// Where the host is read.
    pub source: &'a mut Source,
    /// What was found.
    pub points: &'a mut Points,
    /// What could not be read.
    pub troubles: &'a mut Troubles,
    /// When it began.
    pub now: Moment,
}

impl Turn<'_> {
    /// Notes that something could not be read.
    pub fn trouble(&mut self, trouble: Trouble) {
        self.troubles.now.insert(trouble);
    }

    /// Notes what could not be read, and returns what could.
    pub fn tell<T>(&mut self, read: Result<T, Trouble>) -> Option<T> {
        read.map_err(|trouble| self.trouble(trouble)).ok()
    }

    /// As [`Turn::tell`], of something that not every machine has: that it is not there is no
    /// trouble, but can be asked for.
    pub fn optional<T>(&mut self, read: Result<T, Trouble>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(trouble) if trouble.is_absent() => {
                self.troubles.absent.insert(trouble);
                None
            }
            Err(trouble) => {
                self.trouble(trouble);
                None
            }
        }
    }
}

/// What has been told is remembered up to this many times: interfaces and sensors come and go.
const MAX_TOLD: usize = 1000;

/// What a scraper could not read.
#[derive(Debug, Default)]
pub struct Troubles {
    /// In this turn.
    pub now: BTreeSet<Trouble>,
    /// What this machine does not have.
    pub absent: BTreeSet<Trouble>,
    told: BTreeSet<Trouble>,
}

impl Troubles {
    /// Begins a turn.
    pub fn begin(&mut self) {
        self.now.clear();
        self.absent.clear();
    }

    /// What is new since it was told the last time. What is mended and breaks again is not told again.
    pub fn untold(&mut self) -> Vec<Trouble> {
        let new: Vec<Trouble> = self.now.difference(&self.told).cloned().collect();
        if self.told.len() > MAX_TOLD {
            self.told.retain(|trouble| self.now.contains(trouble));
        }
        self.told.extend(new.iter().cloned());
        new
    }
}

/// A reading may come a little early when the one before was late.
const EARLY: Duration = Duration::from_secs(1);

/// Something that is done now and then.
#[derive(Clone, Copy, Debug)]
pub struct Every {
    period: Duration,
    last: Option<BootTime>,
}

impl Every {
    /// At once, and then after each period.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        Self { period, last: None }
    }

    /// Whether it is time; if so, the next time is a period later.
    pub fn is_due(&mut self, now: BootTime) -> bool {
        let due = self.last.is_none_or(|last| now.since(last) + EARLY >= self.period);
        if due {
            self.last = Some(now);
        }
        due
    }

    /// It is time again at once.
    pub fn again(&mut self) {
        self.last = None;
    }
}
