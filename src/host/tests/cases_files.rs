//! The edge cases of mounts, processes and odd files (10 to 15, 30, 33 to 38).
//!
//! Not here: 25 to 28 and 40 (control groups) and 39 (Docker), which are not built; 29, the network
//! of other processes, which is not read.

use std::ffi::OsString;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::io::Errno;

use super::{Host, USAGE};
use crate::host::collector::Lane;
use crate::host::filter::Filter;
use crate::host::kernel::Usage;
use crate::host::source::Root;
use crate::signal::names::host::TABLE;

/// The mount points of a tree that are told of.
fn mount_points(host: &mut Host) -> Vec<String> {
    let reading = host.read(1000);
    let points = reading.values("system.filesystem.linux.readonly", "mountpoint");
    points.into_iter().map(str::to_owned).collect()
}

#[test]
fn case_10_mount_points_are_unescaped() {
    let mut host = Host::new("names");
    let expected = [
        "/",
        "/data/a",
        "/mnt/- -",
        "/mnt/b\\\\040s",
        "/mnt/back\\\\slash",
        "/mnt/emptysource",
        "/mnt/emptysuper",
        "/mnt/grün",
        "/mnt/hash#mark",
        "/mnt/nosuper",
        "/mnt/over",
        "/mnt/raw\u{fffd}",
        "/mnt/tags",
        "/mnt/with blank",
        "/mnt/with\\nnewline",
        "/mnt/with\\ttab",
    ];
    assert_eq!(mount_points(&mut host), expected);
    host.read(1060).has(
        r#"
        system.filesystem.linux.readonly{device="/dev/disk#five",mountpoint="/mnt/hash#mark",type="ext4"} 0
        system.filesystem.linux.readonly{device="/dev/sdb8",mountpoint="/mnt/grün",type="ext4"} 1
        "#,
    );
    // They are asked by their bytes.
    let asked = host.kernel.asked.lock().unwrap().clone();
    let bytes = |path: &[u8]| PathBuf::from(OsString::from_vec(path.to_vec()));
    for path in [&b"/mnt/raw\xff"[..], b"/mnt/with\nnewline", b"/mnt/with\ttab", b"/mnt/- -"] {
        assert!(asked.contains(&bytes(path)), "{path:?}");
    }
}

#[test]
fn case_11_a_folder_whose_name_looks_escaped() {
    let mut host = Host::new("names");
    assert!(mount_points(&mut host).contains(&"/mnt/b\\\\040s".to_owned()));
    let asked = host.kernel.asked.lock().unwrap().clone();
    assert!(asked.contains(&r"/mnt/b\040s".into()) && !asked.contains(&"/mnt/b s".into()));
}

/// The hanging itself is in `statfs`: here is what is told of it.
#[test]
fn case_12_a_mount_without_an_answer_is_named() {
    let mut host = Host::new("x86_server");
    let first = host.read(1000);
    first.lacks(&["system.filesystem.linux.error{"]);
    host.usage("/srv", Err(Errno::TIMEDOUT));
    host.usage("/home", Err(Errno::ACCESS));
    let second = host.read(1010);
    second.has_just(
        r#"
        system.filesystem.linux.error{device="/dev/md0",error.type="timeout",mountpoint="/srv",type="ext4"} 1
        system.filesystem.linux.error{device="/dev/mapper/vg0-home",error.type="EACCES",mountpoint="/home",type="ext4"} 1
        "#,
    );
    let told = second.values("system.filesystem.usage", "mountpoint");
    assert_eq!(told, ["/", "/boot/efi", "/mnt/broken", "/var/lib/data"]);
    // The last values are not repeated.
    let used = r#"system.filesystem.usage{device="/dev/md0",mode="rw",mountpoint="/srv",state="used",type="ext4"}"#;
    assert!(second.stale.contains(used));
    assert_eq!(second.troubles.len(), 2, "{:?}", second.troubles);
    // How it is mounted is known without asking.
    second.has(
        r#"system.filesystem.linux.readonly{device="/dev/md0",mountpoint="/srv",type="ext4"} 0"#,
    );
    host.usage("/srv", Ok(USAGE));
    let third = host.read(1020);
    third.has(&format!("{used} 2457600"));
    let error = r#"system.filesystem.linux.error{device="/dev/md0",error.type="timeout",mountpoint="/srv",type="ext4"}"#;
    assert!(third.stale.contains(error));
}

