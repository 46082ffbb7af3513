//! Names for people of addresses that a sweep has found. A name is never who somebody is: that is the
//! address. The first that knows one wins: what the user has written, leases of the DHCP server, the
//! hosts file; the resolver is asked by others, for the rest.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::find;

/// Where dnsmasq keeps its leases, by distribution.
pub const LEASES: [&str; 4] = [
    "/var/lib/misc/dnsmasq.leases",
    "/var/lib/dnsmasq/dnsmasq.leases",
    "/tmp/dhcp.leases",
    "/etc/pihole/dhcp.leases",
];
/// Names of this machine's own resolver.
pub const HOSTS: &str = "/etc/hosts";
/// The longest name, in bytes: what is longer is no name.
const MAX_NAME: usize = 253;

/// Who says a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Somebody has written it into the target file.
    File,
    /// A lease of the DHCP server.
    Dhcp,
    /// The hosts file.
    Hosts,
    /// The resolver.
    Dns,
}

impl Source {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Dhcp => "dhcp",
            Source::Hosts => "hosts",
            Source::Dns => "dns",
        }
    }
}

/// A name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Who says so.
    pub source: Source,
}

/// Where names are written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Leases of dnsmasq; those of [`LEASES`] that are there when none is named.
    pub leases: Vec<PathBuf>,
    /// The hosts file; `None`: [`HOSTS`].
    pub hosts: Option<PathBuf>,
}

/// Names that are written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    names: BTreeMap<IpAddr, Name>,
}

impl Names {
    /// Reads them. `own`: what the user has written. Returns what could not be read, too, but for
    /// files that nobody has named.
    #[must_use]
    pub fn read(files: &Files, own: &BTreeMap<IpAddr, String>) -> (Self, Vec<(PathBuf, String)>) {
        let mut names = Self::default();
        for (address, text) in own {
            names.add(*address, text, Source::File);
        }
        let mut problems = Vec::new();
        let usual: Vec<PathBuf> = LEASES.iter().map(PathBuf::from).collect();
        let leases = if files.leases.is_empty() { &usual } else { &files.leases };
        let hosts = files.hosts.clone().unwrap_or_else(|| HOSTS.into());
        let mut read = |path: &Path, named: bool| match find::read_lossy(path) {
            Ok(text) => text,
            Err(why) => {
                if named {
                    problems.push((path.to_owned(), why));
                }
                String::new()
            }
        };
        for path in leases {
            names.leases(&read(path, !files.leases.is_empty()));
        }
        names.hosts(&read(&hosts, files.hosts.is_some()));
        (names, problems)
    }

    /// The name of an address.
    #[must_use]
    pub fn known(&self, address: IpAddr) -> Option<Name> {
        self.names.get(&address).cloned()
    }

    /// Adds a name, unless there is one.
    fn add(&mut self, address: IpAddr, text: &str, source: Source) {
        if let Some(text) = tidy(text) {
            self.names.entry(address).or_insert(Name { text, source });
        }
    }

    /// `EXPIRY MAC ADDRESS NAME CLIENT`, where a name may be `*`.
    fn leases(&mut self, text: &str) {
        for line in text.lines() {
            let mut fields = line.split_whitespace().skip(2);
            if let (Some(address), Some(name)) = (fields.next(), fields.next())
                && let Ok(address) = address.trim_matches(['[', ']']).parse()
                && name != "*"
            {
                self.add(address, name, Source::Dhcp);
            }
        }
    }

    /// `ADDRESS NAME [ALIAS...]`. Names of this machine's loopback are nobody's on a network.
    fn hosts(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut fields = line.split_whitespace();
            if let (Some(address), Some(name)) = (fields.next(), fields.next())
                && let Ok(address) = address.parse::<IpAddr>()
                && !address.is_loopback()
            {
                self.add(address, name, Source::Hosts);
            }
        }
    }
}

/// A name as it can stand in a target file: without the dot at its end, and without what would part a
/// line. What is no name is none.
#[must_use]
pub fn tidy(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('.');
    // Neither what parts a line, nor what turns a text around, nor the escapes of name servers.
    let turns = |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let bad = |c: char| c.is_control() || turns(c) || c == ';' || c == '\\';
    (!text.is_empty() && text != "-" && text.len() <= MAX_NAME && !text.contains(bad))
        .then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_knows_wins() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let leases = put(
            "dnsmasq.leases",
            "1700000000 02:00:00:00:00:05 192.168.2.5 phone 01:02\n\
             1700000000 02:00:00:00:00:06 192.168.2.6 * *\n\
             0 06-02:00:00:00:00:07 192.168.2.7 tv *\n\
             duid 00:01:00:01\n1700000000 123 fd00::5 phone6 00:01\nbroken\n",
        );
        let hosts = put(
            "hosts",
            "127.0.0.1 localhost\n127.0.1.1 me\n192.168.2.5 other\n192.168.2.8 nas.home. nas # a comment\n#192.168.2.9 no\n",
        );
        let own = BTreeMap::from([([192, 168, 2, 7].into(), "Fernseher".to_owned())]);
        let files = Files { leases: vec![leases], hosts: Some(hosts) };
        let (names, problems) = Names::read(&files, &own);
        assert_eq!(problems, []);
        let of = |text: &str| {
            let name = names.known(text.parse().expect("an address"));
            name.map(|name| format!("{} {}", name.text, name.source.word()))
        };
        for (address, name) in [
            ("192.168.2.5", Some("phone dhcp")),
            ("192.168.2.6", None),
            ("192.168.2.7", Some("Fernseher file")),
            ("192.168.2.8", Some("nas.home hosts")),
            ("192.168.2.9", None),
            ("127.0.0.1", None),
            ("fd00::5", Some("phone6 dhcp")),
        ] {
            assert_eq!(of(address).as_deref(), name, "{address}");
        }
        let files = Files { leases: vec![folder.path().join("gone")], hosts: None };
        assert_eq!(Names::read(&files, &own).1.len(), 1, "a file that is named and not there");
    }

    #[test]
    fn what_is_no_name() {
        for (text, name) in [
            ("nas.home.", Some("nas.home")),
            (" a b ", Some("a b")),
            ("-", None),
            ("", None),
            (".", None),
            ("a;b", None),
            ("a\nb", None),
            ("a\\032b", None),
            ("abc\u{202e}gpj", None),
        ] {
            assert_eq!(tidy(text).as_deref(), name, "{text:?}");
        }
        assert_eq!(tidy(&"x".repeat(300)), None);
    }
}
