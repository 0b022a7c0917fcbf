//! The type that a column of a new table gets, for what the Parquet files of the same rows have in it.

use super::names::{column_names, needs_mapping};
use super::system::CloudSystem;
use crate::column::{Field, Fixed, Type, Unit};

/// Levels of structs that BigQuery takes.
const BIGQUERY_LEVELS: usize = 15;

/// Returns the type in SQL. Fails with the reason if the system has none that keeps the values.
pub(super) fn sql_type(system: CloudSystem, ty: &Type) -> Result<String, String> {
    match system {
        CloudSystem::Snowflake => Ok(snowflake(ty)),
        CloudSystem::BigQuery => bigquery(ty, 0),
        CloudSystem::Databricks => databricks(ty),
        CloudSystem::Redshift => redshift(ty),
    }
}

/// Nested values are a `VARIANT` each; values of several types are the text of their JSON.
fn snowflake(ty: &Type) -> String {
    match ty {
        Type::Number(_) => snowflake(&ty.resolved()),
        Type::Bool => "BOOLEAN".to_owned(),
        Type::Int { .. } | Type::Decimal => "NUMBER(38, 0)".to_owned(),
        Type::Float => "FLOAT".to_owned(),
        Type::Fixed(Fixed::Date) => "DATE".to_owned(),
        Type::Fixed(Fixed::Timestamp { unit, local }) => {
            let digits = match unit {
                Unit::Millis => 3,
                Unit::Micros => 6,
                Unit::Nanos => 9,
            };
            format!("TIMESTAMP_{}({digits})", if *local { "NTZ" } else { "LTZ" })
        }
        Type::Fixed(Fixed::Decimal { precision, scale }) => format!("NUMBER({precision}, {scale})"),
        ty if ty.is_text_like() => "VARCHAR".to_owned(),
        _ => "VARIANT".to_owned(),
    }
}

fn bigquery(ty: &Type, level: usize) -> Result<String, String> {
    let system = CloudSystem::BigQuery;
    Ok(match ty {
        Type::Number(_) => return bigquery(&ty.resolved(), level),
        Type::Bool => "BOOL".to_owned(),
        Type::Int { .. } => "INT64".to_owned(),
        Type::Decimal => "BIGNUMERIC(38)".to_owned(),
        Type::Float => "FLOAT64".to_owned(),
        Type::Fixed(Fixed::Date) => "DATE".to_owned(),
        Type::Fixed(Fixed::Timestamp { unit: Unit::Nanos, .. }) => return Err(nanoseconds(system)),
        Type::Fixed(Fixed::Timestamp { local: true, .. }) => "DATETIME".to_owned(),
        Type::Fixed(Fixed::Timestamp { local: false, .. }) => "TIMESTAMP".to_owned(),
        Type::Fixed(Fixed::Decimal { precision, scale }) => {
            let is_numeric = *scale <= 9 && precision - scale <= 29;
            format!("{}({precision}, {scale})", if is_numeric { "NUMERIC" } else { "BIGNUMERIC" })
        }
        ty if ty.is_text_like() => "STRING".to_owned(),
        Type::Struct(fields) => {
            if level == BIGQUERY_LEVELS {
                return Err(format!("has more than {BIGQUERY_LEVELS} levels of objects, which BigQuery does not take"));
            }
            format!("STRUCT<{}>", members(system, fields, " ", &|ty| bigquery(ty, level + 1))?)
        }
        Type::List(item) if matches!(**item, Type::List(_) | Type::Map(_)) => {
            return Err("has lists in lists, which BigQuery does not have".to_owned());
        }
        Type::List(item) => format!("ARRAY<{}>", bigquery(item, level)?),
        Type::Map(value) => format!("ARRAY<STRUCT<key STRING, value {}>>", bigquery(value, level + 1)?),
        _ => return Err(unknown(ty)),
    })
}

