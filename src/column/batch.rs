//! Morsels and the batches made from them.

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
    /// Bytes of records in `bytes`, the padding left out.
    pub len: usize,
    /// Offset of the first byte in the decompressed source.
    pub byte_offset: u64,
    /// Index of the source in the plan.
    pub source_index: usize,
}

impl Morsel {
    /// Zero bytes after the records, so that a scanner may load whole vectors past the end.
    pub const PADDING: usize = 64;

    /// A morsel of `records`, which get their padding here.
    pub fn from_vec(mut records: Vec<u8>, byte_offset: u64, source_index: usize) -> Self {
        let len = records.len();
        records.resize(len + Self::PADDING, 0);
        Morsel { bytes: Buffer::from_vec(records), len, byte_offset, source_index }
    }

    /// The records from byte `start` on, which must be the start of one, as a morsel.
    pub fn rest(&self, start: usize) -> Self {
        Morsel {
            bytes: self.bytes.slice(start),
            len: self.len - start,
            byte_offset: self.byte_offset + start as u64,
            source_index: self.source_index,
        }
    }

    /// A copy of the first records that fit into `bytes`, or of the first record if that is longer.
    /// Records end at line feeds.
    pub fn beginning(&self, bytes: usize) -> Self {
        let records = self.records();
        let whole = memchr::memrchr(b'\n', &records[..bytes.min(self.len)]);
        let end = whole.or_else(|| memchr::memchr(b'\n', records)).map_or(self.len, |at| at + 1);
        let end = if self.len <= bytes { self.len } else { end };
        Morsel::from_vec(records[..end].to_vec(), self.byte_offset, self.source_index)
    }

    /// The records without the padding.
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
    /// Where each row's whole record stands, while rows still are records of one NDJSON morsel and
    /// no step has changed their values: an NDJSON sink may then copy them. `rows` long.
    pub records: Option<(Buffer, Vec<RecordSpan>)>,
}

impl Batch {
    /// `rows` rows from `start` on, without copying.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    pub fn slice(&self, start: usize, rows: usize) -> Self {
        Batch {
            schema: self.schema.clone(),
            columns: self.columns.iter().map(|column| column.slice(start, rows)).collect(),
            rows,
            records: self.records.as_ref().map(|(bytes, spans)| (bytes.clone(), spans[start..start + rows].to_vec())),
        }
    }

    /// The rows at `places`, in that order.
    pub fn take(&self, places: &[u32]) -> Result<Self, ArrowError> {
        let indices = UInt32Array::from(places.to_vec());
        let columns = self.columns.iter().map(|column| take(column, &indices, None)).collect::<Result<_, _>>()?;
        let records = self.records.as_ref();
        Ok(Batch {
            schema: self.schema.clone(),
            columns,
            rows: places.len(),
            records: records
                .map(|(bytes, spans)| (bytes.clone(), places.iter().map(|&place| spans[place as usize]).collect())),
        })
    }

    /// Bytes that its columns hold, about; what several batches share is counted in each.
    pub fn memory_size(&self) -> usize {
        self.columns.iter().map(|column| column.get_array_memory_size()).sum()
    }

    /// The same rows without some columns. Names that are not there are passed over.
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

/// A record's bytes in its morsel, without the line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSpan {
    /// Offset in the morsel.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
}
