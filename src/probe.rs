//! Probing: what a module asks, how one attempt is made, when attempts are due, and what is published
//! about them. One attempt is one try at one address over a fresh connection; nothing here retries.

pub mod address;
mod attempt;
mod fault;
mod http;
pub mod icmp;
pub mod module;
pub mod plan;
mod publish;
pub mod readings;
mod rules;
mod run;
pub mod schedule;
mod tcp;
mod trace;

pub use attempt::{Tools, attempt};
pub use http::{Asked, trail};
pub use plan::{PlannedTarget, ReceiverPlan};
pub use run::{Command, Prober, ProberHandle, Replacement};
