//! What backends refuse for good is put aside: in files that can be looked at, sent once more, or thrown away. The
//! oldest go when there are too many.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::queue::log::disk::reading;
use crate::queue::log::segment::{Captured, Head, MAX_SAMPLES, Part, Reader, Writer};
use crate::queue::log::store::encoded;
use crate::signal::batch::Sample;

/// Bytes that may be put aside for one pipeline.
pub const MAX_BYTES: u64 = 16 << 20;
/// Files that may be put aside for one pipeline.
const MAX_FILES: usize = 1_000;
/// The folder, in that of the log.
pub const FOLDER: &str = "rejected";
const SEGMENT: &str = "seg";
/// A file that is to be sent once more.
const REPLAY: &str = "replay";

/// What is put aside of one pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    folder: PathBuf,
}

/// A file of the quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// Where it is.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// The exporter whose backend has refused it, as in file names.
    exporter: String,
    /// Whether it waits to be sent once more.
    pub replayed: bool,
}

impl Aside {
    /// Whether it is of this exporter.
    #[must_use]
    pub fn is_of(&self, exporter: &str) -> bool {
        self.exporter == encoded(exporter)
    }

    /// The exporter whose backend has refused it.
    #[must_use]
    pub fn exporter(&self) -> String {
        percent_encoding::percent_decode_str(&self.exporter).decode_utf8_lossy().into_owned()
    }
}

impl Quarantine {
    /// The quarantine beside the log in a folder.
    #[must_use]
    pub fn beside(log: &Path) -> Self {
        Self { folder: log.join(FOLDER) }
    }

    /// Puts samples aside, with what the backend says of them.
    ///
    /// # Errors
    /// What the system says.
    pub fn put(
        &self,
        exporter: &str,
        samples: &[Sample],
        captured: Captured,
        boot_id: u128,
        why: &str,
    ) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.folder)?;
        let (mut writer, mut bytes) = Writer::new(Head { boot_id, begun: captured });
        bytes.extend(Writer::note(why));
        for (n, some) in samples.chunks(MAX_SAMPLES).enumerate() {
            bytes.extend(writer.entry((n * MAX_SAMPLES) as u64, captured, some));
        }
        let mut nanos = captured.wall.0;
        let path = loop {
            let path = self.folder.join(format!("{}.{nanos:020}.{SEGMENT}", encoded(exporter)));
            if !path.exists() {
                break path;
            }
            nanos += 1;
        };
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o640).open(&path)?.write_all(&bytes)?;
        self.shrink()
    }

    fn shrink(&self) -> io::Result<()> {
        let mut files = self.list()?;
        // By their time, whatever the exporter.
        files.sort_by_key(|aside| stamp(&aside.path));
        let mut bytes: u64 = files.iter().map(|aside| aside.bytes).sum();
        let mut left = files.len();
        for aside in files {
            if bytes <= MAX_BYTES && left <= MAX_FILES {
                break;
            }
            fs::remove_file(&aside.path)?;
            bytes -= aside.bytes;
            left -= 1;
        }
        Ok(())
    }

    /// All that is put aside, the oldest of each exporter first.
    ///
    /// # Errors
    /// What the system says; that nothing was ever put aside is none.
    pub fn list(&self) -> io::Result<Vec<Aside>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            // A link, or a pipe, is nothing that we have written.
            let Ok(meta) = entry.metadata() else { continue };
            let (Ok(name), true) = (entry.file_name().into_string(), meta.is_file()) else {
                continue;
            };
            let parts: Vec<&str> = name.rsplitn(3, '.').collect();
            let [kind, _, exporter] = parts[..] else { continue };
            if kind == SEGMENT || kind == REPLAY {
                let exporter = exporter.to_owned();
                let bytes = meta.len();
                files.push(Aside { path, bytes, exporter, replayed: kind == REPLAY });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Reads what is put aside, and why.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(path: &Path) -> io::Result<(Vec<Sample>, String)> {
        let mut bytes = Vec::new();
        reading().open(path)?.read_to_end(&mut bytes)?;
        let (mut samples, mut why) = (Vec::new(), String::new());
        for part in Reader::new(bytes) {
            match part {
                Part::Entry { entry, .. } => {
                    samples.extend(entry.samples.into_iter().map(|(_, sample)| sample));
                }
                Part::Note(note) => why = note,
                Part::Head(_) | Part::Foot | Part::Damage(_) | Part::Torn { .. } => {}
            }
        }
        Ok((samples, why))
    }

    /// Marks what was put aside of an exporter (`None`: of all) to be sent once more; returns how many files that
    /// are.
    ///
    /// # Errors
    /// What the system says.
    pub fn replay(&self, exporter: Option<&str>) -> io::Result<usize> {
        let mut count = 0;
        for aside in self.of(exporter)?.into_iter().filter(|aside| !aside.replayed) {
            fs::rename(&aside.path, aside.path.with_extension(REPLAY))?;
            count += 1;
        }
        Ok(count)
    }

    /// Throws away what was put aside of an exporter (`None`: of all); returns how many files that were.
    ///
    /// # Errors
    /// What the system says.
    pub fn purge(&self, exporter: Option<&str>) -> io::Result<usize> {
        let files = self.of(exporter)?;
        for aside in &files {
            fs::remove_file(&aside.path)?;
        }
        Ok(files.len())
    }

    /// What is put aside of an exporter; `None`: of all.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(&self, exporter: Option<&str>) -> io::Result<Vec<Aside>> {
        let mut files = self.list()?;
        files.retain(|aside| exporter.is_none_or(|exporter| aside.is_of(exporter)));
        Ok(files)
    }
}

/// When a file was put aside.
fn stamp(path: &Path) -> Option<String> {
    Some(path.file_stem()?.to_str()?.rsplit_once('.')?.1.to_owned())
}
