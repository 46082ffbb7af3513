//! What an answer of a backend means for the batch that was sent. Pure.

use std::time::{Duration, UNIX_EPOCH};

use crate::base::clock::Timestamp;

/// What to do with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was taken over.
    Done,
    /// Send it again, not before this time when the backend named one.
    Retry(Option<Duration>),
    /// Credentials or address are wrong: keep everything, tell at once, look again now and then.
    Hold,
    /// It is too large: send it in two halves.
    Split,
    /// Samples in it are refused for good, for their time: find them by halves, and count them.
    Bisect(Blame),
    /// It is refused, and not by a word that blames a sample: a fault of the backend, or of something in the batch.
    /// Send it again; what lasts while other samples are accepted is put aside.
    Refused,
}

/// Why a backend will never take a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// It has one of that series and time.
    Duplicate,
    /// It has a later one of that series.
    OutOfOrder,
    /// It is older than what the backend takes at all.
    TooOld,
    /// Its time is yet to come.
    TooFarAhead,
}

impl Blame {
    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::OutOfOrder => "out_of_order",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
        }
    }

    /// Whether that is also said of samples that an earlier attempt has brought there.
    #[must_use]
    pub fn may_be_there(self) -> bool {
        matches!(self, Self::Duplicate | Self::OutOfOrder)
    }

    /// What is said in this text, which is in small letters.
    fn of(text: &str) -> Option<Self> {
        let word = BLAMES.iter().find(|(word, _)| text.contains(word));
        word.map(|(_, blame)| *blame)
    }
}

/// What backends say of samples that they will never take.
const BLAMES: [(&str, Blame); 8] = [
    ("duplicate", Blame::Duplicate),
    ("out of order", Blame::OutOfOrder),
    ("out-of-order", Blame::OutOfOrder),
    ("too old", Blame::TooOld),
    ("too-old", Blame::TooOld),
    ("out of bounds", Blame::TooOld),
    ("too far", Blame::TooFarAhead),
    ("in the future", Blame::TooFarAhead),
];

/// How long [`Action::Hold`] waits before it looks again.
pub const HOLD: Duration = Duration::from_secs(60);
/// The longest that a backend may make us wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Reads `Retry-After`: seconds, or a date (RFC 9110, 10.2.3). `None`: it is neither.
#[must_use]
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_nanos(now.0)))
}

/// Reads the status of an answer, for how long it asks for patience, and what it says.
#[must_use]
pub fn classify(status: u16, after: Option<Duration>, text: &str) -> Action {
    let text = text.to_lowercase();
    match status {
        200..=299 => Action::Done,
        413 => Action::Split,
        401 | 403 | 404 | 405 | 415 => Action::Hold,
        500 if after.is_none() => Blame::of(&text).map_or(Action::Refused, Action::Bisect),
        408 | 429 | 500..=599 | 300..=399 => {
            Action::Retry(after.map(|after| after.min(MAX_RETRY_AFTER)))
        }
        _ => Blame::of(&text).map_or(Action::Refused, Action::Bisect),
    }
}

/// Reads the code of a gRPC status (the numbers of google.rpc.Code), the wait that its RetryInfo asks
/// for, and what it says.
#[must_use]
pub fn classify_grpc(code: i32, after: Option<Duration>, text: &str) -> Action {
    let text = text.to_lowercase();
    let after = after.map(|after| after.min(MAX_RETRY_AFTER));
    match code {
        0 => Action::Done,
        // RESOURCE_EXHAUSTED: a message that is too large, or a backend that asks for patience.
        8 if text.contains("larger than max") || text.contains("too large") => Action::Split,
        // CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS
        1 | 4 | 8 | 10 | 11 | 14 | 15 => Action::Retry(after),
        // NOT_FOUND, PERMISSION_DENIED, UNIMPLEMENTED, UNAUTHENTICATED
        5 | 7 | 12 | 16 => Action::Hold,
        _ => Blame::of(&text).map_or(Action::Refused, Action::Bisect),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_one_meaning() {
        for (status, after, text, action) in [
            (200, None, "", Action::Done),
            (204, None, "", Action::Done),
            (400, None, "Out of order sample from remote write", Action::Bisect(Blame::OutOfOrder)),
            (400, None, "err-mimir-sample-timestamp-too-old", Action::Bisect(Blame::TooOld)),
            (400, None, "", Action::Refused),
            (401, None, "", Action::Hold),
            (403, None, "", Action::Hold),
            (404, None, "", Action::Hold),
            (408, None, "", Action::Retry(None)),
            (409, None, "duplicate sample for timestamp", Action::Bisect(Blame::Duplicate)),
            (413, None, "", Action::Split),
            (422, None, "what is this", Action::Refused),
            (429, Some("7"), "", Action::Retry(Some(Duration::from_secs(7)))),
            (429, Some("soon"), "", Action::Retry(None)),
            (500, None, "", Action::Refused),
            (500, Some("3"), "", Action::Retry(Some(Duration::from_secs(3)))),
            (502, None, "", Action::Retry(None)),
            (503, Some("86400"), "", Action::Retry(Some(Duration::from_secs(300)))),
        ] {
            let after = after.and_then(|after| retry_after(after, Timestamp(0)));
            assert_eq!(classify(status, after, text), action, "{status}");
        }
    }

    #[test]
    fn patience_is_asked_for_in_seconds_or_until_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = Timestamp(784_111_777_000_000_000);
        for (text, seconds) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30)),
            ("Sun Nov  6 08:49:47 1994", Some(10)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
