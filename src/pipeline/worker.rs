//! One compute thread: decodes a group of morsels, takes the rows through the steps, and encodes them. Each group becomes
//! one [`GroupResult`]; an error travels inside it, so that the writer meets it in order. Knows no path and no sink.

use std::ops::Range;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, select};

use super::error::Error;
use super::input::{Item, SourceInfo};
use super::message::{GroupResult, InFlight, ItemGroup, ItemResult, MorselCounts, UnorderedRows};
use super::output::{RowGroupBuilder, encode_rows};
use super::prepared::{ExecutionState, Prepared};
use super::rejects::RejectList;
use super::schema::SchemaRules;
use crate::column::{Batch, Morsel, RecordSpan, Schema};
use crate::format::decode::{Decoded, Outcome, RejectedRecord};
use crate::format::frame::BufferPool;
use crate::format::utf8::Repaired;
use crate::format::{Format, OutputFormat, ParquetOptions};
use crate::transform::{RecordSpans, StepCounts, Steps};

/// The state of one compute thread.
pub(super) struct Worker {
    shared: ExecutionState,
    steps: Steps,
    pool: BufferPool,
    /// The open row groups of each output that takes such, all with the columns below.
    row_groups: Vec<RowGroups>,
    columns: Arc<Schema>,
}

/// The row groups of one output, as one worker makes them.
struct RowGroups {
    /// The place of the output in the plan.
    output: usize,
    options: ParquetOptions,
    builder: RowGroupBuilder,
}

impl RowGroups {
    /// One for each output that takes row groups.
    fn of(prepared: &Prepared) -> Vec<RowGroups> {
        let specs = prepared.outputs.specs.iter().enumerate();
        specs
            .filter_map(|(output, spec)| match spec.format {
                OutputFormat::Parquet(options) if spec.takes_row_groups() => {
                    Some(RowGroups { output, options, builder: RowGroupBuilder::new(spec.unit_rows, spec.unit_bytes) })
                }
                _ => None,
            })
            .collect()
    }
}

/// Bytes of what the writer is to take, beyond which a piece is handed over in parts: short records
/// under many columns become far more text than they were.
const LARGE_PIECE_BYTES: usize = 8 << 20;

/// Bytes of the source whose rows become more rows at once: their lists have at most half as many elements, each of
/// which takes a view of every column. By eye: a hundred columns are then 50 MiB.
const EXPLODED_BYTES: usize = 64 << 10;

/// The way to the writer before a piece is whole.
struct PartialSender<'a> {
    shared: &'a ExecutionState,
    index: u64,
    finished: &'a Sender<GroupResult>,
}

impl PartialSender<'_> {
    /// Hands `parts` over if they have become large. An error is the end of the execution.
    fn if_large(&self, parts: &mut Vec<ItemResult>) -> Result<(), ItemResult> {
        if parts.iter().map(ItemResult::memory_size).sum::<usize>() < LARGE_PIECE_BYTES {
            return Ok(());
        }
        let (sequencer, over) = (&self.shared.sequencer, || ItemResult::Failed(Error::Cancelled));
        if !sequencer.wait_for(self.index) {
            return Err(over());
        }
        let part = GroupResult { index: self.index, slot: None, more: true, parts: std::mem::take(parts) };
        if sequencer.hand_over(|| self.finished.send(part).is_ok()) { Ok(()) } else { Err(over()) }
    }

    /// Hands `parts` over if an output is live and the writer has nothing else to wait for.
    fn if_live(&self, parts: &mut Vec<ItemResult>) -> Result<(), ItemResult> {
        if !self.shared.prepared.is_live || parts.is_empty() || !self.shared.sequencer.is_at(self.index) {
            return Ok(());
        }
        let part = GroupResult { index: self.index, slot: None, more: true, parts: std::mem::take(parts) };
        let taken = self.shared.sequencer.hand_over(|| self.finished.send(part).is_ok());
        if taken { Ok(()) } else { Err(ItemResult::Failed(Error::Cancelled)) }
    }
}

impl Worker {
    /// A worker that returns the buffers of morsels to `pool`.
    pub fn new(shared: &ExecutionState, pool: &BufferPool) -> Self {
        let steps = shared.prepared.worker_steps();
        let row_groups = RowGroups::of(&shared.prepared);
        Worker { shared: shared.clone(), steps, pool: pool.clone(), row_groups, columns: Arc::default() }
    }

