//! Column builders that grow by one value at a time and finish as Arrow arrays.
//!
//! A builder has the type of its column; the NDJSON decoder matches on the variant and pushes values
//! that fit. Every builder can be truncated to an earlier length, so that a rejected record leaves no
//! trace in any column.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, MapArray, StructArray,
};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use super::views::Views;
use super::{AsRead, Container, Field, Type};

/// The nulls of a growing column, as a list of rows: a column without nulls costs only a counter, and each null costs
/// four bytes.
#[derive(Debug, Default)]
pub(crate) struct Nulls {
    len: usize,
    /// Rows that are null, ascending. 32 bits are enough: a morsel has at most 2^30 bytes, and so as many rows.
    rows: Vec<u32>,
}

impl Nulls {
    /// Appends one value, null unless `is_valid`.
    #[inline(always)]
    pub(crate) fn push(&mut self, is_valid: bool) {
        if !is_valid {
            self.rows.push(self.len as u32);
        }
        self.len += 1;
    }

    fn truncate(&mut self, len: usize) {
        self.len = len;
        while self.rows.pop_if(|&mut row| row as usize >= len).is_some() {}
    }

    fn finish(self) -> Option<NullBuffer> {
        if self.rows.is_empty() {
            return None;
        }
        let mut valid = vec![u64::MAX; self.len.div_ceil(64)];
        for row in self.rows {
            valid[row as usize / 64] &= !(1 << (row % 64));
        }
        Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(valid), 0, self.len)))
    }
}

/// A growing column, one variant per [`Type`] that is decoded.
#[derive(Debug)]
pub(crate) enum Builder {
    /// Column without values, only nulls.
    Null(Nulls),
    /// Booleans, as a bitmap.
    Bool(BooleanBufferBuilder, Nulls),
    /// 64-bit integers, and the row of the first that a double cannot hold exactly; the length or
    /// more if there is none.
    Int(Vec<i64>, Nulls, usize),
    /// Integers of decimal(38,0).
    Decimal(Vec<i128>, Nulls),
    /// Floating-point numbers of 64 bits.
    Float(Vec<f64>, Nulls),
    /// Strings, as views into the morsel.
    Text(Views, Nulls),
    /// JSON text of values of several types.
    Json(Views, Nulls),
    /// JSON text of any value; an explicit null is text too.
    Raw(Views, Nulls),
    /// Objects in which no key was ever seen, carried as JSON text.
    Empty(Views, Nulls),
    /// JSON text of objects, or of lists.
    Opaque(Container, Views, Nulls),
    /// Objects with known keys.
    Struct(StructBuilder),
    /// Lists: offsets of each list in the items, the first of them 0.
    List(Vec<i32>, Box<Builder>, Nulls),
    /// Objects with open-ended keys: offsets, keys, values.
    Map(Vec<i32>, Views, Box<Builder>, Nulls),
    /// A column of a batch, and its values as JSON text, for steps that look at them. Never inside another column.
    AsRead(Box<Builder>, Views, Nulls),
}

/// A growing struct column, or the row itself.
#[derive(Debug)]
pub(crate) struct StructBuilder {
    /// One builder per field, each as long as the struct between two values.
    pub fields: Vec<FieldBuilder>,
    nulls: Nulls,
    /// Indices of the fields by key, for structs of more than [`SEARCH_LIMIT`] fields; `None` for others.
    by_key: Option<HashMap<Box<[u8]>, usize>>,
}

/// A field of a growing struct.
#[derive(Debug)]
pub(crate) struct FieldBuilder {
    /// Key of the field, unescaped.
    pub name: Arc<str>,
    /// `"key":` as records spell it, to be compared before a key is parsed; empty if the key needs escapes.
    pub literal: Literal,
    /// The values of the field.
    pub builder: Builder,
}

/// Expected bytes, laid out for a comparison of 32 bytes at a time.
#[derive(Clone, Debug)]
pub(crate) struct Literal {
    /// All bytes; none for a literal that matches nowhere.
    pub text: Box<[u8]>,
    /// The first 32 bytes of `text`, filled up with zeros.
    pub head: [u8; 32],
    /// One bit, from the lowest up, for each byte of `head` that belongs to `text`.
    pub mask: u32,
}

impl Literal {
    /// Makes a literal of these bytes.
    pub(crate) fn new(text: &[u8]) -> Self {
        let len = text.len().min(32);
        let mut head = [0; 32];
        head[..len].copy_from_slice(&text[..len]);
        Literal { text: text.into(), head, mask: ((1u64 << len) - 1) as u32 }
    }

