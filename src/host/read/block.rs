//! `/proc/diskstats`.

use crate::host::scan::{lines, number, text, words};

/// A block device, in the kernel's units: sectors are always 512 bytes, times are milliseconds in
/// 32 bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Its name, such as `sda`.
    pub name: String,
    /// Operations, merged ones, sectors and milliseconds of reading.
    pub read: [u64; 4],
    /// The same of writing.
    pub written: [u64; 4],
    /// Operations in flight.
    pub pending: u64,
    /// Milliseconds in which it was busy.
    pub busy: u64,
    /// Milliseconds times operations in flight.
    pub weighted: u64,
    /// Operations, merged ones, sectors and milliseconds of discarding (Linux 4.18).
    pub discarded: Option<[u64; 4]>,
    /// Operations and milliseconds of flushing (Linux 5.5).
    pub flushed: Option<[u64; 2]>,
}

/// Reads `/proc/diskstats`.
#[must_use]
pub fn disks(bytes: &[u8]) -> Vec<Disk> {
    lines(bytes).filter_map(disk).collect()
}

fn disk(line: &[u8]) -> Option<Disk> {
    let mut words = words(line).skip(2);
    let name = text(words.next()?);
    let mut numbers = words.map_while(number);
    let mut four = || -> Option<[u64; 4]> {
        Some([numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?])
    };
    let (read, written) = (four()?, four()?);
    let mut three = || Some([numbers.next()?, numbers.next()?, numbers.next()?]);
    let [pending, busy, weighted] = three()?;
    let mut four = || -> Option<[u64; 4]> {
        Some([numbers.next()?, numbers.next()?, numbers.next()?, numbers.next()?])
    };
    let discarded = four();
    let flushed = (|| Some([numbers.next()?, numbers.next()?]))();
    Some(Disk { name, read, written, pending, busy, weighted, discarded, flushed })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Edge case 33: lines of 14, 18 and 20 columns.
    #[test]
    fn old_and_new_kernels() {
        let text =
            b"   8  0 sda 1 2 3 4 5 6 7 8 9 10 11\n 8 1 sdb 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n\
            8 2 sdc 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n8 3 sdd 1 2 x\n";
        let disks = disks(text);
        assert_eq!(disks.len(), 3);
        assert_eq!((disks[0].read, disks[0].written), ([1, 2, 3, 4], [5, 6, 7, 8]));
        assert_eq!((disks[0].pending, disks[0].busy, disks[0].weighted), (9, 10, 11));
        assert_eq!((disks[0].discarded, disks[1].discarded), (None, Some([12, 13, 14, 15])));
        assert_eq!((disks[1].flushed, disks[2].flushed), (None, Some([16, 17])));
    }
}
