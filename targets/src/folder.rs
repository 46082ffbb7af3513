//! Folders opened component by component, so that a path of another user leads root nowhere else, and files replaced
//! in such a folder with no more permissions than its owner has.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// Links that are followed one after the other, as Linux does it.
pub(crate) const MAX_LINKS: usize = 40;
/// Names that are tried for a temporary file.
const MAX_NAMES: usize = 16;

/// A folder that is open, whatever happens to its path.
#[derive(Debug)]
pub struct Folder {
    handle: OwnedFd,
    /// The path by which it was found, without links.
    path: PathBuf,
    user: u32,
    group: u32,
}

/// A name in a folder; the file need not exist.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: Folder,
    pub(crate) name: OsString,
}

impl Folder {
    /// Opens a folder. When root runs this, links of other users are refused.
    ///
    /// # Errors
    /// The system's error, or the link that is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        let place = Walk::new(path)?.run(false)?;
        match place.name {
            None => Ok(place.folder),
            Some(name) => Err(match place.folder.stat(&name) {
                Ok(_) => Errno::NOTDIR.into(),
                Err(error) => error,
            }),
        }
    }

    /// Makes a folder and those above it where they are missing, with the permissions of the owner of the first that
    /// exists.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn make(path: &Path) -> io::Result<Self> {
        let place = Walk::new(path)?.run(true)?;
        let Some(name) = place.name else { return Ok(place.folder) };
        place.folder.child(&name)
    }

    /// The owner: user and group.
    #[must_use]
    pub fn owner(&self) -> (u32, u32) {
        (self.user, self.group)
    }

    /// The path by which it was found, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes this the working directory of the process: relative paths then lead here, whatever happens to its path.
    ///
    /// # Errors
    /// The system's error.
    pub fn enter(&self) -> io::Result<()> {
        Ok(rustix::process::fchdir(&self.handle)?)
    }

    fn from(handle: OwnedFd, path: PathBuf) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&handle)?;
        Ok(Self { handle, path, user: stat.st_uid, group: stat.st_gid })
    }

    fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The folder of this name in it, which is made when it is missing.
    fn child(&self, name: &OsStr) -> io::Result<Self> {
        let path = self.path.join(name);
        let made = self
            .as_owner(|| Ok(rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(0o777))?));
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        Self::from(rustix::fs::openat(&self.handle, name, FOLDER, Mode::empty())?, path)
    }

    /// Does something with the permissions of the folder's owner when root runs this, on a thread that ends with it.
    ///
    /// Only the effective ids are changed: the kernel takes all capabilities from the thread, and the owner may not send
    /// signals to it.
    pub(crate) fn as_owner<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        if !geteuid().is_root() || self.user == 0 {
            return work();
        }
        let become_owner = || -> rustix::io::Result<()> {
            // Where this is forbidden, the folder is open and nothing else is written.
            let _ = set_thread_groups(&[]);
            set_thread_res_gid(None, Gid::from_raw(self.group), None)?;
            set_thread_res_uid(None, Uid::from_raw(self.user), None)
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("owner".to_owned());
            let thread = thread.spawn_scoped(scope, || {
                become_owner().map_err(|error| {
                    let (user, path) = (self.user, self.path.display());
                    io::Error::other(format!("cannot act as user {user}, who owns {path}: {error}"))
                })?;
                work()
            })?;
            thread.join().unwrap_or_else(|_| Err(io::Error::other("writing has panicked")))
        })
    }
}

const FOLDER: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const LINK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where a walk has ended: a folder, or a name in it that is no folder.
struct End {
    folder: Folder,
    name: Option<OsString>,
}

/// A path on the way.
struct Walk {
    at: Folder,
    rest: VecDeque<OsString>,
    links: usize,
    /// Root follows only its own links: another user's could lead it anywhere.
    careful: bool,
}

