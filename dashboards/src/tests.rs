//! What is committed is what is generated, and Grafana's own schemas take it.
#![allow(clippy::disallowed_methods, clippy::print_stderr)]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{all, query, text};

/// Options that Grafana 10.4 and 11.6 do not know, and pass over. All else must be known to them.
const NEWER: [(&str, &[&str]); 2] = [
    (
        "v10.4.x",
        &[
            "insertNulls",
            "spanNulls",
            "perPage",
            "percentChangeColorMode",
            "legend",
            "step",
            "textFormat",
            "titleFormat",
        ],
    ),
    ("v11.6.x", &["insertNulls", "spanNulls", "step", "textFormat", "titleFormat"]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Where Grafana's schemas are; where they are not, the test is skipped by name.
fn schemas(test: &str) -> Option<PathBuf> {
    let inputs = std::env::var_os("WATCHPOST_INPUTS");
    if inputs.is_none() {
        let line = format!("skipped {test}: WATCHPOST_INPUTS is not set");
        eprintln!("{line}");
        if let Some(path) = std::env::var_os("WATCHPOST_SKIPS") {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let _ = file.and_then(|mut file| writeln!(file, "{line}"));
        }
    }
    Some(Path::new(&inputs?).join("grafana-schemas"))
}

#[test]
fn files_are_what_is_generated() {
    for (file, dashboard) in all() {
        let committed = std::fs::read_to_string(folder().join(file)).unwrap_or_default();
        assert!(
            committed == text(&dashboard),
            "dashboards/{file} is not what is generated: cargo run -p watchpost-dashboards"
        );
    }
}

#[test]
fn names_of_metrics_are_put_in() {
    let check = |expr: &str, expected: &str| assert_eq!(query::promql(expr), expected);
    check("<probe.success>{a=\"b\"} < 3 > bool 1", "probe_success{a=\"b\"} < 3 > bool 1");
    check("rate(<probe.failures>[5m]) <= 1", "rate(probe_failures_total[5m]) <= 1");
    check("<process.start_time_seconds>", "process_start_time_seconds");
    check("a <b> c", "a <b> c");
    assert!(std::panic::catch_unwind(|| query::promql("<probe.nonsense>")).is_err());
}

/// Panels stand beside and below each other, not upon each other, within 24 columns; every one has a
/// title, queries that differ in their ids, and a number of its own.
#[test]
fn panels_have_their_place() {
    for (file, dashboard) in all() {
        let panels = dashboard["panels"].as_array().unwrap();
        let mut taken = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for panel in panels {
            let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
            assert!(at("x") + at("w") <= 24, "{file}: {}", panel["title"]);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{file}: {} stands on another", panel["title"]);
                }
            }
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: {}", panel["title"]);
            assert!(!panel["title"].as_str().unwrap().is_empty());
            if panel["type"] != "row" {
                let targets = panel["targets"].as_array().unwrap();
                assert!(!targets.is_empty(), "{file}: {} asks nothing", panel["title"]);
                let ids: BTreeSet<&str> =
                    targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
                assert_eq!(ids.len(), targets.len());
            }
        }
    }
}

