//! Collects rows into Parquet row groups: in a worker while batches arrive, or in the writer from spilled rows. Knows
//! no file; the encoding itself is in `format::parquet`.

use std::sync::Arc;

use crate::column::{Batch, Schema};
use crate::format::parquet::{self, EncodedRowGroup, EncoderScratch, Layout, RowGroupEncoder};
use crate::pipeline::error::Error;

/// Collects the rows of one output into row groups.
pub(crate) struct RowGroupBuilder {
    /// Rows at which a row group is closed; `usize::MAX` for no limit.
    max_rows: usize,
    /// Encoded bytes at which a row group is closed; `usize::MAX` for no limit.
    max_bytes: usize,
    /// The open row group; `None` before its first rows.
    encoder: Option<RowGroupEncoder>,
    /// Closed row groups that were not taken yet.
    ready: Vec<EncodedRowGroup>,
    /// Buffers of the last encoder, for the next.
    scratch: Option<EncoderScratch>,
}

impl RowGroupBuilder {
    /// Creates a builder that closes row groups at `max_rows` rows or `max_bytes` encoded bytes, whichever is first.
    pub(crate) fn new(max_rows: usize, max_bytes: usize) -> Self {
        RowGroupBuilder { max_rows, max_bytes, encoder: None, ready: Vec::new(), scratch: None }
    }

    /// Returns the rows of the open row group.
    pub(crate) fn open_rows(&self) -> usize {
        self.encoder.as_ref().map_or(0, RowGroupEncoder::rows)
    }

    /// Adds rows whose columns are all in the layout. `layout` is called when a row group begins; until
    /// [`RowGroupBuilder::take`], all row groups must have the same columns.
    pub(crate) fn write(
        &mut self,
        batch: &Batch,
        layout: impl Fn() -> Result<Arc<Layout>, parquet::Error>,
    ) -> Result<(), Error> {
        let mut at = 0;
        loop {
            // The buffers of the group before save growing new ones.
            let encoder = match &mut self.encoder {
                Some(encoder) => encoder,
                none => none.insert(match self.scratch.take() {
                    Some(scratch) => RowGroupEncoder::again(layout()?, scratch),
                    None => RowGroupEncoder::with_layout(layout()?)?,
                }),
            };
            let rows = (batch.rows - at).min(self.max_rows - encoder.rows());
            if rows == batch.rows {
                // Written even without rows: the columns of the batch count.
                encoder.write(batch)?;
            } else {
                encoder.write(&batch.slice(at, rows))?;
            }
            at += rows;
            // The size is only asked for under a limit: it sums over all columns.
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

    /// Returns true if the open row group can take the columns `wide` too; false if full ones wait to be taken.
    pub(crate) fn can_widen(&self, wide: &Schema) -> bool {
        self.ready.is_empty() && self.encoder.as_ref().is_none_or(|encoder| encoder.can_widen(wide))
    }

    /// Gives the open row group, if there is one, the columns of `layout`, for which [`RowGroupBuilder::can_widen`] is true.
    pub(crate) fn widen(&mut self, layout: impl Fn() -> Result<Arc<Layout>, parquet::Error>) -> Result<(), Error> {
        match &mut self.encoder {
            Some(encoder) => Ok(encoder.widen(&layout()?)?),
            None => Ok(()),
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

    /// Closes the open row group and returns all closed ones.
    pub(crate) fn take(&mut self) -> Result<Vec<EncodedRowGroup>, Error> {
        self.close()?;
        Ok(std::mem::take(&mut self.ready))
    }

    /// Returns the row groups that were closed because they were full; the open one stays open.
    pub(crate) fn take_full(&mut self) -> Vec<EncodedRowGroup> {
        std::mem::take(&mut self.ready)
    }
}
