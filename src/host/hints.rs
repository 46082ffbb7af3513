//! What would let us read what we could not: a right, a directive of systemd, a setting of the kernel.

use std::path::Path;

use rustix::io::Errno;

use crate::host::source::Trouble;

/// What `ProtectHome=` hides.
pub const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

/// What to do about something that could not be read; `None`: nothing that we know of.
#[must_use]
pub fn hint(trouble: &Trouble) -> Option<&'static str> {
    let what = trouble.what.to_string_lossy();
    let denied = trouble.is(Errno::ACCESS) || trouble.is(Errno::PERM);
    let absent = trouble.is_absent();
    let has = |part: &str| what.contains(part);
    Some(match () {
        // Nothing but processes is there: what any single file lacks says nothing about the kernel.
        () if absent && only_processes(&trouble.what) => {
            "systemd: ProcSubset=all; in a container, mount /proc"
        }
        () if what == "adjtimex" && denied => {
            "systemd: ProtectClock=no and SystemCallFilter=adjtimex"
        }
        () if what == "sock_diag" && trouble.is(Errno::AFNOSUPPORT) => {
            "systemd: RestrictAddressFamilies=AF_NETLINK"
        }
        () if what == "sock_diag" && (absent || denied) => {
            "load the kernel's module tcp_diag; in a container, allow netlink sockets"
        }
        () if has("/pressure/irq") && absent => "needs Linux 6.1 with CONFIG_IRQ_TIME_ACCOUNTING",
        () if has("/pressure") && (absent || trouble.is(Errno::OPNOTSUPP)) => {
            "the kernel's pressure information is off: boot with psi=1"
        }
        () if has("/schedstat") && absent => "needs a kernel with CONFIG_SCHEDSTATS",
        () if has("/1/mountinfo") => {
            "the host's own mount table is hidden: systemd: ProtectProc=default"
        }
        () if has("/mountinfo") && absent => "systemd: ProcSubset=all",
        () if has("energy_uj") => "only root may read it (CAP_DAC_READ_SEARCH)",
        () if has("nf_conntrack") && absent => "the kernel's module nf_conntrack is not loaded",
        () if has("hung_task_detect_count") && absent => "needs Linux 6.13",
        () if has("scaling_cur_freq") && absent => "the kernel does not scale the frequency here",
        () if has("/swaps") && absent => "the kernel has no swap",
        () if has("sockstat6") && absent => "the kernel has no IPv6",
        () if what.ends_with("/1/net") && absent => {
            "the network may be that of this container: mount the host's /proc with its processes"
        }
        () if has("/proc/") && absent => "systemd: ProcSubset=all; in a container, mount /proc",
        () if has("/proc/") && denied => "systemd: ProtectProc=default",
        () if has("/sys/") && denied => {
            "systemd: take /sys out of InaccessiblePaths=; in a container, mount /sys"
        }
        () if trouble.is(Errno::XDEV) => {
            "the host has another file system there than we see: systemd: ProtectHome=read-only, PrivateTmp=no; in a container: mount the host's / with rslave"
        }
        () if denied && HOMES.iter().any(|home| trouble.what.starts_with(home)) => {
            "systemd: ProtectHome=read-only"
        }
        () if denied => "the folders above it must be searchable for this user",
        () if trouble.is(Errno::TIMEDOUT) => {
            "its server or disk does not answer: mend it, or leave it out (exclude_mount_points)"
        }
        () if trouble.is(Errno::BUSY) => "not asked, because so many others do not answer",
        () => return None,
    })
}

/// Whether a file is one of `/proc`, of which only the folders of processes are shown
/// (`ProcSubset=pid`). Asked when something is absent, and then of the file that every kernel has.
fn only_processes(file: &Path) -> bool {
    let mut above = file.ancestors().skip(1);
    let proc = above.find(|folder| folder.ends_with("proc"));
    let own = |proc: &Path| {
        let mut names = file.strip_prefix(proc).into_iter().flat_map(Path::components);
        let first = names.next().map(|name| name.as_os_str().to_string_lossy().into_owned());
        first.is_some_and(|name| name != "self" && !name.starts_with(|c: char| c.is_ascii_digit()))
    };
    proc.is_some_and(|proc| own(proc) && proc.join("self").exists() && !proc.join("stat").exists())
}
