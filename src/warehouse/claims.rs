//! Loads of systems with transactions: the claims that a load has in the ledger, judged against the rows that are there.
//! They tell whether a load is made, as a whole or in part, the progress of one in chunks, and the loads whose rows give way.

use serde::{Deserialize, Serialize};

use super::earlier::Replaceable;
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

impl LoadProgress {
    /// Returns the progress after another chunk.
    pub(super) fn after(&self, rows: u64, end: &ChunkEnd) -> Self {
        LoadProgress {
            chunks: self.chunks + 1,
            rows: self.rows + rows,
            records: end.records,
            last: end.last.or(self.last),
            digest: end.digest,
            again: self.again,
        }
    }
}

/// Returns the chunks of these claims that the table has, from the rows of the ledger for them. Fails if the earlier load is
/// not complete and this one cannot go on with it.
pub(super) fn earlier_progress(
    table: &str,
    claims: &[LoadClaim],
    found: &[Option<LedgerRow>],
    in_chunks: bool,
    replaceable: Replaceable,
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
        may_replace: replaceable.takes(incomplete.clone()),
        runs: incomplete.map(|row| row.run_id.clone().unwrap_or_else(|| row.source.clone())).collect(),
        rows: first.rows,
    })
}

/// Returns true if these rows of the ledger are of a load in chunks that is not complete, and takes the place of an earlier
/// one: the command that began it goes on with it.
pub(super) fn is_begun_again(found: &[Option<LedgerRow>]) -> bool {
    let is_begun = |row: &LedgerRow| row.state == LoadState::Incomplete && row.progress.is_some_and(|done| done.again);
    !found.is_empty() && found.iter().all(|row| row.as_ref().is_some_and(is_begun))
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
