//! One load: rows go into stages, are counted there, and move into the table; see [`super`].
//!
//! Rows whose columns have another form than those of a stage begin the next one, and all are brought into one at the end.

mod complete;
mod stages;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::commit::{Commit, Standing};
use super::encode::RowBinaryEncoder;
use super::http::{Failure, Session};
use super::layout::{Layout, MAX_NAME_BYTES, Mapping};
use super::ledger::{Entry, Ledger};
use super::owner;
use super::settings::Settings;
use super::sql::{literal, quoted};
use super::table::{Definition, Table};
use super::types::ColumnType;
use crate::column::Schema;
use crate::warehouse::defaults::{DefaultUse, FirstColumns};
use crate::warehouse::names::renamed_columns;
use crate::warehouse::{
    Begun, Committed, LedgerRow, LoadEnd, LoadError, LoadRequest, LoadRows, LoadSummary, Misfit, RowEncoder, TableLoad,
    TableTarget, Widening,
};

/// Bytes of rows that make one INSERT, which is one part of the stage. By eye: parts of less are merged for longer than they
/// took to write, and two of them are in memory. They are not counted in the memory of an execution.
const INSERT_BYTES: usize = 32 << 20;

/// A load whose rows are not in the table yet.
pub(super) struct ClickHouseLoad {
    session: Session,
    target: TableTarget,
    table: Table,
    ledger: Ledger,
    encoder: Arc<RowBinaryEncoder>,
    /// The table as it was at the beginning; `None` if there was none.
    definition: Option<Definition>,
    /// In the names of all stages of this attempt.
    token: String,
    stages: Vec<Stage>,
    /// Stages made so far.
    made: usize,
    pending: Pending,
    running: Option<Insert>,
    /// The columns of the table with a default that the first columns lack.
    defaults: DefaultUse,
    last_layout: Option<(Arc<Schema>, Layout)>,
    bytes: u64,
    notes: Vec<String>,
    end: End,
}

/// A table that this attempt fills.
struct Stage {
    name: String,
    layout: Layout,
    /// Rows that the server has taken.
    rows: u64,
    /// True if there was no column with values when it was made.
    began_empty: bool,
}

/// Rows that are not sent yet.
#[derive(Default)]
struct Pending {
    layout: Layout,
    pieces: Vec<Bytes>,
    bytes: usize,
    rows: u64,
}

/// An INSERT that is under way.
struct Insert {
    sql: String,
    query_id: String,
    pieces: Vec<Bytes>,
    rows: u64,
    task: JoinHandle<Result<Bytes, Failure>>,
}

/// The work that `finish` has left to the commit.
enum End {
    Open,
    /// An earlier load had the key.
    Already(Box<LedgerRow>),
    /// All rows are in this stage, and counted.
    Counted {
        entry: Box<Entry>,
        stage: String,
        columns: Vec<(Arc<str>, String)>,
    },
}

impl ClickHouseLoad {
    /// Completes what earlier loaders have left, and reads the table.
    pub(super) fn begin(settings: &Settings, request: &LoadRequest<'_>) -> Result<Begun, LoadError> {
        let target = request.target;
        let session = Session::new(settings, target.name(), &request.cancel)?;
        let table = Table::named(&session, &target.table)?;
        table.check_database(&session)?;
        let ledger = Ledger::of_database(&table.database);
        ledger.create(&session)?;
        if let Some(key) = target.identity.key_before(&table.recorded()) {
            let commit = Commit { session: &session, table: &table, ledger: &ledger };
            if let Standing::Loaded(mut row) = commit.standing(&key, target.again)? {
                table.look_for_rows(&session, &mut row);
                return Ok(Begun::Loaded(*row));
            }
        }
        owner::drop_abandoned(&session, &table)?;
        let definition = table.definition(&session)?;
        let mapping = Mapping {
            table: definition.as_ref().map(|definition| definition.columns.clone()),
            widening: request.widening,
            load_column: target.load_column.clone(),
            first: FirstColumns::default(),
        };
        let mut notes = Vec::new();
        let views = definition.iter().flat_map(|definition| &definition.views);
        let views: Vec<String> = views.map(|view| format!("`{view}`")).collect();
        if !views.is_empty() {
            notes.push(format!(
                "rows that move into a table are not seen by its materialized views: {}",
                views.join(", ")
            ));
        }
        Ok(Begun::Load(Box::new(ClickHouseLoad {
            session,
            target: target.clone(),
            table,
            ledger,
            encoder: Arc::new(RowBinaryEncoder { mapping, table: target.name() }),
            definition,
            token: owner::token(),
            stages: Vec::new(),
            made: 0,
            pending: Pending::default(),
            running: None,
            defaults: DefaultUse::default(),
            last_layout: None,
            bytes: 0,
            notes,
            end: End::Open,
        })))
    }

    fn mapping(&self) -> &Mapping {
        &self.encoder.mapping
    }

