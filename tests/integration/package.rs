//! The Debian package: built by cargo-deb around the program that the tests have, unpacked, and looked at. It is never
//! installed, not below a root of its own either: dpkg would run its scripts on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{peers, skip, units};

/// All files but the dashboards, which are as many as there are.
const FILES: [&str; 23] = [
    "/etc/watchpost/targets/pinghosts.yaml",
    "/etc/watchpost/watchpost.yaml",
    "/usr/bin/watchpost",
    "/usr/lib/sysctl.d/50-watchpost-ping.conf",
    "/usr/lib/systemd/system/watchpost-discover.service",
    "/usr/lib/systemd/system/watchpost-discover.timer",
    "/usr/lib/systemd/system/watchpost-sweep.service",
    "/usr/lib/systemd/system/watchpost-sweep.timer",
    "/usr/lib/systemd/system/watchpost.service",
    "/usr/lib/sysusers.d/watchpost.conf",
    "/usr/share/doc/watchpost/README.md",
    "/usr/share/doc/watchpost/changelog.Debian.gz",
    "/usr/share/doc/watchpost/changelog.gz",
    "/usr/share/doc/watchpost/copyright",
    "/usr/share/doc/watchpost/docs/CONFIG.md",
    "/usr/share/doc/watchpost/docs/CONFIG_KEYS.md",
    "/usr/share/doc/watchpost/docs/METRICS.md",
    "/usr/share/doc/watchpost/examples/grafana/README.md",
    "/usr/share/doc/watchpost/examples/grafana/dashboards/watchpost.yaml",
    "/usr/share/doc/watchpost/examples/grafana/datasources/watchpost.yaml",
    "/usr/share/doc/watchpost/examples/prometheus/README.md",
    "/usr/share/doc/watchpost/examples/watchpost.service.d/docker.conf.example",
    "/usr/share/doc/watchpost/examples/watchpost.service.d/raw-icmp.conf.example",
];
const RULES: &str = "/usr/share/watchpost/prometheus/watchpost.rules.yaml";
const DASHBOARDS: &str = "/usr/share/watchpost/dashboards";

/// Absolute paths that scripts of the package may name; others would be of this machine when they are tried.
const PATHS: [&str; 4] =
    ["/bin/sh", "/dev/null", "/net/ipv4/ping_group_range", "/var/lib/watchpost"];

/// The package and what is in it, gone with the test.
struct Package {
    folder: tempfile::TempDir,
    file: PathBuf,
}

fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a command writes; it must end well.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

impl Package {
    /// Builds it. cargo-deb gets a build folder of its own, in which the program seems to be released: it builds
    /// nothing, and takes no package away that somebody has below `target`.
    fn build(cargo_deb: &Path) -> Package {
        let folder = tempfile::tempdir().unwrap();
        let release = folder.path().join("target/release");
        fs::create_dir_all(&release).unwrap();
        symlink(env!("CARGO_BIN_EXE_watchpost"), release.join("watchpost")).unwrap();
        let file = folder.path().join("watchpost.deb");
        let mut command = Command::new(cargo_deb);
        command.args(["--no-build", "--offline", "--locked", "--fast", "--strip", "--output"]);
        command.arg(&file).current_dir(source()).env_remove("CARGO_BUILD_TARGET");
        command.env("CARGO_TARGET_DIR", folder.path().join("target"));
        let result = command.output().unwrap();
        let said = String::from_utf8_lossy(&result.stderr);
        assert!(result.status.success() && !said.contains("warning"), "{said}");
        let package = Package { folder, file };
        for (how, below) in [("--extract", package.root()), ("--control", package.control())] {
            output(Command::new("dpkg-deb").arg(how).arg(&package.file).arg(below));
        }
        package
    }

