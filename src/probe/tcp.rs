//! A TCP attempt: a connection, perhaps TLS, perhaps a dialogue of lines.

use regex::bytes::Regex;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};

use crate::probe::attempt::{self, Tools};
use crate::probe::module::{Step, Tcp};
use crate::probe::trace::{Stop, Trace};
use crate::signal::outcome::{Phase, Reason};

/// The longest line that is read.
const MAX_LINE: usize = 64 << 10;
/// Bytes that are read in a whole dialogue.
const MAX_DIALOGUE: u64 = 1 << 20;

pub(super) async fn probe(
    module: &Tcp,
    host: &str,
    port: u16,
    tools: &Tools,
    trace: &mut Trace,
) -> Result<(), Stop> {
    let address = attempt::resolve(host, module.family, tools, trace).await?;
    let stream = attempt::connect((address, port).into(), module.source, trace).await?;
    match &module.tls {
        None => {
            trace.failed_due_to_regex = Some(false);
            dialogue(&module.query_response, stream, trace).await
        }
        Some(tls) => {
            let (stream, _) = attempt::handshake(tls, stream, host, trace).await?;
            trace.failed_due_to_regex = Some(false);
            dialogue(&module.query_response, stream, trace).await
        }
    }
}

async fn dialogue(
    steps: &[Step],
    stream: impl AsyncRead + AsyncWrite + Unpin,
    trace: &mut Trace,
) -> Result<(), Stop> {
    if steps.is_empty() {
        return Ok(());
    }
    trace.begin(Phase::Transfer);
    let (read, mut write) = tokio::io::split(stream);
    let mut lines = BufReader::new(read.take(MAX_DIALOGUE));
    for step in steps {
        let mut send = step.send.as_ref().map(|text| text.clone().into_bytes());
        if let Some(expect) = &step.expect {
            let line = expect_line(&mut lines, expect, trace).await?;
            if let (Some(text), Some(captures)) = (&step.send, expect.captures(&line)) {
                let mut expanded = Vec::new();
                captures.expand(text.as_bytes(), &mut expanded);
                send = Some(expanded);
            }
        }
        if let Some(mut bytes) = send {
            bytes.push(b'\n');
            write.write_all(&bytes).await?;
            write.flush().await?;
        }
    }
    trace.end();
    Ok(())
}

/// Reads lines until one matches.
async fn expect_line<R: AsyncRead + Unpin>(
    lines: &mut BufReader<tokio::io::Take<R>>,
    expect: &Regex,
    trace: &mut Trace,
) -> Result<Vec<u8>, Stop> {
    let mut last = Vec::new();
    loop {
        let mut line = Vec::new();
        let mut bounded = (&mut *lines).take(MAX_LINE as u64 + 1);
        let read = bounded.read_until(b'\n', &mut line).await?;
        if read > MAX_LINE {
            return Err(Stop::down(Reason::UnexpectedResponse, "a line longer than 64 KiB"));
        }
        let ended = !line.ends_with(b"\n");
        while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            line.pop();
        }
        if !(ended && line.is_empty()) && expect.is_match(&line) {
            return Ok(line);
        }
        if ended {
            if lines.get_ref().limit() == 0 {
                return Err(Stop::down(
                    Reason::UnexpectedResponse,
                    "more than 1 MiB without the expected line",
                ));
            }
            // blackbox_exporter blames the expression also when nothing came at all.
            trace.failed_due_to_regex = Some(true);
            if line.is_empty() && last.is_empty() {
                return Err(Stop::down(Reason::Eof, "closed without a word"));
            }
            let seen = if line.is_empty() { last } else { line };
            let detail = format!(
                "{:?} does not match {:?}",
                String::from_utf8_lossy(&seen),
                expect.as_str()
            );
            return Err(Stop::down(Reason::UnexpectedResponse, detail));
        }
        last = line;
    }
}
