//! *Status timeline*: what is up, since when, and how often it was not.

use serde_json::{Value, json};

use crate::dashboard::{Dashboard, Variable};
use crate::panel::{AVAILABILITY, BAD, CERTIFICATE, GOOD, PLAIN, Panel, SOME, links, thresholds};
use crate::query::{CHOSEN, INTERNET, Query, SERVICES, availability, hosts, named, not_lan, state};

/// What the three states of [`state`] are called.
pub(crate) const STATES: [(&str, &str, &str); 3] =
    [("0", "Down", BAD), ("1", "Up and down", SOME), ("2", "Up", GOOD)];

/// The way from a row to its target's own dashboard.
pub(crate) const TO_TARGET: &str = "/d/watchpost-target/?var-datasource=${datasource}\
     &var-job=${__data.fields.Job:percentencode}&var-instance=${__data.fields.Address:percentencode}\
     &${__url_time_range}";
/// The same from a panel whose series have labels.
pub(crate) const SERIES_TO_TARGET: &str = "/d/watchpost-target/?var-datasource=${datasource}\
     &var-job=${__field.labels.job:percentencode}&var-instance=${__field.labels.instance:percentencode}\
     &${__url_time_range}";

pub(crate) fn dashboard() -> Value {
    Dashboard::new(
        "watchpost-status",
        "Watchpost / Status timeline",
        "What is up, since when, and how often it was not.",
        "24h",
    )
    .variable(&Variable::label("job", "Job", "<probe.success>", "job").many())
    .variable(&vantages("<probe.success>"))
    .annotation(
        "Watchpost started",
        "purple",
        "time() - <process.start_time_seconds>{job=\"watchpost\"} < 60",
        "Watchpost on {{instance}} started",
    )
    .row("Now", now())
    .row("Timeline", timelines())
    .row("Availability", tables())
    .json()
}

/// From where targets are watched, for those who watch from several places.
pub(crate) fn vantages(series: &str) -> Variable {
    Variable::label("vantage", "Vantage", series, "vantage").many()
}

/// What the last attempts found. Addresses of networks are known a while longer than their last attempt holds.
fn last() -> String {
    not_lan(&format!("<probe.success>{{{CHOSEN}}}"), "10m")
}

fn now() -> Vec<Panel> {
    // Down from one vantage is down.
    let all = format!("min by (job, instance) ({})", last());
    vec![
        Panel::stat("Up", "Targets whose last attempt found them up, without the addresses of networks.")
            .query(&Query::instant(&format!("count({all} == 1) or vector(0)"), ""))
            .steps(PLAIN, &[(1.0, GOOD)]),
        Panel::stat("Down", "Targets whose last attempt found them down.")
            .query(&Query::instant(&format!("count({all} == 0) or vector(0)"), ""))
            .steps(GOOD, &[(1.0, BAD)]),
        Panel::stat(
            "Not watched any more",
            "Targets that were watched within what is in view, and are not now: the daemon that watched them \
             is gone, or they were taken out.",
        )
        .query(&Query::instant(
            &format!(
                "count(group by (job, instance) ({}) unless on (job, instance) <probe.success>) or vector(0)",
                not_lan(&format!("last_over_time(<probe.success>{{{CHOSEN}}}[$__range])"), "$__range")
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
            &format!("avg({})", not_lan(&availability(CHOSEN, "job, instance", "$__range"), "$__range")),
            "",
        ))
        .unit("percentunit")
        .decimals(3)
        .steps(BAD, &AVAILABILITY),
        Panel::stat("Next certificate", "When the first certificate ends.")
            .query(&Query::instant(
                &format!("min(<probe.ssl.earliest_cert_expiry>{{{CHOSEN}}} - time())"),
                "",
            ))
            .unit("s")
            .or_else("none")
            .steps(BAD, &CERTIFICATE),
        Panel::stat("Watchposts", "Daemons that tell us of themselves.")
            .query(&Query::instant("count(group by (job, instance) (<watchpost.build_info>)) or vector(0)", ""))
            .steps(BAD, &[(1.0, GOOD)]),
    ]
}

fn timelines() -> Vec<Panel> {
    vec![
        Panel::timeline(
            "Services",
            "Orange: up and down within one step, as a short outage is when much time is in view. Empty: not watched.",
        )
        .query(&Query::range(&named(&not_lan(&state(SERVICES), "$__interval")), "{{name}} {{vantage}}"))
        .values(&STATES)
        .link("${__field.labels.name}", SERIES_TO_TARGET)
        .size_of(24, 14),
        Panel::timeline("Internet", "Targets with the label routing=external. Is it them, or is it our line?")
            .query(&Query::range(&named(&state(INTERNET)), "{{name}} {{vantage}}"))
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

fn tables() -> Vec<Panel> {
    // A target has one row for each vantage, also after it has been given another name.
    let keys = "job, instance, vantage";
    let up = |span: &str| not_lan(&availability(CHOSEN, keys, span), span);
    let most = |call: &str| format!("max by ({keys}) ({})", not_lan(call, "$__range"));
    let percent = json!({
        "unit": "percentunit",
        "decimals": 3,
        "custom/cellOptions": {"type": "color-text"},
        "thresholds": thresholds(BAD, &AVAILABILITY),
    });
    let outages = most(&format!("resets(<probe.success>{{{CHOSEN}}}[$__range])"));
    let median = most(&format!("quantile_over_time(0.5, <probe.duration>{{{CHOSEN}}}[$__range])"));
    vec![
        Panel::table(
            "Targets",
            "The share of attempts that found the target up; how often it went down within what is in view; how \
             long half of the attempts took at most.",
            Some(("1 day", false)),
        )
        .query(&Query::rows(&format!("min by ({keys}, name) ({})", named(&last()))))
        .query(&Query::rows(&up("1d")))
        .query(&Query::rows(&up("7d")))
        .query(&Query::rows(&up("30d")))
        .query(&Query::rows(&outages))
        .query(&Query::rows(&median))
        .columns(
            &[("name", "Name"), ("instance", "Address"), ("job", "Job"), ("vantage", "Vantage")],
            &["Now", "1 day", "7 days", "30 days", "Outages", "Median"],
        )
        .state_column("Now", "Down", "Up")
        .field("/day/", percent)
        .field("Median", json!({"unit": "s"}))
        .field("Address", json!({"links": links("This target", TO_TARGET)})),
        Panel::table(
            "What went wrong",
            "Attempts that found their target down within what is in view, by reason and by the phase in which it happened.",
            Some(("Failures", true)),
        )
        .query(&Query::rows(&format!(
            "round(sum by ({keys}, name, reason, phase) ({})) > 0",
            named(&not_lan(&format!("increase(<probe.failures>{{{CHOSEN}}}[$__range])"), "$__range"))
        )))
        .columns(
            &[
                ("name", "Name"),
                ("instance", "Address"),
                ("job", "Job"),
                ("vantage", "Vantage"),
                ("reason", "Reason"),
                ("phase", "Phase"),
            ],
            &["Failures"],
        )
        .field("Failures", json!({"decimals": 0}))
        .field("Address", json!({"links": links("This target", TO_TARGET)})),
    ]
}
