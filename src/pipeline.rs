//! The way of a payload from its source to the queues: events to the board, samples into a ring that
//! never makes anyone wait. Names no concrete component.

pub mod board;
pub mod outlet;
pub mod ring;
pub mod selfmetrics;
