//! Loads of systems with transactions: the claims that a load has in the ledger, judged against the rows that are there.
//! They tell whether a load is made, as a whole or in part, the progress of one in chunks, and the loads whose rows give way.

use serde::{Deserialize, Serialize};

use super::error::LoadError;
use super::identity::{CommitKey, LoadClaim, LoadSet};
use super::ledger::{LedgerRow, LoadProgress, LoadState};
use super::load_end::ChunkEnd;

/// Facts of a row of the ledger that have no column of their own. Written as a JSON object, of which unknown members are
/// ignored; a ledger that was made before there were any has no column for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LedgerDetails {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) set: Option<LoadSet>,
    /// Of a load in chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) progress: Option<LoadProgress>,
    /// Of one chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) chunk: Option<LedgerChunk>,
    /// Of a load in chunks: the columns that it has made for JSON text, where the table does not tell them from text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) mixed: Vec<String>,
}

/// A chunk as the ledger keeps it: in a row of its own, whose state is [`CHUNK_STATE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LedgerChunk {
    /// The key of the load.
    pub(super) of: String,
    /// From 1.
    pub(super) number: u64,
    /// Record of the sources at which the chunk begins, from 0.
    pub(super) first_record: u64,
    /// Record of the sources at which the next chunk begins.
    pub(super) end_record: u64,
}

/// The state of rows of the ledger that are of one chunk. They are no loads, and lists leave them out.
pub(super) const CHUNK_STATE: &str = "chunk";

/// The state of the row of a load in chunks until its last one.
pub(super) const INCOMPLETE_STATE: &str = "incomplete";

impl LedgerChunk {
    /// Returns the chunk that leads from one progress of the load `of` to another.
    pub(super) fn between(of: &CommitKey, before: &LoadProgress, after: &LoadProgress) -> Self {
        LedgerChunk {
            of: of.as_str().to_owned(),
            number: after.chunks,
            first_record: before.records,
            end_record: after.records,
        }
    }

    /// Returns the key of its row.
    pub(super) fn key(&self) -> CommitKey {
        CommitKey::of(&["chunk", &self.of, &self.number.to_string()])
    }

    /// Returns its source for the ledger.
    pub(super) fn source(&self) -> String {
        let of = self.of.get(..8).unwrap_or_default();
        format!("chunk {} of {of}, records {} to {}", self.number, self.first_record, self.end_record)
    }
}

impl LedgerRow {
    /// Returns true if the table has rows of the load, or will have.
    pub(super) fn has_rows(&self) -> bool {
        self.stands() || self.state == LoadState::Incomplete
    }
}

impl LoadClaim {
    /// Returns the key that a column for commit keys has in the rows of the load.
    pub(super) fn row_key(&self) -> &str {
        self.set.as_ref().map_or(self.key.as_str(), |set| &set.key)
    }
}

impl LoadProgress {
    /// Returns the progress after another chunk.
    pub(super) fn after(&self, rows: u64, end: &ChunkEnd) -> Self {
        let (records, last) = (end.records, end.last.or(self.last));
        LoadProgress { chunks: self.chunks + 1, rows: self.rows + rows, records, last }
    }
}

/// Returns the chunks of these claims that the table has, from the rows of the ledger for them. Fails if the earlier load is
/// not complete and this one cannot go on with it.
pub(super) fn earlier_progress(
    table: &str,
    claims: &[LoadClaim],
    found: &[Option<LedgerRow>],
    in_chunks: bool,
) -> Result<LoadProgress, LoadError> {
    let incomplete = found.iter().flatten().filter(|row| row.state == LoadState::Incomplete);
    let Some(first) = incomplete.clone().next() else { return Ok(LoadProgress::default()) };
    let is_same = |(claim, row): (&LoadClaim, &Option<LedgerRow>)| {
        row.as_ref().is_some_and(|row| row.state == LoadState::Incomplete && row.set == claim.set)
    };
    if in_chunks && claims.iter().zip(found).all(is_same) {
        return Ok(first.progress.unwrap_or_default());
    }
    Err(LoadError::Incomplete {
        table: table.to_owned(),
        runs: incomplete.map(|row| row.run_id.clone().unwrap_or_else(|| row.source.clone())).collect(),
        rows: first.rows,
    })
}

