use super::*;

fn read_text(text: &str) -> FileContent {
    parse(text, Path::new("t.yaml")).expect("a list of groups")
}

fn addresses(content: &FileContent) -> Vec<(&str, u32)> {
    content.targets.iter().map(|t| (t.address.as_str(), t.origin.line)).collect()
}

#[test]
fn a_wrong_line_leaves_the_others_alone() {
    let content = read_text(
        "- targets:  # url;humanname;routing\n  - 192.0.2.1;router;lan\n  - ;nobody\n  - a;b;c;d;e;f\n  - [x]\n  - 192.0.2.2;-;lan\n",
    );
    assert_eq!(addresses(&content), [("192.0.2.1", 2), ("192.0.2.2", 6)]);
    let lines: Vec<u32> = content.problems.iter().map(|p| p.origin.line).collect();
    assert_eq!(lines, [3, 4, 5]);
    assert!(!content.targets[1].labels.contains_key("humanname"));
}

#[test]
fn odd_indentation_and_comments() {
    for text in [
        "---\n- targets:  # note\n      - a;x\n      # - b;y\n      - c;z",
        "- targets:\n  - a;x\n  #- b;y\n  - c;z\n",
        "- targets: ['a;x', \"c;z\"]\n",
    ] {
        let content = read_text(text);
        let found: Vec<&str> = content.targets.iter().map(|t| t.address.as_str()).collect();
        assert_eq!(found, ["a", "c"], "{text}");
    }
}

#[test]
fn file_sd_in_yaml_and_json() {
    let yaml = "- targets: ['localhost:9090', 'a.invalid:443']\n  labels: {foo: bar, port: 80}\n- targets: [b.invalid]\n";
    let json = "[\n\t{\n\t\t\"targets\": [\"localhost:9090\", \"a.invalid:443\"],\n\t\t\"labels\": {\"foo\": \"bar\", \"port\": \"80\"}\n\t},\n\t{\"targets\": [\"b.invalid\"]}\n]\n";
    for text in [yaml, json] {
        let content = read_text(text);
        assert_eq!(content.problems, []);
        assert_eq!(content.targets.len(), 3);
        assert_eq!(content.targets[0].labels["port"], "80");
    }
    let odd = read_text("[{\"targets\": [\"a\"], \"labels\": {\"face\": \"\\ud83d\\ude00\"}}]");
    assert_eq!(odd.targets[0].labels["face"], "😀");
}

#[test]
fn nothing_is_a_valid_file_and_null_groups_are_named() {
    for text in ["", "[]", "# only a comment\n", "- targets: []\n", "- targets:\n"] {
        assert_eq!(read_text(text), FileContent::default(), "{text:?}");
    }
    let content = read_text("- targets: [a]\n\n- null\n- targets: [b]\n");
    assert_eq!(addresses(&content), [("a", 1), ("b", 4)]);
    assert_eq!(
        content.problems[0].to_string(),
        "t.yaml:3: a group with `targets:` is expected, found nothing"
    );
}

#[test]
fn what_is_no_list_of_groups_is_refused_with_its_place() {
    for (text, expected) in
        [("targets: [a]\n", "t.yaml:1:1: a list of groups"), ("- targets: [a\n", "t.yaml:1:12: ")]
    {
        let error = parse(text, Path::new("t.yaml")).expect_err(text).to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let content = read_text(
        "- target: [a]\n- targets: {a: b}\n- targets: [c]\n  labels: {a-b: 1, ok: [1]}\n",
    );
    assert_eq!(addresses(&content), [("c", 3)]);
    assert_eq!(content.problems.len(), 5);
}

#[test]
fn what_is_written_is_read_again() {
    let content = read_text(
        "- targets: ['https://[::1]:8443/a?b=\"c\"', 'z;name with \\ and # and 😀;lan', 'y;n;lan;;icmp']\n",
    );
    let mut set = TargetSet::default();
    for target in content.targets {
        set.insert(target).expect("no duplicate");
    }
    let mut again = TargetSet::default();
    for target in read_text(&render_file_sd(&set)).targets {
        again.insert(target).expect("no duplicate");
    }
    let strip = |set: &TargetSet| -> Vec<(String, Labels, Labels)> {
        set.iter().map(|t| (t.address.clone(), t.labels.clone(), t.hints.clone())).collect()
    };
    assert_eq!(strip(&set), strip(&again));
    assert_eq!(render_file_sd(&TargetSet::default()), "[]\n");
}

#[test]
fn atomic_replace_keeps_mode_and_links() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let real = folder.path().join("real.yaml");
    let link = folder.path().join("link.yaml");
    assert!(write_atomic(&real, "a").expect("written"));
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("mode");
    std::os::unix::fs::symlink(&real, &link).expect("link");
    assert!(!write_atomic(&link, "a").expect("the same text is not written"));
    assert!(write_atomic(&link, "b").expect("written"));
    assert!(fs::symlink_metadata(&link).expect("there").file_type().is_symlink());
    assert_eq!(fs::read_to_string(&real).expect("read"), "b");
    assert_eq!(fs::metadata(&real).expect("there").permissions().mode() & 0o777, 0o640);
    assert_eq!(
        fs::read_dir(folder.path()).expect("folder").count(),
        2,
        "no temporary file is left"
    );
    assert!(write_atomic(&folder.path().join("no/such.yaml"), "x").is_err());
}

