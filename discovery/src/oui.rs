//! Who made a network card: a file that the user has, in IEEE's own form, in that of Wireshark's
//! `manuf`, or in that of `nmap-mac-prefixes`.

use std::collections::HashMap;
use std::path::Path;

use crate::sweep::link::Mac;

/// The largest file, in bytes.
const MAX_BYTES: u64 = 32 << 20;
/// Bits that registries hand out.
const SIZES: [u32; 3] = [36, 28, 24];

/// Vendors by the beginnings of their cards' addresses.
#[derive(Clone, Debug, Default)]
pub struct Vendors {
    names: HashMap<(u32, u64), Box<str>>,
}

impl Vendors {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it cannot be read, without its path.
    pub fn read(path: &Path) -> Result<Self, String> {
        let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
        if !meta.is_file() || meta.len() > MAX_BYTES {
            return Err(format!("not a regular file of at most {} MiB", MAX_BYTES >> 20));
        }
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let vendors = Self::parse(&String::from_utf8_lossy(&bytes));
        match vendors.names.is_empty() {
            true => Err("there is no vendor in it".to_owned()),
            false => Ok(vendors),
        }
    }

    /// Reads the text of one.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines() {
            if let Some((bits, prefix, name)) = entry(line) {
                names.entry((bits, prefix)).or_insert_with(|| name.into());
            }
        }
        Self { names }
    }

    /// Who made a card; most made-up addresses have no maker.
    #[must_use]
    pub fn of(&self, mac: Mac) -> Option<&str> {
        let whole = mac.0.iter().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
        let found = SIZES.iter().find_map(|bits| self.names.get(&(*bits, whole >> (48 - bits))));
        found.map(|name| &**name)
    }
}

/// `00-1B-21   (hex)  Name`, `00:1B:21<TAB>Short<TAB>Name`, `00:1B:C5:00:00:00/36 ...`, `001B21 Name`.
fn entry(line: &str) -> Option<(u32, u64, &str)> {
    let line = line.trim_end();
    let end = line.find([' ', '\t'])?;
    let (prefix, name) = (&line[..end], line[end..].trim());
    let (digits, bits) = match prefix.split_once('/') {
        Some((digits, bits)) => (digits, Some(bits.parse::<u32>().ok()?)),
        None => (prefix, None),
    };
    let mut value = 0u64;
    let mut count = 0;
    for c in digits.chars().filter(|c| !matches!(c, ':' | '-' | '.')) {
        value = value.checked_shl(4)? | u64::from(c.to_digit(16)?);
        count += 1;
    }
    let bits = bits.unwrap_or(count * 4);
    if count > 12 || !SIZES.contains(&bits) || bits > count * 4 {
        return None;
    }
    let name = name.strip_prefix("(hex)").unwrap_or(name).trim();
    // Wireshark has a short name first.
    let name = name.rsplit('\t').next().unwrap_or(name).trim();
    (!name.is_empty() && !name.starts_with("(base 16)")).then_some((
        bits,
        value >> (count * 4 - bits),
        name,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms() {
        let vendors = Vendors::parse(
            "OUI/MA-L   Organization\n\
             00-1B-21   (hex)\t\tIntel Corporate\n001B21     (base 16)\t\tIntel Corporate\n\t\t\tLot 8\n\
             00:00:0C\tCisco\tCisco Systems, Inc\n\
             00:1B:C5:00:00:00/36\tConvergi\tConverging Systems\n\
             B827EB Raspberry Pi Foundation\n# 000000 no\nFFFFFFFFFFFFFFFFFFFF x\n",
        );
        let of = |text: &str| vendors.of(Mac::parse(text).expect("a card"));
        for (mac, name) in [
            ("00:1b:21:00:00:01", Some("Intel Corporate")),
            ("00:00:0c:00:00:01", Some("Cisco Systems, Inc")),
            ("00:1b:c5:00:01:02", Some("Converging Systems")),
            ("00:1b:c5:10:01:02", None),
            ("b8:27:eb:00:00:01", Some("Raspberry Pi Foundation")),
            ("ba:27:eb:00:00:01", None),
        ] {
            assert_eq!(of(mac), name, "{mac}");
        }
    }
}
