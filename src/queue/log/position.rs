//! Where an exporter stands in a log, with its books; and the bytes in which that outlives the process.
//!
//! Samples are numbered in the order in which they were appended, without a gap, for as long as the log
//! lives. Of those from `joined` up to the end of the log, every one is settled, in flight, dropped or waits.

use super::bytes::Broken;

/// No more samples are left out: the log goes on.
pub const OPEN: u64 = u64::MAX;

/// Where an exporter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The first sample that is for it.
    pub joined: u64,
    /// It is for none from this one on; [`OPEN`]: for all that come.
    pub until: u64,
    /// What is before has an outcome.
    pub settled: u64,
    /// The end of what was taken last: from `settled` to here nobody knows the outcome.
    pub in_flight: u64,
    /// The next one to take. What is between `in_flight` and this was dropped.
    pub next: u64,
    /// Taken over by the backend.
    pub sent: u64,
    /// Refused by the backend for good.
    pub rejected: u64,
    /// Given up by us.
    pub dropped: u64,
    /// Accepted once more, beside the numbers: out of the quarantine, or for this exporter alone.
    pub extra: u64,
}

impl Position {
    /// Joins a log of which `end` is the next sample.
    #[must_use]
    pub fn at(end: u64) -> Self {
        Self {
            joined: end,
            until: OPEN,
            settled: end,
            in_flight: end,
            next: end,
            sent: 0,
            rejected: 0,
            dropped: 0,
            extra: 0,
        }
    }

    /// The end of what is for it, in a log that ends there.
    #[must_use]
    pub fn end(&self, log: u64) -> u64 {
        self.until.min(log)
    }

    /// Samples that were for it.
    #[must_use]
    pub fn accepted(&self, log: u64) -> u64 {
        self.end(log).saturating_sub(self.joined) + self.extra
    }

    /// Samples without an outcome.
    #[must_use]
    pub fn queued(&self, log: u64) -> u64 {
        self.end(log).saturating_sub(self.next) + (self.in_flight - self.settled)
    }

    /// Whether every sample is accounted for.
    #[must_use]
    pub fn is_balanced(&self, log: u64) -> bool {
        self.joined <= self.settled
            && self.settled <= self.in_flight
            && self.in_flight <= self.next
            && self.accepted(log) == self.sent + self.rejected + self.dropped + self.queued(log)
    }

    /// What was taken and has no outcome.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.in_flight - self.settled
    }

    /// Takes what is next, up to a number. Everything before must be settled.
    pub fn take(&mut self, end: u64) {
        debug_assert!(self.unsettled() == 0 && end >= self.next);
        self.settled = self.next;
        (self.in_flight, self.next) = (end, end);
    }

    /// The outcome of the first that are in flight.
    pub fn settle(&mut self, sent: u64, rejected: u64, dropped: u64) {
        let all = sent + rejected + dropped;
        debug_assert!(all <= self.unsettled());
        self.settled += all.min(self.unsettled());
        self.sent += sent;
        self.rejected += rejected;
        self.dropped += dropped;
    }

    /// Drops what waits up to a number; returns how many that are.
    pub fn skip(&mut self, to: u64) -> u64 {
        let lost = to.saturating_sub(self.next);
        self.next += lost;
        self.dropped += lost;
        lost
    }

    /// What of the log it may still ask for begins here.
    #[must_use]
    pub fn needs(&self) -> u64 {
        if self.unsettled() > 0 { self.settled } else { self.next }
    }
}

/// Bytes of a slot.
pub const SLOT: usize = 128;
/// Where the two slots of a file begin: in sectors of their own.
pub const SLOTS: [u64; 2] = [0, 512];
const MAGIC: [u8; 4] = *b"WPc1";

