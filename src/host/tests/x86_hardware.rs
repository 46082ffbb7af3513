//! The same server: sensors, energy, throttling, errors of the hardware.

use super::x86::{new_server, server};

/// Of two CPUs that share a core, and four that share a package, one tells.
#[test]
fn throttles_count_once() {
    let (first, second) = server();
    first.has_just(
        r#"
        system.cpu.linux.throttles{core="0",package="0",scope="core"} 5
        system.cpu.linux.throttles{core="1",package="0",scope="core"} 0
        system.cpu.linux.throttles{core="0",package="1",scope="core"} 0
        system.cpu.linux.throttles{core="1",package="1",scope="core"} 9
        system.cpu.linux.throttles{package="0",scope="package"} 30
        system.cpu.linux.throttles{package="1",scope="package"} 6
        system.cpu.linux.throttle.time{core="0",package="0",scope="core"} 2.1
        system.cpu.linux.throttle.time{core="1",package="0",scope="core"} 0
        system.cpu.linux.throttle.time{core="0",package="1",scope="core"} 0
        system.cpu.linux.throttle.time{core="1",package="1",scope="core"} 7.35
        system.cpu.linux.throttle.time{package="0",scope="package"} 12.6
        system.cpu.linux.throttle.time{package="1",scope="package"} 0.9
        "#,
    );
    second.has_grown(
        first,
        r#"
        system.cpu.linux.throttles{core="0",package="0",scope="core"} 1
        system.cpu.linux.throttles{package="0",scope="package"} 1
        system.cpu.linux.throttles{package="1",scope="package"} 0
        system.cpu.linux.throttle.time{core="0",package="0",scope="core"} 0.5
        system.cpu.linux.throttle.time{core="1",package="1",scope="core"} 0
        system.cpu.linux.throttle.time{package="0",scope="package"} 0.5
        "#,
    );
}

#[test]
fn temperatures() {
    let (first, second) = server();
    first.has_just(
        r#"
        hw.temperature{hw.id="platform/coretemp.0/temp1",hw.name="coretemp",hw.parent="platform/coretemp.0",hw.sensor_location="Package"} 55
        hw.temperature{hw.id="platform/coretemp.0/temp2",hw.name="coretemp",hw.parent="platform/coretemp.0",hw.sensor_location="Core 0"} 53
        hw.temperature{hw.id="platform/coretemp.0/temp3",hw.name="coretemp",hw.parent="platform/coretemp.0",hw.sensor_location="Core 1"} 51.5
        hw.temperature{hw.id="platform/coretemp.1/temp1",hw.name="coretemp",hw.parent="platform/coretemp.1",hw.sensor_location="Package"} 61
        hw.temperature{hw.id="platform/coretemp.1/temp2",hw.name="coretemp",hw.parent="platform/coretemp.1",hw.sensor_location="Core 0"} 59
        hw.temperature{hw.id="platform/coretemp.1/temp3",hw.name="coretemp",hw.parent="platform/coretemp.1",hw.sensor_location="Core 1"} 57.5
        hw.temperature{hw.id="platform/nct6775.656/temp1",hw.name="nct6779",hw.parent="platform/nct6775.656",hw.sensor_location="SYSTIN"} 34.5
        hw.temperature{hw.id="pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/temp1",hw.name="nvme",hw.parent="pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0",hw.sensor_location="Composite"} 38.85
        hw.temperature{hw.id="pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/temp2",hw.name="nvme",hw.parent="pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0",hw.sensor_location="Sensor 1"} 41.85
        hw.temperature{hw.id="virtual/thermal/thermal_zone0",hw.name="acpitz"} -44
        hw.temperature{hw.id="virtual/thermal/thermal_zone1/temp1",hw.name="x86_pkg_temp",hw.parent="virtual/thermal/thermal_zone1"} 46
        system.cpu.temperature{thermalzone="0"} -44
        system.cpu.temperature{thermalzone="1"} 46
        "#,
    );
    second.has(
        r#"
        hw.temperature{hw.id="platform/coretemp.0/temp1",hw.name="coretemp",hw.parent="platform/coretemp.0",hw.sensor_location="Package"} 56
        hw.temperature{hw.id="virtual/thermal/thermal_zone0",hw.name="acpitz"} -43.5
        hw.temperature{hw.id="virtual/thermal/thermal_zone1/temp1",hw.name="x86_pkg_temp",hw.parent="virtual/thermal/thermal_zone1"} 47
        "#,
    );
    for (package, core) in [(0, "temp1"), (0, "temp2"), (0, "temp3"), (1, "temp1"), (1, "temp3")] {
        let label = match core {
            "temp1" => "Package",
            "temp2" => "Core 0",
            _ => "Core 1",
        };
        for (limit, degrees) in [("high.degraded", 84), ("high.critical", 100)] {
            let id = format!("platform/coretemp.{package}");
            first.has(&format!(
                "hw.temperature.limit{{hw.id=\"{id}/{core}\",hw.limit_type=\"{limit}\",\
                 hw.name=\"coretemp\",hw.parent=\"{id}\",hw.sensor_location=\"{label}\"}} {degrees}"
            ));
        }
    }
    first.has(
        r#"
        hw.temperature.limit{hw.id="pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/temp1",hw.limit_type="high.degraded",hw.name="nvme",hw.parent="pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0",hw.sensor_location="Composite"} 81.85
        hw.temperature.limit{hw.id="pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/temp1",hw.limit_type="low.degraded",hw.name="nvme",hw.parent="pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0",hw.sensor_location="Composite"} -273.15
        hw.temperature.limit{hw.id="pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0/temp1",hw.limit_type="high.critical",hw.name="nvme",hw.parent="pci0000:00/0000:00:1d.0/0000:01:00.0/nvme/nvme0",hw.sensor_location="Composite"} 84.85
        hw.temperature.limit{hw.id="platform/nct6775.656/temp1",hw.limit_type="high.degraded",hw.name="nct6779",hw.parent="platform/nct6775.656",hw.sensor_location="SYSTIN"} 80
        hw.temperature.limit{hw.id="platform/nct6775.656/temp1",hw.limit_type="high.critical",hw.name="nct6779",hw.parent="platform/nct6775.656",hw.sensor_location="SYSTIN"} 125
        hw.temperature.limit{hw.id="virtual/thermal/thermal_zone0",hw.limit_type="high.critical",hw.name="acpitz"} 105
        hw.temperature.limit{hw.id="virtual/thermal/thermal_zone0",hw.limit_type="high.degraded",hw.name="acpitz"} 99
        hw.temperature.limit{hw.id="virtual/thermal/thermal_zone0",hw.limit_type="throttled",hw.name="acpitz"} 95
        "#,
    );
}

