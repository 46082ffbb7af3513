//! Servers that mean harm, or are broken: each attempt ends within its module's time and bytes, with
//! the reason that it deserves, and none of them is unclassified.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use watchpost::signal::outcome::{Phase, Reason, Verdict};

use crate::support::certificates::{Authority, self_signed};
use crate::support::dns::{Answer, Dns};
use crate::support::servers::{Request, Response, Server};
use crate::support::{attempt_with, free_port};

/// The timeout of all modules here.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// How much later than that an attempt may end on a busy machine.
const SLACK: Duration = Duration::from_millis(1500);

const MODULES: &str = "
  http: {prober: http, timeout: 1500ms, http: {preferred_ip_protocol: ip4}}
  small: {prober: http, timeout: 1500ms, http: {preferred_ip_protocol: ip4, body_size_limit: 64KB}}
  body: {prober: http, timeout: 1500ms, http: {preferred_ip_protocol: ip4, fail_if_body_not_matches_regexp: [welcome]}}
  tcp: {prober: tcp, timeout: 1500ms, tcp: {preferred_ip_protocol: ip4}}
  tls: {prober: tcp, timeout: 1500ms, tcp: {preferred_ip_protocol: ip4, tls: true}}
  banner: {prober: tcp, timeout: 1500ms, tcp: {preferred_ip_protocol: ip4, query_response: [{expect: '^ready'}]}}
";

fn check(module: &str, target: &str, dns: Option<&Dns>, reason: Reason, phase: Phase) {
    let begin = Instant::now();
    let (outcome, metrics) = attempt_with(MODULES, dns.map(|d| d.address), module, target).unwrap();
    let took = begin.elapsed();
    assert_eq!(outcome.verdict, Verdict::Down { reason, phase }, "{target}: {}", outcome.detail);
    assert!(took < TIMEOUT + SLACK, "{target}: {took:?}");
    assert!(outcome.detail.len() <= 1200, "the detail is bounded");
    assert_eq!(metrics["probe_success"], 0.0);
}

/// Reads the request's head, so that closing does not look like a reset.
fn drain(stream: &mut TcpStream) {
    let _ = Request::read(stream);
}

/// Writes pieces until the peer has had enough.
fn pour(stream: &mut TcpStream, piece: &[u8]) {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(10) && stream.write_all(piece).is_ok() {}
}

