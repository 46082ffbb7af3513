//! An HTTP attempt: each hop resolves, connects, shakes hands, asks and reads over a connection of its
//! own. The order of decisions is blackbox_exporter's: status, headers, size, body, version, TLS; the
//! first rule that fails names the reason.

mod body;
mod cookies;
mod credentials;
mod owned;
mod redirect;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, LAST_MODIFIED, LOCATION};
use http::{HeaderMap, Request, Response, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use url::Url;

use crate::net::budget::{Budget, Budgeted};
use crate::probe::attempt::{self, Tools};
use crate::probe::module::Http;
use crate::probe::rules::{self, question};
use crate::probe::trace::{Stop, Trace};
use crate::signal::outcome::{Http as Facts, Phase, Reason};
use owned::Owned;
use redirect::Ask;
pub use redirect::{Asked, trail};

/// Redirects that are followed.
const MAX_REDIRECTS: u32 = 10;
/// Bytes that the head of a response may have.
const MAX_HEAD: usize = 64 << 10;

pub(super) async fn probe(
    module: &Http,
    url: &Url,
    tools: &Tools,
    trace: &mut Trace,
) -> Result<(), Stop> {
    trace.http = Some(Facts::default());
    trace.failed_due_to_regex = Some(false);
    let credentials = credentials::read(module, url).await?;
    let mut ask = Ask::first(module, url, credentials);
    while hop(module, &mut ask, tools, trace).await? {}
    Ok(())
}

/// One request and its answer. `true`: `ask` is now what a redirect leads to.
async fn hop(module: &Http, ask: &mut Ask, tools: &Tools, trace: &mut Trace) -> Result<bool, Stop> {
    let headers = ask.headers(module);
    let secure = ask.url.scheme() == "https";
    let host = ask.url.host_str().unwrap_or_default().to_owned();
    let port = ask.url.port_or_known_default().unwrap_or(80);
    let address = attempt::resolve(&host, module.family, tools, trace).await?;
    ask.may_lead_to(address, trace.address)?;
    let stream = attempt::connect((address, port).into(), None, trace).await?;
    let limit = body::limit(module).saturating_add(2 * MAX_HEAD as u64);
    if secure {
        // A Host header says better which certificate is meant than the address does.
        let named = headers.get(HOST).and_then(|value| value.to_str().ok()).map(host_of);
        let (stream, h2) =
            attempt::handshake(&module.tls, stream, named.unwrap_or(&host), trace).await?;
        exchange(module, ask, headers, (stream, limit), h2, trace).await
    } else {
        exchange(module, ask, headers, (stream, limit), false, trace).await
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
    (stream, limit): (S, u64),
    h2: bool,
    trace: &mut Trace,
) -> Result<bool, Stop>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    trace.begin(Phase::Processing);
    let request = request(ask, headers, h2)?;
    let budget = Arc::new(Budget::new(limit, u64::MAX));
    let io = TokioIo::new(Budgeted::new(stream, Arc::clone(&budget)));
    let explain = |error: hyper::Error| explain(&error, &budget);
    // The attempt owns the connection, whatever it consists of: it ends with the attempt.
    if h2 {
        let tasks = Owned::default();
        let mut builder = hyper::client::conn::http2::Builder::new(tasks.spawner());
        builder.max_header_list_size(MAX_HEAD as u32);
        let (mut sender, connection) = builder.handshake(io).await.map_err(explain)?;
        let work = async {
            let response = sender.send_request(request).await.map_err(explain)?;
            answer(module, ask, response, &budget, trace).await
        };
        let done = drive(connection, work).await;
        tasks.end().await;
        done
    } else {
        let mut builder = hyper::client::conn::http1::Builder::new();
        builder.max_buf_size(MAX_HEAD).title_case_headers(true);
        let (mut sender, connection) = builder.handshake(io).await.map_err(explain)?;
        let work = async {
            let response = sender.send_request(request).await.map_err(explain)?;
            answer(module, ask, response, &budget, trace).await
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

/// Judges an answer, or follows where it leads.
async fn answer(
    module: &Http,
    ask: &mut Ask,
    response: Response<Incoming>,
    budget: &Budget,
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
    ask.cookies.store(&ask.url, &head.headers);

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
            ask.follow(status, location)?;
            // What is published is about the last answer; this one is not.
            *facts = Facts { redirects: facts.redirects, ..Facts::default() };
            trace.tls = None;
            return Ok(true);
        }
    }

    // The first broken rule names the reason; the body is read in any case, for its length.
    trace.broken = rules::status(module, status).err();
    if trace.broken.is_none() {
        let questions = rules::headers(module, &head.headers);
        trace.broken = question::ask(questions, None, (), trace).await?.err();
        trace.failed_due_to_regex = Some(trace.broken.is_some());
    }
    trace.begin(Phase::Transfer);
    let wants_body = trace.broken.is_none()
        && !(module.fail_if_body_matches.is_empty() && module.fail_if_body_not_matches.is_empty());
    let read = body::read(module, body, wants_body, budget, trace).await;
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
        (Ok(body), None) => body.judge(module, trace).await?,
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

/// Names an error of the HTTP library by its causes.
fn explain(error: &hyper::Error, budget: &Budget) -> Stop {
    // HTTP/2 does not hand on which error of its stream it has seen.
    if budget.is_exceeded() {
        return Stop::down(Reason::BodyTooLarge, "more bytes than the attempt's budget");
    }
    let mut detail = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
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
