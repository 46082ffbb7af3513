//! What this process knows of itself and of its machine. The one place that reads the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use procfs::process::Process;
use rustix::process::{Resource as Limit, Rlimit, getrlimit, setrlimit};

use crate::base::clock::Timestamp;
use crate::base::fs;
use crate::config::Environment;
use crate::pipeline::selfmetrics::Meter;
use crate::signal::names;
use crate::signal::series::{Attributes, Resource, SERVICE_INSTANCE_ID, SERVICE_NAME};

pub use crate::host::kernel::host_name;

/// The share of file descriptors that attempts may take.
const SHARE: f64 = 0.8;
/// More attempts in flight than this help nobody.
const MAX_IN_FLIGHT: usize = 16_384;

/// The variables that the process was started with.
#[must_use]
pub fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The operating system that this program was built for.
pub(super) const OS: &str = std::env::consts::OS;
/// The processor that this program was built for.
pub(super) const ARCH: &str = std::env::consts::ARCH;

/// What our own metrics are about.
///
/// `changes` are attributes that the configuration adds, changes, or leaves out.
pub(super) fn own_resource(changes: &BTreeMap<String, Option<String>>) -> Resource {
    let mut attributes: BTreeMap<String, String> = BTreeMap::from([
        (SERVICE_NAME.to_owned(), "watchpost".to_owned()),
        (SERVICE_INSTANCE_ID.to_owned(), host_name()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    for (name, value) in changes {
        match value {
            Some(value) => drop(attributes.insert(name.clone(), value.clone())),
            None => drop(attributes.remove(name)),
        }
    }
    Resource { attributes: Attributes::new(attributes) }
}

/// The memory that this process may have, in bytes: what its control group allows, or all there is.
pub(super) fn total_memory() -> u64 {
    use procfs::Current as _;
    let all = procfs::Meminfo::current().map_or(1 << 30, |memory| memory.mem_total);
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let read = |path: &&str| fs::read_text(Path::new(path), 64).ok()?.trim().parse::<u64>().ok();
    limits.iter().filter_map(read).fold(all, u64::min)
}

/// Raises the limit of file descriptors as far as it goes; returns how many attempts may be in
/// flight under it.
pub(super) fn raise_descriptor_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Limit::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = match setrlimit(Limit::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    limit.map_or(MAX_IN_FLIGHT, |limit| ((limit as f64 * SHARE) as usize).clamp(16, MAX_IN_FLIGHT))
}

/// Metrics about the process itself.
/// The random number that the kernel has given this boot; 0 when it tells none.
#[must_use]
pub fn boot_id() -> u128 {
    let text = fs::read_text(Path::new("/proc/sys/kernel/random/boot_id"), 64);
    let text = text.unwrap_or_default();
    u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or(0)
}

/// The folder that the service manager has made for our state.
#[must_use]
pub fn state_directory() -> Option<PathBuf> {
    let named = std::env::var_os("STATE_DIRECTORY")?;
    // Several are separated by colons; ours is the first.
    let first = named.to_string_lossy().split(':').next().map(PathBuf::from);
    first.filter(|path| path.is_absolute())
}

pub(super) fn own_metrics(meter: &Meter, started: Timestamp) {
    meter.gauge(&names::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
    meter.gauge(&names::PROCESS_START_TIME, &[]).set(started.seconds());
    let stat = || Process::myself().and_then(|me| me.stat()).ok();
    let ticks = procfs::ticks_per_second() as f64;
    meter.read(&names::PROCESS_CPU_TIME, &[], move |_| {
        stat().map(|s| (s.utime + s.stime) as f64 / ticks)
    });
    let page = procfs::page_size() as f64;
    meter.read(&names::PROCESS_MEMORY_USAGE, &[], move |_| stat().map(|s| s.rss as f64 * page));
    meter.read(&names::PROCESS_OPEN_FDS, &[], |_| {
        Process::myself().and_then(|me| me.fd_count()).ok().map(|count| count as f64)
    });
}
