//! What a backend may cost for each request: a flood of 1xx heads, of frames or of single bytes ends
//! with an error, long before the request's timeout.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read for one request, head and framing included.
const MAX_BYTES: u64 = 1 << 20;
/// Reads for one request. The windows of a large body over HTTP/2 take some hundred.
const MAX_READS: u64 = 8192;

#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than {MAX_BYTES} bytes, or comes in more than {MAX_READS} pieces")]
struct Exceeded;

/// What is left for the request under way, on all connections of a client. A client sends one request
/// after the other.
#[derive(Debug)]
pub struct Budget {
    bytes: AtomicU64,
    reads: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { bytes: MAX_BYTES.into(), reads: MAX_READS.into() }
    }
}

impl Budget {
    /// A new request begins.
    pub fn renew(&self) {
        self.bytes.store(MAX_BYTES, Ordering::Relaxed);
        self.reads.store(MAX_READS, Ordering::Relaxed);
    }

    fn is_spent(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) == 0 || self.reads.load(Ordering::Relaxed) == 0
    }

    fn spend(&self, bytes: u64) {
        let less = |left: &AtomicU64, by: u64| {
            let left_now = left.load(Ordering::Relaxed);
            left.store(left_now.saturating_sub(by), Ordering::Relaxed);
        };
        less(&self.bytes, bytes);
        less(&self.reads, 1);
    }
}

/// A stream that reads within a budget.
#[derive(Debug)]
pub struct Budgeted<S> {
    inner: S,
    budget: Arc<Budget>,
}

impl<S> Budgeted<S> {
    pub(super) fn new(inner: S, budget: Arc<Budget>) -> Self {
        Self { inner, budget }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Budgeted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.budget.is_spent() {
            return Poll::Ready(Err(io::Error::other(Exceeded)));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(cx, buffer);
        if polled.is_ready() {
            this.budget.spend((buffer.filled().len() - before) as u64);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Budgeted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
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
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn bytes_and_pieces_are_counted_for_each_request() {
        let budget = Arc::new(Budget::default());
        let mut endless = Budgeted::new(tokio::io::repeat(b'x'), Arc::clone(&budget));
        let (mut large, mut one) = (vec![0; 64 << 10], [0; 1]);
        for _ in 0..2 {
            let mut read = 0;
            let failed = loop {
                match endless.read(&mut large).await {
                    Ok(n) => read += n as u64,
                    Err(error) => break error,
                }
            };
            assert_eq!(read, MAX_BYTES);
            assert!(failed.to_string().contains("more than 8192 pieces"), "{failed}");
            budget.renew();
            for _ in 0..MAX_READS {
                endless.read_exact(&mut one).await.expect("within the budget");
            }
            endless.read_exact(&mut one).await.expect_err("one piece too many");
            budget.renew();
        }
    }
}
