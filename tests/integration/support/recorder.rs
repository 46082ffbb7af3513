//! A backend of remote write that keeps what it takes byte for byte, in the order in which it took it, and
//! that can be away. What it has kept is decoded afterwards: it must never be what is waited for.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use watchpost::wire::remote_write::decode;

use super::PATIENCE;

/// Milliseconds since 1970.
pub fn wall() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Numbers that look like chance, and are the same for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// What the backend does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    /// Takes it.
    Takes = 0,
    /// Says 503.
    Unavailable = 1,
    /// Closes the connection.
    Gone = 2,
}

/// A request that was taken.
pub struct Taken {
    /// When.
    pub at: i64,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    taken: Mutex<Vec<Taken>>,
    mood: AtomicU8,
    /// Between taking a request and saying so, in milliseconds.
    delay: AtomicU64,
    /// Connections that are open.
    open: AtomicUsize,
    /// Requests that were refused.
    refused: AtomicUsize,
    stop: AtomicBool,
}

/// A running backend.
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Recorder {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming() {
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let shared = Arc::clone(&shared);
                    shared.open.fetch_add(1, Ordering::SeqCst);
                    std::thread::spawn(move || {
                        shared.serve(&stream);
                        drop(stream);
                        shared.open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self { address, shared }
    }

    /// The exporter that writes to it, quick to try again, as a section of a configuration. Samples are all
    /// that it sends: `target_info`, which is in no book, is off.
    pub fn exporters(&self) -> String {
        format!(
            "exporters:\n  prometheus_remote_write:\n    endpoint: 'http://{}/api/v1/write'\n    \
             target_info: {{enabled: false}}\n    \
             retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}\n    \
             sending_queue: {{batch: {{flush_timeout: 100ms}}}}\n",
            self.address
        )
    }

    pub fn mood(&self) -> Mood {
        [Mood::Takes, Mood::Unavailable, Mood::Gone]
            [usize::from(self.shared.mood.load(Ordering::SeqCst))]
    }

    pub fn set(&self, mood: Mood) {
        self.shared.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// How long it takes to say that it has taken a request.
    pub fn hesitate(&self, delay: Duration) {
        self.shared.delay.store(delay.as_millis() as u64, Ordering::SeqCst);
    }

    /// Requests so far.
    pub fn count(&self) -> usize {
        self.shared.taken.lock().unwrap().len()
    }

    /// Requests that it did not take.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// Waits until nobody is connected: what a process that is dead has sent has then been taken, or not.
    pub fn settle(&self) {
        let begin = Instant::now();
        while self.shared.open.load(Ordering::SeqCst) > 0 {
            assert!(begin.elapsed() < PATIENCE, "connections of a dead process are open");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What was taken since the request with this number, decoded.
    pub fn requests(&self, from: usize) -> Requests {
        let mut requests = Requests::default();
        for taken in &self.shared.taken.lock().unwrap()[from..] {
            requests.push(taken);
        }
        requests
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) -> Option<()> {
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
        let mut reader = BufReader::with_capacity(64 << 10, stream);
        loop {
            let mut length = 0;
            let mut line = String::new();
            loop {
                line.clear();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                let Some((name, value)) = line.trim_end().split_once(':') else {
                    if line.trim_end().is_empty() {
                        break;
                    }
                    continue;
                };
                if name.eq_ignore_ascii_case("content-length") {
                    length = value.trim().parse().ok()?;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let mood = self.mood.load(Ordering::SeqCst);
            if mood == Mood::Takes as u8 {
                self.taken.lock().unwrap().push(Taken { at: wall(), body });
                let delay = self.delay.load(Ordering::SeqCst);
                if delay > 0 {
                    std::thread::sleep(Duration::from_millis(delay));
                }
                let mut stream = stream;
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok()?;
                continue;
            }
            self.refused.fetch_add(1, Ordering::SeqCst);
            if mood == Mood::Gone as u8 {
                return None;
            }
            let mut stream = stream;
            stream.write_all(b"HTTP/1.1 503 Away\r\nContent-Length: 0\r\n\r\n").ok()?;
        }
    }
}

/// A sample as it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sample {
    /// The number of its series.
    pub series: u32,
    /// Milliseconds since 1970.
    pub at: i64,
    /// The bits of its value.
    pub bits: u64,
}

impl Sample {
    pub fn value(&self) -> f64 {
        f64::from_bits(self.bits)
    }
}

/// A request that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When.
    pub at: i64,
    pub samples: Vec<Sample>,
}

/// What was taken, in its order.
#[derive(Default)]
pub struct Requests {
    pub list: Vec<Request>,
    /// Series as `name{label="value",...}`, by their numbers.
    pub names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Requests {
    fn push(&mut self, taken: &Taken) {
        let request = decode(&taken.body).expect("a remote write request");
        let mut samples = Vec::new();
        let mut key = String::new();
        for series in request.timeseries {
            key.clear();
            let name = series.labels.iter().find(|label| label.name == "__name__").unwrap();
            key.push_str(&name.value);
            let mut before = '{';
            for label in series.labels.iter().filter(|label| label.name != "__name__") {
                key.push(before);
                key.push_str(&label.name);
                key.push_str("=\"");
                key.push_str(&label.value);
                key.push('"');
                before = ',';
            }
            key.push('}');
            let number = self.number(&key);
            samples.extend(series.samples.iter().map(|sample| Sample {
                series: number,
                at: sample.timestamp,
                bits: sample.value.to_bits(),
            }));
        }
        self.list.push(Request { at: taken.at, samples });
    }

    /// The number of a series.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// How many samples there are.
    pub fn samples(&self) -> usize {
        self.list.iter().map(|request| request.samples.len()).sum()
    }
}
