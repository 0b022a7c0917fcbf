//! One compute thread: decodes the morsels of an item group, applies the steps to the rows, and encodes them. Each
//! group becomes one [`GroupResult`], or several if it is large; an error is part of it, so that the writer meets
//! errors in the order of records. Knows no path and no sink.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::new_null_array;
use crossbeam_channel::{Receiver, Sender, select};

use super::budget::Sizes;
use super::error::{Error, PlanError};
use super::input::{Item, SourceInfo, set_source_columns};
use super::message::{GroupResult, InFlight, ItemGroup, ItemResult, MorselCounts, UnorderedRows};
use super::output::{RowGroupBuilder, encode_rows};
use super::partial::{LARGE_RESULT_BYTES, PartialSender};
use super::prepared::{ExecutionState, Prepared};
use super::rejects::RejectList;
use super::schema::SchemaRules;
use crate::column::{Batch, Field, Morsel, RecordSpan, Schema, cast_array, keeps_carrier};
use crate::format::decode::{Decoded, Outcome, RejectedRecord, SchemaMismatch};
use crate::format::frame::BufferPool;
use crate::format::json_values::compact_batch;
use crate::format::parquet::EncodedRowGroup;
use crate::format::utf8::Repaired;
use crate::format::{Format, OutputFormat, ParquetOptions, ndjson};
use crate::position::FieldPath;
use crate::transform::{RecordSpans, StepCounts, Steps};

/// The state of one compute thread.
pub(super) struct Worker {
    shared: ExecutionState,
    steps: Steps,
    pool: BufferPool,
    /// The open row group of each output that takes row groups, all with the columns below.
    row_groups: Vec<RowGroups>,
    /// The columns after the steps that the open row groups have.
    columns: Arc<Schema>,
    /// The schema that the last records of the open row groups were decoded with.
    decoded: Arc<Schema>,
    /// Rows that wait until their columns are settled; `None` if rows are encoded at once.
    unsettled: Option<UnsettledRows>,
    /// Bytes of such rows that wait at most.
    max_unsettled_bytes: usize,
    /// Records that this worker has met, which are all before the next if it is the only one.
    records_before: u64,
}

/// The row groups of one output that one worker encodes.
struct RowGroups {
    /// Index of the output in the plan.
    output: usize,
    options: ParquetOptions,
    builder: RowGroupBuilder,
}

/// Rows that are not encoded yet because a member of an object came late: the chunks of an open row group cannot take
/// further members. Were each such record to begin a row group, of all columns known by then, memory and time would grow
/// with the square of the members. The rows have their own narrow types, and are widened once.
#[derive(Default)]
struct UnsettledRows {
    batches: Vec<Batch>,
    bytes: usize,
}

impl RowGroups {
    /// Creates an empty builder for each output that takes row groups.
    fn of(prepared: &Prepared) -> Vec<RowGroups> {
        let specs = prepared.outputs.specs.iter().enumerate();
        specs
            .filter_map(|(output, spec)| match spec.format {
                OutputFormat::Parquet(options) if spec.takes_row_groups() => Some(RowGroups {
                    output,
                    options,
                    builder: RowGroupBuilder::new(spec.max_group_rows, spec.max_group_bytes),
                }),
                _ => None,
            })
            .collect()
    }
}

/// Memory of one column of a small encoded row group, for the number of those that are encoded at once. By measurement of
/// row groups of two rows.
const SMALL_PART_BYTES: usize = 1 << 10;

/// Input bytes whose rows are exploded at once: their lists have at most half as many elements, each of
/// which takes a view of every column. By eye: a hundred columns are then 50 MiB.
const MAX_EXPLODED_INPUT_BYTES: usize = 64 << 10;

