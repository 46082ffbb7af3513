//! *Host*: one machine, by the USE method: of each resource how much is used, what waits for it, and what
//! goes wrong with it; and its temperatures beside their limits.

use serde_json::{Value, json};

use crate::dashboard::{Dashboard, Variable};
use crate::panel::{BAD, GOOD, PLAIN, Panel, SOME};
use crate::query::Query;

/// A third of the width: utilization, saturation, errors.
const THIRD: (u32, u32) = (8, 7);

/// An expression about the chosen machine: its selector put in for `{}`, and for `{` before other matchers.
fn one(expr: &str) -> String {
    let chosen = "instance=\"$host\",host_name=~\"$host_name\"";
    expr.replace("{}", &format!("{{{chosen}}}")).replace("{,", &format!("{{{chosen},"))
}

fn range(expr: &str, legend: &str) -> Query {
    Query::range(&one(expr), legend)
}

pub(crate) fn dashboard() -> Value {
    Dashboard::new(
        "watchpost-host",
        "Watchpost / Host",
        "One machine: of each resource how much is used, what waits for it, and what goes wrong with it; \
         temperatures beside their limits.",
        "6h",
    )
    .variable(&Variable::label("host", "Host", "<system.uptime>", "instance"))
    // Where hosts are told apart by it, as a Collector's pipeline has it, and no `instance` is there.
    .variable(
        &Variable::label("host_name", "Host name", "<system.uptime>{instance=\"$host\"}", "host_name")
            .many(),
    )
    .annotation(
        "Host started",
        "red",
        &one("<system.uptime>{} < 120"),
        "{{instance}} started",
    )
    .row("$host", now())
    .row("CPU: utilization, saturation, errors", cpu())
    .row("Memory: utilization, saturation, errors", memory())
    .row("Disks: utilization, saturation, errors", disks())
    .row("File systems: utilization, saturation, errors", file_systems())
    .row("Network: utilization, saturation, errors", network())
    .row("Tables of the kernel: utilization, saturation, errors", tables())
    .row("Temperatures: utilization, saturation, errors", thermal())
    .row("Clock and processes", rest())
    .json()
}

fn now() -> Vec<Panel> {
    let percent = |title: &str, description: &str, expr: &str| {
        Panel::stat(title, description)
            .query(&Query::instant(&one(expr), ""))
            .unit("percentunit")
            .decimals(1)
            .steps(GOOD, &[(0.8, SOME), (0.95, BAD)])
    };
    vec![
        Panel::stat("Uptime", "Since the machine started.")
            .query(&Query::instant(&one("max(<system.uptime>{})"), ""))
            .unit("dtdurations")
            .decimals(1)
            .steps(SOME, &[(600.0, GOOD)]),
        percent("CPU", "The share of time in which CPUs worked.", CPU_BUSY),
        percent("Memory", "The share of memory that programs cannot have.", MEMORY_USED),
        percent(
            "Fullest file system",
            "Of those that are watched.",
            &format!("max({FILE_SYSTEM_USED})"),
        ),
        Panel::stat("Nearest to its limit", "The temperature that is closest to its own limit.")
            .query(&Query::instant(&one(&format!("max({HOT})")), ""))
            .unit("percentunit")
            .decimals(0)
            .or_else("no limit known")
            .steps(GOOD, &[(0.85, SOME), (1.0, BAD)]),
        Panel::stat("Load per CPU", "Threads that run or wait, the mean of a minute.")
            .query(&Query::instant(
                &one("max(<system.cpu.load_average.1m>{}) / max(<system.cpu.logical.count>{})"),
                "",
            ))
            .decimals(2)
            .steps(GOOD, &[(1.0, SOME), (4.0, BAD)]),
    ]
}

/// Waiting for a disk is not work, and what another guest had is not ours.
const CPU_BUSY: &str = "1 - sum(rate(<system.cpu.time>{,state=~\"idle|wait|steal\"}[$__rate_interval])) \
     / sum(rate(<system.cpu.time>{}[$__rate_interval]))";
const MEMORY_USED: &str =
    "1 - max(<system.linux.memory.available>{}) / max(<system.memory.limit>{})";
/// As `df` has it: what is reserved for root is neither.
const FILE_SYSTEM_USED: &str = "max by (mountpoint) (<system.filesystem.usage>{,state=\"used\"}) \
     / (max by (mountpoint) (<system.filesystem.usage>{,state=\"used\"}) \
     + max by (mountpoint) (<system.filesystem.usage>{,state=\"free\"}))";
/// Each temperature as a share of the lowest limit above it.
const HOT: &str = "max by (hw_name, hw_sensor_location, hw_id) (<hw.temperature>{}) \
     / min by (hw_name, hw_sensor_location, hw_id) (<hw.temperature.limit>{,hw_limit_type=~\"high.*|throttled\"})";

