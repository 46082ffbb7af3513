//! Copies of systemd's units that name a program which is there, and what `systemd-analyze` says of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{peers, skip};

/// Where a package puts the program, and so what the units start.
pub const INSTALLED: &str = "/usr/bin/watchpost";

/// Whether `systemd-analyze` is here; if not, it is said that the test cannot run.
pub fn able(test: &str) -> bool {
    let able = peers::find("systemd-analyze").is_some();
    if !able {
        skip(test, "systemd-analyze is not installed");
    }
    able
}

/// Copies of all units in a folder that name this program, with a drop-in behind one of them.
pub fn copies(folder: &Path, program: &Path, drop_in: Option<(&str, &str)>) -> tempfile::TempDir {
    let copies = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !(name.ends_with(".service") || name.ends_with(".timer")) {
            continue;
        }
        let mut text = std::fs::read_to_string(&path).unwrap();
        text = text.replace(INSTALLED, program.to_str().unwrap());
        if let Some((unit, example)) = drop_in
            && name == unit
        {
            // What a drop-in says comes after the unit.
            let (before, install) = text.split_once("[Install]").unwrap_or((&text, ""));
            let more = std::fs::read_to_string(folder.join(example)).unwrap();
            text = format!("{before}{more}\n[Install]{install}");
        }
        std::fs::write(copies.path().join(name), text).unwrap();
    }
    copies
}

/// What `systemd-analyze verify` says against the five units in a folder.
pub fn complaints(copies: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(copies).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 5, "{files:?}");
    let output = Command::new("systemd-analyze").arg("verify").args(&files).output().unwrap();
    let said = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    // What other units of this machine lack is no fault of these.
    said.lines().filter(|line| line.contains("watchpost")).map(str::to_owned).collect()
}
