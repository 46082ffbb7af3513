//! Network interfaces, connections, queues, and the firewall's table of connections.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::BootTime;
use crate::host::filter::Filter;
use crate::host::points::Narrow;
use crate::host::read::network::{self, Interface, NEW_SYN_RECEIVED, SYN_RECEIVED, TCP_STATES};
use crate::host::scan;
use crate::host::scan::Readable;
use crate::host::scraper::{Every, Scraper, Turn};
use crate::host::source::{Kept, Trouble};
use crate::signal::names::host as names;

/// Megabits per second in bytes per second.
const MEGABIT: u64 = 125_000;

/// What is remembered of an interface.
struct Known {
    /// The kernel's number for it: another one under the same name is another interface.
    index: Option<i64>,
    speed: Kept,
    state: Kept,
    changes: Kept,
    last_changes: Option<u64>,
    bandwidth: Option<u64>,
    bytes: Option<(BootTime, [u64; 2])>,
}

/// Reads the network.
pub struct Network {
    filter: Filter,
    readable: Readable,
    known: BTreeMap<Arc<str>, Known>,
    /// Files are opened again now and then: an interface may have been renamed.
    refresh: Every,
    speeds: Every,
    softnet: Vec<[Narrow; 2]>,
    shares_network: Option<bool>,
}

