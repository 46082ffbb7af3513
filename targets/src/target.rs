//! The target model, and how one line of a pinghosts file becomes a target.

use std::fmt;
use std::sync::Arc;

use crate::label::{HUMAN_NAME, Labels, MODULE_HINT, is_hint};

/// Where a target was written: a file and a line counted from 1 (0: the file as a whole).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The path as it was given, or a word such as `embedded default`.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.file)
        } else {
            write!(f, "{}:{}", self.file, self.line)
        }
    }
}

/// Something wrong in a target file, with its place. The rest of the file is not affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line it is about.
    pub origin: Origin,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// What makes a target the same target across reloads, within one receiver.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId {
    /// The address as written.
    pub address: String,
    /// The module that the target itself names, if it does.
    pub module: Option<String>,
}

/// Something watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address as written, trimmed: a URL, `host:port`, a name or an IP address.
    pub address: String,
    /// Labels for people and dashboards (`humanname`, `routing`, ...). Never a hint.
    pub labels: Labels,
    /// Reserved labels (`__...`), not interpreted here.
    pub hints: Labels,
    /// Where it was written.
    pub origin: Origin,
}

impl Target {
    /// The identity within a receiver: address and the module hint.
    #[must_use]
    pub fn id(&self) -> TargetId {
        TargetId { address: self.address.clone(), module: self.hints.get(MODULE_HINT).cloned() }
    }
}

/// An address without userinfo, as it may be shown and published: `https://user:pw@host/` is
/// `https://host/`.
#[must_use]
pub fn without_userinfo(text: &str) -> String {
    let (scheme, rest) = match text.find("://") {
        Some(at) => text.split_at(at + 3),
        None => ("", text),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}{}", &rest[at + 1..]),
        None => text.to_owned(),
    }
}

/// Text that could not be read as an address, without anything that could be a password: what stands
/// before the last `@` is not shown.
#[must_use]
pub fn without_secrets(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, rest)| rest)
}

/// The labels that the second to fourth field of a pinghosts line make; the fifth is the module hint.
const FIELD_LABELS: [&str; 4] = [HUMAN_NAME, "routing", "switching", MODULE_HINT];

/// Reads one target string: an address alone, or 2 to 5 fields separated by `;`
/// (address; humanname; routing; switching; module).
///
/// Fields are trimmed. An empty field, or `-` where a name stands, makes no label. A field wins over
/// a label of its group.
///
/// # Errors
/// A sentence that says what is wrong with the line: no address, or more than five fields.
pub fn parse_line(text: &str, group: &Labels, origin: Origin) -> Result<Target, Problem> {
    let fields: Vec<&str> = text.split(';').map(str::trim).collect();
    let fail = |message: String| Err(Problem { origin: origin.clone(), message });
    if fields.len() > 5 {
        return fail(format!(
            "{} fields in {:?}, at most 5 are known: address;humanname;routing;switching;module",
            fields.len(),
            without_secrets(text)
        ));
    }
    let address = fields[0];
    if address.is_empty() {
        return fail(format!("no address in {:?}", without_secrets(text)));
    }
    if let Some(bad) = address.chars().find(|c| c.is_whitespace() || c.is_control()) {
        return fail(format!("the address {:?} holds {bad:?}", without_secrets(address)));
    }
    let (mut hints, mut labels): (Labels, Labels) =
        group.clone().into_iter().partition(|(name, _)| is_hint(name));
    for (name, value) in FIELD_LABELS.iter().zip(&fields[1..]) {
        let unnamed = *name == HUMAN_NAME && *value == "-";
        if !value.is_empty() && !unnamed {
            let into = if is_hint(name) { &mut hints } else { &mut labels };
            into.insert((*name).to_owned(), (*value).to_owned());
        }
    }
    labels.retain(|_, value| !value.is_empty());
    hints.retain(|_, value| !value.is_empty());
    Ok(Target { address: address.to_owned(), labels, hints, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { file: "t.yaml".into(), line: 7 }
    }

    fn check(text: &str, expected: &[(&str, &str)], module: Option<&str>) {
        let target = parse_line(text, &Labels::new(), origin()).expect(text);
        let labels: Vec<(&str, &str)> =
            target.labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(labels, expected, "{text}");
        assert_eq!(target.id().module.as_deref(), module, "{text}");
    }

    #[test]
    fn fields_become_labels() {
        check("192.0.2.1", &[], None);
        check("https://1.1.1.1/;Cloudflare", &[("humanname", "Cloudflare")], None);
        check("8.8.8.8; Google (DNSed)", &[("humanname", "Google (DNSed)")], None);
        check("a;b;internal", &[("humanname", "b"), ("routing", "internal")], None);
        check("192.168.2.2;-;lan", &[("routing", "lan")], None);
        check("a;b;c;-", &[("humanname", "b"), ("routing", "c"), ("switching", "-")], None);
        check(
            "a;b;local;box;icmp",
            &[("humanname", "b"), ("routing", "local"), ("switching", "box")],
            Some("icmp"),
        );
        check("a;;;;icmp", &[], Some("icmp"));
        check("a;b;", &[("humanname", "b")], None);
    }

    #[test]
    fn a_field_wins_over_the_group_and_an_empty_one_does_not() {
        let group = Labels::from([
            ("humanname".to_owned(), "group".to_owned()),
            ("routing".to_owned(), "lan".to_owned()),
            ("__param_module".to_owned(), "icmp".to_owned()),
        ]);
        let target = parse_line("a;mine", &group, origin()).expect("valid");
        assert_eq!(target.labels["humanname"], "mine");
        assert_eq!(target.labels["routing"], "lan");
        assert_eq!(target.hints["__param_module"], "icmp");
        assert!(!target.labels.contains_key("__param_module"));
    }

    #[test]
    fn userinfo_never_shows() {
        for (text, shown) in [
            ("https://u:p@a.invalid/x@y", "https://a.invalid/x@y"),
            ("https://a.invalid/x@y", "https://a.invalid/x@y"),
            ("u:p@127.0.0.1:80/x", "127.0.0.1:80/x"),
            ("https://u:p@q@a.invalid", "https://a.invalid"),
            ("a:1", "a:1"),
        ] {
            assert_eq!(without_userinfo(text), shown);
        }
        let wrong = parse_line("http://u:S3CRET@h;b;c;d;e;f", &Labels::new(), origin());
        assert!(!wrong.expect_err("six fields").to_string().contains("S3CRET"));
    }

    #[test]
    fn wrong_lines_say_why_and_where() {
        for (text, part) in [
            ("a;b;c;d;e;f", "6 fields"),
            ("", "no address"),
            (" ;name", "no address"),
            ("two words;x", "holds ' '"),
        ] {
            let problem = parse_line(text, &Labels::new(), origin()).expect_err(text);
            assert!(problem.message.contains(part), "{text}: {problem}");
            assert!(problem.to_string().starts_with("t.yaml:7: "), "{problem}");
        }
    }
}
