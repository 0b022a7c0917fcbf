//! The writer: takes group results in the order of records, appends their rows to the outputs, publishes the schema,
//! and keeps the counts that must add up. Runs on the caller's thread. Encodes only rows that must pass ordered steps.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::cell_kinds::{ColumnKinds, TextColumn};
use super::chunks::{ChunkRecords, Piece, RecordChain, next_piece};
use super::error::{Error, FixedSchema, SchemaChange};
use super::input::{SourceDigests, SourceInfo};
use super::message::{GroupResult, ItemResult, MorselCounts, UnorderedRows};
use super::output::{EncodedBatch, FinishedOutput, OutputWriter, SourcesEnd, check_names, closed_note, encode_rows};
use super::plan::OnBadRecord;
use super::prepared::{ExecutionState, Prepared};
use super::progress::{CANCEL_POLL, Control};
use super::rejects::RejectsFile;
use super::schema::{SchemaRegistry, notes_on_names};
use super::sequencer::Sequencer;
use crate::column::{Batch, Field, Schema, Type, TypeMerge};
use crate::format::Reject;
use crate::format::csv::{MAX_SHEET_CELL, MAX_SHEET_ROWS, SheetCounts};
use crate::format::frame::Oversized;
use crate::format::parquet::EncodedRowGroup;
use crate::format::{OutputFormat, RowForm};
use crate::position::Position;
use crate::text::{counted, human_count};
use crate::transform::{Applied, Steps, UnknownColumn};
use crate::warehouse::Committed;

/// The sums over all morsels so far. Fields are as in [`super::report::Report`].
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub rows_in: u64,
    pub rows_written: u64,
    pub rows_there_before: u64,
    pub rows_filtered: u64,
    pub rows_added: u64,
    pub rows_rejected: u64,
    pub duplicate_keys: u64,
    pub utf8_replaced: u64,
    /// Changes to cells for spreadsheets, of all outputs.
    pub sheet: SheetCounts,
    /// Sentences for the user, such as one about a renamed column.
    pub notes: Vec<String>,
    /// See [`Report::input_schema`](super::report::Report::input_schema).
    pub input_schema: Schema,
    /// See [`Report::unseen_columns`](super::report::Report::unseen_columns).
    pub unseen_columns: Vec<String>,
    /// See [`Report::other_delimiter`](super::report::Report::other_delimiter).
    pub other_delimiter: Option<u8>,
    /// See [`Report::text_columns`](super::report::Report::text_columns).
    pub text_columns: Vec<TextColumn>,
    /// True if the readers of all outputs closed them before the end.
    pub stopped_early: bool,
    /// True if the plan's row limit ended the execution; the sources may have more records.
    pub reached_limit: bool,
}

/// The start of the next morsel of a source, in lines and records from 0.
#[derive(Clone, Copy, Debug, Default)]
struct MorselStart {
    lines: u64,
    records: u64,
}

/// The last stage of an execution: the only owner of outputs and counts.
pub(super) struct Writer<'a> {
    prepared: &'a Prepared,
    registry: &'a SchemaRegistry,
    sequencer: &'a Sequencer,
    outputs: Vec<OutputWriter>,
    rejects: Option<RejectsFile>,
    /// Number of sources that must end before the outputs may appear.
    n_sources: usize,
    /// The digests of the sources, for the ledgers of tables.
    digests: SourceDigests,
    /// True if the pass can be repeated with the schema inferred from all records.
    may_start_over: bool,
    /// True if records behind the row limit were dropped before, so that it must be reached.
    must_reach_limit: bool,
    /// The ordered steps; `None` if there are none.
    steps: Option<Steps>,
    control: &'a Control,
    /// The start of the next morsel of each source, by the source's index.
    morsel_starts: BTreeMap<usize, MorselStart>,
    /// Name of the source of the last counted morsel.
    last_source: Option<Arc<str>>,
    /// Position of that morsel in its source, in bytes.
    last_byte: u64,
    sources_ended: usize,
    /// Bytes of the outputs that were added to `control` already.
    bytes_counted: u64,
    /// Rows per comparison whose value was of another type.
    mismatches: BTreeMap<Arc<str>, u64>,
    /// Rows per cast or expression whose value could not be computed and is null.
    nulled: BTreeMap<Arc<str>, u64>,
    /// The kinds of cells in columns of CSV.
    cell_kinds: ColumnKinds,
    /// The columns of the first rows, if an output has fixed columns; `None` before them.
    written_columns: Option<Arc<Schema>>,
    /// The digest of the records of a load in chunks.
    chain: RecordChain,
    totals: Totals,
}

