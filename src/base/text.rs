//! Text from outside, fit to be shown.

/// Text that cannot steer a terminal or a log: control characters and marks that make text run the
/// other way are replaced.
#[must_use]
pub fn tame(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || is_direction_mark(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Marks that make text run the other way.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers() {
        assert_eq!(tame("a\n\u{1b}[31mb\u{202e}"), "a\u{fffd}\u{fffd}[31mb\u{fffd}");
    }
}
