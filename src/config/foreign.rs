//! Values that come out of `${env:NAME}` and `${file:path}` are not shown in problems: what was meant
//! to be a number may be a password.

use std::fmt;
use std::sync::Arc;

use crate::base::place::{Place, Problem};

/// All values of a configuration that came from outside.
#[derive(Clone, Default)]
pub struct Outside(Arc<[Foreign]>);

impl Outside {
    pub(super) fn new(foreign: Vec<Foreign>) -> Self {
        Self(foreign.into())
    }

    /// A text, such as an error at run time, that shows none of them.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        let long = self.0.iter().filter(|one| one.value.trim().len() >= MIN_VALUE);
        long.fold(text.to_owned(), |text, one| text.replace(one.value.trim(), &named(one)))
    }
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outside({} values)", self.0.len())
    }
}

/// A value that came from outside.
pub(super) struct Foreign {
    /// Where it was referred to.
    pub(super) place: Place,
    /// How, such as `env:NAME`.
    pub(super) reference: String,
    /// The inserted values.
    pub(super) value: String,
}

/// Shorter values are words such as `true`, which messages hold anyway.
const MIN_VALUE: usize = 6;
/// A message that repeats so much of a value tells it.
const MIN_PART: usize = 5;
/// Examples for messages.
const EXAMPLES: [&str; 4] = ["http://", "https://", "127.0.0.1", "localhost"];

/// A problem that shows no value that came from outside.
pub(super) fn hidden(mut problem: Problem, outside: &Outside) -> Problem {
    let foreign = &outside.0;
    let here = |one: &&Foreign| {
        let (a, b) = (&one.place, &problem.place);
        (&a.file, a.line, a.column) == (&b.file, b.line, b.column)
    };
    let own: Vec<&Foreign> =
        foreign.iter().filter(here).filter(|one| !one.value.is_empty()).collect();
    let mut message = problem.message;
    for one in &own {
        message = without_quotes(&message, one);
    }
    message = outside.hide(&message);
    if let Some(one) = own.iter().find(|one| tells(&message, one)) {
        message = format!("{} cannot be used here", named(one));
    }
    // Keys of a map that came from outside are part of it.
    if let Some(one) = own.first().filter(|one| problem.place.path.starts_with(&one.place.path)) {
        problem.place.path.truncate(one.place.path.len());
    }
    Problem { message, ..problem }
}

fn named(one: &Foreign) -> String {
    format!("the value of ${{{}}}", one.reference)
}

/// A message whose quotations of a value are replaced as a whole.
fn without_quotes(message: &str, one: &Foreign) -> String {
    let escaped = format!("{:?}", one.value.trim());
    let value = escaped.trim_matches('"');
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(begin) = rest.find('"') {
        let inside = &rest[begin + 1..];
        let mut escape = false;
        let end = inside.find(|c| match c {
            '"' if !escape => true,
            c => {
                escape = c == '\\' && !escape;
                false
            }
        });
        let Some(end) = end else { break };
        out.push_str(&rest[..begin]);
        match inside[..end].contains(value) {
            true => out.push_str(&named(one)),
            false => out.push_str(&rest[begin..begin + end + 2]),
        }
        rest = &inside[end + 1..];
    }
    out + rest
}

/// Whether a message repeats a part of a value.
fn tells(message: &str, one: &Foreign) -> bool {
    let mut message = message.replace(&named(one), "\n");
    for example in EXAMPLES {
        message = message.replace(example, "\n");
    }
    let (message, value) = (message.to_lowercase(), one.value.to_lowercase());
    let chars: Vec<(usize, char)> = message.char_indices().collect();
    chars.windows(MIN_PART).any(|part| {
        let (begin, (last, c)) = (part[0].0, part[MIN_PART - 1]);
        value.contains(&message[begin..last + c.len_utf8()])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::place::Severity;

    fn check(value: &str, message: &str, expected: &str) {
        let place =
            |path: &str| Place { file: "w.yaml".into(), line: 2, column: 7, path: path.to_owned() };
        let foreign =
            Foreign { place: place("a.b"), reference: "env:X".to_owned(), value: value.to_owned() };
        let severity = Severity::Error;
        let problem = Problem { place: place("a.b.c"), severity, message: message.to_owned() };
        let hidden = hidden(problem, &Outside::new(vec![foreign]));
        assert_eq!(hidden.message, expected);
        assert_eq!(hidden.place.path, if value.is_empty() { "a.b.c" } else { "a.b" });
    }

    #[test]
    fn values_from_outside_are_named_and_not_shown() {
        check(
            "hunter2",
            "\"hunter2\" is neither 1.2 nor 1.3",
            "the value of ${env:X} is neither 1.2 nor 1.3",
        );
        check("x1", "\"x1\" is none of a, b", "the value of ${env:X} is none of a, b");
        check(
            "pw",
            "\"Basic pw\" is none of \"a\", b",
            "the value of ${env:X} is none of \"a\", b",
        );
        check("a\"b\\c", "found \"a\\\"b\\\\c\"", "found the value of ${env:X}");
        check(
            "(hunter2",
            "not an expression: (hunter2\n^ unclosed",
            "not an expression: the value of ${env:X}\n^ unclosed",
        );
        check(
            "user:hunter2@x",
            "\"hunter\" is not a port",
            "the value of ${env:X} cannot be used here",
        );
        check("Hunter2X", "no hunter2 here", "the value of ${env:X} cannot be used here");
        check(
            "http:/x",
            "must be a URL, such as http://127.0.0.1:4317",
            "must be a URL, such as http://127.0.0.1:4317",
        );
        check("5", "must be 1 to 15", "must be 1 to 15");
        check("", "\"\" is none of a, b", "\"\" is none of a, b");
    }
}
