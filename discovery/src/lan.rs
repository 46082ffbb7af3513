//! What a sweep becomes in a target file: a row for each host that is there, and for a while for those
//! that were. Names that stand in the file already stay; a host that is gone gets the date on which it
//! was seen last, as a comment of its row, so that the file changes only when somebody comes or goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use jiff::civil::Date;
use watchpost_targets::label::{HUMAN_NAME, LAST_SEEN_HINT};
use watchpost_targets::{Labels, Origin, Target, file};

use crate::names::Files;
use crate::output::{self, Output, Refused};
use crate::sweep::{self, Found};

/// How a comment begins that says in a file of lines what [`LAST_SEEN_HINT`] says elsewhere.
const COMMENT: &str = "# last seen ";
/// More hosts than this do not vanish all at once.
const MANY: usize = 5;

/// What a job sweeps, and what it makes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The sweep.
    pub sweep: sweep::Settings,
    /// Where names are written down.
    pub names: Files,
    /// Whether the resolver is asked for others.
    pub dns: bool,
    /// Labels of all targets.
    pub labels: Labels,
    /// How long a host that is gone stays in the file.
    pub grace: Duration,
}

/// What stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Names of addresses, wherever they stand.
    pub names: BTreeMap<IpAddr, String>,
    /// The job's own rows: when each was seen last, when it is not there any more.
    pub rows: BTreeMap<IpAddr, Option<Date>>,
}

/// Reads what stands in the file.
///
/// # Errors
/// Why it cannot be read.
pub fn before(output: &Output, old: Option<&str>) -> Result<Before, Refused> {
    let Some(old) = old else { return Ok(Before::default()) };
    let broken = |why: String| Refused::Broken(output.file.clone(), why);
    let read = |text: &str| {
        let content = file::parse(text, &output.file).map_err(|error| broken(error.to_string()))?;
        let found = content.targets.into_iter();
        Ok(found.filter_map(|target| Some((target.address.parse().ok()?, target))))
    };
    let (head, below) = output::split(output, Some(old))?;
    let below = below.unwrap_or_default();
    let written: BTreeMap<IpAddr, Date> = below.lines().filter_map(comment).collect();
    let mut before = Before::default();
    let kept: BTreeSet<IpAddr> = match output.keep_until {
        Some(_) => read(&head)?.map(|(address, _)| address).collect(),
        None => BTreeSet::new(),
    };
    for (address, target) in read(old)? {
        if let Some(name) = target.labels.get(HUMAN_NAME) {
            before.names.entry(address).or_insert_with(|| name.clone());
        }
        if !kept.contains(&address) {
            let hint = target.hints.get(LAST_SEEN_HINT).and_then(|date| date.parse().ok());
            let seen = written.get(&address).copied().or(hint);
            before.rows.entry(address).or_insert(seen);
        }
    }
    Ok(before)
}

/// The addresses of rows that say when their host was seen last.
pub(crate) fn leaving(below: &str) -> BTreeSet<String> {
    below.lines().filter_map(comment).map(|(address, _)| address.to_string()).collect()
}

/// `- 192.168.2.12;pve;lan # last seen 2026-11-21`.
fn comment(line: &str) -> Option<(IpAddr, Date)> {
    // A name may have the same words in it.
    let (row, date) = line.rsplit_once(COMMENT)?;
    let row = row.trim().trim_start_matches("- ").trim_matches(['"', '\'', ' ']);
    let address = row.split(';').next()?.trim().parse().ok()?;
    Some((address, date.trim().parse().ok()?))
}

