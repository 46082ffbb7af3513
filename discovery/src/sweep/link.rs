//! What this machine's kernel knows of the networks that it is attached to: links, own addresses, and
//! neighbours. Asked over netlink; no right is needed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

/// Answers of one dump at most: what goes on beyond is broken.
const MAX_DATAGRAMS: usize = 10_000;

/// The address of a network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Whether its owner made it up, as phones do for each network: it names no vendor and may change.
    /// Machines of QEMU and containers of docker have beginnings of their own, and keep them.
    #[must_use]
    pub fn is_random(self) -> bool {
        let virtual_ones: [&[u8]; 2] = [&[0x52, 0x54, 0x00], &[0x02, 0x42]];
        self.0[0] & 0b11 == 0b10 && !virtual_ones.iter().any(|begin| self.0.starts_with(begin))
    }

    /// Reads `02:00:5e:10:00:01`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2)?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What the kernel believes of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// It is being asked for; so often so far.
    Asked(u32),
    /// It has answered within the last half minute or so.
    Reachable,
    /// It answered once; the kernel will ask again when it is spoken to.
    Old,
    /// It was asked for, and did not answer.
    Failed,
    /// Somebody wrote it down, which says nothing.
    Fixed,
}

/// A neighbour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Its address.
    pub address: IpAddr,
    /// The link.
    pub link: u32,
    /// The address of its card, as far as it is known.
    pub mac: Option<Mac>,
    /// What the kernel believes.
    pub belief: Belief,
    /// How long ago it has answered, as far as that is known.
    pub heard: Option<Duration>,
}

/// A link.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Its name, such as `eth0`.
    pub name: String,
    /// The address of its card.
    pub mac: Option<Mac>,
    /// Whether it is up, with a cable.
    pub up: bool,
    /// Whether it leads nowhere but to this machine.
    pub loopback: bool,
    /// Whether its kernel asks who has an address (ARP, neighbour discovery).
    pub asks: bool,
    /// How the kernel asks.
    pub asking: Asking,
}

/// How the kernel asks for neighbours on a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Asking {
    /// How often before it gives up (`mcast_solicit`).
    pub tries: u32,
    /// Questions that are counted before the first one (`ucast_solicit`).
    pub counted: u32,
    /// The time between two (`retrans_time_ms`).
    pub pause: Duration,
}

impl Default for Asking {
    fn default() -> Self {
        Self { tries: 3, counted: 3, pause: Duration::from_secs(1) }
    }
}

/// The networks that this machine is attached to.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// By their numbers.
    pub links: BTreeMap<u32, Link>,
    /// Own addresses with their networks, and the link of each.
    pub own: Vec<(IpNet, u32)>,
    /// What is at the other end of a cable that has two.
    pub peers: Vec<(IpNet, u32)>,
}

impl Links {
    /// Those of this machine, now.
    ///
    /// # Errors
    /// The system's.
    pub fn read() -> io::Result<Self> {
        Kernel::open()?.links()
    }

    /// The link on which an address is a neighbour.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> Option<(u32, &Link)> {
        let all = self.own.iter().chain(&self.peers);
        let near = all.filter(|(net, _)| net.contains(&address));
        let (_, number) = near.max_by_key(|(net, _)| net.prefix_len())?;
        Some((*number, self.links.get(number)?))
    }

    /// Whether an address is one of this machine's.
    #[must_use]
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.iter().any(|(net, _)| net.addr() == address)
    }

    /// The link that has an address of this machine's.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<&Link> {
        let (_, number) = self.own.iter().find(|(net, _)| net.addr() == address)?;
        self.links.get(number)
    }

    /// Whether all of a subnet is attached to this machine.
    #[must_use]
    pub fn attached(&self, subnet: &IpNet) -> bool {
        self.own.iter().chain(&self.peers).any(|(net, number)| {
            net.contains(subnet) && self.links.get(number).is_some_and(|link| link.up)
        })
    }
}

/// The kernel's door.
pub struct Kernel {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Kernel {
    /// Opens it.
    ///
    /// # Errors
    /// The system's.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, buffer: vec![0; 64 << 10] })
    }

