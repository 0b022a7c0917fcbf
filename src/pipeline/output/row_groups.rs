//! Rows collected into row groups of Parquet, by a worker as they come or by the writer from rows that were spilled. Knows
//! nothing of files.

use std::sync::Arc;

use crate::column::Batch;
use crate::format::parquet::{self, EncodedRowGroup, EncoderScratch, Layout, RowGroupEncoder};
use crate::pipeline::error::Error;

/// The row groups of one output.
pub struct RowGroupBuilder {
    /// A group is closed at so many rows.
    max_rows: usize,
    /// A group is closed at so many bytes, as encoded; `usize::MAX` for never.
    max_bytes: usize,
    /// The open group.
    encoder: Option<RowGroupEncoder>,
    /// Closed groups that were not taken yet.
    ready: Vec<EncodedRowGroup>,
    /// Buffers of the last encoder.
    scratch: Option<EncoderScratch>,
}

impl RowGroupBuilder {
    /// A builder that closes groups at so many rows or bytes, whichever come first.
    pub fn new(max_rows: usize, max_bytes: usize) -> Self {
        RowGroupBuilder { max_rows, max_bytes, encoder: None, ready: Vec::new(), scratch: None }
    }

    /// Rows in the open group.
    pub fn open_rows(&self) -> usize {
        self.encoder.as_ref().map_or(0, RowGroupEncoder::rows)
    }

    /// Adds rows, which have no other columns than the layout. `layout` is asked for when a group begins; until
    /// [`RowGroupBuilder::take`], all groups have to have the same columns.
    pub fn write(
        &mut self,
        batch: &Batch,
        layout: impl Fn() -> Result<Arc<Layout>, parquet::Error>,
    ) -> Result<(), Error> {
        let mut at = 0;
        loop {
            let encoder = match &mut self.encoder {
                Some(encoder) => encoder,
                none => none.insert(match self.scratch.take() {
                    Some(scratch) => RowGroupEncoder::again(layout()?, scratch),
                    None => RowGroupEncoder::with_layout(layout()?)?,
                }),
            };
            let rows = (batch.rows - at).min(self.max_rows - encoder.rows());
            if rows == batch.rows {
                // Also of no rows the columns count.
                encoder.write(batch)?;
            } else {
                encoder.write(&batch.slice(at, rows))?;
            }
            at += rows;
            let is_full = encoder.rows() >= self.max_rows
                || self.max_bytes < usize::MAX && encoder.memory_size() >= self.max_bytes;
            if is_full {
                self.close()?;
            }
            if at == batch.rows {
                return Ok(());
            }
        }
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(encoder) = self.encoder.take() {
            let (group, scratch) = encoder.finish_with_scratch()?;
            self.scratch = Some(scratch);
            self.ready.push(group);
        }
        Ok(())
    }

    /// Closes the open group, and returns all that were closed.
    pub fn take(&mut self) -> Result<Vec<EncodedRowGroup>, Error> {
        self.close()?;
        Ok(std::mem::take(&mut self.ready))
    }

    /// The groups that were closed because they were full.
    pub fn take_full(&mut self) -> Vec<EncodedRowGroup> {
        std::mem::take(&mut self.ready)
    }
}
