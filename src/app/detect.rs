//! Finds out what `resource_detection` puts into resources. What fails is told, left out, and tried
//! again in the background.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use crate::app::facts;
use crate::base::backoff::Backoff;
use crate::base::fs;
use crate::net::resolve::{Family, Resolver};
use crate::processor::resource_detection::{Detector, Facts, HostnameSource, Settings};
use crate::signal::any_value::{AnyValue, Text};

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// What one processor wants to know.
pub(super) struct Detection {
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) resolver: Resolver,
    pub(super) facts: Arc<Facts>,
}

type Found = Vec<(Text, AnyValue)>;

impl Detection {
    /// Looks once, within the time that it may take. What comes back looks again, when there is a
    /// reason to: something failed, or it is to be refreshed.
    pub(super) async fn first(self) -> impl Future<Output = ()> + Send + 'static {
        let whole = self.look(true).await;
        async move {
            let backoff = Backoff::default();
            let mut whole = whole;
            let mut failures = 0;
            loop {
                let wait = match (whole, self.settings.refresh) {
                    (false, _) => {
                        failures += 1;
                        backoff.wait(failures, 0.5)
                    }
                    (true, Some(refresh)) => {
                        failures = 0;
                        refresh
                    }
                    (true, None) => return,
                };
                tokio::time::sleep(wait).await;
                whole = self.look(false).await;
                if whole && failures > 0 {
                    tracing::info!(processor = %self.name, "all detectors work now");
                }
            }
        }
    }

    /// Looks, and hands over what was found. `true`: nothing failed.
    async fn look(&self, loud: bool) -> bool {
        let (found, failed) = self.all().await;
        if loud {
            for why in &failed {
                tracing::warn!(processor = %self.name, "{why}; it is tried again");
            }
        }
        self.facts.set(found);
        failed.is_empty()
    }

    async fn all(&self) -> (Found, Vec<String>) {
        let mut found: Found = Vec::new();
        let mut failed = Vec::new();
        for detector in &self.settings.detectors {
            let new = match detector {
                Detector::System => self.system(&mut failed).await,
                Detector::Env => from_environment(&mut failed),
            };
            // The first detector that knows an attribute wins.
            for (name, value) in new {
                let wanted = self.settings.only.as_ref().is_none_or(|only| only.contains(&*name));
                if wanted && !found.iter().any(|(have, _)| *have == name) {
                    found.push((name, value));
                }
            }
        }
        (found, failed)
    }

    async fn system(&self, failed: &mut Vec<String>) -> Found {
        let mut found: Found = Vec::new();
        for name in &self.settings.system {
            let value = match *name {
                "host.name" => match self.host_name().await {
                    Ok(host) => Some(host.into()),
                    Err(why) => {
                        failed.push(why);
                        None
                    }
                },
                name => {
                    let name = (*name).to_owned();
                    elsewhere(move || machine(&name)).await
                }
            };
            found.extend(value.map(|value| (Text::from(*name), value)));
        }
        found
    }

    /// The host's name, by the first source that knows one.
    async fn host_name(&self) -> Result<String, String> {
        let own = facts::host_name();
        let mut why = "no hostname_sources are given".to_owned();
        // All together they may take that long: the last one is asked in time, too.
        let sources = u32::try_from(self.settings.hostname_sources.len()).unwrap_or(1).max(1);
        let limit = self.settings.timeout / sources;
        for source in &self.settings.hostname_sources {
            let asked = async {
                match source {
                    HostnameSource::Os => Ok(own.clone()),
                    HostnameSource::Dns => self.qualified(&own).await,
                    HostnameSource::Cname => self.resolver.canonical(&own).await,
                    HostnameSource::Lookup => self.looked_up().await,
                }
            };
            match tokio::time::timeout(limit, asked).await {
                Ok(Ok(name)) if !name.is_empty() => return Ok(name),
                Ok(Ok(_)) => why = format!("{source:?} knows no name of this host"),
                Ok(Err(error)) => why = format!("{source:?} knows no name of this host: {error}"),
                Err(_) => why = format!("{source:?} did not name this host within {limit:?}"),
            }
        }
        Err(why)
    }

    /// The fully qualified name: by the hosts file, else by the name of the name's address.
    async fn qualified(&self, own: &str) -> Result<String, String> {
        if own.contains('.') {
            return Ok(own.to_owned());
        }
        let name = own.to_owned();
        let by_hosts = elsewhere(move || {
            let hosts = fs::read_text(Path::new("/etc/hosts"), MAX_BYTES).ok()?;
            qualified_by_hosts(&hosts, &name)
        });
        if let Some(name) = by_hosts.await {
            return Ok(name);
        }
        let family = Family { prefer_ip6: false, fallback: true };
        let address =
            self.resolver.resolve(own, family).await.map_err(|error| error.to_string())?;
        self.resolver.reverse(address).await
    }

    /// The name of the first address of this machine that has one.
    async fn looked_up(&self) -> Result<String, String> {
        let mut why = "no address but loopback".to_owned();
        let all = elsewhere(|| Some(addresses())).await.unwrap_or_default();
        for address in all.into_iter().filter(|address| !address.is_loopback()) {
            match self.resolver.reverse(address).await {
                Ok(name) => return Ok(name),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

/// Reads files of this machine on a thread for blocking work.
async fn elsewhere<T: Send + 'static>(
    read: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(read).await.ok().flatten()
}

/// The name with a dot in it that the hosts file has beside a name.
fn qualified_by_hosts(hosts: &str, own: &str) -> Option<String> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>())
        .filter(|names| names.contains(&own))
        .find_map(|names| names.into_iter().find(|name| name.contains('.')).map(str::to_owned))
}

