//! The page under attack: clients that say nothing, read nothing or ask too much, beside one that
//! behaves. Attackers and scraper come from different addresses of loopback.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::daemon::{Daemon, write};
use crate::support::servers::Server;
use crate::support::{free_port, parse_metrics, until};

/// The good scraper.
const SCRAPER: Ipv4Addr = Ipv4Addr::new(127, 0, 9, 9);
/// Health is asked for with this patience; without an answer for others it took 15 s and more.
const HEALTH: Duration = Duration::from_secs(4);

/// A connection from this address; its receive buffer is small.
fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // The kernel keeps little for who reads nothing: small segments make small buffers.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect_timeout(&to.into(), Duration::from_secs(5)).unwrap();
    socket.into()
}

/// Status and whole answer to a request of the scraper, within so long.
fn ask(page: SocketAddr, request: &str, patience: Duration) -> Option<(u16, String)> {
    ask_from(SCRAPER, page, request, patience)
}

fn ask_from(
    from: Ipv4Addr,
    page: SocketAddr,
    request: &str,
    patience: Duration,
) -> Option<(u16, String)> {
    let mut stream = connect(from, page);
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
}

fn status(page: SocketAddr, path: &str) -> Option<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {page}\r\nConnection: close\r\n\r\n");
    ask(page, &request, HEALTH).map(|(status, _)| status)
}

fn daemon(folder: &tempfile::TempDir) -> Daemon {
    let text = "receivers: {probe: {interval: 10s, targets: ['127.0.0.1']}}\n\
        exporters: {prometheus: {}}\nhttp: {listen: '127.0.0.1:0'}\n";
    Daemon::start(&write(folder.path(), "w.yaml", text))
}

/// Whether the daemon has closed a connection.
fn is_closed(mut stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

#[test]
fn idle_connections_of_one_client_take_the_page_from_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(&folder);
    let idle: Vec<TcpStream> =
        (0..400).map(|_| connect(Ipv4Addr::LOCALHOST, daemon.page)).collect();
    assert_eq!(status(daemon.page, "/-/healthy"), Some(200));
    assert_eq!(status(daemon.page, "/metrics"), Some(200));
    let open = until("all but sixteen are closed", || {
        let open = idle.iter().filter(|stream| !is_closed(stream)).count();
        (open <= 16).then_some(open)
    });
    assert_eq!(open, 16, "those before the seventeenth stay");
    // All programs of a machine share its loopback address: one that speaks at once is heard.
    let request = "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = ask_from(Ipv4Addr::LOCALHOST, daemon.page, request, HEALTH);
    assert_eq!(answer.expect("an answer").0, 200);
    // An idle connection that was used before counts, too.
    drop(idle);
    let kept: Vec<TcpStream> = (0..16)
        .map(|_| {
            let mut stream = connect(Ipv4Addr::LOCALHOST, daemon.page);
            write!(stream, "GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream
        })
        .collect();
    let next = connect(Ipv4Addr::LOCALHOST, daemon.page);
    until("the seventeenth is closed", || is_closed(&next).then_some(()));
    assert!(kept.iter().all(|stream| !is_closed(stream)));
}

#[test]
fn heads_that_trickle_take_the_page_from_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(&folder);
    let mut slow: Vec<TcpStream> = (0..128)
        .map(|_| {
            let mut stream = connect(Ipv4Addr::LOCALHOST, daemon.page);
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\n");
            stream
        })
        .collect();
    for _ in 0..4 {
        for stream in &mut slow {
            let _ = stream.write_all(b"X-A: 1\r\n");
        }
        assert_eq!(status(daemon.page, "/-/healthy"), Some(200));
        assert_eq!(status(daemon.page, "/metrics/prometheus"), Some(200));
    }
}

#[test]
fn answers_that_nobody_reads_end_and_health_is_answered_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(&folder);
    let requests = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(400);
    let mut deaf = Vec::new();
    // All have asked before the next ones come, so that none is among the silent ones.
    for burst in 0..10 {
        let from = Ipv4Addr::new(127, 0, 1, 1 + burst);
        for _ in 0..15 {
            let mut stream = connect(from, daemon.page);
            stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
            let _ = stream.write(requests.as_bytes());
            deaf.push(stream);
        }
    }
    assert_eq!(status(daemon.page, "/-/healthy"), Some(200), "some connections are kept free");
    until("/metrics is answered again", || {
        (status(daemon.page, "/metrics") == Some(200)).then_some(())
    });
    until("who reads nothing is cut off", || {
        // A reset shows as an error of the socket, once.
        deaf.retain(|stream| stream.take_error().unwrap().is_none());
        deaf.is_empty().then_some(())
    });
}

