//! The table of a load in the schema of the file: whether it exists, and its columns.

use rusqlite::params;

use super::database::Database;
use super::kinds::Kind;
use super::layout::TableColumn;
use super::sql::{is_same_name, quoted, table_name};
use crate::warehouse::{LedgerRow, LoadError, LoadMode};

/// A table, whether it exists or not.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// The name as the file has it; as it was typed if there is no such table.
    pub(super) name: String,
    /// The columns; `None` if there is no table.
    pub(super) columns: Option<Vec<TableColumn>>,
    /// True if its definition may have rules by which a row that breaks a constraint replaces others or is left out.
    pub(super) resolves_conflicts: bool,
}

impl Table {
    /// Sets the rows that the table has of an earlier load, if they are fewer than the ledger says: by their key where a column
    /// has it, else only if the table is empty.
    pub(super) fn look_for_rows(
        &self,
        db: &Database,
        key_column: Option<&str>,
        row: &mut LedgerRow,
    ) -> Result<(), LoadError> {
        if row.rows == 0 || self.columns.is_none() {
            return Ok(());
        }
        let has_column = |name: &&str| self.columns.iter().flatten().any(|column| is_same_name(&column.name, name));
        let is_counted = row.set.is_none() && row.mode == LoadMode::Append.as_str();
        let any = format!("SELECT 1 FROM {} LIMIT 1", self.sql());
        let there = match key_column.filter(|_| is_counted).filter(has_column) {
            _ if db.rows(&any, [], |_| Ok(()))?.is_empty() => Some(0),
            Some(column) => {
                let sql = format!("SELECT count(*) FROM {} WHERE {} = ?", self.sql(), quoted(column));
                db.rows(&sql, [row.row_key()], |row| row.get::<_, i64>(0))?.pop().map(|n| n.max(0) as u64)
            }
            None => None,
        };
        row.rows_there = there.filter(|there| *there < row.rows);
        Ok(())
    }

    /// Finds the table that `typed` names. Fails for views and other relations that take no rows.
    pub(super) fn find(db: &Database, typed: &str) -> Result<Self, LoadError> {
        let unsupported = |what: String, hint: &str| LoadError::Unsupported {
            table: db.table().to_owned(),
            what,
            hint: Some(hint.to_owned()),
        };
        let name = table_name(typed)
            .ok_or_else(|| unsupported(format!("`{typed}` is not the name of a table"), "name it as `people`"))?;
        let found = db.rows(
            "SELECT name, type, strict, wr FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE",
            [&name],
            |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?, row.get::<_, bool>(3)?))
            },
        )?;
        let Some((name, kind, is_strict, is_without_row_id)) = found.into_iter().next() else {
            return Ok(Table { name, columns: None, resolves_conflicts: false });
        };
        let other = match kind.as_str() {
            "table" => None,
            "view" => Some("it is a view"),
            "virtual" => Some("it is a virtual table"),
            _ => Some("it is a table of SQLite's own"),
        };
        if let Some(what) = other {
            return Err(LoadError::refused(db.table(), what, "load into a table of another name"));
        }
        let rows = db.rows(
            "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?, 'main')",
            params![name],
            |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, bool>(2)?,
                    row.get::<_, bool>(3)?,
                    row.get::<_, i64>(4)?,
                    row.get::<_, i64>(5)?,
                ))
            },
        )?;
        let key_columns = rows.iter().filter(|row| row.4 > 0).count();
        let columns = rows.into_iter().map(|(column, declared, not_null, has_default, key, hidden)| {
            let is_row_id =
                !is_without_row_id && key == 1 && key_columns == 1 && declared.eq_ignore_ascii_case("INTEGER");
            let kind = Kind::of(&declared, is_strict, is_row_id);
            let collation = collation(db, &name, &column);
            TableColumn {
                collation,
                name: column.into(),
                kind,
                declared,
                // SQLite would number the rows that have a null there.
                takes_no_null: not_null || is_row_id || key > 0 && (is_without_row_id || is_strict),
                has_default: has_default || is_row_id,
                is_generated: hidden > 1,
            }
        });
        let columns = Some(columns.collect());
        let rules = db.rows(
            "SELECT (SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?1), EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'trigger' AND tbl_name = ?1 COLLATE NOCASE)",
            [&name],
            |row| Ok((has_conflict_rule(&row.get::<_, Option<String>>(0)?.unwrap_or_default()), row.get::<_, bool>(1)?)),
        )?;
        let (resolves_conflicts, has_triggers) = rules.into_iter().next().unwrap_or_default();
        if resolves_conflicts && has_triggers {
            // What overrides the rules of the table would override those in the triggers.
            return Err(LoadError::refused(
                db.table(),
                "it has rules for conflicts (ON CONFLICT), by which rows could be lost, and triggers",
                "load into a table of another name, and INSERT … SELECT from there",
            ));
        }
        Ok(Table { name, columns, resolves_conflicts })
    }

    /// Returns the part of INSERT and UPDATE by which a row that breaks a constraint ends the load, whatever the table's own
    /// rule is: it would lose that row or another one.
    pub(super) fn or_abort(&self) -> &'static str {
        if self.resolves_conflicts { "OR ABORT" } else { "" }
    }

    /// Returns the name in SQL.
    pub(super) fn sql(&self) -> String {
        format!("main.{}", quoted(&self.name))
    }

    /// Returns the name that goes into commit keys.
    pub(super) fn recorded(&self) -> String {
        self.name.to_ascii_lowercase()
    }

    /// Returns a table whose rows change if rows of this one are deleted; `None` if there is none.
    pub(super) fn cascades_to(&self, db: &Database) -> Result<Option<String>, LoadError> {
        let found = db.rows(
            "SELECT l.name FROM pragma_table_list AS l, pragma_foreign_key_list(l.name, 'main') AS f \
             WHERE l.schema = 'main' AND l.type = 'table' AND f.\"table\" = ?1 COLLATE NOCASE \
             AND f.on_delete NOT IN ('NO ACTION', 'RESTRICT') AND l.name <> ?1 COLLATE NOCASE LIMIT 1",
            [&self.name],
            |row| row.get::<_, String>(0),
        )?;
        Ok(found.into_iter().next())
    }
}

/// Returns the collation of a column, if it is one of SQLite's own that takes different texts for the same.
fn collation(db: &Database, table: &str, column: &str) -> Option<&'static str> {
    let (_, collation, ..) = db.connection().column_metadata(Some("main"), table, column).ok()?;
    let collation = collation?;
    ["NOCASE", "RTRIM"].into_iter().find(|own| collation.to_bytes().eq_ignore_ascii_case(own.as_bytes()))
}

/// Returns true if the definition of a table may have `ON CONFLICT`; also if only a name or a comment has these words.
fn has_conflict_rule(sql: &str) -> bool {
    let words: Vec<&str> =
        sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    words.windows(2).any(|pair| pair[0].eq_ignore_ascii_case("on") && pair[1].eq_ignore_ascii_case("conflict"))
}