/// `OTEL_RESOURCE_ATTRIBUTES`: `key=value,key=value`, percent-encoded.
fn from_environment(failed: &mut Vec<String>) -> Found {
    let environment = facts::environment();
    let text = environment.get("OTEL_RESOURCE_ATTRIBUTES").map(String::as_str).unwrap_or_default();
    let mut found = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                let decoded = percent_decode_str(value.trim()).decode_utf8_lossy();
                found.push((Text::from(key.trim()), AnyValue::from(&*decoded)));
            }
            _ => failed.push("OTEL_RESOURCE_ATTRIBUTES is no list of key=value".to_owned()),
        }
    }
    found
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_text(Path::new(path), MAX_BYTES).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// An attribute of the machine other than its name; `None` where the machine does not tell.
fn machine(name: &str) -> Option<AnyValue> {
    let release = |key: &str| {
        let text = read("/etc/os-release").or_else(|| read("/usr/lib/os-release"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(value.trim_matches('"').to_owned())
    };
    let cpu = |key: &str| {
        let text = read("/proc/cpuinfo")?;
        let line = text.lines().find(|line| line.split(':').next().map(str::trim) == Some(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let list =
        |values: BTreeSet<String>| AnyValue::List(values.into_iter().map(AnyValue::from).collect());
    Some(match name {
        "os.type" => facts::OS.into(),
        "host.arch" => match facts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "arm" => "arm32",
            other => other,
        }
        .into(),
        "host.id" => read("/etc/machine-id").or_else(|| read("/var/lib/dbus/machine-id"))?.into(),
        "host.ip" => {
            let shown = addresses().into_iter().filter(|address| !address.is_loopback());
            list(shown.map(|address| address.to_string()).collect())
        }
        "host.mac" => {
            let read = |interface: &String| read(&format!("/sys/class/net/{interface}/address"));
            let real = |mac: &String| mac.bytes().any(|b| !matches!(b, b'0' | b':'));
            // IEEE's spelling, as the semantic conventions want it.
            let spelt = |mac: String| mac.to_uppercase().replace(':', "-");
            list(interfaces().iter().filter_map(read).filter(real).map(spelt).collect())
        }
        "host.interface" => list(interfaces()),
        "host.cpu.vendor.id" => cpu("vendor_id").or_else(|| cpu("CPU implementer"))?.into(),
        "host.cpu.family" => cpu("cpu family").or_else(|| cpu("CPU architecture"))?.into(),
        "host.cpu.model.id" => cpu("model").or_else(|| cpu("CPU part"))?.into(),
        "host.cpu.model.name" => cpu("model name").or_else(|| cpu("Model"))?.into(),
        "host.cpu.stepping" => cpu("stepping").or_else(|| cpu("CPU revision"))?.into(),
        "host.cpu.cache.l2.size" => {
            let text = read("/sys/devices/system/cpu/cpu0/cache/index2/size")?;
            let kib: i64 = text.trim_end_matches('K').parse().ok()?;
            AnyValue::Int(kib << 10)
        }
        "os.description" => {
            let kernel = rustix::system::uname();
            let parts = [kernel.sysname(), kernel.release(), kernel.version(), kernel.machine()];
            let parts: Vec<_> = parts.iter().map(|part| part.to_string_lossy()).collect();
            parts.join(" ").into()
        }
        "os.name" => release("NAME")?.into(),
        "os.version" => release("VERSION_ID")?.into(),
        "os.build.id" => release("BUILD_ID")?.into(),
        _ => return None,
    })
}

fn interfaces() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The addresses of this machine, as the kernel's routing tables name them.
fn addresses() -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in read("/proc/net/fib_trie").unwrap_or_default().lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.map(IpAddr::V4));
        }
    }
    for line in read("/proc/net/if_inet6").unwrap_or_default().lines() {
        let bits = line.get(..32).and_then(|hex| u128::from_str_radix(hex, 16).ok());
        found.extend(bits.map(|bits| IpAddr::V6(Ipv6Addr::from(bits))));
    }
    found
}

#[cfg(test)]
mod tests;
