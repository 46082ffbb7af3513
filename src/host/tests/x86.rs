//! A server of two sockets, twice with 10 s between: the numbers of the README of the made-up hosts.

use std::sync::LazyLock;

use super::{Host, Reading, USAGE};
use crate::host::kernel::Usage;

/// Both readings, and the host for more.
pub(super) fn new_server() -> (Host, Reading, Reading) {
    let mut host = Host::new("x86_server");
    let first = host.read(67_412);
    host.later("x86_server.2");
    let second = host.read(67_422);
    second.never_falls(&first);
    (host, first, second)
}

/// Both readings, made once.
pub(super) fn server() -> (&'static Reading, &'static Reading) {
    static READINGS: LazyLock<(Reading, Reading)> = LazyLock::new(|| {
        let (_, first, second) = new_server();
        (first, second)
    });
    (&READINGS.0, &READINGS.1)
}

#[test]
fn nothing_is_missing_and_nothing_is_told_twice() {
    let (mut host, first, second) = new_server();
    assert_eq!((first.troubles.len(), first.absent.len()), (0, 0), "{:?}", first.troubles);
    assert_eq!((second.troubles.len(), second.stale.len()), (0, 0));
    // Only shares of time come with the second reading.
    let new: Vec<&String> =
        second.points.keys().filter(|key| !first.points.contains_key(*key)).collect();
    assert!(new.iter().all(|key| key.contains("utilization")), "{new:?}");
    // The machine started at one time for all counters.
    assert!(second.points.values().all(|point| point.start.unwrap_or(0.0) == 0.0));
    let third = host.read(67_432);
    assert!(third.stale.iter().all(|key| key.starts_with("system.cpu.utilization")));
}

#[test]
fn cpus() {
    let (first, second) = server();
    first.has(
        r#"
        system.cpu.time{cpu="cpu0",state="user"} 4000
        system.cpu.time{cpu="cpu0",state="system"} 1500
        system.cpu.time{cpu="cpu0",state="idle"} 62000
        system.cpu.time{cpu="cpu3",state="user"} 4030
        system.cpu.time{cpu="cpu3",state="system"} 1515
        system.cpu.time{cpu="cpu3",state="idle"} 62060
        system.cpu.linux.context_switches 1834567890
        system.cpu.linux.interrupts 912345678
        system.cpu.linux.tasks{state="runnable"} 3
        system.cpu.linux.tasks{state="blocked"} 1
        system.cpu.linux.run_queue.time 188
        system.cpu.logical.count 8
        system.cpu.physical.count 4
        system.processes.created 90321
        system.linux.boot_time 1757000000
        system.uptime 67412.31
        system.linux.threads 412
        "#,
    );
    second.has_grown(
        first,
        r"
        system.cpu.linux.context_switches 100000
        system.cpu.linux.interrupts 50000
        system.cpu.linux.run_queue.time 1
        system.processes.created 20
        ",
    );
    second.has(
        r#"
        system.cpu.linux.tasks{state="runnable"} 2
        system.cpu.linux.tasks{state="blocked"} 0
        system.linux.threads 414
        system.uptime 67422.31
        system.linux.boot_time 1757000000
        "#,
    );
    // The sums of all CPUs grow as the line for the whole does.
    for (state, seconds) in [("user", 20.0), ("system", 4.8), ("idle", 52.4), ("wait", 2.0)] {
        let of = |cpu: u32| format!("system.cpu.time{{cpu=\"cpu{cpu}\",state=\"{state}\"}}");
        let grown: f64 = (0..8).map(|cpu| second.grown(first, &of(cpu))).sum();
        assert!((grown - seconds).abs() < 1e-6, "{state} {grown}");
    }
    first.lacks(&["system.cpu.utilization"]);
    let shares = [
        ("user", 0.25),
        ("nice", 0.0),
        ("system", 0.06),
        ("idle", 0.655),
        ("wait", 0.025),
        ("interrupt", 0.0),
        ("softirq", 0.01),
        ("steal", 0.0),
    ];
    for cpu in 0..8 {
        for (state, share) in shares {
            let line =
                format!("system.cpu.utilization{{cpu=\"cpu{cpu}\",state=\"{state}\"}} {share}");
            second.has(&line);
        }
        let frequency = 1_200_000_000 + cpu * 100_000_000;
        second.has(&format!("system.cpu.frequency{{cpu=\"cpu{cpu}\"}} {frequency}"));
    }
}

