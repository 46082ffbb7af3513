//! Readers: the kernel's files as numbers, without names. Each `parse` is pure, takes any bytes, and
//! passes over lines that make no sense; what cannot be known is `None`, never a zero.
//!
//! The crate procfs reads these files, too, and is not used for them: it numbers CPUs by their place
//! in `/proc/stat` (wrong when one is offline), gives up a whole file for one line (an interface
//! whose name is no UTF-8, an empty mount source, `/proc/net/snmp` without one column, pressure
//! without `full`), does not undo `\040` in mount points, and costs three to six times as much. It is
//! used where it holds up: ticks and page size.

pub mod block;
pub mod cpu;
pub mod hwmon;
pub mod memory;
pub mod mounts;
pub mod network;
pub mod process;
