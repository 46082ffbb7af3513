//! What the pipelines hold in memory, counted; and who gives some of it back when it becomes too much.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Holds samples that wait.
pub trait Holder: Send + Sync {
    /// Bytes that it holds, about.
    fn bytes(&self) -> usize;

    /// Bytes of these that it can give back: samples that wait.
    fn sheddable(&self) -> usize {
        0
    }

    /// Holds less than it usually does, as long as `short` is true.
    fn squeeze(&self, _short: bool) {}

    /// Drops the oldest until so many bytes are free or nothing is left, and counts them as dropped;
    /// returns how many samples that were.
    fn shed(&self, _bytes: usize) -> usize {
        0
    }
}

/// All holders of a process.
#[derive(Default)]
pub struct Memory {
    holders: Mutex<Vec<Weak<dyn Holder>>>,
    /// How many say that memory is short.
    short: AtomicUsize,
}

impl Memory {
    /// Counts a holder in for as long as it lives.
    pub fn count(&self, holder: &Arc<dyn Holder>) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(Arc::downgrade(holder));
    }

    fn holders(&self) -> Vec<Arc<dyn Holder>> {
        let holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.iter().filter_map(Weak::upgrade).collect()
    }

    /// Bytes that all hold.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.holders().iter().map(|holder| holder.bytes()).sum()
    }

    /// Bytes of these that can be given back.
    #[must_use]
    pub fn sheddable(&self) -> usize {
        self.holders().iter().map(|holder| holder.sheddable()).sum()
    }

    /// Somebody says that memory is short, or takes that back. It is short while anybody says so.
    pub fn squeeze(&self, short: bool) {
        let before = match short {
            true => self.short.fetch_add(1, Ordering::Relaxed),
            false => self.short.fetch_sub(1, Ordering::Relaxed) - 1,
        };
        if before == 0 {
            self.holders().iter().for_each(|holder| holder.squeeze(short));
        }
    }

    /// Has those who hold most give back so many bytes; returns how many samples that cost.
    pub fn shed(&self, mut bytes: usize) -> usize {
        if bytes == 0 {
            return 0;
        }
        let mut holders = self.holders();
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.sheddable()));
        let mut samples = 0;
        for holder in holders {
            let before = holder.bytes();
            samples += holder.shed(bytes);
            bytes = bytes.saturating_sub(before.saturating_sub(holder.bytes()));
            if bytes == 0 {
                break;
            }
        }
        samples
    }
}
