//! Two Raspberry Pi: of the fourth and of the fifth generation.

use super::Host;

#[test]
fn rpi4() {
    let mut host = Host::new("rpi4");
    let first = host.read(5000);
    host.later("rpi4.2");
    let second = host.read(5015);
    second.never_falls(&first);
    assert_eq!((first.troubles.len(), second.troubles.len()), (0, 0));
    first.has(
        r#"
        system.cpu.logical.count 4
        system.cpu.physical.count 4
        system.cpu.time{cpu="cpu0",state="user"} 512
        system.cpu.time{cpu="cpu0",state="softirq"} 12.4
        system.cpu.time{cpu="cpu3",state="softirq"} 3.1
        system.cpu.linux.run_queue.time 1381.185312676
        system.cpu.frequency{cpu="cpu0"} 1500000000
        system.cpu.frequency{cpu="cpu3"} 600000000
        system.memory.limit 3977601024
        system.linux.memory.available 2979880960
        system.memory.usage{state="used"} 946139136
        system.memory.usage{state="free"} 1232281600
        system.paging.usage{device="/dev/zram0",state="used"} 65011712
        system.paging.usage{device="/dev/zram0",state="free"} 2082467840
        system.paging.faults{type="major"} 9012
        system.paging.faults{type="minor"} 55113988
        system.memory.linux.reclaim.stalls{type="allocstall"} 7
        system.disk.limit{device="mmcblk0"} 31914983424
        system.disk.io_time{device="mmcblk0"} 1205.4
        system.disk.linux.flush.operations{device="mmcblk0"} 3100
        system.disk.linux.lifetime_writes{device="mmcblk0p2"} 93428121600
        hw.physical_disk.endurance_utilization{hw.id="mmcblk0",hw.physical_disk.state="remaining"} 0.9
        system.network.io{device="end0",direction="receive"} 1800000000
        system.network.dropped{device="end0",direction="receive"} 4
        system.network.linux.carrier_changes{device="wlan0"} 5
        hw.network.up{hw.id="wlan0"} 1
        system.network.linux.sockets{kind="used"} 229
        system.network.linux.sockets{kind="tcp_inuse"} 15
        system.network.linux.sockets{kind="tcp_tw"} 4
        "#,
    );
    // Over the air there is no speed; two partitions and memory are no disks.
    first.has_just("hw.network.bandwidth.limit{hw.id=\"end0\"} 125000000");
    assert_eq!(first.values("system.disk.io", "device"), ["mmcblk0"]);
    assert_eq!(first.values("system.filesystem.usage", "mountpoint"), ["/", "/boot/firmware"]);
    first.lacks(&["system.cpu.linux.pressure", "system.linux.hung_tasks", "hw.voltage"]);
    second.has_grown(
        &first,
        r#"
        system.cpu.time{cpu="cpu0",state="user"} 1.5
        system.cpu.time{cpu="cpu0",state="wait"} 0
        system.cpu.linux.run_queue.time 1
        system.paging.faults{type="major"} 8
        system.paging.faults{type="minor"} 9992
        system.paging.operations{direction="page_in",type="major"} 5
        system.paging.operations{direction="page_out",type="major"} 65
        system.disk.io{device="mmcblk0",direction="read"} 409600
        system.disk.io{device="mmcblk0",direction="write"} 1048576
        system.disk.io_time{device="mmcblk0"} 1.5
        system.disk.weighted_io_time{device="mmcblk0"} 3.12
        system.disk.linux.flush.operations{device="mmcblk0"} 4
        system.network.io{device="end0",direction="receive"} 1500000
        system.network.io{device="end0",direction="transmit"} 750000
        system.network.linux.tcp.retransmits 2
        system.network.linux.tcp.timeouts 1
        system.network.linux.softnet.squeezed 4
        "#,
    );
    second.has(
        r#"
        system.linux.memory.available 2969600000
        system.memory.usage{state="used"} 953933824
        system.memory.usage{state="free"} 1218560000
        system.paging.usage{device="/dev/zram0",state="used"} 65277952
        system.disk.utilization{device="mmcblk0"} 0.1
        system.cpu.frequency{cpu="cpu3"} 1500000000
        "#,
    );
    let id = "hw.id=\"platform/soc/soc:firmware/raspberrypi-hwmon/in0\",hw.name=\"rpi_volt\"";
    for (reading, degraded) in [(&first, 0), (&second, 1)] {
        let status =
            |state, is| format!("hw.status{{{id},hw.state=\"{state}\",hw.type=\"voltage\"}} {is}");
        reading.has(&status("degraded", degraded));
        reading.has(&status("ok", 1 - degraded));
    }
    // The zone and its chip are one sensor.
    for (reading, degrees) in [(&first, 48.312), (&second, 51.608)] {
        reading.has_just(&format!(
            "hw.temperature{{hw.id=\"virtual/thermal/thermal_zone0/temp1\",hw.name=\"cpu_thermal\",\
             hw.parent=\"virtual/thermal/thermal_zone0\"}} {degrees}
            hw.temperature.limit{{hw.id=\"virtual/thermal/thermal_zone0/temp1\",\
             hw.limit_type=\"high.critical\",hw.name=\"cpu_thermal\",\
             hw.parent=\"virtual/thermal/thermal_zone0\"}} 110
            system.cpu.temperature{{thermalzone=\"0\"}} {degrees}"
        ));
    }
}

/// The seed's own dashboard: CPU utilization as the sum of all CPUs.
#[test]
fn rpi4_utilization() {
    let mut host = Host::new("rpi4");
    host.read(5000);
    host.later("rpi4.2");
    let second = host.read(5015);
    let softirq = 0.02 / 15.0;
    for cpu in 0..4 {
        let of = |state| format!("system.cpu.utilization{{cpu=\"cpu{cpu}\",state=\"{state}\"}}");
        second.has(&format!("{} 0.1\n{} 0.05\n{} 0", of("user"), of("system"), of("wait")));
        second.has(&format!("{} {softirq}\n{} {}", of("softirq"), of("idle"), 12.73 / 15.0));
    }
}

#[test]
fn rpi5() {
    let mut host = Host::new("rpi5");
    let reading = host.read(5000);
    reading.has_just(
        r#"
        hw.temperature{hw.id="platform/axi/1000110000.pcie/pci0001:00/0001:00:00.0/0001:01:00.0/nvme/nvme0/temp1",hw.name="nvme",hw.parent="platform/axi/1000110000.pcie/pci0001:00/0001:00:00.0/0001:01:00.0/nvme/nvme0",hw.sensor_location="Composite"} 41.85
        hw.temperature{hw.id="platform/axi/1000120000.pcie/1f000c8000.adc/temp1",hw.name="rp1_adc",hw.parent="platform/axi/1000120000.pcie/1f000c8000.adc"} 46.583
        hw.temperature{hw.id="virtual/thermal/thermal_zone0/temp1",hw.name="cpu_thermal",hw.parent="virtual/thermal/thermal_zone0"} 52.35
        hw.voltage{hw.id="platform/axi/1000120000.pcie/1f000c8000.adc/in1",hw.name="rp1_adc"} 1.494
        hw.voltage{hw.id="platform/axi/1000120000.pcie/1f000c8000.adc/in2",hw.name="rp1_adc"} 2.519
        hw.voltage{hw.id="platform/axi/1000120000.pcie/1f000c8000.adc/in3",hw.name="rp1_adc"} 1.401
        hw.voltage{hw.id="platform/axi/1000120000.pcie/1f000c8000.adc/in4",hw.name="rp1_adc"} 1.450
        hw.fan.speed{hw.id="platform/cooling_fan/fan1",hw.name="pwmfan"} 2947
        hw.fan.speed_ratio{hw.id="platform/cooling_fan/pwm1",hw.name="pwmfan"} 0.29411764705882354
        hw.linux.cooling_device.state{hw.id="cooling_device0",type="pwm-fan"} 1
        hw.linux.cooling_device.limit{hw.id="cooling_device0",type="pwm-fan"} 4
        "#,
    );
    reading.has(
        r#"
        hw.status{hw.id="platform/soc@107c000000/soc@107c000000:firmware/raspberrypi-hwmon/in0",hw.name="rpi_volt",hw.state="ok",hw.type="voltage"} 1
        system.memory.limit 8453439488
        system.filesystem.utilization{device="/dev/nvme0n1p2",mode="rw",mountpoint="/",type="ext4"} 0.6666666666666666
        "#,
    );
    // The critical trip of the zone is the chip's limit; the others are where its fan begins.
    assert_eq!(reading.values("hw.temperature.limit", "hw.name"), ["cpu_thermal", "nvme"]);
    let user: f64 = (0..4)
        .map(|cpu| reading.value(&format!("system.cpu.time{{cpu=\"cpu{cpu}\",state=\"user\"}}")))
        .sum();
    assert!((user - 1200.06).abs() < 0.05, "{user}");
    // What is not there is told of once for each, and hides nothing.
    let missing = [
        "disk: proc/diskstats",
        "network: proc/net/dev",
        "paging: proc/vmstat",
        "processes: proc/1/stat",
        "sockets: proc/net/netstat",
        "sockets: proc/net/snmp",
        "sockets: proc/net/sockstat",
    ];
    let found: Vec<&str> =
        reading.troubles.iter().filter_map(|t| t.rsplit_once(": ")).map(|(what, _)| what).collect();
    assert_eq!(found, missing);
}
