//! Panels in Grafana's classic JSON, with every option that the schemas want.

use serde_json::{Value, json};

use crate::dashboard::datasource;
use crate::query::{Query, letter};

/// Colours that say how it is.
pub(crate) const GOOD: &str = "green";
pub(crate) const SOME: &str = "orange";
pub(crate) const BAD: &str = "red";
/// Neither good nor bad.
pub(crate) const PLAIN: &str = "text";

/// A share of time: what is still good, from the worst on.
pub(crate) const AVAILABILITY: [(f64, &str); 2] = [(0.99, SOME), (0.999, GOOD)];
/// Seconds that a certificate is still valid: a week, three weeks.
pub(crate) const CERTIFICATE: [(f64, &str); 2] = [(7.0 * 86400.0, SOME), (21.0 * 86400.0, GOOD)];

/// A panel in the making.
#[derive(Clone)]
pub(crate) struct Panel {
    json: Value,
    width: u32,
    height: u32,
}

impl Panel {
    fn new(kind: &str, title: &str, description: &str, options: Value, custom: Value) -> Self {
        let json = json!({
            "datasource": datasource(),
            "description": description,
            "fieldConfig": {
                "defaults": {
                    "color": {"mode": "thresholds"},
                    "custom": custom,
                    "mappings": [],
                    "thresholds": {"mode": "absolute", "steps": [{"color": GOOD, "value": null}]},
                },
                "overrides": [],
            },
            "options": options,
            "targets": [],
            "title": title,
            "type": kind,
        });
        Self { json, width: 24, height: 8 }
    }

    /// Rows of states over time.
    pub(crate) fn timeline(title: &str, description: &str) -> Self {
        let options = json!({
            "alignValue": "left",
            "legend": legend(false),
            "mergeValues": true,
            "rowHeight": 0.8,
            "showValue": "never",
            "tooltip": tooltip(),
        });
        // `spanNulls`: what was not watched stays empty, however short it was.
        let custom = json!({
            "fillOpacity": 75,
            "hideFrom": {"legend": false, "tooltip": false, "viz": false},
            "insertNulls": false,
            "lineWidth": 0,
            "spanNulls": false,
        });
        let mut panel = Self::new("state-timeline", title, description, options, custom);
        panel.json["maxDataPoints"] = json!(500);
        panel
    }

    /// Lines over time.
    pub(crate) fn lines(title: &str, description: &str) -> Self {
        let options = json!({"legend": legend(true), "tooltip": tooltip()});
        let custom = json!({
            "axisPlacement": "auto",
            "drawStyle": "line",
            "fillOpacity": 8,
            "gradientMode": "none",
            "hideFrom": {"legend": false, "tooltip": false, "viz": false},
            "lineInterpolation": "linear",
            "lineWidth": 1,
            "pointSize": 4,
            "showPoints": "never",
            "spanNulls": false,
            "stacking": {"group": "A", "mode": "none"},
            "thresholdsStyle": {"mode": "off"},
        });
        Self::new("timeseries", title, description, options, custom)
            .color("palette-classic")
            .size_of(12, 8)
    }

    /// A number.
    pub(crate) fn stat(title: &str, description: &str) -> Self {
        let options = json!({
            "colorMode": "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "percentChangeColorMode": "standard",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            "showPercentChange": false,
            "textMode": "auto",
            "wideLayout": true,
        });
        Self::new("stat", title, description, options, json!({})).size_of(4, 4)
    }

    /// Bars, one for each series, on a scale from 0 to `max`.
    pub(crate) fn bars(title: &str, description: &str, max: f64) -> Self {
        let options = json!({
            "displayMode": "basic",
            "legend": legend(false),
            "maxVizHeight": 40,
            "minVizHeight": 12,
            "minVizWidth": 8,
            "namePlacement": "left",
            "orientation": "horizontal",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            "showUnfilled": true,
            "sizing": "auto",
            "valueMode": "text",
        });
        let mut panel = Self::new("bargauge", title, description, options, json!({}));
        panel.json["fieldConfig"]["defaults"]["min"] = json!(0);
        panel.json["fieldConfig"]["defaults"]["max"] = json!(max);
        panel.size_of(12, 8)
    }

