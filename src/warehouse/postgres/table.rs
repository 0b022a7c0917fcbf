//! The table of a load in the catalog: its schema, and its columns if it exists.

use super::layout::TableColumn;
use super::session::Session;
use super::sql::{TableName, literal, quoted};
use super::types::ColumnType;
use crate::warehouse::{LedgerRow, LoadError, LoadMode};

/// A table, whether it exists or not.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
}

impl Table {
    /// Finds the table that `typed` names: along the search path, or else in its first schema.
    pub(super) fn find(session: &Session, typed: &str) -> Result<Self, LoadError> {
        let unsupported = |what: String, hint: &str| LoadError::Unsupported {
            table: session.table().to_owned(),
            what,
            hint: Some(hint.to_owned()),
        };
        let name = TableName::parse(typed).ok_or_else(|| {
            unsupported(format!("`{typed}` is not the name of a table"), "name it as `people` or `leads.people`")
        })?;
        let found = session.rows(&format!(
            "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = to_regclass({})",
            literal(&name.sql())
        ))?;
        if let Some(schema) = found.first().and_then(|row| row.get(0)) {
            return Ok(Table { schema: schema.to_owned(), name: name.name });
        }
        let schema = match name.schema {
            Some(schema) => {
                let known =
                    session.rows(&format!("SELECT 1 FROM pg_namespace WHERE nspname = {}", literal(&schema)))?;
                if known.is_empty() {
                    return Err(LoadError::refused(
                        session.table(),
                        format!("there is no schema `{schema}`"),
                        format!("create it: CREATE SCHEMA {}", quoted(&schema)),
                    ));
                }
                schema
            }
            None => {
                let current = session.rows("SELECT current_schema()")?;
                let current = current.first().and_then(|row| row.get(0)).map(str::to_owned);
                current.ok_or_else(|| {
                    unsupported("the search path has no schema".to_owned(), "name the schema, as in `leads.people`")
                })?
            }
        };
        Ok(Table { schema, name: name.name })
    }

    /// Returns the name under which loads are recorded.
    pub(super) fn recorded(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Sets the rows that the table has of an earlier load, if they are fewer than the ledger says: by their key where a column
    /// has it, else only if the table is empty. What cannot be read is not known.
    pub(super) fn look_for_rows(&self, session: &Session, key_column: Option<&str>, row: &mut LedgerRow) {
        let number = |sql: String| {
            let rows = session.rows(&sql).ok()?;
            rows.first()?.get(0)?.parse::<u64>().ok()
        };
        if row.rows == 0 {
            return;
        }
        let any = number(format!("SELECT count(*) FROM (SELECT FROM {} LIMIT 1) AS one", self.sql()));
        let is_counted = row.set.is_none() && row.mode == LoadMode::Append.as_str();
        row.rows_there = match (any, key_column.filter(|_| is_counted)) {
            (Some(0), _) => Some(0),
            (Some(_), Some(column)) => {
                let (column, key) = (quoted(column), literal(row.row_key()));
                number(format!("SELECT count(*) FROM {} WHERE {column} = {key}", self.sql()))
            }
            _ => None,
        };
        row.rows_there = row.rows_there.filter(|there| *there < row.rows);
    }

    /// Returns true if policies decide row by row what this user may write, where COPY is refused.
    pub(super) fn has_row_policies(&self, session: &Session) -> Result<bool, LoadError> {
        let rows = session.rows(&format!(
            "SELECT row_security_active(c.oid) FROM pg_class c WHERE c.oid = to_regclass({})",
            literal(&self.sql())
        ))?;
        Ok(rows.first().and_then(|row| row.get(0)) == Some("t"))
    }

    /// Returns the name in SQL.
    pub(super) fn sql(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// Reads the columns; `None` if there is no table. Fails for views and other relations that take no COPY.
    pub(super) fn columns(&self, session: &Session) -> Result<Option<Vec<TableColumn>>, LoadError> {
        let name = literal(&self.sql());
        let kind = session.rows(&format!("SELECT relkind FROM pg_class WHERE oid = to_regclass({name})"))?;
        let Some(kind) = kind.first().and_then(|row| row.get(0)) else { return Ok(None) };
        // Tables, partitioned tables and foreign ones.
        if !matches!(kind, "r" | "p" | "f") {
            return Err(LoadError::refused(
                session.table(),
                "it is a view, an index or a sequence, not a table",
                "load into a table of another name",
            ));
        }
        // Of a domain, the type below it, which has the same binary form.
        let rows = session.rows(&format!(
            "SELECT a.attname, base.name, base.kind, base.category, base.modifier, \
             format_type(a.atttypid, a.atttypmod), format_type(base.oid, base.modifier), format_type(base.oid, -1), \
             a.attnotnull OR base.not_null, a.atthasdef OR base.has_default OR a.attidentity <> '', \
             a.attgenerated <> '' OR a.attidentity = 'a' \
             FROM pg_attribute a CROSS JOIN LATERAL ( \
                WITH RECURSIVE chain(oid, modifier) AS (SELECT a.atttypid, a.atttypmod UNION ALL \
                    SELECT d.typbasetype, d.typtypmod FROM chain JOIN pg_type d ON d.oid = chain.oid \
                    WHERE d.typtype = 'd') \
                SELECT max(t.oid::bigint) FILTER (WHERE t.typtype <> 'd')::oid AS oid, \
                    max(t.typname::text) FILTER (WHERE t.typtype <> 'd') AS name, \
                    max(t.typtype::text) FILTER (WHERE t.typtype <> 'd') AS kind, \
                    max(t.typcategory::text) FILTER (WHERE t.typtype <> 'd') AS category, \
                    max(chain.modifier) FILTER (WHERE t.typtype <> 'd') AS modifier, \
                    bool_or(t.typnotnull) AS not_null, bool_or(t.typdefault IS NOT NULL) AS has_default \
                FROM chain JOIN pg_type t ON t.oid = chain.oid) AS base \
             WHERE a.attrelid = to_regclass({name}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        ))?;
        let columns = rows.iter().map(|row| {
            let text = |index: usize| row.get(index).unwrap_or_default();
            TableColumn {
                name: text(0).into(),
                ty: ColumnType::of(text(1), text(2), text(3), text(4).parse().unwrap_or(-1)),
                sql_type: text(5).to_owned(),
                base_type: text(6).to_owned(),
                cast_type: text(7).to_owned(),
                takes_no_null: text(8) == "t",
                has_default: text(9) == "t",
                is_generated: text(10) == "t",
            }
        });
        Ok(Some(columns.collect()))
    }
}
