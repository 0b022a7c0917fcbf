//! Single values during evaluation: the operands and results of functions and casts.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::ast::Literal;
use super::decimal::{self, Decimal};
use super::eval_error::EvalError;
use super::value::Value;
use crate::column::{Fixed, Type, TypeMerge};
use crate::format::json_text::{unescape, write_json_string};
use crate::format::number::write_float;

/// A value during evaluation, borrowed from its column where possible.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Datum<'a> {
    /// Null, or a key that the record lacks.
    Null,
    /// A boolean of JSON, or computed.
    Bool(bool),
    /// An integer of up to 38 digits.
    Int(i128),
    /// A finite double.
    Float(f64),
    /// A number that is neither, as its JSON text.
    Digits(Cow<'a, str>),
    /// Text without quotes or escapes.
    Text(Cow<'a, str>),
    /// A CSV cell, which is text until a number is needed, and the form in which a column of mixed values has it.
    Cell(&'a str, CellForm),
    /// An object or a list, as its JSON text.
    Nested(Cow<'a, str>),
    /// A date, timestamp or decimal, the result of a cast.
    Fixed(Fixed, i128),
}

/// The JSON value that a CSV cell becomes among others: decided by the type of its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CellForm {
    /// A string.
    Text,
    /// A number, with the digits of the cell.
    Number,
    /// A boolean.
    Bool,
}

impl CellForm {
    /// Returns the form of the cells of a column of type `ty`.
    pub(super) fn of(ty: &Type) -> Self {
        match ty {
            // CSV columns of JSON text have numbers that keep their digits.
            Type::Int { .. } | Type::Decimal | Type::Float | Type::Json | Type::Fixed(Fixed::Decimal { .. }) => {
                CellForm::Number
            }
            Type::Bool => CellForm::Bool,
            _ => CellForm::Text,
        }
    }
}

/// A column as an expression sees it: as it was read, where the typed column forgets something of that.
pub(super) struct InputColumn {
    pub array: ArrayRef,
    pub ty: Type,
    /// The form of its values where they are CSV cells.
    pub cell_form: CellForm,
}

/// A number in arithmetic.
#[derive(Clone, Copy, Debug)]
pub(super) enum Num {
    Int(i128),
    Float(f64),
}

impl Num {
    /// Converts to the nearest double.
    pub(super) fn float(self) -> f64 {
        match self {
            Num::Int(i) => i as f64,
            Num::Float(f) => f,
        }
    }
}

impl<'a> Datum<'a> {
    /// Reads the value at `row` of `column`. Panics for nested and cast types, which the caller converts to JSON text
    /// first.
    #[inline]
    pub(super) fn at(column: &'a InputColumn, type_merge: TypeMerge, row: usize) -> Datum<'a> {
        let InputColumn { array, ty, cell_form } = column;
        if array.is_null(row) {
            return Datum::Null;
        }
        match ty {
            Type::Null => Datum::Null,
            Type::Bool => Datum::Bool(array.as_boolean().value(row)),
            Type::Int { .. } => Datum::Int(array.as_primitive::<Int64Type>().value(row).into()),
            Type::Decimal => Datum::Int(array.as_primitive::<Decimal128Type>().value(row)),
            Type::Float => Datum::Float(array.as_primitive::<Float64Type>().value(row)),
            Type::Text if type_merge == TypeMerge::Text => Datum::Cell(array.as_string_view().value(row), *cell_form),
            Type::Text => Datum::Text(array.as_string_view().value(row).into()),
            Type::Json | Type::Raw | Type::Opaque(_) => match Datum::of_json(array.as_string_view().value(row)) {
                // Text that a step made of cells is a cell to the next one.
                Datum::Text(Cow::Borrowed(text)) if type_merge == TypeMerge::Text => Datum::Cell(text, CellForm::Text),
                other => other,
            },
            Type::Struct(_) if matches!(array.data_type(), DataType::Utf8View) => {
                Datum::Nested(array.as_string_view().value(row).into())
            }
            Type::Fixed(_) | Type::Number(_) | Type::Struct(_) | Type::List(_) | Type::Map(_) => {
                unreachable!("such columns are converted to JSON text first")
            }
        }
    }

    /// Reads a value from valid JSON text.
    pub(super) fn of_json(json: &'a str) -> Datum<'a> {
        match json.as_bytes() {
            [b'"', inside @ .., b'"'] => {
                if memchr::memchr(b'\\', inside).is_none() {
                    return Datum::Text(json[1..json.len() - 1].into());
                }
                let mut text = Vec::new();
                unescape(inside, &mut text);
                Datum::Text(String::from_utf8_lossy(&text).into_owned().into())
            }
            [] | [b'n', ..] => Datum::Null,
            [b't', ..] => Datum::Bool(true),
            [b'f', ..] => Datum::Bool(false),
            [b'{' | b'[', ..] => Datum::Nested(json.into()),
            digits => match short_int(digits) {
                Some(int) => Datum::Int(int.into()),
                None => Datum::Digits(json.into()),
            },
        }
    }

    /// Converts a literal to a value.
    pub(super) fn of_literal(literal: &Literal) -> Datum<'static> {
        match literal {
            Literal::Null => Datum::Null,
            Literal::Bool(b) => Datum::Bool(*b),
            Literal::Text(text) => Datum::Text(text.to_string().into()),
            Literal::Number(number) => match num_of(number.text()) {
                Some(Num::Int(int)) => Datum::Int(int),
                // A number whose notation is not valid JSON, such as `007` or `+1.5`, is normalized.
                _ if serde_json::from_str::<serde_json::Number>(number.text()).is_ok() => {
                    Datum::Digits(number.text().to_owned().into())
                }
                Some(Num::Float(float)) if float.is_finite() => Datum::Float(float),
                _ => Datum::Digits(number.text().trim_start_matches('+').to_owned().into()),
            },
        }
    }

    /// Returns the value as a later step sees it where nothing is typed: a cell is text.
    pub(super) fn as_seen(&self) -> Datum<'_> {
        match self {
            Datum::Cell(text, _) => Datum::Cell(text, CellForm::Text),
            other => other.clone(),
        }
    }

    /// Describes the kind of the value for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Datum::Null => "null",
            Datum::Bool(_) => "a boolean",
            Datum::Int(_) | Datum::Float(_) | Datum::Digits(_) | Datum::Fixed(Fixed::Decimal { .. }, _) => "a number",
            Datum::Text(_) | Datum::Cell(..) => "text",
            Datum::Nested(json) if json.starts_with('[') => "a list",
            Datum::Nested(_) => "an object",
            Datum::Fixed(Fixed::Date, _) => "a date",
            Datum::Fixed(Fixed::Timestamp { .. }, _) => "a timestamp",
        }
    }

    /// Converts to a number; CSV cells are parsed. Fails for other values and beyond the range of doubles.
    pub(super) fn number(&self) -> Result<Num, EvalError> {
        let of = |text: &str| match num_of(text) {
            Some(Num::Float(f)) if !f.is_finite() => Err("a number is too large for a double".into()),
            Some(number) => Ok(number),
            None => Err("expected a number, found text".into()),
        };
        match self {
            Datum::Int(int) => Ok(Num::Int(*int)),
            Datum::Float(float) => Ok(Num::Float(*float)),
            Datum::Digits(text) => of(text),
            Datum::Cell(text, _) => of(text.trim_ascii()),
            Datum::Fixed(fixed, _) if fixed.is_number() => of(&self.display_text()),
            other => Err(format!("expected a number, found {}", other.kind()).into()),
        }
    }

    /// Converts to a 64-bit integer, such as a count or a position.
    pub(super) fn count(&self) -> Result<i64, EvalError> {
        match self.number()? {
            Num::Int(int) => i64::try_from(int).map_err(|_| "the number does not fit in 64 bits".into()),
            Num::Float(_) => Err("expected an integer, found a number with a fraction".into()),
        }
    }

    /// Converts to text. Fails for numbers, booleans and nested values; dates and times have a text form.
    pub(super) fn text(self) -> Result<Cow<'a, str>, EvalError> {
        match self {
            Datum::Text(text) => Ok(text),
            Datum::Cell(text, _) => Ok(text.into()),
            Datum::Fixed(fixed, _) if !fixed.is_number() => Ok(self.display_text().into_owned().into()),
            other => Err(format!("expected text, found {}", other.kind()).into()),
        }
    }

    /// Returns the value as CSV writes it: numbers by their digits, nested values as JSON text, null as empty text.
    pub(super) fn display_text(&self) -> Cow<'_, str> {
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).expect("numbers and dates are ASCII").into()
        };
        match self {
            Datum::Null => "".into(),
            Datum::Bool(b) => if *b { "true" } else { "false" }.into(),
            Datum::Int(int) => int.to_string().into(),
            Datum::Float(float) => written(&|out| write_float(*float, out)),
            Datum::Digits(text) | Datum::Text(text) | Datum::Nested(text) => Cow::Borrowed(text),
            Datum::Cell(text, _) => Cow::Borrowed(text),
            Datum::Fixed(fixed, value) => written(&|out| fixed.write(*value, out)),
        }
    }

    /// Appends the value as JSON.
    pub(super) fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Datum::Null => out.extend_from_slice(b"null"),
            Datum::Text(text) => write_json_string(text, out),
            Datum::Cell(text, CellForm::Text) => write_json_string(text, out),
            Datum::Cell(text, CellForm::Number) => out.extend_from_slice(text.as_bytes()),
            Datum::Cell(text, CellForm::Bool) => out.extend_from_slice(text.to_ascii_lowercase().as_bytes()),
            Datum::Fixed(fixed, value) => fixed.write_json(*value, out),
            Datum::Int(int) => out.extend_from_slice(itoa::Buffer::new().format(*int).as_bytes()),
            Datum::Float(float) => write_float(*float, out),
            other => out.extend_from_slice(other.display_text().as_bytes()),
        }
    }

    /// Converts to a value for comparisons. `scratch` holds the text of dates, timestamps and decimals.
    pub(super) fn as_value<'s>(&'s self, scratch: &'s mut String) -> Value<'s> {
        match self {
            Datum::Null => Value::Null,
            Datum::Bool(b) => Value::Bool(*b),
            Datum::Int(int) => Value::Int(*int),
            Datum::Float(float) => Value::Float(*float),
            Datum::Digits(text) => Value::Digits(text),
            Datum::Text(text) => Value::Text(text),
            Datum::Cell(text, _) => Value::Cell(text),
            Datum::Nested(_) => Value::Nested,
            Datum::Fixed(fixed, _) => {
                scratch.clear();
                scratch.push_str(&self.display_text());
                if fixed.is_number() { Value::Digits(scratch) } else { Value::Text(scratch) }
            }
        }
    }
}