    /// Rows and columns; `sorted`: by which column, and whether the largest comes first.
    pub(crate) fn table(title: &str, description: &str, sorted: Option<(&str, bool)>) -> Self {
        let mut options = json!({"cellHeight": "sm", "frameIndex": 0, "showHeader": true});
        if let Some((column, desc)) = sorted {
            options["sortBy"] = json!([{"desc": desc, "displayName": column}]);
        }
        let custom = json!({"align": "auto", "filterable": true, "inspect": false});
        // What is shown for an empty panel is not to stand in every empty cell.
        Self::new("table", title, description, options, custom)
            .size_of(24, 9)
            .field("/./", json!({"noValue": ""}))
    }

    pub(crate) fn size_of(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    pub(crate) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    pub(crate) fn query(mut self, query: &Query) -> Self {
        let targets = self.json["targets"].as_array_mut().expect("a list from the start");
        let next = query.json(targets.len());
        targets.push(next);
        self
    }

    /// Steps are this long at least.
    pub(crate) fn interval(mut self, interval: &str) -> Self {
        self.json["interval"] = json!(interval);
        self
    }

    pub(crate) fn unit(mut self, unit: &str) -> Self {
        self.json["fieldConfig"]["defaults"]["unit"] = json!(unit);
        self
    }

    pub(crate) fn decimals(mut self, decimals: u32) -> Self {
        self.json["fieldConfig"]["defaults"]["decimals"] = json!(decimals);
        self
    }

    fn color(mut self, mode: &str) -> Self {
        self.json["fieldConfig"]["defaults"]["color"] = json!({"mode": mode});
        self
    }

    /// The colour below the first step, and from each step on.
    pub(crate) fn steps(mut self, base: &str, steps: &[(f64, &str)]) -> Self {
        self.json["fieldConfig"]["defaults"]["thresholds"] = thresholds(base, steps);
        self
    }

    /// What values are called.
    pub(crate) fn values(mut self, values: &[(&str, &str, &str)]) -> Self {
        let mut options = serde_json::Map::new();
        for (index, (value, text, color)) in values.iter().enumerate() {
            let shown = json!({"color": color, "index": index, "text": text});
            options.insert((*value).to_owned(), shown);
        }
        self.json["fieldConfig"]["defaults"]["mappings"] = json!([
            {"options": options, "type": "value"},
            {
                "options": {
                    "match": "null",
                    "result": {"color": "transparent", "index": values.len(), "text": "Not watched"},
                },
                "type": "special",
            },
        ]);
        self
    }

    /// What is shown where there is nothing: not in the colour of the lowest threshold, which would be
    /// that of an alarm.
    pub(crate) fn or_else(mut self, text: &str) -> Self {
        self.json["fieldConfig"]["defaults"]["noValue"] = json!(text);
        if self.json["type"] == "stat" || self.json["type"] == "bargauge" {
            let mappings = self.json["fieldConfig"]["defaults"]["mappings"].as_array_mut();
            let mappings = mappings.expect("a list from the start");
            mappings.retain(|mapping| mapping["type"] != "special");
            let shown = json!({"color": PLAIN, "index": mappings.len(), "text": text});
            let options = json!({"match": "null+nan", "result": shown});
            mappings.push(json!({"options": options, "type": "special"}));
        }
        self
    }

    /// Sets an option of the panel.
    pub(crate) fn option(mut self, name: &str, value: Value) -> Self {
        self.json["options"][name] = value;
        self
    }

    /// Sets an option of all fields.
    pub(crate) fn custom(mut self, name: &str, value: Value) -> Self {
        self.json["fieldConfig"]["defaults"]["custom"][name] = value;
        self
    }

    /// Lines stand one above the other.
    pub(crate) fn stacked(self) -> Self {
        self.custom("stacking", json!({"group": "A", "mode": "normal"}))
            .custom("fillOpacity", json!(40))
    }

    /// Sets properties of one field, by its name or by a pattern (`/.../`).
    pub(crate) fn field(mut self, name: &str, properties: Value) -> Self {
        let id = if name.starts_with('/') { "byRegexp" } else { "byName" };
        let Value::Object(properties) = properties else { unreachable!("a literal map") };
        let list: Vec<Value> = properties
            .into_iter()
            .map(|(id, value)| json!({"id": id.replace('/', "."), "value": value}))
            .collect();
        let over = json!({"matcher": {"id": id, "options": name}, "properties": list});
        let overrides = self.json["fieldConfig"]["overrides"].as_array_mut();
        overrides.expect("a list from the start").push(over);
        self
    }

    /// A column of 0 and 1, in words.
    pub(crate) fn state_column(self, name: &str, zero: &str, one: &str) -> Self {
        let words = json!({
            "0": {"text": zero, "color": BAD, "index": 0},
            "1": {"text": one, "color": GOOD, "index": 1},
        });
        let shown = json!({
            "mappings": [{"type": "value", "options": words}],
            "custom/cellOptions": {"type": "color-text"},
        });
        self.field(name, shown)
    }

    pub(crate) fn transform(mut self, id: &str, options: Value) -> Self {
        if self.json.get("transformations").is_none() {
            self.json["transformations"] = json!([]);
        }
        let list = self.json["transformations"].as_array_mut().expect("made above");
        list.push(json!({"id": id, "options": options}));
        self
    }

    /// The rows of several queries side by side, under these names, one without a name left out; of the
    /// labels only `labels` stay, in this order.
    pub(crate) fn columns(self, labels: &[(&str, &str)], values: &[&str]) -> Self {
        self.transform("merge", json!({})).organized(&[], labels, values)
    }

    /// The same, in the order of a label that is not shown.
    pub(crate) fn sorted_columns(
        self,
        label: &str,
        labels: &[(&str, &str)],
        values: &[&str],
    ) -> Self {
        self.transform("merge", json!({}))
            .transform("sortBy", json!({"fields": {}, "sort": [{"field": label}]}))
            .organized(&[label], labels, values)
    }

    fn organized(self, hidden: &[&str], labels: &[(&str, &str)], values: &[&str]) -> Self {
        let (mut order, mut names) = (serde_json::Map::new(), serde_json::Map::new());
        let mut without = serde_json::Map::new();
        for field in ["Time"].iter().chain(hidden) {
            without.insert((*field).to_owned(), json!(true));
        }
        let mut put = |field: String, shown: &str| {
            if shown.is_empty() {
                without.insert(field, json!(true));
                return;
            }
            order.insert(field.clone(), json!(order.len()));
            names.insert(field, json!(shown));
        };
        for (label, shown) in labels {
            put((*label).to_owned(), shown);
        }
        for (at, shown) in values.iter().enumerate() {
            let one = values.len() == 1;
            put(if one { "Value".to_owned() } else { format!("Value #{}", letter(at)) }, shown);
        }
        self.transform(
            "organize",
            json!({"excludeByName": without, "indexByName": order, "renameByName": names}),
        )
    }

    /// Where a click on a value leads.
    pub(crate) fn link(mut self, title: &str, url: &str) -> Self {
        self.json["fieldConfig"]["defaults"]["links"] = links(title, url);
        self
    }

    pub(crate) fn json(self) -> Value {
        self.json
    }
}

/// The colour below the first step, and from each step on.
pub(crate) fn thresholds(base: &str, steps: &[(f64, &str)]) -> Value {
    let mut list = vec![json!({"color": base, "value": null})];
    list.extend(steps.iter().map(|(value, color)| json!({"color": color, "value": value})));
    json!({"mode": "absolute", "steps": list})
}

/// A list of one link.
pub(crate) fn links(title: &str, url: &str) -> Value {
    // Grafana reads the title, the address and where it opens; its schema wants the rest.
    json!([{
        "asDropdown": false,
        "icon": "",
        "includeVars": false,
        "keepTime": false,
        "tags": [],
        "targetBlank": false,
        "title": title,
        "tooltip": "",
        "type": "link",
        "url": url,
    }])
}

fn legend(shown: bool) -> Value {
    json!({
        "calcs": [],
        "displayMode": "list",
        "placement": "bottom",
        "showLegend": shown,
    })
}

fn tooltip() -> Value {
    json!({"mode": "multi", "sort": "desc"})
}