#[test]
fn load() {
    let (first, second) = server();
    first.has(
        "system.cpu.load_average.1m 0.84\n system.cpu.load_average.5m 0.62\n \
         system.cpu.load_average.15m 0.55",
    );
    second.has(
        "system.cpu.load_average.1m 0.86\n system.cpu.load_average.5m 0.63\n \
         system.cpu.load_average.15m 0.55",
    );
    let mut host = Host::with("x86_server", |settings, _| settings.load_per_cpu = true);
    host.read(67_412).has("system.cpu.load_average.1m 0.105");
}

/// As the Collector has it: what can be given back of the slabs counts as cached, and used is the
/// rest, the README's "used by sum".
#[test]
fn memory() {
    let (first, second) = server();
    first.has(
        r#"
        system.memory.limit 33554432000
        system.memory.usage{state="free"} 4194304000
        system.memory.usage{state="buffered"} 524288000
        system.memory.usage{state="cached"} 15728640000
        system.memory.usage{state="used"} 13107200000
        system.memory.usage{state="slab_reclaimable"} 1048576000
        system.memory.usage{state="slab_unreclaimable"} 524288000
        system.memory.utilization{state="free"} 0.125
        system.memory.utilization{state="used"} 0.390625
        system.linux.memory.available 20971520000
        system.linux.memory.dirty 1314816
        system.memory.linux.writeback 36864
        system.memory.linux.shared 262144000
        system.memory.linux.hardware_corrupted 4096
        "#,
    );
    first.has_just(
        r#"
        system.memory.linux.hugepages.limit 64
        system.memory.linux.hugepages.usage{state="free"} 40
        system.memory.linux.hugepages.usage{state="used"} 24
        system.memory.linux.hugepages.utilization{state="free"} 0.625
        system.memory.linux.hugepages.utilization{state="used"} 0.375
        system.memory.linux.hugepages.reserved 8
        system.memory.linux.hugepages.surplus 0
        system.memory.linux.hugepages.page_size 2097152
        "#,
    );
    second.has(
        r#"
        system.memory.usage{state="free"} 4096000000
        system.memory.usage{state="cached"} 15794176000
        system.memory.usage{state="used"} 13139968000
        system.linux.memory.available 20787200000
        system.linux.memory.dirty 2048000
        "#,
    );
    let parts = ["free", "buffered", "cached", "used"];
    let value = |state| second.value(&format!("system.memory.usage{{state=\"{state}\"}}"));
    assert_eq!(parts.map(value).iter().sum::<f64>(), second.value("system.memory.limit"));
}

#[test]
fn paging() {
    let (first, second) = server();
    first.has_just(
        r#"
        system.paging.usage{device="/dev/sda3",state="used"} 268435456
        system.paging.usage{device="/dev/sda3",state="free"} 4026527744
        system.paging.usage{device="/srv/swap file",state="used"} 0
        system.paging.usage{device="/srv/swap file",state="free"} 4294963200
        system.paging.faults{type="major"} 45678
        system.paging.faults{type="minor"} 812300000
        system.paging.operations{direction="page_in",type="major"} 2048
        system.paging.operations{direction="page_out",type="major"} 67584
        system.paging.operations{direction="page_in",type="minor"} 48123456
        system.paging.operations{direction="page_out",type="minor"} 91234567
        system.memory.linux.oom_kills 2
        system.memory.linux.reclaim.stalls{type="allocstall"} 140
        system.memory.linux.reclaim.stalls{type="pgscan_direct"} 5200
        "#,
    );
    second.has(
        r#"
        system.paging.usage{device="/dev/sda3",state="used"} 268902400
        system.paging.utilization{device="/dev/sda3",state="used"} 0.06260877858045442
        "#,
    );
    second.has_grown(
        first,
        r#"
        system.paging.faults{type="major"} 7
        system.paging.faults{type="minor"} 9993
        system.paging.operations{direction="page_in",type="major"} 10
        system.paging.operations{direction="page_out",type="major"} 14
        system.paging.operations{direction="page_in",type="minor"} 1000
        system.paging.operations{direction="page_out",type="minor"} 5000
        system.memory.linux.oom_kills 1
        system.memory.linux.reclaim.stalls{type="allocstall"} 2
        system.memory.linux.reclaim.stalls{type="pgscan_direct"} 100
        "#,
    );
}

