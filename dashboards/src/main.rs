//! Writes the dashboards for Grafana: `cargo run -p watchpost-dashboards` renews `dashboards/*.json`.
//!
//! Queries name metrics as `signal/names.rs` does (`<probe.success>`), and are written with the names
//! that Prometheus has for them: one that we do not publish cannot be asked for.

mod dashboard;
mod host;
mod lan;
mod panel;
mod query;
mod status;
mod target;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde_json::Value;

/// The dashboards, by their files.
fn all() -> [(&'static str, Value); 4] {
    [
        ("watchpost-status.json", status::dashboard()),
        ("watchpost-lan.json", lan::dashboard()),
        ("watchpost-target.json", target::dashboard()),
        ("watchpost-host.json", host::dashboard()),
    ]
}

/// A dashboard as its file has it.
fn text(dashboard: &Value) -> String {
    format!("{dashboard:#}\n")
}

fn main() -> anyhow::Result<()> {
    for (file, dashboard) in all() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), text(&dashboard))?;
    }
    Ok(())
}
