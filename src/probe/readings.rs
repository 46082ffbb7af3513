//! What an outcome says in numbers: the metrics of one scheduled slot. Pure.

use std::time::Duration;

use crate::base::hash::fnv1a_32;
use crate::probe::module::Prober;
use crate::signal::names::*;
use crate::signal::outcome::{Outcome, Phase, Tls};
use crate::signal::series::Metric;

/// One value and the attributes that it has besides its target's.
pub struct Reading {
    /// The metric.
    pub metric: &'static Metric,
    /// What it has besides.
    pub own: Own,
    /// The value.
    pub value: f64,
}

/// The attributes of a reading.
pub enum Own {
    /// None.
    None,
    /// A phase.
    Phase(Phase),
    /// Names and values.
    Pairs(Vec<(&'static str, String)>),
}

/// All readings of an outcome. A value that there was no answer for is absent or zero, as the table
/// of metrics says.
pub fn readings(prober: &Prober, outcome: &Outcome, timeout: Duration) -> Vec<Reading> {
    let mut list = Vec::with_capacity(26);
    let mut add =
        |metric: &'static Metric, value: f64| list.push(Reading { metric, own: Own::None, value });
    add(&PROBE_SUCCESS, flag(outcome.verdict.is_up()));
    add(&PROBE_DURATION, outcome.duration.as_secs_f64());
    add(&PROBE_TIMEOUT, timeout.as_secs_f64());
    if let Some(lookup) = outcome.lookup {
        add(&PROBE_DNS_LOOKUP_TIME, lookup.as_secs_f64());
    }
    let (protocol, hash) = match outcome.address {
        Some(std::net::IpAddr::V4(ip)) => (4.0, fnv1a_32(&ip.octets())),
        Some(std::net::IpAddr::V6(ip)) => (6.0, fnv1a_32(&ip.octets())),
        None => (0.0, 0),
    };
    add(&PROBE_IP_PROTOCOL, protocol);
    add(&PROBE_IP_ADDR_HASH, f64::from(hash));
    if let Some(regex) = outcome.failed_due_to_regex {
        add(&PROBE_FAILED_DUE_TO_REGEX, flag(regex));
    }
    if let Some(http) = &outcome.http {
        add(&PROBE_HTTP_STATUS_CODE, f64::from(http.status));
        add(&PROBE_HTTP_VERSION, http.version);
        add(&PROBE_HTTP_REDIRECTS, f64::from(http.redirects));
        add(&PROBE_HTTP_SSL, flag(http.ssl));
        add(&PROBE_HTTP_CONTENT_LENGTH, http.content_length as f64);
        add(&PROBE_HTTP_UNCOMPRESSED_BODY_LENGTH, http.body_length as f64);
        if let Some(seconds) = http.last_modified {
            add(&PROBE_HTTP_LAST_MODIFIED, seconds as f64);
        }
    }
    if let Some(hops) = outcome.icmp.and_then(|icmp| icmp.reply_hop_limit) {
        add(&PROBE_ICMP_REPLY_HOP_LIMIT, f64::from(hops));
    }
    let by_phase = match prober {
        Prober::Http(_) => &PROBE_HTTP_DURATION,
        Prober::Tcp(_) => &PROBE_TCP_DURATION,
        Prober::Icmp(_) => &PROBE_ICMP_DURATION,
    };
    for (phase, took) in outcome.phases.iter() {
        list.push(Reading { metric: by_phase, own: Own::Phase(phase), value: took.as_secs_f64() });
    }
    if let Some(tls) = &outcome.tls {
        tls_readings(tls, matches!(prober, Prober::Http(_)), &mut list);
    }
    list
}

fn tls_readings(tls: &Tls, http: bool, list: &mut Vec<Reading>) {
    let mut add = |metric, own, value| list.push(Reading { metric, own, value });
    if tls.earliest_expiry != 0 {
        add(&PROBE_SSL_EARLIEST_CERT_EXPIRY, Own::None, tls.earliest_expiry as f64);
    }
    if let Some(seconds) = tls.chain_expiry {
        add(&PROBE_SSL_LAST_CHAIN_EXPIRY, Own::None, seconds as f64);
    }
    if !tls.fingerprint_sha256.is_empty() {
        let pairs = vec![
            ("fingerprint_sha256", tls.fingerprint_sha256.clone()),
            ("subject", tls.subject.clone()),
            ("issuer", tls.issuer.clone()),
            ("subjectalternative", tls.subject_alternative.clone()),
            ("serialnumber", tls.serial_number.clone()),
        ];
        add(&PROBE_SSL_LAST_CHAIN_INFO, Own::Pairs(pairs), 1.0);
    }
    add(&PROBE_TLS_VERSION_INFO, Own::Pairs(vec![("version", tls.version.clone())]), 1.0);
    if http {
        add(&PROBE_TLS_CIPHER_INFO, Own::Pairs(vec![("cipher", tls.cipher.clone())]), 1.0);
    }
}

fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}