/// The next action of the writer after a result.
enum AfterGroup {
    /// Write the next result.
    More,
    /// Stop quietly: the readers of all outputs have closed them.
    NoReader,
    /// Finish the outputs: the plan's row limit is reached.
    Enough,
}

impl<'a> Writer<'a> {
    /// Creates a writer into `outputs`, for a plan with `n_sources` sources. With `may_start_over`, a derived column
    /// that changed its type is an error, after which the pass is repeated with the schema inferred from all records.
    pub(super) fn new(
        shared: &'a ExecutionState,
        outputs: Vec<OutputWriter>,
        rejects: Option<RejectsFile>,
        n_sources: usize,
        digests: SourceDigests,
        may_start_over: bool,
        control: &'a Control,
    ) -> Self {
        Writer {
            prepared: &shared.prepared,
            registry: &shared.registry,
            sequencer: &shared.sequencer,
            outputs,
            rejects,
            n_sources,
            digests,
            may_start_over,
            must_reach_limit: false,
            steps: shared.prepared.writer_steps(),
            control,
            morsel_starts: BTreeMap::new(),
            last_source: None,
            last_byte: 0,
            sources_ended: 0,
            bytes_counted: 0,
            mismatches: BTreeMap::new(),
            nulled: BTreeMap::new(),
            cell_kinds: ColumnKinds::default(),
            written_columns: None,
            chain: RecordChain::default(),
            totals: Totals::default(),
        }
    }

