//! What discovery makes of the compose files of real users: the figures, as `docs/DISCOVERY.md` has
//! them, and what must hold for each file and service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{self, Settings};
use watchpost_discovery::project::Loader;
use watchpost_discovery::service::Service;
use watchpost_discovery::{dialects, find};

/// How the report begins, below what is written by hand.
pub(crate) const BEGIN: &str = "## What discovery finds\n\n";

/// Reasons that are shown of each repository, and of all together.
const SHOWN: [usize; 2] = [3, 40];

/// What was found in a repository.
#[derive(Default)]
struct Row {
    files: usize,
    problems: Vec<String>,
    services: usize,
    labelled: usize,
    labelled_found: usize,
    found: usize,
    targets: usize,
    reasons: BTreeMap<String, usize>,
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.files += other.files;
        self.problems.extend(other.problems.iter().cloned());
        self.services += other.services;
        self.labelled += other.labelled;
        self.labelled_found += other.labelled_found;
        self.found += other.found;
        self.targets += other.targets;
        for (reason, count) in &other.reasons {
            *self.reasons.entry(reason.clone()).or_default() += count;
        }
    }

    fn line(&self, name: &str) -> String {
        let top: Vec<String> =
            top(&self.reasons, SHOWN[0]).map(|(reason, n)| format!("{n}× {reason}")).collect();
        let Row { files, services, labelled, labelled_found, found, targets, .. } = self;
        format!(
            "| {name} | {files} | {} | {services} | {labelled} | {labelled_found} | {found} | {targets} | {} |\n",
            self.problems.len(),
            top.join("; ").replace('|', "\\|")
        )
    }
}

fn top(reasons: &BTreeMap<String, usize>, most: usize) -> impl Iterator<Item = (&String, &usize)> {
    let mut sorted: Vec<_> = reasons.iter().collect();
    sorted.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), (*reason).clone()));
    sorted.into_iter().take(most)
}

/// Variables that the users of these files keep in files that they do not publish: the names of their
/// domains, of which there is one in the rules of three files out of four.
fn environment() -> Variables {
    let domains = [
        "DOMAIN",
        "DOMAINNAME",
        "DOMAINNAME_CLOUD_SERVER",
        "DOMAINNAME_HOME_SYNOLOGY",
        "DOMAINNAME_HS",
        "DOMAINNAME_KHUB",
        "DOMAINNAME_WS",
    ];
    domains.iter().map(|name| ((*name).to_owned(), "example.net".to_owned())).collect()
}

/// Whether somebody has written an address for a reverse proxy, a start page or a monitor.
fn is_labelled(service: &Service) -> bool {
    let label = |name: &String| {
        let traefik = name.starts_with("traefik.") && name.ends_with("rule");
        let caddy = name.strip_prefix("caddy").is_some_and(|rest| {
            rest.is_empty()
                || rest.strip_prefix('_').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
        });
        let others = ["homepage.href", "watchpost.address"];
        traefik || caddy || name.starts_with("kuma.") || others.contains(&name.as_str())
    };
    service.labels.keys().any(label)
        || service.environment.keys().any(|name| name.starts_with("VIRTUAL_HOST"))
}

/// A reason without what is only of this one service: what stands in quotes and behind names.
fn general(reason: &str) -> String {
    let reason = match reason.strip_prefix("router ").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => format!("router: {rest}"),
        None => reason.to_owned(),
    };
    match reason.strip_prefix("kuma.").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => format!("kuma: {rest}"),
        None => reason,
    }
}

/// YAML files with services whose names do not tell it: a user would name them in `paths`.
fn unnamed(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            unnamed(&path, files);
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy();
        if (name.ends_with(".yml") || name.ends_with(".yaml")) && !find::is_compose(&name) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if text.lines().any(|line| line.starts_with("services:")) {
                files.push(path);
            }
        }
    }
}