impl Walk {
    fn new(path: &Path) -> io::Result<Self> {
        let start = if path.is_absolute() { Path::new("/") } else { Path::new(".") };
        let handle = rustix::fs::openat(CWD, start, FOLDER, Mode::empty())?;
        let at = Folder::from(handle, start.to_owned())?;
        let careful = geteuid().is_root();
        let mut walk = Self { at, rest: VecDeque::new(), links: MAX_LINKS, careful };
        walk.push(path);
        Ok(walk)
    }

    /// Goes along this path before what is left.
    fn push(&mut self, path: &Path) {
        let steps = path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        });
        let mut rest: VecDeque<OsString> = steps.collect();
        rest.append(&mut self.rest);
        self.rest = rest;
    }

    /// Walks to the end; `make`: folders in between are made. The last component may be missing.
    fn run(mut self, make: bool) -> io::Result<End> {
        while let Some(name) = self.rest.pop_front() {
            match rustix::fs::openat(&self.at.handle, &name, FOLDER, Mode::empty()) {
                Ok(handle) => {
                    let path = self.at.path.join(&name);
                    self.at = Folder::from(handle, path)?;
                }
                Err(Errno::NOTDIR | Errno::LOOP) => match self.target(&name)? {
                    Some(target) => self.follow(&name, &target)?,
                    None if self.rest.is_empty() => return Ok(self.end(name)),
                    None => return Err(Errno::NOTDIR.into()),
                },
                Err(Errno::NOENT) if self.rest.is_empty() => return Ok(self.end(name)),
                Err(Errno::NOENT) if make => self.at = self.at.child(&name)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(End { folder: self.at, name: None })
    }

    fn end(self, name: OsString) -> End {
        End { folder: self.at, name: Some(name) }
    }

    /// Where a link leads, if it is one that may be followed; `None`: it is no link.
    fn target(&self, name: &OsStr) -> io::Result<Option<PathBuf>> {
        let link = rustix::fs::openat(&self.at.handle, name, LINK, Mode::empty())?;
        let stat = rustix::fs::fstat(&link)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(None);
        }
        if self.careful {
            let around = rustix::fs::fstat(&self.at.handle)?;
            // Root is the caller: who else owns the link, or the folder that holds it, could exchange it.
            if stat.st_uid != 0 || around.st_uid != 0 || around.st_mode & 0o022 != 0 {
                let path = self.at.path.join(name);
                return Err(io::Error::other(format!(
                    "{} is a link that another user controls: root does not follow it",
                    path.display()
                )));
            }
        }
        let target = rustix::fs::readlinkat(&link, "", Vec::new())?;
        Ok(Some(PathBuf::from(OsString::from_vec(target.into_bytes()))))
    }

    fn follow(&mut self, name: &OsStr, target: &Path) -> io::Result<()> {
        if self.links == 0 || target.as_os_str().is_empty() {
            let path = self.at.path.join(name);
            return Err(io::Error::other(format!("{}: too many links", path.display())));
        }
        self.links -= 1;
        if target.is_absolute() {
            let handle = rustix::fs::openat(CWD, "/", FOLDER, Mode::empty())?;
            self.at = Folder::from(handle, PathBuf::from("/"))?;
        }
        self.push(target);
        Ok(())
    }
}

impl Place {
    /// Where a path leads once the links that may be followed are followed.
    pub(crate) fn find(path: &Path) -> io::Result<Self> {
        let end = Walk::new(path)?.run(false)?;
        match end.name {
            Some(name) if name != ".." => Ok(Self { folder: end.folder, name }),
            _ => Err(io::Error::other("not a regular file")),
        }
    }

