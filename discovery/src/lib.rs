//! Finds what is to be watched in what is written down already: compose files with the labels of
//! reverse proxies, and traefik's own files; and keeps a target file current without losing a line
//! that was written by hand.
//!
//! [`job::compose`] looks, [`output::render`] makes the new text of a file. Nothing here asks a
//! network or reads the environment: variables are handed over.

mod address;
mod claims;
pub mod dialects;
pub mod docker;
pub mod find;
pub mod hosts;
pub mod interpolate;
pub mod job;
pub mod lan;
pub mod limits;
pub mod names;
pub mod oui;
pub mod output;
pub mod project;
mod reading;
pub mod rule;
pub mod service;
mod skipped;
pub mod sweep;
pub mod text;
pub mod traefik_file;
pub mod within;
