//! Appends rows to a table through the load of its system, and knows the key under which the load is recorded. Rows of a
//! load that the table has already are counted and discarded.
//!
//! A load in chunks is a series of loads of the system, each in its own transaction, that share one key; the system says how
//! far the table has the rows whenever one begins, also if another command has made the last chunks.

use std::num::NonZeroU64;
use std::sync::{Arc, PoisonError, RwLock};

use crate::column::{Batch, Schema, Type, TypeMerge};
use crate::pipeline::error::Error;
use crate::sink::UploadControl;
use crate::text::counted;
use crate::warehouse::{
    Begun, ChunkEnd, Committed, LedgerRow, LoadEnd, LoadError, LoadProgress, LoadRequest, LoadRows, Misfit, RowEncoder,
    TableLoad, TableTarget, UnfitRow, Widening,
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
    /// `None` for a load in one transaction.
    chunks: Option<Chunks>,
}

/// Everything that begins a load, or its next chunk.
struct Request {
    target: TableTarget,
    widening: Widening,
    type_merge: TypeMerge,
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
        let Request { target, widening, type_merge, cancel } = self;
        let (widening, type_merge) = (*widening, *type_merge);
        let request = LoadRequest { target, widening, type_merge, cancel: cancel.clone() };
        Ok(match target.warehouse.begin(request)? {
            Begun::Load(load) => State::Loading(load),
            Begun::Loaded(row) => State::Loaded(row),
        })
    }
}

impl TableWriter {
    /// Begins the load.
    pub(super) fn begin(
        target: &TableTarget,
        widening: Widening,
        type_merge: TypeMerge,
        cancel: &UploadControl,
    ) -> Result<Self, Error> {
        let mut request = Request { target: target.clone(), widening, type_merge, cancel: cancel.clone() };
        let state = request.begin()?;
        // The chunks after the first go on with it.
        request.target.again = false;
        let encoder = Arc::new(CurrentEncoder(RwLock::new(encoder_of(&state))));
        let first = progress_of(&state);
        let chunks = target.commit_every.map(|every| Chunks { every, rows: 0, first, now: first, notes: Vec::new() });
        Ok(TableWriter { state, rows: 0, rows_there_before: 0, bytes: 0, request, encoder, chunks })
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
        match &mut self.state {
            State::Loading(load) => Ok(load.check(columns)?),
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
        let appended = match &mut self.state {
            State::Loading(load) if rows > 0 => load.append(rows, encoded, columns),
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

    /// Fails if the table, as the chunks before have left it, cannot hold one of these rows. Workers check rows against the
    /// table of an earlier chunk.
    pub(super) fn require_fit(&self, rows: &Batch) -> Result<(), Error> {
        let Some(UnfitRow { path, reason, .. }) = self.encoder.get().unfit(rows).into_iter().next() else {
            return Ok(());
        };
        let what = format!("has a value that the table cannot hold since the last chunk: {reason}");
        let misfits = vec![Misfit { column: path.to_string(), what }];
        Err(LoadError::Misfits { table: self.request.target.name(), misfits }.into())
    }

    /// Commits the chunk that ends before the record `next_record`, and begins the next one.
    pub(super) fn end_chunk(&mut self, columns: &Schema, next_record: u64, rejected: u64) -> Result<(), Error> {
        let Some(chunks) = &mut self.chunks else { return Err(Error::Bug("a load has no chunks".into())) };
        let mut load = match std::mem::replace(&mut self.state, State::Between) {
            State::Loading(load) => load,
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let rows = std::mem::take(&mut chunks.rows);
        let end =
            LoadEnd { rows, rejected, digests: None, chunk: Some(ChunkEnd { records: next_record, is_last: false }) };
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
        chunks.now = LoadProgress { chunks: chunks.now.chunks + 1, rows: chunks.now.rows + rows, records: next_record };
        self.state = self.request.begin()?;
        self.encoder.set(encoder_of(&self.state));
        if let (State::Loading(load), Some(chunks)) = (&mut self.state, &mut self.chunks) {
            // Another command may have gone on with the load meanwhile.
            chunks.now = load.progress();
            load.check(columns)?;
        }
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
        let chunk = self.chunks.as_ref().map(|_| ChunkEnd { records: end.records, is_last: true });
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

    fn encode(&self, _: &Batch, _: Vec<u8>) -> Result<LoadRows, LoadError> {
        Ok(LoadRows::Bytes(Vec::new()))
    }
}