/// Reads a repository as a job does, and asserts what holds for each of its files and services.
fn repository(root: &Path) -> Row {
    let mut paths = Vec::new();
    unnamed(root, &mut paths);
    paths.push(root.to_owned());
    let mut settings = Settings::new(paths);
    settings.domain = Some("example.net".to_owned());
    settings.ports_host = "host".to_owned();
    let environment = environment();
    settings.limits.environment = environment.keys().cloned().collect();
    let report = job::compose(&settings, &environment);
    assert_eq!(
        format!("{:?}", job::compose(&settings, &environment)),
        format!("{report:?}"),
        "the same again"
    );

    let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    let mut row = Row { targets: report.targets.len(), ..Row::default() };
    for problem in &report.problems {
        assert!(!problem.message.is_empty(), "{problem:?}");
        let message = problem.message.replace(&format!("{}/", root.display()), "");
        row.problems.push(format!("{}:{}: {message}", relative(&problem.file), problem.line));
    }
    let found = find::find(&settings.paths);
    row.files = found.compose.len();
    let mut loader = Loader::new(&environment);
    let projects = loader.load(&found);
    let read: BTreeSet<PathBuf> = projects.iter().flat_map(|p| p.files.iter().cloned()).collect();
    for file in &found.compose {
        let told = report.problems.iter().any(|problem| problem.file == *file)
            || loader.passed_over.iter().any(|(passed, _)| passed == file);
        assert!(told || read.contains(&file.canonicalize().unwrap()), "{}", file.display());
    }
    for project in &projects {
        for service in project.services.values() {
            row.services += 1;
            let (targets, skipped) = dialects::find(service, &settings);
            assert!(!targets.is_empty() || !skipped.is_empty(), "{service:?}");
            row.found += usize::from(!targets.is_empty());
            row.labelled += usize::from(is_labelled(service));
            row.labelled_found += usize::from(is_labelled(service) && !targets.is_empty());
            for skipped in skipped {
                assert!(!skipped.reason.is_empty() && !skipped.file.is_empty(), "{skipped:?}");
                *row.reasons.entry(general(&skipped.reason)).or_default() += 1;
                if std::env::var_os("VERBOSE").is_some() && is_labelled(service) {
                    println!(
                        "{}:{}: {}: {}",
                        skipped.file, skipped.line, skipped.service, skipped.reason
                    );
                }
            }
        }
    }
    assert_eq!((report.services, report.services_found), (row.services, row.found));
    row
}

/// The report over all repositories of a folder.
pub(crate) fn report(corpus: &Path) -> String {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(corpus).unwrap().flatten().map(|entry| entry.path()).collect();
    folders.sort();
    let mut rows: Vec<(String, Row)> = Vec::new();
    for folder in folders.iter().filter(|folder| folder.is_dir()) {
        let name = folder.file_name().unwrap().to_string_lossy().replacen('+', "/", 1);
        rows.push((name, repository(folder)));
    }
    let mut all = Row::default();
    rows.iter().for_each(|(_, row)| all.add(row));
    let mut text = format!(
        "{BEGIN}Compose files of {} public repositories, read by a job with `domain: example.net` and \
         without `ports: true`. Most of them keep the names of their domains in a `.env` file that they do not publish; \
         these variables are set to `example.net`: {}. Nothing else is set.\n\n\
         Made by `UPDATE=1 cargo test --profile ci -p watchpost-discovery --test corpus` where the files are at hand \
         (`WATCHPOST_INPUTS`).\n\n\
         * files: those whose names tell it, and others with `services:` as if the user had named them; templates (`.j2`) are not \
         read. Problems: files that cannot be read, wholly or in part.\n\
         * labelled: services with a rule of traefik, a site of caddy, `VIRTUAL_HOST`, `homepage.href`, `kuma.*` or \
         `watchpost.address`; and how many of them yield a target.\n\
         * targets: each address once, also those of traefik's own files.\n\n\
         | repository | files | problems | services | labelled | of these found | found | targets | most frequent reasons |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        rows.len(),
        environment().keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    );
    for (name, row) in &rows {
        text.push_str(&row.line(name));
    }
    let total = Row { reasons: BTreeMap::new(), ..all };
    text.push_str(&total.line("all"));
    text.push_str("\n### Why others are no targets\n\n| services | reason |\n|---|---|\n");
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for (reason, count) in rows.iter().flat_map(|(_, row)| &row.reasons) {
        *reasons.entry(reason.clone()).or_default() += count;
    }
    for (reason, count) in top(&reasons, SHOWN[1]) {
        let _ = writeln!(text, "| {count} | {} |", reason.replace('|', "\\|"));
    }
    text.push_str("\n### Files that cannot be read, wholly or in part\n\n");
    for (name, row) in &rows {
        let mut shown: Vec<(String, usize)> = Vec::new();
        for problem in &row.problems {
            // A variable that is not set is told for each line that names it.
            let file = problem.split(':').next().unwrap_or_default();
            let unset = problem.rsplit_once(": the variable ").map(|(_, rest)| rest);
            match (shown.last_mut(), unset) {
                (Some((last, count)), Some(unset))
                    if last.starts_with(&format!("{file}:")) && last.ends_with(unset) =>
                {
                    *count += 1;
                }
                _ => shown.push((problem.clone(), 0)),
            }
        }
        for (problem, more) in shown {
            let more = if more > 0 { format!(" ({more} more such lines)") } else { String::new() };
            let _ = writeln!(text, "* {name}: {problem}{more}");
        }
    }
    let root = corpus.display().to_string();
    assert!(!text.contains(&root), "the report names no folder of this machine");
    text
}
