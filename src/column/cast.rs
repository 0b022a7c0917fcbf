//! Brings arrays up to a wider type, for every widening that [`Type::join`] makes.
//!
//! Values stay exact. What a narrower type never kept cannot come back: an object's members that
//! are null become absent where it turns into a map or JSON text, because a struct does not know
//! an absent key from a null one.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, MapArray, StringViewArray,
    StructArray, UInt32Array, new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};
use arrow_select::{interleave::interleave, take::take};

use super::{Field, Type};

/// Why an array could not be brought up to a type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CastError {
    /// The types are not a widening: some value could change or be lost.
    #[error("values of type {from} cannot all be kept as {to}")]
    NotWider {
        /// The array's type.
        from: Type,
        /// The type asked for.
        to: Type,
    },
    /// The array is not one that carries its type.
    #[error("an array of {found} does not carry type {expected}")]
    Carrier {
        /// The type that was said.
        expected: Type,
        /// What the array is.
        found: DataType,
    },
    /// An array could not be built: offsets beyond 32 bits.
    #[error("the widened values do not fit one array")]
    Array(#[from] ArrowError),
}

/// `array`, which carries `from`, as an array that carries `to`.
///
/// `to` must be a join of `from` with something; anything narrower is [`CastError::NotWider`].
/// Where both types have the same carrier the array is handed back as it is. Text becomes JSON
/// with its quotes; everything else becomes the same text under either way of mixing, so none is
/// asked for.
pub fn cast_array(array: &ArrayRef, from: &Type, to: &Type) -> Result<ArrayRef, CastError> {
    if keeps_carrier(from, to) {
        return Ok(array.clone());
    }
    match (from, to) {
        (_, Type::Raw) | (Type::Raw, _) => Err(not_wider(from, to)),
        (Type::Null, _) => Ok(new_null_array(&to.to_arrow(), array.len())),
        (Type::Int { fits_double: true }, Type::Float) => {
            Ok(Arc::new(carried::<Int64Array>(array, from)?.unary::<_, arrow_array::types::Float64Type>(|v| v as f64)))
        }
        (Type::Int { .. }, Type::Decimal) => {
            let widened: Decimal128Array = carried::<Int64Array>(array, from)?.unary(i128::from);
            Ok(Arc::new(widened.with_precision_and_scale(38, 0)?))
        }
        (Type::Struct(narrow), Type::Struct(wide)) => cast_struct(array, narrow, wide, from, to),
        (Type::Struct(fields), Type::Map(value)) => struct_to_map(array, fields, value, from, to),
        (Type::List(narrow), Type::List(wide)) => {
            let list = carried::<ListArray>(array, from)?;
            let DataType::List(item) = to.to_arrow() else { return Err(not_wider(from, to)) };
            let values = cast_array(list.values(), narrow, wide)?;
            Ok(Arc::new(ListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned())?))
        }
        (Type::Map(narrow), Type::Map(wide)) => {
            let map = carried::<MapArray>(array, from)?;
            let values = cast_array(map.values(), narrow, wide)?;
            Ok(Arc::new(map_array(to, map.offsets().clone(), map.keys().clone(), values, map.nulls().cloned())?))
        }
        (_, Type::Json | Type::Text) => json_text(array, from),
        _ => Err(not_wider(from, to)),
    }
}

/// True when values of `from` stand in the very same array as values of `to`, so that nothing
/// needs to be touched: an integer column that lost `fits_double`, a column without values that
/// became text, JSON text that is now plain text.
pub fn keeps_carrier(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (Type::Raw, _) | (_, Type::Raw) => from == to,
        (Type::Int { fits_double: a }, Type::Int { fits_double: b }) => *a || !*b,
        (Type::Null, to) => to.is_text_like(),
        (Type::Json, Type::Text) => true,
        (Type::Struct(fields), Type::Json | Type::Text) => fields.is_empty(),
        (Type::List(a), Type::List(b)) | (Type::Map(a), Type::Map(b)) => keeps_carrier(a, b),
        (Type::Struct(a), Type::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name && keeps_carrier(&a.ty, &b.ty))
        }
        _ => from == to,
    }
}

fn not_wider(from: &Type, to: &Type) -> CastError {
    CastError::NotWider { from: from.clone(), to: to.clone() }
}

