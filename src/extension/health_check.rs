//! `health_check`: an address that answers 200 while everything runs, and 503 before and after.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde::Deserialize;

use crate::base::clock::{self, Timestamp};
use crate::base::duration;
use crate::base::place::{At, Problems, given};
use crate::net::http_server;

/// Keys of the Collector's extension that are not built yet.
pub const LATER: &[(&str, &[&str])] =
    &[("RawHealthCheck", &["tls", "auth", "use_v2", "component_health", "grpc", "http"])];
/// Keys of the Collector's extension that change nothing here.
pub const IDLE: &[(&str, &[&str])] = &[
    ("RawHealthCheck", &["cors", "max_request_body_size", "include_metadata"]),
    ("RawPipelineCheck", &["interval"]),
];

/// Where it listens when nobody says otherwise.
const DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 13133);

/// Attempts of an exporter that may fail, one after the other, when nobody says otherwise.
const FAILURES: u64 = 5;

/// The extension as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawHealthCheck {
    endpoint: Option<At<String>>,
    path: Option<At<String>>,
    response_body: Option<At<RawBody>>,
    check_collector_pipeline: Option<At<RawPipelineCheck>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawPipelineCheck {
    enabled: Option<At<bool>>,
    exporter_failure_threshold: Option<At<u64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawBody {
    healthy: Option<At<String>>,
    unhealthy: Option<At<String>>,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub endpoint: SocketAddr,
    /// The path that answers.
    pub path: String,
    /// What is answered when all is well; `None`: JSON with the time since when.
    pub healthy: Option<String>,
    /// What is answered when it is not.
    pub unhealthy: Option<String>,
    /// It is not well when so many attempts of an exporter and more have failed, one after the other; `None`: that
    /// counts for nothing.
    pub max_failures: Option<u64>,
}

impl RawHealthCheck {
    /// Turns what is written into what will run.
    #[must_use]
    pub fn settle(&self, problems: &mut Problems) -> Settings {
        let endpoint = self.endpoint.as_ref().and_then(|at| {
            let address = http_server::address(at.as_ref()?);
            if address.is_none() {
                problems.error(&at.place, "must be an address and a port, such as 127.0.0.1:13133");
            }
            address
        });
        let path = given(&self.path).map_or("/", String::as_str);
        if let Some(at) = self.path.as_ref().filter(|_| !plain(path)) {
            problems.error(&at.place, "must begin with a slash and hold no braces");
        }
        let body = given(&self.response_body);
        let check = given(&self.check_collector_pipeline);
        let check = check.filter(|check| given(&check.enabled).copied().unwrap_or(false));
        let max_failures = check
            .map(|check| given(&check.exporter_failure_threshold).copied().unwrap_or(FAILURES));
        Settings {
            endpoint: endpoint.unwrap_or(DEFAULT),
            path: if plain(path) { path } else { "/" }.to_owned(),
            healthy: body.and_then(|body| given(&body.healthy).cloned()),
            unhealthy: body.and_then(|body| given(&body.unhealthy).cloned()),
            max_failures,
        }
    }
}

/// A path that the router reads as it is written.
fn plain(path: &str) -> bool {
    path.starts_with('/') && !path.contains(['{', '}', '*', '?', '#', ' '])
}

/// The routes; `well` says whether everything runs since `up`.
pub fn router(
    settings: Settings,
    up: Timestamp,
    well: Arc<dyn Fn() -> bool + Send + Sync>,
) -> Router {
    let path = settings.path.clone();
    let answer = move || {
        let (code, body, word) = if well() {
            (StatusCode::OK, &settings.healthy, "Server available")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, &settings.unhealthy, "Server not available")
        };
        let answer = match body {
            Some(text) => (code, text.clone()).into_response(),
            None => {
                let kind = [(header::CONTENT_TYPE, "application/json")];
                (code, kind, json(word, code == StatusCode::OK, up)).into_response()
            }
        };
        async move { answer }
    };
    Router::new().route(&path, get(answer))
}

fn json(status: &str, well: bool, up: Timestamp) -> String {
    let now = clock::wall();
    let uptime = std::time::Duration::from_nanos(now.0.saturating_sub(up.0));
    let since = i64::try_from(up.0 / 1_000_000_000).unwrap_or(0);
    let since = jiff::Timestamp::from_second(since).map(|at| at.to_string()).unwrap_or_default();
    let uptime = if well { duration::format(uptime) } else { String::new() };
    serde_json::json!({ "status": status, "upSince": since, "uptime": uptime }).to_string()
}
