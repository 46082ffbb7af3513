//! A network that does not exist, the kernel in front of it, and a shell that drives a sweep through it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::super::{Ask, Engine, Known, Pace, Port, Subject, Tell, Way};
use crate::sweep::Host;
use crate::sweep::chance::Loss;
use crate::sweep::link::{Asking, Belief, Mac};

pub(super) const LOOK: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

pub(super) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The address with this number.
pub(super) fn ip(number: u32) -> IpAddr {
    Ipv4Addr::from(0x0a00_0000 + number).into()
}

/// These addresses, all reached in one way.
pub(super) fn subjects(numbers: std::ops::Range<u32>, way: Way) -> Vec<Subject> {
    numbers.map(|number| Subject { address: ip(number), scope: 0, way }).collect()
}

/// Somebody who is there.
#[derive(Clone)]
pub(super) struct Being {
    pub(super) rtt: Duration,
    pub(super) icmp: bool,
    /// Ports that answer; all others say nothing.
    pub(super) ports: Vec<(u16, Port)>,
}

enum Event {
    Reply(IpAddr, u16, Duration),
    /// The kernel asks who has an address: how often so far, in which round.
    Question(IpAddr, u32, u64),
    /// The kernel asks an old neighbour whether it is still there.
    Probe(IpAddr, u32),
    Card(IpAddr),
    Ended(SocketAddr, Port),
}

#[derive(Default)]
pub(super) struct Lan {
    pub(super) beings: BTreeMap<IpAddr, Being>,
    /// What the kernel knows.
    pub(super) table: BTreeMap<IpAddr, Known>,
    /// The share that is lost, each way.
    pub(super) loss: f64,
    /// Whether the kernel tells nothing of its neighbours.
    pub(super) forgets: bool,
    /// Whether nothing that is sent ever leaves.
    pub(super) stuck: bool,
    /// Whether replies come twice, late and from strangers, with numbers that nobody sent.
    pub(super) noisy: bool,
    /// Connections for which there is no descriptor.
    pub(super) unsent: u32,
    pub(super) random: u64,
    round: u64,
    rounds: BTreeMap<IpAddr, u64>,
    queued: BTreeMap<IpAddr, Vec<(u16, Duration)>>,
    spoken: BTreeSet<IpAddr>,
    events: BTreeMap<(Duration, u64), Event>,
    count: u64,
}

/// How a sweep went.
pub(super) struct Seen {
    pub(super) took: Duration,
    pub(super) sent: Vec<(Duration, Ask)>,
    pub(super) hosts: Vec<Host>,
    pub(super) done: BTreeMap<IpAddr, Duration>,
    pub(super) loss: Loss,
    /// The most at once: addresses that were open, and those the kernel had not found yet.
    pub(super) most_open: usize,
    pub(super) most_sought: usize,
    /// The most entries of which the kernel was asking at once, those given up by the sweep, too.
    pub(super) most_asked: usize,
}

impl Seen {
    pub(super) fn up(&self) -> BTreeSet<IpAddr> {
        self.hosts.iter().filter(|host| host.by.is_some()).map(|host| host.address).collect()
    }

    pub(super) fn echoes(&self, address: IpAddr) -> usize {
        let to = |ask: &Ask| matches!(ask, Ask::Echo(subject, _) if subject.address == address);
        self.sent.iter().filter(|(_, ask)| to(ask)).count()
    }

    /// Connections to an address: when, and for how long.
    pub(super) fn connects(&self, address: IpAddr) -> Vec<(Duration, Duration)> {
        let to = |(at, ask): &(Duration, Ask)| match ask {
            Ask::Connect(to, within) if to.ip() == address => Some((*at, *within)),
            _ => None,
        };
        self.sent.iter().filter_map(to).collect()
    }

    /// The most packets in any window of this length.
    pub(super) fn most_within(&self, window: Duration) -> usize {
        let (mut first, mut most) = (0, 0);
        for (last, (at, _)) in self.sent.iter().enumerate() {
            while self.sent[first].0 + window <= *at {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }
}

impl Lan {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: seed, ..Self::default() }
    }

