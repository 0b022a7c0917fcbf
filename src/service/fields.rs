//! Requested fields of an enrichment block (`return_fields`) and the conversion of values to their types. Conversion
//! works on JSON text, so numbers keep their digits, and never loses a value that it cannot convert.

use std::borrow::Cow;

use serde_json::Value;

use super::raw;
use crate::column::Type;
use crate::format::ndjson::JsonText;
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
    /// Converts a value to the type of this field. Our reading: a value that cannot be converted stays unchanged, because
    /// a wrong type is noticed when it is read, and a lost value is not.
    pub(super) fn typed(&self, json: &JsonText) -> JsonText {
        let Some(ty) = &self.ty else { return json.clone() };
        // Text that only looked like JSON, or a list that would be nested too deep, is no value and stays as it was.
        JsonText::new(typed(json.as_str(), ty).into_owned()).unwrap_or_else(|| json.clone())
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
        (Type::Int { .. }, Cell::Number(text) | Cell::Text(text)) => {
            Number::parse(text.trim()).and_then(|number| number.integer()).map_or(json.into(), Cow::Owned)
        }
        // The text itself becomes the number, so that it keeps all of its digits.
        (Type::Float, Cell::Text(text)) => match Number::parse(text.trim()) {
            Some(number) if number.is_finite() => Cow::Owned(text.trim().to_owned()),
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

/// Greatest number of digits of an integer, as in the columns that hold them exactly.
const MAX_INTEGER_DIGITS: usize = 38;

/// A number in the grammar of JSON, taken apart as text: no digit is rounded.
struct Number<'a> {
    text: &'a str,
    is_negative: bool,
    /// Digits before the point.
    whole: &'a str,
    /// Digits after the point; empty without one.
    fraction: &'a str,
    exponent: i64,
}

impl<'a> Number<'a> {
    /// Parses all of `text`; `None` for spellings that JSON does not have, such as `007`, `+5` and `.5`.
    fn parse(text: &'a str) -> Option<Self> {
        let digits = |text: &'a str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            (end > 0).then(|| text.split_at(end))
        };
        let unsigned = text.strip_prefix('-');
        let (whole, mut rest) = digits(unsigned.unwrap_or(text))?;
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let mut fraction = "";
        if let Some(after) = rest.strip_prefix('.') {
            (fraction, rest) = digits(after)?;
        }
        let mut exponent = 0;
        if let Some(after) = rest.strip_prefix(['e', 'E']) {
            let (power, end) = digits(after.strip_prefix(['+', '-']).unwrap_or(after))?;
            rest = end;
            // Beyond 64 bits it is no power that a number of ours has.
            exponent = power.parse::<i64>().ok()?;
            exponent = if after.starts_with('-') { -exponent } else { exponent };
        }
        rest.is_empty().then_some(Number { text, is_negative: unsigned.is_some(), whole, fraction, exponent })
    }

    /// Returns the digits of a number that is an integer: `3`, `3.0`, `3e2`; `None` for any other number, and for more
    /// than [`MAX_INTEGER_DIGITS`] digits.
    fn integer(&self) -> Option<String> {
        let digits = format!("{}{}", self.whole, self.fraction);
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some("0".to_owned());
        }
        // The power of ten of the last digit.
        let power = self.exponent.checked_sub(i64::try_from(self.fraction.len()).ok()?)?;
        let digits = match usize::try_from(power) {
            Ok(zeros) if zeros <= MAX_INTEGER_DIGITS => format!("{digits}{}", "0".repeat(zeros)),
            Ok(_) => return None,
            Err(_) => {
                let cut = digits.len().checked_sub(usize::try_from(power.unsigned_abs()).ok()?)?;
                let (whole, fraction) = digits.split_at(cut);
                (!whole.is_empty() && fraction.bytes().all(|digit| digit == b'0')).then(|| whole.to_owned())?
            }
        };
        (digits.len() <= MAX_INTEGER_DIGITS).then(|| if self.is_negative { format!("-{digits}") } else { digits })
    }

    /// Returns true unless a double would be infinite.
    fn is_finite(&self) -> bool {
        self.text.parse::<f64>().is_ok_and(f64::is_finite)
    }
}

/// Returns the JSON value that a string contains, if it begins with `opening`; `None` if it is not valid JSON.
fn json_in_text(text: &str, opening: &str) -> Option<String> {
    let text = text.trim();
    // Before its blanks go, without which `[1 2]` would become valid.
    let is_json = text.starts_with(opening) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let line = is_json.then(|| raw::on_one_line(text))?;
    JsonText::new(line).map(|json| json.as_str().to_owned())
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
            ("int", "3.50e1", "35"),
            ("int", "-0.0", "0"),
            ("int", "\" -12 \"", "-12"),
            ("int", "12345678901234567890123.0", "12345678901234567890123"),
            ("int", "1e37", "10000000000000000000000000000000000000"),
            ("int", "1e38", "1e38"),
            ("int", "1e99999999999999999999", "1e99999999999999999999"),
            ("int", "1.5", "1.5"),
            ("int", "1e-1", "1e-1"),
            ("int", "\"007\"", "\"007\""),
            ("int", "\"-007\"", "\"-007\""),
            ("int", "\"00\"", "\"00\""),
            ("int", "\"+5\"", "\"+5\""),
            ("int", "\"5.\"", "\"5.\""),
            ("float", "\"1.50\"", "1.50"),
            ("float", "\"12345678901234567.89\"", "12345678901234567.89"),
            ("float", "\"1e400\"", "\"1e400\""),
            ("float", "\"007.5\"", "\"007.5\""),
            ("float", "\".5\"", "\".5\""),
            ("float", "\"NaN\"", "\"NaN\""),
            ("float", "\"inf\"", "\"inf\""),
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
            ("list[int]", "\"007\"", "[\"007\"]"),
            ("list[int]", "\"[007]\"", "[\"[007]\"]"),
            ("list[int]", "\"[1 2]\"", "[\"[1 2]\"]"),
            ("list[str]", "\"[\\\"\\\\ud800\\\"]\"", "[\"[\\\"\\\\ud800\\\"]\"]"),
            ("object", "\"{\\\"a\\\":007}\"", "\"{\\\"a\\\":007}\""),
            ("int", "null", "null"),
            ("date", "\"x\"", "\"x\""),
        ] {
            let field = ReturnField { name: "f".to_owned(), ty: Type::from_declared(type_name) };
            let json = JsonText::new(json.to_owned()).unwrap();
            assert_eq!(field.typed(&json).as_str(), expected, "{type_name} of {json:?}");
        }
    }
}