    /// What would be the machine's root.
    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Where the scripts are.
    fn control(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    /// A file in it, by the path it will have.
    fn path(&self, installed: &str) -> PathBuf {
        self.root().join(installed.trim_start_matches('/'))
    }

    fn text(&self, installed: &str) -> String {
        fs::read_to_string(self.path(installed)).unwrap()
    }

    fn field(&self, name: &str) -> String {
        output(Command::new("dpkg-deb").arg("--field").arg(&self.file).arg(name)).trim().to_owned()
    }

    /// The program in it.
    fn watchpost(&self, arguments: &[&str]) -> String {
        output(Command::new(self.path(units::INSTALLED)).args(arguments))
    }
}

#[test]
fn the_package_holds_what_it_promises() {
    let name = "the_package_holds_what_it_promises";
    let Some(cargo_deb) = peers::find("cargo-deb") else {
        return skip(name, "cargo-deb is not installed");
    };
    for (program, package) in [("dpkg-deb", "dpkg"), ("dpkg-shlibdeps", "dpkg-dev")] {
        if peers::find(program).is_none() {
            return skip(name, &format!("{program} ({package}) is not installed"));
        }
    }
    let package = Package::build(&cargo_deb);
    holds_these_files(&package);
    says_what_it_is(&package);
    starts_the_daemon_alone(&package);
    has_units_that_find_what_they_name(&package);
    has_a_configuration_for_this_machine_alone(&package);
    makes_the_user(name, &package);
    if units::able(name) {
        let folder = package.path("/usr/lib/systemd/system");
        let copies = units::copies(&folder, &package.path(units::INSTALLED), None);
        assert_eq!(units::complaints(copies.path()), Vec::<String>::new());
    }
}

/// Nothing is missing, nothing is too much, all of it is root's, and only the program can be run.
fn holds_these_files(package: &Package) {
    let mut expected: Vec<String> = FILES.iter().map(|&path| path.to_owned()).collect();
    expected.push(RULES.to_owned());
    for entry in fs::read_dir(source().join("dashboards")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".json") {
            expected.push(format!("{DASHBOARDS}/{name}"));
        }
    }
    expected.sort();
    let mut found = Vec::new();
    for line in output(Command::new("dpkg-deb").arg("--contents").arg(&package.file)).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (mode, owner, path) = (words[0], words[1], words[5].trim_start_matches('.'));
        assert!(matches!(owner, "0/0" | "root/root"), "{line}");
        let right = match path {
            units::INSTALLED => "-rwxr-xr-x",
            _ if path.ends_with('/') => "drwxr-xr-x",
            _ => "-rw-r--r--",
        };
        assert_eq!(mode, right, "{line}");
        if !path.ends_with('/') {
            found.push(path.to_owned());
        }
    }
    found.sort();
    assert_eq!(found, expected);
    let conffiles = fs::read_to_string(package.control().join("conffiles")).unwrap();
    let conffiles: Vec<&str> = conffiles.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(conffiles.len(), 2, "{conffiles:?}");
    assert!(conffiles.iter().all(|path| path.starts_with("/etc/watchpost/")), "{conffiles:?}");
}

fn says_what_it_is(package: &Package) {
    assert_eq!(package.field("Package"), "watchpost");
    let architecture = output(Command::new("dpkg").arg("--print-architecture"));
    assert_eq!(package.field("Architecture"), architecture.trim());
    let depends = package.field("Depends");
    assert!(depends.contains("libc6 (>= "), "{depends}");
    assert!(depends.contains("systemd-sysusers"), "{depends}");
    let description = package.field("Description");
    let mut lines = description.lines();
    assert_eq!(lines.next(), Some(env!("CARGO_PKG_DESCRIPTION")));
    assert!(lines.clone().count() >= 7 && lines.all(|line| line.len() <= 80), "{description}");
    let version = package.field("Version");
    assert_eq!(version, concat!(env!("CARGO_PKG_VERSION"), "-1"));
    let changelog = fs::read_to_string(source().join("deploy/debian/changelog")).unwrap();
    assert!(changelog.starts_with(&format!("watchpost ({version}) ")), "{changelog}");
    let told = package.watchpost(&["--version"]);
    assert_eq!(told.trim(), concat!("watchpost ", env!("CARGO_PKG_VERSION")));
    let copyright = package.text("/usr/share/doc/watchpost/copyright");
    let licence = fs::read_to_string(source().join("LICENSE-MIT")).unwrap();
    let words = |text: &str| text.replace("\n .\n", "\n").split_whitespace().collect::<String>();
    let (_, terms) = licence.split_once("\n\nPermission").unwrap();
    assert!(words(&copyright).contains(&words(terms)), "{copyright}");
}

