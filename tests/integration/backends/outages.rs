//! Answers that do not come, or not whole, and backends that are away.

use super::*;

#[test]
fn an_answer_of_a_byte_a_second_is_none() {
    passes(2, |_| Verdict::Lose(Loss::Slow));
}

#[test]
fn an_answer_that_stalls_behind_its_head_is_none() {
    passes(2, |_| Verdict::Lose(Loss::Stall));
}

#[test]
fn a_backend_that_takes_and_never_answers_gets_it_again() {
    let rig = passes(2, |_| Verdict::Lose(Loss::Silence));
    for (name, backend) in rig.bad() {
        // The timeout is a second, and nobody waits much longer.
        let all = backend.requests();
        let gap = all[1].0 - all[0].0;
        assert!(gap >= Duration::from_secs(1), "{name} {gap:?}");
    }
}

#[test]
fn a_connection_reset_within_an_answer() {
    passes(3, |_| Verdict::Lose(Loss::Reset));
}

#[test]
fn a_connection_reset_before_an_answer() {
    passes(3, |_| Verdict::Cut);
}

/// Some answers are good in between: what was taken over does not come again.
#[test]
fn faults_that_come_and_go() {
    let turns = [Loss::Reset, Loss::Silence, Loss::Slow].map(Verdict::Lose);
    passes(4, move |asked| match asked.number % 5 {
        1 => Verdict::Cut,
        3 => turns[asked.number / 5 % turns.len()].clone(),
        4 => refuse(503, "not now"),
        _ => Verdict::Take,
    });
}

/// The protocol's own way to end a connection costs nothing: HTTP/2's GOAWAY, `Connection: close`.
#[test]
fn a_connection_that_ends_after_each_answer_loses_nothing() {
    let mut rig = Rig::start(3, each_way(|_| Verdict::Goodbye));
    for (name, backend) in rig.bad() {
        until(name, || (backend.requests().len() >= 15).then_some(()));
    }
    rig.assert_whole();
}

#[test]
fn a_backend_that_refuses_connections_and_comes_back() {
    let mut rig = Rig::start(3, each_way(|_| Verdict::Take));
    for times in 1..=2 {
        for (name, backend) in rig.bad() {
            until(name, || (backend.requests().len() >= 2 * times).then_some(()));
            backend.be(false);
        }
        for (name, _) in rig.bad() {
            let retried = || requests(&rig.daemon.metrics(), name, "retried");
            let before = retried();
            until(name, || (retried() >= before + 3.0).then_some(()));
        }
        rig.bad().for_each(|(_, backend)| backend.be(true));
    }
    rig.assert_whole();
}

/// What has piled up comes in large batches, each series in its order.
#[test]
fn a_backend_that_was_away_for_long_gets_everything_in_order() {
    let batches = ", sending_queue: {batch: {flush_timeout: 100ms, min_size: 500, max_size: 500}}";
    let pace = PACE.split(", sending_queue").next().unwrap();
    let away = |way| ("away", "", Backend::start(way, |_| Verdict::Take));
    let backends = WAYS.map(away);
    backends.iter().for_each(|(.., backend)| backend.be(false));
    let mut rig = Rig::start_at(&format!("{pace}{batches}"), 40, backends.into());
    for (name, _) in rig.bad() {
        let queued = || Books::of(&rig.daemon.metrics(), name).queued;
        within(Duration::from_secs(90), name, || (queued() >= 4_000.0).then_some(()));
    }
    rig.bad().for_each(|(_, backend)| backend.be(true));
    for (name, backend) in rig.bad() {
        let full = || backend.requests().iter().filter(|(_, points, _)| *points == 500).count();
        until(name, || (full() >= 7).then_some(()));
    }
    rig.assert_whole();
}

/// How long samples took from their slot to the backend, in milliseconds, sorted.
fn delays(backend: &Backend) -> Vec<i64> {
    let is = |p: &&Point| p.name == "probe_success" && !p.stale;
    let mut all: Vec<i64> = backend.points().iter().filter(is).map(|p| p.came - p.time).collect();
    all.sort_unstable();
    all
}

#[test]
fn a_good_backend_waits_for_no_bad_neighbour() {
    let observe = |backends| {
        let rig = Rig::start(5, backends);
        let enough = || delays(rig.good());
        until("fifty samples", || (enough().len() >= 50).then_some(()));
        let delays = enough();
        (delays[delays.len() / 2], delays[delays.len() - 1])
    };
    let alone = observe(Vec::new());
    let scripts: [fn(&Asked) -> Verdict; 6] = [
        |_| Verdict::Lose(Loss::Silence),
        |_| Verdict::Lose(Loss::Slow),
        |_| Verdict::Lose(Loss::Stall),
        |_| Verdict::Cut,
        |_| refuse(503, "not now"),
        |_| refuse(413, "larger than max"),
    ];
    let names = ["a", "b", "c", "d", "e", "f"];
    let bad = names.into_iter().zip(scripts);
    let bad =
        bad.flat_map(|(name, script)| WAYS.map(|way| (name, "", Backend::start(way, script))));
    let beside = observe(bad.collect());
    let (median, worst) = (alone.0 * 2 + 500, alone.1 * 2 + 3_000);
    assert!(beside.0 <= median && beside.1 <= worst, "alone {alone:?}, beside them {beside:?} ms");
}

const RELOADED: &str = "watchpost_config_last_reload_success_timestamp_seconds";

/// The processors of a pipeline change again and again while its exporters send, and while they cannot: each probe has
/// its sample, once, and the books stay exact.
#[test]
fn processors_change_under_load() {
    let backend = |way| ("moody", "", Backend::start(way, |_| Verdict::Take));
    let mut rig = Rig::start(10, WAYS.map(backend).into());
    let plain = std::fs::read_to_string(&rig.config).unwrap();
    let exporters = rig.backends.keys().cloned().collect::<Vec<_>>().join(", ");
    let processors = [
        "filter/a: {error_mode: ignore, metrics: {metric: ['name == \"probe.duration\"']}}",
        "attributes/b: {actions: [{action: insert, key: round, value: two}]}",
        "filter/c: {metrics: {datapoint: ['attributes[\"phase\"] == \"connect\"']}}",
    ];
    let listed =
        ["", "filter/a", "filter/a, attributes/b", "filter/c, attributes/b", "attributes/b"];
    for round in 0..12 {
        let pipeline = format!(
            "processors: {{{}}}\nservice: {{pipelines: {{metrics: {{receivers: [probe], processors: [{}], \
             exporters: [{exporters}]}}}}, ",
            processors.join(", "),
            listed[round % listed.len()]
        );
        std::fs::write(&rig.config, plain.replace("service: {", &pipeline)).unwrap();
        rig.bad().for_each(|(_, backend)| backend.be(round % 3 != 1));
        let reloads = || rig.daemon.metrics().get(RELOADED).copied().unwrap_or_default();
        let before = reloads();
        rig.daemon.signal("-HUP");
        until("the reload", || (reloads() > before).then_some(()));
        std::thread::sleep(Duration::from_millis(700));
    }
    rig.bad().for_each(|(_, backend)| backend.be(true));
    rig.assert_whole();
    let points = rig.good().points();
    let of =
        |round: bool| points.iter().filter(|p| p.labels.contains_key("round") == round).count();
    assert!(of(true) > 0 && of(false) > 0, "{} {}", of(true), of(false));
}
