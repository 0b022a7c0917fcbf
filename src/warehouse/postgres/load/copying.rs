//! The COPYs of a load: rows go straight into the table as long as it takes them as they are, and else into stages.

use std::sync::Arc;

use bytes::Bytes;
use futures::SinkExt as _;

use super::{OpenCopy, PostgresLoad, ROW_NUMBER};
use crate::column::Schema;
use crate::warehouse::postgres::copy::{HEADER, TRAILER};
use crate::warehouse::postgres::layout::Layout;
use crate::warehouse::postgres::sql::quoted;
use crate::warehouse::postgres::stage::{Stage, add_column};
use crate::warehouse::postgres::types::Wire;
use crate::warehouse::{LoadError, LoadMode};

impl PostgresLoad {
    /// Makes the table with the columns that are known.
    pub(super) fn create_table(&mut self, layout: &Layout) -> Result<(), LoadError> {
        let Some(made) = &mut self.made else { return Ok(()) };
        if self.is_created {
            return Ok(());
        }
        made.extend(layout.columns.iter().map(|column| (column.name.clone(), column.wire_type.clone())));
        made.extend(self.encoder.mapping.load_column.iter().map(|column| (column.name.clone(), "text".to_owned())));
        let list: Vec<String> = made.iter().map(|(name, ty)| format!("{} {ty}", quoted(name))).collect();
        self.session.execute(&format!("CREATE TABLE {} ({})", self.sql_name, list.join(", ")))?;
        self.is_created = true;
        Ok(())
    }

    /// Returns true if rows can go straight into the table, as far as that does not depend on their columns.
    pub(super) fn takes_straight_rows(&self) -> bool {
        let has_key = self.mapping().load_column.as_ref().is_none_or(|column| column.key.is_some());
        let is_append = self.target.mode == LoadMode::Append && self.replaced.is_empty();
        is_append && has_key && !self.adds_load_column && !self.has_row_policies
    }

    /// Returns true if rows of this layout can go straight into the table.
    pub(super) fn goes_straight(&self, layout: &Layout) -> bool {
        // In a stage, the columns that rows lack are null.
        if self.defaults.given.iter().any(|name| layout.columns.iter().all(|column| column.name != *name)) {
            return false;
        }
        if !self.takes_straight_rows() || !self.stages.is_empty() {
            return false;
        }
        match &self.made {
            Some(made) => layout.columns.iter().all(|column| {
                made.iter().find(|(name, _)| *name == column.name).is_none_or(|(_, ty)| *ty == column.wire_type)
            }),
            None => !layout.needs_stage(),
        }
    }

    /// Returns the columns with a default that rows have for the first time. Fails with those that take no null and that only
    /// some rows have.
    pub(super) fn given_defaults(&mut self, columns: &Schema) -> Result<Vec<Arc<str>>, LoadError> {
        let mapping = &self.encoder.mapping;
        if mapping.open_defaults().next().is_none() {
            return Ok(Vec::new());
        }
        let names = mapping.names(columns).map_err(|misfit| self.misfits(vec![misfit]))?;
        let given = self.defaults.record(columns, &names, mapping.open_defaults());
        given.map_err(|misfits| self.misfits(misfits))
    }

    /// Gives earlier rows of the load null in place of the default of these columns. So the default is for loads that lack
    /// the column, wherever in the data it is first seen.
    pub(super) fn unset_defaults(&self, given: &[Arc<str>]) -> Result<(), LoadError> {
        let takes_null =
            |name: &&Arc<str>| self.mapping().open_defaults().any(|(own, is_strict)| own == *name && !is_strict);
        let set: Vec<String> = given.iter().filter(takes_null).map(|name| format!("{} = NULL", quoted(name))).collect();
        self.update_straight_rows(&set, "")
    }

    /// Gives rows of the load the default of the columns in which none of them has a value. They have null if a record that was
    /// rejected is the only one with the column.
    pub(super) fn reset_defaults(&self) -> Result<(), LoadError> {
        for name in self.defaults_without_values() {
            let name = quoted(name);
            self.update_straight_rows(&[format!("{name} = DEFAULT")], &format!(" AND {name} IS NULL"))?;
        }
        Ok(())
    }

    /// Returns the columns with a default in which null was sent, and no value.
    pub(super) fn defaults_without_values(&self) -> impl Iterator<Item = &Arc<str>> {
        let open = self.mapping().open_defaults().filter(|(_, is_strict)| !is_strict);
        open.map(|(name, _)| name).filter(|name| self.defaults.has_only_nulls(name))
    }

    /// Updates the rows that this transaction has written into the table: they are no others than those of this load.
    fn update_straight_rows(&self, set: &[String], and: &str) -> Result<(), LoadError> {
        if !self.has_straight_rows || set.is_empty() {
            return Ok(());
        }
        self.session.execute(&format!(
            "UPDATE {} SET {} WHERE xmin::text = (txid_current() % 4294967296)::text{and}",
            self.sql_name,
            set.join(", ")
        ))
    }