impl Network {
    /// Reads the interfaces that pass.
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        Self {
            filter,
            readable: Readable::default(),
            known: BTreeMap::new(),
            refresh: Every::new(Duration::from_secs(60)),
            speeds: Every::new(Duration::from_secs(3600)),
            softnet: Vec::new(),
            shares_network: None,
        }
    }

    fn interfaces(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        if let Some(missing) = turn.source.foreign_network() {
            // Said, for the interfaces may be those of a container.
            turn.troubles.absent.insert(missing);
        }
        let bytes = turn.source.proc("net/dev")?;
        let (mut readable, mut found) = (std::mem::take(&mut self.readable), Vec::new());
        for interface in network::interfaces(bytes) {
            if self.filter.passes(interface.name) {
                let name = readable.name(interface.name);
                let raw = interface.name.to_vec();
                found.push((name, raw, interface.received, interface.transmitted));
            }
        }
        let names: HashSet<&[u8]> = found.iter().map(|(_, raw, ..)| raw.as_slice()).collect();
        readable.keep(|name| names.contains(name));
        self.readable = readable;
        if self.refresh.is_due(turn.now.boot) {
            for known in self.known.values_mut() {
                let again = |file: &Kept| Kept::short(file.path().to_owned());
                (known.speed, known.state, known.changes) =
                    (again(&known.speed), again(&known.state), again(&known.changes));
            }
        }
        let speeds = self.speeds.is_due(turn.now.boot);
        for (name, raw, received, transmitted) in &found {
            self.identity(name, raw, turn);
            let interface =
                Interface { name: name.as_bytes(), received: *received, transmitted: *transmitted };
            Self::traffic(&interface, name, turn);
            self.link(name, &interface, speeds, turn);
        }
        self.known.retain(|name, _| found.iter().any(|(have, ..)| have == name));
        Ok(())
    }

    /// Finds out whether an interface is still the one that had this name.
    fn identity(&mut self, name: &Arc<str>, raw: &[u8], turn: &mut Turn<'_>) {
        let folder = turn.source.root.sys.join("class/net").join(OsStr::from_bytes(raw));
        let index = turn.source.number(&folder.join("ifindex")).ok();
        let fresh = || Known {
            index,
            speed: Kept::short(folder.join("speed")),
            state: Kept::short(folder.join("operstate")),
            changes: Kept::short(folder.join("carrier_changes")),
            last_changes: None,
            bandwidth: None,
            bytes: None,
        };
        match self.known.get_mut(name) {
            Some(known) if known.index == index => {}
            Some(known) => {
                *known = fresh();
                turn.points.restart("device", name);
            }
            None => {
                self.known.insert(Arc::clone(name), fresh());
            }
        }
    }

    fn traffic(interface: &Interface<'_>, name: &str, turn: &mut Turn<'_>) {
        let points = &mut *turn.points;
        let Interface { received, transmitted, .. } = interface;
        for (direction, traffic) in [("receive", received), ("transmit", transmitted)] {
            let own = [("device", name), ("direction", direction)];
            points.whole(&names::NETWORK_IO, &own, traffic.bytes);
            points.whole(&names::NETWORK_PACKETS, &own, traffic.packets);
            points.whole(&names::NETWORK_ERRORS, &own, traffic.errors);
            points.whole(&names::NETWORK_DROPPED, &own, traffic.dropped);
        }
        if points.wants(&names::NETWORK_ERRORS_DETAIL) {
            let details = [
                ("receive", "fifo", received.fifo),
                ("receive", "frame", received.frame_or_collisions),
                ("transmit", "fifo", transmitted.fifo),
                ("transmit", "collisions", transmitted.frame_or_collisions),
                ("transmit", "carrier", transmitted.carrier),
            ];
            for (direction, kind, count) in details {
                let own = [("device", name), ("direction", direction), ("kind", kind)];
                points.whole(&names::NETWORK_ERRORS_DETAIL, &own, count);
            }
        }
    }

    fn link(
        &mut self,
        name: &Arc<str>,
        interface: &Interface<'_>,
        speeds: bool,
        turn: &mut Turn<'_>,
    ) {
        let Some(known) = self.known.get_mut(name) else { return };
        let wanted = [
            &names::NETWORK_BANDWIDTH,
            &names::NETWORK_BANDWIDTH_UTILIZATION,
            &names::NETWORK_UP,
            &names::NETWORK_CARRIER_CHANGES,
        ];
        if !turn.points.wants_any(&wanted) {
            return;
        }
        let id = ("hw.id", &**name);
        let changes = turn.source.kept(&mut known.changes).map(scan::first);
        let changes = turn.optional(changes).flatten();
        if let Some(changes) = changes {
            let own = [("device", &**name)];
            turn.points.whole(&names::NETWORK_CARRIER_CHANGES, &own, changes);
        }
        // Devices without link detection (tunnels, some USB) do not know.
        let up = turn.source.kept(&mut known.state).map(|state| match state.trim_ascii() {
            b"up" => Some(true),
            b"unknown" => None,
            _ => Some(false),
        });
        if let Some(Some(up)) = turn.optional(up) {
            turn.points.whole(&names::NETWORK_UP, &[id], u64::from(up));
        }
        // The speed changes with the link alone. Without a link, over the air and for devices that
        // are no hardware there is none: -1, or an error.
        if speeds || changes.is_none() || known.last_changes != changes {
            let speed = turn.source.kept(&mut known.speed).ok().and_then(scan::first);
            known.bandwidth = speed.filter(|speed| *speed > 0).map(|speed| speed * MEGABIT);
            known.last_changes = changes;
        }
        let now = [interface.received.bytes, interface.transmitted.bytes];
        let before = known.bytes.replace((turn.now.boot, now));
        let Some(limit) = known.bandwidth else { return };
        turn.points.whole(&names::NETWORK_BANDWIDTH, &[id], limit);
        let Some((then, before)) = before else { return };
        let passed = turn.now.boot.since(then).as_secs_f64();
        for (at, direction) in ["receive", "transmit"].into_iter().enumerate() {
            if passed > 0.0 && now[at] >= before[at] {
                let rate = (now[at] - before[at]) as f64 / passed;
                let own = [id, ("network.io.direction", direction)];
                let share = (rate / limit as f64).clamp(0.0, 1.0);
                turn.points.gauge(&names::NETWORK_BANDWIDTH_UTILIZATION, &own, share);
            }
        }
    }

    /// Whether calls and settings of the kernel are about the host's network: in a container with a
    /// network of its own they are about that one.
    fn is_host_network(&mut self, turn: &mut Turn<'_>) -> bool {
        let kernel = Arc::clone(&turn.source.kernel);
        let (net, prefix) = (turn.source.root.net(), turn.source.root.prefix.is_some());
        *self.shares_network.get_or_insert_with(|| !prefix || kernel.shares_network(&net))
    }

    fn connections(&mut self, turn: &mut Turn<'_>) {
        if !turn.points.wants(&names::NETWORK_CONNECTIONS) {
            return;
        }
        if !self.is_host_network(turn) {
            turn.trouble(Trouble::wrong("sock_diag".as_ref(), FOREIGN));
            return;
        }
        let kernel = Arc::clone(&turn.source.kernel);
        let counts = kernel.connections();
        let counts = counts.map_err(|errno| Trouble::errno("sock_diag".as_ref(), errno));
        let Some(mut counts) = turn.tell(counts) else { return };
        // Requests that are being answered are half-open, too.
        counts[SYN_RECEIVED] += counts[NEW_SYN_RECEIVED];
        for (number, state) in TCP_STATES {
            let own = [("protocol", "tcp"), ("state", state)];
            turn.points.whole(&names::NETWORK_CONNECTIONS, &own, counts[number]);
        }
    }

    fn conntrack(&mut self, turn: &mut Turn<'_>) {
        let mut files = vec![
            ("sys/net/netfilter/nf_conntrack_count", &names::CONNTRACK_COUNT),
            ("sys/net/netfilter/nf_conntrack_max", &names::CONNTRACK_MAX),
        ];
        // These settings tell of the network of who reads them, wherever they are mounted.
        if files.iter().any(|(_, metric)| turn.points.wants(metric)) && !self.is_host_network(turn)
        {
            turn.trouble(Trouble::wrong("nf_conntrack_count".as_ref(), FOREIGN));
            files.clear();
        }
        for (file, metric) in files {
            if turn.points.wants(metric) {
                let read = turn.source.proc(file).map(scan::first);
                if let Some(Some(entries)) = turn.optional(read) {
                    turn.points.whole(metric, &[], entries);
                }
            }
        }
        if turn.points.wants(&names::CONNTRACK_DROPS) {
            let kinds = ["drop", "early_drop", "insert_failed", "invalid"];
            let read = turn.source.proc("net/stat/nf_conntrack");
            let read = read.map(|bytes| network::conntrack(bytes, kinds));
            for (kind, count) in kinds.into_iter().zip(turn.optional(read).unwrap_or_default()) {
                if let Some(count) = count {
                    turn.points.whole(&names::CONNTRACK_DROPS, &[("kind", kind)], count);
                }
            }
        }
    }

    fn softnet(&mut self, turn: &mut Turn<'_>) {
        if !turn.points.wants_any(&[&names::SOFTNET_DROPPED, &names::SOFTNET_SQUEEZED]) {
            return;
        }
        let read = turn.source.proc("net/softnet_stat");
        let read = read.map(|bytes| network::softnet(bytes).collect::<Vec<_>>());
        let Some(rows) = turn.optional(read).filter(|rows| !rows.is_empty()) else { return };
        // Rows have no numbers: with another number of CPUs they are not the same ones.
        if rows.len() != self.softnet.len() {
            self.softnet = vec![[Narrow::default(); 2]; rows.len()];
        }
        let mut sums = [0_u64; 2];
        for ((dropped, squeezed), wide) in rows.into_iter().zip(&mut self.softnet) {
            sums[0] = sums[0].wrapping_add(wide[0].widen(dropped));
            sums[1] = sums[1].wrapping_add(wide[1].widen(squeezed));
        }
        turn.points.whole(&names::SOFTNET_DROPPED, &[], sums[0]);
        turn.points.whole(&names::SOFTNET_SQUEEZED, &[], sums[1]);
    }
}

const FOREIGN: &str = "the host has another network than we have: give this container the host's";

impl Scraper for Network {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let interfaces = [
            &names::NETWORK_IO,
            &names::NETWORK_PACKETS,
            &names::NETWORK_ERRORS,
            &names::NETWORK_DROPPED,
            &names::NETWORK_ERRORS_DETAIL,
            &names::NETWORK_BANDWIDTH,
            &names::NETWORK_BANDWIDTH_UTILIZATION,
            &names::NETWORK_UP,
            &names::NETWORK_CARRIER_CHANGES,
        ];
        self.connections(turn);
        self.conntrack(turn);
        self.softnet(turn);
        if turn.points.wants_any(&interfaces) {
            self.interfaces(turn)?;
        }
        Ok(())
    }
}
