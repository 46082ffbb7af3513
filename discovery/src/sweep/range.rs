//! Which addresses are swept, and which are not unless somebody insists.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::link::Links;

/// Addresses of one sweep, unless somebody insists: a /22.
pub const MAX_ADDRESSES: u64 = 1_024;
/// Addresses of one sweep, whoever insists: a /12.
const MOST: u64 = 1 << 20;

/// A subnet, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The subnet as it is written.
    net: IpNet,
    /// Whether one address is named, which is then asked whatever it is.
    single: bool,
}

/// Why a range is not swept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many addresses at once.
    #[error("{0} addresses are more than the {MAX_ADDRESSES} of a /22")]
    Large(u64),
    /// Not attached to this machine: somebody else's routers would be asked.
    #[error("{0} is not attached to this machine")]
    Remote(Range),
    /// Somebody else's, for all we know.
    #[error("{0} is neither private nor link-local")]
    Public(Range),
    /// More than can be looked at.
    #[error("{0} addresses are more than a sweep can hold, {MOST}")]
    Endless(u64),
}

impl Refusal {
    /// Whether `--force` lets it pass.
    #[must_use]
    pub fn can_be_forced(&self) -> bool {
        !matches!(self, Refusal::Endless(_))
    }
}

impl Range {
    /// Reads `192.168.2.0/24`, `192.168.2.7`, `fe80::/64`.
    ///
    /// # Errors
    /// What is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { net: address.into(), single: true });
        }
        let net: IpNet = text.parse().map_err(|_| {
            format!("{text:?} is no subnet (192.168.2.0/24) and no address (192.168.2.7)")
        })?;
        Ok(Self { net: net.trunc(), single: net.prefix_len() == net.max_prefix_len() })
    }

    /// The subnet.
    #[must_use]
    pub fn net(&self) -> IpNet {
        self.net
    }

    /// How many addresses there are in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self.net {
            // Nobody goes through those: the kernel's neighbours are taken.
            IpNet::V6(_) => u64::from(self.single),
            IpNet::V4(net) => {
                let (first, last) = bounds(&net);
                u64::from(u32::from(last) - u32::from(first)) + 1
            }
        }
    }

    /// Its addresses in their order, the network's own and broadcast left out; none for a subnet of
    /// IPv6.
    pub fn addresses(&self) -> Box<dyn Iterator<Item = IpAddr> + Send> {
        match self.net {
            IpNet::V6(net) if self.single => Box::new(std::iter::once(net.addr().into())),
            IpNet::V6(_) => Box::new(std::iter::empty()),
            IpNet::V4(net) => {
                let (first, last) = bounds(&net);
                let numbers = u32::from(first)..=u32::from(last);
                Box::new(numbers.map(|number| Ipv4Addr::from(number).into()))
            }
        }
    }

    /// Why it is not swept by itself; without `links` nobody knows what is attached.
    #[must_use]
    pub fn refused(&self, links: Option<&Links>) -> Option<Refusal> {
        let address = self.net.addr();
        let ours = match self.net {
            IpNet::V4(net) => {
                let ends = [net.network(), net.broadcast()];
                let all = |own: fn(&Ipv4Addr) -> bool| ends.iter().all(own);
                all(Ipv4Addr::is_private) && net.prefix_len() >= 8
                    || all(Ipv4Addr::is_link_local) && net.prefix_len() >= 16
                    || all(Ipv4Addr::is_loopback)
            }
            IpNet::V6(net) => {
                let first = net.network();
                first.is_loopback()
                    || first.is_unique_local() && net.prefix_len() >= 7
                    || first.is_unicast_link_local() && net.prefix_len() >= 10
            }
        };
        if !ours {
            return Some(Refusal::Public(*self));
        }
        // Link-local networks of IPv6 are on every link.
        let near = matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let attached = near || links.is_none_or(|links| links.attached(&self.net));
        (!attached).then_some(Refusal::Remote(*self))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.single { self.net.addr().fmt(f) } else { self.net.fmt(f) }
    }
}

/// The first and the last address of hosts.
fn bounds(net: &Ipv4Net) -> (Ipv4Addr, Ipv4Addr) {
    let (first, last) = (net.network(), net.broadcast());
    // Of a /31 both are hosts' (RFC 3021), and a /32 is one.
    if net.prefix_len() >= 31 {
        return (first, last);
    }
    (Ipv4Addr::from(u32::from(first) + 1), Ipv4Addr::from(u32::from(last) - 1))
}

