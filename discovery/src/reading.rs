//! How files of strangers are read: regular ones, up to a size, whatever becomes of them meanwhile.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
pub(crate) const MAX_BYTES: u64 = 4 << 20;

/// A path without links, to know a file again.
pub(crate) fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Why a file cannot be read, without its path.
pub(crate) fn explain(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    }
}

/// Refuses whatever is no regular file.
pub(crate) fn regular(meta: &fs::Metadata) -> Result<(), String> {
    if meta.is_file() { Ok(()) } else { Err("not a regular file".to_owned()) }
}

/// Reads an open file of at most [`MAX_BYTES`].
pub(crate) fn bounded(file: fs::File) -> Result<Vec<u8>, String> {
    if file.metadata().map_err(explain)?.len() > MAX_BYTES {
        return Err(format!("larger than {} MiB", MAX_BYTES >> 20));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("it grows while it is read".to_owned());
    }
    Ok(bytes)
}
