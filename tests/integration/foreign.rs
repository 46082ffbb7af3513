//! Limits of targets: how long rules compute, how much memory bodies take, where secrets go.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use watchpost::base::workers;
use watchpost::signal::outcome::{Phase, Reason, Verdict};

use crate::support::alone::{alone, sh};
use crate::support::attempt_with;
use crate::support::certificates::{Authority, pem_file};
use crate::support::servers::{Request, Response, Server};

fn module(rules: &str) -> String {
    format!("  m: {{prober: http, timeout: 5s, http: {{preferred_ip_protocol: ip4, {rules}}}}}")
}

/// The verdict of an attempt, and the length of the body.
fn found(rules: &str, server: &Server) -> (Result<(), Reason>, f64) {
    let (outcome, metrics) = attempt_with(&module(rules), None, "m", &server.url("/")).unwrap();
    let found = match outcome.verdict {
        Verdict::Up => Ok(()),
        Verdict::Down { reason, .. } => Err(reason),
    };
    (found, metrics["probe_http_uncompressed_body_length"])
}

#[test]
fn rule_over_a_body_against_it_ends_with_the_attempt() {
    let word =
        |n: u32| format!("version{}", "ab".repeat((n.wrapping_mul(2_654_435_761) >> 28) as usize));
    let body: String = (0..60_000).map(word).collect();
    let server = Server::http(move |_| Response::new(200, &body));
    let modules = "  m: {prober: http, timeout: 700ms, http: {preferred_ip_protocol: ip4, \
                   fail_if_body_not_matches_regexp: ['(?s)version.{0,500}build']}}";
    let (outcome, metrics) = attempt_with(modules, None, "m", &server.url("/")).unwrap();
    let down = Verdict::Down { reason: Reason::RuleTimeout, phase: Phase::Transfer };
    assert_eq!(outcome.verdict, down, "{}", outcome.detail);
    assert_eq!(metrics["probe_success"], 0.0);
}

#[test]
fn body_longer_than_rules_see_is_up_only_when_decided() {
    let page = |begin: &str, end: &str| {
        let mut body = vec![b'x'; 2 << 20];
        body[..begin.len()].copy_from_slice(begin.as_bytes());
        body.truncate((2 << 20) - end.len());
        body.extend_from_slice(end.as_bytes());
        Server::http(move |_| Response::new(200, &body))
    };
    let (wanted, forbidden) =
        ("fail_if_body_not_matches_regexp: [welcome]", "fail_if_body_matches_regexp: [panic]");
    let whole = f64::from(2 << 20);
    for (server, rules, expected) in [
        (page("welcome", ""), wanted, Ok(())),
        (page("", "welcome"), wanted, Err(Reason::BodyTooLarge)),
        (page("panic", ""), forbidden, Err(Reason::BodyMismatch)),
        (page("", ""), forbidden, Err(Reason::BodyTooLarge)),
        (page("welcome", ""), &format!("{wanted}, {forbidden}"), Err(Reason::BodyTooLarge)),
        (page("", "welcome"), &format!("{wanted}, body_size_limit: 4MB"), Ok(())),
    ] {
        assert_eq!(found(rules, &server), (expected, whole), "{rules}");
    }
    // A limit that is written is one of the body, too: nothing is read beyond it.
    let limited = format!("{wanted}, body_size_limit: 64KiB");
    assert_eq!(found(&limited, &page("welcome", "")), (Ok(()), f64::from(64 << 10)));
    let (late, length) = found(&limited, &page("", "welcome"));
    assert_eq!((late, length), (Err(Reason::BodyTooLarge), f64::from(64 << 10)));
}

