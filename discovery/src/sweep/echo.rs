//! Echo requests and replies of ICMP, and the socket that they go through.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// What a request says besides who sent it: anybody who looks at the wire finds out.
const WHO: &str = concat!("Watchpost/", env!("CARGO_PKG_VERSION"), " sweep of this network");
/// The part before it: the sweep's own number, and when it was sent.
const STAMP: usize = 16;
/// What is asked of the kernel for answers that are not read yet, in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who sent it.
    pub from: IpAddr,
    /// The number of the request.
    pub number: u16,
    /// When the request was sent, since the sweep began.
    pub sent: Duration,
}

/// A request: a header of 8 bytes, and a payload that says who we are.
#[must_use]
pub fn request(ip6: bool, identifier: u16, number: u16, cookie: u64, sent: Duration) -> Vec<u8> {
    let mut packet = Vec::with_capacity(8 + STAMP + WHO.len());
    packet.extend([if ip6 { 128 } else { 8 }, 0, 0, 0]);
    packet.extend(identifier.to_be_bytes());
    packet.extend(number.to_be_bytes());
    packet.extend(cookie.to_be_bytes());
    packet.extend((sent.as_nanos() as u64).to_be_bytes());
    packet.extend(WHO.as_bytes());
    // That of ICMPv6 has addresses in it, and is the kernel's business.
    if !ip6 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// Reads a reply to one of our requests; anything else is none. `header`: whether an IPv4 header may
/// stand before it, as raw sockets have it.
#[must_use]
pub fn reply(bytes: &[u8], ip6: bool, header: bool, cookie: u64) -> Option<(u16, Duration)> {
    let packet = match header && !ip6 {
        true => bytes.get(usize::from(bytes.first()? & 0x0f) * 4..)?,
        false => bytes,
    };
    let kind = *packet.first()?;
    if kind != if ip6 { 129 } else { 0 } || *packet.get(1)? != 0 {
        return None;
    }
    let number = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?);
    let own = u64::from_be_bytes(packet.get(8..16)?.try_into().ok()?);
    let sent = u64::from_be_bytes(packet.get(16..24)?.try_into().ok()?);
    (own == cookie).then_some((number, Duration::from_nanos(sent)))
}

/// The checksum of the internet (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A socket for echoes.
pub struct Pinger {
    socket: UdpSocket,
    ip6: bool,
    raw: bool,
    identifier: u16,
    cookie: u64,
}

impl Pinger {
    /// Opens a socket: one for datagrams, which needs no right where the system allows it, or else a
    /// raw one. Must be called within a runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn open(ip6: bool, cookie: u64) -> io::Result<Self> {
        let (domain, protocol) = match ip6 {
            true => (Domain::IPV6, Protocol::ICMPV6),
            false => (Domain::IPV4, Protocol::ICMPV4),
        };
        let open = |kind| Socket::new(domain, kind, Some(protocol));
        let (socket, raw) = match open(Type::DGRAM) {
            Ok(socket) => (socket, false),
            Err(_) => (open(Type::RAW)?, true),
        };
        socket.set_nonblocking(true)?;
        if !ip6 {
            // Who names the address of broadcast has it asked.
            socket.set_broadcast(true)?;
        }
        // More than the system allows is not given, which is no fault.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { socket, ip6, raw, identifier: cookie as u16, cookie })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The system's; `WouldBlock` when there is no room.
    pub fn send(&self, to: IpAddr, scope: u32, number: u16, now: Duration) -> io::Result<()> {
        let packet = request(self.ip6, self.identifier, number, self.cookie, now);
        let to: SocketAddr = match to {
            IpAddr::V4(ip) => (ip, 0).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, 0, 0, scope).into(),
        };
        self.socket.try_send_to(&packet, to).map(|_| ())
    }

    /// A reply that is there; `None`: there is none. Other people's packets are passed over.
    ///
    /// # Errors
    /// The system's.
    pub fn heard(&self) -> io::Result<Option<Reply>> {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = match self.socket.try_recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                // An error that came back for somebody who was asked says nothing of this socket.
                Err(error) if error.kind() == io::ErrorKind::Interrupted || is_theirs(&error) => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some((number, sent)) = reply(&buffer[..length], self.ip6, self.raw, self.cookie)
            {
                return Ok(Some(Reply { from: from.ip(), number, sent }));
            }
        }
    }

    /// Waits until there may be something to hear.
    ///
    /// # Errors
    /// The system's.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }
}

/// Whether an error is about somebody who was asked.
pub(super) fn is_theirs(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_packet_of_rfc_792() {
        let packet = request(false, 0x1234, 7, 42, Duration::from_nanos(9));
        assert_eq!(packet[..2], [8, 0]);
        assert_eq!(packet[4..8], [0x12, 0x34, 0, 7]);
        // The sum over everything, itself included, is nothing.
        assert_eq!(checksum(&packet), 0);
        assert!(String::from_utf8_lossy(&packet).contains("Watchpost/"));
        assert_eq!(request(true, 1, 1, 1, Duration::ZERO)[..4], [128, 0, 0, 0]);
    }

    #[test]
    fn only_our_own_replies_are_heard() {
        let sent = Duration::from_millis(3);
        let mut packet = request(false, 1, 7, 42, sent);
        assert_eq!(reply(&packet, false, false, 42), None, "a request is no reply");
        packet[0] = 0;
        assert_eq!(reply(&packet, false, false, 42), Some((7, sent)));
        assert_eq!(reply(&packet, false, false, 43), None);
        assert_eq!(reply(&packet, true, false, 42), None);
        let whole: Vec<u8> = [0x45].into_iter().chain([0; 19]).chain(packet.clone()).collect();
        assert_eq!(reply(&whole, false, true, 42), Some((7, sent)));
        packet[1] = 3;
        assert_eq!(reply(&packet, false, false, 42), None);
        // Any bytes are something, or nothing; none of them ends the sweep.
        for length in 0..whole.len() {
            let _ = reply(&whole[..length], false, true, 42);
            let _ = reply(&whole[..length], true, false, 42);
        }
        assert_eq!(reply(&[0xff; 20], false, true, 42), None);
    }
}
