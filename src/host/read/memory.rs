//! `/proc/meminfo`, `/proc/vmstat`, `/proc/swaps`.

use crate::host::scan::{lines, number, text, unescape, words};

macro_rules! table {
    ($(#[$doc:meta])* $name:ident, $function:ident, {$($key:literal $field:ident,)*}) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the kernel's documentation of the key is theirs")]
        pub struct $name { $(pub $field: Option<u64>,)* }

        /// Reads the file: only the keys that are wanted.
        #[must_use]
        pub fn $function(bytes: &[u8]) -> $name {
            let mut found = $name::default();
            for line in lines(bytes) {
                let mut words = words(line);
                let Some(key) = words.next() else { continue };
                let slot = match key {
                    $($key => &mut found.$field,)*
                    _ => continue,
                };
                let value = words.next().and_then(number);
                let kibibytes = words.next() == Some(b"kB");
                *slot = value.map(|n| if kibibytes { n.saturating_mul(1024) } else { n });
            }
            found
        }
    };
}

table! {
    /// `/proc/meminfo`, in bytes; what the kernel (or a container's emulation) does not say is `None`.
    Memory, meminfo, {
        b"MemTotal:" total,
        b"MemFree:" free,
        b"MemAvailable:" available,
        b"Buffers:" buffers,
        b"Cached:" cached,
        b"Inactive:" inactive,
        b"SReclaimable:" slab_reclaimable,
        b"SUnreclaim:" slab_unreclaimable,
        b"Dirty:" dirty,
        b"Writeback:" writeback,
        b"Shmem:" shared,
        b"Committed_AS:" committed,
        b"CommitLimit:" commit_limit,
        b"HardwareCorrupted:" hardware_corrupted,
        b"HugePages_Total:" hugepages_total,
        b"HugePages_Free:" hugepages_free,
        b"HugePages_Rsvd:" hugepages_reserved,
        b"HugePages_Surp:" hugepages_surplus,
        b"Hugepagesize:" hugepage_size,
    }
}

table! {
    /// `/proc/vmstat`.
    VmStat, vmstat, {
        b"pgfault" faults,
        b"pgmajfault" major_faults,
        b"pgpgin" read_in,
        b"pgpgout" written_out,
        b"pswpin" swapped_in,
        b"pswpout" swapped_out,
        b"oom_kill" oom_kills,
        b"pgscan_direct" scans,
        b"pgscan_direct_dma" scans_dma,
        b"pgscan_direct_dma32" scans_dma32,
        b"pgscan_direct_normal" scans_normal,
        b"pgscan_direct_high" scans_high,
        b"pgscan_direct_movable" scans_movable,
        b"allocstall" stalls_old,
        b"allocstall_dma" stalls_dma,
        b"allocstall_dma32" stalls_dma32,
        b"allocstall_normal" stalls_normal,
        b"allocstall_high" stalls_high,
        b"allocstall_movable" stalls_movable,
        b"allocstall_device" stalls_device,
    }
}

impl VmStat {
    /// How often a program had to free memory itself before it got any.
    #[must_use]
    pub fn allocation_stalls(&self) -> Option<u64> {
        let by_zone = [
            self.stalls_old,
            self.stalls_dma,
            self.stalls_dma32,
            self.stalls_normal,
            self.stalls_high,
            self.stalls_movable,
            self.stalls_device,
        ];
        let known = by_zone.into_iter().flatten();
        known.reduce(u64::wrapping_add)
    }

    /// How many pages were looked at for that; kernels before 4.8 count by zone.
    #[must_use]
    pub fn direct_scans(&self) -> Option<u64> {
        let by_zone = [
            self.scans,
            self.scans_dma,
            self.scans_dma32,
            self.scans_normal,
            self.scans_high,
            self.scans_movable,
        ];
        by_zone.into_iter().flatten().reduce(u64::wrapping_add)
    }
}

/// A swap device or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Its path.
    pub device: String,
    /// Bytes.
    pub size: u64,
    /// Bytes.
    pub used: u64,
}

/// Reads `/proc/swaps`.
#[must_use]
pub fn swaps(bytes: &[u8]) -> Vec<Swap> {
    let rows = lines(bytes).skip(1).filter_map(|line| {
        let mut words = words(line);
        let device = text(&unescape(words.next()?));
        let mut numbers = words.skip(1).map_while(number);
        let size = numbers.next()?.saturating_mul(1024);
        Some(Swap { device, size, used: numbers.next()?.saturating_mul(1024) })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_none() {
        let memory =
            meminfo(b"MemTotal:  3742148 kB\nMemFree: 1 kB\nHugePages_Total:  2\nCached: x\n");
        assert_eq!(memory.total, Some(3_831_959_552));
        assert_eq!(
            (memory.hugepages_total, memory.cached, memory.available),
            (Some(2), None, None)
        );
        let vm = vmstat(b"pgfault 10\npgmajfault 3\nallocstall_normal 1\nallocstall_movable 2\n");
        assert_eq!((vm.faults, vm.oom_kills, vm.allocation_stalls()), (Some(10), None, Some(3)));
    }

    #[test]
    fn swap_files() {
        let text =
            b"Filename\tType\tSize\tUsed\tPriority\n/dev/zram0  partition\t8388604\t76\t100\n\
            /swap\\040file file 4 1 -2\nbroken\n";
        let swaps = swaps(text);
        assert_eq!(swaps.len(), 2);
        assert_eq!((swaps[0].size, swaps[0].used), (8_589_930_496, 77_824));
        assert_eq!(swaps[1].device, "/swap file");
    }
}