impl Worker {
    /// Creates a worker that returns the buffers of morsels to `pool`.
    pub(super) fn new(shared: &ExecutionState, pool: &BufferPool) -> Self {
        let steps = shared.prepared.worker_steps();
        let row_groups = RowGroups::of(&shared.prepared);
        let sizes = Sizes::of(&shared.prepared.limits, shared.prepared.workers);
        Worker {
            shared: shared.clone(),
            steps,
            pool: pool.clone(),
            row_groups,
            columns: Arc::default(),
            decoded: Arc::default(),
            unsettled: None,
            max_unsettled_bytes: sizes.unsettled_bytes,
            records_before: 0,
        }
    }

    /// Processes `group` and returns its result; an error is the last item result. Returns `None` if the
    /// execution ends before the group does. Partial results of a large group, or for a live output, are sent to
    /// `finished` before.
    pub(super) fn run(
        &mut self,
        group: ItemGroup,
        quitting: &Receiver<()>,
        finished: &Sender<GroupResult>,
    ) -> Option<GroupResult> {
        let shared = self.shared.clone();
        let partials = PartialSender::new(&shared, group.index, Some(finished));
        let mut results = Vec::new();
        // Read once per group: a schema that the writer publishes meanwhile is joined there. See `SchemaRegistry`.
        let mut schema = shared.registry.current();
        let result = loop {
            let item = select! {
                recv(group.items) -> item => item,
                recv(quitting) -> _ => return None,
            };
            let Ok(item) = item else {
                let waited = self.unsettled.is_some();
                let finished = self.finish_row_groups(&mut results, &partials);
                // Where members come late, they go on coming.
                self.unsettled = waited.then(UnsettledRows::default);
                break finished;
            };
            if let Err(stop) = self.process_item(item, &mut schema, &mut results, &partials) {
                break Err(stop);
            }
            // Without row groups, a group has one item and is complete anyway.
            if !self.row_groups.is_empty()
                && let Err(stop) =
                    partials.send_if_large(&mut results).and_then(|()| partials.send_if_live(&mut results))
            {
                break Err(stop);
            }
        };
        if let Err(stop) = result {
            results.push(stop);
        }
        Some(GroupResult { index: group.index, slot: Some(group.slot), more: false, results })
    }

    /// Returns the results of an item, of a plan whose writer encodes the rows. No result is sent before. Widens `schema`
    /// where the records require that.
    pub(super) fn unordered_rows(&mut self, item: Item, schema: &mut Arc<Schema>) -> Result<Vec<ItemResult>, Error> {
        let shared = self.shared.clone();
        let partials = PartialSender::new(&shared, 0, None);
        let mut results = Vec::new();
        match self.process_item(InFlight { value: Ok(item), permit: None }, schema, &mut results, &partials) {
            Ok(()) => Ok(results),
            Err(ItemResult::Failed(error)) => Err(error),
            Err(_) => Err(Error::Cancelled),
        }
    }

    fn rules(&self) -> &SchemaRules {
        &self.shared.prepared.rules
    }

    /// Returns the columns of outputs for decoded columns; `None` if the steps refuse them.
    fn written(&self, columns: &Schema) -> Option<Schema> {
        self.shared.prepared.columns_after_steps(columns).ok()
    }

