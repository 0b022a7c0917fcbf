//! The statement that creates a table in DuckDB with the columns that it finds in a Parquet file of the same rows. drawoff
//! loads no tables there, because DuckDB reads Parquet itself, with all types.

use std::collections::HashSet;

use super::sql::quoted;
use super::{LoadError, NewColumn, NewTable};
use crate::column::{Field, Fixed, Schema, Type, Unit};

/// Returns the statement that creates `table`, a name or a schema and a name with a dot between. DuckDB tells no names
/// apart by case, so columns whose names differ in case alone are an error.
pub fn new_table(table: &str, columns: &Schema) -> Result<NewTable, LoadError> {
    let refuse = |what: String| LoadError::Unsupported { table: table.to_owned(), what, hint: None };
    let parts: Vec<&str> = table.split('.').collect();
    if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
        return Err(refuse(format!("`{table}` is not the name of a table")));
    }
    let mut names = HashSet::new();
    if let Some(field) = columns.fields.iter().find(|field| !names.insert(field.name.to_lowercase())) {
        return Err(refuse(format!("DuckDB does not tell the name `{}` from another by case", field.name)));
    }
    let name = parts.iter().map(|part| quoted(part)).collect::<Vec<_>>().join(".");
    let lines: Vec<String> = columns.fields.iter().map(|field| format!("    {}", column(field))).collect();
    let statement = format!("CREATE TABLE {name} (\n{}\n);\n", lines.join(",\n"));
    let columns = columns.fields.iter().map(|field| NewColumn::new(&*field.name, type_name(&field.ty))).collect();
    Ok(NewTable { name: parts.into_iter().map(str::to_owned).collect(), columns, statement })
}

fn column(field: &Field) -> String {
    format!("{} {}", quoted(&field.name), type_name(&field.ty))
}

/// Returns the type that DuckDB gives to a column of Parquet.
fn type_name(ty: &Type) -> String {
    match ty {
        Type::Null | Type::Text | Type::Raw | Type::Opaque(_) => "VARCHAR".to_owned(),
        Type::Json => "JSON".to_owned(),
        Type::Number(_) => type_name(&ty.resolved()),
        Type::Bool => "BOOLEAN".to_owned(),
        Type::Int { .. } => "BIGINT".to_owned(),
        Type::Decimal => "DECIMAL(38,0)".to_owned(),
        Type::Float => "DOUBLE".to_owned(),
        Type::Fixed(Fixed::Date) => "DATE".to_owned(),
        Type::Fixed(Fixed::Timestamp { local: true, unit: Unit::Nanos }) => "TIMESTAMP_NS".to_owned(),
        Type::Fixed(Fixed::Timestamp { local: true, .. }) => "TIMESTAMP".to_owned(),
        Type::Fixed(Fixed::Timestamp { local: false, .. }) => "TIMESTAMP WITH TIME ZONE".to_owned(),
        Type::Fixed(Fixed::Decimal { precision, scale }) => format!("DECIMAL({precision},{scale})"),
        Type::List(item) => format!("{}[]", type_name(item)),
        Type::Map(value) => format!("MAP(VARCHAR, {})", type_name(value)),
        Type::Struct(fields) => {
            let members: Vec<String> = fields.iter().map(column).collect();
            format!("STRUCT({})", members.join(", "))
        }
    }
}