/// Why these ranges are not swept together; without `links` as far as can be known without them.
///
/// # Errors
/// The first reason that `force` does not put aside.
pub fn judge(ranges: &[Range], links: Option<&Links>, force: bool) -> Result<(), Refusal> {
    let count = ranges.iter().map(Range::count).sum();
    let large = (count > MAX_ADDRESSES).then_some(Refusal::Large(count));
    let endless = (count > MOST).then_some(Refusal::Endless(count));
    let refused = ranges.iter().filter_map(|range| range.refused(links));
    let reasons = endless.into_iter().chain(refused).chain(large);
    let mut left = reasons.filter(|reason| !force || !reason.can_be_forced());
    left.next().map_or(Ok(()), Err)
}

/// All addresses of some ranges, each once, in their order.
pub fn addresses(ranges: Vec<Range>) -> impl Iterator<Item = IpAddr> + Send {
    let earlier = ranges.clone();
    ranges.into_iter().enumerate().flat_map(move |(at, range)| {
        let before = earlier[..at].to_vec();
        let seen = move |ip: &IpAddr| {
            before.iter().any(|range| {
                // What a subnet leaves out may be named beside it.
                range.net.contains(ip)
                    && match (range.net, ip) {
                        (IpNet::V4(net), IpAddr::V4(ip)) => {
                            let (first, last) = bounds(&net);
                            (first..=last).contains(ip)
                        }
                        _ => range.single,
                    }
            })
        };
        range.addresses().filter(move |ip| !seen(ip))
    })
}

#[cfg(test)]
mod tests {
    use super::super::link::{Asking, Link};
    use super::*;

    fn range(text: &str) -> Range {
        Range::parse(text).expect("a range")
    }

    /// A machine at 192.168.2.9/24 and 10.0.0.1/8.
    fn links() -> Links {
        let link = |name: &str| Link {
            name: name.to_owned(),
            mac: None,
            up: true,
            loopback: false,
            asks: true,
            asking: Asking::default(),
        };
        Links {
            links: [(1, link("eth0")), (2, Link { up: false, ..link("eth1") })].into(),
            peers: Vec::new(),
            own: vec![
                ("192.168.2.9/24".parse().expect("a net"), 1),
                ("10.0.0.1/8".parse().expect("a net"), 1),
                ("172.16.0.1/24".parse().expect("a net"), 2),
            ],
        }
    }

    #[test]
    fn a_subnet_without_its_ends() {
        let all: Vec<IpAddr> = range("192.168.2.7/29").addresses().collect();
        assert_eq!(all.len(), 6);
        assert_eq!(
            (all[0].to_string(), all[5].to_string()),
            ("192.168.2.1".into(), "192.168.2.6".into())
        );
        assert_eq!(range("10.0.0.0/24").count(), 254);
        assert_eq!(range("10.0.0.4/31").addresses().count(), 2);
        assert_eq!(range("10.0.0.255").addresses().count(), 1);
        assert_eq!(range("fe80::/64").addresses().count(), 0);
        for wrong in ["", "10.0.0.0/33", "router", "10.0.0.1-10", "10.0.0"] {
            assert!(Range::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_address_once_and_ends_when_named() {
        let ranges = ["10.0.0.0/30", "10.0.0.0/29", "10.0.0.7", "10.0.0.7"].map(range);
        let all: Vec<String> = addresses(ranges.to_vec()).map(|ip| ip.to_string()).collect();
        let expected =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"];
        assert_eq!(all, expected);
    }

    #[test]
    fn what_is_not_swept_without_force() {
        let judge = |texts: &[&str], force| {
            let ranges: Vec<Range> = texts.iter().map(|text| range(text)).collect();
            super::judge(&ranges, Some(&links()), force).map_err(|why| why.to_string())
        };
        assert_eq!(judge(&["192.168.2.0/24"], false), Ok(()));
        assert_eq!(judge(&["10.1.0.0/22"], false), Ok(()));
        assert_eq!(judge(&["fe80::/64"], false), Ok(()));
        for (texts, why) in [
            (&["10.0.0.0/21"][..], "2046 addresses are more than the 1024 of a /22"),
            (&["10.0.0.0/22", "10.0.8.0/29"], "1028 addresses"),
            (&["192.168.3.0/24"], "192.168.3.0/24 is not attached to this machine"),
            (&["172.16.0.0/24"], "not attached"),
            (&["198.51.100.0/24"], "neither private nor link-local"),
            (&["198.51.100.7"], "198.51.100.7 is neither"),
            (&["2001:db8::/64"], "neither private"),
        ] {
            let refused = judge(texts, false).expect_err("it is refused");
            assert!(refused.contains(why), "{refused}");
            assert_eq!(judge(texts, true), Ok(()), "{texts:?}");
        }
        // Nobody can insist on this.
        assert!(judge(&["10.0.0.0/8"], true).is_err());
    }
}