    /// Appends the results of one item. Fails with the result that ends the execution. The item's permit is returned at
    /// the end, when its rows are encoded.
    fn process_item(
        &mut self,
        item: InFlight<Result<Item, Error>>,
        schema: &mut Arc<Schema>,
        results: &mut Vec<ItemResult>,
        partials: &PartialSender<'_>,
    ) -> Result<(), ItemResult> {
        match item.value {
            Ok(Item::Morsel(morsel, info)) => {
                let repaired = self.rules().repaired(&morsel, &info);
                let text = repaired.as_ref().map_or(&morsel, |repaired| &repaired.morsel);
                let mut consumed = 0;
                // The decoder stops early where a batch would have too many values; the rest follows in another batch.
                loop {
                    let before = partials.place(results);
                    let mut result = self.process_morsel(&text.rest(consumed), &info, schema, results, partials);
                    if let Some(repaired) = &repaired {
                        // Positions and raw records must be those of the source, not of the repaired copy.
                        result = result.map_err(|result| map_to_original(result, &morsel, repaired));
                        // Partial results had row groups only, which have no positions.
                        let first = partials.since(before);
                        let of_repaired = results.split_off(first).into_iter();
                        results.extend(of_repaired.map(|result| map_to_original(result, &morsel, repaired)));
                        // Count the replacements once per morsel, with its first batch.
                        match results.get_mut(first).filter(|_| consumed == 0) {
                            Some(ItemResult::Counts(counts)) => counts.utf8_replaced = repaired.replaced,
                            Some(ItemResult::Rows(rows)) => rows.counts.utf8_replaced = repaired.replaced,
                            _ => {}
                        }
                    }
                    consumed += result?;
                    if consumed >= text.len {
                        break;
                    }
                    partials.send_if_large(results)?;
                }
                // A no-op while rows for the writer still have views of the buffer.
                self.pool.recycle(morsel.bytes);
                Ok(())
            }
            Ok(Item::Rows(batch, info)) => self.process_rows(batch, info, schema, results, partials),
            Ok(Item::Oversized(oversized, info)) => {
                self.records_before += 1;
                results.push(ItemResult::Oversized(oversized, info));
                Ok(())
            }
            Ok(Item::SourceEnd(info)) => {
                results.push(ItemResult::SourceEnd(info));
                Ok(())
            }
            Err(error) => Err(ItemResult::Failed(error)),
        }
    }

    /// Applies the steps to rows that are columns already and encodes them. Widens `schema` where the rows have other
    /// columns or wider types and the rules allow that.
    fn process_rows(
        &mut self,
        batch: Batch,
        source: Arc<SourceInfo>,
        schema: &mut Arc<Schema>,
        results: &mut Vec<ItemResult>,
        partials: &PartialSender<'_>,
    ) -> Result<(), ItemResult> {
        if batch.schema != *schema {
            let wider = schema.join(&batch.schema, self.rules().type_merge);
            if wider != **schema {
                if let Some(why) =
                    self.rules().forbidden_change_by_rows(&source, schema, &wider, |columns| self.written(columns))
                {
                    let what = first_difference(schema, &batch.schema, &wider);
                    let mismatch = Box::new(SchemaMismatch { schema: wider, byte: 0, line: 0, record: 0, what });
                    return Err(ItemResult::SchemaMismatch { mismatch, why, source, byte_offset: 0 });
                }
                *schema = Arc::new(wider);
            }
        }
        // As their source has them: the schema of this worker depends on the moment at which it began.
        let spans = self.rules().demands.record_spans.then(|| spans_of_rows(&batch, &source));
        let batch = fitted(batch, schema, &source).map_err(ItemResult::Failed)?;
        let (rows, bytes) = (batch.rows, batch.memory_size());
        self.shared.prepared.unseen.record(&batch);
        let counts = MorselCounts {
            source,
            byte_offset: 0,
            records: rows as u64,
            // A row is shown as a line.
            lines: rows as u64,
            filtered: 0,
            added: 0,
            nulled: Vec::new(),
            mismatches: Vec::new(),
            duplicate_keys: 0,
            cell_kinds: Vec::new(),
            utf8_replaced: 0,
            rejects: RejectList::new(b'\n'),
            ends_open: false,
        };
        self.apply_steps(batch, counts, bytes, spans, (schema, partials), results)
    }

    /// Closes all open row groups and appends them as results.
    fn finish_row_groups(
        &mut self,
        results: &mut Vec<ItemResult>,
        partials: &PartialSender<'_>,
    ) -> Result<(), ItemResult> {
        self.settle_rows(results, partials)?;
        self.push_row_groups(results, RowGroupBuilder::take)
    }

