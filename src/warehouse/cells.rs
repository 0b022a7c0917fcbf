//! The values of a column, each as it is by itself. The type of a column in a batch depends on the records around a value,
//! and on the moment at which its worker began; what a table does with a value must not. Pure.

use std::borrow::Cow;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringViewArray};

use super::json_text::plain_text;
use crate::column::json_text::{JsonValues, NullMembers};
use crate::column::number::{parse_float, parse_int, plain_digits, write_float};
use crate::column::{Batch, Fixed, Type, Unit};

pub(super) use super::row_encoder::Reason;

/// One value that is not null.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// The digits of an integer beyond 64 bits.
    Big(Cow<'a, str>),
    /// A number with a fraction or an exponent.
    Float {
        /// The nearest double.
        value: f64,
        /// Its spelling in JSON's grammar; `None` for one that was never text.
        text: Option<&'a str>,
    },
    /// The spelling of a number with a fraction or an exponent that counts by its digits: no double is near it, or it is a
    /// decimal.
    Decimal(Cow<'a, str>),
    Text(Cow<'a, str>),
    /// The JSON text of an object or a list.
    Nested(Cow<'a, [u8]>),
    /// Days since 1970.
    Date(i64),
    Time {
        /// Units since 1970.
        count: i128,
        unit: Unit,
        local: bool,
    },
}

/// The values of one column, downcast once.
pub(super) struct Cells<'a> {
    pub(super) values: Values<'a>,
    array: &'a dyn Array,
    has_no_nulls: bool,
    /// The spelling of all values, where the column itself forgets it.
    spelled: Option<&'a StringViewArray>,
}

/// The carrier of the values.
pub(super) enum Values<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int(&'a Int64Array),
    /// Integers of up to 38 digits.
    Big(&'a Decimal128Array),
    Float(&'a Float64Array),
    Text(&'a StringViewArray),
    /// JSON text of values of several types.
    Json {
        /// As the records have it.
        as_read: &'a StringViewArray,
        /// In the form that values have which were typed before the column became one of several types.
        #[cfg_attr(
            not(any(feature = "sqlite", feature = "clickhouse")),
            expect(dead_code, reason = "jsonb has one form")
        )]
        canonical: &'a StringViewArray,
    },
    Fixed(&'a dyn Array, Fixed),
    /// Objects and lists, by their JSON text.
    Nested(JsonValues<'a>),
    /// The same as the records have it.
    NestedText(&'a StringViewArray),
}

impl<'a> Cells<'a> {
    /// Takes the values of column `index`.
    pub(super) fn new(batch: &'a Batch, index: usize) -> Self {
        let (array, typed) = (&*batch.columns[index], &batch.schema.fields[index].ty);
        let as_read = batch.as_read(index);
        let raw = as_read.filter(|as_read| as_read.ty == Type::Raw).map(|as_read| as_read.array.as_string_view());
        let cells = as_read.filter(|as_read| as_read.ty == Type::Text).map(|as_read| as_read.array.as_string_view());
        // Numbers of CSV whose type is open are carried as the type that they would have now.
        let resolved = typed.resolved();
        let values = match &resolved {
            Type::Null => Values::Null,
            Type::Bool => Values::Bool(array.as_boolean()),
            Type::Int { .. } => Values::Int(array.as_primitive()),
            Type::Decimal => Values::Big(array.as_primitive::<Decimal128Type>()),
            Type::Float => Values::Float(array.as_primitive()),
            Type::Text => Values::Text(array.as_string_view()),
            Type::Json | Type::Raw => {
                let canonical = array.as_string_view();
                Values::Json { as_read: raw.unwrap_or(canonical), canonical }
            }
            Type::Fixed(fixed) => Values::Fixed(array, *fixed),
            Type::Number(_) => unreachable!("it is resolved"),
            Type::Opaque(_) => Values::NestedText(raw.unwrap_or_else(|| array.as_string_view())),
            ty @ (Type::Struct(_) | Type::List(_) | Type::Map(_)) => match raw {
                Some(raw) => Values::NestedText(raw),
                None => Values::Nested(
                    JsonValues::try_new(array, ty, NullMembers::Write).expect("the array is of the type of its schema"),
                ),
            },
        };
        let spelled = match &resolved {
            Type::Float => raw.or(cells),
            Type::Bool | Type::Int { .. } | Type::Decimal | Type::Text => cells,
            Type::Fixed(Fixed::Decimal { .. }) => cells,
            _ => None,
        };
        Cells { values, array, has_no_nulls: array.null_count() == 0, spelled }
    }

    #[inline]
    pub(super) fn is_null(&self, row: usize) -> bool {
        !self.has_no_nulls && self.array.is_null(row) || matches!(self.values, Values::Null)
    }

    /// Returns true if texts of the column are cells of CSV, of which each may be a number or a boolean by itself.
    #[cfg(feature = "sqlite")]
    pub(super) fn has_undecided_texts(&self) -> bool {
        matches!(self.values, Values::Text(_)) && self.spelled.is_some()
    }

    /// Returns the value in `row`, which is not null, as it is by itself. Fails with a reason if it has no form.
    #[inline]
    pub(super) fn get(&self, row: usize) -> Result<Cell<'a>, Reason> {
        Ok(match &self.values {
            Values::Null => return Err("a null has no value".into()),
            Values::Bool(values) => Cell::Bool(values.value(row)),
            Values::Int(values) => Cell::Int(values.value(row)),
            Values::Big(values) => match i64::try_from(values.value(row)) {
                Ok(value) => Cell::Int(value),
                Err(_) => Cell::Big(itoa::Buffer::new().format(values.value(row)).to_owned().into()),
            },
            Values::Float(values) => match self.spelled {
                Some(spelled) => of_float(values.value(row), spelled.value(row)),
                None => Cell::Float { value: values.value(row), text: None },
            },
            Values::Text(values) => match self.spelled {
                Some(cells) => of_cell(cells.value(row)).unwrap_or_else(|| Cell::Text(cells.value(row).into())),
                None => Cell::Text(values.value(row).into()),
            },
            Values::Json { as_read, .. } => return Cell::of_json(as_read.value(row)),
            Values::Fixed(array, fixed) => match (fixed, self.spelled) {
                (Fixed::Decimal { .. }, Some(cells)) => {
                    of_cell(cells.value(row)).unwrap_or_else(|| Cell::Text(cells.value(row).into()))
                }
                (Fixed::Decimal { .. }, None) => Cell::Decimal(fixed_text(*array, *fixed, row)?.into()),
                (Fixed::Date, _) => Cell::Date(i64::try_from(fixed.value(*array, row)).unwrap_or(i64::MAX)),
                (Fixed::Timestamp { unit, local }, _) => {
                    Cell::Time { count: fixed.value(*array, row), unit: *unit, local: *local }
                }
            },
            Values::Nested(values) => {
                let mut json = Vec::new();
                values.write(row, &mut json);
                Cell::Nested(json.into())
            }
            Values::NestedText(values) => Cell::Nested(values.value(row).as_bytes().into()),
        })
    }

    /// Returns the text of the value in `row`, which is not null, for a column of text: strings as they are, all else as it
    /// is spelled in the record. Fails with a reason if it has none.
    #[inline]
    pub(super) fn text(&self, row: usize) -> Result<Cow<'a, str>, Reason> {
        if let Some(spelled) = self.spelled {
            return Ok(spelled.value(row).into());
        }
        match &self.values {
            Values::Text(values) => Ok(values.value(row).into()),
            Values::Json { as_read, .. } => Ok(plain_text(as_read.value(row))?),
            Values::Fixed(array, fixed) => Ok(fixed_text(*array, *fixed, row)?.into()),
            _ => self.get(row)?.into_text(),
        }
    }

    /// Returns true if a value is zero only because no double is as small.
    #[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse"))]
    pub(super) fn has_lost_zeros(&self) -> bool {
        let (Values::Float(values), Some(spelled)) = (&self.values, self.spelled) else { return false };
        values
            .values()
            .iter()
            .enumerate()
            .any(|(row, value)| *value == 0.0 && !self.is_null(row) && is_not_zero(spelled.value(row)))
    }

    /// Returns true if it has doubles, and the shortest decimal of one of them may be another spelling than that of the
    /// record. Whole numbers and fractions of up to 15 digits without zeros at their end have one spelling.
    #[cfg(feature = "postgres")]
    pub(super) fn is_respelled(&self) -> bool {
        let (Values::Float(_), Some(spelled)) = (&self.values, self.spelled) else { return false };
        (0..self.array.len()).any(|row| !self.is_null(row) && !has_one_spelling(spelled.value(row)))
    }

    /// Returns true if a number of the column is NaN.
    #[cfg(feature = "sqlite")]
    pub(super) fn has_nan(&self) -> bool {
        matches!(&self.values, Values::Float(values) if values.values().iter().any(|value| value.is_nan()))
    }
}

/// Returns true for a number that is spelled as the shortest decimal of its double is.
#[cfg(feature = "postgres")]
fn has_one_spelling(number: &str) -> bool {
    const MOST: usize = "-0.".len() + 15;
    let (mut has_point, mut last) = (false, b'0');
    if number.len() > MOST {
        return false;
    }
    for byte in number.bytes() {
        match byte {
            b'0'..=b'9' | b'-' => {}
            b'.' => has_point = true,
            _ => return false,
        }
        last = byte;
    }
    // At most 15 digits count: a zero before the point and the zeros behind it do not.
    let digits = number.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0').count();
    digits <= 15 && (!has_point || last != b'0') && number != "-0"
}

fn fixed_text(array: &dyn Array, fixed: Fixed, row: usize) -> Result<String, Reason> {
    let mut text = Vec::new();
    fixed.write(fixed.value(array, row), &mut text);
    String::from_utf8(text).map_err(|_| "the value is not valid Unicode".into())
}

/// Returns a number that a column of doubles has as `value`.
fn of_float(value: f64, text: &str) -> Cell<'_> {
    match is_integer(text) {
        true => of_integer(text),
        false => Cell::Float { value, text: Some(text) },
    }
}

/// Returns true for the digits of an integer. The integer `-0` is a number with a sign, which only a double has.
fn is_integer(text: &str) -> bool {
    text != "-0" && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit())
}

fn of_integer(text: &str) -> Cell<'_> {
    text.parse().map_or_else(|_| Cell::Big(text.into()), Cell::Int)
}

/// Returns the number or boolean that a cell of CSV is by itself; `None` for text.
fn of_cell(cell: &str) -> Option<Cell<'_>> {
    match cell {
        "true" | "True" => return Some(Cell::Bool(true)),
        "false" | "False" => return Some(Cell::Bool(false)),
        _ => {}
    }
    if let Some(value) = parse_int(cell.as_bytes()) {
        return Some(Cell::Int(value));
    }
    if let Some(value) = parse_float(cell.as_bytes()) {
        return Some(Cell::Float { value, text: Some(cell) });
    }
    plain_digits(cell.as_bytes())?;
    Some(if is_integer(cell) { Cell::Big(cell.into()) } else { Cell::Decimal(cell.into()) })
}

