//! `/proc/PID/stat`.

/// The state of a process: the letter behind its name. The name may have brackets and blanks in it,
/// so that the last bracket counts.
#[must_use]
pub fn state(bytes: &[u8]) -> Option<u8> {
    let end = bytes.iter().rposition(|byte| *byte == b')')?;
    bytes.get(end + 2).copied().filter(u8::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Edge case 35: `) ` in a name.
    #[test]
    fn names_with_brackets() {
        assert_eq!(state(b"12 (sh) S 1 2 3"), Some(b'S'));
        assert_eq!(state(b"12 (weird) R name)) D 1 2 3"), Some(b'D'));
        assert_eq!((state(b"12 (cut"), state(b"12 (cut)"), state(b"")), (None, None, None));
    }
}