    /// Carries `group` through. An error ends the piece, as its last part. `None` when the
    /// execution is over before the group is. Of a piece that becomes large, the first parts go to
    /// `finished` before.
    pub fn run(
        &mut self,
        group: ItemGroup,
        quitting: &Receiver<()>,
        finished: &Sender<GroupResult>,
    ) -> Option<GroupResult> {
        let shared = self.shared.clone();
        let early = PartialSender { shared: &shared, index: group.index, finished };
        let mut parts = Vec::new();
        let mut schema = shared.registry.current();
        let result = loop {
            let item = select! {
                recv(group.items) -> item => item,
                recv(quitting) -> _ => return None,
            };
            let Ok(item) = item else { break self.finish_row_groups(&schema, &mut parts) };
            if let Err(stop) = self.item(item, &mut schema, &mut parts, &early) {
                break Err(stop);
            }
            // A text output alone has its pieces as small as they can be.
            if !self.row_groups.is_empty()
                && let Err(stop) = early.if_live(&mut parts)
            {
                break Err(stop);
            }
        };
        if let Err(stop) = result {
            parts.push(stop);
        }
        Some(GroupResult { index: group.index, slot: Some(group.slot), more: false, parts })
    }

    fn rules(&self) -> &SchemaRules {
        &self.shared.prepared.rules
    }

    fn item(
        &mut self,
        item: InFlight<Result<Item, Error>>,
        schema: &mut Arc<Schema>,
        parts: &mut Vec<ItemResult>,
        early: &PartialSender<'_>,
    ) -> Result<(), ItemResult> {
        match item.value {
            Ok(Item::Morsel(morsel, info)) => {
                let repaired = self.rules().repaired(&morsel);
                let text = repaired.as_ref().map_or(&morsel, |repaired| &repaired.morsel);
                let mut consumed = 0;
                loop {
                    let first = parts.len();
                    let mut result = self.morsel(&text.rest(consumed), &info, schema, parts);
                    if let Some(repaired) = &repaired {
                        result = result.map_err(|part| placed_in_original(part, &morsel, repaired));
                        let placed = parts.split_off(first).into_iter();
                        parts.extend(placed.map(|part| placed_in_original(part, &morsel, repaired)));
                        match parts.get_mut(first).filter(|_| consumed == 0) {
                            Some(ItemResult::Account(account)) => account.utf8_replaced = repaired.replaced,
                            Some(ItemResult::Rows(rows)) => rows.counts.utf8_replaced = repaired.replaced,
                            _ => {}
                        }
                    }
                    consumed += result?;
                    if consumed >= text.len {
                        break;
                    }
                    early.if_large(parts)?;
                }
                // Rows that go on to the writer keep their views of it; then it is not reused.
                self.pool.recycle(morsel.bytes);
                Ok(())
            }
            Ok(Item::Rows(batch, info)) => self.rows(&batch, info, schema, parts),
            Ok(Item::Oversized(oversized, info)) => {
                parts.push(ItemResult::Oversized(oversized, info));
                Ok(())
            }
            Ok(Item::SourceEnd(info)) => {
                parts.push(ItemResult::SourceEnd(info));
                Ok(())
            }
            Err(error) => Err(ItemResult::Failed(error)),
        }
    }

    /// Rows of which nothing is to be decided: they go to the outputs as they are.
    fn rows(
        &mut self,
        batch: &Batch,
        source: Arc<SourceInfo>,
        schema: &Arc<Schema>,
        parts: &mut Vec<ItemResult>,
    ) -> Result<(), ItemResult> {
        parts.push(ItemResult::Account(Box::new(MorselCounts {
            source,
            byte_offset: 0,
            records: batch.rows as u64,
            lines: 0,
            filtered: 0,
            added: 0,
            nulled: Vec::new(),
            mismatches: Vec::new(),
            duplicate_keys: 0,
            utf8_replaced: 0,
            rejects: RejectList::new(b'\n'),
            ends_open: false,
        })));
        self.write(batch, schema, parts)
    }

    fn finish_row_groups(&mut self, decoded: &Arc<Schema>, parts: &mut Vec<ItemResult>) -> Result<(), ItemResult> {
        for open in &mut self.row_groups {
            let groups = open.builder.take().map_err(ItemResult::Failed)?;
            groups.iter().for_each(|group| self.shared.prepared.outputs.learn_from(group));
            if !groups.is_empty() {
                parts.push(ItemResult::RowGroups { output: open.output, groups, decoded: decoded.clone() });
            }
        }
        Ok(())
    }

