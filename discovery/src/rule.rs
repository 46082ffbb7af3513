//! Traefik's rules: a parser for the language of versions 2 and 3, and what of a rule can be probed
//! plainly. Version 1's form is read as well.

use std::fmt;

/// Parentheses and `!` may nest this deep.
const MAX_DEPTH: usize = 32;
/// A rule may not mean more places than this.
const MAX_PLACES: usize = 64;
/// Words, texts and signs of one rule.
const MAX_TOKENS: usize = 2_048;

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Both.
    And(Box<Rule>, Box<Rule>),
    /// One of both.
    Or(Box<Rule>, Box<Rule>),
    /// Not.
    Not(Box<Rule>),
    /// A matcher, such as `Host`, and its values.
    Is(String, Vec<String>),
}

/// Where a rule leads that can be asked plainly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The host.
    pub host: String,
    /// The path, or nothing.
    pub path: String,
}

/// Why a rule, or a part of it, cannot be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It cannot be read.
    Wrong(String),
    /// It holds for many hosts or paths: nobody can say which one to ask.
    Pattern(String),
    /// It asks for more than a host and a path.
    Condition(String),
    /// It names no host.
    NoHost,
    /// It means more places than anybody would write.
    TooMany,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Wrong(why) => write!(f, "the rule cannot be read: {why}"),
            Reason::Pattern(pattern) => {
                write!(f, "{pattern} is a pattern: nobody can say which host or path to probe")
            }
            Reason::Condition(name) => {
                write!(f, "the rule has a condition that a plain probe does not meet: {name}")
            }
            Reason::NoHost => f.write_str("the rule names no host"),
            Reason::TooMany => f.write_str("the rule means too many places"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    Comma,
    And,
    Or,
    Not,
}

