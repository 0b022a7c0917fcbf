//! Single values of a batch, independent of their column's type, for steps and blocks that work value by value. Typed
//! columns are read through [`Cell::at`]; expressions, which run column by column, do not use this module.

use std::borrow::Cow;
use std::cmp::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};

use crate::column::Type;
use crate::format::json_text::write_json_value;

/// A value, borrowed from its column where possible.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Null, or a key that the record lacks.
    Null,
    /// A boolean; CSV has none.
    Bool(bool),
    /// A number, as its decimal text.
    Number(Cow<'a, str>),
    /// A string, without quotes or escapes.
    Text(Cow<'a, str>),
    /// An object or a list, as its JSON text.
    Nested(Cow<'a, str>),
}

impl<'a> Cell<'a> {
    /// Reads the value of `array`, a column of type `ty`, at `row`.
    pub fn at(array: &'a ArrayRef, ty: &Type, row: usize) -> Cell<'a> {
        if array.is_null(row) {
            return Cell::Null;
        }
        match ty {
            Type::Null => Cell::Null,
            Type::Bool => Cell::Bool(array.as_boolean().value(row)),
            Type::Int { .. } => Cell::Number(array.as_primitive::<Int64Type>().value(row).to_string().into()),
            Type::Decimal => Cell::Number(array.as_primitive::<Decimal128Type>().value(row).to_string().into()),
            Type::Float => Cell::Number(array.as_primitive::<Float64Type>().value(row).to_string().into()),
            Type::Fixed(fixed) => {
                let mut text = Vec::new();
                fixed.write(fixed.value(array, row), &mut text);
                let text = String::from_utf8(text).expect("digits and signs").into();
                if fixed.is_number() { Cell::Number(text) } else { Cell::Text(text) }
            }
            Type::Number(_) => unreachable!("inference resolves the numbers of cells"),
            Type::Text => Cell::Text(array.as_string_view().value(row).into()),
            Type::Json | Type::Raw | Type::Opaque(_) => Cell::from_json(array.as_string_view().value(row)),
            Type::Struct(_) | Type::List(_) | Type::Map(_) => {
                let mut text = Vec::new();
                write_json_value(array, row, ty, &mut text);
                Cell::Nested(String::from_utf8(text).expect("JSON text is UTF-8").into())
            }
        }
    }

    /// Reads a value from JSON text, which must be valid: it passed the parser.
    pub fn from_json(text: &'a str) -> Cell<'a> {
        // The first byte of valid JSON determines its type.
        match text.as_bytes().first() {
            Some(b'n') | None => Cell::Null,
            Some(b't') => Cell::Bool(true),
            Some(b'f') => Cell::Bool(false),
            Some(b'"') if !text.contains('\\') => Cell::Text(text[1..text.len() - 1].into()),
            Some(b'"') => Cell::Text(serde_json::from_str::<String>(text).unwrap_or_default().into()),
            Some(b'{' | b'[') => Cell::Nested(text.into()),
            Some(_) => Cell::Number(text.into()),
        }
    }

    /// Returns the value as CSV writes it: booleans as `true` and `false`, null as empty text.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Cell::Null => "".into(),
            Cell::Bool(b) => if *b { "true" } else { "false" }.into(),
            Cell::Number(text) | Cell::Text(text) | Cell::Nested(text) => Cow::Borrowed(text),
        }
    }

    /// Returns true for null, empty text, and empty lists and objects.
    pub fn is_empty(&self) -> bool {
        match self {
            Cell::Null => true,
            Cell::Text(text) => text.is_empty(),
            Cell::Nested(text) => text[1..text.len() - 1].trim().is_empty(),
            Cell::Bool(_) | Cell::Number(_) => false,
        }
    }

    /// Compares two values: as numbers if at least one is a number and the other parses as one, as text if both are
    /// text. Returns `None` where no order is defined: null, nested values, a boolean and another type.
    pub fn compare(&self, other: &Cell<'_>) -> Option<Ordering> {
        match (self, other) {
            (Cell::Bool(a), Cell::Bool(b)) => Some(a.cmp(b)),
            (Cell::Number(a), Cell::Number(b) | Cell::Text(b)) | (Cell::Text(a), Cell::Number(b)) => {
                compare_numbers(a.trim(), b.trim())
            }
            (Cell::Text(a), Cell::Text(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// Returns true for equal values: numbers by value, nested values by content, everything else by type and text.
    /// A boolean equals its spelling as text, because CSV has no booleans.
    pub fn equals(&self, other: &Cell<'_>) -> bool {
        match (self, other) {
            (Cell::Null, Cell::Null) => true,
            (Cell::Bool(b), Cell::Text(t)) | (Cell::Text(t), Cell::Bool(b)) => {
                t.eq_ignore_ascii_case(if *b { "true" } else { "false" })
            }
            (Cell::Nested(a), Cell::Nested(b)) => a == b || parsed(a) == parsed(b),
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }
}

fn parsed(text: &str) -> Option<serde_json::Value> {
    serde_json::from_str(text).ok()
}

/// Compares integers exactly and other numbers as doubles; `None` if one is not a finite number.
fn compare_numbers(a: &str, b: &str) -> Option<Ordering> {
    if let (Ok(a), Ok(b)) = (a.parse::<i128>(), b.parse::<i128>()) {
        return Some(a.cmp(&b));
    }
    // Rust parses `inf` and `nan` as numbers; in data they are text.
    let number = |t: &str| t.parse::<f64>().ok().filter(|f| f.is_finite());
    number(a)?.partial_cmp(&number(b)?)
}

/// Converts a JSON value of a plan into a cell.
pub(super) fn cell_of(value: &serde_json::Value) -> Cell<'static> {
    match value {
        serde_json::Value::Null => Cell::Null,
        serde_json::Value::Bool(b) => Cell::Bool(*b),
        serde_json::Value::Number(n) => Cell::Number(n.to_string().into()),
        serde_json::Value::String(s) => Cell::Text(s.clone().into()),
        nested => Cell::Nested(nested.to_string().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_as_numbers_and_text_as_text() {
        let json = Cell::from_json;
        assert_eq!(json("9").compare(&json("10")), Some(Ordering::Less));
        assert_eq!(json("\"9\"").compare(&json("10")), Some(Ordering::Less));
        assert_eq!(json("\"9\"").compare(&json("\"10\"")), Some(Ordering::Greater));
        assert_eq!(json("9007199254740993").compare(&json("9007199254740992")), Some(Ordering::Greater));
        assert_eq!(json("1e2").compare(&json("100.0")), Some(Ordering::Equal));
        assert_eq!(json("\"inf\"").compare(&json("1")), None);
        assert_eq!(json("null").compare(&json("1")), None);
        assert_eq!(json("true").compare(&json("1")), None);
        assert!(json("[1, 2]").equals(&json("[1,2]")));
        assert!(json("true").equals(&json("\"True\"")));
        assert!(json("[ ]").is_empty() && json("{}").is_empty() && json("\"\"").is_empty() && !json("0").is_empty());
    }
}
