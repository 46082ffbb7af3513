//! Sweeps of networks that do not exist.

mod lan;

use std::collections::BTreeSet;

use proptest::prelude::*;

use self::lan::{Being, Lan, Seen, ip, ms, subjects};
use super::*;
use crate::sweep::By;
use crate::sweep::link::{Asking, Mac};

const NEAR: Way = Way::Near(Asking { tries: 3, counted: 3, pause: Duration::from_secs(1) });

fn pace(effort: Effort, ports: &[u16]) -> Pace {
    Pace { effort, rate: 1_000, window: 256, ports: ports.to_vec() }
}

fn being(rtt: u64, icmp: bool, ports: &[(u16, Port)]) -> Being {
    Being { rtt: ms(rtt), icmp, ports: ports.to_vec() }
}

/// A /24 with 43 who answer, 3 who drop ICMP and 1 who drops it but has a port.
fn home(seed: u64, slowest: f64) -> Lan {
    let mut lan = Lan::new(seed);
    for n in 0..47 {
        let rtt = Duration::from_secs_f64(0.0003 + lan.chance() * slowest);
        let mut one = being(0, n < 43, &[(22, Port::Closed)]);
        match n {
            0..43 => {}
            46 => one.ports = vec![(22, Port::Open)],
            _ => one.ports.clear(),
        }
        lan.add([1 + n * 5], &Being { rtt, ..one });
    }
    lan
}

fn there(lan: &Lan) -> BTreeSet<IpAddr> {
    lan.beings.keys().copied().collect()
}

fn by(seen: &Seen, number: u32) -> Option<By> {
    seen.hosts.iter().find(|host| host.address == ip(number)).and_then(|host| host.by)
}

#[test]
fn a_quiet_network_is_known_within_a_second_and_a_third() {
    for (ports, most) in [(&[][..], 480), (&[22][..], 540)] {
        for seed in 0..20 {
            let mut lan = home(seed, 0.005);
            let seen = lan.sweep(pace(Effort::Normal, ports), subjects(1..255, NEAR));
            assert_eq!(seen.up(), there(&lan));
            assert_eq!(by(&seen, 1), Some(By::Icmp));
            // Number 45 has no port, and 46 has one.
            assert_eq!(by(&seen, 1 + 45 * 5), Some(By::Neighbour));
            let tcp = if ports.is_empty() { By::Neighbour } else { By::Tcp };
            assert_eq!(by(&seen, 1 + 46 * 5), Some(tcp));
            assert_eq!(seen.echoes(ip(2)), 1, "the kernel asks nobody's address, we do not");
            assert!(seen.took <= ms(1_300), "{:?}", seen.took);
            assert!(seen.sent.len() <= most, "{} packets", seen.sent.len());
            // What may go at once, and what a tenth of a second allows.
            assert!(seen.most_within(ms(100)) <= 200);
            assert!(seen.most_within(ms(1_000)) <= 1_100);
            assert_eq!((seen.loss.hosts, seen.loss.lost), (43, 0));
        }
    }
}

/// How many of these sweeps miss somebody.
fn misses(runs: u64, loss: f64, effort: Effort, way: Way, rate: u32) -> usize {
    let run = |seed: &u64| {
        let mut lan = home(*seed, 0.06);
        lan.loss = loss;
        if way == Way::Far {
            lan.beings.retain(|_, being| being.icmp);
        }
        let seen = lan.sweep(Pace { rate, ..pace(effort, &[]) }, subjects(1..255, way));
        let (up, there) = (seen.up(), there(&lan));
        assert!(up.is_subset(&there), "nobody is made up");
        assert!(seen.took < ms(40_000), "{:?}", seen.took);
        assert!(seen.sent.len() < 254 * 32);
        up != there
    };
    (0..runs).filter(run).count()
}

#[test]
fn nobody_is_missed_where_one_packet_of_twenty_is_lost() {
    assert_eq!(misses(120, 0.05, Effort::Normal, NEAR, 1_000), 0);
    assert_eq!(misses(30, 0.05, Effort::Normal, Way::Far, 256), 0);
    assert_eq!(misses(10, 0.05, Effort::Thorough, NEAR, 1_000), 0);
}

#[test]
fn a_quick_look_misses_somebody_one_time_in_ten() {
    assert!(misses(60, 0.05, Effort::Quick, NEAR, 1_000) <= 6);
    // Who is slow is not who is silent.
    assert_eq!(misses(30, 0.0, Effort::Quick, NEAR, 1_000), 0);
}

