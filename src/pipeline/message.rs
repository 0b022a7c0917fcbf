//! The messages between the threads of an execution: item groups from the reader to a worker, and group results from a
//! worker to the writer. They name no path and no sink, so that a group can be processed where the outputs are not.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::budget::Permit;
use super::error::{Error, FixedSchema};
use super::input::{Item, SourceInfo};
use super::output::EncodedBatch;
use super::rejects::RejectList;
use crate::column::Schema;
use crate::format::cell_kinds::CellKinds;
use crate::format::decode::SchemaMismatch;
use crate::format::frame::Oversized;
use crate::format::parquet::EncodedRowGroup;
use crate::transform::{Applied, RecordSpans, StepCounts};

/// A value with the permit for its memory, which is returned on drop.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    pub value: T,
    #[expect(dead_code, reason = "held for its drop")]
    pub permit: Option<Permit>,
}

/// Consecutive items that one worker processes from decoding to encoding. Groups are written in the order of `index`.
#[derive(Debug)]
pub(super) struct ItemGroup {
    /// Position in the output, from 0 without gaps.
    pub index: u64,
    /// Held until the writer has written the group's result, so that few results wait.
    pub slot: Permit,
    /// The items in order; closed after the last. An error is the last item and ends the execution.
    pub items: Receiver<InFlight<Result<Item, Error>>>,
}

/// The result of an item group, or a part of it.
pub(super) struct GroupResult {
    /// The index of the item group.
    pub index: u64,
    /// `None` if `more`, or if the worker panicked.
    pub slot: Option<Permit>,
    /// True if another result of this group follows.
    pub more: bool,
    /// The results of the items, in order. An error is the last.
    pub results: Vec<ItemResult>,
}

/// A result of one item. An item may have several.
pub(super) enum ItemResult {
    /// The counts of a morsel, before its rows.
    Counts(Box<MorselCounts>),
    /// Rows for every output but those that take row groups.
    Encoded(EncodedBatch),
    /// Rows and counts of a morsel that must still pass the ordered steps.
    Rows(Box<UnorderedRows>),
    /// The plan's row limit is reached: later results are not needed.
    Enough,
    /// Row groups of one output, and the schema before any step.
    RowGroups { output: usize, groups: Vec<EncodedRowGroup>, decoded: Arc<Schema> },
    /// A record beyond the size limit.
    Oversized(Oversized, Arc<SourceInfo>),
    /// The regular end of a source.
    SourceEnd(Arc<SourceInfo>),
    /// A value or key that the columns may not widen to; its position is relative to its morsel.
    SchemaMismatch { mismatch: Box<SchemaMismatch>, why: FixedSchema, source: Arc<SourceInfo>, byte_offset: u64 },
    /// The error that ends the execution.
    Failed(Error),
}

/// Rows that must still pass the ordered steps.
pub(super) struct UnorderedRows {
    /// The rows after the worker's steps.
    pub applied: Applied,
    /// The counts of their morsel, not settled yet.
    pub counts: MorselCounts,
    /// The schema before any step.
    pub decoded: Arc<Schema>,
    /// The records of the rows; `None` unless steps need them.
    pub spans: Option<RecordSpans>,
}

/// The counts of one morsel.
pub(super) struct MorselCounts {
    pub source: Arc<SourceInfo>,
    /// Position of the morsel in its source, in decompressed bytes.
    pub byte_offset: u64,
    /// Records, rejected ones included.
    pub records: u64,
    /// Line breaks.
    pub lines: u64,
    /// Rows that steps dropped.
    pub filtered: u64,
    /// Rows that steps made besides the first of a record.
    pub added: u64,
    /// Rows per cast or expression whose value could not be computed and is null.
    pub nulled: Vec<(Arc<str>, u64)>,
    /// Rows per comparison whose value was of another type.
    pub mismatches: Vec<(Arc<str>, u64)>,
    pub duplicate_keys: u64,
    /// The kinds of cells in columns of CSV, by name.
    pub cell_kinds: Vec<(Arc<str>, CellKinds)>,
    /// Invalid UTF-8 sequences that became U+FFFD.
    pub utf8_replaced: u64,
    /// The rejected records in order, with their raw bytes if rejects are kept.
    pub rejects: RejectList,
    /// True if the last reject is the last line of its source and has no line end.
    pub ends_open: bool,
}

impl MorselCounts {
    /// Adds the counts and the rejects of the steps. If a limit was reached after the first `taken` decoded rows, all
    /// records behind these are dropped from the counts.
    pub(super) fn settle(
        &mut self,
        tally: &StepCounts,
        taken: Option<usize>,
        spans: Option<&RecordSpans>,
        keep_rejects: bool,
    ) {
        if let Some(good) = taken {
            let records = self.rejects.end_after(good as u64);
            // If the limit dropped the last record, the end of the source no longer matters.
            self.ends_open &= records == self.records;
            self.records = records;
        }
        self.filtered = tally.filtered;
        self.added = tally.added;
        // Rows that steps rejected are reported as the records that they came from.
        if let (Some(spans), false) = (spans, tally.failed.is_empty()) {
            // By row, since several steps may have rejected rows; `at` then only moves forward through the spans.
            let mut bad: Vec<_> = tally.failed.iter().collect();
            bad.sort_by_key(|bad| bad.row);
            let mut at = (0, 0);
            let bad = bad.into_iter().map(|bad| spans.reject(bad, &mut at));
            let records = spans.morsel.records();
            self.rejects.insert(bad.map(|rejected| {
                let raw = keep_rejects.then(|| &records[rejected.byte..rejected.byte + rejected.len]);
                (rejected, raw)
            }));
        }
    }
}

impl ItemResult {
    /// Returns the bytes that it holds, approximately.
    pub(super) fn memory_size(&self) -> usize {
        match self {
            ItemResult::Encoded(rows) => rows.memory_size(),
            // Views of 16 bytes; the text behind them is in the morsel.
            ItemResult::Rows(rows) => {
                let UnorderedRows { applied, counts, .. } = &**rows;
                applied.batch.rows * applied.batch.columns.len() * 16 + counts.rejects.memory_size()
            }
            ItemResult::Counts(counts) => counts.rejects.memory_size(),
            ItemResult::RowGroups { groups, .. } => groups.iter().map(EncodedRowGroup::memory_size).sum(),
            _ => 0,
        }
    }
}
