//! Made-up hosts out of `tests/cases/host`, read as real ones are: all lanes, files that stay open,
//! clocks and file systems with answers of our own.

mod boards;
mod cases;
mod cases_files;
mod cases_sensors;
mod long;
mod odd;
mod x86;
mod x86_hardware;
mod x86_system;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;

use crate::base::clock::{self, BootTime, Moment, Timestamp};
use crate::host::collector::{Collector, Lane};
use crate::host::kernel::{Clock, Connections, Kernel, Usage};
use crate::host::points::Wanted;
use crate::host::settings::Settings;
use crate::host::source::Root;
use crate::signal::batch::{Sample, Value};
use crate::signal::series::Kind;

/// When the made-up hosts started, in seconds since 1970.
const BOOT: u64 = 1_700_000_000;

/// What a file system says that nobody has said anything about.
const USAGE: Usage = Usage {
    block: 4096,
    blocks: 1000,
    free: 400,
    available: 300,
    files: 200,
    files_free: 150,
    device: None,
};

/// A kernel with answers of our own.
struct Fake {
    usage: Mutex<BTreeMap<PathBuf, Result<Usage, Errno>>>,
    asked: Mutex<Vec<PathBuf>>,
    shares_network: bool,
}

impl Kernel for Fake {
    fn statfs(&self, mount_point: &Path) -> Result<Usage, Errno> {
        self.asked.lock().unwrap().push(mount_point.to_owned());
        self.usage.lock().unwrap().get(mount_point).copied().unwrap_or(Ok(USAGE))
    }

    fn clock(&self) -> Result<Clock, Errno> {
        Ok(Clock { offset: -0.25, max_error: 0.5, frequency: 1.5e-5, synchronized: true })
    }

    fn connections(&self) -> Result<Connections, Errno> {
        Ok([0, 48, 1, 2, 3, 4, 14, 0, 5, 0, 17, 0, 6])
    }

    fn shares_network(&self, _: &Path) -> bool {
        self.shares_network
    }
}

/// A made-up host in a folder of its own, and what reads it.
struct Host {
    folder: tempfile::TempDir,
    kernel: Arc<Fake>,
    collectors: Vec<Collector>,
}

impl Host {
    /// A host, of which all metrics are wanted.
    fn new(name: &str) -> Self {
        Self::with(name, |_, _| {})
    }

    /// A host that is read by other settings; the folder of the tree comes with them.
    fn with(name: &str, change: impl FnOnce(&mut Settings, &Path)) -> Self {
        Self::of(&[name], true, change)
    }

