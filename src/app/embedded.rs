//! The embedded default: what this machine serves is watched, nothing leaves the machine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, all_processes};
use watchpost_targets::label::HUMAN_NAME;
use watchpost_targets::{Labels, Origin, Target};

use crate::base::text::foreign;
use crate::config::plan::{Inline, Receiver};
use crate::signal::names::off_by_default;

/// How often the machine is looked at again.
pub const REFRESH: Duration = Duration::from_secs(60);
/// How often what it serves is probed.
const INTERVAL: Duration = Duration::from_secs(5);
/// Ports that are watched at most.
const MAX_PORTS: usize = 64;

/// A port that somebody listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listening {
    address: SocketAddr,
    inode: u64,
}

/// The receivers of the embedded default. `own` is our own page, which is left out.
#[must_use]
pub fn receivers(own: SocketAddr) -> Vec<Receiver> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    let listening =
        tables.into_iter().flatten().flatten().filter(|entry| entry.state == TcpState::Listen);
    let listening: Vec<Listening> = listening
        .map(|entry: TcpNetEntry| Listening { address: entry.local_address, inode: entry.inode })
        .collect();
    let owners = owners(&listening.iter().map(|l| l.inode).collect());
    let ports = choose(&listening, &owners, own);
    let receiver = |name: &str, module: &str, targets: Vec<(String, String)>| Receiver {
        name: format!("probe/{name}"),
        job: name.to_owned(),
        interval: INTERVAL,
        timeout: None,
        module: Some(module.to_owned()),
        labels: Labels::new(),
        disabled: off_by_default(),
        inline: targets
            .into_iter()
            .map(|(address, name)| Inline { target: target(address, name), module: None })
            .collect(),
        files: Vec::new(),
    };
    let mut loopback = vec![("127.0.0.1".to_owned(), "loopback".to_owned())];
    if std::fs::exists("/proc/sys/net/ipv6/conf/lo").unwrap_or(false) && has_ip6_loopback() {
        loopback.push(("::1".to_owned(), "loopback (IPv6)".to_owned()));
    }
    vec![receiver("ports", "tcp_connect", ports), receiver("loopback", "icmp", loopback)]
}

fn has_ip6_loopback() -> bool {
    // Binding asks the kernel for the address and sends nothing.
    std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn target(address: String, name: String) -> Target {
    let labels = Labels::from([(HUMAN_NAME.to_owned(), name)]);
    let origin = Origin { file: "embedded default".into(), line: 0 };
    Target { address, labels, hints: Labels::new(), origin }
}

/// Ports that listen on loopback or everywhere, with the names of who holds them; ours and those of
/// process 1 are left out, because a probe would start the service behind a socket of systemd.
fn choose(
    listening: &[Listening],
    owners: &HashMap<u64, (i32, String)>,
    own: SocketAddr,
) -> Vec<(String, String)> {
    let mut found: BTreeMap<(u16, IpAddr), String> = BTreeMap::new();
    for Listening { address, inode } in listening {
        let (ip, port) = match address.ip() {
            ip if ip.is_loopback() => (ip, address.port()),
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST.into(), address.port()),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST.into(), address.port()),
            _ => continue,
        };
        let owner = owners.get(inode);
        let ours = port == own.port() && (own.ip() == ip || own.ip().is_unspecified());
        if ours || owner.is_some_and(|(pid, _)| *pid == 1) {
            continue;
        }
        // The user of a process chooses its name.
        let name = owner.map_or_else(|| format!("port {port}"), |(_, name)| foreign(name));
        found.insert((port, ip), name);
    }
    // A service that listens on both families is one service.
    let both: Vec<u16> =
        found.keys().filter(|(_, ip)| ip.is_ipv4()).map(|(port, _)| *port).collect();
    found.retain(|(port, ip), _| ip.is_ipv4() || !both.contains(port));
    found
        .into_iter()
        .take(MAX_PORTS)
        .map(|((port, ip), name)| (SocketAddr::new(ip, port).to_string(), name))
        .collect()
}

/// Which process holds a socket, by inode, where that may be read.
fn owners(inodes: &BTreeSet<u64>) -> HashMap<u64, (i32, String)> {
    let mut owners = HashMap::new();
    let Ok(processes) = all_processes() else { return owners };
    for process in processes.flatten() {
        let Ok(files) = process.fd() else { continue };
        for file in files.flatten() {
            if let FDTarget::Socket(inode) = file.target
                && inodes.contains(&inode)
                && let Ok(stat) = process.stat()
            {
                // A socket that process 1 shares with its service is one that it would start.
                let entry = owners.entry(inode).or_insert((stat.pid, stat.comm.clone()));
                if stat.pid == 1 {
                    *entry = (1, stat.comm);
                }
            }
        }
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_ports_are_watched() {
        let listening: Vec<Listening> = [
            ("0.0.0.0:80", 1),
            ("[::]:80", 2),
            ("127.0.0.1:5432", 3),
            ("192.0.2.7:22", 4),
            ("127.0.0.1:9115", 5),
            ("0.0.0.0:631", 6),
            ("[::1]:8080", 7),
            ("127.0.0.1:7000", 8),
        ]
        .into_iter()
        .map(|(address, inode)| Listening { address: address.parse().expect("an address"), inode })
        .collect();
        let owners = HashMap::from([
            (1, (70, "nginx".to_owned())),
            (6, (1, "systemd".to_owned())),
            (8, (71, "\u{1b}[31mX".to_owned())),
        ]);
        let found = choose(&listening, &owners, "127.0.0.1:9115".parse().expect("an address"));
        let found: Vec<(&str, &str)> =
            found.iter().map(|(a, n)| (a.as_str(), n.as_str())).collect();
        assert_eq!(
            found,
            [
                ("127.0.0.1:80", "nginx"),
                ("127.0.0.1:5432", "port 5432"),
                ("127.0.0.1:7000", "\u{fffd}[31mX"),
                ("[::1]:8080", "port 8080")
            ]
        );
    }
}
