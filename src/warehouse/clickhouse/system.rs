//! ClickHouse as a system with tables.

use super::commit::Commit;
use super::http::Session;
use super::layout::Mapping;
use super::ledger::{Ledger, State};
use super::load::ClickHouseLoad;
use super::settings::Settings;
use super::sql::{TableName, quoted};
use super::table::Table;
use super::types::{TYPE_WITHOUT_VALUES, new_type};
use crate::column::Schema;
use crate::sink::UploadControl;
use crate::warehouse::sql::column_lines;
use crate::warehouse::{
    Begun, LEDGER_TABLE, LedgerRow, LoadError, LoadMode, LoadRequest, NewColumn, NewTable, TableTarget, Warehouse,
    Widening,
};

/// A ClickHouse server and database, not connected yet.
#[derive(Debug)]
pub struct ClickHouse {
    settings: Settings,
}

impl ClickHouse {
    /// Creates the system with these settings.
    pub fn new(settings: Settings) -> Self {
        ClickHouse { settings }
    }
}

impl Warehouse for ClickHouse {
    fn name(&self) -> String {
        self.settings.target()
    }

    fn notes(&self) -> Vec<String> {
        self.settings.notes()
    }

    fn check_options(&self, target: &TableTarget) -> Result<(), LoadError> {
        let unsupported = |what: &str, hint: &str| Err(target.unsupported(what, hint));
        let Some(name) = TableName::parse(&target.table) else {
            return Err(target.no_name("`people` or `crm.people`"));
        };
        target.refuse_ledger(&name.name)?;
        if !target.identity.members.is_empty() {
            return unsupported(
                "ClickHouse has no transaction in which several runs are recorded as loaded",
                "load each run by a command of its own, or identify all of them together by a text of your own",
            );
        }
        if target.commit_every.is_some() {
            return unsupported(
                "ClickHouse has no transaction in which the rows of a chunk and their record in the ledger appear together",
                "load the rows at once: they wait in a stage and need no memory; or load parts of the input under texts of \
                 your own",
            );
        }
        if let LoadMode::Merge { .. } = target.mode {
            return unsupported(
                "ClickHouse has no transaction in which rows are merged by key",
                "create the table as ReplacingMergeTree, ordered by the key, append to it, and read it with FINAL: the last \
                 row of a key counts",
            );
        }
        if target.again && target.mode == LoadMode::Append {
            return unsupported(
                "ClickHouse has no transaction in which the rows of an earlier load are replaced",
                "replace all rows of the table, or delete those of that load and its rows in _drawoff_loads, and load again",
            );
        }
        Ok(())
    }

    fn begin(&self, request: LoadRequest<'_>) -> Result<Begun, LoadError> {
        self.check_options(request.target)?;
        ClickHouseLoad::begin(&self.settings, &request)
    }

    fn loads(&self, table: Option<&str>, cancel: &UploadControl) -> Result<Vec<LedgerRow>, LoadError> {
        let session = Session::new(&self.settings, LEDGER_TABLE.to_owned(), cancel)?;
        let mut loads = Vec::new();
        match table {
            Some(table) => {
                let table = Table::named(&session, table)?;
                let ledger = Ledger::of_database(&table.database);
                if ledger.exists(&session)? {
                    loads = ledger.list(&session, Some(&table.recorded()))?;
                }
            }
            None => {
                for ledger in Ledger::all(&session)? {
                    loads.extend(ledger.list(&session, None)?);
                }
                loads.sort_by(|a, b| b.loaded_at.cmp(&a.loaded_at));
            }
        }
        Ok(loads.iter().map(super::ledger::Known::row).collect())
    }

    fn find_load(&self, target: &TableTarget, cancel: &UploadControl) -> Result<Option<LedgerRow>, LoadError> {
        let session = Session::new(&self.settings, target.name(), cancel)?;
        let table = Table::named(&session, &target.table)?;
        table.check_database(&session)?;
        let ledger = Ledger::of_database(&table.database);
        match target.identity.key_before(&table.recorded()) {
            Some(key) if ledger.exists(&session)? => {
                let Some(known) = ledger.latest(&session, &key)?.filter(|known| known.state == State::Moved) else {
                    return Ok(None);
                };
                // An empty table, of a loader that ended after its rows had moved: no load of the key will begin any more.
                let commit = Commit { session: &session, table: &table, ledger: &ledger };
                let _ = commit.drop_remains(&key, known.entry.generation);
                let mut row = known.row();
                table.look_for_rows(&session, &mut row);
                Ok(Some(row))
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
    let name = TableName::parse(table).ok_or_else(|| refuse(format!("`{table}` is not the name of a table")))?;
    let mapping = Mapping { table: None, widening: Widening::Evolve, load_column: None, first: Default::default() };
    let names = mapping.names(columns).map_err(|misfit| refuse(misfit.to_string()))?;
    let columns = columns.fields.iter().zip(&names).map(|(field, name)| {
        NewColumn::new(&**name, new_type(&field.ty).unwrap_or_else(|| TYPE_WITHOUT_VALUES.to_owned()))
    });
    let columns: Vec<NewColumn> = columns.collect();
    let lines = column_lines(columns.iter().map(|column| (quoted(&column.name), column.sql_type.clone())));
    let statement = format!("CREATE TABLE {} (\n{lines}\n) ENGINE = MergeTree ORDER BY tuple();\n", name.sql());
    Ok(NewTable { name: name.database.into_iter().chain([name.name]).collect(), columns, statement })
}