    /// A host of no files or of a tree, on a kernel that shares its network or does not.
    fn of(names: &[&str], shares_network: bool, change: impl FnOnce(&mut Settings, &Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            unpack(name, folder.path());
        }
        let (proc, sys) = (folder.path().join("proc"), folder.path().join("sys"));
        let mut settings = Settings {
            root: Root { proc, sys, prefix: None },
            wanted: Arc::new(Wanted::all()),
            ..Settings::default()
        };
        change(&mut settings, folder.path());
        let (usage, asked) = (Mutex::default(), Mutex::default());
        let kernel = Arc::new(Fake { usage, asked, shares_network });
        let calls: Arc<dyn Kernel> = kernel.clone();
        let lanes = Lane::ALL.into_iter();
        let collectors = lanes.filter_map(|lane| Collector::new(&settings, lane, &calls));
        Self { kernel, collectors: collectors.collect(), folder }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Writes a file in place: who has it open sees it.
    fn write(&self, path: &str, content: &str) {
        write(&self.path(path), content.as_bytes());
    }

    /// Puts another text in place of one that is in a file.
    fn replace(&self, path: &str, from: &str, to: &str) {
        let content = String::from_utf8(std::fs::read(self.path(path)).unwrap()).unwrap();
        assert!(content.contains(from), "{path} has no {from:?}");
        self.write(path, &content.replace(from, to));
    }

    /// Removes a file, or a folder with all below it.
    fn remove(&self, path: &str) {
        remove(&self.path(path));
    }

    /// Lays a later tree over this one.
    fn later(&self, name: &str) {
        unpack(name, self.folder.path());
    }

    /// What a file system says.
    fn usage(&self, mount_point: impl Into<PathBuf>, usage: Result<Usage, Errno>) {
        self.kernel.usage.lock().unwrap().insert(mount_point.into(), usage);
    }

    /// Reads all lanes, so many seconds after the start of the machine.
    fn read(&mut self, at: u64) -> Reading {
        let now = moment(at);
        let mut reading = Reading::default();
        for collector in &mut self.collectors {
            for sample in collector.collect(now) {
                reading.take(&sample, now.wall);
            }
            for (reader, troubles) in collector.troubles() {
                let folder = format!("{}/", self.folder.path().display());
                let told = troubles.now.iter();
                let told = told.map(|t| format!("{reader}: {t}").replace(&folder, ""));
                reading.troubles.extend(told);
                let absent = troubles.absent.iter().map(|trouble| trouble.to_string());
                reading.absent.extend(absent.map(|t| t.replace(&folder, "")));
            }
        }
        reading
    }

    /// How many series are known.
    fn series(&self) -> usize {
        self.collectors.iter().map(|collector| collector.farewell(Timestamp(0)).len()).sum()
    }
}

fn moment(at: u64) -> Moment {
    Moment {
        boot: BootTime(Duration::from_secs(at)),
        monotonic: clock::instant(),
        wall: Timestamp((BOOT + at) * 1_000_000_000),
    }
}

/// A value of a series, and when it began to count, in seconds after the start of the machine.
#[derive(Clone, Copy, Debug)]
struct Point {
    value: f64,
    start: Option<f64>,
    counter: bool,
}

/// All that one reading has brought.
#[derive(Default)]
struct Reading {
    /// By `name{attribute="value",...}`.
    points: BTreeMap<String, Point>,
    /// Series that ended.
    stale: BTreeSet<String>,
    /// What could not be read.
    troubles: BTreeSet<String>,
    /// What this machine does not have.
    absent: BTreeSet<String>,
}

impl Reading {
    fn take(&mut self, sample: &Sample, now: Timestamp) {
        let own: Vec<String> = sample
            .series
            .attributes()
            .iter()
            .map(|(name, value)| {
                format!("{name}={:?}", value.as_text().expect("attributes are text"))
            })
            .collect();
        let name = sample.series.metric.name;
        let key =
            if own.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", own.join(",")) };
        let value = match sample.value {
            Value::Double(value) => value,
            Value::Int(value) => value as f64,
            Value::Stale => {
                assert!(self.stale.insert(key.clone()), "{key} ends twice");
                return;
            }
            _ => panic!("{key} is no number"),
        };
        assert_eq!(sample.time, now, "{key}");
        let start = sample.start.map(|start| {
            assert!(start <= now, "{key} begins in the future");
            (start.0 as f64 - BOOT as f64 * 1e9) / 1e9
        });
        let kind = sample.series.metric.kind;
        assert_eq!(start.is_some(), kind != Kind::Gauge, "{key}");
        let point = Point { value, start, counter: kind == Kind::Counter };
        assert!(self.points.insert(key.clone(), point).is_none(), "{key} is there twice");
    }

    /// What is there of a metric, for those who read why a test failed.
    fn near(&self, key: &str) -> String {
        let name = key.split('{').next().unwrap_or(key);
        let lines: Vec<String> =
            self.of_metric(name).map(|(k, p)| format!("{k} {}", p.value)).collect();
        lines.join("\n")
    }

    fn of_metric<'a>(&'a self, metric: &'a str) -> impl Iterator<Item = (&'a String, &'a Point)> {
        let own = move |key: &str| {
            key.strip_prefix(metric).is_some_and(|r| r.is_empty() || r.starts_with('{'))
        };
        self.points.iter().filter(move |(key, _)| own(key))
    }

    fn point(&self, key: &str) -> Point {
        *self.points.get(key).unwrap_or_else(|| panic!("no {key}, but\n{}", self.near(key)))
    }

    fn value(&self, key: &str) -> f64 {
        self.point(key).value
    }

    /// When a counter began, in seconds after the start of the machine.
    fn start(&self, key: &str) -> f64 {
        self.point(key).start.unwrap_or_else(|| panic!("{key} is no counter"))
    }

    /// Lines of `name{attribute="value",...} number`, all of which are there.
    fn has(&self, lines: &str) {
        for (key, value) in parse(lines) {
            let found = self.value(key);
            assert!(close(found, value), "{key} is {found}, not {value}\n{}", self.near(key));
        }
    }

    /// As `has`, and nothing else is there of the metrics of these lines.
    fn has_just(&self, lines: &str) {
        self.has(lines);
        let keys: BTreeSet<&str> = parse(lines).into_iter().map(|(key, _)| key).collect();
        for key in &keys {
            for (other, _) in self.of_metric(key.split('{').next().unwrap()) {
                assert!(keys.contains(other.as_str()), "also {other}");
            }
        }
    }

    /// Nothing begins with any of these.
    fn lacks(&self, beginnings: &[&str]) {
        for beginning in beginnings {
            let found = self.points.keys().find(|key| key.starts_with(beginning));
            assert_eq!(found, None);
        }
    }

