//! Hosts of which much is missing or odd: containers, old kernels, broken chips.

use std::path::Path;

use super::Host;
use crate::host::source::Root;

fn in_container(shares_network: bool) -> Host {
    Host::of(&["container"], shares_network, |settings, folder| {
        settings.root = Root::new(Some(&folder.join("host")));
    })
}

/// Edge case 16: the host's own files below its root, the network of its first process, and mount
/// points as the host names them.
#[test]
fn case_16_an_agent_in_a_container_reads_the_host() {
    let mut host = in_container(true);
    let reading = host.read(5000);
    assert_eq!(reading.troubles.len(), 1, "{:?}", reading.troubles);
    assert!(reading.troubles.iter().all(|trouble| trouble.starts_with("paging: host/proc/vmstat")));
    reading.has(
        r#"
        system.cpu.time{cpu="cpu0",state="user"} 900
        system.memory.limit 4096000000
        system.disk.io{device="vda",direction="read"} 368640000
        system.disk.io{device="vda",direction="write"} 737280000
        system.network.io{device="enp1s0",direction="receive"} 7700000000
        system.network.io{device="enp1s0",direction="transmit"} 3300000000
        system.network.dropped{device="enp1s0",direction="receive"} 2
        system.network.dropped{device="enp1s0",direction="transmit"} 3
        system.network.errors{device="enp1s0",direction="receive"} 1
        system.network.errors{device="enp1s0",direction="transmit"} 0
        hw.network.bandwidth.limit{hw.id="enp1s0"} 1250000000
        system.network.linux.tcp.retransmits 640
        system.network.linux.tcp.listen_drops 4
        system.network.linux.sockets{kind="used"} 310
        system.cpu.linux.pressure.total{system.pressure.stall_type="some"} 2.5
        system.memory.linux.pressure.total{system.pressure.stall_type="some"} 0
        system.io.linux.pressure.total{system.pressure.stall_type="some"} 1.75
        system.io.linux.pressure.total{system.pressure.stall_type="full"} 1.5
        "#,
    );
    let own = "hw.name=\"coretemp\",hw.parent=\"platform/coretemp.0\"";
    reading.has_just(&format!(
        "hw.temperature{{hw.id=\"platform/coretemp.0/temp1\",{own},\
         hw.sensor_location=\"Package id 0\"}} 43"
    ));
    assert_eq!(reading.values("system.network.io", "device"), ["enp1s0"]);
    // Read-only is `/boot` as a whole, whoever looks.
    reading.has_just(
        r#"
        system.filesystem.linux.readonly{device="/dev/vda1",mountpoint="/",type="ext4"} 0
        system.filesystem.linux.readonly{device="/dev/vda15",mountpoint="/boot",type="ext4"} 1
        system.filesystem.linux.readonly{device="/dev/vdb",mountpoint="/data",type="xfs"} 0
        "#,
    );
    // They are asked by the way that leads there from inside.
    let mut asked = host.kernel.asked.lock().unwrap().clone();
    asked.sort();
    assert_eq!(asked, ["host/", "host/boot", "host/data"].map(|path| host.path(path)));
}

/// Edge case 16: the connections of a container are not those of the host.
#[test]
fn case_16_connections_of_another_network_are_not_told() {
    let reading = in_container(false).read(5000);
    reading.lacks(&["system.network.connections"]);
    let told = reading.troubles.iter().find(|trouble| trouble.contains("sock_diag"));
    assert!(told.is_some_and(|told| told.contains("another network")), "{:?}", reading.troubles);
    // The files of the host's first process are the host's nevertheless.
    reading.has("system.network.io{device=\"enp1s0\",direction=\"receive\"} 7700000000");
    in_container(true)
        .read(5000)
        .has("system.network.connections{protocol=\"tcp\",state=\"LISTEN\"} 17");
}

/// Edge case 16: the root of the machine itself is no prefix.
#[test]
fn case_16_the_root_itself() {
    assert_eq!(Root::new(Some(Path::new("/"))), Root::new(None));
    let root = Root::new(Some(Path::new("/hostfs")));
    assert_eq!(root.net(), Path::new("/hostfs/proc/1/net"));
    assert_eq!(root.reach(Path::new("/home")), Path::new("/hostfs/home"));
    assert_eq!(root.reach(Path::new("/")), Path::new("/hostfs"));
    assert_eq!(Root::new(None).net(), Path::new("/proc/net"));
    assert_eq!(Root::new(None).reach(Path::new("/home")), Path::new("/home"));
}

/// A container of LXC, whose `/proc` is emulated.
#[test]
fn lxc() {
    let reading = Host::new("lxc").read(961);
    reading.has(
        r#"
        system.cpu.time{cpu="cpu0",state="user"} 50
        system.cpu.time{cpu="cpu0",state="idle"} 880
        system.cpu.time{cpu="cpu3",state="user"} 41
        system.cpu.time{cpu="cpu3",state="idle"} 895
        system.cpu.logical.count 2
        system.cpu.linux.context_switches 0
        system.cpu.linux.interrupts 0
        system.uptime 961
        system.network.io{device="eth0",direction="receive"} 4100200
        system.network.io{device="eth0",direction="transmit"} 912300
        system.network.dropped{device="eth0",direction="receive"} 6
        "#,
    );
    assert_eq!(reading.values("system.cpu.time", "cpu"), ["cpu0", "cpu3"]);
    assert_eq!(reading.values("system.filesystem.usage", "mountpoint"), ["/", "/mnt/share"]);
    assert_eq!(reading.values("system.filesystem.usage", "type"), ["zfs"]);
    // Without a file, a line or a key: nothing, and no zero.
    reading.lacks(&[
        "hw.temperature",
        "hw.status",
        "system.disk.",
        "system.paging.",
        "system.memory.linux.committed",
        "system.memory.linux.hugepages",
        "system.memory.linux.oom_kills",
        "system.memory.usage{state=\"buffered\"}",
        "system.cpu.linux.pressure",
        "system.cpu.physical.count",
        "system.linux.pressure.average",
    ]);
}

