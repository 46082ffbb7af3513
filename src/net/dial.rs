//! Opens one TCP connection to one address, and names what an I/O error means. Never retries.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use tokio::net::{TcpSocket, TcpStream};

use crate::net::paced::Paced;

/// What went wrong on the way to a peer, or here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing listens.
    Refused,
    /// The peer, or something between, cut the connection.
    Reset,
    /// Nobody answered before the kernel gave up.
    Timeout,
    /// No route to the network.
    NetworkUnreachable,
    /// No way to the host.
    HostUnreachable,
    /// The peer closed before it should.
    Eof,
    /// Ours: no file descriptor or buffer is left.
    NoDescriptor,
    /// The kernel has no room.
    NoBuffer,
    /// Ours: the socket cannot be opened or bound.
    NoSocket,
    /// None of these.
    Other,
}

/// Names an I/O error.
#[must_use]
pub fn fault_of(error: &io::Error) -> Fault {
    if let Some(errno) = Errno::from_io_error(error) {
        match errno {
            Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::NONET
            | Errno::NOPROTOOPT
            | Errno::ACCESS
            | Errno::INVAL => {
                return Fault::NetworkUnreachable;
            }
            Errno::HOSTUNREACH | Errno::HOSTDOWN => return Fault::HostUnreachable,
            Errno::MFILE | Errno::NFILE => return Fault::NoDescriptor,
            Errno::NOBUFS | Errno::NOMEM => return Fault::NoBuffer,
            Errno::ADDRNOTAVAIL | Errno::ADDRINUSE | Errno::PERM | Errno::AFNOSUPPORT => {
                return Fault::NoSocket;
            }
            _ => {}
        }
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Fault::Refused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Fault::Reset,
        io::ErrorKind::TimedOut => Fault::Timeout,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::NotConnected => Fault::Eof,
        _ => Fault::Other,
    }
}

/// An open connection.
pub type Connection = Paced<TcpStream>;

/// Opens a connection, from `source` when one is given.
///
/// # Errors
/// The error of the kernel; [`fault_of`] names it.
pub async fn connect(to: SocketAddr, source: Option<IpAddr>) -> io::Result<Connection> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(to).await?;
    // Without this the kernel may wait for more to send, and the wait would look like the target's.
    stream.set_nodelay(true)?;
    Ok(Paced::new(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_names() {
        for (errno, fault) in [
            (Errno::CONNREFUSED, Fault::Refused),
            (Errno::CONNRESET, Fault::Reset),
            (Errno::TIMEDOUT, Fault::Timeout),
            (Errno::NETUNREACH, Fault::NetworkUnreachable),
            (Errno::HOSTUNREACH, Fault::HostUnreachable),
            (Errno::MFILE, Fault::NoDescriptor),
            (Errno::NOBUFS, Fault::NoBuffer),
            (Errno::ADDRNOTAVAIL, Fault::NoSocket),
            (Errno::ISDIR, Fault::Other),
        ] {
            assert_eq!(fault_of(&io::Error::from(errno)), fault, "{errno:?}");
        }
    }
}
