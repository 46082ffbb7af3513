use super::*;
use watchpost_targets::{Labels, Origin};

fn target(address: &str, labels: &[(&str, &str)]) -> Target {
    let labels: Labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let origin = Origin { file: "f".into(), line: 1 };
    Target { address: address.to_owned(), labels, hints: Labels::new(), origin }
}

fn named(name: &str) -> Target {
    let address = format!("https://{name}.example.net");
    target(&address, &[("humanname", name), ("routing", "internal")])
}

fn output(keep: Option<&str>) -> Output {
    Output {
        file: "pinghosts.yaml".into(),
        keep_until: keep.map(str::to_owned),
        format: Format::default(),
    }
}

const HEAD: &str =
    "# by hand\n- targets:\n  - 192.168.2.1;Router;internal   # the router\n  # SVC START\n";

#[test]
fn the_head_is_kept_and_the_rest_is_sorted() {
    let old = format!("{HEAD}  - https://old.example.net;old;internal\n");
    let targets = [named("b"), named("a"), target("192.168.2.1", &[("humanname", "x")])];
    let rendered =
        render(&output(Some("# SVC START")), Some(&old), &targets, Trust::Whole).expect("good");
    let expected = format!(
        "{HEAD}  - https://a.example.net;a;internal\n  - https://b.example.net;b;internal\n"
    );
    assert_eq!(rendered.text, expected);
    assert_eq!((rendered.written, rendered.kept), (2, 1));
    let again = render(&output(Some("# SVC START")), Some(&rendered.text), &targets, Trust::Whole);
    assert_eq!(again.expect("good").text, rendered.text, "nothing changes when nothing changed");
}

#[test]
fn new_files_and_files_without_a_marker() {
    let rendered =
        render(&output(Some("# SVC START")), None, &[named("a")], Trust::Whole).expect("good");
    assert_eq!(
        rendered.text,
        "- targets:\n    # SVC START\n    - https://a.example.net;a;internal\n"
    );
    let rendered = render(
        &output(None),
        Some("# Written by watchpost discover\n- targets: [x]\n"),
        &[named("a")],
        Trust::Whole,
    )
    .expect("good");
    assert!(rendered.text.starts_with("# Written by watchpost discover"), "{}", rendered.text);
    let refused = render(&output(Some("# SVC START")), Some("- targets:\n"), &[], Trust::Whole);
    assert!(matches!(refused, Err(Refused::NoMarker(..))), "{refused:?}");
    let broken = "- targets: [a\n# SVC START\n";
    let refused = render(&output(Some("# SVC START")), Some(broken), &[], Trust::Whole);
    assert!(matches!(refused, Err(Refused::Head(..))), "{refused:?}");
}

#[test]
fn a_scan_that_finds_too_little_is_doubted() {
    let all: Vec<Target> = (0..12).map(|n| named(&format!("h{n}"))).collect();
    let full =
        render(&output(Some("# SVC START")), Some(HEAD), &all, Trust::Whole).expect("good").text;
    let refused = render(&output(Some("# SVC START")), Some(&full), &all[..5], Trust::Whole);
    let file = "pinghosts.yaml".into();
    assert_eq!(refused, Err(Refused::Shrunk { file, before: 12, gone: 7 }));
    assert!(render(&output(Some("# SVC START")), Some(&full), &all[..5], Trust::Forced).is_ok());
    assert!(render(&output(Some("# SVC START")), Some(&full), &all[..6], Trust::Whole).is_ok());
}

