//! The counts of an execution, which must add up.

use std::path::PathBuf;
use std::time::Duration;

use crate::column::Schema;

/// The account of one execution that ended well.
#[derive(Clone, Debug)]
pub struct Report {
    /// Records that came in. With those added: written + filtered + rejected, always; or queried in place of written.
    pub rows_in: u64,
    /// Records in each output.
    pub rows_written: u64,
    /// Records that a step left out.
    pub rows_filtered: u64,
    /// Rows that a query took, if one was put to all of them; those written are its answer, and the other counts are of
    /// what came before it.
    pub rows_queried: Option<u64>,
    /// Rows that steps made of records besides their first.
    pub rows_added: u64,
    /// Records that could not be used; after a step that makes rows of lists, rows of them.
    pub rows_rejected: u64,
    /// Bytes taken from the sources, before decompression.
    pub bytes_in: u64,
    /// Bytes of all outputs.
    pub bytes_out: u64,
    /// Keys that stood twice in one record (the last one won).
    pub duplicate_keys: u64,
    /// Pieces of records that were not UTF-8 and became U+FFFD.
    pub utf8_replaced: u64,
    /// Cells of CSV for spreadsheets that got an apostrophe in front; notes say why.
    pub cells_changed: u64,
    /// From start to the last rename.
    pub elapsed: Duration,
    /// The columns in the end.
    pub schema: Schema,
    /// Each output that is a file: its path and its bytes.
    pub files: Vec<(PathBuf, u64)>,
    /// The file of rejects, if there are any and they were kept.
    pub rejects: Option<PathBuf>,
    /// The reader of a pipe went away before the end; the counts stop there.
    pub stopped_early: bool,
    /// The plan's limit of rows was reached before the end; the counts are of what was read for it,
    /// up to the last row that it let pass.
    pub reached_limit: bool,
    /// Notes such as a column that never had a value.
    pub notes: Vec<String>,
}
