//! Parses arguments, runs a command, maps the result to an exit code.
#![allow(clippy::print_stderr, reason = "faults are told on stderr")]

use std::process::ExitCode;

use clap::Parser as _;
use watchpost::cli::Cli;
use watchpost::command::{self, USAGE};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no faults; they go to stdout.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match command::dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("watchpost: {error:#}");
            ExitCode::FAILURE
        }
    }
}