    /// Returns the bytes of the morsel that were carried through; the rest is yet to come.
    fn morsel(
        &mut self,
        morsel: &Morsel,
        info: &Arc<SourceInfo>,
        schema: &mut Arc<Schema>,
        parts: &mut Vec<ItemResult>,
    ) -> Result<usize, ItemResult> {
        let decoded = loop {
            match self.rules().decode(morsel, info, schema) {
                Outcome::Decoded(decoded) => break decoded,
                Outcome::SchemaMismatch(mut surprise) => {
                    surprise.schema = self.rules().only_needed(surprise.schema);
                    if let Some(why) = self.rules().forbidden_change(info, schema, &surprise.schema) {
                        let byte_offset = morsel.byte_offset;
                        return Err(ItemResult::SchemaMismatch { surprise, why, source: info.clone(), byte_offset });
                    }
                    let wider = self.rules().with_declared_types(surprise.schema);
                    if wider == **schema {
                        let what = format!("decoding cannot go on at {}", surprise.what);
                        return Err(ItemResult::Failed(Error::Bug(what)));
                    }
                    self.finish_row_groups(schema, parts)?;
                    *schema = Arc::new(wider);
                }
            }
        };
        let Decoded { mut batch, rejects, consumed, records, lines, duplicate_keys, observed } = decoded;
        // Flags such as "every integer fits a double" must reach the rows' schema.
        let seen = schema.join(&observed, self.rules().type_merge);
        if seen != **schema {
            self.finish_row_groups(schema, parts)?;
            *schema = Arc::new(seen);
        }
        let rows = batch.rows;
        // Only the last record of a source has no line end in its morsel. An array's end is its bracket.
        let has_lines = info.format != Format::JsonArray;
        let open_end = has_lines && consumed == morsel.len && !morsel.records().ends_with(b"\n");
        let ends_open = open_end && rejects.last().is_some_and(|last| last.record + 1 == records);
        let n_rejects = rejects.len();
        let places =
            if self.rules().demands.record_spans { places_of(&mut batch, morsel, info, &rejects) } else { None };
        // Lines of CSV are no records of a text output.
        if info.csv.is_some() || !self.rules().demands.copies_records {
            batch.records = None;
        }
        // Of the group's types, so that what is made of the columns has the same in all of it.
        if batch.schema.fields.len() == schema.fields.len() {
            batch.schema = schema.clone();
        }
        let prepared = &self.shared.prepared;
        let (at_most, keep) = (prepared.on_bad_record.fatal_count(), prepared.keep_rejects);
        let rejects = RejectList::of_morsel(rejects, morsel, info, at_most, keep);
        // A list that was cut off ends the execution at its end anyway.
        let ends_open = ends_open && rejects.len() == n_rejects;
        self.shared.prepared.unseen.see(&batch);
        let has_origins = self.shared.prepared.has_limit || places.is_some();
        let mut account = MorselCounts {
            source: info.clone(),
            byte_offset: morsel.byte_offset,
            records,
            lines,
            filtered: 0,
            added: 0,
            nulled: Vec::new(),
            mismatches: Vec::new(),
            duplicate_keys,
            utf8_replaced: 0,
            rejects,
            ends_open,
        };
        let mut whole = Some(batch);
        let (mut tally, mut taken) = (StepCounts::new(self.shared.prepared.has_limit), None);
        let at = parts.len();
        for range in self.slices(rows, consumed) {
            let origins = has_origins.then(|| (range.start as u32..range.end as u32).collect());
            let part = match whole.take_if(|_| range.len() == rows) {
                Some(whole) => whole,
                None => {
                    let whole = whole.as_ref().expect("one slice is all of it, or it stays");
                    whole.slice(range.start, range.len())
                }
            };
            let applied = self.steps.apply(part, origins, std::mem::take(&mut tally), places.as_ref());
            let applied = applied.map_err(|error| ItemResult::Failed(error.into()))?;
            if !self.shared.prepared.ordered_steps.is_empty() {
                account.nulled = self.steps.take_nulled();
                account.mismatches = self.steps.take_mismatches();
                let decoded = schema.clone();
                parts.push(ItemResult::Rows(Box::new(UnorderedRows {
                    applied,
                    counts: account,
                    decoded,
                    spans: places,
                })));
                return Ok(consumed);
            }
            (tally, taken) = (applied.counts, applied.rows_until_limit);
            self.write(&applied.batch, schema, parts)?;
            if taken.is_some() {
                break;
            }
        }
        account.nulled = self.steps.take_nulled();
        account.mismatches = self.steps.take_mismatches();
        account.settle(&tally, taken, places.as_ref(), self.shared.prepared.keep_rejects);
        parts.insert(at, ItemResult::Account(Box::new(account)));
        if taken.is_some() {
            self.finish_row_groups(schema, parts)?;
            return Err(ItemResult::Enough);
        }
        Ok(consumed)
    }

