//! Variables in compose files, in all of Compose's forms, and `.env` files.

use std::collections::BTreeMap;

/// Defaults within defaults go this deep.
const MAX_DEPTH: usize = 16;
/// A text may not become longer than this.
const MAX_LENGTH: usize = 64 << 10;
/// What an `.env` file makes may not become longer than this, all values together: a line that names
/// a long variable costs little to write, and many of them cost much to keep.
const MAX_ENV: usize = 4 << 20;

/// Variables by name.
pub type Variables = BTreeMap<String, String>;

/// A text whose variables have been filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// The text.
    pub text: String,
    /// Variables that are not set and have no default: they became nothing.
    pub unset: Vec<String>,
    /// What is wrong with it: a variable that must be set and is not, or a form that Compose does
    /// not know.
    pub wrong: Option<String>,
}

/// Fills in the variables of a text: `$X`, `${X}`, `${X:-default}`, `${X-default}`, `${X:?why}`,
/// `${X?why}`, `${X:+instead}`, `${X+instead}`, and `$$` for a dollar.
#[must_use]
pub fn fill(text: &str, variables: &dyn Fn(&str) -> Option<String>) -> Filled {
    let mut filled = Filled::default();
    if text.contains('$') {
        let chars: Vec<char> = text.chars().collect();
        let closes = closes(&chars);
        let source = Source { chars: &chars, closes: &closes, variables };
        filled.text = source.part(0, chars.len(), &mut filled, 0);
    } else {
        filled.text = text.to_owned();
    }
    filled
}

/// Where the braces end that begin with `${`: for each place behind such a beginning the place of its
/// `}`, 0 if there is none. Found once for all, because looking anew from each beginning would take
/// the square of the time.
fn closes(chars: &[char]) -> Vec<usize> {
    let mut closes = vec![0; chars.len() + 1];
    let mut open = Vec::new();
    for (at, char) in chars.iter().enumerate() {
        match char {
            '{' if at > 0 && chars[at - 1] == '$' => open.push(at + 1),
            '}' => {
                if let Some(start) = open.pop() {
                    closes[start] = at;
                }
            }
            _ => {}
        }
    }
    closes
}

/// A text with its variables.
struct Source<'a> {
    chars: &'a [char],
    closes: &'a [usize],
    variables: &'a dyn Fn(&str) -> Option<String>,
}

fn name_at(chars: &[char], at: usize) -> usize {
    let begins = |c: char| c == '_' || c.is_ascii_alphabetic();
    if !chars.get(at).copied().is_some_and(begins) {
        return at;
    }
    let rest = chars[at..].iter().take_while(|c| **c == '_' || c.is_ascii_alphanumeric());
    at + rest.count()
}

impl Source<'_> {
    /// The text between two places, filled in.
    fn part(&self, start: usize, end: usize, filled: &mut Filled, depth: usize) -> String {
        let mut out = String::with_capacity(end - start);
        let mut at = start;
        while at < end {
            if out.len() > MAX_LENGTH {
                break;
            }
            if self.chars[at] != '$' {
                out.push(self.chars[at]);
                at += 1;
                continue;
            }
            match self.chars[..end].get(at + 1) {
                Some('$') => {
                    out.push('$');
                    at += 2;
                }
                Some('{') => match self.braced(at + 2, filled, depth) {
                    Some((value, next)) => {
                        out.push_str(&value);
                        at = next;
                    }
                    None => {
                        out.push('$');
                        at += 1;
                    }
                },
                _ => {
                    let name_end = name_at(&self.chars[..end], at + 1);
                    if name_end == at + 1 {
                        wrong(filled, "a $ that begins no variable ($$ is a dollar)");
                        out.push('$');
                        at += 1;
                        continue;
                    }
                    let name: String = self.chars[at + 1..name_end].iter().collect();
                    match (self.variables)(&name) {
                        Some(value) => out.push_str(&value),
                        None => filled.unset.push(name),
                    }
                    at = name_end;
                }
            }
        }
        if out.len() > MAX_LENGTH {
            wrong(filled, format!("it becomes longer than {} KiB", MAX_LENGTH >> 10));
        }
        out
    }

    /// What stands in braces, from behind them: its value and where it ends.
    fn braced(&self, start: usize, filled: &mut Filled, depth: usize) -> Option<(String, usize)> {
        let close = self.closes[start];
        if close == 0 {
            wrong(filled, "a ${ without its }");
            return None;
        }
        let name_end = name_at(&self.chars[..close], start);
        let name: String = self.chars[start..name_end].iter().collect();
        if name.is_empty() {
            wrong(filled, "${…} without the name of a variable");
            return None;
        }
        if depth >= MAX_DEPTH {
            wrong(filled, "defaults within defaults go too deep");
            return None;
        }
        let operator = &self.chars[name_end..close];
        let value = (self.variables)(&name);
        let colon = operator.first() == Some(&':');
        let kind = operator.get(usize::from(colon)).copied();
        let rest = (name_end + usize::from(colon) + 1).min(close);
        // With a colon an empty value counts as none.
        let given = value.clone().filter(|value| !colon || !value.is_empty());
        let inner = |filled: &mut Filled| self.part(rest, close, filled, depth + 1);
        let value = match kind {
            None if !colon => value.unwrap_or_else(|| {
                filled.unset.push(name);
                String::new()
            }),
            Some('-') => given.unwrap_or_else(|| inner(filled)),
            Some('+') => match given {
                Some(_) => inner(filled),
                None => String::new(),
            },
            Some('?') => given.unwrap_or_else(|| {
                let why = inner(filled);
                let why = if why.is_empty() { "it must be set".to_owned() } else { why };
                wrong(filled, format!("the variable {name} is not set: {why}"));
                String::new()
            }),
            _ => {
                wrong(filled, format!("${{{name}…}} is a form that Compose does not know"));
                return None;
            }
        };
        Some((value, close + 1))
    }
}

