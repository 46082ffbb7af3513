//! `watchpost discover`: runs discovery jobs once, for cron and for people.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::app::facts;
use crate::app::lookup::Known;
use crate::base::clock;
use crate::base::text::tame;
use crate::cli::{Discover, Global};
use crate::command::style::Style;
use crate::command::{USAGE, print, sources, style, told, wrong_use};
use crate::config::targets::check_found;
use crate::config::{self, Environment, Strictness};
use crate::discover::{self, Around, Job, Outcome};
use crate::net::resolve::Resolver;
use crate::pipeline::selfmetrics::Meter;
use crate::signal::series::Resource;
use crate::wire::exposition::{self, Format};
use crate::wire::naming::Naming;

/// The exit code of `--detailed-exitcode` when a file changed.
const CHANGED: u8 = 2;
/// Things that are told of one kind at most.
const MAX_TOLD: usize = 200;

/// Runs jobs; returns the exit code.
pub(super) fn run(
    options: &Discover,
    global: &Global,
    environment: &Environment,
) -> anyhow::Result<u8> {
    let Some(sources) = sources(global) else {
        return wrong_use("watchpost: discover needs --config FILE, with a `discovery:` section");
    };
    let Some(plan) = told(config::load(&sources, environment, Strictness::Check)) else {
        return Ok(USAGE);
    };
    let known: Vec<&str> = plan.discovery.iter().map(|job| job.name.as_str()).collect();
    if let Some(wrong) = options.jobs.iter().find(|name| !known.contains(&name.as_str())) {
        let list = known.join(", ");
        return wrong_use(&format!("watchpost: no job {wrong:?} (known: {list})"));
    }
    if plan.discovery.is_empty() {
        return wrong_use("watchpost: the configuration has no `discovery:` section");
    }
    let wanted = |job: &&Job| options.jobs.is_empty() || options.jobs.contains(&job.name);
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdout());
    let style = style(global.color, terminal, environment);
    let (mut changed, mut failed) = (false, false);
    let started = clock::wall();
    let meter = Meter::new(Resource::new("watchpost", &facts::host_name(), []), started);
    let known_names = Known::default();
    for job in plan.discovery.iter().filter(wanted) {
        let job = job.on(&facts::host_name());
        let around = Around {
            environment,
            check: &check_found,
            reverse: Some(known_names.reverse(Resolver::new(plan.resolver.clone()))),
            force: options.force,
            stop: CancellationToken::new(),
        };
        let outcome = discover::look(&job, &around);
        let would = outcome.changes();
        let mut text = String::new();
        if !options.json {
            describe(&job, &outcome, options, style, &mut text);
        }
        let described = options.json.then(|| as_json(&job, &outcome));
        let Outcome { report, old, new, .. } = outcome;
        let result = match (options.dry_run, new.as_ref().err().map(ToString::to_string)) {
            (_, Some(why)) => Err(why),
            (true, None) => Ok(would),
            (false, None) => {
                discover::write(&job, old.as_deref(), new).map_err(|error| error.to_string())
            }
        };
        discover::record(&meter, &job.name, report.as_ref(), result.is_ok(), clock::wall());
        match &result {
            Ok(is) => changed |= *is,
            Err(why) => {
                failed = true;
                let _ = writeln!(text, "{} {}", style.bad("failed:"), tame(why));
            }
        }
        match described {
            Some(mut value) => {
                value["changed"] = json!(result.as_ref().is_ok_and(|changed| *changed));
                value["error"] = json!(result.as_ref().err());
                print(&format!("{value}\n"))?;
            }
            None => print(&text)?,
        }
    }
    if let Some(path) = &options.textfile {
        let text = textfile(&meter);
        watchpost_discovery::output::write(path, &text).map_err(anyhow::Error::msg)?;
    }
    Ok(match (failed, changed && options.detailed_exitcode) {
        (true, _) => 1,
        (_, true) => CHANGED,
        _ => 0,
    })
}

