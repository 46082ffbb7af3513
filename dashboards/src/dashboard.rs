//! What dashboards are made of: variables, rows, links.

use serde_json::{Map, Value, json};

use crate::panel::Panel;
use crate::query::promql;

/// The tag by which the dashboards find each other.
const TAG: &str = "watchpost";
/// Grafana has 24 columns.
const COLUMNS: u32 = 24;

/// The data source that the user has chosen.
pub(crate) fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// A variable of a dashboard.
pub(crate) struct Variable {
    name: &'static str,
    label: &'static str,
    query: String,
    regex: &'static str,
    many: bool,
}

impl Variable {
    /// The values of a label.
    pub(crate) fn label(name: &'static str, label: &'static str, series: &str, of: &str) -> Self {
        let query = promql(&format!("label_values({series}, {of})"));
        Self { name, label, query, regex: "", many: false }
    }

    /// What a pattern finds in the series that a query answers with.
    pub(crate) fn result(
        name: &'static str,
        label: &'static str,
        expr: &str,
        regex: &'static str,
    ) -> Self {
        let query = promql(&format!("query_result({expr})"));
        Self { name, label, query, regex, many: false }
    }

    /// Several may be chosen, and all are at first.
    pub(crate) fn many(mut self) -> Self {
        self.many = true;
        self
    }

    fn json(&self) -> Value {
        let mut variable = json!({
            "datasource": datasource(),
            "hide": 0,
            "includeAll": self.many,
            "label": self.label,
            "multi": self.many,
            "name": self.name,
            "options": [],
            "query": self.query,
            "refresh": 2,
            "regex": self.regex,
            "skipUrlSync": false,
            "sort": 7,
            "type": "query",
        });
        if self.many {
            // Series without the label are among all of them.
            variable["allValue"] = json!(".*");
            variable["current"] = json!({"selected": true, "text": ["All"], "value": ["$__all"]});
        }
        variable
    }
}

/// A dashboard in the making.
pub(crate) struct Dashboard {
    head: Map<String, Value>,
    variables: Vec<Value>,
    panels: Vec<Value>,
    annotations: Vec<Value>,
    /// The next free line.
    y: u32,
    next: u32,
}

impl Dashboard {
    /// An empty one, which shows the last `span` (`6h`).
    pub(crate) fn new(uid: &str, title: &str, description: &str, span: &str) -> Self {
        let head = json!({
            "description": description,
            "editable": true,
            "fiscalYearStartMonth": 0,
            "graphTooltip": 1,
            "links": [{
                "asDropdown": false,
                "icon": "external link",
                "includeVars": false,
                "keepTime": true,
                "tags": [TAG],
                "targetBlank": false,
                "title": "Watchpost",
                "tooltip": "",
                "type": "dashboards",
                "url": "",
            }],
            "refresh": "1m",
            "schemaVersion": 41,
            "tags": [TAG],
            "time": {"from": format!("now-{span}"), "to": "now"},
            "timepicker": {},
            "timezone": "browser",
            "title": title,
            "uid": uid,
            "version": 1,
            "weekStart": "",
        });
        let Value::Object(head) = head else { unreachable!("a literal map") };
        let source = json!({
            "hide": 0,
            "includeAll": false,
            "label": "Data source",
            "multi": false,
            "name": "datasource",
            "options": [],
            "query": "prometheus",
            "refresh": 1,
            "regex": "",
            "skipUrlSync": false,
            "type": "datasource",
        });
        Self { head, variables: vec![source], panels: vec![], annotations: vec![], y: 0, next: 1 }
    }

    pub(crate) fn variable(mut self, variable: &Variable) -> Self {
        self.variables.push(variable.json());
        self
    }

    /// Lines through all panels when something happened.
    pub(crate) fn annotation(mut self, name: &str, color: &str, expr: &str, title: &str) -> Self {
        self.annotations.push(json!({
            "datasource": datasource(),
            "enable": true,
            "expr": promql(expr),
            "hide": false,
            "iconColor": color,
            "name": name,
            "step": "60s",
            "textFormat": "",
            "titleFormat": title,
        }));
        self
    }

    /// A title across, and what stands below it, left to right, in lines of 24 columns.
    pub(crate) fn row(mut self, title: &str, panels: Vec<Panel>) -> Self {
        let id = self.id();
        self.panels.push(json!({
            "collapsed": false,
            "gridPos": {"h": 1, "w": COLUMNS, "x": 0, "y": self.y},
            "id": id,
            "panels": [],
            "title": title,
            "type": "row",
        }));
        self.y += 1;
        let (mut x, mut highest) = (0, 0);
        for panel in panels {
            let (width, height) = panel.size();
            if x + width > COLUMNS {
                (x, self.y, highest) = (0, self.y + highest, 0);
            }
            let mut json = panel.json();
            json["gridPos"] = json!({"h": height, "w": width, "x": x, "y": self.y});
            json["id"] = json!(self.id());
            self.panels.push(json);
            x += width;
            highest = highest.max(height);
        }
        self.y += highest;
        self
    }

    fn id(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn json(mut self) -> Value {
        self.head.insert("panels".to_owned(), json!(self.panels));
        self.head.insert("templating".to_owned(), json!({"list": self.variables}));
        self.head.insert("annotations".to_owned(), json!({"list": self.annotations}));
        Value::Object(self.head)
    }
}
