//! The same server: connections, sockets, pressure, processes, the machine as a whole.

use super::x86::server;
use super::{Host, Reading};

#[test]
fn sockets() {
    let (first, second) = server();
    // Those of IPv4 and IPv6 together.
    first.has_just(
        r#"
        system.network.linux.sockets{kind="used"} 729
        system.network.linux.sockets{kind="tcp_inuse"} 68
        system.network.linux.sockets{kind="tcp_orphan"} 2
        system.network.linux.sockets{kind="tcp_tw"} 14
        system.network.linux.sockets{kind="tcp_alloc"} 72
        system.network.linux.sockets{kind="udp_inuse"} 15
        system.network.linux.tcp.retransmits 12227
        system.network.linux.tcp.resets 1903
        system.network.linux.tcp.failed_opens 341
        system.network.linux.tcp.listen_overflows 5
        system.network.linux.tcp.listen_drops 9
        system.network.linux.tcp.timeouts 1150
        system.network.linux.tcp.syn_retransmits 377
        system.network.linux.tcp.rcvq_drops 131
        system.network.linux.udp.errors{direction="receive"} 31
        system.network.linux.udp.buffer_errors{direction="receive"} 29
        system.network.linux.udp.buffer_errors{direction="transmit"} 8
        "#,
    );
    second.has(
        r#"
        system.network.linux.sockets{kind="used"} 733
        system.network.linux.sockets{kind="tcp_inuse"} 72
        system.network.linux.sockets{kind="tcp_tw"} 20
        system.network.linux.sockets{kind="tcp_alloc"} 75
        "#,
    );
    second.has_grown(
        first,
        r#"
        system.network.linux.tcp.retransmits 13
        system.network.linux.tcp.resets 7
        system.network.linux.tcp.failed_opens 2
        system.network.linux.tcp.listen_overflows 1
        system.network.linux.tcp.listen_drops 2
        system.network.linux.tcp.timeouts 4
        system.network.linux.tcp.syn_retransmits 5
        system.network.linux.tcp.rcvq_drops 1
        system.network.linux.udp.errors{direction="receive"} 1
        system.network.linux.udp.buffer_errors{direction="receive"} 1
        system.network.linux.udp.buffer_errors{direction="transmit"} 0
        "#,
    );
}

/// What the kernel says when it is asked; half-open ones of both kinds together.
#[test]
fn connections() {
    let (first, _) = server();
    first.has_just(
        r#"
        system.network.connections{protocol="tcp",state="ESTABLISHED"} 48
        system.network.connections{protocol="tcp",state="SYN_SENT"} 1
        system.network.connections{protocol="tcp",state="SYN_RECEIVED"} 8
        system.network.connections{protocol="tcp",state="FIN_WAIT_1"} 3
        system.network.connections{protocol="tcp",state="FIN_WAIT_2"} 4
        system.network.connections{protocol="tcp",state="TIME_WAIT"} 14
        system.network.connections{protocol="tcp",state="CLOSE"} 0
        system.network.connections{protocol="tcp",state="CLOSE_WAIT"} 5
        system.network.connections{protocol="tcp",state="LAST_ACK"} 0
        system.network.connections{protocol="tcp",state="LISTEN"} 17
        system.network.connections{protocol="tcp",state="CLOSING"} 0
        "#,
    );
}

#[test]
fn queues_and_connection_tracking() {
    let (first, second) = server();
    first.has(
        r#"
        system.network.linux.softnet.dropped 4294967307
        system.network.linux.softnet.squeezed 56
        system.network.conntrack.count 420
        system.network.conntrack.max 262144
        "#,
    );
    first.has_just(
        r#"
        system.network.linux.conntrack.drops{kind="drop"} 36
        system.network.linux.conntrack.drops{kind="early_drop"} 28
        system.network.linux.conntrack.drops{kind="insert_failed"} 36
        system.network.linux.conntrack.drops{kind="invalid"} 452
        "#,
    );
    second.has("system.network.conntrack.count 433");
    second.has_grown(
        first,
        r#"
        system.network.linux.softnet.dropped 32
        system.network.linux.softnet.squeezed 8
        system.network.linux.conntrack.drops{kind="drop"} 8
        system.network.linux.conntrack.drops{kind="early_drop"} 0
        system.network.linux.conntrack.drops{kind="insert_failed"} 0
        system.network.linux.conntrack.drops{kind="invalid"} 8
        "#,
    );
}