fn utilization(description: &str) -> Panel {
    let (width, height) = THIRD;
    Panel::lines("Utilization", description).size_of(width, height)
}

fn saturation(description: &str) -> Panel {
    let (width, height) = THIRD;
    Panel::lines("Saturation", description).size_of(width, height)
}

fn errors(description: &str) -> Panel {
    let (width, height) = THIRD;
    Panel::lines("Errors", description).size_of(width, height).or_else("none")
}

fn cpu() -> Vec<Panel> {
    vec![
        utilization("What CPUs spend their time on.")
            .query(&range(
                "sum by (state) (rate(<system.cpu.time>{,state!=\"idle\"}[$__rate_interval])) \
                 / scalar(sum(rate(<system.cpu.time>{}[$__rate_interval])))",
                "{{state}}",
            ))
            .unit("percentunit")
            .stacked(),
        saturation("The share of time in which something waited for a CPU; threads that run or wait, for each CPU.")
            .query(&range(
                "rate(<system.cpu.linux.pressure.total>{,system_pressure_stall_type=\"some\"}[$__rate_interval])",
                "waited (pressure)",
            ))
            .query(&range(
                "sum(rate(<system.cpu.linux.run_queue.time>{}[$__rate_interval])) / max(<system.cpu.logical.count>{})",
                "waited (run queue)",
            ))
            .query(&range(
                "max(<system.cpu.linux.tasks>{,state=\"runnable\"}) / max(<system.cpu.logical.count>{})",
                "runnable threads a CPU",
            ))
            .query(&range(
                "max(<system.cpu.load_average.1m>{}) / max(<system.cpu.logical.count>{})",
                "load a CPU",
            )),
        errors("Machine checks, throttling because of heat, tasks that hung: how many in each step.")
            .query(&range(
                "sum(increase(<hw.errors>{,hw_type=\"cpu\"}[$__rate_interval]))",
                "machine checks",
            ))
            .query(&range(
                "sum by (scope) (increase(<system.cpu.linux.throttles>{}[$__rate_interval]))",
                "throttled {{scope}}",
            ))
            .query(&range("increase(<system.linux.hung_tasks>{}[$__rate_interval])", "hung tasks")),
    ]
}

fn memory() -> Vec<Panel> {
    vec![
        utilization("What memory is used for, and how much there is; swap.")
            .query(&range(
                "sum by (state) (<system.memory.usage>{,state!~\"slab.*\"})",
                "{{state}}",
            ))
            .query(&range("max(<system.memory.limit>{})", "there is"))
            .query(&range("sum(<system.paging.usage>{,state=\"used\"})", "swap"))
            .unit("bytes"),
        saturation("The share of time in which some or all tasks waited for memory; pages that came from disk or went there, a second.")
            .query(&range(
                "rate(<system.memory.linux.pressure.total>{}[$__rate_interval])",
                "waited ({{system_pressure_stall_type}})",
            ))
            .query(&range(
                "sum by (direction) (rate(<system.paging.operations>{,type=\"major\"}[$__rate_interval]))",
                "swapped {{direction}}",
            ))
            .query(&range(
                "sum(rate(<system.paging.faults>{,type=\"major\"}[$__rate_interval]))",
                "read for a fault",
            )),
        errors("Programs that were killed for want of memory, bit errors, memory that the kernel took out of use.")
            .query(&range(
                "increase(<system.memory.linux.oom_kills>{}[$__rate_interval])",
                "killed",
            ))
            .query(&range(
                "sum by (error_type) (increase(<hw.errors>{,hw_type=\"memory\"}[$__rate_interval]))",
                "{{error_type}}",
            ))
            .query(&range("<system.memory.linux.hardware_corrupted>{}", "bytes out of use")),
    ]
}