/// The targets of a file: those who are there, and those who were within the time of grace.
///
/// # Errors
/// When everybody has vanished at once, which says more of this machine than of them.
pub fn targets(
    settings: &Settings,
    before: &Before,
    found: &[Found],
    today: Date,
    force: bool,
) -> Result<Vec<Target>, String> {
    let there: BTreeMap<IpAddr, &Found> = found
        .iter()
        .filter(|found| found.host.by.is_some())
        // An address that means something on one link only is no address for a file.
        .filter(|found| !matches!(found.host.address, IpAddr::V6(ip) if ip.is_unicast_link_local()))
        .map(|found| (found.host.address, found))
        .collect();
    let others = there.values().filter(|found| !found.host.own).count();
    let seen = before.rows.values().filter(|gone| gone.is_none()).count();
    if others == 0 && seen > MANY && !force {
        return Err(format!("nobody answers, and {seen} did: nothing is written without --force"));
    }
    let row = |address: IpAddr, name: Option<String>, gone: Option<Date>| {
        let mut labels = settings.labels.clone();
        labels.extend(name.map(|name| (HUMAN_NAME.to_owned(), name)));
        let hints = gone.map(|date| (LAST_SEEN_HINT.to_owned(), date.to_string()));
        Target {
            address: address.to_string(),
            labels,
            hints: hints.into_iter().collect(),
            origin: Origin { file: "sweep".into(), line: 0 },
        }
    };
    let here = there.iter().map(|(address, found)| {
        (*address, row(*address, found.name.as_ref().map(|name| name.text.clone()), None))
    });
    let days = i64::try_from(settings.grace.as_secs().div_ceil(86_400)).unwrap_or(i64::MAX);
    let gone = before.rows.iter().filter(|(address, _)| !there.contains_key(*address));
    let unasked: BTreeSet<IpAddr> =
        found.iter().filter(|one| !one.host.asked).map(|one| one.host.address).collect();
    let gone = gone.filter_map(|(address, date)| {
        let name = before.names.get(address).cloned();
        if unasked.contains(address) {
            // Nothing is known of it now.
            return Some((*address, row(*address, name, *date)));
        }
        // A clock that was wrong once keeps nobody for ever.
        let date = date.unwrap_or(today).min(today);
        let age = i64::from(date.until(today).ok()?.get_days());
        (age <= days && days > 0).then(|| (*address, row(*address, name, Some(date))))
    });
    let all: BTreeMap<IpAddr, Target> = here.chain(gone).collect();
    Ok(all.into_values().collect())
}

