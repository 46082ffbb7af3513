//! What goes through: the host metrics that the first seed's filter is written for, and its chains.

use std::sync::Arc;

use watchpost::base::clock::Timestamp;
use watchpost::config::plan::{ExporterSettings, Plan, ProcessorSettings};
use watchpost::config::{self, Environment, Sources, Strictness};
use watchpost::exporter::prometheus_remote_write::settings::Settings as RemoteWrite;
use watchpost::pipeline::chain::{Chain, Stage};
use watchpost::pipeline::memory::Memory;
use watchpost::pipeline::selfmetrics::Counter;
use watchpost::pipeline::stage::Processor;
use watchpost::processor::filter::Filter;
use watchpost::processor::memory_limiter::MemoryLimiter;
use watchpost::processor::resource_detection::{Facts, ResourceDetection};
use watchpost::signal::batch::{Batch, Sample, Value};
use watchpost::signal::series::{Attributes, Kind, Metric, Resource, Series};

/// A real user's configuration.
const FIRST_SEED: &str = include_str!("../../tests/cases/first_seed.yaml");
/// Where it sends to.
const ENDPOINT: &str = "https://openobserve.invalid";
/// Its receivers, and a stand-in for them that every build has: nothing is asked of it.
const RECEIVERS: &str = "[hostmetrics, hostmetrics/fs]";
const STAND_IN: &str = "receivers:\n  probe: {targets: [\"127.0.0.1:1\"]}\n";

pub(super) static CPU: Metric = Metric {
    name: "system.cpu.utilization",
    unit: "1",
    kind: Kind::Gauge,
    description: "Difference in system.cpu.time since the last measurement per logical CPU.",
    attributes: &["cpu", "state"],
};
pub(super) static CONNECTIONS: Metric = Metric {
    name: "system.network.connections",
    unit: "{connections}",
    kind: Kind::UpDownCounter,
    description: "The number of connections.",
    attributes: &["protocol", "state"],
};
pub(super) static FILESYSTEM: Metric = Metric {
    name: "system.filesystem.utilization",
    unit: "1",
    kind: Kind::Gauge,
    description: "Fraction of filesystem bytes used.",
    attributes: &["device", "mode", "mountpoint", "type"],
};

const CPU_STATES: [&str; 8] =
    ["idle", "interrupt", "nice", "softirq", "steal", "system", "user", "wait"];
const CONNECTION_STATES: [&str; 12] = [
    "CLOSE",
    "CLOSE_WAIT",
    "CLOSING",
    "DELETE",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "LAST_ACK",
    "LISTEN",
    "SYN_RECV",
    "SYN_SENT",
    "TIME_WAIT",
];
const MOUNTS: [(&str, &str); 6] = [
    ("/dev/mmcblk0p2", "/"),
    ("/dev/mmcblk0p1", "/boot/firmware"),
    ("/dev/sda1", "/srv"),
    ("/dev/sdb1", "/srv/media"),
    ("/dev/sdb2", "/srv/backup"),
    ("/dev/sdc1", "/mnt/usb"),
];
const CPUS: usize = 4;

/// Series of one host, and how many of them the first seed's filter lets through.
pub(super) const HOST: usize = CPUS * CPU_STATES.len() + CONNECTION_STATES.len() + MOUNTS.len();
pub(super) const HOST_KEPT: usize = CPUS * (CPU_STATES.len() - 4) + 2 + MOUNTS.len();

/// Hosts with their series.
pub(super) struct World {
    pub(super) hosts: Vec<Vec<Arc<Series>>>,
    noise: u64,
    time: u64,
}

impl World {
    pub(super) fn new(series: usize) -> Self {
        let hosts = (0..series.div_ceil(HOST)).map(host).collect();
        Self { hosts, noise: 1, time: 1_790_000_000_000_000_000 }
    }

    /// What all hosts say the next time, one batch for each.
    pub(super) fn scrape(&mut self) -> Vec<Batch> {
        self.time += 15_000_000_000;
        let time = Timestamp(self.time);
        let mut noise = self.noise;
        let batch = |host: &Vec<Arc<Series>>| {
            let sample = |series: &Arc<Series>| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let value = match series.metric.kind {
                    Kind::UpDownCounter => Value::Int((noise >> 58) as i64),
                    _ => Value::Double((noise >> 11) as f64 / (1_u64 << 53) as f64),
                };
                Sample { series: Arc::clone(series), start: None, time, value }
            };
            Batch { samples: host.iter().map(sample).collect(), lifetime: None }
        };
        let batches = self.hosts.iter().map(batch).collect();
        self.noise = noise;
        batches
    }
}