#[test]
fn chunks_of_a_byte_end_with_their_number() {
    let server = Server::tcp(|mut stream| {
        let _ = Request::read(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let piece = b"1\r\nx\r\n".repeat(10_000);
        for _ in 0..100 {
            if stream.write_all(&piece).is_err() {
                return;
            }
        }
    });
    let (found, length) = found("method: GET", &server);
    assert_eq!(found, Err(Reason::BodyTooLarge));
    assert!((60_000.0..70_000.0).contains(&length), "{length}");
}

/// The memory of all bodies that are kept for rules is bounded; who gets none is a fault of ours. Alone, because the
/// memory is the process's.
#[test]
fn bodies_that_stop_share_a_budget() {
    if !alone("foreign::bodies_that_stop_share_a_budget", &[]) {
        return;
    }
    sh("ip link set lo up");
    let held = vec![b'x'; 15_900_000];
    let server = Server::tcp(move |mut stream| {
        let _ = Request::read(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n");
        let _ = stream.write_all(&held);
        std::thread::sleep(Duration::from_secs(8));
    });
    let url = server.url("/");
    let rules = module("fail_if_body_not_matches_regexp: [welcome], body_size_limit: 16MiB");
    let attempts: Vec<_> = (0..8)
        .map(|_| {
            let (rules, url) = (rules.clone(), url.clone());
            std::thread::spawn(move || attempt_with(&rules, None, "m", &url))
        })
        .collect();
    // Short bodies have memory of their own.
    std::thread::sleep(Duration::from_secs(2));
    let short = Server::http(|_| Response::new(200, "x".repeat(500_000) + "welcome"));
    let (outcome, _) = attempt_with(&rules, None, "m", &short.url("/")).unwrap();
    assert_eq!(outcome.verdict, Verdict::Up, "{}", outcome.detail);
    let ended: Vec<_> = attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect();
    let overload =
        ended.iter().filter(|end| end.as_ref().is_err_and(|why| why.contains("Overload")));
    let waited = ended.iter().flatten().filter(|(outcome, _)| {
        matches!(outcome.verdict, Verdict::Down { reason: Reason::ReadTimeout, .. })
    });
    let (overload, waited) = (overload.count(), waited.count());
    // How many get how far is a matter of the machine's load.
    assert_eq!(overload + waited, 8, "{ended:?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let peak: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    // Without a budget it is 8 times 16 MiB, and twice that while they grow.
    assert!(peak < 200 << 10, "{peak} KiB");
}

/// Requests that a server received: the secret headers and the body of each.
fn listening(
    answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let server = Server::http({
        let seen = Arc::clone(&seen);
        move |request| {
            let headers = ["authorization", "x-token", "cookie"]
                .map(|name| request.header(name).unwrap_or("-"));
            let body = String::from_utf8_lossy(&request.body);
            seen.lock().unwrap().push(format!("{} {} {body}", request.path, headers.join(" ")));
            answer(request)
        }
    });
    (server, seen)
}

#[test]
fn secrets_stay_with_their_origin() {
    let back = Arc::new(Mutex::new(String::new()));
    let (other, at_other) = listening({
        let back = Arc::clone(&back);
        move |_| {
            Response::new(302, "")
                .header("Location", &back.lock().unwrap())
                .header("Set-Cookie", "b=2; Path=/")
        }
    });
    let away = other.url("/away");
    let (home, at_home) = listening(move |request| match request.path.as_str() {
        "/" => {
            Response::new(302, "").header("Location", "/near").header("Set-Cookie", "a=1; Path=/")
        }
        "/near" => Response::new(302, "").header("Location", &away),
        _ => Response::new(200, "fine"),
    });
    *back.lock().unwrap() = home.url("/back");
    let rules = "basic_auth: {username: u, password: p}, headers: {X-Token: t, Accept: text/html}";
    assert_eq!(found(rules, &home).0, Ok(()));
    let secret = "Basic dTpw t";
    assert_eq!(
        *at_home.lock().unwrap(),
        [format!("/ {secret} - "), format!("/near {secret} a=1 "), "/back - - - ".to_owned()]
    );
    assert_eq!(*at_other.lock().unwrap(), ["/away - - - "]);
}

#[test]
fn body_of_a_request_is_not_redirected_to_another_origin() {
    let (other, at_other) = listening(|_| Response::new(200, ""));
    let away = other.url("/away");
    let (home, at_home) = listening(move |request| {
        let to = if request.path == "/" { "/near" } else { away.as_str() };
        Response::new(307, "").header("Location", to)
    });
    let rules = "method: POST, body: login=secret";
    assert_eq!(found(rules, &home).0, Err(Reason::RedirectRefused));
    let asked = at_home.lock().unwrap().clone();
    assert_eq!(asked, ["/ - - - login=secret", "/near - - - login=secret"]);
    assert!(at_other.lock().unwrap().is_empty());
}

/// In a network where nothing else is: an attempt that did connect would fail in another way.
#[test]
fn redirect_to_a_link_local_address_is_refused() {
    if !alone("foreign::redirect_to_a_link_local_address_is_refused", &[]) {
        return;
    }
    sh("ip link set lo up");
    for to in [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "0xa9fea9fe",
        "[64:ff9b::a9fe:a9fe]",
    ] {
        let server = Server::http(move |_| {
            Response::new(302, "").header("Location", &format!("http://{to}/latest/meta-data/"))
        });
        let (outcome, _) =
            attempt_with(&module("method: GET"), None, "m", &server.url("/")).unwrap();
        let refused = Verdict::Down { reason: Reason::RedirectRefused, phase: Phase::Resolve };
        assert_eq!(outcome.verdict, refused, "{to}: {}", outcome.detail);
    }
}

#[test]
fn superfluous_certificates_are_passed_over() {
    let authority = Authority::new("root", 100);
    let folder = tempfile::tempdir().unwrap();
    let ca = pem_file(&folder, "ca.pem", &authority.pem());
    let modules = format!(
        "  m: {{prober: tcp, timeout: 5s, tcp: {{preferred_ip_protocol: ip4, tls: true, tls_config: {{ca_file: {}}}}}}}",
        ca.display()
    );
    let mut leaf = authority.leaf(&["127.0.0.1"], -1, 30);
    leaf.chain.extend((0..60).map(|_| Authority::new("root", 90).der()));
    let server = Server::tls(leaf.server(&[], &[]), |_| {});
    let (outcome, metrics) =
        attempt_with(&modules, None, "m", &server.address.to_string()).unwrap();
    assert_eq!(outcome.verdict, Verdict::Up, "{}", outcome.detail);
    let (leaf, chain) = (
        outcome.tls.unwrap().not_after as f64,
        metrics["probe_ssl_last_chain_expiry_timestamp_seconds"],
    );
    assert_eq!(leaf, chain);
}

/// Over HTTP/2 as over HTTP/1: an answer beyond the budget is too large, and not wrong HTTP.
#[test]
fn budget_of_an_http_2_answer_is_told_as_such() {
    let authority = Authority::new("root", 100);
    let folder = tempfile::tempdir().unwrap();
    let ca = pem_file(&folder, "ca.pem", &authority.pem());
    let server =
        Server::tls(authority.leaf(&["127.0.0.1"], -1, 30).server(&[], &["h2"]), |stream| {
            // Settings, and then frames of a kind that nobody knows.
            let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
            let unknown = [&[0, 1, 0, 0xee, 0, 0, 0, 0, 0][..], &[0; 256]].concat().repeat(64);
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_secs(5) && stream.write_all(&unknown).is_ok() {}
        });
    let modules = format!(
        "  m: {{prober: http, timeout: 10s, http: {{preferred_ip_protocol: ip4, body_size_limit: 64KiB, tls_config: {{ca_file: {}}}}}}}",
        ca.display()
    );
    let url = format!("https://{}/", server.address);
    let (outcome, _) = attempt_with(&modules, None, "m", &url).unwrap();
    let down = Verdict::Down { reason: Reason::BodyTooLarge, phase: Phase::Processing };
    assert_eq!(outcome.verdict, down, "{}", outcome.detail);
}

#[test]
fn certificate_that_waits_to_be_judged_blames_no_target() {
    if !alone("foreign::certificate_that_waits_to_be_judged_blames_no_target", &[]) {
        return;
    }
    sh("ip link set lo up");
    let authority = Authority::new("root", 100);
    let server = Server::tls(authority.leaf(&["127.0.0.1"], -1, 30).server(&[], &[]), |_| {});
    let modules = "  m: {prober: tcp, timeout: 1s, tcp: {tls: true, tls_config: {insecure_skip_verify: true}}}";
    let target = server.address.to_string();
    let (outcome, _) = attempt_with(modules, None, "m", &target).unwrap();
    assert_eq!(outcome.verdict, Verdict::Up, "{}", outcome.detail);
    // All that compute are busy with certificates of others.
    let busy: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let work = workers::compute(|| std::thread::sleep(Duration::from_secs(3)));
                runtime.block_on(work).unwrap();
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let skipped = attempt_with(modules, None, "m", &target).unwrap_err();
    assert!(skipped.contains("Overload"), "{skipped}");
    busy.into_iter().for_each(|thread| thread.join().unwrap());
}