#[test]
fn fans_voltages_and_cooling() {
    let (first, second) = server();
    first.has_just(
        r#"
        hw.fan.speed{hw.id="platform/nct6775.656/fan2",hw.name="nct6779"} 1098
        hw.fan.speed_ratio{hw.id="platform/nct6775.656/pwm2",hw.name="nct6779"} 0.6
        hw.voltage{hw.id="platform/nct6775.656/in0",hw.name="nct6779"} 0.792
        hw.voltage{hw.id="platform/nct6775.656/in1",hw.name="nct6779"} 1.024
        hw.linux.cooling_device.state{hw.id="cooling_device0",type="Processor"} 0
        hw.linux.cooling_device.state{hw.id="cooling_device1",type="Processor"} 3
        hw.linux.cooling_device.limit{hw.id="cooling_device0",type="Processor"} 10
        hw.linux.cooling_device.limit{hw.id="cooling_device1",type="Processor"} 10
        hw.linux.cooling_device.limit{hw.id="cooling_device2",type="intel_powerclamp"} 100
        "#,
    );
    first.has(
        r#"
        hw.voltage.limit{hw.id="platform/nct6775.656/in1",hw.limit_type="low.degraded",hw.name="nct6779"} 1.1
        hw.voltage.limit{hw.id="platform/nct6775.656/in1",hw.limit_type="high.degraded",hw.name="nct6779"} 1.3
        hw.status{hw.id="platform/nct6775.656/in1",hw.name="nct6779",hw.state="ok",hw.type="voltage"} 0
        hw.status{hw.id="platform/nct6775.656/in1",hw.name="nct6779",hw.state="degraded",hw.type="voltage"} 1
        hw.status{hw.id="platform/nct6775.656/in1",hw.name="nct6779",hw.state="failed",hw.type="voltage"} 0
        hw.status{hw.id="platform/coretemp.0/temp1",hw.name="coretemp",hw.sensor_location="Package",hw.state="ok",hw.type="temperature"} 1
        "#,
    );
    second.has(
        r#"
        hw.fan.speed{hw.id="platform/nct6775.656/fan2",hw.name="nct6779"} 1110
        hw.voltage{hw.id="platform/nct6775.656/in1",hw.name="nct6779"} 1.152
        hw.linux.cooling_device.state{hw.id="cooling_device1",type="Processor"} 4
        hw.status{hw.id="platform/nct6775.656/in1",hw.name="nct6779",hw.state="ok",hw.type="voltage"} 1
        hw.status{hw.id="platform/nct6775.656/in1",hw.name="nct6779",hw.state="degraded",hw.type="voltage"} 0
        "#,
    );
}

