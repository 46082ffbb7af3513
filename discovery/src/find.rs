//! Which files are read: compose files and traefik's dynamic configuration below some paths. Links
//! are followed where they stay below these paths, circles are not, pipes are never opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::reading::{bounded, explain, real, regular};
use crate::within::Within;

/// Folders may nest this deep.
const MAX_DEPTH: usize = 32;
/// Files and folders that are looked at.
const MAX_ENTRIES: usize = 500_000;
/// Links that lead outside and are reported.
const MAX_OUTSIDE: usize = 100;
/// Folders in which nobody keeps services.
const PASSED_OVER: [&str; 4] = [".git", "node_modules", ".terraform", "__pycache__"];

/// What was found below some paths.
#[derive(Debug, Default)]
pub struct Found {
    /// Compose files, by their names.
    pub compose: Vec<PathBuf>,
    /// Other files that may be dynamic configuration of traefik.
    pub others: Vec<PathBuf>,
    /// What could not be looked at, and why.
    pub problems: Vec<(PathBuf, String)>,
    /// Files that were named themselves, without links.
    pub named: BTreeSet<PathBuf>,
    /// Links that lead out of the paths, and are not followed.
    pub outside: Vec<PathBuf>,
    /// The folders that may be read.
    pub within: Within,
}

/// Whether a name is one of Compose's: `compose.yaml`, `docker-compose.local.yml`,
/// `media-compose.yml`, ...
#[must_use]
pub fn is_compose(name: &str) -> bool {
    let Some(stem) = name.strip_suffix(".yml").or_else(|| name.strip_suffix(".yaml")) else {
        return false;
    };
    let plain = stem.strip_prefix("docker-").unwrap_or(stem);
    plain == "compose"
        || plain.starts_with("compose.")
        || plain.starts_with("compose-")
        || stem.ends_with("-compose")
        || stem == "docker.compose"
}

/// Whether a compose file is laid over the plain one beside it: `compose.override.yml`.
#[must_use]
pub fn is_override(name: &str) -> bool {
    name.contains("compose.override")
}

/// Looks below some paths. A path may also be a file, which is then a compose file whatever its name.
#[must_use]
pub fn find(paths: &[PathBuf]) -> Found {
    let mut walk = Walk::default();
    for path in paths {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => walk.found.within.folder(path),
            Ok(meta) if meta.is_file() => walk.found.within.beside(path),
            _ => {}
        }
    }
    for path in paths {
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => walk.folder(path, 0),
            Ok(meta) if meta.is_file() => {
                walk.found.named.insert(real(path));
                walk.file(path, true);
            }
            Ok(_) => {
                walk.found.problems.push((path.clone(), "not a file and no folder".to_owned()))
            }
            Err(error) => walk.found.problems.push((path.clone(), error.to_string())),
        }
    }
    walk.found
}

/// Files that make a project together: each alone, but for overrides, which are laid over the plain
/// file of their folder. Of several files that Compose would take for the plain one of a folder, it
/// reads one: the others follow, unless somebody has named them, each with the name of that one.
pub(crate) fn groups(found: &Found) -> (Vec<Vec<PathBuf>>, Vec<(PathBuf, String)>) {
    let name = |path: &Path| {
        path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
    };
    // In the order in which Compose looks for it.
    let plain = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
    let rank = |path: &Path| plain.iter().position(|have| **have == name(path));
    let mut first: BTreeMap<&Path, usize> = BTreeMap::new();
    for file in &found.compose {
        if let (Some(folder), Some(rank)) = (file.parent(), rank(file)) {
            let have = first.entry(folder).or_insert(rank);
            *have = rank.min(*have);
        }
    }
    let (mut groups, mut passed_over): (Vec<Vec<PathBuf>>, _) = (Vec::new(), Vec::new());
    for file in found.compose.iter().filter(|file| !is_override(&name(file))) {
        let first = file.parent().and_then(|folder| first.get(folder).copied());
        match (first, rank(file)) {
            (Some(first), Some(rank)) if first < rank && !found.named.contains(&real(file)) => {
                passed_over.push((file.clone(), plain[first].to_owned()));
            }
            _ => groups.push(vec![file.clone()]),
        }
    }
    for file in found.compose.iter().filter(|file| is_override(&name(file))) {
        let same = |group: &&mut Vec<PathBuf>| group[0].parent() == file.parent();
        let below = groups.iter_mut().filter(same).min_by_key(|group| rank(&group[0]).unwrap_or(9));
        match below {
            Some(group) => group.push(file.clone()),
            None => groups.push(vec![file.clone()]),
        }
    }
    (groups, passed_over)
}

