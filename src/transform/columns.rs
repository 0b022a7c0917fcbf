//! Steps that choose and name columns, and the way from a column to the values inside it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringViewArray, UInt32Array, new_null_array};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_select::{nullif::nullif, take::take};

use super::apply::Error;
use super::expr::{Path, Quotes, Way};
use super::{Rename, Selected};
use crate::column::views::{MAX_INLINE_BYTES, Views, make_view};
use crate::column::{Batch, Field, Schema, Type};
use crate::format::json_path;

/// The column at `path` of a batch, and its type. What is not there is null.
pub fn column_at(batch: &Batch, path: &Path) -> Result<(ArrayRef, Type), Error> {
    match place(&batch.schema, path) {
        Some((i, way)) => value_at(&batch.columns[i], &batch.schema.fields[i].ty, way),
        None => Ok((nothing(batch.rows), Type::Null)),
    }
}

/// The column that `path` starts with, and the way from there. A dotted name may be that of a column which
/// came after the path was looked at.
fn place<'a>(schema: &Schema, path: &'a Path) -> Option<(usize, &'a [Way])> {
    if let Some(i) = schema.position(&path.column) {
        return Some((i, &path.way));
    }
    let mut name = path.column.to_string();
    let dotted = if path.quotes == Quotes::None { &path.way[..] } else { &[] };
    for (taken, way) in dotted.iter().enumerate() {
        let Way::Key(key) = way else { return None };
        name.push('.');
        name.push_str(key);
        if let Some(i) = schema.position(&name) {
            return Some((i, &path.way[taken + 1..]));
        }
    }
    None
}

/// The type of what [`column_at`] gives for columns of `schema`.
pub fn type_at(schema: &Schema, path: &Path) -> Type {
    let Some((i, way)) = place(schema, path) else { return Type::Null };
    way.iter().fold(schema.fields[i].ty.clone(), |ty, way| match (ty, way) {
        (ty @ (Type::Json | Type::Raw), _) => ty,
        (Type::Struct(fields), Way::Key(key)) => {
            fields.into_iter().find(|field| field.name == *key).map_or(Type::Null, |field| field.ty)
        }
        (Type::Map(value), Way::Key(_)) => *value,
        (Type::List(item), Way::Index(_)) => *item,
        _ => Type::Null,
    })
}

fn nothing(rows: usize) -> ArrayRef {
    new_null_array(&Type::Null.to_arrow(), rows)
}

/// The values at the end of `way` from the values of `array`, a column of type `ty`.
fn value_at(array: &ArrayRef, ty: &Type, way: &[Way]) -> Result<(ArrayRef, Type), Error> {
    let Some((first, rest)) = way.split_first() else { return Ok((array.clone(), ty.clone())) };
    match (ty, first) {
        (Type::Json | Type::Raw, _) => Ok((inside_json(array.as_string_view(), way), ty.clone())),
        (Type::Struct(fields), Way::Key(key)) => match fields.iter().position(|field| field.name == *key) {
            Some(i) => {
                let column = array.as_struct().column(i);
                // Where the object is null there are no values in it, whatever the child says.
                let column = match array.nulls() {
                    Some(nulls) => nullif(column, &BooleanArray::new(!nulls.inner(), None))?,
                    None => column.clone(),
                };
                value_at(&column, &fields[i].ty, rest)
            }
            None => Ok((nothing(array.len()), Type::Null)),
        },
        (Type::List(item), Way::Index(index)) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            let places: UInt32Array = (0..list.len())
                .map(|row| {
                    let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                    (list.is_valid(row) && *index < end - start).then(|| (start + index) as u32)
                })
                .collect();
            value_at(&take(list.values(), &places, None)?, item, rest)
        }
        (Type::Map(value), Way::Key(key)) => {
            let map = array.as_map();
            let (offsets, keys) = (map.value_offsets(), map.keys().as_string_view());
            let places: UInt32Array = (0..map.len())
                .map(|row| {
                    let entries = offsets[row] as usize..offsets[row + 1] as usize;
                    // Of a key that stands twice the last one wins.
                    let found = entries.rev().find(|&entry| keys.value(entry) == &**key);
                    found.filter(|_| map.is_valid(row)).map(|entry| entry as u32)
                })
                .collect();
            value_at(&take(map.values(), &places, None)?, value, rest)
        }
        _ => Ok((nothing(array.len()), Type::Null)),
    }
}

/// Views of the values at the end of `way` in the JSON text of each row.
fn inside_json(array: &StringViewArray, way: &[Way]) -> ArrayRef {
    let mut views = Views::default();
    let mut valid = BooleanBufferBuilder::new(array.len());
    for row in 0..array.len() {
        let found = array.is_valid(row).then(|| array.value(row).as_bytes()).and_then(|json| {
            let mut at = 0..json.len();
            for way in way {
                let inner = &json[at.clone()];
                let found = match way {
                    Way::Key(key) => json_path::member(inner, key),
                    Way::Index(index) => json_path::element(inner, *index),
                }?;
                at = at.start + found.start..at.start + found.end;
            }
            Some((&json[at.clone()], at.start))
        });
        valid.append(found.is_some());
        views.push(found.map_or(0, |(text, start)| {
            // Of a text that stands in a buffer, its offset is the top of the view and the buffer
            // below it; of a text that is its own view, all parts are as short.
            let view = array.views()[row];
            let in_buffer = view as u32 as usize > MAX_INLINE_BYTES;
            let (buffer, offset) = if in_buffer { ((view >> 64) as u32, (view >> 96) as usize) } else { (0, 0) };
            make_view(text, buffer, offset + start)
        }));
    }
    let nulls = NullBuffer::new(valid.finish());
    views.finish(array.data_buffers(), (nulls.null_count() > 0).then_some(nulls))
}

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
