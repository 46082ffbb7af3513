//! `watchpost probe`: one attempt, told as a person reads it.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value as Json, json};
use watchpost_targets::{Labels, Origin, Target, label::MODULE_HINT, without_userinfo};

use crate::base::clock::Timestamp;
use crate::base::duration;
use crate::base::text::tame;
use crate::cli::{Global, Probe};
use crate::command::style::{Style, latency};
use crate::command::{USAGE, plan_or_default, print, style};
use crate::config::plan::Receiver;
use crate::config::targets::plan_target;
use crate::config::{self, Environment};
use crate::net::resolve::Resolver;
use crate::probe::icmp::Engine;
use crate::probe::{PlannedTarget, Tools, attempt};
use crate::signal::names::off_by_default;
use crate::signal::outcome::{Outcome, SlotResult, Tls, Verdict};

/// The interval that a single attempt pretends to: it bounds the timeout.
const INTERVAL: Duration = Duration::from_secs(60);
/// Characters of the longest bar.
const BAR: usize = 32;

/// Makes the attempt, prints, and returns the exit code.
pub(super) fn run(
    options: &Probe,
    global: &Global,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let Some(plan) = plan_or_default(global, environment) else { return Ok(USAGE) };
    let planned = match plan_one(options, &plan.modules) {
        Ok(planned) => planned,
        Err(why) => {
            #[allow(clippy::print_stderr, reason = "a wrong use is told on stderr")]
            {
                eprintln!("watchpost: {why}");
            }
            return Ok(USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let tools =
            Tools { resolver: Resolver::new(plan.resolver.clone()), icmp: Engine::default() };
        attempt(&planned.module, &planned.address, planned.timeout, &tools).await
    });
    match result {
        SlotResult::Outcome(outcome) => {
            if options.json {
                print(&format!("{}\n", as_json(&planned, &outcome)))?;
            } else {
                let style = style(global.color, std::io::stdout().is_terminal(), environment);
                print(&as_text(&planned, &outcome, style))?;
            }
            Ok(if outcome.verdict.is_up() { 0 } else { 1 })
        }
        SlotResult::Skipped(skip, why) => anyhow::bail!("no attempt could be made ({skip}): {why}"),
        SlotResult::Cancelled => anyhow::bail!("the attempt was cancelled"),
    }
}

fn plan_one(options: &Probe, modules: &config::plan::Modules) -> Result<PlannedTarget, String> {
    let receiver = Receiver {
        name: "probe".to_owned(),
        job: "probe".to_owned(),
        interval: INTERVAL,
        timeout: None,
        module: None,
        labels: Labels::new(),
        disabled: off_by_default(),
        inline: Vec::new(),
        files: Vec::new(),
    };
    let hints =
        options.module.iter().map(|module| (MODULE_HINT.to_owned(), module.clone())).collect();
    let target = Target {
        address: options.address.clone(),
        labels: Labels::new(),
        hints,
        origin: Origin { file: "command line".into(), line: 0 },
    };
    if let Some(name) = options.module.as_ref().filter(|name| !modules.contains_key(*name)) {
        let known: Vec<&str> = modules.keys().map(String::as_str).collect();
        return Err(format!("there is no module {name:?} (known: {})", known.join(", ")));
    }
    plan_target(&receiver, modules, &target, None)
}

fn as_text(planned: &PlannedTarget, outcome: &Outcome, style: Style) -> String {
    let mut out = String::new();
    let address = tame(&without_userinfo(&planned.key.address));
    let word = match outcome.verdict {
        Verdict::Up => style.good("up"),
        Verdict::Down { .. } => style.bad("down"),
    };
    let _ = writeln!(
        out,
        "{} is {word} ({}, module {})",
        style.strong(&address),
        latency(outcome.duration),
        planned.module.name
    );
    if let Verdict::Down { reason, phase } = outcome.verdict {
        let _ = writeln!(
            out,
            "  {}: {}, while {}",
            style.bad(reason.word()),
            reason.plain(),
            phase.plain()
        );
        if !outcome.detail.is_empty() {
            let _ = writeln!(out, "  {}", style.faint(&tame(&outcome.detail)));
        }
    }
    out.push('\n');
    timeline(outcome, style, &mut out);
    if let Some(ip) = outcome.address {
        let _ = writeln!(out, "  {:<12} {ip}", "address");
    }
    if let Some(http) = outcome.http.as_ref().filter(|http| http.status > 0) {
        let redirects = match http.redirects {
            0 => String::new(),
            1 => ", 1 redirect".to_owned(),
            n => format!(", {n} redirects"),
        };
        let _ = writeln!(
            out,
            "  {:<12} {} over HTTP/{}, {} bytes{redirects}",
            "answer", http.status, http.version, http.body_length
        );
    }
    if let Some(hops) = outcome.icmp.and_then(|icmp| icmp.reply_hop_limit) {
        let _ = writeln!(out, "  {:<12} {hops}", "reply TTL");
    }
    if let Some(tls) = &outcome.tls {
        certificate(tls, outcome.started, style, &mut out);
    }
    out
}

/// The phases one below the other, each where it happened.
fn timeline(outcome: &Outcome, style: Style, out: &mut String) {
    let mut phases: Vec<(_, Duration, bool)> =
        outcome.phases.iter().map(|(phase, took)| (phase, took, true)).collect();
    if let Verdict::Down { phase, .. } = outcome.verdict
        && outcome.phases.get(phase).is_none()
    {
        let spent: Duration = outcome.phases.iter().map(|(_, took)| took).sum();
        phases.push((phase, outcome.duration.saturating_sub(spent), false));
    }
    let total: f64 = phases.iter().map(|(_, took, _)| took.as_secs_f64()).sum::<f64>().max(1e-9);
    let mut before = 0.0;
    for (phase, took, completed) in phases {
        let share = took.as_secs_f64() / total;
        let begin = (before * BAR as f64).round() as usize;
        let end =
            (((before + share) * BAR as f64).round() as usize).clamp(begin.min(BAR - 1) + 1, BAR);
        let begin = begin.min(end - 1);
        before += share;
        let bar = "━".repeat(end - begin);
        let bar = if completed { style.good(&bar) } else { style.bad(&bar) };
        let mark = if completed { "" } else { " ✗" };
        let pad = (" ".repeat(begin), " ".repeat(BAR - end));
        let _ = writeln!(
            out,
            "  {:<12} {}{bar}{} {:>9}{mark}",
            phase.word(),
            pad.0,
            pad.1,
            latency(took)
        );
    }
}

fn certificate(tls: &Tls, now: Timestamp, style: Style, out: &mut String) {
    let _ = writeln!(out, "  {:<12} {}, {}", "TLS", tls.version, tls.cipher);
    if tls.fingerprint_sha256.is_empty() {
        return;
    }
    let days = (tls.not_after as f64 - now.seconds()) / 86_400.0;
    let until = jiff::Timestamp::from_second(tls.not_after)
        .map_or_else(|_| tls.not_after.to_string(), |t| t.strftime("%Y-%m-%d").to_string());
    let left = match days {
        d if d < 0.0 => style.bad(&format!("expired {:.0} days ago", -d)),
        d if d < 14.0 => style.doubtful(&format!("{d:.0} days left")),
        d => format!("{d:.0} days left"),
    };
    let _ = writeln!(out, "  {:<12} {}", "certificate", tame(&tls.subject));
    let _ = writeln!(out, "  {:<12} {}", "issued by", tame(&tls.issuer));
    if !tls.subject_alternative.is_empty() {
        let _ = writeln!(out, "  {:<12} {}", "names", tame(&tls.subject_alternative));
    }
    let _ = writeln!(out, "  {:<12} {until} ({left})", "valid until");
}

fn as_json(planned: &PlannedTarget, outcome: &Outcome) -> Json {
    let (reason, phase) = match outcome.verdict {
        Verdict::Up => (Json::Null, Json::Null),
        Verdict::Down { reason, phase } => (reason.word().into(), phase.word().into()),
    };
    let phases: serde_json::Map<String, Json> = outcome
        .phases
        .iter()
        .map(|(phase, took)| (phase.word().to_owned(), took.as_secs_f64().into()))
        .collect();
    let started = jiff::Timestamp::from_nanosecond(i128::from(outcome.started.0))
        .map(|t| t.to_string())
        .unwrap_or_default();
    let mut object = json!({
        "target": without_userinfo(&planned.key.address),
        "module": planned.module.name,
        "up": outcome.verdict.is_up(),
        "reason": reason,
        "phase": phase,
        "detail": outcome.detail,
        "address": outcome.address.map(|ip| ip.to_string()),
        "ip_protocol": outcome.address.map(|ip| if matches!(ip, IpAddr::V4(_)) { 4 } else { 6 }),
        "started": started,
        "duration": outcome.duration.as_secs_f64(),
        "timeout": duration::format(planned.timeout),
        "phases": phases,
    });
    if let Some(http) = &outcome.http {
        object["http"] = json!({
            "status": http.status, "version": http.version, "redirects": http.redirects, "ssl": http.ssl,
            "content_length": http.content_length, "body_length": http.body_length,
        });
    }
    if let Some(tls) = &outcome.tls {
        object["tls"] = json!({
            "version": tls.version, "cipher": tls.cipher, "subject": tls.subject, "issuer": tls.issuer,
            "dns_names": tls.subject_alternative, "serial_number": tls.serial_number,
            "fingerprint_sha256": tls.fingerprint_sha256, "not_before": tls.not_before, "not_after": tls.not_after,
            "earliest_expiry": tls.earliest_expiry, "chain_expiry": tls.chain_expiry,
        });
    }
    if let Some(icmp) = &outcome.icmp {
        object["icmp"] = json!({ "reply_hop_limit": icmp.reply_hop_limit });
    }
    object
}
