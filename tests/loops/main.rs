//! Hostile peers and the loops: how long one turn takes, and what an attempt leaves behind. The tests run one
//! after the other and beside no others, because they measure.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    missing_docs
)]

#[path = "../integration"]
mod integration {
    pub mod support;
}
use integration::support;

#[path = "../../benches/host/counting.rs"]
mod counting;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

mod corpus;
mod leaks;
mod turns;

/// One at a time: the measurements of one are not to be those of another.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
