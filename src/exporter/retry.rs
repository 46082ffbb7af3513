//! What an answer of a backend means for the batch that was sent. Pure.

use std::time::Duration;

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
    /// Samples in it are refused for good: find them by halves, and put them aside.
    Bisect,
    /// It is refused, and not by a word that blames a sample: hold it, and bisect it only when that
    /// lasts.
    Refused,
}

/// How often [`Action::Refused`] is held before it is bisected.
pub const MAX_REFUSED: u32 = 10;

/// What backends say of samples that they will never take: old ones, duplicates, ones out of order.
const BLAMES: [&str; 7] =
    ["out of order", "out-of-order", "out of bounds", "too old", "too-old", "duplicate", "too far"];

/// How long [`Action::Hold`] waits before it looks again.
pub const HOLD: Duration = Duration::from_secs(60);
/// The longest that a backend may make us wait.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Reads the status of an answer, `Retry-After` in seconds when there is one, and what it says.
#[must_use]
pub fn classify(status: u16, retry_after: Option<&str>, text: &str) -> Action {
    let text = text.to_lowercase();
    let blames = || BLAMES.iter().any(|word| text.contains(word));
    let after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    match status {
        200..=299 => Action::Done,
        413 => Action::Split,
        401 | 403 | 404 | 405 | 415 => Action::Hold,
        408 | 429 | 500..=599 | 300..=399 => {
            Action::Retry(after.map(|after| after.min(MAX_RETRY_AFTER)))
        }
        _ if blames() => Action::Bisect,
        _ => Action::Refused,
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
        _ if BLAMES.iter().any(|word| text.contains(word)) => Action::Bisect,
        _ => Action::Refused,
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
            (400, None, "Out of order sample from remote write", Action::Bisect),
            (400, None, "err-mimir-sample-timestamp-too-old", Action::Bisect),
            (400, None, "", Action::Refused),
            (401, None, "", Action::Hold),
            (403, None, "", Action::Hold),
            (404, None, "", Action::Hold),
            (408, None, "", Action::Retry(None)),
            (409, None, "duplicate sample for timestamp", Action::Bisect),
            (413, None, "", Action::Split),
            (422, None, "what is this", Action::Refused),
            (429, Some("7"), "", Action::Retry(Some(Duration::from_secs(7)))),
            (429, Some("soon"), "", Action::Retry(None)),
            (500, None, "", Action::Retry(None)),
            (503, Some("86400"), "", Action::Retry(Some(Duration::from_secs(300)))),
        ] {
            assert_eq!(classify(status, after, text), action, "{status}");
        }
    }
}
