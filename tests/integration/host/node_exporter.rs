//! Our numbers beside those of node_exporter, read before and after ours.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::support::daemon::{Daemon, write};
use crate::support::{free_port, get, peers, skip, until};

/// Readings that are compared at least. Counters must agree in each of them.
const ROUNDS: usize = 3;
/// Readings at most: what moves to and fro must agree in one of them.
const MAX_ROUNDS: usize = 15;

/// The rows that are compared; its head says how they are written.
const ROWS: &str = include_str!("rows.txt");

const CONFIG: &str = "
receivers:
  hostmetrics:
    collection_interval: 1s
    initial_delay: 0s
    scrapers:
      cpu: {metrics: {system.cpu.logical.count: {enabled: true}}}
      load:
      memory: {metrics: {system.memory.limit: {enabled: true}, system.linux.memory.dirty: {enabled: true}}}
      paging:
      disk:
      filesystem: {include_virtual_filesystems: true, metrics: {system.filesystem.limit: {enabled: true}}}
      network: {include: {interfaces: ['.*'], match_type: regexp}}
      processes:
      system: {metrics: {system.linux.boot_time: {enabled: true}}}
      pressure:
      thermal:
      sockets:
      linux:
        metrics:
          system.cpu.linux.context_switches: {enabled: true}
          system.cpu.linux.interrupts: {enabled: true}
          system.memory.linux.writeback: {enabled: true}
          system.memory.linux.shared: {enabled: true}
          system.memory.linux.committed: {enabled: true}
          system.memory.linux.commit_limit: {enabled: true}
          system.memory.linux.reclaim.stalls: {enabled: true}
          system.disk.linux.discard.operations: {enabled: true}
          system.disk.linux.discard.time: {enabled: true}
          system.disk.linux.flush.operations: {enabled: true}
          system.disk.linux.flush.time: {enabled: true}
          system.network.linux.errors.detail: {enabled: true}
          system.network.linux.conntrack.drops: {enabled: true}
          system.process.limit: {enabled: true}
          system.linux.entropy.available: {enabled: true}
exporters: {prometheus: {send_timestamps: true}}
http: {listen: '127.0.0.1:0'}
";

/// node_exporter, which ends with the test.
struct NodeExporter {
    child: Child,
    address: SocketAddr,
}

impl Drop for NodeExporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl NodeExporter {
    fn start() -> Option<Self> {
        let program = peers::find("prometheus-node-exporter")?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = Command::new(program)
            .arg(format!("--web.listen-address={address}"))
            .args(["--collector.processes", "--collector.tcpstat"])
            // Debian leaves `lo` out.
            .arg("--collector.netdev.device-exclude=^$")
            .arg("--collector.filesystem.fs-types-exclude=^(autofs|rootfs)$")
            .arg("--collector.netstat.fields=^(Tcp|TcpExt|Udp)_")
            .arg("--collector.vmstat.fields=^(oom_kill|pgpg|pswp|pg.*fault|allocstall|pgscan_direct)")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let peer = Self { child, address };
        until("node_exporter", || get(address, "/").filter(|(status, _)| *status == 200));
        Some(peer)
    }

    fn scrape(&self) -> Page {
        let (status, text) = get(self.address, "/metrics").unwrap();
        assert_eq!(status, 200, "{text}");
        Page::parse(&text)
    }
}

/// One series of a page.
struct Point {
    labels: BTreeMap<String, String>,
    value: f64,
    /// In milliseconds since 1970.
    time: Option<u128>,
}

/// A page in Prometheus' text format: series by name.
struct Page(BTreeMap<String, Vec<Point>>);

/// A name, with labels or without, and what follows.
fn series(text: &str) -> (&str, BTreeMap<String, String>, &str) {
    let end = text.find(['{', ' ']).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while let Some((label, behind)) = rest.split_once("=\"") {
            let mut escaped = false;
            let end = behind.find(|c| {
                let end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                end
            });
            let (value, behind) = behind.split_at(end.expect("the end of a label"));
            labels.insert(label.trim_start_matches(',').to_owned(), value.to_owned());
            rest = &behind[1..];
            if rest.starts_with('}') {
                break;
            }
        }
        rest = rest.strip_prefix('}').expect("the end of labels");
    }
    (name, labels, rest)
}