/// What stands behind a row.
pub(crate) fn remark(target: &Target) -> String {
    target.hints.get(LAST_SEEN_HINT).map_or_else(String::new, |date| format!("  {COMMENT}{date}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{Name, Source};
    use crate::output::{Format, Trust, render};
    use crate::sweep::range::Range;
    use crate::sweep::{By, Host};

    fn settings() -> Settings {
        Settings {
            sweep: sweep::Settings::new(vec![Range::parse("10.0.0.0/24").expect("a range")]),
            names: Files::default(),
            dns: false,
            labels: [("routing".to_owned(), "lan".to_owned())].into(),
            grace: Duration::from_secs(7 * 86_400),
        }
    }

    fn found(number: u8, name: Option<&str>, own: bool) -> Found {
        let host = Host {
            address: [10, 0, 0, number].into(),
            scope: 0,
            by: Some(By::Icmp),
            asked: true,
            pinged: true,
            heard: None,
            own,
            rtt: None,
            mac: None,
            ports: Vec::new(),
        };
        let name = name.map(|text| Name { text: text.to_owned(), source: Source::Dns });
        Found { host, name }
    }

    fn output(keep_until: Option<&str>, format: Format) -> Output {
        Output { file: "ping-lan.yaml".into(), keep_until: keep_until.map(str::to_owned), format }
    }

    /// One run after another: what is there on each day, and the file after it.
    fn run(output: &Output, old: Option<&str>, there: &[Found], today: &str) -> String {
        let before = before(output, old).expect("a file");
        // As the sweep does: what stands in the file wins.
        let there: Vec<Found> = there
            .iter()
            .cloned()
            .map(|mut found| {
                if let Some(text) = before.names.get(&found.host.address) {
                    found.name = Some(Name { text: text.clone(), source: Source::File });
                }
                found
            })
            .collect();
        let today = today.parse().expect("a date");
        let targets = targets(&settings(), &before, &there, today, false).expect("targets");
        render(output, old, &targets, Trust::Whole).expect("a file").with_names().text
    }

    #[test]
    fn hosts_come_go_and_are_forgotten() {
        let output = output(Some("# FOUND"), Format::default());
        let head = "- targets:  # url;humanname;network\n  - 10.0.0.1;router;lan\n  # FOUND\n";
        let all = [
            found(1, None, false),
            found(9, Some("nas"), false),
            found(10, None, false),
            found(2, None, true),
        ];
        let first = run(&output, Some(head), &all, "2026-11-01");
        let rows = "  - 10.0.0.2;-;lan\n  - 10.0.0.9;nas;lan\n  - 10.0.0.10;-;lan\n";
        assert_eq!(first, format!("{head}{rows}"), "in natural order, without what stands above");
        assert_eq!(run(&output, Some(&first), &all, "2026-11-02"), first, "nothing changes");
        // One is gone: the date of the run that misses it first stays.
        let gone = run(
            &output,
            Some(&first),
            &[all[0].clone(), all[2].clone(), all[3].clone()],
            "2026-11-03",
        );
        assert!(gone.contains("  - 10.0.0.9;nas;lan  # last seen 2026-11-03\n"), "{gone}");
        let later = run(
            &output,
            Some(&gone),
            &[all[0].clone(), all[2].clone(), all[3].clone()],
            "2026-11-10",
        );
        assert_eq!(later, gone, "within a week");
        // It comes back, with its name, whatever the resolver says now.
        let back = run(
            &output,
            Some(&gone),
            &[found(9, Some("other"), false), all[2].clone(), all[3].clone()],
            "2026-11-09",
        );
        assert!(back.contains("  - 10.0.0.9;nas;lan\n"), "{back}");
        let forgotten = run(
            &output,
            Some(&gone),
            &[all[0].clone(), all[2].clone(), all[3].clone()],
            "2026-11-11",
        );
        assert!(!forgotten.contains("10.0.0.9"), "{forgotten}");
    }

    #[test]
    fn names_written_by_hand_stay() {
        let output = output(None, Format::default());
        let all = [found(9, Some("dhcp-9"), false), found(10, Some("tv"), false)];
        let first = run(&output, None, &all, "2026-11-01");
        let edited = first.replace("dhcp-9", "\u{c4}pfel & B\u{e4}ume");
        assert_ne!(first, edited);
        assert_eq!(run(&output, Some(&edited), &all, "2026-11-02"), edited);
        assert!(edited.starts_with("# Written by watchpost discover: names stay,"), "{edited}");
        // Also while it is gone.
        let gone = run(&output, Some(&edited), &all[1..], "2026-11-03");
        assert!(gone.contains("\u{c4}pfel") && gone.contains("last seen"), "{gone}");
    }

    #[test]
    fn file_sd_says_it_with_a_hint() {
        let output = output(None, Format::FileSd);
        let all = [found(9, Some("nas"), false), found(10, None, false)];
        let first = run(&output, None, &all, "2026-11-01");
        let gone = run(&output, Some(&first), &all[1..], "2026-11-03");
        assert!(gone.contains("__meta_last_seen") && gone.contains("2026-11-03"), "{gone}");
        assert_eq!(run(&output, Some(&gone), &all[1..], "2026-11-05"), gone);
        assert_eq!(run(&output, Some(&gone), &all, "2026-11-05"), first);
        assert!(!run(&output, Some(&gone), &all[1..], "2026-11-20").contains("nas"));
    }

    #[test]
    fn who_could_not_be_asked_is_not_gone() {
        let rows = BTreeMap::from([([10, 0, 0, 1].into(), None), ([10, 0, 0, 2].into(), None)]);
        let old = Before { rows, ..Before::default() };
        let mut unasked = found(1, None, false);
        (unasked.host.by, unasked.host.asked) = (None, false);
        let today = "2026-11-21".parse().expect("a date");
        let all = targets(&settings(), &old, &[unasked], today, false).expect("targets");
        let told: Vec<String> = all.iter().map(|t| format!("{}{}", t.address, remark(t))).collect();
        assert_eq!(told, ["10.0.0.1", "10.0.0.2  # last seen 2026-11-21"]);
    }

    #[test]
    fn not_everybody_vanishes_at_once() {
        let old = Before {
            rows: (1..=6).map(|n| ([10, 0, 0, n].into(), None)).collect(),
            ..Before::default()
        };
        let today = "2026-11-21".parse().expect("a date");
        let only_me = [found(200, None, true)];
        let why = targets(&settings(), &old, &only_me, today, false).expect_err("refused");
        assert!(why.contains("nobody answers, and 6 did"), "{why}");
        assert_eq!(targets(&settings(), &old, &only_me, today, true).expect("forced").len(), 7);
    }
}
