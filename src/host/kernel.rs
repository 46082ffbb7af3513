//! System calls: file systems, the clock, connections, credentials.
//!
//! The one file with `unsafe` in it: no safe wrapper of `adjtimex`, or of `setuid` for all threads, is among the crates
//! that we use.
#![allow(unsafe_code, reason = "adjtimex and setuid have no safe wrapper; see the blocks")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use crate::host::read::network;
use crate::host::statfs::Stuck;

/// What a file system says of itself, in bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The size of a block.
    pub block: u64,
    /// Blocks that there are.
    pub blocks: u64,
    /// Blocks that are free.
    pub free: u64,
    /// Blocks that are free for everybody.
    pub available: u64,
    /// Inodes that there are; 0 where there are none to be counted.
    pub files: u64,
    /// Inodes that are free.
    pub files_free: u64,
    /// The number of the device, where it is known: it tells whose numbers these are.
    pub device: Option<(u32, u32)>,
}

/// What the kernel knows of its clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clock {
    /// Seconds between the clock and its source.
    pub offset: f64,
    /// Seconds that it may be off.
    pub max_error: f64,
    /// By how much it is made faster: 1e-6 is one second in eleven days.
    pub frequency: f64,
    /// Whether a time service keeps it right.
    pub synchronized: bool,
}

/// How many TCP connections are in each state, by the kernel's numbers for states (1 to 11).
pub type Connections = [u64; 13];

/// The calls. Tests have answers of their own.
pub trait Kernel: Send + Sync {
    /// Asks a file system. May never return: a mount whose server is gone.
    ///
    /// # Errors
    /// What the kernel says.
    fn statfs(&self, mount_point: &Path) -> Result<Usage, Errno>;

    /// Asks for the clock's state.
    ///
    /// # Errors
    /// What the kernel says.
    fn clock(&self) -> Result<Clock, Errno>;

    /// Counts TCP connections, of both families together.
    ///
    /// # Errors
    /// What the kernel says.
    fn connections(&self) -> Result<Connections, Errno>;

    /// Whether the network whose files are in this folder is ours: connections are counted there.
    fn shares_network(&self, net: &Path) -> bool;

    /// The name of this machine.
    fn host_name(&self) -> String {
        host_name()
    }

    /// The mounts that do not answer.
    fn stuck(&self) -> &Stuck {
        static STUCK: Stuck = Stuck::new(BTreeMap::new());
        &STUCK
    }
}

