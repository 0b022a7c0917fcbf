//! Casts arrays to a wider type, for every widening that [`Type::join`] makes.
//!
//! Values stay exact. One distinction is lost before and cannot be restored: a struct does not
//! distinguish an absent key from a null one, so that null members become absent where an object
//! turns into a map or JSON text. Casts that users ask for are in [`crate::transform`], not here.

use std::sync::Arc;

use arrow_array::builder::StringViewBuilder;
use arrow_array::{
    Array, ArrayRef, Decimal128Array, Int64Array, ListArray, MapArray, StringViewArray, StructArray, UInt32Array,
    new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType};
use arrow_select::{interleave::interleave, take::take};

use super::canonical::write_canonical;
use super::json_text::{JsonValues, NullMembers};
use super::{Field, Fixed, Type};

/// Failure to cast an array to a wider type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CastError {
    /// `to` is not a widening of `from`: some value could change or be lost.
    #[error("cannot widen {from} to {to} without loss")]
    NotWider {
        /// Type that the array carries.
        from: Type,
        /// Type that was requested.
        to: Type,
    },
    /// The array is not of the Arrow type that carries `expected`.
    #[error("an Arrow array of {found} cannot carry type {expected}")]
    Carrier {
        /// The type that the caller named.
        expected: Type,
        /// The Arrow type of the array.
        found: DataType,
    },
    /// The result needs offsets beyond 32 bits.
    #[error("the widened values do not fit into one array")]
    Array(#[from] ArrowError),
}

/// Casts `array`, which carries `from`, to `to`.
///
/// `to` must be a join of `from` with another type; anything narrower is [`CastError::NotWider`].
/// Returns the array itself if both types have the same carrier. Text becomes JSON with its
/// quotes, and all JSON is canonical; every other type has the same text under either [`super::TypeMerge`], so that it is no parameter.
pub fn cast_array(array: &ArrayRef, from: &Type, to: &Type) -> Result<ArrayRef, CastError> {
    if keeps_carrier(from, to) {
        return Ok(array.clone());
    }
    match (from, to) {
        // Raw text is chosen for a whole source, never by widening.
        (_, Type::Raw) | (Type::Raw, _) => Err(not_wider(from, to)),
        (Type::Null, _) => Ok(new_null_array(&to.to_arrow(), array.len())),
        (Type::Int { fits_double: true }, Type::Float) => {
            Ok(Arc::new(carried::<Int64Array>(array, from)?.unary::<_, arrow_array::types::Float64Type>(|v| v as f64)))
        }
        (Type::Int { .. }, Type::Decimal) => {
            let widened: Decimal128Array = carried::<Int64Array>(array, from)?.unary(i128::from);
            Ok(Arc::new(widened.with_precision_and_scale(38, 0)?))
        }
        (_, Type::Fixed(Fixed::Decimal { precision, scale })) => rescaled(array, from, to, *precision, *scale),
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
        (_, Type::Opaque(container)) if from.container() == Some(*container) => {
            json_text(array, from, NullMembers::Write, |text, out| out.extend_from_slice(text.as_bytes()))
        }
        // The top of the lattice holds everything.
        (_, Type::Json) => json_text(array, from, NullMembers::LeaveOut, write_canonical),
        // CSV cells alone become text, and only from types that keep their spelling.
        (_, Type::Text) => json_text(array, from, NullMembers::LeaveOut, |text, out| {
            out.extend_from_slice(text.as_bytes());
        }),
        _ => Err(not_wider(from, to)),
    }
}

/// Returns true if an array of `from` is a valid array of `to` unchanged: an integer column that
/// lost `fits_double`, a column without values that became text, JSON text that is now plain text.
pub fn keeps_carrier(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (Type::Raw, _) | (_, Type::Raw) => from == to,
        (Type::Int { fits_double: a }, Type::Int { fits_double: b }) => *a || !*b,
        (Type::Null, to) => to.is_text_like(),
        (Type::Json, Type::Text) => true,
        (Type::Struct(fields), Type::Json | Type::Text) => fields.is_empty(),
        // Its text is the record's own, and not canonical.
        (Type::Opaque(_), Type::Json) => true,
        (Type::List(a), Type::List(b)) | (Type::Map(a), Type::Map(b)) => keeps_carrier(a, b),
        (Type::Struct(a), Type::Struct(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name && keeps_carrier(&a.ty, &b.ty))
        }
        _ => from == to,
    }
}

