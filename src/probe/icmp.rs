//! An ICMP attempt: one echo request, one reply. Never retries: a retry would hide loss.
//!
//! surge-ping does the sending. It tells an answer by address and sequence number where the kernel
//! owns the identifier (datagram sockets), so there is one counter of sequence numbers for each
//! address in the whole process.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use surge_ping::{Client, Config, ICMP, IcmpPacket, PingIdentifier, PingSequence, SurgeError};

use crate::base::clock;
use crate::probe::attempt::{self, Tools};
use crate::probe::module::Icmp;
use crate::probe::trace::{Stop, Trace};
use crate::signal::outcome::{Icmp as Facts, Phase, Reason, Skip};

/// What is sent when the module asks for no size: 28 bytes, as blackbox_exporter sends.
const PAYLOAD: &[u8; 28] = b"Watchpost availability probe";
/// After how long a socket that could not be opened is tried again.
const REOPEN: Duration = Duration::from_secs(30);

/// Counters that are kept; beyond that names have led to more addresses than there are targets.
const MAX_COUNTERS: usize = 1 << 18;

/// What to do about a machine that lets us open no ICMP socket.
pub const NO_RIGHT: &str = "no right to send ICMP: set `sysctl -w net.ipv4.ping_group_range=\"0 2147483647\"`, \
    or give the program CAP_NET_RAW (systemd: AmbientCapabilities=CAP_NET_RAW; by hand: setcap cap_net_raw+ep)";

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    ip6: bool,
    ttl: Option<u32>,
    source: Option<IpAddr>,
}

enum Socket {
    Open(Client),
    Failed { why: String, at: Instant },
}

#[derive(Default)]
struct State {
    sockets: HashMap<Key, Socket>,
    sequences: HashMap<IpAddr, u16>,
}

/// The sockets and counters that all echoes share. Cheap to clone; one for each runtime.
#[derive(Clone, Default)]
pub struct Engine {
    state: Arc<Mutex<State>>,
}

impl Engine {
    /// A socket of this kind, opened when it is first asked for: a datagram socket first, then a raw
    /// one.
    fn client(&self, key: &Key) -> Result<Client, Stop> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::instant();
        match state.sockets.get(key) {
            Some(Socket::Open(client)) => return Ok(client.clone()),
            Some(Socket::Failed { why, at }) if now.duration_since(*at) < REOPEN => {
                return Err(Stop::Skip(Skip::NoSocket, why.clone()));
            }
            _ => {}
        }
        let mut config = Config::builder().kind(if key.ip6 { ICMP::V6 } else { ICMP::V4 });
        if let Some(source) = key.source {
            config = config.bind(SocketAddr::new(source, 0));
        }
        if let Some(ttl) = key.ttl {
            config = config.ttl(ttl);
        }
        match Client::new(&config.build()) {
            Ok(client) => {
                state.sockets.insert(key.clone(), Socket::Open(client.clone()));
                Ok(client)
            }
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::PermissionDenied => NO_RIGHT.to_owned(),
                    _ => format!("no ICMP socket: {error}"),
                };
                state.sockets.insert(key.clone(), Socket::Failed { why: why.clone(), at: now });
                Err(Stop::Skip(Skip::NoSocket, why))
            }
        }
    }

    fn next_sequence(&self, address: IpAddr) -> PingSequence {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.sequences.len() > MAX_COUNTERS {
            state.sequences.clear();
        }
        let counter = state.sequences.entry(address).or_default();
        *counter = counter.wrapping_add(1);
        PingSequence(*counter)
    }
}

pub(super) async fn probe(
    module: &Icmp,
    host: &str,
    timeout: Duration,
    tools: &Tools,
    trace: &mut Trace,
) -> Result<(), Stop> {
    trace.icmp = Some(Facts::default());
    let address = attempt::resolve(host, module.family, tools, trace).await?;
    trace.begin(Phase::Setup);
    let key = Key { ip6: address.is_ipv6(), ttl: module.ttl, source: module.source };
    let client = tools.icmp.client(&key)?;
    let sequence = tools.icmp.next_sequence(address);
    let identifier = PingIdentifier(std::process::id() as u16);
    let mut pinger = client.pinger(address, identifier).await;
    // The attempt's own timeout is the one that counts.
    pinger.timeout(timeout + Duration::from_secs(1));
    let filler: Vec<u8>;
    let payload = match module.payload_size {
        0 => &PAYLOAD[..],
        size => {
            filler = PAYLOAD.iter().copied().cycle().take(size).collect();
            &filler
        }
    };
    trace.end();
    trace.begin(Phase::Rtt);
    let (packet, rtt) = pinger.ping(sequence, payload).await.map_err(explain)?;
    let (kind, hops) = match packet {
        IcmpPacket::V4(packet) => (v4_kind(packet.get_icmp_type().0), packet.get_ttl()),
        IcmpPacket::V6(packet) => (v6_kind(packet.get_icmpv6_type().0), None),
    };
    kind?;
    trace.timed(Phase::Rtt, rtt);
    trace.icmp = Some(Facts { reply_hop_limit: hops });
    Ok(())
}

/// A raw socket hands over errors about our request as if they were replies (RFC 792).
fn v4_kind(kind: u8) -> Result<(), Stop> {
    match kind {
        0 => Ok(()),
        3 => Err(Stop::down(Reason::IcmpUnreachable, "destination unreachable")),
        11 => Err(Stop::down(Reason::IcmpTtlExceeded, "time to live exceeded")),
        other => {
            Err(Stop::down(Reason::UnexpectedResponse, format!("an ICMP message of type {other}")))
        }
    }
}

/// The same for ICMPv6 (RFC 4443).
fn v6_kind(kind: u8) -> Result<(), Stop> {
    match kind {
        129 => Ok(()),
        1 => Err(Stop::down(Reason::IcmpUnreachable, "destination unreachable")),
        3 => Err(Stop::down(Reason::IcmpTtlExceeded, "hop limit exceeded")),
        other => Err(Stop::down(
            Reason::UnexpectedResponse,
            format!("an ICMPv6 message of type {other}"),
        )),
    }
}

fn explain(error: SurgeError) -> Stop {
    match error {
        SurgeError::IOError(error) => error.into(),
        SurgeError::Timeout { .. } => Stop::down(Reason::IcmpTimeout, "no reply"),
        SurgeError::IdenticalRequests { .. } => {
            Stop::Skip(Skip::Overload, "65,536 echoes to one address are in flight".to_owned())
        }
        other => Stop::Skip(Skip::NoSocket, other.to_string()),
    }
}
