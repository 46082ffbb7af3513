//! What every room may use: clocks, places in files, durations as Go writes them, hashes, backoff.
//! Imports nothing of ours.

pub mod backoff;
pub mod clock;
pub mod duration;
pub mod files;
pub mod flight;
pub mod fs;
pub mod hash;
pub mod place;
pub mod regexp;
pub mod run_queue;
pub mod seldom;
pub mod text;
pub mod turn;
pub mod workers;
