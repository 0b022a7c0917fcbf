//! Encodes batches as the column chunks of one row group, on one worker's thread: widens batches of an
//! older schema, and hands each leaf its levels and values. Writes no file.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, new_null_array};
use parquet::schema::types::ColumnPath;

use super::leaf::{ChunkPart, EncoderScratch, GUESSED_BATCHES, LeafEncoder};
use super::levels::{self, Entries};
use super::order::{OrderCheck, Run};
use super::{Error, Layout};
use crate::column::{Batch, Field, Schema, Type, cast_array, keeps_carrier};

/// Memory of a column's part besides its pages, in bytes: its bounds, its dictionary's table. By eye.
const PART_OVERHEAD_BYTES: usize = 1024;

/// Encoder of batches into one row group, or a part of one. Owned by one worker.
#[derive(Debug)]
pub struct RowGroupEncoder {
    layout: Arc<Layout>,
    /// One per leaf column, in the order of the layout's descriptor; `None` for a leaf that is left
    /// out.
    leaves: Vec<Option<LeafEncoder>>,
    scratch: EncoderScratch,
    order: Option<OrderCheck>,
    rows: usize,
}

impl RowGroupEncoder {
    /// Makes an encoder for batches of the layout's schema, or a narrower one.
    pub fn with_layout(layout: Arc<Layout>) -> Result<Self, Error> {
        let scratch = layout.new_scratch()?;
        Ok(Self::again(layout, scratch))
    }

    /// As [`RowGroupEncoder::with_layout`], with the scratch that [`RowGroupEncoder::finish_with_scratch`] of
    /// an encoder with the same options returned.
    pub fn again(layout: Arc<Layout>, scratch: EncoderScratch) -> Self {
        let order = OrderCheck::new(&layout.sort_keys, &layout.schema, &layout.arrow);
        RowGroupEncoder { order, ..Self::with_scratch(layout, scratch, |_| true) }
    }

    /// Makes an encoder of the leaves whose index `wanted` accepts.
    pub(super) fn with_scratch(layout: Arc<Layout>, scratch: EncoderScratch, wanted: impl Fn(usize) -> bool) -> Self {
        let leaves = layout
            .leaf_encoders(scratch.hints_of(&layout.schema))
            .enumerate()
            .map(|(i, leaf)| wanted(i).then_some(leaf))
            .collect();
        RowGroupEncoder { layout, leaves, scratch, order: None, rows: 0 }
    }

    /// Adds the rows of `batch`. Its schema is the layout's or a narrower one; columns are then cast, and
    /// absent ones are null. A column that is unknown or wider is [`Error::Column`].
    ///
    /// After an error the encoder must not be used again: some columns may contain the batch.
    pub fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let narrow = &*batch.schema;
        if batch.columns.len() != narrow.fields.len() || batch.columns.iter().any(|c| c.len() != batch.rows) {
            return Err(Error::Batch);
        }
        let layout = self.layout.clone();
        if Arc::ptr_eq(&batch.schema, &layout.schema) || *narrow == *layout.schema {
            self.write_columns(batch.rows, batch.columns.iter())
        } else {
            let columns = widen(batch, &layout)?;
            self.write_columns(batch.rows, columns.iter())
        }
    }

    /// Adds `rows` rows of all root columns of the layout, in its types.
    pub(super) fn write_columns<'a>(
        &mut self,
        rows: usize,
        columns: impl Iterator<Item = &'a ArrayRef>,
    ) -> Result<(), Error> {
        let entries = Entries::rows(rows);
        self.scratch.rows = self.rows + rows;
        self.scratch.expected_rows = self.scratch.expected_rows.max(rows * GUESSED_BATCHES);
        // `levels::leaves` visits the leaves in the order of the descriptor, and so of the encoders.
        let mut encoders = self.leaves.iter_mut();
        let mut keys = Vec::new();
        for (root, column) in columns.enumerate() {
            if self.order.as_ref().is_some_and(|order| order.wants(root)) {
                keys.push((root, column.clone()));
            }
            levels::leaves(column, &entries, &mut |array, entries| match encoders.next() {
                Some(Some(encoder)) => encoder.write(array, entries, &mut self.scratch),
                Some(None) => Ok(()),
                None => Err(Error::Batch),
            })?;
        }
        if let Some(order) = &mut self.order {
            order.check(&keys);
        }
        self.rows += rows;
        Ok(())
    }

    /// Returns true if [`RowGroupEncoder::widen`] can give this part the columns of `wide`: all columns with values keep
    /// their carriers, and the keys of the declared order their columns.
    pub fn can_widen(&self, wide: &Schema) -> bool {
        let narrow = &self.layout.schema;
        let key = |schema: &Schema, name: &str| schema.position(name).map(|i| (i, schema.fields[i].ty.clone()));
        is_kept(narrow, wide) && self.layout.sort_keys.iter().all(|of| key(narrow, &of.column) == key(wide, &of.column))
    }

    /// Gives the part further columns, in which all rows so far are null. `wide` is a layout of the same options, for
    /// columns that [`RowGroupEncoder::can_widen`] accepts.
    ///
    /// Records that bring a key each, without end, would otherwise make a part each, of all columns known by then: their
    /// memory and time would grow with the square of the keys.
    pub fn widen(&mut self, wide: &Arc<Layout>) -> Result<(), Error> {
        let narrow = std::mem::replace(&mut self.layout, wide.clone());
        let mut leaves = std::mem::take(&mut self.leaves);
        let starts = leaf_starts(&narrow.schema);
        for (root, field) in wide.schema.fields.iter().enumerate() {
            let known = narrow.column_index(root, &field.name);
            let kept = known.filter(|&i| keeps_carrier(&narrow.schema.fields[i].ty, &field.ty));
            for leaf in 0..field.ty.n_leaves() {
                let index = self.leaves.len();
                self.leaves.push(match kept {
                    Some(i) => leaves[starts[i] + leaf].take().map(|leaf| leaf.moved_to(wide.descriptor.column(index))),
                    None => {
                        let mut encoder = wide.leaf_encoder(index);
                        encoder.write_nulls(self.rows, &mut self.scratch)?;
                        Some(encoder)
                    }
                });
            }
        }
        Ok(())
    }

    /// Returns the rows added so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the memory held, in bytes: finished pages, and values not yet in one.
    pub fn memory_size(&self) -> usize {
        self.leaves.iter().flatten().map(LeafEncoder::memory_size).sum()
    }

    /// Finishes the part; returns it, and the scratch for the next encoder.
    pub fn finish_with_scratch(mut self) -> Result<(EncodedRowGroup, EncoderScratch), Error> {
        let (mut parts, mut hints) = (Vec::with_capacity(self.leaves.len()), Vec::with_capacity(self.leaves.len()));
        for leaf in self.leaves {
            let finished = leaf.map(|leaf| leaf.finish(&mut self.scratch)).transpose()?;
            let (part, hint) = finished.unzip();
            parts.extend(part);
            hints.push(hint.unwrap_or_default());
        }
        self.scratch.hints = Some((self.layout.schema.clone(), hints));
        let bytes = parts.iter().map(|part| part.pages.bytes + part.values.dictionary().1.len()).sum();
        let order = self.order.map(OrderCheck::finish);
        Ok((EncodedRowGroup { layout: self.layout, rows: self.rows, parts, bytes, order }, self.scratch))
    }
}