    fn commit_steps(&self) -> Commit<'_> {
        Commit { session: &self.session, table: &self.table, ledger: &self.ledger }
    }

    fn misfits(&self, misfits: Vec<Misfit>) -> LoadError {
        LoadError::Misfits { table: self.session.table().to_owned(), misfits }
    }

    fn layout(&mut self, columns: &Arc<Schema>) -> Result<Layout, LoadError> {
        if let Some((known, layout)) = &self.last_layout
            && (Arc::ptr_eq(known, columns) || known == columns)
        {
            return Ok(layout.clone());
        }
        let layout = self.mapping().layout_of_rows(columns).map_err(|misfits| self.misfits(misfits))?;
        self.last_layout = Some((columns.clone(), layout.clone()));
        Ok(layout)
    }

    /// Returns the names of columns that differ from those of the rows, as a JSON object, and adds notes on them.
    fn renamed(&mut self, columns: &Schema) -> String {
        let names = self.mapping().names(columns).unwrap_or_default();
        let pairs = columns.fields.iter().map(|field| &field.name).zip(names);
        let (renamed, notes) = renamed_columns(pairs, MAX_NAME_BYTES);
        self.notes.extend(notes);
        renamed
    }

    /// Fails if some rows have a column that takes no null, and others its default.
    fn check_defaults(&mut self, columns: &Schema) -> Result<(), LoadError> {
        let mapping = &self.encoder.mapping;
        if mapping.open_defaults().next().is_none() {
            return Ok(());
        }
        let names = mapping.names(columns).map_err(|misfit| self.misfits(vec![misfit]))?;
        let given = self.defaults.record(columns, &names, mapping.open_defaults());
        given.map(drop).map_err(|misfits| self.misfits(misfits))
    }

    /// Returns true for a column with a default in which no row has a value: a record that was rejected may be the only one
    /// with it.
    fn has_no_value(&self, name: &str) -> bool {
        self.mapping().open_defaults().any(|(open, _)| **open == *name) && !self.defaults.given.contains(name)
    }

    /// Returns the misfit of the column for the commit key, if the table has it in a form that takes no text.
    fn load_column_misfit(&self) -> Option<Misfit> {
        let column = self.mapping().load_column.as_ref()?;
        let Some(definition) = &self.definition else { return None };
        let what = match definition.find(column) {
            None if self.mapping().widening == Widening::Fixed => "is not in the table".to_owned(),
            None => return None,
            Some(own) if own.is_in_key || own.is_computed => "is a key of the table or computed by it".to_owned(),
            Some(own) if own.ty.as_ref().map(ColumnType::inner) == Some(&ColumnType::Text) => return None,
            Some(own) => format!("is for the commit key, a text, and the table has {}", own.sql),
        };
        Some(Misfit { column: column.to_string(), what })
    }
}

impl TableLoad for ClickHouseLoad {
    fn encoder(&self) -> Arc<dyn RowEncoder> {
        self.encoder.clone()
    }

    fn check(&mut self, columns: &Schema, first: &Schema) -> Result<Vec<String>, LoadError> {
        self.mapping().first.set(self.mapping().names(first).unwrap_or_default());
        let mut misfits = self.mapping().missing(columns);
        misfits.extend(self.load_column_misfit());
        if let Err(others) = self.mapping().first_layout(columns) {
            misfits.extend(others);
        }
        if misfits.is_empty() { Ok(Vec::new()) } else { Err(self.misfits(misfits)) }
    }