#[test]
fn pressure() {
    let (first, second) = server();
    first.has_just(
        r#"
        system.cpu.linux.pressure.total{system.pressure.stall_type="some"} 54.036781
        system.memory.linux.pressure.total{system.pressure.stall_type="some"} 1.25
        system.memory.linux.pressure.total{system.pressure.stall_type="full"} 0.98
        system.io.linux.pressure.total{system.pressure.stall_type="some"} 159.886802
        system.io.linux.pressure.total{system.pressure.stall_type="full"} 149.229614
        system.irq.linux.pressure.total{system.pressure.stall_type="full"} 0.008494
        "#,
    );
    second.has_grown(
        first,
        r#"
        system.cpu.linux.pressure.total{system.pressure.stall_type="some"} 0.2
        system.memory.linux.pressure.total{system.pressure.stall_type="some"} 0.01
        system.memory.linux.pressure.total{system.pressure.stall_type="full"} 0.005
        system.io.linux.pressure.total{system.pressure.stall_type="some"} 0.5
        system.io.linux.pressure.total{system.pressure.stall_type="full"} 0.4
        system.irq.linux.pressure.total{system.pressure.stall_type="full"} 0.0001
        "#,
    );
    let resources = first.values("system.linux.pressure.average", "resource");
    assert_eq!(resources, ["cpu", "io", "irq", "memory"]);
    let averages = first.of_metric("system.linux.pressure.average");
    assert!(averages.into_iter().all(|(_, point)| (0.0..1.0).contains(&point.value)));
}

#[test]
fn processes() {
    let (first, _) = server();
    first.has_just(
        r#"
        system.processes.count{status="running"} 2
        system.processes.count{status="sleeping"} 3
        system.processes.count{status="blocked"} 1
        system.processes.count{status="idle"} 1
        system.processes.count{status="zombies"} 1
        system.processes.count{status="stopped"} 2
        system.process.limit 255210
        "#,
    );
}

#[test]
fn the_machine() {
    let (first, second) = server();
    first.has(
        r"
        system.linux.file_descriptor.count 2144
        system.linux.file_descriptor.limit 9223372036854775807
        system.linux.entropy.available 256
        system.linux.hung_tasks 2
        system.linux.time.offset -0.25
        system.linux.time.max_error 0.5
        system.linux.time.frequency 0.000015
        system.linux.time.synchronized 1
        ",
    );
    second.has("system.linux.file_descriptor.count 2176");
    second.has_grown(first, "system.linux.hung_tasks 1");
}

/// Without a word about metrics: none of those that are off, all of those that are on.
#[test]
fn what_is_told_when_nobody_says() {
    use crate::host::settings::Settings;
    use crate::signal::names::host::TABLE;
    let mut host = Host::with("x86_server", |settings, _| {
        settings.wanted = Settings::default().wanted;
    });
    host.read(67_412);
    host.later("x86_server.2");
    let reading: Reading = host.read(67_422);
    // What this machine does not have, or has no trouble with.
    let without = [
        "system.filesystem.linux.error",
        "hw.power",
        "hw.battery.charge",
        "hw.physical_disk.endurance_utilization",
    ];
    for entry in TABLE {
        let on = entry.scrapers.iter().any(|(_, on)| *on);
        let name = entry.metric.name;
        let found = reading.of_metric(name).next().is_some();
        assert_eq!(found, on && !without.contains(&name), "{name}");
    }
}
