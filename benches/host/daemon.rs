//! The whole program, each second read and scraped, beside node_exporter that is scraped each second.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use watchpost::signal::names::host::SCRAPERS;

use crate::Options;
use crate::meter;
use crate::ours::DEFAULT;
use crate::peer::{Peer, free_port};

const SECOND: Duration = Duration::from_secs(1);

/// Watchpost with these scrapers.
fn watchpost(folder: &Path, name: &str, scrapers: &[&str], connections: bool) -> Peer {
    let (port, page) = (free_port(), free_port());
    let mut text = "receivers:\n  hostmetrics:\n    collection_interval: 1s\n    \
        initial_delay: 0s\n    scrapers:\n"
        .to_owned();
    for scraper in scrapers {
        let switch = match *scraper {
            "network" if !connections => "metrics: {system.network.connections: {enabled: false}}",
            _ => "",
        };
        let _ = writeln!(text, "      {scraper}: {{{switch}}}");
    }
    let _ = write!(
        text,
        "exporters:\n  prometheus: {{endpoint: \"127.0.0.1:{port}\"}}\n\
         http: {{listen: \"127.0.0.1:{page}\"}}\n"
    );
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchpost"));
    command.arg("run").arg("--config").arg(file).env("WATCHPOST_DUMPABLE", "1");
    Peer::start(command, port)
}

pub(super) fn beside(options: &Options) {
    let folder = tempfile::tempdir().unwrap();
    let mut sides: Vec<(&str, Peer)> = [
        (
            "Watchpost, the default collection",
            Some(watchpost(folder.path(), "default.yaml", &DEFAULT, false)),
        ),
        (
            "Watchpost, all scrapers and connections",
            Some(watchpost(folder.path(), "all.yaml", SCRAPERS, true)),
        ),
        ("node_exporter, its defaults", Peer::whole()),
        ("node_exporter, the same collectors", Peer::same()),
    ]
    .into_iter()
    .filter_map(|(name, peer)| Some((name, peer?)))
    .collect();
    let mut peaks = vec![0; sides.len()];
    let mut turn = |sides: &mut [(&str, Peer)]| {
        let end = Instant::now() + SECOND;
        for ((_, peer), peak) in sides.iter_mut().zip(&mut peaks) {
            peer.scrape();
            *peak = meter::pss(&[peer.id()]).max(*peak);
        }
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
    };
    for _ in 0..5 {
        turn(&mut sides);
    }
    let of = |sides: &[(&str, Peer)]| -> Vec<meter::Cpu> {
        sides.iter().map(|(_, peer)| meter::Cpu::of(&[peer.id()])).collect()
    };
    let (before, begin) = (of(&sides), Instant::now());
    for _ in 0..options.seconds {
        turn(&mut sides);
    }
    let (after, passed) = (of(&sides), begin.elapsed().as_secs_f64());
    println!("{passed:.1} s after a warm-up, read and scraped once a second");
    println!("| process | CPU ms/s | peak PSS MiB | samples |");
    println!("|---|---:|---:|---:|");
    for (((name, peer), peak), (before, after)) in
        sides.iter().zip(&peaks).zip(before.iter().zip(&after))
    {
        println!(
            "| {name} | {:.2} | {:.1} | {} |",
            after.since(before) / passed,
            *peak as f64 / 1024.0,
            peer.samples()
        );
    }
}
