//! What this process knows of itself and of its machine. The one place that reads the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use procfs::process::Process;
use rustix::process::{
    DumpableBehavior, Resource as Limit, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::base::clock::Timestamp;
use crate::base::fs;
use crate::config::Environment;
use crate::net::http_server::MAX_CONNECTIONS;
use crate::pipeline::selfmetrics::Meter;
use crate::signal::names;
use crate::signal::series::{Attributes, Resource, SERVICE_INSTANCE_ID, SERVICE_NAME};

pub use crate::host::kernel::host_name;

/// File descriptors that are needed besides attempts and connections: host metrics keep files open.
const OWN: usize = 48;
/// More attempts in flight than this help nobody.
const MAX_IN_FLIGHT: usize = 16_384;
/// Connections of our own addresses: as many as 16 of them may hold.
const MAX_PAGES: usize = 16 * MAX_CONNECTIONS;

/// The variables that the process was started with.
#[must_use]
pub fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The variable that leaves the process open to debuggers and core dumps.
const DUMPABLE: &str = "WATCHPOST_DUMPABLE";

/// Keeps the memory of this process, and the secrets in it, out of core dumps and away from debuggers
/// of the same user. What lies below `/proc/PID` belongs to root from then on; the process itself can
/// still read it.
///
/// # Errors
/// The kernel's error.
pub fn seal_memory(environment: &Environment) -> std::io::Result<()> {
    if environment.get(DUMPABLE).is_some_and(|value| value == "1") {
        return Ok(());
    }
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
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

/// How the file descriptors of this process are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Attempts that may be in flight.
    pub(super) attempts: usize,
    /// Connections of all our own addresses together.
    pub(super) pages: usize,
}

/// Raises the limit of file descriptors as far as it goes, and shares them out.
pub(super) fn raise_descriptor_limit() -> Descriptors {
    let Rlimit { current, maximum } = getrlimit(Limit::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let limit = match setrlimit(Limit::Nofile, raised) {
        Ok(()) => maximum,
        Err(_) => current,
    };
    shared_out(limit)
}

/// A fifth of the descriptors, and at least 48 of a few, is for files, queues and backends; connections
/// of the page are taken off what attempts may have, so that no client of the page ever costs a slot.
fn shared_out(limit: Option<u64>) -> Descriptors {
    let Some(limit) = limit else {
        return Descriptors { attempts: MAX_IN_FLIGHT, pages: MAX_PAGES };
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let own = (limit / 5).max(OWN.min(limit / 2));
    let left = limit - own;
    let pages = (left / 4).clamp(2, MAX_PAGES);
    Descriptors { attempts: left.saturating_sub(pages).clamp(16, MAX_IN_FLIGHT), pages }
}

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

/// Metrics about the process itself.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_the_page_never_take_the_descriptors_of_attempts() {
        for limit in [64, 128, 256, 1024, 4096, 65_536, 1 << 20] {
            let Descriptors { attempts, pages } = shared_out(Some(limit));
            let own = (limit as usize / 5).max(OWN.min(limit as usize / 2));
            assert!(attempts + pages + own <= limit as usize, "{limit}: {attempts} + {pages}");
        }
        assert_eq!(shared_out(Some(128)), Descriptors { attempts: 60, pages: 20 });
        assert_eq!(shared_out(Some(16)), Descriptors { attempts: 16, pages: 2 });
        assert_eq!(shared_out(Some(65_536)), Descriptors { attempts: 16_384, pages: 2_176 });
        assert_eq!(shared_out(None).attempts, 16_384);
    }
}
