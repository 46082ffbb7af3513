//! Numbers and words out of the bytes of the kernel's files. What makes no sense is passed over; none
//! of this fails.

/// The lines.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// The words of a line.
pub fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

/// A whole number.
#[must_use]
pub fn number(word: &[u8]) -> Option<u64> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    digits.then(|| {
        let add = |sum: u64, digit: &u8| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        word.iter().fold(0, add)
    })
}

/// A hexadecimal number, with or without `0x`.
#[must_use]
pub fn hex(word: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(word).ok()?;
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// A number with or without a point.
#[must_use]
pub fn decimal(word: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(word).ok()?;
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// The first word as a whole number.
#[must_use]
pub fn first(bytes: &[u8]) -> Option<u64> {
    number(words(bytes).next()?)
}

/// Text of unknown encoding, made readable.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Takes the octal escapes of mount tables back, in one pass: `b\134040s` is a folder `b\040s`.
#[must_use]
pub fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut at = 0;
    while let Some(byte) = word.get(at) {
        let octal = word.get(at + 1..at + 4).filter(|digits| {
            *byte == b'\\' && digits[0] <= b'3' && digits.iter().all(|d| (b'0'..=b'7').contains(d))
        });
        match octal {
            Some(digits) => {
                out.push(digits.iter().fold(0, |sum: u8, digit| (sum << 3) | (digit - b'0')));
                at += 4;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// Names made readable, each one its own: two that look alike afterwards are told apart.
#[derive(Debug, Default)]
pub struct Readable {
    names: Vec<(Vec<u8>, std::sync::Arc<str>)>,
}

impl Readable {
    /// The readable name, the same for the same bytes.
    pub fn name(&mut self, bytes: &[u8]) -> std::sync::Arc<str> {
        if let Some((_, name)) = self.names.iter().find(|(have, _)| have == bytes) {
            return std::sync::Arc::clone(name);
        }
        let plain = text(bytes);
        let taken = |name: &str| self.names.iter().any(|(_, have)| **have == *name);
        let mut name = plain.clone();
        let mut number = 2;
        while taken(&name) {
            name = format!("{plain}~{number}");
            number += 1;
        }
        let name: std::sync::Arc<str> = name.into();
        self.names.push((bytes.to_vec(), std::sync::Arc::clone(&name)));
        name
    }

    /// Forgets what is not among these.
    pub fn keep(&mut self, used: impl Fn(&[u8]) -> bool) {
        self.names.retain(|(bytes, _)| used(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!((number(b"12"), number(b""), number(b"1x")), (Some(12), None, None));
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!((hex(b"0x1f"), hex(b"ff"), hex(b"zz")), (Some(31), Some(255), None));
        assert_eq!((decimal(b"0.21"), decimal(b"nan")), (Some(0.21), None));
    }

    /// Edge case 10: all that the kernel escapes.
    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape(b"/a\\040b\\011c\\012d\\134e\\043f"), b"/a b\tc\nd\\e#f");
        assert_eq!(unescape(b"/x\\04"), b"/x\\04");
        assert_eq!(unescape(b"/x\\777"), b"/x\\777");
    }

    /// Edge case 11: one pass, not one escape after the other.
    #[test]
    fn a_folder_whose_name_looks_escaped() {
        assert_eq!(unescape(b"/b\\134040s"), b"/b\\040s");
    }

    #[test]
    fn names_that_look_alike_are_told_apart() {
        let mut readable = Readable::default();
        assert_eq!(&*readable.name(b"x\xffy"), "x\u{fffd}y");
        assert_eq!(&*readable.name(b"x\xfey"), "x\u{fffd}y~2");
        assert_eq!(&*readable.name(b"x\xffy"), "x\u{fffd}y");
    }
}
