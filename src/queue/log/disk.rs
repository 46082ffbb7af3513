//! The files of one log: what it asks of a disk, and the folder that gives it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::base::clock::Timestamp;

/// A file, as a listing has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// When it was written last.
    pub modified: Timestamp,
}

/// Files in one folder, by their names. What is written is in the hands of the system at once and
/// outlives the process; only what is synced outlives a power failure.
pub trait Disk: Send + Sync {
    /// All files, in no order.
    ///
    /// # Errors
    /// As every call of this trait: what the system says.
    fn list(&self) -> io::Result<Vec<Listed>>;

    /// All bytes of a file.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Writes at a place of a file, which is made when it is not there.
    ///
    /// # Errors
    /// What the system says; a part may have been written then.
    fn write(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file off.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()>;

    /// Gives a file another name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, name: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns when what was written to a file outlives a power failure. None is made.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none; else what the system says: then nobody knows what of it does, whatever is said later.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Returns when the names of the files outlive a power failure.
    ///
    /// # Errors
    /// What the system says.
    fn sync_names(&self) -> io::Result<()>;

    /// Bytes that are free, and that there are at all.
    ///
    /// # Errors
    /// What the system says.
    fn space(&self) -> io::Result<(u64, u64)>;

    /// Whether what is written to a file can still be found by its name.
    ///
    /// # Errors
    /// What the system says: it may be there, and cannot be seen.
    fn is_there(&self, name: &str) -> io::Result<bool>;
}

/// A folder that no other process may use meanwhile.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The file system on which it was, and whose it was.
    device: u64,
    owner: (u32, u32),
    open: Mutex<BTreeMap<String, Arc<File>>>,
    /// Holds the lock for as long as it lives; `None`: others may use the folder.
    lock: Option<Mutex<File>>,
    /// Whether files may be written.
    writable: bool,
}

/// The file that is locked.
const LOCK: &str = "lock";
/// Files that are kept open: the segment that is written, and cursors.
const MAX_OPEN: usize = 64;

impl Folder {
    /// Makes the folder when it is not there, and takes it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process has it; else what the system says.
    pub fn take(path: &Path) -> io::Result<Self> {
        make(path)?;
        let folder = Self { writable: true, ..Self::look(path)? };
        let lock = folder.locked()?;
        Ok(Self { lock: Some(Mutex::new(lock)), ..folder })
    }

    /// A folder that no other process may write meanwhile: to be read only.
    ///
    /// # Errors
    /// As [`Folder::take`].
    pub fn peek(path: &Path) -> io::Result<Self> {
        let folder = Self::look(path)?;
        match reading().open(path.join(LOCK)) {
            Ok(lock) => {
                held(lock.try_lock_shared())?;
                Ok(Self { lock: Some(Mutex::new(lock)), ..folder })
            }
            // No process has used it yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(folder),
            Err(error) => Err(error),
        }
    }

    /// Whether the folder is still the one that was taken. One that is gone is made again, as long as nobody has put
    /// another queue in its place.
    fn keep(&self) -> io::Result<()> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let mut lock = lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has(&lock) {
            return Ok(());
        }
        if fs::read_dir(&self.path).is_ok_and(|mut files| files.next().is_some()) {
            let why = format!("{} has other files than before", self.path.display());
            return Err(io::Error::new(io::ErrorKind::StaleNetworkFileHandle, why));
        }
        // Where its disk is gone, it is not made on another one.
        let above = self.path.ancestors().find_map(|path| fs::metadata(path).ok());
        if above.is_none_or(|above| above.dev() != self.device) {
            return Err(self.is_elsewhere());
        }
        make(&self.path)?;
        *lock = self.locked()?;
        self.open().clear();
        Ok(())
    }

    /// Whether a lock is the one that is in the folder.
    fn has(&self, lock: &File) -> bool {
        let there = fs::symlink_metadata(self.path.join(LOCK)).map(place);
        there.is_ok_and(|there| lock.metadata().is_ok_and(|own| place(own) == there))
    }

    /// Whether the folder is still the one that was taken, if it was.
    fn is_own(&self) -> bool {
        let lock = self.lock.as_ref();
        lock.is_none_or(|lock| self.has(&lock.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// A folder that others may use: to be read only.
    ///
    /// # Errors
    /// What the system says.
    pub fn look(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: meta.dev(),
            owner: (meta.uid(), meta.gid()),
            open: Mutex::default(),
            lock: None,
            writable: false,
        })
    }

    /// Takes the lock.
    fn locked(&self) -> io::Result<File> {
        let path = self.path.join(LOCK);
        let lock = self.open_or_make(&path).or_else(|error| {
            // Where nothing can be written, the files can be read.
            let unwritable = error.kind() == io::ErrorKind::ReadOnlyFilesystem;
            if unwritable { reading().open(&path) } else { Err(error) }
        })?;
        held(lock.try_lock())?;
        Ok(lock)
    }

    /// Opens a file to be written, never through a link; makes it when it is not there.
    fn open_or_make(&self, path: &Path) -> io::Result<File> {
        loop {
            match writing().open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
            match writing().create_new(true).mode(0o640).open(path) {
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
                        return Err(error);
                    }
                }
                made => {
                    let made = made?;
                    self.hand_over(&made);
                    return Ok(made);
                }
            }
        }
    }

    /// Refuses to change what is to be read only.
    fn may_write(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(Errno::ROFS.into()) }
    }

    /// The path of a file. When something is mounted over the folder, none of its files is ours.
    fn at(&self, name: &str) -> io::Result<PathBuf> {
        let device = fs::metadata(&self.path)?.dev();
        if device == self.device {
            return Ok(self.path.join(name));
        }
        Err(self.is_elsewhere())
    }

    fn is_elsewhere(&self) -> io::Error {
        let why = format!("another file system is at {} than before", self.path.display());
        io::Error::new(io::ErrorKind::StaleNetworkFileHandle, why)
    }

    /// A file that root has just made belongs to the owner of the folder, else a daemon of that user could not use it.
    fn hand_over(&self, file: &File) {
        let (user, group) = self.owner;
        let foreign = file.metadata().is_ok_and(|meta| (meta.uid(), meta.gid()) != self.owner);
        if foreign && rustix::process::geteuid().is_root() {
            let _ = std::os::unix::fs::fchown(file, Some(user), Some(group));
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<String, Arc<File>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        if let Some(file) = self.open().get(name) {
            return Ok(Arc::clone(file));
        }
        self.may_write()?;
        self.keep()?;
        let file = Arc::new(self.open_or_make(&self.at(name)?)?);
        let mut open = self.open();
        if open.len() >= MAX_OPEN {
            open.pop_first();
        }
        open.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }
}

