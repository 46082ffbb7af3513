//! The text of `docs/CONFIG_KEYS.md`: one table for all that share its keys, so that nothing is said
//! twice.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{KINDS, Part, keys, listed, meaning_of, meanings, parts};
use crate::config::check::components::{CONNECTORS, Kinds};
use crate::config::raw::{SECTIONS, SECTIONS_LATER};

const HEAD: &str = "\
# Every key

What may be written in `watchpost.yaml`, with what it takes and what stands when it is left out; [CONFIG.md](CONFIG.md) says how it
works together. Made from what the decoder accepts and from `src/config/check/reference/meanings.txt` by
`UPDATE=1 cargo test --profile ci --lib reference`.

`NAME` is a name of yours, `[]` an item of a list, `*` each of several. A duration is written as in Go: `300ms`, `15s`, `1h30m`. A default
stands here where a test proves it; else the sentence says what holds.
";

/// The whole page.
pub(super) fn page() -> String {
    let mut out = String::from(HEAD);
    let rows = rows();
    let lists = lists();
    for section in SECTIONS {
        let kinds = KINDS.into_iter().chain([&CONNECTORS]).find(|kinds| kinds.section == section);
        let _ = write!(out, "\n## {section}\n");
        if let Some(kinds) = kinds {
            components(kinds, &mut out);
        }
        let mut groups: Vec<&Vec<String>> = Vec::new();
        let places =
            rows.iter().map(|row| &row.places).chain(lists.iter().map(|list| &list.places));
        for places in places.filter(|places| section_of(&places[0]) == section) {
            if !groups.contains(&places) {
                groups.push(places);
            }
        }
        // What stands at one place alone, then what several share.
        groups.sort_by_key(|places| places.len());
        for places in groups {
            table(places, section, &rows, &lists, &mut out);
        }
    }
    let later = SECTIONS_LATER.map(|name| format!("`{name}`")).join(", ");
    let _ = write!(out, "\n## Other sections\n\nRefused by name until they are built: {later}.\n");
    out
}

/// A row of a table.
struct Row {
    /// The places that have these keys, such as `exporters.otlp_grpc`.
    places: Vec<String>,
    key: String,
    form: String,
    default: &'static str,
    text: &'static str,
}

/// Keys that are known and not read.
struct List {
    places: Vec<String>,
    key: String,
    later: bool,
}

fn rows() -> Vec<Row> {
    let meanings = meanings();
    let keys = keys();
    let mut rows: Vec<(usize, Row)> = Vec::new();
    for (path, form) in &keys {
        let index = meaning_of(path, &meanings).unwrap_or_else(|| panic!("{path}: no meaning"));
        if rows.iter().any(|(have, _)| *have == index) {
            continue;
        }
        let same = |path: &&(String, String)| meaning_of(&path.0, &meanings) == Some(index);
        let (mut places, mut names) = (Vec::new(), BTreeSet::new());
        for (path, other) in keys.iter().filter(same) {
            assert_eq!(form, other, "{path} takes something else than its like");
            let (place, key) = apart(path);
            if !places.contains(&place) {
                places.push(place);
            }
            names.insert(key);
        }
        let names: Vec<String> = match names.len() {
            0..=3 => names.into_iter().collect(),
            _ => vec![apart(meanings[index].pattern).1],
        };
        let (key, form) = match path.ends_with("[]") {
            true => (
                names.join(", ").replace("[],", ",").trim_end_matches("[]").to_owned(),
                format!("list of {form}s"),
            ),
            false => (names.join(", "), form.clone()),
        };
        let (default, text) = (meanings[index].default, meanings[index].text);
        rows.push((index, Row { places, key, form, default, text }));
    }
    // The file of meanings has them as a reader wants them.
    rows.sort_by_key(|(index, _)| *index);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn lists() -> Vec<List> {
    let mut lists: Vec<List> = Vec::new();
    for part in parts() {
        let Part { later, idle, .. } = &part;
        for (tables, later) in [(later, true), (idle, false)] {
            for path in listed(&part, tables) {
                let (place, key) = apart(&path);
                match lists.iter_mut().find(|list| list.key == key && list.later == later) {
                    Some(list) if section_of(&list.places[0]) == section_of(&place) => {
                        list.places.push(place);
                    }
                    _ => lists.push(List { places: vec![place], key, later }),
                }
            }
        }
    }
    lists
}

fn section_of(place: &str) -> &str {
    place.split('.').next().unwrap_or(place)
}

/// The place of a path, which has a table of its own, and the key within it.
fn apart(path: &str) -> (String, String) {
    let section = section_of(path);
    let deep = KINDS.iter().any(|kinds| kinds.section == section)
        || matches!(section, "modules" | "discovery");
    let dots = if deep { 2 } else { 1 };
    match path.match_indices('.').nth(dots - 1) {
        Some((at, _)) => (path[..at].to_owned(), path[at + 1..].to_owned()),
        None => (path.to_owned(), String::new()),
    }
}

/// Which components a section has.
fn components(kinds: &Kinds, out: &mut String) {
    let quoted = |names: &[&str]| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let older = kinds.known.iter().filter(|(_, older)| !older.is_empty());
    let older: Vec<String> =
        older.map(|(name, older)| format!("{} (`{name}`)", quoted(older))).collect();
    out.push('\n');
    if !older.is_empty() {
        let _ = writeln!(out, "Older spellings that are read: {}.\n", older.join(", "));
    }
    let described: Vec<String> =
        parts().iter().filter_map(|part| Some(apart(&part.shape.blocks.first()?.path).0)).collect();
    let idle: Vec<&str> = kinds
        .known
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !described.contains(&format!("{}.{name}", kinds.section)))
        .collect();
    if !idle.is_empty() {
        let _ = writeln!(out, "Read, and without effect: {}.\n", quoted(&idle));
    }
    let _ = writeln!(out, "Refused by name until they are built: {}.", quoted(kinds.later));
}

fn table(places: &[String], section: &str, rows: &[Row], lists: &[List], out: &mut String) {
    let names: Vec<String> = places
        .iter()
        .map(|place| place.strip_prefix(section).unwrap_or(place))
        .map(|name| format!("`{}`", name.trim_start_matches('.')))
        .collect();
    match places {
        [only] if only == section => {}
        [_] => drop(write!(out, "\n### {}\n", names[0])),
        _ => drop(write!(out, "\n### In common: {}\n", names.join(", "))),
    }
    let own: Vec<&Row> = rows.iter().filter(|row| row.places == places).collect();
    if !own.is_empty() {
        out.push_str("\n| key | takes | default | what it is |\n|---|---|---|---|\n");
    }
    for Row { key, form, default, text, .. } in own {
        let key = if key.is_empty() { section } else { key };
        let key = key.split(", ").map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        let _ = writeln!(out, "| {key} | {form} | {default} | {} |", text.replace('|', "\\|"));
    }
    for (later, what) in
        [(true, "Refused by name until they are built"), (false, "Read, and without effect")]
    {
        let own = lists.iter().filter(|list| list.later == later && list.places == places);
        let own: Vec<String> = own.map(|list| format!("`{}`", list.key)).collect();
        if !own.is_empty() {
            let _ = write!(out, "\n{what}: {}.\n", own.join(", "));
        }
    }
}
