//! The command line as data.

use clap::{Args, Parser, Subcommand, ValueEnum};
use watchpost_discovery::sweep::chance::Effort;

/// Watches what is up: probes targets over HTTP, TCP and ICMP and hands the results on.
///
/// Without a command it runs; without a configuration it watches what this machine serves, and sends
/// nothing anywhere.
#[derive(Debug, Parser)]
#[command(name = "watchpost", version, about, long_about, propagate_version = true)]
#[command(args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of every command
    #[command(flatten)]
    pub global: Global,
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Global {
    /// A configuration: a file, or file:PATH, env:NAME, yaml:TEXT; of several the later one wins
    #[arg(long, short, global = true, value_name = "FILE")]
    pub config: Vec<String>,
    /// A value of the configuration, such as exporters.debug.verbosity=detailed; wins over all files.
    /// All users can read it in /proc/PID/cmdline: write secrets as ${file:path} or ${env:NAME}
    #[arg(long, global = true, value_name = "KEY.KEY=VALUE")]
    pub set: Vec<String>,
    /// How much is logged: error, warn, info, debug, trace, or a filter such as `watchpost::probe=debug`;
    /// default: what the configuration says, else info
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How it is logged; default: what the configuration says, else text
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Whether colours are used
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Probe until stopped (the default)
    Run,
    /// Check a configuration: tells every problem, needs no network, no secrets and no rights
    Check(Check),
    /// Make one attempt at an address, and tell what happened
    Probe(Probe),
    /// Show what this machine is busy with, what waits, what went wrong, and its temperatures
    Host(HostOptions),
    /// Find targets in compose files and traefik's files, and keep target files current
    Discover(Discover),
    /// Find out who is there on a network that this machine is attached to
    Sweep(Sweep),
    /// Write a first configuration, from what can be seen on this machine; sends nothing
    Init(Init),
    /// Show, dump, send once more or give up what waits for exporters, and what backends have refused
    Queue(Queue),
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Show every target with its module, interval and labels, and where it came from
    #[arg(long)]
    pub print: bool,
    /// Read this machine once, try what probes and jobs need, and tell what is missing and what would give it
    #[arg(long)]
    pub host: bool,
}

/// Options of `host`.
#[derive(Debug, Args)]
pub struct HostOptions {
    /// For how many seconds it looks (1 to 60): rates are of this time
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub seconds: u8,
}

/// Options of `discover`.
#[derive(Debug, Args)]
pub struct Discover {
    /// The jobs of the configuration's `discovery:` section; default: all
    #[arg(value_name = "JOB")]
    pub jobs: Vec<String>,
    /// Write nothing, and show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Show the lines that come and go
    #[arg(long)]
    pub diff: bool,
    /// Print one JSON object for each job
    #[arg(long)]
    pub json: bool,
    /// Exit with 2 when a file changed
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// Write also when most targets would go
    #[arg(long)]
    pub force: bool,
    /// Leave how it went in a file for node_exporter's textfile collector
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub textfile: Option<std::path::PathBuf>,
}

/// Options of `queue`.
#[derive(Debug, Args)]
pub struct Queue {
    /// Where it is kept [default: storage.directory of the configuration, else $STATE_DIRECTORY, else /var/lib/watchpost]
    #[arg(long, global = true, value_name = "DIR")]
    pub directory: Option<std::path::PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub action: QueueAction,
}

/// What `queue` does.
#[derive(Debug, Subcommand)]
pub enum QueueAction {
    /// What waits for which exporter, how old it is, and what became of the rest
    Ls {
        /// One JSON object for each exporter of each pipeline
        #[arg(long)]
        json: bool,
    },
    /// Write what waits as OTLP in JSON, one request a line
    Dump {
        /// Of whom
        #[command(flatten)]
        of: QueueChoice,
        /// What backends have refused for good instead
        #[arg(long)]
        rejected: bool,
    },
    /// Send once more what backends have refused for good and was put aside
    Replay {
        /// Of whom
        #[command(flatten)]
        of: QueueChoice,
    },
    /// Give up what waits
    Purge {
        /// Of whom
        #[command(flatten)]
        of: QueueChoice,
        /// Throw away what was put aside instead
        #[arg(long)]
        rejected: bool,
    },
}

/// Whose queue is meant.
#[derive(Debug, Default, Args)]
pub struct QueueChoice {
    /// Of this pipeline [default: all]
    #[arg(long, value_name = "NAME")]
    pub pipeline: Option<String>,
    /// Of this exporter [default: all]
    #[arg(long, value_name = "NAME")]
    pub exporter: Option<String>,
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Where to write it [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub output: Option<std::path::PathBuf>,
    /// Replace a file that is there
    #[arg(long)]
    pub force: bool,
    /// Where to push what is measured, such as http://127.0.0.1:8428/api/v1/write [default: nowhere, it is scraped]
    #[arg(long, value_name = "URL")]
    pub remote_write: Option<String>,
}

/// Options of `sweep`.
#[derive(Debug, Args)]
pub struct Sweep {
    /// Subnets (192.168.2.0/24) and addresses; of IPv6 the kernel's neighbours are taken
    #[arg(value_name = "SUBNET")]
    pub subnets: Vec<String>,
    /// TCP ports that are asked of everybody who is there
    #[arg(long, value_name = "PORT,...", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub ports: Vec<u16>,
    /// How sure it is to be: quick, normal, thorough
    #[arg(long, value_name = "EFFORT", default_value_t = Effort::Normal)]
    pub effort: Effort,
    /// Packets a second [default: 1000 on own links, 256 beyond]
    #[arg(long, value_name = "PACKETS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: Option<u32>,
    /// Print one JSON object for each address
    #[arg(long)]
    pub json: bool,
    /// Sweep also what is large, not attached, or public
    #[arg(long)]
    pub force: bool,
    /// A target file with names of addresses, such as ping-lan.yaml
    #[arg(long, value_name = "FILE")]
    pub names: Vec<std::path::PathBuf>,
    /// Leases of dnsmasq [default: where they usually are]
    #[arg(long, value_name = "FILE")]
    pub leases: Vec<std::path::PathBuf>,
    /// Ask no resolver for names
    #[arg(long)]
    pub no_dns: bool,
    /// Vendors of cards: IEEE's oui.txt, Wireshark's manuf or nmap-mac-prefixes
    #[arg(long, value_name = "FILE")]
    pub oui: Option<std::path::PathBuf>,
}

/// Options of `probe`.
#[derive(Debug, Args)]
pub struct Probe {
    /// A URL, host:port, a host or an IP address
    pub address: String,
    /// How to probe it; default: by the shape of the address
    #[arg(long, short, value_name = "NAME")]
    pub module: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
