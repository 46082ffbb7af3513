//! An HTTP attempt: each hop resolves, connects, shakes hands, asks and reads over a connection of its
//! own. The order of decisions is blackbox_exporter's: status, headers, size, body, version, TLS; the
//! first rule that fails names the reason.

mod budget;
mod cookies;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, LAST_MODIFIED, LOCATION, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::net::AGENT;
use crate::probe::attempt::{self, Tools};
use crate::probe::module::{Credentials, Http, Secret};
use crate::probe::rules;
use crate::probe::trace::{Stop, Trace};
use crate::signal::outcome::{Http as Facts, Phase, Reason, Skip};
use budget::Budget;
use cookies::Jar;

/// Redirects that are followed.
const MAX_REDIRECTS: u32 = 10;
/// Bytes that the head of a response may have.
const MAX_HEAD: usize = 64 << 10;

/// Time that reading a secret may take.
const READ_WITHIN: Duration = Duration::from_millis(500);

/// What is asked on a hop.
struct Ask {
    url: Url,
    method: Method,
    body: Bytes,
}

pub(super) async fn probe(
    module: &Http,
    url: &Url,
    tools: &Tools,
    trace: &mut Trace,
) -> Result<(), Stop> {
    trace.http = Some(Facts::default());
    trace.failed_due_to_regex = Some(false);
    let credentials = credentials(module, url).await?;
    let mut jar = Jar::default();
    let mut ask = Ask {
        url: url.clone(),
        method: module.method.clone(),
        body: Bytes::copy_from_slice(module.body.as_bytes()),
    };
    loop {
        let same_host = ask.url.host_str() == url.host_str();
        let headers = headers(module, &ask, same_host, credentials.as_ref(), &jar);
        let next = hop(module, &mut ask, headers, &mut jar, tools, trace).await?;
        if !next {
            return Ok(());
        }
    }
}

/// One request and its answer. `true`: `ask` is now what a redirect leads to.
async fn hop(
    module: &Http,
    ask: &mut Ask,
    headers: HeaderMap,
    jar: &mut Jar,
    tools: &Tools,
    trace: &mut Trace,
) -> Result<bool, Stop> {
    let secure = ask.url.scheme() == "https";
    let host = ask.url.host_str().unwrap_or_default().to_owned();
    let port = ask.url.port_or_known_default().unwrap_or(80);
    let address = attempt::resolve(&host, module.family, tools, trace).await?;
    let stream = attempt::connect((address, port).into(), None, trace).await?;
    let limit = module.body_size_limit.saturating_add(2 * MAX_HEAD as u64);
    if secure {
        // A Host header says better which certificate is meant than the address does.
        let named = headers.get(HOST).and_then(|value| value.to_str().ok()).map(host_of);
        let (stream, h2) =
            attempt::handshake(&module.tls, stream, named.unwrap_or(&host), trace).await?;
        let io = TokioIo::new(Budget::new(stream, limit));
        exchange(module, ask, headers, io, h2, jar, trace).await
    } else {
        let io = TokioIo::new(Budget::new(stream, limit));
        exchange(module, ask, headers, io, false, jar, trace).await
    }
}

fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

async fn exchange<S>(
    module: &Http,
    ask: &mut Ask,
    headers: HeaderMap,
    io: TokioIo<S>,
    h2: bool,
    jar: &mut Jar,
    trace: &mut Trace,
) -> Result<bool, Stop>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    trace.begin(Phase::Processing);
    let request = request(ask, headers, h2)?;
    // The connection is driven by this task alone: it ends with the attempt, whatever happens.
    if h2 {
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(MAX_HEAD as u32);
        let (mut sender, connection) = builder.handshake(io).await.map_err(|e| explain(&e))?;
        let work = async {
            let response = sender.send_request(request).await.map_err(|e| explain(&e))?;
            answer(module, ask, response, jar, trace).await
        };
        drive(connection, work).await
    } else {
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(MAX_HEAD).title_case_headers(true);
        let (mut sender, connection) = builder.handshake(io).await.map_err(|e| explain(&e))?;
        let work = async {
            let response = sender.send_request(request).await.map_err(|e| explain(&e))?;
            answer(module, ask, response, jar, trace).await
        };
        drive(connection, work).await
    }
}

/// Polls the connection until the work is done; the end of the connection is not the end of the work.
async fn drive<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    work: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => done,
        _ = connection => work.await,
    }
}

