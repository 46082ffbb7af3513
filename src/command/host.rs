//! `watchpost host`: the present picture of this machine for a person: of each resource how much is
//! used, how much waits, and what went wrong; every cell says something, if only why it cannot.

mod picture;
mod rows;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::clock;
use crate::base::text::tame;
use crate::cli::{Global, HostOptions};
use crate::command::style::{Style, column};
use crate::command::{USAGE, print, sources, style, told};
use crate::config::{self, Environment, Strictness};
use crate::host::collector::{Collector, Lane};
use crate::host::kernel::{Kernel, Real};
use crate::host::points::Wanted;
use crate::host::settings::Settings;
use crate::signal::names::host::{CPU_FREQUENCY, PROCESSES_COUNT, TABLE};
use picture::{Picture, Row};

/// Shares from which on a cell is doubtful, and bad.
const DOUBTFUL: f64 = 0.75;
const BAD: f64 = 0.9;

/// Prints the picture; returns the exit code.
pub(super) fn run(
    options: &HostOptions,
    global: &Global,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let Some(settings) = settings(global, environment) else { return Ok(USAGE) };
    let settings = Settings { wanted: Arc::new(everything()), ..settings };
    let kernel: Arc<dyn Kernel> = Arc::new(Real);
    let mut collectors: Vec<Collector> =
        Lane::ALL.iter().filter_map(|lane| Collector::new(&settings, *lane, &kernel)).collect();
    let span = Duration::from_secs(u64::from(options.seconds.clamp(1, 60)));
    // The first reading only says where counters stand.
    let before = clock::now();
    let first: Vec<_> = collectors.iter_mut().flat_map(|c| c.collect(before)).collect();
    #[allow(clippy::disallowed_methods, reason = "nothing else runs here")]
    std::thread::sleep(span);
    let now = clock::now();
    let second: Vec<_> = collectors.iter_mut().flat_map(|c| c.collect(now)).collect();
    let passed = now.boot.since(before.boot).as_secs_f64();
    let troubles = collectors.iter().flat_map(Collector::troubles);
    let picture = Picture::new(&first, &second, passed, troubles);
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let width = terminal.then(width).unwrap_or(usize::MAX);
    print(&draw(&picture, style(global.color, terminal, environment), width))?;
    Ok(0)
}

/// How often the line of the live table is made anew.
const SUMMARY_EVERY: Duration = Duration::from_secs(5);

/// What this machine is busy with, in a line that a thread of its own makes: a sensor that is slow
/// holds nothing up.
pub(super) struct Summary(Arc<Mutex<String>>);

impl Summary {
    /// Begins to look.
    pub(super) fn start() -> Self {
        let line = Arc::new(Mutex::new(String::new()));
        let shared = Arc::downgrade(&line);
        let look = move || {
            let settings = Settings { wanted: Arc::new(everything()), ..Settings::default() };
            let kernel: Arc<dyn Kernel> = Arc::new(Real);
            let lanes = [Lane::Kernel, Lane::Sensors];
            let mut collectors: Vec<Collector> =
                lanes.iter().filter_map(|l| Collector::new(&settings, *l, &kernel)).collect();
            let (mut then, mut before) = (clock::now(), Vec::new());
            // It ends with the table.
            while let Some(line) = shared.upgrade() {
                let now = clock::now();
                let samples: Vec<_> = collectors.iter_mut().flat_map(|c| c.collect(now)).collect();
                let passed = now.boot.since(then.boot).as_secs_f64();
                let troubles = collectors.iter().flat_map(Collector::troubles);
                let text = Picture::new(&before, &samples, passed, troubles).summary();
                *line.lock().unwrap_or_else(PoisonError::into_inner) = text;
                drop(line);
                let wait = if before.is_empty() { Duration::from_secs(1) } else { SUMMARY_EVERY };
                (then, before) = (now, samples);
                #[allow(clippy::disallowed_methods, reason = "a thread of its own")]
                std::thread::sleep(wait);
            }
        };
        // Without a thread there is no line, and everything else goes on.
        let _ = std::thread::Builder::new().name("host line".to_owned()).spawn(look);
        Self(line)
    }

