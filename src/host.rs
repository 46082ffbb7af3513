//! Metrics of this machine: CPUs, memory, disks, file systems, the network, sensors.
//!
//! `read` turns the kernel's files into numbers, `table` turns numbers into metrics, `collector` puts
//! what one receiver wants together, `run` does so when it is due.

pub mod collector;
pub mod filter;
pub mod hints;
pub mod kernel;
pub mod points;
pub mod read;
pub mod run;
pub mod scan;
pub mod scraper;
pub mod settings;
pub mod source;
pub mod statfs;
pub mod table;

#[cfg(test)]
mod tests;
