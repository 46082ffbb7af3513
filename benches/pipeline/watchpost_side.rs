//! Watchpost beside vmagent: ring, chain, queue and exporter with the threads that they have in the
//! daemon, in a process of its own. Watchpost receives no remote write: the receiver is this bench's,
//! and stands for a source.

use std::collections::HashMap;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use watchpost::base::clock::{self, Timestamp};
use watchpost::exporter::deliver::Duty;
use watchpost::exporter::prometheus_remote_write::exporter;
use watchpost::net::resolve::Resolver;
use watchpost::net::tls::TlsClient;
use watchpost::pipeline::graph::Pipeline;
use watchpost::pipeline::ring::{self, Ring};
use watchpost::pipeline::selfmetrics::{Counter, Meter};
use watchpost::pipeline::stage::Sink;
use watchpost::queue::books::Books;
use watchpost::queue::cursor::Cursor;
use watchpost::queue::log::{Log, Surroundings};
use watchpost::signal::batch::{Batch, Sample};
use watchpost::signal::series::{Attributes, Resource, Series};
use watchpost::wire::remote_write::{Label, WriteRequest};

use crate::data::{self, World};
use crate::sink;

/// The first argument of the process.
pub(super) const ROLE: &str = "watchpost-side";
/// How long it waits when enough samples are under way.
const REST: Duration = Duration::from_millis(5);

/// Says where it takes remote write; then makes samples when a line of its input says how many.
pub(super) fn run(sink: &str, series: usize) {
    let plan = data::plan(sink);
    let meter = Arc::new(Meter::new(Resource::new("watchpost", "bench", []), clock::wall()));
    let batching = plan.pipelines[0].batching.unwrap_or_default();
    let books = Books::new(&meter, "prometheus_remote_write", "metrics");
    let surroundings =
        Surroundings { boot_id: 1, synchronized: || true, meter: Arc::clone(&meter) };
    let log = Arc::new(Log::in_memory("metrics", surroundings.clone()));
    let queue = Cursor::new(&log, books, batching, None);
    queue.open();
    let dropped = Counter::default();
    let ring = Arc::new(Ring::new(ring::DEFAULT_SAMPLES, dropped.clone()));
    let sinks: Vec<Arc<dyn Sink>> = vec![Arc::clone(&log) as _];
    let chain = data::chain(&plan, true);
    let _pipeline =
        Pipeline::start("metrics", Arc::clone(&ring), chain, sinks, Counter::default()).unwrap();

    let duty = Duty {
        name: "prometheus_remote_write".to_owned(),
        pipeline: "metrics".to_owned(),
        queue: Arc::clone(&queue),
        quarantine: None,
        surroundings,
        health: Arc::default(),
        meter,
        hurry: CancellationToken::new(),
        leave: CancellationToken::new(),
    };
    let settings = data::remote_write(&plan);
    let resolver = Resolver::new(plan.resolver.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let tls = TlsClient::load(settings.client.tls.clone(), &[b"http/1.1"]).await.unwrap();
            exporter(settings, (resolver, tls), None, duty).await;
        });
    });

    let (mut known, way_in) = (Known::default(), Arc::clone(&ring));
    let address = sink::receive(move |request, _| way_in.offer(known.batch(request)));
    println!("{address}");
    let mut world = World::new(series);
    for line in std::io::stdin().lock().lines() {
        let wanted: usize = line.unwrap().trim().parse().unwrap();
        let mut made = 0;
        while made < wanted {
            for batch in world.scrape() {
                made += batch.len();
                while ring.len() + queue.len() + batch.len() > ring::DEFAULT_SAMPLES {
                    std::thread::sleep(REST);
                }
                ring.offer(batch);
            }
        }
        println!("{made}");
        std::io::stdout().flush().unwrap();
    }
    if dropped.get() > 0 {
        eprintln!("{} samples were dropped", dropped.get());
    }
}

/// The series that have been received, by their labels.
#[derive(Default)]
struct Known {
    series: HashMap<String, Arc<Series>>,
    hosts: HashMap<String, Arc<Resource>>,
    key: String,
}

impl Known {
    fn batch(&mut self, request: WriteRequest) -> Batch {
        let mut samples = Vec::with_capacity(request.timeseries.len());
        for received in &request.timeseries {
            self.key.clear();
            for label in &received.labels {
                for part in [&label.name, &label.value] {
                    self.key.push_str(part);
                    self.key.push('\0');
                }
            }
            let series = match self.series.get(&self.key) {
                Some(series) => Arc::clone(series),
                None => self.learn(&received.labels),
            };
            for sample in &received.samples {
                let time = Timestamp(sample.timestamp as u64 * 1_000_000);
                samples.push(Sample::number(&series, time, sample.value));
            }
        }
        Batch { samples, lifetime: None }
    }

    fn learn(&mut self, labels: &[Label]) -> Arc<Series> {
        let value = |name: &str| labels.iter().find(|label| label.name == name);
        let metric = match value("__name__").map(|label| label.value.as_str()) {
            Some("system_cpu_utilization_ratio") => &data::CPU,
            Some("system_network_connections") => &data::CONNECTIONS,
            _ => &data::FILESYSTEM,
        };
        let host = value("host_name").map(|label| label.value.clone()).unwrap_or_default();
        let resource = self.hosts.entry(host.clone()).or_insert_with(|| {
            let attributes = Attributes::new([("host.name", host)]);
            Arc::new(Resource { attributes })
        });
        let own = labels.iter().filter(|label| !matches!(&*label.name, "__name__" | "host_name"));
        let own = Attributes::new(own.map(|label| (label.name.as_str(), label.value.as_str())));
        let series = Series::new(metric, Attributes::default(), own, Arc::clone(resource));
        self.series.insert(self.key.clone(), Arc::clone(&series));
        series
    }
}
