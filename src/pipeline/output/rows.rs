//! Encoded rows on their way from a worker to the writer.

use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::column::{Batch, Schema};
use crate::format::csv::SheetCounts;

/// The directory of a row below that of an output which is divided: `country=NO/city=Oslo`; empty where it is not.
pub type PartitionPath = Arc<str>;

/// Rows of one batch, for every output that takes them batch by batch.
pub struct EncodedBatch {
    /// Columns of the outputs, those that choose directories included.
    pub columns: Arc<Schema>,
    /// The schema before any step.
    pub decoded: Arc<Schema>,
    pub rows: u64,
    /// One per output of the plan.
    pub encoded: Vec<EncodedRows>,
    /// Changes to cells for spreadsheets, in all of them.
    pub sheet: SheetCounts,
}

/// Rows of one batch, for one output.
pub enum EncodedRows {
    /// The rows of this output come in row groups.
    InRowGroups,
    /// Compressed, if the output is.
    Text(Vec<u8>),
    Arrow(RecordBatch),
    Partitions(Vec<PartitionRows>),
}

/// Rows of one directory.
pub struct PartitionRows {
    pub directory: PartitionPath,
    /// The rows, should they have to be cut.
    pub batch: Batch,
    pub body: FileRows,
}

/// Rows as they go into a file.
pub enum FileRows {
    /// Not compressed yet.
    Text(Vec<u8>),
    Arrow(RecordBatch),
}

impl EncodedBatch {
    /// Bytes that it holds, about.
    pub fn memory_size(&self) -> usize {
        let of_body = |body: &FileRows| match body {
            FileRows::Text(text) => text.len(),
            FileRows::Arrow(rows) => rows.get_array_memory_size(),
        };
        self.encoded
            .iter()
            .map(|encoded| match encoded {
                EncodedRows::InRowGroups => 0,
                EncodedRows::Text(text) => text.len(),
                EncodedRows::Arrow(rows) => rows.get_array_memory_size(),
                EncodedRows::Partitions(parts) => parts.iter().map(|part| of_body(&part.body)).sum(),
            })
            .sum()
    }
}