    /// Makes the literal of a key with its quotes and colon. Empty if JSON has to escape the key.
    pub(crate) fn key(name: &str) -> Self {
        let plain = !name.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\');
        Literal::new(if plain { format!("\"{name}\":") } else { String::new() }.as_bytes())
    }
}

/// Wider structs are searched by hash. By eye: below this a search by length and bytes is faster.
const SEARCH_LIMIT: usize = 24;

impl Builder {
    /// Makes an empty column of type `ty`.
    ///
    /// # Panics
    ///
    /// If `ty` holds a [`Type::Fixed`] or a [`Type::Number`], which values of JSON never have.
    pub(crate) fn new(ty: &Type) -> Self {
        match ty {
            Type::Null => Builder::Null(Nulls::default()),
            Type::Bool => Builder::Bool(BooleanBufferBuilder::new(0), Nulls::default()),
            Type::Int { .. } => Builder::Int(Vec::new(), Nulls::default(), usize::MAX),
            Type::Decimal => Builder::Decimal(Vec::new(), Nulls::default()),
            Type::Float => Builder::Float(Vec::new(), Nulls::default()),
            Type::Fixed(_) | Type::Number(_) => unreachable!("values of JSON never have this type"),
            Type::Text => Builder::Text(Views::default(), Nulls::default()),
            Type::Json => Builder::Json(Views::default(), Nulls::default()),
            Type::Raw => Builder::Raw(Views::default(), Nulls::default()),
            Type::Opaque(container) => Builder::Opaque(*container, Views::default(), Nulls::default()),
            Type::Struct(fields) if fields.is_empty() => Builder::Empty(Views::default(), Nulls::default()),
            Type::Struct(fields) => Builder::Struct(StructBuilder::new(fields)),
            Type::List(item) => Builder::List(vec![0], Box::new(Builder::new(item)), Nulls::default()),
            Type::Map(value) => {
                Builder::Map(vec![0], Views::default(), Box::new(Builder::new(value)), Nulls::default())
            }
        }
    }

    /// Returns the number of values, nulls included.
    pub(crate) fn len(&self) -> usize {
        match self {
            Builder::Null(nulls)
            | Builder::Bool(_, nulls)
            | Builder::Int(_, nulls, _)
            | Builder::Decimal(_, nulls)
            | Builder::Float(_, nulls)
            | Builder::Text(_, nulls)
            | Builder::Json(_, nulls)
            | Builder::Raw(_, nulls)
            | Builder::Empty(_, nulls)
            | Builder::Opaque(_, _, nulls)
            | Builder::List(_, _, nulls)
            | Builder::Map(_, _, _, nulls)
            | Builder::AsRead(_, _, nulls) => nulls.len,
            Builder::Struct(s) => s.nulls.len,
        }
    }

    /// Appends a null (for `Raw`, an absent value).
    pub(crate) fn push_null(&mut self) {
        match self {
            Builder::Null(nulls) => nulls.push(false),
            Builder::Bool(values, nulls) => {
                values.append(false);
                nulls.push(false);
            }
            Builder::Int(values, nulls, _) => {
                values.push(0);
                nulls.push(false);
            }
            Builder::Decimal(values, nulls) => {
                values.push(0);
                nulls.push(false);
            }
            Builder::Float(values, nulls) => {
                values.push(0.0);
                nulls.push(false);
            }
            Builder::Text(views, nulls)
            | Builder::Json(views, nulls)
            | Builder::Raw(views, nulls)
            | Builder::Empty(views, nulls)
            | Builder::Opaque(_, views, nulls) => {
                views.push(0);
                nulls.push(false);
            }
            // Fields are as long as the struct, also where it is null.
            Builder::Struct(s) => {
                for field in &mut s.fields {
                    field.builder.push_null();
                }
                s.nulls.push(false);
            }
            Builder::List(ends, _, nulls) | Builder::Map(ends, _, _, nulls) => {
                ends.push(*ends.last().expect("offsets start with 0"));
                nulls.push(false);
            }
            Builder::AsRead(column, views, nulls) => {
                column.push_null();
                views.push(0);
                nulls.push(false);
            }
        }
    }