/// The name of this machine.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Makes this process, with all its threads, one of another user and group, without supplementary groups and for good.
///
/// # Errors
/// The kernel's error; the process must end then, because a part may have been done.
pub fn become_user(user: u32, group: u32) -> std::io::Result<()> {
    let done = |result: i32| match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: no group is read from the pointer, because there are none.
    done(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: the argument is a number.
    done(unsafe { libc::setgid(group) })?;
    // SAFETY: as above.
    done(unsafe { libc::setuid(user) })?;
    let (is_user, is_group) = (rustix::process::getuid(), rustix::process::getgid());
    if (is_user.as_raw(), is_group.as_raw()) != (user, group)
        || rustix::process::geteuid() != is_user
    {
        return Err(std::io::Error::other("the kernel has not changed the user"));
    }
    Ok(())
}

/// The kernel that we run on.
#[derive(Clone, Copy, Debug)]
pub struct Real;

impl Kernel for Real {
    fn statfs(&self, mount_point: &Path) -> Result<Usage, Errno> {
        let stat = rustix::fs::statvfs(mount_point)?;
        // File systems count in fragments, not in blocks of the best size for reading.
        let device = rustix::fs::stat(mount_point)
            .ok()
            .map(|stat| (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev)));
        let block = if stat.f_frsize > 0 { stat.f_frsize } else { stat.f_bsize };
        Ok(Usage {
            block,
            blocks: stat.f_blocks,
            free: stat.f_bfree,
            available: stat.f_bavail,
            files: stat.f_files,
            files_free: stat.f_ffree,
            device,
        })
    }

    fn clock(&self) -> Result<Clock, Errno> {
        // SAFETY: all fields of `timex` are plain integers, for which zero is a value.
        let mut timex: libc::timex = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a `timex` of our own that lives through the call; `modes` is 0,
        // so that nothing is changed.
        let state = unsafe { libc::adjtimex(&raw mut timex) };
        if state < 0 {
            let code = std::io::Error::last_os_error().raw_os_error();
            return Err(code.map_or(Errno::IO, Errno::from_raw_os_error));
        }
        let unit = if timex.status & libc::STA_NANO != 0 { 1e-9 } else { 1e-6 };
        Ok(Clock {
            offset: timex.offset as f64 * unit,
            max_error: timex.maxerror as f64 * 1e-6,
            frequency: timex.freq as f64 / 65_536e6,
            synchronized: state != libc::TIME_ERROR,
        })
    }

    fn connections(&self) -> Result<Connections, Errno> {
        let mut counts = Connections::default();
        // The kernel keeps the number of those that work, and of those that the other side has closed.
        // The others are few on most machines.
        let working = working();
        let states = if working.is_some() { !(1 << ESTABLISHED) } else { u32::MAX };
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            match count(family, states, &mut counts) {
                // A kernel without IPv6.
                Err(Errno::NOENT) if family == libc::AF_INET6 as u8 => {}
                result => result?,
            }
        }
        if let Some(working) = working {
            counts[ESTABLISHED] = working.saturating_sub(counts[CLOSE_WAIT]);
        }
        Ok(counts)
    }

    fn shares_network(&self, net: &Path) -> bool {
        // The links tell exactly, but only root may follow those of other processes.
        let link = |path: &Path| std::fs::read_link(path).ok();
        let theirs = net.parent().and_then(|process| link(&process.join("ns/net")));
        if let (Some(ours), Some(theirs)) = (link(Path::new("/proc/self/ns/net")), theirs) {
            return ours == theirs;
        }
        let names = |folder: &Path| -> Option<Vec<Vec<u8>>> {
            let bytes = std::fs::read(folder.join("dev")).ok()?;
            let mut names: Vec<Vec<u8>> =
                network::interfaces(&bytes).map(|interface| interface.name.to_vec()).collect();
            names.sort();
            Some(names)
        };
        names(net).is_none_or(|theirs| names(Path::new("/proc/self/net")) == Some(theirs))
    }
}

/// `NETLINK_SOCK_DIAG`.
const SOCK_DIAG: i32 = 4;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x1 | 0x300;
/// The bytes of a netlink header.
const HEADER: usize = 16;
/// No kernel takes longer between two parts of an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The kernel's numbers for states.
const ESTABLISHED: usize = 1;
const CLOSE_WAIT: usize = 8;

/// How many connections of both families are established or wait to be closed by us, by the kernel's
/// own count.
fn working() -> Option<u64> {
    let bytes = std::fs::read("/proc/thread-self/net/snmp").ok()?;
    let [count] = network::Columns::new(&bytes).get("Tcp:", ["CurrEstab"]);
    count
}

/// Counts the TCP sockets of a family that are in some states (a bit for each) by asking sock_diag(7)
/// for all of them, without details.
fn count(family: u8, states: u32, counts: &mut Connections) -> Result<(), Errno> {
    let errno =
        |error: std::io::Error| error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error);
    let mut socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW.cloexec(),
        Some(Protocol::from(SOCK_DIAG)),
    )
    .map_err(errno)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(errno)?;
    socket.write_all(&request(family, states)).map_err(errno)?;
    let mut buffer = vec![0; 32 << 10];
    loop {
        let length = match socket.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.map_err(errno)?,
        };
        if length == 0 || tally(&buffer[..length], counts)? {
            return Ok(());
        }
    }
}

