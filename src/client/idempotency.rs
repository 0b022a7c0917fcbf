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
        IdempotencyKey(unique_uuid(identity))
    }

    /// Creates the key of the start of `workflow`, by its name, that the user named `once`: the same on every machine and
    /// in every process, so that the API itself recognizes a repetition for as long as it keeps keys. Two workflows have
    /// different keys: without shared state nothing else keeps one name, such as a date, from giving the results of
    /// another workflow.
    pub fn of_once(workflow: &str, once: &str) -> Self {
        IdempotencyKey(uuid_of(&Sha256::digest(["drawoff named start\0", workflow, "\0", once].concat())))
    }

    /// Returns the value of the request header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns a random UUID, for an object that this client creates.
pub(super) fn random_uuid() -> String {
    unique_uuid("")
}

/// Returns a UUID that no other process draws, on this or another machine. `salt` is mixed in.
fn unique_uuid(salt: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(salt);
    // Pid and time tell processes apart, the two random numbers machines and containers with equal pids.
    hash.update(std::process::id().to_le_bytes());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    hash.update(now.as_nanos().to_le_bytes());
    for _ in 0..2 {
        // Seeded by the system's random source.
        hash.update(std::collections::hash_map::RandomState::new().build_hasher().finish().to_le_bytes());
    }
    uuid_of(&hash.finalize())
}

/// Returns the first 128 bits of a digest in the form of a UUID of version 4 (RFC 9562), with its version and variant.
fn uuid_of(digest: &[u8]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_uuids_and_those_of_a_name_are_stable() {
        let key = IdempotencyKey::of_once("Leads", "nightly");
        assert_eq!(key, IdempotencyKey::of_once("Leads", "nightly"));
        assert_ne!(key, IdempotencyKey::of_once("Leads", "nightly "));
        assert_ne!(key, IdempotencyKey::of_once("Accounts", "nightly"));
        for key in [key, IdempotencyKey::fresh("x")] {
            let parts: Vec<&str> = key.as_str().split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
            assert!(parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']), "{key}");
        }
    }
}
