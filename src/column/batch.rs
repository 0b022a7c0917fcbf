//! Morsels, the buffers of whole records that are decoded at a time, and the batches decoded from
//! them. Both share their bytes with views and are never written to.

use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::Buffer;
use arrow_schema::ArrowError;
use arrow_select::take::take;

use super::Schema;

/// One contiguous buffer of whole records, cut from a source at record ends.
///
/// Batches hold views into `bytes`, so it is shared and never written to.
#[derive(Clone, Debug)]
pub struct Morsel {
    /// The records and, after them, at least [`Morsel::PADDING`] zero bytes.
    pub bytes: Buffer,
    /// Length of the records in bytes, without the padding.
    pub len: usize,
    /// Offset of the first byte in the decompressed source, from 0.
    pub byte_offset: u64,
    /// Index of the source in the plan, from 0.
    pub source_index: usize,
}

impl Morsel {
    /// Zero bytes after the records, so that a scanner may load whole vectors past the end.
    pub const PADDING: usize = 64;

    /// Makes a morsel of `records` and appends the padding.
    pub fn from_vec(mut records: Vec<u8>, byte_offset: u64, source_index: usize) -> Self {
        let len = records.len();
        records.resize(len + Self::PADDING, 0);
        Morsel { bytes: Buffer::from_vec(records), len, byte_offset, source_index }
    }

    /// Returns the records from byte `start` on, the first byte of a record, without copying.
    pub fn rest(&self, start: usize) -> Self {
        Morsel {
            bytes: self.bytes.slice(start),
            len: self.len - start,
            byte_offset: self.byte_offset + start as u64,
            source_index: self.source_index,
        }
    }

    /// Copies the first records that fit into `bytes`, or the first record if that is longer.
    /// Assumes that records end at line feeds.
    pub fn beginning(&self, bytes: usize) -> Self {
        let records = self.records();
        let whole = memchr::memrchr(b'\n', &records[..bytes.min(self.len)]);
        let end = whole.or_else(|| memchr::memchr(b'\n', records)).map_or(self.len, |at| at + 1);
        let end = if self.len <= bytes { self.len } else { end };
        Morsel::from_vec(records[..end].to_vec(), self.byte_offset, self.source_index)
    }

    /// Returns the records without the padding.
    pub fn records(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Typed columns made from one morsel.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Names and types of `columns`, in order.
    pub schema: Arc<Schema>,
    /// One array per field of `schema`, of its [`super::Type::to_arrow`] type and of `rows` length.
    pub columns: Vec<ArrayRef>,
    /// Number of rows, also when there are no columns.
    pub rows: usize,
    /// The morsel and each row's span in it, `rows` long, as long as rows are unchanged records of
    /// that morsel: an NDJSON encoder then copies them. `None` once a step has changed values.
    pub records: Option<(Buffer, Vec<RecordSpan>)>,
}

impl Batch {
    /// Returns `rows` rows from `start` on, without copying.
    ///
    /// # Panics
    ///
    /// If the batch has fewer than `start + rows` rows.
    pub fn slice(&self, start: usize, rows: usize) -> Self {
        Batch {
            schema: self.schema.clone(),
            columns: self.columns.iter().map(|column| column.slice(start, rows)).collect(),
            rows,
            records: self.records.as_ref().map(|(bytes, spans)| (bytes.clone(), spans[start..start + rows].to_vec())),
        }
    }

    /// Copies the rows at `row_indices`, in that order.
    pub fn take(&self, row_indices: &[u32]) -> Result<Self, ArrowError> {
        let indices = UInt32Array::from(row_indices.to_vec());
        let columns = self.columns.iter().map(|column| take(column, &indices, None)).collect::<Result<_, _>>()?;
        let records = self.records.as_ref();
        Ok(Batch {
            schema: self.schema.clone(),
            columns,
            rows: row_indices.len(),
            records: records
                .map(|(bytes, spans)| (bytes.clone(), row_indices.iter().map(|&row| spans[row as usize]).collect())),
        })
    }

    /// Returns about how many bytes the columns hold. A buffer that several batches share is counted in each.
    pub fn memory_size(&self) -> usize {
        self.columns.iter().map(|column| column.get_array_memory_size()).sum()
    }

    /// Returns the same rows without the columns `names`. Unknown names are ignored.
    pub fn without_columns(&self, names: &[Arc<str>]) -> Self {
        let kept = |i: &usize| !names.contains(&self.schema.fields[*i].name);
        let kept: Vec<usize> = (0..self.columns.len()).filter(kept).collect();
        if kept.len() == self.columns.len() {
            return self.clone();
        }
        Batch {
            schema: Arc::new(self.schema.without(names)),
            columns: kept.iter().map(|&i| self.columns[i].clone()).collect(),
            rows: self.rows,
            records: None,
        }
    }
}

/// The bytes of a record in its morsel, without the line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSpan {
    /// Offset of the first byte in the morsel.
    pub start: u32,
    /// Length in bytes, without the line end.
    pub len: u32,
}
