//! The HTTP cases.

use std::io::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use watchpost::signal::outcome::Reason;

use super::{Case, lacks, run};
use crate::support::certificates::{Authority, pem_file, self_signed};
use crate::support::dns::{Answer, Dns};
use crate::support::servers::{Request, Response, Server};

/// Most cases have nothing to do with the family of addresses.
const IP4: &str = "preferred_ip_protocol: ip4";
const SKIP_VERIFY: &str = "tls_config: {insecure_skip_verify: true}";

/// A server that always answers so.
fn says(status: u16, body: &str) -> Server {
    let response = Response::new(status, body);
    Server::http(move |_| response.clone())
}

/// A server that answers 200 with a header, or without.
fn shows(headers: &[(&str, &str)]) -> Server {
    let response =
        headers.iter().fold(Response::new(200, "fine"), |r, (name, value)| r.header(name, value));
    Server::http(move |_| response.clone())
}

/// A server that answers 200 to requests as it wants them, and 400 to others.
fn wants(good: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Server {
    Server::http(move |request| Response::new(if good(request) { 200 } else { 400 }, ""))
}

/// A server that answers with these bytes and closes.
fn writes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Server {
    Server::tcp(move |mut stream| {
        if Request::read(&mut stream).is_some() {
            let _ = stream.write_all(bytes.as_ref());
        }
    })
}

/// A server that leads from `/` to somewhere else, and says 200 there.
fn leads(status: u16, location: &str) -> Server {
    let location = location.to_owned();
    Server::http(move |request| match request.path.as_str() {
        "/" => Response::new(status, "over there").header("Location", &location),
        _ => Response::new(200, "here"),
    })
}

/// A server of HTTP/2 over TLS.
fn h2(config: ServerConfig) -> Server {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::tcp(move |stream| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            stream.set_nonblocking(true).unwrap();
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answer = |_| async {
                Ok::<_, std::convert::Infallible>(hyper::Response::new(Full::new(Bytes::from(
                    "two",
                ))))
            };
            let service = hyper::service::service_fn(answer);
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // The client goes away when it has what it wanted.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    })
}

/// A case at the root of a server without TLS.
fn case(id: &'static str, server: Server, block: &str) -> Case {
    let target = server.url("/");
    Case::new(id, "http", server, &with_ip4(block), target)
}

/// The same at a server with TLS, by this host.
fn secure(id: &'static str, server: Server, host: &str, block: &str) -> Case {
    let target = format!("https://{host}:{}/", server.address.port());
    Case::new(id, "http", server, &with_ip4(block), target)
}

fn with_ip4(block: &str) -> String {
    if block.contains("ip_protocol") { block.to_owned() } else { format!("{IP4}, {block}") }
}

#[test]
fn as_blackbox_exporter_does() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("root", 30);
    let ca = pem_file(&folder, "ca.pem", &authority.pem());
    let ca = format!("tls_config: {{ca_file: {}}}", ca.display());
    let dns = Dns::new([
        (
            "both.test",
            Answer::Addresses(vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]),
        ),
        ("six.test", Answer::Addresses(vec!["::1".parse::<IpAddr>().unwrap()])),
    ]);
    let mut cases = Vec::new();
    cases.extend(status_and_version());
    cases.extend(lengths());
    cases.extend(redirects(&authority, &ca));
    cases.extend(requests());
    cases.extend(tls(&authority, &ca));
    cases.extend(bodies());
    cases.extend(regexes());
    cases.extend(header_must_not());
    cases.extend(header_must());
    cases.extend(families());
    run("http conformance", &cases, &dns);
}

