//! An Iceberg catalog as a target of loads.

use std::time::Duration;

use super::catalog::{Catalog, TableName};
use super::files::FileAccess;
use super::ledger::{self, KEY_TABLE};
use super::load::{IcebergLoad, earlier, no_table, with_rows_there};
use super::location::{CatalogKind, Location};
use super::orphans::remove_orphans;
use super::rest::RestCatalog;
use super::sqlite::SqliteCatalog;
use super::types::{FORMS, PlannedSchema, quoted, sql_type, unfit_names};
use super::writable::{check_partition_names, writable};
use crate::column::{Field, Schema};
use crate::sink::UploadControl;
use crate::warehouse::{
    Begun, LedgerRow, LoadError, LoadMode, LoadRequest, NewColumn, NewTable, Orphans, TableTarget, Warehouse,
};

/// An Iceberg catalog.
pub struct Iceberg {
    location: Location,
    /// Credentials of the stores that its tables are in.
    options: Vec<(String, String)>,
}

impl std::fmt::Debug for Iceberg {
    /// Omits the options, which hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iceberg").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Iceberg {
    /// Creates the target of a catalog. `options` are those of the stores that its tables are in.
    pub fn new(location: Location, options: Vec<(String, String)>) -> Self {
        Iceberg { location, options }
    }

    fn access(&self, cancel: &UploadControl) -> FileAccess {
        FileAccess { options: self.options.clone(), cancel: cancel.clone() }
    }

    /// Opens a table, which need not exist. `shown` is its name in messages.
    fn open(&self, table: &str, shown: String, cancel: &UploadControl) -> Result<Box<dyn Catalog>, LoadError> {
        let name = table_name(table, &shown)?;
        Ok(match &self.location.kind {
            CatalogKind::Sqlite(settings) => Box::new(SqliteCatalog::new(settings, name, shown, self.access(cancel))),
            CatalogKind::Rest(settings) => {
                let own = self.options.iter().map(|(name, _)| name.clone()).collect();
                Box::new(RestCatalog::new(settings, name, (shown, self.location.name()), own, cancel)?)
            }
        })
    }

