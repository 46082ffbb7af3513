//! A sweep: who is there on a network? Echo requests of ICMP, connections to some ports, and what the
//! kernel learns of its neighbours meanwhile. It asks only whether anything answers; measuring is the
//! probes' business.
//!
//! [`engine`] decides, without a network; this file gives it one.

pub mod chance;
pub mod echo;
pub mod engine;
pub mod guard;
pub mod link;
pub mod range;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use self::chance::{Effort, Loss};
use self::echo::Pinger;
use self::engine::{Ask, Engine, Pace, Port, Subject, Tell, Way};
use self::guard::{PutOff, Tables, Turn};
use self::link::{Belief, Kernel, Links, Mac};
use self::range::{Range, Refusal};
use crate::names::{Name, Names, Source};

/// Packets a second, where all addresses are on links of this machine.
pub const NEAR_RATE: u32 = 1_000;
/// Packets a second, where routers are between.
pub const FAR_RATE: u32 = 256;
/// Connections at once.
const MAX_CONNECTIONS: usize = 256;
/// Names that are asked for at once.
const MAX_LOOKUPS: usize = 32;
/// How long a name may take.
const NAME_BUDGET: Duration = Duration::from_millis(500);
/// How often the kernel's neighbours are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Packets between two looks at what has come in.
const BATCH: usize = 8;

/// What a machine that lets us open no ICMP socket says.
const NO_RIGHT: &str = "no right to send ICMP: set `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`, or give the program CAP_NET_RAW";

/// How it is known that somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// An echo reply.
    Icmp,
    /// A port that is open, or refuses.
    Tcp,
    /// It has told its card's address and nothing else: it drops ICMP.
    Neighbour,
}

impl By {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            By::Icmp => "icmp",
            By::Tcp => "tcp",
            By::Neighbour => "arp",
        }
    }
}

/// An address, and what was found out of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// The address.
    pub address: IpAddr,
    /// The link, where the address says nothing without it (link-local ones of IPv6).
    pub scope: u32,
    /// How it is known that somebody is there; `None`: nobody is.
    pub by: Option<By>,
    /// Whether it is this machine's own address.
    pub own: bool,
    /// The shortest time to an echo reply.
    pub rtt: Option<Duration>,
    /// The address of its card.
    pub mac: Option<Mac>,
    /// Ports that are open, of those that were asked.
    pub ports: Vec<u16>,
}

/// A host and its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The host.
    pub host: Host,
    /// Its name for people, and who says so.
    pub name: Option<Name>,
}

/// What is swept, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The ranges.
    pub ranges: Vec<Range>,
    /// Ports that are asked.
    pub ports: Vec<u16>,
    /// How sure it is to be.
    pub effort: Effort,
    /// Packets a second; `None`: as the network allows.
    pub rate: Option<u32>,
    /// Whether large, remote and public ranges are swept, too.
    pub force: bool,
}

impl Settings {
    /// Sweeps these as it is done usually.
    #[must_use]
    pub fn new(ranges: Vec<Range>) -> Self {
        Self { ranges, ports: Vec::new(), effort: Effort::default(), rate: None, force: false }
    }
}

/// How a sweep went.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Addresses that were asked.
    pub asked: u64,
    /// Those at which somebody is.
    pub up: u64,
    /// What was lost on the way to those who answer.
    pub loss: Loss,
    /// How long it took.
    pub took: Duration,
    /// A card that stands for many addresses which answer nothing themselves, and for how many: a
    /// router may be answering for all of them.
    pub proxy: Option<(Mac, usize)>,
    /// What could not be done.
    pub warnings: Vec<String>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was not begun.
    #[error("{0}; --force sweeps it all the same")]
    Refused(Refusal),
    /// Nobody can insist on this one.
    #[error("{0}")]
    Impossible(Refusal),
    /// It was put off.
    #[error(transparent)]
    PutOff(#[from] PutOff),
    /// No socket, or nothing could be sent.
    #[error("{0}")]
    Socket(String),
    /// It was stopped.
    #[error("the sweep was stopped")]
    Stopped,
}

/// Asks for the name of an address, somewhere else.
pub type Reverse =
    Arc<dyn Fn(IpAddr) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> + Send + Sync>;

/// Where names come from.
#[derive(Clone, Default)]
pub struct Naming {
    /// Those that are written down.
    pub names: Names,
    /// Who is asked for others.
    pub reverse: Option<Reverse>,
}

impl fmt::Debug for Naming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Naming").field("reverse", &self.reverse.is_some()).finish_non_exhaustive()
    }
}

