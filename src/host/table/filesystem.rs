//! Mounted file systems.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use crate::host::filter::Filter;
use crate::host::kernel::Usage;
use crate::host::read::mounts::{Mount, distinct, mounts};
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

/// A mount table as it was read, and what is told of it: it rarely changes.
#[derive(Default)]
struct Table {
    bytes: Vec<u8>,
    /// Whether it is the host's: ours shows everything read-only when we are shut in.
    is_host: bool,
    /// Whether lines make no sense.
    wrong: bool,
    /// The mounts that are asked, and their readable names.
    mounts: Vec<(Mount, Arc<str>)>,
    /// The paths by which they are asked.
    paths: Vec<PathBuf>,
}

/// Reads file systems.
pub struct Filesystem {
    filters: Filters,
    asker: Option<Asker>,
    names: Readable,
    table: Table,
}

impl Filesystem {
    /// Reads the file systems that pass.
    #[must_use]
    pub fn new(filters: Filters) -> Self {
        let (names, table) = (Readable::default(), Table::default());
        Self { filters, asker: None, names, table }
    }

    /// Brings the table up to date.
    fn look(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let is_host = match turn.source.proc("1/mountinfo") {
            Ok(bytes) if self.table.is_host && self.table.bytes == bytes => {
                return Ok(());
            }
            Ok(bytes) => {
                self.table.bytes = bytes.to_vec();
                true
            }
            Err(trouble) => {
                // Said, for it hides how the host has mounted things; no reason to tell of an error.
                turn.troubles.absent.insert(trouble);
                self.table.bytes = turn.source.proc("self/mountinfo")?.to_vec();
                false
            }
        };
        let Filters { devices, kinds, mount_points } = &self.filters;
        // Asking an `autofs` would mount what is behind it.
        let wanted = |kind: &[u8]| kind != b"autofs" && kinds.passes(kind);
        let (mut found, wrong) = mounts(&self.table.bytes, wanted);
        found.retain(|mount| {
            devices.passes(mount.device.as_bytes())
                && mount_points.passes(mount.path.as_os_str().as_bytes())
        });
        let found = distinct(found);
        self.names.keep(|name| found.iter().any(|m| m.path.as_os_str().as_bytes() == name));
        let named = found.into_iter().map(|mount| {
            let name = self.names.name(mount.path.as_os_str().as_bytes());
            (mount, name)
        });
        let found = named.collect();
        let table = &mut self.table;
        (table.is_host, table.wrong, table.mounts) = (is_host, wrong > 0, found);
        table.paths =
            table.mounts.iter().map(|(mount, _)| turn.source.root.reach(&mount.path)).collect();
        Ok(())
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

/// The numbers of a mount, if they are its own: shut in, or below a folder where the host's mounts do
/// not arrive, we may see another file system in its place.
fn own(mount: &Mount, usage: Usage) -> Result<Usage, Errno> {
    // These give each part of themselves a number of its own.
    let many = ["btrfs", "bcachefs"].contains(&mount.kind.as_str());
    match usage.device {
        Some((major, minor)) if !many && mount.device_number != format!("{major}:{minor}") => {
            Err(Errno::XDEV)
        }
        _ => Ok(usage),
    }
}

impl Scraper for Filesystem {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        self.look(turn)?;
        if self.table.wrong {
            let path = turn.source.proc_path("PID/mountinfo");
            turn.trouble(Trouble::wrong(&path, "lines that make no sense are left out"));
        }
        let kernel = &turn.source.kernel;
        let asker = self.asker.get_or_insert_with(|| Asker::new(Arc::clone(kernel)));
        let Table { is_host, mounts, paths, .. } = &self.table;
        let answers = asker.ask(paths);
        let stuck = asker.stuck();
        for ((mount, name), answer) in mounts.iter().zip(answers) {
            let answer = answer.and_then(|usage| own(mount, usage));
            Self::tell(mount, name, *is_host, answer, turn);
        }
        if stuck >= 8 {
            let why = Why::Wrong("so many mounts do not answer that others are not asked");
            turn.trouble(Trouble { what: "statfs".into(), why });
        }
        Ok(())
    }
}
