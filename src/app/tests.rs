use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::base::clock::Timestamp;
use crate::config::plan::{ExporterSettings, ProcessorSettings};
use crate::config::{self, Environment, Sources, Strictness};
use crate::exporter::prometheus_remote_write::Translator;
use crate::pipeline::chain::{Chain, Stage};
use crate::pipeline::memory::Memory;
use crate::pipeline::selfmetrics::Counter;
use crate::processor::resource_detection::Facts;
use crate::signal::batch::{Batch, Sample};
use crate::signal::names::host::{CPU_UTILIZATION, FILESYSTEM_UTILIZATION, NETWORK_CONNECTIONS};
use crate::signal::series::{Attributes, Resource, Series};
use crate::wire::remote_write::decode;

fn load(text: &str) -> Plan {
    let environment =
        Environment::from([("ORG", "home"), ("TOKEN", "abc")].map(|(k, v)| (k.into(), v.into())));
    let sources = Sources { configs: vec![format!("yaml:{text}")], sets: Vec::new() };
    let loaded = config::load(&sources, &environment, Strictness::Run);
    loaded.plan.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

/// The chain of a plan's only pipeline, with facts that a test makes up.
fn chain(plan: &Plan) -> Chain {
    let facts = Arc::new(Facts::default());
    facts.set(vec![("host.name".into(), "pi".into())]);
    let names = plan.processors.iter();
    let detection =
        names.filter(|(_, p)| matches!(p.settings, ProcessorSettings::ResourceDetection(_)));
    let facts = detection.map(|(name, _)| (name.clone(), Arc::clone(&facts))).collect();
    let tools = catalog::Tools {
        memory: &Arc::new(Memory::default()),
        total_memory: 1 << 30,
        facts: &facts,
        authenticators: &BTreeMap::new(),
        resolver: &Resolver::new(plan.resolver.clone()),
    };
    let stage = |name: &String| {
        let processor = catalog::processor(name, &plan.processors[name].settings, &tools)?;
        Some(Stage { processor, dropped: Counter::default() })
    };
    Chain::new(plan.pipelines[0].processors.iter().filter_map(stage).collect())
}

/// What the first seed's configuration lets through of host metrics, under the names and labels that
/// it has in Prometheus.
fn out_of(text: &str) -> Vec<String> {
    let plan = load(text);
    let mut chain = chain(&plan);
    let resource = Arc::new(Resource { attributes: Attributes::default() });
    let sample = |metric, pairs: &[(&str, &str)], value| {
        let own = Attributes::new(pairs.iter().copied());
        let series = Series::new(metric, Attributes::default(), own, Arc::clone(&resource));
        Sample::number(&series, Timestamp(1_000_000_000), value)
    };
    let samples = vec![
        sample(&CPU_UTILIZATION, &[("cpu", "cpu0"), ("state", "idle")], 0.5),
        sample(&CPU_UTILIZATION, &[("cpu", "cpu0"), ("state", "nice")], 0.1),
        sample(&CPU_UTILIZATION, &[("cpu", "cpu0"), ("state", "steal")], 0.1),
        sample(&NETWORK_CONNECTIONS, &[("protocol", "tcp"), ("state", "LISTEN")], 3.0),
        sample(&NETWORK_CONNECTIONS, &[("protocol", "tcp"), ("state", "TIME_WAIT")], 9.0),
        sample(&FILESYSTEM_UTILIZATION, &[("mountpoint", "/")], 0.25),
    ];
    let now = clock::now().boot;
    let batch = chain.process(Batch { samples, lifetime: None }, now).expect("nothing is refused");
    let exporter = plan.exporters.values().find_map(|exporter| match &exporter.settings {
        ExporterSettings::RemoteWrite(settings) => Some(settings),
        _ => None,
    });
    let exporter = exporter.expect("remote write");
    assert_eq!(exporter.endpoint.path(), "/api/home/prometheus/api/v1/write");
    let body = Translator::new(&exporter.identity).encode(&batch.samples);
    let request = decode(&body).expect("a request");
    let series = request.timeseries.iter().map(|series| {
        let labels = series.labels.iter().map(|label| format!("{}={}", label.name, label.value));
        format!("{} {}", labels.collect::<Vec<_>>().join(","), series.samples[0].value)
    });
    series.collect()
}

const EXPECTED: [&str; 3] = [
    "__name__=system_cpu_utilization_ratio,cpu=cpu0,host_name=pi,state=idle 0.5",
    "__name__=system_network_connections,host_name=pi,protocol=tcp,state=LISTEN 3",
    "__name__=system_filesystem_utilization_ratio,host_name=pi,mountpoint=/ 0.25",
];

#[test]
fn the_first_seed_gives_the_same_series() {
    assert_eq!(out_of(include_str!("../../tests/cases/first_seed.yaml")), EXPECTED);
}

#[test]
fn the_first_seed_as_it_is() {
    let Some(inputs) = facts::environment().get("WATCHPOST_INPUTS").cloned() else {
        return skipped("the_first_seed_as_it_is", "WATCHPOST_INPUTS is not set");
    };
    let path = Path::new(&inputs).join("otel/first-seed/config.yaml");
    let text = crate::base::fs::read_text(&path, 1 << 20).expect("the first seed");
    // Its variables have names of its own.
    let text = text.replace("OPEN_OBSERVE_ORG", "ORG").replace("OPEN_OBSERVE_TOKEN", "TOKEN");
    assert_eq!(out_of(&text), EXPECTED);
}

fn skipped(name: &str, why: &str) {
    use std::io::Write as _;
    let line = format!("skipped {name}: {why}");
    println!("{line}");
    if let Some(path) = facts::environment().get("WATCHPOST_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }
}