/// Returns true for equal values: numbers by value, everything else by kind and text. Null equals nothing.
pub(super) fn equal(a: &Datum<'_>, b: &Datum<'_>) -> bool {
    if matches!(a, Datum::Null) || matches!(b, Datum::Null) {
        return false;
    }
    if let (Ok(_), Ok(_)) = (a.number(), b.number()) {
        return decimal::compare_texts(a.display_text().as_bytes(), b.display_text().as_bytes())
            .is_some_and(|order| order.is_eq());
    }
    // Equal text of different kinds, such as `'true'` and true, is not equal.
    let kind = |datum: &Datum<'_>| datum.kind();
    kind(a) == kind(b) && a.display_text() == b.display_text()
}

/// Parses a plain integer of up to 18 digits, the fast path of [`num_of`]. `-0` is left to doubles.
#[inline]
fn short_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 || negative && digits == b"0" {
        return None;
    }
    let mut value = 0i64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if negative { -value } else { value })
}

/// Parses a number: exactly if it is an integer of up to 38 digits, else as the nearest double, which may be infinite.
/// `None` for other text.
pub(super) fn num_of(text: &str) -> Option<Num> {
    if let Some(int) = short_int(text.as_bytes()) {
        return Some(Num::Int(int.into()));
    }
    Decimal::parse(text)?;
    // At most 38 digits, the range of decimal columns; longer integers are doubles.
    let digits = text.trim_start_matches(['-', '+']);
    let whole = digits.bytes().all(|b| b.is_ascii_digit());
    if whole
        && let Ok(int) = text.parse::<i128>()
        && int.unsigned_abs() < 10u128.pow(38)
        && !(int == 0 && text.starts_with('-'))
    {
        return Some(Num::Int(int));
    }
    text.parse().ok().map(Num::Float)
}
