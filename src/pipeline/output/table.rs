//! Appends rows to a table through the load of its system, and knows the key under which the load is recorded. Rows of a
//! load that the table has already are counted and discarded.
//!
//! A load in chunks is a series of loads of the system, each in its own transaction, that share one key; the system says how
//! far the table has the rows whenever one begins, also if another command has made the last chunks.

use std::borrow::Cow;
use std::num::NonZeroU64;
use std::sync::{Arc, PoisonError, RwLock};

use super::writer::WriterOptions;
use crate::column::{Batch, Schema, Type, TypeMerge};
use crate::pipeline::error::Error;
use crate::sink::UploadControl;
use crate::text::counted;
use crate::warehouse::{
    Begun, ChunkEnd, Committed, LedgerRow, LoadEnd, LoadError, LoadMode, LoadProgress, LoadRequest, LoadRows,
    RecordMark, RecordsDigest, RowEncoder, TableLoad, TableTarget, UnfitRow, Widening,
};

/// Facts about an execution at the end of its sources, for the ledgers of tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourcesEnd {
    /// Records that were read, bad ones included.
    pub records: u64,
    /// Records that were rejected.
    pub rejected: u64,
    /// SHA-256 of each source, in hexadecimal; `None` if one was not read to its end.
    pub digests: Option<Vec<String>>,
}

/// The position of a load in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkPosition {
    /// Records, from the first on, whose rows the table has.
    pub records_there: u64,
    /// Rows until the end of the chunk that is open.
    pub rows_left: u64,
}

/// A load that is being written.
pub(super) struct TableWriter {
    state: State,
    rows: u64,
    /// Of these rows, those that the table had.
    rows_there_before: u64,
    /// Bytes of the chunks that are committed.
    bytes: u64,
    request: Request,
    encoder: Arc<CurrentEncoder>,
    /// The columns that were known before the first row.
    first: Schema,
    /// True if the load replaces an earlier one.
    again: bool,
    /// `None` for a load in one transaction.
    chunks: Option<Chunks>,
}

/// Everything that begins a load, or its next chunk.
struct Request {
    target: TableTarget,
    widening: Widening,
    type_merge: TypeMerge,
    may_start_over: bool,
    cancel: UploadControl,
}

/// A load in chunks.
struct Chunks {
    every: NonZeroU64,
    /// Rows of the chunk that is open.
    rows: u64,
    /// The progress that the table had when the load began, and has now.
    first: LoadProgress,
    now: LoadProgress,
    notes: Vec<String>,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each load")]
enum State {
    Loading(Box<dyn TableLoad>),
    /// The table has the rows.
    Loaded(LedgerRow),
    /// A chunk is committed and the next one has not begun.
    Between,
}

impl Request {
    fn begin(&self) -> Result<State, Error> {
        let Request { target, widening, type_merge, may_start_over, cancel } = self;
        let (widening, type_merge, may_start_over) = (*widening, *type_merge, *may_start_over);
        let request = LoadRequest { target, widening, type_merge, may_start_over, cancel: cancel.clone() };
        Ok(match target.warehouse.begin(request)? {
            Begun::Load(load) => State::Loading(load),
            Begun::Loaded(row) => State::Loaded(row),
            Begun::Files(_) => return Err(Error::Bug("the rows of a table are data files".into())),
        })
    }
}

impl TableWriter {
    /// Begins the load.
    pub(super) fn begin(
        target: &TableTarget,
        widening: Widening,
        options: &WriterOptions,
        cancel: &UploadControl,
    ) -> Result<Self, Error> {
        let mut request = Request {
            target: target.clone(),
            widening,
            type_merge: options.type_merge,
            // Chunks are committed.
            may_start_over: options.may_start_over && target.commit_every.is_none(),
            cancel: cancel.clone(),
        };
        let state = request.begin()?;
        // The chunks after the first go on with it.
        request.target.again = false;
        let encoder = Arc::new(CurrentEncoder(RwLock::new(encoder_of(&state))));
        let first = progress_of(&state);
        let chunks = target.commit_every.map(|every| Chunks { every, rows: 0, first, now: first, notes: Vec::new() });
        Ok(TableWriter {
            state,
            rows: 0,
            rows_there_before: 0,
            bytes: 0,
            request,
            encoder,
            first: Schema::default(),
            again: target.again,
            chunks,
        })
    }

