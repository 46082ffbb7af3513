use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use watchpost_targets::{Labels, Origin};

use super::*;
use crate::net::resolve::Family;
use crate::probe::address;
use crate::probe::module::{Icmp, Module, Prober};
use crate::probe::plan::TargetKey;
use crate::signal::outcome::{Phases, Skip};

const SLOT: Timestamp = Timestamp(1_000_000_000_000);

fn plan() -> (ReceiverPlan, PlannedTarget) {
    let family = Family { prefer_ip6: false, fallback: true };
    let prober = Prober::Icmp(Icmp { family, source: None, payload_size: 0, ttl: None });
    let module = Arc::new(Module { name: "icmp".into(), timeout: None, prober });
    let plan = PlannedTarget {
        name: Some("web".to_owned()),
        group: None,
        expected: true,
        key: TargetKey { address: "127.0.0.1".into(), module: "icmp".into() },
        address: address::host("127.0.0.1").expect("a host"),
        module,
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(2),
        labels: Labels::from([("humanname".into(), "me".into())]),
        origin: Origin { file: "f".into(), line: 1 },
    };
    let receiver = ReceiverPlan {
        name: "probe/x".into(),
        job: "x".into(),
        vantage: "home".into(),
        disabled: crate::signal::names::off_by_default(),
        targets: BTreeMap::new(),
    };
    (receiver, plan)
}

fn outcome(verdict: Verdict) -> SlotResult {
    let mut phases = Phases::default();
    phases.add(Phase::Resolve, Duration::from_micros(1));
    if verdict.is_up() {
        phases.add(Phase::Rtt, Duration::from_micros(40));
    }
    SlotResult::Outcome(Box::new(Outcome {
        verdict,
        detail: "".into(),
        started: SLOT,
        duration: Duration::from_micros(50),
        phases,
        lookup: Some(Duration::from_micros(1)),
        address: Some(IpAddr::from([127, 0, 0, 1])),
        failed_due_to_regex: None,
        http: None,
        tls: None,
        icmp: None,
    }))
}

const DOWN: Verdict = Verdict::Down { reason: Reason::IcmpTimeout, phase: Phase::Rtt };

fn texts(samples: &[Sample]) -> Vec<String> {
    let mut list: Vec<String> = samples
        .iter()
        .map(|s| {
            let value = match s.value {
                Value::Double(n) => n.to_string(),
                Value::Int(n) => n.to_string(),
                _ => "stale".to_owned(),
            };
            let own: Vec<String> = s.series.own.iter().map(|(_, v)| v.to_string()).collect();
            format!("{}{own:?}@{}={value}", s.series.metric.name, s.time.0 / 1_000_000_000)
        })
        .collect();
    list.sort();
    list
}

#[test]
fn a_phase_that_did_not_happen_ends_with_a_stale_marker_once() {
    let (receiver, plan) = plan();
    let mut published = Published::new(&receiver, &plan, SLOT, &Counts::default());
    let mut out = Vec::new();
    published.slot(&plan, Kind::Scheduled, SLOT, &outcome(Verdict::Up), &mut out);
    assert!(
        texts(&out).contains(&"probe.icmp.duration[\"rtt\"]@1000=0.00004".to_owned()),
        "{:?}",
        texts(&out)
    );
    assert!(out.len() <= 15);
    assert!(out.iter().all(|s| s.series.attributes().contains(&("humanname", &"me".into()))));
    assert!(out.iter().all(|s| s.series.attributes().contains(&("vantage", &"home".into()))));
    for (expected, due) in [(1, 1015), (0, 1030)] {
        let mut out = Vec::new();
        published.slot(
            &plan,
            Kind::Scheduled,
            Timestamp(due * 1_000_000_000),
            &outcome(DOWN),
            &mut out,
        );
        let stale = out.iter().filter(|s| s.value == Value::Stale).count();
        assert_eq!(stale, expected, "{:?}", texts(&out));
    }
}

#[test]
fn the_first_failure_is_born_with_a_zero() {
    let (receiver, plan) = plan();
    let long_ago = Timestamp(SLOT.0 - 100_000_000_000);
    let mut published = Published::new(&receiver, &plan, long_ago, &Counts::default());
    let mut out = Vec::new();
    published.slot(&plan, Kind::First, SLOT, &outcome(DOWN), &mut out);
    assert!(out.is_empty(), "only scheduled slots write");
    published.slot(&plan, Kind::Scheduled, SLOT, &outcome(DOWN), &mut out);
    let texts = texts(&out);
    for expected in [
        "probe.failures[\"rtt\", \"icmp_timeout\"]@985=0",
        "probe.failures[\"rtt\", \"icmp_timeout\"]@1000=2",
        "probe.attempts[\"first\"]@1000=1",
        "probe.attempts[\"scheduled\"]@1000=1",
        "probe.success[]@1000=0",
    ] {
        assert!(texts.contains(&expected.to_owned()), "{expected} in {texts:?}");
    }
    // A process that has begun since does not write where another one may have written.
    let just_now = Timestamp(SLOT.0 - 2_000_000_000);
    let mut published = Published::new(&receiver, &plan, just_now, &Counts::default());
    out.clear();
    published.slot(&plan, Kind::Scheduled, SLOT, &outcome(DOWN), &mut out);
    let born = out.iter().find(|s| s.series.metric.name == "probe.failures").map(|s| s.time);
    assert_eq!(born, Some(just_now));
}

