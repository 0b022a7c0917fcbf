//! Paths to columns and to values inside them, and the arrays and types that they lead to in a batch. Nested values are
//! sliced or taken by index, JSON text is viewed in place: no value is copied.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringViewArray, UInt32Array, new_null_array};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::ArrowError;
use arrow_select::{nullif::nullif, take::take};

use crate::column::views::{MAX_INLINE_BYTES, Views, make_view};
use crate::column::{AsRead, Batch, Schema, Type};
use crate::format::json_path;

/// Path to a value: a column, and segments into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// Column, or the first part of a dotted column name; binding decides which.
    pub column: Arc<str>,
    /// Segments from the column to the value; empty for the column itself.
    pub segments: Vec<PathSegment>,
    /// Quotes of the first part, as written.
    pub quotes: Quotes,
    /// Byte of the text at which the path starts.
    pub at: usize,
}

/// One segment of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathSegment {
    /// Field of an object.
    Key(Arc<str>),
    /// Element of a list, counted from 0.
    Index(usize),
}

/// Quotes around a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Quotes {
    /// Bare name, whose dots are segments or part of a column name.
    None,
    /// Double quotes: a literal name, which must be known.
    Double,
    /// Backticks: a literal name, accepted even if no such column is known yet.
    Backtick,
}

impl Path {
    /// Creates the path of the column `name`.
    pub fn column(name: impl Into<Arc<str>>) -> Self {
        Path { column: name.into(), segments: Vec::new(), quotes: Quotes::None, at: 0 }
    }
}

impl fmt::Display for Path {
    /// Writes the path as a column name: `hq.city`, `emails[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.column)?;
        self.segments.iter().try_for_each(|segment| match segment {
            PathSegment::Key(key) => write!(f, ".{key}"),
            PathSegment::Index(index) => write!(f, "[{index}]"),
        })
    }
}

/// Returns the array at `path` of a batch, and its type: all null, of the null type, if there is none.
pub fn column_at(batch: &Batch, path: &Path) -> Result<(ArrayRef, Type), ArrowError> {
    match resolve(&batch.schema, path) {
        Some((i, segments)) => value_at(&batch.columns[i], &batch.schema.fields[i].ty, segments),
        None => Ok((null_column(batch.rows), Type::Null)),
    }
}

/// Returns the values at `path` as they were read; `None` if the typed ones of [`column_at`] are as good.
pub fn as_read_at(batch: &Batch, path: &Path) -> Result<Option<AsRead>, ArrowError> {
    let Some((index, segments)) = resolve(&batch.schema, path) else { return Ok(None) };
    match batch.as_read(index) {
        // A CSV cell has nothing inside.
        Some(AsRead { ty: Type::Text, .. }) if !segments.is_empty() => Ok(None),
        Some(AsRead { array, ty }) => {
            let (array, ty) = value_at(array, ty, segments)?;
            Ok(Some(AsRead { array, ty }))
        }
        None => Ok(None),
    }
}

/// Finds the column of `path` and the segments into it. A dotted name can match a column that appeared after the path
/// was bound.
fn resolve<'a>(schema: &Schema, path: &'a Path) -> Option<(usize, &'a [PathSegment])> {
    if let Some(i) = schema.position(&path.column) {
        return Some((i, &path.segments));
    }
    let mut name = path.column.to_string();
    // A quoted name is literal and never joined with its segments.
    let dotted = if path.quotes == Quotes::None { &path.segments[..] } else { &[] };
    for (i, segment) in dotted.iter().enumerate() {
        let PathSegment::Key(key) = segment else { return None };
        name.push('.');
        name.push_str(key);
        if let Some(column) = schema.position(&name) {
            return Some((column, &path.segments[i + 1..]));
        }
    }
    None
}

/// Returns the type of the array that [`column_at`] returns for columns of `schema`.
pub fn type_at(schema: &Schema, path: &Path) -> Type {
    let Some((i, segments)) = resolve(schema, path) else { return Type::Null };
    segments.iter().fold(schema.fields[i].ty.clone(), |ty, segment| match (ty, segment) {
        (ty @ (Type::Json | Type::Raw), _) => ty,
        (Type::Struct(fields), PathSegment::Key(key)) => {
            fields.into_iter().find(|field| field.name == *key).map_or(Type::Null, |field| field.ty)
        }
        (Type::Map(value), PathSegment::Key(_)) => *value,
        (Type::List(item), PathSegment::Index(_)) => *item,
        _ => Type::Null,
    })
}