    /// The rows of a batch of `bytes` of the source, as they are taken through the steps at once: all of them, or fewer
    /// where one becomes many, with all other values each.
    fn slices(&self, rows: usize, bytes: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let explodes = self.shared.prepared.row_steps.iter().any(|step| step.properties().opens_lists);
        let whole = !explodes || !self.shared.prepared.ordered_steps.is_empty();
        let at_once = if whole { rows } else { rows * EXPLODED_BYTES / bytes.max(1) }.max(1);
        // No rows are a slice, too.
        (0..rows.max(1)).step_by(at_once).map(move |start| start..(start + at_once).min(rows))
    }

    /// Makes of rows what each output takes.
    fn write(&mut self, batch: &Batch, schema: &Arc<Schema>, parts: &mut Vec<ItemResult>) -> Result<(), ItemResult> {
        if self.shared.prepared.outputs.has_rows() {
            parts.push(ItemResult::Encoded(
                encode_rows(&self.shared.prepared.outputs, batch, schema).map_err(ItemResult::Failed)?,
            ));
        }
        if !self.row_groups.is_empty() {
            let columns = self.steps.output_schema(schema).map_err(|error| ItemResult::Failed(error.into()))?;
            if *self.columns != columns {
                self.finish_row_groups(schema, parts)?;
                self.columns = Arc::new(columns);
            }
            let outputs = &self.shared.prepared.outputs;
            for RowGroups { options, builder, .. } in &mut self.row_groups {
                builder.write(batch, || outputs.layout(&self.columns, options)).map_err(ItemResult::Failed)?;
            }
        }
        Ok(())
    }
}

/// `part`, which is of a repaired morsel, with places and raw records of the original.
fn placed_in_original(part: ItemResult, original: &Morsel, repaired: &Repaired) -> ItemResult {
    let base = |byte_offset: u64| (byte_offset - original.byte_offset) as usize;
    let placed = |account: &mut MorselCounts| {
        let base = base(account.byte_offset);
        account.rejects = account.rejects.placed(|rejected| {
            let at = base + rejected.byte;
            let (start, end) = (repaired.original(at), repaired.original(at + rejected.len));
            rejected.reject.offset = repaired.original(at + rejected.reject.offset) - start;
            (rejected.byte, rejected.len) = (start, end - start);
            &original.records()[start..end]
        });
        account.byte_offset = original.byte_offset;
    };
    match part {
        ItemResult::Account(mut account) => {
            placed(&mut account);
            ItemResult::Account(account)
        }
        ItemResult::Rows(mut rows) => {
            if let Some(places) = &mut rows.spans {
                let base = base(rows.counts.byte_offset);
                for span in &mut places.spans {
                    let at = base + span.start as usize;
                    let (start, end) = (repaired.original(at), repaired.original(at + span.len as usize));
                    *span = RecordSpan { start: start as u32, len: (end - start) as u32 };
                }
                places.morsel = original.clone();
            }
            placed(&mut rows.counts);
            ItemResult::Rows(rows)
        }
        ItemResult::SchemaMismatch { mut surprise, why, source, byte_offset } => {
            surprise.byte = repaired.original(base(byte_offset) + surprise.byte);
            ItemResult::SchemaMismatch { surprise, why, source, byte_offset: original.byte_offset }
        }
        other => other,
    }
}

/// The records that the rows of `batch` are, taken out of it.
fn places_of(batch: &mut Batch, morsel: &Morsel, info: &SourceInfo, rejects: &[RejectedRecord]) -> Option<RecordSpans> {
    let (_, spans) = batch.records.as_ref()?;
    Some(RecordSpans {
        morsel: morsel.clone(),
        spans: spans.clone(),
        skipped: rejects.iter().map(|rejected| rejected.record).collect(),
        line_break: info.line_break(),
    })
}