    /// The values of an attribute of a metric, each once.
    fn values<'a>(&'a self, metric: &'a str, attribute: &str) -> Vec<&'a str> {
        let begin = format!("{attribute}=\"");
        let mut found: Vec<&str> = Vec::new();
        for (key, _) in self.of_metric(metric) {
            for (at, _) in key.match_indices(&begin) {
                let before = key[..at].chars().next_back();
                if matches!(before, Some('{' | ',')) {
                    let rest = &key[at + begin.len()..];
                    let end = rest.find("\",").or_else(|| rest.find("\"}")).unwrap();
                    found.push(&rest[..end]);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// By how much a series has grown since an earlier reading, without beginning again.
    fn grown(&self, earlier: &Self, key: &str) -> f64 {
        assert_eq!(self.start(key), earlier.start(key), "{key} began again");
        self.value(key) - earlier.value(key)
    }

    /// Lines of series and by how much each has grown since an earlier reading.
    fn has_grown(&self, earlier: &Self, lines: &str) {
        for (key, value) in parse(lines) {
            let grown = self.grown(earlier, key);
            // The difference of two large numbers.
            let slack = 1e-9 * self.value(key).abs().max(1.0);
            assert!((grown - value).abs() <= slack, "{key} grew by {grown}, not {value}");
        }
    }

    /// Asserts that no counter is less than in an earlier reading, except where it began again.
    fn never_falls(&self, earlier: &Self) {
        for (key, point) in self.points.iter().filter(|(_, point)| point.counter) {
            let Some(before) = earlier.points.get(key) else { continue };
            let again = point.start > before.start;
            assert!(again || point.start == before.start, "{key} begins earlier than before");
            assert!(again || point.value >= before.value, "{key} falls: {before:?} {point:?}");
        }
    }
}

fn parse(lines: &str) -> Vec<(&str, f64)> {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    let split = |line| {
        let (key, value): (&str, &str) =
            str::rsplit_once(line, ' ').expect("a series and a number");
        (key, value.parse().unwrap_or_else(|_| panic!("no number in {line}")))
    };
    lines.map(split).collect()
}

/// Whether two numbers are equal but for the rounding of a computation.
fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(other.abs())
}

/// Writes a file in place, and cuts it off behind that: emptying it first would make some file
/// systems wait for the disk.
fn write(path: &Path, content: &[u8]) {
    let put = || -> std::io::Result<()> {
        std::fs::create_dir_all(path.parent().unwrap())?;
        let options = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let mut file = options?;
        file.write_all(content)?;
        file.set_len(content.len() as u64)
    };
    put().unwrap_or_else(|why| panic!("{}: {why}", path.display()));
}

/// Removes what is at a path. Files are emptied first, because who has one open would go on reading
/// it; the kernel gives those an error.
fn remove(path: &Path) {
    let kind = path.symlink_metadata().unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    if kind.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            remove(&entry.unwrap().path());
        }
        std::fs::remove_dir(path).unwrap();
    } else {
        if kind.is_file() {
            write(path, b"");
        }
        std::fs::remove_file(path).unwrap();
    }
}

/// Takes `\xNN` back.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let digits = text.get(at + 2..at + 4).filter(|_| text[at..].starts_with(b"\\x"));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    out
}

/// Unpacks `tests/cases/host/NAME.tree` into a folder, over what is there (see the README there).
fn unpack(name: &str, into: &Path) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/host/{name}.tree"));
    let archive = std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let at = |path: &[u8]| into.join(OsString::from_vec(unescape(path)));
    let mut file: Option<(PathBuf, Vec<u8>)> = None;
    for line in archive.split_inclusive(|byte| *byte == b'\n') {
        let Some(head) = line.strip_prefix(b"@ ").map(<[u8]>::trim_ascii_end) else {
            if let Some((_, content)) = &mut file {
                content.extend(unescape(line));
            }
            continue;
        };
        if let Some((path, content)) = file.take() {
            write(&path, &content);
        }
        let arrow = head.windows(4).position(|part| part == b" -> ");
        if let Some(path) = head.strip_suffix(b" !") {
            remove(&at(path));
        } else if let Some(arrow) = arrow {
            let link = at(&head[..arrow]);
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            let target = OsString::from_vec(unescape(&head[arrow + 4..]));
            std::os::unix::fs::symlink(target, link).unwrap();
        } else if head.ends_with(b"/") {
            std::fs::create_dir_all(at(head)).unwrap();
        } else {
            file = Some((at(head), Vec::new()));
        }
    }
    if let Some((path, content)) = file {
        write(&path, &content);
    }
}
