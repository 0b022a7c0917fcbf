//! The commit key of a load: the digest of its rows' origin, of the steps, and of the table.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};
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
    #[cfg_attr(
        not(any(feature = "clickhouse", feature = "delta", feature = "iceberg")),
        expect(dead_code, reason = "no other target reads keys back")
    )]
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

/// The runs that were loaded together, as the ledger keeps them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadSet {
    /// The key of the set, which a column for commit keys has.
    pub key: String,
    /// The number of its members.
    pub members: u64,
}

/// Returns the hexadecimal digits of `bytes`, in lower case.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything that makes a load the same load.
///
/// # Loads of several runs
///
/// A load may have the rows of several runs, as one sequence of records in one transaction. Each run is a [`LoadMember`],
/// whose key is the very one that a load of this run alone has, with the same steps and table; the load claims them all:
///
/// ```text
/// identity.set_members(vec![
///     LoadMember { origin: "run r1 block 2".into(), run_id: Some("r1".into()), block: Some(2), source: … },
///     LoadMember { origin: "run r2 block 2".into(), … },
/// ]);
/// ```
///
/// The ledger gets one row per member, so that a later load of one of them, alone or with others, finds it. A load whose
/// members are all loaded changes nothing; one of which some are loaded fails before its first row with
/// [`LoadError::PartlyLoaded`]. The column for commit keys has the key of the set, which does not depend on the order of
/// its members. Set `origin` instead, to the user's own name of the load, to claim that alone and no members.
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
    /// The runs of a load of several; empty for all other loads. Set by [`LoadIdentity::set_members`].
    pub members: Vec<LoadMember>,
}

/// One run of a load of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadMember {
    /// The origin of its rows, the same as that of a load of this run alone.
    pub origin: String,
    /// The run, for the ledger.
    pub run_id: Option<String>,
    /// The number of the block, for the ledger; `None` for the last block.
    pub block: Option<i64>,
    /// Names of the sources, for the ledger.
    pub source: String,
}

/// One row of the ledger that a load claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadClaim {
    /// The key of the row.
    pub key: CommitKey,
    /// The member; of a load that has none, the load itself.
    pub member: LoadMember,
    /// The set that the member is loaded with; `None` for a load of one origin.
    pub set: Option<LoadSet>,
}

impl LoadIdentity {
    /// Makes these runs the origin of the rows, each once. One alone is a load of its own.
    pub fn set_members(&mut self, mut members: Vec<LoadMember>) {
        let mut seen = HashSet::new();
        members.retain(|member| seen.insert(member.origin.clone()));
        if members.len() == 1 {
            let LoadMember { origin, run_id, block, source } = members.remove(0);
            (self.origin, self.run_id, self.block, self.source) = (Some(origin), run_id, block, source);
        }
        self.members = members;
    }

    /// Returns the commit key of a load into `table`, if it is known before the rows are read: that of the set for a load
    /// with members.
    pub fn key_before(&self, table: &str) -> Option<CommitKey> {
        if self.members.is_empty() {
            return Some(self.key_of(self.origin.as_deref()?, table));
        }
        let mut keys: Vec<CommitKey> = self.members.iter().map(|member| self.key_of(&member.origin, table)).collect();
        keys.sort();
        let parts: Vec<&str> = ["set"].into_iter().chain(keys.iter().map(CommitKey::as_str)).collect();
        Some(CommitKey::of(&parts))
    }

    fn key_of(&self, origin: &str, table: &str) -> CommitKey {
        CommitKey::of(&["origin", origin, &self.plan, table])
    }

    /// Returns the rows of the ledger that a load with this key claims, ascending by key: loads that share members and claim
    /// them in this order never wait for each other in a circle.
    pub fn claims(&self, table: &str, key: &CommitKey) -> Vec<LoadClaim> {
        if self.members.is_empty() {
            let member = LoadMember {
                origin: self.origin.clone().unwrap_or_default(),
                run_id: self.run_id.clone(),
                block: self.block,
                source: self.source.clone(),
            };
            return vec![LoadClaim { key: key.clone(), member, set: None }];
        }
        let set = LoadSet { key: key.as_str().to_owned(), members: self.members.len() as u64 };
        let claim = |member: &LoadMember| LoadClaim {
            key: self.key_of(&member.origin, table),
            member: member.clone(),
            set: Some(set.clone()),
        };
        let mut claims: Vec<LoadClaim> = self.members.iter().map(claim).collect();
        claims.sort_by(|a, b| a.key.cmp(&b.key));
        claims
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

    #[test]
    fn members_have_the_keys_of_loads_of_their_own() {
        let member = |run: &str| LoadMember {
            origin: format!("run {run}"),
            run_id: Some(run.to_owned()),
            ..LoadMember::default()
        };
        let of = |runs: &[&str]| {
            let mut identity = LoadIdentity { plan: "[]".into(), ..LoadIdentity::default() };
            identity.set_members(runs.iter().map(|run| member(run)).collect());
            identity
        };
        let alone = |run: &str| of(&[run]).key_before("t").unwrap();
        let key = of(&["r1", "r2"]).key_before("t").unwrap();
        assert_eq!(of(&["r2", "r1", "r2"]).key_before("t"), Some(key.clone()), "the order and doubles do not count");
        assert_ne!(of(&["r1", "r3"]).key_before("t").unwrap(), key);
        assert_eq!(of(&["r1", "r2"]).key_after("t", Some(&["bytes".to_owned()])).unwrap(), key);
        let claims = of(&["r1", "r2"]).claims("t", &key);
        let keys: Vec<&CommitKey> = claims.iter().map(|claim| &claim.key).collect();
        let mut expected = [alone("r1"), alone("r2")];
        expected.sort();
        assert_eq!(keys, expected.iter().collect::<Vec<_>>());
        assert!(claims.iter().all(|claim| claim.set == Some(LoadSet { key: key.as_str().to_owned(), members: 2 })));
        let single = of(&["r1", "r1"]);
        assert_eq!((single.origin.as_deref(), single.run_id.as_deref()), (Some("run r1"), Some("r1")));
        assert_eq!(single.claims("t", &alone("r1"))[0].set, None);
    }
}
