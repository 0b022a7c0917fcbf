//! Borrowed values of columns for comparisons, and the order between them. JSON strings are not unescaped and CSV cells
//! not parsed until a comparison needs it.

use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};

use super::decimal::{self, Decimal};
use super::mask::{Mask, Truth};
use crate::column::{Type, TypeMerge};
use crate::format::json_text::unescape;
use crate::format::number::write_float;

/// One value of a column, borrowed from its array.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// A number, as its text.
    Digits(&'a str),
    Text(&'a str),
    /// A JSON string with escapes, without its quotes.
    Escaped(&'a str),
    /// A CSV cell, which takes the kind of the value that it is compared with.
    Cell(&'a str),
    /// An object or a list, which compares with nothing.
    Nested,
}

/// Treats text computed from CSV cells as a cell: it takes the kind of the value that it is compared with.
#[inline]
pub(super) fn csv_text_as_cell(value: Value<'_>, type_merge: TypeMerge) -> Value<'_> {
    match value {
        Value::Text(text) if type_merge == TypeMerge::Text => Value::Cell(text),
        other => other,
    }
}

/// Parses a boolean as CSV spells it, `true` or `false` in any case.
#[inline]
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.len() {
        4 if text.eq_ignore_ascii_case("true") => Some(true),
        5 if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Compares a value with a number; `None` if the value is not a number.
#[inline]
pub(super) fn number_order(value: Value<'_>, number: &Decimal) -> Option<Ordering> {
    match value {
        Value::Int(i) => Some(decimal::compare_int(i, number)),
        Value::Float(f) => decimal::compare_float(f, number),
        Value::Digits(text) | Value::Cell(text) => decimal::compare(text.as_bytes(), number),
        _ => None,
    }
}

/// Calls `visit` with the text of the value; with `None` if it does not compare with text. In CSV all scalars do.
#[inline]
pub(super) fn with_text<T>(
    value: Value<'_>,
    type_merge: TypeMerge,
    scratch: &mut Vec<u8>,
    visit: impl FnOnce(Option<&str>) -> T,
) -> T {
    match value {
        Value::Text(text) | Value::Cell(text) => visit(Some(text)),
        // Unescaped only now: most comparisons never need the text.
        Value::Escaped(text) => {
            scratch.clear();
            unescape(text.as_bytes(), scratch);
            visit(std::str::from_utf8(scratch).ok())
        }
        // In JSON only text compares with text; in CSV every scalar has the text that its cell had.
        _ if type_merge == TypeMerge::Json => visit(None),
        Value::Digits(text) => visit(Some(text)),
        Value::Bool(b) => visit(Some(if b { "true" } else { "false" })),
        Value::Int(i) => visit(Some(itoa::Buffer::new().format(i))),
        Value::Float(f) => {
            scratch.clear();
            write_float(f, scratch);
            visit(std::str::from_utf8(scratch).ok())
        }
        Value::Null | Value::Nested => visit(None),
    }
}

/// Compares two values of one row. An error is `Unknown` if one is null, `Mismatch` if their kinds do not compare.
/// `one` and `two` are scratch buffers.
#[inline]
pub(super) fn values_order(
    a: Value<'_>,
    b: Value<'_>,
    one: &mut Vec<u8>,
    two: &mut Vec<u8>,
) -> Result<Ordering, Truth> {
    let number = |value: Value<'_>, out: &mut Vec<u8>| {
        out.clear();
        match value {
            Value::Int(i) => out.extend_from_slice(itoa::Buffer::new().format(i).as_bytes()),
            Value::Float(f) if f.is_finite() => out.extend_from_slice(ryu::Buffer::new().format_finite(f).as_bytes()),
            Value::Digits(text) | Value::Cell(text) => out.extend_from_slice(text.as_bytes()),
            _ => return false,
        }
        true
    };
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => return Err(Truth::Unknown),
        (Value::Bool(a), Value::Bool(b)) => return Ok(a.cmp(&b)),
        (Value::Bool(a), Value::Cell(b)) => return boolean(b).map(|b| a.cmp(&b)).ok_or(Truth::Mismatch),
        (Value::Cell(a), Value::Bool(b)) => return boolean(a).map(|a| a.cmp(&b)).ok_or(Truth::Mismatch),
        _ => {}
    }
    // Numbers by value first, which also covers two CSV cells that both parse; everything else as text.
    if number(a, one)
        && number(b, two)
        && let Some(order) = decimal::compare_texts(one, two)
    {
        return Ok(order);
    }
    with_text(a, TypeMerge::Json, one, |a| with_text(b, TypeMerge::Json, two, |b| Some(a?.cmp(b?))))
        .ok_or(Truth::Mismatch)
}

/// Evaluates `visit` for every value of `array`, a column of type `ty`, and dispatches on the type once. Also returns
/// the number of mismatches.
#[inline]
pub(super) fn each(
    array: &ArrayRef,
    ty: &Type,
    type_merge: TypeMerge,
    mut visit: impl FnMut(Value<'_>) -> Truth,
) -> (Mask, u64) {
    // One loop per type, so that the match on the type stays outside of it.
    macro_rules! each_valid {
        ($array:expr, $row:ident => $value:expr) => {{
            let array = $array;
            Mask::of(array.len(), |$row| {
                visit(if array.is_valid($row) { $value(array.value($row)) } else { Value::Null })
            })
        }};
    }
    match ty {
        Type::Null => Mask::of(array.len(), |_| visit(Value::Null)),
        Type::Bool => each_valid!(array.as_boolean(), row => Value::Bool),
        Type::Int { .. } => each_valid!(array.as_primitive::<Int64Type>(), row => |i| Value::Int(i128::from(i))),
        Type::Decimal => each_valid!(array.as_primitive::<Decimal128Type>(), row => Value::Int),
        Type::Float => each_valid!(array.as_primitive::<Float64Type>(), row => Value::Float),
        Type::Text if type_merge == TypeMerge::Text => each_valid!(array.as_string_view(), row => Value::Cell),
        Type::Text => each_valid!(array.as_string_view(), row => Value::Text),
        Type::Json | Type::Raw => {
            each_valid!(array.as_string_view(), row => |json| csv_text_as_cell(json_value(json), type_merge))
        }
        Type::Fixed(_) | Type::Number(_) | Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Opaque(_) => {
            Mask::of(array.len(), |row| visit(if array.is_valid(row) { Value::Nested } else { Value::Null }))
        }
    }
}

/// Reads the value at `row` of a column of type `ty`.
#[inline]
pub(super) fn value<'a>(array: &'a ArrayRef, ty: &Type, type_merge: TypeMerge, row: usize) -> Value<'a> {
    if array.is_null(row) {
        return Value::Null;
    }
    match ty {
        Type::Null => Value::Null,
        Type::Bool => Value::Bool(array.as_boolean().value(row)),
        Type::Int { .. } => Value::Int(array.as_primitive::<Int64Type>().value(row).into()),
        Type::Decimal => Value::Int(array.as_primitive::<Decimal128Type>().value(row)),
        Type::Float => Value::Float(array.as_primitive::<Float64Type>().value(row)),
        Type::Text if type_merge == TypeMerge::Text => Value::Cell(array.as_string_view().value(row)),
        Type::Text => Value::Text(array.as_string_view().value(row)),
        Type::Json | Type::Raw => csv_text_as_cell(json_value(array.as_string_view().value(row)), type_merge),
        Type::Fixed(_) | Type::Number(_) | Type::Struct(_) | Type::List(_) | Type::Map(_) | Type::Opaque(_) => {
            Value::Nested
        }
    }
}

/// Reads a value from valid JSON text.
#[inline]
fn json_value(json: &str) -> Value<'_> {
    match json.as_bytes() {
        [b'"', inside @ .., b'"'] => {
            let text = &json[1..json.len() - 1];
            if memchr::memchr(b'\\', inside).is_some() { Value::Escaped(text) } else { Value::Text(text) }
        }
        [] | [b'n', ..] => Value::Null,
        [b't', ..] => Value::Bool(true),
        [b'f', ..] => Value::Bool(false),
        [b'{' | b'[', ..] => Value::Nested,
        _ => Value::Digits(json),
    }
}
