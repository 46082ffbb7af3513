//! A connection that pauses: a peer that always has more to read would otherwise keep the loop for as long as it
//! likes, because a read that never waits never gives way to another task.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read before the task gives way: HTTP/2 spends a microsecond on nine bytes.
const STRETCH: usize = 8 << 10;

/// A stream whose reads give way now and then. What decrypts stands between two of them: a single record has more bytes
/// than are read at a time.
#[derive(Debug)]
pub struct Paced<S> {
    inner: S,
    /// Bytes read since the task gave way last.
    read: usize,
}

impl<S> Paced<S> {
    /// Paces a stream.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.read >= STRETCH {
            this.read = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(context, buffer);
        this.read = match polled {
            Poll::Pending => 0,
            Poll::Ready(_) => this.read + buffer.filled().len() - before,
        };
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn reads_that_never_wait_give_way() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stream, peer) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut stream, mut peer) = (Paced::new(stream.expect("connected")), peer.expect("one").0);
        let mut buffer = vec![0; STRETCH];
        let mut task = std::pin::pin!(async {
            for _ in 0..3 {
                stream.read_exact(&mut buffer).await.expect("bytes");
            }
        });
        // All is there before the first read.
        let bytes = vec![7; 3 * STRETCH];
        peer.write_all(&bytes).await.expect("room");
        let mut polls = 0;
        std::future::poll_fn(|context| {
            polls += 1;
            task.as_mut().poll(context)
        })
        .await;
        assert!(polls >= 3, "{polls}");
    }
}
