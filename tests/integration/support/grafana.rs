//! What a dashboard asks, as Grafana asks it: with its variables filled in.

use std::path::Path;

use serde_json::Value;

/// A query of a panel.
#[derive(Clone, Debug)]
pub struct Question {
    /// The file, the panel's title, and the letter of the query.
    pub place: String,
    /// As it is written.
    pub written: String,
    pub legend: String,
    /// As of the end of what is in view, not at every step.
    pub instant: bool,
    /// Steps are this long at least, in seconds; 0: nothing is said.
    pub least_step: i64,
}

/// What is in view: seconds since 1970, as Prometheus wants them.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub from: i64,
    pub to: i64,
    pub step: i64,
}

impl View {
    /// As Grafana chooses the step: so that there are `points` at most, and none is shorter than `least`.
    pub fn new(from: i64, to: i64, points: i64, least: i64) -> Self {
        let step = ((to - from) / points).max(least);
        // Grafana lets steps begin at their multiples, so that they do not move as time passes.
        Self { from: from / step * step, to: to / step * step, step }
    }
}

impl Question {
    /// With the variables of Grafana, and those of the dashboard, filled in.
    pub fn asked(&self, view: View, variables: &[(&str, &str)]) -> String {
        let seconds = |seconds: i64| format!("{seconds}s");
        // Grafana takes the least step of a query, else that of the data source (15 s), for the time between
        // samples, and gives a rate four of them.
        let least = if self.least_step > 0 { self.least_step } else { 15 };
        let own = [
            ("__rate_interval", seconds((view.step + least).max(4 * least))),
            ("__interval", seconds(view.step)),
            ("__range", seconds(view.to - view.from)),
        ];
        let mut expr = self.written.clone();
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(variables.iter().copied()) {
            expr = expr.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
        }
        assert!(!expr.contains('$') || expr.contains("\"$1\""), "{}: {expr}", self.place);
        expr
    }
}

/// A query of one of our dashboards, by its file, its panel's title and its letter.
pub fn question(file: &str, title: &str, letter: &str) -> Question {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards").join(file);
    let place = format!("{file}: {title}: {letter}");
    let found = questions(&path).into_iter().find(|question| question.place == place);
    found.unwrap_or_else(|| panic!("no {place}"))
}

/// What a legend makes of labels.
pub fn shown(legend: &str, labels: &Value) -> String {
    let mut text = legend.to_owned();
    while let Some((before, rest)) = text.split_once("{{") {
        let (label, after) = rest.split_once("}}").unwrap();
        text = format!("{before}{}{after}", labels[label].as_str().unwrap_or_default());
    }
    text.trim().to_owned()
}

/// The queries of a dashboard's file, and those that fill its variables.
pub fn questions(file: &Path) -> Vec<Question> {
    let text = std::fs::read_to_string(file).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let mut found = Vec::new();
    walk(&dashboard, &name, "", &mut found);
    found
}

fn walk(value: &Value, file: &str, title: &str, found: &mut Vec<Question>) {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
    match value {
        Value::Object(map) => {
            let title = if text("title").is_empty() { title } else { text("title") };
            if let Some(Value::String(expr)) = map.get("expr") {
                found.push(Question {
                    place: format!("{file}: {title}: {}", text("refId")),
                    written: expr.clone(),
                    legend: text("legendFormat").to_owned(),
                    instant: map.get("instant") == Some(&Value::Bool(true)),
                    least_step: if text("interval") == "1m" { 60 } else { 0 },
                });
            }
            map.values().for_each(|value| walk(value, file, title, found));
        }
        Value::Array(list) => list.iter().for_each(|value| walk(value, file, title, found)),
        _ => {}
    }
}
