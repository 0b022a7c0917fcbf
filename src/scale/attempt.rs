//! Names of attempts at a work item. No two attempts have one, on this or another machine, and they ascend with the clock.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::text::hex;

/// Returns a name that no other attempt has: a UUID of version 7, of the milliseconds since 1970 and 74 random bits.
pub fn new_attempt() -> String {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(std::process::id().to_le_bytes());
    hash.update(since_epoch.as_nanos().to_le_bytes());
    for _ in 0..4 {
        // Seeded by the random source of the system.
        hash.update(std::hash::RandomState::new().build_hasher().finish().to_le_bytes());
    }
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&(since_epoch.as_millis() as u64).to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&hash.finalize()[..10]);
    bytes[6] = 0x70 | bytes[6] & 0x0f;
    bytes[8] = 0x80 | bytes[8] & 0x3f;
    let digits = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_version_7_and_distinct() {
        let names: BTreeSet<String> = (0..1000).map(|_| new_attempt()).collect();
        assert_eq!(names.len(), 1000);
        for name in &names {
            let parts: Vec<&str> = name.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
            assert!(parts[2].starts_with('7') && parts[3].starts_with(['8', '9', 'a', 'b']), "{name}");
        }
    }

    #[test]
    fn names_ascend_with_the_clock() {
        let first = new_attempt();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(first < new_attempt());
    }
}