#[test]
fn a_bad_network_is_given_up_in_time() {
    for (loss, most) in [(0.2, 2), (0.4, 15)] {
        let missed = misses(15, loss, Effort::Normal, NEAR, 1_000);
        assert!(missed <= most, "{loss}: {missed}");
        assert_eq!(misses(5, loss, Effort::Thorough, NEAR, 1_000), 0);
    }
    assert!(misses(5, 0.4, Effort::Normal, Way::Far, 256) <= 5);
    assert!(misses(20, 0.2, Effort::Normal, Way::Far, 256) <= 2);
    assert_eq!(misses(3, 0.2, Effort::Thorough, Way::Far, 256), 0);
}

#[test]
fn what_a_wait_in_the_kernel_costs_is_no_distance() {
    // All lose their first round of questions: the second echo waits for a card, too.
    let mut lan = Lan::new(1);
    lan.add(1..20, &being(2, true, &[]));
    lan.loss = 0.9;
    let mut engine = Engine::new(pace(Effort::Normal, &[]), subjects(1..2, NEAR).into_iter());
    let table = |belief| [(ip(1), (Some(Mac([2; 6])), belief, None))].into();
    engine.step(ms(0));
    engine.neighbours(table(Belief::Failed), ms(3_000), ms(3_000));
    engine.step(ms(3_000));
    engine.neighbours(table(Belief::Reachable), ms(5_000), ms(5_000));
    engine.answered(ip(1), 1, ms(2_000), ms(5_001));
    assert_eq!(engine.wait(0, NEAR), ms(100));
    engine.step(ms(5_070));
    engine.answered(ip(1), 2, ms(50), ms(5_120));
    assert_eq!(engine.wait(0, NEAR), ms(150));
}

#[test]
fn nobody_somebody_and_everybody() {
    for (alive, least, most) in [(0, 2_000, 2_400), (1, 2_000, 2_400), (254, 300, 500)] {
        let mut lan = Lan::new(1);
        lan.add(1..=alive, &being(2, true, &[]));
        let seen = lan.sweep(pace(Effort::Normal, &[]), subjects(1..255, NEAR));
        assert_eq!(seen.up(), there(&lan));
        assert!((ms(least)..ms(most)).contains(&seen.took), "{alive}: {:?}", seen.took);
    }
    // Five questions of the kernel are two rounds of it.
    let seen = Lan::new(1).sweep(pace(Effort::Thorough, &[]), subjects(1..255, NEAR));
    assert!((ms(4_000)..ms(4_500)).contains(&seen.took), "{:?}", seen.took);
    assert_eq!(seen.sent.len(), 254 * 2);
    let seen = Lan::new(1).sweep(pace(Effort::Normal, &[22]), Vec::new());
    assert_eq!((seen.took, seen.sent.len()), (ms(0), 0));
}

#[test]
fn the_kernel_is_not_asked_for_more_than_the_window() {
    for effort in [Effort::Quick, Effort::Normal] {
        let mut lan = Lan::new(1);
        lan.add((1..1_023).step_by(7), &being(2, true, &[]));
        let window = Pace { window: 64, ..pace(effort, &[]) };
        let seen = lan.sweep(window, subjects(1..1_023, NEAR));
        assert_eq!(seen.up(), there(&lan));
        assert_eq!(seen.most_sought, 64);
        // It goes on asking for those whom the sweep has given up.
        assert_eq!(seen.most_asked, 64);
        assert!(seen.took < ms(45_000), "{:?}", seen.took);
    }
}

#[test]
fn a_large_network_far_away_is_asked_in_portions() {
    // Everybody answers: each is asked about once.
    let mut lan = Lan::new(1);
    lan.add(0..65_536, &being(20, true, &[]));
    let fast = |rate| Pace { rate, ..pace(Effort::Normal, &[]) };
    let seen = lan.sweep(fast(2_000), subjects(0..65_536, Way::Far));
    assert_eq!(seen.up().len(), 65_536);
    assert!((ms(32_000)..ms(35_000)).contains(&seen.took), "{:?}", seen.took);
    assert!(seen.most_open <= MAX_OPEN && seen.sent.len() < 70_000);
    // Nobody does, and packets cost nothing.
    let seen = Lan::new(1).sweep(fast(100_000), subjects(0..16_384, Way::Far));
    assert_eq!((seen.up().len(), seen.most_open), (0, MAX_OPEN));
    assert!(seen.took < ms(15_000), "{:?}", seen.took);
}

