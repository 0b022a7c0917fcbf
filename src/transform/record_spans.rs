//! Where the rows of a batch stood in their source, for steps that choose by it and for what is said of
//! rows that a step could not use.

use crate::column::{Morsel, RecordSpan};
use crate::format::Reject;
use crate::format::decode::RejectedRecord;

use super::step_counts::FailedRow;

/// The records that one batch was decoded from.
#[derive(Clone, Debug)]
pub struct RecordSpans {
    /// The morsel.
    pub morsel: Morsel,
    /// For each row as decoded its record.
    pub spans: Vec<RecordSpan>,
    /// Numbers of the records in the morsel that are no rows, in order.
    pub skipped: Vec<u64>,
    /// What ends a line in the morsel.
    pub line_break: u8,
}

impl RecordSpans {
    /// What is said of a row that a step could not use. `at` is where counting has come to: byte and line;
    /// rows must come in order.
    pub fn reject(&self, bad: &FailedRow, at: &mut (usize, u64)) -> RejectedRecord {
        let span = self.spans[bad.row as usize];
        let start = span.start as usize;
        if start > at.0 {
            at.1 += memchr::memchr_iter(self.line_break, &self.morsel.records()[at.0..start]).count() as u64;
            at.0 = start;
        }
        let mut record = u64::from(bad.row);
        for &skipped in &self.skipped {
            if skipped > record {
                break;
            }
            record += 1;
        }
        let reject = Reject { offset: 0, path: bad.path.clone(), reason: bad.reason.clone() };
        RejectedRecord { reject, byte: start, len: span.len as usize, line: at.1, record }
    }
}
