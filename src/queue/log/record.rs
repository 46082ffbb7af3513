//! Records, one after the other, each with its length and a checksum. What is torn or damaged is found, and
//! passed over to the next record that is whole.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | `A7 57`: here a record begins |
//! | 1 | its kind; the highest bit: the content is compressed (LZ4, block format, its length before it) |
//! | 4 | how many bytes follow the checksum, little endian |
//! | 4 | CRC32C of the kind, the length and what follows, little endian |
//! | … | the content |

/// The first two bytes of a record.
const MAGIC: [u8; 2] = [0xa7, 0x57];
/// Bytes before the content.
pub const HEAD: usize = 11;
/// The longest content, packed and unpacked: more is damage.
pub const MAX_CONTENT: usize = 64 << 20;
/// Shorter content is not worth packing.
const WORTH_PACKING: usize = 128;
const PACKED: u8 = 0x80;

/// Appends a record. `kind`: below 128.
///
/// # Panics
/// When the content is longer than [`MAX_CONTENT`], or the kind is none.
pub fn put_record(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    assert!(kind < PACKED && content.len() <= MAX_CONTENT);
    let packed = (content.len() >= WORTH_PACKING).then(|| lz4_flex::compress_prepend_size(content));
    let (kind, content) = match &packed {
        Some(packed) if packed.len() < content.len() => (kind | PACKED, packed.as_slice()),
        _ => (kind, content),
    };
    let length = (content.len() as u32).to_le_bytes();
    out.extend_from_slice(&MAGIC);
    out.push(kind);
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(kind, length, content).to_le_bytes());
    out.extend_from_slice(content);
}

fn checksum(kind: u8, length: [u8; 4], content: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&[kind]), &length);
    crc32c::crc32c_append(head, content)
}

/// What stands somewhere in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A record.
    Record {
        /// Where it begins.
        at: usize,
        /// Where the next one begins.
        end: usize,
        /// What it is.
        kind: u8,
        /// Its content, unpacked.
        content: Vec<u8>,
    },
    /// Bytes that are no record, between records.
    Damage {
        /// Where they begin.
        at: usize,
        /// Where the next record begins.
        end: usize,
    },
    /// A record at the end that was not written whole, or damage up to the end.
    Torn {
        /// Where it begins: what is before it is good.
        at: usize,
    },
}

/// Finds the records in a segment's bytes, from the first one on.
#[derive(Debug)]
pub struct Scan<B> {
    bytes: B,
    at: usize,
}

impl<B: AsRef<[u8]>> Scan<B> {
    /// Begins at `at`, where a record begins or nothing is.
    #[must_use]
    pub fn new(bytes: B, at: usize) -> Self {
        Self { bytes, at }
    }

    /// What is scanned.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The record that begins there, if one does.
    fn record(&self, at: usize) -> Option<(usize, u8, Vec<u8>)> {
        let bytes = self.bytes();
        let head = bytes.get(at..)?.get(..HEAD)?;
        if head[..2] != MAGIC {
            return None;
        }
        let kind = head[2];
        let length: [u8; 4] = head[3..7].try_into().expect("four bytes");
        let sum = u32::from_le_bytes(head[7..].try_into().expect("four bytes"));
        let begin = at + HEAD;
        let end = begin.checked_add(u32::from_le_bytes(length) as usize)?;
        let content = bytes.get(begin..end).filter(|content| content.len() <= MAX_CONTENT)?;
        if checksum(kind, length, content) != sum {
            return None;
        }
        let content = match kind & PACKED {
            0 => content.to_vec(),
            _ => {
                // Its length stands before it: nobody's word for how much memory is wanted.
                let long = u32::from_le_bytes(content.get(..4)?.try_into().expect("four bytes"));
                if long as usize > MAX_CONTENT {
                    return None;
                }
                lz4_flex::decompress_size_prepended(content).ok()?
            }
        };
        Some((end, kind & !PACKED, content))
    }
}

impl<B: AsRef<[u8]>> Iterator for Scan<B> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let at = self.at;
        let long = self.bytes().len();
        if at >= long {
            return None;
        }
        if let Some((end, kind, content)) = self.record(at) {
            self.at = end;
            return Some(Found::Record { at, end, kind, content });
        }
        let next = (at + 1..long)
            .find(|next| self.bytes()[*next..].starts_with(&MAGIC) && self.record(*next).is_some());
        self.at = next.unwrap_or(long);
        Some(match next {
            Some(end) => Found::Damage { at, end },
            None => Found::Torn { at },
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(contents: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut begins) = (Vec::new(), Vec::new());
        for content in contents {
            begins.push(bytes.len());
            put_record(&mut bytes, 7, content);
        }
        (bytes, begins)
    }

    fn contents() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Some with the mark of a record in them, some that can be packed.
        let plain = proptest::collection::vec(any::<u8>(), 0..300);
        let marks = (0..100_usize).prop_map(|count| MAGIC.repeat(count));
        proptest::collection::vec(prop_oneof![plain, marks], 1..8)
    }

    fn read(bytes: &[u8]) -> Vec<Vec<u8>> {
        let records = Scan::new(bytes, 0).filter_map(|found| match found {
            Found::Record { content, .. } => Some(content),
            _ => None,
        });
        records.collect()
    }

    proptest! {
        #[test]
        fn records_come_back(contents in contents()) {
            let (bytes, _) = segment(&contents);
            prop_assert_eq!(read(&bytes), contents);
        }

        /// Cut off anywhere: what was written whole is there, and the rest is torn.
        #[test]
        fn a_torn_tail_costs_what_is_torn(contents in contents(), cut: prop::sample::Index) {
            let (bytes, begins) = segment(&contents);
            let cut = cut.index(bytes.len() + 1);
            let ends: Vec<usize> = begins.iter().copied().skip(1).chain([bytes.len()]).collect();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            prop_assert_eq!(read(&bytes[..cut]), &contents[..whole]);
            let torn = Scan::new(&bytes[..cut], 0).last();
            let at = ends[..whole].last().copied().unwrap_or(0);
            if at < cut {
                prop_assert_eq!(torn, Some(Found::Torn { at }));
            }
        }

        /// A bit that flips costs the record in which it is, and no other.
        #[test]
        fn a_flipped_bit_costs_one_record(
            contents in contents(), place: prop::sample::Index, bit in 0..8_u8,
        ) {
            let (mut bytes, begins) = segment(&contents);
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            let hit = begins.iter().rposition(|begin| *begin <= place).unwrap();
            let mut left = contents.clone();
            left.remove(hit);
            prop_assert_eq!(read(&bytes), left);
        }

        #[test]
        fn any_bytes_can_be_scanned(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut end = 0;
            for found in Scan::new(&bytes, 0) {
                let (at, next) = match found {
                    Found::Record { at, end, .. } | Found::Damage { at, end } => (at, end),
                    Found::Torn { at } => (at, bytes.len()),
                };
                prop_assert!(at == end && next > at, "nothing is left out, and it goes on");
                end = next;
            }
            prop_assert_eq!(end, bytes.len());
        }
    }
}
