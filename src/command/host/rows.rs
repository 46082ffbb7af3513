//! The rows of the USE table, one function for each resource.

use super::picture::{
    Cell, Count, Picture, Point, Row, Sensor, bytes, faults, known, percent, unknown,
};
use crate::command::style::latency;
use crate::signal::names::host as names;
use crate::signal::series::Metric;

/// A span of time that a clock is off.
fn span(seconds: f64) -> String {
    latency(std::time::Duration::from_secs_f64(seconds.abs().min(1e9)))
}

impl Picture<'_> {
    pub(super) fn cpu(&self) -> Row {
        let cpus = self.sum(&names::CPU_LOGICAL_COUNT, &[]).unwrap_or(1.0).max(1.0);
        let all = self.sum(&names::CPU_UTILIZATION, &[]);
        let idle = ["idle", "wait", "steal"]
            .iter()
            .filter_map(|state| self.sum(&names::CPU_UTILIZATION, &[("state", state)]));
        let idle: f64 = idle.sum();
        let utilization = match all {
            Some(all) if all > 0.0 => {
                let share = ((all - idle) / all).clamp(0.0, 1.0);
                known(share, format!("{} of {cpus:.0} CPUs", percent(share)))
            }
            _ => unknown(self.why("/stat", "no time has passed between the readings")),
        };
        let tasks = self.sum(&names::CPU_TASKS, &[("state", "runnable")]);
        let waiting = self.pressure(&names::CPU_PRESSURE);
        let queued = self.rate(&names::CPU_RUN_QUEUE_TIME, &[]).map(|seconds| seconds / cpus);
        let tasks_text = tasks.map(|tasks| format!(", {tasks:.0} runnable")).unwrap_or_default();
        let saturation = match (waiting, queued, tasks) {
            (Some(share), ..) => {
                known(share, format!("waited for {} of the time{tasks_text}", percent(share)))
            }
            (_, Some(queued), _) => {
                let text = format!("{} of the time in the queue{tasks_text}", percent(queued));
                known(queued.min(1.0), text)
            }
            (_, _, Some(tasks)) => known((tasks / cpus - 1.0).clamp(0.0, 1.0) * 0.7, {
                let why = self.why("/pressure/cpu", "no pressure information");
                format!("{tasks:.0} runnable ({why})")
            }),
            _ => unknown(self.why("/pressure/cpu", "not known")),
        };
        let checks = self.sum(&names::HARDWARE_ERRORS, &[("error.type", "mce")]);
        let none = match checks {
            Some(_) => "none",
            None => "none; this CPU counts none",
        };
        let errors = faults(
            &[
                (self.count(&names::HARDWARE_ERRORS, &[("error.type", "mce")]), "machine checks"),
                (self.count(&names::CPU_THROTTLES, &[]), "times throttled"),
                (self.count(&names::HUNG_TASKS, &[]), "hung tasks"),
            ],
            none,
        );
        Row { resource: "CPU".to_owned(), utilization, saturation, errors }
    }

    /// The share of time in which something waited.
    fn pressure(&self, metric: &Metric) -> Option<f64> {
        let some = self.rate(metric, &[("system.pressure.stall_type", "some")]);
        some.map(|share| share.clamp(0.0, 1.0))
    }

    pub(super) fn memory(&self) -> Row {
        let total = self.sum(&names::MEMORY_LIMIT, &[]);
        let free = self.sum(&names::MEMORY_AVAILABLE, &[]);
        let used = self.sum(&names::MEMORY_USAGE, &[("state", "used")]);
        let utilization = match (total, free.map(|free| total.unwrap_or(0.0) - free).or(used)) {
            (Some(total), Some(used)) if total > 0.0 => {
                let share = (used / total).clamp(0.0, 1.0);
                known(share, format!("{} of {}", percent(share), bytes(total)))
            }
            _ => unknown(self.why("/meminfo", "not known")),
        };
        let major = self.rate(&names::PAGING_FAULTS, &[("type", "major")]);
        let paging = self.rate(&names::PAGING_OPERATIONS, &[("type", "major")]);
        let mut parts = Vec::new();
        let waiting = self.pressure(&names::MEMORY_PRESSURE);
        parts.extend(waiting.map(|share| format!("waited for {} of the time", percent(share))));
        parts.extend(major.map(|rate| format!("{rate:.0} major faults/s")));
        parts.extend(paging.map(|rate| format!("{rate:.0} pages swapped/s")));
        let saturation = match parts.is_empty() {
            true => unknown(self.why("/vmstat", "not known")),
            false => known(waiting.unwrap_or(0.0), parts.join(", ")),
        };
        let corrected = self.sum(&names::HARDWARE_ERRORS, &[("error.type", "correctable")]);
        let bits = |kind| self.count(&names::HARDWARE_ERRORS, &[("error.type", kind)]);
        let errors = faults(
            &[
                (bits("uncorrectable"), "uncorrectable errors"),
                (bits("correctable"), "correctable errors"),
                (self.count(&names::MEMORY_OOM_KILLS, &[]), "processes killed"),
                (self.count(&names::MEMORY_CORRUPTED, &[]), "bytes corrupted"),
            ],
            if corrected.is_some() { "none" } else { "none; it counts no bit errors" },
        );
        Row { resource: "Memory".to_owned(), utilization, saturation, errors }
    }

    pub(super) fn swap(&self) -> Vec<Row> {
        let devices = self.values(&names::PAGING_USAGE, "device").into_iter();
        let rows = devices.map(|device| {
            let part = |state| {
                let own = [("device", device), ("state", state)];
                self.sum(&names::PAGING_USAGE, &own).unwrap_or(0.0)
            };
            let (used, total) = (part("used"), part("used") + part("free"));
            let share = if total > 0.0 { used / total } else { 0.0 };
            Row {
                resource: format!("Swap {device}"),
                utilization: known(share, format!("{} of {}", percent(share), bytes(total))),
                saturation: unknown("see memory"),
                errors: unknown("see its disk"),
            }
        });
        rows.collect()
    }

    pub(super) fn disks(&self) -> Vec<Row> {
        let devices = self.values(&names::DISK_IO, "device").into_iter();
        let rows = devices.map(|device| {
            let own = [("device", device)];
            let rate = |metric, direction| {
                self.rate(metric, &[("device", device), ("direction", direction)]).unwrap_or(0.0)
            };
            let moved = ["read", "write"].map(|direction| rate(&names::DISK_IO, direction));
            let moved = format!("read {}/s, write {}/s", bytes(moved[0]), bytes(moved[1]));
            let utilization = match self.sum(&names::DISK_UTILIZATION, &own) {
                Some(share) => known(share, format!("busy {}, {moved}", percent(share))),
                None => unknown(moved),
            };
            let queue = self.rate(&names::DISK_WEIGHTED_IO_TIME, &own);
            let operations: f64 =
                ["read", "write"].iter().map(|d| rate(&names::DISK_OPERATIONS, d)).sum();
            let took: f64 =
                ["read", "write"].iter().map(|d| rate(&names::DISK_OPERATION_TIME, d)).sum();
            let saturation = match queue {
                Some(queue) if operations > 0.0 => {
                    let each = took / operations * 1000.0;
                    known(queue / 20.0, format!("queue {queue:.1}, {each:.1} ms each"))
                }
                Some(queue) => known(queue / 20.0, format!("queue {queue:.1}")),
                None => unknown("not known"),
            };
            let id = [("hw.id", device)];
            // A disk that has failed, or is missing, is bad however long it has been so.
            let lasting = |count: Option<f64>| {
                let count = count.unwrap_or(0.0);
                Count { total: count, grown: count }
            };
            let failed = self.sum(&names::STATUS, &[("hw.id", device), ("hw.state", "failed")]);
            let told = self.sum(&names::HARDWARE_ERRORS, &id);
            let missing = self.sum(&names::MD_DEGRADED, &own);
            let errors = faults(
                &[
                    (self.count(&names::HARDWARE_ERRORS, &id), "errors"),
                    (lasting(failed), "failed"),
                    (lasting(missing), "disks missing"),
                ],
                if told.is_some() || missing.is_some() { "none" } else { "none; it counts none" },
            );
            Row { resource: format!("Disk {device}"), utilization, saturation, errors }
        });
        rows.collect()
    }

    pub(super) fn file_systems(&self) -> Vec<Row> {
        let mut mounts = self.values(&names::FILESYSTEM_READONLY, "mountpoint");
        mounts.sort_unstable();
        let waiting = self.pressure(&names::IO_PRESSURE);
        let rows = mounts.into_iter().map(|mount| {
            let own = [("mountpoint", mount)];
            let size = self.sum(&names::FILESYSTEM_LIMIT, &own);
            let used = |state| {
                let own = [("mountpoint", mount), ("state", state)];
                self.sum(&names::FILESYSTEM_INODES, &own)
            };
            let inodes = match (used("used"), used("free")) {
                (Some(used), Some(free)) if used + free > 0.0 => {
                    format!(", {} of inodes", percent(used / (used + free)))
                }
                _ => String::new(),
            };
            let failure = self.points(&names::FILESYSTEM_ERROR, &own);
            let failure = failure.first();
            let failure = failure.and_then(|point| point.sample.series.own.text("error.type"));
            let utilization = match (self.sum(&names::FILESYSTEM_UTILIZATION, &own), size) {
                (Some(share), Some(size)) => {
                    known(share, format!("{} of {}{inodes}", percent(share), bytes(size)))
                }
                _ => unknown(
                    failure.map_or("not known".to_owned(), |why| format!("no answer: {why}")),
                ),
            };
            let saturation = match (failure, waiting) {
                (Some("timeout"), _) => known(1.0, "does not answer".to_owned()),
                (_, Some(share)) => {
                    known(share, format!("disks waited for {} of the time", percent(share)))
                }
                _ => unknown(self.why("/pressure/io", "not known")),
            };
            let readonly = self.sum(&names::FILESYSTEM_READONLY, &own) == Some(1.0);
            let device = self.points(&names::FILESYSTEM_READONLY, &own);
            let device = device.first();
            let device = device.and_then(|point| point.sample.series.own.text("device"));
            let device = device.and_then(|device| device.rsplit('/').next()).unwrap_or_default();
            let counted = self.sum(&names::FILESYSTEM_ERRORS, &[("device", device)]);
            let errors = match (failure, counted) {
                (Some(why), _) => known(1.0, why.to_owned()),
                (_, Some(count)) if count > 0.0 => known(1.0, format!("{count:.0} errors")),
                _ if readonly => known(0.0, "read-only".to_owned()),
                (_, Some(_)) => known(0.0, "none".to_owned()),
                _ => known(0.0, "none; it counts none".to_owned()),
            };
            Row { resource: format!("Files {mount}"), utilization, saturation, errors }
        });
        rows.collect()
    }

    pub(super) fn interfaces(&self) -> Vec<Row> {
        let devices = self.values(&names::NETWORK_IO, "device").into_iter();
        let rows = devices.map(|device| {
            let id = [("hw.id", device)];
            let rate = |metric, direction| {
                self.rate(metric, &[("device", device), ("direction", direction)]).unwrap_or(0.0)
            };
            let count = |metric| self.count(metric, &[("device", device)]);
            let moved = ["receive", "transmit"].map(|d| rate(&names::NETWORK_IO, d));
            let moved = format!("in {}/s, out {}/s", bytes(moved[0]), bytes(moved[1]));
            let shares = self.points(&names::NETWORK_BANDWIDTH_UTILIZATION, &id);
            let share = shares.iter().map(|point| point.value).reduce(f64::max);
            let up = self.sum(&names::NETWORK_UP, &id);
            let utilization = match (share, up) {
                (Some(share), _) => known(share, format!("{}: {moved}", percent(share))),
                (None, Some(0.0)) => known(0.0, format!("{moved}; the link is down")),
                _ => known(0.0, format!("{moved}; it tells no speed")),
            };
            let dropped = count(&names::NETWORK_DROPPED);
            let saturation = faults(&[(dropped, "packets dropped")], "nothing dropped");
            let errors = faults(
                &[
                    (count(&names::NETWORK_ERRORS), "errors"),
                    (count(&names::NETWORK_CARRIER_CHANGES), "link changes"),
                ],
                "none",
            );
            Row { resource: format!("Network {device}"), utilization, saturation, errors }
        });
        rows.collect()
    }

    pub(super) fn tcp(&self) -> Row {
        let state = |state| self.sum(&names::NETWORK_CONNECTIONS, &[("state", state)]);
        let utilization = match (state("ESTABLISHED"), state("LISTEN")) {
            (Some(open), Some(listen)) => {
                known(0.0, format!("{open:.0} connections, {listen:.0} listening"))
            }
            _ => unknown(self.why("sock_diag", "not known")),
        };
        let per_second = |metric| self.rate(metric, &[]);
        let saturation = match per_second(&names::TCP_RETRANSMITS) {
            Some(resent) => {
                let overflows = per_second(&names::TCP_LISTEN_OVERFLOWS).unwrap_or(0.0);
                let text = format!("{resent:.0} sent again/s, {overflows:.0} refused/s");
                known(if overflows > 0.0 { 0.8 } else { 0.0 }, text)
            }
            None => unknown(self.why("/snmp", "not known")),
        };
        let errors = match per_second(&names::TCP_FAILED_OPENS) {
            Some(failed) => {
                let resets = per_second(&names::TCP_RESETS).unwrap_or(0.0);
                known(0.0, format!("{failed:.0} not opened/s, {resets:.0} resets/s"))
            }
            None => unknown(self.why("/snmp", "not known")),
        };
        Row { resource: "TCP".to_owned(), utilization, saturation, errors }
    }

    fn part(&self, count: &Metric, limit: &Metric, why: &str, otherwise: &str) -> Cell {
        match (self.sum(count, &[]), self.sum(limit, &[])) {
            (Some(count), Some(limit)) if limit > 0.0 => {
                let share = count / limit;
                known(share, format!("{} of {limit:.0}", percent(share)))
            }
            _ => unknown(self.why(why, otherwise)),
        }
    }

    pub(super) fn conntrack(&self) -> Row {
        let drops = |kind| self.count(&names::CONNTRACK_DROPS, &[("kind", kind)]);
        let told = self.sum(&names::CONNTRACK_DROPS, &[]);
        let saturation = match told {
            Some(_) => faults(&[(drops("drop"), "dropped")], "nothing dropped"),
            None => unknown(self.why("/nf_conntrack", "it tells nothing")),
        };
        let errors = match told {
            Some(_) => faults(&[(drops("insert_failed"), "not inserted")], "none"),
            None => unknown(self.why("/nf_conntrack", "it tells nothing")),
        };
        Row {
            resource: "Conntrack".to_owned(),
            utilization: self.part(
                &names::CONNTRACK_COUNT,
                &names::CONNTRACK_MAX,
                "nf_conntrack_count",
                "no firewall keeps track of connections",
            ),
            saturation,
            errors,
        }
    }

    pub(super) fn descriptors(&self) -> Row {
        Row {
            resource: "File descriptors".to_owned(),
            utilization: self.part(
                &names::FILE_DESCRIPTOR_COUNT,
                &names::FILE_DESCRIPTOR_LIMIT,
                "file-nr",
                "not known",
            ),
            saturation: unknown("nothing waits: they are refused"),
            errors: unknown("the kernel counts none"),
        }
    }

    pub(super) fn threads(&self) -> Row {
        Row {
            resource: "Threads".to_owned(),
            utilization: self.part(
                &names::THREADS_COUNT,
                &names::THREADS_LIMIT,
                "pid_max",
                "not known",
            ),
            saturation: unknown("see CPU"),
            errors: unknown("the kernel counts none"),
        }
    }

    pub(super) fn clock(&self) -> Row {
        let synchronized = self.sum(&names::TIME_SYNCHRONIZED, &[]);
        let offset = self.sum(&names::TIME_OFFSET, &[]).unwrap_or(0.0);
        let error = self.sum(&names::TIME_MAX_ERROR, &[]).unwrap_or(0.0);
        let errors = match synchronized {
            Some(1.0) => known(0.0, "none".to_owned()),
            Some(_) => known(0.8, "no time service keeps it right".to_owned()),
            None => unknown(self.why("adjtimex", "not known")),
        };
        let utilization = match synchronized {
            Some(_) => known(offset.abs() / 0.05 * 0.75, format!("{} off", span(offset))),
            None => unknown(self.why("adjtimex", "not known")),
        };
        let saturation = match synchronized {
            Some(_) => known(0.0, format!("at most {} off", span(error))),
            None => unknown(self.why("adjtimex", "not known")),
        };
        Row { resource: "Clock".to_owned(), utilization, saturation, errors }
    }

    pub(super) fn thermal(&self) -> Row {
        let none = "no sensor";
        let utilization = match self.temperatures() {
            Err(why) => unknown(why),
            Ok(sensors) => {
                let hottest = sensors
                    .iter()
                    .max_by(|a, b| a.share.unwrap_or(0.0).total_cmp(&b.share.unwrap_or(0.0)));
                match hottest {
                    Some(Sensor { share: Some(share), now, name, .. }) => {
                        known(*share, format!("{} of the limit: {now} {name}", percent(*share)))
                    }
                    Some(sensor) => {
                        known(0.0, format!("{} {}, no limit told", sensor.now, sensor.name))
                    }
                    None => unknown(none),
                }
            }
        };
        let state = self.sum(&names::COOLING_STATE, &[]);
        let limit = self.sum(&names::COOLING_LIMIT, &[]);
        let throttled = self.sum(&names::CPU_THROTTLES, &[]);
        let saturation = match (state, limit, throttled) {
            (Some(state), Some(limit), _) if limit > 0.0 => {
                known(state / limit, format!("cooling at {}", percent(state / limit)))
            }
            (_, _, Some(_)) => {
                let times = self.count(&names::CPU_THROTTLES, &[]);
                faults(&[(times, "times throttled")], "never throttled")
            }
            _ => unknown("no cooling device"),
        };
        let with = |state| {
            let points = self.points(&names::STATUS, &[("hw.state", state)]);
            let bad = points.into_iter().filter(|point| point.value > 0.0);
            let name = |point: &Point<'_>| {
                point.sample.series.own.text("hw.name").unwrap_or("?").to_owned()
            };
            let mut found: Vec<String> = bad.map(name).collect();
            found.dedup();
            found
        };
        let (degraded, failed) = (with("degraded"), with("failed"));
        let errors = if !failed.is_empty() {
            known(1.0, format!("failed: {}", failed.join(", ")))
        } else if !degraded.is_empty() {
            known(0.9, format!("alarm: {}", degraded.join(", ")))
        } else if !self.points(&names::STATUS, &[]).is_empty() {
            known(0.0, "none".to_owned())
        } else {
            unknown("no sensor has alarms")
        };
        Row { resource: "Thermal".to_owned(), utilization, saturation, errors }
    }
}
