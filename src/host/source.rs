//! Where the host is read: the folders, files that stay open between readings, and what is asked of
//! the kernel by calls.
//!
//! A file is opened once and read from its beginning each time (`pread`), which costs a third of
//! opening it. That is not done with files of other processes, which would keep those alive
//! (`/proc/PID/net` keeps a network namespace), and a sensor that is gone is opened again.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, pread, retry_on_intr};

use crate::host::kernel::Kernel;

/// Files of `/proc/sys` and sensors are short; the kernel clears as many bytes as are asked for.
const SHORT: usize = 128;
/// What is asked for at once of other files.
const CHUNK: usize = 16 << 10;
/// No file of the kernel is longer.
const MAX: usize = 32 << 20;

/// The folders in which the host shows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// `/proc`, or where it is mounted.
    pub proc: PathBuf,
    /// `/sys`, or where it is mounted.
    pub sys: PathBuf,
    /// Where the host's root is mounted, when we are in a container.
    pub prefix: Option<PathBuf>,
}

impl Root {
    /// The folders below a root; `None`: those of this machine.
    #[must_use]
    pub fn new(prefix: Option<&Path>) -> Self {
        let prefix = prefix.filter(|prefix| *prefix != Path::new("/"));
        let base = prefix.unwrap_or(Path::new("/"));
        Self { proc: base.join("proc"), sys: base.join("sys"), prefix: prefix.map(Path::to_owned) }
    }

    /// The folder of the network's files: those of the host's first process, when we are in a
    /// container with a network of its own.
    #[must_use]
    pub fn net(&self) -> PathBuf {
        match self.prefix {
            Some(_) => self.proc.join("1/net"),
            None => self.proc.join("net"),
        }
    }

    /// The path by which we reach a mount point of the host.
    #[must_use]
    pub fn reach(&self, mount_point: &Path) -> PathBuf {
        match &self.prefix {
            Some(prefix) => prefix.join(mount_point.strip_prefix("/").unwrap_or(mount_point)),
            None => mount_point.to_owned(),
        }
    }
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// The file, or the name of the call.
    pub what: PathBuf,
    /// Why.
    pub why: Why,
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The kernel said so.
    Errno(i32),
    /// What was read made no sense.
    Wrong(&'static str),
}

impl Why {
    /// The word by which errors are counted: `EACCES`, `wrong`, ...
    #[must_use]
    pub fn word(&self) -> String {
        match self {
            Why::Wrong(_) => "wrong".to_owned(),
            Why::Errno(number) => {
                let named = Errno::from_raw_os_error(*number);
                let known = [
                    (Errno::ACCESS, "EACCES"),
                    (Errno::PERM, "EPERM"),
                    (Errno::NOENT, "ENOENT"),
                    (Errno::SRCH, "ESRCH"),
                    (Errno::NODEV, "ENODEV"),
                    (Errno::NODATA, "ENODATA"),
                    (Errno::IO, "EIO"),
                    (Errno::INVAL, "EINVAL"),
                    (Errno::AGAIN, "EAGAIN"),
                    (Errno::NXIO, "ENXIO"),
                    (Errno::TIMEDOUT, "timeout"),
                    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
                    (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
                    (Errno::MFILE, "EMFILE"),
                    (Errno::ISDIR, "EISDIR"),
                    (Errno::STALE, "ESTALE"),
                    (Errno::NOSYS, "ENOSYS"),
                    (Errno::NOTDIR, "ENOTDIR"),
                    (Errno::XDEV, "EXDEV"),
                    (Errno::BUSY, "EBUSY"),
                ];
                let word = known.iter().find(|(errno, _)| *errno == named).map(|(_, word)| *word);
                word.map_or_else(|| format!("errno {number}"), str::to_owned)
            }
        }
    }
}

impl Trouble {
    /// A file that the kernel would not give.
    #[must_use]
    pub fn errno(what: &Path, errno: Errno) -> Self {
        Self { what: what.to_owned(), why: Why::Errno(errno.raw_os_error()) }
    }

    /// A file that made no sense.
    #[must_use]
    pub fn wrong(what: &Path, why: &'static str) -> Self {
        Self { what: what.to_owned(), why: Why::Wrong(why) }
    }

    /// Whether the kernel gave this reason.
    #[must_use]
    pub fn is(&self, errno: Errno) -> bool {
        self.why == Why::Errno(errno.raw_os_error())
    }

    /// Whether there is no such thing on this machine.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.is(Errno::NOENT) || self.is(Errno::NOTDIR)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.what.display())?;
        match &self.why {
            Why::Wrong(why) => f.write_str(why),
            Why::Errno(number) => write!(f, "{}", std::io::Error::from_raw_os_error(*number)),
        }
    }
}

/// Files that stay open, of all readers: attempts need descriptors, too.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// More than this many do not stay open.
const MAX_OPEN: usize = 256;

/// An open file that is counted.
#[derive(Debug)]
struct Counted(OwnedFd);

impl Counted {
    fn new(file: OwnedFd) -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self(file)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file that stays open between readings.
#[derive(Debug)]
pub struct Kept {
    path: PathBuf,
    file: Option<Counted>,
    short: bool,
}

impl Kept {
    /// A file of unknown length.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, short: false }
    }

