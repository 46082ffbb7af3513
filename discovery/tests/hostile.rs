//! Trees that somebody made to hang or to fill the memory, or that grew by an accident: each ends
//! within seconds, says what it leaves out, and still finds the one good service beside it.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use rustix::time::{ClockId, clock_gettime};
use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{Report, Settings, compose};
use watchpost_discovery::output::{Format, Output, Trust, render};

/// CPU seconds that a tree may take: what runs beside it takes no part in that.
const MOST: i64 = 20;
/// Memory that the process may have needed when a tree is done, in MiB: all tests of this file
/// together, and what the allocator keeps.
const MEMORY: u64 = 1_500;

struct Tree(tempfile::TempDir);

impl Tree {
    /// A tree with one good service.
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        tree.write(
            "good/compose.yml",
            "services:\n  good: {labels: {watchpost.address: good:1}}\n",
        );
        tree
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path: PathBuf = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Looks through it as a job does.
    fn look(&self) -> Report {
        let cpu = || clock_gettime(ClockId::ThreadCPUTime).tv_sec;
        let begin = cpu();
        let report = compose(&Settings::new(vec![self.0.path().to_owned()]), &Variables::new());
        let took = cpu() - begin;
        assert!(took < MOST, "{took} s");
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak < MEMORY << 10, "{} MiB", peak >> 10);
        assert!(report.targets.iter().any(|target| target.address == "good:1"));
        report
    }
}

fn told(report: &Report, message: &str) -> usize {
    let problems = report.problems.iter().filter(|problem| problem.message.contains(message));
    problems.count() + report.skipped.iter().filter(|s| s.reason.contains(message)).count()
}

/// A service with an address, and what else the file has.
fn service(name: &str, more: &str) -> String {
    format!("{more}services:\n  {name}: {{labels: {{watchpost.address: \"{name}:1\"}}}}\n")
}

#[test]
fn includes_that_nest_and_fan() {
    let tree = Tree::new();
    for n in 0..40 {
        let next = format!("include: [f{}.yml]\n", n + 1);
        tree.write(&format!("deep/f{n}.yml"), service(&format!("deep{n}"), &next));
    }
    tree.write("deep/compose.yml", service("deep", "include: [f0.yml]\n"));
    // 1,000 that include the same one, and a project of more files than anybody has.
    tree.write("many/shared.yml", service("shared", ""));
    let mut all = String::from("include:\n");
    for n in 0..1_000 {
        let text = service(&format!("m{n}"), "include: [shared.yml]\n");
        tree.write(&format!("many/{n}-compose.yml"), text);
        let _ = writeln!(all, "- {n}-compose.yml");
    }
    tree.write("many/compose.yml", service("all", &all));
    // 300 that all include each other.
    let each: String = (0..300).map(|n| format!("- {n}-compose.yml\n")).collect();
    for n in 0..300 {
        let text = service(&format!("e{n}"), &format!("include:\n{each}"));
        tree.write(&format!("each/{n}-compose.yml"), text);
    }
    let report = tree.look();
    assert!(told(&report, "files include each other too deep") > 0);
    assert_eq!(told(&report, "it includes more than 1000 files"), 1);
    assert!(told(&report, "more than 2000 includes") > 0);
    let found = |name: &str| report.targets.iter().filter(|t| t.address == name).count();
    assert_eq!((found("deep:1"), found("deep10:1"), found("shared:1")), (1, 1, 1));
}

#[test]
fn chains_of_extends() {
    let tree = Tree::new();
    for n in 0..40 {
        let text = format!("services:\n  s: {{extends: {{file: c{}.yml, service: s}}}}\n", n + 1);
        tree.write(&format!("chain/c{n}.yml"), text);
    }
    tree.write("chain/compose.yml", "services:\n  s: {extends: {file: c0.yml, service: s}}\n");
    tree.write("circle/compose.yml", "services:\n  a: {extends: b}\n  b: {extends: a}\n");
    let mut wide = String::from("services:\n");
    for n in 0..2_500 {
        let _ = writeln!(wide, "  s{n}: {{extends: s{}, image: x}}", n + 1);
    }
    tree.write("wide/compose.yml", &wide);
    let report = tree.look();
    assert!(told(&report, "extends itself") >= 3);
    assert_eq!(told(&report, "more than 2000 services"), 1);
}

#[test]
fn long_lines_of_env_files() {
    let tree = Tree::new();
    let long = "x".repeat(1 << 20);
    tree.write("one/.env", format!("LONG={long}\nHOST=one\n"));
    let text =
        |host: &str| format!("services:\n  s: {{labels: {{watchpost.address: \"{host}:1\"}}}}\n");
    tree.write("one/compose.yml", text("${HOST}"));
    // A value that many lines name is kept once for each.
    let lines: String = (0..100_000).map(|n| format!("B{n}=$LONG\n")).collect();
    tree.write("many/.env", format!("HOST=many\nLONG={long}\n{lines}"));
    tree.write(
        "many/compose.yml",
        text("${HOST}") + "  t: {labels: {watchpost.address: \"$B99\"}}\n",
    );
    let labels: String =
        (0..2_000).map(|n| format!("      kuma.a{n}.http.url: \"$LONG\"\n")).collect();
    tree.write("one/b-compose.yml", format!("services:\n  b:\n    labels:\n{labels}"));
    let doubled = "$LONG".repeat(50);
    tree.write("one/c-compose.yml", text(&doubled));
    // Beginnings of variables without an end, in a value and in an env file.
    let open = "${A:-".repeat(200_000);
    tree.write("open/.env", format!("A={open}\n"));
    tree.write("open/compose.yml", text(&open));
    let report = tree.look();
    for address in ["one:1", "many:1"] {
        assert!(report.targets.iter().any(|target| target.address == address), "{address}");
    }
    assert_eq!(told(&report, "the variable B99 is not set"), 1);
    assert_eq!(told(&report, "it becomes longer than 64 KiB"), 129);
    assert_eq!(told(&report, "a ${ without its }"), 1);
}

