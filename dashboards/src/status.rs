//! *Status timeline*: what is up, since when, and how often it was not.

use serde_json::{Value, json};

use crate::dashboard::{Dashboard, Variable};
use crate::panel::{BAD, GOOD, PLAIN, Panel, SOME, links, thresholds};
use crate::query::{INTERNET, Query, SERVICES, hosts, named, not_lan, state};

/// What the three states of [`state`] are called.
pub(crate) const STATES: [(&str, &str, &str); 3] =
    [("0", "Down", BAD), ("1", "Up and down", SOME), ("2", "Up", GOOD)];

/// The way from a row to its target's own dashboard.
pub(crate) const TO_TARGET: &str = "/d/watchpost-target/?var-datasource=${datasource}\
     &var-job=${__data.fields.Job}&var-instance=${__data.fields.Address}&${__url_time_range}";
/// The same from a panel whose series have labels.
pub(crate) const SERIES_TO_TARGET: &str = "/d/watchpost-target/?var-datasource=${datasource}\
     &var-job=${__field.labels.job}&var-instance=${__field.labels.instance}&${__url_time_range}";

pub(crate) fn dashboard() -> Value {
    Dashboard::new(
        "watchpost-status",
        "Watchpost / Status timeline",
        "What is up, since when, and how often it was not.",
        "24h",
    )
    .variable(&Variable::label("job", "Job", "<probe.success>", "job").many())
    .annotation(
        "Watchpost restarted",
        "purple",
        "changes(<process.start_time_seconds>{job=\"watchpost\"}[1m]) > 0",
        "Watchpost on {{instance}} restarted",
    )
    .row("Now", now())
    .row("Timeline", timelines())
    .row("Availability", availability())
    .json()
}

fn now() -> Vec<Panel> {
    let all = not_lan("<probe.success>{job=~\"$job\"}");
    vec![
        Panel::stat("Up", "Targets whose last attempt found them up, without the addresses of networks.")
            .query(&Query::instant(&format!("count(({all}) == 1) or vector(0)"), ""))
            .steps(PLAIN, &[(1.0, GOOD)]),
        Panel::stat("Down", "Targets whose last attempt found them down.")
            .query(&Query::instant(&format!("count(({all}) == 0) or vector(0)"), ""))
            .steps(GOOD, &[(1.0, BAD)]),
        Panel::stat(
            "Not watched any more",
            "Targets that were watched within what is in view, and are not now: the daemon that watched them \
             is gone, or they were taken out.",
        )
        .query(&Query::instant(
            &format!(
                "count(({}) unless on (job, instance) <probe.success>) or vector(0)",
                not_lan("last_over_time(<probe.success>{job=~\"$job\"}[$__range])")
            ),
            "",
        ))
        .steps(GOOD, &[(1.0, SOME)]),
        Panel::stat(
            "Availability in view",
            "The share of attempts that found their target up, over what is in view; time that was not watched \
             counts neither way.",
        )
        .query(&Query::instant(
            &format!("avg({})", not_lan("avg_over_time(<probe.success>{job=~\"$job\"}[$__range])")),
            "",
        ))
        .unit("percentunit")
        .decimals(3)
        .steps(BAD, &[(0.99, SOME), (0.999, GOOD)]),
        Panel::stat("Next certificate", "When the first certificate ends.")
            .query(&Query::instant(
                "min(<probe.ssl.earliest_cert_expiry>{job=~\"$job\"} - time())",
                "",
            ))
            .unit("s")
            .or_else("none")
            .steps(BAD, &[(7.0 * 86400.0, SOME), (21.0 * 86400.0, GOOD)]),
        Panel::stat("Watchposts", "Daemons that tell us of themselves.")
            .query(&Query::instant("count(<watchpost.build_info>) or vector(0)", ""))
            .steps(BAD, &[(1.0, GOOD)]),
    ]
}