/// The second package's meter passes the end of its range, which is no power of two.
#[test]
fn energy() {
    let (first, second) = server();
    first.has_just(
        r#"
        hw.energy{hw.id="powercap/intel-rapl:0",hw.name="package-0",hw.type="cpu"} 187654.321
        hw.energy{hw.id="powercap/intel-rapl:0:0",hw.name="core",hw.type="cpu"} 91000
        hw.energy{hw.id="powercap/intel-rapl:1",hw.name="package-1",hw.type="cpu"} 262140
        "#,
    );
    second.has_grown(
        first,
        r#"
        hw.energy{hw.id="powercap/intel-rapl:0",hw.name="package-0",hw.type="cpu"} 500
        hw.energy{hw.id="powercap/intel-rapl:0:0",hw.name="core",hw.type="cpu"} 250
        hw.energy{hw.id="powercap/intel-rapl:1",hw.name="package-1",hw.type="cpu"} 500
        "#,
    );
}

/// They are looked at once a minute, and told each time.
#[test]
fn errors_of_the_hardware() {
    let (mut host, first, second) = new_server();
    let before = r#"
        hw.errors{error.type="correctable",hw.id="mc0",hw.name="Example_IMC#0",hw.type="memory"} 1
        hw.errors{error.type="uncorrectable",hw.id="mc0",hw.name="Example_IMC#0",hw.type="memory"} 0
        hw.errors{error.type="correctable",hw.id="mc1",hw.name="Example_IMC#1",hw.type="memory"} 12
        hw.errors{error.type="uncorrectable",hw.id="mc1",hw.name="Example_IMC#1",hw.type="memory"} 5
        hw.errors{error.type="io",hw.id="sda",hw.name="ACME DISK 4TB",hw.type="physical_disk"} 3
        hw.errors{error.type="io",hw.id="sdb",hw.name="ACME DISK 4TB",hw.type="physical_disk"} 31
        hw.errors{error.type="io",hw.id="sr0",hw.name="DVD EXAMPLE",hw.type="physical_disk"} 0
        hw.errors{error.type="mce",hw.id="cpu",hw.type="cpu"} 3
        system.disk.linux.lifetime_writes{device="sda1"} 751619276800
        system.disk.linux.lifetime_writes{device="md0"} 1073741824
        system.filesystem.linux.errors{device="sda1"} 0
        system.filesystem.linux.errors{device="md0"} 3
        system.disk.linux.md.degraded{device="md0"} 1
        system.disk.linux.md.disks{device="md0",state="clean"} 2
        system.disk.linux.md.mismatches{device="md0"} 128
        "#;
    first.has_just(before);
    second.has_just(before);
    let third = host.read(67_472);
    third.never_falls(&second);
    third.has_grown(
        &first,
        r#"
        hw.errors{error.type="correctable",hw.id="mc0",hw.name="Example_IMC#0",hw.type="memory"} 2
        hw.errors{error.type="correctable",hw.id="mc1",hw.name="Example_IMC#1",hw.type="memory"} 0
        hw.errors{error.type="io",hw.id="sda",hw.name="ACME DISK 4TB",hw.type="physical_disk"} 1
        hw.errors{error.type="mce",hw.id="cpu",hw.type="cpu"} 1
        system.disk.linux.lifetime_writes{device="sda1"} 51200000
        "#,
    );
}

#[test]
fn states_of_disks() {
    let (first, _) = server();
    let states = [
        ("sda", "ACME DISK 4TB", "ok"),
        ("sdb", "ACME DISK 4TB", "failed"),
        ("nvme0", "Example SSD 970X 1TB", "ok"),
    ];
    for (disk, model, state) in states {
        for word in ["ok", "degraded", "failed"] {
            let own = format!("hw.id=\"{disk}\",hw.name=\"{model}\",hw.state=\"{word}\"");
            let is = u8::from(word == state);
            first.has(&format!("hw.status{{{own},hw.type=\"physical_disk\"}} {is}"));
        }
    }
}
