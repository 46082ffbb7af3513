//! The names of a log's files.

const SEGMENT: &str = ".seg";
/// What the file of an exporter's position ends with.
pub(super) const CURSOR: &str = ".cursor";

/// The file of a segment, by the number of its first sample.
#[must_use]
pub fn segment_name(first: u64) -> String {
    format!("{first:016x}{SEGMENT}")
}

/// The number of the first sample of a segment, by its file.
#[must_use]
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// The file of an exporter's position.
pub(super) fn cursor_name(exporter: &str) -> String {
    format!("{}{CURSOR}", encoded(exporter))
}

/// A name as a file name.
#[must_use]
pub fn encoded(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => out.push(byte.into()),
            b'.' if !out.is_empty() => out.push('.'),
            _ => write!(out, "%{byte:02x}").expect("a string takes it"),
        }
        out
    })
}

/// The way back from [`encoded`].
pub(super) fn decoded(name: &str) -> Option<String> {
    percent_encoding::percent_decode_str(name).decode_utf8().ok().map(Into::into)
}
