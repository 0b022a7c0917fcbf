//! A Delta table as a target of loads. The system is the table: its URL names it.

use std::time::Duration;

use super::ledger::{self, KEY_TABLE};
use super::load::{DeltaLoad, earlier, no_table, read_error, with_rows_there, writable};
use super::orphans::remove_orphans;
use super::schema::{FORMS, forms_of, new_schema, unfit_names};
use super::snapshot::{LOG, Snapshot};
use crate::column::Schema;
use crate::sink::UploadControl;
use crate::warehouse::storage::{load_error, new_attempt};
use crate::warehouse::{
    Begun, FilesPlace, LedgerRow, LoadError, LoadMode, LoadRequest, NewColumn, NewTable, Orphans, TableTarget,
    Warehouse,
};

/// A Delta table, which need not exist yet.
#[derive(Debug)]
pub struct Delta {
    place: FilesPlace,
    name: String,
}

impl Delta {
    /// Creates the target of the table at `place`. `url` names it in messages.
    pub fn new(place: FilesPlace, url: &str) -> Self {
        Delta { place, name: url.to_owned() }
    }

    fn place(&self, cancel: &UploadControl) -> FilesPlace {
        let mut place = self.place.clone();
        if let Some(location) = &mut place.store {
            location.uploads = cancel.clone();
        }
        place
    }

    fn refuse_table(&self, table: Option<&str>) -> Result<(), LoadError> {
        match table.is_some_and(|table| !table.is_empty()) {
            true => Err(LoadError::Unsupported {
                table: self.name(),
                what: "the URL of a Delta table names it, so that it has no further tables".to_owned(),
                hint: Some("leave the name of the table out".to_owned()),
            }),
            false => Ok(()),
        }
    }

    fn snapshot(&self, cancel: &UploadControl) -> Result<Snapshot, LoadError> {
        let storage = self.place(cancel).open().map_err(|error| load_error(&self.name, error))?;
        Snapshot::read(&storage, false).map_err(|error| read_error(&self.name, error))
    }
}

impl Warehouse for Delta {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn check_options(&self, target: &TableTarget) -> Result<(), LoadError> {
        let unsupported = |what: &str, hint: &str| Err(target.unsupported(what, hint));
        if !target.table.is_empty() {
            return unsupported(
                "the URL of a Delta table names it, so that it has no further tables",
                "name the directory of the table in the URL, such as delta:tables/people",
            );
        }
        if let LoadMode::Merge { .. } = target.mode {
            return unsupported(
                "rows of data files are not merged by key",
                "append to the table and merge from it by the engine that reads it (MERGE INTO in Spark, or \
                 `DeltaTable.merge` of deltalake), or replace the whole table",
            );
        }
        if target.load_column.is_some() {
            return unsupported(
                "no column is needed for the key of a load: each data file names its load",
                "leave the column out; the rows of one load can be replaced without it",
            );
        }
        if target.commit_every.is_some() {
            return unsupported(
                "a load is one entry of the log, whose files need no memory",
                "load the rows at once, or parts of the input under keys of their own",
            );
        }
        Ok(())
    }

    fn begin(&self, request: LoadRequest<'_>) -> Result<Begun, LoadError> {
        self.check_options(request.target)?;
        DeltaLoad::begin(self.place.clone(), &request)
    }

    fn loads(&self, table: Option<&str>, cancel: &UploadControl) -> Result<Vec<LedgerRow>, LoadError> {
        self.refuse_table(table)?;
        let snapshot = self.snapshot(cancel)?;
        if snapshot.version.is_none() {
            return Err(no_table(&self.name));
        }
        let rows = ledger::all(&snapshot).into_iter();
        Ok(rows.map(|row| LedgerRow { table: self.name(), ..row }).collect())
    }

    fn find_load(&self, target: &TableTarget, cancel: &UploadControl) -> Result<Option<LedgerRow>, LoadError> {
        let storage = self.place(cancel).open().map_err(|error| load_error(&self.name, error))?;
        let snapshot = Snapshot::read(&storage, false).map_err(|error| read_error(&self.name, error))?;
        // Before a run is started for it, which costs money.
        if snapshot.version.is_some() {
            writable(&snapshot, target)?;
        }
        storage.require_put_new(LOG, &new_attempt()).map_err(|error| load_error(&self.name, error))?;
        match target.identity.key_before(KEY_TABLE) {
            Some(key) => Ok(earlier(&snapshot, target, &key)?.map(|row| with_rows_there(&storage, row))),
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
        self.refuse_table(table)?;
        remove_orphans(&self.place(cancel), &self.name, age, only_list)
    }

    fn ddl(&self, table: &str, columns: &Schema) -> Result<String, LoadError> {
        Ok(new_table(table, columns)?.statement)
    }
}

/// Returns the statement of Spark that creates `table` with the columns that a load would create.
pub fn new_table(table: &str, columns: &Schema) -> Result<NewTable, LoadError> {
    let refuse = |what: String| LoadError::Unsupported { table: table.to_owned(), what, hint: None };
    if let Some(reason) = unfit_names(&columns.fields) {
        return Err(refuse(reason));
    }
    let mut made = Vec::new();
    for field in &columns.fields {
        let schema = new_schema(&Schema::new(vec![field.clone()]));
        let schema = schema.map_err(|what| refuse(format!("column `{}` {what}", field.name)))?;
        let ty = &schema["fields"][0]["type"];
        made.push(NewColumn::new(&*field.name, super::schema::sql_type(ty)));
    }
    // A path is a table in the pseudo-schema `delta` of Spark.
    let (name, sql) = match table.contains('/') {
        true => (vec!["delta".to_owned(), table.to_owned()], format!("delta.{}", quoted(table))),
        false => {
            let parts: Vec<String> = table.split('.').map(str::to_owned).collect();
            let sql = parts.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".");
            (parts, sql)
        }
    };
    let forms = match forms_of(&columns.fields) {
        forms if forms.is_empty() => String::new(),
        forms => format!("\nTBLPROPERTIES ('{FORMS}' = '{}')", forms.replace('\\', "\\\\").replace('\'', "\\'")),
    };
    let lines: Vec<String> =
        made.iter().map(|column| format!("  {} {}", quoted(&column.name), column.sql_type)).collect();
    let statement = format!("CREATE TABLE {sql} (\n{}\n) USING DELTA{forms};\n", lines.join(",\n"));
    Ok(NewTable { name, columns: made, statement })
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Field, Type};

    #[test]
    fn the_statement_creates_the_columns_of_a_load() {
        let inner = vec![Field::new("x", Type::Float), Field::new("y", Type::Json)];
        let columns = Schema::new(vec![
            Field::new("a", Type::Int { fits_double: true }),
            Field::new("s", Type::List(Box::new(Type::Struct(inner)))),
            Field::new("m", Type::map(Type::Decimal)),
        ]);
        assert_eq!(
            new_table("crm.people", &columns).unwrap().statement,
            "CREATE TABLE `crm`.`people` (\n  `a` BIGINT,\n  `s` ARRAY<STRUCT<`x`: DOUBLE, `y`: STRING>>,\n  `m` MAP<STRING, \
             DECIMAL(38,0)>\n) USING DELTA\nTBLPROPERTIES ('drawoff.forms' = 's;y=json');\n"
        );
        assert!(new_table("p", &Schema::new(vec![Field::new("a b", Type::Text)])).is_err());
    }
}
