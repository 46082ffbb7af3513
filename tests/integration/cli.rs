//! The commands as a user types them: what they print, and how they exit.

use std::path::Path;

use serde_json::Value;

use crate::support::certificates::{Authority, pem_file};
use crate::support::servers::{Response, Server};
use crate::support::{free_port, run, skip, watchpost};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn check_tells_every_problem_and_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(
        folder.path(),
        "w.yaml",
        "receivers:\n  probe:\n    intervall: 5s\n    targets: [a, {x: 1}]\nexporter: {}\n",
    );
    let output = run(&["check", "--config", &config]);
    assert_eq!(output.status.code(), Some(64));
    let expected = format!(
        "{config}:3:5: error: receivers.probe.intervall: unknown key (did you mean interval?)\n\
         {config}:4:18: error: receivers.probe.targets[1]: `address:` is missing\n\
         {config}:4:19: error: receivers.probe.targets[1].x: unknown key (known: address, name, module, interval, timeout, labels)\n\
         {config}:5:1: error: exporter: unknown key (did you mean exporters?)\n\
         4 errors, 0 warnings\n"
    );
    assert_eq!(text(&output.stdout), expected);
    // `run` starts nothing with it.
    let output = run(&["run", "--config", &config]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(text(&output.stderr).lines().count(), 4, "{}", text(&output.stderr));
}

