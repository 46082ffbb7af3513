//! `watchpost queue`: what waits for exporters and what was refused. Asks the daemon that runs; opens the files when
//! none does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::clock;
use crate::base::duration;
use crate::base::text::{printable_json, tame};
use crate::cli::{Global, Queue, QueueAction, QueueChoice};
use crate::command::{plan_or_default, print, wrong_use};
use crate::config::Environment;
use crate::host::kernel;
use crate::queue::log::backlog::Backlog;
use crate::queue::log::disk::{Disk as _, Folder};
use crate::queue::log::store::{encoded, numbered};
use crate::queue::quarantine::Quarantine;
use crate::queue::report::{self, Request, Row, SOCKET, Whose};
use crate::wire::otlp;

/// Where the units keep it.
const USUAL: &str = "/var/lib/watchpost";
/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const MAX_ANSWER: u64 = 64 << 20;
/// A daemon that is ending, or has just begun, does so within that.
const MOMENT: Duration = Duration::from_secs(1);
/// Samples of one line of a dump.
const LINE: usize = 1_000;

/// Runs it; returns the exit code.
pub(super) fn run(
    options: &Queue,
    global: &Global,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let Some(directory) = directory(options, global, environment)? else { return Ok(super::USAGE) };
    let shown = tame(&directory.join("queue").display().to_string());
    let entered = Place::enter(&directory);
    let entered = entered.and_then(|place| std::fs::read_dir(&place.queues).map(|_| place));
    let place = match entered {
        Ok(place) => place,
        Err(error) => return unusable(&directory, &shown, &error),
    };
    let done = match &options.action {
        QueueAction::Ls { json } => ls(&place, *json),
        QueueAction::Dump { of, rejected } => {
            known(&place, of, *rejected).and_then(|()| dump(&place, of, *rejected))
        }
        QueueAction::Replay { of } => known(&place, of, true).and_then(|()| replay(&place, of)),
        QueueAction::Purge { of, rejected } => {
            known(&place, of, *rejected).and_then(|()| purge(&place, of, *rejected))
        }
    };
    match done {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            wrong_use(&format!("watchpost: {error}"))
        }
        Ok(()) => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => anyhow::bail!(
            "{shown}: a daemon uses it, and does not answer at {SOCKET}; what it was asked for may still be done"
        ),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(anyhow::anyhow!("{shown}: {}", tame(&error.to_string()))),
    }
}

/// Reports queues that cannot be opened.
fn unusable(directory: &Path, shown: &str, error: &io::Error) -> anyhow::Result<u8> {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "; ask as root, or as the daemon's user",
        io::ErrorKind::NotFound if directory.ends_with("queue") && directory.is_dir() => {
            "; the directory above it is meant"
        }
        _ => "",
    };
    wrong_use(&format!("watchpost: {shown}: {}{hint}", tame(&error.to_string())))
}

/// The files of the queues, and where a daemon that uses them answers.
struct Place {
    queues: PathBuf,
    sockets: Vec<PathBuf>,
}

impl Place {
    /// Opens nothing in the folder of the queues. Root becomes the owner of the folder before: its files are those of
    /// another user, who may have put links among them.
    fn enter(directory: &Path) -> io::Result<Self> {
        let directory = std::path::absolute(directory)?;
        let queues = directory.join("queue");
        let mut sockets = vec![directory.join(SOCKET), queues.join(SOCKET)];
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { queues, sockets });
        }
        let folder = watchpost_targets::folder::Folder::open(&queues)?;
        folder.enter()?;
        let (user, group) = folder.owner();
        if user != 0 {
            kernel::become_user(user, group).map_err(|error| {
                io::Error::other(format!("cannot become user {user}, who owns it: {error}"))
            })?;
        }
        // Whatever happens to the path, this folder is the one whose owner we are. Its owner may not be allowed to go
        // along the path (with DynamicUser= it leads through a folder of root's).
        sockets.extend(["..", "."].map(|folder| Path::new(folder).join(SOCKET)));
        Ok(Self { queues: PathBuf::from("."), sockets })
    }
}

/// Where the queues are kept. `None`: it was told why that is not known.
fn directory(
    options: &Queue,
    global: &Global,
    environment: &Environment,
) -> anyhow::Result<Option<PathBuf>> {
    if let Some(directory) = &options.directory {
        return Ok(Some(directory.clone()));
    }
    if super::sources(global).is_some() {
        let Some(plan) = plan_or_default(global, environment) else { return Ok(None) };
        if let Some(directory) = plan.storage.directory {
            return Ok(Some(directory));
        }
    }
    let named = environment.get("STATE_DIRECTORY").and_then(|named| named.split(':').next());
    let known = named.map(PathBuf::from).or_else(|| Some(PathBuf::from(USUAL)));
    let known = known.filter(|directory| directory.join("queue").is_dir());
    if known.is_none() {
        wrong_use(&format!(
            "watchpost: no queue is kept here: say where with --directory, or with a --config that has storage.directory (there is none at {USUAL})"
        ))?;
    }
    Ok(known)
}

