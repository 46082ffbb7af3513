//! Names to addresses, by asking name servers (hickory). No cache stands between us and the truth;
//! `/etc/hosts` and `localhost` are answered without asking.

mod runtime;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::Hosts;
use hickory_resolver::Resolver as Hickory;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::base::clock;
use crate::base::flight::Flights;
use runtime::Runtime;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// How long a look at these files may take before the settings of before are used on.
const PATIENCE: Duration = Duration::from_millis(500);
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

type Inner = Hickory<Runtime>;

struct Current {
    inner: Inner,
    changed: Changed,
    checked: Instant,
}

/// When the files of the system were changed last.
type Changed = [Option<SystemTime>; 2];

/// The name servers, and how to ask them.
type Servers = (ResolverConfig, ResolverOpts);

/// The content of the system's files.
#[derive(Clone)]
struct System {
    changed: Changed,
    /// `None`: it was the same as before, and not read.
    read: Option<(Result<Servers, String>, Arc<Hosts>)>,
}

/// Resolves names. One for each runtime: its sockets belong to the runtime that first used them.
#[derive(Clone)]
pub struct Resolver {
    settings: Arc<ResolverSettings>,
    current: Arc<Mutex<Option<Current>>>,
    reads: Arc<Flights<(), System>>,
}

impl Resolver {
    /// A resolver that reads the system's settings when it is first asked.
    #[must_use]
    pub fn new(settings: ResolverSettings) -> Self {
        Self { settings: Arc::new(settings), current: Arc::default(), reads: Arc::default() }
    }

    /// Asks by these settings from now on. What is known of the system stays, when they are the same.
    pub fn settle(&mut self, settings: ResolverSettings) {
        if *self.settings != settings {
            *self = Self::new(settings);
        }
    }

    /// Waits for the system's settings, where a question about this host needs them and they were never read.
    pub async fn ready(&self, host: &str) {
        if literal(host).is_none() && self.open().is_none() {
            // The question itself meets the same error.
            let _ = self.current().await;
        }
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
        let resolver = self.current().await?;
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
        let resolver = self.current().await.map_err(|error| error.to_string())?;
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
        let resolver = self.current().await.map_err(|error| error.to_string())?;
        let lookup =
            resolver.lookup(name, RecordType::A).await.map_err(|error| error.to_string())?;
        let owner = lookup.answers().iter().find_map(|record| match &record.data {
            RData::A(_) => Some(record.name.to_string()),
            _ => None,
        });
        let owner = owner.ok_or_else(|| format!("{name} has no address"))?;
        Ok(owner.trim_end_matches('.').to_owned())
    }

    /// The resolver in force; built anew when the system's files have changed. They are read on another thread.
    async fn current(&self) -> Result<Inner, ResolveError> {
        let now = clock::instant();
        let stale = match self.open().as_mut() {
            Some(have) if now.duration_since(have.checked) < RECHECK => {
                return Ok(have.inner.clone());
            }
            Some(have) => {
                have.checked = now;
                Some((have.inner.clone(), have.changed))
            }
            None => None,
        };
        let Some((inner, changed)) = stale else { return self.renew(None).await };
        match tokio::time::timeout(PATIENCE, self.renew(Some(changed))).await {
            Ok(renewed) => renewed,
            // A file system that hangs changes nothing.
            Err(_) => Ok(inner),
        }
    }

    async fn renew(&self, before: Option<Changed>) -> Result<Inner, ResolveError> {
        let own_servers = !self.settings.nameservers.is_empty();
        let failed = |why: String| ResolveError {
            fault: ResolveFault::Refused,
            detail: format!("no name server to ask: {why}"),
        };
        let system = self.reads.read((), move || System::look(before, own_servers)).await;
        let system = system.map_err(|error| failed(error.to_string()))?;
        let mut current = self.open();
        let (Some((read, hosts)), checked) = (system.read, clock::instant()) else {
            let inner = current.as_ref().map(|have| have.inner.clone());
            return inner.ok_or_else(|| failed("its settings were not read".to_owned()));
        };
        let inner = read
            .and_then(|found| {
                build(&self.settings, found, hosts).map_err(|error| error.to_string())
            })
            .map_err(failed)?;
        *current = Some(Current { inner: inner.clone(), changed: system.changed, checked });
        Ok(inner)
    }

    fn open(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl System {
    /// Reads the files, if they are not as before.
    fn look(before: Option<Changed>, own_servers: bool) -> Self {
        let changed = [RESOLV_CONF, HOSTS]
            .map(|path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok());
        let read = (before != Some(changed)).then(|| {
            let found = match own_servers {
                true => Ok((ResolverConfig::default(), ResolverOpts::default())),
                false => hickory_resolver::system_conf::read_system_conf()
                    .map_err(|error| error.to_string()),
            };
            (found, Arc::new(Hosts::from_system().unwrap_or_default()))
        });
        Self { changed, read }
    }
}

/// The address that a host already is, with or without brackets.
#[must_use]
pub fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

fn build(
    settings: &ResolverSettings,
    (mut config, mut options): Servers,
    hosts: Arc<Hosts>,
) -> Result<Inner, NetError> {
    if !settings.nameservers.is_empty() {
        let servers = settings.nameservers.iter().map(|address| {
            let mut server = NameServerConfig::udp_and_tcp(address.ip());
            for connection in &mut server.connections {
                connection.port = address.port();
            }
            server
        });
        config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
    }
    options.cache_size = 0;
    options.num_concurrent_reqs = 1;
    // It is read here, and not by the library on this thread.
    options.use_hosts_file = ResolveHosts::Never;
    if let Some(timeout) = settings.timeout {
        options.timeout = timeout;
    }
    if let Some(attempts) = settings.attempts {
        options.attempts = attempts.saturating_sub(1);
    }
    let mut builder = Hickory::builder_with_config(config, Runtime::default());
    *builder.options_mut() = options;
    let mut inner = builder.build()?;
    inner.set_hosts(hosts);
    Ok(inner)
}

async fn ask(resolver: &Inner, host: &str, kind: RecordType) -> Result<IpAddr, ResolveError> {
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