    /// Appends the closed row groups that `take` returns as results.
    fn push_row_groups(
        &mut self,
        results: &mut Vec<ItemResult>,
        take: impl Fn(&mut RowGroupBuilder) -> Result<Vec<EncodedRowGroup>, Error>,
    ) -> Result<(), ItemResult> {
        for open in &mut self.row_groups {
            let groups = take(&mut open.builder).map_err(ItemResult::Failed)?;
            groups.iter().for_each(|group| self.shared.prepared.outputs.note_plain_columns(group));
            if !groups.is_empty() {
                results.push(ItemResult::RowGroups { output: open.output, groups, decoded: self.decoded.clone() });
            }
        }
        Ok(())
    }

    /// Decodes the records of a morsel, applies the steps and encodes the rows. Returns the bytes of the morsel that
    /// were processed; the caller passes the rest again. Widens `schema` where records and rules require that.
    fn process_morsel(
        &mut self,
        morsel: &Morsel,
        info: &Arc<SourceInfo>,
        schema: &mut Arc<Schema>,
        results: &mut Vec<ItemResult>,
        partials: &PartialSender<'_>,
    ) -> Result<usize, ItemResult> {
        let (mut records, mut is_one_record) = (None, false);
        let mut must_wait = self.shared.prepared.orders_keys();
        let decoded = loop {
            match self.rules().decode(records.as_ref().unwrap_or(morsel), info, schema) {
                Outcome::Decoded(decoded) => break decoded,
                // Records behind a row limit decide on no type: those before the mismatch are processed first, and then the
                // columns widen by its record alone.
                Outcome::SchemaMismatch(mismatch) if self.shared.prepared.has_limit && mismatch.byte > 0 => {
                    records = Some(morsel.first(mismatch.byte));
                }
                Outcome::SchemaMismatch(mismatch)
                    if self.shared.prepared.has_limit && !is_one_record && mismatch.record == 0 =>
                {
                    records = Some(morsel.first(info.first_record_end(morsel)));
                    is_one_record = true;
                }
                // The columns of earlier records come first, whichever worker has met them.
                Outcome::SchemaMismatch(_) if must_wait => {
                    must_wait = false;
                    partials.wait_for_turn()?;
                    *schema = Arc::new(self.shared.registry.current().join(schema, self.rules().type_merge));
                }
                Outcome::SchemaMismatch(mut mismatch) => {
                    if is_one_record {
                        (records, is_one_record) = (None, false);
                    }
                    // Widen this worker's schema alone and decode the same morsel again: no row was appended yet. The
                    // writer publishes the schema when it reaches these rows.
                    mismatch.schema = self.rules().only_needed(mismatch.schema);
                    let written = |columns: &Schema| self.written(columns);
                    if let Some(why) = self.rules().forbidden_change(info, schema, &mismatch.schema, written) {
                        let (mismatch, byte_offset) = (Box::new(mismatch), morsel.byte_offset);
                        return Err(ItemResult::SchemaMismatch { mismatch, why, source: info.clone(), byte_offset });
                    }
                    let wider = self.rules().with_opaque(self.rules().with_declared_types(mismatch.schema));
                    // Without this check a decoder that reports a mismatch and widens nothing would loop for ever.
                    if wider == **schema {
                        let what = format!("decoding cannot go on at {}", mismatch.what);
                        return Err(ItemResult::Failed(Error::Bug(what)));
                    }
                    *schema = Arc::new(wider);
                }
            }
        };
        let Decoded { mut batch, rejects, consumed, records, lines, duplicate_keys, cell_kinds, observed } = decoded;
        // Flags such as "every integer fits a double" must reach the rows' schema.
        let seen = schema.join(&observed, self.rules().type_merge);
        if seen != **schema {
            *schema = Arc::new(seen);
        }
        // Only the last record of a source can lack a line end. An array ends with its bracket instead. If such a
        // record is a reject, the writer decides whether the source was truncated.
        let is_open = |records: &[u8]| match info.format {
            Format::JsonArray => false,
            // White space may follow the last value.
            Format::JsonValues => {
                let last = memchr::memrchr(b'\n', records).map_or(records, |at| &records[at + 1..]);
                !last.trim_ascii().is_empty()
            }
            Format::Ndjson | Format::Csv => !records.ends_with(b"\n"),
        };
        let open_end = consumed == morsel.len && is_open(morsel.records());
        let ends_open = open_end && rejects.last().is_some_and(|last| last.record + 1 == records);
        let n_rejects = rejects.len();
        let spans = if self.rules().demands.record_spans {
            take_record_spans(&mut batch, morsel, info, &rejects)
        } else {
            None
        };
        // A CSV record cannot be copied into a JSON output.
        if info.csv.is_some() || !self.rules().demands.copies_records {
            batch.records = None;
        }
        if info.format.is_rewritten() {
            compact_batch(&mut batch);
        }
        set_source_columns(&mut batch, info, self.rules().contract.as_ref()).map_err(ItemResult::Failed)?;
        // The schema of the whole group, so that derived columns have the same types in all of its batches.
        if batch.schema.fields.len() == schema.fields.len() {
            batch.schema = schema.clone();
        }
        let prepared = &self.shared.prepared;
        let (max_rejects, keep_raw) = (prepared.on_bad_record.fatal_count(), prepared.keep_rejects);
        let rejects = RejectList::of_morsel(rejects, morsel, info, max_rejects, keep_raw);
        // If the list was cut to the fatal number of rejects, its last one is not the last record.
        let ends_open = ends_open && rejects.len() == n_rejects;
        self.shared.prepared.unseen.record(&batch);
        let counts = MorselCounts {
            source: info.clone(),
            byte_offset: morsel.byte_offset,
            records,
            lines,
            filtered: 0,
            added: 0,
            nulled: Vec::new(),
            mismatches: Vec::new(),
            duplicate_keys,
            cell_kinds,
            utf8_replaced: 0,
            rejects,
            ends_open,
        };
        self.apply_steps(batch, counts, consumed, spans, (schema, partials), results)?;
        Ok(consumed)
    }

