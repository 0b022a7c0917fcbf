//! One load: rows go into stages, are counted there, and move into the table; see [`super`].
//!
//! Rows whose columns have another form than those of a stage begin the next one, and all are brought into one at the end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::task::JoinHandle;

use super::commit::{Commit, Standing};
use super::convert::{converted, has_json};
use super::encode::{NO_DOUBLE, NO_NUMBER_FOR_BOTH, RowBinaryEncoder};
use super::http::{Failure, Session};
use super::layout::{Change, Layout, LayoutColumn, MAX_NAME_BYTES, Mapping};
use super::ledger::{Entry, Ledger, State};
use super::owner;
use super::settings::Settings;
use super::sql::{literal, quoted};
use super::table::{Definition, Table};
use super::types::{ColumnType, TYPE_WITHOUT_VALUES, new_type};
use crate::column::Schema;
use crate::warehouse::names::renamed_columns;
use crate::warehouse::{
    Begun, Committed, LedgerRow, LoadEnd, LoadError, LoadRequest, LoadRows, LoadSummary, Misfit, RowEncoder, TableLoad,
    TableTarget, Widening,
};

/// Bytes of rows that make one INSERT, which is one part of the stage. By eye: parts of less are merged for longer than they
/// took to write, and two of them are in memory. They are not counted in the memory of an execution.
const INSERT_BYTES: usize = 32 << 20;

/// Settings of every INSERT: its rows are one block, which is written as a whole or not at all; nothing is taken for a
/// duplicate, and no null becomes a default.
const INSERT_SETTINGS: &str = "async_insert = 0, insert_deduplicate = 0, input_format_null_as_default = 0, \
     input_format_with_names_use_header = 1, input_format_with_types_use_header = 1, max_insert_block_size = 1000000000, \
     min_insert_block_size_rows = 0, min_insert_block_size_bytes = 0, max_partitions_per_insert_block = 0";

/// Settings of an INSERT into columns of the type `JSON`: texts stay texts, whether they look like times or not, and lists of
/// several types keep the type of each item.
const JSON_SETTINGS: &str = ", input_format_binary_read_json_as_string = 1, input_format_try_infer_dates = 0, \
     input_format_try_infer_datetimes = 0, input_format_json_read_bools_as_numbers = 0, \
     input_format_json_read_bools_as_strings = 0, input_format_json_read_numbers_as_strings = 0, \
     input_format_json_try_infer_numbers_from_strings = 0";

/// Waits before rows are sent again.
const WAITS: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(8)];

/// Interval at which the server is asked whether an INSERT has ended.
const ENDED_POLL: Duration = Duration::from_millis(500);