/// The four times of sda pass the end of their 32 bits between the readings.
#[test]
fn disks() {
    let (first, second) = server();
    let disks = ["dm-0", "md0", "nvme0n1", "sda", "sdb", "sr0"];
    assert_eq!(first.values("system.disk.io", "device"), disks);
    first.has(
        r#"
        system.disk.io{device="sda",direction="read"} 30720000000
        system.disk.io{device="sda",direction="write"} 50176000000
        system.disk.operations{device="sda",direction="read"} 820000
        system.disk.operations{device="sda",direction="write"} 1630000
        system.disk.merged{device="sda",direction="read"} 41000
        system.disk.merged{device="sda",direction="write"} 220000
        system.disk.pending_operations{device="sda"} 2
        system.disk.linux.flush.operations{device="sda"} 5120
        system.disk.linux.flush.time{device="sda"} 44
        system.disk.operation_time{device="sda",direction="read"} 4294966.796
        system.disk.io{device="nvme0n1",direction="read"} 8192000000
        system.disk.io{device="nvme0n1",direction="write"} 20480000000
        system.disk.operation_time{device="nvme0n1",direction="read"} 61
        system.disk.operation_time{device="nvme0n1",direction="write"} 310
        system.disk.io_time{device="nvme0n1"} 151
        system.disk.weighted_io_time{device="nvme0n1"} 372.045
        system.disk.linux.discard.operations{device="nvme0n1"} 100
        system.disk.linux.discard.time{device="nvme0n1"} 0.05
        system.disk.io{device="sdb",direction="read"} 1228800000
        system.disk.io_time{device="sdb"} 70
        system.disk.io{device="sr0",direction="read"} 0
        "#,
    );
    first.has(
        r#"
        system.disk.limit{device="sda"} 4000787030016
        system.disk.limit{device="nvme0n1"} 1024209543168
        system.disk.limit{device="md0"} 3788732628992
        system.disk.limit{device="dm-0"} 214748364800
        "#,
    );
    second.has_grown(
        first,
        r#"
        system.disk.io{device="sda",direction="read"} 20480000
        system.disk.io{device="sda",direction="write"} 51200000
        system.disk.operations{device="sda",direction="read"} 400
        system.disk.operations{device="sda",direction="write"} 2000
        system.disk.merged{device="sda",direction="read"} 10
        system.disk.merged{device="sda",direction="write"} 100
        system.disk.operation_time{device="sda",direction="read"} 1.5
        system.disk.operation_time{device="sda",direction="write"} 10
        system.disk.io_time{device="sda"} 4
        system.disk.weighted_io_time{device="sda"} 12
        system.disk.linux.flush.operations{device="sda"} 30
        system.disk.linux.flush.time{device="sda"} 0.3
        system.disk.io{device="nvme0n1",direction="read"} 10485760
        system.disk.io{device="nvme0n1",direction="write"} 41943040
        system.disk.operation_time{device="nvme0n1",direction="read"} 0.1
        system.disk.operation_time{device="nvme0n1",direction="write"} 0.6
        system.disk.io_time{device="nvme0n1"} 0.5
        system.disk.weighted_io_time{device="nvme0n1"} 0.705
        system.disk.linux.discard.operations{device="nvme0n1"} 1
        system.disk.linux.discard.time{device="nvme0n1"} 0.001
        system.disk.io{device="sdb",direction="read"} 409600
        system.disk.io_time{device="sdb"} 0.08
        "#,
    );
    first.lacks(&["system.disk.utilization"]);
    second.has(
        r#"
        system.disk.pending_operations{device="sda"} 1
        system.disk.utilization{device="sda"} 0.4
        system.disk.utilization{device="nvme0n1"} 0.05
        system.disk.utilization{device="sdb"} 0.008
        system.disk.utilization{device="sr0"} 0
        "#,
    );
}

