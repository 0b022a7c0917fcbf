//! The COPYs of a load: rows go straight into the table as long as it takes them as they are, and else into stages.

use std::sync::Arc;

use bytes::Bytes;
use futures::SinkExt as _;

use super::{OpenCopy, PostgresLoad, ROW_NUMBER};
use crate::warehouse::postgres::copy::{HEADER, TRAILER};
use crate::warehouse::postgres::layout::Layout;
use crate::warehouse::postgres::sql::quoted;
use crate::warehouse::postgres::stage::{Stage, add_column};
use crate::warehouse::{LoadError, LoadMode, Misfit};

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
        if self.given_defaults.iter().any(|name| layout.columns.iter().all(|column| column.name != *name)) {
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

    /// Gives earlier rows of the load, which went into the table without a column, null in place of its default, when the
    /// first row has it. So the default is for loads that lack the column, wherever in the data it is first seen.
    pub(super) fn unset_defaults(&mut self, layout: &Layout) -> Result<(), LoadError> {
        let table = self.mapping().table.iter().flatten();
        let has_default = table.filter(|column| column.has_default && !column.is_generated);
        let known = has_default.filter(|column| layout.columns.iter().any(|own| own.name == column.name));
        let new: Vec<(Arc<str>, bool)> = known
            .filter(|column| !self.given_defaults.contains(&column.name))
            .map(|column| (column.name.clone(), column.takes_no_null))
            .collect();
        if !self.has_straight_rows || new.is_empty() {
            self.given_defaults.extend(new.into_iter().map(|(name, _)| name));
            return Ok(());
        }
        if let Some((name, _)) = new.iter().find(|(_, takes_no_null)| *takes_no_null) {
            return Err(self.misfits(vec![Misfit::late(name)]));
        }
        let set: Vec<String> = new.iter().map(|(name, _)| format!("{} = NULL", quoted(name))).collect();
        // Rows that this transaction has written: they are no others than those of this load.
        self.session.execute(&format!(
            "UPDATE {} SET {} WHERE xmin::text = (txid_current() % 4294967296)::text",
            self.sql_name,
            set.join(", ")
        ))?;
        self.given_defaults.extend(new.into_iter().map(|(name, _)| name));
        Ok(())
    }

    /// Begins a COPY of rows with this layout.
    pub(super) fn open_copy(&mut self, layout: Layout) -> Result<(), LoadError> {
        self.create_table(&layout)?;
        self.unset_defaults(&layout)?;
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
