//! Merges the rows of the stage into the table by a key.

use std::sync::Arc;

use super::database::Database;
use super::rowset::{Rowset, STAGE};
use super::sql::{is_same_name, quoted};
use crate::warehouse::{CommitKey, LoadError};

/// A merge of the stage, whose values are final, into the table, which has all its columns.
pub(super) struct Merge<'a> {
    pub(super) db: &'a Database,
    /// The table in SQL.
    pub(super) table: &'a str,
    /// `OR ABORT` if its own rules for rows that break a constraint must not apply; else empty.
    pub(super) or_abort: &'static str,
    pub(super) stage: &'a Rowset,
    /// The columns of the key.
    pub(super) key: &'a [Arc<str>],
    /// The column that gets the commit key.
    pub(super) load_column: Option<&'a str>,
}

impl Merge<'_> {
    /// Updates the rows of the table that have a key of the load, and inserts the others. The last row of a key counts.
    /// Returns a sentence for the report.
    pub(super) fn execute(&self, key: &CommitKey) -> Result<String, LoadError> {
        let db = self.db;
        let number = self.stage.row_number().ok_or_else(|| self.stage.unnumbered(db))?;
        let is_key = |name: &str| self.key.iter().any(|key| is_same_name(key, name));
        let keys: Vec<String> = self.key.iter().map(|name| quoted(name)).collect();
        let same = |a: &str, b: &str| {
            keys.iter().map(|key| format!("{a}.{key} = {b}.{key}")).collect::<Vec<_>>().join(" AND ")
        };
        db.execute(&format!(
            "CREATE INDEX temp.\"_drawoff_key\" ON \"_drawoff_stage\" ({}); \
             DELETE FROM {STAGE} AS m WHERE EXISTS (SELECT 1 FROM {STAGE} AS later WHERE {} AND later.{number} > m.{number})",
            keys.join(", "),
            same("later", "m"),
        ))?;
        let (mut names, mut values, mut set) = (self.stage.column_list(), self.stage.column_list(), Vec::new());
        for column in self.stage.columns.iter().filter(|column| !is_key(&column.name)) {
            set.push((quoted(&column.name), quoted(&column.name)));
        }
        if let Some(name) = self.load_column {
            names.push(quoted(name));
            values.push(format!("'{}'", key.as_str()));
            set.push((quoted(name), format!("'{}'", key.as_str())));
        }
        let (names, values) = (names.join(", "), values.join(", "));
        let assignments = |source: &str| {
            let set = set.iter().map(|(name, value)| match value.starts_with('\'') {
                true => format!("{name} = {value}"),
                false => format!("{name} = {source}.{value}"),
            });
            set.collect::<Vec<_>>().join(", ")
        };
        // Of the table first, whose rows may have no index over the key; the stage has one.
        db.execute(&format!(
            "CREATE TEMPORARY TABLE \"_drawoff_matched\" AS SELECT DISTINCT m.{number} AS n \
             FROM {} AS t CROSS JOIN {STAGE} AS m ON {}",
            self.table,
            same("m", "t")
        ))?;
        let count = |sql: &str| -> Result<u64, LoadError> {
            Ok(db.rows(sql, [], |row| row.get::<_, i64>(0))?.first().map_or(0, |count| *count as u64))
        };
        let matched = count("SELECT count(*) FROM temp.\"_drawoff_matched\"")?;
        let distinct = count(&format!("SELECT count(*) FROM {STAGE}"))?;
        // SQLite itself knows whether a unique index covers the key.
        let action = match set.is_empty() {
            true => "NOTHING".to_owned(),
            false => format!("UPDATE SET {}", assignments("excluded")),
        };
        let upsert = format!(
            "INSERT {} INTO {} ({names}) SELECT {values} FROM {STAGE} WHERE true ORDER BY {number} \
             ON CONFLICT ({}) DO {action}",
            self.or_abort,
            self.table,
            keys.join(", ")
        );
        let updated = match db.connection().prepare(&upsert).is_ok() {
            true => {
                let changed = db.changed(&upsert, [])?;
                db.check_count(if set.is_empty() { distinct - matched } else { distinct }, changed)?;
                if set.is_empty() { 0 } else { matched }
            }
            false => {
                let updated = match set.is_empty() {
                    true => 0,
                    false => db.changed(
                        &format!(
                            "UPDATE {} {} AS t SET {} FROM {STAGE} AS m WHERE {}",
                            self.or_abort,
                            self.table,
                            assignments("m"),
                            same("m", "t")
                        ),
                        [],
                    )?,
                };
                let inserted = db.changed(
                    &format!(
                        "INSERT {} INTO {} ({names}) SELECT {values} FROM {STAGE} \
                         WHERE {number} NOT IN (SELECT n FROM temp.\"_drawoff_matched\") ORDER BY {number}",
                        self.or_abort, self.table
                    ),
                    [],
                )?;
                db.check_count(distinct - matched, inserted)?;
                updated
            }
        };
        Ok(format!("{} inserted and {updated} updated by key", crate::text::counted(distinct - matched, "row")))
    }
}
