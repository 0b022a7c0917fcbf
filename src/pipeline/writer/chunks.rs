//! Rows of a load in chunks: those of records that the table has are skipped, the others are cut into chunks at records.

use std::sync::Arc;

use super::{AfterGroup, Writer};
use crate::column::{Batch, Schema};
use crate::pipeline::error::Error;
use crate::pipeline::output::{ChunkPosition, encode_rows};

impl Writer<'_> {
    /// Appends rows to the only output, a table. `records` are the records of the rows in the sources, ascending.
    ///
    /// A chunk ends with the last row of a record, so that a load that goes on behind it needs no place within a record.
    pub(super) fn append_in_chunks(
        &mut self,
        batch: &Batch,
        decoded: &Arc<Schema>,
        records: &[u64],
    ) -> Result<AfterGroup, Error> {
        self.publish(decoded)?;
        let mut start = 0;
        while start < batch.rows {
            let ChunkPosition { records_there, rows_left } = self.outputs[0].chunk_position()?;
            let there = records[start..].partition_point(|record| *record < records_there);
            if there > 0 {
                self.outputs[0].skip_rows(there as u64)?;
                start += there;
                continue;
            }
            let mut end = batch.rows.min(start + usize::try_from(rows_left).unwrap_or(usize::MAX).max(1));
            while end < batch.rows && records[end] == records[end - 1] {
                end += 1;
            }
            let rows = batch.slice(start, end - start);
            self.outputs[0].require_fit(&rows)?;
            if let done @ (AfterGroup::NoReader | AfterGroup::Enough) =
                self.append_rows(encode_rows(&self.prepared.outputs, &rows, decoded)?)?
            {
                return Ok(done);
            }
            start = end;
            if self.outputs[0].chunk_position()?.rows_left == 0 {
                let next_record = records.get(start).copied().unwrap_or(self.totals.rows_in);
                let columns = self.prepared.columns_after_steps_if(false, &self.registry.current())?;
                self.outputs[0].end_chunk(&columns, next_record, self.totals.rows_rejected)?;
            }
        }
        Ok(self.count_written())
    }
}