impl QueueChoice {
    fn whose(&self) -> Whose {
        Whose { pipeline: self.pipeline.clone(), exporter: self.exporter.clone() }
    }
}

/// Whether there is what is chosen: a name that is mistyped is not the name of one who has nothing.
fn known(place: &Place, of: &QueueChoice, rejected: bool) -> io::Result<()> {
    if of.pipeline.is_none() && of.exporter.is_none() {
        return Ok(());
    }
    let whose = of.whose();
    let mut names: BTreeSet<(String, String)> =
        rows(place)?.into_iter().map(|row| (row.pipeline, row.exporter)).collect();
    if rejected {
        for (pipeline, folder) in report::pipelines(&place.queues)? {
            let aside = Quarantine::beside(&folder).list()?;
            names.extend(aside.into_iter().map(|aside| (pipeline.clone(), aside.exporter())));
        }
    }
    if names.iter().any(|(pipeline, exporter)| whose.is(pipeline, exporter)) {
        return Ok(());
    }
    let names: Vec<String> =
        names.iter().map(|(pipeline, exporter)| format!("{exporter} in {pipeline}")).collect();
    let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    let why = format!("nothing is kept under that name; there is {}", tame(&names));
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// Asks the daemon that runs; `None`: none does. The answer without its last line.
fn ask(place: &Place, request: &Request) -> io::Result<Option<(Vec<String>, String)>> {
    // A daemon of an earlier version answers in the folder of the queues.
    let is_socket = |path: &&PathBuf| {
        std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
    };
    let mut sockets = place.sockets.iter().filter(is_socket);
    let until = clock::instant() + PATIENCE;
    let connected = sockets.find_map(|path| connect(path, until).ok());
    let Some(mut stream) = connected else { return Ok(None) };
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut lines: Vec<String> = BufReader::new(Hurried { stream, until }.take(MAX_ANSWER))
        .lines()
        .collect::<io::Result<_>>()?;
    match lines.pop() {
        Some(last) if last.starts_with("ok") => {
            Ok(Some((lines, last.trim_start_matches("ok").trim().to_owned())))
        }
        Some(last) => Err(io::Error::other(tame(&last))),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon has said nothing")),
    }
}

/// Connects, unless more peers wait than the kernel keeps until then.
fn connect(path: &Path, until: Instant) -> io::Result<UnixStream> {
    let address = socket2::SockAddr::unix(path)?;
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    loop {
        match socket.connect(&address) {
            Ok(()) => break,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock || clock::instant() > until => {
                return Err(error);
            }
            Err(_) => {
                #[allow(clippy::disallowed_methods, reason = "nothing else runs here")]
                std::thread::sleep(MOMENT / 20);
            }
        }
    }
    socket.set_nonblocking(false)?;
    Ok(UnixStream::from(std::os::fd::OwnedFd::from(socket)))
}

/// A stream that is read until a time, however often something comes.
struct Hurried {
    stream: UnixStream,
    until: Instant,
}

impl io::Read for Hurried {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(clock::instant());
        if left.is_zero() {
            let why = "the daemon did not answer in time";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

/// Tries again for a moment what meets a daemon that is just ending, or has just begun.
fn once_more<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof, WouldBlock};
    let until = clock::instant() + MOMENT;
    loop {
        match work() {
            Err(error)
                if matches!(
                    error.kind(),
                    BrokenPipe | ConnectionReset | UnexpectedEof | WouldBlock
                ) && clock::instant() < until =>
            {
                #[allow(clippy::disallowed_methods, reason = "nothing else runs here")]
                std::thread::sleep(MOMENT / 20);
            }
            done => return done,
        }
    }
}

fn rows(place: &Place) -> io::Result<Vec<Row>> {
    once_more(|| match ask(place, &Request::Ls)? {
        Some((lines, _)) => lines.iter().map(|line| Ok(serde_json::from_str(line)?)).collect(),
        None => report::rows(&place.queues, clock::wall()),
    })
}

fn ls(place: &Place, json: bool) -> io::Result<()> {
    let rows = rows(place)?;
    let mut text = String::new();
    let aside = |row: &Row| {
        let quarantine = Quarantine::beside(&place.queues.join(encoded(&row.pipeline)));
        quarantine.of(Some(&row.exporter)).map_or(0, |files| files.len())
    };
    if json {
        for row in &rows {
            let mut whole = serde_json::to_value(row)?;
            whole["put_aside"] = aside(row).into();
            let _ = writeln!(text, "{}", printable_json(&whole.to_string()));
        }
        return out(&text);
    }
    let head = [
        "pipeline",
        "exporter",
        "queued",
        "oldest",
        "accepted",
        "sent",
        "rejected",
        "dropped",
        "put aside",
        "state",
    ];
    let mut table: Vec<[String; 10]> = vec![head.map(str::to_owned)];
    for row in &rows {
        let oldest = match row.queued {
            0 => "-".to_owned(),
            _ => duration::format(Duration::from_secs(row.oldest_age_seconds as u64)),
        };
        table.push([
            tame(&row.pipeline),
            tame(&row.exporter),
            row.queued.to_string(),
            oldest,
            row.accepted.to_string(),
            row.sent.to_string(),
            row.rejected.to_string(),
            row.dropped.to_string(),
            aside(row).to_string(),
            tame(&row.state),
        ]);
    }
    let width = |n: usize| table.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..10).map(width).collect();
    for row in &table {
        for (n, cell) in row.iter().enumerate() {
            // Numbers stand to the right.
            let width = widths[n];
            let _ = match n {
                2..=8 => write!(text, "{cell:>width$}  "),
                9 => write!(text, "{cell}"),
                _ => write!(text, "{cell:width$}  "),
            };
        }
        text.push('\n');
    }
    if rows.is_empty() {
        text = "No exporter has a queue here.\n".to_owned();
    }
    out(&text)
}

