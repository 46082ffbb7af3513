//! The edge cases of counters and of devices that come and go (1 to 9, and 32).

use super::Host;
use crate::base::clock::Timestamp;
use crate::host::filter::{Filter, Matcher};

fn twice(name: &str, later: &str) -> (Host, super::Reading, super::Reading) {
    let mut host = Host::new(name);
    let first = host.read(1000);
    host.later(later);
    let second = host.read(1010);
    second.never_falls(&first);
    (host, first, second)
}

const STAT: &str =
    "intr 1\nctxt 1\nbtime 1700000000\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n";

fn stat(cpus: &[&str]) -> String {
    format!("cpu  1 0 0 0 0 0 0 0 0 0\n{}\n{STAT}", cpus.join("\n"))
}

#[test]
fn case_01_iowait_can_fall() {
    let mut host = Host::new("rpi4");
    let before = std::fs::read(host.path("proc/stat")).unwrap();
    let first = host.read(1000);
    host.later("rpi4.2");
    let second = host.read(1015);
    second.never_falls(&first);
    for cpu in 0..4 {
        let wait = format!("system.cpu.time{{cpu=\"cpu{cpu}\",state=\"wait\"}}");
        assert_eq!(second.value(&wait), first.value(&wait));
        assert_eq!(second.start(&wait), 0.0);
        second.has(&format!("system.cpu.utilization{{cpu=\"cpu{cpu}\",state=\"wait\"}} 0"));
    }
    // Nor does it rise again before it is where it was.
    super::write(&host.path("proc/stat"), &before);
    let third = host.read(1030);
    third.never_falls(&second);
    let wait = "system.cpu.time{cpu=\"cpu0\",state=\"wait\"}";
    assert_eq!(third.value(wait), first.value(wait));
}

#[test]
fn case_01_idle_falls_a_little_or_by_hotplug() {
    let mut host = Host::of(&[], true, |_, _| {});
    host.write("proc/stat", &stat(&["cpu0 1000 0 1000 90000 100 0 50 0 0 0"]));
    host.read(1000);
    // 2.99 s less is the kernel's trembling.
    host.write("proc/stat", &stat(&["cpu0 1010 0 1000 89701 100 0 50 0 0 0"]));
    let second = host.read(1010);
    let idle = "system.cpu.time{cpu=\"cpu0\",state=\"idle\"}";
    assert_eq!((second.value(idle), second.start(idle)), (900.0, 0.0));
    second.has("system.cpu.utilization{cpu=\"cpu0\",state=\"user\"} 1");
    // 3 s less than what was told: the CPU was away between two readings.
    host.write("proc/stat", &stat(&["cpu0 1020 0 10 89700 1 0 50 0 0 0"]));
    let third = host.read(1020);
    assert_eq!((third.value(idle), third.start(idle)), (897.0, 1010.0));
    third.lacks(&["system.cpu.utilization"]);
    third.never_falls(&second);
}

#[test]
fn case_02_cpu_goes_and_comes_back() {
    let mut host = Host::new("hotplug");
    let first = host.read(1000);
    host.later("hotplug.2");
    let second = host.read(1010);
    host.later("hotplug.3");
    let third = host.read(1020);
    let idle = "system.cpu.time{cpu=\"cpu2\",state=\"idle\"}";
    first.has("system.cpu.logical.count 4");
    assert_eq!((first.value(idle), first.start(idle)), (4000.0, 0.0));
    second.has("system.cpu.logical.count 3");
    second.lacks(&["system.cpu.time{cpu=\"cpu2\"", "system.cpu.utilization{cpu=\"cpu2\""]);
    let ended = second.stale.iter().filter(|key| key.starts_with("system.cpu.time{cpu=\"cpu2\""));
    assert_eq!(ended.count(), 8);
    third.has("system.cpu.logical.count 4");
    assert_eq!((third.value(idle), third.start(idle)), (5.0, 1010.0));
    third.has("system.cpu.time{cpu=\"cpu2\",state=\"user\"} 0.3");
    third.lacks(&["system.cpu.utilization{cpu=\"cpu2\""]);
    // The others go on as they were.
    let user = "system.cpu.time{cpu=\"cpu0\",state=\"user\"}";
    assert_eq!((second.grown(&first, user), third.grown(&second, user)), (2.0, 2.0));
    for cpu in ["cpu0", "cpu1", "cpu3"] {
        second.has(&format!("system.cpu.utilization{{cpu=\"{cpu}\",state=\"user\"}} 0.2"));
        second.has(&format!("system.cpu.utilization{{cpu=\"{cpu}\",state=\"idle\"}} 0.69"));
        second.has(&format!("system.cpu.utilization{{cpu=\"{cpu}\",state=\"wait\"}} 0.005"));
    }
    // With the reading after its return it has shares again.
    host.replace("proc/stat", "cpu2 30 0 20 500", "cpu2 130 0 20 800");
    host.read(1030).has("system.cpu.utilization{cpu=\"cpu2\",state=\"user\"} 0.25");
}