/// What tells a file from all others, whatever its name.
fn place(meta: fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

fn make(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o750).create(path) {
        // Where nothing can be written, the folder may be there.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && path.is_dir() => Ok(()),
        made => made,
    }
}

fn held(taken: Result<(), fs::TryLockError>) -> io::Result<()> {
    taken.map_err(|error| match error {
        fs::TryLockError::WouldBlock => {
            io::Error::new(io::ErrorKind::WouldBlock, "another process has it")
        }
        fs::TryLockError::Error(error) => error,
    })
}

/// Opens files, never through a link, and without waiting for the other end of a pipe.
fn careful() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    options
}

/// Opens files to be read.
pub(crate) fn reading() -> OpenOptions {
    let mut options = careful();
    options.read(true);
    options
}

fn writing() -> OpenOptions {
    let mut options = reading();
    options.write(true);
    options
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut files = Vec::new();
        self.at("")?;
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue };
            if let (Ok(name), true) = (entry.file_name().into_string(), meta.is_file()) {
                let nanos = meta.mtime().saturating_mul(1_000_000_000) + meta.mtime_nsec();
                let modified = Timestamp(u64::try_from(nanos).unwrap_or(0));
                files.push(Listed { name, bytes: meta.len(), modified });
            }
        }
        Ok(files)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.at(name).and_then(|path| reading().open(path));
        let mut file = read.map_err(|error| {
            // In another folder under this path nothing is gone.
            match error.kind() == io::ErrorKind::NotFound && !self.is_own() {
                true => self.is_elsewhere(),
                false => error,
            }
        })?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all_at(bytes, at)
    }

    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        self.file(name)?.set_len(bytes)
    }

    fn rename(&self, name: &str, to: &str) -> io::Result<()> {
        self.may_write()?;
        self.open().remove(name);
        self.open().remove(to);
        fs::rename(self.at(name)?, self.at(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.may_write()?;
        self.open().remove(name);
        fs::remove_file(self.at(name)?)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let open = self.open().get(name).cloned();
        let synced = match open {
            Some(file) => file.sync_data(),
            None => careful().write(true).open(self.at(name)?)?.sync_data(),
        };
        if synced.is_err() {
            // The system tells of a failure once, to this handle.
            self.open().remove(name);
        }
        synced
    }

    fn sync_names(&self) -> io::Result<()> {
        match OpenOptions::new().read(true).open(self.at("")?)?.sync_all() {
            // Some file systems know no such thing.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                Ok(())
            }
            synced => synced,
        }
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        let there = rustix::fs::statvfs(&self.path)?;
        Ok((there.f_bavail * there.f_frsize, there.f_blocks * there.f_frsize))
    }

    fn is_there(&self, name: &str) -> io::Result<bool> {
        let named = match self.at(name).and_then(fs::symlink_metadata) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            named => Some(place(named?)),
        };
        let open = self.open().get(name).cloned();
        let written = open.and_then(|file| file.metadata().ok()).map(place);
        let there = named.is_some() && (written.is_none() || written == named);
        if !there {
            // What is open is another file, or one without a name.
            self.open().remove(name);
        }
        Ok(there)
    }
}