#[test]
fn endless_headers() {
    let server = Server::tcp(|mut stream| {
        drain(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
        pour(&mut stream, b"X-More: and more and more and more and more and more\r\n");
    });
    check("http", &server.url("/"), None, Reason::HttpProtocol, Phase::Processing);
}

#[test]
fn one_endless_header() {
    let server = Server::tcp(|mut stream| {
        drain(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ");
        pour(&mut stream, &[b'a'; 4096]);
    });
    check("http", &server.url("/"), None, Reason::HttpProtocol, Phase::Processing);
}

#[test]
fn endless_interim_answers() {
    let server = Server::tcp(|mut stream| {
        drain(&mut stream);
        pour(&mut stream, &b"HTTP/1.1 100 Continue\r\n\r\n".repeat(100));
    });
    check("small", &server.url("/"), None, Reason::BodyTooLarge, Phase::Processing);
}

#[test]
fn endless_body() {
    let server = Server::tcp(|mut stream| {
        drain(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        pour(&mut stream, &[b'x'; 16 << 10]);
    });
    check("small", &server.url("/"), None, Reason::BodyTooLarge, Phase::Transfer);
}

#[test]
fn a_body_beyond_the_default_budget() {
    let server = Server::tcp(|mut stream| {
        drain(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut chunk = b"10000\r\n".to_vec();
        chunk.extend([b'x'; 0x10000]);
        chunk.extend(b"\r\n");
        pour(&mut stream, &chunk);
    });
    let modules = "\n  http: {prober: http, timeout: 60s, http: {preferred_ip_protocol: ip4}}\n";
    let (outcome, metrics) = attempt_with(modules, None, "http", &server.url("/")).unwrap();
    let down = Verdict::Down { reason: Reason::BodyTooLarge, phase: Phase::Transfer };
    assert_eq!(outcome.verdict, down, "{}", outcome.detail);
    assert_eq!(metrics["probe_http_uncompressed_body_length"], f64::from(256 << 20));
}

#[test]
fn slow_head() {
    let server = Server::tcp(|mut stream| {
        drain(&mut stream);
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: yes, very slow indeed\r\n".iter().cycle().take(200)
        {
            std::thread::sleep(Duration::from_millis(50));
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
    check("http", &server.url("/"), None, Reason::ReadTimeout, Phase::Processing);
}

#[test]
fn slow_body() {
    let server = Server::tcp(|mut stream| {
        drain(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        for _ in 0..200 {
            std::thread::sleep(Duration::from_millis(50));
            if stream.write_all(b"x").is_err() {
                return;
            }
        }
    });
    check("http", &server.url("/"), None, Reason::ReadTimeout, Phase::Transfer);
}

#[test]
fn a_redirect_loop() {
    let server = Server::http(|request| Response::new(302, "").header("Location", &request.path));
    check("http", &server.url("/again"), None, Reason::TooManyRedirects, Phase::Processing);
    assert_eq!(server.connections.load(std::sync::atomic::Ordering::SeqCst), 11);
}

#[test]
fn redirects_to_nowhere() {
    for location in
        ["ftp://127.0.0.1/", "http://", "javascript:alert(1)", "http://[::1", "file:///etc/passwd"]
    {
        let server = Server::http(move |_| Response::new(302, "").header("Location", location));
        check("http", &server.url("/"), None, Reason::HttpProtocol, Phase::Processing);
    }
}

#[test]
fn answers_that_are_no_http() {
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.6\r\n"[..],
        b"\x00\x01\x02\x03\xff\xfe\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 99999 X\r\n\r\n",
    ] {
        let server = Server::tcp(move |mut stream| {
            drain(&mut stream);
            let _ = stream.write_all(garbage);
        });
        check("http", &server.url("/"), None, Reason::HttpProtocol, Phase::Processing);
    }
}

#[test]
fn a_broken_chunk() {
    let server = Server::tcp(|mut stream| {
        drain(&mut stream);
        let _ =
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n");
        let _ = stream.read(&mut [0; 16]);
    });
    check("http", &server.url("/"), None, Reason::HttpProtocol, Phase::Transfer);
}

#[test]
fn closed_without_an_answer_and_in_the_middle_of_one() {
    let silent = Server::tcp(|mut stream| drain(&mut stream));
    check("http", &silent.url("/"), None, Reason::Eof, Phase::Processing);
    let half = Server::tcp(|mut stream| {
        drain(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    });
    check("http", &half.url("/"), None, Reason::Eof, Phase::Transfer);
}

#[test]
fn cut_off_hard() {
    let server = Server::tcp(|stream| {
        // Unread bytes and no lingering: the kernel answers with a reset.
        std::thread::sleep(Duration::from_millis(100));
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    });
    check("http", &server.url("/"), None, Reason::ConnectionReset, Phase::Processing);
}

#[test]
fn invalid_utf8_is_data() {
    let server = Server::http(|_| {
        Response::new(200, b"\xff\xfe\x80 welcome \xc3\x28").header("X-Odd", "caf\u{e9}")
    });
    let (outcome, _) = attempt_with(MODULES, None, "body", &server.url("/")).unwrap();
    assert_eq!(outcome.verdict, Verdict::Up, "{}", outcome.detail);
    let server = Server::http(|_| Response::new(200, b"\xff\xfe\x80 \xc3\x28"));
    check("body", &server.url("/"), None, Reason::BodyMismatch, Phase::Transfer);
}

#[test]
fn garbage_instead_of_tls() {
    let server = Server::tcp(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nspeak plainly\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    let target = server.address.to_string();
    check("tls", &target, None, Reason::TlsHandshake, Phase::Tls);
    check("http", &format!("https://{target}/"), None, Reason::TlsHandshake, Phase::Tls);
}

#[test]
fn tls_that_never_answers() {
    let server = Server::tcp(|mut stream| {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(10)
            && stream.read(&mut [0; 1024]).is_ok_and(|n| n > 0)
        {}
    });
    check("tls", &server.address.to_string(), None, Reason::TlsHandshake, Phase::Tls);
}

#[test]
fn certificates_that_are_refused_show_their_facts() {
    let authority = Authority::new("test authority", 100);
    let folder = tempfile::tempdir().unwrap();
    let ca = crate::support::certificates::pem_file(&folder, "ca.pem", &authority.pem());
    let modules = format!(
        "
  own: {{prober: tcp, timeout: 5s, tcp: {{preferred_ip_protocol: ip4, tls: true, tls_config: {{ca_file: {0}}}}}}}
  system: {{prober: tcp, timeout: 5s, tcp: {{preferred_ip_protocol: ip4, tls: true}}}}
  old: {{prober: tcp, timeout: 5s, tcp: {{preferred_ip_protocol: ip4, tls: true, tls_config: {{ca_file: {0}, max_version: TLS12}}}}}}
",
        ca.display()
    );
    let names = ["127.0.0.1"];
    for (module, leaf, reason) in [
        ("own", authority.leaf(&names, -30, -2), Reason::TlsExpired),
        ("own", authority.leaf(&names, 2, 30), Reason::TlsNotYetValid),
        ("own", authority.leaf(&["other.invalid"], -1, 30), Reason::TlsNameMismatch),
        ("system", authority.leaf(&names, -1, 30), Reason::TlsUntrusted),
        ("system", self_signed(&names, -1, 30).0, Reason::TlsUntrusted),
        ("own", self_signed(&names, -1, 30).0, Reason::TlsUntrusted),
    ] {
        let server = Server::tls(leaf.server(&[], &[]), |stream| {
            let mut seen = Vec::new();
            let _ = stream.read_to_end(&mut seen);
            assert!(seen.is_empty(), "nothing is sent to a server whose certificate is refused");
        });
        let (outcome, metrics) =
            attempt_with(&modules, None, module, &server.address.to_string()).unwrap();
        assert_eq!(
            outcome.verdict,
            Verdict::Down { reason, phase: Phase::Tls },
            "{}",
            outcome.detail
        );
        let tls = outcome.tls.unwrap();
        assert!(
            !tls.issuer.is_empty() && tls.not_after > 0 && tls.chain_expiry.is_none(),
            "{tls:?}"
        );
        assert!(metrics.contains_key("probe_ssl_earliest_cert_expiry"), "{metrics:?}");
        assert!(!metrics.contains_key("probe_ssl_last_chain_expiry_timestamp_seconds"));
    }
    // No common version.
    let only_13 =
        authority.leaf(&names, -1, 30).server(&[&tokio_rustls::rustls::version::TLS13], &[]);
    let server = Server::tls(only_13, |stream| drop(stream.read(&mut [0; 1])));
    let (outcome, _) = attempt_with(&modules, None, "old", &server.address.to_string()).unwrap();
    assert_eq!(
        outcome.verdict,
        Verdict::Down { reason: Reason::TlsVersion, phase: Phase::Tls },
        "{}",
        outcome.detail
    );
}

#[test]
fn dialogues_that_lead_nowhere() {
    let endless = Server::tcp(|mut stream| pour(&mut stream, b"noise\r\n"));
    check(
        "banner",
        &endless.address.to_string(),
        None,
        Reason::UnexpectedResponse,
        Phase::Transfer,
    );
    let long = Server::tcp(|mut stream| pour(&mut stream, &[b'a'; 4096]));
    check("banner", &long.address.to_string(), None, Reason::UnexpectedResponse, Phase::Transfer);
    let other = Server::tcp(|mut stream| drop(stream.write_all(b"busy\r\n")));
    check("banner", &other.address.to_string(), None, Reason::UnexpectedResponse, Phase::Transfer);
    let mute = Server::tcp(drop);
    check("banner", &mute.address.to_string(), None, Reason::Eof, Phase::Transfer);
    let silent = Server::tcp(|mut stream| drop(stream.read(&mut [0; 1])));
    check("banner", &silent.address.to_string(), None, Reason::ReadTimeout, Phase::Transfer);
}

#[test]
fn ports_and_hosts_that_are_not_there() {
    check(
        "tcp",
        &format!("127.0.0.1:{}", free_port()),
        None,
        Reason::ConnectionRefused,
        Phase::Connect,
    );
    check(
        "http",
        &format!("http://127.0.0.1:{}/", free_port()),
        None,
        Reason::ConnectionRefused,
        Phase::Connect,
    );
    // A listener whose queue is full does not answer: the kernel drops what comes.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _held: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                TcpStream::connect_timeout(&address, Duration::from_secs(8)).ok()
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    check("tcp", &address.to_string(), None, Reason::ConnectionTimeout, Phase::Connect);
}

#[test]
fn every_fault_of_a_name_server_has_its_reason() {
    let dns = Dns::new([
        ("servfail.example", Answer::Code(2)),
        ("refused.example", Answer::Code(5)),
        ("silent.example", Answer::Silence),
        ("empty.example", Answer::Addresses(Vec::new())),
        ("six.example", Answer::Addresses(vec!["::1".parse().unwrap()])),
    ]);
    let check = |target: &str, reason| check("tcp", target, Some(&dns), reason, Phase::Resolve);
    check("missing.example:80", Reason::DnsNxdomain);
    check("servfail.example:80", Reason::DnsServfail);
    check("refused.example:80", Reason::DnsRefused);
    check("silent.example:80", Reason::DnsTimeout);
    check("empty.example:80", Reason::NoAddress);
    let modules =
        "\n  four: {prober: tcp, tcp: {preferred_ip_protocol: ip4, ip_protocol_fallback: false}}\n";
    let (outcome, _) = attempt_with(modules, Some(dns.address), "four", "six.example:80").unwrap();
    assert_eq!(outcome.verdict, Verdict::Down { reason: Reason::NoAddress, phase: Phase::Resolve });
}

#[test]
fn a_missing_credential_is_our_fault_and_not_the_targets() {
    let modules =
        "\n  http: {prober: http, http: {authorization: {credentials_file: /nonexistent/token}}}\n";
    let error = attempt_with(modules, None, "http", "http://127.0.0.1:1/").unwrap_err();
    assert!(error.contains("NoCredentials") && error.contains("/nonexistent/token"), "{error}");
    let modules =
        "\n  tls: {prober: tcp, tcp: {tls: true, tls_config: {ca_file: /nonexistent/ca.pem}}}\n";
    let server = Server::tcp(drop);
    let error = attempt_with(modules, None, "tls", &server.address.to_string()).unwrap_err();
    assert!(error.contains("NoCredentials") && error.contains("/nonexistent/ca.pem"), "{error}");
}