fn tokens(text: &str) -> Result<Vec<Token>, Reason> {
    let wrong = |why: String| Reason::Wrong(why);
    let mut tokens = Vec::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, char)) = chars.next() {
        let token = match char {
            c if c.is_whitespace() => continue,
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '!' => Token::Not,
            '&' | '|' => {
                if chars.next_if(|(_, next)| *next == char).is_none() {
                    return Err(wrong(format!("{char}{char} is expected, found one {char}")));
                }
                if char == '&' { Token::And } else { Token::Or }
            }
            '`' | '"' | '\'' => {
                let rest = &text[at + char.len_utf8()..];
                let Some(end) = rest.find(char) else {
                    return Err(wrong(format!("a {char} without its other one")));
                };
                let inner = rest[..end].to_owned();
                while chars.next().is_some_and(|(_, next)| next != char) {}
                Token::Text(inner)
            }
            c if c.is_ascii_alphabetic() => {
                let mut word = String::from(c);
                while let Some((_, next)) = chars.next_if(|(_, c)| c.is_ascii_alphanumeric()) {
                    word.push(next);
                }
                Token::Word(word)
            }
            other => return Err(wrong(format!("{other:?} is not expected"))),
        };
        tokens.push(token);
        if tokens.len() > MAX_TOKENS {
            return Err(wrong("it is too long".to_owned()));
        }
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn next_is(&mut self, token: &Token) -> bool {
        let is = self.tokens.get(self.at) == Some(token);
        self.at += usize::from(is);
        is
    }

    fn either(&mut self, depth: usize) -> Result<Rule, Reason> {
        let mut rule = self.both(depth)?;
        while self.next_is(&Token::Or) {
            rule = Rule::Or(Box::new(rule), Box::new(self.both(depth)?));
        }
        Ok(rule)
    }

    fn both(&mut self, depth: usize) -> Result<Rule, Reason> {
        let mut rule = self.one(depth)?;
        while self.next_is(&Token::And) {
            rule = Rule::And(Box::new(rule), Box::new(self.one(depth)?));
        }
        Ok(rule)
    }

    fn one(&mut self, depth: usize) -> Result<Rule, Reason> {
        let wrong = |why: &str| Err(Reason::Wrong(why.to_owned()));
        if depth > MAX_DEPTH {
            return wrong("it is nested too deep");
        }
        if self.next_is(&Token::Not) {
            return Ok(Rule::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.next_is(&Token::Open) {
            let rule = self.either(depth + 1)?;
            return if self.next_is(&Token::Close) { Ok(rule) } else { wrong("a ) is missing") };
        }
        let Some(Token::Word(name)) = self.tokens.get(self.at) else {
            return wrong("a matcher such as Host(`example.org`) is expected");
        };
        let name = name.clone();
        self.at += 1;
        if !self.next_is(&Token::Open) {
            return Err(Reason::Wrong(format!("{name} has no values in parentheses")));
        }
        let mut values = Vec::new();
        if !self.next_is(&Token::Close) {
            loop {
                let Some(Token::Text(value)) = self.tokens.get(self.at) else {
                    return Err(Reason::Wrong(format!("a value of {name} is expected in quotes")));
                };
                values.push(value.clone());
                self.at += 1;
                if self.next_is(&Token::Close) {
                    break;
                }
                if !self.next_is(&Token::Comma) {
                    return Err(Reason::Wrong(format!(
                        "a comma or ) is expected after a value of {name}"
                    )));
                }
            }
        }
        Ok(Rule::Is(name, values))
    }
}

/// Reads a rule of version 2 or 3.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Rule, Reason> {
    let tokens = tokens(text)?;
    if tokens.is_empty() {
        return Err(Reason::Wrong("it is empty".to_owned()));
    }
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let rule = parser.either(0)?;
    if parser.at < tokens.len() {
        return Err(Reason::Wrong("there is something behind its end".to_owned()));
    }
    Ok(rule)
}

/// A way to meet a rule: hosts of which one is enough, and a path.
#[derive(Clone, Debug, Default)]
struct Way {
    hosts: Option<Vec<String>>,
    path: Option<String>,
    /// Why it cannot be gone plainly.
    reason: Option<Reason>,
}

/// The places to which a rule leads, and why others cannot be probed. `domain` stands for
/// `{domain:.*}` of version 2.
///
/// # Errors
/// When there is none.
pub fn places(rule: &Rule, domain: Option<&str>) -> Result<(Vec<Place>, Vec<Reason>), Reason> {
    let ways = ways(rule, domain)?;
    let (mut places, mut reasons) = (Vec::new(), Vec::new());
    for way in ways {
        if let Some(reason) = way.reason {
            reasons.push(reason);
            continue;
        }
        let Some(hosts) = way.hosts else {
            reasons.push(Reason::NoHost);
            continue;
        };
        for host in hosts {
            let place = Place { host, path: way.path.clone().unwrap_or_default() };
            if !places.contains(&place) {
                if places.len() == MAX_PLACES {
                    return Err(Reason::TooMany);
                }
                places.push(place);
            }
        }
    }
    reasons.dedup();
    match (places.is_empty(), reasons.first()) {
        (true, first) => Err(first.cloned().unwrap_or(Reason::NoHost)),
        _ => Ok((places, reasons)),
    }
}

fn ways(rule: &Rule, domain: Option<&str>) -> Result<Vec<Way>, Reason> {
    let found = match rule {
        Rule::Or(a, b) => {
            let mut both = ways(a, domain)?;
            both.extend(ways(b, domain)?);
            both
        }
        Rule::And(a, b) => {
            let (left, right) = (ways(a, domain)?, ways(b, domain)?);
            if left.len() * right.len() > MAX_PLACES {
                return Err(Reason::TooMany);
            }
            let pairs = left.iter().flat_map(|a| right.iter().map(move |b| joined(a, b)));
            pairs.flatten().collect()
        }
        Rule::Not(inner) => vec![Way {
            reason: Some(Reason::Condition(format!("!{}", first_name(inner)))),
            ..Way::default()
        }],
        Rule::Is(name, values) => vec![matcher(name, values, domain)],
    };
    if found.len() > MAX_PLACES { Err(Reason::TooMany) } else { Ok(found) }
}

fn first_name(rule: &Rule) -> &str {
    match rule {
        Rule::And(a, _) | Rule::Or(a, _) | Rule::Not(a) => first_name(a),
        Rule::Is(name, _) => name,
    }
}

/// Both ways at once; `None`: no request can go both.
fn joined(a: &Way, b: &Way) -> Option<Way> {
    let hosts = match (&a.hosts, &b.hosts) {
        (Some(a), Some(b)) => {
            let both: Vec<String> = a.iter().filter(|host| b.contains(host)).cloned().collect();
            if both.is_empty() {
                return None;
            }
            Some(both)
        }
        (hosts, None) | (None, hosts) => hosts.clone(),
    };
    let path = match (&a.path, &b.path) {
        // The longer of two prefixes meets both.
        (Some(a), Some(b)) => Some(if a.len() >= b.len() { a.clone() } else { b.clone() }),
        (path, None) | (None, path) => path.clone(),
    };
    Some(Way { hosts, path, reason: a.reason.clone().or_else(|| b.reason.clone()) })
}

fn matcher(name: &str, values: &[String], domain: Option<&str>) -> Way {
    let shown = || format!("{name}(`{}`)", values.join("`, `"));
    let blocked = |reason| Way { reason: Some(reason), ..Way::default() };
    match name.to_ascii_lowercase().as_str() {
        "host" | "hostheader" | "hostregexp" | "hostsni" | "hostsniregexp" => {
            let hosts: Vec<Option<String>> =
                values.iter().map(|value| exact_host(value, domain)).collect();
            let known: Vec<String> = hosts.iter().flatten().cloned().collect();
            if values.iter().all(|value| value.trim().is_empty()) {
                blocked(Reason::NoHost)
            } else if known.is_empty() {
                blocked(Reason::Pattern(shown()))
            } else {
                Way { hosts: Some(known), ..Way::default() }
            }
        }
        "path" | "pathprefix" => {
            match values.iter().find(|path| is_plain_path(path)) {
                // That it holds for all paths says nothing.
                Some(path) if path.as_str() == "/" => Way::default(),
                Some(path) => Way { path: Some(path.clone()), ..Way::default() },
                None => blocked(Reason::Pattern(shown())),
            }
        }
        "pathregexp" => blocked(Reason::Pattern(shown())),
        _ => blocked(Reason::Condition(name.to_owned())),
    }
}

/// Whether a path is one that can be asked for, and no pattern.
fn is_plain_path(path: &str) -> bool {
    path.starts_with('/') && !path.contains(['{', '*', '('])
}

/// The one host that a value means: a name, a name with `{domain:.*}`, or an expression that only
/// escapes its dots.
fn exact_host(value: &str, domain: Option<&str>) -> Option<String> {
    let mut host = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(open) = rest.find('{') {
        let close = open + rest[open..].find('}')?;
        let group = rest[open + 1..close].split(':').next()?;
        host.push_str(&rest[..open]);
        // Only of this name somebody has said what it stands for.
        if !group.eq_ignore_ascii_case("domain") {
            return None;
        }
        host.push_str(domain?);
        rest = &rest[close + 1..];
    }
    host.push_str(rest);
    let host = host.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".");
    is_host(&host).then(|| host.to_ascii_lowercase())
}