fn host(number: usize) -> Vec<Arc<Series>> {
    let name = format!("node-{number:05}");
    let resource =
        Arc::new(Resource { attributes: Attributes::new([("host.name", name.as_str())]) });
    let series = |metric, own: &[(&str, &str)]| {
        let own = Attributes::new(own.iter().copied());
        Series::new(metric, Attributes::default(), own, Arc::clone(&resource))
    };
    let mut list: Vec<Arc<Series>> = Vec::with_capacity(HOST);
    for cpu in 0..CPUS {
        let cpu = format!("cpu{cpu}");
        for state in CPU_STATES {
            list.push(series(&CPU, &[("cpu", cpu.as_str()), ("state", state)]));
        }
    }
    for state in CONNECTION_STATES {
        list.push(series(&CONNECTIONS, &[("protocol", "tcp"), ("state", state)]));
    }
    for (device, mount) in MOUNTS {
        let own = [("device", device), ("mode", "rw"), ("mountpoint", mount), ("type", "ext4")];
        list.push(series(&FILESYSTEM, &own));
    }
    list
}

fn seed() -> String {
    let processors = FIRST_SEED.find("processors:").unwrap();
    format!("{STAND_IN}{}", FIRST_SEED[processors..].replace(RECEIVERS, "[probe]"))
}

/// The first seed, sending to this address on loopback.
pub(super) fn plan(to: &str) -> Plan {
    load(&seed().replace(ENDPOINT, &format!("http://{to}")))
}

/// The first seed with this condition before its own, or in place of them.
pub(super) fn with_condition(condition: &str, alone: bool) -> Plan {
    let key = "      datapoint:\n";
    let seed = seed();
    let (head, tail) = seed.split_once(key).unwrap();
    let rest = if alone { &tail[tail.find("  batch/metrics").unwrap()..] } else { tail };
    load(&format!("{head}{key}        - '{condition}'\n{rest}"))
}

fn load(text: &str) -> Plan {
    let environment =
        Environment::from([("ORG", "home"), ("TOKEN", "abc")].map(|(k, v)| (k.into(), v.into())));
    let sources = Sources { configs: vec![format!("yaml:{text}")], sets: Vec::new() };
    let loaded = config::load(&sources, &environment, Strictness::Run);
    loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

/// How a plan's exporter writes.
pub(super) fn remote_write(plan: &Plan) -> RemoteWrite {
    let found = plan.exporters.values().find_map(|exporter| match &exporter.settings {
        ExporterSettings::RemoteWrite(settings) => Some((**settings).clone()),
        _ => None,
    });
    found.expect("the first seed has one")
}

/// The chain of a plan's only pipeline: all of it, or its filter alone.
pub(super) fn chain(plan: &Plan, filter_alone: bool) -> Chain {
    // What the machine says of itself: a Raspberry Pi, and the hosts have their names already.
    let facts = Arc::new(Facts::default());
    facts.set(vec![("host.name".into(), "pi".into()), ("os.type".into(), "linux".into())]);
    let stage = |name: &String| {
        let processor: Box<dyn Processor> = match &plan.processors[name].settings {
            ProcessorSettings::Filter(settings) => {
                Box::new(Filter::new(name, Arc::clone(settings)))
            }
            _ if filter_alone => return None,
            ProcessorSettings::MemoryLimiter(settings) => {
                Box::new(MemoryLimiter::new(name, *settings, 1 << 32, Arc::new(Memory::default())))
            }
            ProcessorSettings::ResourceDetection(settings) => {
                Box::new(ResourceDetection::new(settings.overrides, Arc::clone(&facts)))
            }
            // `batch` is no step of its own.
            _ => return None,
        };
        Some(Stage { processor, dropped: Counter::default() })
    };
    Chain::new(plan.pipelines[0].processors.iter().filter_map(stage).collect())
}
