//! Every metric that we publish: one table. Documentation, dashboards and tests are held against it.

pub mod host;

use crate::signal::series::{Kind, Metric};

/// The instrumentation scope of all that we measure.
pub const SCOPE_NAME: &str = "watchpost";
/// Its version.
pub const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

macro_rules! metrics {
    ($($konst:ident = $name:literal, $unit:literal, $kind:ident, [$($attribute:literal),*], $description:literal;)*) => {
        $(#[doc = $description]
        pub static $konst: Metric = Metric {
            name: $name, unit: $unit, kind: Kind::$kind, description: $description, attributes: &[$($attribute),*],
        };)*

        /// All of them.
        pub static ALL: &[&Metric] = &[$(&$konst,)*];
    };
}

metrics! {
    PROBE_SUCCESS = "probe.success", "", Gauge, [], "Whether the probe succeeded.";
    PROBE_DURATION = "probe.duration", "s", Gauge, [], "How long the whole attempt took.";
    PROBE_TIMEOUT = "probe.timeout", "s", Gauge, [], "How long an attempt may take.";
    PROBE_DNS_LOOKUP_TIME = "probe.dns.lookup.time", "s", Gauge, [], "How long the name lookup took.";
    PROBE_IP_PROTOCOL = "probe.ip_protocol", "", Gauge, [], "Whether the probe used IP 4 or 6; 0 when no address was found.";
    PROBE_IP_ADDR_HASH = "probe.ip_addr_hash", "", Gauge, [], "FNV-1a hash of the address, to see that it changed.";
    PROBE_FAILED_DUE_TO_REGEX = "probe.failed_due_to_regex", "", Gauge, [], "Whether a regular expression decided on failure.";
    PROBE_HTTP_DURATION = "probe.http.duration", "s", Gauge, ["phase"], "How long each phase of the HTTP attempt took, over all redirects.";
    PROBE_HTTP_STATUS_CODE = "probe.http.status_code", "", Gauge, [], "The status code of the last response; 0 for none.";
    PROBE_HTTP_VERSION = "probe.http.version", "", Gauge, [], "The HTTP version of the last response; 0 for none.";
    PROBE_HTTP_REDIRECTS = "probe.http.redirects", "", Gauge, [], "How many redirects were seen.";
    PROBE_HTTP_SSL = "probe.http.ssl", "", Gauge, [], "Whether the last response came over TLS.";
    PROBE_HTTP_CONTENT_LENGTH = "probe.http.content_length", "", Gauge, [], "Content-Length of the last response; -1 when unknown.";
    PROBE_HTTP_UNCOMPRESSED_BODY_LENGTH = "probe.http.uncompressed_body_length", "", Gauge, [], "Bytes read of the last response body.";
    PROBE_HTTP_LAST_MODIFIED = "probe.http.last_modified_timestamp_seconds", "", Gauge, [], "Last-Modified of the last response, in seconds since 1970.";
    PROBE_TCP_DURATION = "probe.tcp.duration", "s", Gauge, ["phase"], "How long each phase of the TCP attempt took.";
    PROBE_ICMP_DURATION = "probe.icmp.duration", "s", Gauge, ["phase"], "How long each phase of the ICMP attempt took.";
    PROBE_ICMP_REPLY_HOP_LIMIT = "probe.icmp.reply_hop_limit", "", Gauge, [], "TTL or hop limit of the echo reply.";
    PROBE_SSL_EARLIEST_CERT_EXPIRY = "probe.ssl.earliest_cert_expiry", "", Gauge, [], "The earliest end of validity among the presented certificates, in seconds since 1970.";
    PROBE_SSL_LAST_CHAIN_EXPIRY = "probe.ssl.last_chain_expiry_timestamp_seconds", "", Gauge, [], "The end of validity of the verified chain that lasts longest, in seconds since 1970.";
    PROBE_SSL_LAST_CHAIN_INFO = "probe.ssl.last_chain_info", "", Gauge, ["fingerprint_sha256", "subject", "issuer", "subjectalternative", "serialnumber"], "Facts of the leaf certificate; always 1.";
    PROBE_TLS_VERSION_INFO = "probe.tls.version_info", "", Gauge, ["version"], "The TLS version; always 1.";
    PROBE_TLS_CIPHER_INFO = "probe.tls.cipher_info", "", Gauge, ["cipher"], "The TLS cipher suite; always 1.";
    PROBE_ATTEMPTS = "probe.attempts", "{attempt}", Counter, ["kind"], "Attempts made.";
    PROBE_FAILURES = "probe.failures", "{attempt}", Counter, ["reason", "phase"], "Attempts that found the target down.";
    PROBE_LATENCY = "probe.latency", "s", ExponentialHistogram, [], "How long attempts took that found the target up (opt-in).";
    PROBE_TARGET_INFO = "probe.target_info", "", Gauge, ["sort", "module", "group", "name"], "Facts of the target; always 1. Sort by `sort` to have addresses in order.";

    SLOTS_DUE = "watchpost.slots_due", "{slot}", Counter, ["receiver"], "Slots that came due; equals the sum of watchpost_slots_total and those in flight.";
    SLOTS = "watchpost.slots", "{slot}", Counter, ["receiver", "outcome", "reason"], "Slots by how they ended: ok, failed, skipped or cancelled.";
    SLOT_LATENESS = "watchpost.slot_lateness", "s", Histogram, ["receiver"], "Time from a slot's due time to the begin of its attempt.";
    TARGETS = "watchpost.targets", "{target}", Gauge, ["receiver"], "Targets that are watched.";
    TARGETS_BY_STATE = "watchpost.targets_by_state", "{target}", Gauge, ["receiver", "state"], "Targets by what their last slot found: `up`, `down`, `waiting` for a first one, or `never_seen`: an address of a subnet that has never answered.";
    IN_FLIGHT = "watchpost.probes_in_flight", "{attempt}", Gauge, ["receiver"], "Attempts that are being made.";
    TARGET_FILE_PROBLEMS = "watchpost.target_file_problems", "{problem}", Gauge, [], "Wrong lines and unreadable files among the target files.";
    CONFIG_LAST_RELOAD_SUCCESSFUL = "watchpost.config_last_reload_successful", "", Gauge, [], "Whether the last reload was taken over.";
    CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP = "watchpost.config_last_reload_success_timestamp_seconds", "", Gauge, [], "When the last reload was taken over, in seconds since 1970.";
    RING_DROPPED = "watchpost.ring_dropped_samples", "{sample}", Counter, [], "Samples dropped because the ring before the queues was full.";
    EXPORT_SAMPLES = "watchpost.export_samples", "{sample}", Counter, ["exporter", "pipeline", "result"], "Samples by what became of them: accepted, recovered (found in the log at the start), sent, rejected or dropped.";
    EXPORT_LOST = "watchpost.export_lost_samples", "{sample}", Counter, ["exporter", "pipeline", "reason"], "Samples that were rejected or dropped, by reason.";
    PROCESSOR_DROPPED = "watchpost.processor_dropped_samples", "{sample}", Counter, ["pipeline", "processor"], "Samples that a processor did not let pass.";
    PIPELINE_REFUSED = "watchpost.pipeline_refused_samples", "{sample}", Counter, ["pipeline"], "Samples of payloads that a processor refused.";
    MEMORY_ACCOUNTED = "watchpost.memory_accounted", "By", Gauge, [], "Bytes that samples in rings, queues and tables take, about.";
    UNSUPPORTED = "watchpost.config_unsupported", "", Gauge, ["path"], "Parts of the configuration that are left out because they do not exist here; always 1.";
    EXPORT_REQUESTS = "watchpost.export_requests", "{request}", Counter, ["exporter", "pipeline", "result"], "Requests of exporters by how they ended.";
    EXPORT_FAILING = "watchpost.export_failing_time", "s", Gauge, ["exporter", "pipeline"], "For how long every attempt of an exporter has failed; 0 when the last one has not.";
    QUEUE_SAMPLES = "watchpost.queue_samples", "{sample}", Gauge, ["exporter", "pipeline"], "Samples that wait for an exporter.";
    QUEUE_OLDEST_AGE = "watchpost.queue_oldest_age", "s", Gauge, ["exporter", "pipeline"], "Age of the oldest sample that waits for an exporter.";
    QUEUE_STATE = "watchpost.queue_state", "", Gauge, ["pipeline", "state"], "Where the queue of a pipeline is: on disk, in memory only, or degraded (the disk cannot be written to, and memory has to do); 1 for the one that is.";
    QUEUE_DISK = "watchpost.queue_disk_size", "By", Gauge, ["pipeline"], "Bytes that the queue of a pipeline takes on the disk.";
    QUEUE_ERRORS = "watchpost.queue_errors", "{error}", Counter, ["pipeline", "operation"], "Calls that the disk of a queue has failed, by what was asked.";
    QUEUE_SYNCS = "watchpost.queue_syncs", "{sync}", Counter, ["pipeline"], "How often the queue of a pipeline was made safe from power failures.";
    LOOP_TURN = "watchpost.loop_turn", "s", Histogram, ["loop"], "CPU time of each turn of a loop: one poll of one task, during which nothing else of the loop runs.";
    LOOP_LONGEST_TURN = "watchpost.loop_longest_turn", "s", Gauge, ["loop"], "CPU time of the longest turn of a loop since the start.";
    LOOP_TASKS = "watchpost.loop_tasks", "{task}", Gauge, ["loop"], "Tasks that a loop has.";
    UNCLASSIFIED = "watchpost.unclassified_errors", "{error}", Counter, [], "Attempts that failed with an error without a name of its own: a fault of ours.";
    PROCESS_CPU_TIME = "process.cpu.time", "s", Counter, [], "CPU time of the process.";
    PROCESS_MEMORY_USAGE = "process.memory.usage", "By", Gauge, [], "Resident memory of the process.";
    PROCESS_OPEN_FDS = "process.unix.file_descriptor.count", "{file_descriptor}", Gauge, [], "Open file descriptors of the process.";
    PROCESS_START_TIME = "process.start_time_seconds", "", Gauge, [], "When the process started, in seconds since 1970.";
    DISCOVERY_SUCCESS = "watchpost.discovery_success", "", Gauge, ["discovery_job"], "Whether the last run of a discovery job succeeded.";
    DISCOVERY_LAST_RUN = "watchpost.discovery_last_run_timestamp_seconds", "", Gauge, ["discovery_job"], "When a discovery job ran the last time, in seconds since 1970.";
    DISCOVERY_LAST_SUCCESS = "watchpost.discovery_last_success_timestamp_seconds", "", Gauge, ["discovery_job"], "When a discovery job succeeded the last time, in seconds since 1970.";
    DISCOVERY_TARGETS = "watchpost.discovery_targets", "{target}", Gauge, ["discovery_job", "source"], "Targets that the last run of a discovery job found, by what told them.";
    DISCOVERY_CONTAINERS = "watchpost.discovery_containers", "{container}", Gauge, ["discovery_job", "health"], "Containers that ran when a discovery job asked the engine, by health.";
    DISCOVERY_SKIPPED = "watchpost.discovery_skipped", "{service}", Gauge, ["discovery_job"], "What the last run of a discovery job found no target in.";
    DISCOVERY_FILE_ERRORS = "watchpost.discovery_file_errors", "{error}", Gauge, ["discovery_job", "file"], "What the last run of a discovery job could not read, by file.";
    SCRAPER_DURATION = "watchpost.scraper_duration", "s", Gauge, ["receiver", "scraper"], "How long the last reading of a part of the host took.";
    SCRAPER_ERRORS = "watchpost.scraper_errors", "{error}", Counter, ["receiver", "scraper", "error.type"], "What could not be read of the host.";
    SCRAPER_LAST_SUCCESS = "watchpost.scraper_last_success_timestamp_seconds", "", Gauge, ["receiver", "scraper"], "When a part of the host was read the last time, in seconds since 1970.";
    SCRAPER_SERIES = "watchpost.scraper_series", "{series}", Gauge, ["receiver", "scraper"], "Series that the last reading of a part of the host brought.";
    BUILD_INFO = "watchpost.build_info", "", Gauge, ["version"], "The version that runs; always 1.";
}

/// The names of metrics that are published only when a receiver asks for them.
#[must_use]
pub fn off_by_default() -> std::collections::BTreeSet<String> {
    [&PROBE_LATENCY].into_iter().map(|metric| metric.name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_described() {
        let mut names: Vec<&str> = ALL.iter().map(|m| m.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            assert!(metric.description.ends_with('.') && metric.unit != "1", "{}", metric.name);
        }
    }
}