#[test]
fn time_not_watched_is_never_up() {
    let (receiver, plan) = plan();
    let mut published = Published::new(&receiver, &plan, SLOT, &Counts::default());
    let mut out = Vec::new();
    published.slot(&plan, Kind::Scheduled, SLOT, &outcome(Verdict::Up), &mut out);
    let gauges = out.iter().filter(|s| s.start.is_none()).count() - 1; // all but target_info
    out.clear();
    let skipped = SlotResult::Skipped(Skip::Suspended, String::new());
    let next = |n: u64| Timestamp(SLOT.0 + n * 15_000_000_000);
    published.slot(&plan, Kind::Scheduled, next(1), &skipped, &mut out);
    assert_eq!(out.len(), gauges);
    assert!(out.iter().all(|s| s.value == Value::Stale));
    out.clear();
    published.slot(&plan, Kind::Scheduled, next(2), &skipped, &mut out);
    assert!(out.is_empty(), "once is enough");
    // An attempt that ends after a later slot was skipped is counted, and writes nothing older.
    published.slot(&plan, Kind::Scheduled, SLOT, &outcome(Verdict::Up), &mut out);
    assert!(out.is_empty());
    published.slot(&plan, Kind::Scheduled, next(3), &outcome(Verdict::Up), &mut out);
    assert!(
        texts(&out).iter().any(|t| t == "probe.attempts[\"scheduled\"]@1045=3"),
        "{:?}",
        texts(&out)
    );
}

#[test]
fn counters_outlive_new_labels_and_every_written_series_ends() {
    let (receiver, mut plan) = plan();
    let mut published = Published::new(&receiver, &plan, SLOT, &Counts::default());
    let mut first = Vec::new();
    published.slot(&plan, Kind::Scheduled, SLOT, &outcome(DOWN), &mut first);
    plan.labels.insert("humanname".into(), "other".into());
    let mut next = Published::new(&receiver, &plan, SLOT, &published.counts());
    let mut ended = Vec::new();
    published.end(SLOT, &mut ended);
    let distinct: std::collections::BTreeSet<_> = first.iter().map(|s| s.series.id).collect();
    assert_eq!(ended.len(), distinct.len());
    let mut out = Vec::new();
    next.slot(&plan, Kind::Scheduled, SLOT, &outcome(DOWN), &mut out);
    // Without a 0 before it: what was counted under the old name is no failure of now.
    let failures: Vec<String> =
        texts(&out).into_iter().filter(|t| t.starts_with("probe.failures")).collect();
    assert_eq!(failures, ["probe.failures[\"rtt\", \"icmp_timeout\"]@1000=2"]);
}

#[test]
fn a_metric_can_be_switched_off() {
    let (mut receiver, plan) = plan();
    receiver.disabled =
        BTreeSet::from(["probe.ip_addr_hash".to_owned(), "probe.target_info".to_owned()]);
    let mut published = Published::new(&receiver, &plan, SLOT, &Counts::default());
    let mut out = Vec::new();
    published.slot(&plan, Kind::Scheduled, SLOT, &outcome(Verdict::Up), &mut out);
    assert!(!texts(&out).iter().any(|t| t.contains("hash") || t.contains("info")));
}

#[test]
fn certificates_that_never_stay_make_twenty_series_an_hour() {
    let (receiver, plan) = plan();
    let mut published = Published::new(&receiver, &plan, SLOT, &Counts::default());
    let mut samples = Vec::new();
    let at = |n: u64| Timestamp(SLOT.0 + n * 15_000_000_000);
    let mut show = |n: u64, serial: u64, samples: &mut Vec<Sample>| {
        let SlotResult::Outcome(mut outcome) = outcome(Verdict::Up) else { unreachable!() };
        outcome.tls = Some(Box::new(crate::signal::outcome::Tls {
            fingerprint_sha256: format!("{serial:x}"),
            ..Default::default()
        }));
        samples.clear();
        published.slot(&plan, Kind::Scheduled, at(n), &SlotResult::Outcome(outcome), samples);
        let info = |s: &&Sample| {
            s.series.metric.name == PROBE_SSL_LAST_CHAIN_INFO.name && s.value != Value::Stale
        };
        samples.iter().filter(info).count()
    };
    let shown: usize = (0..200).map(|n| show(n, n, &mut samples)).sum();
    assert_eq!(shown, 20);
    assert_eq!(show(200, 3, &mut samples), 1, "one that was admitted comes back");
    assert_eq!(show(245, 1_000, &mut samples), 1, "an hour later others are admitted");
}
