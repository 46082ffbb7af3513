//! Which files a job may read: those below its `paths`. Compose files name other files, and links lead
//! anywhere; whoever writes them decides neither what this process reads nor what it tells of it.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

use crate::reading::{bounded, explain, real, regular};

/// The folders below which files are read, without links in their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Within(Vec<PathBuf>);

impl Within {
    /// Allows what is below a folder.
    pub(crate) fn folder(&mut self, path: &Path) {
        let path = real(path);
        if !self.0.contains(&path) {
            self.0.push(path);
        }
    }

    /// Allows what is beside a file, where it is named and where it is.
    pub(crate) fn beside(&mut self, file: &Path) {
        for path in [file, &real(file)] {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            self.folder(folder.unwrap_or(Path::new(".")));
        }
    }

    /// Whether a path leads below one of the folders. One that leads nowhere is judged by its text.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        match fs::canonicalize(path) {
            Ok(real) => self.has(&real),
            Err(_) => {
                // A part of it may exist, and be a link.
                let folder = path.parent().map(fs::canonicalize);
                let parts = match (folder, path.file_name()) {
                    (Some(Ok(folder)), Some(name)) => folder.join(name),
                    _ => plain(path),
                };
                self.has(&parts)
            }
        }
    }

    fn has(&self, real: &Path) -> bool {
        self.0.iter().any(|folder| real.starts_with(folder))
    }

    /// Reads a file of text.
    ///
    /// # Errors
    /// Why it cannot be read, without its path.
    pub fn read(&self, path: &Path) -> Result<String, String> {
        let no_text = |_| "this is no text (is it encrypted?)".to_owned();
        String::from_utf8(self.bytes(path)?).map_err(no_text)
    }

    fn bytes(&self, path: &Path) -> Result<Vec<u8>, String> {
        let outside = || "it is not below `paths:` of the job, and is not read".to_owned();
        if !self.holds(path) {
            return Err(outside());
        }
        let real = fs::canonicalize(path).map_err(explain)?;
        regular(&fs::metadata(&real).map_err(explain)?)?;
        // The path may have been replaced since: a pipe is not waited for.
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOFOLLOW).bits()).unwrap_or(0);
        let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(&real);
        let file = file.map_err(explain)?;
        let meta = file.metadata().map_err(explain)?;
        regular(&meta)?;
        // A folder on the way may have become a link: what counts is what was opened.
        let opened = match fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) {
            Ok(opened) => self.has(&opened),
            Err(_) => fs::canonicalize(&real).is_ok_and(|again| {
                let same = |now: fs::Metadata| (now.dev(), now.ino()) == (meta.dev(), meta.ino());
                self.has(&again) && fs::symlink_metadata(&again).is_ok_and(same)
            }),
        };
        if !opened {
            return Err(outside());
        }
        bounded(file)
    }
}

/// A path without `.` and `..`, by its text.
fn plain(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_lies_outside_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for name in ["in/a/file", "in/.env", "out/.env"] {
            fs::create_dir_all(root.join(name).parent().expect("a parent")).expect("folders");
            fs::write(root.join(name), "X=1").expect("a file");
        }
        symlink(root.join("out/.env"), root.join("in/link")).expect("a link");
        symlink(root.join("out"), root.join("in/folder")).expect("a link");
        symlink(root.join("in/a/file"), root.join("out/back")).expect("a link");
        symlink("nowhere", root.join("in/broken")).expect("a link");
        symlink(root.join("in"), root.join("named")).expect("a link");
        let mut within = Within::default();
        within.folder(&root.join("named"));
        for (name, expected) in [
            ("in/.env", Ok("X=1".to_owned())),
            ("named/a/file", Ok("X=1".to_owned())),
            ("in/a/../.env", Ok("X=1".to_owned())),
            ("out/back", Ok("X=1".to_owned())),
            ("in/missing", Err("no such file")),
            ("in/none/at/all", Err("no such file")),
            ("in/broken", Err("no such file")),
            ("in/a", Err("not a regular file")),
            ("out/.env", Err("it is not below")),
            ("in/../out/.env", Err("it is not below")),
            ("in/link", Err("it is not below")),
            ("in/folder/.env", Err("it is not below")),
            ("in/folder/missing", Err("it is not below")),
            ("out/missing", Err("it is not below")),
            ("in/none/../../out/none", Err("it is not below")),
            ("../etc/passwd", Err("it is not below")),
        ] {
            let read = within.read(&root.join(name));
            match expected {
                Ok(text) => assert_eq!(read, Ok(text), "{name}"),
                Err(why) => assert!(
                    read.as_ref().is_err_and(|have| have.starts_with(why)),
                    "{name}: {read:?}"
                ),
            }
        }
        // Of a file its folder counts, where it is named and where it is.
        let mut within = Within::default();
        within.beside(&root.join("out/back"));
        assert!(within.holds(&root.join("out/.env")) && within.holds(&root.join("in/a/file")));
        assert!(!within.holds(&root.join("in/.env")));
    }
}
