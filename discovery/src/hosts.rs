//! Hosts that addresses of labels and rules may have. An address is judged by its text, in every way in which a
//! probe may read it; names are not looked up.
//!
//! Spellings of IPv4 addresses follow the WHATWG URL standard (section 3.5), as in the URLs of probes. IPv4
//! addresses within IPv6 ones: RFC 4291 (mapped, compatible), RFC 3056 (6to4), RFC 6052 and 8215 (NAT64), RFC 4380
//! (Teredo), RFC 5214 (ISATAP).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use url::{Host, Url};

/// Names that mean this machine, or a metadata service at a link-local address.
const LOCAL_NAMES: [&str; 6] = [
    "localhost",
    "localhost.localdomain",
    "localhost6",
    "ip6-localhost",
    "ip6-loopback",
    "metadata.google.internal",
];

/// An entry of `allow` or `deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Addresses of a subnet.
    Net(IpNet),
    /// A host of this name, in small letters.
    Name(String),
    /// Names below this one.
    Below(String),
    /// Every host.
    Any,
}

impl Pattern {
    /// Reads `10.0.0.0/8`, `192.0.2.1`, `nas.example.net`, `*.example.net` or `*`.
    ///
    /// # Errors
    /// The expected result.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || {
            "a subnet, an address or a host is expected, such as 10.0.0.0/8 or *.example.net"
                .to_owned()
        };
        if text == "*" {
            return Ok(Pattern::Any);
        }
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Pattern::Net(net.trunc()));
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        if name.is_empty() || name.contains(['/', ':', '*', '@', '?', '#']) && !is_v6(name) {
            return Err(expected());
        }
        match (read(name), below) {
            (Some(Read::Ip(ip)), false) => Ok(Pattern::Net(ip.into())),
            (Some(Read::Name(name)), true) => Ok(Pattern::Below(name)),
            (Some(Read::Name(name)), false) => Ok(Pattern::Name(name)),
            _ => Err(expected()),
        }
    }

    fn matches(&self, host: &Read) -> bool {
        match (self, host) {
            (Pattern::Any, _) => true,
            (Pattern::Net(net), Read::Ip(ip)) => {
                let within = |ip: &IpAddr| net.contains(ip);
                within(ip) || embedded(*ip).iter().any(|ip| within(&IpAddr::V4(*ip)))
            }
            (Pattern::Name(name), Read::Name(host)) => name == host,
            (Pattern::Below(name), Read::Name(host)) => {
                host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            _ => false,
        }
    }

    /// Whether it names nothing but hosts that are denied by default: only such an entry allows them.
    fn is_of_local(&self) -> bool {
        match self {
            Pattern::Net(net) => {
                // No block of them is larger.
                let least = if net.network().is_ipv4() { 8 } else { 10 };
                let ends = [net.network(), net.broadcast()];
                net.prefix_len() >= least && ends.into_iter().all(is_local)
            }
            Pattern::Name(name) => is_local_name(name),
            Pattern::Below(name) => is_local_name(name),
            Pattern::Any => false,
        }
    }
}

/// Hosts that are allowed and denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Where there is an entry, all other hosts are denied.
    pub allow: Vec<Pattern>,
    /// Wins over `allow`.
    pub deny: Vec<Pattern>,
}

impl Hosts {
    /// Judges an address that a label or a rule has written.
    ///
    /// # Errors
    /// Why it is denied.
    pub fn judge(&self, address: &str) -> Result<(), String> {
        let hosts = readings(address);
        if hosts.is_empty() {
            return Err("its host cannot be read".to_owned());
        }
        for host in &hosts {
            self.denied(host)?;
            let local = host.is_local();
            let named = |pattern: &&Pattern| pattern.matches(host);
            let mut allowed = self.allow.iter().filter(named);
            if local && !allowed.any(Pattern::is_of_local) {
                let why =
                    "is loopback or link-local, which labels may not name (`allow:` of the job)";
                return Err(format!("the host {} {why}", host.text()));
            }
            if !local && !self.allow.is_empty() && allowed.next().is_none() {
                return Err(format!("the host {} is not in `allow:` of the job", host.text()));
            }
        }
        Ok(())
    }

    /// Judges the address of a published port, which is this machine's: `deny` alone holds for it.
    ///
    /// # Errors
    /// Why it is denied.
    pub fn judge_published(&self, address: &str) -> Result<(), String> {
        readings(address).iter().try_for_each(|host| self.denied(host))
    }

