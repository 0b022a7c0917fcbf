//! The rows of the ledger, the table in which a target records its loads.

use super::identity::CommitKey;

/// Name of the table of loads, in the schema or database of the tables that are loaded.
pub const LEDGER_TABLE: &str = "_drawoff_loads";

/// One load as the ledger of its target has it. Times are as the target writes them, in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// False if a later load has replaced the rows.
    pub stands: bool,
    /// Rows of the load.
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
