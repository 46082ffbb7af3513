//! The lines of a dialogue: read on the loop, searched by the workers, as many at a time as have come.

use std::ops::ControlFlow;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::base::clock;
use crate::base::regexp::search::{Pattern, SLICE, Search};
use crate::base::workers;
use crate::probe::trace::{Stop, Trace, Wait};
use crate::signal::outcome::Reason;

/// The longest line that is read.
const MAX_LINE: usize = 64 << 10;
/// Bytes that are read in a whole dialogue.
const MAX_DIALOGUE: usize = 1 << 20;

/// Bytes that were received and not searched yet.
pub(super) struct Lines<R> {
    read: R,
    buffer: Vec<u8>,
    left: usize,
    ended: bool,
}

/// The result of a search for a line.
enum Found {
    /// It ends before this byte; this is to be sent.
    Line(usize, Option<Vec<u8>>),
    /// One is too long.
    TooLong,
    /// None matches; the last one was this.
    None(Vec<u8>),
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(read: R) -> Self {
        Self { read, buffer: Vec::new(), left: MAX_DIALOGUE, ended: false }
    }

    /// Reads lines until one matches. Returns what to send then: `send` with the groups of the line put in.
    pub(super) async fn expect(
        &mut self,
        pattern: &Pattern,
        send: Option<&str>,
        trace: &mut Trace,
    ) -> Result<Option<Vec<u8>>, Stop> {
        let mut last = Vec::new();
        loop {
            let whole = self.buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let whole = if self.ended { self.buffer.len() } else { whole };
            if whole > 0 {
                let batch: Vec<u8> = self.buffer.drain(..whole).collect();
                match search(batch.clone(), pattern, send, trace).await? {
                    Found::TooLong => return Err(too_long()),
                    Found::None(line) => last = line,
                    Found::Line(end, send) => {
                        self.buffer.splice(..0, batch[end..].iter().copied());
                        return Ok(send);
                    }
                }
            } else if self.buffer.len() > MAX_LINE {
                return Err(too_long());
            } else if self.ended {
                return Err(self.without(pattern, &last, trace));
            } else {
                self.fill().await?;
            }
        }
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 8 << 10];
        let room = chunk.len().min(self.left);
        let read = self.read.read(&mut chunk[..room]).await?;
        self.buffer.extend_from_slice(&chunk[..read]);
        self.left -= read;
        self.ended = read == 0;
        Ok(())
    }

    /// Nothing more comes, and no line was the expected one.
    fn without(&self, pattern: &Pattern, last: &[u8], trace: &mut Trace) -> Stop {
        if self.left == 0 {
            let why = "more than 1 MiB without the expected line";
            return Stop::down(Reason::UnexpectedResponse, why);
        }
        // blackbox_exporter blames the expression also when nothing came at all.
        trace.failed_due_to_regex = Some(true);
        if last.is_empty() {
            return Stop::down(Reason::Eof, "closed without a word");
        }
        let seen = String::from_utf8_lossy(last);
        let detail = format!("{seen:?} does not match {:?}", pattern.regex().as_str());
        Stop::down(Reason::UnexpectedResponse, detail)
    }
}

fn too_long() -> Stop {
    Stop::down(Reason::UnexpectedResponse, "a line longer than 64 KiB")
}

async fn search(
    batch: Vec<u8>,
    pattern: &Pattern,
    send: Option<&str>,
    trace: &mut Trace,
) -> Result<Found, Stop> {
    trace.waits = Some(Wait::Rules);
    let (pattern, send) = (pattern.clone(), send.map(str::to_owned));
    let mut search = Search::new(&pattern);
    let mut from = 0;
    let found = workers::sliced(move || {
        let until = clock::instant() + SLICE;
        loop {
            let rest = &batch[from..];
            let end = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            let line = trimmed(&rest[..end]);
            if end > MAX_LINE {
                return Some(Found::TooLong);
            }
            match search.advance_until(line, false, until) {
                ControlFlow::Break(true) => {
                    let send = send.as_deref().map(|text| fill_in(&pattern, text, line));
                    return Some(Found::Line(from + end, send));
                }
                ControlFlow::Break(false) if from + end == batch.len() => {
                    return Some(Found::None(line.to_vec()));
                }
                ControlFlow::Break(false) => {
                    from += end;
                    search.restart();
                }
                ControlFlow::Continue(()) => return None,
            }
            if clock::instant() >= until {
                return None;
            }
        }
    })
    .await;
    trace.waits = None;
    Ok(found?)
}

fn fill_in(pattern: &Pattern, text: &str, line: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match pattern.regex().captures(line) {
        Some(captures) => captures.expand(text.as_bytes(), &mut out),
        None => out.extend_from_slice(text.as_bytes()),
    }
    out
}

/// A line without the bytes that end it.
fn trimmed(line: &[u8]) -> &[u8] {
    let ends = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let kept = line.iter().rposition(|byte| !ends(byte)).map_or(0, |at| at + 1);
    &line[..kept]
}