#[test]
fn case_03_no_share_of_no_time() {
    let (mut host, _, second) = twice("x86_server", "x86_server.2");
    assert_eq!(second.of_metric("system.cpu.utilization").count(), 64);
    // Not a tick since: no share, and its end.
    let third = host.read(1020);
    third.lacks(&["system.cpu.utilization"]);
    let ended = third.stale.iter().filter(|key| key.starts_with("system.cpu.utilization"));
    assert_eq!(ended.count(), 64);
    // Not a moment since: no share of anything.
    let fourth = host.read(1020);
    fourth.lacks(&["system.disk.utilization", "hw.network.bandwidth.utilization"]);
    // A disk is never busier than all the time.
    host.replace("proc/diskstats", " 1000 ", " 900000 ");
    let fifth = host.read(1030);
    let shares = |metric| fifth.of_metric(metric).map(|(_, point)| point.value).collect::<Vec<_>>();
    assert!(shares("system.disk.utilization").contains(&1.0));
    for metric in ["system.disk.utilization", "hw.network.bandwidth.utilization"] {
        assert!(shares(metric).iter().all(|share| (0.0..=1.0).contains(share)), "{metric}");
    }
}

#[test]
fn case_04_the_time_of_the_start_does_not_tremble() {
    let mut host = Host::new("x86_server");
    let time = "btime 1757000000";
    host.read(1000).has("system.linux.boot_time 1757000000");
    for (at, trembling) in [(1010, "btime 1757000001"), (1020, "btime 1756999999")] {
        host.replace("proc/stat", time, trembling);
        host.read(at).has("system.linux.boot_time 1757000000");
        host.replace("proc/stat", trembling, time);
    }
    // A clock that was set by hours is another matter.
    host.replace("proc/stat", time, "btime 1757007200");
    host.read(1030).has("system.linux.boot_time 1757007200");
    // The start of counters is taken once: here the wall clock is set 100 s ahead.
    let mut now = super::moment(1040);
    now.wall = Timestamp(now.wall.0 + 100_000_000_000);
    for collector in &mut host.collectors {
        for sample in collector.collect(now) {
            let start = sample.start.unwrap_or(Timestamp(super::BOOT * 1_000_000_000));
            assert_eq!(start, Timestamp(super::BOOT * 1_000_000_000), "{:?}", sample.series);
        }
    }
}

