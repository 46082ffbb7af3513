//! What keeps a sweep from being a nuisance: the kernel's tables are looked at first, and one sweep
//! goes at a time.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// The share of a table above which a sweep is put off.
const FULL: f64 = 0.8;
/// Addresses at once that the kernel looks for at most, however large its table is.
const WINDOW: usize = 256;
/// The kernel's own limits, where it does not tell them (in a network namespace).
const USUAL: (u64, u64) = (512, 1_024);
/// A name in the kernel that only one process has at a time, and that ends with it.
const NAME: &str = "watchpost-sweep";

/// Why a sweep is put off.
#[derive(Debug, thiserror::Error)]
pub enum PutOff {
    /// A table of the kernel is nearly full.
    #[error(
        "the kernel's {table} table has {used} of {limit} entries: the sweep is put off until there is room"
    )]
    Full {
        /// Which.
        table: &'static str,
        /// Entries that are in use.
        used: u64,
        /// Entries that there may be.
        limit: u64,
    },
    /// Another one is going on.
    #[error("another sweep goes on at this machine")]
    Busy,
    /// It is not known whether another one is going on.
    #[error("nobody can tell whether another sweep goes on: {0}")]
    Unknown(io::Error),
}

/// The right to sweep; it ends when it is dropped.
#[derive(Debug)]
pub struct Turn {
    _name: UnixDatagram,
}

impl Turn {
    /// Takes it.
    ///
    /// # Errors
    /// Somebody else has it.
    pub fn take() -> Result<Self, PutOff> {
        let name = SocketAddr::from_abstract_name(NAME).map_err(PutOff::Unknown)?;
        match UnixDatagram::bind_addr(&name) {
            Ok(socket) => Ok(Self { _name: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(PutOff::Busy),
            Err(error) => Err(PutOff::Unknown(error)),
        }
    }
}

/// The kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Connections that are tracked, and how many may be; `None`: none are.
    pub conntrack: Option<(u64, u64)>,
    /// Neighbours of IPv4, and how many may be.
    pub neighbours: (u64, u64),
    /// Above this many the kernel begins to forget them.
    pub soft: u64,
}

impl Tables {
    /// Reads them below `/proc`.
    #[must_use]
    pub fn read(proc: &Path) -> Self {
        let number = |name: &str| -> Option<u64> {
            std::fs::read_to_string(proc.join(name)).ok()?.trim().parse().ok()
        };
        let count = number("sys/net/netfilter/nf_conntrack_count");
        let most = number("sys/net/netfilter/nf_conntrack_max").filter(|most| *most > 0);
        let soft = number("sys/net/ipv4/neigh/default/gc_thresh2").unwrap_or(USUAL.0);
        let hard = number("sys/net/ipv4/neigh/default/gc_thresh3").unwrap_or(USUAL.1);
        // Not to be seen in a network namespace. The first column, in hexadecimal; one line for each processor, which all say the same.
        let entries = || {
            let text = std::fs::read_to_string(proc.join("net/stat/arp_cache")).ok()?;
            u64::from_str_radix(text.lines().nth(1)?.split_whitespace().next()?, 16).ok()
        };
        Self { conntrack: count.zip(most), neighbours: (entries().unwrap_or(0), hard), soft }
    }

    /// With what is known of the neighbours themselves: `all` that can be seen, of which so many have
    /// `failed`, whom the kernel forgets when it needs room.
    #[must_use]
    pub fn with_neighbours(mut self, all: usize, failed: usize) -> Self {
        let used = self.neighbours.0.max(all as u64);
        self.neighbours.0 = used.saturating_sub(failed as u64);
        self
    }

    /// Why a sweep is put off, if it is.
    ///
    /// # Errors
    /// A table that is nearly full.
    pub fn judge(&self) -> Result<(), PutOff> {
        let tables = [("connection", self.conntrack), ("neighbour", Some(self.neighbours))];
        for (table, counts) in tables {
            if let Some((used, limit)) = counts
                && used as f64 > limit as f64 * FULL
            {
                return Err(PutOff::Full { table, used, limit });
            }
        }
        Ok(())
    }

    /// How many addresses the kernel may look for at once.
    #[must_use]
    pub fn window(&self) -> usize {
        usize::try_from(self.soft / 2).unwrap_or(WINDOW).clamp(16, WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_tables_put_it_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            std::fs::write(path, text).expect("a file");
        };
        let judge = || Tables::read(folder.path()).judge().map_err(|why| why.to_string());
        let nothing = Tables::read(folder.path());
        assert_eq!((nothing.conntrack, nothing.window()), (None, 256));
        assert_eq!(judge(), Ok(()));
        put("sys/net/ipv4/neigh/default/gc_thresh2", "128\n");
        put("sys/net/ipv4/neigh/default/gc_thresh3", "1000\n");
        put("net/stat/arp_cache", "entries  allocs\n00000320  00000001\n00000320  00000009\n");
        assert_eq!(Tables::read(folder.path()).window(), 64);
        assert_eq!(judge(), Ok(()), "800 of 1000 is not above");
        put("net/stat/arp_cache", "entries  allocs\n00000321  00000001\n");
        let why = judge().expect_err("it is full");
        assert!(why.contains("neighbour table has 801 of 1000"), "{why}");
        let forgetting = Tables::read(folder.path()).with_neighbours(700, 650);
        assert_eq!(forgetting.neighbours, (801 - 650, 1_000));
        assert_eq!(nothing.with_neighbours(900, 10).neighbours, (890, 1_024));
        put("net/stat/arp_cache", "entries\n00000001\n");
        put("sys/net/netfilter/nf_conntrack_count", "900\n");
        put("sys/net/netfilter/nf_conntrack_max", "1000\n");
        assert!(judge().expect_err("it is full").contains("connection table has 900 of 1000"));
    }

    #[test]
    fn one_at_a_time() {
        // Another test of this process, or a sweep of this machine, may have it for a while.
        let first = (0..200).find_map(|_| {
            let taken = Turn::take().ok();
            if taken.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            taken
        });
        let first = first.expect("a turn");
        assert!(matches!(Turn::take(), Err(PutOff::Busy)));
        drop(first);
        assert!(Turn::take().is_ok());
    }
}
