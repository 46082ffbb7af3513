//! Counts the connections of each client, and those of them that have no complete request head, idle ones included.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// How many connections a client may have, as a multiple of those that may wait.
const ALL: usize = 4;

/// All clients of a server.
#[derive(Debug)]
pub(super) struct Clients {
    limit: usize,
    counts: Mutex<HashMap<IpAddr, Counts>>,
}

/// The connections of one client.
#[derive(Debug, Default)]
struct Counts {
    waiting: usize,
    all: usize,
}

impl Clients {
    /// No client yet; each may have `limit` connections without a complete head, as many again that
    /// are given no time, and four times as many in all.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, counts: Mutex::default() }
    }

    /// A new connection; `None`: its client has enough of them, or of those that say nothing. `close` is
    /// cancelled when it becomes one too many later.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        close: CancellationToken,
    ) -> Option<Client> {
        let address = holder(peer);
        let (waiting, before) = self.wait(address, 2 * self.limit, 1)?;
        let phase = Mutex::new(Phase::Waiting(waiting));
        let hasty = before >= self.limit;
        Some(Client { clients: Arc::clone(self), address, phase, close, hasty })
    }

    /// Counts one more connection that waits, of which `new` are new ones, unless there are so many already; and how
    /// many waited.
    fn wait(
        self: &Arc<Self>,
        address: IpAddr,
        most: usize,
        new: usize,
    ) -> Option<(Waiting, usize)> {
        let mut counts = self.lock();
        let count = counts.entry(address).or_default();
        let before = count.waiting;
        (before < most && count.all + new <= ALL * self.limit).then(|| {
            count.waiting += 1;
            count.all += new;
            (Waiting { clients: Arc::clone(self), address }, before)
        })
    }

    /// Takes a connection, or one that waits, out of the count.
    fn leave(&self, address: IpAddr, leave: impl FnOnce(&mut Counts)) {
        let mut counts = self.lock();
        if let Some(count) = counts.get_mut(&address) {
            leave(count);
            if count.waiting + count.all == 0 {
                counts.remove(&address);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Counts>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client of an address: with IPv6 the whole /64, which one machine has for itself. Link-local
/// addresses share one /64 and are counted one by one.
fn holder(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) if !ip.is_unicast_link_local() && !ip.is_loopback() => {
            Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into()
        }
        other => other,
    }
}

/// One connection among those that wait for a head, until it is dropped.
#[derive(Debug)]
struct Waiting {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.clients.leave(self.address, |count| count.waiting -= 1);
    }
}

#[derive(Debug)]
enum Phase {
    /// No complete head has come.
    Waiting(#[allow(dead_code, reason = "held, and counted until it is dropped")] Waiting),
    /// A request is being answered.
    Asked,
    /// There is an answer, which may have to be written yet.
    Answered,
}

/// The phase of a connection.
#[derive(Debug)]
pub(super) struct Client {
    clients: Arc<Clients>,
    address: IpAddr,
    phase: Mutex<Phase>,
    close: CancellationToken,
    hasty: bool,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.leave(self.address, |count| count.all -= 1);
    }
}

impl Client {
    /// Whether others of this client wait already, so that this one has to say at once what it wants.
    /// Without such room, a few silent connections from loopback would shut out all of this machine.
    pub(super) fn is_hasty(&self) -> bool {
        self.hasty
    }

    /// A complete head has come.
    pub(super) fn asked(&self) {
        self.set(Phase::Asked);
    }

    /// Its answer is there.
    pub(super) fn answered(&self) {
        self.set(Phase::Answered);
    }

    /// Everything that there was to write has been written.
    pub(super) fn flushed(&self) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*phase, Phase::Answered) {
            match self.clients.wait(self.address, self.clients.limit, 0) {
                Some((waiting, _)) => *phase = Phase::Waiting(waiting),
                // Enough others of this client wait for their next request.
                None => self.close.cancel(),
            }
        }
    }

    fn set(&self, next: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(clients: &Arc<Clients>, peer: &str) -> Option<Client> {
        clients.admit(peer.parse().expect("an address"), CancellationToken::new())
    }

    #[test]
    fn a_client_has_so_many_connections_without_a_head() {
        let clients = Arc::new(Clients::new(2));
        let one = admit(&clients, "127.0.0.1").expect("the first");
        let two = admit(&clients, "::ffff:127.0.0.1").expect("the second, in another spelling");
        assert!(!one.is_hasty() && !two.is_hasty());
        let more = ["127.0.0.1"; 2].map(|peer| admit(&clients, peer).expect("for a moment"));
        assert!(more.iter().all(Client::is_hasty));
        assert!(admit(&clients, "127.0.0.1").is_none(), "the fifth");
        assert!(admit(&clients, "127.0.0.2").is_some(), "of somebody else");
        drop(more);
        // One that has asked does not count until its answer is written.
        one.asked();
        let three = admit(&clients, "127.0.0.1").expect("room again");
        assert!(!three.is_hasty());
        one.flushed();
        assert!(!one.close.is_cancelled(), "it is not answered yet");
        one.answered();
        one.flushed();
        assert!(one.close.is_cancelled(), "one idle connection too many");
        drop((two, three));
        assert!(admit(&clients, "127.0.0.1").is_some());
        drop(one);
        assert!(clients.lock().is_empty(), "nothing stays behind");
    }

    #[test]
    fn a_client_has_so_many_connections_in_all() {
        let clients = Arc::new(Clients::new(1));
        let asked = || {
            let client = admit(&clients, "127.0.0.1")?;
            client.asked();
            Some(client)
        };
        let all: Vec<Client> = std::iter::from_fn(asked).take(10).collect();
        assert_eq!(all.len(), ALL);
        assert!(admit(&clients, "127.0.0.2").is_some(), "of somebody else");
        drop(all);
        assert!(clients.lock().is_empty(), "nothing stays behind");
    }

    #[test]
    fn addresses_of_one_holder_count_together() {
        let clients = Arc::new(Clients::new(1));
        let hasty = |peer| admit(&clients, peer).expect("admitted").is_hasty();
        let _one = admit(&clients, "fd00:1::1").expect("the first");
        assert!(hasty("fd00:1::2"), "the same /64");
        assert!(!hasty("fd00:1:0:1::1"));
        let _link = admit(&clients, "fe80::1").expect("link-local");
        assert!(!hasty("fe80::2"), "another machine of the link");
    }
}
