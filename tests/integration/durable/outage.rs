//! A backend that is away for long, while the daemon is restarted and killed: all of it arrives later, in order, and sooner
//! than it came. Real backends get it, too, and what they refuse is counted.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use watchpost::wire::remote_write::{Encoder, SeriesLabels, encode_labels};

use super::{Books, PAUSE, REST, Scene, files, gaps, in_order, number, queued};
use crate::support::daemon::{Daemon, write};
use crate::support::peers;
use crate::support::probed::Probed;
use crate::support::recorder::{Mood, Recorder, wall};
use crate::support::{free_port, skip, until};

/// Addresses of loopback that take connections.
const TARGETS: usize = 50;
/// Receivers, each with all targets: 5000 slots a second.
const RECEIVERS: usize = 100;
/// Slots of a day of 50 targets at 15 s.
const DAY: u64 = 24 * 3600 / 15 * 50;
/// How long a backlog may take at most.
const DRAIN: Duration = Duration::from_secs(300);

/// Takes connections at many addresses, and says nothing.
struct Listeners {
    port: u16,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Listeners {
    fn new() -> Self {
        let port = free_port();
        let bind =
            |n| TcpListener::bind(SocketAddr::from(([127, 0, 0, n as u8 + 1], port))).unwrap();
        let listeners: Vec<TcpListener> = (0..TARGETS).map(bind).collect();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for listener in listeners {
                    listener.set_nonblocking(true).unwrap();
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    tasks.spawn(async move {
                        loop {
                            drop(listener.accept().await);
                        }
                    });
                }
                let _ = stopped.await;
            });
        });
        Self { port, stop: Some(stop) }
    }

    fn config(&self, folder: &Path, receivers: usize, interval: &str, exporters: &str) {
        let list: Vec<String> =
            (1..=TARGETS).map(|n| format!("'127.0.0.{n}:{};t{n}'", self.port)).collect();
        let list = list.join(", ");
        let receivers: String = (0..receivers)
            .map(|r| format!("  probe/r{r}: {{interval: {interval}, targets: [{list}]}}\n"))
            .collect();
        let state = folder.join("state");
        let text = format!(
            "receivers:\n{receivers}{exporters}storage: {{directory: '{}', queue: {{max_size_mib: 4096, max_age: 0s}}}}\n{REST}",
            state.display()
        );
        write(folder, "watchpost.yaml", &text);
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

/// Waits until nothing waits any more.
fn drained(daemon: &Daemon) {
    let begin = Instant::now();
    while queued(daemon) != Some(0.0) {
        assert!(begin.elapsed() < DRAIN, "{:?} of the backlog are left", queued(daemon));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What did not come to the queue: slots that were skipped, and samples for which the ring before it had no room.
fn left_out_by(daemon: &mut Daemon) -> (f64, f64) {
    daemon.ready();
    let metrics = daemon.metrics();
    let skipped = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("watchpost_slots_total") && name.contains("skipped"));
    (skipped.map(|(_, count)| count).sum(), metrics["watchpost_ring_dropped_samples_total"])
}

#[test]
fn a_day_of_backlog_with_a_restart_and_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene { folder, probed: Probed::new(), recorder: Recorder::new() };
    let listeners = Listeners::new();
    let config = |interval: &str| {
        let exporters = scene.recorder.exporters();
        listeners.config(scene.folder.path(), RECEIVERS, interval, &exporters);
    };
    config("1s");
    let starts = std::cell::RefCell::new(Vec::new());
    let start = || {
        starts.borrow_mut().push(wall());
        Daemon::spawn(&scene.config(), |_| {})
    };
    let mut daemon = start();
    until("requests", || (scene.recorder.count() > 3).then_some(()));
    scene.recorder.set(Mood::Unavailable);
    let begin = Instant::now();
    let third = Duration::from_secs(number("WATCHPOST_OUTAGE", 45)) / 3;
    std::thread::sleep(third);
    let mut left_out = vec![left_out_by(&mut daemon)];
    let stopping = Instant::now();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    let stopped = stopping.elapsed();
    let mut daemon = start();
    std::thread::sleep(third);
    left_out.push(left_out_by(&mut daemon));
    daemon.kill();
    let mut daemon = start();
    std::thread::sleep(third);
    left_out.push(left_out_by(&mut daemon));
    let memory = daemon.metrics()["process_memory_usage_bytes"] / 1048576.0;
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    let came = begin.elapsed();
    scene.recorder.settle();
    let backlog = Books::of(&scene.directory());
    let segments = files(&scene.directory(), ".seg");
    let bytes: u64 = segments.iter().map(|path| std::fs::metadata(path).unwrap().len()).sum();

    // It comes back to one that measures nothing new: what is seen now is the backlog.
    config("1h");
    scene.recorder.set(Mood::Takes);
    let begin = Instant::now();
    let mut daemon = start();
    daemon.ready();
    let ready = begin.elapsed();
    drained(&daemon);
    let took = begin.elapsed();
    let memory_then = daemon.metrics()["process_memory_usage_bytes"] / 1048576.0;
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    let books = Books::of(&scene.directory());
    let requests = scene.recorder.requests(0);
    let up = requests.names.iter().map(|name| name.starts_with("probe_success{"));
    let up: Vec<bool> = up.collect();
    let all = requests.list.iter().flat_map(|request| &request.samples);
    let slots = all.filter(|sample| up[sample.series as usize]).count() as u64;
    let rate = backlog.queued as f64 / took.as_secs_f64();
    let per_slot = requests.samples() as f64 / slots as f64;
    let day = DAY as f64 * per_slot;
    eprintln!(
        "{slots} slots, {:.0} % of a day of 50 targets at 15 s; {} samples waited, {bytes} bytes in {} segments, {:.2} a sample, \
         {memory:.0} MiB of memory; they came in {came:.1?} and went in {took:.1?}, {rate:.0}/s: {:.1} times as fast as here, {:.0} \
         times as fast as on that day, which takes {:.0} s; the page was there in {ready:.2?} (the end took {stopped:.2?}), \
         {memory_then:.0} MiB",
        slots as f64 / DAY as f64 * 100.0,
        backlog.queued,
        segments.len(),
        bytes as f64 / backlog.queued as f64,
        came.as_secs_f64() / took.as_secs_f64(),
        rate / (day / 86_400.0),
        day / rate,
    );
    in_order(&requests);
    assert_eq!((books.queued, books.dropped, books.rejected), (0, 0, 0), "{books:?}");
    assert_eq!(books.sent, requests.samples() as u64, "{books:?}");
    assert!(took < came, "a backlog goes faster than it comes: {took:?}, {came:?}");
    assert!(files(&scene.directory(), ".seg").len() <= 2, "what was sent does not stay");
    // Each target has a sample for each second, but where nobody was there to probe it.
    let mut last: Vec<Option<i64>> = vec![None; requests.names.len()];
    let mut holes = vec![Vec::new(); requests.names.len()];
    // The last one, which probes each hour, comes to one or another in its time, too.
    let begun = *starts.borrow().last().unwrap();
    let all = requests.list.iter().flat_map(|request| &request.samples);
    for sample in all.filter(|sample| sample.at < begun) {
        let before = last[sample.series as usize].replace(sample.at);
        if let Some(before) = before.filter(|_| up[sample.series as usize])
            && sample.at - before > 1_050
        {
            holes[sample.series as usize].push((before, sample.at));
        }
    }
    // Two of each series are those of the starts; a slot that was skipped, because the machine was busy, takes the one before it along.
    let more: usize = holes.iter().map(|holes| holes.len().saturating_sub(2)).sum();
    let skipped: f64 = left_out.iter().map(|(skipped, _)| skipped).sum();
    let first = holes.iter().find(|holes| holes.len() > 2);
    let told = format!("{first:?}, started at {starts:?}, left out (slots, ring) {left_out:?}");
    assert!(more as f64 <= skipped, "{more} holes beside those of two starts: {told}");
    assert!(left_out.iter().all(|(_, ring)| *ring == 0.0), "{told}");
}

/// While a large backlog leaves, targets are probed when they are due, as they were while it waited.
#[test]
fn a_backlog_that_leaves_moves_no_slot() {
    let scene = Scene::new(200, "max_size_mib: 4096");
    let own = std::fs::read_to_string(scene.config()).unwrap();
    let listeners = Listeners::new();
    scene.recorder.set(Mood::Unavailable);
    listeners.config(scene.folder.path(), RECEIVERS, "1s", &scene.recorder.exporters());
    let mut daemon = Daemon::start(&scene.config());
    std::thread::sleep(Duration::from_secs(number("WATCHPOST_OUTAGE", 45)) / 3);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    write(scene.folder.path(), "watchpost.yaml", &own);
    let mut daemon = Daemon::start(&scene.config());
    daemon.ready();
    std::thread::sleep(Duration::from_secs(2));
    let calm = wall();
    std::thread::sleep(Duration::from_secs(8));
    let begin = wall();
    let (late_before, _) = gaps(&scene, calm, begin);
    let waits = queued(&daemon).unwrap();
    scene.recorder.set(Mood::Takes);
    scene.drained(&daemon);
    let end = wall();
    // Slots are a second apart: those of the drain alone are few.
    let (late, quiet) = gaps(&scene, begin - 1_000, end);
    eprintln!(
        "{waits} samples went in {} ms; one of a hundred slots {late} ms late ({late_before} ms before), nobody was probed for \
         {quiet} ms at most",
        end - begin
    );
    assert!(waits > 100_000.0 && quiet < PAUSE);
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    let books = Books::of(&scene.directory());
    assert_eq!((books.queued, books.dropped, books.rejected), (0, 0, 0), "{books:?}");
}

/// The exporter that writes to a peer.
fn exporter(port: u16) -> String {
    format!(
        "exporters:\n  prometheus_remote_write:\n    endpoint: 'http://127.0.0.1:{port}/api/v1/write'\n    target_info: {{enabled: false}}\n    \
         retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}\n"
    )
}

#[test]
fn the_whole_backlog_reaches_victoria_metrics() {
    let name = "the_whole_backlog_reaches_victoria_metrics";
    if peers::find("victoria-metrics").is_none() {
        return skip(name, "victoria-metrics is not installed");
    }
    let folder = tempfile::tempdir().unwrap();
    let (listeners, port) = (Listeners::new(), free_port());
    listeners.config(folder.path(), 4, "1s", &exporter(port));
    let config = folder.path().join("watchpost.yaml");
    let state = folder.path().join("state");
    let mut daemon = Daemon::start(&config);
    std::thread::sleep(Duration::from_secs(6));
    daemon.kill();
    let killed = Books::of(&state);
    assert!(killed.queued > 0 && killed.sent == 0, "{killed:?}");
    let mut daemon = Daemon::start(&config);
    std::thread::sleep(Duration::from_secs(6));
    let victoria = peers::victoria_metrics(folder.path(), port).unwrap();
    let sent = "watchpost_export_samples_total{exporter=\"prometheus_remote_write\",pipeline=\"metrics\",result=\"sent\"}";
    until("the backlog", || (daemon.metrics()[sent] > killed.queued as f64).then_some(()));
    until("the end of the backlog", || (queued(&daemon)? < 6_000.0).then_some(()));
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    let books = Books::of(&state);
    assert_eq!((books.queued, books.dropped, books.rejected), (0, 0, 0), "{books:?}");
    let count = |query: &str| victoria.query(query).first().map_or(0.0, |(_, count)| *count) as u64;
    let all = "sum(count_over_time({job=~\"r.+\"}[1h]))";
    until("all samples", || (count(all) >= books.sent).then_some(()));
    assert_eq!(count(all), books.sent, "{books:?}");
    let least = "min(count_over_time(probe_success{job=~\"r.+\"}[1h]))";
    assert!(count(least) >= 10, "{}", count(least));
    eprintln!("{name}: {} samples", books.sent);
}

/// Pushes one sample; returns the status.
fn push(address: SocketAddr, name: &str, at: i64) -> u16 {
    let labels = encode_labels(vec![("__name__".to_owned(), name.to_owned())]);
    let mut encoder = Encoder::default();
    encoder.series(&SeriesLabels(Vec::new().into(), labels), &[(1.0, at)]);
    let body = encoder.finish();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST /api/v1/write HTTP/1.0\r\nHost: {address}\r\nContent-Encoding: snappy\r\n\
         Content-Type: application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    stream.write_all(&body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Prometheus takes nothing that is an hour older than its newest sample. That hour cannot be waited for, so its newest sample is one of the
/// future, of another series.
#[test]
fn what_prometheus_finds_too_old_is_counted() {
    let name = "what_prometheus_finds_too_old_is_counted";
    if peers::find("prometheus").is_none() {
        return skip(name, "prometheus is not installed");
    }
    let port = free_port();
    let scene = Scene::new(TARGETS, "");
    let config = std::fs::read_to_string(scene.config()).unwrap();
    let own = scene.recorder.exporters();
    assert!(config.contains(&own));
    write(scene.folder.path(), "watchpost.yaml", &config.replace(&own, &exporter(port)));
    let mut daemon = Daemon::start(&scene.config());
    std::thread::sleep(Duration::from_secs(6));
    let old = wall();
    std::thread::sleep(Duration::from_secs(6));
    let stopped = wall();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    let backlog = Books::of(&scene.directory());
    assert_eq!(backlog.queued, backlog.accepted, "{backlog:?}");

    let prometheus = peers::prometheus(scene.folder.path(), port).unwrap();
    let status = push(prometheus.address, "future", old + 3_600_000);
    if status / 100 != 2 {
        return skip(name, &format!("prometheus takes nothing from the future ({status})"));
    }
    assert_eq!(push(prometheus.address, "past", old - 1), 400, "it finds that too old");
    let mut daemon = Daemon::start(&scene.config());
    until("the backlog", || {
        let metrics = daemon.metrics();
        let sent = metrics.iter().filter(|(name, _)| {
            name.starts_with("watchpost_export_samples_total")
                && (name.contains("\"sent\"") || name.contains("\"rejected\""))
        });
        let sent: f64 = sent.map(|(_, count)| count).sum();
        (sent >= backlog.queued as f64).then_some(())
    });
    let page = daemon.metrics();
    let told: Vec<String> = page
        .iter()
        .filter(|(name, _)| name.starts_with("watchpost_export_lost_samples_total"))
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    assert_eq!(daemon.stop(), 0, "{}", daemon.log());
    let books = Books::of(&scene.directory());
    assert_eq!((books.queued, books.dropped), (0, 0), "{books:?}");
    let stored = prometheus.results("{job=\"probe\"}[1h]", None);
    let stored: usize =
        stored.iter().map(|series| series["values"].as_array().map_or(0, Vec::len)).sum();
    assert_eq!(stored as u64, books.sent, "{books:?}");
    // Nothing older than that, and of what is not older, all.
    let mut slots = 0;
    let asked = scene.probed.log(0);
    for series in prometheus.results("probe_success{job=\"probe\"}[1h]", None) {
        let values: Vec<(f64, String)> = serde_json::from_value(series["values"].clone()).unwrap();
        let times: Vec<i64> = values.iter().map(|(at, _)| (at * 1000.0).round() as i64).collect();
        assert!(times.iter().all(|at| *at >= old), "{old}: {times:?}");
        let target: u32 = series["metric"]["humanname"].as_str().unwrap()[1..].parse().unwrap();
        let own = asked.iter().filter(|asked| asked.target == target);
        for asked in own.filter(|a| (old + 1_010..stopped - 1_000).contains(&a.at)) {
            let due = asked.at - 1_008..asked.at + 8;
            assert!(times.iter().any(|at| due.contains(at)), "{}: {times:?}", asked.at);
            slots += 1;
        }
    }
    eprintln!("{name}: {books:?}, {slots} slots looked for; {told:?}");
    assert!(slots > TARGETS && books.rejected > 0);
    assert!(told.iter().any(|line| !line.ends_with(" 0")), "{told:?}");
}
