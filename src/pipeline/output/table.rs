//! Appends rows to a table through the load of its system, and knows the key under which the load is recorded. Rows of a
//! load that the table has already are counted and discarded.

use std::sync::Arc;

use crate::column::{Batch, Schema, TypeMerge};
use crate::pipeline::error::Error;
use crate::sink::UploadControl;
use crate::warehouse::{
    Begun, Committed, LedgerRow, LoadEnd, LoadError, LoadRequest, LoadRows, RowEncoder, TableLoad, TableTarget,
    UnfitRow, Widening,
};

/// Facts about an execution at the end of its sources, for the ledgers of tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourcesEnd {
    /// Records that were rejected.
    pub rejected: u64,
    /// SHA-256 of each source, in hexadecimal; `None` if one was not read to its end.
    pub digests: Option<Vec<String>>,
}

/// A load that is being written.
pub(super) struct TableWriter {
    state: State,
    rows: u64,
}

#[expect(clippy::large_enum_variant, reason = "there is one for each load")]
enum State {
    Loading(Box<dyn TableLoad>),
    /// The table has the rows.
    Loaded(LedgerRow),
}

impl TableWriter {
    /// Begins the load.
    pub(super) fn begin(
        target: &TableTarget,
        widening: Widening,
        type_merge: TypeMerge,
        cancel: &UploadControl,
    ) -> Result<Self, Error> {
        let request = LoadRequest { target, widening, type_merge, cancel: cancel.clone() };
        let state = match target.warehouse.begin(request)? {
            Begun::Load(load) => State::Loading(load),
            Begun::Loaded(row) => State::Loaded(row),
        };
        Ok(TableWriter { state, rows: 0 })
    }

    /// Returns the encoder for workers.
    pub(super) fn encoder(&self) -> Arc<dyn RowEncoder> {
        match &self.state {
            State::Loading(load) => load.encoder(),
            State::Loaded(_) => Arc::new(Discard),
        }
    }

    /// Checks columns against the table before the first row. Returns sentences for the report.
    pub(super) fn check(&mut self, columns: &Schema) -> Result<Vec<String>, Error> {
        match &mut self.state {
            State::Loading(load) => Ok(load.check(columns)?),
            State::Loaded(_) => Ok(Vec::new()),
        }
    }

    /// Returns the rows appended so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the bytes sent so far.
    pub(super) fn bytes(&self) -> u64 {
        match &self.state {
            State::Loading(load) => load.bytes(),
            State::Loaded(_) => 0,
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
        match &mut self.state {
            State::Loading(load) if rows > 0 => Ok(load.append(rows, encoded, columns)?),
            _ => Ok(None),
        }
    }

    /// Puts the rows into the table, invisible for others until the commit.
    pub(super) fn finish(mut self, columns: &Schema, end: &SourcesEnd) -> Result<FinishedTable, Error> {
        let State::Loading(load) = &mut self.state else { return Ok(FinishedTable { bytes: 0, state: self.state }) };
        load.finish(columns, &LoadEnd { rows: self.rows, rejected: end.rejected, digests: end.digests.clone() })?;
        Ok(FinishedTable { bytes: load.bytes(), state: self.state })
    }
}

/// A load whose rows are in the table, invisible until the commit.
pub(super) struct FinishedTable {
    /// Bytes that were sent.
    pub bytes: u64,
    state: State,
}

impl FinishedTable {
    /// Commits the load.
    pub(super) fn commit(self) -> Result<Committed, Error> {
        match self.state {
            State::Loading(load) => Ok(load.commit()?),
            State::Loaded(row) => Ok(Committed::Already(row)),
        }
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
