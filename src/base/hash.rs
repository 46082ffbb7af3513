//! Hashes whose values are promised: a target's phase must be the same after every restart and release.

/// FNV-1a, 32 bits: what blackbox_exporter publishes as `probe_ip_addr_hash`.
#[must_use]
pub fn fnv1a_32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// FNV-1a, 64 bits, with the finisher of SplitMix64, so that addresses which differ in their last
/// digit land far apart.
#[must_use]
pub fn stable_64(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        assert_eq!(fnv1a_32(b""), 0x811c_9dc5);
        assert_eq!(fnv1a_32(b"a"), 0xe40c_292c);
        assert_eq!(fnv1a_32(b"foobar"), 0xbf9c_f968);
        // Written down: a target's phase must not move with a release.
        assert_eq!(stable_64(b"watchpost"), 11_750_597_278_903_367_481);
    }

    #[test]
    fn neighbours_spread() {
        let mut bins = [0_u32; 16];
        for host in 0..=255 {
            let hash = stable_64(format!("192.168.2.{host}").as_bytes());
            bins[(hash % 16) as usize] += 1;
        }
        assert!(bins.iter().all(|n| (4..=32).contains(n)), "{bins:?}");
    }
}
