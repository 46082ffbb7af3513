//! A stream that reads within a budget: how much a peer may make us read. Probes have one for each attempt, exporters'
//! clients one that each request renews.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Debug, thiserror::Error)]
#[error("the answer is longer than {bytes} bytes, or comes in more than {reads} pieces")]
struct Exceeded {
    bytes: u64,
    reads: u64,
}

/// Bytes and reads that are left. Several streams may share one.
#[derive(Debug)]
pub struct Budget {
    most: (u64, u64),
    bytes: AtomicU64,
    reads: AtomicU64,
    exceeded: AtomicBool,
}

impl Budget {
    /// A budget of so many bytes, in so many reads.
    #[must_use]
    pub fn new(bytes: u64, reads: u64) -> Self {
        let (left, exceeded) = ((bytes.into(), reads.into()), false.into());
        Self { most: (bytes, reads), bytes: left.0, reads: left.1, exceeded }
    }

    /// All of it is left again.
    pub fn renew(&self) {
        self.bytes.store(self.most.0, Ordering::Relaxed);
        self.reads.store(self.most.1, Ordering::Relaxed);
    }

    /// Whether a read has failed because nothing was left: a library on top may hide its error.
    #[must_use]
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
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
    /// Reads within this budget.
    #[must_use]
    pub fn new(inner: S, budget: Arc<Budget>) -> Self {
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
            this.budget.exceeded.store(true, Ordering::Relaxed);
            let (bytes, reads) = this.budget.most;
            return Poll::Ready(Err(io::Error::other(Exceeded { bytes, reads })));
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
    use super::*;
    use tokio::io::AsyncReadExt as _;

    const MAX_BYTES: u64 = 1 << 20;
    const MAX_READS: u64 = 8192;

    #[tokio::test]
    async fn reading_stops_at_the_budget() {
        let budget = Arc::new(Budget::new(4, u64::MAX));
        let mut stream = Budgeted::new(&b"0123456789"[..], Arc::clone(&budget));
        let mut buffer = [0; 4];
        assert_eq!(stream.read(&mut buffer).await.expect("within"), 4);
        assert!(!budget.is_exceeded());
        assert!(stream.read(&mut buffer).await.is_err() && budget.is_exceeded());
    }

    #[tokio::test]
    async fn bytes_and_pieces_are_counted_for_each_request() {
        let budget = Arc::new(Budget::new(MAX_BYTES, MAX_READS));
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
