//! The rows of the ledger, the table in which a target records its loads.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::identity::{CommitKey, LoadSet};

/// Name of the table of loads, in the schema or database of the tables that are loaded.
pub const LEDGER_TABLE: &str = "_drawoff_loads";

/// One load as the ledger of its target has it. Times are as the target writes them, in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerRow {
    /// The commit key.
    pub key: String,
    /// The table, with its schema if the target has any.
    pub table: String,
    /// The run; `None` for other sources.
    pub run_id: Option<String>,
    /// Number of the block; `None` for other sources, or for the last block.
    pub block: Option<i64>,
    /// Names of the sources.
    pub source: String,
    /// `append`, `replace` or `merge`.
    pub mode: String,
    /// Digest of the steps.
    pub plan: String,
    /// State of its rows, as far as loads are concerned.
    pub state: LoadState,
    /// The runs that were loaded together with this one, if any: `rows`, `rejected` and `digest` are of all of them.
    pub set: Option<LoadSet>,
    /// The chunks that are in the table, of a load in chunks.
    pub progress: Option<LoadProgress>,
    /// Rows that the table has of this load, where a repeated load has looked and found fewer: 0 for an empty table. Loads
    /// that are listed were not looked for.
    pub rows_there: Option<u64>,
    /// Rows of the load; of an incomplete one, those that are in the table.
    pub rows: u64,
    /// Records that were rejected.
    pub rejected: u64,
    /// SHA-256 of the bytes that were read, in hexadecimal: of each source, or of their digests if there are several.
    pub digest: String,
    /// Time of the load.
    pub loaded_at: String,
    /// Version of drawoff that made the load.
    pub version: String,
}

/// State of the rows of a load. Changes that others make to rows are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoadState {
    /// They are in the table.
    #[default]
    Loaded,
    /// They are complete in a stage, and the next load of the key moves them into the table.
    Unfinished,
    /// The table has the rows of some chunks; the same load goes on behind them.
    Incomplete,
    /// A later load has replaced them.
    Replaced,
    /// The table was dropped or renamed.
    Dropped,
}

impl LedgerRow {
    /// Returns true if the rows are in the table. Those that are complete beside it need a load that moves them.
    pub fn stands(&self) -> bool {
        self.state == LoadState::Loaded
    }

    /// Returns the key that a column for commit keys has in the rows of the load.
    pub fn row_key(&self) -> &str {
        self.set.as_ref().map_or(&self.key, |set| &set.key)
    }
}

/// The rows of a load in chunks that are in the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadProgress {
    /// Chunks.
    pub chunks: u64,
    /// Rows of all of them.
    pub rows: u64,
    /// Records of the sources up to the end of the last chunk, bad ones included; rows of later records are missing.
    pub records: u64,
    /// The record of the last row; `None` in ledgers of before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<RecordMark>,
    /// The digest of all these records; `None` in ledgers of before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<RecordsDigest>,
    /// True if the load takes the place of an earlier one of its key, so that the same command goes on with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// The digest of the first records of the sources, as a load in chunks remembers it. Records that are not valid do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsDigest {
    /// True if there are rows of CSV among them: the same results have other bytes in another format.
    pub is_csv: bool,
    /// XXH3 of each record and its run, seeded with that of the records before it.
    pub xxh3: u64,
}

impl RecordsDigest {
    /// Returns true if `other` is the digest of other records.
    pub fn contradicts(&self, other: &RecordsDigest) -> bool {
        self.is_csv == other.is_csv && self.xxh3 != other.xxh3
    }
}

/// A record as a load in chunks remembers it, so that a load of other records does not go on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordMark {
    /// Number in the sources, from 0.
    pub record: u64,
    /// True if the record is a row of CSV: the same results have other bytes in another format.
    pub is_csv: bool,
    /// The first 32 bits of the SHA-256 of its run and its bytes.
    pub digest: u32,
}

impl RecordMark {
    /// Returns the mark of a record with these bytes, of a run if it is of one: loads of several runs are the same load in any
    /// order of these.
    pub fn of(record: u64, is_csv: bool, run: Option<&str>, bytes: &[u8]) -> Self {
        let digest = Sha256::new().chain_update(run.unwrap_or_default()).chain_update(bytes).finalize();
        RecordMark { record, is_csv, digest: u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) }
    }

    /// Returns true if `other` is the mark of another record in the same place.
    pub fn contradicts(&self, other: &RecordMark) -> bool {
        self.record == other.record && self.is_csv == other.is_csv && self.digest != other.digest
    }
}

/// A load that has its rows in the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSummary {
    /// The target and table, without secrets.
    pub table: String,
    /// The commit key.
    pub key: CommitKey,
    /// Rows of the load as the target counts them.
    pub rows: u64,
    /// Sentences for the report, such as one about a column that was added.
    pub notes: Vec<String>,
}
