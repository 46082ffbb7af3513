//! Secrets that must not come out: backends that echo them, keys that are none, queries.

use crate::support::daemon::{Daemon, write};
use crate::support::servers::{Request, Response, Server};
use crate::support::{run, until, watchpost};

#[test]
fn a_backend_that_echoes_our_request_brings_no_secret_into_the_log() {
    let echo = |request: &Request| {
        let headers = request.headers.iter().map(|(name, value)| format!("{name}={value} "));
        Response::new(500, headers.collect::<String>())
    };
    let server = Server::http(echo);
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "receivers: {{probe: {{targets: ['127.0.0.1']}}}}\n\
         extensions: {{basicauth: {{client_auth: {{username: me, password: CANARY-pass}}}}}}\n\
         exporters:\n  prometheus_remote_write: {{endpoint: '{0}', headers: {{X-Key: CANARY-head}}, auth: {{authenticator: basicauth}}}}\n  \
         otlp_http: {{endpoint: '{0}', headers: {{Authorization: Bearer CANARY-token}}}}\n\
         service: {{extensions: [basicauth]}}\nhttp: {{listen: '127.0.0.1:0'}}\n",
        server.url("/")
    );
    let daemon = Daemon::start(&write(folder.path(), "w.yaml", &text));
    let log = until("both have failed", || {
        let log = daemon.log();
        (log.matches("sending failed: 500").count() >= 2).then_some(log)
    });
    // me:CANARY-pass
    for secret in ["CANARY", "bWU6Q0FOQVJZLXBhc3M", "Q0FOQVJZ"] {
        assert!(!log.contains(secret), "{secret} in\n{log}");
    }
    assert!(log.contains("[secret]"), "{log}");
}

#[test]
fn what_came_from_outside_is_not_shown_in_problems_or_printed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "secret", "CANARY-file\n");
    let text = "receivers: {probe: {interval: '${env:SECRET}', targets: ['127.0.0.1']}}\n\
        exporters:\n  prometheus_remote_write: {endpoint: 'http://127.0.0.1/w', tls: {min_version: '${file:secret}'}}\n";
    let path = write(folder.path(), "w.yaml", text);
    let output = watchpost()
        .args(["check", "--config", path.to_str().unwrap()])
        .env("SECRET", "CANARY-env")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("the value of ${file:secret} is neither 1.2 nor 1.3"), "{told}");
    assert!(told.contains("the value of ${env:SECRET}"), "{told}");
    assert!(!told.contains("CANARY"), "{told}");

    // Problems of the start only.
    let text = "receivers: {probe: {targets: ['127.0.0.1']}}\nhttp: {listen: '127.0.0.1:0'}\n\
        exporters: {prometheus_remote_write: {endpoint: 'https://127.0.0.1/w', tls: {ca_file: '${env:SECRET}'}}}\n";
    let path = write(folder.path(), "s.yaml", text);
    let output = watchpost()
        .args(["run", "--config", path.to_str().unwrap()])
        .env("SECRET", "CANARY-env")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("the value of ${env:SECRET}"), "{told}");
    assert!(!told.contains("CANARY"), "{told}");

    let text = "receivers: {probe: {targets: ['127.0.0.1']}}\n\
        exporters: {prometheus_remote_write: {endpoint: 'http://127.0.0.1/w?key=CANARY'}}\n";
    let path = write(folder.path(), "q.yaml", text);
    let output = run(&["check", "--print", "--config", path.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("http://127.0.0.1/w?…"), "{told}");
    assert!(!told.contains("CANARY"), "{told}");
}

#[test]
fn check_warns_of_what_is_dangerous() {
    let folder = tempfile::tempdir().unwrap();
    let text = "receivers: {probe: {targets: ['http://a.invalid/?token=CANARY']}}\n\
        http: {listen: '0.0.0.0:9115'}\nexporters: {prometheus: {}}\n";
    let path = write(folder.path(), "w.yaml", text);
    let output = run(&["check", "--config", path.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("w.yaml:2:16: warning: http.listen: listens on every address"), "{told}");
    assert!(told.contains("w.yaml:1: warning: http://a.invalid/: the query has token=…"), "{told}");
    assert!(!told.contains("CANARY"), "{told}");
    let help = run(&["run", "--help"]);
    let help = String::from_utf8_lossy(&help.stdout);
    assert!(help.contains("/proc/PID/cmdline") && help.contains("${file:path}"), "{help}");
}
