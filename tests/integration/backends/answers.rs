//! Answers that say no.

use super::*;

#[test]
fn a_storm_of_429_is_waited_out_as_long_as_it_asks() {
    let rig = passes(3, |_| Verdict::Refuse(429, "slow down", Some(1), &[]));
    for (name, backend) in rig.bad() {
        let all = backend.requests();
        for pair in all.windows(2).filter(|pair| !pair[0].2) {
            let gap = pair[1].0 - pair[0].0;
            assert!(gap >= Duration::from_millis(950), "{name} {gap:?}");
            assert_eq!(pair[0].1, pair[1].1, "{name}: the same batch comes again");
        }
    }
}

#[test]
fn a_storm_of_503_ends_in_no_storm_of_ours() {
    let rig = passes(8, |_| refuse(503, "<html>not now</html>"));
    for (name, backend) in rig.bad() {
        let all = backend.requests();
        let refused: Vec<_> = all.iter().filter(|(.., good)| !good).collect();
        let took = refused[refused.len() - 1].0 - refused[0].0;
        // From 100 ms to 300 ms, give or take a half.
        let least = Duration::from_millis(50) * (refused.len() as u32 - 1);
        assert!(took >= least, "{name}: {} tries within {took:?}", refused.len());
    }
}

/// What is refused, and why: the samples that say whether a target is up, and nothing else.
fn poisons(asked: &Asked) -> bool {
    asked.is_about("poison")
}

/// Everything but the poison has come, and the poison is counted as refused.
fn assert_all_but_poison(rig: &mut Rig, within_time: Duration) {
    let is_poison = |p: &Point| p.name == "probe_success" && p.target() == "poison";
    let names: Vec<String> = rig.backends.keys().cloned().collect();
    for name in &names {
        let queued = || Books::of(&rig.daemon.metrics(), name).queued;
        within(within_time, name, || (queued() == 0.0).then_some(()));
        rig.settled(name);
        rig.assert_exact(name);
    }
    let good = rig.good().points();
    let poison = good.iter().filter(|p| is_poison(p)).count();
    assert!(poison > 0);
    for (name, backend) in rig.bad() {
        let books = Books::of(&rig.daemon.metrics(), name);
        assert_eq!((books.rejected, books.dropped), (poison as f64, 0.0), "{name} {books:?}");
        assert_eq!(backend.points().len() + poison, good.len(), "{name}");
        assert!(!backend.points().iter().any(is_poison), "{name}");
    }
    assert_eq!(rig.daemon.stop(), 0, "{}", rig.daemon.log());
}

#[test]
fn samples_out_of_order_are_found_and_cost_no_others() {
    let mut rig = Rig::start(
        4,
        each_way(|asked| match poisons(asked) {
            true => refuse(400, "out of order sample for series up"),
            false => Verdict::Take,
        }),
    );
    rig.suffer(10);
    rig.rest();
    assert_all_but_poison(&mut rig, Duration::from_secs(30));
}

/// A backend that stumbles over a sample, and says nothing of use, for as long as that sample comes. There is no
/// word in gRPC for that: INTERNAL is said of requests that must not come again.
#[test]
fn a_sample_over_which_a_backend_stumbles_is_put_aside() {
    let script = |asked: &Asked| match poisons(asked) {
        true => refuse(500, "internal error"),
        false => Verdict::Take,
    };
    let bad = [Way::Write, Way::Http].map(|way| ("bad", "", Backend::start(way, script)));
    let mut rig = Rig::start(4, bad.into());
    rig.suffer(3);
    // The poison is over, and whatever comes later would be taken.
    let left: Vec<String> = rig
        .probed
        .iter()
        .filter(|(name, _)| *name != "poison")
        .map(|(name, server)| format!("'{};{name}'", server.address))
        .collect();
    write(rig.folder.path(), "t.yaml", &format!("- targets: [{}]\n", left.join(", ")));
    // Ten tries, and twenty of the longest waits, and something over.
    let patience = Duration::from_secs(60);
    for (name, backend) in rig.bad() {
        within(patience, name, || (backend.points().len() >= 100).then_some(()));
    }
    rig.rest();
    assert_all_but_poison(&mut rig, patience);
}

