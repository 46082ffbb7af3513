//! A day of readings, failures that pass, and readings that come early or late.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Host, Point, Reading};
use crate::base::clock::BootTime;
use crate::host::scraper::Every;

/// The server's files `minutes` later: counters grow, iowait trembles, times of disks wrap.
fn pass(host: &Host, minutes: u64) {
    let cpus: Vec<String> = (0..8)
        .map(|cpu| {
            let user = 400_000 + minutes * 1500;
            let wait = 7000 + minutes * 15 - (minutes % 7) * 20;
            let idle = 6_200_000 + minutes * 4485 - (minutes % 5) * 50;
            format!("cpu{cpu} {user} 1200 150000 {idle} {wait} 0 3000 0 0 0\n")
        })
        .collect();
    let stat = format!(
        "cpu  1 0 0 0 0 0 0 0 0 0\n{}intr {}\nctxt {}\nbtime {}\nprocesses {}\nprocs_running 1\n\
         procs_blocked 0\n",
        cpus.concat(),
        900_000 + minutes,
        800_000 + minutes * 2,
        1_757_000_000 + minutes % 2,
        90_000 + minutes,
    );
    host.write("proc/stat", &stat);
    // 50 s of each minute, from just below the end of 32 bits on.
    let busy = (4_294_000_000 + minutes * 50_000) % (1 << 32);
    let disk = format!(
        "8 0 sda {0} 41000 60000000 {busy} {0} 220000 98000000 {busy} 2 {busy} {busy} 0 0 0 0 5 {busy}\n",
        820_000 + minutes
    );
    host.write("proc/diskstats", &disk);
    let queue = (0xffff_0000 + minutes * 1000) % (1 << 32);
    host.write("proc/net/softnet_stat", &format!("00000000 {queue:08x} {queue:08x}\n"));
    let energy = (262_000_000_000 + minutes * 3_000_000_000) % 262_143_328_850;
    let meter = "sys/devices/virtual/powercap/intel-rapl/intel-rapl:1/energy_uj";
    host.write(meter, &format!("{energy}\n"));
}

#[test]
fn a_day_of_readings() {
    const MINUTES: u64 = 24 * 60;
    let mut host = Host::new("x86_server");
    pass(&host, 0);
    let first = host.read(67_412);
    let mut before: BTreeMap<String, Point> = first.points.clone();
    pass(&host, 1);
    let second = host.read(67_472);
    let series = host.series();
    // Shares of time came with the second reading, and nothing after it.
    assert!(series > first.points.len());
    assert_eq!(series, second.points.len());
    before.extend(second.points);
    let mut last = Reading::default();
    for minute in 2..MINUTES {
        pass(&host, minute);
        let reading = host.read(67_412 + minute * 60);
        assert_eq!((host.series(), reading.stale.len()), (series, 0), "{:?}", reading.stale);
        for (key, point) in &reading.points {
            let before = before.insert(key.clone(), *point).expect("it was there");
            assert!(!point.counter || point.value >= before.value, "{key} falls at {minute}");
            assert_eq!(point.start, before.start, "{key} begins again at {minute}");
        }
        last = reading;
    }
    let minutes = (MINUTES - 1) as f64;
    for key in [
        r#"system.disk.io_time{device="sda"}"#,
        r#"system.disk.weighted_io_time{device="sda"}"#,
        r#"system.disk.operation_time{device="sda",direction="write"}"#,
        r#"system.disk.linux.flush.time{device="sda"}"#,
    ] {
        last.has_grown(&first, &format!("{key} {}", minutes * 50.0));
    }
    last.has_grown(
        &first,
        &format!(
            "system.network.linux.softnet.dropped {}
            hw.energy{{hw.id=\"powercap/intel-rapl:1\",hw.name=\"package-1\",hw.type=\"cpu\"}} {}
            system.cpu.time{{cpu=\"cpu7\",state=\"user\"}} {}",
            minutes * 1000.0,
            minutes * 3000.0,
            minutes * 15.0
        ),
    );
}

/// A reading that fails as a whole ends its series; counters that come back go on.
#[test]
fn a_file_that_is_away_for_a_while() {
    let mut host = Host::new("x86_server");
    let first = host.read(1000);
    let text = String::from_utf8(std::fs::read(host.path("proc/vmstat")).unwrap()).unwrap();
    host.write("proc/stat", "nothing of use\n");
    let dev = std::fs::read(host.path("proc/net/dev")).unwrap();
    host.write("proc/net/dev", "");
    let second = host.read(1010);
    assert!(second.troubles.contains("cpu: proc/stat: no CPU in it"), "{:?}", second.troubles);
    second.lacks(&["system.cpu.time", "system.network.io"]);
    assert!(second.stale.contains(r#"system.cpu.time{cpu="cpu0",state="user"}"#));
    // Other readers do not care.
    second.has("system.memory.linux.oom_kills 2");
    assert!(text.contains("oom_kill 2"));
    // An end is told once.
    let third = host.read(1020);
    assert!(!third.stale.iter().any(|key| key.starts_with("system.cpu.time")));
    host.later("x86_server.2");
    super::write(&host.path("proc/net/dev"), &dev);
    let fourth = host.read(1030);
    let user = r#"system.cpu.time{cpu="cpu0",state="user"}"#;
    assert_eq!(fourth.grown(&first, user), 2.5);
    // Over the whole time that has passed.
    fourth.has(r#"system.cpu.utilization{cpu="cpu0",state="user"} 0.25"#);
    // The file of interfaces was there and had none: counters that did not fall go on.
    assert_eq!(fourth.start(r#"system.network.io{device="eth0",direction="receive"}"#), 0.0);
}

/// Readings of each minute come a few milliseconds early or late; what is done each minute is done
/// with each of them.
#[test]
fn what_is_done_each_minute_is_done_with_readings_of_each_minute() {
    let mut every = Every::new(Duration::from_secs(60));
    let at = |millis| BootTime(Duration::from_millis(millis));
    assert!(every.is_due(at(60_003)));
    assert!(!every.is_due(at(90_000)));
    assert!(every.is_due(at(120_001)));
    assert!(every.is_due(at(180_000)));
    assert!(!every.is_due(at(190_000)));
    every.again();
    assert!(every.is_due(at(190_001)));
}
