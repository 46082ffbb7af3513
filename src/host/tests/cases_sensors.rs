//! The edge cases of sensors (17 to 24, 31).

use std::process::Command;

use super::{Host, Reading};

const CHIP: &str = "sys/devices/platform/nct6775.656/hwmon/hwmon2";

/// The values of a metric by the last part of the sensor's path, such as `temp1`.
fn of_chip(reading: &Reading, metric: &str, id: &str) -> Vec<(String, f64)> {
    let begin = format!("hw.id=\"{id}/");
    let found = reading.of_metric(metric).filter_map(|(key, point)| {
        let rest = &key[key.find(&begin)? + begin.len()..];
        Some((rest.split('"').next()?.to_owned(), point.value))
    });
    found.collect()
}

/// What cannot be read is left out for itself alone: a folder (EISDIR), a pipe that nobody writes to
/// (ESPIPE; opening it must not wait for somebody), memory that is not there (EIO). No file that is
/// read at a place (`pread`) says EAGAIN without a driver; a disk that sleeps does so (case 23).
#[test]
fn case_17_a_sensor_without_a_value_hides_no_other() {
    let mut host = Host::new("x86_server");
    host.remove(&format!("{CHIP}/fan2_input"));
    std::fs::create_dir(host.path(&format!("{CHIP}/fan2_input"))).unwrap();
    host.remove(&format!("{CHIP}/in1_input"));
    let pipe = Command::new("mkfifo").arg(host.path(&format!("{CHIP}/in1_input"))).status();
    assert!(pipe.unwrap().success());
    host.remove(&format!("{CHIP}/temp1_input"));
    let memory = host.path(&format!("{CHIP}/temp1_input"));
    std::os::unix::fs::symlink("/proc/self/mem", memory).unwrap();
    let reading = host.read(1000);
    assert_eq!(
        of_chip(&reading, "hw.voltage", "platform/nct6775.656"),
        [("in0".to_owned(), 0.792)]
    );
    assert_eq!(
        of_chip(&reading, "hw.fan.speed_ratio", "platform/nct6775.656"),
        [("pwm2".to_owned(), 0.6)]
    );
    for metric in ["hw.fan.speed", "hw.temperature"] {
        assert_eq!(of_chip(&reading, metric, "platform/nct6775.656"), []);
    }
    // All others are there, each of the three is told of, and nothing is a zero.
    assert_eq!(reading.of_metric("hw.temperature").count(), 10);
    assert_eq!(reading.troubles.len(), 3, "{:?}", reading.troubles);
    assert!(reading.troubles.iter().all(|told| told.starts_with(&format!("thermal: {CHIP}/"))));
    // Limits and alarms do not need the value.
    reading.has(r#"hw.status{hw.id="platform/nct6775.656/in1",hw.name="nct6779",hw.state="degraded",hw.type="voltage"} 1"#);
    // It comes back when it can be read again, at the same reading.
    for (name, value) in [("in1_input", "1024\n"), ("temp1_input", "34500\n")] {
        host.remove(&format!("{CHIP}/{name}"));
        host.write(&format!("{CHIP}/{name}"), value);
    }
    let second = host.read(1010);
    let again = of_chip(&second, "hw.voltage", "platform/nct6775.656");
    assert_eq!(again, [("in0".to_owned(), 0.792), ("in1".to_owned(), 1.024)]);
    assert_eq!(second.troubles.len(), 1, "{:?}", second.troubles);
}

#[test]
fn case_18_a_bad_zone_hides_no_other() {
    let mut host = Host::new("chips");
    let reading = host.read(1000);
    // One is switched off, one has no file, one says rubbish; of two of one name both are told.
    assert_eq!(reading.values("system.cpu.temperature", "thermalzone"), ["2", "4"]);
    reading.has(
        r#"
        hw.temperature{hw.id="virtual/thermal/thermal_zone2",hw.name="pch_zone"} 38.5
        hw.temperature{hw.id="virtual/thermal/thermal_zone4",hw.name="pch_zone"} 39.5
        hw.temperature.limit{hw.id="virtual/thermal/thermal_zone2",hw.limit_type="high.degraded",hw.name="pch_zone"} 100
        "#,
    );
    reading.lacks(&[
        r#"hw.temperature{hw.id="virtual/thermal/thermal_zone0""#,
        r#"hw.temperature.limit{hw.id="virtual/thermal/thermal_zone0""#,
        r#"hw.temperature{hw.id="virtual/thermal/thermal_zone1""#,
        r#"hw.temperature{hw.id="virtual/thermal/thermal_zone3""#,
        r#"hw.temperature.limit{hw.id="virtual/thermal/thermal_zone2",hw.limit_type="throttled""#,
        r#"hw.linux.cooling_device.state{hw.id="cooling_device1""#,
        r#"hw.linux.cooling_device.state{hw.id="cooling_device2""#,
    ]);
    let thermal = reading.troubles.iter().filter(|told| told.contains("class/thermal"));
    assert_eq!(thermal.count(), 2, "{:?}", reading.troubles);
    // Switched on it has a value at once, switched off none.
    let zone = "sys/devices/virtual/thermal/thermal_zone0";
    host.write(&format!("{zone}/temp"), "61000\n");
    host.write(&format!("{zone}/mode"), "enabled\n");
    host.read(1010)
        .has(r#"hw.temperature{hw.id="virtual/thermal/thermal_zone0",hw.name="off-zone"} 61"#);
    host.write(&format!("{zone}/mode"), "disabled\n");
    let off = host.read(1020);
    off.lacks(&[r#"hw.temperature{hw.id="virtual/thermal/thermal_zone0""#]);
    assert!(
        off.stale.contains(
            r#"hw.temperature{hw.id="virtual/thermal/thermal_zone0",hw.name="off-zone"}"#
        )
    );
}

/// Names come from the path of the device. The one chip without a name and without a device has only
/// the number that the kernel gave it.
#[test]
fn case_19_chips_of_the_same_name() {
    let reading = Host::new("chips").read(1000);
    let phy = "platform/soc/11300000.pcie/pci0000:00/0000:00:00.0/0000:01:00.0/ieee80211/phy";
    for (id, degrees) in [
        ("platform/coretemp.0".to_owned(), 52.0),
        ("platform/coretemp.1".to_owned(), 57.0),
        ("platform/asus-nb-wmi/asus~2".to_owned(), 40.0),
        (format!("{phy}0"), 43.0),
        (format!("{phy}1"), 47.5),
        (format!("{phy}2"), 52.0),
    ] {
        let found = of_chip(&reading, "hw.temperature", &id);
        assert_eq!(found, [("temp1".to_owned(), degrees)], "{id}");
        if id.contains("phy") {
            let limits = of_chip(&reading, "hw.temperature.limit", &id);
            let expected = [110.0, 120.0].map(|degrees| ("temp1".to_owned(), degrees));
            assert_eq!(limits, expected, "{id}");
        }
    }
    let numbered = reading.points.keys().filter(|key| key.contains("hwmon"));
    assert_eq!(numbered.filter(|key| !key.contains("virtual/hwmon/hwmon4")).count(), 0);
}

#[test]
fn case_20_odd_labels() {
    let reading = Host::new("names").read(1000);
    reading.has_just(
        r#"
        hw.temperature{hw.id="platform/odd.0/temp1",hw.name="odd",hw.parent="platform/odd.0",hw.sensor_location="Sensor �C one"} 25
        hw.temperature{hw.id="platform/odd.0/temp2",hw.name="odd",hw.parent="platform/odd.0",hw.sensor_location="CPU  die"} 26
        hw.temperature{hw.id="platform/odd.0/temp3",hw.name="odd",hw.parent="platform/odd.0",hw.sensor_location="Größe \"A\"\\b"} 27
        hw.temperature{hw.id="platform/odd.0/temp4",hw.name="odd",hw.parent="platform/odd.0"} 28
        hw.temperature{hw.id="platform/odd.0/temp5",hw.name="odd",hw.parent="platform/odd.0",hw.sensor_location="same"} 29
        hw.temperature{hw.id="platform/odd.0/temp6",hw.name="odd",hw.parent="platform/odd.0",hw.sensor_location="same"} 30
        hw.temperature{hw.id="platform/odd.1/temp1",hw.name="na�ve chip",hw.parent="platform/odd.1"} 31
        hw.fan.speed{hw.id="platform/odd.0/fan1",hw.name="odd",hw.sensor_location="CPU fan\tleft"} 800
        "#,
    );
}

/// Odd names of disks: a slash, which `/sys` writes as an exclamation mark, and no UTF-8.
#[test]
fn odd_names_of_disks_and_swap() {
    let reading = Host::new("names").read(1000);
    reading.has(
        r#"
        system.disk.io{device="cciss/c0d0",direction="read"} 4096000
        system.disk.io{device="cciss/c0d0",direction="write"} 8192000
        system.disk.io{device="sdb",direction="read"} 4096
        system.disk.io{device="sd�",direction="read"} 28672
        "#,
    );
    reading.has_just("system.disk.limit{device=\"cciss/c0d0\"} 73372631040");
    reading.lacks(&["system.disk.io{device=\"sda\""]);
    reading.has_just(
        r#"
        system.paging.usage{device="/swap files/one",state="used"} 524288
        system.paging.usage{device="/swap files/one",state="free"} 524288
        system.paging.usage{device="/var/old swap (deleted)",state="used"} 0
        system.paging.usage{device="/var/old swap (deleted)",state="free"} 2097152
        "#,
    );
}

#[test]
fn case_21_implausible_values_are_told_as_they_are() {
    let chips = Host::new("chips").read(1000);
    let found = of_chip(&chips, "hw.temperature", "platform/nct6775.2592");
    let expected = [
        ("temp10", 10.0),
        ("temp2", -62.0),
        ("temp3", 101.0),
        ("temp5", -12.5),
        ("temp7", 127.5),
        ("temp8", 33.0),
    ];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
    // What is wrong with them is in their state.
    for (sensor, label, state) in [("temp2", "faulty", "failed"), ("temp3", "hot", "degraded")] {
        chips.has(&format!(
            "hw.status{{hw.id=\"platform/nct6775.2592/{sensor}\",hw.name=\"nct6798\",\
             hw.sensor_location=\"{label}\",hw.state=\"{state}\",hw.type=\"temperature\"}} 1"
        ));
    }
    let id = "hw.id=\"platform/nct6775.2592/fan1\",hw.name=\"nct6798\"";
    chips.has(&format!("hw.status{{{id},hw.state=\"degraded\",hw.type=\"fan\"}} 1"));
    assert_eq!(
        of_chip(&chips, "hw.temperature.limit", "platform/nct6775.2592"),
        [("temp3", 100.0), ("temp5", -55.0), ("temp5", -40.0)].map(|(n, v)| (n.to_owned(), v))
    );
    let server = Host::new("x86_server").read(1000);
    server.has(r#"hw.temperature{hw.id="virtual/thermal/thermal_zone0",hw.name="acpitz"} -44"#);
}

#[test]
fn case_22_limits_are_read_once_an_hour() {
    let mut host = Host::new("x86_server");
    let maximum = r#"hw.temperature.limit{hw.id="platform/nct6775.656/temp1",hw.limit_type="high.degraded",hw.name="nct6779",hw.parent="platform/nct6775.656",hw.sensor_location="SYSTIN"}"#;
    let trip = r#"hw.temperature.limit{hw.id="virtual/thermal/thermal_zone0",hw.limit_type="high.degraded",hw.name="acpitz"}"#;
    host.read(1000).has(&format!("{maximum} 80\n{trip} 99"));
    host.write(&format!("{CHIP}/temp1_max"), "75000\n");
    let zone = host.path("sys/devices/virtual/thermal/thermal_zone0");
    for entry in std::fs::read_dir(zone).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with("_temp") && std::fs::read(&path).unwrap() == b"99000\n"
        {
            super::write(&path, b"90000\n");
        }
    }
    for at in [1010, 1060, 1120, 4590] {
        host.read(at).has(&format!("{maximum} 80\n{trip} 99"));
    }
    // Looked for each minute, and since an hour is over, read.
    host.read(4650).has(&format!("{maximum} 75\n{trip} 90"));
}

/// A disk behind `drivetemp`: turning (1) or not.
fn drive(turning: u8) -> (Host, &'static str) {
    let host = Host::of(&[], true, |_, _| {});
    let device = "sys/devices/pci0000:00/ata1/host0/target0:0:0/0:0:0:0";
    host.write(&format!("{device}/hwmon/hwmon0/name"), "drivetemp\n");
    host.write(&format!("{device}/hwmon/hwmon0/temp1_input"), "31000\n");
    host.write(&format!("{device}/block/sda/queue/rotational"), &format!("{turning}\n"));
    host.write(&format!("{device}/power/runtime_status"), "active\n");
    let link = |target: &str, at: &str| {
        let at = host.path(at);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, at).unwrap();
    };
    link("../../../0:0:0:0", &format!("{device}/hwmon/hwmon0/device"));
    let chip = "../../devices/pci0000:00/ata1/host0/target0:0:0/0:0:0:0/hwmon/hwmon0";
    link(chip, "sys/class/hwmon/hwmon0");
    (host, device)
}

fn temperatures(reading: &Reading) -> Vec<f64> {
    assert!(!reading.troubles.iter().any(|told| told.starts_with("thermal")));
    reading.of_metric("hw.temperature").map(|(_, point)| point.value).collect()
}

#[test]
fn case_23_a_disk_that_turns_is_let_sleep() {
    let (mut host, device) = drive(1);
    let (input, power) =
        (format!("{device}/hwmon/hwmon0/temp1_input"), format!("{device}/power/runtime_status"));
    assert_eq!(temperatures(&host.read(1000)), [31.0]);
    // Not asked again for five minutes, and told meanwhile.
    host.write(&input, "35000\n");
    assert_eq!(temperatures(&host.read(1010)), [31.0]);
    assert_eq!(temperatures(&host.read(1290)), [31.0]);
    assert_eq!(temperatures(&host.read(1300)), [35.0]);
    // Asleep it has no value, which is no trouble; awake it has one at once.
    host.write(&power, "suspended\n");
    assert!(temperatures(&host.read(1310)).is_empty());
    assert!(temperatures(&host.read(1900)).is_empty());
    host.write(&input, "22000\n");
    host.write(&power, "active\n");
    assert_eq!(temperatures(&host.read(1910)), [22.0]);
}

#[test]
fn case_23_a_disk_that_does_not_turn_is_asked_each_time() {
    let (mut host, device) = drive(0);
    host.write(&format!("{device}/power/runtime_status"), "suspended\n");
    assert_eq!(temperatures(&host.read(1000)), [31.0]);
    host.write(&format!("{device}/hwmon/hwmon0/temp1_input"), "35000\n");
    assert_eq!(temperatures(&host.read(1010)), [35.0]);
}

#[test]
fn case_24_sensors_come_and_go() {
    let mut host = Host::new("hotplug");
    let usb = r#"hw.temperature{hw.id="pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/temp1",hw.name="usbtemp",hw.parent="pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0"}"#;
    let cpu = r#"hw.temperature{hw.id="platform/coretemp.0/temp1",hw.name="coretemp",hw.parent="platform/coretemp.0",hw.sensor_location="Package id 0"}"#;
    host.read(1000).has(&format!("{usb} 21\n{cpu} 50"));
    host.later("hotplug.2");
    let second = host.read(1010);
    second.has(&format!("{cpu} 50"));
    assert!(second.stale.contains(usb) && !second.points.contains_key(usb));
    // Back under another number it is the same sensor; looked for once a minute.
    host.later("hotplug.3");
    let third = host.read(1060);
    third.has(&format!("{usb} 22.5\n{cpu} 50"));
    assert_eq!(third.of_metric("hw.temperature").count(), 2);
    assert!(!third.troubles.iter().any(|told| told.starts_with("thermal")));
}

/// A sensor whose file is not there any more is looked for at the next reading, not a minute later.
#[test]
fn case_24_a_sensor_that_is_gone_is_looked_for_at_once() {
    let mut host = Host::new("hotplug");
    let old = "sys/devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/hwmon/hwmon1";
    // It cannot be kept open, as after the device went.
    host.remove(&format!("{old}/temp1_input"));
    std::os::unix::fs::symlink("nowhere", host.path(&format!("{old}/temp1_input"))).unwrap();
    let first = host.read(1000);
    first.lacks(&["hw.temperature{hw.id=\"pci"]);
    host.later("hotplug.2");
    host.later("hotplug.3");
    let second = host.read(1001);
    assert_eq!(
        of_chip(&second, "hw.temperature", "pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0"),
        [("temp1".to_owned(), 22.5)]
    );
}

#[test]
fn case_31_no_speed() {
    let mut host = Host::new("x86_server");
    let reading = host.read(1000);
    // -1: no link.
    reading.lacks(&["hw.network.bandwidth.limit{hw.id=\"eth1\""]);
    // With a link there is one: seen by the count of changes.
    let folder = "sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.1/net/eth1";
    host.write(&format!("{folder}/speed"), "2500\n");
    host.read(1010).lacks(&["hw.network.bandwidth.limit{hw.id=\"eth1\""]);
    host.write(&format!("{folder}/carrier_changes"), "8\n");
    host.read(1020).has("hw.network.bandwidth.limit{hw.id=\"eth1\"} 312500000");
    // An error, which the kernel gives of an interface that is down, is no trouble.
    let mut host = Host::new("x86_server");
    host.remove(&format!("{folder}/speed"));
    std::fs::create_dir(host.path(&format!("{folder}/speed"))).unwrap();
    let reading = host.read(1000);
    reading.lacks(&["hw.network.bandwidth.limit{hw.id=\"eth1\""]);
    assert_eq!(reading.troubles.len(), 0, "{:?}", reading.troubles);
    // Nothing, nought and rubbish.
    let names = Host::new("names").read(1000);
    let known = names.values("hw.network.bandwidth.limit", "hw.id");
    assert!(
        !known.contains(&"eth9") && !known.contains(&"wlän0") && !known.contains(&"back\\\\slash")
    );
}