fn request(ask: &Ask, headers: HeaderMap, h2: bool) -> Result<Request<Full<Bytes>>, Stop> {
    let mut request = Request::new(Full::new(ask.body.clone()));
    *request.method_mut() = ask.method.clone();
    *request.headers_mut() = headers;
    let path = match ask.url.query() {
        Some(query) => format!("{}?{query}", ask.url.path()),
        None => ask.url.path().to_owned(),
    };
    if h2 {
        *request.version_mut() = Version::HTTP_2;
        let host = request.headers_mut().remove(HOST);
        request.headers_mut().remove(CONNECTION);
        let authority = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        *request.uri_mut() = parse_uri(&format!("https://{authority}{path}"))?;
    } else {
        *request.uri_mut() = parse_uri(&path)?;
    }
    Ok(request)
}

/// What the URL library takes and the HTTP library does not cannot be asked for.
fn parse_uri(text: &str) -> Result<Uri, Stop> {
    let wrong =
        |error| Stop::down(Reason::HttpProtocol, format!("{text:?} cannot be asked for: {error}"));
    text.parse().map_err(|error: http::uri::InvalidUri| wrong(error))
}

fn headers(
    module: &Http,
    ask: &Ask,
    same_host: bool,
    credentials: Option<&HeaderValue>,
    jar: &Jar,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let host = ask.url.host_str().unwrap_or_default();
    let authority = ask.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    if let Ok(value) = HeaderValue::try_from(authority) {
        headers.insert(HOST, value);
    }
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &module.headers {
        // What says who we are stays with the host that it was meant for.
        if same_host || !(*name == HOST || *name == AUTHORIZATION || *name == COOKIE) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(value) = credentials.filter(|_| same_host) {
        headers.insert(AUTHORIZATION, value.clone());
    }
    if let Some(cookies) = jar.header(&ask.url)
        && let Ok(value) = HeaderValue::try_from(cookies)
    {
        headers.insert(COOKIE, value);
    }
    headers
}

async fn credentials(module: &Http, url: &Url) -> Result<Option<HeaderValue>, Stop> {
    use base64::Engine as _;
    let basic = |user: &str, password: &str| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        format!("Basic {pair}")
    };
    let text = match &module.credentials {
        Some(Credentials::Basic { username, password }) => {
            let username = read(username).await?;
            let password = match password {
                Some(password) => read(password).await?,
                None => SecretString::default(),
            };
            basic(username.expose_secret(), password.expose_secret())
        }
        Some(Credentials::Scheme { scheme, credentials }) => {
            format!("{scheme} {}", read(credentials).await?.expose_secret())
        }
        None if !url.username().is_empty() || url.password().is_some() => {
            let plain = |text| percent_decode_str(text).decode_utf8_lossy();
            basic(&plain(url.username()), &plain(url.password().unwrap_or_default()))
        }
        None => return Ok(None),
    };
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| unreadable("credentials with control characters".to_owned()))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn unreadable(why: String) -> Stop {
    Stop::Skip(Skip::NoCredentials, why)
}

/// Reads a secret. A file is read on another thread: a file system that hangs holds up nobody else.
async fn read(secret: &Secret) -> Result<SecretString, Stop> {
    let Secret::File(path) = secret else { return secret.read().map_err(unreadable) };
    let shown = path.display().to_string();
    let secret = secret.clone();
    let reading = tokio::task::spawn_blocking(move || secret.read());
    match tokio::time::timeout(READ_WITHIN, reading).await {
        Ok(Ok(read)) => read.map_err(unreadable),
        Ok(Err(error)) => Err(unreadable(error.to_string())),
        Err(_) => Err(unreadable(format!("{shown}: not read within {READ_WITHIN:?}"))),
    }
}

/// Judges an answer, or follows where it leads.
async fn answer(
    module: &Http,
    ask: &mut Ask,
    response: Response<Incoming>,
    jar: &mut Jar,
    trace: &mut Trace,
) -> Result<bool, Stop> {
    trace.end();
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    let ssl = ask.url.scheme() == "https";
    let length = content_length(&head.headers, status);
    let facts = trace.http.get_or_insert_default();
    facts.status = status;
    facts.version = rules::version_number(head.version);
    facts.ssl = ssl;
    facts.content_length = length;
    facts.last_modified = last_modified(&head.headers);
    jar.store(&ask.url, &head.headers);

    let redirect = matches!(status, 301 | 302 | 303 | 307 | 308);
    let location = head.headers.get(LOCATION).filter(|_| redirect);
    if let Some(location) = location {
        facts.redirects += 1;
        if module.follow_redirects {
            if facts.redirects > MAX_REDIRECTS {
                return Err(Stop::down(
                    Reason::TooManyRedirects,
                    format!("more than {MAX_REDIRECTS} redirects"),
                ));
            }
            follow(ask, status, location)?;
            // What is published is about the last answer; this one is not.
            *facts = Facts { redirects: facts.redirects, ..Facts::default() };
            trace.tls = None;
            return Ok(true);
        }
    }

    // The first broken rule names the reason; the body is read in any case, for its length.
    trace.broken = rules::status(module, status).err();
    if trace.broken.is_none() {
        trace.broken = rules::headers(module, &head.headers).err();
        trace.failed_due_to_regex = Some(trace.broken.is_some());
    }
    trace.begin(Phase::Transfer);
    let wants_body = trace.broken.is_none()
        && !(module.fail_if_body_matches.is_empty() && module.fail_if_body_not_matches.is_empty());
    let read = read_body(module, body, wants_body, trace).await;
    if read.is_ok() {
        trace.end();
    }
    match (read, trace.broken.take()) {
        // A rule about the head was broken while processing, whatever became of the body.
        (_, Some((reason, detail))) => {
            trace.begin(Phase::Processing);
            return Err(Stop::down(reason, detail));
        }
        (Err(stop), None) => return Err(stop),
        (Ok(content), None) => {
            if wants_body && let Err((reason, detail)) = rules::body(module, &content) {
                trace.failed_due_to_regex = Some(true);
                return Err(Stop::down(reason, detail));
            }
        }
    }
    rules::version(module, head.version).and_then(|()| rules::tls(module, ssl)).map_err(
        |(reason, detail)| {
            trace.begin(Phase::Processing);
            Stop::down(reason, detail)
        },
    )?;
    Ok(false)
}

