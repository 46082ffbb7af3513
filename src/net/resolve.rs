//! Names to addresses, by asking name servers (hickory). No cache stands between us and the truth;
//! `/etc/hosts` and `localhost` are answered without asking.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver as Hickory, TokioResolver};

use crate::base::clock;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How often the system's settings are looked at for a change (a laptop that moved, a new lease).
const RECHECK: Duration = Duration::from_secs(30);

/// Which addresses of a name are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// IPv6 rather than IPv4.
    pub prefer_ip6: bool,
    /// Take the other family when the preferred one has no address.
    pub fallback: bool,
}

/// Who is asked for names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResolverSettings {
    /// Name servers; empty: those of the system.
    pub nameservers: Vec<SocketAddr>,
    /// How long one question may take; `None`: as the system says, or 5 s.
    pub timeout: Option<Duration>,
    /// How often a question is sent at most; `None`: as the system says, or 2.
    pub attempts: Option<usize>,
}

/// Why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolveFault {
    /// The name does not exist.
    Nxdomain,
    /// The server failed.
    Servfail,
    /// No answer in time.
    Timeout,
    /// The server refused, or there is none to ask.
    Refused,
    /// The name exists and has no address of the wanted family.
    NoAddress,
}

/// A fault and its particulars.
#[derive(Clone, Debug)]
pub struct ResolveError {
    /// The fault.
    pub fault: ResolveFault,
    /// What the resolver said.
    pub detail: String,
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

struct Current {
    inner: TokioResolver,
    changed: Option<SystemTime>,
    checked: Instant,
}

/// Resolves names. One for each runtime: its sockets belong to the runtime that first used them.
#[derive(Clone)]
pub struct Resolver {
    settings: Arc<ResolverSettings>,
    current: Arc<Mutex<Option<Current>>>,
}

impl Resolver {
    /// A resolver that reads the system's settings when it is first asked.
    #[must_use]
    pub fn new(settings: ResolverSettings) -> Self {
        Self { settings: Arc::new(settings), current: Arc::default() }
    }

    /// The address of a host; a literal address is its own.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn resolve(&self, host: &str, family: Family) -> Result<IpAddr, ResolveError> {
        if let Some(literal) = literal(host) {
            if literal.is_ipv6() != family.prefer_ip6 && !family.fallback {
                let detail =
                    format!("{host} is an IPv{} address", if literal.is_ipv6() { 6 } else { 4 });
                return Err(ResolveError { fault: ResolveFault::NoAddress, detail });
            }
            return Ok(literal);
        }
        let resolver = self.current()?;
        let (preferred, other) = match family.prefer_ip6 {
            true => (RecordType::AAAA, RecordType::A),
            false => (RecordType::A, RecordType::AAAA),
        };
        if !family.fallback {
            return ask(&resolver, host, preferred).await;
        }
        let first = ask(&resolver, host, preferred);
        let second = ask(&resolver, host, other);
        tokio::pin!(first, second);
        let mut found: Option<Result<IpAddr, ResolveError>> = None;
        // Both are asked at once; the answer for the preferred family is not kept waiting.
        loop {
            tokio::select! {
                answer = &mut first => return match (answer, found) {
                    (Ok(address), _) => Ok(address),
                    (Err(error), None) => second.await.map_err(|_| error),
                    (Err(error), Some(other)) => other.map_err(|_| error),
                },
                answer = &mut second, if found.is_none() => found = Some(answer),
            }
        }
    }

