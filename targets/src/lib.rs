//! What is watched: targets, their labels, and the files that hold them.
//!
//! A [`Target`] is an address with labels for people and *hints* for the scheduler: reserved labels
//! whose names begin with `__` (Prometheus' own `__param_module`, `__scrape_interval__`,
//! `__scrape_timeout__`). This crate carries hints and never interprets them: what a hint means is
//! decided by the daemon's configuration.
//!
//! [`mod@file`] reads Prometheus `file_sd` (YAML and JSON) and the `pinghosts.yaml` family, where one
//! string packs up to five fields with `;`. A wrong line is a [`Problem`] with its place; the other
//! targets of the file live on.

pub mod diff;
pub mod file;
pub mod folder;
pub mod label;
pub mod set;
pub mod target;
pub mod yaml;

pub use diff::{Diff, diff};
pub use file::{
    FileContent, ReadError, expand_pattern, is_named_by, read, render_file_sd, write_atomic,
};
pub use label::{Labels, is_hint, is_label_name};
pub use set::TargetSet;
pub use target::{
    Origin, Problem, Target, TargetId, parse_line, without_secrets, without_userinfo,
};
