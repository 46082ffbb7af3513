//! Durations in Go's notation (`300ms`, `1.5h`, `2h45m`), as every configuration of the field writes them.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Reads a duration by the rules of Go's `time.ParseDuration`, but for negative ones, which nothing
/// here can mean.
///
/// # Errors
/// A sentence that shows what a duration looks like.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 15s, 300ms or 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err(format!("{text:?}: a duration here cannot be negative"));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("{text:?} has no unit: write {text}s for seconds"))?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, scale) =
            UNITS.iter().find(|(unit, _)| *unit == &rest[..unit_len]).ok_or_else(wrong)?;
        total += number * scale;
        rest = &rest[unit_len..];
    }
    // Rounded to the nanosecond: 0.3 s as a float is a little less than 300 ms.
    let nanos = (total * 1e9).round();
    if nanos > i64::MAX as f64 {
        return Err(format!("{text:?} is longer than 292 years"));
    }
    Ok(Duration::from_nanos(nanos as u64))
}

/// Writes a duration as Go does (`1m30s`, `1.5s`, `300ms`, `0s`).
#[must_use]
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", nanos as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{}ms", nanos as f64 / 1e6),
        _ => {
            let (hours, minutes) = (duration.as_secs() / 3600, duration.as_secs() / 60 % 60);
            let seconds = (nanos % 60_000_000_000) as f64 / 1e9;
            let mut out = String::new();
            if hours > 0 {
                out.push_str(&format!("{hours}h"));
            }
            if hours > 0 || minutes > 0 {
                out.push_str(&format!("{minutes}m"));
            }
            out.push_str(&format!("{seconds}s"));
            out
        }
    }
}

/// A duration in a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(pub Duration);

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = GoDuration;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration such as 15s, 300ms or 1h30m")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<GoDuration, E> {
                parse(text).map(GoDuration).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("300ms", 300_000_000),
            ("1.5h", 5_400_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("1us", 1_000),
            ("1µs", 1_000),
            (".5s", 500_000_000),
            ("+5s", 5_000_000_000),
            ("1h0m10s", 3_610_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "5", "-5s", "s", "1d", "5 s", "1.2.3s", "5s5", "300000h0m99999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("15").is_err_and(|e| e.contains("write 15s")));
    }

    #[test]
    fn what_is_written_reads_back() {
        for nanos in [
            0,
            7,
            1_500,
            300_000_000,
            1_000_000_000,
            15_000_000_000,
            90_500_000_000,
            3_600_000_000_000,
        ] {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse(&format(duration)), Ok(duration), "{}", format(duration));
        }
        assert_eq!(format(Duration::from_secs(90)), "1m30s");
        assert_eq!(format(Duration::from_millis(1500)), "1.5s");
    }
}