    pub(super) fn add(&mut self, numbers: impl IntoIterator<Item = u32>, being: &Being) {
        self.beings.extend(numbers.into_iter().map(|number| (ip(number), being.clone())));
    }

    /// From 0 to 1 (splitmix64).
    pub(super) fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }

    fn at(&mut self, when: Duration, event: Event) {
        self.count += 1;
        self.events.insert((when, self.count), event);
    }

    /// How long a question and its answer take, if neither is lost.
    fn trip(&mut self, address: IpAddr) -> Option<Duration> {
        let rtt = self.beings.get(&address)?.rtt;
        (self.chance() >= self.loss && self.chance() >= self.loss).then_some(rtt)
    }

    fn echo(&mut self, subject: &Subject, number: u16, now: Duration) {
        let address = subject.address;
        if self.stuck {
            return;
        }
        if !matches!(subject.way, Way::Near(_)) {
            return self.wire(address, number, now, now);
        }
        match self.table.get(&address).map(|(_, belief, _)| *belief) {
            None | Some(Belief::Failed) => {
                self.queued.insert(address, vec![(number, now)]);
                self.round += 1;
                self.rounds.insert(address, self.round);
                self.question(address, 1, self.round, now);
            }
            Some(Belief::Asked(_)) => self.queued.entry(address).or_default().push((number, now)),
            Some(Belief::Old) => {
                if self.spoken.insert(address) {
                    self.at(now + SECOND * 5, Event::Probe(address, 1));
                }
                self.wire(address, number, now, now);
            }
            Some(Belief::Reachable | Belief::Fixed) => self.wire(address, number, now, now),
        }
    }

    fn question(&mut self, address: IpAddr, count: u32, round: u64, now: Duration) {
        let asking = Asking::default();
        if count > asking.tries {
            self.table.insert(address, (None, Belief::Failed, None));
            self.queued.remove(&address);
            return;
        }
        self.table.insert(address, (None, Belief::Asked(count), None));
        if let Some(rtt) = self.trip(address) {
            self.at(now + rtt, Event::Card(address));
        }
        self.at(now + asking.pause, Event::Question(address, count + 1, round));
    }

    fn wire(&mut self, address: IpAddr, number: u16, sent: Duration, now: Duration) {
        let icmp = self.beings.get(&address).is_some_and(|being| being.icmp);
        if self.noisy {
            let wild = number + 1 + (self.chance().powi(4) * 60_000.0) as u16;
            self.at(now, Event::Reply(address, wild, sent));
            self.at(now, Event::Reply(ip(0x00ff_0000 + u32::from(wild)), number, sent));
        }
        if let Some(rtt) = self.trip(address).filter(|_| icmp) {
            self.at(now + rtt, Event::Reply(address, number, sent));
            if self.noisy {
                let late = SECOND.mul_f64(self.chance() * 3.0);
                self.at(now + rtt + late, Event::Reply(address, number, sent));
            }
        }
    }

    fn connect(&mut self, to: SocketAddr, within: Duration, now: Duration) {
        if self.unsent > 0 {
            self.unsent -= 1;
            return self.at(now, Event::Ended(to, Port::Unsent));
        }
        let answer = self.beings.get(&to.ip()).and_then(|being| {
            being.ports.iter().find(|(port, _)| *port == to.port()).map(|(_, answer)| *answer)
        });
        let trip = self.trip(to.ip()).filter(|rtt| rtt <= &within);
        match answer.zip(trip) {
            Some((answer, rtt)) => self.at(now + rtt, Event::Ended(to, answer)),
            None => self.at(now + within, Event::Ended(to, Port::Silent)),
        }
    }

    fn happen(&mut self, event: Event, engine: &mut Engine, now: Duration) {
        let belief = |lan: &Self, address| lan.table.get(address).map(|(_, belief, _)| *belief);
        match event {
            Event::Reply(from, number, sent) => engine.answered(from, number, now - sent, now),
            Event::Ended(to, port) => engine.connected(to, port, now),
            Event::Question(address, count, round) => {
                let asked = matches!(belief(self, &address), Some(Belief::Asked(_)));
                if asked && self.rounds[&address] == round {
                    self.question(address, count, round, now);
                }
            }
            Event::Probe(address, count) if belief(self, &address) == Some(Belief::Old) => {
                if count > 3 {
                    self.table.insert(address, (None, Belief::Failed, None));
                    return;
                }
                if let Some(rtt) = self.trip(address) {
                    self.at(now + rtt, Event::Card(address));
                }
                self.at(now + SECOND, Event::Probe(address, count + 1));
            }
            Event::Probe(..) => {}
            Event::Card(address) => {
                self.table.insert(address, (Some(Mac([2; 6])), Belief::Reachable, None));
                for (number, sent) in self.queued.remove(&address).unwrap_or_default() {
                    self.wire(address, number, sent, now);
                }
            }
        }
    }

    /// Sweeps as the shell does. Each address must be told once, in its number's place, and nobody is
    /// asked who was not begun or is done.
    pub(super) fn sweep(&mut self, pace: Pace, subjects: Vec<Subject>) -> Seen {
        let count = subjects.len();
        let mut engine = Engine::new(pace, subjects.clone().into_iter());
        let (mut now, mut look) = (Duration::ZERO, Duration::ZERO);
        let (mut sent, mut done, mut hosts) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let (mut ups, mut open) = (BTreeSet::new(), BTreeSet::new());
        let (mut most_open, mut most_sought, mut most_asked, mut turns) = (0, 0, 0, 0);
        loop {
            while let Some(entry) = self.events.first_entry()
                && entry.key().0 <= now
            {
                let event = entry.remove();
                self.happen(event, &mut engine, now);
            }
            if engine.wants_neighbours() && now >= look {
                let nothing = BTreeMap::new();
                let table = if self.forgets { &nothing } else { &self.table };
                engine.neighbours(table.clone(), now, now);
                look = now + LOOK;
            }
            let (asks, wake) = engine.step(now);
            for ask in asks {
                let address = match &ask {
                    Ask::Echo(subject, _) => subject.address,
                    Ask::Connect(to, _) => to.ip(),
                };
                open.insert(address);
                match ask {
                    Ask::Echo(subject, number) => self.echo(&subject, number, now),
                    Ask::Connect(to, within) => self.connect(to, within, now),
                }
                sent.push((now, ask));
                assert!(!done.contains_key(&address), "{address} was done");
            }
            let near = |number: &IpAddr| {
                let belief = self.table.get(number).map(|(_, belief, _)| belief);
                !matches!(belief, Some(Belief::Reachable | Belief::Old | Belief::Fixed))
            };
            for tell in engine.tells() {
                match tell {
                    Tell::Up(address) => assert!(ups.insert(address), "{address} was told"),
                    Tell::Done(number, host) => {
                        assert!(open.remove(&host.address) && host.address.is_ipv4());
                        assert!(done.insert(host.address, now).is_none());
                        assert_eq!(host.address, subjects[number as usize].address);
                        assert!(hosts.insert(number, host).is_none());
                    }
                }
            }
            most_open = most_open.max(open.len());
            most_sought = most_sought.max(open.iter().filter(|one| near(one)).count());
            let asked = |(_, belief, _): &&Known| matches!(belief, Belief::Asked(_));
            most_asked = most_asked.max(self.table.values().filter(asked).count());
            if engine.is_done() {
                break;
            }
            turns += 1;
            assert!(turns < 2_000_000 && now < SECOND * 600, "it does not end: {now:?}");
            let mut next = wake;
            if engine.wants_neighbours() {
                next = next.min(look);
            }
            if let Some(((when, _), _)) = self.events.first_key_value() {
                next = next.min(*when);
            }
            now = next.max(now);
        }
        assert_eq!(hosts.len(), count);
        let hosts: Vec<Host> = hosts.into_values().collect();
        let loss = engine.loss();
        let seen = Seen { took: now, sent, hosts, done, loss, most_open, most_sought, most_asked };
        assert_eq!(seen.up(), ups, "who is told to be up is up");
        seen
    }
}
