//! The live table of the embedded default: every target with its state, its latency, and a short past.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{self, Timestamp};
use crate::command::host::Summary;
use crate::command::logging::Tail;
use crate::command::style::{Style, column, latency};
use crate::pipeline::board::{Board, RECENT, Recent, Row};
use crate::signal::outcome::{SlotResult, Verdict};

/// How often the table is drawn at most.
const EVERY: Duration = Duration::from_millis(250);
/// Log lines below the table.
const LOG_LINES: usize = 4;
/// Slots of the past that stand before a reason.
const REASON_PAST: usize = 5;
/// The bars of a sparkline, low to high.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The table.
pub(super) struct Table {
    board: Arc<Board>,
    tail: Tail,
    style: Style,
    address: SocketAddr,
    /// What this machine is busy with, in a line.
    host: Summary,
    drawn: usize,
}

impl Table {
    pub(super) fn new(board: Arc<Board>, tail: Tail, style: Style, address: SocketAddr) -> Self {
        Self { board, tail, style, address, host: Summary::start(), drawn: 0 }
    }

    /// Draws for ever.
    pub(super) async fn live(&mut self) -> Infallible {
        loop {
            let (rows, columns) = size();
            let now = clock::wall();
            let lines = render(
                &self.board.rows(),
                &self.tail.last(LOG_LINES),
                self.style,
                (self.address, &self.host.line()),
                (rows, columns),
                now,
            );
            self.draw(&lines);
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Draws over what was drawn before.
    fn draw(&mut self, lines: &[String]) {
        let mut out = String::new();
        if self.drawn > 0 {
            let _ = write!(out, "\x1b[{}A", self.drawn);
        }
        for line in lines {
            let _ = write!(out, "\r{line}\x1b[K\n");
        }
        out.push_str("\x1b[J");
        self.drawn = lines.len();
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(out.as_bytes()).and_then(|()| stderr.flush());
    }
}

/// Rows and columns of the terminal.
fn size() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)))
}

/// The lines of the table, none wider than the terminal, no more than it has.
fn render(
    rows: &[Row],
    log: &[String],
    style: Style,
    (address, host): (SocketAddr, &str),
    (height, width): (usize, usize),
    now: Timestamp,
) -> Vec<String> {
    let up = rows.iter().filter(|row| state(row) == State::Up).count();
    let down = rows.iter().filter(|row| state(row) == State::Down).count();
    // Addresses of a subnet at which nobody has ever been are a number, no rows.
    let never = rows.iter().filter(|row| state(row) == State::NeverSeen).count();
    let rows: Vec<&Row> = rows.iter().filter(|row| state(row) != State::NeverSeen).collect();
    let waiting = rows.len() - up - down;
    let mut head = format!("Watchpost {}  {up} up", env!("CARGO_PKG_VERSION"));
    let _ = write!(head, "  {down} down");
    if waiting > 0 {
        let _ = write!(head, "  {waiting} waiting");
    }
    if never > 0 {
        let _ = write!(head, "  {never} never seen");
    }
    let _ = write!(head, "  http://{address}/metrics/prometheus  Ctrl-C ends");
    let mut lines = vec![style.strong(column(&head, width.saturating_sub(1)).trim_end())];
    if !host.is_empty() {
        lines.push(column(host, width.saturating_sub(1)).trim_end().to_owned());
    }
    let room = height.saturating_sub(lines.len() + log.len() + 3).max(1);
    // State 8, latency 10, a space between all, the sparkline where there is room.
    let spark = RECENT.min(width.saturating_sub(60));
    let rest = width.saturating_sub(24 + spark).max(20);
    let (name, target) = (rest * 2 / 5, rest - rest * 2 / 5);
    let title = format!(
        "{} {} {:<8} {:>9}  recent",
        column("NAME", name),
        column("TARGET", target),
        "STATE",
        "LATENCY"
    );
    lines.push(style.faint(column(&title, width.saturating_sub(1)).trim_end()));
    for row in rows.iter().take(room) {
        lines.push(render_row(row, style, name, target, spark, now));
    }
    if rows.len() > room {
        lines.push(style.faint(&format!("… and {} more", rows.len() - room)));
    }
    for line in log {
        lines.push(style.faint(column(line, width.saturating_sub(1)).trim_end()));
    }
    lines
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Up,
    Down,
    NeverSeen,
    Skipped,
}