    /// The line; empty at first.
    pub(super) fn line(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a configuration reads of the host: its folders and filters. `None`: it is wrong, which has
/// been told.
fn settings(global: &Global, environment: &Environment) -> Option<Settings> {
    let Some(sources) = sources(global) else { return Some(Settings::default()) };
    let plan = told(config::load(&sources, environment, Strictness::Check))?;
    let first = plan.hosts.first().map(|host| (*host.settings).clone());
    Some(first.unwrap_or_default())
}

/// All metrics, but for those that cost much and are not shown.
fn everything() -> Wanted {
    let costly = [&CPU_FREQUENCY, &PROCESSES_COUNT];
    let all = TABLE.iter().map(|entry| entry.metric);
    Wanted::new(all.filter(|metric| !costly.iter().any(|c| std::ptr::eq(*c, *metric))))
}

/// The columns of the terminal.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    size.map_or(80, |size| usize::from(size.ws_col)).max(20)
}

fn draw(picture: &Picture<'_>, style: Style, columns: usize) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}\n", style.strong(&picture.title()));
    let rows = picture.rows();
    let width = |of: fn(&Row) -> usize, head: &str| {
        rows.iter().map(of).max().unwrap_or(0).max(head.len()) + 2
    };
    let first = width(|row| row.resource.chars().count(), "RESOURCE");
    let second = width(|row| row.utilization.text.chars().count(), "UTILIZATION");
    let third = width(|row| row.saturation.text.chars().count(), "SATURATION");
    let fourth = rows.iter().map(|row| row.errors.text.chars().count()).max().unwrap_or(0);
    let paint = |cell: &picture::Cell, text: &str| match cell.share {
        Some(share) if share >= BAD => style.bad(text),
        Some(share) if share >= DOUBTFUL => style.doubtful(text),
        Some(_) => text.to_owned(),
        None => style.faint(text),
    };
    if first + second + third + fourth > columns {
        // Where a row finds no room, it is told in lines.
        for row in &rows {
            let _ = writeln!(out, "{}", style.strong(&row.resource));
            let cells = [
                ("utilization", &row.utilization),
                ("saturation", &row.saturation),
                ("errors", &row.errors),
            ];
            for (head, cell) in cells {
                let head = style.faint(&column(head, 13));
                let _ = writeln!(out, "  {head}{}", paint(cell, &tame(&cell.text)));
            }
        }
    } else {
        let head = format!(
            "{}{}{}ERRORS",
            column("RESOURCE", first),
            column("UTILIZATION", second),
            column("SATURATION", third)
        );
        let _ = writeln!(out, "{}", style.faint(&head));
        for row in &rows {
            let cell = |cell: &picture::Cell, width| paint(cell, &column(&cell.text, width));
            let _ = writeln!(
                out,
                "{}{}{}{}",
                column(&row.resource, first),
                cell(&row.utilization, second),
                cell(&row.saturation, third),
                paint(&row.errors, &tame(&row.errors.text)),
            );
        }
    }
    let sensors = picture.temperatures();
    let _ = writeln!(out);
    match sensors {
        Err(why) => {
            let _ = writeln!(out, "{}", style.faint(&format!("No temperatures: {why}")));
        }
        Ok(sensors) => {
            let width =
                sensors.iter().map(|s| s.name.chars().count()).max().unwrap_or(0).max(6) + 2;
            let head = format!("{}{}LIMITS", column("SENSOR", width), column("NOW", 11));
            let _ = writeln!(out, "{}", style.faint(&head));
            for sensor in sensors {
                let now = column(&sensor.now, 11);
                let now = match sensor.share {
                    Some(share) if share >= 1.0 => style.bad(&now),
                    Some(share) if share >= BAD => style.doubtful(&now),
                    _ => now,
                };
                let _ = writeln!(out, "{}{now}{}", column(&sensor.name, width), sensor.limits);
            }
        }
    }
    for line in picture.others() {
        let _ = writeln!(out, "{line}");
    }
    out
}

#[cfg(test)]
mod tests;
