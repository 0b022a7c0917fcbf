//! Puts finished pieces into the outputs, in order, publishes the schema, and keeps the counts that must add up. One thread:
//! that of the caller.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::error::{Error, FixedSchema, SchemaChange};
use super::input::SourceInfo;
use super::message::{GroupResult, ItemResult, MorselCounts, UnorderedRows};
use super::output::{EncodedBatch, FinishedOutput, OutputWriter, encode_rows};
use super::plan::OnBadRecord;
use super::prepared::{ExecutionState, Prepared};
use super::progress::{CANCEL_POLL, Control};
use super::rejects::RejectsFile;
use super::schema::SchemaRegistry;
use super::sequencer::Sequencer;
use crate::column::{Field, Schema, Type};
use crate::format::OutputFormat;
use crate::format::Reject;
use crate::format::csv::{MAX_SHEET_CELL, MAX_SHEET_ROWS, SheetCounts};
use crate::format::frame::Oversized;
use crate::position::{FieldPath, Position};
use crate::text::{counted, human_count};
use crate::transform::{Applied, Steps};

/// The counts of the writer.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub rows_in: u64,
    pub rows_written: u64,
    pub rows_filtered: u64,
    pub rows_added: u64,
    pub rows_rejected: u64,
    pub duplicate_keys: u64,
    pub utf8_replaced: u64,
    /// Changes to cells for spreadsheets.
    pub sheet: SheetCounts,
    /// For people, such as a renamed column.
    pub notes: Vec<String>,
    /// The reader of our standard output is gone.
    pub stopped_early: bool,
    /// The plan's limit ended it; the sources may have more.
    pub reached_limit: bool,
}

/// The start of the next morsel of a source, in lines and records.
#[derive(Clone, Copy, Debug, Default)]
struct MorselStart {
    lines: u64,
    records: u64,
}

/// The last stage of an execution.
pub(super) struct Writer<'a> {
    prepared: &'a Prepared,
    registry: &'a SchemaRegistry,
    sequencer: &'a Sequencer,
    outputs: Vec<OutputWriter>,
    rejects: Option<RejectsFile>,
    /// Sources that must end before the execution may.
    n_sources: usize,
    /// Everything can be done anew, with the schema of all records.
    may_start_over: bool,
    steps: Option<Steps>,
    control: &'a Control,
    places: BTreeMap<usize, MorselStart>,
    /// Name of the source that the last account was of, and where its morsel starts.
    last_source: Option<Arc<str>>,
    last_byte: u64,
    sources_ended: usize,
    bytes_counted: u64,
    /// Comparisons that met values of another kind, and in how many rows.
    mismatches: BTreeMap<Arc<str>, u64>,
    /// Casts and expressions whose value is null because it could not be made, and in how many rows.
    nulled: BTreeMap<Arc<str>, u64>,
    /// Columns that an output which cannot go back has shown.
    shown: Option<Arc<Schema>>,
    totals: Totals,
}

/// Whether to go on after a piece.
enum AfterGroup {
    More,
    /// No output has a reader any more.
    NoReader,
    /// The plan's limit is reached.
    Enough,
}