    /// Applies the steps to the rows of a batch and encodes them, or passes them to the writer if that has steps to apply.
    /// `bytes` is the size of the records; `counts` has those of the decoder. Fails with the result that ends the
    /// execution.
    fn apply_steps(
        &mut self,
        batch: Batch,
        mut counts: MorselCounts,
        bytes: usize,
        spans: Option<RecordSpans>,
        (schema, partials): (&Arc<Schema>, &PartialSender<'_>),
        results: &mut Vec<ItemResult>,
    ) -> Result<(), ItemResult> {
        let rows = batch.rows;
        // Row indices in the decoded batch, for a limit that counts records and for rejects by a step.
        let has_origins = self.shared.prepared.has_limit || self.shared.prepared.in_chunks || spans.is_some();
        let mut whole = Some(batch);
        let origin = counts.source.batch_origin(self.records_before);
        self.records_before += counts.records;
        let (mut step_counts, mut taken) = (StepCounts::new(self.shared.prepared.has_limit), None);
        // The counts are known last and must be first: the writer counts records before it writes their rows. Only row
        // groups that were sent already are before them.
        let before = partials.place(results);
        for range in self.slices(rows, bytes) {
            let origins = has_origins.then(|| (range.start as u32..range.end as u32).collect());
            let slice = match whole.take_if(|_| range.len() == rows) {
                Some(whole) => whole,
                None => {
                    let whole = whole.as_ref().expect("only a slice of all rows takes the batch, and it is the last");
                    whole.slice(range.start, range.len())
                }
            };
            let applied = self.steps.apply(slice, origins, std::mem::take(&mut step_counts), spans.as_ref(), &origin);
            let applied = applied.map_err(|error| ItemResult::Failed(error.into()))?;
            // The writer applies the ordered steps, settles the counts and encodes. Such plans have a single slice.
            if self.shared.prepared.writer_encodes() {
                counts.nulled = self.steps.take_nulled();
                counts.mismatches = self.steps.take_mismatches();
                let decoded = schema.clone();
                results.push(ItemResult::Rows(Box::new(UnorderedRows { applied, counts, decoded, spans })));
                return Ok(());
            }
            (step_counts, taken) = (applied.counts, applied.rows_until_limit);
            self.encode(&applied.batch, bytes, schema, results, partials)?;
            if taken.is_some() {
                break;
            }
        }
        counts.nulled = self.steps.take_nulled();
        counts.mismatches = self.steps.take_mismatches();
        counts.settle(&step_counts, taken, spans.as_ref(), self.shared.prepared.keep_rejects);
        results.insert(partials.since(before), ItemResult::Counts(Box::new(counts)));
        // The limit is reached: this group ends here, and the writer discards all later ones.
        if taken.is_some() {
            self.finish_row_groups(results, partials)?;
            return Err(ItemResult::Enough);
        }
        Ok(())
    }

    /// Returns the ranges of a batch's rows that are passed through the steps at once: all rows, or fewer where a step
    /// explodes lists and repeats all other values for each element. `bytes` is the size of their records.
    fn slices(&self, rows: usize, bytes: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let explodes = self.shared.prepared.row_steps.iter().any(|step| step.properties().opens_lists);
        let whole = !explodes || self.shared.prepared.writer_encodes();
        let at_once = if whole { rows } else { rows * MAX_EXPLODED_INPUT_BYTES / bytes.max(1) }.max(1);
        // A batch without rows is one empty slice: its columns and counts matter.
        (0..rows.max(1)).step_by(at_once).map(move |start| start..(start + at_once).min(rows))
    }

    /// Encodes rows after the steps for every output: appends them as results, or writes them to the open row groups.
    /// `bytes` is the size of their records.
    fn encode(
        &mut self,
        batch: &Batch,
        bytes: usize,
        schema: &Arc<Schema>,
        results: &mut Vec<ItemResult>,
        partials: &PartialSender<'_>,
    ) -> Result<(), ItemResult> {
        if self.shared.prepared.outputs.has_rows() {
            results.push(ItemResult::Encoded(
                encode_rows(&self.shared.prepared.outputs, batch, schema).map_err(ItemResult::Failed)?,
            ));
        }
        if !self.row_groups.is_empty() {
            let columns = self.steps.output_schema(schema).map_err(|error| ItemResult::Failed(error.into()))?;
            if *self.columns != columns {
                self.widen_row_groups(columns, results, partials)?;
            }
            self.decoded = schema.clone();
            match &mut self.unsettled {
                None => self.write_rows(batch, results, partials)?,
                Some(unsettled) => {
                    let batch = batch.pruned();
                    unsettled.bytes += bytes + batch.size_beside_morsel();
                    unsettled.batches.push(batch);
                    if unsettled.bytes >= self.max_unsettled_bytes {
                        self.settle_rows(results, partials)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives the open row groups the columns `columns`. Where a column has another carrier now they are closed, and the
    /// rows after them wait for a while.
    fn widen_row_groups(
        &mut self,
        columns: Schema,
        results: &mut Vec<ItemResult>,
        partials: &PartialSender<'_>,
    ) -> Result<(), ItemResult> {
        let columns = Arc::new(columns);
        let can_wait = self.unsettled.is_some() && self.is_widening(&columns);
        let specs = &self.shared.prepared.outputs.specs;
        let mut open = self.row_groups.iter();
        if !can_wait
            && (self.unsettled.is_some() || !open.all(|o| o.builder.can_widen(&specs[o.output].file_columns(&columns))))
        {
            self.finish_row_groups(results, partials)?;
            self.unsettled = Some(UnsettledRows::default());
        }
        if self.unsettled.is_none() {
            let outputs = &self.shared.prepared.outputs;
            for RowGroups { output, options, builder } in &mut self.row_groups {
                builder.widen(|| outputs.file_layout(*output, &columns, options)).map_err(ItemResult::Failed)?;
            }
        }
        self.columns = columns;
        Ok(())
    }

    /// Returns true if rows with the columns so far can be cast to `columns`.
    fn is_widening(&self, columns: &Schema) -> bool {
        self.columns.fields.iter().all(|narrow| {
            let wide = columns.position(&narrow.name).map(|i| &columns.fields[i].ty);
            wide.is_some_and(|wide| wide.join(&narrow.ty, self.rules().type_merge) == *wide)
        })
    }

    /// Writes rows to the open row groups, and appends those that are full as results. They are sent where they have
    /// become large: the row groups of small files take many times the memory of their rows.
    fn write_rows(
        &mut self,
        batch: &Batch,
        results: &mut Vec<ItemResult>,
        partials: &PartialSender<'_>,
    ) -> Result<(), ItemResult> {
        let specs = &self.shared.prepared.outputs.specs;
        let max_rows = self.row_groups.iter().map(|open| specs[open.output].max_group_rows).min();
        let at_once = match max_rows {
            Some(max_rows) if max_rows < batch.rows => {
                let leaves: usize = self.columns.fields.iter().map(|field| field.ty.n_leaves()).sum();
                let groups = LARGE_RESULT_BYTES / (leaves * SMALL_PART_BYTES).max(1);
                max_rows.saturating_mul(groups.max(1))
            }
            _ => batch.rows,
        };
        let mut start = 0;
        loop {
            let rows = at_once.min(batch.rows - start);
            let slice = (rows < batch.rows).then(|| batch.slice(start, rows));
            start += rows;
            let outputs = &self.shared.prepared.outputs;
            for RowGroups { output, options, builder } in &mut self.row_groups {
                let rows =
                    outputs.specs[*output].file_rows(slice.as_ref().unwrap_or(batch)).map_err(ItemResult::Failed)?;
                let layout = || outputs.file_layout(*output, &self.columns, options);
                builder.write(&rows, layout).map_err(ItemResult::Failed)?;
            }
            if max_rows.is_some() {
                self.push_row_groups(results, |builder| Ok(builder.take_full()))?;
            }
            if start == batch.rows {
                return Ok(());
            }
            partials.send_if_large(results)?;
        }
    }

    /// Writes the rows that wait to the open row groups.
    fn settle_rows(&mut self, results: &mut Vec<ItemResult>, partials: &PartialSender<'_>) -> Result<(), ItemResult> {
        let unsettled = self.unsettled.take().unwrap_or_default();
        for batch in unsettled.batches {
            self.write_rows(&batch, results, partials)?;
            partials.send_if_large(results)?;
        }
        Ok(())
    }
}

/// Maps positions and raw records in the result of a repaired morsel to those of the original.
fn map_to_original(result: ItemResult, original: &Morsel, repaired: &Repaired) -> ItemResult {
    // Offsets are relative to the part of the morsel that was decoded; `base` is where that part starts.
    let base = |byte_offset: u64| (byte_offset - original.byte_offset) as usize;
    let map_counts = |counts: &mut MorselCounts| {
        let base = base(counts.byte_offset);
        counts.rejects = counts.rejects.map_spans(|rejected| {
            let at = base + rejected.byte;
            let (start, end) = (repaired.original(at), repaired.original(at + rejected.len));
            rejected.reject.offset = repaired.original(at + rejected.reject.offset) - start;
            (rejected.byte, rejected.len) = (start, end - start);
            &original.records()[start..end]
        });
        for (_, kinds) in &mut counts.cell_kinds {
            if let Some(first) = &mut kinds.first_text {
                first.byte = repaired.original(base + first.byte);
            }
        }
        counts.byte_offset = original.byte_offset;
    };
    match result {
        ItemResult::Counts(mut counts) => {
            map_counts(&mut counts);
            ItemResult::Counts(counts)
        }
        ItemResult::Rows(mut rows) => {
            if let Some(spans) = &mut rows.spans {
                let base = base(rows.counts.byte_offset);
                for span in &mut spans.spans {
                    let at = base + span.start as usize;
                    let (start, end) = (repaired.original(at), repaired.original(at + span.len as usize));
                    *span = RecordSpan { start: start as u32, len: (end - start) as u32 };
                }
                spans.morsel = original.clone();
                spans.line_break = b'\n';
            }
            map_counts(&mut rows.counts);
            ItemResult::Rows(rows)
        }
        ItemResult::SchemaMismatch { mut mismatch, why, source, byte_offset } => {
            mismatch.byte = repaired.original(base(byte_offset) + mismatch.byte);
            ItemResult::SchemaMismatch { mismatch, why, source, byte_offset: original.byte_offset }
        }
        other => other,
    }
}

/// Describes the first column of rows, `found`, for which the columns `known` have to widen.
fn first_difference(known: &Schema, found: &Schema, wider: &Schema) -> String {
    let describe = |field: &Field| {
        let name = FieldPath::root().field(&field.name);
        let ty = |schema: &Schema| schema.position(&field.name).map(|i| schema.fields[i].ty.clone());
        match (ty(known), ty(wider)) {
            (None, _) => Some(format!("column `{name}`: it is not among the columns known before")),
            (Some(known), Some(wider)) if !keeps_carrier(&known, &wider) => {
                Some(format!("column `{name}`: expected {}, found {}", known.outline(), field.ty.outline()))
            }
            _ => None,
        }
    };
    found.fields.iter().find_map(describe).unwrap_or_else(|| "the columns".into())
}

/// Returns `batch` with the columns of `schema`, in their order and of their types; a column that it lacks is null.
/// `schema` must have all columns of the batch, with types that are not narrower.
fn fitted(mut batch: Batch, schema: &Arc<Schema>, source: &SourceInfo) -> Result<Batch, Error> {
    if batch.schema == *schema {
        return Ok(batch);
    }
    let columns = schema.fields.iter().map(|field| match batch.schema.position(&field.name) {
        Some(i) => cast_array(&batch.columns[i], &batch.schema.fields[i].ty, &field.ty).map_err(|_| {
            PlanError::UnlikeColumns { name: source.name.to_string(), column: field.name.to_string() }.into()
        }),
        None => Ok(new_null_array(&field.ty.to_arrow(), batch.rows)),
    });
    let columns = columns.collect::<Result<_, Error>>()?;
    batch = Batch::new(schema.clone(), columns, batch.rows);
    Ok(batch)
}

/// Returns spans of the rows of `batch`, as NDJSON, for steps that name or show the record of a row.
fn spans_of_rows(batch: &Batch, source: &SourceInfo) -> RecordSpans {
    let mut text = Vec::new();
    ndjson::encode(batch, b"\n", &mut text);
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', &text);
    let span = |end: usize| {
        let span = RecordSpan { start: start as u32, len: (end - start) as u32 };
        start = end + 1;
        span
    };
    let spans = ends.map(span).collect();
    RecordSpans { morsel: Morsel::from_vec(text, 0, source.index), spans, skipped: Vec::new(), line_break: b'\n' }
}

/// Takes the record spans of the rows out of `batch`; `None` if it has none.
fn take_record_spans(
    batch: &mut Batch,
    morsel: &Morsel,
    info: &SourceInfo,
    rejects: &[RejectedRecord],
) -> Option<RecordSpans> {
    let (_, spans) = batch.records.as_ref()?;
    Some(RecordSpans {
        morsel: morsel.clone(),
        spans: spans.clone(),
        skipped: rejects.iter().map(|rejected| rejected.record).collect(),
        line_break: info.line_break(),
    })
}
