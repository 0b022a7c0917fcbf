//! The key that makes a start safe to repeat.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::text::hex;

/// Made once per start that is meant; every repetition of its request carries the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A new one for a start that means `meaning`: no other start, here or elsewhere, gets the same.
    pub fn fresh(meaning: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(meaning);
        hash.update(std::process::id().to_le_bytes());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        hash.update(now.as_nanos().to_le_bytes());
        for _ in 0..2 {
            // Seeded by the system's random source.
            hash.update(std::collections::hash_map::RandomState::new().build_hasher().finish().to_le_bytes());
        }
        let digest = hash.finalize();
        let hex = hex(&digest[..16]);
        IdempotencyKey(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
    }

    /// The text for the header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
