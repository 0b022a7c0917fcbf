//! The loads of a Delta table, in its transaction ids, which checkpoints keep.
//!
//! ```text
//! {"txn":{"appId":"<commit key>","version":1}}              1, 3, … : the rows are in the table; 2, 4, …: they were replaced
//! {"txn":{"appId":"drawoff load {\"key\":…}","version":1}}  the facts of the load, for lists
//! ```

use serde::{Deserialize, Serialize};

use super::actions::Transaction;
use super::snapshot::Snapshot;
use crate::warehouse::load_facts::LoadFacts;
use crate::warehouse::{CommitKey, LedgerRow, LoadClaim, LoadState};

/// The table in commit keys: the ids are in the table itself, wherever it is and however it was typed.
pub(super) const KEY_TABLE: &str = "delta";

/// The start of the ids that have the facts of loads.
const FACTS: &str = "drawoff load ";

/// The facts of a load, and its commit key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
struct Recorded {
    key: String,
    #[serde(flatten)]
    facts: LoadFacts,
}

/// Returns true if a version of a key says that its rows are in the table.
fn stands(version: i64) -> bool {
    version % 2 != 0
}

/// Returns the ids that record a load at `now`, in milliseconds since 1970.
pub(super) fn recorded(snapshot: &Snapshot, claim: &LoadClaim, facts: &LoadFacts, now: i64) -> [Transaction; 2] {
    let before = snapshot.transactions.get(claim.key.as_str()).map_or(0, |txn| txn.version);
    let version = if stands(before) { before + 2 } else { before + 1 };
    let recorded = Recorded { key: claim.key.as_str().to_owned(), facts: facts.of(claim) };
    let facts = format!("{FACTS}{}", serde_json::to_string(&recorded).unwrap_or_default());
    [claim.key.as_str().to_owned(), facts].map(|app_id| Transaction { app_id, version, last_updated: Some(now) })
}

/// Returns the ids that mark all loads but those of `kept` as replaced.
pub(super) fn replaced(snapshot: &Snapshot, kept: &[LoadClaim], now: i64) -> Vec<Transaction> {
    let is_kept = |key: &str| kept.iter().any(|claim| claim.key.as_str() == key);
    let others = standing_keys(snapshot).filter(|txn| !is_kept(&txn.app_id));
    others.map(|txn| Transaction { version: txn.version + 1, last_updated: Some(now), ..txn.clone() }).collect()
}

/// Returns the ids of all loads whose rows are in the table.
pub(super) fn standing_keys(snapshot: &Snapshot) -> impl Iterator<Item = &Transaction> {
    let is_key = |txn: &&Transaction| CommitKey::parse(&txn.app_id).is_some() && stands(txn.version);
    snapshot.transactions.values().filter(is_key)
}

/// Returns the loads behind claims, in their order; `None` for those whose rows are not in the table.
pub(super) fn found(snapshot: &Snapshot, claims: &[LoadClaim]) -> Vec<Option<LedgerRow>> {
    let of = |claim: &LoadClaim| {
        let txn = snapshot.transactions.get(claim.key.as_str()).filter(|txn| stands(txn.version))?;
        let known = recorded_facts(snapshot).find(|(known, of)| known.key == txn.app_id && of.version == txn.version);
        let facts = known.map(|(known, _)| known.facts).unwrap_or_default();
        Some(facts.row(&txn.app_id, txn.last_updated, LoadState::Loaded))
    };
    claims.iter().map(of).collect()
}

/// Returns all loads that the table has or had, the latest first.
pub(super) fn all(snapshot: &Snapshot) -> Vec<LedgerRow> {
    let of = |(Recorded { key, facts }, txn): (Recorded, &Transaction)| {
        let now = snapshot.transactions.get(&key).map_or(0, |txn| txn.version);
        let state = if now == txn.version && stands(now) { LoadState::Loaded } else { LoadState::Replaced };
        facts.row(&key, txn.last_updated, state)
    };
    let mut rows: Vec<LedgerRow> = recorded_facts(snapshot).map(of).collect();
    rows.sort_by(|a, b| b.loaded_at.cmp(&a.loaded_at).then_with(|| a.key.cmp(&b.key)));
    rows
}

fn recorded_facts(snapshot: &Snapshot) -> impl Iterator<Item = (Recorded, &Transaction)> {
    let of = |txn: &Transaction| serde_json::from_str::<Recorded>(txn.app_id.strip_prefix(FACTS)?).ok();
    snapshot.transactions.values().filter_map(move |txn| Some((of(txn)?, txn)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warehouse::LoadMember;

    fn claim(name: &str) -> LoadClaim {
        LoadClaim { key: CommitKey::of(&[name]), member: LoadMember::default(), set: None }
    }

    fn record(snapshot: &mut Snapshot, txns: impl IntoIterator<Item = Transaction>) {
        snapshot.transactions.extend(txns.into_iter().map(|txn| (txn.app_id.clone(), txn)));
    }

    #[test]
    fn a_load_stands_until_another_replaces_it() {
        let mut snapshot = Snapshot::default();
        let facts = |rows| LoadFacts { rows, mode: "append".into(), ..LoadFacts::default() };
        let (a, b) = (claim("a"), claim("b"));
        let states = |snapshot: &Snapshot| {
            let of = |claim: &LoadClaim| found(snapshot, std::slice::from_ref(claim))[0].clone().map(|row| row.rows);
            (of(&a), of(&b))
        };
        assert_eq!(states(&snapshot), (None, None));
        let txns = recorded(&snapshot, &a, &facts(3), 1000);
        assert_eq!(txns[0].app_id, a.key.as_str());
        record(&mut snapshot, txns);
        assert_eq!(states(&snapshot), (Some(3), None));
        let txns = replaced(&snapshot, std::slice::from_ref(&b), 2000);
        record(&mut snapshot, txns);
        let txns = recorded(&snapshot, &b, &facts(4), 2000);
        record(&mut snapshot, txns);
        assert_eq!(states(&snapshot), (None, Some(4)));
        let txns = recorded(&snapshot, &a, &facts(5), 3000);
        record(&mut snapshot, txns);
        assert_eq!(states(&snapshot), (Some(5), Some(4)));
        let listed: Vec<(u64, LoadState)> = all(&snapshot).iter().map(|row| (row.rows, row.state)).collect();
        assert_eq!(listed, [(5, LoadState::Loaded), (4, LoadState::Loaded), (3, LoadState::Replaced)]);
        assert_eq!(all(&snapshot)[2].loaded_at, "1970-01-01 00:00:01.000");
    }

    #[test]
    fn ids_of_others_are_no_loads() {
        let mut snapshot = Snapshot::default();
        record(&mut snapshot, [Transaction { app_id: "streaming-1".into(), version: 1, last_updated: None }]);
        assert_eq!((all(&snapshot).len(), standing_keys(&snapshot).count()), (0, 0));
        assert!(replaced(&snapshot, &[], 0).is_empty());
    }
}
