//! A sweep that goes on: what the engine wants is sent, what comes in is handed to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::echo::Pinger;
use super::engine::{Ask, Engine, Known, Port, Subject, Tell};
use super::link::{Belief, Kernel, Links, Mac};
use super::{By, Failure, Found, Host, Naming, Summary};
use crate::names::{Name, Source};

/// Connections at once.
const MAX_CONNECTIONS: usize = 256;
/// Names that are asked for at once.
const MAX_LOOKUPS: usize = 32;
/// How long a name may take.
const NAME_BUDGET: Duration = Duration::from_millis(500);
/// How long all names may take, once everything else is known.
const NAMES_BUDGET: Duration = Duration::from_secs(3);
/// How often the kernel's neighbours are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Packets between two looks at what has come in.
const BATCH: usize = 8;

/// A sweep that goes on.
pub(super) struct Run {
    engine: Engine,
    kernel: Kernel,
    links: Links,
    pingers: [Option<Pinger>; 2],
    began: Instant,
    look: Duration,
    connections: JoinSet<(SocketAddr, Port)>,
    waiting: VecDeque<(SocketAddr, Duration)>,
    lookups: JoinSet<(IpAddr, Option<String>)>,
    /// Addresses whose names are still to be asked for.
    nameless: VecDeque<IpAddr>,
    /// Names that are asked for, and what was answered.
    names: BTreeMap<IpAddr, Option<Option<String>>>,
    /// Until when names are waited for, once everything else is known.
    patience: Option<Instant>,
    /// Those that wait for others before them, or for a name.
    done: BTreeMap<u64, Host>,
    /// Cards of those who are asked by connections alone.
    macs: BTreeMap<IpAddr, Mac>,
    next: u64,
    total: u64,
    sent: u64,
    /// What kept echoes from being sent, and from how many addresses.
    unsent: BTreeMap<String, BTreeSet<IpAddr>>,
    summary: Summary,
    proxies: BTreeMap<Mac, usize>,
}

