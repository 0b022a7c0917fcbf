//! The pass over the rows of a block that comes before its plan: reads what the blocks before left, and writes a file that
//! the plan reads.

use std::path::PathBuf;

use crate::pipeline::Control;
use crate::service::blocks::{Failure, Rewrite, RowReader, RowWriter, unusable};
use crate::transform::SpillBudget;

/// A pass that is ready.
pub(super) struct Pass {
    pub rewrite: Box<dyn Rewrite>,
    /// Read one after the other.
    pub feeds: Vec<PathBuf>,
    /// Columns of the rows, in order.
    pub columns: Vec<String>,
    /// The file of the new rows.
    pub out: PathBuf,
    pub room: SpillBudget,
}

/// The work of a pass.
pub(super) struct Rewritten {
    pub rows_in: u64,
    /// A remark for people.
    pub note: Option<String>,
}

impl Pass {
    /// Makes the new rows. Blocks.
    pub(super) fn run(self, control: &Control) -> Result<Rewritten, Failure> {
        let Pass { rewrite, feeds, columns, out, room } = self;
        let mut output = RowWriter::create(&out, control).map_err(unusable)?;
        let note = rewrite.rewrite(RowReader { feeds, control }, &columns, room, &mut output)?;
        output.flush().map_err(unusable)?;
        Ok(Rewritten { rows_in: control.rows_read(), note })
    }
}