#[test]
fn what_a_line_cannot_say_is_refused_by_name() {
    let mut with_module = named("m");
    with_module.hints.insert(MODULE_HINT.to_owned(), "http_service".to_owned());
    let labelled = target("a:1", &[("team", "home")]);
    let parted = target("b:1", &[("humanname", "a;b")]);
    let spaced = target("two words", &[]);
    let targets = [with_module.clone(), labelled, parted, spaced, named("fine")];
    let rendered = render(&output(None), None, &targets, Trust::Whole).expect("good");
    assert_eq!((rendered.written, rendered.inexpressible.len()), (1, 4));
    assert!(rendered.inexpressible[0].1.contains("module"), "{rendered:?}");
    let five = ["address", "humanname", "routing", "switching", "module"];
    let fields = five.iter().filter_map(|name| Field::parse(name)).collect();
    let output = Output { format: Format::Pinghosts(fields), ..output(None) };
    let text = render(&output, None, &[with_module], Trust::Whole).expect("good").text;
    assert!(text.ends_with("- https://m.example.net;m;internal;;http_service\n"), "{text}");
    let mut parted = named("p");
    parted.hints.insert(MODULE_HINT.to_owned(), "a;b".to_owned());
    assert_eq!(
        render(&output, None, &[parted], Trust::Whole).expect("good").inexpressible.len(),
        1
    );
}

#[test]
fn file_sd_and_odd_names() {
    let odd = target("https://x.example.net", &[("humanname", "a: b # c"), ("routing", "r")]);
    let text =
        render(&output(None), None, std::slice::from_ref(&odd), Trust::Whole).expect("good").text;
    let read = file::parse(&text, Path::new("f")).expect("a file");
    assert_eq!(read.targets[0].labels["humanname"], "a: b # c", "{text}");
    let output = Output { format: Format::FileSd, ..output(Some("# START")) };
    let head = "- targets: [\"by-hand:1\"]\n# START\n";
    let text = render(&output, Some(head), &[odd], Trust::Whole).expect("good").text;
    let read = file::parse(&text, Path::new("f")).expect("a file");
    assert_eq!((text.starts_with(head), read.targets.len()), (true, 2), "{text}");
}

#[test]
fn files_are_written_readable_for_all_and_only_when_they_change() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("new/targets.yaml");
    assert_eq!(write(&path, "[]\n"), Ok(true));
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(write(&path, "[]\n"), Ok(false));
}

/// The marker is a line of its own, and there is one.
#[test]
fn what_merely_looks_like_the_marker_ends_nothing() {
    let by_hand =
        "- targets:\n    # SVC STARTUP hosts\n    - 127.0.0.1;a;internal\n    # SVC START\n";
    let text = render(&output(Some("# SVC START")), Some(by_hand), &[named("b")], Trust::Whole);
    assert!(text.expect("good").text.starts_with(by_hand));
    let twice = format!("{by_hand}    # SVC START\n");
    let refused = render(&output(Some("# SVC START")), Some(&twice), &[], Trust::Forced);
    assert!(matches!(refused, Err(Refused::TwoMarkers(..))), "{refused:?}");
}

/// Without a marker only what a job has written is replaced, and nothing goes on a doubtful scan.
#[test]
fn what_others_have_written_is_not_replaced() {
    for theirs in ["- targets: [by-hand:1]\n", "processors: {x: 1}\n", "- targets: [a\n"] {
        let refused = render(&output(None), Some(theirs), &[named("a")], Trust::Whole);
        assert!(matches!(refused, Err(Refused::NotOurs(..))), "{refused:?}");
        assert!(render(&output(None), Some(theirs), &[named("a")], Trust::Forced).is_ok());
    }
    let ours = render(&output(None), None, &[named("a"), named("b")], Trust::Whole).expect("good");
    let less = render(&output(None), Some(&ours.text), &[named("a")], Trust::Doubtful);
    assert!(matches!(less, Err(Refused::Doubtful { gone: 1, .. })), "{less:?}");
    let more = [named("a"), named("b"), named("c")];
    assert!(render(&output(None), Some(&ours.text), &more, Trust::Doubtful).is_ok());
    let broken = format!("{}  - [", ours.text);
    let refused = render(&output(None), Some(&broken), &[named("a")], Trust::Whole);
    assert!(matches!(refused, Err(Refused::Broken(..))), "{refused:?}");
}
