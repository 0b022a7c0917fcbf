//! The statement that creates a table, and the columns of a load.

use super::names::{CloudTable, column_names, needs_mapping};
use super::system::CloudSystem;
use super::types::{has_mapped_fields, sql_type};
use crate::column::{Field, Schema, Type};
use crate::warehouse::sql::column_lines;
use crate::warehouse::{LoadError, Misfit, NewColumn, NewTable};

/// A column of the rows, as a new table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudColumn {
    /// Name in the table.
    pub name: String,
    /// Type in SQL.
    pub sql_type: String,
    /// Type in the rows.
    pub ty: Type,
    /// True if Databricks takes it only with the mapping of columns by name.
    needs_mapping: bool,
}

/// Returns the columns that a new table gets. Fails with all columns that the system cannot have.
pub fn cloud_columns(system: CloudSystem, columns: &Schema) -> Result<Vec<CloudColumn>, Vec<Misfit>> {
    let (names, faults) = column_names(system, columns.fields.iter().map(|field| &*field.name));
    let mut misfits: Vec<Misfit> = Vec::new();
    for (index, what) in faults {
        misfits.push(Misfit { column: columns.fields[index].name.to_string(), what });
    }
    let mut types = Vec::new();
    for field in &columns.fields {
        match sql_type(system, &field.ty) {
            Ok(sql) => types.push((sql, field)),
            Err(what) => misfits.push(Misfit { column: field.name.to_string(), what }),
        }
    }
    match misfits.is_empty() {
        true => {
            let column = |(name, (sql_type, field)): (String, (String, &Field))| CloudColumn {
                name,
                sql_type,
                ty: field.ty.clone(),
                needs_mapping: needs_mapping(&field.name) || has_mapped_fields(&field.ty),
            };
            Ok(names.into_iter().zip(types).map(column).collect())
        }
        false => Err(misfits),
    }
}

/// Returns the statement that creates `table` with the columns that Parquet files of the same rows have.
pub fn new_table(system: CloudSystem, table: &str, columns: &Schema) -> Result<NewTable, LoadError> {
    let refuse = |what: String| LoadError::Unsupported { table: table.to_owned(), what, hint: None };
    let name = CloudTable::parse(system, table).map_err(refuse)?;
    if columns.fields.is_empty() {
        return Err(refuse("there are no columns".to_owned()));
    }
    let columns = cloud_columns(system, columns);
    let columns = columns.map_err(|misfits| LoadError::Misfits { table: format!("{table} of {system}"), misfits })?;
    let statement = format!("{};\n", create_table(&name, &columns, false));
    let columns = columns.into_iter().map(|column| NewColumn { name: column.name, sql_type: column.sql_type });
    Ok(NewTable { name: name.parts().to_vec(), columns: columns.collect(), statement })
}