    /// Fails if the catalog is a file that does not exist, of which there is nothing to list.
    fn check_exists(&self) -> Result<(), LoadError> {
        match &self.location.kind {
            CatalogKind::Sqlite(settings) if !settings.file.try_exists().unwrap_or(true) => Err(LoadError::NoTable {
                table: self.name(),
                cause: format!("there is no file {}", settings.file.display()),
                hint: "specify the file that the loads named".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn shown(&self, table: &str) -> String {
        format!("{table} of {}", self.name())
    }

    fn loads_of(&self, table: &str, cancel: &UploadControl) -> Result<Vec<LedgerRow>, LoadError> {
        let found = self.open(table, self.shown(table), cancel)?.load()?;
        let found = found.ok_or_else(|| no_table(&self.shown(table)))?;
        let rows = ledger::all(&found.metadata).into_iter();
        Ok(rows.map(|row| LedgerRow { table: table.to_owned(), ..row }).collect())
    }
}

fn table_name(table: &str, shown: &str) -> Result<TableName, LoadError> {
    TableName::parse(table).ok_or_else(|| LoadError::Unsupported {
        table: shown.to_owned(),
        what: format!("`{table}` is not the name of an Iceberg table"),
        hint: Some("name its namespace and the table, as in crm.companies".to_owned()),
    })
}

impl Warehouse for Iceberg {
    fn name(&self) -> String {
        self.location.name()
    }

    fn check_options(&self, target: &TableTarget) -> Result<(), LoadError> {
        let unsupported = |what: &str, hint: &str| Err(target.unsupported(what, hint));
        table_name(&target.table, &target.name())?;
        match target.mode {
            LoadMode::Append => {}
            LoadMode::Replace => {
                return unsupported(
                    "drawoff appends to Iceberg tables and replaces no rows of theirs",
                    "load into a new table, or delete the rows by an engine first (DELETE FROM) and append",
                );
            }
            LoadMode::Merge { .. } => {
                return unsupported(
                    "rows of data files are not merged by key",
                    "append to a table of its own and merge from it by an engine (MERGE INTO)",
                );
            }
        }
        if target.again {
            return unsupported(
                "drawoff appends to Iceberg tables and replaces no rows of an earlier load",
                "delete the rows by an engine, and load them under a key of your own",
            );
        }
        if target.load_column.is_some() {
            return unsupported(
                "no column is needed for the key of a load: the snapshot and a property of the table have it",
                "leave the column out",
            );
        }
        if target.commit_every.is_some() {
            return unsupported(
                "a load is one snapshot, whose files need no memory",
                "load the rows at once, or parts of the input under keys of their own",
            );
        }
        Ok(())
    }

    fn begin(&self, request: LoadRequest<'_>) -> Result<Begun, LoadError> {
        self.check_options(request.target)?;
        let catalog = self.open(&request.target.table, request.target.name(), &request.cancel)?;
        IcebergLoad::begin(catalog, &self.access(&request.cancel), &request)
    }

    fn loads(&self, table: Option<&str>, cancel: &UploadControl) -> Result<Vec<LedgerRow>, LoadError> {
        self.check_exists()?;
        let tables = match (table, &self.location.kind) {
            (Some(table), _) => vec![table.to_owned()],
            (None, CatalogKind::Sqlite(settings)) => {
                let catalog = SqliteCatalog::new(settings, TableName::default(), self.name(), self.access(cancel));
                let text = |of: TableName| format!("{}.{}", of.namespace_text(), of.name);
                catalog.tables()?.into_iter().map(text).collect()
            }
            (None, CatalogKind::Rest(_)) => {
                return Err(LoadError::Unsupported {
                    table: self.name(),
                    what: "the loads of a catalog over HTTP are listed by table".to_owned(),
                    hint: Some("name the table, as in crm.companies".to_owned()),
                });
            }
        };
        let mut rows = Vec::new();
        for table in tables {
            rows.extend(self.loads_of(&table, cancel)?);
        }
        rows.sort_by(|a, b| b.loaded_at.cmp(&a.loaded_at).then_with(|| a.key.cmp(&b.key)));
        Ok(rows)
    }

    fn find_load(&self, target: &TableTarget, cancel: &UploadControl) -> Result<Option<LedgerRow>, LoadError> {
        let catalog = self.open(&target.table, target.name(), cancel)?;
        let Some(found) = catalog.load()? else {
            // Before a run is started for it, which costs money.
            check_partition_names(target)?;
            catalog.new_table()?;
            return Ok(None);
        };
        writable(&found.metadata, target, true)?;
        match target.identity.key_before(KEY_TABLE) {
            Some(key) => Ok(earlier(&found.metadata, target, &key)?.map(|row| with_rows_there(&found.metadata, row))),
            None => Ok(None),
        }
    }

    fn remove_orphans(
        &self,
        table: Option<&str>,
        age: Duration,
        only_list: bool,
        cancel: &UploadControl,
    ) -> Result<Orphans, LoadError> {
        let Some(table) = table else {
            return Err(LoadError::Unsupported {
                table: self.name(),
                what: "no table is specified".to_owned(),
                hint: Some("name the table, as in crm.companies".to_owned()),
            });
        };
        self.check_exists()?;
        let catalog = self.open(table, self.shown(table), cancel)?;
        remove_orphans(&*catalog, &self.access(cancel), &self.shown(table), age, only_list)
    }

    fn ddl(&self, table: &str, columns: &Schema) -> Result<String, LoadError> {
        Ok(new_table(table, columns)?.statement)
    }
}

/// Returns the statement of Spark that creates `table` with the columns that a load would create.
pub fn new_table(table: &str, columns: &Schema) -> Result<NewTable, LoadError> {
    use super::types::IcebergRules;
    use crate::warehouse::table_rows::FormatRules as _;
    let refuse = |what: String| LoadError::Unsupported { table: table.to_owned(), what, hint: None };
    if let Some(reason) = unfit_names(&columns.fields) {
        return Err(refuse(reason));
    }
    let (mut made, mut fields) = (Vec::new(), Vec::new());
    for field in &columns.fields {
        let failed = |what: &str| refuse(format!("column `{}` {what}", field.name));
        let ty = IcebergRules::new_type(&field.ty).map_err(failed)?;
        made.push(NewColumn::new(&*field.name, sql_type(&ty).map_err(failed)?));
        fields.push(Field::new(field.name.clone(), ty));
    }
    // Catalogs give the fields of a new table the same ids.
    let planned = PlannedSchema::new(&Schema::new(fields)).map_err(|what| refuse(what.to_owned()))?;
    if let Some(reason) = planned.name_clash(0, &[]) {
        return Err(refuse(reason));
    }
    let forms = match planned.forms.text() {
        forms if forms.is_empty() => String::new(),
        forms => format!(", '{FORMS}' = '{forms}'"),
    };
    let name: Vec<String> = table.split('.').map(str::to_owned).collect();
    let sql = name.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".");
    let lines: Vec<String> =
        made.iter().map(|column| format!("  {} {}", quoted(&column.name), column.sql_type)).collect();
    let statement = format!(
        "CREATE TABLE {sql} (\n{}\n) USING iceberg TBLPROPERTIES ('format-version' = '2'{forms});\n",
        lines.join(",\n")
    );
    Ok(NewTable { name, columns: made, statement })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Fixed, Type, Unit};

    #[test]
    fn the_statement_creates_the_columns_of_a_load() {
        let inner = vec![Field::new("x", Type::Float), Field::new("y", Type::Json)];
        let millis = Type::Fixed(Fixed::Timestamp { unit: Unit::Millis, local: false });
        let columns = Schema::new(vec![
            Field::new("a b", Type::Int { fits_double: true }),
            Field::new("s", Type::List(Box::new(Type::Struct(inner)))),
            Field::new("m", Type::map(Type::Decimal)),
            Field::new("t", millis),
        ]);
        assert_eq!(
            new_table("crm.people", &columns).unwrap().statement,
            "CREATE TABLE `crm`.`people` (\n  `a b` BIGINT,\n  `s` ARRAY<STRUCT<`x`: DOUBLE, `y`: STRING>>,\n  `m` MAP<STRING, \
             DECIMAL(38, 0)>,\n  `t` TIMESTAMP\n) USING iceberg TBLPROPERTIES ('format-version' = '2', \
             'drawoff.text-forms' = '7:json');\n"
        );
        assert!(new_table("p", &Schema::new(vec![Field::new("", Type::Text)])).is_err());
    }
}