/// Whether a text can be a host: a name or an address.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let address = text.trim_start_matches('[').trim_end_matches(']');
    (name.len() <= 253 && name.split('.').all(label))
        || address.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Reads a rule of version 1: `Host:a.example.org,b.example.org;PathPrefix:/x`.
///
/// # Errors
/// What is wrong with it, or why it cannot be probed.
pub fn version_1(text: &str) -> Result<Vec<Place>, Reason> {
    let (mut hosts, mut path) = (Vec::new(), String::new());
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, values)) = part.split_once(':') else {
            return Err(Reason::Wrong(format!("{part:?} is no Matcher:value")));
        };
        let mut values = values.split(',').map(str::trim).filter(|value| !value.is_empty());
        match name.trim().to_ascii_lowercase().as_str() {
            "host" => {
                for value in values {
                    match exact_host(value, None) {
                        Some(host) => hosts.push(host),
                        None => return Err(Reason::Pattern(format!("Host:{value}"))),
                    }
                }
            }
            "pathprefix" | "path" | "pathprefixstrip" | "pathstrip" => {
                path = match values.next() {
                    Some(value) if is_plain_path(value) => value.to_owned(),
                    Some(value) => {
                        return Err(Reason::Pattern(format!("{}:{value}", name.trim())));
                    }
                    None => String::new(),
                };
            }
            "addprefix" | "replacepath" => {}
            _ => return Err(Reason::Condition(name.trim().to_owned())),
        }
    }
    if hosts.is_empty() {
        return Err(Reason::NoHost);
    }
    let path = if path == "/" { String::new() } else { path };
    Ok(hosts.into_iter().map(|host| Place { host, path: path.clone() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<String>, Reason> {
        let (places, _) = places(&parse(text)?, Some("example.net"))?;
        Ok(places.into_iter().map(|place| place.host + &place.path).collect())
    }

    #[test]
    fn rules_that_lead_somewhere() {
        for (rule, expected) in [
            ("Host(`a.example.org`)", vec!["a.example.org"]),
            ("Host(`a.example.org`,`b.example.org`)", vec!["a.example.org", "b.example.org"]),
            ("HostRegexp(`grafana.{domain:.*}`)", vec!["grafana.example.net"]),
            ("HostRegexp(`^a\\.example\\.org$`)", vec!["a.example.org"]),
            ("Host(\"A.example.org\") && PathPrefix(`/api`)", vec!["a.example.org/api"]),
            ("(Host(`a`) || Host(`b`)) && PathPrefix(`/`)", vec!["a", "b"]),
            ("Host(`a`) && (PathPrefix(`/x`) || PathPrefix(`/y`))", vec!["a/x", "a/y"]),
            ("Host(`a`) || Host(`b`) && Path(`/p`)", vec!["a", "b/p"]),
            ("HostSNI(`mail.example.org`)", vec!["mail.example.org"]),
            ("Host(`a`,`b`) && Host(`b`)", vec!["b"]),
            ("Host(`a`) || Header(`X`, `1`)", vec!["a"]),
        ] {
            assert_eq!(read(rule), Ok(expected.into_iter().map(str::to_owned).collect()), "{rule}");
        }
    }

    #[test]
    fn rules_that_are_reported() {
        let pattern = |rule: &str| matches!(read(rule), Err(Reason::Pattern(_)));
        assert!(pattern("HostRegexp(`{sub:[a-z]+}.example.org`)"));
        assert!(pattern("HostRegexp(`.+\\.example\\.org`)"));
        assert!(pattern("Host(`*.example.org`)") && pattern("HostSNI(`*`)"));
        let condition = |rule: &str| matches!(read(rule), Err(Reason::Condition(_)));
        assert!(condition("Host(`a`) && Header(`X-Api-Key`, `k`)"));
        assert!(condition("Host(`a`) && !PathPrefix(`/ws`)"));
        assert!(condition("Host(`a`) && ClientIP(`127.0.0.0/8`)"));
        assert!(condition("Method(`GET`) && Host(`a`)") && condition("Query(`a`, `b`)"));
        for empty in ["PathPrefix(`/api`)", "Host()", "Host(``)"] {
            assert_eq!(read(empty), Err(Reason::NoHost), "{empty}");
        }
        assert_eq!(read("Host(`a`) && Host(`b`)"), Err(Reason::NoHost));
        let deep = format!("{}Host(`a`){}", "(".repeat(100), ")".repeat(100));
        for wrong in [
            "",
            "Host",
            "Host(`a`",
            "Host(a)",
            "Host(`a`) & Host(`b`)",
            "Host(`a`) Host(`b`)",
            "Host(`a",
            "(Host(`a`)",
            "Host$DOMAIN",
            &deep,
        ] {
            assert!(matches!(read(wrong), Err(Reason::Wrong(_))), "{wrong}");
        }
        let many = ["(PathPrefix(`/a`) || PathPrefix(`/b`))"; 12].join(" && ");
        assert_eq!(read(&many), Err(Reason::TooMany));
        let hosts: Vec<String> = (0..100).map(|n| format!("`h{n}`")).collect();
        assert_eq!(read(&format!("Host({})", hosts.join(","))), Err(Reason::TooMany));
        let long = "Host(`a`) || ".repeat(10_000) + "Host(`b`)";
        assert_eq!(read(&long), Err(Reason::Wrong("it is too long".to_owned())));
    }

    #[test]
    fn rules_of_version_1() {
        let read = |text: &str| {
            version_1(text).map(|p| p.into_iter().map(|p| p.host + &p.path).collect::<Vec<_>>())
        };
        assert_eq!(
            read("Host:a.example.org,b; PathPrefix: /x"),
            Ok(vec!["a.example.org/x".to_owned(), "b/x".to_owned()])
        );
        assert!(matches!(
            read("Host$DOMAINNAME; PathPrefixStrip: /portainer"),
            Err(Reason::Wrong(_))
        ));
        assert_eq!(read("PathPrefix:/x"), Err(Reason::NoHost));
        for path in ["x", "/{id}"] {
            let rule = format!("Host:a;PathPrefix:{path}");
            assert!(matches!(read(&rule), Err(Reason::Pattern(_))), "{rule}");
        }
        assert!(matches!(read("Host:a;Headers:X,1"), Err(Reason::Condition(_))));
    }
}