    fn append(&mut self, rows: u64, encoded: LoadRows, columns: &Arc<Schema>) -> Result<Option<Vec<u8>>, LoadError> {
        let LoadRows::Bytes(bytes) = encoded else {
            return Err(LoadError::Bug("rows for INSERT were not encoded as bytes".into()));
        };
        self.check_defaults(columns)?;
        let layout = self.layout(columns)?;
        if self.pending.rows > 0 && self.pending.layout != layout {
            self.send()?;
        }
        self.bytes += bytes.len() as u64;
        self.pending.layout = layout;
        self.pending.rows += rows;
        self.pending.bytes += bytes.len();
        self.pending.pieces.push(bytes.into());
        if self.pending.bytes >= INSERT_BYTES {
            self.send()?;
        }
        Ok(None)
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn finish(&mut self, columns: &Schema, end: &LoadEnd) -> Result<(), LoadError> {
        self.send()?;
        self.wait_for_insert()?;
        for stage in &self.stages {
            self.check_count(&stage.name, stage.rows)?;
        }
        let recorded = self.table.recorded();
        let key = self.target.identity.key_after(&recorded, end.digests.as_deref())?;
        let generation = match self.commit_steps().standing(&key, self.target.again)? {
            Standing::Loaded(mut row) => {
                self.drop_stages();
                self.table.look_for_rows(&self.session, &mut row);
                self.end = End::Already(row);
                return Ok(());
            }
            Standing::Free(generation) => generation,
        };
        let layout = self.mapping().layout(columns).map_err(|misfits| self.misfits(misfits))?;
        let mut layout = self.with_widened(layout)?;
        // In these, all rows have the default.
        layout.columns.retain(|column| !self.has_no_value(&column.name));
        self.check_widening(&layout)?;
        let table_columns = self.final_columns(columns, &layout)?;
        let stage = self.final_stage(&layout, &table_columns)?;
        let sql_name = self.table.sql_of(&stage);
        if let Some(column) = &self.mapping().load_column {
            self.session.execute(&format!(
                "ALTER TABLE {sql_name} UPDATE {} = {} WHERE 1 SETTINGS mutations_sync = 2",
                quoted(column),
                literal(key.as_str())
            ))?;
        }
        self.check_count(&stage, end.rows)?;
        let identity = &self.target.identity;
        let entry = Entry {
            stage: format!("{}{}", self.table.complete_stages(&key), self.token),
            key,
            generation,
            table: recorded,
            run_id: identity.run_id.clone(),
            block: identity.block,
            source: identity.source.clone(),
            mode: self.target.mode.as_str().to_owned(),
            plan: identity.plan_digest(),
            rows: end.rows,
            rejected: end.rejected,
            digest: end.digest(),
            columns: self.renamed(columns),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.end = End::Counted { entry: Box::new(entry), stage, columns: table_columns };
        Ok(())
    }

    fn commit(mut self: Box<Self>) -> Result<Committed, LoadError> {
        let (entry, stage, columns) = match std::mem::replace(&mut self.end, End::Open) {
            End::Open => return Err(LoadError::Bug("a load was committed before its end".into())),
            End::Already(row) => return Ok(Committed::Already(*row)),
            End::Counted { entry, stage, columns } => (entry, stage, columns),
        };
        self.change_table(&columns)?;
        let (from, to) = (self.table.sql_of(&stage), self.table.sql_of(&entry.stage));
        self.session
            .execute(&format!("ALTER TABLE {from} MODIFY COMMENT {}", literal(&owner::comment(entry.comment()))))?;
        // Before the claim, so that no table that may be dropped as abandoned is chosen. A response that is lost shows in the
        // error of the second request.
        if let Err(failure) = self.session.repeated(&format!("RENAME TABLE {from} TO {to}"))
            && super::ledger::entry_of(&self.session, &self.table, &entry.stage)?.is_none()
        {
            return Err(self.session.error(failure));
        }
        // From here on the load can be completed by others, and is: what fails now has an outcome that is not known.
        self.stages.clear();
        self.session.ignore_cancel();
        let unknown =
            |error: LoadError, table: &str| LoadError::Unknown { table: table.to_owned(), cause: error.to_string() };
        let steps = self.commit_steps();
        // A table that was changed meanwhile is known before the claim, when the rows can still be loaded anew.
        if let Err(error) = steps.align(&entry) {
            // Without a stage there is nothing to align: another loader has completed this load, which the ledger has then.
            if self.ledger.find(&self.session, &entry.key, entry.generation)?.is_none() {
                let _ = steps.drop(&entry.stage);
                return Err(error);
            }
        }
        let chosen = steps.elect(&entry).map_err(|error| unknown(error, self.session.table()))?;
        let is_own = chosen.stage == entry.stage;
        steps.complete(&chosen, is_own).map_err(|error| unknown(error, self.session.table()))?;
        if !is_own {
            steps.drop(&entry.stage)?;
            let known = self.ledger.find(&self.session, &entry.key, entry.generation)?;
            let known = known.ok_or_else(|| LoadError::Bug("the ledger has lost the row of a load".into()))?;
            return Ok(Committed::Already(known.row()));
        }
        Ok(Committed::Loaded(LoadSummary {
            table: self.session.table().to_owned(),
            key: entry.key.clone(),
            rows: entry.rows,
            notes: std::mem::take(&mut self.notes),
        }))
    }
}

impl ClickHouseLoad {
    /// Drops the stages of this attempt, as far as that is possible. What remains is dropped by a later load.
    fn drop_stages(&mut self) {
        if let Some(insert) = self.running.take() {
            insert.task.abort();
        }
        for stage in std::mem::take(&mut self.stages) {
            let sql =
                format!("DROP TABLE IF EXISTS {} SETTINGS max_table_size_to_drop = 0", self.table.sql_of(&stage.name));
            let sender = self.session.sender();
            // Not for long: a cancelled command ends within seconds.
            let dropped = async move { tokio::time::timeout(DROP_TIME, sender.statement(&sql)).await };
            if !matches!(self.session.handle().block_on(dropped), Ok(Ok(_))) {
                return;
            }
        }
    }
}

/// Time for dropping one stage of a load that has failed.
const DROP_TIME: Duration = Duration::from_secs(2);

impl Drop for ClickHouseLoad {
    fn drop(&mut self) {
        self.drop_stages();
    }
}