    /// Keeps the first `len` values.
    pub(crate) fn truncate(&mut self, len: usize) {
        match self {
            Builder::Null(nulls) => nulls.truncate(len),
            Builder::Bool(values, nulls) => {
                values.truncate(len);
                nulls.truncate(len);
            }
            Builder::Int(values, nulls, first_wide) => {
                values.truncate(len);
                nulls.truncate(len);
                // A rejected record must not widen the type either.
                if *first_wide >= len {
                    *first_wide = usize::MAX;
                }
            }
            Builder::Decimal(values, nulls) => {
                values.truncate(len);
                nulls.truncate(len);
            }
            Builder::Float(values, nulls) => {
                values.truncate(len);
                nulls.truncate(len);
            }
            Builder::Text(views, nulls)
            | Builder::Json(views, nulls)
            | Builder::Raw(views, nulls)
            | Builder::Empty(views, nulls)
            | Builder::Opaque(_, views, nulls) => {
                views.truncate(len);
                nulls.truncate(len);
            }
            Builder::Struct(s) => s.truncate(len),
            // The items of the lists that stay end at the last offset.
            Builder::List(ends, item, nulls) => {
                ends.truncate(len + 1);
                item.truncate(ends[len] as usize);
                nulls.truncate(len);
            }
            Builder::Map(ends, keys, value, nulls) => {
                ends.truncate(len + 1);
                keys.truncate(ends[len] as usize);
                value.truncate(ends[len] as usize);
                nulls.truncate(len);
            }
            Builder::AsRead(column, views, nulls) => {
                column.truncate(len);
                views.truncate(len);
                nulls.truncate(len);
            }
        }
    }

    /// Reserves capacity for `times` as many values as there are, so that the buffers are moved once at most.
    fn reserve(&mut self, times: f64) {
        let more = |len: usize| (len as f64 * (times - 1.0)) as usize;
        match self {
            // Bitmaps and null lists are small.
            Builder::Null(_) | Builder::Bool(..) => {}
            Builder::Int(values, ..) => values.reserve(more(values.len())),
            Builder::Decimal(values, _) => values.reserve(more(values.len())),
            Builder::Float(values, _) => values.reserve(more(values.len())),
            Builder::Text(views, _)
            | Builder::Json(views, _)
            | Builder::Raw(views, _)
            | Builder::Empty(views, _)
            | Builder::Opaque(_, views, _) => {
                views.reserve(times);
            }
            Builder::Struct(s) => s.reserve(times),
            Builder::List(ends, item, _) => {
                ends.reserve(more(ends.len()));
                item.reserve(times);
            }
            Builder::Map(ends, keys, value, _) => {
                ends.reserve(more(ends.len()));
                keys.reserve(times);
                value.reserve(times);
            }
            Builder::AsRead(column, views, _) => {
                column.reserve(times);
                views.reserve(times);
            }
        }
    }

    /// Wraps the empty column so that its values are kept as they were read, too.
    pub(crate) fn keep_as_read(&mut self) {
        let column = std::mem::replace(self, Builder::Null(Nulls::default()));
        *self = Builder::AsRead(Box::new(column), Views::default(), Nulls::default());
    }

    /// Takes the values as read out of the column; `None` if they were not kept.
    fn take_as_read(&mut self, buffers: &Arc<[Buffer]>) -> Option<AsRead> {
        let Builder::AsRead(_, views, nulls) = self else { return None };
        let array = std::mem::take(views).finish(buffers.clone(), std::mem::take(nulls).finish());
        Some(AsRead { array, ty: Type::Raw })
    }

    /// Finishes the column: returns the array, of the Arrow type of this column's [`Type`], and the type observed. Views
    /// point into `buffers` by index.
    pub(crate) fn finish(self, buffers: &Arc<[Buffer]>) -> (ArrayRef, Type) {
        match self {
            // Carried as text, so that the column can become text without a cast.
            Builder::Null(nulls) => {
                let mut views = Views::default();
                for _ in 0..nulls.len {
                    views.push(0);
                }
                (views.finish(buffers.clone(), nulls.finish()), Type::Null)
            }
            Builder::Bool(mut values, nulls) => {
                (Arc::new(BooleanArray::new(values.finish(), nulls.finish())), Type::Bool)
            }
            Builder::Int(values, nulls, first_wide) => {
                let fits_double = first_wide >= values.len();
                (Arc::new(Int64Array::new(values.into(), nulls.finish())), Type::Int { fits_double })
            }
            Builder::Decimal(values, nulls) => {
                let array = Decimal128Array::new(values.into(), nulls.finish());
                (Arc::new(array.with_precision_and_scale(38, 0).expect("38 digits are allowed")), Type::Decimal)
            }
            Builder::Float(values, nulls) => (Arc::new(Float64Array::new(values.into(), nulls.finish())), Type::Float),
            Builder::Text(views, nulls) => (views.finish(buffers.clone(), nulls.finish()), Type::Text),
            Builder::Json(views, nulls) => (views.finish(buffers.clone(), nulls.finish()), Type::Json),
            Builder::Raw(views, nulls) => (views.finish(buffers.clone(), nulls.finish()), Type::Raw),
            Builder::Opaque(container, views, nulls) => {
                (views.finish(buffers.clone(), nulls.finish()), Type::Opaque(container))
            }
            Builder::Empty(views, nulls) => (views.finish(buffers.clone(), nulls.finish()), Type::Struct(Vec::new())),
            Builder::AsRead(column, ..) => column.finish(buffers),
            Builder::Struct(s) => {
                let nulls = s.nulls.finish();
                let (fields, columns) = finish_fields(s.fields, buffers);
                let arrow_fields = fields.iter().map(Field::to_arrow).collect();
                (Arc::new(StructArray::new(arrow_fields, columns, nulls)), Type::Struct(fields))
            }
            Builder::List(ends, item, nulls) => {
                let (items, item_type) = item.finish(buffers);
                let field = arrow_schema::Field::new("item", item_type.to_arrow(), true);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                let array = ListArray::new(Arc::new(field), offsets, items, nulls.finish());
                (Arc::new(array), Type::List(Box::new(item_type)))
            }
            Builder::Map(ends, keys, value, nulls) => {
                let (values, value_type) = value.finish(buffers);
                // The Arrow fields are taken from the type, so that their names are defined in one place.
                let ty = Type::Map(Box::new(value_type));
                let arrow_schema::DataType::Map(entries, _) = ty.to_arrow() else {
                    unreachable!("a map's Arrow type is a map")
                };
                let arrow_schema::DataType::Struct(entry_fields) = entries.data_type() else {
                    unreachable!("a map's entries are structs")
                };
                let rows =
                    StructArray::new(entry_fields.clone(), vec![keys.finish(buffers.clone(), None), values], None);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
                (Arc::new(MapArray::new(entries, offsets, rows, nulls.finish(), false)), ty)
            }
        }
    }
}