fn disks() -> Vec<Panel> {
    vec![
        utilization("The share of time in which the disk was busy.")
            .query(&range(
                "max by (device) (rate(<system.disk.io_time>{}[$__rate_interval]))",
                "{{device}}",
            ))
            .unit("percentunit"),
        saturation("How many operations waited or were in flight, on average; the share of time in which tasks waited for a disk.")
            .query(&range(
                "max by (device) (rate(<system.disk.weighted_io_time>{}[$__rate_interval]))",
                "queue of {{device}}",
            ))
            .query(&range(
                "rate(<system.io.linux.pressure.total>{}[$__rate_interval])",
                "waited ({{system_pressure_stall_type}})",
            ))
            .query(&range("max by (device) (<system.disk.pending_operations>{})", "in flight on {{device}}")),
        errors("Operations that failed, disks that a RAID array lacks, sectors that differed.")
            .query(&range(
                "sum by (hw_id) (increase(<hw.errors>{,hw_type=\"physical_disk\"}[$__rate_interval]))",
                "errors of {{hw_id}}",
            ))
            .query(&range("<system.disk.linux.md.degraded>{}", "missing in {{device}}"))
            .query(&range("<system.disk.linux.md.mismatches>{}", "mismatches in {{device}}")),
        Panel::lines("Throughput", "Bytes a second.")
            .query(&range(
                "sum by (device, direction) (rate(<system.disk.io>{}[$__rate_interval]))",
                "{{device}} {{direction}}",
            ))
            .unit("Bps")
            .size_of(8, 7),
        Panel::lines("Time of an operation", "From its begin to its end, waiting included.")
            .query(&range(
                "sum by (device, direction) (rate(<system.disk.operation_time>{}[$__rate_interval])) \
                 / sum by (device, direction) (rate(<system.disk.operations>{}[$__rate_interval]) > 0)",
                "{{device}} {{direction}}",
            ))
            .unit("s")
            .size_of(8, 7),
        Panel::lines("Life of disks", "What is left of it, as the disk says; bytes written since the file system was made.")
            .query(&range(
                "<hw.physical_disk.endurance_utilization>{}",
                "{{hw_name}} {{hw_physical_disk_state}}",
            ))
            .query(&range("<system.disk.linux.lifetime_writes>{}", "written to {{device}}"))
            .field("/written/", json!({"unit": "bytes", "custom/axisPlacement": "right"}))
            .size_of(8, 7),
    ]
}

fn file_systems() -> Vec<Panel> {
    let bars = |title: &str, description: &str, expr: &str| {
        Panel::bars(title, description, 1.0)
            .query(&Query::instant(&one(expr), "{{mountpoint}}"))
            .unit("percentunit")
            .decimals(1)
            .steps(GOOD, &[(0.8, SOME), (0.9, BAD)])
            .size_of(8, 7)
    };
    vec![
        bars("Utilization: bytes", "The share that is used, of what is not reserved for root.", FILE_SYSTEM_USED),
        bars(
            "Utilization: inodes",
            "The share of files that there can be.",
            "max by (mountpoint) (<system.filesystem.inodes.usage>{,state=\"used\"}) \
             / sum by (mountpoint) (max by (mountpoint, state) (<system.filesystem.inodes.usage>{}))",
        ),
        errors("Read-only, errors found by the file system itself, and those that do not answer: saturation is that of the disk.")
            .query(&range(
                "max by (mountpoint) (<system.filesystem.linux.readonly>{}) > 0",
                "{{mountpoint}} is read-only",
            ))
            .query(&range(
                "max by (mountpoint, error_type) (<system.filesystem.linux.error>{})",
                "{{mountpoint}}: {{error_type}}",
            ))
            .query(&range(
                "max by (device) (<system.filesystem.linux.errors>{})",
                "errors on {{device}}",
            )),
    ]
}

fn network() -> Vec<Panel> {
    vec![
        utilization("The share of the speed of the link; in bits where the link does not say how fast it is.")
            .query(&range(
                "sum by (device, direction) (rate(<system.network.io>{}[$__rate_interval])) \
                 / on (device) group_left () \
                 max by (device) (label_replace(<hw.network.bandwidth.limit>{} > 0, \"device\", \"$1\", \"hw_id\", \"(.+)\"))",
                "{{device}} {{direction}} of its speed",
            ))
            .query(&range(
                "8 * sum by (device, direction) (rate(<system.network.io>{}[$__rate_interval]))",
                "{{device}} {{direction}}",
            ))
            .field("/of its speed/", json!({"unit": "percentunit", "custom/axisPlacement": "right"}))
            .unit("bps"),
        saturation("What was dropped, put off or sent again, a second.")
            .query(&range(
                "sum by (device, direction) (rate(<system.network.dropped>{}[$__rate_interval]))",
                "{{device}} dropped ({{direction}})",
            ))
            .query(&range(
                "rate(<system.network.linux.softnet.dropped>{}[$__rate_interval])",
                "dropped by a CPU",
            ))
            .query(&range(
                "rate(<system.network.linux.softnet.squeezed>{}[$__rate_interval])",
                "put off by a CPU",
            ))
            .query(&range(
                "rate(<system.network.linux.tcp.retransmits>{}[$__rate_interval])",
                "TCP sent again",
            ))
            .query(&range(
                "rate(<system.network.linux.tcp.listen_overflows>{}[$__rate_interval])",
                "not accepted in time",
            )),
        errors("Packets with errors a second; how often a link went up or down; links that are down.")
            .query(&range(
                "sum by (device, direction) (rate(<system.network.errors>{}[$__rate_interval]))",
                "{{device}} ({{direction}})",
            ))
            .query(&range(
                "increase(<system.network.linux.carrier_changes>{}[$__rate_interval])",
                "{{device}} up or down",
            ))
            .query(&range("<hw.network.up>{} == 0", "{{hw_id}} is down")),
    ]
}