/// Sweeps. `take` is given each address in its order as soon as it and all before it are known, and
/// how many there are in all; `stop` ends it.
///
/// # Errors
/// Why there is no result.
pub async fn sweep(
    settings: &Settings,
    naming: &Naming,
    stop: impl Future<Output = ()>,
    mut take: impl FnMut(Found, u64),
) -> Result<Summary, Failure> {
    let explain = |error: io::Error| Failure::Socket(format!("netlink: {error}"));
    let mut kernel = Kernel::open().map_err(explain)?;
    let links = kernel.links().map_err(explain)?;
    range::judge(&settings.ranges, &links, settings.force).map_err(|why| {
        if why.can_be_forced() { Failure::Refused(why) } else { Failure::Impossible(why) }
    })?;
    let tables = Tables::read(Path::new("/proc"));
    tables.judge()?;
    let _turn = Turn::take()?;

    let ip6: Vec<Range> =
        settings.ranges.iter().filter(|r| r.net().addr().is_ipv6()).copied().collect();
    let near6 = match ip6.is_empty() {
        true => Vec::new(),
        false => neighbours6(&mut kernel, &links, &ip6).map_err(explain)?,
    };
    let total =
        settings.ranges.iter().filter(|r| r.net().addr().is_ipv4()).map(Range::count).sum::<u64>()
            + near6.len() as u64;
    let rate = settings.rate.unwrap_or_else(|| usual_rate(&settings.ranges, &links));
    let pace = Pace {
        effort: settings.effort,
        rate,
        window: tables.window(),
        ports: settings.ports.clone(),
    };
    let (around, ranges) = (links.clone(), settings.ranges.clone());
    let ip4 = ranges.into_iter().filter(|range| range.net().addr().is_ipv4()).collect();
    let subjects = range::addresses(ip4).map(move |address| subject(address, &around));
    let engine = Engine::new(pace, subjects.chain(near6));

    let cookie = cookie();
    let mut warnings = Vec::new();
    let mut open = |wanted: bool, ip6: bool| match wanted.then(|| Pinger::open(ip6, cookie)) {
        None => Ok(None),
        Some(Ok(pinger)) => Ok(Some(pinger)),
        Some(Err(error)) => {
            let why = match error.kind() {
                io::ErrorKind::PermissionDenied => NO_RIGHT.to_owned(),
                _ => format!("no ICMP socket: {error}"),
            };
            if settings.ports.is_empty() {
                return Err(Failure::Socket(why));
            }
            warnings.push(format!("{why}; only ports are asked"));
            Ok(None)
        }
    };
    let pingers = [
        open(settings.ranges.iter().any(|range| range.net().addr().is_ipv4()), false)?,
        open(!ip6.is_empty(), true)?,
    ];
    let mut run = Run {
        engine,
        kernel,
        links,
        pingers,
        began: Instant::now(),
        look: Duration::ZERO,
        connections: JoinSet::new(),
        waiting: VecDeque::new(),
        lookups: JoinSet::new(),
        names: BTreeMap::new(),
        done: BTreeMap::new(),
        next: 0,
        total,
        sent: 0,
        unsent: None,
        summary: Summary::default(),
        proxies: BTreeMap::new(),
    };
    let mut stop = pin!(stop);
    loop {
        let wake = run.turn(naming, &mut take).await?;
        if run.is_over() {
            break;
        }
        tokio::select! {
            () = &mut stop => return Err(Failure::Stopped),
            () = run.happens() => {}
            () = tokio::time::sleep(wake) => {}
        }
    }
    let mut summary = run.end()?;
    summary.warnings.append(&mut warnings);
    Ok(summary)
}

/// A number that nobody else's packets have. It need not be secret: who sees our packets can answer
/// for anybody anyway.
fn cookie() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn usual_rate(ranges: &[Range], links: &Links) -> u32 {
    let near =
        ranges.iter().all(|range| range.net().addr().is_ipv6() || links.attached(&range.net()));
    if near { NEAR_RATE } else { FAR_RATE }
}

fn subject(address: IpAddr, links: &Links) -> Subject {
    let way = match links.of(address) {
        _ if links.is_own(address) => Way::Own,
        Some((_, link)) if link.asks => Way::Near(link.asking),
        _ => Way::Far,
    };
    Subject { address, scope: 0, way }
}