fn content_length(headers: &HeaderMap, status: u16) -> i64 {
    if matches!(status, 204 | 304) {
        return 0;
    }
    headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .unwrap_or(-1)
}

fn last_modified(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(LAST_MODIFIED)?.to_str().ok()?;
    // The two obsolete forms of RFC 9110 5.6.7, RFC 850's and asctime's, both without a zone: UTC.
    for form in ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"] {
        if let Ok(date) = jiff::civil::DateTime::strptime(form, text) {
            return date
                .to_zoned(jiff::tz::TimeZone::UTC)
                .ok()
                .map(|at| at.timestamp().as_second());
        }
    }
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
        .map(jiff::Timestamp::as_second)
}

/// Points the next request at where a redirect leads, by the rules of RFC 9110 15.4.
fn follow(ask: &mut Ask, status: u16, location: &HeaderValue) -> Result<(), Stop> {
    let text = String::from_utf8_lossy(location.as_bytes());
    let wrong = |why: String| Stop::down(Reason::HttpProtocol, why);
    let next =
        ask.url.join(&text).map_err(|error| wrong(format!("a redirect to {text:?}: {error}")))?;
    if !matches!(next.scheme(), "http" | "https") || next.host_str().is_none_or(str::is_empty) {
        return Err(wrong(format!("a redirect to {text:?}, which is no HTTP")));
    }
    if matches!(status, 301..=303) && ask.method != Method::HEAD {
        ask.method = Method::GET;
        ask.body = Bytes::new();
    }
    ask.url = next;
    Ok(())
}

/// Reads a body to its end or to its budget, and keeps it only when a rule wants it.
async fn read_body(
    module: &Http,
    mut body: Incoming,
    keep: bool,
    trace: &mut Trace,
) -> Result<Vec<u8>, Stop> {
    let limit = module.body_size_limit;
    let mut kept = Vec::new();
    let mut length = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| explain(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        length += data.len() as u64;
        let facts = trace.http.get_or_insert_default();
        facts.body_length = length.min(limit);
        if length > limit {
            return Err(Stop::down(Reason::BodyTooLarge, format!("more than {limit} bytes")));
        }
        if keep {
            kept.extend_from_slice(data);
        }
    }
    Ok(kept)
}

/// Names an error of the HTTP library by its causes.
fn explain(error: &hyper::Error) -> Stop {
    let mut detail = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            if budget::is_exceeded(io) {
                return Stop::down(Reason::BodyTooLarge, "more bytes than the attempt's budget");
            }
            // The library wraps the kernel's error: its kind and number are what is asked for.
            let copy = match (io.raw_os_error(), crate::net::tls::is_tls_error(io)) {
                (Some(number), _) => std::io::Error::from_raw_os_error(number),
                (None, true) => return crate::net::tls::handshake_error(io).into(),
                (None, false) => std::io::Error::new(io.kind(), io.to_string()),
            };
            if let stop @ (Stop::Skip(..) | Stop::Down(..)) = Stop::from(copy)
                && !matches!(stop, Stop::Down(Reason::Unclassified, _))
            {
                return stop;
            }
        }
        detail.push_str(": ");
        detail.push_str(&inner.to_string());
        cause = inner.source();
    }
    let reason = if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Reason::Eof
    } else {
        // What is left is an answer that the library could not read: HTTP that is none.
        Reason::HttpProtocol
    };
    Stop::down(reason, detail)
}
