//! A backend of remote write, OTLP over HTTP and OTLP over gRPC that misbehaves as it is told, and keeps what it
//! has taken over.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use watchpost::wire::otlp;

use super::free_port;
pub use points::Point;
use points::points;

mod points;

/// What a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Write,
    Http,
    Grpc,
}

pub const WAYS: [Way; 3] = [Way::Write, Way::Http, Way::Grpc];

/// A request before it is answered.
#[derive(Debug)]
pub struct Asked {
    /// How many came before.
    pub number: usize,
    pub way: Way,
    pub headers: HeaderMap,
    /// Of its body.
    pub bytes: usize,
    pub points: Vec<Point>,
}

impl Asked {
    /// Whether it has samples that say whether this target is up.
    pub fn is_about(&self, target: &str) -> bool {
        self.points.iter().any(|p| p.name == "probe_success" && p.target() == target)
    }
}

/// How an answer goes wrong to a batch that is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A byte a second.
    Slow,
    /// The head, and then nothing.
    Stall,
    /// Nothing at all.
    Silence,
    /// The connection is reset behind the head.
    Reset,
}

/// What is done with a request.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It is taken over.
    Take,
    /// It is taken over, and then the connection ends as the protocol has it.
    Goodbye,
    /// It is taken over but for so many points, as OTLP can say.
    Part(i64),
    /// It is taken over, and the answer goes wrong.
    Lose(Loss),
    /// The connection is reset, and nothing is taken over.
    Cut,
    /// It is refused: the status of HTTP, what is said, how long to wait, and more headers. gRPC: see [`code`].
    Refuse(u16, &'static str, Option<u64>, &'static [(&'static str, &'static str)]),
    /// gRPC: it is refused behind the head of the answer, with details that are nonsense.
    Trail,
    /// It is refused by somebody on the way who knows nothing of gRPC.
    Plain(u16),
}

/// Refuses with a status and a word.
pub fn refuse(status: u16, text: &'static str) -> Verdict {
    Verdict::Refuse(status, text, None, &[])
}

/// The code of gRPC for a status of HTTP; both mean the same to who sends.
fn code(status: u16) -> u8 {
    match status {
        400 => 3,
        401 => 16,
        403 => 7,
        404 => 5,
        405 | 415 => 12,
        413 | 429 => 8,
        500 => 13,
        _ => 14,
    }
}

type Script = Box<dyn FnMut(&Asked) -> Verdict + Send>;

struct State {
    script: Script,
    /// When requests came, how many points they had, and whether they were taken over and answered.
    requests: Vec<(Instant, usize, bool)>,
    points: Vec<Point>,
    rejected: i64,
}

/// A running backend; it ends with the test.
pub struct Backend {
    pub way: Way,
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    open: watch::Sender<bool>,
}

impl Backend {
    /// Begins to answer as the script says.
    pub fn start(way: Way, script: impl FnMut(&Asked) -> Verdict + Send + 'static) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let script: Script = Box::new(script);
        let (requests, points) = (Vec::new(), Vec::new());
        let state = Arc::new(Mutex::new(State { script, requests, points, rejected: 0 }));
        let (open, wanted) = watch::channel(true);
        let (ready, listening) = std::sync::mpsc::channel();
        std::thread::spawn({
            let state = Arc::clone(&state);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                runtime.unwrap().block_on(serve(way, address, &state, wanted, ready));
            }
        });
        listening.recv().unwrap();
        Self { way, address, state, open }
    }

    /// From now on it is a good one.
    pub fn mend(&self) {
        self.state.lock().unwrap().script = Box::new(|_| Verdict::Take);
    }

    /// It is gone, with all connections; or it is there again.
    pub fn be(&self, there: bool) {
        self.open.send(there).unwrap();
    }

    /// When each request came, its points, and whether it was taken over and answered.
    pub fn requests(&self) -> Vec<(Instant, usize, bool)> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Requests that went wrong.
    pub fn faults(&self) -> usize {
        self.requests().iter().filter(|(.., good)| !good).count()
    }

    /// All that was taken over, in the order in which it came.
    pub fn points(&self) -> Vec<Point> {
        self.state.lock().unwrap().points.clone()
    }

    /// Points that were taken over with a good answer, less those of which it was said that they were not.
    pub fn sent(&self) -> f64 {
        let state = self.state.lock().unwrap();
        let good = state.points.iter().filter(|point| !point.lost).count();
        good as f64 - state.rejected as f64
    }

    /// The line of an exporter to it; `more` begins with a comma when there is any.
    pub fn exporter(&self, name: &str, more: &str) -> String {
        let (kind, own) = match self.way {
            Way::Write => ("prometheus_remote_write", "target_info: {enabled: false}"),
            Way::Http => ("otlp_http", "compression: none"),
            Way::Grpc => ("otlp_grpc", "compression: none, tls: {insecure: true}"),
        };
        let scheme = if self.way == Way::Grpc { "" } else { "http://" };
        format!("  {kind}/{name}: {{endpoint: '{scheme}{}', {own}{more}}}\n", self.address)
    }
}

