//! Rewrite of a block's rows before its pipeline plan: reads the rows of the blocks before it and writes the NDJSON
//! file that the plan reads.

use std::path::PathBuf;

use crate::pipeline::Control;
use crate::service::blocks::{Failure, Rewrite, RowReader, RowWriter, row_io_failure};
use crate::transform::SpillBudget;

/// Pass over the rows, ready to run.
pub(super) struct Pass {
    pub rewrite: Box<dyn Rewrite>,
    /// NDJSON files of the input, read one after the other.
    pub feeds: Vec<PathBuf>,
    /// Columns of the input, in order.
    pub columns: Vec<String>,
    /// NDJSON file for the new rows; created or truncated.
    pub out: PathBuf,
    pub spill_budget: SpillBudget,
}

/// Result of a completed pass.
pub(super) struct PassOutcome {
    pub rows_in: u64,
    /// Remark about the result for the status of the block.
    pub note: Option<String>,
}

impl Pass {
    /// Writes the new rows. Blocks the thread.
    pub(super) fn run(self, control: &Control) -> Result<PassOutcome, Failure> {
        let Pass { rewrite, feeds, columns, out, spill_budget } = self;
        let mut output = RowWriter::create(&out, control).map_err(row_io_failure)?;
        let note = rewrite.rewrite(RowReader { feeds, control }, &columns, spill_budget, &mut output)?;
        output.flush().map_err(row_io_failure)?;
        Ok(PassOutcome { rows_in: control.rows_read(), note })
    }
}