/// Few descriptors, many connections: no slot is lost for want of a descriptor.
#[test]
fn connections_of_the_page_cost_no_slot() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::tcp_on(SocketAddr::from(([0, 0, 0, 0], 0)), drop);
    let targets: Vec<String> =
        (1..=8).map(|n| format!("'127.0.4.{n}:{}'", server.address.port())).collect();
    let text = format!(
        "receivers: {{probe: {{interval: 1s, targets: [{}]}}}}\n\
         exporters: {{prometheus: {{}}}}\nhttp: {{listen: '127.0.0.1:0'}}\n",
        targets.join(", ")
    );
    let path = write(folder.path(), "w.yaml", &text);
    let limit = |command: &mut std::process::Command| {
        let program = command.get_program().to_owned();
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", "ulimit -n 128; exec \"$@\"", "sh"]).arg(program).args(arguments);
        limited.env("WATCHPOST_DUMPABLE", "1").env_remove("NOTIFY_SOCKET");
        *command = limited;
    };
    let daemon = Daemon::start_with(&path, limit);
    // From many addresses, so that as many as possible are open; the kernel's queue holds 128 at least.
    let idle: Vec<TcpStream> =
        (0..140).map(|n| connect(Ipv4Addr::new(127, 0, 2, 1 + n / 4), daemon.page)).collect();
    let slots = |outcome: &str| -> f64 {
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {}\r\n\r\n", daemon.page);
        let Some((200, answer)) = ask(daemon.page, &request, Duration::from_secs(2)) else {
            return 0.0;
        };
        let metrics = parse_metrics(answer.split_once("\r\n\r\n").unwrap().1);
        let of = |(name, _): &(&String, &f64)| {
            name.starts_with("watchpost_slots_total{") && name.contains(outcome)
        };
        metrics.iter().filter(of).map(|(_, count)| count).sum()
    };
    // They stay for some slots of each target.
    let attempts = || server.connections.load(std::sync::atomic::Ordering::SeqCst);
    let before = attempts();
    until("some slots", || (attempts() >= before + 32).then_some(()));
    drop(idle);
    until("the page again", || (slots("receiver=") > 0.0).then_some(()));
    assert_eq!(slots("no_descriptor"), 0.0);
    assert!(!daemon.log().contains("no_descriptor"), "{}", daemon.log());
}

fn reload(page: SocketAddr, headers: &str) -> (u16, String) {
    reload_from(SCRAPER, page, headers)
}

fn reload_from(from: Ipv4Addr, page: SocketAddr, headers: &str) -> (u16, String) {
    let request = format!(
        "POST /-/reload HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: 0\r\n\r\n"
    );
    ask_from(from, page, &request, Duration::from_secs(30)).expect("an answer")
}

#[test]
fn reloads_that_many_ask_for_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = daemon(&folder);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let daemon = &daemon;
        let ask = |n: u8| {
            let from = Ipv4Addr::new(127, 0, 3, 1 + n / 10);
            scope.spawn(move || {
                for _ in 0..2 {
                    let (status, answer) = reload_from(from, daemon.page, "Host: localhost\r\n");
                    assert!(status == 200 && answer.ends_with("Reloaded.\n"), "{answer}");
                }
            })
        };
        (0..40).map(ask).for_each(drop);
    });
    let most = 2 + begin.elapsed().as_secs() as usize;
    let reloads = daemon.log().lines().filter(|line| line.contains(" reloading")).count();
    assert!(reloads <= most, "{reloads} in {:?}", begin.elapsed());
    // A request gets what is in the file when it asks.
    write(folder.path(), "w.yaml", "receivers: {probe: {intervall: 1s, targets: ['127.0.0.1']}}\n");
    let (status, answer) = reload(daemon.page, "Host: localhost\r\n");
    assert!(status == 500 && answer.contains("did you mean interval?"), "{answer}");
}