/// Listens while it is wanted.
async fn serve(
    way: Way,
    address: SocketAddr,
    state: &Arc<Mutex<State>>,
    mut wanted: watch::Receiver<bool>,
    ready: std::sync::mpsc::Sender<()>,
) {
    loop {
        let listener = TcpListener::bind(address).await.unwrap();
        let _ = ready.send(());
        // What is served ends with the set.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let stream = tokio::select! {
                stream = listener.accept() => stream,
                changed = wanted.changed() => match changed {
                    Err(_) => return,
                    Ok(()) if *wanted.borrow() => continue,
                    Ok(()) => break,
                },
            };
            let Ok((stream, _)) = stream else { continue };
            connections.spawn(connection(way, stream, Arc::clone(state)));
        }
        drop((listener, connections));
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
    }
}

/// What a connection is told by the answers on it.
#[derive(Default)]
struct Ends {
    cut: Notify,
    goodbye: Notify,
}

async fn connection(way: Way, stream: TcpStream, state: Arc<Mutex<State>>) {
    let Ok(stream) = stream.into_std() else { return };
    let (Ok(twin), Ok(stream)) = (stream.try_clone(), TcpStream::from_std(stream)) else { return };
    // A connection that is closed like this is reset.
    let cut = || socket2::SockRef::from(&twin).set_linger(Some(Duration::ZERO));
    let ends = Arc::new(Ends::default());
    let io = TokioIo::new(stream);
    let service = service_fn({
        let ends = Arc::clone(&ends);
        move |request| answer(way, request, Arc::clone(&state), Arc::clone(&ends))
    });
    let timeout = Duration::from_secs(300);
    if way == Way::Grpc {
        let served = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service);
        let mut served = std::pin::pin!(served);
        loop {
            tokio::select! {
                _ = served.as_mut() => return,
                () = ends.cut.notified() => return drop(cut()),
                () = tokio::time::sleep(timeout) => return,
                () = ends.goodbye.notified() => served.as_mut().graceful_shutdown(),
            }
        }
    }
    let served = http1::Builder::new().serve_connection(io, service);
    tokio::select! {
        _ = served => {}
        () = ends.cut.notified() => drop(cut()),
        () = tokio::time::sleep(timeout) => {}
    }
}

/// A piece of an answer.
enum Piece {
    Data(Vec<u8>),
    Trailers(HeaderMap),
    Wait(Duration),
    Never,
    Cut,
}

/// An answer in pieces.
struct Pieces {
    pieces: VecDeque<Piece>,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    ends: Arc<Ends>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                std::task::ready!(sleep.as_mut().poll(context));
                self.sleep = None;
            }
            match self.pieces.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Data(data)) => {
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from(data)))));
                }
                Some(Piece::Trailers(map)) => return Poll::Ready(Some(Ok(Frame::trailers(map)))),
                Some(Piece::Wait(span)) => self.sleep = Some(Box::pin(tokio::time::sleep(span))),
                // Whoever asks again is told the same.
                Some(Piece::Never) => {
                    self.pieces.push_front(Piece::Never);
                    return Poll::Pending;
                }
                Some(Piece::Cut) => {
                    self.pieces.push_front(Piece::Never);
                    self.ends.cut.notify_one();
                    return Poll::Pending;
                }
            }
        }
    }
}

