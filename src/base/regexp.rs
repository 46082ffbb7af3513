//! Regular expressions in the dialect of the files that we read, which is Go's, for a library that
//! speaks another: what differs between the two is translated, so that a file means here what it
//! means there.

pub mod search;

use regex::bytes::{Regex, RegexBuilder};

/// The memory that one expression may take, in bytes.
const SIZE_LIMIT: usize = 4 << 20;

/// Builds an expression that is written in Go's dialect.
///
/// # Errors
/// What is wrong with the expression, in one line.
pub fn build(text: &str) -> Result<Regex, String> {
    // In Go, \w, \d, \s and \b know ASCII alone, and `.` matches a byte that is no UTF-8. Without
    // Unicode it is so here, too; letters beyond ASCII in the expression itself need it, though, and then
    // \w, \d and \s know those of all languages.
    RegexBuilder::new(&translate(text))
        .unicode(!text.is_ascii())
        .octal(true)
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| {
            // The library draws the expression over several lines; the last one says what is wrong.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default().trim();
            format!("not a regular expression: {}", last.trim_start_matches("error: "))
        })
}

/// The same expression for this library.
fn translate(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    let mut class = false;
    // Right after `[` or `[^`, a `]` is itself.
    let mut begins = false;
    while let Some(char) = rest.chars().next() {
        let after = &rest[char.len_utf8()..];
        let began = std::mem::take(&mut begins);
        match char {
            '\\' if after.starts_with('Q') => {
                let literal = &after[1..];
                let end = literal.find("\\E").unwrap_or(literal.len());
                out.push_str(&regex::escape(&literal[..end]));
                rest = literal.get(end + 2..).unwrap_or_default();
                continue;
            }
            '\\' => {
                match after.chars().next() {
                    // Literals in Go, word boundaries here.
                    Some(angle @ ('<' | '>')) => out.push(angle),
                    // A boundary of ASCII words, whatever else stands in the expression; the automaton of
                    // [`search`] knows no other.
                    Some(edge @ ('b' | 'B')) if !class && !text.is_ascii() => {
                        out.extend(["(?-u:\\", edge.encode_utf8(&mut [0; 4]), ")"]);
                    }
                    Some(next) => out.extend(['\\', next]),
                    None => out.push('\\'),
                }
                rest =
                    after.get(after.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default();
                continue;
            }
            '[' if !class => {
                class = true;
                out.push('[');
                rest = after;
                if let Some(tail) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = tail;
                }
                begins = true;
                continue;
            }
            ']' if class && began => out.push_str("\\]"),
            ']' if class => {
                class = false;
                out.push(']');
            }
            '[' if after.starts_with(':') && after.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |at| at + 2);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            '[' => out.push_str("\\["),
            // Set operations here, plain characters in Go.
            '&' | '~' if class => out.extend(['\\', char]),
            '-' if class && after.starts_with('-') => out.push_str("\\-"),
            // A whole character, or else a byte; where any number of them may stand it is the same.
            '.' if !class && text.is_ascii() && !after.starts_with(['*', '+']) => {
                out.push_str("(?:(?u:.)|(?-u:.))");
            }
            '{' if !class && !counts(after) => out.push_str("\\{"),
            other => out.push(other),
        }
        rest = after;
    }
    out
}

/// Whether what follows a `{` makes it a repetition: `3}`, `3,}`, `3,5}`.
fn counts(after: &str) -> bool {
    let Some((inner, _)) = after.split_once('}') else { return false };
    let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !low.is_empty() && digits(low) && digits(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, matching: &[&[u8]], other: &[&[u8]]) {
        let regex = build(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        for bytes in matching {
            assert!(regex.is_match(bytes), "{text} on {bytes:?} ({regex})");
        }
        for bytes in other {
            assert!(!regex.is_match(bytes), "{text} on {bytes:?} ({regex})");
        }
    }

    #[test]
    fn what_go_means() {
        check(r#"{"status":"UP"}"#, &[br#"{"status":"UP"}"#], &[b"status"]);
        check("^a{2,3}b{1}$", &[b"aab", b"aaab"], &[b"ab", b"a{2,3}b"]);
        check("a{b", &[b"a{b"], &[b"ab"]);
        check("[[]x", &[b"[x"], &[b"x"]);
        check("[]a]+$", &[b"]a]"], &[b"b"]);
        check("[^]a]", &[b"b"], &[b"]a"]);
        check("[[:digit:]]+[a&&&b]", &[b"7&", b"7a"], &[b"7", b"a&"]);
        check("^[a--]$", &[b"a", b"-"], &[b"b"]);
        check(r"\Qa.b\E+", &[b"a.b"], &[b"axb"]);
        check(r"\Q*", &[b"*"], &[b""]);
        check(r"\040", &[b" "], &[b"040"]);
        check(r"\<title\>", &[b"<title>"], &[b"title"]);
        check(r"^\w$", &[b"a"], &["é".as_bytes()]);
        check("a.b", &[b"a\xffb", b"axb"], &[b"ab"]);
        check("^a.b$", &["aéb".as_bytes(), b"a\xffb"], &[b"ab", b"a\nb"]);
        check("(?s)^a.b$", &[b"a\nb"], &[b"ab"]);
        check("größe", &["größe".as_bytes()], &[b"gr"]);
        check(r"größe\b", &["größe hier".as_bytes(), "größe-".as_bytes()], &[]);
        check(r"\bö", &["aö".as_bytes()], &["ö".as_bytes()]);
        check(r"\bz\Bö?", &[b"zz"], &["zö".as_bytes()]);
        check(r"^\+OK", &[b"+OK ready"], &[b"OK"]);
    }

    #[test]
    fn what_is_wrong_stays_wrong() {
        for text in ["(", "*", "a**b(", "[z-a]", r"\8", "[a"] {
            assert!(build(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r"[\[\]{}()\\^$.*+?|&~\-,:QEw0-9a]{0,40}") {
            let _ = build(&text);
        }
    }
}
