//! Where the rows of a batch stood in their source, for steps that choose by it and for what is said of
//! rows that a step could not use.

use crate::column::{Morsel, RecordSpan};
use crate::format::Reject;
use crate::format::decode::RejectedRecord;

use super::tally::BadRow;

/// The records that one batch was decoded from.
#[derive(Clone, Debug)]
pub struct Places {
    /// The morsel.
    pub morsel: Morsel,
    /// For each row as decoded its record.
    pub spans: Vec<RecordSpan>,
    /// Numbers of the records in the morsel that are no rows, in order.
    pub skipped: Vec<u64>,
    /// What ends a line in the morsel.
    pub line_break: u8,
}

impl Places {
    /// What is said of a row that a step could not use. `at` is where counting has come to: byte and line;
    /// rows must come in order.
    pub fn reject(&self, bad: &BadRow, at: &mut (usize, u64)) -> RejectedRecord {
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

/// Chooses rows by where their records start, the same ones however the source is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampler {
    /// A row whose hash is below stays.
    below: u128,
    seed: u64,
}

impl Sampler {
    /// Keeps about `rate` of the rows.
    pub fn new(rate: f64, seed: u64) -> Self {
        // Of a rate in 0..=1 the product is exact enough: 53 bits of 64.
        Sampler { below: (rate * (u64::MAX as f64 + 1.0)) as u128, seed }
    }

    /// Whether row `nth` of those that a record has become stays.
    pub fn keeps(&self, places: &Places, row: u32, nth: u64) -> bool {
        let byte = places.morsel.byte_offset + u64::from(places.spans[row as usize].start);
        let source = places.morsel.source_index as u64;
        let hash = [source, byte, nth].iter().fold(mix(self.seed), |hash, part| mix(hash ^ part));
        u128::from(hash) < self.below
    }
}

/// The step of SplitMix64, whose every bit depends on every bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
