//! A stream whose writes have to get somewhere: a client that does not read, or too slowly, is cut off.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::clients::Client;

/// How long a write may wait without any progress.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the writing of one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The stream of a connection.
pub(super) struct Monitored<S> {
    stream: S,
    client: Arc<Client>,
    /// Set while a write makes no progress.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Set while an answer is written that did not go out at once.
    answering: Option<Pin<Box<Sleep>>>,
    abort: fn(&S),
}

impl<S> Monitored<S> {
    /// A stream of this client; `abort` is called before a write is given up.
    pub(super) fn new(stream: S, client: Arc<Client>, abort: fn(&S)) -> Self {
        Self { stream, client, stalled: None, answering: None, abort }
    }

    /// Passes on what became of a write, unless it has been waiting for too long.
    fn progress<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let over = match written {
            Poll::Ready(_) => {
                self.stalled = None;
                false
            }
            Poll::Pending => {
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
                self.answering.get_or_insert_with(|| Box::pin(sleep(ANSWER_TIMEOUT)));
                stalled.as_mut().poll(cx).is_ready()
            }
        };
        let late = self.answering.as_mut().is_some_and(|until| until.as_mut().poll(cx).is_ready());
        if !over && !late {
            return written;
        }
        (self.abort)(&self.stream);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Monitored<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Monitored<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.progress(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes);
        this.progress(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        // The server flushes when it has nothing left to write.
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.answering = None;
            this.client.flushed();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.progress(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio_util::sync::CancellationToken;

    use super::super::clients::Clients;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_without_progress_ends_and_any_progress_is_enough() {
        let (ours, mut theirs) = duplex(4);
        let clients = Arc::new(Clients::new(1));
        let loopback = std::net::Ipv4Addr::LOCALHOST.into();
        let client = clients.admit(loopback, CancellationToken::new()).expect("the first");
        let mut stream = Monitored::new(ours, Arc::new(client), |_| {});
        let begin = tokio::time::Instant::now();
        let write = async {
            let failed = stream.write_all(&[0; 12]).await.expect_err("nobody reads");
            (failed.kind(), begin.elapsed())
        };
        let read = async {
            tokio::time::sleep(WRITE_TIMEOUT - Duration::from_secs(1)).await;
            theirs.read_exact(&mut [0; 4]).await.expect("four bytes");
        };
        let ((kind, took), ()) = tokio::join!(write, read);
        assert_eq!(kind, io::ErrorKind::TimedOut);
        assert_eq!(
            took.as_secs(),
            2 * WRITE_TIMEOUT.as_secs() - 1,
            "ten seconds after the last progress"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_read_bit_by_bit_ends_after_a_minute() {
        let (ours, mut theirs) = duplex(4);
        let clients = Arc::new(Clients::new(1));
        let loopback = std::net::Ipv4Addr::LOCALHOST.into();
        let client = clients.admit(loopback, CancellationToken::new()).expect("the first");
        let mut stream = Monitored::new(ours, Arc::new(client), |_| {});
        let begin = tokio::time::Instant::now();
        let write = async {
            // A short answer before it does not count.
            stream.write_all(&[0; 4]).await.expect("there is room");
            stream.flush().await.expect("written");
            let failed = stream.write_all(&[0; 1000]).await.expect_err("too slow");
            (failed.kind(), begin.elapsed())
        };
        let read = async {
            let mut bytes = [0; 4];
            for _ in 0..20 {
                tokio::time::sleep(WRITE_TIMEOUT - Duration::from_secs(1)).await;
                if theirs.read_exact(&mut bytes).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            (kind, took) = write => {
                assert_eq!(kind, io::ErrorKind::TimedOut);
                assert_eq!(took, ANSWER_TIMEOUT);
            }
            () = read => panic!("it was written on and on"),
        }
    }
}