impl LedgerDetails {
    /// Reads the text of the column; empty if the ledger has none.
    pub(super) fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Returns the text for the column; `None` if there is nothing to tell.
    pub(super) fn text(&self) -> Option<String> {
        (*self != LedgerDetails::default()).then(|| serde_json::to_string(self).unwrap_or_default())
    }
}

/// Decides whether a load is necessary, from the rows that stand in the ledger for its claims, in their order. Returns one
/// row for the whole load if it is not. Fails if some of its members are loaded and others are not.
pub(super) fn earlier_load(
    table: &str,
    claims: &[LoadClaim],
    found: Vec<Option<LedgerRow>>,
) -> Result<Option<LedgerRow>, LoadError> {
    let names = |is_loaded: bool| {
        let of = claims.iter().zip(&found).filter(|(_, row)| row.is_some() == is_loaded);
        of.map(|(claim, _)| claim.member.run_id.clone().unwrap_or_else(|| claim.member.source.clone())).collect()
    };
    let (loaded, missing): (Vec<String>, Vec<String>) = (names(true), names(false));
    if loaded.is_empty() {
        return Ok(None);
    }
    if !missing.is_empty() {
        return Err(LoadError::PartlyLoaded { table: table.to_owned(), loaded, missing });
    }
    let rows: Vec<LedgerRow> = found.into_iter().flatten().collect();
    let Some(set) = claims.first().and_then(|claim| claim.set.clone()) else { return Ok(rows.into_iter().next()) };
    // Members that were loaded together have the counts of all of them.
    let mut loads: Vec<&LedgerRow> = Vec::new();
    for row in &rows {
        if !loads.iter().any(|other| other.row_key() == row.row_key()) {
            loads.push(row);
        }
    }
    let Some(last) = loads.iter().max_by(|a, b| a.loaded_at.cmp(&b.loaded_at)) else { return Ok(None) };
    Ok(Some(LedgerRow {
        key: set.key.clone(),
        run_id: None,
        block: None,
        source: claims.iter().map(|claim| claim.member.source.as_str()).collect::<Vec<_>>().join(", "),
        set: Some(set),
        rows: loads.iter().map(|load| load.rows).sum(),
        rejected: loads.iter().map(|load| load.rejected).sum(),
        digest: if loads.len() == 1 { last.digest.clone() } else { String::new() },
        ..(*last).clone()
    }))
}

/// An earlier load whose rows give way to those of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EarlierRows {
    /// The key that a column for commit keys has in them.
    pub(super) key: String,
    /// Their number.
    pub(super) rows: u64,
}

impl EarlierRows {
    /// Returns the error of a load that should replace these rows, of which the table has none with their key.
    pub(super) fn rows_without_key(&self, table: &str, column: &str) -> LoadError {
        LoadError::Unsupported {
            table: table.to_owned(),
            what: format!(
                "the earlier load has no rows with its key in the column `{column}`, so they cannot be replaced"
            ),
            hint: Some("delete its rows and its row in the table of loads by hand, and load again".to_owned()),
        }
    }
}

/// Returns the loads behind rows of the ledger that give way. Fails if one of them has rows of runs that do not.
pub(super) fn rows_that_give_way(
    table: &str,
    given: &[LedgerRow],
    needs_all: bool,
) -> Result<Vec<EarlierRows>, LoadError> {
    let mut earlier: Vec<EarlierRows> = Vec::new();
    for row in given {
        if earlier.iter().any(|other| other.key == row.row_key()) {
            continue;
        }
        let together = given.iter().filter(|other| other.row_key() == row.row_key()).count() as u64;
        if let Some(set) = row.set.as_ref().filter(|set| needs_all && set.members != together) {
            return Err(LoadError::Unsupported {
                table: table.to_owned(),
                what: format!(
                    "the earlier load had {} runs, whose rows cannot be told from each other, and this one has {together} of them",
                    set.members
                ),
                hint: Some("load all of its runs again, or merge by a key".to_owned()),
            });
        }
        earlier.push(EarlierRows { key: row.row_key().to_owned(), rows: row.rows });
    }
    Ok(earlier)
}
