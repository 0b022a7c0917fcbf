//! Morsels, the buffers of whole records that are decoded at a time, and the batches decoded from
//! them. Both share their bytes with views and are never written to.

use std::sync::Arc;

use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::Buffer;
use arrow_schema::ArrowError;
use arrow_select::take::take;

use super::{Field, Schema, Type};

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

    /// Copies the records before byte `end`, which begins a record.
    pub fn first(&self, end: usize) -> Self {
        Morsel::from_vec(self.records()[..end].to_vec(), self.byte_offset, self.source_index)
    }

    /// Copies the records that begin before byte `bytes`, at least the first; the last of them is whole. Where a record begins
    /// does not depend on the division of the input into morsels. Assumes that records end at line feeds.
    pub fn beginning(&self, bytes: usize) -> Self {
        let from = bytes.saturating_sub(1).min(self.len);
        let end = memchr::memchr(b'\n', &self.records()[from..]).map_or(self.len, |at| from + at + 1);
        self.first(end)
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
    /// The values of each column as they were read, where steps look at them and the column's type forgets something of
    /// them; none or one per column. Outputs do not read these.
    pub as_read: Vec<Option<AsRead>>,
    /// Number of rows, also when there are no columns.
    pub rows: usize,
    /// The morsel and each row's span in it, `rows` long, as long as rows are unchanged records of
    /// that morsel: an NDJSON encoder then copies them. `None` once a step has changed values.
    pub records: Option<(Buffer, Vec<RecordSpan>)>,
}

/// The values of one column in the form in which the source has them: JSON text ([`Type::Raw`], with the text `null` for
/// an explicit null) or CSV cells ([`Type::Text`]).
///
/// A typed column keeps the value of a number but not its digits, and of an object not which keys were null or absent.
/// The type, and with it the loss, depends on the other records, so that a step that looked at the typed column would
/// mean something else at another place of a late surprise.
#[derive(Clone, Debug)]
pub struct AsRead {
    /// As long as the column, of the Arrow type of `ty`.
    pub array: ArrayRef,
    /// [`Type::Raw`] or [`Type::Text`].
    pub ty: Type,
}

impl Batch {
    /// Makes a batch of `rows` rows without source records.
    pub fn new(schema: Arc<Schema>, columns: Vec<ArrayRef>, rows: usize) -> Self {
        Batch { schema, columns, as_read: Vec::new(), rows, records: None }
    }

    /// Returns the values of column `index` as steps see them, with their type: as they were read where the typed column
    /// forgets that.
    pub fn seen(&self, index: usize) -> (&ArrayRef, &Type) {
        match self.as_read(index) {
            Some(as_read) => (&as_read.array, &as_read.ty),
            None => (&self.columns[index], &self.schema.fields[index].ty),
        }
    }

    /// Returns the values of column `index` as they were read; `None` if the typed column is as good.
    pub fn as_read(&self, index: usize) -> Option<&AsRead> {
        self.as_read.get(index)?.as_ref()
    }

    /// Replaces the column `name`, or appends it, with its values as read if there are such. The records no longer hold the
    /// rows' values, and are dropped.
    pub fn put(&mut self, name: &Arc<str>, ty: Type, column: ArrayRef, as_read: Option<AsRead>) {
        let mut schema = (*self.schema).clone();
        if as_read.is_some() {
            self.as_read.resize(self.columns.len(), None);
        }
        match schema.position(name) {
            Some(index) => {
                schema.fields[index].ty = ty;
                self.columns[index] = column;
                if let Some(place) = self.as_read.get_mut(index) {
                    *place = as_read;
                }
            }
            None => {
                schema.fields.push(Field::new(name.clone(), ty));
                self.columns.push(column);
                if !self.as_read.is_empty() || as_read.is_some() {
                    self.as_read.push(as_read);
                }
            }
        }
        self.schema = Arc::new(schema);
        self.records = None;
    }

    /// Returns `rows` rows made by applying `pick` to every column, and to its values as read. The records stay
    /// behind.
    pub fn map_columns<E>(
        &self,
        rows: usize,
        mut pick: impl FnMut(&ArrayRef) -> Result<ArrayRef, E>,
    ) -> Result<Self, E> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(&mut pick).collect::<Result<_, _>>()?;
        let mut map = |(i, as_read): (usize, &Option<AsRead>)| match as_read {
            Some(AsRead { array, ty }) => {
                let is_shared = self.columns.get(i).is_some_and(|column| Arc::ptr_eq(column, array));
                let array = if is_shared { columns[i].clone() } else { pick(array)? };
                Ok(Some(AsRead { array, ty: ty.clone() }))
            }
            None => Ok(None),
        };
        let as_read = self.as_read.iter().enumerate().map(&mut map).collect::<Result<_, _>>()?;
        Ok(Batch { schema: self.schema.clone(), columns, as_read, rows, records: None })
    }

    /// Returns `rows` rows from `start` on, without copying.
    ///
    /// # Panics
    ///
    /// If the batch has fewer than `start + rows` rows.
    pub fn slice(&self, start: usize, rows: usize) -> Self {
        let slice = |column: &ArrayRef| Ok::<_, std::convert::Infallible>(column.slice(start, rows));
        let Ok(mut batch) = self.map_columns(rows, slice);
        batch.records =
            self.records.as_ref().map(|(bytes, spans)| (bytes.clone(), spans[start..start + rows].to_vec()));
        batch
    }

    /// Copies the rows at `row_indices`, in that order.
    pub fn take(&self, row_indices: &[u32]) -> Result<Self, ArrowError> {
        let indices = UInt32Array::from(row_indices.to_vec());
        let mut batch = self.map_columns(row_indices.len(), |column| take(column, &indices, None))?;
        let records = self.records.as_ref();
        batch.records =
            records.map(|(bytes, spans)| (bytes.clone(), row_indices.iter().map(|&row| spans[row as usize]).collect()));
        Ok(batch)
    }

    /// Returns about how many bytes the columns hold. A buffer that several batches share is counted in each.
    pub fn memory_size(&self) -> usize {
        let is_own = |(i, as_read): &(usize, &AsRead)| {
            self.columns.get(*i).is_none_or(|column| !Arc::ptr_eq(column, &as_read.array))
        };
        let as_read = self.as_read.iter().enumerate().filter_map(|(i, as_read)| Some((i, as_read.as_ref()?)));
        let as_read = as_read.filter(is_own).map(|(_, as_read)| &as_read.array);
        self.columns.iter().chain(as_read).map(|column| column.get_array_memory_size()).sum()
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
            as_read: if self.as_read.is_empty() {
                Vec::new()
            } else {
                kept.iter().map(|&i| self.as_read[i].clone()).collect()
            },
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
