//! A disk that fails when it is told to, for one process (`faults.c`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::daemon::write;
use crate::support::peers::find;
use crate::support::skip;

/// What stands before the calls of one process that change files.
pub struct Faults {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Faults {
    /// Compiled anew; without a compiler it is said that the test cannot run.
    pub fn new(test: &str) -> Option<Self> {
        if find("cc").is_none() {
            skip(test, "there is no C compiler");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("faults.so");
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/durable/faults.c");
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
        let output = command.arg(&library).arg(source).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let faults = Self { folder, library };
        faults.set("none");
        Some(faults)
    }

    /// Below this folder files of the process that is started fail as they are told to.
    pub fn below(&self, folder: &Path, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAULTS_BELOW", folder)
            .env("FAULTS_CONTROL", self.folder.path().join("control"));
    }

    /// From now on it is so.
    pub fn set(&self, what: &str) {
        let new = write(self.folder.path(), "new", what);
        std::fs::rename(new, self.folder.path().join("control")).unwrap();
    }

    /// Calls that have failed or were slow since the last look.
    pub fn hits(&self) -> u64 {
        let file = self.folder.path().join("control.hits");
        let hits = std::fs::metadata(&file).map_or(0, |about| about.len());
        let _ = std::fs::remove_file(file);
        hits
    }
}

/// What a simple program meets.
#[test]
fn faults_are_those_that_were_asked_for() {
    let Some(faults) = Faults::new("faults_are_those_that_were_asked_for") else { return };
    let folder = tempfile::tempdir().unwrap();
    let copy = |what: &str, name: &str| {
        faults.set(what);
        let file = folder.path().join(name);
        let mut command = Command::new("dd");
        faults.below(&folder.path().join("below"), &mut command);
        command.args(["if=/dev/zero", "bs=8", "count=1", "conv=fsync"]);
        let output = command.arg(format!("of={}", file.display())).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said, std::fs::metadata(file).map_or(0, |about| about.len()))
    };
    for what in ["none", "eio", "slow 10"] {
        let (good, said, length) = copy(what, "beside");
        assert!(good && length == 8 && faults.hits() == 0, "{what}: {said}");
    }
    for (what, expected, length, hits) in [
        ("none", "", 8, 0),
        ("slow 50", "", 8, 2),
        ("sync-slow 50", "", 8, 1),
        ("torn", "No space left on device", 4, 2),
        ("eio", "Input/output error", 0, 1),
        ("enospc", "No space left on device", 0, 1),
        ("sync-eio", "Input/output error", 8, 1),
    ] {
        let (good, said, found) = copy(what, "below");
        assert_eq!(
            (good, found, faults.hits()),
            (expected.is_empty(), length, hits),
            "{what}: {said}"
        );
        assert!(said.contains(expected), "{what}: {said}");
    }
    let (good, said, _) = copy("erofs", "below");
    assert!(!good && said.contains("Read-only file system") && faults.hits() == 1, "{said}");
}
