//! `/proc/stat`, `/proc/schedstat`, `/proc/loadavg`, `/proc/pressure/*`, `/proc/interrupts`.

use crate::host::scan::{decimal, lines, number, words};

/// The fields of a CPU, in the kernel's order.
pub const STATES: usize = 8;
/// Time in programs; that of guests is in it.
pub const USER: usize = 0;
/// Time in programs of low priority.
pub const NICE: usize = 1;
/// Time in the kernel.
pub const SYSTEM: usize = 2;
/// Time without work.
pub const IDLE: usize = 3;
/// Time without work while a disk was waited for.
pub const IOWAIT: usize = 4;
/// Time in interrupts.
pub const IRQ: usize = 5;
/// Time in deferred interrupts.
pub const SOFTIRQ: usize = 6;
/// Time that the hypervisor gave to others.
pub const STEAL: usize = 7;

/// `/proc/stat`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Ticks by state of each CPU that is online, by its number.
    pub cpus: Vec<(u32, [u64; STATES])>,
    /// Context switches.
    pub context_switches: Option<u64>,
    /// Interrupts.
    pub interrupts: Option<u64>,
    /// Processes that were started.
    pub forks: Option<u64>,
    /// Tasks that run or wait for a CPU.
    pub running: Option<u64>,
    /// Tasks that wait for a device.
    pub blocked: Option<u64>,
    /// When the machine started, in seconds since 1970.
    pub boot: Option<u64>,
}

/// Reads `/proc/stat`.
#[must_use]
pub fn stat(bytes: &[u8]) -> Stat {
    let mut stat = Stat::default();
    for line in lines(bytes) {
        let mut words = words(line);
        let (Some(key), rest) = (words.next(), words) else { continue };
        let mut numbers = rest.map_while(number);
        match key {
            b"ctxt" => stat.context_switches = numbers.next(),
            b"intr" => stat.interrupts = numbers.next(),
            b"processes" => stat.forks = numbers.next(),
            b"procs_running" => stat.running = numbers.next(),
            b"procs_blocked" => stat.blocked = numbers.next(),
            b"btime" => stat.boot = numbers.next(),
            key => {
                let cpu = key.strip_prefix(b"cpu").and_then(number);
                let Some(cpu) = cpu.and_then(|n| u32::try_from(n).ok()) else { continue };
                let mut times = [0; STATES];
                let mut fields = 0;
                for (time, read) in times.iter_mut().zip(&mut numbers) {
                    *time = read;
                    fields += 1;
                }
                // A kernel older than steal time has seven.
                if fields >= 4 {
                    stat.cpus.push((cpu, times));
                }
            }
        }
    }
    stat
}

/// The nanoseconds that tasks waited for a CPU, over all CPUs: field 8 of each in `/proc/schedstat`.
#[must_use]
pub fn run_queue(bytes: &[u8]) -> Option<u64> {
    let waits = lines(bytes).filter(|line| line.starts_with(b"cpu"));
    let mut waits = waits.filter_map(|line| number(words(line).nth(8)?)).peekable();
    waits.peek()?;
    Some(waits.fold(0, u64::wrapping_add))
}

/// `/proc/loadavg`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// The averages over 1, 5 and 15 minutes.
    pub averages: [f64; 3],
    /// Threads that exist.
    pub threads: Option<u64>,
}

/// Reads `/proc/loadavg`.
#[must_use]
pub fn load(bytes: &[u8]) -> Option<Load> {
    let mut words = words(bytes);
    let mut next = || decimal(words.next()?);
    let averages = [next()?, next()?, next()?];
    let threads = words.next().and_then(|word| word.split(|b| *b == b'/').nth(1)).and_then(number);
    Some(Load { averages, threads })
}

/// A line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// Shares of the last 10, 60 and 300 s, 0 to 1.
    pub averages: [f64; 3],
    /// Microseconds.
    pub total: u64,
}

