//! Counts the connections of each client that have no complete request head, idle ones included.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// All clients of a server.
#[derive(Debug)]
pub(super) struct Clients {
    limit: usize,
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

impl Clients {
    /// No client yet; each may have `limit` connections without a complete head.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, waiting: Mutex::default() }
    }

    /// A new connection; `None`: its client has enough of them that say nothing. `close` is cancelled
    /// when it becomes one too many later.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        close: CancellationToken,
    ) -> Option<Client> {
        let address = holder(peer);
        let waiting = self.wait(address)?;
        let phase = Mutex::new(Phase::Waiting(waiting));
        Some(Client { clients: Arc::clone(self), address, phase, close })
    }

    fn wait(self: &Arc<Self>, address: IpAddr) -> Option<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(address).or_default();
        (*count < self.limit).then(|| {
            *count += 1;
            Waiting { clients: Arc::clone(self), address }
        })
    }
}

/// Who holds an address: of IPv6 it is the whole /64, which one machine has for itself. Link-local
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
        let mut waiting = self.clients.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.address);
            }
        }
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

/// What a connection does now.
#[derive(Debug)]
pub(super) struct Client {
    clients: Arc<Clients>,
    address: IpAddr,
    phase: Mutex<Phase>,
    close: CancellationToken,
}

impl Client {
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
            match self.clients.wait(self.address) {
                Some(waiting) => *phase = Phase::Waiting(waiting),
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
        assert!(admit(&clients, "127.0.0.1").is_none(), "the third");
        assert!(admit(&clients, "127.0.0.2").is_some(), "of somebody else");
        // One that has asked does not count until its answer is written.
        one.asked();
        let three = admit(&clients, "127.0.0.1").expect("room again");
        one.flushed();
        assert!(!one.close.is_cancelled(), "it is not answered yet");
        one.answered();
        one.flushed();
        assert!(one.close.is_cancelled(), "one idle connection too many");
        drop((two, three));
        assert!(admit(&clients, "127.0.0.1").is_some());
        drop(one);
        assert!(clients.waiting.lock().expect("sound").is_empty(), "nothing stays behind");
    }

    #[test]
    fn addresses_of_one_holder_count_together() {
        let clients = Arc::new(Clients::new(1));
        let _one = admit(&clients, "fd00:1::1").expect("the first");
        assert!(admit(&clients, "fd00:1::2").is_none(), "the same /64");
        assert!(admit(&clients, "fd00:1:0:1::1").is_some());
        let _link = admit(&clients, "fe80::1").expect("link-local");
        assert!(admit(&clients, "fe80::2").is_some(), "another machine of the link");
    }
}