impl<'a> Writer<'a> {
    /// A writer into `outputs`, for a plan with so many sources. `may_start_over` says that everything can be done anew,
    /// with the schema of all records, should a column turn out to be of another type.
    pub fn new(
        shared: &'a ExecutionState,
        outputs: Vec<OutputWriter>,
        rejects: Option<RejectsFile>,
        n_sources: usize,
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
            may_start_over,
            steps: shared.prepared.writer_steps(),
            control,
            places: BTreeMap::new(),
            last_source: None,
            last_byte: 0,
            sources_ended: 0,
            bytes_counted: 0,
            mismatches: BTreeMap::new(),
            nulled: BTreeMap::new(),
            shown: None,
            totals: Totals::default(),
        }
    }

    /// Takes pieces until the workers are gone, and publishes the outputs.
    pub fn run(mut self, pieces: &Receiver<GroupResult>) -> Result<(Totals, Finished), Error> {
        let mut early: BTreeMap<u64, GroupResult> = BTreeMap::new();
        let mut next = 0;
        loop {
            if self.control.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let piece = match pieces.recv_timeout(CANCEL_POLL) {
                Ok(piece) => piece,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            early.insert(piece.index, piece);
            while let Some(piece) = early.remove(&next) {
                let more = piece.more;
                match self.piece(piece)? {
                    AfterGroup::More => {}
                    AfterGroup::NoReader => {
                        self.totals.stopped_early = true;
                        return Ok((self.totals, Finished::default()));
                    }
                    AfterGroup::Enough => {
                        self.totals.reached_limit = true;
                        return self.finish();
                    }
                }
                if more {
                    self.sequencer.part_taken();
                } else {
                    next += 1;
                    self.sequencer.advance(next);
                }
            }
        }
        if !early.is_empty() {
            return Err(Error::Bug("a worker ended without its piece".into()));
        }
        self.finish()
    }

    fn piece(&mut self, piece: GroupResult) -> Result<AfterGroup, Error> {
        let GroupResult { parts, slot, .. } = piece;
        for part in parts {
            let next = match part {
                ItemResult::Account(account) => {
                    self.account(*account)?;
                    AfterGroup::More
                }
                ItemResult::Encoded(rows) => self.rows(rows)?,
                ItemResult::Rows(rows) => self.ordered(*rows)?,
                ItemResult::Enough => AfterGroup::Enough,
                ItemResult::RowGroups { output, groups, decoded } => {
                    self.publish(&decoded)?;
                    if !self.outputs[output].is_abandoned() {
                        let written = self.outputs[output].append_row_groups(groups);
                        self.unless_abandoned(output, written)?;
                    }
                    self.next()
                }
                ItemResult::Oversized(oversized, source) => {
                    self.oversized(oversized, &source)?;
                    AfterGroup::More
                }
                ItemResult::SourceEnd(source) => {
                    self.source_end(&source)?;
                    AfterGroup::More
                }
                ItemResult::SchemaMismatch { surprise, why, source, byte_offset } => {
                    let place = self.place(&source);
                    let position = Position {
                        source: source.name.clone(),
                        byte: byte_offset + surprise.byte as u64,
                        line: place.lines + surprise.line + 1,
                        record: place.records + surprise.record,
                    };
                    let change = SchemaChange::Value { what: surprise.what, why };
                    return Err(Error::Schema { position, change });
                }
                ItemResult::Failed(error) => return Err(error),
            };
            if !matches!(next, AfterGroup::More) {
                return Ok(next);
            }
        }
        drop(slot);
        Ok(AfterGroup::More)
    }

    /// Applies the steps that must see all rows in order.
    fn ordered(&mut self, rows: UnorderedRows) -> Result<AfterGroup, Error> {
        let UnorderedRows { applied, counts: mut account, decoded, spans: places } = rows;
        let steps = self.steps.as_mut().expect("rows come only if there are ordered steps");
        let applied = steps.apply(applied.batch, applied.origins, applied.counts, places.as_ref());
        let Applied { batch, rows_until_limit: taken, counts: tally, .. } = applied?;
        account.mismatches.extend(steps.take_mismatches());
        account.nulled.extend(steps.take_nulled());
        account.settle(&tally, taken, places.as_ref(), self.prepared.keep_rejects);
        self.account(account)?;
        let rows = encode_rows(&self.prepared.outputs, &batch, &decoded)?;
        match self.rows(rows)? {
            AfterGroup::More if taken.is_some() => Ok(AfterGroup::Enough),
            next => Ok(next),
        }
    }

    fn place(&mut self, source: &SourceInfo) -> MorselStart {
        let header_lines = source.csv.as_ref().map_or(0, |csv| csv.header.lines);
        *self.places.entry(source.index).or_insert(MorselStart { lines: header_lines, records: 0 })
    }

    fn account(&mut self, account: MorselCounts) -> Result<(), Error> {
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
            utf8_replaced,
            rejects,
            ends_open,
        } = account;
        let place = self.place(&source);
        self.last_source = Some(source.name.clone());
        self.last_byte = byte_offset;
        self.totals.rows_in += records;
        self.totals.rows_filtered += filtered;
        self.totals.rows_added += added;
        for (what, rows) in nulled {
            *self.nulled.entry(what).or_default() += rows;
        }
        self.totals.duplicate_keys += duplicate_keys;
        for (test, rows) in mismatches {
            *self.mismatches.entry(test).or_default() += rows;
        }
        self.totals.utf8_replaced += utf8_replaced;
        self.control.add_rows_read(records);
        let n_rejects = rejects.len();
        for (i, (rejected, raw)) in rejects.iter().enumerate() {
            let position = Position {
                source: source.name.clone(),
                byte: byte_offset + rejected.byte as u64,
                line: place.lines + rejected.line + 1,
                record: place.records + rejected.record,
            };
            // Half of a download is no download, however many bad records are passed over.
            if ends_open && source.is_stream && i + 1 == n_rejects {
                return Err(Error::LastLine { position, reject: rejected.reject });
            }
            self.reject(position, rejected.reject, raw)?;
        }
        self.places.insert(source.index, MorselStart { lines: place.lines + lines, records: place.records + records });
        Ok(())
    }

    fn oversized(&mut self, oversized: Oversized, source: &Arc<SourceInfo>) -> Result<(), Error> {
        let place = self.place(source);
        self.totals.rows_in += 1;
        self.control.add_rows_read(1);
        let reason = format!(
            "the record has {} bytes, and {} is the most",
            oversized.len, self.prepared.limits.max_record_bytes
        );
        let position = Position {
            source: source.name.clone(),
            byte: oversized.byte_offset,
            line: place.lines + 1,
            record: place.records,
        };
        self.reject(position, Reject { offset: 0, path: FieldPath::root(), reason: reason.into() }, None)?;
        let next = MorselStart { lines: place.lines + oversized.lines, records: place.records + 1 };
        self.places.insert(source.index, next);
        Ok(())
    }

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

    fn source_end(&mut self, source: &SourceInfo) -> Result<(), Error> {
        let found = self.place(source).records;
        self.sources_ended += 1;
        if let Some(csv) = &source.csv {
            self.totals.notes.extend(csv.header.notes.iter().map(|note| format!("{}: {note}", source.name)));
        }
        // A header without records still names columns.
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

    fn rows(&mut self, rows: EncodedBatch) -> Result<AfterGroup, Error> {
        self.publish(&rows.decoded)?;
        if self.prepared.rules.demands.columns_fixed && rows.rows > 0 {
            let names = |schema: &Schema| schema.fields.iter().map(|field| field.name.clone()).collect::<Vec<_>>();
            let shown = self.shown.get_or_insert_with(|| rows.columns.clone());
            if names(shown) != names(&rows.columns) {
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
                self.prepared.outputs.text_buffers.give(text);
            }
        }
        Ok(self.next())
    }

    /// The result of writing to an output; `None` if its reader went away, which is the end of that output alone.
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

    /// Counts rows and bytes after something was written; the end if no output has a reader any more.
    fn next(&mut self) -> AfterGroup {
        let rows = self.outputs.iter().map(OutputWriter::rows).max().unwrap_or(0);
        self.control.add_rows_written(rows.saturating_sub(self.totals.rows_written));
        self.totals.rows_written = rows.max(self.totals.rows_written);
        self.count_bytes();
        // The others are not to suffer for one whose reader went away.
        if self.outputs.iter().all(OutputWriter::is_abandoned) { AfterGroup::NoReader } else { AfterGroup::More }
    }

    fn count_bytes(&mut self) {
        let bytes = self.outputs.iter().map(OutputWriter::bytes).sum::<u64>();
        self.control.add_bytes_written(bytes.saturating_sub(self.bytes_counted));
        self.bytes_counted = bytes.max(self.bytes_counted);
    }

    /// Joins what a piece saw into the schema that all threads start from. The order of columns is
    /// the order of first sight.
    ///
    /// Workers check their own surprises; what two of them saw apart meets only here.
    fn publish(&mut self, seen: &Schema) -> Result<(), Error> {
        let known = self.registry.current();
        if *known == *seen {
            return Ok(());
        }
        let rules = &self.prepared.rules;
        let joined = known.join(seen, rules.type_merge);
        if let Some(broken) = rules.broken_contract(&joined) {
            return Err(self.schema_error(SchemaChange::Contract(broken)));
        }
        if rules.loses_spelling(&known, &joined) || rules.loses_spelling(seen, &joined) {
            return Err(self.schema_error(SchemaChange::Apart(FixedSchema::SpellingLost)));
        }
        if rules.demands.columns_fixed && self.rows_shown() && joined.fields.len() > known.fields.len() {
            return Err(self.schema_error(SchemaChange::Apart(FixedSchema::Output)));
        }
        if joined != *known {
            self.check_columns_stay(&known, &joined)?;
            self.registry.publish(joined);
        }
        Ok(())
    }

    /// Values that a step made a column of must go on being such: else the rows before have columns that those
    /// after have not.
    fn check_columns_stay(&self, known: &Schema, joined: &Schema) -> Result<(), Error> {
        if !self.prepared.flattens() || self.totals.rows_written == 0 {
            return Ok(());
        }
        let columns = |schema| self.prepared.columns_after_steps_if(false, schema);
        let (before, after) = (columns(known)?, columns(joined)?);
        match before.fields.iter().find(|field| after.position(&field.name).is_none()) {
            None => Ok(()),
            Some(gone) => Err(self.schema_error(SchemaChange::ColumnGone(gone.name.to_string()))),
        }
    }

    /// The type of a column that a step made may have to follow its sources where it cannot follow by widening: whole
    /// numbers that no double holds, and then doubles. With the schema of all records there is but one type; without,
    /// the column is JSON text, in which nothing is lost.
    fn check_types_stay(&self, columns: &Schema) -> Result<(), Error> {
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

    /// A change that ends the execution, at the record after the last one that the writer took.
    fn schema_error(&self, change: SchemaChange) -> Error {
        Error::Schema { position: self.last_position(), change }
    }

    /// True once an output that cannot go back has rows.
    fn rows_shown(&self) -> bool {
        self.totals.rows_written > 0
    }

    /// The position of the writer: the record after the last one that it took.
    fn last_position(&self) -> Position {
        let place = self.places.last_key_value().map(|(_, place)| *place).unwrap_or_default();
        let source = self.last_source.clone().unwrap_or_else(|| "the input".into());
        Position { source, byte: self.last_byte, line: place.lines + 1, record: place.records }
    }

    /// Cells that a spreadsheet would have taken for something else.
    fn note_sheets(&mut self) {
        let sheet = &self.totals.sheet;
        let cells = |n: u64| counted(n, "cell");
        let mut notes = Vec::new();
        if sheet.formulas > 0 {
            notes.push(format!(
                "{} began like a formula and got an apostrophe in front, so that no spreadsheet runs them",
                cells(sheet.formulas)
            ));
        }
        if sheet.long_numbers > 0 {
            notes.push(format!(
                "{} with more than 15 digits got an apostrophe in front, so that a spreadsheet keeps them",
                cells(sheet.long_numbers)
            ));
        }
        if let Some((row, column)) = &sheet.first_long_cell {
            notes.push(format!(
                "{} of more than {MAX_SHEET_CELL} characters, the most that a spreadsheet shows; the first in column \
                 `{column}` of row {}",
                cells(sheet.long_cells),
                human_count(row + 1)
            ));
        }
        let shown = self.totals.rows_written >= MAX_SHEET_ROWS;
        let specs = &self.prepared.outputs.specs;
        if shown && specs.iter().any(|l| matches!(l.format, OutputFormat::Csv(o) if o.excel && !l.in_parts)) {
            notes.push(format!(
                "a sheet shows {} rows and no more; an output to a file goes on in further files",
                human_count(MAX_SHEET_ROWS)
            ));
        }
        self.totals.notes.extend(notes);
    }

    /// Rows that a step left out for a reason that its text does not show.
    fn note_steps(&mut self) {
        for (test, rows) in &self.mismatches {
            self.totals.notes.push(format!(
                "`{test}`: {} held another kind of value there, which does not compare",
                counted(*rows, "row")
            ));
        }
        for (what, rows) in &self.nulled {
            let (s, were) = if *rows == 1 { ("", "was") } else { ("s", "were") };
            self.totals
                .notes
                .push(format!("`{what}`: {} value{s} could not be made and {were} set to null", human_count(*rows)));
        }
        for name in self.prepared.unseen.never_seen() {
            self.totals.notes.push(format!("no record had a column `{name}`"));
        }
    }

    fn finish(mut self) -> Result<(Totals, Finished), Error> {
        // Before anything appears: all of the input came, and all of it is accounted for.
        if self.sources_ended != self.n_sources && !self.totals.reached_limit {
            return Err(Error::Bug("the reader ended before its sources did".into()));
        }
        let t = &self.totals;
        if t.rows_in + t.rows_added != t.rows_written + t.rows_filtered + t.rows_rejected {
            return Err(Error::Bug(format!(
                "{} rows came in and {} were added, but {} were written, {} filtered and {} rejected",
                t.rows_in, t.rows_added, t.rows_written, t.rows_filtered, t.rows_rejected
            )));
        }
        let schema = self.registry.current();
        self.totals.notes.extend(self.prepared.rules.notes_on_declared(&schema));
        // Here at last a column that never had a value is known to be one.
        let columns = self.prepared.columns_after_steps_if(true, &schema)?;
        self.check_types_stay(&columns)?;
        let all_rows = self.totals.rows_written;
        if let Some(output) = self.outputs.iter().find(|output| !output.is_abandoned() && output.rows() != all_rows) {
            return Err(Error::Bug(format!("an output has {} rows, another {all_rows}", output.rows())));
        }
        let mut finished = self.finish_outputs(&columns)?;
        self.totals.stopped_early = finished.is_empty();
        self.note_steps();
        self.note_sheets();
        // All of them are whole on disk before the first appears, so that what can still fail is a rename.
        if let Some(rejects) = &mut self.rejects {
            rejects.sync()?;
        }
        finished.iter_mut().try_for_each(FinishedOutput::sync)?;
        let mut files = Vec::new();
        for output in finished {
            files.extend(output.commit()?);
        }
        let rejects = match self.rejects {
            Some(rejects) => rejects.commit()?,
            None => None,
        };
        Ok((self.totals, Finished { files, rejects, columns }))
    }

    /// Writes the ends of all outputs that still have a reader, and returns these.
    fn finish_outputs(&mut self, columns: &Schema) -> Result<Vec<FinishedOutput>, Error> {
        let (mut finished, mut bytes) = (Vec::new(), 0);
        for output in std::mem::take(&mut self.outputs) {
            if output.is_abandoned() {
                bytes += output.bytes();
                continue;
            }
            let note = output.abandoned_note();
            match output.finish(columns) {
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

/// The files in the end, and their columns.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub files: Vec<(PathBuf, u64)>,
    pub rejects: Option<PathBuf>,
    pub columns: Schema,
}
