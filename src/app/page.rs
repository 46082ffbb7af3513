//! What our own addresses answer: own metrics, whether we are well, the values that exporters serve,
//! and the order to reload.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::app::asks::Ask;
use crate::app::catalog::Standing;
use crate::app::guard::Guard;
use crate::app::ports::{Served, Wanted};
use crate::base::clock::{self, Timestamp};
use crate::base::duration;
use crate::config::plan::{ExporterSettings, ExtensionSettings, Plan};
use crate::exporter::health::Healths;
use crate::exporter::prometheus::Prometheus;
use crate::extension::health_check;
use crate::pipeline::selfmetrics::Meter;
use crate::probe::ProberHandle;
use crate::wire::exposition::{self, Format};
use crate::wire::naming::Naming;

/// A schedule that has not been looked at for this long is stuck; it is looked at every second.
pub(super) const STUCK: Duration = Duration::from_secs(10);
/// How many ports the embedded default tries.
const PORTS: u16 = 100;

/// What the answers are made of.
pub(super) struct Site {
    pub(super) meter: Arc<Meter>,
    pub(super) prober: ProberHandle,
    pub(super) ready: Arc<AtomicBool>,
    pub(super) healths: Arc<Healths>,
    pub(super) started: Timestamp,
    pub(super) reload: mpsc::Sender<Ask>,
}

/// The addresses that a plan wants.
pub(super) fn wanted(plan: &Plan) -> Vec<Wanted> {
    let others = if plan.http.search { PORTS - 1 } else { 0 };
    let page = Wanted { address: plan.http.listen, by: "http.listen".to_owned(), others };
    let telemetry = plan.telemetry.listeners.iter();
    let by = "service.telemetry.metrics";
    let telemetry =
        telemetry.map(|address| Wanted { address: *address, by: by.to_owned(), others: 0 });
    let used = |name: &String| plan.pipelines.iter().any(|p| p.exporters.contains(name));
    let exporters = plan.exporters.iter().filter(|(name, _)| used(name));
    let exporters = exporters.filter_map(|(name, exporter)| match &exporter.settings {
        ExporterSettings::Prometheus(settings) => {
            let by = format!("exporters.{name}.endpoint");
            Some(Wanted { address: settings.endpoint?, by, others: 0 })
        }
        _ => None,
    });
    let extensions = plan.extensions.iter();
    let extensions = extensions.filter_map(|(name, extension)| match &extension.settings {
        ExtensionSettings::HealthCheck(settings) => {
            let by = format!("extensions.{name}.endpoint");
            Some(Wanted { address: settings.endpoint, by, others: 0 })
        }
        _ => None,
    });
    [page].into_iter().chain(telemetry).chain(exporters).chain(extensions).collect()
}

impl Site {
    /// What is answered at each of these addresses.
    pub(super) fn routers(
        &self,
        plan: &Plan,
        standing: &BTreeMap<String, Standing>,
    ) -> Vec<(SocketAddr, Served)> {
        let mut mounted = BTreeMap::new();
        let mut routers = Vec::new();
        for (name, standing) in standing {
            let Standing::Prometheus(exporter) = standing else { continue };
            let settings = plan.exporters.get(name).map(|exporter| &exporter.settings);
            match settings {
                Some(ExporterSettings::Prometheus(settings)) if settings.endpoint.is_some() => {
                    let exporter = Arc::clone(exporter);
                    let scrape = move |headers: HeaderMap| scrape(Arc::clone(&exporter), headers);
                    let router = Router::new().route("/metrics", get(scrape));
                    routers.extend(settings.endpoint.map(|address| (address, router)));
                }
                _ => drop(mounted.insert(name.clone(), Arc::clone(exporter))),
            }
        }
        for address in &plan.telemetry.listeners {
            routers.push((*address, Router::new().route("/metrics", get(self.own()))));
        }
        for extension in plan.extensions.values() {
            if let ExtensionSettings::HealthCheck(settings) = &extension.settings {
                let (ready, healths) = (self.is_ready(), Arc::clone(&self.healths));
                let limit = settings.max_failures;
                let well =
                    move || ready() && limit.is_none_or(|limit| healths.most_failures() <= limit);
                let router = health_check::router(settings.clone(), self.started, Arc::new(well));
                routers.push((settings.endpoint, router));
            }
        }
        routers.push((plan.http.listen, self.page(plan, mounted)));
        let guarded = |(address, router)| {
            let guard = Guard::new(address, Arc::clone(&plan.http.hosts));
            (address, Served { guard, router })
        };
        routers.into_iter().map(guarded).collect()
    }

    fn own(
        &self,
    ) -> impl Fn(HeaderMap) -> Pin<Box<dyn Future<Output = Response> + Send>> + Clone + use<> {
        let meter = Arc::clone(&self.meter);
        move |headers| {
            let (format, meter) = (asked(&headers), Arc::clone(&meter));
            Box::pin(rendered(format, move || {
                let batch = meter.snapshot(clock::wall());
                exposition::text(&exposition::families(&batch, &Naming::default()), format)
            }))
        }
    }

