//! Idempotency keys, which make the start of a run safe to retry.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::text::hex;

/// The key of one intended start, in the form of a UUID. All retries of its request carry the same key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Creates a unique key for a start with the digest `identity`: no other start, on this or another machine, has the
    /// same.
    ///
    /// # Examples
    ///
    /// ```
    /// use drawoff::client::IdempotencyKey;
    ///
    /// assert_ne!(IdempotencyKey::fresh("nightly"), IdempotencyKey::fresh("nightly"));
    /// ```
    pub fn fresh(identity: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(identity);
        // Pid and time tell processes apart, the two random numbers machines and containers with equal pids.
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

    /// Returns the value of the request header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