/// A virtual machine with an old kernel.
#[test]
fn no_sensors() {
    let reading = Host::new("no_sensors").read(1315);
    reading.has(
        r#"
        system.cpu.time{cpu="cpu0",state="user"} 70
        system.cpu.time{cpu="cpu0",state="system"} 30
        system.cpu.time{cpu="cpu0",state="idle"} 1200
        system.cpu.time{cpu="cpu0",state="wait"} 3
        system.cpu.time{cpu="cpu0",state="softirq"} 0.5
        system.cpu.time{cpu="cpu0",state="steal"} 12
        system.cpu.load_average.1m 12.5
        system.cpu.load_average.5m 8.25
        system.cpu.load_average.15m 4
        system.linux.threads 99
        system.memory.limit 1024000000
        system.memory.usage{state="free"} 204800000
        system.memory.usage{state="buffered"} 51200000
        system.memory.usage{state="cached"} 348160000
        system.memory.usage{state="used"} 419840000
        system.network.errors{device="ens3",direction="receive"} 2
        system.network.errors{device="ens3",direction="transmit"} 1
        system.network.dropped{device="ens3",direction="receive"} 4
        system.network.dropped{device="ens3",direction="transmit"} 2
        "#,
    );
    reading.has_just(
        r#"
        system.network.linux.errors.detail{device="ens3",direction="receive",kind="fifo"} 1
        system.network.linux.errors.detail{device="ens3",direction="receive",kind="frame"} 3
        system.network.linux.errors.detail{device="ens3",direction="transmit",kind="fifo"} 0
        system.network.linux.errors.detail{device="ens3",direction="transmit",kind="collisions"} 7
        system.network.linux.errors.detail{device="ens3",direction="transmit",kind="carrier"} 5
        "#,
    );
    reading.lacks(&["hw.", "system.linux.memory.available", "system.filesystem"]);
}

/// Sensors of chips.
#[test]
fn chips() {
    let reading = Host::new("chips").read(1000);
    reading.has_just(
        r#"
        hw.fan.speed{hw.id="platform/asus-nb-wmi/asus/fan1",hw.name="asus",hw.sensor_location="cpu_fan"} 2600
        hw.fan.speed{hw.id="platform/asus-nb-wmi/asus~2/fan1",hw.name="asus",hw.sensor_location="gpu_fan"} 0
        hw.fan.speed{hw.id="platform/nct6775.2592/fan1",hw.name="nct6798"} 0
        hw.fan.speed{hw.id="platform/nct6775.2592/fan2",hw.name="nct6798"} 1450
        hw.fan.speed{hw.id="platform/nct6775.2592/fan3",hw.name="nct6798"} 1200
        hw.fan.speed_ratio{hw.id="platform/nct6775.2592/pwm1",hw.name="nct6798"} 0
        hw.fan.speed_ratio{hw.id="platform/nct6775.2592/pwm2",hw.name="nct6798"} 1
        hw.voltage{hw.id="platform/nct6775.2592/in0",hw.name="nct6798"} -0.012
        hw.voltage{hw.id="platform/nct6775.2592/in1",hw.name="nct6798"} 12.096
        hw.voltage{hw.id="virtual/hwmon/hwmon4/in0",hw.name="hwmon4",hw.sensor_location="vddgfx"} 0.825
        hw.voltage.limit{hw.id="platform/nct6775.2592/in0",hw.limit_type="low.critical",hw.name="nct6798"} -0.05
        hw.voltage.limit{hw.id="platform/nct6775.2592/in0",hw.limit_type="high.critical",hw.name="nct6798"} 1.5
        hw.voltage.limit{hw.id="platform/nct6775.2592/in1",hw.limit_type="low.degraded",hw.name="nct6798"} 10.8
        hw.voltage.limit{hw.id="platform/nct6775.2592/in1",hw.limit_type="high.degraded",hw.name="nct6798"} 13.2
        hw.power{hw.id="platform/nct6775.2592/power1",hw.name="nct6798",hw.type="power_supply"} 15.5
        hw.power{hw.id="platform/nct6775.2592/power2",hw.name="nct6798",hw.type="power_supply"} 65.25
        hw.energy{hw.id="platform/nct6775.2592/energy1",hw.name="nct6798",hw.type="power_supply"} 123.456789
        hw.linux.current{hw.id="platform/nct6775.2592/curr1",hw.name="nct6798"} 1.25
        hw.linux.humidity{hw.id="platform/nct6775.2592/humidity1",hw.name="nct6798"} 0.453
        hw.linux.frequency{hw.id="virtual/hwmon/hwmon4/freq1",hw.name="hwmon4",hw.sensor_location="sclk"} 387000000
        hw.linux.cooling_device.state{hw.id="cooling_device0",type="Processor"} 2
        hw.linux.cooling_device.state{hw.id="cooling_device3",type="Processor"} 0
        hw.linux.cooling_device.limit{hw.id="cooling_device0",type="Processor"} 3
        hw.linux.cooling_device.limit{hw.id="cooling_device1",type="Fan"} 1
        hw.linux.cooling_device.limit{hw.id="cooling_device2",type="intel_powerclamp"} 50
        hw.linux.cooling_device.limit{hw.id="cooling_device3",type="Processor"} 3
        "#,
    );
}