/// Network file systems are asked when somebody wants them, `autofs` never: it would mount.
#[test]
fn case_12_network_file_systems_are_off() {
    assert!(!mount_points(&mut Host::new("x86_server")).contains(&"/mnt/backup".to_owned()));
    let all = |name| {
        let mut host =
            Host::with(name, |settings, _| settings.file_systems.kinds = Filter::default());
        mount_points(&mut host)
    };
    assert!(all("x86_server").contains(&"/mnt/backup".to_owned()));
    let names = all("names");
    for wanted in ["/mnt/nfs", "/mnt/v6", "/mnt/cifs"] {
        assert!(names.contains(&wanted.to_owned()), "{wanted} of {names:?}");
    }
    assert!(!names.contains(&"/mnt/auto".to_owned()));
}

#[test]
fn case_13_broken_lines_of_the_mount_table() {
    let reading = Host::new("names").read(1000);
    let told = reading.values("system.filesystem.usage", "mountpoint");
    assert!(!told.iter().any(|point| point.contains("noseparator") || point.contains("badnumber")));
    reading.has(
        r#"
        system.filesystem.linux.readonly{device="",mountpoint="/mnt/emptysource",type="btrfs"} 0
        system.filesystem.linux.readonly{device="/dev/sdb11",mountpoint="/mnt/emptysuper",type="ext4"} 0
        system.filesystem.linux.readonly{device="/dev/sdb12",mountpoint="/mnt/nosuper",type="ext4"} 0
        system.filesystem.linux.readonly{device="/dev/sdc4",mountpoint="/mnt/tags",type="ext4"} 0
        "#,
    );
    let told = reading.troubles.iter().filter(|trouble| trouble.starts_with("filesystem:"));
    assert_eq!(told.count(), 1, "{:?}", reading.troubles);
}

