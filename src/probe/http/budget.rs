//! A stream that reads no more bytes than an attempt may cost.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, thiserror::Error)]
#[error("the budget of bytes is used up")]
struct Exceeded;

/// Whether a budget is used up, also when the library on top has hidden the error.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent(Arc<AtomicBool>);

impl Spent {
    /// Whether it is.
    pub(super) fn is_all(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts what is read, and fails when it is too much.
pub(super) struct Budget<S> {
    inner: S,
    left: u64,
    spent: Spent,
}

impl<S> Budget<S> {
    pub(super) fn new(inner: S, bytes: u64) -> Self {
        Self { inner, left: bytes, spent: Spent::default() }
    }

    pub(super) fn spent(&self) -> Spent {
        self.spent.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Budget<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left == 0 {
            this.spent.0.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(io::Error::other(Exceeded)));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buffer);
        let read = (buffer.filled().len() - before) as u64;
        this.left = this.left.saturating_sub(read);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Budget<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn reading_stops_at_the_budget() {
        let mut stream = Budget::new(&b"0123456789"[..], 4);
        let mut buffer = [0; 4];
        assert_eq!(stream.read(&mut buffer).await.expect("within"), 4);
        assert!(!stream.spent().is_all());
        assert!(stream.read(&mut buffer).await.is_err() && stream.spent().is_all());
    }
}