    /// A file of one short line: a sensor, a setting.
    #[must_use]
    pub fn short(path: PathBuf) -> Self {
        Self { path, file: None, short: true }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the whole file into a buffer, in place of what is in it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Trouble> {
        let kept = self.file.is_some();
        let mut read = self.once(buffer);
        // The device went and another one came: what we hold open belongs to nobody.
        if kept && matches!(read, Err(Errno::NODEV | Errno::STALE | Errno::NXIO | Errno::SRCH)) {
            self.file = None;
            read = self.once(buffer);
        }
        match read {
            Ok(()) => Ok(buffer),
            Err(errno) => {
                self.file = None;
                Err(Trouble::errno(&self.path, errno))
            }
        }
    }

    fn once(&mut self, buffer: &mut Vec<u8>) -> Result<(), Errno> {
        if let Some(Counted(file)) = &self.file {
            return read_whole(file, self.short, buffer);
        }
        let file = open_file(&self.path)?;
        read_whole(&file, self.short, buffer)?;
        if OPEN.load(Ordering::Relaxed) < MAX_OPEN {
            self.file = Some(Counted::new(file));
        }
        Ok(())
    }
}

fn open_file(path: &Path) -> Result<OwnedFd, Errno> {
    // A sensor that has no value now must say so, not wait for one.
    open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
}

fn read_whole(file: &OwnedFd, short: bool, buffer: &mut Vec<u8>) -> Result<(), Errno> {
    buffer.clear();
    if short {
        let mut line = [0; SHORT];
        let read = retry_on_intr(|| pread(file, &mut line, 0))?;
        buffer.extend_from_slice(&line[..read]);
        return Ok(());
    }
    loop {
        if buffer.capacity() - buffer.len() < CHUNK / 2 {
            buffer.reserve(CHUNK);
        }
        let at = buffer.len() as u64;
        // Files that the kernel makes line by line come in pieces, whatever is asked for.
        match retry_on_intr(|| pread(file, spare_capacity(buffer), at)) {
            Ok(0) => return Ok(()),
            Ok(_) if buffer.len() >= MAX => return Ok(()),
            Ok(_) => {}
            Err(errno) => {
                buffer.clear();
                return Err(errno);
            }
        }
    }
}

/// Reads the host for one thread: folders, a buffer, files that many need.
pub struct Source {
    /// The folders.
    pub root: Root,
    /// The calls.
    pub kernel: Arc<dyn Kernel>,
    buffer: Vec<u8>,
    /// Files of `/proc` by their name below it.
    files: BTreeMap<&'static str, Kept>,
    net: PathBuf,
}

impl Source {
    /// Reads below these folders.
    #[must_use]
    pub fn new(root: Root, kernel: Arc<dyn Kernel>) -> Self {
        let host = root.net();
        // A container may have been given the host's files without those of its processes.
        let there = root.prefix.is_none() || host.join("dev").exists();
        let net = if there { host } else { root.proc.join("net") };
        Self { root, kernel, buffer: Vec::with_capacity(CHUNK), files: BTreeMap::new(), net }
    }

    /// What is missing where the network's files are not those of the host.
    #[must_use]
    pub fn foreign_network(&self) -> Option<Trouble> {
        let host = self.root.net();
        (self.net != host).then(|| Trouble::errno(&host, Errno::NOENT))
    }

    /// Reads a file of `/proc`. Those below `net/` are the host's, those below `sys/` short.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn proc(&mut self, name: &'static str) -> Result<&[u8], Trouble> {
        let (proc, net) = (&self.root.proc, &self.net);
        let kept = self.files.entry(name).or_insert_with(|| {
            let path = path_of(proc, net, name);
            if name.starts_with("sys/") { Kept::short(path) } else { Kept::new(path) }
        });
        kept.read(&mut self.buffer)
    }

    /// The path of a file of `/proc`.
    #[must_use]
    pub fn proc_path(&self, name: &str) -> PathBuf {
        path_of(&self.root.proc, &self.net, name)
    }

    /// Reads a file that stays open.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn kept(&mut self, file: &mut Kept) -> Result<&[u8], Trouble> {
        file.read(&mut self.buffer)
    }

    /// Reads a file once, and closes it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn once(&mut self, path: &Path) -> Result<&[u8], Trouble> {
        self.open_and_read(path, false)
    }

    fn open_and_read(&mut self, path: &Path, short: bool) -> Result<&[u8], Trouble> {
        let read = open_file(path).and_then(|file| read_whole(&file, short, &mut self.buffer));
        read.map_err(|errno| Trouble::errno(path, errno))?;
        Ok(&self.buffer)
    }

    /// Reads a short file once: its text without space around it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn text(&mut self, path: &Path) -> Result<String, Trouble> {
        let bytes = self.open_and_read(path, true)?;
        Ok(String::from_utf8_lossy(bytes.trim_ascii()).into_owned())
    }

    /// Reads a short file once: a number.
    ///
    /// # Errors
    /// Why it cannot be read, also when it is no number.
    pub fn number(&mut self, path: &Path) -> Result<i64, Trouble> {
        let text = self.text(path)?;
        text.parse().map_err(|_| Trouble::wrong(path, "a number is expected"))
    }

    /// The names in a folder, sorted; none when it is not there.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn names(&self, folder: &Path) -> Result<Vec<String>, Trouble> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
                return Err(Trouble { what: folder.to_owned(), why: Why::Errno(errno) });
            }
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut names: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort_by(|a, b| natural(a).cmp(&natural(b)));
        Ok(names)
    }
}

fn path_of(proc: &Path, net: &Path, name: &str) -> PathBuf {
    name.strip_prefix("net/").map_or_else(|| proc.join(name), |name| net.join(name))
}

/// A key by which `cpu10` comes after `cpu9`.
fn natural(name: &str) -> (&str, u64) {
    let head = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (head, name[head.len()..].parse().unwrap_or(0))
}
