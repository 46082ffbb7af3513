//! A backlog on its way from the disk to a backend that only counts: the real exporter, over loopback.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;
use watchpost::base::clock;
use watchpost::config::plan::ExporterSettings;
use watchpost::config::{self, Environment, Sources, Strictness};
use watchpost::exporter::deliver::Duty;
use watchpost::exporter::prometheus_remote_write::exporter;
use watchpost::net::resolve::Resolver;
use watchpost::net::tls::TlsClient;
use watchpost::pipeline::stage::Sink as _;

use super::{Dice, EVERY, START, Target};

/// Samples of a backlog, about.
const BACKLOG: usize = 2_400_000;

/// Takes requests on a thread of its own, and counts their bytes; its own CPU time, in nanoseconds, stands beside them.
struct Counting {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
    cpu: Arc<AtomicU64>,
}

impl Counting {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (bytes, cpu) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (count, own) = (Arc::clone(&bytes), Arc::clone(&cpu));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                stream.get_ref().set_nodelay(true).unwrap();
                while let Some(body) = request(&mut stream) {
                    count.fetch_add(body, Ordering::SeqCst);
                    let now = clock_gettime(ClockId::ThreadCPUTime);
                    let nanos = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
                    own.store(nanos, Ordering::SeqCst);
                    stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
                }
            }
        });
        Self { address, bytes, cpu }
    }
}

/// Reads a request; returns the bytes of its body.
fn request(stream: &mut impl std::io::BufRead) -> Option<u64> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        } else if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.parse().ok()?;
        }
    }
    let read = std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).ok()?;
    (read == length).then_some(length)
}

/// So many targets, probed until the backlog is there.
pub(super) fn run(targets: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (log, cursor, surroundings) = super::log(folder.path());
    let (mut dice, mut all) = (Dice(7), (0..targets).map(Target::new).collect::<Vec<_>>());
    let (mut samples, mut round) = (0, 0);
    while samples < BACKLOG {
        let batches: Vec<_> =
            all.iter_mut().map(|target| target.probe(START + round * EVERY, &mut dice)).collect();
        samples += batches.iter().map(|batch| batch.len()).sum::<usize>();
        log.append(&batches, clock::now());
        round += 1;
        // What memory has no room for is written meanwhile.
        std::thread::sleep(Duration::from_micros(20 * targets as u64));
    }
    let sink = Counting::new();
    let text = format!(
        "exporters: {{prometheus_remote_write: {{endpoint: 'http://{}/'}}}}\nreceivers: {{probe: {{targets: ['127.0.0.1']}}}}",
        sink.address
    );
    let sources = Sources { configs: vec![format!("yaml:{text}")], sets: Vec::new() };
    let loaded = config::load(&sources, &Environment::default(), Strictness::Run);
    let plan = loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    let settings = plan.exporters.values().find_map(|exporter| match &exporter.settings {
        ExporterSettings::RemoteWrite(settings) => Some((**settings).clone()),
        _ => None,
    });
    let duty = Duty {
        name: "prometheus_remote_write".to_owned(),
        pipeline: "metrics".to_owned(),
        queue: Arc::clone(&cursor),
        quarantine: None,
        meter: Arc::clone(&surroundings.meter),
        surroundings,
        health: Arc::default(),
        hurry: CancellationToken::new(),
        leave: CancellationToken::new(),
    };
    log.close();
    let resolver = Resolver::new(plan.resolver.clone());
    let settings = settings.unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tls = TlsClient::load(settings.client.tls.clone(), &[b"http/1.1"]);
    let tls = runtime.block_on(tls).unwrap();
    let (before, begun) = (super::cpu(), Instant::now());
    runtime.block_on(exporter(settings, (resolver, tls), None, duty));
    let took = begun.elapsed();
    let own = (super::cpu() - before)
        .saturating_sub(Duration::from_nanos(sink.cpu.load(Ordering::SeqCst)));
    assert!(cursor.is_empty() && cursor.books.sent.get() == samples as u64);
    println!(
        "| a backlog of {targets} targets sent by remote write: samples a second, a CPU second, bytes a sample | {:.0}, {:.0}, {:.1} |",
        samples as f64 / took.as_secs_f64(),
        samples as f64 / own.as_secs_f64(),
        sink.bytes.load(Ordering::SeqCst) as f64 / samples as f64
    );
}
