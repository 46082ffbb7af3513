//! *LAN*: who is there on a network, row by row.

use serde_json::{Value, json};

use crate::dashboard::{Dashboard, Variable};
use crate::panel::{GOOD, PLAIN, Panel, SOME, links, thresholds};
use crate::query::{CHOSEN, Query, availability, lan, state};
use crate::status::{STATES, TO_TARGET, vantages};

/// Rows of a page.
const PAGE: u32 = 64;

pub(crate) fn dashboard() -> Value {
    Dashboard::new(
        "watchpost-lan",
        "Watchpost / LAN",
        "Who is there on a network, and who was: every address that answered within what is in view.",
        "24h",
    )
    .variable(
        &Variable::result("job", "Network", &format!("count by (job) ({})", lan(None)), "/job=\"([^\"]+)\"/")
            .many(),
    )
    .variable(&vantages("<probe.success>{job=~\"$job\"}"))
    .row("Now", now())
    .row("Timeline", vec![timeline()])
    .row("Addresses", vec![addresses()])
    .json()
}

/// Each address of the chosen networks once: what a function finds, from whichever vantage.
fn of(function: &str, span: &str) -> String {
    format!("max by (job, instance) ({function}(<probe.success>{{{CHOSEN}}}[{span}]))")
}

fn now() -> Vec<Panel> {
    let count = |expr: &str| Query::instant(&format!("count({expr}) or vector(0)"), "");
    let last = format!("max by (job, instance) (<probe.success>{{{CHOSEN}}})");
    let max = |span: &str| of("max_over_time", span);
    let before = format!(
        "max by (job, instance) (max_over_time(<probe.success>{{{CHOSEN}}}[7d] offset 1d))"
    );
    vec![
        Panel::stat("There", "Addresses that answered the last time.")
            .query(&count(&format!("{last} == 1")))
            .steps(PLAIN, &[(1.0, GOOD)]),
        Panel::stat("Seen in view", "Addresses that answered at least once.")
            .query(&count(&format!("{} == 1", max("$__range"))))
            .steps(PLAIN, &[]),
        Panel::stat("Away", "Addresses that answered within a week, and did not the last time.")
            .query(&count(&format!("{last} == 0 and {} == 1", max("7d"))))
            .steps(GOOD, &[(1.0, SOME)]),
        Panel::stat("New", "Addresses that answered within a day, and not in the week before.")
            .query(&count(&format!("{} == 1 unless {} == 1", max("1d"), before)))
            .steps(PLAIN, &[(1.0, "blue")]),
        Panel::stat("Never answered", "Addresses that have not answered since Watchpost started.")
            .query(&Query::instant(
                "sum(label_replace(<watchpost.targets_by_state>{state=\"never_seen\"}, \
                 \"job\", \"$1\", \"receiver\", \"(?:probe/)?(.+)\") \
                 and on (job) <probe.success>{job=~\"$job\"}) or vector(0)",
                "",
            ))
            .steps(PLAIN, &[]),
        Panel::stat("Median round trip", "Of those that are there.")
            .query(&Query::instant(
                &format!("quantile(0.5, <probe.icmp.duration>{{{CHOSEN},phase=\"rtt\"}})"),
                "",
            ))
            .unit("s")
            .steps(PLAIN, &[]),
    ]
}

/// Rows in the order of their numbers: backends order series by their labels, and `_sort` stands before all
/// others; it has the address with zeros (`192.168.002.010`). Grafana 12.1 can order by the address itself, but only
/// what has been joined into one table, and there a gap is drawn as if the former state went on.
fn timeline() -> Panel {
    let rows = format!(
        "(({}) and on (job, instance) ({} == 1)) \
         * on (job, instance, vantage) group_left (sort, name) \
         topk by (job, instance, vantage) (1, <probe.target_info>{{{CHOSEN}}})",
        state(CHOSEN),
        format_args!("max_over_time(<probe.success>{{{CHOSEN}}}[$__range] @ end())"),
    );
    let sorted = format!(
        "min by (_sort, instance, job, name, vantage) \
         (label_replace({rows}, \"_sort\", \"$1\", \"sort\", \"(.*)\"))"
    );
    Panel::timeline(
        "Addresses",
        "Those that answered at least once within what is in view. Orange: up and down within one step. Empty: not watched.",
    )
    .query(&Query::range(&sorted, "{{instance}} {{name}} {{vantage}}"))
    .interval("1m")
    .values(&STATES)
    .link("${__field.labels.instance}", crate::status::SERIES_TO_TARGET)
    .option("perPage", json!(PAGE))
    .option("rowHeight", json!(0.85))
    .size_of(24, 32)
}

fn addresses() -> Panel {
    let keys = "job, instance, vantage";
    let seen = format!("and on (job, instance) ({} == 1)", of("max_over_time", "30d"));
    let up = |span: &str| format!("{} {seen}", availability(CHOSEN, keys, span));
    let by = |function: &str, expr: &str| format!("{function} by ({keys}) ({expr} {seen})");
    let percent = json!({
        "unit": "percentunit",
        "decimals": 2,
        "custom/cellOptions": {"type": "color-text"},
        "thresholds": thresholds(PLAIN, &[(0.99, GOOD)]),
    });
    Panel::table(
        "Availability",
        "Every address that answered within 30 days: the share of attempts that it answered.",
        None,
    )
    .query(&Query::rows(&format!(
        "max by ({keys}, sort, name) (topk by ({keys}) (1, <probe.target_info>{{{CHOSEN}}}) {seen})"
    )))
    .query(&Query::rows(&by("min", &format!("<probe.success>{{{CHOSEN}}}"))))
    .query(&Query::rows(&up("1d")))
    .query(&Query::rows(&up("7d")))
    .query(&Query::rows(&up("30d")))
    .query(&Query::rows(&by("max", &format!("resets(<probe.success>{{{CHOSEN}}}[$__range])"))))
    .query(&Query::rows(&by(
        "max",
        &format!(
            "quantile_over_time(0.5, <probe.icmp.duration>{{{CHOSEN},phase=\"rtt\"}}[$__range])"
        ),
    )))
    .sorted_columns(
        "sort",
        &[("instance", "Address"), ("name", "Name"), ("job", "Job"), ("vantage", "Vantage")],
        &["", "Now", "1 day", "7 days", "30 days", "Went away", "Median round trip"],
    )
    .state_column("Now", "Away", "There")
    .field("/day/", percent)
    .field("Median round trip", json!({"unit": "s"}))
    .field("Address", json!({"links": links("This address", TO_TARGET)}))
    .size_of(24, 24)
}
