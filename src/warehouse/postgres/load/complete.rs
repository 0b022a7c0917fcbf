//! The last steps of a load: the table gets its final columns, and the rows of the stages move into it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{PostgresLoad, ROW_NUMBER};
use crate::column::Schema;
use crate::warehouse::postgres::layout::{Change, Layout, LoadColumn};
use crate::warehouse::postgres::sql::{literal, quoted};
use crate::warehouse::postgres::stage::{Stage, add_column, alter_type, staged_value};
use crate::warehouse::postgres::types::{TYPE_WITHOUT_VALUES, Wire, new_type};
use crate::warehouse::{CommitKey, LoadError, LoadMode};

impl PostgresLoad {
    /// Gives the table its final columns and types. Returns the type of each column of the table that rows have.
    pub(super) fn widen(&mut self, columns: &Schema) -> Result<BTreeMap<Arc<str>, String>, LoadError> {
        let layout = self.mapping().layout(columns).map_err(|misfits| self.misfits(misfits))?;
        let mut types = BTreeMap::new();
        match self.made.take() {
            Some(made) => {
                let names = self.mapping().names(columns).map_err(|misfit| self.misfits(vec![misfit]))?;
                for (field, name) in columns.fields.iter().zip(names) {
                    let wanted = new_type(&field.ty).map_or(TYPE_WITHOUT_VALUES.to_owned(), |(_, sql)| sql);
                    match made.iter().find(|(known, _)| *known == name) {
                        None => add_column(&self.session, &self.sql_name, &name, &wanted)?,
                        Some((_, ty)) if *ty != wanted => {
                            alter_type(&self.session, &self.sql_name, &name, ty, &wanted)?;
                        }
                        Some(_) => {}
                    }
                    types.insert(name, wanted);
                }
                self.made = Some(made);
            }
            None => {
                if let Some(LoadColumn { name, .. }) =
                    self.mapping().load_column.clone().filter(|_| self.adds_load_column)
                {
                    add_column(&self.session, &self.sql_name, &name, "text")?;
                    self.notes.push(format!("added the column `{name}` (text) to {}", self.recorded));
                }
                for column in self.mapping().table.iter().flatten() {
                    types.insert(column.name.clone(), column.sql_type.clone());
                }
                for (name, change) in self.changes(&layout) {
                    match change {
                        Change::Add(ty) => {
                            add_column(&self.session, &self.sql_name, &name, &ty)?;
                            self.notes.push(format!("added the column `{name}` ({ty}) to {}", self.recorded));
                            types.insert(name, ty);
                        }
                        Change::Widen(wanted) => {
                            let wanted = self.exact_type(&name, wanted)?;
                            let old = types.get(&name).cloned().unwrap_or_default();
                            alter_type(&self.session, &self.sql_name, &name, &old, &wanted)?;
                            self.notes.push(format!(
                                "changed the column `{name}` of {} from {old} to {wanted}",
                                self.recorded
                            ));
                            types.insert(name, wanted);
                        }
                    }
                }
            }
        }
        Ok(types)
    }

    /// Returns the changes of an existing table that the final `layout` needs, or the rows of a stage: a column that got a
    /// wider type keeps it if values of several types come later, or its rows would be rounded.
    fn changes(&self, layout: &Layout) -> Vec<(Arc<str>, Change)> {
        let mut changes: Vec<(Arc<str>, Change)> =
            layout.changes().map(|(column, change)| (column.name.clone(), change.clone())).collect();
        for (column, change) in self.stages.iter().flat_map(|stage| stage.layout.changes()) {
            let Change::Widen(ty) = change else { continue };
            match changes.iter_mut().find(|(name, _)| *name == column.name) {
                None => changes.push((column.name.clone(), change.clone())),
                Some((_, Change::Widen(own))) if own != ty => *own = "numeric".to_owned(),
                Some(_) => {}
            }
        }
        changes
    }

    /// Returns the type that a column of integers gets: `numeric` where a double would not hold all of them.
    fn exact_type(&self, name: &str, wanted: String) -> Result<String, LoadError> {
        if wanted != "double precision" {
            return Ok(wanted);
        }
        let has_integers = |stage: &&Stage| {
            let column = stage.layout.columns.iter().find(|column| *column.name == *name);
            column.is_some_and(|column| matches!(column.wire, Wire::Int2 | Wire::Int4 | Wire::Int8))
        };
        let stages = self.stages.iter().filter(has_integers).map(|stage| &stage.sql_name);
        for table in [&self.sql_name].into_iter().chain(stages) {
            let rows = self.session.rows(&format!(
                "SELECT coalesce(bool_and(abs({0}::numeric) <= 9007199254740992), true) FROM {table}",
                quoted(name),
            ))?;
            if rows.first().and_then(|row| row.get(0)) != Some("t") {
                return Ok("numeric".to_owned());
            }
        }
        Ok(wanted)
    }

