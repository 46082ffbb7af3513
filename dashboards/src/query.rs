//! Queries: the names of our metrics put in, and what several panels ask alike.

use serde_json::{Value, json};
use watchpost::signal::names;
use watchpost::wire::naming::Naming;

/// What PromQL calls a metric that we call `name`.
fn metric(name: &str) -> String {
    let host = names::host::TABLE.iter().map(|entry| entry.metric);
    let found = names::ALL.iter().copied().chain(host).find(|metric| metric.name == name);
    Naming::default().metric(found.unwrap_or_else(|| panic!("we do not publish {name}")))
}

/// An expression with the names of metrics, `<probe.success>`, as Prometheus has them.
pub(crate) fn promql(expr: &str) -> String {
    let mut out = String::new();
    let mut rest = expr;
    while let Some((before, after)) = rest.split_once('<') {
        out.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && !"._".contains(c));
        match end.map(|end| (&after[..end], &after[end..])) {
            Some((name, tail)) if tail.starts_with('>') && name.contains('.') => {
                out.push_str(&metric(name));
                rest = &tail[1..];
            }
            _ => {
                out.push('<');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// What the queries of a panel are called, in their order.
pub(crate) fn letter(at: usize) -> char {
    char::from(b'A' + u8::try_from(at).expect("few queries in a panel"))
}

/// Steps of rates are this long at least, and their windows four times as long: what is read each minute,
/// as hosts are when nobody says otherwise, has a rate then.
const RATE_STEP: &str = "1m";

/// A query of a panel.
#[derive(Clone)]
pub(crate) struct Query {
    expr: String,
    legend: String,
    instant: bool,
    table: bool,
}

impl Query {
    /// A value for each step of what is in view.
    pub(crate) fn range(expr: &str, legend: &str) -> Self {
        Self { expr: promql(expr), legend: legend.to_owned(), instant: false, table: false }
    }

    /// One value, as of the end of what is in view.
    pub(crate) fn instant(expr: &str, legend: &str) -> Self {
        Self { instant: true, ..Self::range(expr, legend) }
    }

    /// One row for each series, as of the end of what is in view.
    pub(crate) fn rows(expr: &str) -> Self {
        Self { table: true, ..Self::instant(expr, "") }
    }

    pub(crate) fn json(&self, at: usize) -> Value {
        json!({
            "datasource": super::dashboard::datasource(),
            "editorMode": "code",
            "expr": self.expr,
            "format": if self.table { "table" } else { "time_series" },
            "instant": self.instant,
            "interval": if self.expr.contains("$__rate_interval") { RATE_STEP } else { "" },
            "legendFormat": self.legend,
            "range": !self.instant,
            "refId": letter(at).to_string(),
        })
    }
}

/// What each step shows of targets: 2 when all attempts found it up, 0 when none did, 1 when both came, so
/// that an outage of one attempt is still there in a step of an hour. A step without a sample of its
/// own, because the target is probed less often, shows the last one; one that was not watched, nothing.
pub(crate) fn state(selector: &str) -> String {
    format!(
        "(min_over_time(<probe.success>{{{selector}}}[$__interval]) \
         + max_over_time(<probe.success>{{{selector}}}[$__interval])) \
         or 2 * <probe.success>{{{selector}}}"
    )
}

/// The same series with a label `name`: what the target is called, else its address.
pub(crate) fn named(expr: &str) -> String {
    format!(
        r#"label_replace(label_replace({expr}, "name", "$1", "instance", "(.+)"), "name", "$1", "humanname", "(.+)")"#
    )
}

/// The same series of hosts with a label `name`: how the host is told apart.
pub(crate) fn hosts(expr: &str) -> String {
    format!(
        r#"label_replace(label_replace(label_replace({expr}, "name", "this machine", "", ""), "name", "$1", "host_name", "(.+)"), "name", "$1", "instance", "(.+)")"#
    )
}

/// Targets that are addresses of a network: the addresses of a subnet, and those that are called so.
pub(crate) fn lan(span: Option<&str>) -> String {
    let info = |selector: &str| match span {
        None => format!("<probe.target_info>{{{selector}}}"),
        Some(span) => format!("last_over_time(<probe.target_info>{{{selector}}}[{span}])"),
    };
    format!("{} or {}", info("routing=\"lan\""), info("group=~\".+/[0-9]+\""))
}

/// Selects what the variables of a dashboard have chosen.
pub(crate) const CHOSEN: &str = r#"job=~"$job",vantage=~"$vantage""#;

/// Selects what is a service, together with [`not_lan`].
pub(crate) const SERVICES: &str = r#"job=~"$job",vantage=~"$vantage",routing!~"external|lan""#;

/// Selects what is outside.
pub(crate) const INTERNET: &str = r#"job=~"$job",vantage=~"$vantage",routing="external""#;

/// Without the addresses of networks. `span`: how far `expr` looks back, so that those are known that are no
/// longer told of.
pub(crate) fn not_lan(expr: &str, span: &str) -> String {
    format!("({expr}) unless on (job, instance) ({} or {})", lan(None), lan(Some(span)))
}

/// The share of attempts that found each target up: over all series that it had, under whatever names.
pub(crate) fn availability(selector: &str, by: &str, span: &str) -> String {
    let sum = |function: &str| {
        format!("sum by ({by}) ({function}(<probe.success>{{{selector}}}[{span}]))")
    };
    format!("({} / {})", sum("sum_over_time"), sum("count_over_time"))
}
