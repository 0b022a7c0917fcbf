//! Stages, the temporary tables of a load, and the expressions and changes by which values of one type become values of a
//! wider one.

use super::layout::{Cast, Layout};
use super::session::Session;
use super::sql::quoted;
use crate::warehouse::LoadError;

/// A temporary table.
pub(super) struct Stage {
    pub(super) sql_name: String,
    pub(super) layout: Layout,
    /// Rows that the server has counted in it.
    pub(super) rows: u64,
}

pub(super) fn add_column(session: &Session, table: &str, name: &str, ty: &str) -> Result<(), LoadError> {
    session.execute(&format!("ALTER TABLE {table} ADD COLUMN {} {ty}", quoted(name)))
}

pub(super) fn alter_type(session: &Session, table: &str, name: &str, from: &str, to: &str) -> Result<(), LoadError> {
    let name = quoted(name);
    let value = converted(&name, from, to);
    session.execute(&format!("ALTER TABLE {table} ALTER COLUMN {name} TYPE {to} USING {value}"))
}

/// Returns the expression that makes the type `to` of `value`, of the type `from`.
pub(super) fn converted(value: &str, from: &str, to: &str) -> String {
    match to {
        _ if from == to => value.to_owned(),
        // Whole numbers may have been integers, whose digits the shortest form of a double is not always.
        "jsonb" if from == "double precision" => format!(
            "CASE WHEN {value} = trunc({value}) AND abs({value}) < 9223372036854775808 \
             THEN to_jsonb({value}::bigint) ELSE to_jsonb({value}) END"
        ),
        // Values of several types, each in its JSON form.
        "jsonb" => format!("to_jsonb({value})"),
        // By its text, which has all digits: the server's cast keeps 15 of them.
        "numeric" if from == "double precision" => format!("{value}::text::numeric"),
        _ => format!("{value}::{to}"),
    }
}

/// Returns the expression for a column of the table from a stage; NULL if the stage lacks it.
pub(super) fn staged_value(stage: &Stage, name: &str, to: Option<&str>) -> String {
    let Some(column) = stage.layout.columns.iter().find(|column| *column.name == *name) else {
        // With its type: a union of nulls alone would be text.
        return to.map_or_else(|| "NULL".to_owned(), |ty| format!("NULL::{ty}"));
    };
    let value = quoted(name);
    match (&column.cast, to) {
        (Some(Cast::To(ty)), _) => format!("{value}::{ty}"),
        (Some(Cast::ToArray(ty)), _) => format!(
            "CASE jsonb_typeof({value}) WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text({value}))::{ty} END"
        ),
        (None, Some(to)) => converted(&value, &column.wire_type, to),
        (None, None) => value,
    }
}