/// Writes a position; `generation`: higher than that of the other slot.
#[must_use]
pub fn slot(generation: u64, position: &Position) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..4].copy_from_slice(&MAGIC);
    let p = position;
    let numbers = [
        generation,
        p.joined,
        p.until,
        p.settled,
        p.in_flight,
        p.next,
        p.sent,
        p.rejected,
        p.dropped,
        p.extra,
    ];
    for (n, number) in numbers.into_iter().enumerate() {
        bytes[8 + n * 8..16 + n * 8].copy_from_slice(&number.to_le_bytes());
    }
    let sum = crc32c::crc32c(&bytes[..SLOT - 4]);
    bytes[SLOT - 4..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn read_slot(bytes: &[u8]) -> Result<(u64, Position), Broken> {
    let bytes: &[u8; SLOT] = bytes
        .get(..SLOT)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Broken("a slot of 128 bytes"))?;
    let sum = u32::from_le_bytes(bytes[SLOT - 4..].try_into().expect("four bytes"));
    if bytes[..4] != MAGIC || crc32c::crc32c(&bytes[..SLOT - 4]) != sum {
        return Err(Broken("a slot with its checksum"));
    }
    let number = |n: usize| {
        u64::from_le_bytes(bytes[8 + n * 8..16 + n * 8].try_into().expect("eight bytes"))
    };
    let position = Position {
        joined: number(1),
        until: number(2),
        settled: number(3),
        in_flight: number(4),
        next: number(5),
        sent: number(6),
        rejected: number(7),
        dropped: number(8),
        extra: number(9),
    };
    // A log that ends where it has come to: are the books sound?
    let known = position.until.min(position.next);
    match position.is_balanced(known) {
        true => Ok((number(0), position)),
        false => Err(Broken("books that balance")),
    }
}

/// The newest position of a file, and its generation.
///
/// # Errors
/// When neither slot is whole.
pub fn read(bytes: &[u8]) -> Result<(u64, Position), Broken> {
    let slots = SLOTS.iter().filter_map(|at| bytes.get(*at as usize..));
    let whole = slots.filter_map(|bytes| read_slot(bytes).ok());
    whole.max_by_key(|(generation, _)| *generation).ok_or(Broken("a slot that is whole"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever happens to a log: every sample is somewhere, and is so again after a restart.
        #[test]
        fn books_balance(steps in proptest::collection::vec((0..5_u8, 0..50_u64), 0..60)) {
            let mut log = 1000;
            let mut position = Position::at(log);
            for (step, by) in steps {
                match step {
                    0 => log += by,
                    1 if position.unsettled() == 0 => {
                        position.take((position.next + by).min(position.end(log)));
                    }
                    2 => {
                        let there = position.unsettled().min(by);
                        position.settle(there / 2, there - there / 2, 0);
                    }
                    3 => {
                        position.skip((position.next + by).min(position.end(log)));
                    }
                    4 if by == 1 => position.until = log,
                    _ => {}
                }
                prop_assert!(position.is_balanced(log), "{position:?} of {log}");
                let mut file = vec![0; 1024];
                file[512..512 + SLOT].copy_from_slice(&slot(7, &position));
                prop_assert_eq!(read(&file), Ok((7, position.clone())));
            }
        }
    }

    #[test]
    fn the_newer_slot_counts_and_a_torn_one_does_not() {
        let (old, new) = (Position::at(5), Position::at(9));
        let mut file = vec![0; 512 + SLOT];
        file[..SLOT].copy_from_slice(&slot(3, &old));
        assert_eq!(read(&file), Ok((3, old.clone())));
        file[512..].copy_from_slice(&slot(4, &new));
        assert_eq!(read(&file), Ok((4, new)));
        for place in 512..file.len() {
            let mut file = file.clone();
            file[place] ^= 4;
            assert_eq!(read(&file), Ok((3, old.clone())), "byte {place}");
        }
        assert!(read(&file[..SLOT - 1]).is_err());
        assert!(read(&[]).is_err());
    }

    #[test]
    fn what_cannot_be_true_is_not_believed() {
        let mut position = Position::at(5);
        position.sent = 3;
        let mut file = vec![0; 1024];
        file[..SLOT].copy_from_slice(&slot(1, &position));
        assert!(read(&file).is_err());
    }
}
