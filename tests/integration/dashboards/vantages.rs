//! One target, watched from several places: what one of them does not see is not hidden by another.

use std::time::Duration;

use super::{now, web_at};
use crate::support::daemon::{Daemon, write};
use crate::support::grafana::{View, question, shown};
use crate::support::{free_port, peers, skip, until};

/// One target, watched from two places, and up from one of them only; and what is left when a daemon ends.
#[test]
fn vantages_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let Some(prometheus) = peers::prometheus(folder.path(), free_port()) else {
        return skip("vantages_are_told_apart", "prometheus is not installed");
    };
    let web = web_at(([127, 0, 0, 1], 0).into());
    let watch = |vantage: &str, status: u16| {
        let text = format!(
            "vantage: {vantage}
receivers:
  probe/services: {{interval: 1s, module: web, targets: ['http://{}/;shop;internal']}}
  probe/net: {{interval: 1s, module: tcp_connect, labels: {{routing: lan}}, targets: ['{}']}}
modules:
  web: {{prober: http, timeout: 800ms, http: {{preferred_ip_protocol: ip4, valid_status_codes: [{status}]}}}}
exporters: {{prometheus_remote_write: {{endpoint: 'http://{}/api/v1/write'}}}}
http: {{listen: '127.0.0.1:0'}}
",
            web.address, web.address, prometheus.address
        );
        Daemon::start(&write(folder.path(), &format!("{vantage}.yaml"), &text))
    };
    let begin = now();
    let (near, mut far) = (watch("near", 200), watch("far", 500));
    for (vantage, up) in [("near", 1), ("far", 0)] {
        let query = format!("probe_success{{job=\"services\",vantage=\"{vantage}\"}} == {up}");
        until(&query, || (!prometheus.query(&query).is_empty()).then_some(()));
    }
    std::thread::sleep(Duration::from_secs(4));
    // Both tell facts of the target, and neither refuses the other's.
    let facts = prometheus.query("count by (vantage) (target_info{job=\"services\"})");
    assert_eq!(facts.len(), 2, "{facts:?}");
    for daemon in [&near, &far] {
        let refused = daemon.metrics().into_iter().filter(|(series, value)| {
            series.starts_with("watchpost_export_samples_total")
                && series.contains("result=\"rejected\"")
                && *value > 0.0
        });
        assert_eq!(refused.count(), 0, "{}", daemon.log());
    }
    let view = View::new(begin, now(), 500, 2);
    let all = [("job", ".*"), ("vantage", ".*")];
    let services = question("watchpost-status.json", "Services", "A");
    let rows = |view: View| -> Vec<String> {
        let found = prometheus.range(&services.asked(view, &all), view);
        found.iter().map(|(labels, _)| shown(&services.legend, labels)).collect()
    };
    assert_eq!(rows(view), ["shop far", "shop near"]);
    let value = |file: &str, title: &str, variables: &[(&str, &str)]| -> f64 {
        let asked = question(file, title, "A").asked(view, variables);
        let found = prometheus.results(&asked, Some(view.to * 1000));
        assert_eq!(found.len(), 1, "{title}: {found:?}");
        found[0]["value"][1].as_str().unwrap().parse().unwrap()
    };
    assert_eq!(value("watchpost-status.json", "Down", &all), 1.0, "down from one is down");
    assert_eq!(value("watchpost-status.json", "Up", &all), 0.0);
    let address = web.url("/");
    let of = |vantage| [("job", "services"), ("instance", address.as_str()), ("vantage", vantage)];
    for (vantage, state, share) in [(".*", 0.0, 0.5), ("near", 1.0, 1.0), ("far", 0.0, 0.0)] {
        assert_eq!(value("watchpost-target.json", "State", &of(vantage)), state, "{vantage}");
        let found = value("watchpost-target.json", "1 day", &of(vantage));
        assert!((found - share).abs() < 0.3, "{vantage}: {found}");
    }
    for letter in ["A", "B", "C", "D", "E", "F"] {
        let asked = question("watchpost-status.json", "Targets", letter).asked(view, &all);
        let found = prometheus.results(&asked, Some(view.to * 1000));
        assert_eq!(found.len(), 2, "{letter}: a row for each vantage: {found:?}");
    }
    // When they end, what they watched of a network does not come among the services.
    let mut near = near;
    assert_eq!((near.stop(), far.stop()), (0, 0));
    std::thread::sleep(Duration::from_secs(2));
    let later = View::new(begin, now() + 60, 2, 15);
    assert_eq!(rows(later), ["shop far", "shop near"]);
}
