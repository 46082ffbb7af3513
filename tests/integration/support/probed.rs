//! A web server that is probed under many names, and remembers who was asked for when: its paths `/0`,
//! `/1`, … are the targets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::recorder::wall;

/// Threads that answer: more than one, so that a peer that dies in between holds nobody up.
const THREADS: usize = 3;

/// A connection that asked for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub target: u32,
    /// When it was accepted, in milliseconds since 1970.
    pub at: i64,
}

/// A running server.
pub struct Probed {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
}

impl Probed {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (log, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        for _ in 0..THREADS {
            let listener = listener.try_clone().unwrap();
            let (log, stop) = (Arc::clone(&log), Arc::clone(&stop));
            std::thread::spawn(move || {
                while let Ok((stream, _)) = listener.accept() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let at = wall();
                    if let Some(target) = answer(stream) {
                        log.lock().unwrap().push(Asked { target, at });
                    }
                }
            });
        }
        Self { address, log, stop }
    }

    /// The addresses of so many targets, as the text of a target file.
    pub fn targets(&self, count: usize) -> String {
        let lines = (0..count).map(|n| format!("    - http://{}/{n};t{n}\n", self.address));
        format!("- targets:\n{}", lines.collect::<String>())
    }

    /// Everything that was asked, from this number on.
    pub fn log(&self, from: usize) -> Vec<Asked> {
        self.log.lock().unwrap()[from..].to_vec()
    }

    /// When it was asked last.
    pub fn last(&self) -> Option<i64> {
        self.log.lock().unwrap().last().map(|asked| asked.at)
    }
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for _ in 0..THREADS {
            let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        }
    }
}

/// Answers a request; returns which target it asked for.
fn answer(mut stream: TcpStream) -> Option<u32> {
    stream.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
    let mut request = [0; 1024];
    let mut length = 0;
    while !request[..length].windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut request[length..]) {
            Ok(0) | Err(_) => break,
            Ok(read) => length += read,
        }
    }
    let text = std::str::from_utf8(&request[..length]).ok()?;
    let target = text.strip_prefix("GET /")?.split(' ').next()?.parse().ok()?;
    let _ = stream
        .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\nwelcome");
    Some(target)
}