#[test]
fn case_05_counters_of_32_bits() {
    let (_, first, second) = twice("counters32", "counters32.2");
    // Times of disks pass the end of 32 bits, 2^31, and sectors, which have 64, pass 2^32.
    second.has_grown(
        &first,
        r#"
        system.disk.operation_time{device="sda",direction="read"} 1
        system.disk.operation_time{device="sda",direction="write"} 5
        system.disk.io_time{device="sda"} 2
        system.disk.weighted_io_time{device="sda"} 6
        system.disk.linux.flush.time{device="sda"} 0.02
        system.disk.io{device="sda",direction="read"} 409600
        system.disk.io{device="sda",direction="write"} 1024000
        system.disk.operation_time{device="sdc",direction="read"} 0.01
        system.disk.operation_time{device="sdc",direction="write"} 0.01
        system.cpu.linux.interrupts 1000
        system.cpu.linux.context_switches 2000
        system.network.linux.tcp.resets 2
        system.network.linux.tcp.listen_drops 5
        system.network.io{device="eth1",direction="receive"} 1000000
        system.network.io{device="eth1",direction="transmit"} 500000
        "#,
    );
    second.has("system.disk.utilization{device=\"sda\"} 0.2");
    // A fall without a turn is a new beginning, at the time of the reading before.
    for (key, value) in [
        (r#"system.disk.io{device="sdb",direction="read"}"#, 1_228_800.0),
        (r#"system.disk.operation_time{device="sdb",direction="read"}"#, 0.2),
        (r#"system.disk.operation_time{device="sdd",direction="read"}"#, 4_294_962.296),
        (r#"system.disk.operation_time{device="sdd",direction="write"}"#, 2_900_000.0),
        (r#"system.network.io{device="eth2",direction="receive"}"#, 1000.0),
        (r#"system.network.io{device="eth3",direction="receive"}"#, 1000.0),
        // Nobody says how wide the counters of a network driver are, nor those of TCP: they may
        // have wrapped, or begun again, and only the latter is true of either.
        (r#"system.network.io{device="eth0",direction="receive"}"#, 932_704.0),
        (r#"system.network.packets{device="eth0",direction="receive"}"#, 500.0),
        (r#"system.network.errors{device="eth0",direction="receive"}"#, 1.0),
        ("system.network.linux.tcp.retransmits", 6.0),
    ] {
        assert_eq!((second.value(key), second.start(key)), (value, 1000.0), "{key}");
    }
    second.lacks(&["system.disk.utilization{device=\"sdb\""]);
}

/// The queues of CPUs: each of them is of 32 bits, and what is told is their sum.
#[test]
fn case_05_queues_of_cpus() {
    let mut host = Host::new("counters32");
    let first = host.read(1000);
    // The first CPU's counter alone, which turns: 32 more.
    let rows = |dropped: &str| format!("00000000 {dropped} 00000001\n00000000 00000005 00000002\n");
    host.write("proc/net/softnet_stat", &rows("fffffff0"));
    let second = host.read(1010);
    host.write("proc/net/softnet_stat", &rows("00000010"));
    let third = host.read(1020);
    let dropped = "system.network.linux.softnet.dropped";
    assert_eq!(third.grown(&second, dropped), 32.0);
    // Two CPUs less than before are not the same CPUs.
    first.has("system.network.linux.softnet.dropped 4294967325");
    assert_eq!((second.value(dropped), second.start(dropped)), (4_294_967_285.0, 1000.0));
    // As the tree has it, one turns and another begins again: the sum falls, and begins again.
    let (_, _, second) = twice("counters32", "counters32.2");
    assert_eq!((second.value(dropped), second.start(dropped)), (4_294_967_318.0, 1000.0));
}

#[test]
fn case_06_devices_go_and_come_back() {
    let mut host = Host::new("hotplug");
    let first = host.read(1000);
    host.later("hotplug.2");
    let second = host.read(1010);
    host.later("hotplug.3");
    let third = host.read(1020);
    let keys = [
        (r#"system.disk.io{device="sdb",direction="read"}"#, 20_480_000.0, 204_800.0),
        (r#"system.disk.io{device="sdb",direction="write"}"#, 36_864_000.0, 368_640.0),
        (r#"system.network.io{device="eth1",direction="receive"}"#, 800_000.0, 640.0),
        (r#"system.network.linux.carrier_changes{device="eth1"}"#, 4.0, 1.0),
    ];
    for (key, before, after) in keys {
        assert_eq!((first.value(key), first.start(key)), (before, 0.0));
        assert!(second.stale.contains(key) && !second.points.contains_key(key), "{key}");
        assert_eq!((third.value(key), third.start(key)), (after, 1010.0));
    }
    third.lacks(&["system.disk.utilization{device=\"sdb\""]);
    third.lacks(&["hw.network.bandwidth.utilization{hw.id=\"eth1\""]);
    let sda = "system.disk.io{device=\"sda\",direction=\"read\"}";
    assert_eq!((second.grown(&first, sda), third.grown(&second, sda)), (409_600.0, 409_600.0));
    let eth0 = "system.network.io{device=\"eth0\",direction=\"receive\"}";
    assert_eq!((second.grown(&first, eth0), third.grown(&second, eth0)), (10_000.0, 10_000.0));
    // Errors are looked at once a minute: the disk that came instead has none, and begins.
    let errors =
        r#"hw.errors{error.type="io",hw.id="sdb",hw.name="USB DISK",hw.type="physical_disk"}"#;
    assert_eq!((first.value(errors), third.value(errors)), (2.0, 2.0));
    let fourth = host.read(1080);
    assert_eq!((fourth.value(errors), fourth.start(errors)), (0.0, 1020.0));
}

/// `/proc/net/dev` with these interfaces.
fn interfaces<T: AsRef<str>>(names: impl IntoIterator<Item = (T, u64)>) -> String {
    let row = |(name, bytes): (T, u64)| {
        format!("{}: {bytes} 1 0 0 0 0 0 0 {bytes} 1 0 0 0 0 0 0\n", name.as_ref())
    };
    format!("Inter-|\n face |\n{}", names.into_iter().map(row).collect::<String>())
}

#[test]
fn case_06_what_goes_is_forgotten_and_too_much_is_refused() {
    let mut host = Host::with("lxc", |settings, _| settings.interfaces = Filter::default());
    let name = |number: u64| format!("veth{number:07x}");
    host.write("proc/net/dev", &interfaces([(name(0), 10)]));
    host.read(1000);
    let series = host.series();
    for minute in 1..=100 {
        host.write("proc/net/dev", &interfaces([(name(minute), 10)]));
        let reading = host.read(1000 + minute * 60);
        assert_eq!(reading.values("system.network.io", "device"), [name(minute)]);
        assert_eq!(host.series(), series);
    }
    // Ten thousand series of one reader and no more; other readers have theirs.
    host.write("proc/net/dev", &interfaces((0..800).map(|number| (name(number), 10))));
    let reading = host.read(10_000);
    let own = reading.points.keys().filter(|key| key.starts_with("system.network."));
    assert_eq!(own.count(), 10_000);
    assert!(reading.troubles.contains("network: network: too many series"));
    reading.has("system.cpu.logical.count 2");
    host.write("proc/net/dev", &interfaces([(name(0), 10)]));
    host.read(10_010);
    assert_eq!(host.series(), series);
}

#[test]
fn case_07_interfaces_of_containers_are_left_out() {
    let reading = Host::new("x86_server").read(1000);
    assert_eq!(reading.values("system.network.io", "device"), ["br0", "eth0", "eth1"]);
    let mut host = Host::with("x86_server", |settings, _| settings.interfaces = Filter::default());
    let all = ["br-0a1b2c3d4e5f", "br0", "docker0", "eth0", "eth1", "lo", "veth9c01d2a"];
    assert_eq!(host.read(1000).values("system.network.io", "device"), all);
    let mut host = Host::with("x86_server", |settings, _| {
        let include = Some(Matcher::Strict(vec!["veth9c01d2a".to_owned()]));
        settings.interfaces = Filter { include, exclude: None };
    });
    assert_eq!(host.read(1000).values("system.network.io", "device"), ["veth9c01d2a"]);
}

#[test]
fn case_08_interface_renamed() {
    let mut host = Host::new("hotplug");
    host.write("proc/net/dev", &interfaces([("eth0", 5000)]));
    host.read(1000);
    // The same interface under another name is another series.
    host.write("proc/net/dev", &interfaces([("lan0", 6000)]));
    let second = host.read(1010);
    let (eth0, lan0) = (
        "system.network.io{device=\"eth0\",direction=\"receive\"}",
        "system.network.io{device=\"lan0\",direction=\"receive\"}",
    );
    assert!(second.stale.contains(eth0));
    // What it has counted, it has counted since the machine started.
    assert_eq!((second.value(lan0), second.start(lan0)), (6000.0, 0.0));
    // Another interface under the same name, seen by its number, begins again though it has more.
    host.write("proc/net/dev", &interfaces([("eth0", 100)]));
    let third = host.read(1020);
    assert_eq!((third.value(eth0), third.start(eth0)), (100.0, 1010.0));
    host.write("proc/net/dev", &interfaces([("eth0", 900_000)]));
    host.write("sys/devices/pci0000:00/0000:00:19.0/net/eth0/ifindex", "77\n");
    let fourth = host.read(1030);
    assert_eq!((fourth.value(eth0), fourth.start(eth0)), (900_000.0, 1020.0));
    fourth.lacks(&["hw.network.bandwidth.utilization"]);
    let changes = "system.network.linux.carrier_changes{device=\"eth0\"}";
    assert_eq!(fourth.start(changes), 1020.0);
    // And goes on from there.
    host.write("proc/net/dev", &interfaces([("eth0", 900_500)]));
    assert_eq!(host.read(1040).grown(&fourth, eth0), 500.0);
}

#[test]
fn case_09_odd_interface_names() {
    let mut host = Host::new("names");
    let reading = host.read(1000);
    reading.has(
        r#"
        system.network.io{device="eth0",direction="receive"} 12345
        system.network.io{device="eth0",direction="transmit"} 54321
        system.network.packets{device="eth0",direction="receive"} 10
        system.network.packets{device="eth0",direction="transmit"} 20
        system.network.errors{device="eth0",direction="receive"} 1
        system.network.errors{device="eth0",direction="transmit"} 7
        system.network.dropped{device="eth0",direction="receive"} 2
        system.network.dropped{device="eth0",direction="transmit"} 8
        system.network.linux.errors.detail{device="eth0",direction="receive",kind="fifo"} 3
        system.network.linux.errors.detail{device="eth0",direction="receive",kind="frame"} 4
        system.network.linux.errors.detail{device="eth0",direction="transmit",kind="fifo"} 9
        system.network.linux.errors.detail{device="eth0",direction="transmit",kind="collisions"} 10
        system.network.linux.errors.detail{device="eth0",direction="transmit",kind="carrier"} 11
        system.network.io{device="x�y",direction="receive"} 1111
        system.network.io{device="x�y",direction="transmit"} 2222
        system.network.io{device="x�y~2",direction="receive"} 3333
        system.network.io{device="x�y~2",direction="transmit"} 4444
        system.network.io{device="\"quo'ted\"",direction="receive"} 5555
        system.network.io{device="wlän0",direction="transmit"} 8888
        system.network.io{device="back\\slash",direction="receive"} 9999
        system.network.io{device="back\\slash",direction="transmit"} 1000
        system.network.io{device="eth9",direction="receive"} 99999999999
        system.network.io{device="eth9",direction="transmit"} 4
        "#,
    );
    // What the link says is found by the bytes of the name. The lines that are broken bring nothing.
    reading.has_just(
        r#"
        system.network.linux.carrier_changes{device="eth0"} 1
        system.network.linux.carrier_changes{device="x�y"} 2
        system.network.linux.carrier_changes{device="x�y~2"} 3
        system.network.linux.carrier_changes{device="\"quo'ted\""} 4
        system.network.linux.carrier_changes{device="wlän0"} 5
        system.network.linux.carrier_changes{device="back\\slash"} 6
        hw.network.bandwidth.limit{hw.id="eth0"} 312500000
        hw.network.bandwidth.limit{hw.id="x�y"} 12500000
        hw.network.bandwidth.limit{hw.id="\"quo'ted\""} 1250000
        "#,
    );
    assert_eq!(reading.of_metric("system.network.io").count(), 14);
    // The two that look alike keep their names when one goes.
    let bytes = std::fs::read(host.path("proc/net/dev")).unwrap();
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let left: Vec<u8> = lines.filter(|line| !line.contains(&0xff)).flatten().copied().collect();
    super::write(&host.path("proc/net/dev"), &left);
    let second = host.read(1010);
    second.has("system.network.io{device=\"x�y~2\",direction=\"receive\"} 3333");
    second.lacks(&["system.network.io{device=\"x�y\""]);
}

/// The line for all CPUs together is not the sum of the others, and is not used.
#[test]
fn case_32_the_whole_is_not_the_sum_of_its_cpus() {
    let reading = Host::new("x86_server").read(1000);
    let sum: f64 = (0..8)
        .map(|cpu| reading.value(&format!("system.cpu.time{{cpu=\"cpu{cpu}\",state=\"user\"}}")))
        .sum();
    assert!(sum < 32280.03 && sum > 32279.0, "{sum}");
    assert_eq!(reading.values("system.cpu.time", "cpu").len(), 8);
}