async fn answer(
    way: Way,
    request: http::Request<Incoming>,
    state: Arc<Mutex<State>>,
    ends: Arc<Ends>,
) -> Result<Response<Pieces>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let verdict = {
        let mut state = state.lock().unwrap();
        let points = points(way, &body);
        let number = state.requests.len();
        let asked = Asked { number, way, headers: head.headers, bytes: body.len(), points };
        let verdict = (state.script)(&asked);
        let good = matches!(verdict, Verdict::Take | Verdict::Goodbye | Verdict::Part(_));
        let lost = matches!(verdict, Verdict::Lose(_));
        state.requests.push((Instant::now(), asked.points.len(), good));
        if good || lost {
            state.points.extend(asked.points.into_iter().map(|point| Point { lost, ..point }));
        }
        if let Verdict::Part(rejected) = verdict {
            let count = state.requests.last().map_or(0, |(_, count, _)| *count as i64);
            state.rejected += rejected.clamp(0, count);
        }
        verdict
    };
    let mut said = otlp::Response::default();
    let mut headers = HeaderMap::new();
    let mut status = 200;
    let mut failed = None;
    match &verdict {
        Verdict::Goodbye => {
            ends.goodbye.notify_one();
            if way != Way::Grpc {
                headers.insert("connection", HeaderValue::from_static("close"));
            }
        }
        Verdict::Part(rejected) => {
            let partial = said.partial_success.get_or_insert_default();
            partial.rejected_data_points = *rejected;
            partial.error_message = "too old".to_owned();
        }
        Verdict::Cut => {
            ends.cut.notify_one();
            std::future::pending::<()>().await;
        }
        Verdict::Lose(Loss::Silence) => std::future::pending::<()>().await,
        Verdict::Refuse(refused, text, after, more) => {
            for (name, value) in *more {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            if way == Way::Grpc {
                failed = Some((code(*refused), *text));
                if let Some(after) = after {
                    let details = retry_info(code(*refused), *after);
                    headers.insert("grpc-status-details-bin", details.try_into().unwrap());
                }
            } else {
                status = *refused;
                if let Some(after) = after {
                    headers.insert("retry-after", (*after).into());
                }
                failed = Some((0, *text));
            }
        }
        Verdict::Plain(refused) => status = *refused,
        Verdict::Take | Verdict::Lose(_) | Verdict::Trail => {}
    }
    let mut pieces = VecDeque::new();
    let body = match (way, failed) {
        (Way::Write, None) => b"ok, all of it".to_vec(),
        (Way::Http, None) => said.encode_to_vec(),
        (Way::Grpc, None) => {
            let body = said.encode_to_vec();
            [&[0][..], &(body.len() as u32).to_be_bytes(), &body].concat()
        }
        (Way::Grpc, Some((code, text))) => {
            headers.insert("grpc-status", u16::from(code).into());
            headers.insert("grpc-message", HeaderValue::from_static(text));
            Vec::new()
        }
        (_, Some((_, text))) => text.into(),
    };
    // An empty answer is whole with its head: something is to be missing.
    let body =
        if body.is_empty() && matches!(verdict, Verdict::Lose(_)) { vec![0x12, 0] } else { body };
    match &verdict {
        Verdict::Lose(Loss::Slow) => body.iter().for_each(|byte| {
            pieces.extend([Piece::Wait(Duration::from_secs(1)), Piece::Data(vec![*byte])]);
        }),
        Verdict::Lose(Loss::Stall) => pieces.push_back(Piece::Never),
        Verdict::Lose(Loss::Reset) => {
            let half = body[..body.len() / 2].to_vec();
            pieces.extend([Piece::Data(half), Piece::Wait(Duration::from_millis(20)), Piece::Cut]);
        }
        Verdict::Trail => {}
        Verdict::Plain(_) => pieces.push_back(Piece::Data(b"<html>no</html>".to_vec())),
        _ if !body.is_empty() => pieces.push_back(Piece::Data(body)),
        _ => {}
    }
    let mut response = Response::builder().status(status);
    if matches!(verdict, Verdict::Plain(_)) {
        headers.insert("content-type", HeaderValue::from_static("text/html"));
    } else if way == Way::Grpc {
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        if failed.is_none() {
            let mut end = HeaderMap::new();
            let trails = matches!(verdict, Verdict::Trail);
            end.insert("grpc-status", if trails { 14 } else { 0 }.into());
            if trails {
                end.insert("grpc-status-details-bin", HeaderValue::from_static("n*nsense"));
            }
            pieces.push_back(Piece::Trailers(end));
        }
    } else if way == Way::Http && failed.is_none() {
        headers.insert("content-type", HeaderValue::from_static("application/x-protobuf"));
    }
    response.headers_mut().unwrap().extend(headers);
    Ok(response.body(Pieces { pieces, sleep: None, ends }).unwrap())
}

/// google.rpc.Status with a RetryInfo of so many seconds, as it stands in a header.
fn retry_info(code: u8, seconds: u64) -> String {
    let field = |number: u8, body: &[u8]| {
        [&[number << 3 | 2, u8::try_from(body.len()).unwrap()][..], body].concat()
    };
    let duration = [8, u8::try_from(seconds).unwrap()];
    let info =
        [field(1, b"type.googleapis.com/google.rpc.RetryInfo"), field(2, &field(1, &duration))];
    let status = [vec![8, code], field(3, &info.concat())].concat();
    base64::engine::general_purpose::STANDARD_NO_PAD.encode(status)
}