fn status_and_version() -> Vec<Case> {
    let status = |id, code: u16, valid: &str| {
        case(id, says(code, ""), &format!("valid_status_codes: [{valid}]"))
            .is("http_status_code", code.into())
            .is("http_redirects", 0.0)
    };
    let version = |id, valid: &str| {
        case(id, says(200, ""), &format!("valid_http_versions: [{valid}]")).is("http_version", 1.1)
    };
    vec![
        status("H-status 1", 200, ""),
        status("H-status 2", 201, ""),
        status("H-status 3", 299, ""),
        status("H-status 4", 300, "").down(Reason::HttpStatus),
        status("H-status 5", 404, "").down(Reason::HttpStatus),
        status("H-status 6", 404, "200, 404"),
        status("H-status 7", 200, "200, 404"),
        status("H-status 8", 201, "200, 404").down(Reason::HttpStatus),
        status("H-status 9", 404, "404"),
        status("H-status 10", 200, "404").down(Reason::HttpStatus),
        version("H-ver 1", ""),
        version("H-ver 2", "HTTP/1.1"),
        version("H-ver 3", "HTTP/1.1, HTTP/2.0"),
        version("H-ver 4", "HTTP/2.0").down(Reason::HttpVersion),
        case("H-ver 5", says(200, ""), "valid_http_versions: [HTTP/3.0]")
            .refused()
            .alone(lacks::CONFIG),
        case("H-ver 6", says(200, ""), "valid_http_versions: [HTTP/1.1, HTTP/3.0]")
            .refused()
            .alone(lacks::CONFIG),
        case("H-ver 1.0", writes("HTTP/1.0 200 Fine\r\n\r\nold"), "")
            .is("http_version", 1.0)
            .lengths(-1.0, 3.0),
    ]
}

