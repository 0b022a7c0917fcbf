//! The forms in which columns of new tables hold values, the conversion between them when a type widens, and values as
//! bytes on their way from a worker to the writer.

use rusqlite::types::ValueRef;

use crate::column::canonical::write_canonical;
use crate::column::json_text::write_json_string;
use crate::column::number::write_float;
use crate::column::{Fixed, Type};
use crate::warehouse::LoadError;

/// The form of the values of a column in a table that a load makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The integers 0 and 1.
    Bool,
    /// Integers of 64 bits.
    Int,
    /// Floating-point numbers, never NaN.
    Float,
    /// The digits of a decimal number as text: SQLite has no exact numbers beyond 64 bits.
    Decimal,
    /// Text; dates and times in ISO 8601.
    Text,
    /// JSON text.
    Json,
}

const FORMS: [Form; 6] = [Form::Bool, Form::Int, Form::Float, Form::Decimal, Form::Text, Form::Json];

impl Form {
    /// Returns the form of values of `ty`; `None` for a column that had only nulls so far.
    pub(super) fn of(ty: &Type) -> Option<Self> {
        Some(match ty {
            Type::Null => return None,
            Type::Number(_) => return Form::of(&ty.resolved()),
            Type::Bool => Form::Bool,
            Type::Int { .. } => Form::Int,
            Type::Float => Form::Float,
            Type::Decimal | Type::Fixed(Fixed::Decimal { .. }) => Form::Decimal,
            Type::Text | Type::Fixed(Fixed::Date | Fixed::Timestamp { .. }) => Form::Text,
            Type::Json | Type::Raw | Type::Struct(_) | Type::List(_) | Type::Map(_) => Form::Json,
        })
    }

    /// Returns the declared type of a column with values of this form.
    pub(super) fn declared(self) -> &'static str {
        match self {
            Form::Bool | Form::Int => "INTEGER",
            Form::Float => "REAL",
            Form::Decimal | Form::Text | Form::Json => "TEXT",
        }
    }

    /// Returns the number of the form, for calls from SQL.
    pub(super) fn number(self) -> i64 {
        FORMS.iter().position(|form| *form == self).unwrap_or_default() as i64
    }

    /// Returns the form with this number.
    pub(super) fn numbered(number: i64) -> Option<Self> {
        FORMS.get(usize::try_from(number).ok()?).copied()
    }
}

/// The declared type of a column that never had a value.
pub(super) const TYPE_WITHOUT_VALUES: &str = "TEXT";

/// Converts a value to a wider form. `scratch` holds the text that it becomes, if it becomes one.
pub(super) fn convert<'a>(value: ValueRef<'a>, from: Form, to: Form, scratch: &'a mut Vec<u8>) -> ValueRef<'a> {
    if from == to || value == ValueRef::Null {
        return value;
    }
    scratch.clear();
    match (value, from, to) {
        (ValueRef::Integer(value), Form::Int, Form::Float) => return ValueRef::Real(value as f64),
        (ValueRef::Text(digits), Form::Decimal, Form::Float) => {
            let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            return number.map_or(value, ValueRef::Real);
        }
        (ValueRef::Integer(value), Form::Bool, _) => {
            scratch.extend_from_slice(if value == 0 { b"false" } else { b"true" });
        }
        (ValueRef::Integer(value), ..) => scratch.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        (ValueRef::Real(value), ..) if to != Form::Json => write_float(value, scratch),
        // A column of REAL has no zero with a sign, which a column of the stage has.
        (ValueRef::Real(0.0), ..) => scratch.push(b'0'),
        (ValueRef::Real(value), ..) if value.is_finite() => {
            let mut text = Vec::new();
            write_float(value, &mut text);
            write_canonical(&String::from_utf8_lossy(&text), scratch);
        }
        // JSON has no infinity.
        (ValueRef::Real(value), ..) => {
            scratch.push(b'"');
            write_float(value, scratch);
            scratch.push(b'"');
        }
        (ValueRef::Text(text), Form::Text, Form::Json) => {
            write_json_string(&String::from_utf8_lossy(text), scratch);
        }
        (value, ..) => return value,
    }
    ValueRef::Text(scratch)
}

