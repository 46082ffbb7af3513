//! Searches that can be interrupted. The engine of `Regex` is linear, and still takes seconds for a text that is made
//! to defeat it; here one byte is one step of a lazy automaton, so that a search can be left at any byte.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::bytes::Regex;
use regex_automata::Input;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;

use super::{SIZE_LIMIT, build, translate};
use crate::base::clock;

/// How long a slice of searches should take.
pub const SLICE: Duration = Duration::from_millis(5);
/// Bytes between two looks at the clock; an expression can take 20 microseconds for each.
const STEPS: usize = 256;

/// The memory that a running search may take, in bytes; states beyond it are computed anew.
const CACHE: usize = 512 << 10;

/// An expression in Go's dialect, for text whose length and content somebody else decides. Cheap to clone.
#[derive(Clone)]
pub struct Pattern(Arc<Built>);

struct Built {
    /// For captures.
    regex: Regex,
    automaton: DFA,
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.regex.fmt(f)
    }
}

impl Pattern {
    /// Builds an expression that is written in Go's dialect.
    ///
    /// # Errors
    /// The problem with the expression, in one line.
    pub fn new(text: &str) -> Result<Self, String> {
        let regex = build(text)?;
        // The same settings as those of `build`.
        let syntax = syntax::Config::new().unicode(!text.is_ascii()).utf8(false).octal(true);
        let nfa = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(SIZE_LIMIT))
            .which_captures(WhichCaptures::None);
        let config = DFA::config().cache_capacity(CACHE).skip_cache_capacity_check(true);
        let automaton = DFA::builder()
            .configure(config)
            .syntax(syntax)
            .thompson(nfa)
            .build(&translate(text))
            .map_err(|error| format!("not a regular expression: {error}"))?;
        Ok(Self(Arc::new(Built { regex, automaton })))
    }

    /// The expression, with captures.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.0.regex
    }

    /// Whether it matches anywhere, in one go: for tests, and for text of our own.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.0.regex.is_match(text)
    }
}

/// A search that goes on from step to step.
pub struct Search {
    pattern: Pattern,
    cache: Cache,
    state: Option<LazyStateID>,
    at: usize,
}

impl Search {
    /// A search from the beginning of a text.
    #[must_use]
    pub fn new(pattern: &Pattern) -> Self {
        let automaton = &pattern.0.automaton;
        let mut cache = automaton.create_cache();
        let state = automaton.start_state_forward(&mut cache, &Input::new(b"")).ok();
        Self { pattern: pattern.clone(), cache, state, at: 0 }
    }

    /// The same search in another text.
    pub fn restart(&mut self) {
        let automaton = &self.pattern.0.automaton;
        self.state = automaton.start_state_forward(&mut self.cache, &Input::new(b"")).ok();
        self.at = 0;
    }

    /// As [`Search::advance`], until that is known or the time is over.
    pub fn advance_until(
        &mut self,
        text: &[u8],
        is_cut: bool,
        until: Instant,
    ) -> ControlFlow<bool> {
        loop {
            let known = self.advance(text, is_cut, STEPS);
            if known.is_break() || clock::instant() >= until {
                return known;
            }
        }
    }

    /// Looks at `steps` bytes more of the text; breaks with whether it matches, once that is known. A text that is
    /// cut off does not end there: a match that needs its end is none.
    pub fn advance(&mut self, text: &[u8], is_cut: bool, steps: usize) -> ControlFlow<bool> {
        let end = text.len().min(self.at.saturating_add(steps));
        let automaton = &self.pattern.0.automaton;
        while let Some(state) = self.state.filter(|_| self.at < end) {
            let next = automaton.next_state(&mut self.cache, state, text[self.at]).ok();
            self.at += 1;
            self.state = next.filter(|next| !next.is_quit());
            match next {
                Some(next) if next.is_match() => return ControlFlow::Break(true),
                Some(next) if next.is_dead() => return ControlFlow::Break(false),
                _ => {}
            }
        }
        match self.state {
            // The automaton gives up for Unicode's words alone, which no expression of ours has.
            None => ControlFlow::Break(false),
            Some(_) if self.at < text.len() => ControlFlow::Continue(()),
            Some(_) if is_cut => ControlFlow::Break(false),
            Some(state) => {
                let last = automaton.next_eoi_state(&mut self.cache, state);
                ControlFlow::Break(last.is_ok_and(|state| state.is_match()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &Pattern, text: &[u8], is_cut: bool, steps: usize) -> bool {
        let mut search = Search::new(pattern);
        loop {
            if let ControlFlow::Break(found) = search.advance(text, is_cut, steps) {
                return found;
            }
        }
    }

    #[test]
    fn steps_of_any_size_find_what_one_go_finds() {
        let patterns = [
            "",
            "^$",
            "welcome",
            "^welcome$",
            "(?m)^b$",
            r"\bok\b",
            "a.{0,3}b",
            "(?s)a.{2,}z",
            "größe",
            r"größe\b",
            r"\z",
            "[^a]",
            "(?i)OK|error",
            "x*",
        ];
        let texts: [&[u8]; 9] = [
            b"",
            b"welcome",
            b"say welcome to all",
            b"a\nb\nc",
            b"a123b",
            b"a\xff\xfez",
            "die größe hier".as_bytes(),
            b"aaaa",
            b"ok\n",
        ];
        for pattern in patterns {
            let built = Pattern::new(pattern).expect(pattern);
            for text in texts {
                for steps in [1, 3, 1000] {
                    let found = found(&built, text, false, steps);
                    assert_eq!(found, built.is_match(text), "{pattern:?} in {text:?} by {steps}");
                }
            }
        }
    }

    #[test]
    fn end_of_a_cut_text_is_no_end() {
        for (pattern, text, expected) in [
            ("done$", "all done", false),
            ("done", "all done, they say", true),
            (r"\Aall", "all done", true),
            (r"done\z", "all done", false),
            (r"größe\b", "die große größe hier", true),
            (r"größe\b", "die größe", false),
            (r"ß\B", "größe", false),
        ] {
            let built = Pattern::new(pattern).expect(pattern);
            assert_eq!(found(&built, text.as_bytes(), true, 2), expected, "{pattern:?}");
        }
    }

    #[test]
    fn words_of_unicode_are_refused() {
        // The automaton cannot decide them, and the other engine cannot be interrupted.
        for pattern in [r"(?u)\bok", r"(?u:o\B)"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_pattern_agrees_with_the_other_engine(
            pattern in r"[\[\]()\\^$.*+?|a-cwbBsQEö]{0,12}",
            text in proptest::collection::vec(proptest::sample::select(&b"abc \n\xff\xc3\xb6."[..]), 0..24),
        ) {
            if let Ok(built) = Pattern::new(&pattern) {
                proptest::prop_assert_eq!(found(&built, &text, false, 2), built.is_match(&text));
            }
        }
    }
}