/// What the scripts of the package ask of the machine when dpkg calls one of them. They run with stand-ins for
/// everything that they call; `known`: whether units were installed and enabled before.
fn asked(package: &Package, script: &str, arguments: &[&str], known: bool) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let stand_in = |name: &str, answer: &str| {
        let path = folder.path().join(name);
        let text = format!("#!/bin/sh\necho \"{name} $*\" >> {}\n{answer}\n", log.display());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    for name in ["deb-systemd-invoke", "rm", "systemctl", "systemd-sysusers"] {
        stand_in(name, "");
    }
    let helper = if known {
        ""
    } else {
        // It believes of units which it does not know that they were enabled.
        "case \"$*\" in *debian-installed*) exit 1;; esac"
    };
    let helper = stand_in("deb-systemd-helper", helper);
    let sysctl = stand_in("systemd-sysctl", "");
    let mut text = fs::read_to_string(package.control().join(script)).unwrap();
    for (real, stand_in) in [
        ("/run/systemd/system", folder.path()),
        ("/usr/bin/deb-systemd-helper", &helper),
        ("/usr/lib/systemd/systemd-sysctl", &sysctl),
    ] {
        text = text.replace(real, stand_in.to_str().unwrap());
    }
    for word in text.split(|c: char| c.is_whitespace() || "\"'=!>;".contains(c)) {
        let ours = word.starts_with(folder.path().to_str().unwrap());
        assert!(!word.starts_with('/') || ours || PATHS.contains(&word), "{script} names {word}");
    }
    let file = folder.path().join("script");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("/bin/sh");
    command.arg(&file).args(arguments).env_clear().env("PATH", folder.path());
    output(&mut command);
    let log = fs::read_to_string(&log).unwrap_or_default();
    log.lines().map(|line| line.trim_end().to_owned()).collect()
}

/// Installing makes the user, allows pings, enables and starts the daemon, and no job. Purging takes away what jobs
/// have found, and nothing before does.
fn starts_the_daemon_alone(package: &Package) {
    let mut scripts: Vec<String> = fs::read_dir(package.control())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !matches!(name.as_str(), "control" | "conffiles" | "md5sums"))
        .collect();
    scripts.sort();
    assert_eq!(scripts, ["postinst", "postrm", "prerm"]);
    let with = |asked: &[String], word: &str| -> Vec<String> {
        asked.iter().filter(|line| line.split(' ').any(|w| w == word)).cloned().collect()
    };
    let none: [String; 0] = [];

    let fresh = asked(package, "postinst", &["configure", ""], false);
    assert_eq!(with(&fresh, "enable"), ["deb-systemd-helper enable watchpost.service"]);
    assert_eq!(with(&fresh, "deb-systemd-invoke"), ["deb-systemd-invoke start watchpost.service"]);
    assert_eq!(with(&fresh, "systemctl"), ["systemctl --system daemon-reload"]);
    assert_eq!(with(&fresh, "rm"), none);
    let place =
        |line: &str| fresh.iter().position(|l| l == line).unwrap_or_else(|| panic!("{line}"));
    let start = place("deb-systemd-invoke start watchpost.service");
    assert!(place("systemd-sysusers watchpost.conf") < start);
    assert!(place("systemd-sysctl --prefix=/net/ipv4/ping_group_range") < start);

    let upgraded = asked(package, "postinst", &["configure", "0.0.1-1"], true);
    let invoked = with(&upgraded, "deb-systemd-invoke");
    assert_eq!(invoked, ["deb-systemd-invoke restart watchpost.service"]);
    assert_eq!(asked(package, "prerm", &["upgrade", "0.0.1-1"], true), none);
    assert_eq!(with(&asked(package, "postrm", &["upgrade", "0.0.1-1"], true), "rm"), none);

    let removed = asked(package, "prerm", &["remove"], true).join("\n");
    for unit in ["watchpost.service", "watchpost-discover.timer", "watchpost-sweep.timer"] {
        assert!(removed.contains(unit), "{unit} goes on: {removed}");
    }
    assert_eq!(with(&asked(package, "postrm", &["remove"], true), "rm"), none);
    let purged = asked(package, "postrm", &["purge"], true);
    assert_eq!(with(&purged, "rm"), ["rm -rf /var/lib/watchpost"]);
}