    fn denied(&self, host: &Read) -> Result<(), String> {
        match self.deny.iter().any(|pattern| pattern.matches(host)) {
            true => Err(format!("the host {} is in `deny:` of the job", host.text())),
            false => Ok(()),
        }
    }
}

/// A host as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Read {
    Ip(IpAddr),
    /// In small letters, without the dot at the end, IDNA applied.
    Name(String),
}

impl Read {
    fn is_local(&self) -> bool {
        match self {
            Read::Ip(ip) => {
                is_local(*ip) || embedded(*ip).iter().any(|ip| is_local(IpAddr::V4(*ip)))
            }
            Read::Name(name) => is_local_name(name),
        }
    }

    fn text(&self) -> String {
        match self {
            Read::Ip(ip) => ip.to_string(),
            Read::Name(name) => crate::text::foreign(name),
        }
    }
}

/// The hosts of an address in all ways in which a probe may read it: as a URL, as `host:port`, as a host. Which
/// of them holds depends on the module.
fn readings(address: &str) -> Vec<Read> {
    let mut found = Vec::new();
    let mut add = |host: Option<Read>| {
        found.extend(host.filter(|host| !found.contains(host)));
    };
    add(of_url(address));
    let lower = address.get(..8).unwrap_or(address).to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        add(of_url(&format!("http://{address}")));
    }
    if !address.contains("://") {
        if let Some((host, port)) = address.rsplit_once(':')
            && port.bytes().all(|byte| byte.is_ascii_digit())
        {
            add(read(host));
        }
        add(read(address));
    }
    found
}

fn of_url(text: &str) -> Option<Read> {
    match Url::parse(text).ok()?.host()? {
        Host::Domain(name) => read(name),
        Host::Ipv4(ip) => Some(Read::Ip(ip.into())),
        Host::Ipv6(ip) => Some(Read::Ip(ip.into())),
    }
}

/// Reads a host alone.
fn read(text: &str) -> Option<Read> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let bare = bare.split_once('%').map_or(bare, |(ip, _)| if is_v6(ip) { ip } else { bare });
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(Read::Ip(ip));
    }
    let name = |text: &str| {
        let name = text.trim_end_matches('.').to_lowercase();
        (!name.is_empty()).then_some(Read::Name(name))
    };
    match Host::parse(text.trim_end_matches('.')) {
        Ok(Host::Ipv4(ip)) => Some(Read::Ip(ip.into())),
        Ok(Host::Ipv6(ip)) => Some(Read::Ip(ip.into())),
        Ok(Host::Domain(domain)) => name(&domain),
        // A resolver may be asked for it all the same.
        Err(_) if !text.contains(['/', ':', '@', '[', ']']) => name(text),
        Err(_) => None,
    }
}

fn is_v6(text: &str) -> bool {
    text.trim_start_matches('[').trim_end_matches(']').parse::<Ipv6Addr>().is_ok()
}

fn is_local_name(name: &str) -> bool {
    LOCAL_NAMES.contains(&name) || name.ends_with(".localhost")
}

/// Whether an address is loopback or link-local, or leads there: this host (`0.0.0.0`, `::`) and multicast of a
/// link do.
fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            matches!((a, b, c), (0 | 127, ..) | (169, 254, _) | (224, 0, 0)) || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            let first = ip.segments()[0];
            ip.is_loopback()
                || ip.is_unspecified()
                || first & 0xffc0 == 0xfe80
                || matches!(first & 0xff0f, 0xff01 | 0xff02)
        }
    }
}

/// The IPv4 addresses that an IPv6 address leads to.
fn embedded(ip: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return Vec::new() };
    let s = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    let last = v4(s[6], s[7]);
    match s {
        // Compatible, but not :: and ::1.
        [0, 0, 0, 0, 0, 0, high, low] if high > 0 || low > 1 => vec![last],
        // Mapped, and translated (RFC 2765).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => vec![last],
        [0x2002, high, low, ..] => vec![v4(high, low)],
        [0x64, 0xff9b, 0 | 1, ..] => vec![last],
        [0x2001, 0, high, low, ..] => vec![v4(high, low), v4(!s[6], !s[7])],
        [.., 0 | 0x200, 0x5efe, _, _] => vec![last],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