#[test]
fn old_neighbours_are_up_when_they_say_so() {
    let sweep = |effort| {
        let mut lan = Lan::new(1);
        lan.add(1..4, &being(2, false, &[]));
        lan.add(4..5, &being(2, true, &[]));
        for n in 1..8 {
            lan.table.insert(ip(n), (Some(Mac([2; 6])), Belief::Old, None));
        }
        let seen = lan.sweep(pace(effort, &[80]), subjects(1..8, NEAR));
        for host in seen.hosts.iter().filter(|host| host.by.is_some()) {
            assert!(seen.done[&host.address] <= ms(9_500), "{:?}", seen.done);
        }
        let by: Vec<_> = seen.hosts.iter().map(|host| host.by).collect();
        (by, seen.took)
    };
    let there = Some(By::Neighbour);
    let (by, took) = sweep(Effort::Normal);
    assert_eq!(by, [there, there, there, Some(By::Icmp), None, None, None]);
    assert!(took < ms(13_000), "{took:?}");
    let (by, took) = sweep(Effort::Quick);
    assert_eq!(by, [None, None, None, Some(By::Icmp), None, None, None]);
    assert!(took < ms(2_000), "{took:?}");
}

#[test]
fn questions_of_others_are_not_ours() {
    // Somebody has just asked for it: the kernel's next question is half a second away.
    let mut engine = Engine::new(pace(Effort::Quick, &[]), subjects(1..2, NEAR).into_iter());
    let table = |count| BTreeMap::from([(ip(1), (None, Belief::Asked(count), None))]);
    engine.neighbours(table(2), ms(0), ms(0));
    engine.step(ms(1));
    for tick in 1..25 {
        engine.neighbours(table(2), ms(tick * 20), ms(tick * 20));
        engine.step(ms(tick * 20 + 1));
    }
    assert_eq!(engine.tells(), [], "nobody has asked since");
    engine.neighbours(table(3), ms(520), ms(520));
    engine.step(ms(800));
    // A machine with much else to do looks late: until then nobody knows what came of the last question.
    assert_eq!(engine.tells(), [], "its answer may be there");
    engine.neighbours(table(3), ms(801), ms(803));
    engine.step(ms(820));
    assert!(
        matches!(&engine.tells()[..], [Tell::Done(0, host)] if host.by.is_none() && host.asked)
    );
}

#[test]
fn a_full_table_is_waited_for() {
    // Others fill the kernel's table for three seconds: what is sent until then goes nowhere.
    let mut engine = Engine::new(pace(Effort::Quick, &[]), subjects(1..60, NEAR).into_iter());
    let table = |n| BTreeMap::from([(ip(n), (Some(Mac([2; 6])), Belief::Reachable, None))]);
    let mut sent = BTreeSet::new();
    for tick in 0..400u32 {
        let now = ms(u64::from(tick) * 20);
        let (asks, _) = engine.step(now);
        for ask in asks {
            if let Ask::Echo(subject, _) = ask
                && now > ms(3_000)
            {
                sent.insert(subject.address);
            }
        }
        let mut known = BTreeMap::new();
        sent.iter().for_each(|ip| {
            known.extend([(*ip, (Some(Mac([2; 6])), Belief::Reachable, None))]);
        });
        engine.neighbours(if now > ms(3_000) { known } else { table(200) }, now, now);
    }
    let up = engine.tells().iter().filter(|tell| matches!(tell, Tell::Up(_))).count();
    assert_eq!((up, engine.is_done()), (59, true));
}

#[test]
fn who_was_up_stays_up() {
    let mut engine = Engine::new(pace(Effort::Quick, &[]), subjects(1..2, NEAR).into_iter());
    let table = |belief| [(ip(1), (Some(Mac([2; 6])), belief, None))].into();
    engine.step(ms(0));
    engine.neighbours(table(Belief::Reachable), ms(1), ms(1));
    assert_eq!(engine.tells(), [Tell::Up(ip(1))]);
    engine.neighbours(table(Belief::Old), ms(21), ms(21));
    for tick in 0..200 {
        engine.step(ms(30 + tick * 100));
    }
    let tells = engine.tells();
    assert!(matches!(&tells[..], [Tell::Done(0, host)] if host.by == Some(By::Neighbour)));
}

