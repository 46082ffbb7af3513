//! The NixOS module, evaluated by Nix without nixpkgs: `nix/test.nix` brings a stub of what it needs. Nothing
//! is built and no store is written; machines are for `nix/vm-test.nix`, which runs where nixpkgs is.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde::Deserialize;

use crate::support::{peers, run, skip};

/// What `nix/test.nix` tells.
#[derive(Deserialize)]
struct Told {
    /// Files as the module would write them, by case.
    configurations: BTreeMap<String, String>,
    /// Keys by which a unit of the module is not the one of `deploy/systemd`, with both values.
    differences: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// What does not hold, and how many things were looked at.
    failed: Vec<String>,
    count: usize,
}

/// Runs `nix-instantiate` with all its state in a folder that is gone afterwards, or says that there is none.
fn nix_instantiate(test: &str, arguments: &[&str]) -> Option<Output> {
    let Some(program) = peers::find("nix-instantiate") else {
        skip(test, "nix-instantiate (nix-bin) is not installed");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("NIX_PATH");
    for (name, below) in [
        ("HOME", "home"),
        ("NIX_STORE_DIR", "store"),
        ("NIX_STATE_DIR", "state"),
        ("NIX_LOG_DIR", "log"),
        ("NIX_CONF_DIR", "conf"),
    ] {
        command.env(name, folder.path().join(below));
    }
    // Without this it would ask a daemon of the system.
    command.env("NIX_REMOTE", "local");
    Some(command.output().unwrap())
}

#[test]
fn the_module_does_what_it_promises() {
    let name = "the_module_does_what_it_promises";
    let arguments = ["--eval", "--strict", "--json", "nix/test.nix"];
    let Some(output) = nix_instantiate(name, &arguments) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Told = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told.failed.is_empty(), "{:#?}", told.failed);
    assert!(told.count >= 42, "only {} checks", told.count);
    for (unit, keys) in &told.differences {
        assert!(keys.is_empty(), "{unit}: module and deploy/systemd differ: {keys:#?}");
    }
    assert!(!told.differences.is_empty() && told.configurations.len() >= 7);

    // The files themselves: JSON, which is YAML, with references where secrets will be.
    let folder = tempfile::tempdir().unwrap();
    for (case, text) in &told.configurations {
        let file = folder.path().join(format!("{case}.yaml"));
        std::fs::write(&file, text).unwrap();
        let output = run(&["check", "--config", file.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{case}: {output:?}");
        assert!(said.contains(" 0 errors"), "{case}: {said}");
    }
}

/// What nothing here can evaluate is at least Nix.
#[test]
fn every_nix_file_can_be_parsed() {
    let name = "every_nix_file_can_be_parsed";
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("flake.nix")];
    for folder in ["nix", "nix/examples/raspberry-pi-lab"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "nix") {
                files.push(path);
            }
        }
    }
    assert!(files.len() >= 9, "{files:?}");
    for file in files {
        let arguments = ["--parse", file.to_str().unwrap()];
        let Some(output) = nix_instantiate(name, &arguments) else { return };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