/// Returns true for a number in JSON's grammar that has a digit other than zero before its exponent.
pub(super) fn is_not_zero(number: &str) -> bool {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
}

impl<'a> Cell<'a> {
    /// Returns the value that JSON text has.
    pub(super) fn of_json(json: &'a str) -> Result<Self, Reason> {
        Ok(match json.as_bytes().first() {
            Some(b't') => Cell::Bool(true),
            Some(b'f') => Cell::Bool(false),
            Some(b'"') => Cell::Text(plain_text(json)?),
            Some(b'{' | b'[') => Cell::Nested(json.as_bytes().into()),
            _ if is_integer(json) => of_integer(json),
            _ => match json.parse::<f64>() {
                Ok(value) if value.is_finite() => Cell::Float { value, text: Some(json) },
                _ => Cell::Decimal(json.into()),
            },
        })
    }

    /// Returns the text of the value: a string as it is, all else in its JSON form, without quotes. Fails with a reason if it
    /// has none.
    pub(super) fn into_text(self) -> Result<Cow<'a, str>, Reason> {
        Ok(match self {
            Cell::Bool(value) => if value { "true" } else { "false" }.into(),
            Cell::Int(value) => itoa::Buffer::new().format(value).to_owned().into(),
            Cell::Big(text) | Cell::Decimal(text) | Cell::Text(text) => text,
            Cell::Float { text: Some(text), .. } => text.into(),
            Cell::Float { value, text: None } => canonical(value).into(),
            Cell::Nested(Cow::Borrowed(json)) => {
                std::str::from_utf8(json).map_err(|_| "the value is not valid Unicode")?.into()
            }
            Cell::Nested(Cow::Owned(json)) => {
                String::from_utf8(json).map_err(|_| "the value is not valid Unicode")?.into()
            }
            Cell::Date(days) => written(Fixed::Date, days.into())?,
            Cell::Time { count, unit, local } => written(Fixed::Timestamp { unit, local }, count)?,
        })
    }

    /// Returns the integer that a number is, if it is one of 64 bits, whatever its spelling: of `2.0` the integer 2.
    pub(super) fn whole(&self) -> Option<i64> {
        match self {
            Cell::Int(value) => Some(*value),
            Cell::Float { text: Some(text), .. } => whole(text)?.parse().ok(),
            Cell::Float { value, text: None } => whole_double(*value),
            Cell::Decimal(text) | Cell::Text(text) => whole(text)?.parse().ok(),
            _ => None,
        }
    }

    /// Returns the double that a column of doubles has for the value. An integer has to be exact. A number with a fraction is
    /// the nearest one; a text or a decimal has at most `most_digits` digits, or is what a double is written as.
    pub(super) fn double(&self, most_digits: usize) -> Result<f64, Reason> {
        match self {
            Cell::Int(value) => exact(i128::from(*value)),
            Cell::Big(text) => text.parse().map_or_else(|_| Err(MORE_DIGITS.into()), exact),
            Cell::Float { value, text } if *value == 0.0 && text.is_some_and(is_not_zero) => Err(MORE_DIGITS.into()),
            Cell::Float { value, .. } => Ok(*value),
            Cell::Decimal(text) | Cell::Text(text) => double(text, most_digits),
            _ => Err(NO_NUMBER.into()),
        }
    }
}

