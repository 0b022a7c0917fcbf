//! SQLite as a system with tables.

use std::path::PathBuf;

use super::catalog::Table;
use super::database::Database;
use super::layout::Mapping;
use super::ledger;
use super::load::{SqliteLoad, column_sql, declared_type};
use super::location::Location;
use super::sql::{quoted, table_name};
use super::values::Form;
use crate::column::{Field, Schema};
use crate::sink::UploadControl;
use crate::warehouse::earlier::Replaceable;
use crate::warehouse::{
    Begun, LEDGER_TABLE, LedgerRow, LoadError, LoadRequest, NewColumn, NewTable, TableTarget, Warehouse, Widening,
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
            return Err(target.no_name("`people`; a file of SQLite has no schemas"));
        };
        target.refuse_ledger(&name)?;
        if name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_")) {
            let what = "SQLite keeps names with `sqlite_` for its own tables";
            return Err(target.unsupported(what, "load into a table of another name"));
        }
        target.require_rows_with_keys()
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
                let in_chunks = target.commit_every.is_some();
                let mut found =
                    ledger::find(&db, &table, &claims, target.mode.as_str(), in_chunks, Replaceable::of(target))?;
                if let Some(row) = &mut found {
                    table.look_for_rows(&db, target.load_column.as_deref(), row)?;
                }
                Ok(found)
            }
            _ => Ok(None),
        }
    }

    fn ddl(&self, table: &str, columns: &Schema) -> Result<String, LoadError> {
        Ok(new_table(table, columns)?.statement)
    }
}

/// Returns the statement that creates `table` with the columns that a load would create.
pub fn new_table(table: &str, columns: &Schema) -> Result<NewTable, LoadError> {
    let refuse = |what: String| LoadError::Unsupported { table: table.to_owned(), what, hint: None };
    let name = table_name(table).ok_or_else(|| refuse(format!("`{table}` is not the name of a table")))?;
    let mapping = Mapping {
        table: None,
        widening: Widening::Evolve,
        key: Vec::new(),
        load_column: None,
        first: Default::default(),
        is_staged: false,
    };
    mapping.layout(columns).map_err(|misfits| refuse(misfits.first().map_or(String::new(), ToString::to_string)))?;
    let lines: Vec<String> =
        columns.fields.iter().map(|field| format!("    {}", column_sql(&field.name, Form::of(&field.ty)))).collect();
    let statement = format!("CREATE TABLE {} (\n{}\n);\n", quoted(&name), lines.join(",\n"));
    let column = |field: &Field| NewColumn::new(&*field.name, declared_type(Form::of(&field.ty)));
    Ok(NewTable { name: vec![name], columns: columns.fields.iter().map(column).collect(), statement })
}