/// `nlmsghdr` and `inet_diag_req_v2` for the TCP sockets of a family in some states.
fn request(family: u8, states: u32) -> Vec<u8> {
    const LENGTH: usize = HEADER + 56;
    let mut request = Vec::with_capacity(LENGTH);
    request.extend((LENGTH as u32).to_ne_bytes());
    request.extend(BY_FAMILY.to_ne_bytes());
    request.extend(DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([family, libc::IPPROTO_TCP as u8, 0, 0]);
    request.extend(states.to_ne_bytes());
    request.resize(LENGTH, 0);
    request
}

/// Counts the sockets of one datagram; `true` when it was the last.
fn tally(mut rest: &[u8], counts: &mut Connections) -> Result<bool, Errno> {
    while rest.len() >= HEADER {
        let word =
            |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let length = word(0) as usize;
        if length < HEADER || length > rest.len() {
            return Err(Errno::BADMSG);
        }
        match u16::from_ne_bytes([rest[4], rest[5]]) {
            DONE => return Ok(true),
            ERROR => {
                let code = if length >= HEADER + 4 { word(HEADER) as i32 } else { 0 };
                return Err(Errno::from_raw_os_error(code.saturating_neg().max(1)));
            }
            // The second byte of `inet_diag_msg` is the state.
            BY_FAMILY => {
                let state = rest.get(HEADER + 1).copied().unwrap_or_default();
                if let Some(count) = counts.get_mut(usize::from(state)) {
                    *count += 1;
                }
            }
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

/// Whether the wall clock is kept right by a time service. Where nobody may ask, it is believed.
#[must_use]
pub fn is_synchronized() -> bool {
    Real.clock().map_or(true, |clock| clock.synchronized)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_counted() {
        let before = Real.connections().expect("sock_diag");
        let listeners: Vec<std::net::TcpListener> = ["127.0.0.1:0", "127.0.0.1:0", "[::1]:0"]
            .iter()
            .filter_map(|address| std::net::TcpListener::bind(address).ok())
            .collect();
        let after = Real.connections().expect("sock_diag");
        assert!(listeners.len() >= 2);
        // Other tests open and close sockets, too.
        assert!(after[10] + 10 > before[10] && after[10] >= listeners.len() as u64);
    }

    /// What the kernel counts is what it would list.
    #[test]
    fn the_short_way_counts_the_same() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let connect = |_| std::net::TcpStream::connect(address).expect("a connection");
        let clients: Vec<std::net::TcpStream> = (0..50).map(connect).collect();
        let accept = |_| listener.accept().expect("a connection").0;
        let mut servers: Vec<std::net::TcpStream> = (0..50).map(accept).collect();
        // The other side of these has closed.
        let some = servers.split_off(40);
        drop(some);
        let mut long = Connections::default();
        for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
            count(family, u32::MAX, &mut long).expect("sock_diag");
        }
        let short = Real.connections().expect("sock_diag");
        // Other tests open and close sockets, too.
        assert!(short[ESTABLISHED].abs_diff(long[ESTABLISHED]) < 20, "{short:?} {long:?}");
        assert!(short[CLOSE_WAIT] >= 10 && short[ESTABLISHED] >= 80, "{short:?}");
        assert_eq!(clients.len(), 50);
    }

    #[test]
    fn broken_answers_are_errors() {
        let mut counts = Connections::default();
        let mut message = request(2, u32::MAX);
        message[0] = 200;
        assert_eq!(tally(&message, &mut counts), Err(Errno::BADMSG));
        let mut error = vec![0; 20];
        error[0] = 20;
        error[4] = 2;
        error[16..20].copy_from_slice(&(-2_i32).to_ne_bytes());
        assert_eq!(tally(&error, &mut counts), Err(Errno::NOENT));
        assert_eq!(tally(&[], &mut counts), Ok(false));
    }

    #[test]
    fn the_clock_can_be_read_without_rights() {
        let clock = Real.clock().expect("adjtimex");
        assert!(clock.max_error >= 0.0 && clock.frequency.abs() < 0.001);
    }
}