/// The reason for a number that its column would round.
pub(super) const MORE_DIGITS: &str = "the number has more digits than the column holds";

/// The reason for a value that is none, in a column of numbers.
pub(super) const NO_NUMBER: &str = "the value is not a number";

fn written(fixed: Fixed, value: i128) -> Result<Cow<'static, str>, Reason> {
    let mut text = Vec::new();
    fixed.write(value, &mut text);
    Ok(String::from_utf8(text).map_err(|_| "the value is not valid Unicode")?.into())
}

/// Returns the canonical form of a double.
pub(super) fn canonical(value: f64) -> String {
    let mut text = Vec::new();
    write_float(value, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Returns the integer that a double is, if it is one of 64 bits.
pub(super) fn whole_double(value: f64) -> Option<i64> {
    // 2^63 is a double, and the largest integer is not.
    let is_within = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    (is_within && value.fract() == 0.0).then_some(value as i64)
}

/// Exponents beyond these are of no integer of 64 bits, except of zero.
const MAX_EXPONENT: i64 = 400;

/// Returns the digits of the integer that `number` is; `None` for other text and numbers that are none. JSON's grammar, apart
/// from zeros at the start.
fn whole(number: &str) -> Option<String> {
    let (sign, unsigned) = match number.strip_prefix('-') {
        Some(unsigned) => ("-", unsigned),
        None => ("", number),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    let (integer, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let is_number = !integer.is_empty() && integer.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !is_number {
        return None;
    }
    let mut digits = [integer, fraction].concat();
    if digits.bytes().all(|byte| byte == b'0') {
        return Some("0".to_owned());
    }
    let shift = exponent.checked_sub(fraction.len() as i64)?;
    if shift.abs() > MAX_EXPONENT {
        return None;
    }
    if shift >= 0 {
        digits.extend(std::iter::repeat_n('0', shift as usize));
    } else {
        let kept = digits.len().checked_sub(shift.unsigned_abs() as usize)?;
        if digits.bytes().skip(kept).any(|digit| digit != b'0') {
            return None;
        }
        digits.truncate(kept);
    }
    Some(format!("{sign}{digits}"))
}

/// Returns the double that is exactly `value`.
fn exact(value: i128) -> Result<f64, Reason> {
    let double = value as f64;
    if double as i128 == value { Ok(double) } else { Err(MORE_DIGITS.into()) }
}

/// Returns the double that `text` spells, of at most `most_digits` digits or as a double is written: in JSON's grammar, or as a double that is not finite is written.
pub(super) fn double(text: &str, most_digits: usize) -> Result<f64, Reason> {
    match text {
        "nan" => return Ok(f64::NAN),
        "inf" => return Ok(f64::INFINITY),
        "-inf" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    let value = text.parse::<f64>().ok().filter(|_| is_number && !text.starts_with('+')).ok_or(NO_NUMBER)?;
    if is_integer(text) {
        return text.parse().map_or_else(|_| Err(MORE_DIGITS.into()), exact);
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default().bytes().filter(u8::is_ascii_digit);
    let digits = mantissa.skip_while(|digit| *digit == b'0').count();
    // A number below the smallest double is not zero.
    let is_lost = !value.is_finite() || value == 0.0 && is_not_zero(text);
    if is_lost || digits > most_digits && parse_float(text.as_bytes()) != Some(value) {
        return Err(MORE_DIGITS.into());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_known_in_every_spelling() {
        for (text, expected) in [
            ("2", Some(2)),
            ("2.0", Some(2)),
            ("-2.50e1", Some(-25)),
            ("1e3", Some(1000)),
            ("100e-2", Some(1)),
            ("-0", Some(0)),
            ("0e99999999", Some(0)),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("9223372036854775807.0", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("1e19", None),
            ("1.5", None),
            ("1e-1", None),
            ("1e999999999999", None),
            ("1.", None),
            (".5", None),
            ("", None),
            ("-", None),
            ("+2", None),
            ("2 ", None),
            ("x", None),
        ] {
            assert_eq!(Cell::Text(text.into()).whole(), expected, "{text}");
        }
        let double = |value| Cell::Float { value, text: None }.whole();
        assert_eq!([2.0, -0.0, 1e18].map(double), [Some(2), Some(0), Some(10i64.pow(18))]);
        assert_eq!([2.5, 9.3e18, f64::NAN, f64::INFINITY, 9223372036854775808.0].map(double), [None; 5]);
    }

    #[test]
    fn text_of_a_number_that_a_double_lacks_is_no_number() {
        let double = |text: &str| Cell::Text(text.into()).double(17);
        assert_eq!(
            ["0", "-0.00", "0e9", "5e-324", "1e300"].map(|text| double(text).unwrap()),
            [0.0, -0.0, 0.0, 5e-324, 1e300]
        );
        for text in ["1e-400", "-0.001e-400", "1e400", "0.12345678901234567891", "9007199254740993", "+1", "x", ""] {
            assert!(double(text).is_err(), "{text}");
        }
        assert!(double("0.30000000000000001").is_ok() && Cell::Text("0.30000000000000001".into()).double(15).is_err());
        assert_eq!(double("nan").map(f64::is_nan), Ok(true));
        // Exact, whether the values beside it are integers or not.
        assert_eq!(Cell::Int(1 << 60).double(15), Ok(2f64.powi(60)));
        assert_eq!(Cell::Big("18446744073709551616".into()).double(15), Ok(2f64.powi(64)));
        assert!(Cell::Int((1 << 53) + 1).double(15).is_err() && Cell::Big("9".repeat(30).into()).double(15).is_err());
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn numbers_with_one_spelling_are_those_of_their_doubles() {
        for text in
            ["0", "12", "-12", "1.5", "-0.25", "0.1", "123456789.012345", "0.00001", "100", "-0.123456789012345"]
        {
            assert!(has_one_spelling(text), "{text}");
            assert_eq!(text.parse::<f64>().unwrap().to_string(), text);
        }
        for text in ["1.0", "1.50", "1e3", "-0", "-0.0", "0.12345678901234567", "1.5E-3", "1234567890123456.5"] {
            assert!(!has_one_spelling(text), "{text}");
        }
    }

    #[test]
    fn a_cell_is_what_it_is_by_itself() {
        let float = |value, text| Cell::Float { value, text: Some(text) };
        for (cell, expected) in [
            ("12", Some(Cell::Int(12))),
            ("-0", Some(float(-0.0, "-0"))),
            ("1.50", Some(float(1.5, "1.50"))),
            ("1e3", Some(float(1000.0, "1e3"))),
            ("9223372036854775808", Some(Cell::Big("9223372036854775808".into()))),
            ("0.12345678901234567890", Some(Cell::Decimal("0.12345678901234567890".into()))),
            ("True", Some(Cell::Bool(true))),
            ("007", None),
            ("+1", None),
            ("nan", None),
            ("", None),
        ] {
            assert_eq!(of_cell(cell), expected, "{cell}");
        }
        assert_eq!(Cell::of_json("\"12\""), Ok(Cell::Text("12".into())));
        assert_eq!(Cell::of_json("-0"), Ok(float(-0.0, "-0")));
        assert_eq!(Cell::of_json("1e400"), Ok(Cell::Decimal("1e400".into())));
        assert_eq!(Cell::of_json("[1]"), Ok(Cell::Nested(b"[1]"[..].into())));
        assert!(Cell::of_json("\"\\ud800\"").is_ok(), "it was checked by the decoder");
    }
}