fn databricks(ty: &Type) -> Result<String, String> {
    let system = CloudSystem::Databricks;
    Ok(match ty {
        Type::Number(_) => return databricks(&ty.resolved()),
        Type::Bool => "BOOLEAN".to_owned(),
        Type::Int { .. } => "BIGINT".to_owned(),
        Type::Decimal => "DECIMAL(38, 0)".to_owned(),
        Type::Float => "DOUBLE".to_owned(),
        Type::Fixed(Fixed::Date) => "DATE".to_owned(),
        Type::Fixed(Fixed::Timestamp { unit: Unit::Nanos, .. }) => return Err(nanoseconds(system)),
        Type::Fixed(Fixed::Timestamp { local: true, .. }) => "TIMESTAMP_NTZ".to_owned(),
        Type::Fixed(Fixed::Timestamp { local: false, .. }) => "TIMESTAMP".to_owned(),
        Type::Fixed(Fixed::Decimal { precision, scale }) => format!("DECIMAL({precision}, {scale})"),
        ty if ty.is_text_like() => "STRING".to_owned(),
        Type::Struct(fields) => format!("STRUCT<{}>", members(system, fields, ": ", &databricks)?),
        Type::List(item) => format!("ARRAY<{}>", databricks(item)?),
        Type::Map(value) => format!("MAP<STRING, {}>", databricks(value)?),
        _ => return Err(unknown(ty)),
    })
}

fn redshift(ty: &Type) -> Result<String, String> {
    Ok(match ty {
        Type::Number(_) => return redshift(&ty.resolved()),
        Type::Bool => "BOOLEAN".to_owned(),
        Type::Int { .. } => "BIGINT".to_owned(),
        Type::Decimal => "DECIMAL(38, 0)".to_owned(),
        Type::Float => "DOUBLE PRECISION".to_owned(),
        Type::Fixed(Fixed::Date) => "DATE".to_owned(),
        Type::Fixed(Fixed::Timestamp { unit: Unit::Nanos, .. }) => return Err(nanoseconds(CloudSystem::Redshift)),
        // Of instants the time in UTC: COPY from Parquet has no time zones.
        Type::Fixed(Fixed::Timestamp { .. }) => "TIMESTAMP".to_owned(),
        Type::Fixed(Fixed::Decimal { precision, scale }) => format!("DECIMAL({precision}, {scale})"),
        // The longest that there is; the default is 256 bytes.
        ty if ty.is_text_like() => "VARCHAR(65535)".to_owned(),
        _ => "SUPER".to_owned(),
    })
}

/// Returns the fields of a struct with their types.
fn members(
    system: CloudSystem,
    fields: &[Field],
    between: &str,
    type_of: &dyn Fn(&Type) -> Result<String, String>,
) -> Result<String, String> {
    let (names, faults) = column_names(system, fields.iter().map(|field| &*field.name));
    if let Some((index, why)) = faults.first() {
        return Err(format!("has a field `{}` that {why}", fields[*index].name));
    }
    let members = fields
        .iter()
        .zip(names)
        .map(|(field, name)| Ok(format!("{}{between}{}", system.quoted(&name), type_of(&field.ty)?)));
    Ok(members.collect::<Result<Vec<_>, String>>()?.join(", "))
}

/// Returns true if Databricks has columns of this type only with the mapping of columns by name.
pub(super) fn has_mapped_fields(ty: &Type) -> bool {
    match ty {
        Type::Struct(fields) => fields.iter().any(|field| needs_mapping(&field.name) || has_mapped_fields(&field.ty)),
        Type::List(inner) | Type::Map(inner) => has_mapped_fields(inner),
        _ => false,
    }
}

fn nanoseconds(system: CloudSystem) -> String {
    format!("has timestamps in nanoseconds, which {system} does not load from Parquet")
}

fn unknown(ty: &Type) -> String {
    format!("has {ty}, which is not known")
}