/// What a backend stumbles over comes each second, for ever: once that is known, it holds up nobody else.
#[test]
fn a_series_that_is_known_to_be_refused_holds_up_no_others() {
    let script = |asked: &Asked| match poisons(asked) {
        true => refuse(500, "internal error"),
        false => Verdict::Take,
    };
    let bad = [Way::Write, Way::Http].map(|way| ("bad", "", Backend::start(way, script)));
    let rig = Rig::start(4, bad.into());
    for (name, _) in rig.bad() {
        let books = || Books::of(&rig.daemon.metrics(), name);
        within(Duration::from_secs(60), name, || (books().rejected > 0.0).then_some(()));
        within(Duration::from_secs(60), name, || (books().queued < 100.0).then_some(()));
    }
    let since = |points: Vec<Point>, from: i64| {
        let good = points.into_iter().filter(move |p| p.name == "probe_success" && p.time >= from);
        good.filter(|p| p.target() == "t1" && !p.stale).collect::<Vec<_>>()
    };
    let from = rig.good().points().iter().map(|p| p.time).max().unwrap();
    within(Duration::from_secs(40), "some time", || {
        (since(rig.good().points(), from).len() >= 15).then_some(())
    });
    for (name, backend) in rig.bad() {
        let late = since(backend.points(), from).iter().map(|p| p.came - p.time).max();
        // To wait for twenty of the longest pauses takes six seconds.
        assert!(late.is_some_and(|late| late < 4_000), "{name}: {late:?} ms");
        let put_aside = Books::of(&rig.daemon.metrics(), name).rejected;
        assert!(put_aside >= 10.0, "{name}: each of them is put aside: {put_aside}");
    }
}

/// A wrong proxy may say for long that a request is none, to every one: nothing is put aside for it either.
#[test]
fn a_refusal_without_a_word_of_everything_is_an_outage() {
    let script = |_: &Asked| refuse(400, "what is this?");
    let bad = [Way::Write, Way::Http].map(|way| ("bad", "", Backend::start(way, script)));
    let mut rig = Rig::start(2, bad.into());
    // For longer than it takes until a batch is looked into.
    let begin = Instant::now();
    rig.suffer(10);
    std::thread::sleep(Duration::from_secs(15).saturating_sub(begin.elapsed()));
    let lost: Vec<Books> =
        rig.bad().map(|(name, _)| Books::of(&rig.daemon.metrics(), name)).collect();
    assert!(lost.iter().all(|books| books.rejected == 0.0), "{lost:?}");
    rig.bad().for_each(|(_, backend)| backend.mend());
    rig.assert_whole();
}

/// As the one before, but that all fails: that is an outage, and nothing is put aside for it.
#[test]
fn a_storm_of_500_is_an_outage_and_costs_nothing() {
    let backends = [Way::Write, Way::Http];
    let script = |_: &Asked| refuse(500, "internal error");
    let bad = backends.map(|way| ("bad", "", Backend::start(way, script)));
    let mut rig = Rig::start(3, bad.into());
    rig.suffer(15);
    rig.bad().for_each(|(_, backend)| backend.mend());
    rig.assert_whole();
}

#[test]
fn what_is_too_large_goes_in_halves() {
    let script = |asked: &Asked| {
        let most = if asked.way == Way::Write { 700 } else { 2_500 };
        let text = "grpc: received message larger than max (9999 vs. 2500)";
        if asked.bytes > most { refuse(413, text) } else { Verdict::Take }
    };
    let pace = PACE.replace("flush_timeout: 100ms", "flush_timeout: 1s");
    let mut rig = Rig::start_at(&pace, 12, each_way(script));
    rig.suffer(3);
    for (name, _) in rig.bad() {
        assert!(requests(&rig.daemon.metrics(), name, "split") >= 3.0, "{name}");
    }
    rig.assert_whole();
}

#[test]
fn credentials_that_are_mended_by_a_reload_go_on_at_once() {
    let script = |asked: &Asked| match asked.headers.get("authorization") {
        Some(value) if value == "Bearer right" => Verdict::Take,
        _ => refuse(401, "who are you?"),
    };
    let more = ", headers: {Authorization: 'Bearer wrong'}";
    let bad = WAYS.map(|way| ("bad", more, Backend::start(way, script)));
    let mut rig = Rig::start(3, bad.into());
    rig.suffer(1);
    for (name, backend) in rig.bad() {
        assert_eq!(requests(&rig.daemon.metrics(), name, "held"), 1.0, "{name}");
        assert_eq!(backend.faults(), 1, "{name}: nobody insists");
        let said = format!("exporter={name} ");
        let told = |line: &str| line.contains(&said) && line.contains("held until this is mended");
        assert!(rig.daemon.log().lines().any(told), "{}", rig.daemon.log());
    }
    let text = std::fs::read_to_string(&rig.config).unwrap().replace("wrong", "right");
    std::fs::write(&rig.config, text).unwrap();
    rig.daemon.signal("-HUP");
    rig.assert_whole();
}