fn dump(place: &Place, of: &QueueChoice, rejected: bool) -> io::Result<()> {
    let whose = of.whose();
    if rejected {
        for (name, folder) in report::pipelines(&place.queues)? {
            for aside in Quarantine::beside(&folder).list()? {
                if whose.is(&name, &aside.exporter()) {
                    let (samples, _) = Quarantine::read(&aside.path)?;
                    lines(&samples)?;
                }
            }
        }
        return Ok(());
    }
    // What somebody still needs; without anybody, all that there is.
    let positions = rows(place)?;
    for (name, folder) in report::pipelines(&place.queues)? {
        let readers = positions.iter().filter(|row| whose.is(&row.pipeline, &row.exporter));
        let from = readers.filter(|row| row.pipeline == name).map(|row| row.needs).min();
        if whose.pipeline.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        let Some(mut from) = from.or(whose.exporter.is_none().then_some(0)) else { continue };
        let disk = Folder::look(&folder)?;
        let mut firsts: Vec<u64> =
            disk.list()?.iter().filter_map(|file| numbered(&file.name)).collect();
        firsts.sort_unstable();
        let ends = firsts.iter().skip(1).copied().chain([u64::MAX]);
        let segments: Vec<(u64, u64)> = firsts.iter().copied().zip(ends).collect();
        let mut backlog = Backlog::default();
        while let Some(stretch) =
            backlog.read(&disk, &segments, from, LINE, |_| {}).map_err(|failed| failed.error)?
        {
            from = stretch.end();
            lines(&stretch.samples)?;
        }
    }
    Ok(())
}

/// Samples as lines of OTLP in JSON, as the Collector's file exporter writes them.
fn lines(samples: &[crate::signal::batch::Sample]) -> io::Result<()> {
    for some in samples.chunks(LINE) {
        let json = otlp::json(&otlp::request(some));
        let mut json = printable_json(&String::from_utf8_lossy(&json));
        json.push('\n');
        io::stdout().lock().write_all(json.as_bytes())?;
    }
    Ok(())
}

fn replay(place: &Place, of: &QueueChoice) -> io::Result<()> {
    let whose = of.whose();
    let mut files = 0;
    for (name, folder) in report::pipelines(&place.queues)? {
        if whose.pipeline.as_ref().is_none_or(|wanted| *wanted == name) {
            files += Quarantine::beside(&folder).replay(whose.exporter.as_deref())?;
        }
    }
    match ask(place, &Request::Replay(whose))? {
        Some((_, samples)) => {
            out(&format!("{} samples of {files} files are sent once more.\n", tame(&samples)))
        }
        None => out(&format!("{files} files will be sent once more when the daemon starts.\n")),
    }
}

fn purge(place: &Place, of: &QueueChoice, rejected: bool) -> io::Result<()> {
    let whose = of.whose();
    if rejected {
        let mut files = 0;
        for (name, folder) in report::pipelines(&place.queues)? {
            if whose.pipeline.as_ref().is_none_or(|wanted| *wanted == name) {
                files += Quarantine::beside(&folder).purge(whose.exporter.as_deref())?;
            }
        }
        return out(&format!("{files} files of what was refused are gone.\n"));
    }
    let samples = once_more(|| match ask(place, &Request::Purge(whose.clone()))? {
        Some((_, samples)) => Ok(samples),
        None => Ok(report::purge(&place.queues, &whose)?.to_string()),
    })?;
    out(&format!("{} samples that waited are given up.\n", tame(&samples)))
}

fn out(text: &str) -> io::Result<()> {
    print(text).map_err(io::Error::other)
}