    /// Links and own addresses.
    ///
    /// # Errors
    /// The system's.
    pub fn links(&mut self) -> io::Result<Links> {
        let mut found = Links::default();
        self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()), |message| {
            if let RouteNetlinkMessage::NewLink(message) = message {
                found.links.insert(message.header.index, link(&message));
            }
        })?;
        self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()), |message| {
            if let RouteNetlinkMessage::NewAddress(message) = message {
                let number = message.header.index;
                let (own, peer) = own(&message);
                found.own.extend(own.map(|net| (net, number)));
                found.peers.extend(peer.map(|net| (net, number)));
            }
        })?;
        Ok(found)
    }

    /// All neighbours of a family.
    ///
    /// # Errors
    /// The system's.
    pub fn neighbours(&mut self, ip6: bool, links: &Links) -> io::Result<Vec<Neighbour>> {
        let mut request = NeighbourMessage::default();
        request.header.family = if ip6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let mut found = Vec::new();
        self.dump(RouteNetlinkMessage::GetNeighbour(request), |message| {
            if let RouteNetlinkMessage::NewNeighbour(message) = message {
                found.extend(neighbour(&message, links));
            }
        })?;
        Ok(found)
    }

    fn dump(
        &mut self,
        request: RouteNetlinkMessage,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_DUMP | NLM_F_REQUEST;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.header.length as usize];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let wrong = |why: &dyn fmt::Display| io::Error::other(format!("netlink: {why}"));
        for _ in 0..MAX_DATAGRAMS {
            let length = self.socket.recv(&mut &mut self.buffer[..], 0)?;
            let mut rest = &self.buffer[..length];
            while rest.len() >= 16 {
                let size = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                if size < 16 || size > rest.len() {
                    return Err(wrong(&"a message without an end"));
                }
                // What this version does not understand is passed over.
                let read = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&rest[..size]);
                match read.map(|message| message.payload) {
                    Ok(NetlinkPayload::Done(_)) => return Ok(()),
                    Ok(NetlinkPayload::Error(error)) => return Err(error.to_io()),
                    Ok(NetlinkPayload::InnerMessage(message)) => take(message),
                    _ => {}
                }
                rest = &rest[size.next_multiple_of(4).min(rest.len())..];
            }
        }
        Err(wrong(&"an answer without an end"))
    }
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    let bytes: [u8; 6] = bytes.try_into().ok()?;
    (bytes != [0; 6]).then_some(Mac(bytes))
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        name: String::new(),
        mac: None,
        up: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        loopback: flags.contains(LinkFlags::Loopback),
        asks: !flags.intersects(LinkFlags::Noarp | LinkFlags::Loopback),
        asking: Asking::default(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = mac(bytes),
            _ => {}
        }
    }
    link.asking = asking(&link.name);
    link
}

fn asking(link: &str) -> Asking {
    let usual = Asking::default();
    let get = |name: &str| -> Option<u32> {
        let path = format!("/proc/sys/net/ipv4/neigh/{link}/{name}");
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    let pause = get("retrans_time_ms").map(|ms| Duration::from_millis(u64::from(ms)));
    Asking {
        tries: get("mcast_solicit").unwrap_or(usual.tries).max(1),
        counted: get("ucast_solicit").unwrap_or(usual.counted),
        pause: pause.unwrap_or(usual.pause).max(Duration::from_millis(10)),
    }
}

/// Our own end of a cable, and the other one's where there are only two.
fn own(message: &AddressMessage) -> (Option<IpNet>, Option<IpNet>) {
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Address(ip) => address = Some(*ip),
            _ => {}
        }
    }
    let net = |ip: IpAddr| IpNet::new(ip, message.header.prefix_len).ok();
    match (local, address) {
        (Some(local), Some(peer)) if local != peer => (Some(local.into()), net(peer)),
        (local, address) => (local.or(address).and_then(net), None),
    }
}

fn neighbour(message: &NeighbourMessage, links: &Links) -> Option<Neighbour> {
    let (mut address, mut card, mut probes, mut heard) = (None, None, 0, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => {
                address = Some(IpAddr::V4(*ip));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => {
                address = Some(IpAddr::V6(*ip));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => card = mac(bytes),
            NeighbourAttribute::Probes(count) => probes = *count,
            // In hundredths of a second, whatever the kernel's own clock.
            NeighbourAttribute::CacheInfo(info) => {
                heard = Some(Duration::from_millis(u64::from(info.confirmed) * 10));
            }
            _ => {}
        }
    }
    let link = message.header.ifindex;
    let counted = links.links.get(&link).map_or(0, |link| link.asking.counted);
    let belief = match message.header.state {
        NeighbourState::Incomplete => Belief::Asked(probes.saturating_sub(counted)),
        NeighbourState::Reachable => Belief::Reachable,
        NeighbourState::Stale | NeighbourState::Delay | NeighbourState::Probe => Belief::Old,
        NeighbourState::Failed => Belief::Failed,
        _ => Belief::Fixed,
    };
    Some(Neighbour { address: address?, link, mac: card, belief, heard })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards() {
        let mac = Mac::parse("02:00:5e:10:00:ff").expect("a card");
        assert_eq!((mac.to_string().as_str(), mac.is_random()), ("02:00:5e:10:00:ff", true));
        assert!(!Mac::parse("00:1b:21:10:00:ff").expect("a card").is_random());
        // Multicast is nobody's card, and no made-up one either.
        assert!(!Mac::parse("33:33:00:00:00:01").expect("a card").is_random());
        for wrong in
            ["", "02:00:5e:10:00", "02:00:5e:10:00:ff:00", "2:0:5e:10:0:ff", "zz:00:00:00:00:00"]
        {
            assert_eq!(Mac::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn loopback_is_attached_to_everything() {
        let links = Kernel::open().and_then(|mut kernel| kernel.links()).expect("netlink");
        let lo = links.links.values().find(|link| link.loopback).expect("loopback");
        assert!(!lo.asks && lo.name == "lo", "{lo:?}");
        let home = IpAddr::from([127, 0, 0, 1]);
        assert!(links.is_own(home) || !lo.up);
        assert!(links.of([203, 0, 113, 9].into()).is_none_or(|(_, link)| link.name != "lo"));
        // The whole table can be read, whatever is in it.
        let mut kernel = Kernel::open().expect("netlink");
        kernel.neighbours(false, &links).expect("neighbours");
        kernel.neighbours(true, &links).expect("neighbours");
    }
}