fn tables() -> Vec<Panel> {
    vec![
        utilization("The share of entries that are taken.")
            .query(&range(
                "max(<system.network.conntrack.count>{}) / max(<system.network.conntrack.max>{})",
                "connections of the firewall",
            ))
            .query(&range(
                "max(<system.linux.file_descriptor.count>{}) / max(<system.linux.file_descriptor.limit>{})",
                "file descriptors",
            ))
            .unit("percentunit"),
        saturation("TCP connections by state; sockets by kind.")
            .query(&range("<system.network.connections>{} > 0", "{{state}}"))
            .query(&range("<system.network.linux.sockets>{}", "{{kind}}")),
        errors("Connections that were refused, reset or given up, a second.")
            .query(&range(
                "rate(<system.network.linux.tcp.listen_drops>{}[$__rate_interval])",
                "requests dropped",
            ))
            .query(&range(
                "rate(<system.network.linux.tcp.failed_opens>{}[$__rate_interval])",
                "not opened",
            ))
            .query(&range(
                "rate(<system.network.linux.tcp.resets>{}[$__rate_interval])",
                "resets sent",
            ))
            .query(&range(
                "sum by (direction) (rate(<system.network.linux.udp.buffer_errors>{}[$__rate_interval]))",
                "UDP: no buffer ({{direction}})",
            )),
    ]
}

fn thermal() -> Vec<Panel> {
    let sensor = "{{hw_name}} {{hw_sensor_location}}";
    vec![
        Panel::bars("Utilization: near the limit", "Each temperature as a share of its own lowest limit.", 1.0)
            .query(&Query::instant(&one(HOT), sensor))
            .unit("percentunit")
            .decimals(0)
            .or_else("no limit known")
            .steps(GOOD, &[(0.85, SOME), (1.0, BAD)])
            .size_of(8, 7),
        saturation("How hard cooling works; how often a CPU was slowed down because of heat.")
            .query(&range(
                "max by (type) (<hw.linux.cooling_device.state>{} / (<hw.linux.cooling_device.limit>{} > 0))",
                "{{type}}",
            ))
            .query(&range(
                "sum by (scope) (increase(<system.cpu.linux.throttles>{}[$__rate_interval]))",
                "slowed down ({{scope}})",
            ))
            .query(&range("<hw.fan.speed_ratio>{}", sensor)),
        errors("Parts that say that something is wrong with them.")
            .query(&range(
                "<hw.status>{,hw_state=~\"degraded|failed\"} > 0",
                "{{hw_name}} {{hw_sensor_location}} {{hw_state}}",
            )),
        Panel::lines("Temperatures", "And their limits, dashed.")
            .query(&range("<hw.temperature>{}", sensor))
            .query(&range(
                "<hw.temperature.limit>{,hw_limit_type=~\"high.*|throttled\"}",
                "{{hw_name}} {{hw_sensor_location}} limit ({{hw_limit_type}})",
            ))
            .unit("celsius")
            .field(
                "/ limit /",
                json!({
                    "custom/lineStyle": {"dash": [8, 8], "fill": "dash"},
                    "custom/fillOpacity": 0,
                }),
            )
            .or_else("no sensor")
            .size_of(12, 8),
        Panel::lines("Fans, voltages, power", "")
            .query(&range("<hw.fan.speed>{}", sensor))
            .query(&range("<hw.voltage>{}", sensor))
            .query(&range("<hw.power>{}", sensor))
            .query(&range("rate(<hw.energy>{}[$__rate_interval])", "{{hw_name}} {{hw_sensor_location}} (energy)"))
            .query(&range("<hw.battery.charge>{}", "{{hw_name}} charge"))
            .or_else("none")
            .size_of(12, 8),
    ]
}

fn rest() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Clock",
            "How far it is off, by the kernel's estimate, and how far it may be.",
        )
        .query(&range("<system.linux.time.offset>{}", "offset"))
        .query(&range("<system.linux.time.max_error>{}", "at most"))
        .unit("s")
        .size_of(8, 7),
        Panel::timeline("Clock is kept right", "By a time service.")
            .query(&range("max by (instance) (<system.linux.time.synchronized>{})", "synchronized"))
            .values(&[("0", "No", SOME), ("1", "Yes", GOOD)])
            .size_of(8, 7),
        Panel::lines("Processes", "That there are, by status, and that were started a second.")
            .query(&range("<system.processes.count>{}", "{{status}}"))
            .query(&range("<system.linux.threads>{}", "threads"))
            .query(&range(
                "rate(<system.processes.created>{}[$__rate_interval])",
                "started a second",
            ))
            .steps(PLAIN, &[])
            .size_of(8, 7),
    ]
}