fn finish_fields(fields: Vec<FieldBuilder>, buffers: &Arc<[Buffer]>) -> (Vec<Field>, Vec<ArrayRef>) {
    fields
        .into_iter()
        .map(|field| {
            let (array, ty) = field.builder.finish(buffers);
            (Field { name: field.name, ty }, array)
        })
        .unzip()
}

impl StructBuilder {
    /// Makes an empty struct column with these fields.
    pub(crate) fn new(fields: &[Field]) -> Self {
        let fields: Vec<FieldBuilder> = fields
            .iter()
            .map(|field| FieldBuilder {
                name: field.name.clone(),
                literal: Literal::key(&field.name),
                builder: Builder::new(&field.ty),
            })
            .collect();
        let by_key = (fields.len() > SEARCH_LIMIT)
            .then(|| fields.iter().enumerate().map(|(i, f)| (f.name.as_bytes().into(), i)).collect());
        StructBuilder { fields, nulls: Nulls::default(), by_key }
    }

    /// Returns the index of the field `key`; `None` if there is none.
    pub(crate) fn position(&self, key: &[u8]) -> Option<usize> {
        match &self.by_key {
            Some(map) => map.get(key).copied(),
            None => self.fields.iter().position(|f| f.name.as_bytes() == key),
        }
    }

    /// Returns the number of values, nulls included.
    pub(crate) fn len(&self) -> usize {
        self.nulls.len
    }

    /// Ends one value in which every field was pushed.
    #[inline(always)]
    pub(crate) fn end_whole_value(&mut self) {
        debug_assert!(self.fields.iter().all(|field| field.builder.len() == self.nulls.len + 1));
        self.nulls.push(true);
    }

    /// Ends one value: fields that were not pushed get a null.
    #[inline]
    pub(crate) fn end_value(&mut self) {
        let len = self.nulls.len;
        for field in &mut self.fields {
            if field.builder.len() == len {
                field.builder.push_null();
            }
        }
        self.nulls.push(true);
    }

    /// Reserves capacity in every column for `times` as many values as there are; `times` is at least 1.
    pub(crate) fn reserve(&mut self, times: f64) {
        self.fields.iter_mut().for_each(|field| field.builder.reserve(times));
    }

    /// Keeps the first `len` values of every field.
    pub(crate) fn truncate(&mut self, len: usize) {
        for field in &mut self.fields {
            field.builder.truncate(len);
        }
        self.nulls.truncate(len);
    }

    /// Finishes the fields as columns of a batch, with their types as observed, and their values as read, if any are kept.
    /// The struct's own nulls are dropped: a record is never null.
    pub(crate) fn finish_columns(
        mut self,
        buffers: &Arc<[Buffer]>,
    ) -> (Vec<Field>, Vec<ArrayRef>, Vec<Option<AsRead>>) {
        let mut as_read = Vec::new();
        if self.fields.iter().any(|field| matches!(field.builder, Builder::AsRead(..))) {
            as_read = self.fields.iter_mut().map(|field| field.builder.take_as_read(buffers)).collect();
        }
        let (fields, columns) = finish_fields(self.fields, buffers);
        (fields, columns, as_read)
    }
}