impl Run {
    /// One that has not begun.
    pub(super) fn new(
        engine: Engine,
        kernel: Kernel,
        links: Links,
        pingers: [Option<Pinger>; 2],
        total: u64,
    ) -> Self {
        Self {
            engine,
            kernel,
            links,
            pingers,
            began: Instant::now(),
            look: Duration::ZERO,
            connections: JoinSet::new(),
            waiting: VecDeque::new(),
            lookups: JoinSet::new(),
            nameless: VecDeque::new(),
            patience: None,
            names: BTreeMap::new(),
            done: BTreeMap::new(),
            macs: BTreeMap::new(),
            next: 0,
            total,
            sent: 0,
            unsent: BTreeMap::new(),
            summary: Summary::default(),
            proxies: BTreeMap::new(),
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether everything is found out and handed on.
    pub(super) fn is_over(&self) -> bool {
        self.engine.is_done() && self.done.is_empty()
    }

    /// Takes in what has come, sends what is due; returns how long nothing is to be done.
    pub(super) async fn turn(
        &mut self,
        naming: &Naming,
        take: &mut impl FnMut(Found, u64),
    ) -> Result<Duration, Failure> {
        self.hear()?;
        while let Some(Ok((address, port))) = self.connections.try_join_next() {
            let now = self.now();
            self.engine.connected(address, port, now);
        }
        while let Some(Ok((address, name))) = self.lookups.try_join_next() {
            self.named(address, name);
        }
        self.ask_names(naming);
        let mut wake = Duration::from_secs(1);
        let blind = self.pingers.iter().all(Option::is_none);
        if self.engine.wants_neighbours() || blind {
            let now = self.now();
            if now >= self.look {
                self.look_around()?;
                // A large table takes its time, of which it gets a tenth.
                let took = self.now() - now;
                let pause = if blind { LOOK * 10 } else { LOOK };
                self.look = self.now() + pause.max(took * 10);
            }
            wake = wake.min(self.look.saturating_sub(self.now()));
        }
        let (asks, due) = self.engine.step(self.now());
        for (n, ask) in asks.into_iter().enumerate() {
            match ask {
                Ask::Echo(subject, number) => self.echo(&subject, number).await,
                Ask::Connect(to, within) => self.waiting.push_back((to, within)),
            }
            if n % BATCH == BATCH - 1 {
                self.hear()?;
            }
        }
        // Without echoes connections are what makes the kernel ask for its neighbours.
        let most = if blind { MAX_CONNECTIONS / 8 } else { MAX_CONNECTIONS };
        while self.connections.len() < most
            && let Some((to, within)) = self.waiting.pop_front()
        {
            self.connections.spawn(connect(to, within));
        }
        for tell in self.engine.tells() {
            match tell {
                Tell::Up(address) => self.ask_name(address, naming),
                Tell::Done(number, mut host) => {
                    let owner = || self.links.owner(host.address).and_then(|link| link.mac);
                    let known = || self.macs.get(&host.address).copied();
                    host.mac = if host.own { owner() } else { host.mac.or_else(known) };
                    let pinger = &self.pingers[usize::from(host.address.is_ipv6())];
                    host.pinged &= pinger.is_some();
                    self.done.insert(number, host);
                }
            }
        }
        if let Some(name) = self.hand_out(naming, take) {
            wake = wake.min(name);
        }
        Ok(wake.min(due.saturating_sub(self.now())))
    }

    /// Something has come in.
    pub(super) async fn happens(&mut self) {
        let readable = |pinger: &Option<Pinger>| pinger.is_some();
        let [four, six] = &self.pingers;
        tokio::select! {
            _ = async { if let Some(pinger) = four { let _ = pinger.readable().await; } }, if readable(four) => {}
            _ = async { if let Some(pinger) = six { let _ = pinger.readable().await; } }, if readable(six) => {}
            Some(Ok((address, port))) = self.connections.join_next() => {
                let now = self.began.elapsed();
                self.engine.connected(address, port, now);
            }
            Some(Ok((address, name))) = self.lookups.join_next() => {
                self.named(address, name);
            }
            else => std::future::pending().await,
        }
    }

    fn hear(&mut self) -> Result<(), Failure> {
        for pinger in self.pingers.iter().flatten() {
            loop {
                let heard = pinger.heard();
                let now = self.began.elapsed();
                match heard {
                    Ok(Some(reply)) => {
                        let rtt = now.saturating_sub(reply.sent);
                        self.engine.answered(reply.from, reply.number, rtt, now);
                    }
                    Ok(None) => break,
                    Err(error) => return Err(Failure::Socket(format!("ICMP: {error}"))),
                }
            }
        }
        Ok(())
    }

    /// Hands over what the kernel believes of its neighbours.
    pub(super) fn look_around(&mut self) -> Result<(), Failure> {
        let explain = |error: io::Error| Failure::Socket(format!("netlink: {error}"));
        let looked = self.now();
        let mut known: BTreeMap<IpAddr, Known> = BTreeMap::new();
        for (ip6, pinger) in [(false, &self.pingers[0]), (true, &self.pingers[1])] {
            if pinger.is_none() && ip6 {
                continue;
            }
            let all = self.kernel.neighbours(ip6, &self.links).map_err(explain)?;
            for one in all {
                // On another link it is somebody else.
                let link = self.links.of(one.address).map(|(number, _)| number);
                let own = link == Some(one.link) || (ip6 && one.mac.is_some());
                if own {
                    known.insert(one.address, (one.mac, one.belief, one.heard));
                }
            }
        }
        if self.pingers.iter().all(Option::is_none) {
            // Nobody is waited for there; what a connection has brought to light is shown.
            let macs = known.iter().filter(|(_, (_, belief, _))| *belief == Belief::Reachable);
            self.macs.extend(macs.filter_map(|(ip, (mac, _, _))| Some((*ip, (*mac)?))));
        }
        let now = self.now();
        self.engine.neighbours(known, looked, now);
        Ok(())
    }

    async fn echo(&mut self, subject: &Subject, number: u16) {
        let Some(pinger) = &self.pingers[usize::from(subject.address.is_ipv6())] else { return };
        for pause in [1, 2, 5, 0] {
            let now = self.began.elapsed();
            match pinger.send(subject.address, subject.scope, number, now) {
                Ok(()) => return self.sent += 1,
                // The device has no room just now.
                Err(error)
                    if pause > 0
                        && (error.kind() == io::ErrorKind::WouldBlock
                            || error.raw_os_error()
                                == Some(rustix::io::Errno::NOBUFS.raw_os_error())) =>
                {
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                Err(error) => {
                    let why = error.to_string();
                    self.unsent.entry(why).or_default().insert(subject.address);
                    let now = self.now();
                    return self.engine.unsendable(subject.address, now);
                }
            }
        }
    }

    fn ask_name(&mut self, address: IpAddr, naming: &Naming) {
        self.summary.up += 1;
        if naming.reverse.is_some() && naming.names.known(address).is_none() {
            self.names.insert(address, None);
            self.nameless.push_back(address);
        }
    }

    /// Asks for as many names at once as is polite.
    fn ask_names(&mut self, naming: &Naming) {
        let Some(reverse) = &naming.reverse else { return };
        while self.lookups.len() < MAX_LOOKUPS
            && let Some(address) = self.nameless.pop_front()
        {
            let ask = reverse(address);
            self.lookups.spawn(async move {
                let name = tokio::time::timeout(NAME_BUDGET, ask).await;
                (address, name.ok().flatten())
            });
        }
    }

    fn named(&mut self, address: IpAddr, name: Option<String>) {
        if let Some(answer) = self.names.get_mut(&address) {
            *answer = Some(name);
        }
    }

    /// Hands on those whose turn it is; returns how long the next one waits for its name.
    fn hand_out(&mut self, naming: &Naming, take: &mut impl FnMut(Found, u64)) -> Option<Duration> {
        while let Some(host) = self.done.get(&self.next) {
            let asked = match self.names.get(&host.address) {
                Some(None) => {
                    if !self.engine.is_done() {
                        return None;
                    }
                    let until = *self.patience.get_or_insert(Instant::now() + NAMES_BUDGET);
                    let left = until.saturating_duration_since(Instant::now());
                    if !left.is_zero() {
                        return Some(left);
                    }
                    None
                }
                Some(Some(name)) => name.clone(),
                None => None,
            };
            self.names.remove(&host.address);
            let host = self.done.remove(&self.next)?;
            self.next += 1;
            self.summary.unasked += u64::from(!host.asked);
            if let (Some(By::Neighbour), Some(mac)) = (host.by, host.mac) {
                *self.proxies.entry(mac).or_default() += 1;
            }
            let name = host.by.and_then(|_| {
                let asked = asked.map(|text| Name { text, source: Source::Dns });
                naming.names.known(host.address).or(asked)
            });
            take(Found { host, name }, self.total);
        }
        None
    }

    /// How it went.
    pub(super) fn end(mut self) -> Result<Summary, Failure> {
        if self.sent == 0
            && self.summary.up == 0
            && let Some((why, _)) = self.unsent.first_key_value()
        {
            return Err(Failure::Socket(format!("nothing could be sent: {why}")));
        }
        for (why, addresses) in self.unsent {
            let count = addresses.len();
            let warning = format!("nothing could be sent to {count} addresses: {why}");
            self.summary.warnings.push(warning);
        }
        let proxy = self.proxies.into_iter().max_by_key(|(_, count)| *count);
        self.summary.asked = self.engine.begun();
        self.summary.loss = self.engine.loss();
        self.summary.took = self.began.elapsed();
        self.summary.proxy = proxy.filter(|(_, count)| *count > 8);
        Ok(self.summary)
    }
}

async fn connect(to: SocketAddr, within: Duration) -> (SocketAddr, Port) {
    let found = match tokio::time::timeout(within, TcpStream::connect(to)).await {
        Ok(Ok(_)) => Port::Open,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Port::Closed,
        Ok(Err(error)) if is_ours(&error) => Port::Unsent,
        _ => Port::Silent,
    };
    (to, found)
}

/// Whether an error is about this machine: no descriptor, no port.
fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let own = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| own.iter().any(|own| own.raw_os_error() == code))
}
