//! The units of systemd: sound, and as tight as they say.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::units::{able, complaints, copies};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/systemd")
}

/// Copies of all units that name the program which was built, with a drop-in behind one of them.
fn units(drop_in: Option<(&str, &str)>) -> tempfile::TempDir {
    copies(&folder(), Path::new(env!("CARGO_BIN_EXE_watchpost")), drop_in)
}

/// What `systemd-analyze security` makes of a unit.
fn exposure(unit: &str, drop_in: Option<&str>) -> f64 {
    let copies = units(drop_in.map(|example| (unit, example)));
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(copies.path().join(unit))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("Overall exposure level"));
    let line = line.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    let number = line.split(':').nth(1).unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

#[test]
fn units_are_sound() {
    if !able("units_are_sound") {
        return;
    }
    for drop_in in [
        None,
        Some("watchpost.service.d/raw-icmp.conf.example"),
        Some("watchpost.service.d/docker.conf.example"),
    ] {
        let copies = units(drop_in.map(|example| ("watchpost.service", example)));
        assert_eq!(complaints(copies.path()), Vec::<String>::new());
    }
}

#[test]
fn units_are_as_tight_as_they_say() {
    if !able("units_are_as_tight_as_they_say") {
        return;
    }
    for (unit, drop_in, most) in [
        ("watchpost.service", None, 1.6),
        ("watchpost.service", Some("watchpost.service.d/raw-icmp.conf.example"), 2.0),
        ("watchpost-discover.service", None, 0.6),
        ("watchpost-sweep.service", None, 1.5),
        ("watchpost-sweep.service", Some("watchpost.service.d/raw-icmp.conf.example"), 2.0),
    ] {
        let score = exposure(unit, drop_in);
        assert!(score <= most, "{unit} {drop_in:?}: {score}");
    }
}

/// The limits of a leak or an attack, and who gets to know secrets.
#[test]
fn units_are_bounded_and_discovery_knows_no_secret() {
    for (unit, high, environment) in [
        ("watchpost.service", "MemoryHigh=384M", true),
        ("watchpost-discover.service", "MemoryHigh=256M", false),
        ("watchpost-sweep.service", "MemoryHigh=256M", false),
    ] {
        let text = std::fs::read_to_string(folder().join(unit)).unwrap();
        for needed in [high, "MemoryMax=512M", "TasksMax=256", "LimitCORE=0"] {
            assert!(text.lines().any(|line| line == needed), "{unit}: {needed}");
        }
        let reads = text.lines().any(|line| line.starts_with("EnvironmentFile="));
        assert_eq!(reads, environment, "{unit}");
    }
}

/// What the hardening must not take away, as far as it is written: users.md and host.md say which
/// directive breaks what.
#[test]
fn units_leave_what_is_needed() {
    let text = std::fs::read_to_string(folder().join("watchpost.service")).unwrap();
    let has = |line: &str| text.lines().any(|have| have == line);
    for needed in [
        "Type=notify",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "StateDirectory=watchpost",
        "ProtectHome=read-only",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX",
        "SystemCallFilter=adjtimex clock_adjtime",
    ] {
        assert!(has(needed), "{needed}");
    }
    for harmful in
        ["ProcSubset=", "PrivateNetwork=", "ProtectClock=", "IPAddressDeny=", "DynamicUser="]
    {
        assert!(!text.lines().any(|line| line.starts_with(harmful)), "{harmful}");
    }
}
