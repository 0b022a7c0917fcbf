//! The loads of an Iceberg table. The commit key is in two places, which are written together: in the summary of the load's
//! snapshot, and in a property of the table, since snapshots expire.
//!
//! ```text
//! snapshot summary   drawoff.commit-key: <commit key>[,<commit key>…]     drawoff.load: {"rows":…}
//! table property     drawoff.load.<commit key>: {"rows":…}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::metadata::TableMetadata;
use crate::warehouse::load_facts::LoadFacts;
use crate::warehouse::{CommitKey, LedgerRow, LoadClaim, LoadState};

/// The table in commit keys: the keys are in the table itself, however the catalog is named.
pub(super) const KEY_TABLE: &str = "iceberg";

/// The member of a snapshot's summary that has the keys.
pub(super) const KEYS: &str = "drawoff.commit-key";

/// The member of a snapshot's summary that has the facts.
const FACTS: &str = "drawoff.load";

/// The start of the names of properties that have the facts.
const PROPERTY: &str = "drawoff.load.";

/// The facts of a load, and its time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Recorded {
    #[serde(flatten)]
    pub(super) facts: LoadFacts,
    /// Milliseconds since 1970.
    pub(super) at: i64,
}

impl Recorded {
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn row(&self, key: &str) -> LedgerRow {
        self.facts.row(key, Some(self.at), LoadState::Loaded)
    }
}

/// Returns the members of the summary of the load's snapshot.
pub(super) fn summary(claims: &[LoadClaim], recorded: &Recorded) -> Vec<(String, String)> {
    let keys: Vec<&str> = claims.iter().map(|claim| claim.key.as_str()).collect();
    vec![(KEYS.to_owned(), keys.join(",")), (FACTS.to_owned(), recorded.text())]
}

/// Returns the properties of the table that record the load.
pub(super) fn properties(claims: &[LoadClaim], recorded: &Recorded) -> Vec<(String, String)> {
    let of = |claim: &LoadClaim| Recorded { facts: recorded.facts.of(claim), at: recorded.at };
    claims.iter().map(|claim| (format!("{PROPERTY}{}", claim.key.as_str()), of(claim).text())).collect()
}

/// Returns the loads behind claims, in their order; `None` for those that the table does not have.
pub(super) fn found(metadata: &TableMetadata, claims: &[LoadClaim]) -> Vec<Option<LedgerRow>> {
    let loads = all(metadata);
    claims.iter().map(|claim| loads.iter().find(|row| row.key == claim.key.as_str()).cloned()).collect()
}

/// Returns all loads that the table has, the latest first.
pub(super) fn all(metadata: &TableMetadata) -> Vec<LedgerRow> {
    let mut rows: Vec<LedgerRow> = Vec::new();
    let parsed = |text: &str| serde_json::from_str::<Recorded>(text).unwrap_or_default();
    for (name, value) in metadata.properties() {
        let Some(key) = name.strip_prefix(PROPERTY).and_then(CommitKey::parse) else { continue };
        rows.push(parsed(value.as_str().unwrap_or_default()).row(key.as_str()));
    }
    // Properties may have been removed by hand.
    for snapshot in metadata.snapshots() {
        let member = |name: &str| snapshot.get("summary")?.get(name).and_then(Value::as_str);
        let Some(keys) = member(KEYS) else { continue };
        let recorded = member(FACTS).map(parsed).unwrap_or_default();
        for key in keys.split(',').filter(|key| CommitKey::parse(key).is_some()) {
            if !rows.iter().any(|row| row.key == key) {
                rows.push(recorded.row(key));
            }
        }
    }
    rows.sort_by(|a, b| b.loaded_at.cmp(&a.loaded_at).then_with(|| a.key.cmp(&b.key)));
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::warehouse::LoadMember;

    #[test]
    fn a_load_is_found_by_its_property_or_its_snapshot() {
        let claim = |name: &str| LoadClaim { key: CommitKey::of(&[name]), member: LoadMember::default(), set: None };
        let (a, b, c) = (claim("a"), claim("b"), claim("c"));
        let facts =
            |rows, at| Recorded { facts: LoadFacts { rows, mode: "append".into(), ..LoadFacts::default() }, at };
        let object = |pairs: Vec<(String, String)>| -> Value {
            pairs
                .into_iter()
                .map(|(name, value)| (name, Value::String(value)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        };
        let summary = object(summary(std::slice::from_ref(&b), &facts(4, 2000)));
        let metadata = TableMetadata(json!({
            "properties": object(properties(std::slice::from_ref(&a), &facts(3, 1000))),
            "snapshots": [{"snapshot-id": 1, "summary": summary}, {"snapshot-id": 2, "summary": {"operation": "append"}}],
        }));
        let rows: Vec<Option<u64>> =
            found(&metadata, &[a, b, c]).iter().map(|row| row.as_ref().map(|row| row.rows)).collect();
        assert_eq!(rows, [Some(3), Some(4), None]);
        let listed: Vec<String> = all(&metadata).into_iter().map(|row| row.loaded_at).collect();
        assert_eq!(listed, ["1970-01-01 00:00:02.000", "1970-01-01 00:00:01.000"]);
    }
}
