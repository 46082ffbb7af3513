//! The engine's stream of events. Whoever starts containers decides how many there are: each is looked at only
//! while nothing is due, and within a budget.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::list::Text;

/// The longest line.
const MAX_EVENT: usize = 1 << 20;
/// Bytes that are looked at in a [`SPAN`]: a stream that is as busy is reason to look without reading it.
const BUSY: usize = 256 << 10;
const SPAN: Duration = Duration::from_secs(1);
/// Bytes that are dropped while a run is due, until no more are read.
const MAX_DROPPED: usize = 1 << 20;

/// The consequence of a piece of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing has changed.
    Read,
    /// A run is due.
    Due,
    /// As [`Next::Due`], and nothing is read until it is not.
    Wait,
    /// A line is too long.
    Endless,
}

/// The stream so far.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The beginning of a line.
    rest: Vec<u8>,
    /// Whether the rest of a line is still to be dropped.
    within: bool,
    dropped: usize,
    looked_at: usize,
    since: Option<Instant>,
    /// Events that were parsed.
    #[cfg(test)]
    parsed: usize,
}

impl Events {
    /// Reads a piece of the stream. `due`: whether a run is due already.
    pub(super) fn read(&mut self, data: &[u8], due: bool, now: Instant) -> Next {
        if due {
            return self.drop(data);
        }
        self.dropped = 0;
        if self.since.is_none_or(|since| now - since >= SPAN) {
            (self.since, self.looked_at) = (Some(now), 0);
        }
        self.looked_at += data.len();
        if self.looked_at > BUSY {
            self.looked_at = 0;
            self.drop(data);
            return Next::Due;
        }
        let mut data = data;
        if self.within {
            let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return Next::Read };
            (data, self.within) = (&data[end + 1..], false);
        }
        while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
            let (line, more) = data.split_at(end + 1);
            self.rest.extend_from_slice(line);
            #[cfg(test)]
            {
                self.parsed += 1;
            }
            let changed = matters(&self.rest);
            self.rest.clear();
            if changed {
                self.drop(more);
                return Next::Due;
            }
            data = more;
        }
        self.rest.extend_from_slice(data);
        if self.rest.len() > MAX_EVENT { Next::Endless } else { Next::Read }
    }

    /// Drops a piece; only whether a line ends with it is kept.
    fn drop(&mut self, data: &[u8]) -> Next {
        if let Some(last) = data.last() {
            self.within = *last != b'\n';
            self.rest = Vec::new();
        }
        self.dropped += data.len();
        if self.dropped > MAX_DROPPED {
            self.dropped = 0;
            return Next::Wait;
        }
        Next::Read
    }
}

/// Of an event.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    #[serde(default)]
    action: Text,
    #[serde(default, rename = "status")]
    status: Text,
    #[serde(default)]
    r#type: Text,
}

/// Whether an event changes what runs.
pub(super) fn matters(line: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<Event>(line) else { return false };
    let action = event.action.0.or(event.status.0).unwrap_or_default();
    let kind = event.r#type.0.as_deref().unwrap_or("container").to_owned();
    let actions = ["start", "die", "destroy", "rename", "update", "pause", "unpause"];
    kind == "container"
        && (actions.contains(&action.as_str()) || action.starts_with("health_status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &[u8] = b"{\"Type\":\"container\",\"Action\":\"start\"}\n";
    const EXEC: &[u8] = b"{\"Type\":\"container\",\"Action\":\"exec_start: true\"}\n";

    #[test]
    fn events_that_matter() {
        for (line, expected) in [
            (r#"{"Type":"container","Action":"die"}"#, true),
            (r#"{"status":"start"}"#, true),
            (r#"{"Type":"container","Action":"health_status: healthy","Actor":{"a":[1]}}"#, true),
            (r#"{"Type":"image","Action":"die"}"#, false),
            (r#"{"Type":7,"Action":["die"],"status":"die"}"#, true),
            (r#"{"Action":"exec_start"}"#, false),
            ("[]", false),
            ("die", false),
            ("", false),
        ] {
            assert_eq!(matters(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn pieces_of_lines_are_put_together() {
        let (mut events, now) = (Events::default(), Instant::now());
        assert_eq!(events.read(EXEC, false, now), Next::Read);
        let (first, rest) = START.split_at(20);
        assert_eq!(events.read(first, false, now), Next::Read);
        assert_eq!(events.read(rest, false, now), Next::Due);
        // A line whose beginning was dropped is no event.
        assert_eq!(events.read(first, true, now), Next::Read);
        assert_eq!(events.read(rest, false, now), Next::Read);
        assert_eq!(events.read(START, false, now), Next::Due);
        // A line without an end.
        let (long, mut at) = (vec![b'x'; 100_000], now);
        let next = loop {
            at += SPAN;
            match events.read(&long, false, at) {
                Next::Read => {}
                next => break next,
            }
        };
        assert_eq!(next, Next::Endless);
    }

    #[test]
    fn while_a_run_is_due_events_are_dropped_unread() {
        let (mut events, now) = (Events::default(), Instant::now());
        assert_eq!(events.read(&START.repeat(1_000), false, now), Next::Due);
        assert_eq!(events.parsed, 1, "one is enough");
        let flood = START.repeat(1_000);
        let mut dropped = 0;
        while events.read(&flood, true, now) == Next::Read {
            dropped += flood.len();
            assert!(dropped <= MAX_DROPPED);
        }
        assert_eq!(events.parsed, 1);
        assert!(dropped > MAX_DROPPED / 2);
    }

    #[test]
    fn events_that_change_nothing_are_read_within_a_budget() {
        let (mut events, now) = (Events::default(), Instant::now());
        let flood = EXEC.repeat(100);
        let (mut read, mut next) = (0, Next::Read);
        while next == Next::Read {
            read += flood.len();
            next = events.read(&flood, false, now);
        }
        assert_eq!(next, Next::Due, "a stream that is as busy is reason to look");
        assert!(read > BUSY && read < 2 * BUSY, "{read}");
        assert!(events.parsed * EXEC.len() <= BUSY);
        assert_eq!(events.read(EXEC, false, now + SPAN), Next::Read);
    }
}