#[derive(Default)]
struct Walk {
    found: Found,
    /// Folders and files that have been seen, by device and number: a link leads to them again.
    seen: BTreeSet<(u64, u64)>,
    entries: usize,
}

impl Walk {
    fn is_new(&mut self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|meta| self.seen.insert((meta.dev(), meta.ino())))
    }

    fn folder(&mut self, path: &Path, depth: usize) {
        if !self.is_new(path) {
            return;
        }
        if depth > MAX_DEPTH {
            self.found.problems.push((path.to_owned(), "folders nest too deep".to_owned()));
            return;
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => {
                self.found.problems.push((path.to_owned(), error.to_string()));
                return;
            }
        };
        // One entry beyond the limit is enough to report it.
        let left = (MAX_ENTRIES + 1).saturating_sub(self.entries);
        let entries = entries.flatten().take(left);
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            self.entries += 1;
            if self.entries == MAX_ENTRIES {
                let why = format!("more than {MAX_ENTRIES} files: the rest is not looked at");
                self.found.problems.push((path, why));
                return;
            }
            if self.entries > MAX_ENTRIES {
                return;
            }
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            let link = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink());
            if link && !self.found.within.holds(&path) {
                if self.found.outside.len() < MAX_OUTSIDE {
                    self.found.outside.push(path);
                }
                continue;
            }
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() && PASSED_OVER.contains(&name.as_str()) => {}
                Ok(meta) if meta.is_dir() => self.folder(&path, depth + 1),
                Ok(meta) if meta.is_file() => self.file(&path, is_compose(&name)),
                // Pipes, sockets and links that lead nowhere.
                _ => {}
            }
        }
    }

    fn file(&mut self, path: &Path, compose: bool) {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let readable = compose || matches!(extension, "yml" | "yaml" | "toml");
        if !readable || !self.is_new(path) {
            return;
        }
        let list = if compose { &mut self.found.compose } else { &mut self.found.others };
        list.push(path.to_owned());
    }
}

/// Reads a file of text, with a mark in place of what is no text.
///
/// # Errors
/// Why it cannot be read, without its path.
pub fn read_lossy(path: &Path) -> Result<String, String> {
    // A pipe is not opened: that would wait for somebody to write.
    regular(&fs::metadata(path).map_err(explain)?)?;
    let bytes = bounded(fs::File::open(path).map_err(explain)?)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_compose_files() {
        for name in [
            "compose.yaml",
            "docker-compose.yml",
            "docker-compose.local.yml",
            "compose-pi.yaml",
            "media-compose.yml",
            "compose.override-dev.yml",
        ] {
            assert!(is_compose(name), "{name}");
        }
        for name in [
            "docker-compose.yaml.save",
            "compose.yml.j2",
            "compose.yaml.crypt",
            "composer.yml",
            "values.yaml",
            "compose.toml",
        ] {
            assert!(!is_compose(name), "{name}");
        }
        assert!(is_override("compose.override.yml") && !is_override("compose.local.yml"));
    }

    #[test]
    fn links_are_followed_and_circles_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir_all(root.join("services/a")).expect("folders");
        fs::create_dir_all(root.join("enabled")).expect("folders");
        fs::write(root.join("services/a/compose.yml"), "services: {}").expect("a file");
        fs::write(root.join("services/a/dynamic.toml"), "").expect("a file");
        fs::write(root.join("services/a/notes.txt"), "").expect("a file");
        std::os::unix::fs::symlink("../services/a", root.join("enabled/a")).expect("a link");
        std::os::unix::fs::symlink("..", root.join("services/up")).expect("a link");
        std::os::unix::fs::symlink("nowhere", root.join("services/broken")).expect("a link");
        let found = find(&[root.join("enabled"), root.join("services/a")]);
        assert_eq!(found.compose, [root.join("enabled/a/compose.yml")]);
        let found = find(&[root.join("enabled")]);
        assert_eq!((found.compose.len(), &found.outside[..]), (0, &[root.join("enabled/a")][..]));
        let found = find(&[root.to_owned(), root.join("services")]);
        assert_eq!((found.compose.len(), found.others.len(), found.problems.len()), (1, 1, 0));
        assert!(found.outside.is_empty(), "{found:?}");
        std::os::unix::fs::symlink("/", root.join("enabled/all")).expect("a link");
        let found = find(&[root.join("enabled"), root.join("services")]);
        let outside = [root.join("enabled/all"), root.join("services/up")];
        assert_eq!((found.compose.len(), &found.outside[..]), (1, &outside[..]));
        let missing = find(&[root.join("nowhere")]);
        assert_eq!(missing.problems.len(), 1);
    }
}