#[test]
fn check_prints_what_would_be_probed() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "t.yaml",
        "- targets: ['192.0.2.1;router;lan', 'a;b;c;d;e;f', 'https://user:secret@x.invalid/;x;;;tcp_connect']\n",
    );
    let config = write(
        folder.path(),
        "w.yaml",
        "receivers:\n  probe/lan: {interval: 1m, target_files: [t.yaml, later.yaml]}\n\
         exporters: {prometheus_remote_write: {endpoint: 'http://127.0.0.1/w', headers: {Authorization: 'Basic ${env:NOT_SET}'}}}\n",
    );
    let output = run(&["check", "--config", &config, "--print"]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    for expected in [
        "warning: receivers.probe/lan.target_files[1]",
        "later.yaml: no such file; its targets are watched when it appears",
        "warning: exporters.prometheus_remote_write.headers.Authorization: the variable NOT_SET is not set",
        "t.yaml:1: warning: 6 fields in",
        "is not host:port, which a tcp module needs",
        "192.0.2.1  module icmp  every 1m0s  timeout 10s  {humanname=\"router\", routing=\"lan\"}  from ",
        "0 errors, 2 warnings, 2 warnings in target files; 1 targets",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    // `run` needs what `check` does not.
    assert_eq!(run(&["run", "--config", &config]).status.code(), Some(64));
}

#[test]
fn wrong_use_exits_64_and_help_0() {
    for arguments in [
        &["--no-such-flag"][..],
        &["probe"],
        &["nonsense"],
        &["check"],
        &["probe", "a b"],
        &["probe", "http://127.0.0.1/", "-m", "icmp"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [&["--help"][..], &["--version"], &["probe", "--help"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty());
    }
}

#[test]
fn probe_tells_as_a_person_reads_it() {
    let authority = Authority::new("home authority", 100);
    let folder = tempfile::tempdir().unwrap();
    let ca = pem_file(&folder, "ca.pem", &authority.pem());
    let config = write(
        folder.path(),
        "w.yaml",
        &format!(
            "modules: {{home: {{prober: http, http: {{preferred_ip_protocol: ip4, tls_config: {{ca_file: {}}}}}}}}}\n",
            ca.display()
        ),
    );
    let server = Server::https(
        authority.leaf(&["127.0.0.1", "web.invalid"], -1, 9).server(&[], &[]),
        |_| Response::new(200, "hello"),
    );
    let url = format!("https://{}/", server.address);
    let output = run(&["probe", &url, "-m", "home", "--config", &config]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    for expected in [
        " is up (",
        "resolve",
        "connect",
        "tls",
        "processing",
        "transfer",
        "━",
        "200 over HTTP/1.1, 5 bytes",
        "TLS 1.3",
        "CN=leaf",
        "CN=home authority",
        "days left",
        "127.0.0.1",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
    assert!(!out.contains('\x1b'), "a pipe gets no colour");
    let output = watchpost()
        .args(["probe", &url, "-m", "home", "--config", &config, "--color", "always"])
        .output()
        .unwrap();
    assert!(text(&output.stdout).contains("\x1b[32mup"));

    // The same server without the authority: down, and why, and the certificate all the same.
    let output = run(&["probe", &url]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    for expected in [
        "is down",
        "tls_untrusted: the certificate is not signed by anyone trusted, while the TLS handshake",
        "CN=home authority",
    ] {
        assert!(out.contains(expected), "{expected}\n{out}");
    }
}

#[test]
fn probe_prints_json() {
    let server = Server::http(|_| Response::new(404, "gone"));
    let output = run(&["probe", &format!("http://user:pw@{}/x", server.address), "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["target"], format!("http://{}/x", server.address), "without userinfo");
    assert_eq!(json["module"], "http_2xx");
    assert_eq!(json["up"], false);
    assert_eq!(json["reason"], "http_status");
    assert_eq!(json["phase"], "processing");
    assert_eq!(json["address"], "127.0.0.1");
    assert_eq!(json["ip_protocol"], 4);
    assert_eq!(json["http"]["status"], 404);
    assert!(
        json["duration"].as_f64().unwrap() > 0.0
            && json["phases"]["connect"].as_f64().unwrap() > 0.0
    );
    assert!(json["started"].as_str().unwrap().ends_with('Z'));

    let output = run(&["probe", &format!("127.0.0.1:{}", free_port()), "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["reason"], "connection_refused");
    assert!(json.get("http").is_none());
}

#[test]
fn a_taken_port_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = taken.local_addr().unwrap();
    let config = write(
        folder.path(),
        "w.yaml",
        &format!(
            "receivers: {{probe: {{targets: ['127.0.0.1:1']}}}}\nhttp: {{listen: '{address}'}}\n"
        ),
    );
    let output = run(&["--config", &config]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(
        error.contains(&format!("http.listen {address}")) && error.contains("another port"),
        "{error}"
    );
}

#[test]
fn a_reader_who_goes_away_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), "w.yaml", "receivers: {probe: {targets: ['127.0.0.1:1']}}\n");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = watchpost()
        .args(["check", "--print", "--config", &config])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

#[test]
fn targets_that_would_write_one_series_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let targets = "['127.0.0.1:1;x', '127.0.0.1:1;x;;;ssh_banner', '127.0.0.1:1;y;;;ssh_banner']";
    let config =
        write(folder.path(), "w.yaml", &format!("receivers: {{probe: {{targets: {targets}}}}}\n"));
    let out = text(&run(&["check", "--config", &config]).stdout);
    assert!(out.contains("127.0.0.1:1 would write the same series as the target at"), "{out}");
    assert!(out.contains("; 2 targets"), "{out}");
}

/// The files of real users: none makes it panic, good ones are read, wrong ones are refused.
#[test]
fn files_of_real_users() {
    let Some(inputs) = std::env::var_os("WATCHPOST_INPUTS") else {
        // Not a peer: these files are not part of the project, so this is never a failure.
        eprintln!("skipped files_of_real_users: WATCHPOST_INPUTS is not set");
        if std::env::var_os("CI").is_none() {
            skip("files_of_real_users", "WATCHPOST_INPUTS is not set");
        }
        return;
    };
    let mut files = Vec::new();
    walk(Path::new(&inputs), &mut files);
    let mut read = 0;
    for path in &files {
        let name = path.display().to_string();
        let family =
            ["pinghosts.yaml", "ping-lan.yaml", "httphosts.yaml"].iter().any(|n| name.ends_with(n));
        if family || name.contains("/file_sd/") {
            let content = watchpost_targets::read(path).unwrap_or_else(|error| panic!("{error}"));
            let nulls = name.contains("invalid_nil");
            assert_eq!(
                content.problems.len(),
                usize::from(nulls),
                "{name}: {:?}",
                content.problems
            );
            assert!(content.targets.len() >= 2, "{name}");
            read += 1;
        }
        let blackbox = name.contains("/blackbox/") && name.ends_with(".yml");
        if blackbox || name.contains("/otel/") || name.contains("/gatus/") {
            let output = run(&["check", "--config", &name]);
            let out = text(&output.stdout);
            assert!(matches!(output.status.code(), Some(0 | 64)), "{name}: {out}");
            if name.contains("/testdata/invalid-") {
                assert_eq!(output.status.code(), Some(64), "{name}: {out}");
            }
            if name.ends_with("blackbox_exporter/blackbox.yml") {
                let others: Vec<&str> = out
                    .lines()
                    .filter(|l| {
                        l.contains(": error: ")
                            && !l.contains("not supported yet")
                            && !l.contains("HTTP/3")
                    })
                    .collect();
                assert!(others.is_empty(), "{others:#?}");
            }
        }
    }
    assert!(read >= 10, "{read} files of targets were read");
}

fn walk(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

/// What `init` writes from this machine is a configuration, and it replaces nothing by itself.
#[test]
fn init_writes_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("etc/watchpost.yaml");
    let path = file.to_str().unwrap();
    let output = run(&["init", "--output", path]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("probe/internet") && text.contains("host_metrics"), "{text}");
    assert_eq!(run(&["check", "--config", path]).status.code(), Some(0), "{text}");
    let again = run(&["init", "--output", path]);
    assert_eq!(again.status.code(), Some(64), "{again:?}");
    assert_eq!(run(&["init", "--output", path, "--force"]).status.code(), Some(0));
    let shown = run(&["init"]);
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), text);
}