    /// Writes group results until the workers have ended, and makes the outputs appear. On an error no output appears.
    pub(super) fn run(mut self, group_results: &Receiver<GroupResult>) -> Result<(Totals, Finished), Error> {
        // Results of later groups; the slots of item groups bound their number.
        let mut waiting: BTreeMap<u64, GroupResult> = BTreeMap::new();
        let mut next = 0;
        loop {
            // Polled, so that a cancel ends even a wait for a source that sends nothing.
            if self.control.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let result = match group_results.recv_timeout(CANCEL_POLL) {
                Ok(result) => result,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            waiting.insert(result.index, result);
            while let Some(result) = waiting.remove(&next) {
                let more = result.more;
                match self.write_group(result)? {
                    AfterGroup::More => {}
                    // Nothing is finished: a broken stream has no end to write, and there is no file.
                    AfterGroup::NoReader => {
                        self.totals.stopped_early = true;
                        return Ok((self.totals, Finished::default()));
                    }
                    AfterGroup::Enough => {
                        self.totals.reached_limit = true;
                        return self.finish();
                    }
                }
                // A partial result lets its worker go on with the same group.
                if more {
                    self.sequencer.partial_taken();
                } else {
                    next += 1;
                    self.sequencer.advance(next);
                }
            }
        }
        if !waiting.is_empty() {
            return Err(Error::Bug("a worker ended without the result of its item group".into()));
        }
        self.finish()
    }

    /// Writes the item results of a group in order. Fails at an error among them, after everything before it is
    /// counted.
    fn write_group(&mut self, result: GroupResult) -> Result<AfterGroup, Error> {
        let GroupResult { results, slot, .. } = result;
        for item_result in results {
            let next = match item_result {
                ItemResult::Counts(counts) => {
                    self.take_counts(*counts)?;
                    AfterGroup::More
                }
                ItemResult::Encoded(rows) => self.append_rows(rows)?,
                ItemResult::Rows(rows) => self.apply_ordered_steps(*rows)?,
                ItemResult::Enough => AfterGroup::Enough,
                ItemResult::RowGroups { output, groups, decoded } => {
                    self.publish(&decoded)?;
                    if !self.outputs[output].is_abandoned() {
                        groups.iter().try_for_each(|group| self.require_spelling_kept(output, group))?;
                        let written = self.outputs[output].append_row_groups(groups);
                        self.unless_abandoned(output, written)?;
                    }
                    self.count_written()
                }
                ItemResult::Oversized(oversized, source) => {
                    self.reject_oversized(oversized, &source)?;
                    AfterGroup::More
                }
                ItemResult::SourceEnd(source) => {
                    self.end_source(&source)?;
                    AfterGroup::More
                }
                // Only here the lines and records before the morsel are known.
                ItemResult::SchemaMismatch { mismatch, why, source, byte_offset } => {
                    let start = self.morsel_start(&source);
                    let position = Position {
                        source: source.name.clone(),
                        byte: byte_offset + mismatch.byte as u64,
                        line: start.lines + mismatch.line + 1,
                        record: start.records + mismatch.record,
                    };
                    let change = SchemaChange::Value { what: mismatch.what, why };
                    return Err(Error::Schema { position, change });
                }
                ItemResult::Failed(error) => return Err(error),
            };
            // The remaining results are behind the limit, or have no reader.
            if !matches!(next, AfterGroup::More) {
                return Ok(next);
            }
        }
        // The slot admits another item group only now: its result has been written.
        drop(slot);
        Ok(AfterGroup::More)
    }

    /// Applies the ordered steps, if there are any, to the rows of a morsel, encodes them and appends them.
    fn apply_ordered_steps(&mut self, rows: UnorderedRows) -> Result<AfterGroup, Error> {
        let UnorderedRows { applied, mut counts, decoded, spans } = rows;
        // The records of this morsel are not counted yet.
        let first_record = self.totals.rows_in;
        let applied = match self.steps.as_mut() {
            Some(steps) => {
                let origin = counts.source.batch_origin(first_record);
                let applied = steps.apply(applied.batch, applied.origins, applied.counts, spans.as_ref(), &origin)?;
                counts.mismatches.extend(steps.take_mismatches());
                counts.nulled.extend(steps.take_nulled());
                applied
            }
            None => applied,
        };
        let Applied { batch, rows_until_limit: taken, counts: tally, origins } = applied;
        let records = match (self.prepared.in_chunks, origins, spans.as_ref()) {
            (false, ..) => None,
            (true, Some(origins), Some(spans)) => {
                let of = |valid: &[u32]| -> Vec<u64> {
                    counts.rejects.records_of(valid).into_iter().map(|record| first_record + record).collect()
                };
                let decoded: Vec<u32> = (0..spans.spans.len() as u32).collect();
                Some(ChunkRecords {
                    numbers: of(&origins),
                    origins,
                    decoded: of(&decoded),
                    end: first_record + counts.records,
                    spans: spans.clone(),
                    source: counts.source.clone(),
                })
            }
            (true, ..) => return Err(Error::Bug("rows in chunks are not traced to their records".into())),
        };
        counts.settle(&tally, taken, spans.as_ref(), self.prepared.keep_rejects);
        self.take_counts(counts)?;
        let appended = match records {
            Some(records) => self.append_in_chunks(&batch, &decoded, &records)?,
            None => self.append_rows(encode_rows(&self.prepared.outputs, &batch, &decoded)?)?,
        };
        match appended {
            AfterGroup::More if taken.is_some() => Ok(AfterGroup::Enough),
            next => Ok(next),
        }
    }

    /// Appends rows of a load in chunks to the only output, a table, and commits the chunks that they fill.
    fn append_in_chunks(
        &mut self,
        batch: &Batch,
        decoded: &Arc<Schema>,
        records: &ChunkRecords,
    ) -> Result<AfterGroup, Error> {
        self.publish(decoded)?;
        let mut start = 0;
        while start < batch.rows {
            let piece = next_piece(start, &records.numbers, self.outputs[0].chunk_position()?);
            let range = match piece {
                Piece::There(range) => {
                    if let Some(last) = self.outputs[0].last_record()?
                        && records.mark_of(last.record, range.clone()).is_some_and(|mark| mark.contradicts(&last))
                    {
                        let what = format!("the sources have another record {}", last.record);
                        return Err(self.outputs[0].other_records(what));
                    }
                    self.outputs[0].skip_rows(range.len() as u64)?;
                    start = range.end;
                    continue;
                }
                Piece::New(range) => range,
            };
            self.require_same_records(records)?;
            let rows = batch.slice(range.start, range.len());
            self.outputs[0].require_fit(&rows)?;
            match self.append_rows(encode_rows(&self.prepared.outputs, &rows, decoded)?)? {
                AfterGroup::More => {}
                done => return Ok(done),
            }
            start = range.end;
            if self.outputs[0].chunk_position()?.rows_left == 0 {
                let next_record = records.numbers.get(start).copied().unwrap_or(self.totals.rows_in);
                let last = records.mark(start - 1);
                let columns = self.prepared.columns_after_steps_if(false, &self.registry.current())?;
                self.chain.advance(records, next_record);
                let digest = self.chain.digest();
                self.outputs[0].end_chunk(
                    &columns,
                    next_record,
                    Some(last),
                    Some(digest),
                    self.totals.rows_rejected,
                )?;
            }
        }
        self.require_same_records(records)?;
        self.chain.advance(records, records.end);
        Ok(self.count_written())
    }

    /// Fails if the records before those that a load in chunks goes on with are not those that it began with.
    fn require_same_records(&mut self, records: &ChunkRecords) -> Result<(), Error> {
        let Some((there, digest)) = self.outputs[0].records_there()? else { return Ok(()) };
        match self.chain.differs(records, there, digest) {
            true => Err(self.outputs[0].other_records("the sources have other records there".to_owned())),
            false => Ok(()),
        }
    }

    /// Returns the start of the source's next morsel: the line behind the header for the first one. Adds the notes on
    /// the header then, because a row limit may end the execution before the source ends.
    fn morsel_start(&mut self, source: &SourceInfo) -> MorselStart {
        *self.morsel_starts.entry(source.index).or_insert_with(|| {
            self.totals.notes.extend(source.header_notes());
            let csv = source.csv.as_ref();
            self.totals.other_delimiter = self.totals.other_delimiter.or(csv.and_then(|csv| csv.other_delimiter));
            MorselStart { lines: csv.map_or(0, |csv| csv.header.lines), records: 0 }
        })
    }

    /// Adds the counts of a morsel to the totals and handles its rejects. Fails at a reject that the policy does not
    /// allow.
    fn take_counts(&mut self, counts: MorselCounts) -> Result<(), Error> {
        let MorselCounts {
            source,
            byte_offset,
            records,
            lines,
            filtered,
            added,
            nulled,
            mismatches,
            duplicate_keys,
            cell_kinds,
            utf8_replaced,
            rejects,
            ends_open,
        } = counts;
        let start = self.morsel_start(&source);
        self.last_source = Some(source.name.clone());
        self.last_byte = byte_offset;
        self.totals.rows_in += records;
        self.totals.rows_filtered += filtered;
        self.totals.rows_added += added;
        for (what, rows) in nulled {
            *self.nulled.entry(what).or_default() += rows;
        }
        self.totals.duplicate_keys += duplicate_keys;
        self.cell_kinds.add(cell_kinds, |first| Position {
            source: source.name.clone(),
            byte: byte_offset + first.byte as u64,
            line: start.lines + first.line + 1,
            record: start.records,
        });
        for (test, rows) in mismatches {
            *self.mismatches.entry(test).or_default() += rows;
        }
        self.totals.utf8_replaced += utf8_replaced;
        self.control.add_rows_read(records);
        // Before the morsel's own lines and records are added below: rejects count from its start.
        let n_rejects = rejects.len();
        for (i, (rejected, raw)) in rejects.iter().enumerate() {
            let position = Position {
                source: source.name.clone(),
                byte: byte_offset + rejected.byte as u64,
                line: start.lines + rejected.line + 1,
                record: start.records + rejected.record,
            };
            // A truncated download fails under every policy: its last line is bad because the rest is missing.
            if ends_open && source.is_stream && i + 1 == n_rejects {
                return Err(Error::LastLine { position, reject: rejected.reject });
            }
            if rejected.is_misfit && self.prepared.stops_at_misfits {
                return Err(Error::Schema { position, change: SchemaChange::Misfit(rejected.reject) });
            }
            self.reject(position, rejected.reject, raw)?;
        }
        self.morsel_starts
            .insert(source.index, MorselStart { lines: start.lines + lines, records: start.records + records });
        Ok(())
    }

    /// Counts and rejects a record beyond the size limit, without its raw bytes.
    fn reject_oversized(&mut self, oversized: Oversized, source: &Arc<SourceInfo>) -> Result<(), Error> {
        let start = self.morsel_start(source);
        self.totals.rows_in += 1;
        self.control.add_rows_read(1);
        let position = Position {
            source: source.name.clone(),
            byte: oversized.byte_offset,
            line: start.lines + 1,
            record: start.records,
        };
        let reject = Reject::too_long(oversized.len, self.prepared.limits.max_record_bytes);
        self.reject(position, reject, None)?;
        let next = MorselStart { lines: start.lines + oversized.lines, records: start.records + 1 };
        self.morsel_starts.insert(source.index, next);
        Ok(())
    }

    /// Counts a rejected record and writes it to the rejects file, or fails by the policy for bad records.
    fn reject(&mut self, position: Position, reject: Reject, raw: Option<&[u8]>) -> Result<(), Error> {
        self.totals.rows_rejected += 1;
        self.control.add_rows_rejected(1);
        match self.prepared.on_bad_record {
            OnBadRecord::Fail => return Err(Error::BadRecord { position, reject }),
            OnBadRecord::Limit(limit) if self.totals.rows_rejected > limit => {
                return Err(Error::TooManyBadRecords { position, reject, limit });
            }
            OnBadRecord::Skip | OnBadRecord::Limit(_) => {}
        }
        if let Some(rejects) = &mut self.rejects {
            rejects.write(&position, &reject, raw)?;
        }
        Ok(())
    }

    /// Checks the row count of a source that ended, and adds the columns of its header.
    fn end_source(&mut self, source: &SourceInfo) -> Result<(), Error> {
        let found = self.morsel_start(source).records;
        self.sources_ended += 1;
        // A CSV source without records still has columns.
        if self.prepared.rules.takes_header_columns() {
            self.publish(&source.header_columns())?;
        }
        match source.expected_rows {
            Some(expected) if expected != found => {
                Err(Error::RowCount { name: source.name.to_string(), found, expected })
            }
            _ => Ok(()),
        }
    }

    /// Publishes the schema of an encoded batch and appends its rows to all outputs that still have a reader.
    fn append_rows(&mut self, rows: EncodedBatch) -> Result<AfterGroup, Error> {
        self.publish(&rows.decoded)?;
        // Steps may derive other columns from the same decoded ones, so the written columns are checked themselves.
        if self.prepared.rules.demands.columns_fixed && rows.rows > 0 {
            let names = |schema: &Schema| schema.fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
            let written_columns = self.written_columns.get_or_insert_with(|| rows.columns.clone());
            if names(written_columns) != names(&rows.columns) {
                return Err(self.schema_error(SchemaChange::StepColumns));
            }
        }
        self.totals.sheet.add(rows.sheet, self.totals.rows_written);
        for (i, encoded) in rows.encoded.into_iter().enumerate() {
            if self.outputs[i].is_abandoned() {
                continue;
            }
            let written = self.outputs[i].append_rows(rows.rows, encoded, &rows.columns);
            if let Some(Some(text)) = self.unless_abandoned(i, written)? {
                self.prepared.outputs.text_buffers.give_back(text);
            }
        }
        Ok(self.count_written())
    }

    /// Returns the result of a write to an output; `None` if its reader closed it, which ends that output alone.
    fn unless_abandoned<T>(&mut self, output: usize, written: Result<T, Error>) -> Result<Option<T>, Error> {
        match written {
            Err(error) if error.is_broken_pipe() => {
                let note = self.outputs[output].abandon();
                self.totals.notes.push(note);
                Ok(None)
            }
            written => written.map(Some),
        }
    }

    /// Counts rows and bytes after a write. Returns [`AfterGroup::NoReader`] if no output has a reader any more.
    fn count_written(&mut self) -> AfterGroup {
        // An abandoned output stays behind the others.
        let rows = self.outputs.iter().map(OutputWriter::rows).max().unwrap_or(0);
        self.control.add_rows_written(rows.saturating_sub(self.totals.rows_written));
        self.totals.rows_written = rows.max(self.totals.rows_written);
        self.count_bytes();
        if self.outputs.iter().all(OutputWriter::is_abandoned) { AfterGroup::NoReader } else { AfterGroup::More }
    }

    fn count_bytes(&mut self) {
        let bytes = self.outputs.iter().map(OutputWriter::bytes).sum::<u64>();
        self.control.add_bytes_written(bytes.saturating_sub(self.bytes_counted));
        self.bytes_counted = bytes.max(self.bytes_counted);
    }

    /// Joins `seen`, the schema that a result was decoded with, into the shared schema. Called in the order of records,
    /// so that the order of columns is the order of first sight. [`super::schema::SchemaRegistry`] has the whole
    /// algorithm.
    ///
    /// Fails if the join is not allowed. Each worker has checked its own widening, and each of two may be allowed
    /// alone; only here they meet.
    fn publish(&mut self, seen: &Schema) -> Result<(), Error> {
        let known = self.registry.current();
        // The common case: nothing has changed since the group was started.
        if *known == *seen {
            return Ok(());
        }
        let rules = &self.prepared.rules;
        // Also if `seen` is the older and narrower one: the join is then `known`, and nothing is published below.
        let joined = known.join(seen, rules.type_merge);
        // Rows that were flattened under an older schema, and that come after others that widened it.
        if self.prepared.flattens()
            && let Some(lost) = self.prepared.lost_by_flattening(seen, &joined)?
        {
            return Err(self.schema_error(SchemaChange::ColumnGone(lost)));
        }
        // The objects of two workers may have together more keys than a struct can hold.
        if let Some(broken) = rules.broken_contract(&joined) {
            return Err(self.schema_error(SchemaChange::Contract(broken)));
        }
        // Numbers of one worker and text of another: checked from both sides, since either may have lost its spelling.
        if rules.loses_spelling(&known, &joined) || rules.loses_spelling(seen, &joined) {
            return Err(self.schema_error(SchemaChange::Apart(FixedSchema::SpellingLost)));
        }
        // Long integers of CSV have no count of their digits any more, so that beside a fraction only text is wide enough. A
        // repeated pass counts them.
        let outgrown = rules.outgrown_decimal(&known, &joined).or_else(|| rules.outgrown_decimal(seen, &joined));
        if let Some(name) = outgrown.filter(|_| self.may_start_over) {
            return Err(self.schema_error(SchemaChange::TypeChanged(name.to_string())));
        }
        // Before its first rows, an output with fixed columns still takes any.
        if rules.demands.columns_fixed && self.has_written_rows() && joined.fields.len() > known.fields.len() {
            // A step may have dropped it.
            let (before, after) =
                (self.prepared.columns_after_steps(&known)?, self.prepared.columns_after_steps(&joined)?);
            if after.fields.len() > before.fields.len() {
                return Err(self.schema_error(SchemaChange::Apart(FixedSchema::Output)));
            }
        }
        if joined != *known {
            self.require_columns_kept(&known, &joined)?;
            self.registry.publish(joined);
        }
        Ok(())
    }

    /// Fails if `joined` loses a column that a step flattened from objects: earlier rows have that column, and rows
    /// with other values in place of the objects could not fill it.
    fn require_columns_kept(&self, known: &Schema, joined: &Schema) -> Result<(), Error> {
        if !self.prepared.flattens() || self.totals.rows_written == 0 {
            return Ok(());
        }
        match self.prepared.lost_by_flattening(known, joined)? {
            None => Ok(()),
            Some(lost) => Err(self.schema_error(SchemaChange::ColumnGone(lost))),
        }
    }

    /// Fails if the type of a derived column in written row groups is not simply widened by the final one: for example,
    /// integers that no double can hold, and later doubles. A repeated pass knows the final type from the start. If the
    /// pass cannot be repeated this does not fail: the column becomes JSON text, in which nothing is lost.
    fn require_types_kept(&self, columns: &Schema) -> Result<(), Error> {
        let written = self.outputs.iter().find_map(OutputWriter::row_group_columns).filter(|_| self.may_start_over);
        let type_merge = self.prepared.rules.type_merge;
        let differs = |field: &&Field| {
            let own = columns.position(&field.name).map(|i| &columns.fields[i].ty);
            own.is_some_and(|own| field.ty != Type::Null && own.outline() != own.join(&field.ty, type_merge).outline())
        };
        match written.and_then(|written| written.fields.iter().find(differs)) {
            None => Ok(()),
            Some(Field { name, .. }) => Err(self.schema_error(SchemaChange::TypeChanged(name.to_string()))),
        }
    }

    /// Fails if `group` and the row groups before it have a derived column as text on one side, and as doubles or booleans
    /// on the other: cells of CSV that were computed as such have lost their spelling, `1` or `True`. A repeated pass knows
    /// from the start that the column is text.
    fn require_spelling_kept(&self, output: usize, group: &EncodedRowGroup) -> Result<(), Error> {
        if !self.may_start_over || self.prepared.rules.type_merge != TypeMerge::Text {
            return Ok(());
        }
        let Some(written) = self.outputs[output].row_group_columns() else { return Ok(()) };
        let respelled = |field: &&Field| {
            let own = group.schema().position(&field.name).map(|i| &group.schema().fields[i].ty);
            matches!(
                (own, &field.ty),
                (Some(Type::Text), Type::Float | Type::Bool) | (Some(Type::Float | Type::Bool), Type::Text)
            )
        };
        match written.fields.iter().find(respelled) {
            None => Ok(()),
            Some(Field { name, .. }) => Err(self.schema_error(SchemaChange::TypeChanged(name.to_string()))),
        }
    }

    /// Returns the error of a schema change, at the record after the last one that was counted.
    fn schema_error(&self, change: SchemaChange) -> Error {
        Error::Schema { position: self.last_position(), change }
    }

    /// Returns true once the outputs have rows.
    fn has_written_rows(&self) -> bool {
        self.totals.rows_written > 0
    }

    /// Returns the position of the record after the last one that was counted; its byte is that of the last morsel.
    fn last_position(&self) -> Position {
        let start = self.morsel_starts.last_key_value().map(|(_, start)| *start).unwrap_or_default();
        let source = self.last_source.clone().unwrap_or_else(|| "the input".into());
        Position { source, byte: self.last_byte, line: start.lines + 1, record: start.records }
    }

    /// Adds notes on cells of CSV that were changed for spreadsheets, do not fit them, or are lost by some readers.
    fn add_cell_notes(&mut self, columns: &Schema) {
        let sheet = &self.totals.sheet;
        let cells = |n: u64| counted(n, "cell");
        let mut notes = Vec::new();
        if sheet.formulas > 0 {
            notes.push(format!(
                "added an apostrophe to {} that began like a formula, so that no spreadsheet runs a formula",
                cells(sheet.formulas)
            ));
        }
        if sheet.long_numbers > 0 {
            notes.push(format!(
                "added an apostrophe to {} with more than 15 digits, so that a spreadsheet keeps all digits",
                cells(sheet.long_numbers)
            ));
        }
        if sheet.converted > 0 {
            notes.push(format!(
                "added an apostrophe to {} of text that a spreadsheet would convert to a number or a date, such as 01000 \
                 or 3-4",
                cells(sheet.converted)
            ));
        }
        if let Some((row, column)) = &sheet.first_long_cell {
            notes.push(format!(
                "{} longer than {MAX_SHEET_CELL} characters, the maximum that a spreadsheet shows; the first in column \
                 `{column}` of row {}",
                cells(sheet.long_cells),
                human_count(row + 1)
            ));
        }
        let exceeds_sheet = self.totals.rows_written >= MAX_SHEET_ROWS;
        let specs = &self.prepared.outputs.specs;
        // Sheets in files continue in further files; a stream cannot.
        if exceeds_sheet
            && specs.iter().any(|l| matches!(l.format, OutputFormat::Csv(o) if o.excel && !l.is_multi_file))
        {
            notes.push(format!(
                "a spreadsheet shows at most {} rows; write to a file to continue in further files",
                human_count(MAX_SHEET_ROWS)
            ));
        }
        // A later column has put a delimiter into the lines; partition columns are in no line.
        if sheet.empty_lines > 0 && (columns.fields.len() == 1 || specs.iter().any(|spec| spec.is_multi_file)) {
            let rows = counted(sheet.empty_lines, "row");
            notes.push(format!(
                "{rows} of CSV with one column {} null, which is an empty line; some readers, such as Python's csv.DictReader, \
                 skip empty lines, but not a word for null",
                if sheet.empty_lines == 1 { "is" } else { "are" }
            ));
        }
        self.totals.notes.extend(notes);
    }

    /// Adds notes on comparisons and casts that met unexpected values, and on columns that never had a value.
    fn add_step_notes(&mut self) {
        for (test, rows) in &self.mismatches {
            self.totals.notes.push(format!(
                "`{test}`: {} had a value of another type there, which does not compare",
                counted(*rows, "row")
            ));
        }
        for (what, rows) in &self.nulled {
            let were = if *rows == 1 { "was" } else { "were" };
            let values = counted(*rows, "value");
            self.totals.notes.push(format!("`{what}` failed for {values}, which {were} set to null"));
        }
        for UnknownColumn { name, .. } in self.prepared.unseen.never_seen() {
            self.totals.notes.push(format!("no record had a column `{name}`"));
        }
    }

    /// Makes it an error if the row limit is not reached: the records behind it were dropped.
    pub(super) fn require_limit(&mut self) {
        self.must_reach_limit = true;
    }

    /// Adds sentences for the report.
    pub(super) fn add_notes(&mut self, notes: Vec<String>) {
        self.totals.notes.extend(notes);
    }

    /// Checks the counts, finishes all outputs and makes them appear. Nothing appears before all checks have passed and
    /// all files are on disk.
    fn finish(mut self) -> Result<(Totals, Finished), Error> {
        if self.must_reach_limit && !self.totals.reached_limit {
            return Err(Error::Bug("the row limit was not reached where it was found before".into()));
        }
        // A reader that stopped early must not pass for the end of the input.
        if self.sources_ended != self.n_sources && !self.totals.reached_limit {
            return Err(Error::Bug("the reader ended before its sources did".into()));
        }
        // Every row has to be accounted for: a lost row is a bug that no user could see in the output.
        let t = &self.totals;
        if t.rows_in + t.rows_added != t.rows_written + t.rows_filtered + t.rows_rejected {
            return Err(Error::Bug(format!(
                "{} rows were read and {} added, but {} were written, {} filtered and {} rejected",
                t.rows_in, t.rows_added, t.rows_written, t.rows_filtered, t.rows_rejected
            )));
        }
        // A name that no record has is a mistake, and rows that a step kept or left out by it are wrong. Without records
        // nothing is known of it.
        if t.rows_in > t.rows_rejected
            && !self.prepared.is_part
            && let Some(error) = self.prepared.unseen.error()
        {
            return Err(error);
        }
        // Without any record, the declared columns are all that is known.
        if t.rows_in == 0 && self.registry.current().fields.is_empty() && self.prepared.rules.takes_header_columns() {
            self.publish(&self.prepared.rules.declared)?;
        }
        let schema = self.registry.current();
        self.totals.notes.extend(self.prepared.rules.notes_on_declared(&schema));
        self.totals.text_columns = self.cell_kinds.text_columns(&self.prepared.rules.columns_of_own_type(&schema));
        // Now it is certain that a column without values stays without: its type is final.
        let columns = self.prepared.columns_after_steps_if(true, &schema)?;
        self.require_types_kept(&columns)?;
        if self.prepared.is_part {
            self.totals.unseen_columns = self.prepared.unseen.suspects();
            self.totals.input_schema = (*schema).clone();
        }
        // All outputs get the same rows; a difference would be a lost batch.
        let all_rows = self.totals.rows_written;
        if let Some(output) = self.outputs.iter().find(|output| !output.is_abandoned() && output.rows() != all_rows) {
            return Err(Error::Bug(format!("an output has {} rows, another {all_rows}", output.rows())));
        }
        let mut finished = self.finish_outputs(&columns)?;
        self.totals.stopped_early = finished.is_empty();
        self.add_step_notes();
        self.add_cell_notes(&columns);
        // NDJSON and JSON have keys, which no reader takes for others.
        if self.prepared.outputs.specs.iter().any(|spec| spec.format.properties().rows != RowForm::Json) {
            self.totals.notes.extend(notes_on_names(&columns));
        }
        // All files are durable before the first appears, so that only a rename can still fail.
        if let Some(rejects) = &mut self.rejects {
            rejects.sync()?;
        }
        finished.iter_mut().try_for_each(FinishedOutput::sync)?;
        self.lock_directories(&mut finished)?;
        let rejects = self.rejects.iter().map(|rejects| rejects.path().to_owned());
        check_names(finished.iter().flat_map(FinishedOutput::final_paths).chain(rejects))?;
        let mut files = Vec::new();
        // Streams whose bytes were kept back come first: they can fail, the renames hardly.
        let (streams, others): (Vec<_>, Vec<_>) = finished.into_iter().partition(FinishedOutput::is_stream);
        let has_streams = !streams.is_empty();
        for output in streams {
            let note = closed_note(&output.name());
            match output.commit() {
                Ok(_) => {}
                Err(error) if error.is_broken_pipe() => self.totals.notes.push(note),
                Err(error) => return Err(error),
            }
        }
        // A commit of a table can fail, the renames hardly.
        let (tables, others): (Vec<_>, Vec<_>) = others.into_iter().partition(FinishedOutput::is_table);
        let is_tables_alone = !has_streams && others.is_empty() && !tables.is_empty();
        let mut rows_there_before = u64::MAX;
        let mut loads = Vec::new();
        for table in tables {
            let (name, committed, there_before) = table.commit_load()?;
            rows_there_before = rows_there_before.min(there_before);
            loads.push((name, committed));
        }
        self.totals.rows_there_before = if is_tables_alone { rows_there_before } else { 0 };
        for output in others {
            files.extend(output.commit()?);
        }
        let rejects = match self.rejects {
            Some(rejects) => rejects.commit()?,
            None => None,
        };
        Ok((self.totals, Finished { files, loads, rejects, columns }))
    }

    /// Locks all directories among the outputs, before the first output appears. In the order of their paths: two
    /// commands that each held what the other waits for would wait for ever.
    fn lock_directories(&mut self, finished: &mut [FinishedOutput]) -> Result<(), Error> {
        let path = |output: &FinishedOutput| {
            let directory = output.directory_to_lock()?;
            Some(std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned()))
        };
        let mut directories: Vec<(PathBuf, usize)> =
            finished.iter().enumerate().filter_map(|(i, output)| Some((path(output)?, i))).collect();
        directories.sort();
        for (_, i) in directories {
            match self.control.waiting_for_locks(|on_wait| finished[i].lock(on_wait)) {
                Ok(notes) => self.totals.notes.extend(notes),
                Err(_) if self.control.is_cancelled() => return Err(Error::Cancelled),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Finishes all outputs that still have a reader, and returns these.
    fn finish_outputs(&mut self, columns: &Schema) -> Result<Vec<FinishedOutput>, Error> {
        let (mut finished, mut bytes) = (Vec::new(), 0);
        let end = SourcesEnd {
            records: self.totals.rows_in,
            rejected: self.totals.rows_rejected,
            digests: self.digests.all(),
        };
        // Tables last: from the change of a table on, its readers wait for the commit.
        let mut outputs = std::mem::take(&mut self.outputs);
        outputs.sort_by_key(OutputWriter::is_table);
        for output in outputs {
            if output.is_abandoned() {
                bytes += output.bytes();
                continue;
            }
            // Made before `finish` consumes the output: its reader may close it during the last write.
            let note = output.abandoned_note();
            match output.finish(columns, &end) {
                Ok(output) => {
                    bytes += output.bytes();
                    self.totals.notes.extend(output.note());
                    finished.push(output);
                }
                Err(error) if error.is_broken_pipe() => self.totals.notes.push(note),
                Err(error) => return Err(error),
            }
        }
        self.control.add_bytes_written(bytes.saturating_sub(self.bytes_counted));
        Ok(finished)
    }
}

/// The files and loads that were made, the rejects file, and the final columns.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub files: Vec<(PathBuf, u64)>,
    pub loads: Vec<(String, Committed)>,
    pub rejects: Option<PathBuf>,
    pub columns: Schema,
}
