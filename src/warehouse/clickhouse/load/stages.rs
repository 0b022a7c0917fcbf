//! The stages of a load: tables that this attempt makes and fills, an INSERT at a time.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::{ClickHouseLoad, Insert, Pending, Stage};
use crate::warehouse::clickhouse::convert::has_json;
use crate::warehouse::clickhouse::layout::{Change, Layout, LayoutColumn};
use crate::warehouse::clickhouse::owner;
use crate::warehouse::clickhouse::sql::{literal, quoted};
use crate::warehouse::{LoadError, Misfit};

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
pub(super) const WAITS: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(8)];

/// Interval at which the server is asked whether an INSERT has ended.
const ENDED_POLL: Duration = Duration::from_millis(500);

/// The column of a table whose rows have no columns.
pub(super) const NOTHING: &str = "_drawoff_nothing";

impl ClickHouseLoad {
    /// Makes a stage for rows of this layout: with the columns of the table if there is one.
    pub(super) fn make_stage(&mut self, layout: &Layout) -> Result<Stage, LoadError> {
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

    pub(super) fn add_column(&self, table: &str, name: &str, sql: &str) -> Result<(), LoadError> {
        self.session.execute(&format!("ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {} {sql}", quoted(name)))
    }

    pub(super) fn change_stage(&self, sql_name: &str, column: &LayoutColumn) -> Result<(), LoadError> {
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
    pub(super) fn stage_for(&mut self, layout: &Layout) -> Result<(), LoadError> {
        let has_filled = self.has_filled(layout)?;
        // Rows of a worker that began before the column was known would get its default among rows that have null.
        let would_fill = |last: &Stage| {
            let lacking = last.layout.columns.iter().filter(|column| layout.find(&column.name).is_none());
            lacking
                .filter(|column| column.ty.is_nullable())
                .any(|column| self.mapping().with_default(&column.name).is_some())
        };
        if self.stages.last().is_none_or(|last| has_filled || would_fill(last) || !last.layout.agrees(layout)) {
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
    pub(super) fn has_filled(&self, layout: &Layout) -> Result<bool, LoadError> {
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
    pub(super) fn send(&mut self) -> Result<(), LoadError> {
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
    pub(super) fn column_without_values(&self, stage: &Stage) -> Result<(String, String), LoadError> {
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

    pub(super) fn start_insert(&self, sql: String, pieces: Vec<Bytes>, rows: u64) -> Insert {
        let query_id = format!("drawoff-{}", owner::token());
        let sender = self.session.sender();
        let (own_sql, id, body) = (sql.clone(), query_id.clone(), pieces.clone());
        let task = self.session.handle().spawn(async move { sender.insert(&own_sql, &id, body).await });
        Insert { sql, query_id, pieces, rows, task }
    }

    /// Waits for the INSERT that is under way. One without a response is sent again only after the server has ended it, and
    /// has none of its rows.
    pub(super) fn wait_for_insert(&mut self) -> Result<(), LoadError> {
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

    pub(super) fn count(&self, name: &str) -> Result<u64, LoadError> {
        self.session.number(&format!("SELECT count() FROM {}", self.table.sql_of(name)))
    }

    /// Compares the rows of a stage with those that were sent.
    pub(super) fn check_count(&self, name: &str, sent: u64) -> Result<(), LoadError> {
        let found = self.count(name)?;
        if found == sent {
            return Ok(());
        }
        Err(LoadError::RowCount { table: self.session.table().to_owned(), sent, found })
    }
}