    /// Moves the rows of the stages into the table.
    pub(super) fn move_stages(&mut self, types: &BTreeMap<Arc<str>, String>, key: &CommitKey) -> Result<(), LoadError> {
        let load_column = self.mapping().load_column.clone();
        if let Some(LoadColumn { name, .. }) = &load_column
            && self.target.mode == LoadMode::Append
        {
            for earlier in std::mem::take(&mut self.replaced) {
                let deleted = self.session.changed(&format!(
                    "DELETE FROM {} WHERE {} = {}",
                    self.sql_name,
                    quoted(name),
                    literal(&earlier.key)
                ))?;
                if deleted == 0 && earlier.rows > 0 && !self.is_empty()? {
                    return Err(earlier.rows_without_key(self.session.table(), name));
                }
                self.notes.push(format!("replaced {deleted} rows of the earlier load"));
            }
        }
        if self.target.mode == LoadMode::Replace {
            // Not TRUNCATE, after which transactions that began before would find the table empty.
            if self.made.is_none() {
                // A load that commits between the two statements would be marked as replaced, and its rows would stay.
                self.lock()?;
                let deleted = self.session.changed(&format!("DELETE FROM {}", self.sql_name))?;
                self.notes.push(format!("replaced {deleted} rows"));
            }
            self.ledger.replace_others(&self.session, &self.recorded, &self.claims(key))?;
        }
        let mut columns: Vec<Arc<str>> = Vec::new();
        for column in self.stages.iter().flat_map(|stage| &stage.layout.columns) {
            if !columns.contains(&column.name) && !self.defaults_without_values().any(|name| *name == column.name) {
                columns.push(column.name.clone());
            }
        }
        if self.target.mode == LoadMode::Append {
            let given = self.defaults.given.iter().filter(|name| !columns.contains(name));
            columns.extend(given.cloned().collect::<Vec<_>>());
        }
        let mut list: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        list.extend(load_column.iter().map(|column| quoted(&column.name)));
        let list = list.join(", ");
        let select = |stage: &Stage| {
            let mut values: Vec<String> =
                columns.iter().map(|name| staged_value(stage, name, types.get(name).map(String::as_str))).collect();
            values.extend(load_column.iter().map(|_| literal(key.as_str())));
            values.join(", ")
        };
        if let LoadMode::Merge { .. } = &self.target.mode {
            let merge_key = self.mapping().key.clone();
            return self.merge(&merge_key, &columns, &list, &select);
        }
        for stage in &self.stages {
            let moved = self.session.changed(&format!(
                "INSERT INTO {} ({list}) SELECT {} FROM {}",
                self.sql_name,
                select(stage),
                stage.sql_name
            ))?;
            let counted = self.session.rows(&format!("SELECT count(*) FROM {}", stage.sql_name))?;
            let counted = counted.first().and_then(|row| row.get(0)).and_then(|text| text.parse().ok());
            if counted != Some(moved) {
                let (sent, table) = (counted.unwrap_or(0), self.session.table().to_owned());
                return Err(LoadError::RowCount { table, sent, found: moved });
            }
        }
        Ok(())
    }

    /// Waits for the loads that write to the table, and keeps others out until the commit. Readers are not affected.
    fn lock(&self) -> Result<(), LoadError> {
        let _wait = self.session.cancel().may_wait_for(self.session.table());
        self.session.execute(&format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", self.sql_name))
    }

    /// Returns true if the table has no rows.
    fn is_empty(&self) -> Result<bool, LoadError> {
        Ok(self.session.rows(&format!("SELECT 1 FROM {} LIMIT 1", self.sql_name))?.is_empty())
    }

    /// Updates the rows of the table that have a key of the load, and inserts the others. The last row of a key counts.
    fn merge(
        &mut self,
        key: &[Arc<str>],
        columns: &[Arc<str>],
        list: &str,
        select: &dyn Fn(&Stage) -> String,
    ) -> Result<(), LoadError> {
        if self.stages.is_empty() {
            return Ok(());
        }
        let parts: Vec<String> = self
            .stages
            .iter()
            .enumerate()
            .map(|(i, stage)| format!("SELECT {}, {i}, {} FROM {}", select(stage), quoted(ROW_NUMBER), stage.sql_name))
            .collect();
        let keys: Vec<String> = key.iter().map(|name| quoted(name)).collect();
        let names = format!("{list}, \"_drawoff_s\", {}", quoted(ROW_NUMBER));
        self.session.execute(&format!(
            "CREATE TEMPORARY TABLE \"_drawoff_merge\" ON COMMIT DROP AS SELECT DISTINCT ON ({0}) {list} \
             FROM ({1}) AS staged ({names}) ORDER BY {0}, \"_drawoff_s\" DESC, {2} DESC; \
             ANALYZE \"_drawoff_merge\"",
            keys.join(", "),
            parts.join(" UNION ALL "),
            quoted(ROW_NUMBER),
        ))?;
        self.lock()?;
        let same: Vec<String> = keys.iter().map(|name| format!("t.{name} = m.{name}")).collect();
        let same = same.join(" AND ");
        let mut set: Vec<String> = columns
            .iter()
            .filter(|name| !key.contains(name))
            .map(|name| format!("{0} = m.{0}", quoted(name)))
            .collect();
        set.extend(self.mapping().load_column.iter().map(|column| format!("{0} = m.{0}", quoted(&column.name))));
        let updated = match set.is_empty() {
            true => 0,
            false => self.session.changed(&format!(
                "UPDATE {} AS t SET {} FROM \"_drawoff_merge\" AS m WHERE {same}",
                self.sql_name,
                set.join(", ")
            ))?,
        };
        let inserted = self.session.changed(&format!(
            "INSERT INTO {0} ({list}) SELECT {list} FROM \"_drawoff_merge\" AS m \
             WHERE NOT EXISTS (SELECT 1 FROM {0} AS t WHERE {same})",
            self.sql_name
        ))?;
        if self.made.is_some() {
            self.session.execute(&format!("ALTER TABLE {} ADD PRIMARY KEY ({})", self.sql_name, keys.join(", ")))?;
        }
        self.notes.push(format!("{inserted} rows inserted and {updated} updated by key"));
        Ok(())
    }
}
