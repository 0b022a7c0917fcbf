//! The messages between the threads of an execution: groups of input from the reader to a worker, and pieces of output from
//! a worker to the writer. They name no path and no sink, so that a piece can be made where the outputs are not.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::budget::Permit;
use super::error::{Error, FixedSchema};
use super::input::{Item, SourceInfo};
use super::output::EncodedBatch;
use super::rejects::RejectList;
use crate::column::Schema;
use crate::format::decode::SchemaMismatch;
use crate::format::frame::Oversized;
use crate::format::parquet::EncodedRowGroup;
use crate::transform::{Applied, RecordSpans, StepCounts};

/// A value with the memory that it may use.
#[derive(Debug)]
pub struct InFlight<T> {
    pub value: T,
    #[expect(dead_code, reason = "held for its drop")]
    pub permit: Option<Permit>,
}

/// A run of input that one worker carries all the way; its number is its place in the output.
#[derive(Debug)]
pub struct ItemGroup {
    pub index: u64,
    /// Held until the writer has put the piece into the output.
    pub slot: Permit,
    /// The input, in order; closed after the last. An error ends the execution at its place.
    pub items: Receiver<InFlight<Result<Item, Error>>>,
}

/// The result of a group.
pub struct GroupResult {
    pub index: u64,
    /// `None` when there is more to come, or the worker broke down.
    pub slot: Option<Permit>,
    /// Another piece of this number follows.
    pub more: bool,
    pub parts: Vec<ItemResult>,
}

/// A part of a piece: the result of one item, in order.
pub enum ItemResult {
    /// An account of decoded records.
    Account(Box<MorselCounts>),
    /// Rows for every output but those that take row groups.
    Encoded(EncodedBatch),
    /// Rows that must still pass the ordered steps.
    Rows(Box<UnorderedRows>),
    /// The plan's limit is reached: nothing further is wanted.
    Enough,
    /// Row groups of one output; the schema before any step.
    RowGroups { output: usize, groups: Vec<EncodedRowGroup>, decoded: Arc<Schema> },
    /// A record that was too long.
    Oversized(Oversized, Arc<SourceInfo>),
    /// A source has ended.
    SourceEnd(Arc<SourceInfo>),
    /// A value or key that the output cannot take any more; placed relative to its morsel.
    SchemaMismatch { surprise: SchemaMismatch, why: FixedSchema, source: Arc<SourceInfo>, byte_offset: u64 },
    /// The end of the execution.
    Failed(Error),
}

/// Rows that must still pass the ordered steps.
pub struct UnorderedRows {
    pub applied: Applied,
    pub counts: MorselCounts,
    /// The schema before any step.
    pub decoded: Arc<Schema>,
    /// The records that the rows were, where that is asked for.
    pub spans: Option<RecordSpans>,
}

/// The counts of one morsel.
pub struct MorselCounts {
    pub source: Arc<SourceInfo>,
    pub byte_offset: u64,
    pub records: u64,
    pub lines: u64,
    /// Rows that steps left out.
    pub filtered: u64,
    /// Rows that steps made besides the first of a record.
    pub added: u64,
    /// Casts and expressions that could not make a value, which is null, and in how many rows.
    pub nulled: Vec<(Arc<str>, u64)>,
    /// Comparisons that met values of another kind, and in how many rows.
    pub mismatches: Vec<(Arc<str>, u64)>,
    pub duplicate_keys: u64,
    /// Pieces that were no text.
    pub utf8_replaced: u64,
    /// With the raw record, if rejects are kept.
    pub rejects: RejectList,
    /// The last of these is the last line of its source, and has no end.
    pub ends_open: bool,
}

impl MorselCounts {
    /// Takes up the counts of the steps. With a limit reached, what comes after the first `taken` rows as
    /// decoded is forgotten: it was not wanted any more.
    pub fn settle(
        &mut self,
        tally: &StepCounts,
        taken: Option<usize>,
        places: Option<&RecordSpans>,
        keep_rejects: bool,
    ) {
        if let Some(good) = taken {
            let records = self.rejects.end_after(good as u64);
            self.ends_open &= records == self.records;
            self.records = records;
        }
        self.filtered = tally.filtered;
        self.added = tally.added;
        if let (Some(places), false) = (places, tally.failed.is_empty()) {
            let mut bad: Vec<_> = tally.failed.iter().collect();
            bad.sort_by_key(|bad| bad.row);
            let mut at = (0, 0);
            let bad = bad.into_iter().map(|bad| places.reject(bad, &mut at));
            let records = places.morsel.records();
            self.rejects.insert(bad.map(|rejected| {
                let raw = keep_rejects.then(|| &records[rejected.byte..rejected.byte + rejected.len]);
                (rejected, raw)
            }));
        }
    }
}

impl ItemResult {
    /// Bytes that it holds, about.
    pub fn memory_size(&self) -> usize {
        match self {
            ItemResult::Encoded(rows) => rows.memory_size(),
            // Views, and what they show is in the morsel.
            ItemResult::Rows(rows) => {
                let UnorderedRows { applied, counts: account, .. } = &**rows;
                applied.batch.rows * applied.batch.columns.len() * 16 + account.rejects.memory_size()
            }
            ItemResult::Account(account) => account.rejects.memory_size(),
            _ => 0,
        }
    }
}
