//! Text from outside, fit to be shown.

/// Text that cannot steer a terminal or a log: control characters and marks that make text run the
/// other way are replaced.
#[must_use]
pub fn tame(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || is_direction_mark(c) { '\u{fffd}' } else { c })
        .collect()
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
    fn nothing_steers() {
        assert_eq!(tame("a\n\u{1b}[31mb\u{202e}"), "a\u{fffd}\u{fffd}[31mb\u{fffd}");
    }
}
