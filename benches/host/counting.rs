//! An allocator that counts, while it is told to.
#![allow(unsafe_code, reason = "an allocator is unsafe by its trait; all of it is the system's")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

static COUNTS: AtomicBool = AtomicBool::new(false);
static NUMBER: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);
static BLOCKS: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, counted.
pub(super) struct Counting;

/// What has been counted.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    /// Allocations, those that grew included.
    pub(super) number: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Bytes that are allocated now, more than when counting began.
    pub(super) live: i64,
    /// Blocks, in the same way.
    pub(super) blocks: i64,
}

pub(super) fn counts() -> Counts {
    Counts {
        number: NUMBER.load(Relaxed),
        bytes: BYTES.load(Relaxed),
        live: LIVE.load(Relaxed),
        blocks: BLOCKS.load(Relaxed),
    }
}

/// Counts from here on, or no more.
pub(super) fn count(on: bool) {
    COUNTS.store(on, Relaxed);
}

fn came(bytes: usize) {
    NUMBER.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
}

fn lives(bytes: i64, blocks: i64) {
    LIVE.fetch_add(bytes, Relaxed);
    BLOCKS.fetch_add(blocks, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came, and its answer is returned.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Relaxed) {
            came(layout.size());
            lives(layout.size() as i64, 1);
        }
        // SAFETY: the caller keeps the promises of the trait.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Relaxed) {
            came(layout.size());
            lives(layout.size() as i64, 1);
        }
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if COUNTS.load(Relaxed) {
            came(size);
            lives(size as i64 - layout.size() as i64, 0);
        }
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if COUNTS.load(Relaxed) {
            lives(-(layout.size() as i64), -1);
        }
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
