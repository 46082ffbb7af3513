//! Numbers and texts in as few bytes as they need, and their reading, which believes nothing.

/// Why bytes cannot be read: what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// Writes a number: seven bits a byte, the low ones first.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A number that may be negative as one that is not: small ones stay small either way (zigzag).
#[must_use]
pub fn unsigned(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

/// The way back from [`unsigned`].
#[must_use]
pub fn signed(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Writes a number that may be negative.
pub fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, unsigned(number));
}

/// Writes a text, with its length before it.
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Reads what was written.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// What is to be read.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Broken("more bytes"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number.
    ///
    /// # Errors
    /// When it does not end, or has more than 64 bits.
    pub fn number(&mut self) -> Result<u64, Broken> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Broken("a number of 64 bits"))
    }

    /// A number that may be negative.
    ///
    /// # Errors
    /// As [`Input::number`].
    pub fn signed(&mut self) -> Result<i64, Broken> {
        self.number().map(signed)
    }

    /// How many of something follow, each of which takes a byte at least: so a wrong number makes
    /// nobody reserve more memory than there are bytes.
    ///
    /// # Errors
    /// When so many cannot follow.
    pub fn count(&mut self) -> Result<usize, Broken> {
        let count = usize::try_from(self.number()?).ok();
        count.filter(|count| *count <= self.0.len()).ok_or(Broken("so many items"))
    }

    /// A text.
    ///
    /// # Errors
    /// When it is cut off or no UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Broken> {
        let length = self.count()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Broken("UTF-8"))
    }

    /// The bits of a number with a point.
    ///
    /// # Errors
    /// When there are fewer than eight bytes.
    pub fn double(&mut self) -> Result<f64, Broken> {
        let bytes = self.take(8)?.try_into().expect("eight were taken");
        Ok(f64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(numbers: Vec<(u64, i64, String)>) {
            let mut out = Vec::new();
            for (number, signed, text) in &numbers {
                put(&mut out, *number);
                put_signed(&mut out, *signed);
                put_text(&mut out, text);
            }
            let mut input = Input::new(&out);
            for (number, signed, text) in &numbers {
                prop_assert_eq!(input.number().unwrap(), *number);
                prop_assert_eq!(input.signed().unwrap(), *signed);
                prop_assert_eq!(input.text().unwrap(), text);
            }
            prop_assert!(input.is_empty());
        }
    }

    #[test]
    fn nothing_is_believed() {
        assert!(Input::new(&[0x80]).number().is_err(), "it does not end");
        assert!(Input::new(&[0xff; 11]).number().is_err(), "it is too long");
        assert!(
            Input::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2])
                .number()
                .is_err()
        );
        assert!(Input::new(&[5, b'a']).text().is_err(), "it is cut off");
        assert!(Input::new(&[1, 0xff]).text().is_err(), "it is no text");
        assert!(
            Input::new(&[0xff, 0xff, 0xff, 0xff, 0x7f, 0]).count().is_err(),
            "so many cannot follow"
        );
    }
}
