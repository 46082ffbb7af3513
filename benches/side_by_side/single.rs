//! Figures that need no peer: bare hyper, fping, and the time from exec to the first probe.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;

use crate::meter;
use crate::sides::{self, Kind, World, address};

/// How long a start may take.
const START_WITHIN: Duration = Duration::from_secs(10);

/// CPU milliseconds of one connection and one GET by hyper's client alone, on a thread of its own.
pub(super) fn hyper(requests: usize, targets: usize, port: u16, pace: Duration) -> f64 {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for n in 0..requests.min(100) {
                request(address(n % targets), port).await;
            }
            let mut ticks = tokio::time::interval(pace.max(Duration::from_millis(1)));
            let before = meter::own_thread();
            for n in 0..requests {
                if !pace.is_zero() {
                    ticks.tick().await;
                }
                request(address(n % targets), port).await;
            }
            (meter::own_thread() - before) / requests as f64
        })
    };
    std::thread::spawn(work).join().unwrap()
}

async fn request(to: Ipv4Addr, port: u16) {
    let stream = tokio::net::TcpStream::connect((to, port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let request = Request::get("/")
        .header("host", format!("{to}:{port}"))
        .header("user-agent", "bench")
        .header("connection", "close")
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let work = async {
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
    };
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        () = &mut work => {}
        _ = connection => work.await,
    }
}

/// fping's CPU milliseconds per echo, at one echo each millisecond; `None` when it is not installed.
pub(super) fn fping(folder: &Path, targets: usize) -> Option<f64> {
    let list = folder.join("fping");
    let mut text = String::new();
    for n in 0..targets {
        let _ = writeln!(text, "{}", address(n));
    }
    fs::write(&list, text).unwrap();
    let rounds = (10_000 / targets).clamp(1, 100);
    let (cpu, echoes) = (meter::ended_children(), meter::echoes());
    let status = Command::new("fping")
        .args(["-q", "-i", "1", "-p", "1000", "-c", &rounds.to_string(), "-f"])
        .arg(&list)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.ok()?;
    Some((meter::ended_children() - cpu) / (meter::echoes() - echoes).max(1) as f64)
}

/// Milliseconds from the spawn of Watchpost to its first connection at a target, for each start.
pub(super) fn first_probe(world: &World, starts: usize) -> Vec<f64> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = world.watchpost(Kind::Http, port, 0, "http://127.0.0.1:1/api/v1/write");
    let one = || {
        let mut command = sides::watchpost(&config);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let begin = Instant::now();
        let mut child = command.spawn().unwrap();
        let took = loop {
            if listener.accept().is_ok() {
                break begin.elapsed();
            }
            if begin.elapsed() > START_WITHIN {
                break Duration::MAX;
            }
            std::thread::sleep(Duration::from_micros(200));
        };
        child.kill().unwrap();
        child.wait().unwrap();
        // What this start still had on its way belongs to no other.
        std::thread::sleep(Duration::from_millis(200));
        while listener.accept().is_ok() {}
        took.as_secs_f64() * 1000.0
    };
    (0..starts).map(|_| one()).collect()
}
