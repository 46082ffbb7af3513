//! System calls of a collection, counted by strace over this program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use watchpost::host::source::Root;
use watchpost::signal::names::host::NETWORK_CONNECTIONS;
use watchpost::signal::series::Metric;

use crate::ours::{self, DEFAULT, MINUTE, Ours, forget};

/// What this program is when it is counted.
pub(super) const ROLE: &str = "--collect";
/// Collections of the two runs. Between them lie four hours, a minute apart.
const RUNS: [usize; 2] = [60, 300];
/// Made-up hosts of the tests that have sensors.
const HOSTS: [&str; 4] = ["rpi4", "rpi5", "x86_server", "chips"];

/// A set of metrics, by its name.
fn set(name: &str) -> Vec<&'static Metric> {
    match name {
        "default" => ours::of(&DEFAULT),
        "connections" => vec![&NETWORK_CONNECTIONS],
        other => ours::of(&[other]),
    }
}

/// Collects so many times.
pub(super) fn run(number: &str, rest: &[&str]) {
    let (set_name, root) = match rest {
        [set, folder] => {
            let folder = Path::new(folder);
            let (proc, sys) = (folder.join("proc"), folder.join("sys"));
            (*set, Root { proc, sys, prefix: None })
        }
        _ => (rest[0], Root::new(None)),
    };
    let mut ours = Ours::at(root, set(set_name), MINUTE);
    let number: usize = number.parse().unwrap();
    let samples = (0..number).map(|_| ours.collect(forget)).last().unwrap_or_default();
    println!("{samples}");
}

/// What strace counts, and the samples of the last collection; `None`: there is no strace, or it may not.
fn counted(
    number: usize,
    arguments: &[&str],
    file: &Path,
) -> Option<(BTreeMap<String, i64>, usize)> {
    let told = Command::new("strace")
        .args(["-f", "-c", "-o"])
        .arg(file)
        .arg(std::env::current_exe().unwrap())
        .args([ROLE, &number.to_string()])
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|told| told.status.success())?;
    let samples = String::from_utf8(told.stdout).ok()?.trim().parse().ok()?;
    let text = std::fs::read_to_string(file).ok()?;
    // % time, seconds, usecs/call, calls, errors or nothing, name.
    let rows = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, calls) = (*words.last()?, words.get(3)?.parse().ok()?);
        (words.len() >= 5 && name != "total").then(|| (name.to_owned(), calls))
    });
    Some((rows.collect(), samples))
}

/// Calls of one collection, by their name.
struct Column {
    name: String,
    calls: BTreeMap<String, f64>,
    samples: usize,
}

impl Column {
    fn count(name: &str, arguments: &[&str], file: &Path) -> Option<Self> {
        let (few, _) = counted(RUNS[0], arguments, file)?;
        let (many, samples) = counted(RUNS[1], arguments, file)?;
        let more = (RUNS[1] - RUNS[0]) as f64;
        let calls = many.into_iter().map(|(call, number)| {
            let before = few.get(&call).copied().unwrap_or(0);
            (call, (number - before) as f64 / more)
        });
        Some(Self { name: name.to_owned(), calls: calls.collect(), samples })
    }
}

pub(super) fn table() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("strace");
    let sets = ["default", "connections", "linux", "sockets", "processes"];
    let columns: Option<Vec<Column>> =
        sets.iter().map(|set| Column::count(set, &[set], &file)).collect();
    let Some(columns) = columns else {
        println!("strace is not there, or may not trace: left out");
        return;
    };
    println!("system calls of one collection, mean of {} a minute apart", RUNS[1] - RUNS[0]);
    print(&columns);
    let hosts: Vec<Column> = HOSTS
        .iter()
        .filter_map(|host| {
            let root = unpack(host, folder.path())?;
            Column::count(host, &["default", root.to_str()?], &file)
        })
        .collect();
    println!("the default collection of made-up hosts that have sensors (tests/cases/host)");
    print(&hosts);
}

fn print(columns: &[Column]) {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    println!("| call | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(columns.len()));
    let row = |name: &str, of: &dyn Fn(&Column) -> f64| {
        let cells: Vec<String> =
            columns.iter().map(|column| format!("{:.2}", of(column))).collect();
        println!("| {name} | {} |", cells.join(" | "));
    };
    let calls: BTreeSet<&String> = columns
        .iter()
        .flat_map(|column| column.calls.iter().filter(|(_, n)| **n > 0.005).map(|(call, _)| call))
        .collect();
    for call in calls {
        row(call, &|column| column.calls.get(call).copied().unwrap_or(0.0));
    }
    row("all", &|column| column.calls.values().sum());
    row("samples", &|column| column.samples as f64);
}

/// Lays a made-up host out as files. The format is told in `tests/cases/host/README.md`.
fn unpack(host: &str, below: &Path) -> Option<PathBuf> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/host");
    let text = std::fs::read(cases.join(format!("{host}.tree"))).ok()?;
    let root = below.join(host);
    let mut file: Option<(PathBuf, Vec<u8>)> = None;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let Some(entry) = line.strip_prefix(b"@ ") else {
            if let Some((_, content)) = &mut file {
                content.extend_from_slice(line);
            }
            continue;
        };
        if let Some((path, content)) = file.take() {
            std::fs::write(path, content).ok()?;
        }
        let entry = std::str::from_utf8(entry).ok()?.trim_end_matches('\n');
        let (path, target) = entry.split_once(" -> ").map_or((entry, None), |(p, t)| (p, Some(t)));
        let full = root.join(path);
        std::fs::create_dir_all(full.parent()?).ok()?;
        match target {
            Some(target) => std::os::unix::fs::symlink(target, full).ok()?,
            None if path.ends_with('/') => std::fs::create_dir_all(full).ok()?,
            None => file = Some((full, Vec::new())),
        }
    }
    if let Some((path, content)) = file {
        std::fs::write(path, content).ok()?;
    }
    Some(root)
}
