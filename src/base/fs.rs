//! Files, with errors that name the path.

use std::io::Read as _;
use std::path::Path;

/// Reads a text file of at most `limit` bytes.
///
/// # Errors
/// A sentence with the path and the reason.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the one place that opens files for the daemon"
)]
pub fn read_text(path: &Path, limit: u64) -> Result<String, String> {
    let explain = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("{}: no such file", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    let file = std::fs::File::open(path).map_err(explain)?;
    let mut text = String::new();
    file.take(limit + 1).read_to_string(&mut text).map_err(explain)?;
    if text.len() as u64 > limit {
        return Err(format!("{}: larger than {limit} bytes", path.display()));
    }
    Ok(text)
}

/// As [`read_text`], of a regular file only: opening a pipe would wait for somebody to write.
///
/// # Errors
/// As [`read_text`], and when it is something else.
pub fn read_regular(path: &Path, limit: u64) -> Result<String, String> {
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(format!("{}: not a regular file", path.display()));
    }
    read_text(path, limit)
}

/// Reads a secret: a small text file, without the newline at its end.
///
/// # Errors
/// As [`read_text`].
pub fn read_secret(path: &Path) -> Result<String, String> {
    read_regular(path, 64 << 10).map(|text| without_newline(&text).to_owned())
}

/// A text without one newline at its end.
#[must_use]
pub fn without_newline(text: &str) -> &str {
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    line.unwrap_or(text)
}
