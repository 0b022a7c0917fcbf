//! One row group, from batches to encoded column chunks, on one worker's thread.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, new_null_array};
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::basic::Encoding;
use parquet::schema::types::ColumnPath;

use super::{Error, Layout};
use crate::column::{Batch, Field, Mixing, Schema, cast_array};
use crate::format::ParquetOptions;

/// Encodes batches into one row group. Owned by one worker.
#[derive(Debug)]
pub struct RowGroupEncoder {
    layout: Arc<Layout>,
    /// One per leaf column, in the order of the layout's descriptor.
    writers: Vec<ArrowColumnWriter>,
    rows: usize,
}

impl RowGroupEncoder {
    /// An encoder for batches of `schema`. A worker that goes on to another row group of the same
    /// schema keeps the layout and uses [`RowGroupEncoder::with_layout`].
    pub fn try_new(schema: &Schema, options: &ParquetOptions, mixing: Mixing) -> Result<Self, Error> {
        Self::with_layout(Arc::new(Layout::try_new(Arc::new(schema.clone()), options, mixing)?))
    }

    /// An encoder for batches of the layout's schema.
    pub fn with_layout(layout: Arc<Layout>) -> Result<Self, Error> {
        Ok(RowGroupEncoder { writers: layout.column_writers()?, layout, rows: 0 })
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
            self.write_columns(batch.columns.iter())?;
        } else {
            let columns = widen(batch, &layout)?;
            self.write_columns(columns.iter())?;
        }
        self.rows += batch.rows;
        Ok(())
    }

    fn write_columns<'a>(&mut self, columns: impl Iterator<Item = &'a ArrayRef>) -> Result<(), Error> {
        let mut writers = self.writers.iter_mut();
        for (field, column) in self.layout.arrow.fields().iter().zip(columns) {
            for (leaf, writer) in compute_leaves(field, column)?.iter().zip(&mut writers) {
                writer.write(leaf)?;
            }
        }
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of memory held: finished pages, and values not yet in one.
    pub fn memory_size(&self) -> usize {
        self.writers.iter().map(ArrowColumnWriter::memory_size).sum()
    }

    /// Ends the row group.
    pub fn finish(self) -> Result<EncodedRowGroup, Error> {
        let chunks = self.writers.into_iter().map(ArrowColumnWriter::close).collect::<Result<Vec<_>, _>>()?;
        let bytes = chunks.iter().map(|c| c.close().bytes_written as usize).sum();
        Ok(EncodedRowGroup { layout: self.layout, rows: self.rows, chunks, bytes })
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

/// With fewer rows than this, every dictionary is large for its chunk. By eye.
const TELLING_ROWS: usize = 4096;

/// One row group, encoded and compressed, on its way to the writer.
#[derive(Debug)]
pub struct EncodedRowGroup {
    pub(super) layout: Arc<Layout>,
    pub(super) rows: usize,
    /// One per leaf column.
    pub(super) chunks: Vec<ArrowColumnChunk>,
    bytes: usize,
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

    /// Bytes of its chunks, compressed: what it takes in memory and in the file.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The leaves that a dictionary did not help: their values were too many for it, or so many
    /// that it is most of the chunk. [`Layout::with_plain_columns`] spares the following row
    /// groups the work. A row group of few rows says nothing.
    pub fn outgrown_dictionaries(&self) -> Vec<ColumnPath> {
        if self.rows < TELLING_ROWS {
            return Vec::new();
        }
        let outgrown = |chunk: &&ArrowColumnChunk| {
            let metadata = &chunk.close().metadata;
            let Some(dictionary_offset) = metadata.dictionary_page_offset() else { return false };
            let given_up = metadata.page_encoding_stats().is_some_and(|stats| {
                stats
                    .iter()
                    .any(|s| s.page_type == parquet::basic::PageType::DATA_PAGE && s.encoding == Encoding::PLAIN)
            });
            // Until the chunk is put into a file, its dictionary may count as standing last.
            let dictionary_bytes = match metadata.data_page_offset() {
                data_offset if data_offset > dictionary_offset => data_offset - dictionary_offset,
                _ => metadata.compressed_size() - dictionary_offset,
            };
            given_up || dictionary_bytes * 3 > metadata.compressed_size() * 2
        };
        self.chunks.iter().filter(outgrown).map(|c| c.close().metadata.column_path().clone()).collect()
    }
}