fn timelines() -> Vec<Panel> {
    vec![
        Panel::timeline(
            "Services",
            "Orange: up and down within one step, as a short outage is when much time is in view. Empty: not watched.",
        )
        .query(&Query::range(&named(&not_lan(&state(SERVICES))), "{{name}}"))
        .values(&STATES)
        .link("${__field.labels.name}", SERIES_TO_TARGET)
        .size_of(24, 14),
        Panel::timeline("Internet", "Targets with the label routing=external. Is it them, or is it our line?")
            .query(&Query::range(&named(&state(INTERNET)), "{{name}}"))
            .values(&STATES)
            .link("${__field.labels.name}", SERIES_TO_TARGET)
            .size_of(24, 6),
        Panel::timeline(
            "Uptime of hosts, and of Watchpost",
            "How long each has been running: red where it started anew. Empty: nobody told us, so that nothing \
             above is known either.",
        )
        .query(&Query::range(
            &hosts("min_over_time(<system.uptime>[$__interval]) or <system.uptime>"),
            "{{name}}",
        ))
        // A start within the step counts, too, though the last process has been running for most of it.
        .query(&Query::range(
            "(time() - <process.start_time_seconds>{job=\"watchpost\"}) \
             * (changes(<process.start_time_seconds>{job=\"watchpost\"}[$__rate_interval]) == bool 0)",
            "Watchpost on {{instance}}",
        ))
        .unit("dtdurations")
        .decimals(1)
        .option("showValue", json!("auto"))
        .steps(
            BAD,
            &[
                (600.0, "super-light-green"),
                (3600.0, "light-green"),
                (86400.0, "green"),
                (604_800.0, "dark-green"),
            ],
        )
        .size_of(24, 6),
    ]
}

fn availability() -> Vec<Panel> {
    // A target has one row, also after it has been given another name.
    let by = |expr: String| format!("max by (job, instance) ({})", not_lan(&expr));
    let up = |span: &str| by(format!("avg_over_time(<probe.success>{{job=~\"$job\"}}[{span}])"));
    let percent = json!({
        "unit": "percentunit",
        "decimals": 3,
        "custom/cellOptions": {"type": "color-text"},
        "thresholds": thresholds(BAD, &[(0.99, SOME), (0.999, GOOD)]),
    });
    let outages = by("resets(<probe.success>{job=~\"$job\"}[$__range])".to_owned());
    let median =
        by("quantile_over_time(0.5, <probe.duration>{job=~\"$job\"}[$__range])".to_owned());
    vec![
        Panel::table(
            "Targets",
            "The share of attempts that found the target up; how often it went down within what is in view; how \
             long half of the attempts took at most.",
            Some(("1 day", false)),
        )
        .query(&Query::rows(&format!(
            "max by (job, instance, name) ({})",
            named(&not_lan("<probe.success>{job=~\"$job\"}"))
        )))
        .query(&Query::rows(&up("1d")))
        .query(&Query::rows(&up("7d")))
        .query(&Query::rows(&up("30d")))
        .query(&Query::rows(&outages))
        .query(&Query::rows(&median))
        .columns(
            &[("name", "Name"), ("instance", "Address"), ("job", "Job")],
            &["Now", "1 day", "7 days", "30 days", "Outages", "Median"],
        )
        .field(
            "Now",
            json!({
                "mappings": [{"type": "value", "options": {
                    "0": {"text": "Down", "color": BAD, "index": 0},
                    "1": {"text": "Up", "color": GOOD, "index": 1},
                }}],
                "custom/cellOptions": {"type": "color-text"},
            }),
        )
        .field("/day/", percent)
        .field("Median", json!({"unit": "s"}))
        .field("Address", json!({"links": links("This target", TO_TARGET)})),
        Panel::table(
            "What went wrong",
            "Attempts that found their target down within what is in view, by reason and by the phase in which it happened.",
            Some(("Failures", true)),
        )
        .query(&Query::rows(&format!(
            "round(sum by (job, instance, name, reason, phase) ({})) > 0",
            named(&not_lan("increase(<probe.failures>{job=~\"$job\"}[$__range])"))
        )))
        .columns(
            &[
                ("name", "Name"),
                ("instance", "Address"),
                ("job", "Job"),
                ("reason", "Reason"),
                ("phase", "Phase"),
            ],
            &["Failures"],
        )
        .field("Failures", json!({"decimals": 0}))
        .field("Address", json!({"links": links("This target", TO_TARGET)})),
    ]
}