#[test]
fn neighbours_that_somebody_wrote_down_are_asked_themselves() {
    let mut lan = Lan::new(1);
    lan.add(1..2, &being(2, true, &[]));
    lan.add(2..3, &being(2, false, &[(80, Port::Open)]));
    for n in 1..4 {
        lan.table.insert(ip(n), (Some(Mac([2; 6])), Belief::Fixed, None));
    }
    let seen = lan.sweep(pace(Effort::Normal, &[80]), subjects(1..4, NEAR));
    let by: Vec<_> = seen.hosts.iter().map(|host| host.by).collect();
    assert_eq!(by, [Some(By::Icmp), Some(By::Tcp), None]);
}

#[test]
fn a_kernel_that_forgets_and_a_card_that_sends_nothing_keep_nobody() {
    for effort in [Effort::Quick, Effort::Normal, Effort::Thorough] {
        for (forgets, stuck) in [(true, false), (false, true), (true, true)] {
            for way in [NEAR, Way::Far] {
                let mut lan = home(1, 0.005);
                (lan.forgets, lan.stuck) = (forgets, stuck);
                let seen = lan.sweep(pace(effort, &[]), subjects(1..255, way));
                assert!(seen.took <= ms(25_000), "{:?}", seen.took);
                // Who never came into the kernel's table was not asked, and is not away.
                let unasked = seen.hosts.iter().filter(|host| !host.asked).count();
                assert_eq!(unasked > 0, way == NEAR, "{unasked}");
                // Who answers needs no kernel to know it.
                assert_eq!(seen.up().len(), if stuck { 0 } else { 43 });
                assert!((1..255).all(|n| seen.echoes(ip(n)) <= 32));
            }
        }
    }
}

#[test]
fn ports_are_asked_until_they_speak_or_are_given_up() {
    for (way, silent) in [(Way::Far, 3), (NEAR, 0)] {
        let mut lan = Lan::new(1);
        lan.add(1..2, &being(2, true, &[(22, Port::Open), (80, Port::Closed)]));
        lan.add(2..3, &being(2, false, &[(80, Port::Closed)]));
        let ports = pace(Effort::Normal, &[22, 80, 22]);
        let seen = lan.sweep(ports, subjects(1..4, way));
        assert_eq!(
            (by(&seen, 1), by(&seen, 2), by(&seen, 3)),
            (Some(By::Icmp), Some(By::Tcp), None)
        );
        let open: Vec<_> = seen.hosts.iter().map(|host| &host.ports[..]).collect();
        assert_eq!(open, [&[22][..], &[], &[]]);
        assert_eq!(seen.connects(ip(1)).len(), 2);
        assert_eq!(seen.connects(ip(3)).len(), silent * 2, "nobody's ports");
        // The silent one of somebody who is there.
        let tries = seen.connects(ip(2));
        assert_eq!(tries.len(), 4, "{tries:?}");
        let waits: Vec<_> = tries.iter().filter(|(at, _)| *at > tries[1].0).collect();
        assert!(waits.windows(2).all(|two| two[0].1 < two[1].1), "{tries:?}");
    }
}

#[test]
fn our_own_shortage_says_nothing_of_a_port() {
    let sweep = |unsent| {
        let mut lan = Lan::new(1);
        lan.unsent = unsent;
        lan.add(1..3, &being(2, false, &[(22, Port::Open)]));
        lan.sweep(pace(Effort::Normal, &[22]), subjects(1..3, Way::Far))
    };
    let seen = sweep(20);
    assert_eq!(seen.up().len(), 2);
    assert!(seen.took < ms(4_000), "{:?}", seen.took);
    // It never ends, and the sweep does.
    let seen = sweep(u32::MAX);
    assert_eq!(seen.up().len(), 0);
    assert!((ms(30_000)..ms(31_000)).contains(&seen.took), "{:?}", seen.took);
    assert!(seen.sent.len() < 300, "{} packets", seen.sent.len());
}