#[test]
fn links_that_lead_nowhere_go_on_being_links() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("real")).expect("a folder");
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, path(name)).expect("link");
    };
    link("second", "first");
    link("real/a.yaml", "second");
    link("nowhere/a.yaml", "lost");
    link("round", "around");
    link("around", "round");
    let real = fs::canonicalize(folder.path()).expect("a folder").join("real/a.yaml");
    let same = ["first", "second", "real/../first", "real/./a.yaml", "real/../real/a.yaml"];
    for name in same {
        assert_eq!(destination(&path(name)), real, "{name}");
    }
    assert!(write_over(&path("first"), "a", None).expect("written"));
    assert_eq!(fs::read_to_string(&real).expect("read"), "a");
    assert!(
        write_atomic(&path("lost"), "a").is_err() && write_atomic(&path("round"), "a").is_err()
    );
    for name in ["first", "second", "lost", "round"] {
        let meta = fs::symlink_metadata(path(name)).expect("there");
        assert!(meta.file_type().is_symlink(), "{name}");
        assert_eq!(destination(&path(name)) == real, ["first", "second"].contains(&name));
    }
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 6);
}

#[test]
fn what_has_changed_meanwhile_is_not_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.yaml");
    assert!(write_over(&file, "one", None).expect("written"));
    for old in [None, Some("zero"), Some("")] {
        let error = write_over(&file, "two", old).expect_err("it has changed").to_string();
        assert_eq!(error, "it has changed meanwhile: nothing is written");
    }
    assert_eq!(fs::read_to_string(&file).expect("read"), "one");
    assert!(!write_over(&file, "one", None).expect("it is there already"));
    assert!(write_over(&file, "two", Some("one")).expect("written"));
    fs::remove_file(&file).expect("removed");
    assert!(write_over(&file, "three", Some("two")).is_err());
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 0, "nothing is left");
}

#[test]
fn writers_of_one_process_do_not_meet() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.yaml");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let file = &file;
            scope.spawn(move || {
                for n in 0..25 {
                    let text = format!("{writer} {n}\n").repeat(100);
                    write_atomic(file, &text).expect("written");
                }
            });
        }
    });
    let text = fs::read_to_string(&file).expect("read");
    let first = text.lines().next().expect("a line");
    assert_eq!(text, format!("{first}\n").repeat(100), "one text, whole");
    assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    for path in [folder.path(), &pipe] {
        let error = read(path).expect_err("no file").to_string();
        assert!(error.ends_with("not a regular file"), "{error}");
    }
    assert!(matches!(read(&folder.path().join("none")), Err(ReadError::Missing(_))));
}

#[test]
fn patterns_match_in_the_last_segment() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["b.yaml", "a.yaml", "c.txt"] {
        fs::write(folder.path().join(name), "[]").expect("written");
    }
    let found = expand_pattern(&folder.path().join("*.yaml")).expect("a pattern");
    assert_eq!(found, [folder.path().join("a.yaml"), folder.path().join("b.yaml")]);
    assert!(expand_pattern(Path::new("/x*/a.yaml")).is_err());
    assert_eq!(
        expand_pattern(Path::new("plain.yaml")).expect("plain"),
        [PathBuf::from("plain.yaml")]
    );
}

#[test]
fn the_examples_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("examples") {
        let path = entry.expect("entry").path();
        let content = read(&path).expect("readable");
        assert_eq!(content.problems, [], "{}", path.display());
        assert!(!content.targets.is_empty(), "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 2);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[-a-z\\[\\]{}:;,&*#'\"!|>%@ \\n\\t0-9]{0,200}") {
        let _ = parse(&text, Path::new("t.yaml"));
    }
}

/// Another user may have made what is there larger than any memory.
#[test]
fn a_huge_file_is_compared_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(write_over(&path, "short", Some("other")).is_err());
    assert!(write_atomic(&path, "short").unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "short");
}