/// Times that the stages are brought into one.
const MERGE_TRIES: usize = 3;

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

    /// Makes a stage for rows of this layout: with the columns of the table if there is one.
    fn make_stage(&mut self, layout: &Layout) -> Result<Stage, LoadError> {
        let name = self.table.stage(&self.token, self.made);
        self.made += 1;
        let sql_name = self.table.sql_of(&name);
        let comment = literal(&owner::comment(json!({"drawoff stage": env!("CARGO_PKG_VERSION")})));
        match &self.definition {
            Some(definition) => {
                // Only this attempt makes a table of this name, so that it may be made twice.
                self.session.execute(&format!(
                    "CREATE TABLE IF NOT EXISTS {sql_name} AS {} {} COMMENT {comment}",
                    self.table.sql(),
                    definition.stage_engine()
                ))?;
                for column in &layout.columns {
                    self.change_stage(&sql_name, column)?;
                }
                if let Some(column) = self.mapping().load_column.clone().filter(|name| definition.find(name).is_none())
                {
                    self.add_column(&sql_name, &column, "String")?;
                }
            }
            None => {
                let mut columns: Vec<String> =
                    layout.columns.iter().map(|column| format!("{} {}", quoted(&column.name), column.sql)).collect();
                if columns.is_empty() {
                    // Rows without a value so far: a table has a column.
                    columns.push(format!("{} UInt8", quoted(NOTHING)));
                }
                columns.extend(self.mapping().load_column.iter().map(|name| format!("{} String", quoted(name))));
                self.session.execute(&format!(
                    "CREATE TABLE IF NOT EXISTS {sql_name} ({}) ENGINE = MergeTree ORDER BY tuple() COMMENT {comment}",
                    columns.join(", ")
                ))?;
            }
        }
        Ok(Stage { name, layout: layout.clone(), rows: 0, began_empty: layout.columns.is_empty() })
    }

    fn add_column(&self, table: &str, name: &str, sql: &str) -> Result<(), LoadError> {
        self.session.execute(&format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {} {sql}", quoted(name)))
    }

    fn change_stage(&self, sql_name: &str, column: &LayoutColumn) -> Result<(), LoadError> {
        match column.change {
            None => Ok(()),
            Some(Change::Add) => self.add_column(sql_name, &column.name, &column.sql),
            Some(Change::Widen) => self.session.execute(&format!(
                "ALTER TABLE {sql_name} MODIFY COLUMN {} {}",
                quoted(&column.name),
                column.sql
            )),
        }
    }

    /// Gives the last stage the columns of this layout, or makes the next one if they have other forms.
    fn stage_for(&mut self, layout: &Layout) -> Result<(), LoadError> {
        let has_filled = self.has_filled(layout)?;
        if self.stages.last().is_none_or(|last| has_filled || !last.layout.agrees(layout)) {
            self.wait_for_insert()?;
            let stage = self.make_stage(layout)?;
            self.stages.push(stage);
            return Ok(());
        }
        let last = self.stages.len() - 1;
        let sql_name = self.table.sql_of(&self.stages[last].name);
        for column in &layout.columns {
            if self.stages[last].layout.find(&column.name).is_some() {
                continue;
            }
            self.wait_for_insert()?;
            match (&self.definition, column.change) {
                (None, _) => self.add_column(&sql_name, &column.name, &column.sql)?,
                (Some(_), _) => self.change_stage(&sql_name, column)?,
            }
            self.stages[last].layout.columns.push(column.clone());
        }
        Ok(())
    }

    /// Returns true if rows of the last stage have the table's default in a column that first appears in `layout`. At the end
    /// they get null there, by which they are as if the column had been known. Fails where the column takes no null.
    fn has_filled(&self, layout: &Layout) -> Result<bool, LoadError> {
        let sent = |stage: &Stage| stage.rows + self.running.as_ref().map_or(0, |insert| insert.rows);
        let (mut has_filled, mut misfits) = (false, Vec::new());
        for column in layout.columns.iter().filter(|column| self.mapping().with_default(&column.name).is_some()) {
            let lacks = |stage: &Stage| sent(stage) > 0 && stage.layout.find(&column.name).is_none();
            match column.ty.is_nullable() {
                true => has_filled |= self.stages.last().is_some_and(lacks),
                false if self.stages.iter().any(lacks) => misfits.push(Misfit::late(&column.source)),
                false => {}
            }
        }
        if misfits.is_empty() { Ok(has_filled) } else { Err(self.misfits(misfits)) }
    }

    /// Sends the rows that are pending, after the INSERT before has ended.
    fn send(&mut self) -> Result<(), LoadError> {
        if self.pending.rows == 0 {
            return Ok(());
        }
        let Pending { layout, mut pieces, rows, .. } = std::mem::take(&mut self.pending);
        self.stage_for(&layout)?;
        self.wait_for_insert()?;
        let Some(stage) = self.stages.last() else { return Err(LoadError::Bug("there is no stage".into())) };
        let sql_name = self.table.sql_of(&stage.name);
        let sql = if layout.columns.is_empty() {
            // Rows without values, of which there is no form: the server makes them.
            pieces.clear();
            let (column, value) = self.column_without_values(stage)?;
            format!("INSERT INTO {sql_name} ({column}) SETTINGS {INSERT_SETTINGS} SELECT {value} FROM numbers({rows})")
        } else {
            pieces.insert(0, layout.header().into());
            let names: Vec<String> = layout.columns.iter().map(|column| quoted(&column.name)).collect();
            let has_json = layout.columns.iter().any(|column| has_json(&column.ty));
            let json = if has_json { JSON_SETTINGS } else { "" };
            format!(
                "INSERT INTO {sql_name} ({}) SETTINGS {INSERT_SETTINGS}{json} FORMAT RowBinaryWithNamesAndTypes",
                names.join(", ")
            )
        };
        self.running = Some(self.start_insert(sql, pieces, rows));
        Ok(())
    }

    /// Returns a column by which rows without values can be inserted, and its value in them.
    fn column_without_values(&self, stage: &Stage) -> Result<(String, String), LoadError> {
        let Some(definition) = &self.definition else {
            return Ok(match stage.layout.columns.first() {
                Some(column) => (quoted(&column.name), "NULL".to_owned()),
                None => (quoted(NOTHING), "0".to_owned()),
            });
        };
        // Columns that take no null have a default, or else the rows would not fit.
        let column = definition.columns.iter().find(|column| !column.has_default && !column.is_computed);
        let column = column.ok_or_else(|| LoadError::Unsupported {
            table: self.session.table().to_owned(),
            what: "the rows have no values, and each column of the table has a default".to_owned(),
            hint: None,
        })?;
        Ok((quoted(&column.name), format!("defaultValueOfTypeName({})", literal(&column.sql))))
    }

    fn start_insert(&self, sql: String, pieces: Vec<Bytes>, rows: u64) -> Insert {
        let query_id = format!("drawoff-{}", owner::token());
        let sender = self.session.sender();
        let (own_sql, id, body) = (sql.clone(), query_id.clone(), pieces.clone());
        let task = self.session.handle().spawn(async move { sender.insert(&own_sql, &id, body).await });
        Insert { sql, query_id, pieces, rows, task }
    }

    /// Waits for the INSERT that is under way. One without a response is sent again only after the server has ended it, and
    /// has none of its rows.
    fn wait_for_insert(&mut self) -> Result<(), LoadError> {
        let mut waits = WAITS.iter();
        while let Some(mut insert) = self.running.take() {
            let Some(last) = self.stages.len().checked_sub(1) else { break };
            let failure = match self.session.wait(&mut insert.task) {
                Ok(Ok(Ok(_))) => {
                    self.stages[last].rows += insert.rows;
                    break;
                }
                Ok(Ok(Err(failure))) => failure,
                Ok(Err(panic)) => return Err(LoadError::Bug(panic.to_string())),
                Err(cancelled) => {
                    insert.task.abort();
                    return Err(self.session.error(cancelled));
                }
            };
            let Some(wait) = waits.next().filter(|_| failure.is_transient()) else {
                return Err(self.session.error(failure));
            };
            let error = |failure| self.session.error(failure);
            self.session.pause(*wait).map_err(error)?;
            let ended = format!("SELECT count() FROM system.processes WHERE query_id = {}", literal(&insert.query_id));
            while self.session.number(&ended)? > 0 {
                self.session.pause(ENDED_POLL).map_err(error)?;
            }
            let found = self.count(&self.stages[last].name)?;
            let before = self.stages[last].rows;
            if found == before + insert.rows {
                self.stages[last].rows = found;
                break;
            }
            if found != before {
                // Parts of several partitions are written one after another.
                return Err(LoadError::Refused {
                    table: self.session.table().to_owned(),
                    cause: format!(
                        "the connection was lost when the server had {found} of {} rows",
                        before + insert.rows
                    ),
                    hint: Some("nothing is in the table; run the same command again".to_owned()),
                    is_transient: true,
                });
            }
            self.running = Some(self.start_insert(insert.sql, insert.pieces, insert.rows));
        }
        Ok(())
    }

    fn count(&self, name: &str) -> Result<u64, LoadError> {
        self.session.number(&format!("SELECT count() FROM {}", self.table.sql_of(name)))
    }

    /// Compares the rows of a stage with those that were sent.
    fn check_count(&self, name: &str, sent: u64) -> Result<(), LoadError> {
        let found = self.count(name)?;
        if found == sent {
            return Ok(());
        }
        Err(LoadError::RowCount { table: self.session.table().to_owned(), sent, found })
    }

    /// Brings all rows into one stage with the final columns, and returns its name.
    fn final_stage(&mut self, layout: &Layout, columns: &[(Arc<str>, String)]) -> Result<String, LoadError> {
        if self.stages.is_empty() {
            let stage = self.make_stage(layout)?;
            self.stages.push(stage);
        }
        // Rows that were only of the column for nothing are brought into others.
        let has_rows_of_nothing = self.definition.is_none() && self.stages[0].began_empty && self.stages[0].rows > 0;
        let is_final = self.stages.len() == 1 && self.stages[0].layout.agrees(layout) && !self.has_filled(layout)?;
        if is_final && !has_rows_of_nothing {
            self.stage_for(layout)?;
            self.complete_columns(&self.stages[0], columns)?;
            return Ok(self.stages[0].name.clone());
        }
        let mut tries = 0;
        loop {
            // A new one each time: an INSERT without a response may still be under way in the one before.
            let stage = self.make_stage(layout)?;
            self.complete_columns(&stage, columns)?;
            let (name, sql_name) = (stage.name.clone(), self.table.sql_of(&stage.name));
            let of_nothing = match (&self.definition, columns.first()) {
                (None, Some((name, _))) => (quoted(name), "NULL".to_owned()),
                _ => self.column_without_values(&stage)?,
            };
            let inserted = self.stages.iter().try_for_each(|from| {
                let staged = &from.layout.columns;
                let mut list: Vec<String> = staged.iter().map(|column| quoted(&column.name)).collect();
                let mut values: Vec<String> = staged.iter().map(|column| converted(column, layout)).collect();
                for column in layout.columns.iter().filter(|column| from.layout.find(&column.name).is_none()) {
                    if column.ty.is_nullable() && self.mapping().with_default(&column.name).is_some() {
                        list.push(quoted(&column.name));
                        values.push("NULL".to_owned());
                    }
                }
                if list.is_empty() {
                    (list, values) = (vec![of_nothing.0.clone()], vec![of_nothing.1.clone()]);
                }
                let sql = format!(
                    "INSERT INTO {sql_name} ({}) SETTINGS async_insert = 0, insert_deduplicate = 0, \
                     max_partitions_per_insert_block = 0 SELECT {} FROM {}",
                    list.join(", "),
                    values.join(", "),
                    self.table.sql_of(&from.name)
                );
                self.session.once(&sql).map(drop)
            });
            let rows = self.stages.iter().map(|stage| stage.rows).sum();
            tries += 1;
            match inserted {
                Ok(()) => {
                    self.check_count(&name, rows)?;
                    for from in std::mem::take(&mut self.stages) {
                        self.commit_steps().drop(&from.name)?;
                    }
                    self.stages.push(Stage { rows, ..stage });
                    return Ok(name);
                }
                Err(failure) if failure.is_transient() && tries < MERGE_TRIES => {
                    self.session.pause(WAITS[tries]).map_err(|failure| self.session.error(failure))?;
                }
                Err(failure) => return Err(self.session.error(failure)),
            }
        }
    }

    /// Gives a stage for a new table all columns of the table.
    fn complete_columns(&self, stage: &Stage, columns: &[(Arc<str>, String)]) -> Result<(), LoadError> {
        if self.definition.is_some() || columns.is_empty() {
            return Ok(());
        }
        let is_new = |column: &&(Arc<str>, String)| stage.layout.find(&column.0).is_none();
        let mut changes: Vec<String> = columns
            .iter()
            .filter(is_new)
            .map(|(name, sql)| format!("ADD COLUMN IF NOT EXISTS {} {sql}", quoted(name)))
            .collect();
        if stage.began_empty {
            changes.push(format!("DROP COLUMN IF EXISTS {}", quoted(NOTHING)));
        }
        match changes.is_empty() {
            true => Ok(()),
            false => {
                self.session.execute(&format!("ALTER TABLE {} {}", self.table.sql_of(&stage.name), changes.join(", ")))
            }
        }
    }

    /// Returns names and types of the columns that the table must have.
    fn final_columns(&self, columns: &Schema, layout: &Layout) -> Result<Vec<(Arc<str>, String)>, LoadError> {
        let names = self.mapping().names(columns).map_err(|misfit| self.misfits(vec![misfit]))?;
        let mut result: Vec<(Arc<str>, String)> = Vec::new();
        match &self.definition {
            None => {
                for (field, name) in columns.fields.iter().zip(names) {
                    let sql = new_type(&field.ty).unwrap_or_else(|| TYPE_WITHOUT_VALUES.to_owned());
                    result.push((name, sql));
                }
            }
            Some(_) => {
                let changed = layout.columns.iter().filter(|column| column.change.is_some());
                result.extend(changed.map(|column| (column.name.clone(), column.sql.clone())));
            }
        }
        let load_column = self.mapping().load_column.iter();
        let is_new = |name: &&Arc<str>| self.definition.as_ref().is_none_or(|table| table.find(name).is_none());
        result.extend(load_column.filter(is_new).map(|name| (name.clone(), "String".to_owned())));
        Ok(result)
    }

    /// Returns the final layout with the wider types that rows of a stage needed, also if values of several types came later:
    /// in the type of before, a fraction would be cut off.
    fn with_widened(&self, mut layout: Layout) -> Result<Layout, LoadError> {
        let mut misfits = Vec::new();
        for column in layout.columns.iter_mut().filter(|column| column.change != Some(Change::Add)) {
            let staged = self.stages.iter().filter_map(|stage| stage.layout.find(&column.name));
            for wider in staged.filter(|staged| staged.change == Some(Change::Widen)) {
                if column.change == Some(Change::Widen) && column.sql != wider.sql {
                    misfits.push(Misfit { column: column.source.to_string(), what: NO_NUMBER_FOR_BOTH.into() });
                    break;
                }
                (column.ty, column.sql, column.change) = (wider.ty.clone(), wider.sql.clone(), wider.change);
            }
        }
        if misfits.is_empty() { Ok(layout) } else { Err(self.misfits(misfits)) }
    }

    /// Fails if integers of the table, or of rows of a stage, would change in a wider type.
    fn check_widening(&self, layout: &Layout) -> Result<(), LoadError> {
        let mut misfits = Vec::new();
        for column in layout.columns.iter().filter(|column| column.change == Some(Change::Widen)) {
            let wide = if *column.ty.inner() == ColumnType::Float64 { "toInt256(9007199254740992)" } else { continue };
            let has_integers = |stage: &&Stage| {
                let staged = stage.layout.find(&column.name);
                staged.is_some_and(|staged| matches!(staged.ty.inner(), ColumnType::Int { .. }))
            };
            let stages = self.stages.iter().filter(has_integers).map(|stage| self.table.sql_of(&stage.name));
            let mut beyond = 0;
            for table in [self.table.sql()].into_iter().chain(stages) {
                beyond += self.session.number(&format!(
                    "SELECT countIf(abs(toInt256({})) > {wide}) FROM {table}",
                    quoted(&column.name),
                ))?;
            }
            if beyond > 0 {
                misfits.push(Misfit { column: column.source.to_string(), what: NO_DOUBLE.into() });
            }
        }
        if misfits.is_empty() { Ok(()) } else { Err(self.misfits(misfits)) }
    }

    /// Makes the table, or gives it its new columns and types. Other loads may do the same at the same time.
    fn change_table(&mut self, columns: &[(Arc<str>, String)]) -> Result<(), LoadError> {
        let (recorded, sql_name) = (self.table.recorded(), self.table.sql());
        let Some(definition) = &self.definition else {
            let list: Vec<String> = columns.iter().map(|(name, sql)| format!("{} {sql}", quoted(name))).collect();
            let list = if list.is_empty() { format!("{} UInt8", quoted(NOTHING)) } else { list.join(", ") };
            // The rows of a table that is gone are gone, too. Before the new one is there, with which they would count again.
            for known in self.ledger.list(&self.session, Some(&recorded))?.iter().filter(|known| known.is_gone) {
                self.ledger.enter(&self.session, &known.entry, State::Replaced)?;
            }
            self.session.execute(&format!(
                "CREATE TABLE IF NOT EXISTS {sql_name} ({list}) ENGINE = MergeTree ORDER BY tuple()"
            ))?;
            self.notes.push(format!("created the table {recorded}"));
            return Ok(());
        };
        for (name, sql) in columns {
            match definition.find(name) {
                None => {
                    self.add_column(&sql_name, name, sql)?;
                    self.notes.push(format!("added the column `{name}` ({sql}) to {recorded}"));
                }
                Some(column) => {
                    self.session.execute(&format!("ALTER TABLE {sql_name} MODIFY COLUMN {} {sql}", quoted(name)))?;
                    self.notes.push(format!("changed the column `{name}` of {recorded} from {} to {sql}", column.sql));
                }
            }
        }
        Ok(())
    }

    /// Returns the names of columns that differ from those of the rows, as a JSON object, and adds notes on them.
    fn renamed(&mut self, columns: &Schema) -> String {
        let names = self.mapping().names(columns).unwrap_or_default();
        let pairs = columns.fields.iter().map(|field| &field.name).zip(names);
        let (renamed, notes) = renamed_columns(pairs, MAX_NAME_BYTES);
        self.notes.extend(notes);
        renamed
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

/// The column of a table whose rows have no columns.
const NOTHING: &str = "_drawoff_nothing";

impl TableLoad for ClickHouseLoad {
    fn encoder(&self) -> Arc<dyn RowEncoder> {
        self.encoder.clone()
    }

    fn check(&mut self, columns: &Schema) -> Result<Vec<String>, LoadError> {
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
        let layout = self.with_widened(layout)?;
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