impl Page {
    fn parse(text: &str) -> Self {
        let mut page = Self(BTreeMap::new());
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, labels, rest) = series(line);
            let mut words = rest.split_whitespace();
            let value = words.next().unwrap().parse().unwrap();
            let time = words.next().map(|time| time.parse().unwrap());
            page.0.entry(name.to_owned()).or_default().push(Point { labels, value, time });
        }
        page
    }

    /// The series that a selector means: the name, or its beginning with `*`; other labels than those
    /// that are given may have any value.
    fn select(&self, selector: &str) -> Vec<&Point> {
        let (name, labels, _) = series(selector);
        let fits = |have: &str| match name.strip_suffix('*') {
            Some(prefix) => have.starts_with(prefix),
            None => have == name,
        };
        let points = self.0.iter().filter(|(have, _)| fits(have)).flat_map(|(_, points)| points);
        points.filter(|point| labels.iter().all(|(k, v)| point.labels.get(k) == Some(v))).collect()
    }

    /// The value of an expression, or the term that is not there. See [`Row`].
    fn value(&self, expression: &str) -> Result<f64, String> {
        let (mut sum, mut sign, mut count) = (0.0, 1.0, false);
        for word in expression.split(' ') {
            match word {
                "+" => sign = 1.0,
                "-" => sign = -1.0,
                "count" => count = true,
                _ if word.starts_with(|c: char| c.is_ascii_digit()) => {
                    sum += sign * word.parse::<f64>().unwrap();
                }
                _ => {
                    let points = self.select(word.trim_end_matches('?'));
                    if points.is_empty() && !count && !word.ends_with('?') {
                        return Err(word.to_owned());
                    }
                    let values = points.iter().map(|point| point.value);
                    sum += sign * if count { points.len() as f64 } else { values.sum() };
                }
            }
        }
        Ok(sum)
    }
}

/// What `$cpu`, `$disk` and `$if` stand for on this machine.
struct Parts {
    cpus: Vec<String>,
    disks: Vec<String>,
    interfaces: Vec<String>,
}

impl Parts {
    fn new() -> Self {
        let names = |folder: &str| -> Vec<String> {
            let entries = std::fs::read_dir(folder).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let cpus = stat.lines().filter_map(|line| line.split(' ').next()?.strip_prefix("cpu"));
        let cpus = cpus.filter(|number| !number.is_empty()).map(str::to_owned).collect();
        let mut disks = names("/sys/block");
        disks.retain(|name| !["loop", "ram", "zram", "fd"].iter().any(|no| name.starts_with(no)));
        let mut interfaces = names("/sys/class/net");
        // Containers come and go, and so do theirs.
        interfaces.retain(|name| name != "bonding_masters" && !name.starts_with("veth"));
        assert!(interfaces.iter().any(|name| name == "lo"));
        Self { cpus, disks, interfaces }
    }

    /// A row for each part that it is about.
    fn expand(&self, texts: [&str; 3]) -> Vec<[String; 3]> {
        let places = [("$cpu", &self.cpus), ("$disk", &self.disks), ("$if", &self.interfaces)];
        let place = places.iter().find(|(place, _)| texts.iter().any(|text| text.contains(place)));
        match place {
            None => vec![texts.map(str::to_owned)],
            Some((place, parts)) => {
                parts.iter().map(|part| texts.map(|text| text.replace(place, part))).collect()
            }
        }
    }
}

/// What a row says, about one part of the machine when it has a place for it.
struct Comparison {
    ours: String,
    is_counter: bool,
    slack: f64,
    theirs: String,
}

impl Comparison {
    /// Whether our value fits what was read before and after it; if not, how.
    fn check(&self, before: &Page, own: &Page, after: &Page) -> Result<(), String> {
        let missing = |whose: &str, term: String| format!("{whose} lacks {term}");
        let ours = own.value(&self.ours).map_err(|term| missing("Watchpost", term))?;
        let first = before.value(&self.theirs).map_err(|term| missing("node_exporter", term))?;
        let last = after.value(&self.theirs).map_err(|term| missing("node_exporter", term))?;
        let (low, high) = match self.is_counter {
            true => (first, last),
            false => (first.min(last), first.max(last)),
        };
        if (low - self.slack..=high + self.slack).contains(&ours) {
            return Ok(());
        }
        let (name, theirs) = (&self.ours, &self.theirs);
        Err(format!("{name} is {ours}, {theirs} was {first} before and {last} after"))
    }
}

/// The comparisons that this machine allows, and from how many rows; tells what it lacks.
fn comparisons(page: &Page) -> (Vec<Comparison>, usize) {
    let parts = Parts::new();
    let (mut list, mut used, mut lacking) = (Vec::new(), Vec::new(), BTreeMap::new());
    // The section: the expression that must be above 0 and why it is not.
    let mut section = None;
    for line in ROWS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(head) = line.strip_prefix('[') {
            section = head.strip_suffix(']').and_then(|head| head.split_once(" | "));
            assert!(section.is_some(), "{line}");
            continue;
        }
        let columns: Vec<&str> = line.split(" | ").collect();
        let [ours, rule, theirs] = columns[..] else { panic!("{line}") };
        let (kind, slack) = rule.split_once(' ').unwrap_or((rule, "0"));
        assert!(matches!(kind, "counter" | "gauge"), "{line}");
        let there = section.map_or("1", |(there, _)| there);
        let before = list.len();
        for [ours, theirs, there] in parts.expand([ours, theirs, there]) {
            if page.value(&there).is_ok_and(|value| value > 0.0) {
                let (is_counter, slack) = (kind == "counter", slack.parse().unwrap());
                list.push(Comparison { ours, is_counter, slack, theirs });
            }
        }
        if list.len() > before {
            used.push(ours);
            continue;
        }
        let reason = section.map(|(_, reason)| reason).unwrap_or_else(|| panic!("nothing: {line}"));
        lacking.insert(ours, reason);
    }
    for (ours, reason) in lacking.iter().filter(|(ours, _)| !used.contains(ours)) {
        lacks(&format!("the row {ours} of every_counter_agrees_with_node_exporter"), reason);
    }
    (list, used.len())
}

