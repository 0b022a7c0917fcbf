//! PostgreSQL as a system with tables.

use super::layout::{MAX_NAME_BYTES, Mapping};
use super::ledger::Ledger;
use super::load::PostgresLoad;
use super::session::Session;
use super::settings::Settings;
use super::sql::{TableName, quoted};
use super::table::Table;
use super::types::{TYPE_WITHOUT_VALUES, new_type};
use crate::column::Schema;
use crate::sink::UploadControl;
use crate::warehouse::earlier::Replaceable;
use crate::warehouse::sql::column_lines;
use crate::warehouse::{
    Begun, LEDGER_TABLE, LedgerRow, LoadError, LoadRequest, NewColumn, NewTable, NulPolicy, TableTarget, Warehouse,
    Widening,
};

/// A PostgreSQL server and database, not connected yet.
#[derive(Debug)]
pub struct Postgres {
    settings: Settings,
}

impl Postgres {
    /// Creates the system with these settings.
    pub fn new(settings: Settings) -> Self {
        Postgres { settings }
    }
}

impl Warehouse for Postgres {
    fn name(&self) -> String {
        self.settings.target()
    }

    fn notes(&self) -> Vec<String> {
        self.settings.notes().to_vec()
    }

    fn check_options(&self, target: &TableTarget) -> Result<(), LoadError> {
        let Some(name) = TableName::parse(&target.table) else {
            return Err(target.no_name("`people` or `leads.people`"));
        };
        let longest = name.name.len().max(name.schema.map_or(0, |schema| schema.len()));
        if longest > MAX_NAME_BYTES {
            let what = format!("the name has {longest} bytes, and PostgreSQL keeps {MAX_NAME_BYTES}");
            return Err(target.unsupported(what, "load into a table of a shorter name"));
        }
        target.refuse_ledger(&name.name)?;
        target.require_rows_with_keys()
    }

    fn begin(&self, request: LoadRequest<'_>) -> Result<Begun, LoadError> {
        self.check_options(request.target)?;
        PostgresLoad::begin(&self.settings, &request)
    }

    fn loads(&self, table: Option<&str>, cancel: &UploadControl) -> Result<Vec<LedgerRow>, LoadError> {
        let session = Session::open(&self.settings, LEDGER_TABLE.to_owned(), cancel)?;
        if let Some(table) = table {
            let table = Table::find(&session, table)?;
            let ledger = Ledger::of_schema(&table.schema);
            return if ledger.exists(&session)? {
                ledger.list(&session, Some(&table.recorded()))
            } else {
                Ok(Vec::new())
            };
        }
        let schemas = session.rows(&format!(
            "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relname = '{LEDGER_TABLE}' AND c.relkind IN ('r', 'p') AND has_table_privilege(c.oid, 'SELECT') \
             ORDER BY n.nspname"
        ))?;
        let mut loads = Vec::new();
        for schema in schemas.iter().filter_map(|row| row.get(0)) {
            loads.extend(Ledger::of_schema(schema).list(&session, None)?);
        }
        loads.sort_by(|a, b| b.loaded_at.cmp(&a.loaded_at));
        Ok(loads)
    }

    fn find_load(&self, target: &TableTarget, cancel: &UploadControl) -> Result<Option<LedgerRow>, LoadError> {
        let session = Session::open(&self.settings, target.name(), cancel)?;
        let table = Table::find(&session, &target.table)?;
        let ledger = Ledger::of_schema(&table.schema);
        let recorded = table.recorded();
        match target.identity.key_before(&recorded) {
            Some(key) if !target.again && ledger.exists(&session)? => {
                let claims = target.identity.claims(&recorded, &key);
                let in_chunks = target.commit_every.is_some();
                let mut found =
                    ledger.find(&session, &claims, target.mode.as_str(), in_chunks, Replaceable::of(target))?;
                if let Some(row) = &mut found {
                    table.look_for_rows(&session, target.load_column.as_deref(), row);
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
    let name = TableName::parse(table).ok_or_else(|| refuse(format!("`{table}` is not the name of a table")))?;
    let mapping = Mapping {
        table: None,
        widening: Widening::Evolve,
        key: Vec::new(),
        nul: NulPolicy::Reject,
        load_column: None,
        first: Default::default(),
    };
    let names = mapping.names(columns).map_err(|misfit| refuse(misfit.to_string()))?;
    let columns = columns.fields.iter().zip(&names).map(|(field, name)| {
        let ty = new_type(&field.ty).map_or(TYPE_WITHOUT_VALUES.to_owned(), |(_, sql)| sql);
        NewColumn::new(&**name, ty)
    });
    let columns: Vec<NewColumn> = columns.collect();
    let lines = column_lines(columns.iter().map(|column| (quoted(&column.name), column.sql_type.clone())));
    let statement = format!("CREATE TABLE {} (\n{lines}\n);\n", name.sql());
    Ok(NewTable { name: name.schema.into_iter().chain([name.name]).collect(), columns, statement })
}
