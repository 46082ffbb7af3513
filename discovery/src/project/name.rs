//! The name of a project, as Compose finds it and writes it on containers.

use watchpost_targets::yaml::{Mark, Node};

use crate::service::Context;

/// The longest name that is compared, in bytes.
const MAX_NAME: usize = 1_024;

/// The name that is written in a project's file, or in the variables, or that of its folder; in the letters that
/// Compose leaves of it.
pub(super) fn of(document: Option<&Node>, context: &Context) -> Option<String> {
    let written = document.and_then(|document| document.get("name")?.text());
    let written = written.map(|name| context.written(name, Mark::default()).fill().text);
    let set = || context.variables.get("COMPOSE_PROJECT_NAME").cloned();
    let folder = || {
        let folder = std::path::absolute(&context.folder).ok()?;
        Some(folder.file_name()?.to_string_lossy().into_owned())
    };
    let name = written.or_else(set).or_else(folder)?.to_lowercase();
    let kept = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let name: String = name.chars().filter(kept).take(MAX_NAME).collect();
    Some(name.trim_start_matches(['-', '_']).to_owned()).filter(|name| !name.is_empty())
}