    /// The mode of the file; `None`: there is none.
    pub(crate) fn mode(&self) -> io::Result<Option<u32>> {
        match self.folder.stat(&self.name) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok(Some(stat.st_mode & 0o777))
            }
            // Opening it would block, or it would be replaced.
            Ok(_) => Err(io::Error::other("not a regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the file, as the one who runs this, and no more of it than one byte beyond a limit; `None`: there is none.
    pub(crate) fn read(&self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        if self.mode()?.is_none() {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file =
            File::from(rustix::fs::openat(&self.folder.handle, &self.name, flags, Mode::empty())?);
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Makes a file beside it that nobody had, of a name that nobody can know before.
    pub(crate) fn temporary(&self) -> io::Result<(File, OsString)> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for _ in 0..MAX_NAMES {
            let mut name = OsString::from(".");
            name.push(&self.name);
            name.push(format!(".{:016x}.tmp", RandomState::new().hash_one(std::process::id())));
            let mode = Mode::from_raw_mode(0o600);
            match rustix::fs::openat(&self.folder.handle, &name, flags, mode) {
                Err(Errno::EXIST) => {}
                made => return Ok((File::from(made?), name)),
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Gives a file in the folder the name of this one.
    pub(crate) fn replace_by(&self, temporary: &OsStr) -> io::Result<()> {
        let folder = self.folder.handle.as_fd();
        rustix::fs::renameat(folder, temporary, folder, &self.name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(rustix::fs::fsync(rustix::fs::openat(folder, ".", flags, Mode::empty())?)?)
    }

    /// Removes a file in the folder.
    pub(crate) fn remove(&self, temporary: &OsStr) {
        let _ = rustix::fs::unlinkat(&self.folder.handle, temporary, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

    use super::*;

    const OTHER: u32 = 65534;

    /// A folder of another user; `None`: there is only one user here.
    #[allow(clippy::print_stderr, reason = "a test that cannot run is named")]
    fn folder_of_another(test: &str) -> Option<(tempfile::TempDir, PathBuf)> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("other");
        fs::create_dir(&path).expect("a folder");
        match chown(&path, Some(OTHER), Some(OTHER)) {
            Ok(()) => Some((folder, path)),
            Err(why) => {
                eprintln!("skipped {test}: {why}");
                None
            }
        }
    }

    #[test]
    fn the_owner_has_no_permissions_of_root() {
        let Some((folder, path)) = folder_of_another("the_owner_has_no_permissions_of_root") else {
            return;
        };
        let secret = folder.path().join("secret");
        fs::write(&secret, "x").expect("written");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("a mode");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        let other = Folder::open(&path).expect("opened");
        let read = other.as_owner(|| Ok((fs::read(&secret).is_err(), geteuid().as_raw())));
        assert_eq!(read.expect("the work"), (true, OTHER));
        let made = other.as_owner(|| fs::write(folder.path().join("new"), "x"));
        assert!(made.is_err());
        // This thread, and the next ones, are root's as before.
        assert!(geteuid().is_root() && fs::read(&secret).is_ok());
        let other = std::thread::spawn(|| geteuid().is_root()).join();
        assert!(other.expect("no panic"));
    }

    /// A path that leads elsewhere after it was walked changes nothing.
    #[test]
    fn an_open_folder_stays_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("out")).expect("a folder");
        fs::create_dir(at("victim")).expect("a folder");
        let place = Place::find(&at("out/file")).expect("found");
        fs::rename(at("out"), at("moved")).expect("renamed");
        symlink("victim", at("out")).expect("a link");
        let (file, name) = place.temporary().expect("made");
        assert_eq!(file.metadata().expect("its owner").mode() & 0o777, 0o600);
        assert_ne!(place.temporary().expect("another").1, name);
        place.replace_by(&name).expect("renamed");
        assert!(at("moved/file").exists());
        assert_eq!(fs::read_dir(at("victim")).expect("a folder").count(), 0);
    }

    /// Bits that give permissions to those who run a file are not kept.
    #[test]
    fn special_bits_are_not_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "old").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o6755)).expect("a mode");
        assert!(crate::write_atomic(&file, "new").expect("written"));
        assert_eq!(fs::metadata(&file).expect("its mode").mode() & 0o7777, 0o755);
    }
}
