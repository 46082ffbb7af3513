//! Published ports, as targets of TCP.

use std::net::IpAddr;

use watchpost_targets::Origin;

use super::{Finder, bracketed};
use crate::service::Port;

/// More ports of one range than this are no services.
const MAX_RANGE: u16 = 32;

/// A port on the host.
#[derive(Debug, PartialEq, Eq)]
enum Published {
    /// Bound there, or everywhere.
    At(Option<IpAddr>, Vec<u16>),
    /// Not TCP.
    Other(String),
    /// Docker chooses one each time.
    Random,
    Wrong,
}

impl Finder<'_> {
    pub(super) fn ports(&mut self) {
        let mode = self.service.network_mode.as_ref().map(|mode| mode.fill().text);
        if let Some(other) = mode.as_deref().and_then(|mode| mode.strip_prefix("service:")) {
            let reason = format!("its ports are those of the service {other}");
            self.skip(&self.service.origin.clone(), reason);
            return;
        }
        for port in &self.service.ports {
            let (origin, read) = match port {
                Port::Short(written) => {
                    let Some(text) = self.value("ports", written) else { continue };
                    (written.origin.clone(), short(&text))
                }
                Port::Long { published, host_ip, protocol } => {
                    let origin =
                        published.as_ref().map_or(&self.service.origin, |p| &p.origin).clone();
                    let mut get = |written: &Option<crate::service::Written>| {
                        written.as_ref().and_then(|written| self.value("ports", written))
                    };
                    let (ports, ip, protocol) = (get(published), get(host_ip), get(protocol));
                    (origin, long(ports.as_deref(), ip.as_deref(), protocol.as_deref()))
                }
            };
            self.bound(read, &origin);
        }
    }

    fn bound(&mut self, read: Published, origin: &Origin) {
        match read {
            Published::At(ip, ports) => {
                let anywhere = ip.is_none_or(|ip| ip.is_unspecified());
                let host = match ip.filter(|_| !anywhere) {
                    Some(IpAddr::V6(ip)) => format!("[{ip}]"),
                    Some(ip) => ip.to_string(),
                    None => bracketed(&self.settings.ports_host),
                };
                for port in ports {
                    let name = Some(self.service.name.clone());
                    self.published(format!("{host}:{port}"), name, "ports", origin);
                }
            }
            Published::Other(protocol) => {
                self.skip(origin, format!("a port of {protocol} cannot be asked by TCP"));
            }
            Published::Random => {
                self.skip(origin, "a port without one on the host: Docker chooses one")
            }
            Published::Wrong => self.skip(origin, "a port that cannot be read"),
        }
    }
}

/// `[[IP:]PUBLISHED:]TARGET[/PROTOCOL]`.
fn short(text: &str) -> Published {
    let (text, protocol) = text.trim().split_once('/').unwrap_or((text.trim(), "tcp"));
    if protocol != "tcp" {
        return Published::Other(protocol.to_owned());
    }
    let (rest, target) = match text.rsplit_once(':') {
        Some((rest, target)) => (rest, target),
        None if range(text).is_some() => return Published::Random,
        None => return Published::Wrong,
    };
    if range(target).is_none() {
        return Published::Wrong;
    }
    let (ip, published) = match rest.rsplit_once(':') {
        Some((ip, published)) => (Some(ip), published),
        None => (None, rest),
    };
    if published.is_empty() {
        return Published::Random;
    }
    at(ip, published)
}

fn long(published: Option<&str>, ip: Option<&str>, protocol: Option<&str>) -> Published {
    match protocol {
        Some(protocol) if protocol != "tcp" => return Published::Other(protocol.to_owned()),
        _ => {}
    }
    match published {
        Some(published) if !published.is_empty() => at(ip, published),
        _ => Published::Random,
    }
}

fn at(ip: Option<&str>, published: &str) -> Published {
    let ip = match ip.map(|ip| ip.trim_start_matches('[').trim_end_matches(']').parse()) {
        Some(Ok(ip)) => Some(ip),
        Some(Err(_)) => return Published::Wrong,
        None => None,
    };
    range(published).map_or(Published::Wrong, |ports| Published::At(ip, ports))
}

/// A port, or a range of them.
fn range(text: &str) -> Option<Vec<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let good = first > 0 && first <= last && last - first < MAX_RANGE;
    good.then(|| (first..=last).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_ports() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().expect("an address"));
        for (text, expected) in [
            ("8080:80", Published::At(None, vec![8080])),
            ("127.0.0.1:8080:80/tcp", Published::At(ip("127.0.0.1"), vec![8080])),
            ("[::1]:8080:80", Published::At(ip("::1"), vec![8080])),
            ("8000-8002:80-82", Published::At(None, vec![8000, 8001, 8002])),
            ("22:22", Published::At(None, vec![22])),
            ("53:53/udp", Published::Other("udp".to_owned())),
            ("80", Published::Random),
            ("127.0.0.1::80", Published::Random),
            ("a:80", Published::Wrong),
            ("1-60000:1-60000", Published::Wrong),
            ("", Published::Wrong),
        ] {
            assert_eq!(short(text), expected, "{text}");
        }
        assert_eq!(
            long(Some("8080"), Some("0.0.0.0"), None),
            Published::At(ip("0.0.0.0"), vec![8080])
        );
        assert_eq!(long(None, None, Some("tcp")), Published::Random);
        assert_eq!(long(Some("1"), None, Some("udp")), Published::Other("udp".to_owned()));
    }
}
