//! Backends that answer without end: the budget of a request ends it, long before its timeout.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::support::daemon::{Daemon, write};
use crate::support::servers::{Request, Server};
use crate::support::{get, until};

/// Frames of HTTP/2 for all bytes that come: settings, then empty data for a stream that nobody asked
/// for would end it; pings are answered, and cost.
fn pings(mut stream: TcpStream) {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let ping = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let _ = stream.set_nonblocking(false);
    let _ = stream.read(&mut [0; 1024]);
    let _ = stream.write_all(&settings);
    // 64 MiB at most.
    for _ in 0..1024 {
        if stream.write_all(&ping.repeat(3855)).is_err() {
            return;
        }
    }
}

fn informational(mut stream: TcpStream) {
    let _ = Request::read(&mut stream);
    let head = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(2621);
    for _ in 0..1024 {
        if stream.write_all(&head).is_err() {
            return;
        }
    }
}

fn bytes_one_by_one(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = Request::read(&mut stream);
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..1_000_000 {
        if stream.write_all(b"1\r\nx\r\n").is_err() {
            return;
        }
    }
}

#[test]
fn a_flood_of_answers_ends_with_its_budget() {
    let folder = tempfile::tempdir().unwrap();
    let (http, pieces, grpc) =
        (Server::tcp(informational), Server::tcp(bytes_one_by_one), Server::tcp(pings));
    let text = format!(
        "receivers: {{probe: {{interval: 5s, targets: ['127.0.0.1']}}}}\n\
         exporters:\n  prometheus_remote_write: {{endpoint: '{}', timeout: 120s}}\n  \
         otlp_http: {{endpoint: '{}', timeout: 120s}}\n  \
         otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}, timeout: 120s}}\n\
         http: {{listen: '127.0.0.1:0'}}\n",
        http.url("/"),
        pieces.url("/"),
        grpc.address
    );
    let daemon = Daemon::start(&write(folder.path(), "w.yaml", &text));
    // The timeout is longer than this test waits. Bodies beyond 64 KiB are not read at all.
    for exporter in ["prometheus_remote_write", "otlp_grpc"] {
        until(exporter, || {
            let log = daemon.log();
            let told =
                |line: &str| line.contains(exporter) && line.contains("longer than 1048576 bytes");
            log.lines().any(told).then_some(())
        });
    }
    assert_eq!(get(daemon.page, "/-/healthy").unwrap().0, 200);
}