#[test]
fn a_loopback_page_answers_to_its_own_names() {
    let folder = tempfile::tempdir().unwrap();
    let health = free_port();
    let text = format!(
        "receivers: {{probe: {{targets: ['127.0.0.1']}}}}\nexporters: {{prometheus: {{}}}}\n\
         extensions: {{health_check: {{endpoint: '127.0.0.1:{health}'}}}}\n\
         service: {{extensions: [health_check]}}\nhttp: {{listen: '127.0.0.1:0', hosts: [watch.invalid]}}\n"
    );
    let daemon = Daemon::start(&write(folder.path(), "w.yaml", &text));
    let get = |address: SocketAddr, path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        ask(address, &request, Duration::from_secs(5)).expect("an answer").0
    };
    let health = SocketAddr::from(([127, 0, 0, 1], health));
    for path in ["/", "/metrics", "/metrics/prometheus", "/-/healthy", "/nothing"] {
        assert_eq!(get(daemon.page, path, "Host: evil.invalid\r\n"), 421, "{path}");
    }
    assert_eq!(get(health, "/", "Host: evil.invalid:80\r\n"), 421);
    assert_eq!(get(health, "/", "Host: 127.0.0.1\r\n"), 200);
    for own in ["localhost", "127.0.0.1:9115", "[::1]", "Watch.invalid:80"] {
        assert_eq!(get(daemon.page, "/metrics", &format!("Host: {own}\r\n")), 200, "{own}");
    }
    let twice = "Host: localhost\r\nHost: evil.invalid\r\n";
    assert_eq!(get(daemon.page, "/metrics", twice), 400);
    assert_eq!(reload(daemon.page, twice).0, 400);
    let origins = "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.invalid\r\n";
    assert_eq!(reload(daemon.page, origins).0, 400);
    assert_eq!(reload(daemon.page, "Host: localhost\r\nOrigin: http://l\u{f6}calhost\r\n").0, 400);
    assert_eq!(reload(daemon.page, "Host: watch.invalid\r\n").0, 200);
}

#[test]
fn from_elsewhere_reload_has_to_be_switched_on() {
    let folder = tempfile::tempdir().unwrap();
    for (key, status) in [("", 403), (", reload: true", 200)] {
        let text = format!(
            "receivers: {{probe: {{targets: ['127.0.0.1']}}}}\nexporters: {{prometheus: {{}}}}\n\
             http: {{listen: '0.0.0.0:0'{key}}}\n"
        );
        let daemon = Daemon::start(&write(folder.path(), "w.yaml", &text));
        let page = SocketAddr::from(([127, 0, 0, 1], daemon.page.port()));
        let (answered, answer) = reload(page, "Host: pi.lan\r\n");
        assert_eq!(answered, status, "{answer}");
        assert!(status == 200 || answer.contains("http.reload: true"), "{answer}");
    }
}

/// The daemon itself still can do what other processes of the same user cannot: it reads its own files
/// below /proc.
#[test]
fn the_daemon_is_not_dumpable_and_knows_itself() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = tempfile::tempdir().unwrap();
    // Readable for the user that the daemon runs as.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("watchpost");
    std::fs::copy(env!("CARGO_BIN_EXE_watchpost"), &program).unwrap();
    let text = "receivers: {probe: {targets: ['127.0.0.1']}}\nexporters: {prometheus: {}}\nhttp: {listen: '127.0.0.1:0'}\n";
    let path = write(folder.path(), "w.yaml", text);
    let user = match rustix::process::geteuid().as_raw() {
        0 => 65_534,
        user => user,
    };
    for (dumpable, owner) in [(false, 0), (true, user)] {
        let start = |command: &mut std::process::Command| {
            let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let mut own = std::process::Command::new(&program);
            own.args(arguments).env_remove("NOTIFY_SOCKET").current_dir("/");
            if dumpable {
                own.env("WATCHPOST_DUMPABLE", "1");
            }
            if rustix::process::geteuid().is_root() {
                own.uid(user).gid(user);
            }
            *command = own;
        };
        let mut daemon = Daemon::start_with(&path, start);
        let proc = PathBuf::from(format!("/proc/{}/environ", daemon.child.id()));
        assert_eq!(std::fs::metadata(proc).unwrap().uid(), owner);
        let metrics = daemon.metrics();
        for name in [
            "process_unix_file_descriptor_count",
            "process_cpu_time_seconds_total",
            "process_memory_usage_bytes",
        ] {
            assert!(metrics.keys().any(|key| key.starts_with(name)), "{name}: {metrics:?}");
        }
        assert!(metrics["process_unix_file_descriptor_count"] > 5.0);
        assert_eq!(daemon.stop(), 0);
    }
}
