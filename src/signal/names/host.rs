//! The metrics of the host: which reader brings each, under which scraper it is switched on and off,
//! and whether it is on when nobody says so. Names, attributes and units are those of the Collector's
//! hostmetrics where it has the metric, else OpenTelemetry's semantic conventions.

use crate::signal::series::{Kind, Metric};

/// A metric of the host.
#[derive(Debug)]
pub struct HostMetric {
    /// The metric.
    pub metric: &'static Metric,
    /// Which part of `host` reads it.
    pub reader: &'static str,
    /// The scrapers that have it, and whether it is on there by default.
    pub scrapers: &'static [(&'static str, bool)],
}

macro_rules! on {
    (on) => {
        true
    };
    (off) => {
        false
    };
}

macro_rules! host_metrics {
    ($($reader:literal {$(
        $const:ident = $name:literal, $unit:literal, $kind:ident, [$($attribute:literal),*], $($scraper:ident $default:ident)+, $description:literal;
    )*})*) => {
        $($(#[doc = $description]
        pub static $const: Metric = Metric {
            name: $name, unit: $unit, kind: Kind::$kind, description: $description, attributes: &[$($attribute),*],
        };)*)*

        /// All of them.
        pub static TABLE: &[HostMetric] = &[$($(HostMetric {
            metric: &$const, reader: $reader, scrapers: &[$((stringify!($scraper), on!($default))),+],
        },)*)*];
    };
}

