//! Encoded rows on their way from a worker to the writer. Plain data: no path, no sink and no file.

use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::column::{Batch, Schema};
use crate::format::csv::SheetCounts;
use crate::warehouse::LoadRows;

/// The directory of rows below that of a partitioned output, such as `country=NO/city=Oslo`; empty without
/// partitioning.
pub(super) type PartitionPath = Arc<str>;

/// The rows of one batch, encoded for every output that takes them batch by batch.
pub(crate) struct EncodedBatch {
    /// Columns after the steps, partition columns included.
    pub columns: Arc<Schema>,
    /// The schema before any step.
    pub decoded: Arc<Schema>,
    /// Number of rows, the same for every output.
    pub rows: u64,
    /// One element per output of the plan, in its order.
    pub encoded: Vec<EncodedRows>,
    /// Changes to cells for spreadsheets, of all outputs.
    pub sheet: SheetCounts,
}

/// The rows of one batch, encoded for one output.
pub(crate) enum EncodedRows {
    /// Nothing: this output takes row groups.
    InRowGroups,
    /// Text, compressed if the output is.
    Text(Vec<u8>),
    /// Arrow rows with plain types.
    Arrow(RecordBatch),
    /// Rows with their types.
    Typed(Batch),
    /// The rows of each directory or file set separately.
    Partitions(Vec<PartitionRows>),
    /// Rows in the form of a table's system.
    Load(LoadRows),
}

/// The rows of one batch that belong to one directory.
pub(crate) struct PartitionRows {
    pub directory: PartitionPath,
    /// The rows before encoding, which the writer encodes again if it has to split them between files.
    pub batch: Batch,
    /// The same rows, encoded.
    pub encoded: FileRows,
}

/// Rows encoded for a file, without compression.
pub(crate) enum FileRows {
    /// CSV or JSON text.
    Text(Vec<u8>),
    /// Arrow rows with plain types.
    Arrow(RecordBatch),
}

impl EncodedBatch {
    /// Returns the bytes that it holds, approximately.
    pub(crate) fn memory_size(&self) -> usize {
        let of_body = |encoded: &FileRows| match encoded {
            FileRows::Text(text) => text.len(),
            FileRows::Arrow(rows) => rows.get_array_memory_size(),
        };
        self.encoded
            .iter()
            .map(|encoded| match encoded {
                EncodedRows::InRowGroups => 0,
                EncodedRows::Text(text) => text.len(),
                EncodedRows::Arrow(rows) => rows.get_array_memory_size(),
                EncodedRows::Typed(rows) => rows.memory_size(),
                EncodedRows::Load(rows) => rows.memory_size(),
                EncodedRows::Partitions(parts) => parts.iter().map(|part| of_body(&part.encoded)).sum(),
            })
            .sum()
    }
}
