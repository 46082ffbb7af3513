//! What stands between receivers and exporters, as a user writes it: processors, several pipelines,
//! exporters beside the queues, extensions, what is left out.

use std::path::Path;
use std::process::Stdio;

use crate::support::daemon::{Daemon, Sink, write};
use crate::support::peers;
use crate::support::servers::{Response, Server};
use crate::support::{free_port, get, run, skip, until, watchpost};

/// Targets that need no server: one address that answers to nothing.
fn targets() -> String {
    let refused = free_port();
    format!("['127.0.0.1:{refused};Closed;internal', '127.0.0.2:{refused};Other;external']")
}

#[test]
fn pipelines_filter_change_and_share_an_exporter() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::new();
    let config = format!(
        r#"
receivers:
  probe/a: {{interval: 1s, targets: {targets}}}
  probe/b: {{interval: 1s, targets: {targets}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: 100}}
  resourcedetection: {{detectors: [env, system], system: {{hostname_sources: [os]}}, override: false}}
  resource/site: {{attributes: [{{key: site, value: "${{env:SITE}}", action: insert}}, {{key: service.namespace, from_attribute: site, action: upsert}}]}}
  attributes: {{actions: [{{key: routing, action: delete}}, {{key: humanname, action: upsert, value: someone}}]}}
  filter/few:
    error_mode: propagate
    metrics: {{datapoint: ['not (metric.name == "probe.success" or metric.name == "probe.attempts")', 'attributes["routing"] == "external"']}}
  filter/values: {{metric_conditions: ['metric.name != "probe.success" or datapoint.value_double > 5']}}
exporters:
  prometheusremotewrite: {{endpoint: '{url}', resource_to_telemetry_conversion: {{enabled: true}}, sending_queue: {{batch: {{flush_timeout: 100ms}}}}}}
service:
  pipelines:
    metrics: {{receivers: [probe/a], processors: [memory_limiter, filter/few, resourcedetection, resource/site], exporters: [prometheusremotewrite]}}
    metrics/b: {{receivers: [probe/b], processors: [filter/values, attributes], exporters: [prometheusremotewrite]}}
  telemetry: {{metrics: {{level: none}}}}
http: {{listen: '127.0.0.1:0'}}
"#,
        targets = targets(),
        url = sink.server.url("/api/v1/write"),
    );
    let path = write(folder.path(), "w.yaml", &config);
    let mut daemon = Daemon::start_with(&path, |command| {
        command
            .env("SITE", "home")
            .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=lab%20one");
    });
    let both =
        || !sink.of("probe_success{").is_empty() && !sink.of("probe_attempts_total").is_empty();
    until("samples of both pipelines", || {
        let samples = sink.samples.lock().unwrap();
        let of = |part: &str| samples.iter().any(|(series, ..)| series.contains(part));
        (of("job=\"home/a\"") && of("job=\"b\"")).then_some(())
    });
    assert!(both());
    assert_eq!(daemon.stop(), 0);
    let samples = sink.samples.lock().unwrap();
    let mut names: Vec<&str> = samples.iter().filter_map(|(s, ..)| s.split('{').next()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(
        names,
        ["probe_attempts_total", "probe_success", "target_info"],
        "nothing else came"
    );
    for (series, ..) in samples.iter().filter(|(series, ..)| !series.starts_with("target_info")) {
        let has = |part: &str| series.contains(part);
        if has("job=\"home/a\"") {
            assert!(has("humanname=\"Closed\"") && !has("external"), "{series}");
            assert!(
                has("site=\"home\"") && has("host_name=\"") && has("os_type=\"linux\""),
                "{series}"
            );
            assert!(has("deployment_environment=\"lab one\""), "{series}");
        } else {
            assert!(
                has("job=\"b\"") && has("humanname=\"someone\"") && !has("routing"),
                "{series}"
            );
            assert!(series.starts_with("probe_success{") && !has("site="), "{series}");
        }
    }
}

