//! What our own page answers: own metrics, and whether we are well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::base::clock;
use crate::pipeline::selfmetrics::Meter;
use crate::probe::ProberHandle;
use crate::wire::exposition;
use crate::wire::naming::Naming;

/// A schedule that has not been looked at for this long is stuck; it is looked at every second.
pub(super) const STUCK: Duration = Duration::from_secs(10);

pub(super) fn router(meter: Arc<Meter>, prober: ProberHandle, ready: Arc<AtomicBool>) -> Router {
    let metrics = move || {
        let text = exposition::text(&meter.snapshot(clock::wall()), &Naming::default());
        async move { ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], text) }
    };
    let well = {
        let prober = prober.clone();
        move || clock::now().boot.since(prober.heartbeat()) < STUCK
    };
    let healthy = {
        let well = well.clone();
        move || async move { answer(well(), "Watchpost is healthy.\n", "The schedule is stuck.\n") }
    };
    let ready = move || async move {
        let ready = ready.load(Ordering::Relaxed) && well();
        answer(ready, "Watchpost is ready.\n", "Watchpost is not ready.\n")
    };
    let index =
        concat!("Watchpost ", env!("CARGO_PKG_VERSION"), "\n\n/metrics\n/-/healthy\n/-/ready\n");
    Router::new()
        .route("/", get(move || async move { index }))
        .route("/metrics", get(metrics))
        .route("/-/healthy", get(healthy))
        .route("/-/ready", get(ready))
}

fn answer(good: bool, yes: &'static str, no: &'static str) -> impl IntoResponse {
    if good { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) }
}
