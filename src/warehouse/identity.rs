//! The commit key of a load: the digest of its rows' origin, of the steps, and of the table.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::error::LoadError;

/// Version of the digested form.
const VERSION: &str = "drawoff load 1";

/// The key that a load is recorded under: 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommitKey(String);

impl CommitKey {
    /// Digests `parts`. The digest depends on where each part ends.
    pub fn of(parts: &[&str]) -> Self {
        let mut hasher = Sha256::new();
        for part in [VERSION].iter().chain(parts) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        CommitKey(hexadecimal(&hasher.finalize()))
    }

    /// Reads a key that a target has kept; `None` for other text.
    #[cfg_attr(not(feature = "clickhouse"), expect(dead_code, reason = "no other target reads keys back"))]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| CommitKey(text.to_owned()))
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first eight digits, for names of temporary objects.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl fmt::Display for CommitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommitKey({})", self.0)
    }
}

/// Returns the hexadecimal digits of `bytes`, in lower case.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything that makes a load the same load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadIdentity {
    /// The origin of the rows, such as a run and its result files, if it is known before the rows are read. `None` for files and
    /// pipes, whose origin is the digest of their bytes.
    pub origin: Option<String>,
    /// The run, for the ledger; `None` for other sources.
    pub run_id: Option<String>,
    /// The number of the block, for the ledger; `None` for other sources, or for the last block.
    pub block: Option<i64>,
    /// Names of the sources, for the ledger.
    pub source: String,
    /// The written form of the steps and of all options that determine rows.
    pub plan: String,
}

impl LoadIdentity {
    /// Returns the commit key of a load into `table`, if it is known before the rows are read.
    pub fn key_before(&self, table: &str) -> Option<CommitKey> {
        Some(CommitKey::of(&["origin", self.origin.as_deref()?, &self.plan, table]))
    }

    /// Returns the commit key of a load into `table` from sources with these digests, in their order. Fails if nothing
    /// identifies the rows.
    pub fn key_after(&self, table: &str, digests: Option<&[String]>) -> Result<CommitKey, LoadError> {
        match (self.key_before(table), digests) {
            (Some(key), _) => Ok(key),
            (None, Some(digests)) => Ok(CommitKey::of(&["bytes", &digests.join(","), &self.plan, table])),
            (None, None) => {
                Err(LoadError::Bug("a source was not read to its end, so that its digest is unknown".into()))
            }
        }
    }

    /// Returns the digest of the steps, for the ledger.
    pub fn plan_digest(&self) -> String {
        CommitKey::of(&["plan", &self.plan]).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that changed with a version would load every run a second time.
    #[test]
    fn keys_are_the_same_in_every_version() {
        let run = LoadIdentity { origin: Some("run r1".into()), plan: "[]".into(), ..LoadIdentity::default() };
        let key = run.key_before("crm.people").unwrap();
        assert_eq!(key.as_str(), "9933fcf5e7d6bf381536c59e33290dd9c7d1448e13586454bdf848b04e22beb5");
        let digests = |digests: &[&str]| digests.iter().map(|d| d.to_string()).collect::<Vec<_>>();
        let after =
            |identity: &LoadIdentity, table, of: &[&str]| identity.key_after(table, Some(&digests(of))).unwrap();
        assert_eq!(after(&run, "crm.people", &["x"]), key, "bytes do not count where the origin is known");
        let file = LoadIdentity { origin: None, ..run.clone() };
        assert_eq!(file.key_before("t"), None);
        assert_ne!(after(&file, "t", &["a", "b"]), after(&file, "t", &["b", "a"]));
        assert_ne!(after(&file, "t", &["a"]), after(&file, "u", &["a"]));
        assert!(file.key_after("t", None).is_err());
        assert_ne!(CommitKey::of(&["ab", "c"]), CommitKey::of(&["a", "bc"]));
    }
}
