//! Steps that choose and name columns.

use std::borrow::Cow;
use std::sync::Arc;

use super::error::Error;
use super::expr::column_at;
use super::expr::type_at;
use super::step::{Rename, Selected};
use crate::column::{Batch, Field, Schema};

/// The batch under the new names of [`rename_schema`].
pub(super) fn rename(batch: Batch, renames: &[Rename]) -> Result<Batch, Error> {
    let schema = Arc::new(rename_schema(&batch.schema, renames)?);
    // A record that has the column has its old name in it.
    let records = batch.records.filter(|_| schema == batch.schema);
    Ok(Batch { schema, records, ..batch })
}

/// Keeps `selected` columns, in this order.
pub(super) fn select(batch: Batch, selected: &[Selected]) -> Result<Batch, Error> {
    let mut columns = Vec::with_capacity(selected.len());
    let mut fields = Vec::with_capacity(selected.len());
    for Selected { path, name } in selected {
        let (column, ty) = column_at(&batch, path)?;
        columns.push(column);
        fields.push(Field::new(name.clone(), ty));
    }
    Ok(Batch { schema: Arc::new(Schema::new(fields)), columns, rows: batch.rows, records: None })
}

/// The columns that [`select`] makes.
pub(super) fn select_schema(schema: &Schema, selected: &[Selected]) -> Schema {
    Schema::new(selected.iter().map(|s| Field::new(s.name.clone(), type_at(schema, &s.path))).collect())
}

/// The columns under their new names. A name that another column has is an error: it may come late.
pub(super) fn rename_schema(schema: &Schema, renames: &[Rename]) -> Result<Schema, Error> {
    let renamed: Vec<Cow<'_, str>> = schema.fields.iter().map(|field| new_name(&field.name, renames)).collect();
    for (i, name) in renamed.iter().enumerate() {
        if let Some(k) = renamed[..i].iter().position(|other| other == name) {
            let what = |at: usize| match &renamed[at] {
                Cow::Borrowed(name) => format!("the column `{name}`"),
                Cow::Owned(name) => format!("`{}` renamed to `{name}`", schema.fields[at].name),
            };
            return Err(Error::SameName { first: what(k), second: what(i) });
        }
    }
    let fields = schema.fields.iter().zip(&renamed);
    Ok(Schema::new(fields.map(|(field, name)| Field::new(&**name, field.ty.clone())).collect()))
}

fn new_name<'a>(name: &'a str, renames: &[Rename]) -> Cow<'a, str> {
    match renames.iter().find(|rename| *rename.from.column == *name) {
        Some(rename) => Cow::Owned(rename.to.to_string()),
        None => Cow::Borrowed(name),
    }
}
