//! Memory and swap.

use crate::host::read::memory::{self, Memory as Read};
use crate::host::scraper::{Scraper, Turn};
use crate::host::source::Trouble;
use crate::signal::names::host as names;

/// Reads memory.
pub struct Memory;

impl Scraper for Memory {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let memory = memory::meminfo(turn.source.proc("meminfo")?);
        let Some(total) = memory.total else {
            let path = turn.source.proc_path("meminfo");
            return Err(Trouble::wrong(&path, "no MemTotal in it"));
        };
        let points = &mut *turn.points;
        for (state, bytes) in states(&memory, total) {
            let Some(bytes) = bytes else { continue };
            points.whole(&names::MEMORY_USAGE, &[("state", state)], bytes);
            if total > 0 {
                let share = (bytes as f64 / total as f64).clamp(0.0, 1.0);
                points.gauge(&names::MEMORY_UTILIZATION, &[("state", state)], share);
            }
        }
        points.whole(&names::MEMORY_LIMIT, &[], total);
        points.gauge(&names::MEMORY_PAGE_SIZE, &[], procfs::page_size() as f64);
        let single = [
            (&names::MEMORY_AVAILABLE, memory.available),
            (&names::MEMORY_DIRTY, memory.dirty),
            (&names::MEMORY_WRITEBACK, memory.writeback),
            (&names::MEMORY_SHARED, memory.shared),
            (&names::MEMORY_COMMITTED, memory.committed),
            (&names::MEMORY_COMMIT_LIMIT, memory.commit_limit),
            (&names::MEMORY_CORRUPTED, memory.hardware_corrupted),
        ];
        for (metric, bytes) in single {
            if let Some(bytes) = bytes {
                points.whole(metric, &[], bytes);
            }
        }
        if let Some(pages) = memory.hugepages_total.filter(|pages| *pages > 0) {
            let free = memory.hugepages_free.unwrap_or(0);
            points.whole(&names::MEMORY_HUGEPAGES_LIMIT, &[], pages);
            for (state, part) in [("used", pages.saturating_sub(free)), ("free", free)] {
                let own = [("state", state)];
                points.whole(&names::MEMORY_HUGEPAGES_USAGE, &own, part);
                let share = (part as f64 / pages as f64).clamp(0.0, 1.0);
                points.gauge(&names::MEMORY_HUGEPAGES_UTILIZATION, &own, share);
            }
            let single = [
                (&names::MEMORY_HUGEPAGES_RESERVED, memory.hugepages_reserved),
                (&names::MEMORY_HUGEPAGES_SURPLUS, memory.hugepages_surplus),
                (&names::MEMORY_HUGEPAGES_PAGE_SIZE, memory.hugepage_size),
            ];
            for (metric, value) in single {
                if let Some(value) = value {
                    points.whole(metric, &[], value);
                }
            }
        }
        Ok(())
    }
}

/// The Collector's states: `cached` has the slabs that can be given back in it, and `used` is what is
/// left of all memory without what is free, buffers and cache.
fn states(memory: &Read, total: u64) -> [(&'static str, Option<u64>); 6] {
    let slab = memory.slab_reclaimable;
    let cached = memory.cached.map(|cached| cached.saturating_add(slab.unwrap_or(0)));
    let used = memory.free.map(|free| {
        let others = memory.buffers.unwrap_or(0).saturating_add(cached.unwrap_or(0));
        // In a container's emulation the parts can be more than the whole.
        total.saturating_sub(free.saturating_add(others))
    });
    [
        ("used", used),
        ("free", memory.free),
        ("buffered", memory.buffers),
        ("cached", cached),
        ("slab_reclaimable", slab),
        ("slab_unreclaimable", memory.slab_unreclaimable),
    ]
}

/// Reads swap, and what the kernel does when memory is short.
pub struct Paging;

impl Scraper for Paging {
    fn scrape(&mut self, turn: &mut Turn<'_>) -> Result<(), Trouble> {
        let swaps = turn.source.proc("swaps").map(memory::swaps);
        for swap in turn.optional(swaps).unwrap_or_default() {
            let parts = [("used", swap.used), ("free", swap.size.saturating_sub(swap.used))];
            for (state, bytes) in parts {
                let own = [("device", swap.device.as_str()), ("state", state)];
                turn.points.whole(&names::PAGING_USAGE, &own, bytes);
                if swap.size > 0 {
                    let share = (bytes as f64 / swap.size as f64).clamp(0.0, 1.0);
                    turn.points.gauge(&names::PAGING_UTILIZATION, &own, share);
                }
            }
        }
        let vm = turn.source.proc("vmstat").map(memory::vmstat);
        let Some(vm) = turn.tell(vm) else { return Ok(()) };
        let points = &mut *turn.points;
        if let (Some(faults), Some(major)) = (vm.faults, vm.major_faults) {
            points.whole(&names::PAGING_FAULTS, &[("type", "major")], major);
            let minor = faults.saturating_sub(major);
            points.whole(&names::PAGING_FAULTS, &[("type", "minor")], minor);
        }
        let operations = [
            ("major", "page_in", vm.swapped_in),
            ("major", "page_out", vm.swapped_out),
            ("minor", "page_in", vm.read_in),
            ("minor", "page_out", vm.written_out),
        ];
        for (kind, direction, count) in operations {
            if let Some(count) = count {
                let own = [("direction", direction), ("type", kind)];
                points.whole(&names::PAGING_OPERATIONS, &own, count);
            }
        }
        if let Some(kills) = vm.oom_kills {
            points.whole(&names::MEMORY_OOM_KILLS, &[], kills);
        }
        let stalls = [("allocstall", vm.allocation_stalls()), ("pgscan_direct", vm.direct_scans())];
        for (kind, count) in stalls {
            if let Some(count) = count {
                points.whole(&names::MEMORY_RECLAIM_STALLS, &[("type", kind)], count);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Edge case 38: parts that are more than the whole.
    #[test]
    fn used_is_never_below_zero() {
        let memory = Read { free: Some(60), cached: Some(70), ..Read::default() };
        assert_eq!(states(&memory, 100)[0], ("used", Some(0)));
        let memory = Read {
            free: Some(10),
            buffers: Some(5),
            cached: Some(20),
            slab_reclaimable: Some(4),
            ..Read::default()
        };
        assert_eq!(states(&memory, 100)[0], ("used", Some(61)));
        assert_eq!(states(&memory, 100)[3], ("cached", Some(24)));
        assert_eq!(states(&Read::default(), 100)[0], ("used", None));
    }
}