/// `/proc/pressure/*`: the lines `some` and `full`. Kernels before 5.13 have no `full` for CPUs, and
/// interrupts never have `some`.
#[must_use]
pub fn pressure(bytes: &[u8]) -> (Option<Stall>, Option<Stall>) {
    let line = |name: &[u8]| {
        let line = lines(bytes).find(|line| words(line).next() == Some(name))?;
        let after = |key: &[u8]| words(line).find_map(|word| word.strip_prefix(key));
        let average = |key: &[u8]| after(key).and_then(decimal).map_or(0.0, |n| n / 100.0);
        let averages = [average(b"avg10="), average(b"avg60="), average(b"avg300=")];
        Some(Stall { averages, total: number(after(b"total=")?)? })
    };
    (line(b"some"), line(b"full"))
}

/// Machine check exceptions over all CPUs: the row `MCE` of `/proc/interrupts` (x86).
#[must_use]
pub fn machine_checks(bytes: &[u8]) -> Option<u64> {
    let mut rows = lines(bytes).map(words);
    rows.find_map(|mut row| (row.next() == Some(b"MCE:")).then(|| row.map_while(number).sum()))
}

/// `/proc/uptime`: seconds.
#[must_use]
pub fn uptime(bytes: &[u8]) -> Option<f64> {
    decimal(words(bytes).next()?)
}

/// `/proc/sys/fs/file-nr`: what is open, and what may be.
#[must_use]
pub fn file_descriptors(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut numbers = words(bytes).map_while(number);
    let open = numbers.next()?;
    Some((open, numbers.nth(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_keeps_the_numbers_of_cpus() {
        let text = b"cpu  1 2 3 4 5 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 9 9\ncpu3 1 2 3 4\ncpux 1\n\
            cpu4 1\nintr 88 1 2\nctxt 9\nbtime 14\nprocesses 7\nprocs_running 2\nprocs_blocked 1\n";
        let stat = stat(text);
        let expected = [(0, [1, 2, 3, 4, 5, 6, 7, 8]), (3, [1, 2, 3, 4, 0, 0, 0, 0])];
        assert_eq!(stat.cpus, expected);
        assert_eq!((stat.interrupts, stat.context_switches), (Some(88), Some(9)));
        assert_eq!((stat.forks, stat.running, stat.blocked), (Some(7), Some(2), Some(1)));
        assert_eq!(super::stat(b"\xff\n\n garbage"), Stat::default());
    }

    /// Edge case 33: fields come and go with the age of the kernel.
    #[test]
    fn pressure_without_one_of_its_lines() {
        let some = b"some avg10=1.50 avg60=0.00 avg300=0.00 total=14036781\n";
        let (some, full) = pressure(some);
        assert_eq!(some.map(|s| (s.total, s.averages[0])), Some((14_036_781, 0.015)));
        assert_eq!(full, None);
        let (some, full) = pressure(b"full avg10=0.00 avg60=0.00 avg300=0.00 total=8494");
        assert_eq!((some, full.map(|f| f.total)), (None, Some(8494)));
        assert_eq!(pressure(b"some total=x"), (None, None));
    }

    #[test]
    fn small_files() {
        let load = load(b"0.21 0.37 0.39 1/719 19737\n").expect("a load");
        assert_eq!((load.averages, load.threads), ([0.21, 0.37, 0.39], Some(719)));
        assert_eq!(super::load(b"0.21 x"), None);
        assert_eq!(file_descriptors(b"1024\t0\t1631329\n"), Some((1024, 1_631_329)));
        let text =
            b"version 15\ncpu0 0 0 0 0 0 0 1 2000 3\ndomain0 1 2\ncpu1 0 0 0 0 0 0 1 3000 3\n";
        assert_eq!((run_queue(text), run_queue(b"version 15\n")), (Some(5000), None));
        let text =
            b"           CPU0  CPU1\n  0:  5  6  timer\nMCE:  1  2   Machine check exceptions\n";
        assert_eq!(machine_checks(text), Some(3));
    }
}
