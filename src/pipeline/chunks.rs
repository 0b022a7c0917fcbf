//! The cuts of a load in chunks: rows of records that the table has are skipped, the others are cut into chunks at records.

use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::input::SourceInfo;
use super::output::ChunkPosition;
use crate::transform::RecordSpans;
use crate::warehouse::{RecordMark, RecordsDigest};

/// The records of the rows of a batch.
pub(super) struct ChunkRecords {
    /// Their numbers in the sources, ascending.
    pub numbers: Vec<u64>,
    /// Their rows in the decoded batch.
    pub origins: Vec<u32>,
    /// The records of the decoded batch.
    pub spans: RecordSpans,
    /// The numbers of the records of the decoded batch in the sources, ascending.
    pub decoded: Vec<u64>,
    /// The number of the record behind the batch.
    pub end: u64,
    /// Their source.
    pub source: Arc<SourceInfo>,
}

/// The digest of all records so far.
#[derive(Debug, Default)]
pub(super) struct RecordChain {
    digest: RecordsDigest,
    /// The number of the first record that is not in it.
    next: u64,
    /// The run of the last record.
    run: Option<Arc<str>>,
    /// Records whose digest was compared with that of the table.
    compared: u64,
}

impl RecordChain {
    /// Adds the records of a batch before the record `to`.
    pub(super) fn advance(&mut self, records: &ChunkRecords, to: u64) {
        let first = records.decoded.partition_point(|record| *record < self.next);
        let end = records.decoded.partition_point(|record| *record < to);
        if first < end {
            if self.run.as_deref() != records.source.run.as_deref() {
                self.run = records.source.run.as_deref().map(Into::into);
                self.add(self.run.clone().as_deref().unwrap_or_default().as_bytes());
            }
            self.digest.is_csv |= records.source.csv.is_some();
        }
        for span in &records.spans.spans[first.min(end)..end] {
            self.add(&records.spans.morsel.records()[span.start as usize..][..span.len as usize]);
        }
        self.next = self.next.max(to.min(records.end));
    }

    fn add(&mut self, bytes: &[u8]) {
        self.digest.xxh3 = xxh3_64_with_seed(bytes, self.digest.xxh3);
    }

    /// Returns the digest of the records so far.
    pub(super) fn digest(&self) -> RecordsDigest {
        self.digest
    }

    /// Adds the records of a batch of which the table has rows. Returns true if they are others than those of the digest that
    /// it has, once all of them are known.
    pub(super) fn differs(&mut self, records: &ChunkRecords, there: u64, digest: Option<RecordsDigest>) -> bool {
        if self.next <= there {
            self.advance(records, there);
        }
        if self.next != there || self.compared == there {
            return false;
        }
        self.compared = there;
        digest.is_some_and(|digest| digest.contradicts(&self.digest))
    }
}

impl ChunkRecords {
    /// Returns the mark of a row's record.
    pub(super) fn mark(&self, row: usize) -> RecordMark {
        let span = self.spans.spans[self.origins[row] as usize];
        let bytes = &self.spans.morsel.records()[span.start as usize..][..span.len as usize];
        RecordMark::of(self.numbers[row], self.source.csv.is_some(), self.source.run.as_deref(), bytes)
    }

    /// Returns the mark of the record with this number, if one of these rows is of it.
    pub(super) fn mark_of(&self, record: u64, rows: Range<usize>) -> Option<RecordMark> {
        let row = rows.start + self.numbers[rows.clone()].binary_search(&record).ok()?;
        Some(self.mark(row))
    }
}

/// The next rows of a batch, which are treated alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The table has them.
    There(Range<usize>),
    /// They belong to the chunk that is open.
    New(Range<usize>),
}

/// Returns the next rows from `start` on, at least one. `records` are the records of the rows in the sources, ascending.
///
/// A chunk ends with the last row of a record, so that a load that goes on behind it needs no place within a record.
pub(super) fn next_piece(start: usize, records: &[u64], position: ChunkPosition) -> Piece {
    let there = records[start..].partition_point(|record| *record < position.records_there);
    if there > 0 {
        return Piece::There(start..start + there);
    }
    let wanted = usize::try_from(position.rows_left).unwrap_or(usize::MAX).max(1);
    let mut end = records.len().min(start.saturating_add(wanted));
    while end < records.len() && records[end] == records[end - 1] {
        end += 1;
    }
    Piece::New(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_end_with_the_last_row_of_a_record() {
        let records = [0, 1, 1, 1, 4, 5];
        let next =
            |start, records_there, rows_left| next_piece(start, &records, ChunkPosition { records_there, rows_left });
        assert_eq!(next(0, 0, 1), Piece::New(0..1));
        assert_eq!(next(0, 0, 2), Piece::New(0..4), "the rest of record 1");
        assert_eq!(next(0, 0, 4), Piece::New(0..4));
        assert_eq!(next(0, 0, u64::MAX), Piece::New(0..6));
        // The mark may be a record without rows.
        assert_eq!(next(0, 3, 1), Piece::There(0..4));
        assert_eq!(next(4, 3, 1), Piece::New(4..5));
        assert_eq!(next(0, u64::MAX, u64::MAX), Piece::There(0..6));
    }
}
