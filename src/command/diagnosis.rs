//! `watchpost check --host`: what can be read of this machine, by the rights that we have, and what
//! would allow the rest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::base::clock;
use crate::base::text::tame;
use crate::command::style::{Style, column};
use crate::config::plan::Plan;
use crate::host::collector::{Collector, Lane};
use crate::host::hints::hint;
use crate::host::kernel::{Kernel, Real};
use crate::host::settings::Settings;
use crate::host::source::Trouble;
use crate::signal::batch::Value;

/// Reads once what a configuration wants of the host, or what is read by default. `false`: something
/// could not be read.
pub(super) fn run(plan: Option<&Plan>, style: Style, out: &mut String) -> bool {
    let configured = plan.map(|plan| plan.hosts.as_slice()).unwrap_or_default();
    if configured.is_empty() {
        let _ = writeln!(out, "The host, as it is read by default:");
        return one(&Settings::default(), style, out);
    }
    let mut good = true;
    for host in configured {
        let _ = writeln!(out, "The host, as {} reads it:", host.name);
        good &= one(&host.settings, style, out);
    }
    good
}

fn one(settings: &Settings, style: Style, out: &mut String) -> bool {
    let kernel: Arc<dyn Kernel> = Arc::new(Real);
    let mut good = true;
    for lane in Lane::ALL {
        let Some(mut collector) = Collector::new(settings, lane, &kernel) else { continue };
        let samples = collector.collect(clock::now());
        let live = samples.iter().filter(|sample| sample.value != Value::Stale);
        let mut series: BTreeMap<&str, usize> = BTreeMap::new();
        for sample in live {
            *series.entry(reader_of(sample.series.metric.name)).or_default() += 1;
        }
        for (reader, troubles) in collector.troubles() {
            let found = series.get(reader).copied().unwrap_or(0);
            let state = match (troubles.now.is_empty(), found) {
                (false, _) => style.bad("trouble"),
                (true, 0) => style.faint("nothing"),
                (true, _) => style.good("good   "),
            };
            let plural = if found == 1 { "" } else { "s" };
            let _ = writeln!(out, "  {}{state}  {found} value{plural}", column(reader, 12));
            for trouble in &troubles.now {
                good = false;
                let _ = writeln!(out, "      {}", told(trouble));
            }
            for trouble in &troubles.absent {
                let _ = writeln!(out, "      {}", style.faint(&told(trouble)));
            }
        }
    }
    good
}

/// The reader that brings a metric.
fn reader_of(metric: &str) -> &'static str {
    let mut table = crate::signal::names::host::TABLE.iter();
    table.find(|entry| entry.metric.name == metric).map_or("", |entry| entry.reader)
}

fn told(trouble: &Trouble) -> String {
    let line = match hint(trouble) {
        Some(hint) => format!("{trouble}: {hint}"),
        None => trouble.to_string(),
    };
    tame(&line)
}