#[test]
fn file_systems() {
    let mut host = Host::new("x86_server");
    let full = Usage { available: 0, free: 50, files: 0, files_free: 0, ..USAGE };
    host.usage("/home", Ok(full));
    let large =
        Usage { block: 1 << 20, blocks: 1 << 30, free: 1 << 29, available: 1 << 28, ..USAGE };
    host.usage("/srv", Ok(large));
    let reading = host.read(67_412);
    reading.has_just(
        r#"
        system.filesystem.linux.readonly{device="/dev/sda1",mountpoint="/",type="ext4"} 0
        system.filesystem.linux.readonly{device="/dev/sdb2",mountpoint="/boot/efi",type="vfat"} 0
        system.filesystem.linux.readonly{device="/dev/md0",mountpoint="/srv",type="ext4"} 0
        system.filesystem.linux.readonly{device="/dev/mapper/vg0-home",mountpoint="/home",type="ext4"} 0
        system.filesystem.linux.readonly{device="/dev/nvme0n1p1",mountpoint="/var/lib/data",type="xfs"} 0
        system.filesystem.linux.readonly{device="/dev/sdb3",mountpoint="/mnt/broken",type="ext4"} 1
        "#,
    );
    // 1000 blocks of 4096: 600 used, 300 for everybody, 100 for root.
    reading.has(
        r#"
        system.filesystem.usage{device="/dev/sda1",mode="rw",mountpoint="/",state="used",type="ext4"} 2457600
        system.filesystem.usage{device="/dev/sda1",mode="rw",mountpoint="/",state="free",type="ext4"} 1228800
        system.filesystem.usage{device="/dev/sda1",mode="rw",mountpoint="/",state="reserved",type="ext4"} 409600
        system.filesystem.limit{device="/dev/sda1",mode="rw",mountpoint="/",type="ext4"} 4096000
        system.filesystem.utilization{device="/dev/sda1",mode="rw",mountpoint="/",type="ext4"} 0.6666666666666666
        system.filesystem.inodes.usage{device="/dev/sda1",mode="rw",mountpoint="/",state="used",type="ext4"} 50
        system.filesystem.inodes.usage{device="/dev/sda1",mode="rw",mountpoint="/",state="free",type="ext4"} 150
        system.filesystem.usage{device="/dev/mapper/vg0-home",mode="rw",mountpoint="/home",state="reserved",type="ext4"} 204800
        system.filesystem.utilization{device="/dev/mapper/vg0-home",mode="rw",mountpoint="/home",type="ext4"} 1
        system.filesystem.limit{device="/dev/md0",mode="rw",mountpoint="/srv",type="ext4"} 1125899906842624
        system.filesystem.utilization{device="/dev/sdb3",mode="ro",mountpoint="/mnt/broken",type="ext4"} 0.6666666666666666
        "#,
    );
    // A file system that makes inodes as it needs them has none to tell of.
    let inodes = reading.values("system.filesystem.inodes.usage", "mountpoint");
    assert_eq!(inodes, ["/", "/boot/efi", "/mnt/broken", "/srv", "/var/lib/data"]);
}

#[test]
fn network() {
    let (first, second) = server();
    assert_eq!(first.values("system.network.io", "device"), ["br0", "eth0", "eth1"]);
    first.has(
        r#"
        system.network.io{device="eth0",direction="receive"} 98000000000
        system.network.io{device="eth0",direction="transmit"} 45000000000
        system.network.packets{device="eth0",direction="receive"} 81000000
        system.network.packets{device="eth0",direction="transmit"} 52000000
        system.network.dropped{device="eth0",direction="receive"} 17
        system.network.dropped{device="eth0",direction="transmit"} 5
        system.network.errors{device="eth0",direction="receive"} 3
        system.network.errors{device="eth0",direction="transmit"} 0
        system.network.linux.errors.detail{device="eth0",direction="receive",kind="fifo"} 1
        system.network.linux.errors.detail{device="eth0",direction="receive",kind="frame"} 2
        system.network.errors{device="eth1",direction="transmit"} 2
        system.network.linux.errors.detail{device="eth1",direction="transmit",kind="carrier"} 2
        system.network.linux.carrier_changes{device="eth0"} 2
        system.network.linux.carrier_changes{device="eth1"} 7
        system.network.dropped{device="br0",direction="receive"} 40
        "#,
    );
    first.has_just(
        r#"
        hw.network.bandwidth.limit{hw.id="br0"} 125000000
        hw.network.bandwidth.limit{hw.id="eth0"} 125000000
        hw.network.up{hw.id="br0"} 1
        hw.network.up{hw.id="eth0"} 1
        hw.network.up{hw.id="eth1"} 0
        "#,
    );
    second.has_grown(
        first,
        r#"
        system.network.io{device="eth0",direction="receive"} 12500000
        system.network.io{device="eth0",direction="transmit"} 25000000
        system.network.packets{device="eth0",direction="receive"} 10000
        system.network.packets{device="eth0",direction="transmit"} 20000
        system.network.dropped{device="eth0",direction="receive"} 2
        system.network.dropped{device="eth0",direction="transmit"} 1
        system.network.errors{device="eth0",direction="receive"} 1
        system.network.linux.carrier_changes{device="eth0"} 0
        system.network.linux.carrier_changes{device="eth1"} 2
        system.network.dropped{device="br0",direction="receive"} 1
        "#,
    );
    second.has(
        r#"
        hw.network.bandwidth.utilization{hw.id="eth0",network.io.direction="receive"} 0.01
        hw.network.bandwidth.utilization{hw.id="eth0",network.io.direction="transmit"} 0.02
        "#,
    );
    first.lacks(&["hw.network.bandwidth.utilization"]);
    second.lacks(&["hw.network.bandwidth.utilization{hw.id=\"eth1\""]);
}
