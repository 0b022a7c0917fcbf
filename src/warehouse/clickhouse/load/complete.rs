//! The last steps of a load: all rows come into one stage with the final columns, and the table gets these.

use std::sync::Arc;

use super::stages::{NOTHING, WAITS};
use super::{ClickHouseLoad, Stage};
use crate::column::Schema;
use crate::warehouse::clickhouse::convert::converted;
use crate::warehouse::clickhouse::encode::{NO_DOUBLE, NO_NUMBER_FOR_BOTH};
use crate::warehouse::clickhouse::layout::{Change, Layout};
use crate::warehouse::clickhouse::ledger::State;
use crate::warehouse::clickhouse::sql::quoted;
use crate::warehouse::clickhouse::types::{ColumnType, TYPE_WITHOUT_VALUES, new_type};
use crate::warehouse::{LoadError, Misfit};

/// Times that the stages are brought into one.
const MERGE_TRIES: usize = 3;

impl ClickHouseLoad {
    /// Brings all rows into one stage with the final columns, and returns its name.
    pub(super) fn final_stage(&mut self, layout: &Layout, columns: &[(Arc<str>, String)]) -> Result<String, LoadError> {
        if self.stages.is_empty() {
            let stage = self.make_stage(layout)?;
            self.stages.push(stage);
        }
        // Rows that were only of the column for nothing are brought into others.
        let has_rows_of_nothing = self.definition.is_none() && self.stages[0].began_empty && self.stages[0].rows > 0;
        let has_nulls = |stage: &Stage| stage.layout.columns.iter().any(|column| self.has_no_value(&column.name));
        let is_final = self.stages.len() == 1
            && self.stages[0].layout.agrees(layout)
            && !has_nulls(&self.stages[0])
            && !self.has_filled(layout)?;
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
                let staged = || from.layout.columns.iter().filter(|column| !self.has_no_value(&column.name));
                let mut list: Vec<String> = staged().map(|column| quoted(&column.name)).collect();
                let mut values: Vec<String> = staged().map(|column| converted(column, layout)).collect();
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
    pub(super) fn complete_columns(&self, stage: &Stage, columns: &[(Arc<str>, String)]) -> Result<(), LoadError> {
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
    pub(super) fn final_columns(
        &self,
        columns: &Schema,
        layout: &Layout,
    ) -> Result<Vec<(Arc<str>, String)>, LoadError> {
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
    pub(super) fn with_widened(&self, mut layout: Layout) -> Result<Layout, LoadError> {
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
    pub(super) fn check_widening(&self, layout: &Layout) -> Result<(), LoadError> {
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
    pub(super) fn change_table(&mut self, columns: &[(Arc<str>, String)]) -> Result<(), LoadError> {
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
}