/// The units start what the package has, with a configuration that it has, and their documentation is there.
fn has_units_that_find_what_they_name(package: &Package) {
    let mut seen = BTreeMap::new();
    for path in FILES.iter().filter(|path| path.ends_with(".service")) {
        for line in package.text(path).lines() {
            let (key, value) = line.split_once('=').unwrap_or_default();
            let named = match key {
                "ExecStart" => value,
                "Documentation" => value.strip_prefix("file:").unwrap(),
                _ => continue,
            };
            for word in named.split(' ').filter(|word| word.starts_with('/')) {
                assert!(package.path(word).exists(), "{path}: {word} is not in the package");
                *seen.entry(key.to_owned()).or_insert(0) += 1;
            }
        }
    }
    assert_eq!(seen, BTreeMap::from([("Documentation".into(), 3), ("ExecStart".into(), 6)]));
}

/// `check` finds nothing wrong with the configuration that is installed, and every target is this machine.
fn has_a_configuration_for_this_machine_alone(package: &Package) {
    let config = package.path("/etc/watchpost/watchpost.yaml");
    let told = package.watchpost(&["check", "--print", "--config", config.to_str().unwrap()]);
    assert!(told.contains(" 0 errors, 0 warnings; 2 targets"), "{told}");
    let targets: Vec<&str> =
        told.lines().filter(|line| line.contains("  module ")).map(str::trim_start).collect();
    assert_eq!(targets.len(), 2, "{told}");
    for target in targets {
        assert!(["127.0.0.1 ", "http://127.0.0.1:"].iter().any(|own| target.starts_with(own)));
    }
    assert!(!told.contains(" to http"), "something is sent: {told}");
}

/// systemd-sysusers makes the user out of the file, below a root of its own.
fn makes_the_user(test: &str, package: &Package) {
    if peers::find("systemd-sysusers").is_none() {
        return skip(test, "systemd-sysusers is not installed");
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    let mut command = Command::new("systemd-sysusers");
    command.arg(format!("--root={}", root.path().display()));
    output(command.arg(package.path("/usr/lib/sysusers.d/watchpost.conf")));
    let line = |file: &str| {
        let text = fs::read_to_string(root.path().join(file)).unwrap();
        text.lines().find(|line| line.starts_with("watchpost:")).unwrap().to_owned()
    };
    let user = line("etc/passwd");
    let fields: Vec<&str> = user.split(':').collect();
    assert!(fields[2].parse::<u32>().is_ok_and(|id| (1..1000).contains(&id)), "{user}");
    assert_eq!(fields[5], "/var/lib/watchpost");
    assert!(fields[6].ends_with("nologin"), "{user}");
    assert!(line("etc/group").starts_with("watchpost:"));
    assert!(line("etc/shadow").starts_with("watchpost:!"), "nobody logs in by a password");
}
