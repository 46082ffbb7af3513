//! `watchpost check`: every problem of a configuration, and what would be probed.

use std::fmt::Write as _;

use http::Uri;
use watchpost_targets::label::HUMAN_NAME;

use crate::base::duration;
use crate::base::text::tame;
use crate::cli::{Check, Global};
use crate::command::{USAGE, count, diagnosis, print, rights, sources, style, wrong_use};
use crate::config::plan::{ExporterSettings, Plan};
use crate::config::targets::TargetReader;
use crate::config::{self, Environment, Strictness};
use crate::signal::names::host::{HostMetric, TABLE};

/// Checks, prints, and returns the exit code.
pub(super) fn run(
    options: &Check,
    global: &Global,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let style = style(global.color, terminal, environment);
    let mut out = String::new();
    let Some(sources) = sources(global) else {
        if options.host {
            let mut good = diagnosis::run(None, style, &mut out);
            good &= rights::run(None, &[], style, &mut out);
            print(&out)?;
            return Ok(u8::from(!good));
        }
        return wrong_use("watchpost: check needs --config FILE");
    };
    let loaded = config::load(&sources, environment, Strictness::Check);
    let problems = [loaded.problems, loaded.advice].concat();
    for problem in &problems {
        let _ = writeln!(out, "{problem}");
    }
    let Some(plan) = loaded.plan else {
        let _ = writeln!(out, "{}", count(&problems));
        print(&out)?;
        return Ok(USAGE);
    };
    let targets = TargetReader::default().read(&plan.receivers, &plan);
    let mut warnings = 0;
    for problem in &targets.problems {
        // A missing file was told above, with the line that names it.
        if !problem.contains("no such file") {
            let _ = writeln!(out, "{}", as_warning(problem));
            warnings += 1;
        }
    }
    for warning in config::advice(&targets.receivers) {
        let _ = writeln!(out, "{}", as_warning(&tame(&warning)));
        warnings += 1;
    }
    if options.print {
        describe(&plan, &sources.title(), &targets.receivers, &mut out);
    }
    let total: usize = targets.receivers.iter().map(|receiver| receiver.targets.len()).sum();
    let plural = if warnings == 1 { "" } else { "s" };
    let more = if warnings > 0 {
        format!(", {warnings} warning{plural} in target files")
    } else {
        String::new()
    };
    let _ = writeln!(out, "{}: {}{more}; {total} targets", sources.title(), count(&problems));
    let mut good = true;
    if options.host {
        good &= diagnosis::run(Some(&plan), style, &mut out);
        good &= rights::run(Some(&plan), &targets.receivers, style, &mut out);
    }
    print(&out)?;
    Ok(u8::from(!good))
}

/// An endpoint without its query, which may hold a key.
fn shown(endpoint: &Uri) -> String {
    let text = endpoint.to_string();
    match text.split_once('?') {
        Some((rest, _)) => format!("{rest}?…"),
        None => text,
    }
}

/// `FILE:LINE: message` with the severity where the others have it.
fn as_warning(problem: &str) -> String {
    match problem.split_once(": ") {
        Some((place, message)) => format!("{place}: warning: {message}"),
        None => format!("warning: {problem}"),
    }
}

fn describe(plan: &Plan, title: &str, receivers: &[crate::probe::ReceiverPlan], out: &mut String) {
    let _ = writeln!(out, "# {title}");
    for receiver in receivers {
        let _ = writeln!(
            out,
            "\n{} (job {}): {} targets",
            receiver.name,
            receiver.job,
            receiver.targets.len()
        );
        // Addresses in their natural order.
        let mut targets: Vec<_> = receiver.targets.values().collect();
        targets.sort_by_cached_key(|target| crate::probe::address::sort_key(&target.address));
        for target in targets {
            let labels: Vec<String> = target
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={:?}", tame(value)))
                .collect();
            let _ = writeln!(
                out,
                "  {}  module {}  every {}  timeout {}  {{{}}}{}  from {}",
                tame(&watchpost_targets::without_userinfo(&target.key.address)),
                target.module.name,
                duration::format(target.interval),
                duration::format(target.timeout),
                labels.join(", "),
                match &target.name {
                    Some(name) if !target.labels.contains_key(HUMAN_NAME) => {
                        format!("  named {:?}", tame(name))
                    }
                    _ => String::new(),
                },
                target.origin,
            );
        }
    }
    for host in &plan.hosts {
        let settings = &host.settings;
        let wanted = |entry: &&HostMetric| settings.wanted.has(entry.metric);
        let metrics: Vec<&str> =
            TABLE.iter().filter(wanted).map(|entry| entry.metric.name).collect();
        let every = duration::format(settings.interval);
        let _ = writeln!(out, "\n{}: this machine, every {every}", host.name);
        let _ = writeln!(out, "  {}", metrics.join(", "));
    }
    for pipeline in &plan.pipelines {
        let list = |names: &[String]| names.join(", ");
        let _ = write!(out, "\n{}: {}", pipeline.name, list(&pipeline.receivers));
        if !pipeline.processors.is_empty() {
            let _ = write!(out, " → {}", pipeline.processors.join(" → "));
        }
        let _ = writeln!(out, " → {}", list(&pipeline.exporters));
    }
    for (name, exporter) in &plan.exporters {
        let to = match &exporter.settings {
            ExporterSettings::RemoteWrite(settings) => shown(&settings.endpoint),
            ExporterSettings::OtlpGrpc(settings) => shown(&settings.endpoint),
            ExporterSettings::OtlpHttp(settings) => shown(&settings.endpoint),
            ExporterSettings::Prometheus(settings) => match settings.endpoint {
                Some(address) => format!("{address}/metrics"),
                None => format!("{}/metrics/{name}", plan.http.listen),
            },
            ExporterSettings::Debug(_) => "the log".to_owned(),
        };
        let _ = writeln!(out, "{name} to {to}");
    }
    out.push('\n');
}