#[test]
fn case_14_bind_mounts_and_mounts_over_mounts() {
    let points = mount_points(&mut Host::new("names"));
    for bind in ["/srv/mirror", "/data/archive/long"] {
        assert!(!points.contains(&bind.to_owned()), "{bind}");
    }
    let reading = Host::new("names").read(1000);
    // The second line for the same place is what is seen there.
    reading.has(r#"system.filesystem.linux.readonly{device="/dev/sdc2",mountpoint="/mnt/over",type="xfs"} 1"#);
    reading.lacks(&[r#"system.filesystem.linux.readonly{device="/dev/sdc1""#]);
    assert!(!mount_points(&mut Host::new("x86_server")).contains(&"/export/pub".to_owned()));
}

/// Shut in, everything looks read-only to us; what the file systems themselves say is true.
#[test]
fn case_15_read_only_in_a_sandbox() {
    let mut host = Host::new("x86_server");
    host.remove("proc/1/mountinfo");
    let reading = host.read(1000);
    let readonly = reading.of_metric("system.filesystem.linux.readonly");
    let is: Vec<&str> = readonly.filter(|(_, p)| p.value == 1.0).map(|(key, _)| &**key).collect();
    let broken = r#"system.filesystem.linux.readonly{device="/dev/sdb3",mountpoint="/mnt/broken",type="ext4"}"#;
    assert_eq!(is, [broken]);
    assert_eq!(reading.values("system.filesystem.usage", "mode"), ["ro"]);
    // It can be asked why, and is no error.
    assert!(reading.absent.iter().any(|absent| absent.starts_with("proc/1/mountinfo")));
    assert_eq!(reading.troubles.len(), 0, "{:?}", reading.troubles);
    // Where the host's table says so, a mount that is read-only counts.
    let mut host = Host::new("x86_server");
    host.replace("proc/1/mountinfo", "/srv rw", "/srv ro");
    let reading = host.read(1000);
    reading.has(
        r#"system.filesystem.linux.readonly{device="/dev/md0",mountpoint="/srv",type="ext4"} 1"#,
    );
    assert_eq!(reading.values("system.filesystem.usage", "mode"), ["ro", "rw"]);
}

/// A process that ends when its end of a pipe is closed.
fn child() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// The files of a process that ended say "no such process" to whoever has them open, as those of a
/// device that went say "no such device": they are opened again.
#[test]
fn case_30_a_file_whose_device_went_is_opened_again() {
    let mut host = Host::new("hotplug");
    let input = "sys/devices/platform/coretemp.0/hwmon/hwmon0/temp1_input";
    let key = r#"hw.temperature{hw.id="platform/coretemp.0/temp1",hw.name="coretemp",hw.parent="platform/coretemp.0",hw.sensor_location="Package id 0"}"#;
    let process = child();
    host.remove(input);
    let file = format!("/proc/{}/oom_score_adj", process.id());
    std::fs::write(&file, "750").unwrap();
    std::os::unix::fs::symlink(&file, host.path(input)).unwrap();
    host.read(1000).has(&format!("{key} 0.75"));
    end(process);
    host.remove(input);
    host.write(input, "48000\n");
    let second = host.read(1010);
    second.has(&format!("{key} 48"));
    assert!(!second.troubles.iter().any(|trouble| trouble.starts_with("thermal")));
}

#[test]
fn case_33_old_kernels_have_fewer_columns() {
    let reading = Host::new("no_sensors").read(1000);
    // Fourteen columns.
    reading.has(
        r#"
        system.disk.io{device="vda",direction="read"} 131072000
        system.disk.io{device="vda",direction="write"} 49152000
        system.disk.io_time{device="vda"} 4.5
        system.disk.io{device="vdb",direction="read"} 40960
        "#,
    );
    assert_eq!(reading.values("system.disk.io", "device"), ["vda", "vdb"]);
    reading.lacks(&["system.disk.linux.", "system.disk.limit"]);
    // Pressure of CPUs alone, without `full`.
    reading
        .has_just(r#"system.cpu.linux.pressure.total{system.pressure.stall_type="some"} 3.141592"#);
    reading.lacks(&["system.memory.linux.pressure", "system.io.", "system.irq."]);
    // One count of stalls, scans by zone, nobody killed that anyone counted.
    reading.has_just(
        r#"
        system.memory.linux.reclaim.stalls{type="allocstall"} 17
        system.memory.linux.reclaim.stalls{type="pgscan_direct"} 13
        "#,
    );
    reading.lacks(&["system.memory.linux.oom_kills"]);
    reading.has("system.paging.faults{type=\"minor\"} 899300");
    // Swap is told by device, and there is no list of devices.
    reading.lacks(&["system.paging.usage"]);
    // Thirteen columns of queues.
    Host::new("counters32").read(1000).has("system.network.linux.softnet.dropped 4294967325");
}

/// Columns go by their names.
#[test]
fn case_33_columns_in_another_order() {
    let mut host = Host::new("x86_server");
    host.write("proc/net/snmp", "Tcp: OutRsts New RetransSegs\nTcp: 7 8 9\nUdp: New\nUdp: 1\n");
    host.write("proc/net/netstat", "TcpExt: TCPTimeouts ListenDrops\nTcpExt: 5\n");
    let reading = host.read(1000);
    reading.has(
        r"
        system.network.linux.tcp.resets 7
        system.network.linux.tcp.retransmits 9
        system.network.linux.tcp.timeouts 5
        ",
    );
    let absent = ["tcp.failed_opens", "tcp.listen_drops", "tcp.rcvq_drops", "udp."];
    reading
        .lacks(&absent.map(|name| format!("system.network.linux.{name}")).each_ref().map(|s| &**s));
}

#[test]
fn case_34_processes_vanish() {
    let mut host = Host::new("x86_server");
    let count = |reading: &super::Reading| {
        reading.of_metric("system.processes.count").map(|(_, point)| point.value).sum::<f64>()
    };
    let first = host.read(1000);
    assert_eq!(count(&first), 10.0);
    // Gone before its file was opened.
    std::fs::create_dir(host.path("proc/5000")).unwrap();
    // Gone between opening and reading: "no such process".
    let process = child();
    let stat = std::fs::OpenOptions::new()
        .read(true)
        .open(format!("/proc/{}/stat", process.id()))
        .unwrap();
    end(process);
    let mut text = String::new();
    let error = std::io::Read::read_to_string(&mut &stat, &mut text).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::SRCH.raw_os_error()));
    std::fs::create_dir(host.path("proc/5001")).unwrap();
    let opened = format!("/proc/self/fd/{}", stat.as_raw_fd());
    std::os::unix::fs::symlink(opened, host.path("proc/5001/stat")).unwrap();
    let second = host.read(1010);
    assert_eq!((count(&second), second.troubles.len()), (10.0, 0), "{:?}", second.troubles);
}

#[test]
fn case_35_names_of_processes_with_brackets() {
    let reading = Host::new("x86_server").read(1000);
    reading.has("system.processes.count{status=\"running\"} 2");
    // Two whose state cannot be found, one in a folder that is no number.
    Host::new("names").read(1000).has_just(
        r#"
        system.processes.count{status="running"} 1
        system.processes.count{status="stopped"} 1
        system.processes.count{status="unknown"} 2
        system.processes.count{status="sleeping"} 0
        system.processes.count{status="blocked"} 0
        system.processes.count{status="idle"} 0
        system.processes.count{status="zombies"} 0
        "#,
    );
}

/// The size of a page is asked of the kernel. On the machine of a test there is only one; the two
/// places where it counts have the same.
#[test]
fn case_36_page_size() {
    let reading = Host::new("x86_server").read(1000);
    let page = reading.value("system.memory.page_size");
    assert!([4096.0, 16_384.0, 65_536.0].contains(&page), "{page}");
    let memory = "system.network.linux.sockets.memory{protocol=\"tcp\"}";
    assert_eq!(reading.value(memory), 33.0 * page);
}

/// That files are read one after the other follows from `&mut self`; here is that each reader is of
/// one lane, which is one thread, and that those of `/proc` are of the same one.
#[test]
fn case_37_one_thread_reads_proc() {
    for entry in TABLE {
        let of = Lane::ALL.into_iter().filter(|lane| lane.readers().contains(&entry.reader));
        let lanes: Vec<Lane> = of.collect();
        let expected = match entry.reader {
            "filesystem" => Lane::Mounts,
            "thermal" | "linux" => Lane::Sensors,
            _ => Lane::Kernel,
        };
        assert_eq!(lanes, [expected], "{}", entry.reader);
    }
}

#[test]
fn case_38_more_memory_in_parts_than_in_all() {
    let reading = Host::new("lxc").read(1000);
    reading.has(
        r#"
        system.memory.limit 1073741824
        system.linux.memory.available 1126400000
        system.memory.usage{state="free"} 716800000
        system.memory.usage{state="cached"} 409600000
        system.memory.usage{state="used"} 0
        system.memory.utilization{state="used"} 0
        "#,
    );
    let shares = reading.of_metric("system.memory.utilization");
    assert!(shares.into_iter().all(|(_, point)| (0.0..=1.0).contains(&point.value)));
}

/// Shut in, we may see another file system where the host has one: its numbers are not the host's.
#[test]
fn a_mount_that_is_another_one_for_us_is_not_told() {
    let mut host = Host::new("x86_server");
    host.usage("/srv", Ok(Usage { device: Some((0, 77)), ..USAGE }));
    host.usage("/", Ok(Usage { device: number(&host, "/"), ..USAGE }));
    let reading = host.read(1000);
    reading.has(
        r#"system.filesystem.linux.error{device="/dev/md0",error.type="EXDEV",mountpoint="/srv",type="ext4"} 1"#,
    );
    let told = reading.of_metric("system.filesystem.usage");
    let told: Vec<&String> = told.map(|(key, _)| key).collect();
    assert!(!told.iter().any(|key| key.contains("\"/srv\"")), "{told:?}");
    assert!(told.iter().any(|key| key.contains("mountpoint=\"/\"")), "{told:?}");
}

/// The number that the mount table has for a mount point.
fn number(host: &Host, mount_point: &str) -> Option<(u32, u32)> {
    let table = String::from_utf8(std::fs::read(host.path("proc/1/mountinfo")).unwrap()).unwrap();
    let line = table.lines().find(|line| line.split(' ').nth(4) == Some(mount_point))?;
    let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Edge case 16: without the files of the host's first process the network is the one that we see,
/// and that can be asked for.
#[test]
fn case_16_the_network_that_we_see() {
    let host = Host::with("container", |settings, folder| {
        settings.root = Root::new(Some(&folder.join("host")));
    });
    host.remove("host/proc/1/net");
    // What was there at the start is kept; a new reader sees that it is gone.
    let mut host = {
        let folder = host.path("host");
        Host::of(&[], true, move |settings, _| settings.root = Root::new(Some(&folder)))
    };
    let reading = host.read(1000);
    assert!(reading.of_metric("system.network.io").next().is_some());
    assert!(reading.absent.iter().any(|absent| absent.contains("1/net")), "{:?}", reading.absent);
}
