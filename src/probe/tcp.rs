//! A TCP attempt: a connection, perhaps TLS, perhaps a dialogue of lines.

mod lines;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::probe::attempt::{self, Tools};
use crate::probe::module::{Step, Tcp};
use crate::probe::trace::{Stop, Trace};
use crate::signal::outcome::Phase;
use lines::Lines;

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
    let mut lines = Lines::new(read);
    for step in steps {
        let send = match &step.expect {
            Some(expect) => lines.expect(expect, step.send.as_deref(), trace).await?,
            None => step.send.as_ref().map(|text| text.clone().into_bytes()),
        };
        if let Some(mut bytes) = send {
            bytes.push(b'\n');
            write.write_all(&bytes).await?;
            write.flush().await?;
        }
    }
    trace.end();
    Ok(())
}
