//! Servers of every kind that mean harm. Each goes on for a few seconds at most.

use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::certificates::{Authority, Leaf, pem_file};
use crate::support::servers::{Request, Response, Server};

/// How long a connection is kept busy; the attempts on it give up before.
const BUSY: Duration = Duration::from_secs(3);
/// The most that an attempt may leave behind.
pub const TIMEOUT: Duration = Duration::from_millis(700);

/// One hostile target.
pub struct Hostile {
    pub name: &'static str,
    pub module: &'static str,
    pub target: String,
}

/// All of them, alive.
pub struct Corpus {
    pub list: Vec<Hostile>,
    pub dns: SocketAddr,
    pub ca: PathBuf,
    /// A backend whose certificate is good and comes with much junk.
    pub junk: SocketAddr,
    servers: Vec<Server>,
    folder: tempfile::TempDir,
}

impl Corpus {
    /// The modules, indented by two.
    pub fn modules(&self) -> String {
        let ca = self.ca.display();
        let head = format!("timeout: {}ms", TIMEOUT.as_millis());
        let slow = "(?s)version.{0,500}build";
        format!(
            "  http: {{prober: http, {head}, http: {{preferred_ip_protocol: ip4, tls_config: {{ca_file: {ca}}}}}}}
  body: {{prober: http, {head}, http: {{preferred_ip_protocol: ip4, fail_if_body_not_matches_regexp: ['{slow}']}}}}
  header: {{prober: http, {head}, http: {{preferred_ip_protocol: ip4, fail_if_header_matches: [{{header: X-Long, regexp: '{slow}'}}]}}}}
  tcp: {{prober: tcp, {head}, tcp: {{preferred_ip_protocol: ip4}}}}
  tls: {{prober: tcp, {head}, tcp: {{preferred_ip_protocol: ip4, tls: true, tls_config: {{ca_file: {ca}}}}}}}
  line: {{prober: tcp, {head}, tcp: {{preferred_ip_protocol: ip4, query_response: [{{expect: '{slow}', send: 'x${{1}}'}}]}}}}
"
        )
    }

    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("root", 100);
        let ca = pem_file(&folder, "ca.pem", &authority.pem());
        let good = authority.leaf(&["127.0.0.1"], -1, 30);
        let mut corpus = Self {
            list: Vec::new(),
            dns: name_server(),
            ca,
            junk: SocketAddr::from(([127, 0, 0, 1], 0)),
            servers: Vec::new(),
            folder,
        };
        corpus.http1();
        corpus.http2(&good);
        corpus.certificates(&authority);
        for name in ["garbage", "loop", "many", "silent", "missing"] {
            corpus.list.push(Hostile { name, module: "tcp", target: format!("{name}.invalid:1") });
        }
        corpus
    }

    fn add(&mut self, name: &'static str, module: &'static str, server: Server) {
        let target = match module {
            "tcp" | "tls" | "line" => server.address.to_string(),
            "https" => format!("https://{}/", server.address),
            _ => server.url("/"),
        };
        let module = if module == "https" { "http" } else { module };
        self.list.push(Hostile { name, module, target });
        self.servers.push(server);
    }

    fn http1(&mut self) {
        let says = |head: &'static str, piece: Vec<u8>| {
            Server::tcp(move |mut stream| {
                let _ = Request::read(&mut stream);
                let _ = stream.write_all(head.as_bytes());
                pour(&mut stream, &piece);
            })
        };
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        self.add("interim answers", "http", says("", b"HTTP/1.1 100 Continue\r\n\r\n".repeat(500)));
        self.add("endless head", "http", says("HTTP/1.1 200 OK\r\n", b"X-A: b\r\n".repeat(500)));
        self.add("endless body", "http", says("HTTP/1.1 200 OK\r\n\r\n", vec![b'x'; 64 << 10]));
        self.add("chunks of a byte", "http", says(chunked, b"1\r\nx\r\n".repeat(2_000)));
        let extended = format!("1;{}\r\nx\r\n", "e=f;".repeat(1_000)).repeat(16);
        self.add("chunk extensions", "http", says(chunked, extended.into_bytes()));
        self.add("garbage", "http", says("\u{1}\u{2}\r\n\r\n", vec![0xff; 1024]));
        self.add("endless line", "line", says("", mixed(64 << 10, b' ')));
        self.add("endless lines", "line", says("", mixed(64 << 10, b'\n')));
        self.add("lines of a byte", "line", says("", b"x\n".repeat(32 << 10)));
        let text = mixed(1 << 20, b' ');
        self.add(
            "a body against its rule",
            "body",
            Server::http(move |_| Response::new(200, &text)),
        );
        let value = String::from_utf8(mixed(48 << 10, b' ')).unwrap();
        let answer = Response::new(200, "").header("X-Long", &value);
        self.add("a header against its rule", "header", Server::http(move |_| answer.clone()));
        let held = Server::tcp(|mut stream| {
            let _ = Request::read(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
            let _ = stream.write_all(&[b'v'; 1_000_000]);
            std::thread::sleep(BUSY);
        });
        self.add("a body that stops", "body", held);
        let cookies = Server::http(|request| {
            let answer = Response::new(302, "").header("Location", &request.path);
            (0..90).fold(answer, |answer, n| answer.header("Set-Cookie", &format!("c{n}=1")))
        });
        self.add("redirects with cookies", "http", cookies);
        self.add("silence", "http", Server::tcp(|mut stream| drop(stream.read(&mut [0; 1 << 16]))));
        let reset = Server::tcp(|stream| {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        });
        self.add("reset", "http", reset);
    }

    fn http2(&mut self, leaf: &Leaf) {
        let hello = || frame(4, 0, 0, &[]);
        let head = || [hello(), frame(1, 4, 1, &[0x88])].concat();
        let flood = |begin: Vec<u8>, piece: Vec<u8>| {
            Server::tls(leaf.server(&[], &["h2"]), move |stream| {
                let _ = stream.write_all(&begin);
                let begun = Instant::now();
                while begun.elapsed() < BUSY && stream.write_all(&piece).is_ok() {}
            })
        };
        let many = |one: Vec<u8>| one.repeat((32 << 10) / one.len());
        let bomb = {
            // One long entry of the table, and then its number, again and again.
            let mut block = vec![0x40, 1, b'x', 0x7f, 0xe1, 0x1e];
            block.extend(vec![b'y'; 4_000]);
            block.extend(vec![0xbe; 12_000]);
            frame(1, 4, 1, &block)
        };
        for (name, server) in [
            ("h2 pings", flood(hello(), many(frame(6, 0, 0, &[0; 8])))),
            ("h2 settings", flood(hello(), many(frame(4, 0, 0, &[0, 4, 0, 1, 0, 0])))),
            ("h2 resets", flood(head(), many(frame(3, 0, 1, &[0, 0, 0, 2])))),
            ("h2 empty data", flood(head(), many(frame(0, 0, 1, &[])))),
            ("h2 data of a byte", flood(head(), many(frame(0, 0, 1, b"x")))),
            ("h2 padding", flood(head(), many(frame(0, 8, 1, &[7, 0, 0, 0, 0, 0, 0, 0])))),
            ("h2 windows", flood(hello(), many(frame(8, 0, 0, &[0, 0, 0, 1])))),
            ("h2 priorities", flood(hello(), many(frame(2, 0, 3, &[0, 0, 0, 0, 1])))),
            ("h2 unknown frames", flood(hello(), many(frame(0xee, 0, 0, &[0; 16])))),
            (
                "h2 continuations",
                flood([hello(), frame(1, 0, 1, &[0x88])].concat(), many(frame(9, 0, 1, &[]))),
            ),
            ("h2 header bomb", flood([hello(), bomb.clone()].concat(), bomb)),
            ("h2 goaways", flood(hello(), many(frame(7, 0, 0, &[0; 256])))),
        ] {
            self.add(name, "https", server);
        }
        let tiny = Server::tls(leaf.server(&[], &["http/1.1"]), |stream| {
            let _ = Request::read(&mut *stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let begun = Instant::now();
            while begun.elapsed() < BUSY
                && stream.write_all(b"x").and_then(|()| stream.flush()).is_ok()
            {}
        });
        self.add("records of a byte", "https", tiny);
    }

    fn certificates(&mut self, authority: &Authority) {
        let shows = |chain: Leaf| {
            Server::tls(chain.server(&[], &[]), |stream| drop(stream.read(&mut [0; 1024])))
        };
        let junk = |name: &str, count: usize| {
            (0..count).map(|_| Authority::new(name, 90).der()).collect::<Vec<_>>()
        };
        for (name, count) in
            [("20 superfluous certificates", 20), ("60 superfluous certificates", 60)]
        {
            let mut leaf = authority.leaf(&["127.0.0.1"], -1, 30);
            leaf.chain.extend(junk("root", count));
            let server = shows(leaf);
            self.junk = server.address;
            self.add(name, "tls", server);
        }
        // Issuers by name, none of which has signed it.
        let mut leaf = Authority::new("nobody", 90).leaf(&["127.0.0.1"], -1, 30);
        leaf.chain.extend(junk("nobody", 15));
        self.add("no path through many", "tls", shows(leaf));
        let names: Vec<String> =
            (0..1_500).map(|n| format!("name-{n}.{}.invalid", "x".repeat(9))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.add("1,500 names", "tls", shows(authority.leaf(&names, -1, 30)));
        let garbage = Server::tcp(|mut stream| pour(&mut stream, &[0x16; 4096]));
        self.add("garbage instead of TLS", "tls", garbage);
    }
}

/// Writes pieces until the peer has had enough, or long enough.
fn pour(stream: &mut TcpStream, piece: &[u8]) {
    let begun = Instant::now();
    let _ = stream.set_write_timeout(Some(BUSY));
    while begun.elapsed() < BUSY && stream.write_all(piece).is_ok() {}
}

/// Text that defeats lazy automata: the first word of the rule, again and again at odd places.
fn mixed(bytes: usize, gap: u8) -> Vec<u8> {
    let mut state = 1_u32;
    let mut text = Vec::with_capacity(bytes + 64);
    while text.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(b"version");
        text.extend((0..state >> 27).map(|n| b'a' + (n % 26) as u8));
        text.push(if state >> 20 & 15 == 0 { gap } else { b'.' });
    }
    text.truncate(bytes);
    text
}

