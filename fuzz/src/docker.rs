//! Answers of the Docker Engine, and what their labels become: any bytes are read or refused, what is read is
//! bounded and sanitised, and no label reaches what the job does not allow.

use watchpost_discovery::docker::{Endpoint, containers, event_matters};
use watchpost_discovery::hosts::Hosts;
use watchpost_discovery::interpolate::Variables;
use watchpost_discovery::job::{Settings, run};
use watchpost_targets::label::MODULE_HINT;

/// The most targets of the job.
const MOST: usize = 3;

fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A list of containers.
pub fn list(bytes: &[u8]) {
    let endpoint = Endpoint::Unix("/run/docker.sock".into());
    let found = match containers(bytes, &endpoint) {
        Ok(found) => found,
        Err(why) => {
            assert!(why.len() < 2_000 && !why.contains(steers), "{why:?}");
            return;
        }
    };
    assert!(found.services.len() <= found.health.values().sum());
    let mut settings = Settings::new(Vec::new());
    settings.ports = true;
    settings.ports_host = "ports.invalid".to_owned();
    settings.labels.insert("routing".to_owned(), "internal".to_owned());
    settings.limits.modules.insert("icmp".to_owned());
    settings.limits.max_targets = MOST;
    let report = run(&settings, &Variables::new(), Some(&found), &|_| Ok(()));
    assert!(report.targets.len() <= MOST && report.services == found.services.len());
    assert!(report.too_many == 0 || report.targets.len() == MOST);
    for target in &report.targets {
        assert!(!target.address.contains(steers), "{target:?}");
        assert_eq!(target.labels["routing"], "internal");
        for value in target.labels.values() {
            assert!(value.len() <= 1_024 && !value.contains(steers), "{target:?}");
        }
        if let Some(module) = target.hints.get(MODULE_HINT) {
            assert_eq!(module, "icmp");
        }
    }
    // Without published ports no label leads to this machine.
    settings.ports = false;
    let report = run(&settings, &Variables::new(), Some(&found), &|_| Ok(()));
    for target in report.targets.iter().filter(|t| !t.address.starts_with("ports.invalid:")) {
        assert_eq!(Hosts::default().judge(&target.address), Ok(()), "{target:?}");
    }
}

/// Lists as they are.
pub fn list_seeds() -> Vec<Vec<u8>> {
    let one = r#"[{"Id":"1","Names":["/blog"],"Created":1700000000,"Status":"Up 2 hours (healthy)",
        "Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"},{"PrivatePort":443,"Type":"tcp"}],
        "Labels":{"com.docker.compose.project":"p","com.docker.compose.service":"blog","org.x":"y",
        "traefik.http.routers.b.rule":"Host(`b.invalid`)","watchpost.module":"icmp","watchpost.labels.routing":"x"}},
        {"Names":["/0123456789ab_blog"],"Labels":null,"Ports":null},{"Names":["/x"],"Created":"?","Labels":{}}]"#;
    let own = r#"[{"Names":["/a"],"Labels":{"watchpost.address":"http://127.0.0.1:1/\u001b\u202e","watchpost.name":"\u001b[31m"}},
        {"Names":["/b"],"Labels":{"kuma.a.http.url":"http://[::ffff:7f00:1]/","homepage.href":"http://0x7f.1"}},
        {"Names":["/c"],"Labels":{"caddy":"c.invalid, 2130706433:80","caddy_1":"localhost."}}]"#;
    let many = format!("[{}]", vec!["{\"\":{}}"; 40].join(","));
    [one, own, &many, "[]", "{}", "[[[[[[[[", "[{\"Names\":[7],\"Labels\":[],\"Ports\":{}}]"]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect()
}

/// An event: one that matters says so to whoever reads all of it, too.
pub fn events(bytes: &[u8]) {
    let matters = event_matters(bytes);
    // Skipped values are not looked at: they may be no text.
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    if matters && event.is_object() {
        let action = event["Action"].as_str().or_else(|| event["status"].as_str());
        let actions = ["start", "die", "destroy", "rename", "update", "pause", "unpause"];
        let known = |action: &str| actions.contains(&action) || action.starts_with("health_status");
        assert!(action.is_some_and(known), "{event}");
        assert_eq!(event["Type"].as_str().unwrap_or("container"), "container");
    }
}

/// Events as they are.
pub fn event_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"status":"start","id":"1","Type":"container","Action":"start","Actor":{"ID":"1","Attributes":{"name":"a"}}}"#,
        r#"{"Type":"container","Action":"health_status: healthy","time":1700000000}"#,
        r#"{"Type":"image","Action":"pull"}"#,
        r#"{"Type":7,"Action":[],"status":null}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
