//! *Target*: one target, all that is known of it.

use serde_json::{Value, json};

use crate::dashboard::{Dashboard, Variable};
use crate::panel::{AVAILABILITY, BAD, CERTIFICATE, GOOD, PLAIN, Panel, SOME};
use crate::query::{Query, availability, state};
use crate::status::{STATES, vantages};

/// Selects the target.
const ONE: &str = "job=\"$job\",instance=\"$instance\",vantage=~\"$vantage\"";

/// A series of the target, or a function of one: `ONE` put in for `{}`.
fn one(expr: &str) -> String {
    expr.replace("{}", &format!("{{{ONE}}}"))
}

/// The mean over each step, or the last value where a step is shorter than the target's interval; of all series
/// that the target has, under whatever names.
fn mean(by: &str, metric: &str) -> String {
    one(&format!("avg by ({by}) (avg_over_time({metric}{{}}[$__interval]) or {metric}{{}})"))
}

pub(crate) fn dashboard() -> Value {
    Dashboard::new(
        "watchpost-target",
        "Watchpost / Target",
        "One target: whether it is up, how fast, why not, and what its certificate says.",
        "24h",
    )
    .variable(&Variable::label("job", "Job", "<probe.success>", "job"))
    .variable(&Variable::label("instance", "Address", "<probe.success>{job=\"$job\"}", "instance"))
    .variable(&vantages("<probe.success>{job=\"$job\",instance=\"$instance\"}"))
    .row("$instance", now())
    .row("When and why not", when())
    .row("How fast", latency())
    .row("HTTP, TLS, and the way there", details())
    .json()
}

fn now() -> Vec<Panel> {
    let up = |span: &str, title: &str| {
        Panel::stat(title, "The share of attempts that found it up.")
            .query(&Query::instant(&availability(ONE, "", span), ""))
            .unit("percentunit")
            .decimals(3)
            .steps(BAD, &AVAILABILITY)
            .size_of(3, 4)
    };
    vec![
        Panel::stat("State", "What the last attempt found.")
            .query(&Query::instant(&one("min(<probe.success>{})"), ""))
            .values(&[("0", "Down", BAD), ("1", "Up", GOOD)])
            .option("colorMode", json!("background"))
            .or_else("Not watched")
            .size_of(3, 4),
        up("1d", "1 day"),
        up("7d", "7 days"),
        up("30d", "30 days"),
        Panel::stat("Outages in view", "How often it went down.")
            .query(&Query::instant(&one("max(resets(<probe.success>{}[$__range]))"), ""))
            .steps(GOOD, &[(1.0, SOME)])
            .size_of(3, 4),
        Panel::stat("Median", "Half of the attempts in view took this long at most.")
            .query(&Query::instant(
                &one("max(quantile_over_time(0.5, <probe.duration>{}[$__range]))"),
                "",
            ))
            .unit("s")
            .steps(PLAIN, &[])
            .size_of(3, 4),
        Panel::stat("Status code", "Of the last response.")
            .query(&Query::instant(&one("max(<probe.http.status_code>{})"), ""))
            .or_else("no HTTP")
            .steps(BAD, &[(200.0, GOOD), (400.0, SOME), (500.0, BAD)])
            .size_of(3, 4),
        Panel::stat("Certificate", "How long until the first certificate that it presents ends.")
            .query(&Query::instant(&one("min(<probe.ssl.earliest_cert_expiry>{}) - time()"), ""))
            .unit("s")
            .or_else("no TLS")
            .steps(BAD, &CERTIFICATE)
            .size_of(3, 4),
    ]
}

fn when() -> Vec<Panel> {
    vec![
        Panel::timeline("State", "Orange: up and down within one step. Empty: not watched.")
            .query(&Query::range(
                &format!("min by (vantage) ({})", state(ONE)),
                "State {{vantage}}",
            ))
            .values(&STATES)
            .size_of(24, 4),
        Panel::lines(
            "Failures by reason",
            "Attempts a minute that found it down, with the phase in which it happened.",
        )
        .query(&Query::range(
            &one("60 * sum by (reason, phase) (rate(<probe.failures>{}[$__rate_interval])) > 0"),
            "{{reason}} ({{phase}})",
        ))
        .custom("drawStyle", json!("bars"))
        .stacked()
        .or_else("none"),
        Panel::table("Failures in view", "By reason and phase.", Some(("Failures", true)))
            .query(&Query::rows(&one(
                "round(sum by (reason, phase) (increase(<probe.failures>{}[$__range]))) > 0",
            )))
            .columns(&[("reason", "Reason"), ("phase", "Phase")], &["Failures"])
            .field("Failures", json!({"decimals": 0}))
            .or_else("none")
            .size_of(12, 8),
    ]
}