fn wrong(filled: &mut Filled, why: impl Into<String>) {
    filled.wrong.get_or_insert_with(|| why.into());
}

/// Reads a `.env` file: `KEY=value`, `export KEY=value`, quotes, comments. Values that are not in
/// single quotes may hold variables that were set before. Values that would be more than 4 MiB together
/// are left out: they stay unset, which is told where they are named.
#[must_use]
pub fn env_file(text: &str, environment: &Variables) -> Variables {
    let mut found = Variables::new();
    let mut length = 0;
    let mut rest = text.trim_start_matches('\u{feff}');
    while !rest.is_empty() {
        let (line, next) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = line.trim_start();
        let body = trimmed.strip_prefix("export ").unwrap_or(trimmed).trim_start();
        let Some((key, value)) = body.split_once(['=', ':']) else {
            rest = next;
            continue;
        };
        let key = key.trim();
        let chars: Vec<char> = key.chars().collect();
        if body.starts_with('#') || key.is_empty() || name_at(&chars, 0) != chars.len() {
            rest = next;
            continue;
        }
        let value = value.trim_start_matches([' ', '\t']);
        let lookup = |name: &str| environment.get(name).or_else(|| found.get(name)).cloned();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        let value = match quote {
            Some(quote) => {
                // A quoted value may go over several lines.
                let begin = rest.len() - next.len() - usize::from(line.len() < rest.len());
                let offset = begin - value.len() + 1;
                let (inner, after) = quoted(&rest[offset..], quote);
                rest = after.split_once('\n').map_or("", |(_, next)| next);
                match quote {
                    '"' => fill(&unescaped(inner), &lookup).text,
                    _ => inner.to_owned(),
                }
            }
            None => {
                rest = next;
                let cut = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
                let plain = if value.starts_with('#') { "" } else { &value[..cut] };
                fill(plain.trim_end(), &lookup).text
            }
        };
        length += value.len();
        if length > MAX_ENV {
            break;
        }
        found.insert(key.to_owned(), value);
    }
    found
}

/// The text up to the closing quote, and what comes behind it.
fn quoted(text: &str, quote: char) -> (&str, &str) {
    let mut escaped = false;
    for (at, char) in text.char_indices() {
        if char == quote && !escaped {
            return (&text[..at], &text[at + 1..]);
        }
        escaped = char == '\\' && !escaped && quote == '"';
    }
    (text.trim_end(), "")
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            char => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Filled {
        let variables = |name: &str| match name {
            "X" => Some("x".to_owned()),
            "EMPTY" => Some(String::new()),
            "_Y1" => Some("y".to_owned()),
            _ => None,
        };
        fill(text, &variables)
    }

    #[test]
    fn all_forms() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$X.$_Y1", "x.y"),
            ("${X}${_Y1}", "xy"),
            ("${EMPTY:-d}${EMPTY-d}", "d"),
            ("${NO:-d}${NO-e}", "de"),
            ("${NO:-${X}${NO:-${_Y1}}}", "xy"),
            ("${X:+instead}${NO:+instead}${EMPTY+a}${EMPTY:+b}", "insteada"),
            ("${X:?must}", "x"),
            ("$$X $${X}", "$X ${X}"),
            ("Host(`a.${X:-b}`)", "Host(`a.x`)"),
            ("${NO:-{domain:.*}}", "{domain:.*}"),
        ] {
            let filled = filled(text);
            assert_eq!((filled.text.as_str(), &filled.wrong), (expected, &None), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let filled = filled("a.$DOMAIN ${OTHER}");
        assert_eq!((filled.text.as_str(), filled.unset.len()), ("a. ", 2));
        assert_eq!(
            super::fill("${A:?set it}", &|_| None).wrong.as_deref(),
            Some("the variable A is not set: set it")
        );
        let deep = "${A:-".repeat(20) + &"}".repeat(20);
        for text in ["$1", "${", "${}", "${X!}", "a$", "${X:}", &deep] {
            assert!(super::fill(text, &|_| None).wrong.is_some(), "{text}");
        }
        let long = super::fill("$A$A", &|_| Some("x".repeat(40_000)));
        assert_eq!(long.wrong.as_deref(), Some("it becomes longer than 64 KiB"));
    }

    #[test]
    fn env_files() {
        let text = "# comment\nA=1\nexport B = two # comment\nC='$A #x'\nD=\"a\\nb ${A}\"\n\nE=${B}-${HOST}\n\
            F=\"over\ntwo lines\"\nG=#nothing\nbad line\n1X=2\nH=a#b\n";
        let environment = Variables::from([("HOST".to_owned(), "pi".to_owned())]);
        let found = env_file(text, &environment);
        let get = |name: &str| found.get(name).map(String::as_str);
        assert_eq!((get("A"), get("B"), get("C")), (Some("1"), Some("two"), Some("$A #x")));
        assert_eq!((get("D"), get("E")), (Some("a\nb 1"), Some("two-pi")));
        assert_eq!(
            (get("F"), get("G"), get("H")),
            (Some("over\ntwo lines"), Some(""), Some("a#b"))
        );
        assert_eq!(found.len(), 8);
    }
}