fn describe(job: &Job, outcome: &Outcome, options: &Discover, style: Style, out: &mut String) {
    let Some(report) = &outcome.report else {
        let _ = writeln!(out, "{}", style.strong(&format!("{}:", job.name)));
        return;
    };
    let name = style.strong(&format!("{}:", job.name));
    let targets = report.targets.len();
    let _ = match &outcome.sweep {
        Some(sweep) => writeln!(
            out,
            "{name} {} of {} addresses are there, in {:.1} s: {targets} targets",
            sweep.up,
            sweep.asked,
            sweep.took.as_secs_f64(),
        ),
        None => writeln!(
            out,
            "{name} {} files, {} services ({} with a target), {} routers of traefik's files: {targets} targets",
            report.files, report.services, report.services_found, report.routers,
        ),
    };
    for note in &outcome.notes {
        let _ = writeln!(out, "  {} {}", style.doubtful("note"), tame(note));
    }
    let (problems, skipped) = (&report.problems, &report.skipped);
    for problem in problems.iter().take(MAX_TOLD) {
        let line = if problem.line > 0 { format!(":{}", problem.line) } else { String::new() };
        let text = format!("{}{line}: {}", problem.file.display(), problem.message);
        let _ = writeln!(out, "  {} {}", style.bad("not read"), tame(&text));
    }
    more(problems.len(), out);
    for skipped in skipped.iter().take(MAX_TOLD) {
        let text =
            format!("{} ({}:{}): {}", skipped.service, skipped.file, skipped.line, skipped.reason);
        let _ = writeln!(out, "  {} {}", style.faint("no target"), tame(&text));
    }
    more(skipped.len() + report.skipped_more, out);
    let Ok(rendered) = &outcome.new else { return };
    for (address, why) in &rendered.inexpressible {
        let text = format!("{address}: {why}");
        let _ = writeln!(out, "  {} {}", style.doubtful("not written"), tame(&text));
    }
    let file = job.output.file.display();
    if rendered.kept > 0 {
        let _ = writeln!(out, "  {} are in {file} already, by hand", rendered.kept);
    }
    if !outcome.changes() {
        let _ = writeln!(out, "  {file}: nothing changes");
        return;
    }
    let verb = if options.dry_run { "would change" } else { "changes" };
    let _ = writeln!(out, "  {file} {verb}:");
    let old = outcome.old.as_deref().unwrap_or_default();
    if options.diff || options.dry_run {
        for (sign, line) in diff(old, &rendered.text) {
            let text = format!("{sign}{}", tame(&masked(line)));
            let painted = if sign == '+' { style.good(&text) } else { style.bad(&text) };
            let _ = writeln!(out, "  {painted}");
        }
    } else {
        let lines = diff(old, &rendered.text);
        let added = lines.iter().filter(|(sign, _)| *sign == '+').count();
        let _ = writeln!(out, "  {added} lines come, {} go", lines.len() - added);
    }
}

fn more(count: usize, out: &mut String) {
    if count > MAX_TOLD {
        let _ = writeln!(out, "  … and {} more", count - MAX_TOLD);
    }
}

/// A line without the user and the password of a URL in it.
fn masked(line: &str) -> String {
    let Some((scheme, rest)) = line.split_once("://") else { return line.to_owned() };
    let end = rest.find(['/', ';', '"', '?']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => line.to_owned(),
    }
}

/// The lines that come and go. What is written is sorted, so that a set tells all.
fn diff<'t>(old: &'t str, new: &'t str) -> Vec<(char, &'t str)> {
    let counted = |text: &'t str| {
        let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
        text.lines().for_each(|line| *lines.entry(line).or_default() += 1);
        lines
    };
    let (before, after) = (counted(old), counted(new));
    let mut lines: BTreeSet<(&str, char)> = BTreeSet::new();
    lines.extend(before.iter().filter(|(l, n)| after.get(*l) < Some(n)).map(|(l, _)| (*l, '-')));
    lines.extend(after.iter().filter(|(l, n)| before.get(*l) < Some(n)).map(|(l, _)| (*l, '+')));
    lines.into_iter().map(|(line, sign)| (sign, line)).collect()
}

fn as_json(job: &Job, outcome: &Outcome) -> serde_json::Value {
    let mut value = json!({
        "job": job.name,
        "output": job.output.file.display().to_string(),
    });
    let Some(report) = &outcome.report else { return value };
    let targets = report.targets.iter().map(|target| {
        json!({
            "address": watchpost_targets::without_userinfo(&target.address),
            "labels": target.labels,
            "hints": target.hints,
            "file": &*target.origin.file,
            "line": target.origin.line,
        })
    });
    let skipped = report.skipped.iter().map(|skipped| {
        json!({"service": skipped.service, "file": skipped.file, "line": skipped.line, "reason": skipped.reason})
    });
    let problems = report.problems.iter().map(|problem| {
        json!({"file": problem.file.display().to_string(), "line": problem.line, "message": problem.message})
    });
    match &outcome.sweep {
        Some(sweep) => {
            value["notes"] = json!(outcome.notes);
            value["asked"] = json!(sweep.asked);
            value["up"] = json!(sweep.up);
            value["seconds"] = json!(sweep.took.as_secs_f64());
        }
        None => {
            value["files"] = json!(report.files);
            value["services"] = json!(report.services);
            value["routers"] = json!(report.routers);
        }
    }
    value["targets"] = targets.collect();
    value["skipped"] = skipped.collect();
    value["problems"] = problems.collect();
    value
}

/// What runs leave behind for node_exporter's textfile collector.
fn textfile(meter: &Meter) -> String {
    let batch = meter.snapshot(clock::wall());
    let families = exposition::families(&batch, &Naming::default());
    exposition::text(&families, Format::Text)
}