/// A frame of HTTP/2 (RFC 9113 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend(stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Answers by what is asked for, with nothing that is right.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let query = &buffer[..length];
            let has = |name: &str| query.windows(name.len()).any(|part| part == name.as_bytes());
            let counts = |answers: u16| {
                let [a, b] = answers.to_be_bytes();
                [&query[..2], &[0x81, 0x80, 0, 1, a, b, 0, 0, 0, 0], &query[12..]].concat()
            };
            let answer = match () {
                () if has("silent") => continue,
                () if has("garbage") => [&query[..2], &[0xff; 400]].concat(),
                // A name that points at itself.
                () if has("loop") => {
                    let mut out = counts(1);
                    let at = 0xc000 | out.len() as u16;
                    out.extend(at.to_be_bytes());
                    out.extend([0, 5, 0, 1, 0, 0, 0, 60, 0, 2]);
                    out.extend(at.to_be_bytes());
                    out
                }
                () if has("many") => {
                    let mut out = counts(4_000);
                    for n in 0..4_000_u16 {
                        let [high, low] = n.to_be_bytes();
                        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 9, high, low]);
                    }
                    out.truncate(60_000);
                    out
                }
                () => {
                    let mut out = counts(0);
                    out[3] |= 3;
                    out
                }
            };
            let _ = socket.send_to(&answer, peer);
        }
    });
    address
}