/// No data source is named but by the variable, so that a dashboard works wherever it is brought.
#[test]
fn data_sources_are_those_of_the_user() {
    fn walk(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    match key.as_str() {
                        "datasource" => drop(found.insert(value["uid"].to_string())),
                        _ => walk(value, found),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    for (_, dashboard) in all() {
        let mut found = BTreeSet::new();
        walk(&dashboard, &mut found);
        assert_eq!(found, BTreeSet::from(["\"${datasource}\"".to_owned()]));
    }
}

/// A part of a dashboard, the schema that it is held against, and where it stands.
struct Part<'a> {
    schema: &'static str,
    /// Which part of the schema; `None`: the whole.
    definition: Option<&'static str>,
    value: &'a Value,
    place: String,
}

/// A dashboard is held against the schemas panel by panel: of the whole they would say no more than that
/// something in it is wrong.
fn parts<'a>(file: &str, frame: &'a Value, dashboard: &'a Value) -> Vec<Part<'a>> {
    let mut parts =
        vec![Part { schema: "dashboard", definition: None, value: frame, place: file.to_owned() }];
    for panel in dashboard["panels"].as_array().unwrap() {
        let row = panel["type"] == "row";
        parts.push(Part {
            schema: "dashboard",
            definition: Some(if row { "RowPanel" } else { "Panel" }),
            value: panel,
            place: format!("{file}: {}", panel["title"]),
        });
        let (schema, config) = match panel["type"].as_str().unwrap() {
            "row" => continue,
            "state-timeline" => ("statetimeline", Some("FieldConfig")),
            "timeseries" => ("timeseries", Some("FieldConfig")),
            "table" => ("table", Some("FieldConfig")),
            "stat" => ("stat", None),
            "bargauge" => ("bargauge", None),
            other => panic!("{other} has no schema"),
        };
        let place = format!("{file}: {}", panel["title"]);
        let part =
            |schema, definition, value| Part { schema, definition, value, place: place.clone() };
        parts.push(part(schema, Some("Options"), &panel["options"]));
        let custom = &panel["fieldConfig"]["defaults"]["custom"];
        match config {
            Some(config) => parts.push(part(schema, Some(config), custom)),
            None => assert_eq!(custom, &json!({}), "{place}"),
        }
        let targets = panel["targets"].as_array().unwrap();
        parts.extend(targets.iter().map(|target| part("prometheus", None, target)));
    }
    parts
}

/// A dashboard without its panels.
fn frame(dashboard: &Value) -> Value {
    let mut frame = dashboard.clone();
    frame["panels"] = json!([]);
    frame
}

/// What a schema says against a part, each with the names of options that it does not know.
fn complaints(folder: &Path, part: &Part<'_>) -> Vec<(Vec<String>, String)> {
    let file = folder.join(format!("{}.jsonschema.json", part.schema));
    let mut schema: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    // What may be anything in Grafana, texts and numbers too, became a map when these schemas were
    // made: the options of a matcher (a field's name) and the values of overrides.
    // The lowest threshold has no value; the older schemas have forgotten that, Grafana writes it so.
    for (definition, property) in
        [("MatcherConfig", "options"), ("DynamicConfigValue", "value"), ("Threshold", "value")]
    {
        let place = format!("/definitions/{definition}/properties/{property}");
        if let Some(anything) = schema.pointer_mut(&place) {
            *anything = json!({});
        }
    }
    if let Some(definition) = part.definition {
        schema["$ref"] = json!(format!("#/definitions/{definition}"));
    }
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut found = Vec::new();
    for error in validator.iter_errors(part.value) {
        let unknown = match &error.kind {
            jsonschema::error::ValidationErrorKind::AdditionalProperties { unexpected } => {
                unexpected.clone()
            }
            _ => Vec::new(),
        };
        let told = error.to_string();
        let told: String = told.chars().take(300).collect();
        found.push((unknown, format!("{}: {}: {told}", part.place, error.instance_path)));
    }
    found
}

#[test]
fn grafanas_schemas_take_them() {
    let Some(schemas) = schemas("grafanas_schemas_take_them") else { return };
    let (mut checked, mut wrong, mut newer) = (0, Vec::new(), BTreeSet::new());
    for (file, dashboard) in all() {
        for part in parts(file, &frame(&dashboard), &dashboard) {
            checked += 1;
            wrong.extend(complaints(&schemas.join("main"), &part).into_iter().map(|(_, why)| why));
            for (version, known) in NEWER {
                for (unknown, why) in complaints(&schemas.join(version), &part) {
                    let told: Vec<&String> =
                        unknown.iter().filter(|name| !known.contains(&name.as_str())).collect();
                    if unknown.is_empty() || !told.is_empty() {
                        wrong.push(format!("{version}: {why}"));
                    }
                    newer.extend(unknown.into_iter().map(|name| (version, name)));
                }
            }
        }
    }
    assert!(checked > 150, "only {checked} parts");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<(&str, String)> = NEWER
        .into_iter()
        .flat_map(|(version, known)| known.iter().map(move |name| (version, (*name).to_owned())))
        .collect();
    assert_eq!(newer, listed, "what is listed and not told by the schemas needs no exception");
}

/// The schemas find what is wrong: else the test above would say nothing.
#[test]
fn the_schemas_find_what_is_wrong() {
    let Some(schemas) = schemas("the_schemas_find_what_is_wrong") else { return };
    let main = schemas.join("main");
    let [(file, mut dashboard), ..] = all();
    let timeline = dashboard["panels"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .find(|panel| panel["type"] == "state-timeline")
        .unwrap();
    timeline["options"]["showValue"] = json!("sometimes");
    timeline["targets"][0]["exprs"] = json!("up");
    timeline["gridPos"]["q"] = json!(1);
    let wrong: Vec<String> = parts(file, &frame(&dashboard), &dashboard)
        .iter()
        .flat_map(|part| complaints(&main, part))
        .map(|(_, why)| why)
        .collect();
    assert_eq!(wrong.len(), 3, "{}", wrong.join("\n"));
}