#[test]
fn many_labels_and_long_rules() {
    let tree = Tree::new();
    let mut text = String::from("services:\n  s:\n    labels:\n");
    for n in 0..10_000 {
        let _ = writeln!(text, "      traefik.http.routers.r{n}.rule: Host(`h{n}.example.net`)");
    }
    tree.write("labels/compose.yml", &text);
    let mut text = String::from("services:\n  s:\n    labels:\n");
    (0..100_000).for_each(|n| text.push_str(&format!("      kuma.__k{n}: x\n")));
    tree.write("snippets/compose.yml", &text);
    // The same key again and again, and as many different ones as a file can hold.
    let same = "a: 1\n".repeat(500_000);
    tree.write("same/compose.yml", same);
    let keys: String = (0..300_000).map(|n| format!("k{n}: 1\n")).collect();
    tree.write("keys/compose.yml", service("keys", &keys));
    for (name, rule) in [
        ("or", "Host(`a.example.net`) || ".repeat(4_000) + "Host(`b`)"),
        ("open", "(".repeat(100_000)),
        ("not", "!".repeat(100_000)),
        ("hosts", format!("Host({})", "`a`,".repeat(25_000) + "`b`")),
        ("old", String::new()),
    ] {
        let label = format!("traefik.http.routers.{name}.rule={rule}");
        let old: String = (0..20_000).map(|n| format!("h{n}.example.net,")).collect();
        let label = if name == "old" { format!("traefik.frontend.rule=Host:{old}") } else { label };
        tree.write(
            &format!("rule-{name}/compose.yml"),
            format!("services:\n  {name}: {{labels: [\"{label}\"]}}\n"),
        );
    }
    let routers: String =
        (0..20_000).map(|n| format!("[http.routers.r{n}]\nrule = \"Host(`t{n}`)\"\n")).collect();
    tree.write("traefik/dynamic.toml", routers);
    let report = tree.look();
    assert_eq!(told(&report, "it has more than 256 addresses"), 2);
    assert_eq!(told(&report, "the rule cannot be read: it is too long"), 4);
    assert_eq!(told(&report, "more than 2000 routers"), 1);
    assert!((1..=20).contains(&told(&report, "is here twice")));
    assert!(report.skipped.len() < 2_000, "{}", report.skipped.len());
}

#[test]
fn bombs_of_yaml() {
    let tree = Tree::new();
    // 10 levels of 10 aliases, an alias in what it names, and as many nodes as a file can hold.
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..10 {
        let refs = vec![format!("*a{}", level - 1); 10].join(",");
        let _ = writeln!(bomb, "a{level}: &a{level} [{refs}]");
    }
    tree.write("bomb/compose.yml", &bomb);
    tree.write("itself/compose.yml", "a: &a\n  b: *a\nservices: {}\n");
    tree.write("merge/compose.yml", "a: &a\n  <<: *a\nservices: {}\n");
    for n in 0..3 {
        tree.write(&format!("nodes{n}/compose.yml"), format!("a: [{}]\n", "x,".repeat(2_000_000)));
    }
    // Merged maps that double with each level.
    let mut merges = String::from("x0: &x0 {a: 1, b: 2}\n");
    for level in 1..40 {
        let before = level - 1;
        let _ =
            writeln!(merges, "x{level}: &x{level}\n  <<: [*x{before}, *x{before}]\n  k{level}: 1");
    }
    tree.write("merges/compose.yml", service("merges", &merges));
    tree.write("deep/compose.yml", "[".repeat(1_000_000));
    let report = tree.look();
    assert!(told(&report, "nodes, with aliases expanded") >= 1);
    let files = ["bomb", "itself", "merge", "deep"];
    for name in files {
        let file = tree.0.path().join(name).join("compose.yml");
        assert!(report.problems.iter().any(|problem| problem.file == file), "{name}");
    }
}

#[test]
fn folders_with_many_files() {
    let tree = Tree::new();
    fs::create_dir(tree.0.path().join("many")).unwrap();
    for n in 0..100_000 {
        fs::File::create(tree.0.path().join(format!("many/{n}.txt"))).unwrap();
    }
    let report = tree.look();
    assert_eq!((report.files, report.problems.len()), (1, 0));
    // More text than a job reads.
    let tree = Tree::new();
    let comment = format!("# {}\n", "x".repeat(4_000_000));
    for n in 0..20 {
        tree.write(&format!("large{n}/compose.yml"), service(&format!("l{n}"), &comment));
    }
    let report = tree.look();
    assert!(told(&report, "all files together are larger than 64 MiB") >= 1);
}

#[test]
fn heads_below_which_nothing_can_stand() {
    let tree = Tree::new();
    let report = tree.look();
    for head in [
        "- targets: [a]\n# M\n",
        "- targets: [a]\n  labels: {b: c}\n# M\n",
        "- targets:\n    - a\n  labels:\n    b: c\n    # M\n",
        "a: b\n# M\n",
    ] {
        let format = Format::default();
        let output = Output { file: "t.yaml".into(), keep_until: Some("# M".to_owned()), format };
        let refused =
            render(&output, Some(head), &report.targets, Trust::Whole).unwrap_err().to_string();
        assert!(refused.starts_with("t.yaml: "), "{head}: {refused}");
    }
}
