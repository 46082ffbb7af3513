//! The subcommands: one file each. The only room that prints.

mod check;
mod diagnosis;
mod discover;
mod host;
mod init;
mod logging;
mod probe;
mod queue;
mod rights;
mod run;
mod style;
mod sweep;
mod table;

use std::io::{IsTerminal as _, Write as _};

use crate::app::facts;
use crate::base::place::{Problem, Severity};
use crate::cli::{Cli, Color, Command, Global};
use crate::config::plan::Plan;
use crate::config::{self, Environment, Loaded, Sources, Strictness};
use style::Style;

/// The exit code of a wrong configuration or a wrong use (`EX_USAGE` of sysexits.h).
pub const USAGE: u8 = 64;

/// Runs what the command line asks for; returns the exit code.
///
/// # Errors
/// Our own faults, as one line.
pub fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    let environment = facts::environment();
    let global = &cli.global;
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => run::run(global, &environment),
        Command::Check(options) => check::run(&options, global, &environment),
        Command::Discover(options) => discover::run(&options, global, &environment),
        Command::Host(options) => host::run(&options, global, &environment),
        Command::Init(options) => init::run(&options),
        Command::Probe(options) => probe::run(&options, global, &environment),
        Command::Queue(options) => queue::run(&options, global, &environment),
        Command::Sweep(options) => sweep::run(&options, global, &environment),
    }
}

/// Whether a stream gets colours.
fn style(color: Color, terminal: bool, environment: &Environment) -> Style {
    let wanted = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let plain = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty())
                || environment.get("TERM").is_some_and(|term| term == "dumb");
            terminal && !plain
        }
    };
    Style::new(wanted)
}

/// The configuration that the command line names; `None`: none.
fn sources(global: &Global) -> Option<Sources> {
    let given = !global.config.is_empty() || !global.set.is_empty();
    given.then(|| Sources { configs: global.config.clone(), sets: global.set.clone() })
}

/// The configuration that the command line names, or the embedded default. `None`: there were errors.
fn plan_or_default(global: &Global, environment: &Environment) -> Option<Plan> {
    match sources(global) {
        None => Some(config::embedded()),
        Some(sources) => told(config::load(&sources, environment, Strictness::Check)),
    }
}

/// Tells the problems of a configuration on stderr. `None`: there were errors.
fn told(loaded: Loaded) -> Option<Plan> {
    #[allow(clippy::print_stderr, reason = "problems are told before anything is logged")]
    for problem in &loaded.problems {
        eprintln!("{problem}");
    }
    loaded.plan
}

/// Writes what a command has found. Whoever does not read it to the end (`| head`) is no fault.
///
/// # Errors
/// When it cannot be written for another reason.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::anyhow!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Tells a wrong use; returns its exit code.
fn wrong_use(message: &str) -> anyhow::Result<u8> {
    #[allow(clippy::print_stderr, reason = "a wrong use is told on stderr")]
    {
        eprintln!("{message}");
    }
    Ok(USAGE)
}

/// `2 errors, 1 warning`.
fn count(problems: &[Problem]) -> String {
    let number = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let word = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}, {}",
        word(number(Severity::Error), "error"),
        word(number(Severity::Warning), "warning")
    )
}

/// Whether stderr is a terminal.
fn terminal() -> bool {
    std::io::stderr().is_terminal()
}