    /// The name of an address.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub async fn reverse(&self, address: IpAddr) -> Result<String, String> {
        let resolver = self.current().map_err(|error| error.to_string())?;
        let lookup = resolver.reverse_lookup(address).await.map_err(|error| error.to_string())?;
        let name = lookup.answers().iter().find_map(|record| match &record.data {
            RData::PTR(name) => Some(name.to_string()),
            _ => None,
        });
        let name = name.ok_or_else(|| format!("{address} has no name"))?;
        Ok(name.trim_end_matches('.').to_owned())
    }

    /// The name that a name leads to, by way of its aliases.
    ///
    /// # Errors
    /// Why there is none, in one line.
    pub async fn canonical(&self, name: &str) -> Result<String, String> {
        let resolver = self.current().map_err(|error| error.to_string())?;
        let lookup =
            resolver.lookup(name, RecordType::A).await.map_err(|error| error.to_string())?;
        let owner = lookup.answers().iter().find_map(|record| match &record.data {
            RData::A(_) => Some(record.name.to_string()),
            _ => None,
        });
        let owner = owner.ok_or_else(|| format!("{name} has no address"))?;
        Ok(owner.trim_end_matches('.').to_owned())
    }

    /// The resolver in force; built anew when the system's settings have changed.
    fn current(&self) -> Result<TokioResolver, ResolveError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::instant();
        let own_servers = !self.settings.nameservers.is_empty();
        if let Some(have) = current.as_mut() {
            if own_servers || now.duration_since(have.checked) < RECHECK {
                return Ok(have.inner.clone());
            }
            have.checked = now;
            if changed() == have.changed {
                return Ok(have.inner.clone());
            }
        }
        let inner = build(&self.settings).map_err(|error| ResolveError {
            fault: ResolveFault::Refused,
            detail: format!("no name server to ask: {error}"),
        })?;
        *current = Some(Current { inner: inner.clone(), changed: changed(), checked: now });
        Ok(inner)
    }
}

fn changed() -> Option<SystemTime> {
    std::fs::metadata(RESOLV_CONF).and_then(|m| m.modified()).ok()
}

/// The address that a host already is, with or without brackets.
#[must_use]
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

fn build(settings: &ResolverSettings) -> Result<TokioResolver, NetError> {
    let (config, mut options) = if settings.nameservers.is_empty() {
        hickory_resolver::system_conf::read_system_conf()?
    } else {
        let servers = settings.nameservers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        (config, ResolverOpts::default())
    };
    options.cache_size = 0;
    options.num_concurrent_reqs = 1;
    if let Some(timeout) = settings.timeout {
        options.timeout = timeout;
    }
    if let Some(attempts) = settings.attempts {
        options.attempts = attempts.saturating_sub(1);
    }
    let mut builder = Hickory::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build()
}

async fn ask(
    resolver: &TokioResolver,
    host: &str,
    kind: RecordType,
) -> Result<IpAddr, ResolveError> {
    let lookup = resolver.lookup(host, kind).await.map_err(|error| explain(&error))?;
    let address = lookup.answers().iter().find_map(|record| match &record.data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    });
    address.ok_or_else(|| ResolveError {
        fault: ResolveFault::NoAddress,
        detail: format!("{host} has no {kind} record"),
    })
}

fn explain(error: &NetError) -> ResolveError {
    let fault = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => ResolveFault::Nxdomain,
            ResponseCode::NoError => ResolveFault::NoAddress,
            ResponseCode::Refused => ResolveFault::Refused,
            _ => ResolveFault::Servfail,
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::NXDomain)) => ResolveFault::Nxdomain,
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => ResolveFault::Refused,
        NetError::Timeout => ResolveFault::Timeout,
        NetError::NoConnections | NetError::Io(_) | NetError::Busy => ResolveFault::Refused,
        _ => ResolveFault::Servfail,
    };
    ResolveError { fault, detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn literals_and_local_names_need_no_server() {
        let nowhere = ResolverSettings {
            nameservers: vec!["127.0.0.1:1".parse().expect("an address")],
            timeout: Some(Duration::from_millis(200)),
            attempts: Some(1),
        };
        let resolver = Resolver::new(nowhere);
        let ip4 = Family { prefer_ip6: false, fallback: false };
        let ip6 = Family { prefer_ip6: true, fallback: true };
        assert_eq!(
            resolver.resolve("127.0.0.9", ip4).await.expect("literal"),
            "127.0.0.9".parse::<IpAddr>().expect("ip")
        );
        assert_eq!(
            resolver.resolve("[::1]", ip6).await.expect("literal"),
            "::1".parse::<IpAddr>().expect("ip")
        );
        assert_eq!(
            resolver.resolve("::1", ip4).await.expect_err("v6").fault,
            ResolveFault::NoAddress
        );
        assert!(resolver.resolve("localhost", ip4).await.expect("local").is_loopback());
        assert_eq!(
            resolver.resolve("nothing.invalid", ip6).await.expect_err("no name").fault,
            ResolveFault::Nxdomain
        );
        let silent = resolver.resolve("a.example", ip4).await.expect_err("no server").fault;
        assert!(matches!(silent, ResolveFault::Refused | ResolveFault::Timeout), "{silent:?}");
    }
}
