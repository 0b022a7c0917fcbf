//! The report of an execution: its counts, which must add up, and the files that it made. The writer fills it; `cli`
//! and `service` print it.

use std::path::PathBuf;
use std::time::Duration;

use super::cell_kinds::TextColumn;
use crate::column::Schema;
use crate::warehouse::Committed;

/// The counts and files of one successful execution.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Records that were read. `rows_in + rows_added = rows_written + rows_filtered + rows_rejected` always, with
    /// `rows_queried` in place of `rows_written` if it is `Some`.
    pub rows_in: u64,
    /// Rows in each output.
    pub rows_written: u64,
    /// Of the rows written, those that every output, each a table, had before.
    pub rows_there_before: u64,
    /// Rows that a step dropped.
    pub rows_filtered: u64,
    /// Rows that a query over all rows read; `rows_written` are then the query's result, and the other counts are of
    /// the pass before it. `None` without such a query.
    pub rows_queried: Option<u64>,
    /// Rows that steps made of records besides their first.
    pub rows_added: u64,
    /// Rejected records; after a step that explodes lists, the rejected rows of them.
    pub rows_rejected: u64,
    /// Bytes read from the sources, before decompression.
    pub bytes_in: u64,
    /// Bytes written to all outputs together, after compression.
    pub bytes_out: u64,
    /// Duplicate keys in records; the last value was kept.
    pub duplicate_keys: u64,
    /// Invalid UTF-8 sequences that became U+FFFD.
    pub utf8_replaced: u64,
    /// Cells of CSV for spreadsheets that were prefixed with an apostrophe; `notes` have the reasons.
    pub cells_changed: u64,
    /// Wall time from the start to the last rename.
    pub elapsed: Duration,
    /// The final columns of the outputs.
    pub schema: Schema,
    /// The final columns of the records, before all steps, of an execution that reads a part of the records; else empty.
    pub input_schema: Schema,
    /// Columns that steps refer to and no record had, of an execution that reads [a part](super::SchemaSource::is_part) of the
    /// records; elsewhere they are an error.
    pub unseen_columns: Vec<String>,
    /// Path and bytes of each file that was made.
    pub files: Vec<(PathBuf, u64)>,
    /// The name of each table that was loaded, and the outcome.
    pub loads: Vec<(String, Committed)>,
    /// The rejects file; `None` if no record was rejected or rejects were not kept.
    pub rejects: Option<PathBuf>,
    /// The reader of a pipe closed it before the end; the counts stop there.
    pub stopped_early: bool,
    /// The plan's row limit was reached before the end; the counts are of the records read until then,
    /// up to the last row within the limit.
    pub reached_limit: bool,
    /// A delimiter that may be the right one of the first CSV source that was read as one column although its header
    /// contains it; `notes` name all such sources. `None` without such a source.
    pub other_delimiter: Option<u8>,
    /// Columns of CSV that few of their cells made text.
    pub text_columns: Vec<TextColumn>,
    /// Sentences for the user, such as one about a column that never had a value.
    pub notes: Vec<String>,
}