fn carried<'a, A: Array + 'static>(array: &'a dyn Array, ty: &Type) -> Result<&'a A, CastError> {
    array
        .as_any()
        .downcast_ref::<A>()
        .ok_or_else(|| CastError::Carrier { expected: ty.clone(), found: array.data_type().clone() })
}

fn cast_struct(
    array: &ArrayRef,
    narrow: &[Field],
    wide: &[Field],
    from: &Type,
    to: &Type,
) -> Result<ArrayRef, CastError> {
    let DataType::Struct(arrow_fields) = to.to_arrow() else { return Err(not_wider(from, to)) };
    // A struct without fields is carried as text, `{}` or null.
    let source = if narrow.is_empty() { None } else { Some(carried::<StructArray>(array, from)?) };
    let mut kept = 0;
    let mut children = Vec::with_capacity(wide.len());
    for (i, field) in wide.iter().enumerate() {
        // Same place first: a wider struct adds its new fields at the end.
        let place = match narrow.get(i) {
            Some(f) if f.name == field.name => Some(i),
            _ => narrow.iter().position(|f| f.name == field.name),
        };
        children.push(match (place, source) {
            (Some(k), Some(source)) => {
                kept += 1;
                cast_array(source.column(k), &narrow[k].ty, &field.ty)?
            }
            _ => new_null_array(arrow_fields[i].data_type(), array.len()),
        });
    }
    if kept != narrow.len() {
        return Err(not_wider(from, to));
    }
    Ok(Arc::new(StructArray::try_new_with_length(arrow_fields, children, array.nulls().cloned(), array.len())?))
}

fn struct_to_map(
    array: &ArrayRef,
    fields: &[Field],
    value: &Type,
    from: &Type,
    to: &Type,
) -> Result<ArrayRef, CastError> {
    if fields.is_empty() {
        let keys = new_null_array(&DataType::Utf8View, 0);
        let values = new_null_array(&value.to_arrow(), 0);
        return Ok(Arc::new(map_array(
            to,
            OffsetBuffer::new_zeroed(array.len()),
            keys,
            values,
            array.nulls().cloned(),
        )?));
    }
    let source = carried::<StructArray>(array, from)?;
    let children = fields
        .iter()
        .zip(source.columns())
        .map(|(field, column)| cast_array(column, &field.ty, value))
        .collect::<Result<Vec<_>, _>>()?;
    let mut places = Vec::new();
    let mut key_places = Vec::new();
    let mut offsets = Vec::with_capacity(array.len() + 1);
    offsets.push(0);
    for row in 0..array.len() {
        if source.is_valid(row) {
            for (k, child) in children.iter().enumerate() {
                if child.is_valid(row) {
                    places.push((k, row));
                    key_places.push(k as u32);
                }
            }
        }
        offsets.push(i32::try_from(places.len()).map_err(|_| ArrowError::OffsetOverflowError(places.len()))?);
    }
    let names = StringViewArray::from_iter_values(fields.iter().map(|f| &*f.name));
    let keys = take(&names, &UInt32Array::from(key_places), None)?;
    let columns: Vec<&dyn Array> = children.iter().map(|c| c.as_ref()).collect();
    let values = interleave(&columns, &places)?;
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Ok(Arc::new(map_array(to, offsets, keys, values, array.nulls().cloned())?))
}

fn map_array(
    ty: &Type,
    offsets: OffsetBuffer<i32>,
    keys: ArrayRef,
    values: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<MapArray, CastError> {
    let DataType::Map(entries_field, sorted) = ty.to_arrow() else {
        return Err(CastError::Carrier { expected: ty.clone(), found: values.data_type().clone() });
    };
    let DataType::Struct(fields) = entries_field.data_type() else {
        return Err(CastError::Carrier { expected: ty.clone(), found: entries_field.data_type().clone() });
    };
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    Ok(MapArray::try_new(entries_field, offsets, entries, nulls, sorted)?)
}

fn json_text(array: &ArrayRef, ty: &Type) -> Result<ArrayRef, CastError> {
    let values = JsonValues::try_new(array.as_ref(), ty)?;
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let mut text = String::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
        } else {
            text.clear();
            values.write(row, &mut text);
            builder.try_append_value(&text)?;
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Arrays with their types resolved once, so that each value is written without a look at types.
enum JsonValues<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int(&'a Int64Array),
    Decimal(&'a Decimal128Array),
    Float(&'a Float64Array),
    Text(&'a StringViewArray),
    /// JSON text already.
    Verbatim(&'a StringViewArray),
    Struct {
        array: &'a StructArray,
        /// Each member's `"name":` and values.
        members: Vec<(String, JsonValues<'a>)>,
    },
    List {
        array: &'a ListArray,
        items: Box<JsonValues<'a>>,
    },
    Map {
        array: &'a MapArray,
        keys: &'a StringViewArray,
        values: Box<JsonValues<'a>>,
    },
}

impl<'a> JsonValues<'a> {
    fn try_new(array: &'a dyn Array, ty: &Type) -> Result<Self, CastError> {
        Ok(match ty {
            Type::Null => JsonValues::Null,
            Type::Bool => JsonValues::Bool(carried(array, ty)?),
            Type::Int { .. } => JsonValues::Int(carried(array, ty)?),
            Type::Decimal => JsonValues::Decimal(carried(array, ty)?),
            Type::Float => JsonValues::Float(carried(array, ty)?),
            Type::Text => JsonValues::Text(carried(array, ty)?),
            Type::Json | Type::Raw => JsonValues::Verbatim(carried(array, ty)?),
            Type::Struct(fields) if fields.is_empty() => JsonValues::Verbatim(carried(array, ty)?),
            Type::Struct(fields) => {
                let array = carried::<StructArray>(array, ty)?;
                let members = fields
                    .iter()
                    .zip(array.columns())
                    .map(|(field, column)| {
                        let mut key = String::with_capacity(field.name.len() + 3);
                        write_string(&field.name, &mut key);
                        key.push(':');
                        Ok((key, JsonValues::try_new(column.as_ref(), &field.ty)?))
                    })
                    .collect::<Result<_, CastError>>()?;
                JsonValues::Struct { array, members }
            }
            Type::List(item) => {
                let array = carried::<ListArray>(array, ty)?;
                JsonValues::List { array, items: Box::new(JsonValues::try_new(array.values().as_ref(), item)?) }
            }
            Type::Map(value) => {
                let array = carried::<MapArray>(array, ty)?;
                JsonValues::Map {
                    array,
                    keys: carried(array.keys().as_ref(), &Type::Text)?,
                    values: Box::new(JsonValues::try_new(array.values().as_ref(), value)?),
                }
            }
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            JsonValues::Null => true,
            JsonValues::Bool(a) => a.is_null(row),
            JsonValues::Int(a) => a.is_null(row),
            JsonValues::Decimal(a) => a.is_null(row),
            JsonValues::Float(a) => a.is_null(row),
            JsonValues::Text(a) | JsonValues::Verbatim(a) => a.is_null(row),
            JsonValues::Struct { array, .. } => array.is_null(row),
            JsonValues::List { array, .. } => array.is_null(row),
            JsonValues::Map { array, .. } => array.is_null(row),
        }
    }

    fn write(&self, row: usize, out: &mut String) {
        if self.is_null(row) {
            return out.push_str("null");
        }
        match self {
            // Answered above: there are no values.
            JsonValues::Null => {}
            JsonValues::Bool(a) => out.push_str(if a.value(row) { "true" } else { "false" }),
            JsonValues::Int(a) => out.push_str(itoa::Buffer::new().format(a.value(row))),
            JsonValues::Decimal(a) => out.push_str(itoa::Buffer::new().format(a.value(row))),
            // The shortest digits that read back as the same double. Parsers let only finite
            // numbers in, so that this always is JSON.
            JsonValues::Float(a) => out.push_str(ryu::Buffer::new().format(a.value(row))),
            JsonValues::Text(a) => write_string(a.value(row), out),
            JsonValues::Verbatim(a) => out.push_str(a.value(row)),
            JsonValues::Struct { members, .. } => {
                out.push('{');
                let mut first = true;
                for (key, values) in members.iter().filter(|(_, values)| !values.is_null(row)) {
                    separate(&mut first, out);
                    out.push_str(key);
                    values.write(row, out);
                }
                out.push('}');
            }
            JsonValues::List { array, items } => {
                out.push('[');
                let mut first = true;
                for place in range(array.offsets(), row) {
                    separate(&mut first, out);
                    items.write(place, out);
                }
                out.push(']');
            }
            JsonValues::Map { array, keys, values } => {
                out.push('{');
                let mut first = true;
                for place in range(array.offsets(), row) {
                    separate(&mut first, out);
                    write_string(keys.value(place), out);
                    out.push(':');
                    values.write(place, out);
                }
                out.push('}');
            }
        }
    }
}

fn range(offsets: &OffsetBuffer<i32>, row: usize) -> std::ops::Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}

fn separate(first: &mut bool, out: &mut String) {
    if !std::mem::take(first) {
        out.push(',');
    }
}

/// `text` as a JSON string: quotes, backslashes and control characters escaped, nothing else.
fn write_string(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push('"');
    let mut plain_from = 0;
    for (i, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        // All such bytes are ASCII, so that both sides of them are character boundaries.
        out.push_str(&text[plain_from..i]);
        plain_from = i + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x08 => out.push_str("\\b"),
            0x0c => out.push_str("\\f"),
            _ => {
                out.push_str("\\u00");
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

#[cfg(test)]
#[path = "cast_tests.rs"]
mod tests;