/// The address of a scrape endpoint, and its text once it has something.
fn scraped(address: std::net::SocketAddr, path: &str, part: &str) -> String {
    until(part, || get(address, path).map(|(_, body)| body).filter(|body| body.contains(part)))
}

#[test]
fn a_real_prometheus_scrapes_both_ways() {
    let name = "a_real_prometheus_scrapes_both_ways";
    let folder = tempfile::tempdir().unwrap();
    let web = Server::http(|_| Response::new(200, "welcome"));
    let port = free_port();
    let config = format!(
        "receivers: {{probe/web: {{interval: 1s, targets: ['{}', '127.0.0.1:{};Closed'], metrics: {{probe.latency: {{enabled: true}}}}}}}}\n\
         exporters:\n  prometheus: {{endpoint: '127.0.0.1:{port}', const_labels: {{site: home}}, send_timestamps: true}}\n  prometheus/page: {{namespace: wp}}\n\
         http: {{listen: '127.0.0.1:0'}}\n",
        web.url("/"),
        free_port(),
    );
    let path = write(folder.path(), "w.yaml", &config);
    let mut daemon = Daemon::start(&path);
    let own = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let text = scraped(own, "/metrics", "probe_success{");
    assert!(
        text.contains("# TYPE probe_success gauge") && text.contains("site=\"home\""),
        "{text}"
    );
    let mounted = scraped(daemon.page, "/metrics/prometheus/page", "wp_probe_success{");
    assert!(!mounted.contains("site="), "{mounted}");
    assert_eq!(get(daemon.page, "/metrics/none").unwrap().0, 404);
    let scrape = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
         - {{job_name: own, honor_labels: true, static_configs: [{{targets: ['{own}']}}]}}\n\
         - {{job_name: page, honor_labels: true, metrics_path: /metrics/prometheus/page, static_configs: [{{targets: ['{}']}}]}}\n",
        daemon.page
    );
    let Some(prometheus) = peers::prometheus_with(folder.path(), free_port(), &scrape) else {
        return skip(name, "prometheus is not installed");
    };
    until("both scrapes", || {
        (prometheus.query("probe_success{job=\"web\"}").len() == 2
            && prometheus.query("wp_probe_success{job=\"web\"}").len() == 2)
            .then_some(())
    });
    // With honor_labels the series keep the names of their targets, as by remote write.
    let up = format!("probe_success{{instance=\"{}\",job=\"web\",site=\"home\"}}", web.url("/"));
    assert_eq!(prometheus.query(&up).first().map(|(_, value)| *value), Some(1.0));
    assert_eq!(prometheus.query("up").iter().filter(|(_, value)| *value == 1.0).count(), 2);
    assert_eq!(prometheus.query("probe_attempts_total{kind=\"scheduled\"}").len(), 2);
    assert!(!prometheus.query("target_info{job=\"web\",server_address=\"127.0.0.1\"}").is_empty());
    assert!(!prometheus.query("wp_watchpost_slots_total").is_empty(), "own metrics, too");
    assert_eq!(prometheus.query("probe_latency_seconds_count{job=\"web\"}").len(), 2);
    // A target that goes away is gone at once, not after five minutes.
    write(folder.path(), "w.yaml", &config.replace(&format!("'{}', ", web.url("/")), ""));
    // But for what is sent with its time: Prometheus looks back five minutes for that.
    until("the end of a series", || {
        (prometheus.query("wp_probe_success{job=\"web\"}").len() == 1).then_some(())
    });
    let left = get(own, "/metrics").unwrap().1;
    assert!(!left.contains(&web.url("/")) && left.contains("humanname=\"Closed\""), "{left}");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn debug_tells_and_the_health_check_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (health, second) = (free_port(), free_port());
    let config = format!(
        "receivers: {{probe/x: {{interval: 1s, targets: {}}}}}\n\
         exporters: {{logging: {{verbosity: normal}}, debug/all: {{verbosity: detailed}}}}\n\
         extensions:\n  health_check: {{endpoint: '127.0.0.1:{health}', path: /health/}}\n  health_check/text: {{endpoint: 'localhost:{second}', response_body: {{healthy: fine, unhealthy: ill}}}}\n\
         http: {{listen: '127.0.0.1:0'}}\n",
        targets(),
    );
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", &config));
    until("a told sample", || {
        let log = daemon.log();
        (log.contains("\nprobe.success{humanname=Closed,routing=internal} 0")
            && log.contains("\n  -> service.name: x"))
        .then_some(())
    });
    assert!(daemon.log().contains("older names of components are read: logging is debug"));
    let health = std::net::SocketAddr::from(([127, 0, 0, 1], health));
    let (status, body) = get(health, "/health/").unwrap();
    assert!(status == 200 && body.contains(r#""status":"Server available""#), "{body}");
    assert!(body.contains("upSince") && body.contains("uptime"), "{body}");
    assert_eq!(get(health, "/").unwrap().0, 404);
    let second = std::net::SocketAddr::from(([127, 0, 0, 1], second));
    assert_eq!(get(second, "/"), Some((200, "fine".to_owned())));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn an_address_that_is_wanted_twice_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = format!(
        "exporters: {{prometheus: {{endpoint: '127.0.0.1:{port}'}}}}\nextensions: {{health_check: {{endpoint: '127.0.0.1:{port}'}}}}\nhttp: {{listen: '127.0.0.1:0'}}\n\
         receivers: {{probe: {{targets: {}}}}}\n",
        targets()
    );
    let path = write(folder.path(), "w.yaml", &config);
    let output = run(&["run", "--config", path.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(
            "wanted by exporters.prometheus.endpoint and by extensions.health_check.endpoint"
        ),
        "{text}"
    );
}

const SKIPPED: &str = r#"
receivers:
  otlp: {protocols: {grpc: {}}}
  probe/a: {interval: 1s, targets: ['127.0.0.1:1']}
processors:
  transform: {metric_statements: []}
  batch:
exporters:
  debug:
  kafka: {brokers: []}
  prometheusremotewrite: {endpoint: 'http://127.0.0.1:1/', wal: {directory: /none}}
connectors: {count: }
extensions: {zpages: , health_check: {endpoint: '127.0.0.1:HEALTH'}}
service:
  extensions: [zpages, health_check]
  pipelines:
    traces: {receivers: [otlp], exporters: [count]}
    metrics: {receivers: [otlp, probe/a], processors: [transform, batch], exporters: [debug, kafka, prometheusremotewrite]}
    metrics/count: {receivers: [count], exporters: [debug]}
http: {listen: '127.0.0.1:0'}
"#;

#[test]
fn what_does_not_exist_here_is_named_and_can_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let text = SKIPPED.replace("HEALTH", &free_port().to_string());
    let path = write(folder.path(), "w.yaml", &text);
    let path = path.to_str().unwrap();
    let output = run(&["check", "--config", path]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(64), "{told}");
    for part in [
        "receivers.otlp: the receiver \"otlp\" is not supported yet",
        "processors.transform: the processor \"transform\" is not supported yet",
        "exporters.kafka: the exporter \"kafka\" is not supported yet",
        "exporters.prometheusremotewrite.wal: this key is not supported yet",
        "connectors.count: the connector \"count\" is not supported yet",
        "extensions.zpages: the extension \"zpages\" is not supported yet",
        "service.pipelines.traces: pipelines of traces are not supported yet",
    ] {
        let line = told.lines().find(|line| line.contains(part));
        assert!(line.is_some_and(|line| line.contains(": error: ")), "{part}\n{told}");
    }
    let mut daemon = Daemon::start_with(Path::new(path), |command| {
        command.args(["--set", "service.unsupported=skip"]);
    });
    let (_, page) = get(daemon.page, "/").unwrap();
    assert!(page.contains("Left out") && page.contains("  exporters.kafka\n"), "{page}");
    let metrics = daemon.metrics();
    assert_eq!(metrics["watchpost_config_unsupported{path=\"processors.transform\"}"], 1.0);
    assert_eq!(daemon.stop(), 0);
    // Nothing is left to run.
    let nothing = "receivers: {otlp: }\nexporters: {debug: }\nservice: {unsupported: skip, pipelines: {metrics: {receivers: [otlp], exporters: [debug]}}}\n";
    let path = write(folder.path(), "n.yaml", nothing);
    let output = run(&["run", "--config", path.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{told}");
    assert!(told.contains("service.pipelines: no pipeline is left"), "{told}");
    assert!(told.contains("service.pipelines.metrics: no receiver is left"), "{told}");
}

#[test]
fn several_configurations_and_single_values() {
    let folder = tempfile::tempdir().unwrap();
    let base = write(
        folder.path(),
        "base.yaml",
        "receivers: {probe/a: {interval: 1s, target_files: [lists/*.yaml]}}\nexporters: {debug: {verbosity: basic}}\nhttp: {listen: '127.0.0.1:0'}\n",
    );
    std::fs::create_dir(folder.path().join("more")).unwrap();
    std::fs::create_dir(folder.path().join("more/lists")).unwrap();
    write(&folder.path().join("more/lists"), "t.yaml", "- targets: ['127.0.0.1:1;T']\n");
    let more = write(
        &folder.path().join("more"),
        "more.yaml",
        "receivers: {probe/b: {interval: 2s, target_files: [lists/*.yaml]}}\nexporters: {debug: {verbosity: detailed}}\n",
    );
    let (base, more) = (base.display().to_string(), format!("file:{}", more.display()));
    let mut command = watchpost();
    command.args([
        "check",
        "--print",
        "--config",
        &base,
        "--config",
        &more,
        "--config",
        "env:THIRD",
    ]);
    command.args(["--set", "receivers.probe/a.interval=30s", "--set", "vantage=there"]);
    let third = "receivers: {probe/c: {targets: ['127.0.0.1:9;Third']}}";
    let output = command.env("THIRD", third).stderr(Stdio::piped()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("probe/a (job a): 0 targets"), "relative to its own file: {told}");
    assert!(told.contains("probe/b (job b): 1 targets"), "{told}");
    assert!(told.contains("every 2s") && told.contains("probe/c (job c): 1 targets"), "{told}");
    assert!(told.contains("base.yaml, ") && told.contains("more.yaml, env:THIRD"), "{told}");
    let output = run(&["check", "--config", &base, "--set", "receivers.probe/a.interval=3"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("--set receivers.probe/a.interval:1:1: error: receivers.probe/a.interval: \"3\" has no unit"), "{told}");
}

/// Every file of a real user loads, or it is named exactly what is missing; with
/// `unsupported: skip` nothing is missing any more.
#[test]
fn real_users_files() {
    let Some(inputs) = std::env::var_os("WATCHPOST_INPUTS") else {
        return skip_quietly("real_users_files", "WATCHPOST_INPUTS is not set");
    };
    let mut found = 0;
    let mut folders = vec![Path::new(&inputs).join("otel")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            found += 1;
            let check = |more: &[&str]| {
                let mut command = watchpost();
                command.args(["check", "--config", path.to_str().unwrap()]).args(more);
                let output = command.output().unwrap();
                (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
            };
            let (_, told) = check(&[]);
            for line in told.lines().filter(|line| line.contains(": error: ")) {
                assert!(line.ends_with("not supported yet"), "{line}");
            }
            let (code, told) = check(&["--set", "service.unsupported=skip"]);
            let errors: Vec<&str> = told.lines().filter(|l| l.contains(": error: ")).collect();
            let nothing_left = errors.iter().all(|line| line.ends_with("no pipeline is left"));
            assert!(nothing_left && (code == Some(0)) == errors.is_empty(), "{told}");
        }
    }
    assert!(found >= 4, "{found} files");
}

/// Real users' files are nowhere but where they were collected, not in CI either.
fn skip_quietly(name: &str, reason: &str) {
    eprintln!("skipped {name}: {reason}");
    if let Some(path) = std::env::var_os("WATCHPOST_SKIPS") {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "skipped {name}: {reason}").unwrap();
    }
}