host_metrics! {
    "cpu" {
        CPU_TIME = "system.cpu.time", "s", Counter, ["cpu", "state"], cpu on, "Seconds that each logical CPU spent in each state.";
        CPU_UTILIZATION = "system.cpu.utilization", "1", Gauge, ["cpu", "state"], cpu off, "The share of time since the last reading that each logical CPU spent in each state.";
        CPU_LOGICAL_COUNT = "system.cpu.logical.count", "{cpu}", UpDownCounter, [], cpu off linux on, "Logical CPUs that are online.";
        CPU_PHYSICAL_COUNT = "system.cpu.physical.count", "{cpu}", UpDownCounter, [], cpu off, "Physical cores.";
        CPU_FREQUENCY = "system.cpu.frequency", "Hz", Gauge, ["cpu"], cpu off, "The present frequency of each logical CPU; on x86 reading it takes 10 to 20 ms for each.";
        CPU_TASKS = "system.cpu.linux.tasks", "{task}", Gauge, ["state"], linux on, "Tasks that run or wait for a CPU (runnable), or for a device (blocked).";
        CPU_CONTEXT_SWITCHES = "system.cpu.linux.context_switches", "{switch}", Counter, [], linux off, "Context switches.";
        CPU_INTERRUPTS = "system.cpu.linux.interrupts", "{interrupt}", Counter, [], linux off, "Interrupts that were served.";
        CPU_RUN_QUEUE_TIME = "system.cpu.linux.run_queue.time", "s", Counter, [], linux on, "Seconds that tasks waited for a CPU, over all CPUs.";
        CPU_THROTTLES = "system.cpu.linux.throttles", "{event}", Counter, ["scope", "package", "core"], thermal on, "How often a core or package was slowed down because it was hot.";
        CPU_THROTTLE_TIME = "system.cpu.linux.throttle.time", "s", Counter, ["scope", "package", "core"], thermal on, "Seconds that a core or package was slowed down because it was hot.";
    }
    "load" {
        LOAD_1M = "system.cpu.load_average.1m", "{thread}", Gauge, [], load on, "The average load over 1 minute.";
        LOAD_5M = "system.cpu.load_average.5m", "{thread}", Gauge, [], load on, "The average load over 5 minutes.";
        LOAD_15M = "system.cpu.load_average.15m", "{thread}", Gauge, [], load on, "The average load over 15 minutes.";
    }
    "memory" {
        MEMORY_USAGE = "system.memory.usage", "By", UpDownCounter, ["state"], memory on, "Bytes of memory by what they are used for.";
        MEMORY_UTILIZATION = "system.memory.utilization", "1", Gauge, ["state"], memory off, "The share of memory by what it is used for.";
        MEMORY_LIMIT = "system.memory.limit", "By", UpDownCounter, [], memory off linux on, "The memory that there is.";
        MEMORY_PAGE_SIZE = "system.memory.page_size", "By", Gauge, [], memory off, "The size of a page.";
        MEMORY_AVAILABLE = "system.linux.memory.available", "By", UpDownCounter, [], memory off linux on, "Memory that programs can have without swapping, by the kernel's estimate.";
        MEMORY_DIRTY = "system.linux.memory.dirty", "By", UpDownCounter, [], memory off, "Memory that waits to be written to disk.";
        MEMORY_WRITEBACK = "system.memory.linux.writeback", "By", UpDownCounter, [], linux off, "Memory that is being written to disk.";
        MEMORY_SHARED = "system.memory.linux.shared", "By", UpDownCounter, [], linux off, "Memory in shared and temporary file systems.";
        MEMORY_COMMITTED = "system.memory.linux.committed", "By", UpDownCounter, [], linux off, "Memory that has been promised to programs.";
        MEMORY_COMMIT_LIMIT = "system.memory.linux.commit_limit", "By", UpDownCounter, [], linux off, "Memory that may be promised to programs.";
        MEMORY_CORRUPTED = "system.memory.linux.hardware_corrupted", "By", UpDownCounter, [], linux on, "Memory that the kernel took out of use because the hardware failed.";
        MEMORY_HUGEPAGES_LIMIT = "system.memory.linux.hugepages.limit", "{page}", UpDownCounter, [], linux on, "Huge pages that are set aside; only where there are any.";
        MEMORY_HUGEPAGES_USAGE = "system.memory.linux.hugepages.usage", "{page}", UpDownCounter, ["state"], linux on, "Huge pages that are used and free.";
        MEMORY_HUGEPAGES_RESERVED = "system.memory.linux.hugepages.reserved", "{page}", UpDownCounter, [], linux on, "Huge pages that are promised and not yet given.";
        MEMORY_HUGEPAGES_SURPLUS = "system.memory.linux.hugepages.surplus", "{page}", UpDownCounter, [], linux on, "Huge pages beyond those that are set aside.";
        MEMORY_HUGEPAGES_PAGE_SIZE = "system.memory.linux.hugepages.page_size", "By", UpDownCounter, [], linux on, "The size of a huge page.";
        MEMORY_HUGEPAGES_UTILIZATION = "system.memory.linux.hugepages.utilization", "1", Gauge, ["state"], linux on, "The share of huge pages that are used and free.";
    }
    "paging" {
        PAGING_USAGE = "system.paging.usage", "By", UpDownCounter, ["device", "state"], paging on, "Bytes of swap that are used and free.";
        PAGING_UTILIZATION = "system.paging.utilization", "1", Gauge, ["device", "state"], paging off, "The share of swap that is used and free.";
        PAGING_FAULTS = "system.paging.faults", "{faults}", Counter, ["type"], paging on, "Page faults; a major one reads from disk.";
        PAGING_OPERATIONS = "system.paging.operations", "{operations}", Counter, ["direction", "type"], paging on, "Pages that were swapped in and out (major); KiB that were read from and written to disks for it and for files (minor).";
        MEMORY_OOM_KILLS = "system.memory.linux.oom_kills", "{kill}", Counter, [], linux on, "Processes that were killed because memory ran out.";
        MEMORY_RECLAIM_STALLS = "system.memory.linux.reclaim.stalls", "{stall}", Counter, ["type"], linux off, "Programs that had to free memory themselves before they got any.";
    }
    "disk" {
        DISK_IO = "system.disk.io", "By", Counter, ["device", "direction"], disk on, "Bytes read and written.";
        DISK_OPERATIONS = "system.disk.operations", "{operations}", Counter, ["device", "direction"], disk on, "Read and write operations.";
        DISK_MERGED = "system.disk.merged", "{operations}", Counter, ["device", "direction"], disk on, "Operations that were put together with others.";
        DISK_OPERATION_TIME = "system.disk.operation_time", "s", Counter, ["device", "direction"], disk on, "Seconds that operations took, summed up.";
        DISK_IO_TIME = "system.disk.io_time", "s", Counter, ["device"], disk on, "Seconds in which the disk was busy.";
        DISK_WEIGHTED_IO_TIME = "system.disk.weighted_io_time", "s", Counter, ["device"], disk on, "Seconds in which the disk was busy, times the operations in flight.";
        DISK_PENDING = "system.disk.pending_operations", "{operations}", UpDownCounter, ["device"], disk on, "Operations in flight.";
        DISK_UTILIZATION = "system.disk.utilization", "1", Gauge, ["device"], disk off, "The share of time since the last reading in which the disk was busy.";
        DISK_LIMIT = "system.disk.limit", "By", UpDownCounter, ["device"], disk off, "The size of the disk.";
        DISK_DISCARD_OPERATIONS = "system.disk.linux.discard.operations", "{operations}", Counter, ["device"], linux off, "Discard operations.";
        DISK_DISCARD_TIME = "system.disk.linux.discard.time", "s", Counter, ["device"], linux off, "Seconds that discard operations took.";
        DISK_FLUSH_OPERATIONS = "system.disk.linux.flush.operations", "{operations}", Counter, ["device"], linux off, "Flush operations.";
        DISK_FLUSH_TIME = "system.disk.linux.flush.time", "s", Counter, ["device"], linux off, "Seconds that flush operations took.";
    }
    "filesystem" {
        FILESYSTEM_USAGE = "system.filesystem.usage", "By", UpDownCounter, ["device", "mode", "mountpoint", "type", "state"], filesystem on, "Bytes that are used, free for everybody, and reserved for root.";
        FILESYSTEM_INODES = "system.filesystem.inodes.usage", "{inodes}", UpDownCounter, ["device", "mode", "mountpoint", "type", "state"], filesystem on, "Inodes that are used and free.";
        FILESYSTEM_UTILIZATION = "system.filesystem.utilization", "1", Gauge, ["device", "mode", "mountpoint", "type"], filesystem off, "The share of bytes that are used, of those that are not reserved for root.";
        FILESYSTEM_LIMIT = "system.filesystem.limit", "By", UpDownCounter, ["device", "mode", "mountpoint", "type"], filesystem off, "The size of the file system.";
        FILESYSTEM_READONLY = "system.filesystem.linux.readonly", "", Gauge, ["device", "mountpoint", "type"], linux on, "Whether the file system is read-only.";
        FILESYSTEM_ERROR = "system.filesystem.linux.error", "", Gauge, ["device", "mountpoint", "type", "error.type"], linux on, "Why the file system could not be asked (timeout, EACCES, ...); always 1.";
    }
    "network" {
        NETWORK_IO = "system.network.io", "By", Counter, ["device", "direction"], network on, "Bytes received and transmitted.";
        NETWORK_PACKETS = "system.network.packets", "{packets}", Counter, ["device", "direction"], network on, "Packets received and transmitted.";
        NETWORK_ERRORS = "system.network.errors", "{errors}", Counter, ["device", "direction"], network on, "Packets with errors.";
        NETWORK_DROPPED = "system.network.dropped", "{packets}", Counter, ["device", "direction"], network on, "Packets that were dropped.";
        NETWORK_CONNECTIONS = "system.network.connections", "{connections}", UpDownCounter, ["protocol", "state"], network on, "TCP connections by state.";
        CONNTRACK_COUNT = "system.network.conntrack.count", "{entries}", UpDownCounter, [], network off linux on, "Connections that the firewall keeps track of.";
        CONNTRACK_MAX = "system.network.conntrack.max", "{entries}", UpDownCounter, [], network off linux on, "Connections that the firewall can keep track of.";
        NETWORK_ERRORS_DETAIL = "system.network.linux.errors.detail", "{error}", Counter, ["device", "direction", "kind"], linux off, "Errors by kind: fifo, frame, collisions, carrier.";
        NETWORK_BANDWIDTH = "hw.network.bandwidth.limit", "By/s", UpDownCounter, ["hw.id"], linux on, "The speed of the link.";
        NETWORK_BANDWIDTH_UTILIZATION = "hw.network.bandwidth.utilization", "1", Gauge, ["hw.id", "network.io.direction"], linux off, "The share of the link's speed that was used since the last reading.";
        NETWORK_UP = "hw.network.up", "", UpDownCounter, ["hw.id"], linux on, "Whether the link is up.";
        NETWORK_CARRIER_CHANGES = "system.network.linux.carrier_changes", "{change}", Counter, ["device"], linux on, "How often the link went up or down.";
        SOFTNET_DROPPED = "system.network.linux.softnet.dropped", "{packets}", Counter, [], linux on, "Packets dropped because a CPU's queue was full.";
        SOFTNET_SQUEEZED = "system.network.linux.softnet.squeezed", "{event}", Counter, [], linux on, "How often a CPU had to leave packets for later.";
        CONNTRACK_DROPS = "system.network.linux.conntrack.drops", "{packets}", Counter, ["kind"], linux off, "Packets that the firewall's table had no room for, or did not understand.";
    }
    "sockets" {
        SOCKETS = "system.network.linux.sockets", "{socket}", UpDownCounter, ["kind"], sockets on, "Sockets by kind.";
        SOCKETS_MEMORY = "system.network.linux.sockets.memory", "By", UpDownCounter, ["protocol"], sockets on, "Memory of the buffers of sockets.";
        TCP_RETRANSMITS = "system.network.linux.tcp.retransmits", "{segment}", Counter, [], sockets on, "TCP segments that were sent again.";
        TCP_RESETS = "system.network.linux.tcp.resets", "{segment}", Counter, [], sockets on, "TCP resets that were sent.";
        TCP_FAILED_OPENS = "system.network.linux.tcp.failed_opens", "{connection}", Counter, [], sockets on, "TCP connections that could not be opened.";
        TCP_LISTEN_OVERFLOWS = "system.network.linux.tcp.listen_overflows", "{connection}", Counter, [], sockets on, "Connections refused because a program did not accept fast enough.";
        TCP_LISTEN_DROPS = "system.network.linux.tcp.listen_drops", "{connection}", Counter, [], sockets on, "Connection requests that were dropped.";
        TCP_TIMEOUTS = "system.network.linux.tcp.timeouts", "{timeout}", Counter, [], sockets on, "TCP retransmission timeouts.";
        TCP_SYN_RETRANSMITS = "system.network.linux.tcp.syn_retransmits", "{segment}", Counter, [], sockets on, "TCP connection requests that were sent again.";
        TCP_RCVQ_DROPS = "system.network.linux.tcp.rcvq_drops", "{segment}", Counter, [], sockets on, "TCP segments dropped because a receive queue was full.";
        UDP_ERRORS = "system.network.linux.udp.errors", "{packets}", Counter, ["direction"], sockets on, "UDP datagrams with errors.";
        UDP_BUFFER_ERRORS = "system.network.linux.udp.buffer_errors", "{packets}", Counter, ["direction"], sockets on, "UDP datagrams dropped because a buffer was full.";
    }
    "processes" {
        PROCESSES_COUNT = "system.processes.count", "{processes}", UpDownCounter, ["status"], processes on, "Processes by status.";
        PROCESSES_CREATED = "system.processes.created", "{processes}", Counter, [], processes on, "Processes that were started.";
        THREADS_COUNT = "system.linux.threads", "{thread}", UpDownCounter, [], linux on, "Threads that exist.";
        THREADS_LIMIT = "system.process.limit", "{thread}", UpDownCounter, [], linux off, "Threads that may exist.";
    }
    "system" {
        UPTIME = "system.uptime", "s", Gauge, [], system on, "How long the machine has been running.";
        BOOT_TIME = "system.linux.boot_time", "s", Gauge, [], system off, "When the machine started, in seconds since 1970.";
        TIME_OFFSET = "system.linux.time.offset", "s", Gauge, [], linux on, "How far the clock is from its source, by the kernel's estimate.";
        TIME_MAX_ERROR = "system.linux.time.max_error", "s", Gauge, [], linux on, "How far the clock may be off.";
        TIME_FREQUENCY = "system.linux.time.frequency", "", Gauge, [], linux on, "By how much the clock is made faster (positive) or slower.";
        TIME_SYNCHRONIZED = "system.linux.time.synchronized", "", Gauge, [], linux on, "Whether the clock is kept right by a time service.";
        FILE_DESCRIPTOR_COUNT = "system.linux.file_descriptor.count", "{file_descriptor}", UpDownCounter, [], linux on, "File descriptors that are open.";
        FILE_DESCRIPTOR_LIMIT = "system.linux.file_descriptor.limit", "{file_descriptor}", UpDownCounter, [], linux on, "File descriptors that may be open.";
        ENTROPY = "system.linux.entropy.available", "bit", Gauge, [], linux off, "Entropy that is available; always 256 since Linux 5.18.";
        HUNG_TASKS = "system.linux.hung_tasks", "{task}", Counter, [], linux on, "Tasks that hung in the kernel for minutes.";
    }
    "pressure" {
        CPU_PRESSURE = "system.cpu.linux.pressure.total", "s", Counter, ["system.pressure.stall_type"], pressure on, "Seconds in which some task waited for a CPU.";
        MEMORY_PRESSURE = "system.memory.linux.pressure.total", "s", Counter, ["system.pressure.stall_type"], pressure on, "Seconds in which some or all tasks waited for memory.";
        IO_PRESSURE = "system.io.linux.pressure.total", "s", Counter, ["system.pressure.stall_type"], pressure on, "Seconds in which some or all tasks waited for a disk.";
        IRQ_PRESSURE = "system.irq.linux.pressure.total", "s", Counter, ["system.pressure.stall_type"], pressure on, "Seconds in which all tasks of a CPU waited for interrupts.";
        PRESSURE_AVERAGE = "system.linux.pressure.average", "", Gauge, ["resource", "system.pressure.stall_type", "window"], pressure off, "The share of the last 10, 60 or 300 s in which tasks waited, by the kernel.";
    }
    "thermal" {
        TEMPERATURE = "hw.temperature", "Cel", Gauge, ["hw.id", "hw.name", "hw.sensor_location", "hw.parent"], thermal on, "A temperature.";
        TEMPERATURE_LIMIT = "hw.temperature.limit", "Cel", Gauge, ["hw.id", "hw.name", "hw.sensor_location", "hw.parent", "hw.limit_type"], thermal on, "The temperature at which something is done about it.";
        FAN_SPEED = "hw.fan.speed", "rpm", Gauge, ["hw.id", "hw.name", "hw.sensor_location"], thermal on, "The speed of a fan.";
        FAN_SPEED_RATIO = "hw.fan.speed_ratio", "1", Gauge, ["hw.id", "hw.name", "hw.sensor_location"], thermal on, "How much of its speed a fan is told to have.";
        VOLTAGE = "hw.voltage", "V", Gauge, ["hw.id", "hw.name", "hw.sensor_location"], thermal on, "A voltage.";
        VOLTAGE_LIMIT = "hw.voltage.limit", "V", Gauge, ["hw.id", "hw.name", "hw.sensor_location", "hw.limit_type"], thermal on, "The voltage at which something is wrong.";
        POWER = "hw.power", "W", Gauge, ["hw.id", "hw.name", "hw.sensor_location", "hw.type"], thermal on, "Power that is drawn.";
        ENERGY = "hw.energy", "J", Counter, ["hw.id", "hw.name", "hw.sensor_location", "hw.type"], thermal on, "Energy that was drawn.";
        CURRENT = "hw.linux.current", "A", Gauge, ["hw.id", "hw.name", "hw.sensor_location"], thermal off, "A current.";
        HUMIDITY = "hw.linux.humidity", "1", Gauge, ["hw.id", "hw.name", "hw.sensor_location"], thermal off, "Relative humidity.";
        FREQUENCY = "hw.linux.frequency", "Hz", Gauge, ["hw.id", "hw.name", "hw.sensor_location"], thermal off, "A frequency, of a GPU for example.";
        STATUS = "hw.status", "", UpDownCounter, ["hw.id", "hw.name", "hw.sensor_location", "hw.type", "hw.state"], thermal on linux on, "Which state a part is in: 1 for that state, 0 for the others.";
        COOLING_STATE = "hw.linux.cooling_device.state", "", Gauge, ["hw.id", "type"], thermal on, "How hard a cooling device works.";
        COOLING_LIMIT = "hw.linux.cooling_device.limit", "", Gauge, ["hw.id", "type"], thermal on, "How hard a cooling device can work.";
        BATTERY_CHARGE = "hw.battery.charge", "1", Gauge, ["hw.id", "hw.name"], thermal on, "The share of its charge that a battery has.";
        CPU_TEMPERATURE = "system.cpu.temperature", "Cel", Gauge, ["thermalzone"], thermal off, "The temperature of a thermal zone, under the name that dashboards of Raspberry Pi use.";
    }
    "linux" {
        HARDWARE_ERRORS = "hw.errors", "{error}", Counter, ["hw.id", "hw.name", "hw.type", "error.type"], linux on, "Errors that the hardware reported.";
        DISK_ENDURANCE = "hw.physical_disk.endurance_utilization", "1", Gauge, ["hw.id", "hw.name", "hw.physical_disk.state"], linux on, "The share of its life that a disk has left.";
        DISK_LIFETIME_WRITES = "system.disk.linux.lifetime_writes", "By", Counter, ["device"], linux on, "Bytes written to a file system since it was made.";
        FILESYSTEM_ERRORS = "system.filesystem.linux.errors", "{error}", Counter, ["device"], linux on, "Errors that a file system found in itself or its disk.";
        MD_DEGRADED = "system.disk.linux.md.degraded", "{disk}", Gauge, ["device"], linux on, "Disks that a RAID array lacks.";
        MD_DISKS = "system.disk.linux.md.disks", "{disk}", UpDownCounter, ["device", "state"], linux on, "Disks of a RAID array, by the state of the array.";
        MD_MISMATCHES = "system.disk.linux.md.mismatches", "{sector}", Gauge, ["device"], linux on, "Sectors that differed at the last check of a RAID array.";
    }
}

/// The scrapers that may be written, in the order of the documentation.
pub static SCRAPERS: &[&str] = &[
    "cpu",
    "load",
    "memory",
    "paging",
    "disk",
    "filesystem",
    "network",
    "processes",
    "system",
    "pressure",
    "thermal",
    "sockets",
    "linux",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_scraper_and_a_description() {
        for HostMetric { metric, scrapers, .. } in TABLE {
            assert!(metric.description.ends_with('.'), "{}", metric.name);
            assert!(scrapers.iter().all(|(name, _)| SCRAPERS.contains(name)), "{}", metric.name);
        }
    }
}
