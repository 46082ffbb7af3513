//! What the daemon tells of itself: spans of runs, exports and reloads.

use serde_json::Value;

use crate::support::daemon::{Daemon, Sink, write};
use crate::support::otlp_reader::{MISSING, Reader};
use crate::support::{free_port, skip, until};

#[test]
fn runs_exports_and_reloads_are_told_as_spans() {
    let name = "runs_exports_and_reloads_are_told_as_spans";
    let Some(reader) = Reader::start(&[]) else { return skip(name, MISSING) };
    let (folder, sink, port) = (tempfile::tempdir().unwrap(), Sink::new(), free_port());
    let config = |telemetry: &str| {
        format!(
            "receivers: {{probe/x: {{interval: 1s, targets: ['127.0.0.1:{port};Closed']}}}}\n{}\
             service: {{telemetry: {{{telemetry}}}}}\n",
            sink.exporters()
        )
    };
    // Off unless it is asked for.
    write(folder.path(), "w.yaml", &config(""));
    let mut daemon = Daemon::start(&folder.path().join("w.yaml"));
    until("samples", || (sink.count() > 0).then_some(()));
    assert!(reader.spans().is_empty());
    let traces = format!(
        "resource: {{deployment: test}}, traces: {{processors: [{{batch: {{exporter: {{otlp: {{protocol: grpc, endpoint: 'http://{}', headers: {{authorization: Bearer s}}}}}}}}}}]}}",
        reader.grpc
    );
    write(folder.path(), "w.yaml", &config(&traces));
    daemon.signal("-HUP");
    until("the reload", || {
        (daemon.log().matches("the configuration is taken over").count() == 1).then_some(())
    });
    // This one is told: its span comes with the others when the daemon ends, or before.
    daemon.signal("-HUP");
    until("another reload", || {
        (daemon.log().matches("the configuration is taken over").count() >= 2).then_some(())
    });
    let before = sink.count();
    until("an export", || (sink.count() > before).then_some(()));
    let begin = std::time::Instant::now();
    assert_eq!(daemon.stop(), 0);
    assert!(begin.elapsed().as_secs() < 5, "the end waits for nobody");
    let spans = reader.spans();
    let of =
        |name: &str| spans.iter().filter(|s| s["name"] == name).cloned().collect::<Vec<Value>>();
    let (probes, exports, reloads) = (of("probe"), of("export"), of("reload"));
    assert!(!probes.is_empty() && !exports.is_empty() && !reloads.is_empty(), "{spans:?}");
    let run = &probes[0];
    assert_eq!(run["status"], 2, "a target that is down: {run}");
    assert_eq!(run["attributes"]["error.type"]["string"], "connection_refused", "{run}");
    assert_eq!(run["attributes"]["watchpost.receiver"]["string"], "x", "{run}");
    assert!(run["start"].as_u64() <= run["end"].as_u64(), "{run}");
    let sent = &exports[0]["attributes"];
    assert_eq!(sent["watchpost.result"]["string"], "sent", "{sent}");
    assert_eq!(sent["watchpost.exporter"]["string"], "prometheus_remote_write", "{sent}");
    for span in &spans {
        assert_eq!(span["scope"], "watchpost");
        assert_eq!(span["resource"]["service.name"]["string"], "watchpost");
        assert_eq!(span["resource"]["deployment"]["string"], "test");
        assert_eq!(span["authorization"], "Bearer s");
        // What sends spans makes none.
        let known = ["probe", "export", "reload"];
        assert!(known.contains(&span["name"].as_str().unwrap()), "{span}");
    }
}

#[test]
fn nobody_who_takes_spans_holds_nothing_up() {
    let (folder, sink, port) = (tempfile::tempdir().unwrap(), Sink::new(), free_port());
    let config = format!(
        "receivers: {{probe/x: {{interval: 1s, targets: ['127.0.0.1:{port};Closed']}}}}\n{}\
         service: {{telemetry: {{traces: {{processors: [{{batch: {{exporter: {{otlp: {{endpoint: 'http://127.0.0.1:{}'}}}}}}}}]}}}}}}\n",
        sink.exporters(),
        free_port(),
    );
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    until("samples", || (sink.of("probe_success").len() >= 2).then_some(()));
    let begin = std::time::Instant::now();
    assert_eq!(daemon.stop(), 0);
    assert!(begin.elapsed().as_secs() <= 6, "{:?}", begin.elapsed());
}
