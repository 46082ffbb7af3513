//! Configurations that are wrong, and what is said of them: every problem with its place and its
//! words, and nothing else. `UPDATE=1` writes the expected texts anew; read the difference then.
//!
//! Comments at the begin of a case say what comes with it: `# sets: KEY=VALUE` (as `--set` has it),
//! `# also: FILE` (a further configuration, laid over the case) and `# env: NAME=VALUE`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use watchpost::base::place::Severity;
use watchpost::config::{Environment, Sources, Strictness, load};

/// So many ways to be wrong are held, at least.
const WRONG: usize = 50;

struct Case {
    name: String,
    /// Where the expected lines stand.
    expected: PathBuf,
    /// The problems, a line for each.
    found: String,
    errors: usize,
    runs: bool,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name)
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

fn case(folder: &Path, path: &Path) -> Case {
    let text = fs::read_to_string(path).unwrap();
    let mut sources = Sources::file(path);
    let mut environment = Environment::new();
    for line in text.lines().map_while(|line| line.strip_prefix("# ")) {
        match line.split_once(": ") {
            Some(("sets", set)) => sources.sets.push(set.to_owned()),
            Some(("also", also)) if also.contains(':') => sources.configs.push(also.to_owned()),
            Some(("also", also)) => sources.configs.push(folder.join(also).display().to_string()),
            Some(("env", pair)) => {
                let (name, value) = pair.split_once('=').expect("NAME=VALUE");
                environment.insert(name.to_owned(), value.to_owned());
            }
            _ => {}
        }
    }
    let loaded = load(&sources, &environment, Strictness::Run);
    let mut found = String::new();
    for problem in &loaded.problems {
        writeln!(found, "{problem}").unwrap();
    }
    // Where the house stands is nobody's business.
    let found = found.replace(&format!("{}/", folder.display()), "");
    let errors = loaded.problems.iter().filter(|p| p.severity == Severity::Error).count();
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    Case { name, expected: path.with_extension("txt"), found, errors, runs: loaded.plan.is_some() }
}

/// Loads every case of a folder and compares what is said of it.
fn cases(name: &str) -> Vec<Case> {
    let folder = folder(name);
    let cases: Vec<Case> = files(&folder, "yaml").iter().map(|path| case(&folder, path)).collect();
    let mut texts: BTreeMap<PathBuf, String> = files(&folder, "txt")
        .into_iter()
        .map(|path| (path.clone(), fs::read_to_string(&path).unwrap()))
        .collect();
    let mut differences = String::new();
    if std::env::var_os("UPDATE").is_some() {
        for case in &cases {
            if texts.remove(&case.expected).as_ref() != Some(&case.found) {
                fs::write(&case.expected, &case.found).unwrap();
            }
        }
        texts.keys().for_each(|orphan| fs::remove_file(orphan).unwrap());
        return cases;
    }
    for case in &cases {
        match texts.remove(&case.expected) {
            Some(text) if text == case.found => {}
            Some(text) => {
                let Case { name, found, .. } = case;
                writeln!(differences, "{name}: expected\n{text}and found\n{found}").unwrap();
            }
            None => writeln!(differences, "{}: there is no .txt beside it", case.name).unwrap(),
        }
    }
    for orphan in texts.keys() {
        writeln!(differences, "{}: there is no .yaml beside it", orphan.display()).unwrap();
    }
    assert!(differences.is_empty(), "{differences}\nUPDATE=1 writes what is found");
    cases
}

#[test]
fn wrong_configurations_are_refused_with_place_and_words() {
    let cases = cases("wrong");
    assert!(cases.len() >= WRONG, "only {} cases", cases.len());
    for Case { name, found, errors, runs, .. } in &cases {
        assert!(*errors > 0 && !runs, "{name} is taken for right: {found}");
        let named = |line: &str| line.contains(": error: ") || line.contains(": warning: ");
        assert!(found.lines().all(named), "{name}: a problem is one line: {found}");
    }
}

#[test]
fn good_configurations_run() {
    let cases = cases("good");
    assert!(!cases.is_empty());
    for Case { name, found, errors, runs, .. } in &cases {
        assert!(*errors == 0 && *runs, "{name}: {found}");
    }
}