    /// Returns the encoder for workers. That of a load in chunks changes with each chunk.
    pub(super) fn encoder(&self) -> Arc<dyn RowEncoder> {
        match self.chunks {
            Some(_) => self.encoder.clone(),
            None => self.encoder.get(),
        }
    }

    /// Checks columns against the table before the first row. Returns sentences for the report.
    pub(super) fn check(&mut self, columns: &Schema) -> Result<Vec<String>, Error> {
        self.first = columns.clone();
        match &mut self.state {
            State::Loading(load) => Ok(load.check(columns, columns)?),
            State::Loaded(_) | State::Between => Ok(Vec::new()),
        }
    }

    /// Returns the rows appended so far, those included that the table had.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the bytes sent so far.
    pub(super) fn bytes(&self) -> u64 {
        match &self.state {
            State::Loading(load) => self.bytes + load.bytes(),
            State::Loaded(_) | State::Between => self.bytes,
        }
    }

    /// Appends rows with these columns. Returns the buffer of the bytes, if it is free again.
    pub(super) fn append(
        &mut self,
        rows: u64,
        encoded: LoadRows,
        columns: &Arc<Schema>,
    ) -> Result<Option<Vec<u8>>, Error> {
        self.rows += rows;
        let (encoded, columns) = match encoded {
            LoadRows::Typed(bytes, own) => (LoadRows::Bytes(bytes), own),
            encoded => (encoded, columns.clone()),
        };
        let appended = match &mut self.state {
            State::Loading(load) if rows > 0 => load.append(rows, encoded, &columns),
            State::Loaded(_) => {
                self.rows_there_before += rows;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        if let Some(chunks) = &mut self.chunks {
            chunks.rows += rows;
        }
        appended.map_err(|error| self.with_progress(error))
    }

    /// Returns the position of a load in chunks.
    pub(super) fn chunk_position(&self) -> Result<ChunkPosition, Error> {
        match (&self.chunks, &self.state) {
            (None, _) => Err(Error::Bug("a load in one transaction has no chunks".into())),
            (Some(_), State::Loaded(_)) => Ok(ChunkPosition { records_there: u64::MAX, rows_left: u64::MAX }),
            (Some(chunks), _) => Ok(ChunkPosition {
                records_there: chunks.now.records,
                rows_left: chunks.every.get().saturating_sub(chunks.rows),
            }),
        }
    }

    /// Counts rows that the table has from an earlier chunk.
    pub(super) fn skip(&mut self, rows: u64) {
        self.rows += rows;
        self.rows_there_before += rows;
    }

    /// Returns the last record of which the table has rows, if it is known.
    pub(super) fn last_record(&self) -> Option<RecordMark> {
        self.chunks.as_ref().filter(|_| matches!(self.state, State::Loading(_))).and_then(|chunks| chunks.now.last)
    }

    /// Returns the records of which the table has rows, and their digest, if a load in chunks goes on behind them.
    pub(super) fn records_there(&self) -> Option<(u64, Option<RecordsDigest>)> {
        let chunks = self.chunks.as_ref().filter(|_| matches!(self.state, State::Loading(_)))?;
        (chunks.now.chunks > 0).then_some((chunks.now.records, chunks.now.digest))
    }

    /// Returns the error of sources that do not have the records of which the table has rows.
    pub(super) fn other_records(&self, what: String) -> Error {
        let LoadProgress { rows, records, .. } = self.chunks.as_ref().map(|chunks| chunks.now).unwrap_or_default();
        let target = &self.request.target;
        let may_replace = target.mode != LoadMode::Append || target.load_column.is_some();
        LoadError::OtherRecords { table: target.name(), rows, records, what, may_replace, again: self.again }.into()
    }

    /// Fails if the table, as the chunks before have left it, cannot hold one of these rows. Workers check rows against the
    /// table of an earlier chunk.
    pub(super) fn require_fit(&self, rows: &Batch) -> Result<(), Error> {
        let Some(UnfitRow { path, reason, .. }) = self.encoder.get().unfit(rows).into_iter().next() else {
            return Ok(());
        };
        // A load that begins again checks its rows against the table as it is now: the row is a bad record then.
        Err(self.with_progress(LoadError::Refused {
            table: self.request.target.name(),
            cause: format!("column `{path}` has a value that the table cannot hold since the last chunk: {reason}"),
            hint: None,
            is_transient: true,
        }))
    }

    /// Commits the chunk that ends before the record `next_record`, with `last` as the record of its last row, and begins the
    /// next one.
    pub(super) fn end_chunk(
        &mut self,
        columns: &Schema,
        next_record: u64,
        last: Option<RecordMark>,
        digest: Option<RecordsDigest>,
        rejected: u64,
    ) -> Result<(), Error> {
        let Some(chunks) = &mut self.chunks else { return Err(Error::Bug("a load has no chunks".into())) };
        let mut load = match std::mem::replace(&mut self.state, State::Between) {
            State::Loading(load) => load,
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let rows = std::mem::take(&mut chunks.rows);
        let chunk = ChunkEnd { records: next_record, last, digest, is_last: false };
        let end = LoadEnd { rows, rejected, digests: None, chunk: Some(chunk) };
        // A column without a value so far gets its type, and the table the column, with the first value.
        let valued = columns.fields.iter().filter(|field| field.ty != Type::Null).cloned().collect();
        let finished = load.finish(&Schema::new(valued), &end);
        let bytes = load.bytes();
        let committed = finished.and_then(|()| load.commit());
        match committed {
            Ok(Committed::Loaded(summary)) => chunks.notes.extend(summary.notes),
            Ok(Committed::Already(_)) => {}
            Err(error) => return Err(self.with_progress(error)),
        }
        self.bytes += bytes;
        let now = chunks.now;
        chunks.now =
            LoadProgress { chunks: now.chunks + 1, rows: now.rows + rows, records: next_record, last, digest, ..now };
        self.state = self.request.begin()?;
        if let (State::Loading(load), Some(chunks)) = (&mut self.state, &mut self.chunks) {
            // The load may have been continued by another command meanwhile.
            chunks.now = load.progress();
            // The rows before this record will not come again.
            if chunks.now.records < next_record {
                self.state = State::Between;
                return Err(LoadError::LostChunks { table: self.request.target.name() }.into());
            }
            load.check(columns, &self.first)?;
        }
        // After the check, by which the encoder knows the first columns.
        self.encoder.set(encoder_of(&self.state));
        Ok(())
    }

    /// Adds to an error of a later chunk what the table has.
    fn with_progress(&self, error: LoadError) -> Error {
        let Some(chunks) = self.chunks.as_ref().filter(|chunks| chunks.now.chunks > 0) else { return error.into() };
        let there = Some(format!(
            "{} of this load are in the table, in {}; the same command goes on behind them",
            counted(chunks.now.rows, "row"),
            counted(chunks.now.chunks, "chunk"),
        ));
        match error {
            LoadError::Refused { table, cause, is_transient, .. } => {
                LoadError::Refused { table, cause, hint: there, is_transient }
            }
            LoadError::Write { table, cause, .. } => LoadError::Write { table, cause, hint: there },
            error => error,
        }
        .into()
    }

    /// Puts the rows into the table, invisible for others until the commit.
    pub(super) fn finish(mut self, columns: &Schema, end: &SourcesEnd) -> Result<FinishedTable, Error> {
        let rows = self.chunks.as_ref().map_or(self.rows, |chunks| chunks.rows);
        if let (Some(chunks), State::Loading(_)) = (&self.chunks, &self.state)
            && end.records < chunks.now.records
        {
            return Err(self.other_records(format!("the sources have only {}", counted(end.records, "record"))));
        }
        let chunk =
            self.chunks.as_ref().map(|_| ChunkEnd { records: end.records, last: None, digest: None, is_last: true });
        let end = LoadEnd { rows, rejected: end.rejected, digests: end.digests.clone(), chunk };
        if let State::Loading(load) = &mut self.state
            && let Err(error) = load.finish(columns, &end)
        {
            return Err(self.with_progress(error));
        }
        Ok(FinishedTable { bytes: self.bytes(), writer: self })
    }
}

/// A load whose rows are in the table, invisible until the commit.
pub(super) struct FinishedTable {
    /// Bytes that were sent.
    pub bytes: u64,
    writer: TableWriter,
}

impl FinishedTable {
    /// Commits the load. Returns the rows that the table had before, too.
    pub(super) fn commit(mut self) -> Result<(Committed, u64), Error> {
        let TableWriter { rows, rows_there_before, .. } = self.writer;
        match std::mem::replace(&mut self.writer.state, State::Between) {
            State::Loading(load) => match (load.commit(), self.writer.chunks.take()) {
                (Ok(Committed::Loaded(mut summary)), Some(chunks)) => {
                    summary.notes.splice(0..0, chunks.notes_at_end());
                    Ok((Committed::Loaded(summary), rows_there_before))
                }
                (Ok(committed @ Committed::Already(_)), _) => Ok((committed, rows)),
                (Ok(committed), _) => Ok((committed, rows_there_before)),
                (Err(error), chunks) => {
                    self.writer.chunks = chunks;
                    Err(self.writer.with_progress(error))
                }
            },
            State::Loaded(row) => Ok((Committed::Already(row), rows)),
            State::Between => Err(Error::Bug("a load was committed before its last chunk".into())),
        }
    }
}

impl Chunks {
    /// Returns sentences for the report, after the commit of the last chunk.
    fn notes_at_end(self) -> Vec<String> {
        let mut notes = vec![format!("committed in {}", counted(self.now.chunks + 1, "chunk"))];
        if self.first.chunks > 0 {
            let (rows, chunks) = (counted(self.first.rows, "row"), counted(self.first.chunks, "chunk"));
            notes.push(format!("went on behind {rows} in {chunks}, which were in the table"));
        }
        for note in self.notes {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }
}

fn progress_of(state: &State) -> LoadProgress {
    match state {
        State::Loading(load) => load.progress(),
        State::Loaded(_) | State::Between => LoadProgress::default(),
    }
}

fn encoder_of(state: &State) -> Arc<dyn RowEncoder> {
    match state {
        State::Loading(load) => load.encoder(),
        State::Loaded(_) | State::Between => Arc::new(Discard),
    }
}

/// The encoder of the chunk that is open.
#[derive(Debug)]
struct CurrentEncoder(RwLock<Arc<dyn RowEncoder>>);

impl CurrentEncoder {
    fn get(&self) -> Arc<dyn RowEncoder> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, encoder: Arc<dyn RowEncoder>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = encoder;
    }
}

impl RowEncoder for CurrentEncoder {
    fn unfit(&self, batch: &Batch) -> Vec<UnfitRow> {
        self.get().unfit(batch)
    }

    fn has_fixed_columns(&self) -> bool {
        self.get().has_fixed_columns()
    }

    fn refusal(&self, name: &str) -> Option<Cow<'static, str>> {
        self.get().refusal(name)
    }

    fn encode(&self, batch: &Batch, buffer: Vec<u8>) -> Result<LoadRows, LoadError> {
        self.get().encode(batch, buffer)
    }
}

/// The encoder of rows that the table has already.
#[derive(Debug)]
struct Discard;

impl RowEncoder for Discard {
    fn unfit(&self, _: &Batch) -> Vec<UnfitRow> {
        Vec::new()
    }

    /// Whatever the rows have, nothing is changed.
    fn has_fixed_columns(&self) -> bool {
        true
    }

    fn encode(&self, _: &Batch, _: Vec<u8>) -> Result<LoadRows, LoadError> {
        Ok(LoadRows::Bytes(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::column::Field;
    use crate::format::{Compression, OutputFormat};
    use crate::position::FieldPath;
    use crate::warehouse::{CommitKey, LoadIdentity, LoadSummary, NulPolicy, Warehouse};

    /// A system whose table has the rows of so many records of a load whenever a chunk begins.
    #[derive(Debug)]
    struct Table(Arc<AtomicU64>);

    struct Chunk(u64);

    /// The encoder of a table that holds no row.
    #[derive(Debug)]
    struct Refusing;

    impl RowEncoder for Refusing {
        fn unfit(&self, _: &Batch) -> Vec<UnfitRow> {
            vec![UnfitRow { row: 0, path: FieldPath::root().field("a"), reason: "it is not a number".to_owned() }]
        }

        fn encode(&self, _: &Batch, _: Vec<u8>) -> Result<LoadRows, LoadError> {
            Ok(LoadRows::Bytes(Vec::new()))
        }
    }

    impl Warehouse for Table {
        fn name(&self) -> String {
            "fake".to_owned()
        }

        fn check_options(&self, _: &TableTarget) -> Result<(), LoadError> {
            Ok(())
        }

        fn begin(&self, _: LoadRequest<'_>) -> Result<Begun, LoadError> {
            Ok(Begun::Load(Box::new(Chunk(self.0.load(Ordering::Relaxed)))))
        }

        fn loads(&self, _: Option<&str>, _: &UploadControl) -> Result<Vec<LedgerRow>, LoadError> {
            Ok(Vec::new())
        }

        fn find_load(&self, _: &TableTarget, _: &UploadControl) -> Result<Option<LedgerRow>, LoadError> {
            Ok(None)
        }

        fn ddl(&self, _: &str, _: &Schema) -> Result<String, LoadError> {
            Ok(String::new())
        }
    }

    impl TableLoad for Chunk {
        fn progress(&self) -> LoadProgress {
            LoadProgress { chunks: 1, rows: self.0, records: self.0, ..LoadProgress::default() }
        }

        fn encoder(&self) -> Arc<dyn RowEncoder> {
            Arc::new(Refusing)
        }

        fn check(&mut self, _: &Schema, _: &Schema) -> Result<Vec<String>, LoadError> {
            Ok(Vec::new())
        }

        fn append(&mut self, _: u64, _: LoadRows, _: &Arc<Schema>) -> Result<Option<Vec<u8>>, LoadError> {
            Ok(None)
        }

        fn bytes(&self) -> u64 {
            0
        }

        fn finish(&mut self, _: &Schema, _: &LoadEnd) -> Result<(), LoadError> {
            Ok(())
        }

        fn commit(self: Box<Self>) -> Result<Committed, LoadError> {
            let key = CommitKey::of(&["k"]);
            Ok(Committed::Loaded(LoadSummary { table: "t".to_owned(), key, rows: 0, notes: Vec::new() }))
        }
    }

    fn writer(records_there: &Arc<AtomicU64>) -> TableWriter {
        let target = TableTarget {
            warehouse: Arc::new(Table(records_there.clone())),
            table: "t".to_owned(),
            mode: LoadMode::Append,
            load_column: None,
            again: false,
            files: None,
            commit_every: NonZeroU64::new(10),
            nul: NulPolicy::Reject,
            identity: LoadIdentity::default(),
        };
        let options = WriterOptions::new(OutputFormat::Table, Compression::None, TypeMerge::Json, 1 << 20);
        TableWriter::begin(&target, Widening::Evolve, &options, &UploadControl::default()).unwrap()
    }

    /// The rows before a chunk do not come again: without them, the load would be complete and lack them.
    #[test]
    fn a_chunk_does_not_begin_behind_rows_that_are_gone() {
        let columns = Arc::new(Schema::new(vec![Field::new("a", Type::Bool)]));
        for (there, may_go_on) in [(0, false), (9, false), (10, true), (25, true)] {
            let records_there = Arc::new(AtomicU64::new(0));
            let mut writer = writer(&records_there);
            writer.append(10, LoadRows::Bytes(Vec::new()), &columns).unwrap();
            // Another command replaces the rows, or goes on with the load.
            records_there.store(there, Ordering::Relaxed);
            match writer.end_chunk(&columns, 10, None, None, 0) {
                Ok(()) => assert!(may_go_on && writer.chunk_position().unwrap().records_there == there),
                Err(Error::Load(LoadError::LostChunks { .. })) => assert!(!may_go_on),
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// A load that begins again checks the row against the table as it is, and then it is a bad record.
    #[test]
    fn a_row_that_fits_no_longer_lets_the_load_begin_again() {
        let writer = writer(&Arc::new(AtomicU64::new(30)));
        let row = Batch::new(Arc::new(Schema::new(Vec::new())), Vec::new(), 1);
        match writer.require_fit(&row) {
            Err(Error::Load(error @ LoadError::Refused { .. })) => {
                assert!(error.is_transient() && error.to_string().contains("`a` has a value"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn sources_that_end_before_the_rows_of_the_table_are_others() {
        let end = |records| SourcesEnd { records, ..SourcesEnd::default() };
        let records_there = Arc::new(AtomicU64::new(30));
        let short = writer(&records_there).finish(&Schema::new(Vec::new()), &end(29));
        assert!(matches!(short, Err(Error::Load(LoadError::OtherRecords { rows: 30, records: 30, .. }))));
        assert!(writer(&records_there).finish(&Schema::new(Vec::new()), &end(30)).is_ok());
    }
}
