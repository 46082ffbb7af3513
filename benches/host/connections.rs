//! Connections by state, with many of them.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::Socket;
use watchpost::signal::names::host::NETWORK_CONNECTIONS;

use crate::Options;
use crate::cpu::own;
use crate::meter;
use crate::ours::{MINUTE, Ours, forget};
use crate::peer::Peer;
use crate::times::{quantile, times};

/// Counts of each row.
const COUNTS: usize = 100;
/// Scrapes of node_exporter.
const SCRAPES: usize = 10;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What this program is when it holds the other end: a process may not have so many files open.
pub(super) const ROLE: &str = "--hold";

/// Opens as many connections to this port as each line says.
pub(super) fn hold(port: &str) {
    raise_limit();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().unwrap()));
    let mut held = Vec::new();
    for line in std::io::stdin().lines() {
        let number: usize = line.unwrap().parse().unwrap();
        while held.len() < number {
            held.push(TcpStream::connect_timeout(&address, PATIENCE).unwrap());
        }
    }
}

/// Connections on loopback, both ends of them ours.
struct Crowd {
    listener: TcpListener,
    accepted: Vec<Socket>,
    other: Child,
}

impl Crowd {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let program = std::env::current_exe().unwrap();
        let other = Command::new(program)
            .args([ROLE, &port.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        Self { listener, accepted: Vec::new(), other }
    }

    /// Until there are so many.
    fn grow(&mut self, number: usize) -> std::io::Result<()> {
        writeln!(self.other.stdin.as_mut().unwrap(), "{number}")?;
        while self.accepted.len() < number {
            let socket = Socket::from(self.listener.accept()?.0);
            // They are reset at the end, so that none waits.
            socket.set_linger(Some(Duration::ZERO))?;
            self.accepted.push(socket);
        }
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.accepted.clear();
        let _ = self.other.kill();
        let _ = self.other.wait();
    }
}

/// As many open files as we may.
fn raise_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

pub(super) fn table(options: &Options) {
    raise_limit();
    println!("both ends of a connection are on this machine, so each is two sockets");
    println!(
        "| connections | CPU ms | p50 ms | p99 ms | `/proc/net/tcp`, `tcp6` read, ms | node_exporter, only tcpstat, CPU ms/scrape |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    let mut crowd = Crowd::new();
    let tcpstat =
        ["--collector.disable-defaults", "--web.disable-exporter-metrics", "--collector.tcpstat"];
    let mut peer = Peer::node(&tcpstat);
    for number in options.connections {
        if let Err(why) = crowd.grow(*number) {
            println!("{number} connections: {why}; left out");
            continue;
        }
        let mut ours = Ours::new(vec![&NETWORK_CONNECTIONS], MINUTE);
        assert!(ours.collect(forget) > 0, "the kernel answers");
        times(&mut ours, 5);
        let before = own();
        let mut wall = times(&mut ours, COUNTS);
        let cpu = (own() - before) / COUNTS as f64;
        let theirs = peer.as_mut().map(|peer| {
            peer.scrape();
            let before = meter::Cpu::of(&[peer.id()]);
            (0..SCRAPES).for_each(|_| peer.scrape());
            meter::Cpu::of(&[peer.id()]).since(&before) / SCRAPES as f64
        });
        println!(
            "| {number} | {cpu:.3} | {:.3} | {:.3} | {:.3} | {} |",
            quantile(&mut wall, 0.5) / 1e3,
            quantile(&mut wall, 0.99) / 1e3,
            files(),
            theirs.map_or("–".to_owned(), |theirs| format!("{theirs:.3}"))
        );
    }
}

/// Milliseconds that it takes to read the kernel's own lists, the median of some.
fn files() -> f64 {
    let one = |_| {
        let begin = Instant::now();
        for file in ["/proc/net/tcp", "/proc/net/tcp6"] {
            std::fs::read(file).ok();
        }
        begin.elapsed().as_secs_f64() * 1e3
    };
    let mut times: Vec<f64> = (0..9).map(one).collect();
    quantile(&mut times, 0.5)
}
