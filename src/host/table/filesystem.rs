//! Mounted file systems.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::host::filter::Filter;
use crate::host::kernel::Usage;
use crate::host::read::mounts::{Mount, differing, distinct, mounts};
use crate::host::scan::Readable;
use crate::host::scraper::{Scraper, Turn};
use crate::host::source::{Trouble, Why};
use crate::host::statfs::Asker;
use crate::signal::names::host as names;

/// Which file systems are told of.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// By device.
    pub devices: Filter,
    /// By type.
    pub kinds: Filter,
    /// By mount point.
    pub mount_points: Filter,
}

/// Reads file systems.
pub struct Filesystem {
    filters: Filters,
    asker: Option<Asker>,
    names: Readable,
}

impl Filesystem {
    /// Reads the file systems that pass.
    #[must_use]
    pub fn new(filters: Filters) -> Self {
        Self { filters, asker: None, names: Readable::default() }
    }

    /// The mounts that pass, and whether the table is the host's: ours shows everything read-only
    /// when we are shut in.
    fn mounts(&self, turn: &mut Turn<'_>) -> Result<(Vec<Mount>, bool), Trouble> {
        let Filters { devices, kinds, mount_points } = &self.filters;
        // Asking an `autofs` would mount what is behind it.
        let mounts = |bytes: &[u8]| mounts(bytes, |kind| kind != b"autofs" && kinds.passes(kind));
        let host = turn.source.proc("1/mountinfo").map(<[u8]>::to_vec);
        let (read, host) = match host {
            Ok(host) => (mounts(&host), Some(host)),
            Err(trouble) => {
                // Said, for it hides how the host has mounted things; no reason to tell of an error.
                turn.troubles.absent.insert(trouble);
                (turn.source.proc("self/mountinfo").map(mounts)?, None)
            }
        };
        let (mut found, wrong) = read;
        let hidden = host.as_ref().map(|host| Self::hidden(host, turn)).unwrap_or_default();
        if wrong > 0 {
            let path = turn.source.proc_path("PID/mountinfo");
            turn.trouble(Trouble::wrong(&path, "lines that make no sense are left out"));
        }
        found.retain(|mount| {
            devices.passes(mount.device.as_bytes())
                && mount_points.passes(mount.path.as_os_str().as_bytes())
        });
        let mut found = distinct(found);
        for mount in &mut found {
            mount.hidden = hidden.contains(&mount.path);
        }
        Ok((found, host.is_some()))
    }

    /// The mounts of the host that are not there where we are: shut in, we may see another file
    /// system in their place.
    fn hidden(host: &[u8], turn: &mut Turn<'_>) -> Vec<PathBuf> {
        if turn.source.root.prefix.is_some() {
            return Vec::new();
        }
        let ours = turn.source.proc("self/mountinfo");
        ours.map(|ours| differing(host, ours)).unwrap_or_default()
    }

    fn tell(
        mount: &Mount,
        name: &str,
        is_host: bool,
        asked: Result<Usage, Errno>,
        turn: &mut Turn<'_>,
    ) {
        let readonly = mount.super_readonly || (is_host && mount.mount_readonly);
        let device = ("device", mount.device.as_str());
        let (mount_point, kind) = (("mountpoint", name), ("type", mount.kind.as_str()));
        let short = [device, mount_point, kind];
        turn.points.gauge(&names::FILESYSTEM_READONLY, &short, f64::from(u8::from(readonly)));
        let usage = match asked {
            Ok(usage) => usage,
            Err(errno) => {
                let trouble = Trouble::errno(&mount.path, errno);
                let own = [device, mount_point, kind, ("error.type", &trouble.why.word())];
                turn.points.gauge(&names::FILESYSTEM_ERROR, &own, 1.0);
                turn.trouble(trouble);
                return;
            }
        };
        // As hostmetrics tells it: how it is mounted where it was read.
        let mode = if mount.mount_readonly || mount.super_readonly { "ro" } else { "rw" };
        let own = [device, ("mode", mode), mount_point, kind];
        let bytes = |blocks: u64| blocks.saturating_mul(usage.block);
        let used = bytes(usage.blocks.saturating_sub(usage.free));
        let free = bytes(usage.available);
        let reserved = bytes(usage.free.saturating_sub(usage.available));
        let with = |state| [own[0], own[1], own[2], own[3], ("state", state)];
        for (state, part) in [("used", used), ("free", free), ("reserved", reserved)] {
            turn.points.whole(&names::FILESYSTEM_USAGE, &with(state), part);
        }
        if used + free > 0 {
            let share = used as f64 / (used + free) as f64;
            turn.points.gauge(&names::FILESYSTEM_UTILIZATION, &own, share);
        }
        turn.points.whole(&names::FILESYSTEM_LIMIT, &own, bytes(usage.blocks));
        // Some file systems make inodes as they need them and say that there is none.
        if usage.files > 0 {
            let used = usage.files.saturating_sub(usage.files_free);
            for (state, part) in [("used", used), ("free", usage.files_free)] {
                turn.points.whole(&names::FILESYSTEM_INODES, &with(state), part);
            }
        }
    }
}

impl Scraper for Filesystem {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let (mounts, is_host) = self.mounts(turn)?;
        let (hidden, mounts): (Vec<Mount>, Vec<Mount>) =
            mounts.into_iter().partition(|mount| mount.hidden);
        let paths: Vec<PathBuf> =
            mounts.iter().map(|mount| turn.source.root.reach(&mount.path)).collect();
        let kernel = &turn.source.kernel;
        let asker = self.asker.get_or_insert_with(|| Asker::new(std::sync::Arc::clone(kernel)));
        let answers = asker.ask(&paths);
        let stuck = asker.stuck();
        let all = || mounts.iter().chain(&hidden);
        self.names.keep(|name| all().any(|m| m.path.as_os_str().as_bytes() == name));
        let refused = std::iter::repeat(Err(Errno::XDEV));
        for (mount, answer) in all().zip(answers.into_iter().chain(refused)) {
            let name = self.names.name(mount.path.as_os_str().as_bytes());
            Self::tell(mount, &name, is_host, answer, turn);
        }
        if stuck >= 8 {
            let why = Why::Wrong("so many mounts do not answer that others are not asked");
            turn.trouble(Trouble { what: "statfs".into(), why });
        }
        Ok(())
    }
}
