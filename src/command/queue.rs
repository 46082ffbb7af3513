//! `watchpost queue`: what waits for exporters and what was refused. Asks the daemon that runs; opens the files when
//! none does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::clock;
use crate::base::duration;
use crate::base::text::tame;
use crate::cli::{Global, Queue, QueueAction, QueueChoice};
use crate::command::{plan_or_default, print, wrong_use};
use crate::config::Environment;
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
    let queues = directory.join("queue");
    if let Err(error) = std::fs::read_dir(&queues) {
        let shown = tame(&queues.display().to_string());
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "; ask as root, or as the daemon's user",
            io::ErrorKind::NotFound if directory.ends_with("queue") && directory.is_dir() => {
                "; the directory above it is meant"
            }
            _ => "",
        };
        return wrong_use(&format!("watchpost: {shown}: {error}{hint}"));
    }
    let done = match &options.action {
        QueueAction::Ls { json } => ls(&queues, *json),
        QueueAction::Dump { of, rejected } => {
            known(&queues, of, *rejected).and_then(|()| dump(&queues, of, *rejected))
        }
        QueueAction::Replay { of } => known(&queues, of, true).and_then(|()| replay(&queues, of)),
        QueueAction::Purge { of, rejected } => {
            known(&queues, of, *rejected).and_then(|()| purge(&queues, of, *rejected))
        }
    };
    match done {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            wrong_use(&format!("watchpost: {error}"))
        }
        Ok(()) => Ok(0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => anyhow::bail!(
            "{}: a daemon uses it, and does not answer at {SOCKET}; what it was asked for may still be done",
            queues.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(anyhow::anyhow!("{}: {error}", queues.display())),
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
fn known(queues: &Path, of: &QueueChoice, rejected: bool) -> io::Result<()> {
    if of.pipeline.is_none() && of.exporter.is_none() {
        return Ok(());
    }
    let whose = of.whose();
    let mut names: BTreeSet<(String, String)> =
        rows(queues)?.into_iter().map(|row| (row.pipeline, row.exporter)).collect();
    if rejected {
        for (pipeline, folder) in report::pipelines(queues)? {
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
fn ask(queues: &Path, request: &Request) -> io::Result<Option<(Vec<String>, String)>> {
    let Ok(mut stream) = UnixStream::connect(queues.join(SOCKET)) else { return Ok(None) };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut lines: Vec<String> = BufReader::new(stream).lines().collect::<io::Result<_>>()?;
    match lines.pop() {
        Some(last) if last.starts_with("ok") => {
            Ok(Some((lines, last.trim_start_matches("ok").trim().to_owned())))
        }
        Some(last) => Err(io::Error::other(tame(&last))),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon has said nothing")),
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

fn rows(queues: &Path) -> io::Result<Vec<Row>> {
    once_more(|| match ask(queues, &Request::Ls)? {
        Some((lines, _)) => lines.iter().map(|line| Ok(serde_json::from_str(line)?)).collect(),
        None => report::rows(queues, clock::wall()),
    })
}

fn ls(queues: &Path, json: bool) -> io::Result<()> {
    let rows = rows(queues)?;
    let mut text = String::new();
    let aside = |row: &Row| {
        let quarantine = Quarantine::beside(&queues.join(encoded(&row.pipeline)));
        quarantine.of(Some(&row.exporter)).map_or(0, |files| files.len())
    };
    if json {
        for row in &rows {
            let mut whole = serde_json::to_value(row)?;
            whole["put_aside"] = aside(row).into();
            let _ = writeln!(text, "{whole}");
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
            row.state.clone(),
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

fn dump(queues: &Path, of: &QueueChoice, rejected: bool) -> io::Result<()> {
    let whose = of.whose();
    if rejected {
        for (name, folder) in report::pipelines(queues)? {
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
    let positions = rows(queues)?;
    for (name, folder) in report::pipelines(queues)? {
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
        let mut json = otlp::json(&otlp::request(some));
        json.push(b'\n');
        io::stdout().lock().write_all(&json)?;
    }
    Ok(())
}

fn replay(queues: &Path, of: &QueueChoice) -> io::Result<()> {
    let whose = of.whose();
    let mut files = 0;
    for (name, folder) in report::pipelines(queues)? {
        if whose.pipeline.as_ref().is_none_or(|wanted| *wanted == name) {
            files += Quarantine::beside(&folder).replay(whose.exporter.as_deref())?;
        }
    }
    match ask(queues, &Request::Replay(whose))? {
        Some((_, samples)) => {
            out(&format!("{samples} samples of {files} files are sent once more.\n"))
        }
        None => out(&format!("{files} files will be sent once more when the daemon starts.\n")),
    }
}

fn purge(queues: &Path, of: &QueueChoice, rejected: bool) -> io::Result<()> {
    let whose = of.whose();
    if rejected {
        let mut files = 0;
        for (name, folder) in report::pipelines(queues)? {
            if whose.pipeline.as_ref().is_none_or(|wanted| *wanted == name) {
                files += Quarantine::beside(&folder).purge(whose.exporter.as_deref())?;
            }
        }
        return out(&format!("{files} files of what was refused are gone.\n"));
    }
    let samples = once_more(|| match ask(queues, &Request::Purge(whose.clone()))? {
        Some((_, samples)) => Ok(samples),
        None => Ok(report::purge(queues, &whose)?.to_string()),
    })?;
    out(&format!("{samples} samples that waited are given up.\n"))
}

fn out(text: &str) -> io::Result<()> {
    print(text).map_err(io::Error::other)
}
