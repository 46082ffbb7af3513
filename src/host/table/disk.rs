//! Disks.

use std::collections::BTreeMap;

use crate::base::clock::BootTime;
use crate::host::filter::Filter;
use crate::host::points::Narrow;
use crate::host::read::block::{self, Disk as Read};
use crate::host::scraper::{Scraper, Turn};
use crate::host::source::Trouble;
use crate::signal::names::host as names;

/// The kernel counts in sectors of this size, whatever the disk has.
const SECTOR: u64 = 512;

/// What is remembered of a disk.
#[derive(Default)]
struct Known {
    operations: u64,
    times: [Narrow; 6],
    busy: Option<(BootTime, u64)>,
}

/// Reads disks.
pub struct Disk {
    /// Which ones.
    pub filter: Filter,
    known: BTreeMap<String, Known>,
}

impl Disk {
    /// Reads the disks that pass.
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        Self { filter, known: BTreeMap::new() }
    }

    fn one(&mut self, disk: &Read, turn: &mut Turn<'_>) {
        let known = self.known.entry(disk.name.clone()).or_default();
        let operations = disk.read[0].wrapping_add(disk.written[0]);
        if operations < known.operations {
            // Another disk under the same name.
            *known = Known::default();
        }
        known.operations = operations;
        let narrow = [
            disk.read[3],
            disk.written[3],
            disk.busy,
            disk.weighted,
            disk.discarded.map_or(0, |d| d[3]),
            disk.flushed.map_or(0, |f| f[1]),
        ];
        let mut times = narrow;
        for (time, wide) in times.iter_mut().zip(&mut known.times) {
            *time = wide.widen(*time);
        }
        let seconds = |milliseconds: u64| milliseconds as f64 / 1000.0;
        let points = &mut *turn.points;
        let device = ("device", disk.name.as_str());
        let directions = [("read", &disk.read, times[0]), ("write", &disk.written, times[1])];
        for (direction, [operations, merged, sectors, _], took) in directions {
            let own = [device, ("direction", direction)];
            points.whole(&names::DISK_IO, &own, sectors.wrapping_mul(SECTOR));
            points.whole(&names::DISK_OPERATIONS, &own, *operations);
            points.whole(&names::DISK_MERGED, &own, *merged);
            points.sum(&names::DISK_OPERATION_TIME, &own, seconds(took));
        }
        points.sum(&names::DISK_IO_TIME, &[device], seconds(times[2]));
        points.sum(&names::DISK_WEIGHTED_IO_TIME, &[device], seconds(times[3]));
        points.whole(&names::DISK_PENDING, &[device], disk.pending);
        let before = known.busy.replace((turn.now.boot, times[2]));
        if let Some((then, busy)) = before {
            let passed = turn.now.boot.since(then).as_secs_f64();
            if passed > 0.0 && times[2] >= busy {
                let share = (seconds(times[2] - busy) / passed).clamp(0.0, 1.0);
                points.gauge(&names::DISK_UTILIZATION, &[device], share);
            }
        }
        if let Some(discarded) = disk.discarded {
            points.whole(&names::DISK_DISCARD_OPERATIONS, &[device], discarded[0]);
            points.sum(&names::DISK_DISCARD_TIME, &[device], seconds(times[4]));
        }
        if let Some(flushed) = disk.flushed {
            points.whole(&names::DISK_FLUSH_OPERATIONS, &[device], flushed[0]);
            points.sum(&names::DISK_FLUSH_TIME, &[device], seconds(times[5]));
        }
        if turn.points.wants(&names::DISK_LIMIT) {
            // `/sys` writes an exclamation mark for a slash: `cciss!c0d0`.
            let folder = turn.source.root.sys.join("block").join(disk.name.replace('/', "!"));
            let path = folder.join("size");
            let read = turn.source.number(&path);
            if let Some(sectors) = turn.optional(read).and_then(|size| u64::try_from(size).ok()) {
                turn.points.whole(&names::DISK_LIMIT, &[device], sectors.wrapping_mul(SECTOR));
            }
        }
    }
}

impl Scraper for Disk {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let mut disks = block::disks(turn.source.proc("diskstats")?);
        disks.retain(|disk| self.filter.passes(disk.name.as_bytes()));
        for disk in &disks {
            self.one(disk, turn);
        }
        self.known.retain(|name, _| disks.iter().any(|disk| disk.name == *name));
        Ok(())
    }
}
