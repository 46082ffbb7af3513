//! Addresses as texts: when two are the same, and which ones a target file can hold.

use crate::text::steers;

/// The longest address that is written, in bytes: what is longer is none.
const MAX_ADDRESS: usize = 4_096;

/// An address as it is compared: scheme and host in small letters, without what ends it.
pub(crate) fn normal(address: &str) -> String {
    let address = address.trim_end_matches('/');
    let begin = address.find("://").map_or(0, |at| at + 3);
    let end = address[begin..].find(['/', '?', '#']).map_or(address.len(), |at| begin + at);
    let host = address[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    let lower = |part: &str| part.to_ascii_lowercase();
    lower(&address[..begin]) + &address[begin..host] + &lower(&address[host..end]) + &address[end..]
}

/// Whether a target file can hold a text as an address.
///
/// # Errors
/// Why not.
pub(crate) fn is_address(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("there is no address".to_owned());
    }
    if text.len() > MAX_ADDRESS {
        return Err(format!("its address is longer than {MAX_ADDRESS} bytes"));
    }
    if let Some(bad) = text.chars().find(|c| c.is_whitespace() || steers(*c)) {
        return Err(format!("its address has {bad:?} in it"));
    }
    if text.contains(';') {
        return Err("its address has a ; in it, which parts the fields of a line".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_the_same() {
        for (address, expected) in [
            ("HTTPS://A.Example.NET/Path/", "https://a.example.net/Path"),
            ("http://Me:Pw@A:80/X?Y", "http://Me:Pw@a:80/X?Y"),
            ("http://A?Q=Z", "http://a?Q=Z"),
            ("Pi:8080", "pi:8080"),
            ("[FE80::1]:53", "[fe80::1]:53"),
            ("", ""),
        ] {
            assert_eq!(normal(address), expected);
        }
    }
}
