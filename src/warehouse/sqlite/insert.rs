//! Inserts encoded rows: the statement, and the values that are bound to it. Several rows go into one statement.

use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::database::Database;
use super::layout::LayoutColumn;
use super::rowset::Rowset;
use super::sql::quoted;
use super::values::{Form, ValueReader, convert};
use crate::warehouse::LoadError;

/// Variables of one statement, of 32,766 at most.
const MAX_VARIABLES: usize = 32_766;

/// Values of one statement. Measured with SQLite 3.54 alone, CPU time of 50,000 rows of 18 values and of 300,000 rows of 5:
/// the least from 64 to 512 values; one row at a time 3 % and 20 % more, 4,096 values 20 % and three times as much, because
/// the statement is prepared anew for each batch and its variables leave the cache.
const VALUES_PER_STATEMENT: usize = 256;

/// The way of the rows of one batch into a table.
pub(super) struct Insert<'a> {
    table: &'a Rowset,
    /// For each column of the encoded rows, the form that it has and the other that its column in the table has.
    conversions: Vec<Option<(Form, Form)>>,
    /// The list of columns in SQL.
    names: String,
    /// The variables and constants of one row in SQL.
    values: String,
    /// The commit key, as the last variable of each row.
    load_key: Option<&'a str>,
}

impl<'a> Insert<'a> {
    /// Prepares rows of `layout` for `table`, which has all its columns. Those that only the table has get null. The column
    /// for the commit key has its name and the key.
    pub(super) fn new(table: &'a Rowset, layout: &[LayoutColumn], load_key: Option<(&str, &'a str)>) -> Self {
        let conversions = layout.iter().map(|column| {
            let (from, to) = (Form::of(&column.ty)?, table.find(&column.name)?.form()?);
            (from != to).then_some((from, to))
        });
        let conversions: Vec<_> = conversions.collect();
        let mut names: Vec<String> = layout.iter().map(|column| quoted(&column.name)).collect();
        let mut values = vec!["?"; layout.len()];
        for column in &table.columns {
            if !layout.iter().any(|own| own.name == column.name) {
                names.push(quoted(&column.name));
                values.push("NULL");
            }
        }
        if let Some((name, _)) = load_key {
            names.push(quoted(name));
            values.push("?");
        }
        let (names, values) = (names.join(", "), values.join(","));
        Insert { table, conversions, names, values, load_key: load_key.map(|(_, key)| key) }
    }

    /// Inserts `rows` rows and returns their number as SQLite counts them.
    pub(super) fn execute(&self, db: &Database, rows: u64, encoded: &[u8]) -> Result<u64, LoadError> {
        let per_row = self.conversions.len() + usize::from(self.load_key.is_some());
        // One row of defaults is all that a statement without columns inserts.
        let most = if self.names.is_empty() { 1 } else { VALUES_PER_STATEMENT / per_row.max(1) };
        let at_once = most.clamp(1, MAX_VARIABLES / per_row.max(1)).min(rows as usize);
        let mut reader = ValueReader(encoded);
        let (mut left, mut inserted) = (rows as usize, 0);
        let mut of_many = self.prepare(db, at_once)?;
        while left >= at_once {
            inserted += self.insert(db, &mut of_many, &mut reader, at_once)?;
            left -= at_once;
        }
        if left > 0 {
            inserted += self.insert(db, &mut self.prepare(db, left)?, &mut reader, left)?;
        }
        match reader.0.is_empty() {
            true => Ok(inserted),
            false => Err(LoadError::Bug("encoded rows have more values than columns".into())),
        }
    }

    fn prepare<'c>(&self, db: &'c Database, rows: usize) -> Result<Statement<'c>, LoadError> {
        let row = format!("({})", self.values);
        let (or_abort, table) = (self.table.or_abort, &self.table.sql_name);
        let sql = match self.names.is_empty() {
            true => format!("INSERT {or_abort} INTO {table} DEFAULT VALUES"),
            false => format!("INSERT {or_abort} INTO {table} ({}) VALUES {}", self.names, vec![&*row; rows].join(",")),
        };
        db.connection().prepare(&sql).map_err(|error| db.error(&error))
    }

    fn insert(
        &self,
        db: &Database,
        statement: &mut Statement<'_>,
        reader: &mut ValueReader<'_>,
        rows: usize,
    ) -> Result<u64, LoadError> {
        let mut variable = 0;
        let mut scratch = Vec::new();
        let mut bind = |value: ValueRef<'_>| {
            variable += 1;
            statement.raw_bind_parameter(variable, ToSqlOutput::Borrowed(value)).map_err(|error| db.error(&error))
        };
        for _ in 0..rows {
            for conversion in &self.conversions {
                let value = reader.next_value()?;
                match *conversion {
                    None => bind(value)?,
                    Some((from, to)) => bind(convert(value, from, to, &mut scratch))?,
                }
            }
            if let Some(key) = self.load_key {
                bind(ValueRef::Text(key.as_bytes()))?;
            }
        }
        statement.raw_execute().map(|rows| rows as u64).map_err(|error| db.error(&error))
    }
}
