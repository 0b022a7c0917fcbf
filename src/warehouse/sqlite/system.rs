//! SQLite as a system with tables.

use std::path::PathBuf;

use super::catalog::Table;
use super::database::Database;
use super::layout::Mapping;
use super::ledger;
use super::load::{SqliteLoad, column_sql};
use super::location::Location;
use super::sql::{quoted, table_name};
use super::values::Form;
use crate::column::Schema;
use crate::sink::UploadControl;
use crate::warehouse::{
    Begun, LEDGER_TABLE, LedgerRow, LoadError, LoadMode, LoadRequest, TableTarget, Warehouse, Widening,
};

/// A file with tables, not opened yet.
#[derive(Debug)]
pub struct Sqlite {
    location: Location,
}

impl Sqlite {
    /// Creates the system of this file.
    pub fn new(location: Location) -> Self {
        Sqlite { location }
    }

    fn unsupported(&self, table: &str, what: &str, hint: &str) -> LoadError {
        let table = format!("{table} of {}", self.name());
        LoadError::Unsupported { table, what: what.to_owned(), hint: Some(hint.to_owned()) }
    }
}

impl Warehouse for Sqlite {
    fn name(&self) -> String {
        self.location.to_string()
    }

    fn file(&self) -> Option<PathBuf> {
        Some(self.location.path().to_owned())
    }

    fn check_options(&self, target: &TableTarget) -> Result<(), LoadError> {
        let Some(name) = table_name(&target.table) else {
            let what = format!("`{}` is not the name of a table", target.table);
            return Err(self.unsupported(&target.table, &what, "name it as `people`; a file of SQLite has no schemas"));
        };
        let hint = "load into a table of another name";
        if name.eq_ignore_ascii_case(LEDGER_TABLE) {
            return Err(self.unsupported(&target.table, "this table records the loads", hint));
        }
        if name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_")) {
            return Err(self.unsupported(&target.table, "SQLite keeps names with `sqlite_` for its own tables", hint));
        }
        if target.again && target.mode == LoadMode::Append && target.load_column.is_none() {
            let what = "the rows of an earlier load cannot be told from others, so they cannot be replaced";
            let hint = "keep the key of each load in a column from the first load on, or merge by a key";
            return Err(self.unsupported(&target.table, what, hint));
        }
        Ok(())
    }

    fn begin(&self, request: LoadRequest<'_>) -> Result<Begun, LoadError> {
        self.check_options(request.target)?;
        SqliteLoad::begin(&self.location, &request)
    }

    fn loads(&self, table: Option<&str>, cancel: &UploadControl) -> Result<Vec<LedgerRow>, LoadError> {
        let Some(db) = Database::open_existing(&self.location, LEDGER_TABLE.to_owned(), cancel)? else {
            return Err(LoadError::Connect {
                target: self.name(),
                cause: "there is no such file".into(),
                hint: None,
                is_transient: false,
            });
        };
        let name = table.map(|table| Table::find(&db, table).map(|table| table.name)).transpose()?;
        ledger::list(&db, name.as_deref())
    }

    fn find_load(&self, target: &TableTarget, cancel: &UploadControl) -> Result<Option<LedgerRow>, LoadError> {
        let Some(db) = Database::open_existing(&self.location, target.name(), cancel)? else { return Ok(None) };
        let table = Table::find(&db, &target.table)?;
        match target.identity.key_before(&table.recorded()) {
            Some(key) if !target.again => {
                let claims = target.identity.claims(&table.recorded(), &key);
                ledger::find(&db, &table, &claims, target.mode.as_str(), target.commit_every.is_some())
            }
            _ => Ok(None),
        }
    }

    fn ddl(&self, table: &str, columns: &Schema) -> Result<String, LoadError> {
        ddl(table, columns)
    }
}

/// Returns the statement that creates `table` with the columns that a load would create.
pub fn ddl(table: &str, columns: &Schema) -> Result<String, LoadError> {
    let refuse = |what: String| LoadError::Unsupported { table: table.to_owned(), what, hint: None };
    let name = table_name(table).ok_or_else(|| refuse(format!("`{table}` is not the name of a table")))?;
    let mapping = Mapping { table: None, widening: Widening::Evolve, key: Vec::new(), load_column: None };
    mapping.layout(columns).map_err(|misfits| refuse(misfits.first().map_or(String::new(), ToString::to_string)))?;
    let lines: Vec<String> =
        columns.fields.iter().map(|field| format!("    {}", column_sql(&field.name, Form::of(&field.ty)))).collect();
    Ok(format!("CREATE TABLE {} (\n{}\n);\n", quoted(&name), lines.join(",\n")))
}