/// Kinds of values in bytes.
const NULL: u8 = 0;
const INT: u8 = 1;
const FLOAT: u8 = 2;
const TEXT: u8 = 3;

pub(super) fn put_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

#[inline]
pub(super) fn put_int(value: i64, out: &mut Vec<u8>) {
    out.push(INT);
    out.extend_from_slice(&value.to_le_bytes());
}

#[inline]
pub(super) fn put_float(value: f64, out: &mut Vec<u8>) {
    out.push(FLOAT);
    out.extend_from_slice(&value.to_le_bytes());
}

#[inline]
pub(super) fn put_text(text: &[u8], out: &mut Vec<u8>) {
    out.push(TEXT);
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

/// Appends the text that `write` appends.
pub(super) fn put_text_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(TEXT);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// Reads values from bytes.
pub(super) struct ValueReader<'a>(pub(super) &'a [u8]);

impl<'a> ValueReader<'a> {
    /// Returns the next value.
    #[inline]
    pub(super) fn next_value(&mut self) -> Result<ValueRef<'a>, LoadError> {
        let cut = || LoadError::Bug("encoded rows are truncated".into());
        let (&kind, rest) = self.0.split_first().ok_or_else(cut)?;
        let (value, rest) = match kind {
            NULL => (ValueRef::Null, rest),
            INT | FLOAT => {
                let (bytes, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
                match kind {
                    INT => (ValueRef::Integer(i64::from_le_bytes(*bytes)), rest),
                    _ => (ValueRef::Real(f64::from_le_bytes(*bytes)), rest),
                }
            }
            _ => {
                let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
                let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(cut)?;
                (ValueRef::Text(text), rest)
            }
        };
        self.0 = rest;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_were_put() {
        let mut bytes = Vec::new();
        put_null(&mut bytes);
        put_int(i64::MIN, &mut bytes);
        put_float(-0.0, &mut bytes);
        put_text(b"a\0b", &mut bytes);
        put_text_with(&mut bytes, |out| out.extend_from_slice(b"{}"));
        let mut reader = ValueReader(&bytes);
        assert_eq!(reader.next_value().unwrap(), ValueRef::Null);
        assert_eq!(reader.next_value().unwrap(), ValueRef::Integer(i64::MIN));
        assert!(matches!(reader.next_value().unwrap(), ValueRef::Real(zero) if zero == 0.0 && zero.is_sign_negative()));
        assert_eq!(reader.next_value().unwrap(), ValueRef::Text(b"a\0b"));
        assert_eq!(reader.next_value().unwrap(), ValueRef::Text(b"{}"));
        assert!(reader.next_value().is_err());
        assert!(ValueReader(&bytes[..4]).next_value().is_ok() && ValueReader(&[INT, 1]).next_value().is_err());
    }

    #[test]
    fn wider_forms_keep_values_apart() {
        let text = |value, from, to| match convert(value, from, to, &mut Vec::new()) {
            ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
            other => format!("{other:?}"),
        };
        assert_eq!(text(ValueRef::Integer(12), Form::Int, Form::Json), "12");
        assert_eq!(text(ValueRef::Text(b"12"), Form::Text, Form::Json), "\"12\"");
        assert_eq!(text(ValueRef::Text(b"a\0\""), Form::Text, Form::Json), r#""a\u0000\"""#);
        assert_eq!(text(ValueRef::Integer(1), Form::Bool, Form::Json), "true");
        assert_eq!(text(ValueRef::Real(0.1), Form::Float, Form::Json), "0.1");
        assert_eq!(text(ValueRef::Real(2.0), Form::Float, Form::Json), "2", "it may have been read as 2 or 2.0");
        assert_eq!(text(ValueRef::Real(f64::INFINITY), Form::Float, Form::Json), "\"inf\"");
        assert_eq!(text(ValueRef::Integer(i64::MAX), Form::Int, Form::Decimal), "9223372036854775807");
        assert_eq!(convert(ValueRef::Integer(2), Form::Int, Form::Float, &mut Vec::new()), ValueRef::Real(2.0));
        for form in FORMS {
            assert_eq!(Form::numbered(form.number()), Some(form));
            assert_eq!(convert(ValueRef::Null, form, Form::Json, &mut Vec::new()), ValueRef::Null);
        }
    }
}
