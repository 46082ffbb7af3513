//! Files that people write, or programs for them.

use std::path::Path;

use watchpost::processor::ottl::{Condition, Context, View, parser};
use watchpost_discovery::interpolate::{Variables, env_file, fill};
use watchpost_discovery::job::{Settings, one_file};
use watchpost_discovery::output::{Format, Output, Trust, render};
use watchpost_discovery::rule::{is_host, parse, places, version_1};
use watchpost_discovery::traefik_file::templates;
use watchpost_targets::{TargetSet, file, render_file_sd};

use super::text;

fn seeds(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

/// Any text is a compose file or an error, never a panic: each service is a target or has a reason,
/// and the targets make a file that is read again.
pub fn compose_file(bytes: &[u8]) {
    let mut settings = Settings::new(Vec::new());
    settings.domain = Some("example.net".to_owned());
    settings.ports = true;
    let environment = Variables::from([("A".to_owned(), "a".to_owned())]);
    let report = one_file(text(bytes), &settings, &environment);
    assert!(report.files == 1 || report.problems.len() == 1);
    assert!(report.services - report.services_found <= report.skipped.len());
    for format in [Format::default(), Format::FileSd] {
        let output = Output { file: "targets.yaml".into(), keep_until: None, format };
        let rendered =
            render(&output, None, &report.targets, Trust::Whole).expect("a new file is made");
        let again = render(&output, Some(&rendered.text), &report.targets, Trust::Whole);
        assert_eq!(again.expect("and made again").text, rendered.text);
        assert_eq!(rendered.written + rendered.inexpressible.len(), report.targets.len());
    }
}

pub fn compose_seeds() -> Vec<Vec<u8>> {
    seeds(&[
        "services:\n  web:\n    image: nginx:${A:-1}\n    ports: ['8080:80']\n    labels:\n      \
         traefik.enable: 'true'\n      traefik.http.routers.web.rule: Host(`web.example.net`)\n",
        "services:\n  a: &a\n    labels: ['traefik.http.routers.a.rule=HostRegexp(`.+`)']\n  b:\n    <<: *a\n    expose: [1, '2']\n",
    ])
}

/// Any text is filled in, and any `.env` file is read, without a panic and within bounds.
pub fn compose_interpolation(bytes: &[u8]) {
    let text = text(bytes);
    let environment = Variables::from([
        ("A".to_owned(), "a".to_owned()),
        ("EMPTY".to_owned(), String::new()),
        ("LONG".to_owned(), "x".repeat(100_000)),
    ]);
    let filled = fill(text, &|name| environment.get(name).cloned());
    assert!(filled.text.len() <= (64 << 10) + 100_000 + text.len());
    let plain = text.replace('$', "$$");
    assert_eq!(fill(&plain, &|_| None).text, text, "what is escaped is as it was");
    let found = env_file(text, &environment);
    assert!(found.values().map(String::len).sum::<usize>() <= 4 << 20);
}

pub fn interpolation_seeds() -> Vec<Vec<u8>> {
    seeds(&[
        "$A ${A} ${EMPTY:-${LONG}} ${B?no} ${A:+x} $$",
        "A=1\nexport B='x y' # z\nC=\"$A\\n${B}\"\n",
    ])
}

/// Any text is a condition or an error, never a panic; what is read is printed as what is read again.
pub fn ottl(bytes: &[u8]) {
    let text = text(bytes);
    for context in [None, Some(Context::Metric), Some(Context::Datapoint)] {
        if let Ok(condition) = Condition::new(text, context) {
            let _ = condition.ask(&View::default());
        }
    }
    if let Ok(tree) = parser::parse(text) {
        let printed = tree.to_string();
        let again = parser::parse(&printed).expect("what is printed is read");
        assert_eq!(again.to_string(), printed);
    }
}

pub fn ottl_seeds() -> Vec<Vec<u8>> {
    seeds(&[
        "name == \"probe.success\" and not (value_double > 0.5 or IsMatch(name, \"^a.*\"))",
        "attributes[\"a\"][\"b\"] != nil and resource.attributes[\"x\"] == [1, 2.5, true, \"t\"]",
        "1 + 2 * -3 < Len(\"abc\") or HasAttrKeyOnDatapoint(\"phase\")",
    ])
}

/// Any text is a target file or an error, never a panic; what is written of it is read as the same.
pub fn pinghosts(bytes: &[u8]) {
    let path = Path::new("pinghosts.yaml");
    let Ok(content) = file::parse(text(bytes), path) else { return };
    let mut set = TargetSet::default();
    for target in content.targets {
        assert!(!target.address.is_empty());
        let _ = set.insert(target);
    }
    let written = render_file_sd(&set);
    let again = file::parse(&written, path).expect("what is written is read");
    assert!(again.problems.is_empty(), "{:?} in {written}", again.problems);
    assert_eq!(again.targets.len(), set.len());
}

pub fn pinghosts_seeds() -> Vec<Vec<u8>> {
    seeds(&[
        "- targets: # url;humanname;routing;switch;module\n    - http://a.invalid/;a;internal\n    - b.invalid:22;b;lan;rack;ssh_banner\n",
        "[{\"targets\": [\"a.invalid\"], \"labels\": {\"__param_module\": \"icmp\", \"x\": \"y\"}}]",
    ])
}

/// Any text is a rule or an error, never a panic; its places are hosts, and not too many.
pub fn traefik_rule(bytes: &[u8]) {
    let text = text(bytes);
    let mut all = Vec::new();
    if let Ok(rule) = parse(text) {
        for domain in [None, Some("example.net")] {
            if let Ok((places, reasons)) = places(&rule, domain) {
                assert!(!places.is_empty() && places.len() <= 64);
                reasons.iter().for_each(|reason| assert!(!reason.to_string().is_empty()));
                all.extend(places);
            }
        }
    }
    all.extend(version_1(text).unwrap_or_default());
    for place in all {
        assert!(is_host(&place.host), "{place:?}");
        assert!(place.path.is_empty() || place.path.starts_with('/'), "{place:?}");
    }
}

pub fn rule_seeds() -> Vec<Vec<u8>> {
    seeds(&[
        "Host(`a.example.net`, `b.example.net`) && (PathPrefix(`/x`) || Path(`/y/{z:[0-9]+}`))",
        "HostRegexp(`{sub:[a-z]+}.example.net`) || !Headers(`X`, `y`) && Method(`GET`)",
        "Host:a.example.net,b.example.net;PathPrefixStrip:/x",
    ])
}

/// Any text has its templates filled in or is refused, without a panic and within bounds.
pub fn traefik_template(bytes: &[u8]) {
    let text = text(bytes);
    let long = "x".repeat(100_000);
    let environment =
        Variables::from([("A".to_owned(), "a".to_owned()), ("LONG".to_owned(), long)]);
    if let Ok(filled) = templates(text, &environment) {
        assert!(filled.len() <= (4 << 20) + 100_000 + text.len());
        assert!(text.contains("{{") || filled == text, "without a template nothing changes");
    }
}

pub fn template_seeds() -> Vec<Vec<u8>> {
    seeds(&[
        "rule: Host(`{{ env \"A\" }}`)\n{{- /* a comment */ -}}\nx: {{ env `LONG` }}",
        "{{ range $i, $e := until 100 }}{{ $i }}{{ end }}{{ if eq 1 2 }}a{{ else }}b{{ end }}",
    ])
}