/// Returns true if all chunks of `narrow` are valid in `wide`, or hold only nulls. Transitive, as [`keeps_carrier`] is.
pub(super) fn is_kept(narrow: &Schema, wide: &Schema) -> bool {
    narrow.fields.iter().enumerate().all(|(i, field)| {
        let same = wide.fields.get(i).filter(|wide| wide.name == field.name);
        let wide = same.or_else(|| wide.fields.iter().find(|wide| wide.name == field.name));
        wide.is_some_and(|wide| field.ty == Type::Null || keeps_carrier(&field.ty, &wide.ty))
    })
}

/// Returns the index of the first leaf of each column.
fn leaf_starts(schema: &Schema) -> Vec<usize> {
    let start = |next: &mut usize, field: &Field| {
        let start = *next;
        *next += field.ty.n_leaves();
        Some(start)
    };
    schema.fields.iter().scan(0, start).collect()
}

/// Casts the columns of `batch` to those of `layout`.
fn widen(batch: &Batch, layout: &Layout) -> Result<Vec<ArrayRef>, Error> {
    let misfit = |field: &Field, cause| Error::Column { column: field.name.clone(), cause };
    if let Some(field) = layout.first_misfit(&batch.schema) {
        return Err(misfit(field, None));
    }
    let mut columns = vec![None; layout.schema.fields.len()];
    for (i, (field, column)) in batch.schema.fields.iter().zip(&batch.columns).enumerate() {
        let index = layout.column_index(i, &field.name).ok_or_else(|| misfit(field, None))?;
        let wide = cast_array(column, &field.ty, &layout.schema.fields[index].ty);
        columns[index] = Some(wide.map_err(|cause| misfit(field, Some(cause)))?);
    }
    let absent = |i: usize| new_null_array(layout.arrow.field(i).data_type(), batch.rows);
    Ok(columns.into_iter().enumerate().map(|(i, c)| c.unwrap_or_else(|| absent(i))).collect())
}

/// Rows encoded by one worker, on their way to the writer: a row group, or a part of one.
#[derive(Debug)]
pub struct EncodedRowGroup {
    pub(super) layout: Arc<Layout>,
    pub(super) rows: usize,
    /// One per leaf column that was encoded.
    pub(super) parts: Vec<ChunkPart>,
    pub(super) bytes: usize,
    /// Result of the order check; `None` if no order is declared, or it cannot be checked.
    pub(super) order: Option<Run>,
}

impl EncodedRowGroup {
    /// Returns the columns that it was encoded with.
    pub fn schema(&self) -> &Schema {
        &self.layout.schema
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the bytes of pages and dictionaries, about as many as in the file.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the memory held until it is written, in bytes, the overhead per column included.
    pub fn memory_size(&self) -> usize {
        self.bytes + self.parts.len() * PART_OVERHEAD_BYTES
    }

    /// Returns the leaves for which a dictionary was tried on enough values and did not pay.
    /// [`Layout::with_plain_columns`] spares the following row groups the trial.
    pub fn outgrown_dictionaries(&self) -> Vec<ColumnPath> {
        let outgrown = self.parts.iter().filter(|part| part.values.outgrown());
        outgrown.map(|part| part.descriptor.path().clone()).collect()
    }
}