/// Whoever mends the backend need not tell us: it is looked at again each minute.
#[test]
fn a_backend_that_is_mended_is_found_again() {
    let of = |way, status| Backend::start(way, move |_: &Asked| refuse(status, "no"));
    let mut rig = Rig::start(
        2,
        vec![
            ("s401", "", of(Way::Write, 401)),
            ("s403", "", of(Way::Http, 403)),
            ("s404", "", of(Way::Write, 404)),
            ("s405", "", of(Way::Http, 405)),
            ("s415", "", of(Way::Write, 415)),
            ("unauthenticated", "", of(Way::Grpc, 401)),
            ("not_found", "", of(Way::Grpc, 404)),
            ("unimplemented", "", of(Way::Grpc, 405)),
        ],
    );
    rig.suffer(1);
    for (name, backend) in rig.bad() {
        assert_eq!(backend.faults(), 1, "{name}: nobody insists");
        backend.mend();
    }
    for (name, backend) in rig.bad() {
        within(Duration::from_secs(90), name, || (backend.requests().len() > 1).then_some(()));
    }
    rig.assert_whole();
}

#[test]
fn what_is_refused_in_part_is_counted_and_never_comes_again() {
    let script = |asked: &Asked| match asked.number {
        1 => Verdict::Part(1),
        2 => Verdict::Part(0),
        3 => Verdict::Part(i64::MAX),
        4 => Verdict::Part(-7),
        _ => Verdict::Take,
    };
    let bad = [Way::Http, Way::Grpc].map(|way| ("part", "", Backend::start(way, script)));
    let mut rig = Rig::start(3, bad.into());
    for (name, backend) in rig.bad() {
        until(name, || (backend.requests().len() >= 8).then_some(()));
    }
    rig.rest();
    let names: Vec<String> = rig.backends.keys().cloned().collect();
    for name in &names {
        let books = rig.settled(name);
        let whole = rig.backends[name].requests().get(3).map_or(0, |(_, points, _)| *points);
        let expected = if name.ends_with("/good") { 0.0 } else { 1.0 + whole as f64 };
        assert_eq!((books.rejected, books.dropped), (expected, 0.0), "{name} {books:?}");
        // It came once, whatever became of it there.
        rig.assert_exact(name);
    }
    assert_eq!(rig.daemon.stop(), 0, "{}", rig.daemon.log());
}

/// Found by a fuzz target: the library panics when the details of a status are no base64.
#[test]
fn details_of_a_status_that_are_nonsense_do_no_harm() {
    let in_the_head = |_: &Asked| {
        let nonsense = &[("grpc-status-details-bin", "not base64 at all!")];
        Verdict::Refuse(503, "not now", None, nonsense)
    };
    let bad = vec![
        ("head", "", Backend::start(Way::Grpc, in_the_head)),
        ("trailers", "", Backend::start(Way::Grpc, |_| Verdict::Trail)),
    ];
    let mut rig = Rig::start(2, bad);
    rig.suffer(3);
    rig.bad().for_each(|(_, backend)| backend.mend());
    rig.assert_whole();
}

/// What stands before a backend answers in HTTP's words, with pages for people.
#[test]
fn a_proxy_that_knows_no_protocol_of_ours_is_heeded() {
    let script = |asked: &Asked| match asked.number % 4 {
        0 => Verdict::Plain(502),
        1 => Verdict::Plain(503),
        2 => Verdict::Plain(504),
        _ if asked.bytes > 2_000 => Verdict::Plain(413),
        _ => Verdict::Take,
    };
    let rig = passes(5, script);
    for (name, _) in rig.bad() {
        let exporter = format!("exporter={name} ");
        let told = |line: &str| line.contains("502 Bad Gateway") && line.contains(&exporter);
        assert!(rig.daemon.log().lines().any(told), "{name}: {}", rig.daemon.log());
    }
}

/// The page of a login, with 200: nobody has taken anything, and nothing counts as sent.
#[test]
fn a_web_page_is_no_answer() {
    let mut rig = Rig::start(2, each_way(|_| Verdict::Plain(200)));
    rig.suffer(1);
    let names: Vec<String> = rig.bad().map(|(name, _)| name.clone()).collect();
    assert_eq!(names.len(), WAYS.len());
    for name in &names {
        let books = Books::of(&rig.daemon.metrics(), name);
        assert!(books.balance() && books.queued > 0.0, "{name} {books:?}");
        assert_eq!((books.sent, books.rejected, books.dropped), (0.0, 0.0, 0.0), "{name}");
    }
    assert_eq!(rig.daemon.stop(), 0, "{}", rig.daemon.log());
    let log = rig.daemon.log();
    assert!(log.contains("a web page and no answer"), "{log}");
}
