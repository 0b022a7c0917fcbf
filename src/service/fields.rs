//! Requested fields of an enrichment block (`return_fields`) and the conversion of values to their types. Conversion
//! works on JSON text, so numbers keep their digits, and never loses a value that it cannot convert.

use std::borrow::Cow;

use serde_json::Value;

use super::raw;
use crate::column::Type;
use crate::transform::Cell;

/// One entry of `return_fields`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReturnField {
    /// Name of the column to add.
    pub name: String,
    /// Type of the values; `None` leaves them unchanged.
    pub ty: Option<Type>,
}

impl ReturnField {
    /// Converts the JSON text of a value to the type of this field. Our reading: a value that cannot be converted stays
    /// unchanged, because a wrong type is noticed when it is read, and a lost value is not.
    pub(super) fn typed<'a>(&self, json: &'a str) -> Cow<'a, str> {
        self.ty.as_ref().map_or(Cow::Borrowed(json), |ty| typed(json, ty))
    }
}

fn typed<'a>(json: &'a str, ty: &Type) -> Cow<'a, str> {
    let cell = Cell::from_json(json);
    let text_of = |text: &str| Cow::Owned(Value::from(text).to_string());
    match (ty, &cell) {
        (_, Cell::Null) => Cow::Borrowed(json),
        (Type::Text, Cell::Text(_)) => Cow::Borrowed(json),
        // The declared type `dict` maps to text: objects become a string with their JSON.
        (Type::Text, other) => text_of(&other.text()),
        (Type::Int { .. }, Cell::Number(text) | Cell::Text(text)) => whole(text.trim()).map_or(json.into(), Cow::Owned),
        // Infinity and NaN parse, but JSON has no number for them.
        (Type::Float, Cell::Text(text)) => match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() => Cow::Owned(serde_json::json!(number).to_string()),
            _ => Cow::Borrowed(json),
        },
        (Type::Bool, Cell::Text(text)) if text.trim().eq_ignore_ascii_case("true") => Cow::Borrowed("true"),
        (Type::Bool, Cell::Text(text)) if text.trim().eq_ignore_ascii_case("false") => Cow::Borrowed("false"),
        // A value that is no list becomes a list of one; a string is first tried as the JSON text of a list.
        (Type::List(item), Cell::Nested(text)) => match raw::items(text) {
            Some(items) => list(items.into_iter(), item),
            None => list(std::iter::once(&**text), item),
        },
        (Type::List(item), Cell::Text(text)) => match json_in_text(text, "[") {
            Some(items) => Cow::Owned(typed(&items, ty).into_owned()),
            None => list(std::iter::once(json), item),
        },
        (Type::List(item), _) => list(std::iter::once(json), item),
        (Type::Struct(_), Cell::Text(text)) => json_in_text(text, "{").map_or(json.into(), Cow::Owned),
        _ => Cow::Borrowed(json),
    }
}

fn list<'a>(items: impl Iterator<Item = &'a str>, item: &Type) -> Cow<'static, str> {
    let items: Vec<String> = items.map(|json| typed(json, item).into_owned()).collect();
    Cow::Owned(format!("[{}]", items.join(",")))
}

/// Returns the digits of a number that is an integer: `3`, `3.0`, `3e2`; `None` for any other text.
fn whole(text: &str) -> Option<String> {
    if text.parse::<i128>().is_ok() {
        return Some(text.trim_start_matches('+').to_owned());
    }
    // Below 9e15 every integer is exact in a double; beyond it, the digits could change.
    let number: f64 = text.parse().ok()?;
    (number.fract() == 0.0 && number.abs() < 9e15).then(|| (number as i64).to_string())
}

/// Returns the JSON value that a string contains, if it begins with `opening`; `None` if it is not valid JSON.
fn json_in_text(text: &str, opening: &str) -> Option<String> {
    let text = text.trim();
    (text.starts_with(opening) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok())
        .then(|| raw::on_one_line(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_converted_to_the_requested_types() {
        for (type_name, json, expected) in [
            ("int", "\"42\"", "42"),
            ("int", "42.0", "42"),
            ("int", "12345678901234567890123", "12345678901234567890123"),
            ("int", "\"about 40\"", "\"about 40\""),
            ("float", "\"1.50\"", "1.5"),
            ("float", "3", "3"),
            ("bool", "\"True\"", "true"),
            ("bool", "1", "1"),
            ("str", "7", "\"7\""),
            ("str", "true", "\"true\""),
            ("dict", "{\"a\":1}", "\"{\\\"a\\\":1}\""),
            ("object", "\"{\\\"a\\\": 1}\"", "{\"a\":1}"),
            ("object", "{\"a\":1}", "{\"a\":1}"),
            ("list[str]", "\"x\"", "[\"x\"]"),
            ("list[int]", "\"[1, \\\"2\\\"]\"", "[1,2]"),
            ("list[int]", "[\"1\",2.0,null]", "[1,2,null]"),
            ("list", "{\"a\":1}", "[{\"a\":1}]"),
            ("int", "null", "null"),
            ("date", "\"x\"", "\"x\""),
        ] {
            let field = ReturnField { name: "f".to_owned(), ty: Type::from_declared(type_name) };
            assert_eq!(field.typed(json), expected, "{type_name} of {json}");
        }
    }
}