fn latency() -> Vec<Panel> {
    let phases = |metric: &str| Query::range(&mean("phase", metric), "{{phase}}");
    vec![
        Panel::lines("Phases", "Where the time goes: the mean of each step, one above the other.")
            .query(&phases("<probe.http.duration>"))
            .query(&phases("<probe.tcp.duration>"))
            .query(&phases("<probe.icmp.duration>"))
            .unit("s")
            .stacked(),
        Panel::lines(
            "Duration of attempts",
            "The median and the longest of each step, failed ones too, and how long they may take.",
        )
        .query(&Query::range(
            &one("max by (vantage) (quantile_over_time(0.5, <probe.duration>{}[$__interval]) or <probe.duration>{})"),
            "median {{vantage}}",
        ))
        .query(&Query::range(
            &one("max by (vantage) (max_over_time(<probe.duration>{}[$__interval]) or <probe.duration>{})"),
            "longest {{vantage}}",
        ))
        .query(&Query::range(&one("max(<probe.timeout>{})"), "timeout"))
        .unit("s")
        .custom("scaleDistribution", json!({"log": 10, "type": "log"})),
        Panel::lines("Name lookup", "How long it took to find the address.")
            .query(&Query::range(&mean("vantage", "<probe.dns.lookup.time>"), "lookup {{vantage}}"))
            .unit("s"),
        Panel::lines("Attempts", "Attempts a minute: those that were due, and others.").query(
            &Query::range(
                &one("60 * sum by (kind) (rate(<probe.attempts>{}[$__rate_interval]))"),
                "{{kind}}",
            ),
        ),
    ]
}

fn details() -> Vec<Panel> {
    vec![
        Panel::timeline("Status code", "")
            .query(&Query::range(&one("max by (vantage) (<probe.http.status_code>{})"), "status {{vantage}}"))
            .option("showValue", json!("auto"))
            .steps(BAD, &[(200.0, GOOD), (300.0, "blue"), (400.0, SOME), (500.0, BAD)])
            .size_of(12, 4),
        Panel::timeline("Address", "IP 4 or 6, and a number that changes when the address does.")
            .query(&Query::range(&one("max by (vantage) (<probe.ip_protocol>{})"), "IP {{vantage}}"))
            .query(&Query::range(&one("max by (vantage) (<probe.ip_addr_hash>{})"), "address {{vantage}}"))
            .option("showValue", json!("auto"))
            .steps("blue", &[])
            .size_of(12, 4),
        Panel::lines("Certificate", "How long it is still valid: that of the first to end, and of the chain.")
            .query(&Query::range(&one("min(<probe.ssl.earliest_cert_expiry>{}) - time()"), "first to end"))
            .query(&Query::range(
                &one("min(<probe.ssl.last_chain_expiry_timestamp_seconds>{}) - time()"),
                "chain",
            ))
            .unit("s")
            .or_else("no TLS"),
        Panel::lines("Response", "Bytes of the body as read, and as announced; redirects that were followed.")
            .query(&Query::range(&one("max(<probe.http.uncompressed_body_length>{})"), "read"))
            .query(&Query::range(&one("max(<probe.http.content_length>{}) >= 0"), "announced"))
            .unit("bytes"),
        Panel::table("Certificate", "As it was presented the last time.", Some(("Subject", false)))
            .query(&Query::rows(&one(
                "max by (subject, issuer, subjectalternative, serialnumber, fingerprint_sha256) (<probe.ssl.last_chain_info>{})",
            )))
            .columns(
                &[
                    ("subject", "Subject"),
                    ("issuer", "Issuer"),
                    ("subjectalternative", "Names"),
                    ("serialnumber", "Serial number"),
                    ("fingerprint_sha256", "SHA-256"),
                ],
                &[""],
            )
            .or_else("no TLS")
            .size_of(24, 4),
        word("TLS", "version", "<probe.tls.version_info>{}"),
        word("Cipher", "cipher", "<probe.tls.cipher_info>{}"),
        Panel::stat("HTTP", "The version of the last response.")
            .query(&Query::instant(&one("max(<probe.http.version>{})"), ""))
            .decimals(1)
            .or_else("no HTTP")
            .steps(PLAIN, &[]),
        Panel::stat("Redirects", "That the last attempt saw.")
            .query(&Query::instant(&one("max(<probe.http.redirects>{})"), ""))
            .or_else("no HTTP")
            .steps(PLAIN, &[]),
        Panel::stat("Hop limit", "Of the last echo reply: it changes when the way there does.")
            .query(&Query::instant(&one("max(<probe.icmp.reply_hop_limit>{})"), ""))
            .or_else("no ICMP")
            .steps(PLAIN, &[]),
        word("Module", "module", "<probe.target_info>{}"),
    ]
}

/// The word for what is so: a label of what a query finds.
fn word(title: &str, label: &str, series: &str) -> Panel {
    let expr = format!(
        "max by ({label}) ({series}) or on () label_replace(vector(0), \"{label}\", \"none\", \"\", \"\")"
    );
    Panel::stat(title, "")
        .query(&Query::instant(&one(&expr), &format!("{{{{{label}}}}}")))
        .option("textMode", json!("name"))
        .steps(PLAIN, &[])
}
