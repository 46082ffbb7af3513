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
mod run;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use self::chance::{Effort, Loss};
use self::echo::Pinger;
use self::engine::{Engine, Pace, Subject, Way};
use self::guard::{PutOff, Tables, Turn};
use self::link::{Belief, Kernel, Links, Mac};
use self::range::{Range, Refusal};
use self::run::Run;
use crate::names::{Name, Names};

/// Packets a second, where all addresses are on links of this machine.
pub const NEAR_RATE: u32 = 1_000;
/// Packets a second, where routers are between.
pub const FAR_RATE: u32 = 256;

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
    /// The link on which it is a neighbour; 0: none.
    pub scope: u32,
    /// How it is known that somebody is there; `None`: nobody is.
    pub by: Option<By>,
    /// Whether it could be asked at all.
    pub asked: bool,
    /// Whether it is this machine's own address.
    pub own: bool,
    /// The shortest time to an echo reply.
    pub rtt: Option<Duration>,
    /// The address of its card.
    pub mac: Option<Mac>,
    /// Whether an echo was sent to it.
    pub pinged: bool,
    /// How long ago it told its card's address, when that is all that is known of it.
    pub heard: Option<Duration>,
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
    /// Addresses that could not be asked, because the kernel's table of neighbours had no room for
    /// them, or because nothing could be sent to them.
    pub unasked: u64,
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
    #[error("{0}")]
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
    range::judge(&settings.ranges, Some(&links), settings.force).map_err(|why| {
        if why.can_be_forced() { Failure::Refused(why) } else { Failure::Impossible(why) }
    })?;
    let known = kernel.neighbours(false, &links).map_err(explain)?;
    let failed = known.iter().filter(|one| one.belief == Belief::Failed).count();
    let tables = Tables::read(Path::new("/proc")).with_neighbours(known.len(), failed);
    tables.judge()?;
    let _turn = Turn::take()?;

    // One address is asked, whatever its kind; but what means something on one link only is known by
    // the kernel, or not at all.
    let by_neighbours = |range: &&Range| match range.net().addr() {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => range.count() == 0 || ip.is_unicast_link_local(),
    };
    let (ip6, listed): (Vec<Range>, Vec<Range>) = settings.ranges.iter().partition(by_neighbours);
    let near6 = match ip6.is_empty() {
        true => Vec::new(),
        false => neighbours6(&mut kernel, &links, &ip6).map_err(explain)?,
    };
    let total = listed.iter().map(Range::count).sum::<u64>() + near6.len() as u64;
    let rate = settings.rate.unwrap_or_else(|| usual_rate(&settings.ranges, &links));
    let pace = Pace {
        effort: settings.effort,
        rate,
        window: tables.window(),
        ports: settings.ports.clone(),
    };
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
        open(settings.ranges.iter().any(|range| range.net().addr().is_ipv6()), true)?,
    ];
    let around = links.clone();
    let echoes = pingers.each_ref().map(Option::is_some);
    let subjects = range::addresses(listed).map(move |address| {
        let subject = subject(address, &around);
        match subject.way {
            // Without an echo nothing makes the kernel ask for a neighbour, but a connection does.
            Way::Near(_) if !echoes[usize::from(address.is_ipv6())] => {
                Subject { way: Way::Far, ..subject }
            }
            _ => subject,
        }
    });
    let engine = Engine::new(pace, subjects.chain(near6));

    let mut run = Run::new(engine, kernel, links, pingers, total);
    // What the kernel asks for already is not our doing.
    run.look_around()?;
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
    match links.of(address) {
        _ if links.is_own(address) => Subject { address, scope: 0, way: Way::Own },
        Some((scope, link)) if link.asks => Subject { address, scope, way: Way::Near(link.asking) },
        _ => Subject { address, scope: 0, way: Way::Far },
    }
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