/// Returns the statement without a semicolon; `if_missing` for one that leaves a table that exists as it is.
pub(super) fn create_table(table: &CloudTable, columns: &[CloudColumn], if_missing: bool) -> String {
    let system = table.system();
    let lines = column_lines(columns.iter().map(|column| (system.quoted(&column.name), column.sql_type.clone())));
    let (if_missing, name) = (if if_missing { "IF NOT EXISTS " } else { "" }, table.sql());
    let options = match system {
        CloudSystem::Databricks if columns.iter().any(|column| column.needs_mapping) => {
            " TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
        }
        _ => "",
    };
    format!("CREATE TABLE {if_missing}{name} (\n{lines}\n){options}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::{Fixed, Unit};

    fn schema() -> Schema {
        let int = Type::Int { fits_double: true };
        let timestamp = |local| Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local });
        let fields = Type::Struct(vec![Field::new("city", Type::Text), Field::new("end", int.clone())]);
        Schema::new(vec![
            Field::new("order", int),
            Field::new("score", Type::Float),
            Field::new("big", Type::Decimal),
            Field::new("price", Type::Fixed(Fixed::Decimal { precision: 38, scale: 12 })),
            Field::new("is_open", Type::Bool),
            Field::new("name", Type::Text),
            Field::new("mixed", Type::Json),
            Field::new("nothing", Type::Null),
            Field::new("day", Type::Fixed(Fixed::Date)),
            Field::new("at", timestamp(false)),
            Field::new("local", timestamp(true)),
            Field::new("hq", fields.clone()),
            Field::new("tags", Type::List(Box::new(Type::Text))),
            Field::new("contacts", Type::List(Box::new(fields))),
            Field::new("by_key", Type::map(Type::Float)),
        ])
    }

    fn types(system: CloudSystem) -> Vec<String> {
        cloud_columns(system, &schema()).unwrap().into_iter().map(|column| column.sql_type).collect()
    }

    #[test]
    fn columns_have_the_types_of_each_system() {
        assert_eq!(
            types(CloudSystem::Snowflake).join("; "),
            "NUMBER(38, 0); FLOAT; NUMBER(38, 0); NUMBER(38, 12); BOOLEAN; \
            VARCHAR; VARCHAR; VARCHAR; DATE; TIMESTAMP_LTZ(6); TIMESTAMP_NTZ(6); VARIANT; VARIANT; VARIANT; VARIANT"
        );
        assert_eq!(
            types(CloudSystem::BigQuery).join("; "),
            "INT64; FLOAT64; BIGNUMERIC(38); BIGNUMERIC(38, 12); BOOL; STRING; \
            STRING; STRING; DATE; TIMESTAMP; DATETIME; STRUCT<`city` STRING, `end` INT64>; ARRAY<STRING>; \
            ARRAY<STRUCT<`city` STRING, `end` INT64>>; ARRAY<STRUCT<key STRING, value FLOAT64>>"
        );
        assert_eq!(
            types(CloudSystem::Databricks).join("; "),
            "BIGINT; DOUBLE; DECIMAL(38, 0); DECIMAL(38, 12); BOOLEAN; STRING; \
            STRING; STRING; DATE; TIMESTAMP; TIMESTAMP_NTZ; STRUCT<`city`: STRING, `end`: BIGINT>; ARRAY<STRING>; \
            ARRAY<STRUCT<`city`: STRING, `end`: BIGINT>>; MAP<STRING, DOUBLE>"
        );
        assert_eq!(
            types(CloudSystem::Redshift).join("; "),
            "BIGINT; DOUBLE PRECISION; DECIMAL(38, 0); DECIMAL(38, 12); BOOLEAN; \
            VARCHAR(65535); VARCHAR(65535); VARCHAR(65535); DATE; TIMESTAMP; TIMESTAMP; SUPER; SUPER; SUPER; SUPER"
        );
    }

    #[test]
    fn all_columns_that_a_system_cannot_have_are_named() {
        let nested = Type::List(Box::new(Type::List(Box::new(Type::Text))));
        let nanos = Type::Fixed(Fixed::Timestamp { unit: Unit::Nanos, local: false });
        let schema = Schema::new(vec![
            Field::new("Company Name", Type::Text),
            Field::new("lists", nested),
            Field::new("at", nanos),
            Field::new("hq", Type::Struct(vec![Field::new("post-code", Type::Text)])),
        ]);
        let message =
            |system| new_table(system, "t", &schema).map(|table| table.statement).map_err(|error| error.to_string());
        let bigquery = message(CloudSystem::BigQuery).unwrap_err();
        for name in ["Company Name", "lists", "at", "hq"] {
            assert!(bigquery.contains(&format!("column `{name}` ")), "{bigquery}");
        }
        assert!(message(CloudSystem::Snowflake).unwrap().contains("\"Company Name\" VARCHAR"));
        assert!(message(CloudSystem::Databricks).unwrap_err().contains("nanoseconds"));
        let named = Schema::new(schema.fields[..1].to_vec());
        let statement = new_table(CloudSystem::Databricks, "t", &named).unwrap().statement;
        assert!(statement.ends_with(") TBLPROPERTIES ('delta.columnMapping.mode' = 'name');\n"), "{statement}");
        assert!(new_table(CloudSystem::Snowflake, "t", &Schema::default()).is_err());
    }
}
