//! Text from outside, fit to be shown.

use std::fmt::Write as _;

/// Text that cannot steer a terminal or a log: control characters and marks that make text run the
/// other way are replaced.
#[must_use]
pub fn tame(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || is_direction_mark(c) { '\u{fffd}' } else { c })
        .collect()
}

/// JSON on one line with the same meaning that cannot steer a terminal: what [`tame`] replaces is escaped.
#[must_use]
pub fn printable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings JSON has neither; in strings they may be escaped, and all of them fit into 16 bits.
        if c.is_control() || is_direction_mark(c) {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// The longest name of foreign origin that is kept, in bytes.
pub const MAX_FOREIGN: usize = 1 << 10;

/// A name that somebody else has chosen (in a certificate, a label, an answer): as [`tame`] makes it, and cut to
/// [`MAX_FOREIGN`] bytes.
#[must_use]
pub fn foreign(text: &str) -> String {
    let cut = '…';
    // Sanitising makes text longer, never shorter.
    let beginning = &text[..text.floor_char_boundary(MAX_FOREIGN)];
    let mut out = tame(beginning);
    if beginning.len() < text.len() || out.len() > MAX_FOREIGN {
        out.truncate(out.floor_char_boundary(MAX_FOREIGN - cut.len_utf8()));
        out.push(cut);
    }
    out
}

/// Marks that make text run the other way.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_are_bounded_in_bytes() {
        assert_eq!(foreign("pl\u{e4}in"), "pl\u{e4}in");
        for long in ["x".repeat(1_025), "\u{1}".repeat(900), "\u{e4}".repeat(4_000)] {
            let short = foreign(&long);
            assert!(short.len() <= MAX_FOREIGN && short.ends_with('…'), "{}", short.len());
        }
        assert_eq!(foreign(&"x".repeat(1_024)), "x".repeat(1_024));
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "a\u{9b}31m\u{7f}\u{1b}\u{202e}\u{e4}";
        let json = printable_json(&serde_json::json!({ "x": text }).to_string());
        assert_eq!(json, "{\"x\":\"a\\u009b31m\\u007f\\u001b\\u202e\u{e4}\"}");
        let read: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(read["x"], text);
    }

    #[test]
    fn nothing_steers() {
        assert_eq!(tame("a\n\u{1b}[31mb\u{202e}"), "a\u{fffd}\u{fffd}[31mb\u{fffd}");
    }
}