/// Says by name what cannot be compared on this machine, in CI as well: no program is missing.
fn lacks(name: &str, reason: &str) {
    eprintln!("skipped {name}: {reason}");
    if let Some(path) = std::env::var_os("WATCHPOST_SKIPS") {
        use std::io::Write as _;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "skipped {name}: {reason}").unwrap();
    }
}

/// Our page when all of the host on it was read after now.
fn reading(daemon: &Daemon) -> Page {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    until("a reading of all scrapers", || {
        let page = Page::parse(&get(daemon.page, "/metrics/prometheus")?.1);
        let host = || {
            let names = page.0.iter().filter(|(name, _)| name.starts_with("system_"));
            names.flat_map(|(_, points)| points)
        };
        (host().count() > 100 && host().all(|point| point.time > Some(now))).then_some(())?;
        Some(page)
    })
}

#[test]
fn every_counter_agrees_with_node_exporter() {
    let name = "every_counter_agrees_with_node_exporter";
    let Some(peer) = NodeExporter::start() else {
        return skip(name, "prometheus-node-exporter is not installed");
    };
    let folder = tempfile::tempdir().unwrap();
    let mut daemon = Daemon::start(&write(folder.path(), "w.yaml", CONFIG));
    // What needs two readings on either side has them.
    reading(&daemon);
    let (list, rows) = comparisons(&peer.scrape());
    let of_counters = list.iter().filter(|comparison| comparison.is_counter).count();
    assert!(rows >= 60 && of_counters >= 60, "{rows} rows, {of_counters} counters");
    let mut moving: BTreeSet<usize> = (0..list.len()).filter(|at| !list[*at].is_counter).collect();
    let (mut rounds, mut wrong) = (0, Vec::new());
    while rounds < ROUNDS || (rounds < MAX_ROUNDS && !moving.is_empty() && wrong.is_empty()) {
        rounds += 1;
        let before = peer.scrape();
        let own = reading(&daemon);
        let after = peer.scrape();
        let mut still = BTreeMap::new();
        for (at, comparison) in list.iter().enumerate() {
            match comparison.check(&before, &own, &after) {
                Err(why) if comparison.is_counter => wrong.push(why),
                Err(why) if moving.contains(&at) => drop(still.insert(at, why)),
                _ => {}
            }
        }
        moving.retain(|at| still.contains_key(at));
        if rounds == MAX_ROUNDS {
            wrong.extend(still.into_values());
        } else {
            wrong.extend(still.into_values().filter(|why| why.contains(" lacks ")));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(wrong.is_empty(), "{} disagree:\n{}", wrong.len(), wrong.join("\n"));
    assert!(moving.is_empty());
    let all = list.len();
    eprintln!(
        "{rows} rows, {all} comparisons, {of_counters} of counters; {rounds} readings agreed"
    );
    assert_eq!(daemon.stop(), 0);
}
