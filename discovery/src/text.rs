//! Text that somebody else has written, fit for labels and reports.

/// The longest label value of foreign origin, in bytes.
pub const MAX_FOREIGN: usize = 1 << 10;

/// Whether a character steers a terminal: control characters, and marks that make text run the other way.
pub(crate) fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Sanitises a text and cuts it to [`MAX_FOREIGN`] bytes, with `…` at the cut.
#[must_use]
pub fn foreign(text: &str) -> String {
    let beginning = &text[..text.floor_char_boundary(MAX_FOREIGN)];
    let mut out: String =
        beginning.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect();
    // The replacement may be longer than what it replaces.
    if beginning.len() < text.len() || out.len() > MAX_FOREIGN {
        out.truncate(out.floor_char_boundary(MAX_FOREIGN - '…'.len_utf8()));
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_sanitised_and_cut() {
        assert_eq!(foreign("a\n\u{1b}[31mb\u{202e}ä"), "a\u{fffd}\u{fffd}[31mb\u{fffd}ä");
        assert_eq!(foreign(&"x".repeat(1_024)), "x".repeat(1_024));
        for long in ["x".repeat(1_025), "\u{1}".repeat(900), "ä".repeat(4_000)] {
            let short = foreign(&long);
            assert!(short.len() <= MAX_FOREIGN && short.ends_with('…'), "{}", short.len());
        }
    }
}