fn lengths() -> Vec<Case> {
    let body = "x".repeat(110);
    let encoded = |id, encoding: &str, body: &str| {
        let response = Response::new(200, body).header("Content-Encoding", encoding);
        let length = body.len() as f64;
        case(id, Server::http(move |_| response.clone()), "").lengths(length, length)
    };
    let dated = |id, date: &str| {
        case(id, shows(&[("Last-Modified", date)]), "")
            .is("http_last_modified_timestamp_seconds", 1_640_995_200.0)
    };
    let limited =
        |id, length: usize| case(id, says(200, &"x".repeat(length)), "body_size_limit: 128B");
    vec![
        encoded("H-cl identity", "identity", &body),
        case("H-cl no encoding", says(200, &body), "").lengths(110.0, 110.0),
        encoded("H-cl unknown encoding", "xxx", &body),
        dated("H-date", "Sat, 01 Jan 2022 00:00:00 GMT"),
        dated("H-date of RFC 850", "Saturday, 01-Jan-22 00:00:00 GMT"),
        dated("H-date of asctime", "Sat Jan  1 00:00:00 2022"),
        case("H-date wrong", shows(&[("Last-Modified", "long ago")]), "")
            .without("http_last_modified_timestamp_seconds"),
        case("H-cl error body", says(404, "not found"), "")
            .down(Reason::HttpStatus)
            .lengths(9.0, 9.0),
        // Nothing asks for these encodings, so nothing decodes them: any bytes will do.
        encoded("H-cl br", "br", "compressed in one way"),
        encoded("H-cl deflate", "deflate", "compressed in another way"),
        encoded("H-cl gzip", "gzip", "compressed in a third way"),
        case(
            "H-cl chunked",
            writes("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            "",
        )
        .lengths(-1.0, 3.0),
        case("H-cl until the end", writes("HTTP/1.1 200 OK\r\n\r\nabcd"), "").lengths(-1.0, 4.0),
        case("H-cl 204", writes("HTTP/1.1 204 Nothing\r\n\r\n"), "").lengths(0.0, 0.0),
        case("H-cl HEAD", writes("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"), "method: HEAD")
            .lengths(7.0, 0.0),
        case("H-cl HEAD unknown", writes("HTTP/1.1 200 OK\r\n\r\n"), "method: HEAD")
            .lengths(-1.0, 0.0),
        case(
            "H-cl 304",
            writes("HTTP/1.1 304 Same\r\nContent-Length: 7\r\n\r\n"),
            "valid_status_codes: [304]",
        )
        .lengths(0.0, 0.0),
        case("H-cl after hints", writes("HTTP/1.1 103 Soon\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx"), "")
            .is("http_status_code", 200.0)
            .lengths(-1.0, 1.0),
        case("H-cl broken off", writes("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), "")
            .down(Reason::Eof)
            .lengths(9.0, 3.0),
        limited("H-limit short", 127).lengths(127.0, 127.0),
        limited("H-limit exact", 128).lengths(128.0, 128.0),
        limited("H-limit long", 129).down(Reason::BodyTooLarge).lengths(129.0, 128.0),
    ]
}

fn redirects(authority: &Authority, ca: &str) -> Vec<Case> {
    let body_length = "http_uncompressed_body_length";
    let endless = Server::http(|request| {
        let next = request.path.trim_matches('/').parse().unwrap_or(0) + 1;
        Response::new(302, "").header("Location", &format!("/{next}"))
    });
    let other = Server::https(authority.leaf(&["localhost"], -1, 20).server(&[], &[]), |_| {
        Response::new(200, "here")
    });
    let to_other = leads(302, &format!("https://localhost:{}/", other.address.port()));
    let cookies = Server::http(|request| match request.path.as_str() {
        "/" => {
            Response::new(302, "").header("Location", "/x").header("Set-Cookie", "seen=yes; Path=/")
        }
        _ => {
            Response::new(if request.header("cookie") == Some("seen=yes") { 200 } else { 400 }, "")
        }
    });
    let becomes = |id, status: u16, method: &'static str, body: &'static str| {
        let server = Server::http(move |request| match request.path.as_str() {
            "/" => Response::new(status, "").header("Location", "/x"),
            _ if request.method == method && request.body == body.as_bytes() => {
                Response::new(200, "")
            }
            _ => Response::new(400, ""),
        });
        case(id, server, "method: POST, body: sent").is("http_redirects", 1.0)
    };
    let nobody = format!("http://127.0.0.1:{}/", crate::support::free_port());
    let plain = says(200, "here");
    let down = plain.url("/");
    let config = authority.leaf(&["localhost"], -1, 20).server(&[], &[]);
    let from_tls = Server::https(config, move |_| Response::new(302, "").header("Location", &down));
    let to_failure = Server::http(|request| match request.path.as_str() {
        "/" => Response::new(301, "").header("Location", "/x"),
        _ => Response::new(503, "down"),
    });
    vec![
        case("H-redir follow", leads(302, "/x"), "")
            .is("http_redirects", 1.0)
            .is("http_status_code", 200.0)
            .lengths(4.0, 4.0)
            .connections(2),
        case("H-redir off", leads(302, "/x"), "follow_redirects: false, valid_status_codes: [302]")
            .is("http_redirects", 1.0)
            .is("http_status_code", 302.0)
            .differs(body_length, lacks::REFUSED_BODY)
            .connections(1),
        case("H-redir off, not valid", leads(302, "/x"), "follow_redirects: false")
            .down(Reason::HttpStatus)
            .is("http_redirects", 1.0)
            .differs(body_length, lacks::REFUSED_BODY),
        case(
            "H-redir off, B14",
            leads(302, "/x"),
            "follow_redirects: false, valid_status_codes: [302], \
             fail_if_body_not_matches_regexp: [over]",
        )
        .alone(lacks::REFUSED_BODY),
        // The eleventh answer is the last: `/11` is never asked for.
        case("H-redir cap", endless, "")
            .down(Reason::TooManyRedirects)
            .is("http_redirects", 11.0)
            .is("http_status_code", 302.0)
            .connections(11),
        case("H-redir to other TLS host", to_other, ca)
            .also(other)
            .is("http_redirects", 1.0)
            .is("http_ssl", 1.0)
            .connections(1),
        case("H-redir to a failure", to_failure, "")
            .down(Reason::HttpStatus)
            .is("http_redirects", 1.0)
            .is("http_status_code", 503.0),
        // What is published is about the last hop, also when nothing came of it.
        case("H-redir to nobody", leads(302, &nobody), "")
            .down(Reason::ConnectionRefused)
            .is("http_redirects", 1.0)
            .is("http_status_code", 0.0)
            .lengths(0.0, 0.0),
        secure("H-redir from TLS", from_tls, "localhost", ca)
            .also(plain)
            .is("http_redirects", 1.0)
            .is("http_ssl", 0.0)
            .without("tls_version_info")
            .without("ssl_earliest_cert_expiry"),
        case("H-redir without a place", says(302, "nowhere"), "valid_status_codes: [302]")
            .is("http_redirects", 0.0)
            .lengths(7.0, 7.0),
        becomes("H-redir 301 POST", 301, "GET", ""),
        becomes("H-redir 303 POST", 303, "GET", ""),
        becomes("H-redir 307 POST", 307, "POST", "sent"),
        becomes("H-redir 308 POST", 308, "POST", "sent"),
        case("H-cookie", cookies, "").is("http_redirects", 1.0),
    ]
}

fn requests() -> Vec<Case> {
    let has = |name: &'static str, value: &'static str| {
        wants(move |request| request.header(name) == Some(value))
    };
    let all = wants(|request| {
        request.header("host") == Some("name.invalid")
            && request.header("user-agent") == Some("somebody")
            && request.header("accept-language") == Some("en-GB")
    });
    let scheme = |id, prefix: &str| {
        let server = says(200, "");
        let target = format!("{prefix}{}/", server.address);
        Case::new(id, "http", server, IP4, target)
    };
    let at = |id, path: &'static str, seen: &'static str| {
        let server = wants(move |request| request.path == seen);
        let target = format!("http://{}{path}", server.address);
        Case::new(id, "http", server, IP4, target)
    };
    let named = Server::http(|request| match request.path.as_str() {
        "/" => Response::new(302, "").header("Location", "/x"),
        _ if request.header("host") == Some("name.invalid") => Response::new(200, ""),
        _ => Response::new(400, ""),
    });
    let userinfo = has("authorization", "Basic dXNlcjpwQHNz");
    let userinfo_target = format!("http://user:p%40ss@{}/", userinfo.address);
    vec![
        at("H-target query", "/x?y=1&z=%2B#part", "/x?y=1&z=%2B"),
        at("H-target no path", "?y", "/?y"),
        at("H-target escapes", "/a%2Fb%20c", "/a%2Fb%20c"),
        Case::new("H-target userinfo", "http", userinfo, IP4, userinfo_target),
        case("H-no encoding asked for", wants(|r| r.header("accept-encoding").is_none()), ""),
        case("H-Host after a redirect", named, "headers: {Host: name.invalid}"),
        case("H-post", wants(|request| request.method == "POST"), "method: POST"),
        case("H-body", wants(|r| r.body == b"a=1&b=\xc3\xa4"), "method: POST, body: 'a=1&b=ä'"),
        case(
            "H-headers",
            all,
            "headers: {Host: name.invalid, User-Agent: somebody, Accept-Language: en-GB}",
        ),
        // The servers say 400 without the credentials.
        case(
            "H-basic",
            has("authorization", "Basic dXNlcjpwQHNz"),
            "basic_auth: {username: user, password: p@ss}",
        ),
        case(
            "H-bearer",
            has("authorization", "Bearer secret"),
            "authorization: {credentials: secret}",
        ),
        case(
            "H-authorization type",
            has("authorization", "Token secret"),
            "authorization: {type: Token, credentials: secret}",
        ),
        scheme("H-scheme 1", "http://"),
        scheme("H-scheme 3", "HTTP://").alone(lacks::SCHEME),
        scheme("H-scheme 5", ""),
        scheme("H-scheme 6", "invalid://").refused(),
    ]
}

fn tls(authority: &Authority, ca: &str) -> Vec<Case> {
    let own = |alpn: &[&str]| self_signed(&["localhost"], -1, 20).0.server(&[], alpn);
    let untrusted = || Server::https(own(&[]), |_| Response::new(200, "fine"));
    let trusted = || {
        let config = authority.leaf(&["localhost"], -1, 20).server(&[], &[]);
        Server::https(config, |_| Response::new(200, "fine"))
    };
    let silent = || {
        Server::tcp(|mut stream| {
            let _ = Request::read(&mut stream);
        })
    };
    let ip = "127.0.0.1";
    let mixed = untrusted();
    let mixed_target = format!("HtTpS://{}/", mixed.address);
    let phases = ["resolve", "connect", "tls", "processing", "transfer"];
    let on = "fail_if_not_ssl: true";
    vec![
        case("H-fail_if_not_ssl plain", says(200, ""), on)
            .down(Reason::TlsMissing)
            .is("http_ssl", 0.0),
        // No answer, no finding about its TLS.
        case("H-fail_if_not_ssl silent", silent(), on).down(Reason::Eof).is("http_ssl", 0.0),
        case("H-fail_if_not_ssl off", says(200, ""), "fail_if_not_ssl: false").is("http_ssl", 0.0),
        secure("H-fail_if_not_ssl secure", trusted(), "localhost", &format!("{on}, {ca}"))
            .is("http_ssl", 1.0),
        secure("H-fail_if_ssl secure", trusted(), "localhost", &format!("fail_if_ssl: true, {ca}"))
            .down(Reason::TlsUnwanted)
            .is("http_ssl", 1.0),
        case("H-fail_if_ssl plain", says(200, ""), "fail_if_ssl: true").is("http_ssl", 0.0),
        secure("H-selfsigned strict", untrusted(), "localhost", "")
            .down(Reason::TlsUntrusted)
            .is("http_ssl", 0.0)
            .is("http_status_code", 0.0)
            .without("ssl_last_chain_expiry_timestamp_seconds"),
        secure("H-selfsigned skip", untrusted(), "localhost", SKIP_VERIFY)
            .is("http_ssl", 1.0)
            .is("ssl_last_chain_info{subject=\"CN=self\"}", 1.0)
            .is("tls_version_info{version=\"TLS 1.3\"}", 1.0)
            .without("ssl_last_chain_expiry_timestamp_seconds"),
        case("H-tlsconf on plain", says(200, ""), SKIP_VERIFY)
            .is("http_ssl", 0.0)
            .without("tls_version_info")
            .without("http_duration_seconds{phase=\"tls\"}"),
        secure("H-SNI default", trusted(), "localhost", ca).is("http_ssl", 1.0),
        secure("H-SNI of Host", trusted(), ip, &format!("headers: {{Host: localhost}}, {ca}"))
            .is("http_ssl", 1.0),
        secure("H-SNI by IP", trusted(), ip, ca).down(Reason::TlsNameMismatch),
        Case::new("H-scheme 4", "http", mixed, &format!("{IP4}, {SKIP_VERIFY}"), mixed_target)
            .alone(lacks::SCHEME)
            .is("http_ssl", 1.0),
        secure("H-scheme 2", untrusted(), ip, SKIP_VERIFY).is("http_ssl", 1.0),
        secure("H-server_name", trusted(), ip, &ca.replace("}", ", server_name: localhost}"))
            .is("http_ssl", 1.0),
        secure(
            "H-2",
            h2(own(&["h2"])),
            ip,
            &format!("{SKIP_VERIFY}, valid_http_versions: [HTTP/2.0]"),
        )
        .is("http_version", 2.0)
        .is("http_status_code", 200.0)
        .is("http_ssl", 1.0)
        .phases(&phases)
        .lengths(3.0, 3.0),
        secure("H-phases", untrusted(), ip, SKIP_VERIFY).phases(&phases),
    ]
}

fn bodies() -> Vec<Case> {
    const BODY: &str = "Welcome to the machine";
    let body = |id, key: &str, regexes: &str, fails: bool| {
        let case = case(id, says(200, BODY), &format!("fail_if_body_{key}_regexp: [{regexes}]"))
            .is("failed_due_to_regex", f64::from(u8::from(fails)))
            .lengths(22.0, 22.0);
        if fails { case.down(Reason::BodyMismatch) } else { case }
    };
    vec![
        body("H-bodymatch 1", "matches", "'[mM]achine'", true),
        body("H-bodymatch 2", "matches", "'[mM]arine'", false),
        body("H-bodymatch 3", "matches", "'[mM]arine', 'to .h'", true),
        body("H-bodymatch 4", "matches", "'[mM]arine', '^machine'", false),
        body("H-bodynot 1", "not_matches", "'[mM]arine'", true),
        body("H-bodynot 2", "not_matches", "'[mM]achine'", false),
        body("H-bodynot 3", "not_matches", "'[mM]achine', '^machine'", true),
        body("H-bodynot 4", "not_matches", "'[mM]achine', 'to .h'", false),
        // A rule that was not come to has not decided.
        case("H-body and status", says(500, BODY), "fail_if_body_matches_regexp: [machine]")
            .down(Reason::HttpStatus)
            .is("failed_due_to_regex", 0.0)
            .lengths(22.0, 22.0),
        case(
            "H-body and version",
            says(200, BODY),
            "valid_http_versions: [HTTP/2.0], \
             fail_if_body_matches_regexp: [machine]",
        )
        .down(Reason::BodyMismatch)
        .is("failed_due_to_regex", 1.0),
        case(
            "H-body and header",
            shows(&[("X-Any", "a")]),
            "fail_if_body_not_matches_regexp: [fine], \
             fail_if_header_not_matches: [{header: X-Any, regexp: b}]",
        )
        .down(Reason::HeaderMismatch)
        .is("failed_due_to_regex", 1.0)
        .lengths(4.0, 4.0),
        case(
            "H-body of bytes",
            writes("HTTP/1.1 200 OK\r\n\r\n\u{e4}\u{0}b"),
            "fail_if_body_not_matches_regexp: ['ä.b']",
        ),
    ]
}

/// What people write for Go's regular expressions must mean the same.
fn regexes() -> Vec<Case> {
    let finds = |id, body: &[u8], regex: &str, found: bool| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let server = writes([head.as_bytes(), body].concat());
        let case = case(id, server, &format!("fail_if_body_not_matches_regexp: ['{regex}']"))
            .is("failed_due_to_regex", f64::from(u8::from(!found)));
        if found { case } else { case.down(Reason::BodyMismatch) }
    };
    vec![
        finds("H-regex brace", b"{\"status\":\"UP\"}", r#"{"status":"UP"}"#, true),
        finds("H-regex brace inside", b"a{b", "a{b", true),
        finds("H-regex word", "ä".as_bytes(), r"\w", false),
        finds("H-regex word boundary", "äa".as_bytes(), r"\ba", true),
        finds("H-regex digit", "\u{665}".as_bytes(), r"\d", false),
        finds("H-regex space", "\u{a0}".as_bytes(), r"\s", false),
        finds("H-regex no text", b"a\xffb", "a.b", true),
        finds("H-regex character", "aäb".as_bytes(), "^a.b$", true),
        finds("H-regex angle", b"title", r"\<title\>", false),
        finds("H-regex class", b"[x", "[[]x", true),
        finds("H-regex class of two", b"&", "^[a&&&b]$", true),
        finds("H-regex quoted", b"a.b", r"\Qa.b\E", true),
        finds("H-regex slash", b"a/b-c", r"a\/b\-c", true),
        finds("H-regex underscore", b"a_b", r"a\_b", true),
        finds("H-regex case", "STRASSE Ä".as_bytes(), "(?i)strasse ä", true),
        finds("H-regex line", b"a\nb\n", "(?m)^b$", true),
        finds("H-regex newline", b"a\nb", "a.b", false),
        finds("H-regex end", b"a\n", "a$", false),
        finds("H-regex named", b"ab", "(?P<x>a)b", true),
        finds("H-regex octal", b"a b", r"a\040b", true),
    ]
}

fn header_rule(
    id: &'static str,
    key: &str,
    rule: &str,
    headers: &[(&str, &str)],
    up: bool,
) -> Case {
    let case = case(id, shows(headers), &format!("fail_if_header_{key}: [{{{rule}}}]"))
        .is("failed_due_to_regex", f64::from(u8::from(!up)));
    if up { case } else { case.down(Reason::HeaderMismatch) }
}

fn header_must_not() -> Vec<Case> {
    let rule = |id, rule: &str, headers: &[(&str, &str)], up| {
        header_rule(id, "matches", rule, headers, up)
    };
    let html = "header: Content-Type, regexp: 'text/html'";
    let any = "header: X-Any, regexp: '.*'";
    let maybe = "header: X-Any, regexp: '.*', allow_missing: true";
    let cookie = "header: Set-Cookie, regexp: '.*Domain=\\.example\\.invalid.*'";
    let two = [("Set-Cookie", "z=1"), ("Set-Cookie", "a=1; Domain=.example.invalid")];
    vec![
        rule("H-hdrmatch 1", html, &[("Content-Type", "text/html")], false),
        rule("H-hdrmatch 2", html, &[("Content-Type", "text/plain")], true),
        rule(
            "H-hdrmatch 3",
            "header: content-type, regexp: 'text/html'",
            &[("Content-Type", "text/plain")],
            true,
        ),
        rule("H-hdrmatch 4", any, &[("X-Any", "")], false),
        rule("H-hdrmatch 5", any, &[], false),
        rule("H-hdrmatch 6", maybe, &[("X-Any", "")], false),
        rule("H-hdrmatch 7", maybe, &[], true),
        rule("H-hdrmatch 8", cookie, &two[1..], false),
        rule("H-hdrmatch 9", cookie, &two, false),
    ]
}

fn header_must() -> Vec<Case> {
    let rule = |id, rule: &str, headers: &[(&str, &str)], up| {
        header_rule(id, "not_matches", rule, headers, up)
    };
    let html = "header: Content-Type, regexp: 'text/html'";
    let any = "header: X-Any, regexp: '.*'";
    let cookie = "header: Set-Cookie, regexp: '.*Domain=\\.example\\.invalid.*'";
    let two = [("Set-Cookie", "z=1"), ("Set-Cookie", "a=1; Domain=.example.invalid")];
    vec![
        rule("H-hdrnot 1", html, &[("Content-Type", "text/html")], true),
        rule(
            "H-hdrnot 2",
            "header: content-type, regexp: 'text/html'",
            &[("Content-Type", "text/html")],
            true,
        ),
        rule("H-hdrnot 3", html, &[("Content-Type", "text/plain")], false),
        rule("H-hdrnot 4", any, &[("X-Any", "")], true),
        rule("H-hdrnot 5", any, &[], false),
        rule("H-hdrnot 6", "header: X-Any, regexp: '.*', allow_missing: true", &[], true),
        rule("H-hdrnot 7", cookie, &two[..1], false),
        rule("H-hdrnot 8", cookie, &two, true),
    ]
}

fn families() -> Vec<Case> {
    let at = |id, host: &str, block: &str| {
        let fine = |mut stream: std::net::TcpStream| {
            if Request::read(&mut stream).is_some() {
                let _ = stream.write_all(&Response::new(200, "").bytes());
            }
        };
        let server = Server::tcp_on("[::]:0".parse().unwrap(), fine);
        let target = format!("http://{host}:{}/", server.address.port());
        Case::new(id, "http", server, block, target)
    };
    let only4 = "preferred_ip_protocol: ip4, ip_protocol_fallback: false";
    let only6 = "preferred_ip_protocol: ip6, ip_protocol_fallback: false";
    vec![
        at("H-family 4", "127.0.0.1", only4).is("ip_protocol", 4.0),
        at("H-family 6", "[::1]", only6).is("ip_protocol", 6.0),
        at("H-family 4 for 6", "127.0.0.1", only6).down(Reason::NoAddress).is("ip_protocol", 0.0),
        at("H-family 4 instead of 6", "127.0.0.1", "preferred_ip_protocol: ip6")
            .is("ip_protocol", 4.0),
        at("H-family both", "both.test", "ip_protocol_fallback: true")
            .is("ip_protocol", 6.0)
            .alone(lacks::NAMES),
        at("H-F-1", "six.test", IP4).is("ip_protocol", 6.0).alone(lacks::NAMES),
        at("H-F-2", "six.test", only4)
            .down(Reason::NoAddress)
            .is("ip_protocol", 0.0)
            .alone(lacks::NAMES),
    ]
}
