//! Paths: a column and the way to a value inside it, and the values and types at its end.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringViewArray, UInt32Array, new_null_array};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::ArrowError;
use arrow_select::{nullif::nullif, take::take};

use crate::column::views::{MAX_INLINE_BYTES, Views, make_view};
use crate::column::{Batch, Schema, Type};
use crate::format::json_path;

/// Where a value sits: a column, and the way into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The column, or the first part of what may turn out to be its dotted name.
    pub column: Arc<str>,
    /// The way from there.
    pub way: Vec<PathSegment>,
    /// How the first part was written.
    pub quotes: Quotes,
    /// Byte in the text where it was written.
    pub at: usize,
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathSegment {
    /// To a field of an object.
    Key(Arc<str>),
    /// To an element of a list, from 0.
    Index(usize),
}

/// How a name was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quotes {
    /// Bare.
    None,
    /// In double quotes.
    Double,
    /// In backticks: taken at its word, also when no such column has come yet.
    Backtick,
}

impl Path {
    /// The path of a column of this very name.
    pub fn column(name: impl Into<Arc<str>>) -> Self {
        Path { column: name.into(), way: Vec::new(), quotes: Quotes::None, at: 0 }
    }
}

impl fmt::Display for Path {
    /// As results name it: `hq.city`, `emails[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.column)?;
        self.way.iter().try_for_each(|way| match way {
            PathSegment::Key(key) => write!(f, ".{key}"),
            PathSegment::Index(index) => write!(f, "[{index}]"),
        })
    }
}

/// The column at `path` of a batch, and its type. What is not there is null.
pub fn column_at(batch: &Batch, path: &Path) -> Result<(ArrayRef, Type), ArrowError> {
    match place(&batch.schema, path) {
        Some((i, way)) => value_at(&batch.columns[i], &batch.schema.fields[i].ty, way),
        None => Ok((nothing(batch.rows), Type::Null)),
    }
}

/// The column that `path` starts with, and the way from there. A dotted name may be that of a column which
/// came after the path was looked at.
fn place<'a>(schema: &Schema, path: &'a Path) -> Option<(usize, &'a [PathSegment])> {
    if let Some(i) = schema.position(&path.column) {
        return Some((i, &path.way));
    }
    let mut name = path.column.to_string();
    let dotted = if path.quotes == Quotes::None { &path.way[..] } else { &[] };
    for (taken, way) in dotted.iter().enumerate() {
        let PathSegment::Key(key) = way else { return None };
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
        (Type::Struct(fields), PathSegment::Key(key)) => {
            fields.into_iter().find(|field| field.name == *key).map_or(Type::Null, |field| field.ty)
        }
        (Type::Map(value), PathSegment::Key(_)) => *value,
        (Type::List(item), PathSegment::Index(_)) => *item,
        _ => Type::Null,
    })
}

fn nothing(rows: usize) -> ArrayRef {
    new_null_array(&Type::Null.to_arrow(), rows)
}

/// The values at the end of `way` from the values of `array`, a column of type `ty`.
fn value_at(array: &ArrayRef, ty: &Type, way: &[PathSegment]) -> Result<(ArrayRef, Type), ArrowError> {
    let Some((first, rest)) = way.split_first() else { return Ok((array.clone(), ty.clone())) };
    match (ty, first) {
        (Type::Json | Type::Raw, _) => Ok((inside_json(array.as_string_view(), way), ty.clone())),
        (Type::Struct(fields), PathSegment::Key(key)) => match fields.iter().position(|field| field.name == *key) {
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
        (Type::List(item), PathSegment::Index(index)) => {
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
        (Type::Map(value), PathSegment::Key(key)) => {
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
fn inside_json(array: &StringViewArray, way: &[PathSegment]) -> ArrayRef {
    let mut views = Views::default();
    let mut valid = BooleanBufferBuilder::new(array.len());
    for row in 0..array.len() {
        let found = array.is_valid(row).then(|| array.value(row).as_bytes()).and_then(|json| {
            let mut at = 0..json.len();
            for way in way {
                let inner = &json[at.clone()];
                let found = match way {
                    PathSegment::Key(key) => json_path::member(inner, key),
                    PathSegment::Index(index) => json_path::element(inner, *index),
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