/// Nobody goes through a network of IPv6: those are asked whom the kernel knows.
fn neighbours6(kernel: &mut Kernel, links: &Links, ranges: &[Range]) -> io::Result<Vec<Subject>> {
    let known = kernel.neighbours(true, links)?;
    let wanted = |ip: &IpAddr| ranges.iter().any(|range| range.net().contains(ip));
    let mut found: Vec<Subject> = known
        .iter()
        .filter(|one| one.mac.is_some() && wanted(&one.address))
        .map(|one| {
            let asking = links.links.get(&one.link).map(|link| link.asking).unwrap_or_default();
            Subject { address: one.address, scope: one.link, way: Way::Near(asking) }
        })
        .collect();
    found.sort_by_key(|subject| (subject.address, subject.scope));
    found.dedup_by_key(|subject| subject.address);
    Ok(found)
}

/// A sweep that goes on.
struct Run {
    engine: Engine,
    kernel: Kernel,
    links: Links,
    pingers: [Option<Pinger>; 2],
    began: Instant,
    look: Duration,
    connections: JoinSet<(SocketAddr, Port)>,
    waiting: VecDeque<(SocketAddr, Duration)>,
    lookups: JoinSet<(IpAddr, Option<String>)>,
    /// Names that are asked for: until when, and what was answered.
    names: BTreeMap<IpAddr, (Instant, Option<Option<String>>)>,
    /// Those that wait for others before them, or for a name.
    done: BTreeMap<u64, Host>,
    next: u64,
    total: u64,
    sent: u64,
    unsent: Option<io::Error>,
    summary: Summary,
    proxies: BTreeMap<Mac, usize>,
}

impl Run {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn is_over(&self) -> bool {
        self.engine.is_done() && self.done.is_empty()
    }

    /// Takes in what has come, sends what is due; returns how long nothing is to be done.
    async fn turn(
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
            if let Some((_, answer)) = self.names.get_mut(&address) {
                *answer = Some(name);
            }
        }
        let mut wake = Duration::from_secs(1);
        if self.engine.wants_neighbours() {
            let now = self.now();
            if now >= self.look {
                self.look_around()?;
                // A large table takes its time, of which it gets a tenth.
                let took = self.now() - now;
                self.look = self.now() + LOOK.max(took * 10);
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
        while self.connections.len() < MAX_CONNECTIONS
            && let Some((to, within)) = self.waiting.pop_front()
        {
            self.connections.spawn(connect(to, within));
        }
        for tell in self.engine.tells() {
            match tell {
                Tell::Up(address) => self.ask_name(address, naming),
                Tell::Done(number, mut host) => {
                    if host.own {
                        host.mac = self.links.of(host.address).and_then(|(_, link)| link.mac);
                    }
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
    async fn happens(&mut self) {
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
                if let Some((_, answer)) = self.names.get_mut(&address) {
                    *answer = Some(name);
                }
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

    fn look_around(&mut self) -> Result<(), Failure> {
        let explain = |error: io::Error| Failure::Socket(format!("netlink: {error}"));
        let mut known: BTreeMap<IpAddr, (Option<Mac>, Belief)> = BTreeMap::new();
        for (ip6, pinger) in [(false, &self.pingers[0]), (true, &self.pingers[1])] {
            if pinger.is_none() && ip6 {
                continue;
            }
            let all = self.kernel.neighbours(ip6, &self.links).map_err(explain)?;
            known.extend(all.into_iter().map(|one| (one.address, (one.mac, one.belief))));
        }
        let now = self.now();
        self.engine.neighbours(&known, now);
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
                Err(error) => return self.unsent = Some(error),
            }
        }
    }

    fn ask_name(&mut self, address: IpAddr, naming: &Naming) {
        self.summary.up += 1;
        let Some(reverse) = &naming.reverse else { return };
        // Nobody waits for a name: when many are on their way, the others go without.
        if naming.names.known(address).is_some() || self.lookups.len() >= MAX_LOOKUPS {
            return;
        }
        self.names.insert(address, (Instant::now() + NAME_BUDGET, None));
        let ask = reverse(address);
        self.lookups.spawn(async move {
            let name = tokio::time::timeout(NAME_BUDGET, ask).await;
            (address, name.ok().flatten())
        });
    }

    /// Hands on those whose turn it is; returns how long the next one waits for its name.
    fn hand_out(&mut self, naming: &Naming, take: &mut impl FnMut(Found, u64)) -> Option<Duration> {
        while let Some(host) = self.done.get(&self.next) {
            let asked = match self.names.get(&host.address) {
                Some((until, None)) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if !left.is_zero() {
                        return Some(left);
                    }
                    None
                }
                Some((_, Some(name))) => name.clone(),
                None => None,
            };
            self.names.remove(&host.address);
            let host = self.done.remove(&self.next)?;
            self.next += 1;
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

    fn end(mut self) -> Result<Summary, Failure> {
        if self.sent == 0
            && let Some(error) = self.unsent
        {
            return Err(Failure::Socket(format!("nothing could be sent: {error}")));
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