    fn is_well(&self) -> impl Fn() -> bool + Clone + Send + Sync + use<> {
        let prober = self.prober.clone();
        move || clock::now().boot.since(prober.heartbeat()) < STUCK
    }

    fn is_ready(&self) -> impl Fn() -> bool + Clone + Send + Sync + use<> {
        let (well, ready) = (self.is_well(), Arc::clone(&self.ready));
        move || ready.load(Ordering::Relaxed) && well()
    }

    fn page(&self, plan: &Plan, mounted: BTreeMap<String, Arc<Prometheus>>) -> Router {
        let well = self.is_well();
        let healthy = move || async move {
            answer(well(), "Watchpost is healthy.\n", "The schedule is stuck.\n")
        };
        let (ready, healths) = (self.is_ready(), Arc::clone(&self.healths));
        let limit = plan.http.export_failure_limit;
        let ready = move || {
            let failing = healths.longest(clock::now().boot);
            let failing = failing.filter(|(_, span)| limit.is_some_and(|limit| *span >= limit));
            let (code, text) = match failing {
                _ if !ready() => {
                    (StatusCode::SERVICE_UNAVAILABLE, "Watchpost is not ready.\n".to_owned())
                }
                Some((exporter, span)) => {
                    let span = duration::format(Duration::from_secs(span.as_secs()));
                    let text = format!("Exporter {exporter} has failed for {span}.\n");
                    (StatusCode::SERVICE_UNAVAILABLE, text)
                }
                None => (StatusCode::OK, "Watchpost is ready.\n".to_owned()),
            };
            async move { (code, text) }
        };
        let mut index = concat!(
            "Watchpost ",
            env!("CARGO_PKG_VERSION"),
            "\n\n/metrics\n/-/healthy\n/-/ready\n/-/reload (POST)\n"
        )
        .to_owned();
        for name in mounted.keys() {
            index.push_str(&format!("/metrics/{name}\n"));
        }
        if !plan.unsupported.is_empty() {
            index.push_str("\nLeft out, because it is not supported yet:\n");
            index.extend(plan.unsupported.iter().map(|path| format!("  {path}\n")));
        }
        let guard = Guard::new(plan.http.listen, Arc::clone(&plan.http.hosts));
        let (ask, allowed) = (self.reload.clone(), plan.http.reload);
        let reload = move |uri: Uri, headers: HeaderMap| {
            let (ask, guard) = (ask.clone(), guard.clone());
            async move {
                match guard.reload(allowed, &uri, &headers) {
                    Ok(()) => reload(&ask).await,
                    Err(refusal) => refusal.into_response(),
                }
            }
        };
        let mounted = Arc::new(mounted);
        let scraped = move |Path(name): Path<String>, headers: HeaderMap| {
            let exporter = mounted.get(&name).map(Arc::clone);
            async move {
                match exporter {
                    Some(exporter) => scrape(exporter, headers).await,
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            }
        };
        Router::new()
            .route("/", get(move || async move { index }))
            .route("/metrics", get(self.own()))
            .route("/metrics/{*name}", get(scraped))
            .route("/-/healthy", get(healthy))
            .route("/-/ready", get(ready))
            .route("/-/reload", post(reload.clone()).put(reload))
    }
}

fn answer(good: bool, yes: &'static str, no: &'static str) -> impl IntoResponse {
    if good { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) }
}

fn accepted(headers: &HeaderMap) -> &str {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn asked(headers: &HeaderMap) -> Format {
    if accepted(headers).contains("application/openmetrics-text") {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

async fn scrape(exporter: Arc<Prometheus>, headers: HeaderMap) -> Response {
    let format = exporter.format(accepted(&headers));
    rendered(format, move || exporter.render(format, clock::now().boot)).await
}

/// Text that a thread for blocking work writes: it grows with the number of targets. Few are written at one time,
/// however many ask.
async fn rendered(format: Format, write: impl FnOnce() -> String + Send + 'static) -> Response {
    static AT_ONCE: Semaphore = Semaphore::const_new(2);
    let permit = AT_ONCE.acquire().await;
    let text = tokio::task::spawn_blocking(move || {
        let text = write();
        drop(permit);
        text
    });
    match text.await {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "Watchpost is stopping.\n").into_response(),
    }
}

/// Asks for a reload, and answers with what came of it.
async fn reload(ask: &mpsc::Sender<Ask>) -> Response {
    let (answer, answered) = oneshot::channel();
    if ask.send(answer).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "Watchpost is stopping.\n").into_response();
    }
    match answered.await {
        Ok(Ok(())) => (StatusCode::OK, "Reloaded.\n").into_response(),
        Ok(Err(why)) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "Watchpost is stopping.\n").into_response(),
    }
}
