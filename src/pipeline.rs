//! The way of a payload from its source to the queues: events to the board, samples into a ring that
//! never makes anyone wait, through the chain of processors, into the sinks. Names no concrete
//! component.

pub mod board;
pub mod chain;
pub mod graph;
pub mod memory;
pub mod outlet;
pub mod ring;
pub mod selfmetrics;
pub mod selftrace;
pub mod stage;
