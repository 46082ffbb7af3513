//! Subnets among the targets of a receiver: each stands for its addresses, and rows of target files
//! name them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use watchpost_discovery::sweep::range::Range;
use watchpost_targets::label::HUMAN_NAME;
use watchpost_targets::{Labels, Target};

use crate::config::plan::Inline;

/// Addresses of one subnet at most: a /22. The kernel's table of neighbours has room for 1,024.
const MAX_ADDRESSES: u64 = 1_022;

/// An address of a subnet.
#[derive(Debug)]
pub(super) struct Member {
    /// The target: its address alone, with the labels and hints of its subnet.
    pub(super) inline: Inline,
    /// The subnet.
    pub(super) group: String,
    /// Its name, by a row of a target file.
    pub(super) name: Option<String>,
    /// Whether there is such a row: somebody has seen it, or expects it.
    pub(super) expected: bool,
}

/// The subnet that an address is, if it is one.
///
/// # Errors
/// Why it cannot be watched.
pub(super) fn subnet(target: &Target) -> Option<Result<Range, String>> {
    let (network, length) = target.address.split_once('/')?;
    network.parse::<IpAddr>().ok().filter(|_| !length.is_empty())?;
    let read = Range::parse(&target.address).and_then(|range| match range.count() {
        0 => Err(format!("{range}: a subnet of IPv6 has too many addresses to watch")),
        count if count > MAX_ADDRESSES => {
            Err(format!("{range} has more than {MAX_ADDRESSES} addresses: name smaller ones"))
        }
        _ if target.labels.contains_key(HUMAN_NAME) => Err(format!(
            "{range}: a subnet has no name; its addresses have, by rows of target files"
        )),
        _ => Ok(range),
    });
    Some(read)
}

/// Takes subnets out of what a receiver was given, with the rows of files that name their addresses;
/// returns their addresses, each once. `files`: where the targets of files begin; `labels`: those of the
/// receiver.
pub(super) fn members(
    found: &mut Vec<Inline>,
    files: usize,
    labels: &Labels,
    problems: &mut Vec<String>,
) -> Vec<Member> {
    let mut ranges: Vec<(Range, Inline)> = Vec::new();
    let mut begin = files;
    let mut at = 0;
    found.retain(|inline| {
        at += 1;
        match subnet(&inline.target) {
            None => true,
            Some(read) => {
                begin -= usize::from(at <= files);
                match read {
                    Ok(range) => ranges.push((range, inline.clone())),
                    Err(why) => problems.push(format!("{}: {why}", inline.target.origin)),
                }
                false
            }
        }
    });
    if ranges.is_empty() {
        return Vec::new();
    }
    let mut all: BTreeMap<IpAddr, Member> = BTreeMap::new();
    for (range, inline) in ranges {
        for address in range.addresses() {
            all.entry(address).or_insert_with(|| {
                let mut inline = inline.clone();
                inline.target.address = address.to_string();
                Member { inline, group: range.to_string(), name: None, expected: false }
            });
        }
    }
    // A row that says how its address is to be probed is a target of its own.
    let names = |target: &Target| target.hints.keys().all(|hint| hint.starts_with("__meta"));
    let mut labelled: Vec<String> = Vec::new();
    let mut at = 0;
    found.retain(|inline| {
        at += 1;
        let target = &inline.target;
        let member = target.address.parse().ok().and_then(|address: IpAddr| all.get_mut(&address));
        match member.filter(|_| at > begin && names(target)) {
            Some(member) => {
                member.expected = true;
                let known = &member.inline.target.labels;
                let own = |(label, value): (&String, &String)| {
                    label != HUMAN_NAME
                        && ![known, labels].iter().any(|l| l.get(label) == Some(value))
                };
                if target.labels.iter().any(own) {
                    labelled.push(target.origin.to_string());
                }
                let name = target.labels.get(HUMAN_NAME);
                member.name = member.name.take().or_else(|| name.cloned());
                false
            }
            None => true,
        }
    });
    if let Some(first) = labelled.first() {
        let count = labelled.len();
        problems.push(format!(
            "{first}: {count} rows name addresses of a subnet, and have labels that are not used: those of the subnet and of its receiver are"
        ));
    }
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use watchpost_targets::{Origin, parse_line};

    fn inline(line: &str) -> Inline {
        let origin = Origin { file: "a.yaml".into(), line: 1 };
        let target = parse_line(line, &Labels::new(), origin).unwrap();
        Inline { target, module: None }
    }

    #[test]
    fn a_subnet_and_the_rows_that_name_it() {
        let mut found: Vec<Inline> = [
            "10.0.0.0/29;;lan",
            "10.0.0.2;Router;internal",
            // From here on rows of a file.
            "10.0.0.3;nas;lan",
            "10.0.0.4;-;lan",
            "10.0.0.5;tv;lan;;tcp",
            "10.0.0.77;far;lan",
            "http://10.0.0.3/;web;lan",
        ]
        .map(inline)
        .into();
        let mut problems = Vec::new();
        let lan = Labels::from([("routing".to_owned(), "lan".to_owned())]);
        let all = members(&mut found.clone(), 2, &lan, &mut problems);
        assert_eq!((all.len(), &problems[..]), (6, &[][..]));
        // What a row says besides its name is not used, which is told once.
        let all = members(&mut found, 2, &Labels::new(), &mut problems);
        assert!(problems.is_empty(), "the subnet's own line says lan, too: {problems:?}");
        let told: Vec<String> = all
            .iter()
            .map(|m| {
                let name = m.name.as_deref().unwrap_or("-");
                format!("{} {name} {}", m.inline.target.address, m.expected)
            })
            .collect();
        let expected = [
            "10.0.0.1 - false",
            "10.0.0.2 - false",
            "10.0.0.3 nas true",
            "10.0.0.4 - true",
            "10.0.0.5 - false",
            "10.0.0.6 - false",
        ];
        assert_eq!(told, expected);
        assert!(all.iter().all(|m| m.inline.target.labels["routing"] == "lan"));
        let left: Vec<&str> = found.iter().map(|inline| &*inline.target.address).collect();
        assert_eq!(left, ["10.0.0.2", "10.0.0.5", "10.0.0.77", "http://10.0.0.3/"]);
    }

    #[test]
    fn labels_of_rows_are_told_once() {
        let mut found: Vec<Inline> =
            ["10.0.0.0/29", "10.0.0.2;a;lan", "10.0.0.3;b;wifi"].map(inline).into();
        let mut problems = Vec::new();
        let lan = Labels::from([("routing".to_owned(), "lan".to_owned())]);
        members(&mut found, 1, &lan, &mut problems);
        assert!(problems.len() == 1 && problems[0].contains("1 rows name"), "{problems:?}");
    }

    #[test]
    fn what_is_no_subnet_to_watch() {
        for (line, why) in [
            ("10.0.0.0/8", "more than 1022 addresses"),
            ("fd00::/64", "too many addresses"),
            ("10.0.0.0/33", "is no subnet"),
            ("10.0.0.0/24;LAN", "a subnet has no name"),
        ] {
            let mut problems = Vec::new();
            assert!(members(&mut vec![inline(line)], 1, &Labels::new(), &mut problems).is_empty());
            assert!(problems.len() == 1 && problems[0].contains(why), "{problems:?}");
        }
        assert!(subnet(&inline("http://10.0.0.0/24").target).is_none());
        assert!(subnet(&inline("host/24").target).is_none());
        assert_eq!(subnet(&inline("10.0.0.7/32").target).map(|r| r.is_ok()), Some(true));
    }
}
