//! Colours for terminals, nothing for pipes; columns for a table.

use crate::base::text::tame;

/// Paints, or does not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    on: bool,
}

impl Style {
    pub(super) fn new(on: bool) -> Self {
        Self { on }
    }

    pub(super) fn is_on(self) -> bool {
        self.on
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(super) fn doubtful(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(super) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }
}

/// A text in a column: cut with `…`, or padded.
pub(super) fn column(text: &str, width: usize) -> String {
    let text = tame(text);
    let length = text.chars().count();
    if length <= width {
        return text + &" ".repeat(width - length);
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// A latency as people read it.
pub(super) fn latency(took: std::time::Duration) -> String {
    let seconds = took.as_secs_f64();
    match seconds {
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 0.1 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn columns_are_as_wide_as_they_should_be() {
        assert_eq!(column("a\nb", 4), "a\u{fffd}b ");
        assert_eq!(column("abcdef", 4), "abc…");
        assert_eq!(column("ab", 4), "ab  ");
    }

    #[test]
    fn latencies_read_well() {
        let texts: Vec<String> = [47, 3_240, 99_960, 250_000, 2_000_000]
            .iter()
            .map(|us| latency(Duration::from_micros(*us)))
            .collect();
        assert_eq!(texts, ["47 µs", "3.2 ms", "100.0 ms", "250 ms", "2.00 s"]);
    }
}
