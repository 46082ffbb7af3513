//! What users see, tried from outside: one binary, so that everything is built once.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    unreachable_pub,
    missing_docs
)]

mod backends;
mod cli;
mod compose;
mod conformance;
mod dashboards;
mod discover;
mod durable;
mod end_to_end;
mod floods;
mod foreign;
mod fuzz;
mod host;
mod hostile;
mod hung;
mod labels;
mod leaks;
mod links;
mod namespaces;
mod nix;
mod otlp;
mod package;
mod page;
mod pipelines;
mod readme;
mod reload;
mod rights;
mod rules;
mod support;
mod sweep;
mod traces;
mod units;
mod wrong;
