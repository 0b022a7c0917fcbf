//! Steps that take nested values apart: structs to columns, lists to rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_select::{nullif::nullif, take::take};

use super::error::Error;
use crate::column::views::{MAX_INLINE_BYTES, Views, make_view};
use crate::column::{Batch, Field, Schema, Type};
use crate::format::json_path;

/// The columns that structs become: `hq` of `city` and `geo` of `lat` gives `hq.city` and `hq.geo.lat`. An
/// object in which no key was ever seen gives none, and so does, unless `with_empty`, a column that never
/// had a value: it may turn out to be one.
pub(super) fn flatten_schema(schema: &Schema, separator: &str, with_empty: bool) -> Result<Schema, Error> {
    let flat = flat_fields(schema, separator, with_empty)?;
    Ok(Schema::new(flat.into_iter().filter(|flat| flat.stays).map(|flat| flat.field).collect()))
}

/// What has no objects in it any more.
struct Flat {
    field: Field,
    /// Keys on the way to it.
    way: Vec<Arc<str>>,
    /// It becomes a column.
    stays: bool,
}

fn flat_fields(schema: &Schema, separator: &str, with_empty: bool) -> Result<Vec<Flat>, Error> {
    fn walk(fields: &[Field], name: &str, separator: &str, way: &[Arc<str>], out: &mut Vec<Flat>) {
        for field in fields {
            let name = if way.is_empty() { field.name.to_string() } else { format!("{name}{separator}{}", field.name) };
            let way = [way, std::slice::from_ref(&field.name)].concat();
            match &field.ty {
                Type::Struct(inner) => walk(inner, &name, separator, &way, out),
                other => out.push(Flat { field: Field::new(name, other.clone()), way, stays: true }),
            }
        }
    }
    let mut flat = Vec::new();
    walk(&schema.fields, "", separator, &[], &mut flat);
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    for i in 0..flat.len() {
        if flat[i].field.ty == Type::Null && !with_empty {
            flat[i].stays = false;
            continue;
        }
        let Some(k) = places.insert(flat[i].field.name.clone(), i) else { continue };
        // A column that never had a value says nothing that the other does not say.
        if flat[k].field.ty == Type::Null {
            flat[k].stays = false;
        } else if flat[i].field.ty == Type::Null {
            flat[i].stays = false;
            places.insert(flat[i].field.name.clone(), k);
        } else {
            let what = |at: usize| match &flat[at].way[..] {
                [name] => format!("the column `{name}`"),
                [parents @ .., key] => format!("`{key}` inside `{}`", parents.join(".")),
                [] => String::new(),
            };
            return Err(Error::SameName { first: what(k), second: what(i) });
        }
    }
    Ok(flat)
}

/// The batch with the columns of [`flatten_schema`].
pub(super) fn flatten(batch: Batch, separator: &str, with_empty: bool) -> Result<Batch, Error> {
    let flat = flat_fields(&batch.schema, separator, with_empty)?;
    if flat.iter().all(|flat| flat.stays && flat.way.len() == 1) && flat.len() == batch.columns.len() {
        return Ok(batch);
    }
    let mut arrays = Vec::with_capacity(flat.len());
    for (column, field) in batch.columns.iter().zip(&batch.schema.fields) {
        flatten_column(column, &field.ty, &mut arrays)?;
    }
    let kept = flat.into_iter().zip(arrays).filter(|(flat, _)| flat.stays);
    let (fields, columns) = kept.map(|(flat, array)| (flat.field, array)).unzip();
    Ok(Batch { schema: Arc::new(Schema::new(fields)), columns, rows: batch.rows, records: None })
}

fn flatten_column(array: &ArrayRef, ty: &Type, out: &mut Vec<ArrayRef>) -> Result<(), Error> {
    match ty {
        Type::Struct(fields) if fields.is_empty() => {}
        Type::Struct(fields) => {
            let parent = array.as_struct();
            // Where the object is null there are no values in it, whatever the child says.
            let gone = array.nulls().map(|nulls| BooleanArray::new(!nulls.inner(), None));
            for (field, column) in fields.iter().zip(parent.columns()) {
                let column = match &gone {
                    Some(gone) => nullif(column, gone)?,
                    None => column.clone(),
                };
                flatten_column(&column, &field.ty, out)?;
            }
        }
        _ => out.push(array.clone()),
    }
    Ok(())
}

/// The columns after [`explode`].
pub(super) fn explode_schema(schema: &Schema, column: &str) -> Schema {
    let mut schema = schema.clone();
    if let Some(place) = schema.position(column)
        && let Type::List(item) = &schema.fields[place].ty
    {
        schema.fields[place].ty = (**item).clone();
    }
    schema
}

/// One row for each element of the list in `column`, with the other values repeated. A row whose list is
/// empty or null stays, with null there; so does one whose value is no list, as it is. Returns, too, the row
/// that each comes from.
pub(super) fn explode(batch: Batch, column: &str) -> Result<(Batch, Vec<u32>), Error> {
    let rows = batch.rows;
    let Some(place) = batch.schema.position(column) else { return Ok((batch, (0..rows as u32).collect())) };
    let array = &batch.columns[place];
    let mut parents: Vec<u32> = Vec::with_capacity(rows);
    let exploded: ArrayRef = match &batch.schema.fields[place].ty {
        Type::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            let mut items: Vec<Option<u32>> = Vec::with_capacity(rows);
            for row in 0..rows {
                let (start, end) = (offsets[row] as u32, offsets[row + 1] as u32);
                if list.is_null(row) || start == end {
                    parents.push(row as u32);
                    items.push(None);
                } else {
                    parents.extend(std::iter::repeat_n(row as u32, (end - start) as usize));
                    items.extend((start..end).map(Some));
                }
            }
            take(list.values(), &UInt32Array::from(items), None)?
        }
        Type::Json | Type::Raw => {
            let texts = array.as_string_view();
            let mut views = Views::default();
            let mut valid = BooleanBufferBuilder::new(rows);
            for row in 0..rows {
                let mut push = |found: Option<(&[u8], usize)>| {
                    parents.push(row as u32);
                    valid.append(found.is_some());
                    views.push(found.map_or(0, |(text, start)| {
                        let view = texts.views()[row];
                        let in_buffer = view as u32 as usize > MAX_INLINE_BYTES;
                        let (buffer, offset) =
                            if in_buffer { ((view >> 64) as u32, (view >> 96) as usize) } else { (0, 0) };
                        make_view(text, buffer, offset + start)
                    }));
                };
                if texts.is_null(row) {
                    push(None);
                    continue;
                }
                let json = texts.value(row).as_bytes();
                if json.first() != Some(&b'[') {
                    push(Some((json, 0)));
                    continue;
                }
                let mut any = false;
                for item in json_path::elements(json) {
                    any = true;
                    push(Some((&json[item.clone()], item.start)));
                }
                if !any {
                    push(None);
                }
            }
            let nulls = NullBuffer::new(valid.finish());
            views.finish(texts.data_buffers(), (nulls.null_count() > 0).then_some(nulls))
        }
        _ => return Ok((batch, (0..rows as u32).collect())),
    };
    let schema = Arc::new(explode_schema(&batch.schema, column));
    let from = UInt32Array::from(parents.clone());
    let mut columns = Vec::with_capacity(batch.columns.len());
    for (i, column) in batch.columns.iter().enumerate() {
        columns.push(if i == place { exploded.clone() } else { take(column, &from, None)? });
    }
    Ok((Batch { schema, columns, rows: parents.len(), records: None }, parents))
}