    /// Fails if numbers that were sent as doubles are to be JSON, in which they would not have the digits of their records.
    pub(super) fn check_spelling(&mut self, layout: &Layout) -> Result<(), LoadError> {
        for column in &layout.columns {
            match column.wire {
                Wire::Float8 if !self.mapping().has(&column.name) => self.sent_doubles.insert(column.name.clone()),
                Wire::Jsonb if !self.mapping().has(&column.name) => self.sent_json.insert(column.name.clone()),
                _ => false,
            };
        }
        match self.respelled_columns().next().map(ToString::to_string) {
            Some(column) if self.may_start_over => {
                Err(LoadError::SpellingLost { table: self.session.table().to_owned(), column })
            }
            _ => Ok(()),
        }
    }

    /// Returns the columns whose numbers have lost digits, though they are JSON.
    fn respelled_columns(&self) -> impl Iterator<Item = &Arc<str>> {
        let both = self.sent_doubles.intersection(&self.sent_json);
        both.filter(|name| self.encoder.respelled.contains(name))
    }

    /// Adds notes on numbers that have lost digits, of sources that cannot be read again.
    pub(super) fn note_respelled(&mut self) {
        let notes = self.respelled_columns().map(|name| {
            format!(
                "column `{name}` has values of several types, and numbers before the first of another type were sent as \
                 doubles: zeros at their end and digits beyond the 17th are gone"
            )
        });
        let notes: Vec<String> = notes.collect();
        self.notes.extend(notes);
    }

    /// Begins a COPY of rows with this layout.
    pub(super) fn open_copy(&mut self, layout: Layout) -> Result<(), LoadError> {
        self.create_table(&layout)?;
        let stage = match self.goes_straight(&layout) {
            true => {
                let sql_name = self.sql_name.clone();
                if let Some(made) = &mut self.made {
                    for column in &layout.columns {
                        if !made.iter().any(|(name, _)| *name == column.name) {
                            add_column(&self.session, &sql_name, &column.name, &column.wire_type)?;
                            made.push((column.name.clone(), column.wire_type.clone()));
                        }
                    }
                }
                self.has_straight_rows = true;
                None
            }
            false => Some(self.stage_for(&layout)?),
        };
        let name = stage.map_or(&self.sql_name, |stage| &self.stages[stage].sql_name);
        let mut columns = layout.column_list();
        if let Some(column) = self.mapping().load_column.as_ref().filter(|column| column.key.is_some()) {
            columns = [columns, quoted(&column.name)]
                .into_iter()
                .filter(|list| !list.is_empty())
                .collect::<Vec<_>>()
                .join(", ");
        }
        // Without a list, COPY would take all columns; rows of none have none.
        let sql = format!("COPY {name} ({columns}) FROM STDIN (FORMAT binary)");
        let wait = self.session.cancel().may_wait_for(self.session.table());
        let sink = self.session.call(self.session.client().copy_in::<_, Bytes>(&sql))?;
        drop(wait);
        self.open = Some(OpenCopy { sink: Box::pin(sink), layout, stage });
        self.send(Bytes::from_static(HEADER))
    }

    /// Returns a stage that takes rows of this layout: the last, or a new one.
    pub(super) fn stage_for(&mut self, layout: &Layout) -> Result<usize, LoadError> {
        let is_merge = matches!(self.target.mode, LoadMode::Merge { .. });
        if let Some(last) = self.stages.last_mut().filter(|last| last.layout.agrees(layout)) {
            for column in &layout.columns {
                if !last.layout.columns.iter().any(|own| own.name == column.name) {
                    add_column(&self.session, &last.sql_name, &column.name, &column.wire_type)?;
                    last.layout.columns.push(column.clone());
                }
            }
            return Ok(self.stages.len() - 1);
        }
        let sql_name = format!("pg_temp.{}", quoted(&format!("_drawoff_stage_{}", self.stages.len())));
        let mut list: Vec<String> =
            layout.columns.iter().map(|column| format!("{} {}", quoted(&column.name), column.wire_type)).collect();
        let load_column = self.mapping().load_column.as_ref().filter(|column| column.key.is_some());
        list.extend(load_column.map(|column| format!("{} text", quoted(&column.name))));
        if is_merge {
            list.push(format!("{} bigint GENERATED ALWAYS AS IDENTITY", quoted(ROW_NUMBER)));
        }
        self.session.execute(&format!("CREATE TEMPORARY TABLE {sql_name} ({}) ON COMMIT DROP", list.join(", ")))?;
        self.stages.push(Stage { sql_name, layout: layout.clone(), rows: 0 });
        Ok(self.stages.len() - 1)
    }

    pub(super) fn send(&mut self, bytes: Bytes) -> Result<(), LoadError> {
        self.bytes += bytes.len() as u64;
        let Some(open) = &mut self.open else { return Err(LoadError::Bug("no COPY is open".into())) };
        self.session.call(open.sink.send(bytes))
    }

    /// Ends the COPY that is under way, and counts its rows as the server does.
    pub(super) fn close_copy(&mut self) -> Result<(), LoadError> {
        if self.open.is_none() {
            return Ok(());
        }
        self.send(Bytes::from_static(TRAILER))?;
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let rows = self.session.call(open.sink.as_mut().finish())?;
        self.rows_counted += rows;
        if let Some(stage) = open.stage.and_then(|stage| self.stages.get_mut(stage)) {
            stage.rows += rows;
        }
        Ok(())
    }
}
