//! Source positions of the rows of a batch, for steps that choose rows by position and for rejects of steps.

use crate::column::{Morsel, RecordSpan};
use crate::format::Reject;
use crate::format::decode::RejectedRecord;

use super::step_counts::FailedRow;

/// The records that one batch was decoded from.
#[derive(Clone, Debug)]
pub struct RecordSpans {
    /// Morsel that the batch was decoded from.
    pub morsel: Morsel,
    /// Span of each decoded row's record in the morsel.
    pub spans: Vec<RecordSpan>,
    /// Indices of the records in the morsel that were rejected by the decoder, ascending.
    pub skipped: Vec<u64>,
    /// Byte that ends a line in the morsel.
    pub line_break: u8,
}

impl RecordSpans {
    /// Builds the reject of a row that a step could not process. `at` is the cursor of line counting, a byte and its
    /// line; rows must be passed in order.
    pub fn reject(&self, bad: &FailedRow, at: &mut (usize, u64)) -> RejectedRecord {
        let span = self.spans[bad.row as usize];
        let start = span.start as usize;
        if start > at.0 {
            at.1 += memchr::memchr_iter(self.line_break, &self.morsel.records()[at.0..start]).count() as u64;
            at.0 = start;
        }
        // Records that the decoder rejected have no row, so each one before this row shifts its record number.
        let mut record = u64::from(bad.row);
        for &skipped in &self.skipped {
            if skipped > record {
                break;
            }
            record += 1;
        }
        let reject = Reject { offset: 0, path: bad.path.clone(), reason: bad.reason.clone() };
        let (len, is_misfit) = (span.len as usize, bad.is_misfit);
        RejectedRecord { reject, byte: start, len, line: at.1, record, is_misfit }
    }
}