fn state(row: &Row) -> State {
    match row.last.as_ref().map(|(_, result)| &**result) {
        None | Some(SlotResult::Cancelled) => State::Waiting,
        Some(SlotResult::Skipped(..)) => State::Skipped,
        Some(SlotResult::Outcome(outcome)) if outcome.verdict.is_up() => State::Up,
        Some(SlotResult::Outcome(_)) if row.is_never_seen() => State::NeverSeen,
        Some(SlotResult::Outcome(_)) => State::Down,
    }
}

fn render_row(
    row: &Row,
    style: Style,
    name: usize,
    target: usize,
    spark: usize,
    now: Timestamp,
) -> String {
    let label = row.target.name.as_deref().unwrap_or(&row.target.instance);
    let fixed = format!("{} {}", column(label, name), column(&row.target.instance, target));
    let since = row.since.map_or_else(String::new, |since| age(now.seconds() - since.seconds()));
    let (word, last, why) = match row.last.as_ref().map(|(_, result)| &**result) {
        Some(SlotResult::Outcome(outcome)) => match outcome.verdict {
            Verdict::Up => (style.good("up      "), latency(outcome.duration), String::new()),
            Verdict::Down { reason, .. } => {
                (style.bad("down    "), String::new(), format!("{reason} {since}"))
            }
        },
        Some(SlotResult::Skipped(skip, _)) => {
            (style.doubtful("skipped "), String::new(), skip.word().to_owned())
        }
        _ => (style.faint("waiting "), String::new(), String::new()),
    };
    let past = match why.is_empty() {
        true => sparkline(row, spark, style),
        false => {
            let why = column(&why, spark.saturating_sub(REASON_PAST + 1));
            format!("{} {}", sparkline(row, REASON_PAST, style), why.trim_end())
        }
    };
    format!("{fixed} {word} {last:>9}  {past}")
}

/// How long something has lasted, in its largest unit.
fn age(seconds: f64) -> String {
    match seconds.max(0.0) {
        s if s < 60.0 => format!("{s:.0}s"),
        s if s < 3600.0 => format!("{:.0}m", s / 60.0),
        s if s < 86_400.0 => format!("{:.0}h", s / 3600.0),
        s => format!("{:.0}d", s / 86_400.0),
    }
}

/// Recent slots as bars between the lowest and the highest latency; a failure stands out.
fn sparkline(row: &Row, width: usize, style: Style) -> String {
    let recent: Vec<Recent> =
        row.recent.iter().copied().skip(row.recent.len().saturating_sub(width)).collect();
    let times: Vec<f64> = recent
        .iter()
        .filter_map(
            |slot| if let Recent::Up(took) = slot { Some(took.as_secs_f64()) } else { None },
        )
        .collect();
    let low = times.iter().copied().fold(f64::INFINITY, f64::min);
    let high = times.iter().copied().fold(0.0, f64::max);
    let mut out = String::new();
    for slot in recent {
        match slot {
            Recent::Up(took) => {
                let share =
                    if high > low { (took.as_secs_f64() - low) / (high - low) } else { 0.0 };
                let bar = BARS[((share * 7.0).round() as usize).min(7)];
                out.push_str(&style.good(&bar.to_string()));
            }
            Recent::Down => out.push_str(&style.bad("×")),
            Recent::Skipped => out.push('·'),
        }
    }
    out
}

#[cfg(test)]
mod tests;