/// Casts integers and decimals to a decimal with at least as many digits before and after the point.
fn rescaled(array: &ArrayRef, from: &Type, to: &Type, precision: u8, scale: u8) -> Result<ArrayRef, CastError> {
    let (whole, from_scale): (Decimal128Array, u8) = match from {
        Type::Int { .. } => (carried::<Int64Array>(array, from)?.unary(i128::from), 0),
        Type::Decimal => (carried::<Decimal128Array>(array, from)?.clone(), 0),
        Type::Fixed(Fixed::Decimal { scale, .. }) => (carried::<Decimal128Array>(array, from)?.clone(), *scale),
        _ => return Err(not_wider(from, to)),
    };
    let factor = scale.checked_sub(from_scale).and_then(|more| 10i128.checked_pow(more.into()));
    let factor = factor.ok_or_else(|| not_wider(from, to))?;
    let scaled = whole.try_unary::<_, arrow_array::types::Decimal128Type, _>(|value| {
        value.checked_mul(factor).ok_or_else(|| ArrowError::ArithmeticOverflow("a decimal".into()))
    })?;
    Ok(Arc::new(scaled.with_precision_and_scale(precision, scale as i8)?))
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
    // A struct without fields is carried as text, `{}` or null, and has no columns to keep.
    let source = if narrow.is_empty() { None } else { Some(carried::<StructArray>(array, from)?) };
    let mut kept = 0;
    let mut children = Vec::with_capacity(wide.len());
    for (i, field) in wide.iter().enumerate() {
        // The same index first: a wider struct has its new fields at the end.
        let old_idx = match narrow.get(i) {
            Some(f) if f.name == field.name => Some(i),
            _ => narrow.iter().position(|f| f.name == field.name),
        };
        children.push(match (old_idx, source) {
            (Some(k), Some(source)) => {
                kept += 1;
                cast_array(source.column(k), &narrow[k].ty, &field.ty)?
            }
            _ => new_null_array(arrow_fields[i].data_type(), array.len()),
        });
    }
    // A field that the wider struct lacks would be lost.
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
    // The entries of all maps, row by row: each takes its value from a column, and its key from the column's name.
    let mut value_sources = Vec::new();
    let mut key_indices = Vec::new();
    let mut offsets = Vec::with_capacity(array.len() + 1);
    offsets.push(0);
    for row in 0..array.len() {
        if source.is_valid(row) {
            for (k, child) in children.iter().enumerate() {
                if child.is_valid(row) {
                    value_sources.push((k, row));
                    key_indices.push(k as u32);
                }
            }
        }
        let end = value_sources.len();
        offsets.push(i32::try_from(end).map_err(|_| ArrowError::OffsetOverflowError(end))?);
    }
    let names = StringViewArray::from_iter_values(fields.iter().map(|f| &*f.name));
    let keys = take(&names, &UInt32Array::from(key_indices), None)?;
    let columns: Vec<&dyn Array> = children.iter().map(|c| c.as_ref()).collect();
    let values = interleave(&columns, &value_sources)?;
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

/// Writes every value as JSON text, in the form that `spell` gives it.
fn json_text(
    array: &ArrayRef,
    ty: &Type,
    null_members: NullMembers,
    spell: fn(&str, &mut Vec<u8>),
) -> Result<ArrayRef, CastError> {
    let values = JsonValues::try_new(array.as_ref(), ty, null_members)
        .ok_or_else(|| CastError::Carrier { expected: ty.clone(), found: array.data_type().clone() })?;
    let mut builder = StringViewBuilder::with_capacity(array.len());
    let (mut text, mut spelled) = (Vec::new(), Vec::new());
    for row in 0..array.len() {
        if array.is_null(row) {
            builder.append_null();
        } else {
            text.clear();
            values.write(row, &mut text);
            spelled.clear();
            spell(std::str::from_utf8(&text).expect("JSON text of strings is UTF-8"), &mut spelled);
            builder.try_append_value(std::str::from_utf8(&spelled).expect("JSON text of strings is UTF-8"))?;
        }
    }
    Ok(Arc::new(builder.finish()))
}

#[cfg(test)]
#[path = "cast_tests.rs"]
mod tests;