#[test]
fn strangers_doubles_and_stragglers_change_nothing() {
    for way in [NEAR, Way::Far] {
        for seed in 0..10 {
            let mut lan = home(seed, 0.02);
            lan.noisy = true;
            lan.beings.retain(|_, being| being.icmp);
            let mut all = subjects(1..255, way);
            all[99].way = Way::Own;
            lan.add([100], &being(0, true, &[]));
            let seen = lan.sweep(pace(Effort::Normal, &[]), all);
            assert_eq!(seen.up(), there(&lan));
            assert_eq!(seen.loss.lost, 0);
            assert!(seen.hosts.iter().all(|host| host.own == (host.address == ip(100))));
            assert_eq!((seen.loss.hosts, seen.echoes(ip(100))), (43, 1));
        }
    }
}

#[derive(Clone, Debug)]
enum Chaos {
    Pass(u64),
    Answered(u32, u16, u64),
    Connected(u32, u16, Port),
    Neighbours(Vec<(u32, bool, Belief)>),
}

fn chaos() -> impl Strategy<Value = Chaos> {
    let number = || 0..40_u32;
    let sent = prop_oneof![4 => 0..40_u16, 1 => any::<u16>()];
    let port = prop::sample::select(vec![Port::Open, Port::Closed, Port::Silent, Port::Unsent]);
    let asked = prop_oneof![4 => 0..4_u32, 1 => any::<u32>()].prop_map(Belief::Asked);
    let others = [Belief::Reachable, Belief::Old, Belief::Failed, Belief::Fixed];
    let belief = prop_oneof![asked, prop::sample::select(others.to_vec())];
    prop_oneof![
        (0..400_u64).prop_map(Chaos::Pass),
        (number(), sent, any::<u64>()).prop_map(|(n, sent, rtt)| Chaos::Answered(n, sent, rtt)),
        (number(), 20..24_u16, port).prop_map(|(n, port, found)| Chaos::Connected(n, port, found)),
        prop::collection::vec((number(), any::<bool>(), belief), 0..40).prop_map(Chaos::Neighbours),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn nothing_that_is_heard_stops_it_or_drives_it_on(
        heard in prop::collection::vec(chaos(), 0..150),
        effort in prop::sample::select(vec![Effort::Quick, Effort::Normal, Effort::Thorough]),
        rate in 500..5_000_u32,
        window in 1..40_usize,
    ) {
        let way = |n: u32| [NEAR, NEAR, Way::Far, Way::Own][n as usize % 4];
        let all: Vec<_> = (0..32).flat_map(|n| subjects(n..n + 1, way(n))).collect();
        let ports = vec![20, 21, 21, 22];
        let mut engine = Engine::new(Pace { effort, rate, window, ports }, all.into_iter());
        let (mut now, mut packets) = (ms(0), 0);
        let (mut ups, mut found, mut done) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        // With a window of one, each may take its longest time.
        let rest = (0..1_000 * 4).map(|_| Chaos::Pass(250));
        for one in heard.into_iter().chain(rest) {
            match one {
                Chaos::Pass(count) => now += ms(count),
                Chaos::Answered(n, sent, rtt) => engine.answered(ip(n), sent, ms(rtt), now),
                Chaos::Connected(n, port, found) => engine.connected((ip(n), port).into(), found, now),
                Chaos::Neighbours(all) => {
                    let mac = |card: bool| card.then_some(Mac([2; 6]));
                    let known = all.into_iter().map(|(n, card, belief)| (ip(n), (mac(card), belief, None)));
                    engine.neighbours(known.collect(), now, now);
                }
            }
            let (asks, wake) = engine.step(now);
            prop_assert!(wake >= now && wake <= now + ms(31_000));
            prop_assert!(asks.len() <= (rate / 10) as usize);
            packets += asks.len();
            let wild = |ask: &Ask| matches!(ask, Ask::Echo(_, number) if *number >= 32);
            prop_assert!(!asks.iter().any(wild));
            for tell in engine.tells() {
                match tell {
                    Tell::Up(address) => prop_assert!(ups.insert(address)),
                    Tell::Done(number, host) => {
                        prop_assert_eq!(host.address, ip(number as u32));
                        found.extend(host.by.map(|_| host.address));
                        done.push(number);
                    }
                }
            }
            prop_assert!(window < 32 || now < ms(60_000) || engine.is_done());
        }
        prop_assert!(engine.is_done());
        prop_assert_eq!(ups, found);
        done.sort_unstable();
        prop_assert_eq!(done, (0..32).collect::<Vec<u64>>());
        prop_assert!(packets <= 32 * (32 + 3 * 16) + 150);
        prop_assert!(!engine.wants_neighbours());
    }
}
