//! One row group, from batches to encoded column chunks, on one worker's thread.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, new_null_array};
use parquet::schema::types::ColumnPath;

use super::leaf::{ChunkPart, EncoderScratch, GUESSED_BATCHES, LeafEncoder};
use super::levels::{self, Entries};
use super::order::{OrderCheck, Run};
use super::{Error, Layout};
use crate::column::{Batch, Field, Schema, TypeMerge, cast_array};
use crate::format::ParquetOptions;

/// What a column's part takes beside its pages: its bounds, its dictionary's table. By eye.
const PART_OVERHEAD_BYTES: usize = 1024;

/// Encodes batches into one row group. Owned by one worker.
#[derive(Debug)]
pub struct RowGroupEncoder {
    layout: Arc<Layout>,
    /// One per leaf column, in the order of the layout's descriptor; none for a leaf that is left
    /// out.
    leaves: Vec<Option<LeafEncoder>>,
    shop: EncoderScratch,
    order: Option<OrderCheck>,
    rows: usize,
}

impl RowGroupEncoder {
    /// An encoder for batches of `schema`. A worker that goes on to another row group of the same
    /// schema keeps the layout and uses [`RowGroupEncoder::with_layout`].
    pub fn try_new(schema: &Schema, options: &ParquetOptions, type_merge: TypeMerge) -> Result<Self, Error> {
        Self::with_layout(Arc::new(Layout::try_new(Arc::new(schema.clone()), options, type_merge)?))
    }

    /// An encoder for batches of the layout's schema.
    pub fn with_layout(layout: Arc<Layout>) -> Result<Self, Error> {
        let shop = layout.new_scratch()?;
        Ok(Self::again(layout, shop))
    }

    /// As [`RowGroupEncoder::with_layout`], with what [`RowGroupEncoder::finish_with_scratch`] of an
    /// encoder with the same options gave back.
    pub fn again(layout: Arc<Layout>, shop: EncoderScratch) -> Self {
        let order = OrderCheck::new(&layout.sort_keys, &layout.schema, &layout.arrow);
        RowGroupEncoder { order, ..Self::with_scratch(layout, shop, |_| true) }
    }

    /// For those leaves only whose number `wanted` takes.
    pub(super) fn with_scratch(layout: Arc<Layout>, shop: EncoderScratch, wanted: impl Fn(usize) -> bool) -> Self {
        let leaves = layout
            .leaf_encoders(shop.habits_of(&layout.schema))
            .enumerate()
            .map(|(i, leaf)| wanted(i).then_some(leaf))
            .collect();
        RowGroupEncoder { layout, leaves, shop, order: None, rows: 0 }
    }

    /// The layout, to be used again.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Adds the rows of `batch`. Its schema is the layout's or a narrower one that
    /// [`Layout::accepts`]; columns are then cast, and absent ones are null.
    ///
    /// After an error the encoder is of no more use: some columns may have taken the batch.
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

    /// Adds root columns of `rows` rows; all of the layout's, of its types.
    pub(super) fn write_columns<'a>(
        &mut self,
        rows: usize,
        columns: impl Iterator<Item = &'a ArrayRef>,
    ) -> Result<(), Error> {
        let entries = Entries::rows(rows);
        self.shop.rows = self.rows + rows;
        self.shop.expected_rows = self.shop.expected_rows.max(rows * GUESSED_BATCHES);
        let mut encoders = self.leaves.iter_mut();
        let mut keys = Vec::new();
        for (place, column) in columns.enumerate() {
            if self.order.as_ref().is_some_and(|order| order.wants(place)) {
                keys.push((place, column.clone()));
            }
            levels::leaves(column, &entries, &mut |array, entries| match encoders.next() {
                Some(Some(encoder)) => encoder.write(array, entries, &mut self.shop),
                Some(None) => Ok(()),
                None => Err(Error::Batch),
            })?;
        }
        if let Some(order) = &mut self.order {
            order.see(&keys);
        }
        self.rows += rows;
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory held: finished pages, and values not yet in one.
    pub fn memory_size(&self) -> usize {
        self.leaves.iter().flatten().map(LeafEncoder::memory_size).sum()
    }

    /// Ends the rows.
    pub fn finish(self) -> Result<EncodedRowGroup, Error> {
        Ok(self.finish_with_scratch()?.0)
    }

    /// Ends the rows, and gives back what the next encoder can use.
    pub fn finish_with_scratch(mut self) -> Result<(EncodedRowGroup, EncoderScratch), Error> {
        let (mut parts, mut hints) = (Vec::with_capacity(self.leaves.len()), Vec::with_capacity(self.leaves.len()));
        for leaf in self.leaves {
            let finished = leaf.map(|leaf| leaf.finish(&mut self.shop)).transpose()?;
            let (part, hint) = finished.unzip();
            parts.extend(part);
            hints.push(hint.unwrap_or_default());
        }
        self.shop.hints = Some((self.layout.schema.clone(), hints));
        let bytes = parts.iter().map(|part| part.pages.bytes + part.values.dictionary().1.len()).sum();
        let order = self.order.map(OrderCheck::finish);
        Ok((EncodedRowGroup { layout: self.layout, rows: self.rows, parts, bytes, order }, self.shop))
    }
}

/// The columns of `batch` as `layout` has them.
fn widen(batch: &Batch, layout: &Layout) -> Result<Vec<ArrayRef>, Error> {
    let misfit = |field: &Field, cause| Error::Column { column: field.name.clone(), cause };
    if let Some(field) = layout.first_misfit(&batch.schema) {
        return Err(misfit(field, None));
    }
    let mut columns = vec![None; layout.schema.fields.len()];
    for (i, (field, column)) in batch.schema.fields.iter().zip(&batch.columns).enumerate() {
        let place = layout.place(i, &field.name).ok_or_else(|| misfit(field, None))?;
        let wide = cast_array(column, &field.ty, &layout.schema.fields[place].ty);
        columns[place] = Some(wide.map_err(|cause| misfit(field, Some(cause)))?);
    }
    let absent = |i: usize| new_null_array(layout.arrow.field(i).data_type(), batch.rows);
    Ok(columns.into_iter().enumerate().map(|(i, c)| c.unwrap_or_else(|| absent(i))).collect())
}

/// Rows as one worker encoded them, on their way to the writer: a row group, or a part of one.
#[derive(Debug)]
pub struct EncodedRowGroup {
    pub(super) layout: Arc<Layout>,
    pub(super) rows: usize,
    /// One per leaf column that was encoded.
    pub(super) parts: Vec<ChunkPart>,
    pub(super) bytes: usize,
    /// Whether they are in the order that is claimed for them, if that could be told.
    pub(super) order: Option<Run>,
}

impl EncodedRowGroup {
    /// The schema of its columns.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.layout.schema
    }

    /// Its rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that it takes in memory, about as many as in the file.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that it takes in memory until it is written, what is around small columns included.
    pub fn memory_size(&self) -> usize {
        self.bytes + self.parts.len() * PART_OVERHEAD_BYTES
    }

    /// The leaves that a dictionary did not help, as far as there were enough values to tell.
    /// [`Layout::with_plain_columns`] spares the following row groups the trial.
    pub fn outgrown_dictionaries(&self) -> Vec<ColumnPath> {
        let outgrown = self.parts.iter().filter(|part| part.values.outgrown());
        outgrown.map(|part| part.descriptor.path().clone()).collect()
    }
}