fn null_column(rows: usize) -> ArrayRef {
    new_null_array(&Type::Null.to_arrow(), rows)
}

/// Follows `segments` into `array`, of type `ty`.
fn value_at(array: &ArrayRef, ty: &Type, segments: &[PathSegment]) -> Result<(ArrayRef, Type), ArrowError> {
    let Some((first, rest)) = segments.split_first() else { return Ok((array.clone(), ty.clone())) };
    match (ty, first) {
        (Type::Json | Type::Raw, _) => {
            Ok((inside_json(array.as_string_view(), segments, *ty == Type::Raw), ty.clone()))
        }
        (Type::Struct(fields), PathSegment::Key(key)) => match fields.iter().position(|field| field.name == *key) {
            Some(i) => {
                let column = array.as_struct().column(i);
                // Under a null object the child array may contain arbitrary values, which must become null.
                let column = match array.nulls() {
                    Some(nulls) => nullif(column, &BooleanArray::new(!nulls.inner(), None))?,
                    None => column.clone(),
                };
                value_at(&column, &fields[i].ty, rest)
            }
            None => Ok((null_column(array.len()), Type::Null)),
        },
        (Type::List(item), PathSegment::Index(index)) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            let indices: UInt32Array = (0..list.len())
                .map(|row| {
                    let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                    // Beyond the end of a list, and of a null list, the value is null.
                    (list.is_valid(row) && *index < end - start).then(|| (start + index) as u32)
                })
                .collect();
            value_at(&take(list.values(), &indices, None)?, item, rest)
        }
        (Type::Map(value), PathSegment::Key(key)) => {
            let map = array.as_map();
            let (offsets, keys) = (map.value_offsets(), map.keys().as_string_view());
            let indices: UInt32Array = (0..map.len())
                .map(|row| {
                    let entries = offsets[row] as usize..offsets[row + 1] as usize;
                    // Of duplicate keys the last one is used.
                    let found = entries.rev().find(|&entry| keys.value(entry) == &**key);
                    found.filter(|_| map.is_valid(row)).map(|entry| entry as u32)
                })
                .collect();
            value_at(&take(map.values(), &indices, None)?, value, rest)
        }
        _ => Ok((null_column(array.len()), Type::Null)),
    }
}

/// Returns views of the values at `segments` inside the JSON text of each row, into the same buffers. With `has_nulls` a
/// null is its text, which raw columns tell from an absent value.
fn inside_json(array: &StringViewArray, segments: &[PathSegment], has_nulls: bool) -> ArrayRef {
    let mut views = Views::default();
    let mut valid = BooleanBufferBuilder::new(array.len());
    for row in 0..array.len() {
        let found = array.is_valid(row).then(|| array.value(row).as_bytes()).and_then(|json| {
            let mut at = 0..json.len();
            for segment in segments {
                let inner = &json[at.clone()];
                let found = match segment {
                    PathSegment::Key(key) => json_path::member(inner, key),
                    PathSegment::Index(index) => json_path::element(inner, *index),
                }?;
                // Offsets are relative to the enclosing value.
                at = at.start + found.start..at.start + found.end;
            }
            Some((&json[at.clone()], at.start))
        });
        let found = found.filter(|(text, _)| has_nulls || *text != b"null");
        valid.append(found.is_some());
        views.push(found.map_or(0, |(text, start)| {
            // A long view has its offset in the top 32 bits and its buffer index in the 32 bits below. A short text is
            // inlined in its view, and so are all its parts, which need neither.
            let view = array.views()[row];
            let in_buffer = view as u32 as usize > MAX_INLINE_BYTES;
            let (buffer, offset) = if in_buffer { ((view >> 64) as u32, (view >> 96) as usize) } else { (0, 0) };
            make_view(text, buffer, offset + start)
        }));
    }
    let nulls = NullBuffer::new(valid.finish());
    views.finish(array.data_buffers(), (nulls.null_count() > 0).then_some(nulls))
}
