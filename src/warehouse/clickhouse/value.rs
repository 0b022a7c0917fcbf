//! The binary form of values (`RowBinary`), or the reason why a column cannot hold them. Pure.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::types::ColumnType;
use crate::column::number::fits_double;
use crate::transform::expr::{parse_days, parse_micros};
use crate::warehouse::cells::{Cell, MORE_DIGITS, Reason, double, is_not_zero};
use crate::warehouse::uuid::uuid;

/// Days of `Date32` and `DateTime64`: the years 1900 to 2299.
const DAYS: std::ops::RangeInclusive<i64> = -25_567..=120_529;
/// The end of 2299, and what 64 bits of nanoseconds hold.
const SECONDS: std::ops::Range<i128> = -25_567 * 86_400..120_530 * 86_400;

/// Exponents beyond these are no numbers of any column.
const MAX_EXPONENT: i32 = 400;

/// Appends a length as the server's variable-length integer.
pub(super) fn write_len(mut len: u64, out: &mut Vec<u8>) {
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}

/// Appends bytes with their length.
pub(super) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_len(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The most digits of a text that becomes a double, unless it is what the double is written as.
const DOUBLE_DIGITS: usize = 15;

/// Appends a value for a column that is not `Nullable`. `is_widened` is true if it was a column of integers, which these
/// values have made wider.
pub(super) fn write_cell(cell: Cell<'_>, ty: &ColumnType, is_widened: bool, out: &mut Vec<u8>) -> Result<(), Reason> {
    use ColumnType as C;
    match (ty, cell) {
        (C::Bool, Cell::Bool(value)) => out.push(u8::from(value)),
        (C::Float64, cell) => {
            let value = match cell.whole().filter(|_| is_widened) {
                Some(value) => value as f64,
                None => cell.double(DOUBLE_DIGITS)?,
            };
            out.extend_from_slice(&value.to_le_bytes());
        }
        (C::Float32, cell) => return write_single(cell.double(DOUBLE_DIGITS)?, out),
        (C::Date | C::Date32, Cell::Date(days)) => return write_days(days, ty, out),
        (C::DateTime | C::DateTime64(_), Cell::Time { count, unit, .. }) => {
            return write_time(count, unit.per_second().into(), ty, out);
        }
        (C::Json | C::Array(_) | C::Map(_) | C::Tuple(_), Cell::Nested(json)) => {
            let value = serde_json::from_slice(&json).map_err(|_| "the value has a text that is not valid Unicode")?;
            return write_json(&value, ty, out);
        }
        (ty, cell) => return from_text(&cell.into_text()?, ty, out),
    }
    Ok(())
}

/// Appends a number of four bytes.
fn write_single(value: f64, out: &mut Vec<u8>) -> Result<(), Reason> {
    let narrow = value as f32;
    // A number of four bytes that was widened, such as one of Parquet; or the same number in the fewest digits, by which 0.1
    // stays 0.1.
    let is_same = !value.is_finite()
        || f64::from(narrow) == value
        || narrow.is_finite() && format!("{narrow:e}") == format!("{value:e}");
    if !is_same {
        return Err("the number has more digits than the column's type, Float32".into());
    }
    out.extend_from_slice(&narrow.to_le_bytes());
    Ok(())
}

/// The needs of a value of a column of integers that may become wider. The largest one of some rows decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Width {
    /// An integer of the column that every double holds.
    Small,
    /// Another integer of the column.
    Large,
    /// A number with a fraction, or of another magnitude, as the nearest double.
    Double,
    /// An integer beyond the column and 64 bits.
    Decimal,
}

/// Returns the need of a value in a column of integers of type `ty`. Fails with a reason if no wider number holds it, or if
/// it is an integer of 64 bits that is beyond the column.
pub(super) fn width(cell: &Cell<'_>, ty: &ColumnType) -> Result<Width, Reason> {
    let ColumnType::Int { bytes, .. } = ty else { return Err("the column is not of integers".into()) };
    let fits = from_text(&cell.clone().into_text()?, ty, &mut Vec::new());
    match (fits, cell) {
        (Ok(()), cell) => Ok(if cell.whole().is_some_and(fits_double) { Width::Small } else { Width::Large }),
        (Err(_), Cell::Float { value, text }) if *value == 0.0 && text.is_some_and(is_not_zero) => {
            Err(MORE_DIGITS.into())
        }
        (Err(_), cell @ Cell::Float { .. }) if cell.whole().is_none() => Ok(Width::Double),
        (Err(_), Cell::Big(digits)) if *bytes <= 8 && digits.trim_start_matches('-').len() <= 38 => Ok(Width::Decimal),
        (Err(reason), _) => Err(reason),
    }
}

/// Appends the value that `text` spells for a column that is not `Nullable`.
pub(super) fn from_text(text: &str, ty: &ColumnType, out: &mut Vec<u8>) -> Result<(), Reason> {
    use ColumnType as C;
    match ty {
        C::Text => write_bytes(text.as_bytes(), out),
        C::FixedText(len) => {
            if text.len() > *len {
                return Err("the text is longer than the column".into());
            }
            out.extend_from_slice(text.as_bytes());
            out.resize(out.len() + len - text.len(), 0);
        }
        C::Bool => match text {
            "true" | "True" | "TRUE" => out.push(1),
            "false" | "False" | "FALSE" => out.push(0),
            _ => return Err("the value is not a boolean".into()),
        },
        C::Int { bytes, signed } => {
            let (negative, digits) = scaled(text, 0).map_err(|problem| match problem {
                NotScaled::NoNumber => "the value is not an integer",
                NotScaled::TooPrecise => "the number is not an integer",
            })?;
            let value = little_endian(negative, &digits, usize::from(*bytes), *signed);
            let value = value.ok_or("the number is beyond the column's type")?;
            out.extend_from_slice(&value[..usize::from(*bytes)]);
        }
        C::Decimal { precision, scale } => {
            let (negative, digits) = scaled(text, i32::from(*scale)).map_err(|problem| match problem {
                NotScaled::NoNumber => "the value is not a number",
                NotScaled::TooPrecise => "the number has more digits after the point than the column",
            })?;
            let bytes = decimal_bytes(*precision);
            let value =
                little_endian(negative, &digits, bytes, true).filter(|_| digits.len() <= usize::from(*precision));
            let value = value.ok_or("the number has more digits than the column")?;
            out.extend_from_slice(&value[..bytes]);
        }
        C::Float64 => out.extend_from_slice(&double(text, DOUBLE_DIGITS)?.to_le_bytes()),
        C::Float32 => return write_single(double(text, DOUBLE_DIGITS)?, out),
        C::Date | C::Date32 => {
            let days = parse_days(text).ok_or("the text is not a date such as 2026-01-31")?;
            return write_days(days.into(), ty, out);
        }
        C::DateTime | C::DateTime64(_) => {
            let micros = parse_micros(text).ok_or("the text is not a time such as 2026-01-31T12:00:00Z")?;
            return write_time(micros.into(), 1_000_000, ty, out);
        }
        C::Uuid => {
            let mut bytes = uuid(text).ok_or("the text is not a UUID")?;
            // Two halves, each with its last byte first.
            bytes[..8].reverse();
            bytes[8..].reverse();
            out.extend_from_slice(&bytes);
        }
        C::Enum { bytes, numbers } => {
            let number = numbers.get(text).ok_or("the text is no member of the column's enumeration")?;
            out.extend_from_slice(&number.to_le_bytes()[..usize::from(*bytes)]);
        }
        C::Ipv4 => {
            let address: Ipv4Addr = text.parse().map_err(|_| "the text is not an IPv4 address")?;
            out.extend_from_slice(&u32::from(address).to_le_bytes());
        }
        C::Ipv6 => {
            let address: Ipv6Addr = text.parse().map_err(|_| "the text is not an IPv6 address")?;
            out.extend_from_slice(&address.octets());
        }
        C::Json | C::Array(_) | C::Map(_) | C::Tuple(_) => {
            let value = serde_json::from_str(text).map_err(|_| "the text is not a nested value")?;
            return write_json(&value, ty, out);
        }
        C::Nullable(inner) => {
            out.push(0);
            return from_text(text, inner, out);
        }
    }
    Ok(())
}

/// Appends a value of JSON for a column of any type.
pub(super) fn write_json(value: &Value, ty: &ColumnType, out: &mut Vec<u8>) -> Result<(), Reason> {
    use ColumnType as C;
    match (ty, value) {
        (C::Nullable(_), Value::Null) => out.push(1),
        (C::Nullable(inner), value) => {
            out.push(0);
            return write_json(value, inner, out);
        }
        (_, Value::Null) => return Err("it has a null where the column takes none".into()),
        (C::Array(item), Value::Array(values)) => {
            write_len(values.len() as u64, out);
            for value in values {
                write_json(value, item, out)?;
            }
        }
        (C::Map(types), Value::Object(members)) => {
            write_len(members.len() as u64, out);
            for (key, value) in members {
                from_text(key, &types.0, out)?;
                write_json(value, &types.1, out)?;
            }
        }
        (C::Tuple(types), Value::Array(values)) if types.iter().all(|(name, _)| name.is_none()) => {
            if types.len() != values.len() {
                return Err("the list has another length than the column's tuple".into());
            }
            for ((_, ty), value) in types.iter().zip(values) {
                write_json(value, ty, out)?;
            }
        }
        (C::Tuple(types), Value::Object(members)) => {
            let is_known = |key: &String| types.iter().any(|(name, _)| name.as_ref() == Some(key));
            if !members.keys().all(is_known) {
                return Err("the object has a key that the column's tuple lacks".into());
            }
            for (name, ty) in types {
                write_json(name.as_ref().and_then(|name| members.get(name)).unwrap_or(&Value::Null), ty, out)?;
            }
        }
        (C::Json, Value::Object(_)) => {
            check_object(value)?;
            write_bytes(value.to_string().as_bytes(), out);
        }
        (C::Json, _) => return Err("the column's type, JSON, takes only objects".into()),
        (C::Array(_) | C::Map(_) | C::Tuple(_), _) => return Err("the value is not of the column's nested type".into()),
        (C::Text | C::FixedText(_), Value::Array(_) | Value::Object(_)) => {
            return from_text(&value.to_string(), ty, out);
        }
        (_, Value::String(text)) => return from_text(text, ty, out),
        (_, Value::Bool(value)) => return from_text(if *value { "true" } else { "false" }, ty, out),
        // As in a column of numbers alone: fractions of JSON are the nearest double.
        (C::Float32 | C::Float64, Value::Number(number)) if number.as_str().contains(['.', 'e', 'E']) => {
            let value = number.as_str().parse::<f64>().ok().filter(|value| value.is_finite()).ok_or(MORE_DIGITS)?;
            return write_cell(Cell::Float { value, text: Some(number.as_str()) }, ty, false, out);
        }
        (_, Value::Number(number)) => return from_text(number.as_str(), ty, out),
        (_, Value::Array(_) | Value::Object(_)) => return Err("the value is nested, and the column is not".into()),
    }
    Ok(())
}

/// Fails for objects that the server's type `JSON` would refuse, or store as something else.
fn check_object(value: &Value) -> Result<(), Reason> {
    fn walk(value: &Value, path: &str, paths: &mut BTreeSet<String>) -> Result<(), Reason> {
        match value {
            Value::Number(number) => {
                let text = number.as_str();
                let is_integer = !text.contains(['.', 'e', 'E']);
                if is_integer && text.parse::<i64>().is_err() && text.parse::<u64>().is_err() {
                    return Err("it has an integer beyond 64 bits, which the type JSON does not hold".into());
                }
                if !is_integer && double(text, DOUBLE_DIGITS).is_err() {
                    return Err("it has a number of more digits than the type JSON holds".into());
                }
            }
            Value::Array(values) => {
                let mut numbers = Numbers::default();
                numbers.look_at(values);
                if numbers.has_fraction && numbers.has_large {
                    return Err(
                        "it has a list of fractions and integers beyond 2^53, which would become doubles".into()
                    );
                }
                for value in values {
                    // Paths within a list begin anew.
                    walk(value, "", &mut BTreeSet::new())?;
                }
            }
            Value::Object(members) => {
                for (key, value) in members {
                    if key.contains('.') {
                        return Err(
                            "it has a key with a point, which the type JSON takes for an object in an object".into()
                        );
                    }
                    if value.as_object().is_some_and(|object| object.is_empty()) {
                        return Err("it has an empty object as a member, which the type JSON does not hold".into());
                    }
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    if !value.is_object() && !paths.insert(path.clone()) {
                        return Err("it has two members of one path, which the type JSON does not hold".into());
                    }
                    walk(value, &path, paths)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
    walk(value, "", &mut BTreeSet::new())
}

/// The kinds of numbers in a list and in the lists in it, of which the server makes one type.
#[derive(Default)]
struct Numbers {
    has_fraction: bool,
    /// True if there is an integer that a double may not hold.
    has_large: bool,
}

impl Numbers {
    fn look_at(&mut self, values: &[Value]) {
        for value in values {
            match value {
                Value::Number(number) if number.as_str().contains(['.', 'e', 'E']) => self.has_fraction = true,
                Value::Number(number) => {
                    self.has_large |= number.as_str().parse::<i64>().map_or(true, |value| !fits_double(value));
                }
                Value::Array(values) => self.look_at(values),
                _ => {}
            }
        }
    }
}

/// Appends days since 1970.
pub(super) fn write_days(days: i64, ty: &ColumnType, out: &mut Vec<u8>) -> Result<(), Reason> {
    match ty {
        ColumnType::Date => {
            let days = u16::try_from(days).map_err(|_| "the date is beyond the years of the column, 1970 to 2149")?;
            out.extend_from_slice(&days.to_le_bytes());
        }
        _ => {
            let days = i32::try_from(days).ok().filter(|_| DAYS.contains(&days));
            let days = days.ok_or("the date is beyond the years of the column, 1900 to 2299")?;
            out.extend_from_slice(&days.to_le_bytes());
        }
    }
    Ok(())
}

/// Appends a time, `count` units since 1970.
pub(super) fn write_time(count: i128, per_second: i128, ty: &ColumnType, out: &mut Vec<u8>) -> Result<(), Reason> {
    let digits = if let ColumnType::DateTime64(digits) = ty { *digits } else { 0 };
    let wanted = 10i128.pow(digits.into());
    let product = count.checked_mul(wanted).ok_or("the time is beyond the years of the column")?;
    if product % per_second != 0 {
        return Err("the time is more precise than the column".into());
    }
    let ticks = product / per_second;
    if let ColumnType::DateTime64(_) = ty {
        let ticks = i64::try_from(ticks).ok().filter(|_| SECONDS.contains(&ticks.div_euclid(wanted)));
        let ticks = ticks.ok_or("the time is beyond the years of the column, 1900 to 2299 (2262 in nanoseconds)")?;
        out.extend_from_slice(&ticks.to_le_bytes());
    } else {
        let seconds = u32::try_from(ticks).map_err(|_| "the time is beyond the years of the column, 1970 to 2106")?;
        out.extend_from_slice(&seconds.to_le_bytes());
    }
    Ok(())
}

/// Returns the bytes of a decimal of so many digits.
pub(super) fn decimal_bytes(precision: u8) -> usize {
    match precision {
        0..=9 => 4,
        10..=18 => 8,
        19..=38 => 16,
        _ => 32,
    }
}

enum NotScaled {
    NoNumber,
    TooPrecise,
}

/// Returns the sign and the digits of a number of JSON in units of its decimal place `scale`, without leading zeros.
fn scaled(text: &str, scale: i32) -> Result<(bool, Vec<u8>), NotScaled> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let exponent: i32 = exponent.parse().map_err(|_| NotScaled::NoNumber)?;
            (mantissa, exponent)
        }
        None => (rest, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(NotScaled::NoNumber),
        None => (mantissa, ""),
    };
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // JSON's grammar: `007` is no number, it is a text that would lose its zeros.
    let is_whole = !whole.is_empty() && (whole == "0" || !whole.starts_with('0'));
    if !is_whole || !are_digits(whole) || !are_digits(fraction) || exponent.abs() > MAX_EXPONENT {
        return Err(NotScaled::NoNumber);
    }
    let mut digits: Vec<u8> = [whole.as_bytes(), fraction.as_bytes()].concat().iter().map(|byte| byte - b'0').collect();
    let shift = exponent - fraction.len() as i32 + scale;
    if shift >= 0 {
        digits.resize(digits.len() + shift as usize, 0);
    } else {
        let kept = digits.len().saturating_sub(shift.unsigned_abs() as usize);
        if digits[kept..].iter().any(|digit| *digit != 0) {
            return Err(NotScaled::TooPrecise);
        }
        digits.truncate(kept);
    }
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    Ok((negative && !digits.is_empty(), digits))
}

/// Returns digits as an integer of `bytes` bytes in two's complement, the lowest byte first; `None` beyond its range.
fn little_endian(negative: bool, digits: &[u8], bytes: usize, signed: bool) -> Option<[u8; 32]> {
    let mut value = [0u8; 32];
    for digit in digits {
        let mut carry = u16::from(*digit);
        for byte in &mut value[..bytes] {
            let next = u16::from(*byte) * 10 + carry;
            *byte = next as u8;
            carry = next >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    let top = value[bytes - 1] & 0x80 != 0;
    if negative {
        // The least value has the top bit alone.
        let is_least = top && value[bytes - 1] == 0x80 && value[..bytes - 1].iter().all(|byte| *byte == 0);
        if !signed || top && !is_least {
            return None;
        }
        let mut carry = true;
        for byte in &mut value[..bytes] {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    } else if signed && top {
        return None;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn value(text: &str, ty: &str) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        from_text(text, &ColumnType::parse(ty).unwrap(), &mut out).map(|()| out).map_err(Cow::into_owned)
    }

    #[test]
    fn numbers_are_exact_or_refused() {
        assert_eq!(value("-128", "Int8"), Ok(vec![0x80]));
        assert_eq!(value("255", "UInt8"), Ok(vec![255]));
        assert_eq!(value("18446744073709551615", "UInt64"), Ok(u64::MAX.to_le_bytes().to_vec()));
        assert_eq!(value("-12e1", "Int128"), Ok((-120i128).to_le_bytes().to_vec()));
        assert_eq!(value("2.50e1", "Int16"), Ok(25i16.to_le_bytes().to_vec()));
        assert_eq!(value("-0", "UInt8"), Ok(vec![0]));
        assert_eq!(value("-1.5", "Decimal(9, 2)"), Ok((-150i32).to_le_bytes().to_vec()));
        assert_eq!(value("1e20", "Decimal(38, 0)"), Ok(10i128.pow(20).to_le_bytes().to_vec()));
        let mut least = vec![0; 32];
        least[31] = 0x80;
        let text = "-57896044618658097711785492504343953926634992332820282019728792003956564819968";
        assert_eq!(value(text, "Int256"), Ok(least));
        for (text, ty) in [
            ("128", "Int8"),
            ("-129", "Int8"),
            ("-1", "UInt64"),
            ("256", "UInt8"),
            ("1.5", "Int64"),
            ("007", "Int64"),
            ("+5", "Int64"),
            ("", "Int64"),
            ("1.", "Int64"),
            ("1e999999999", "Int64"),
            ("9223372036854775808", "Int64"),
            ("1.234", "Decimal(9, 2)"),
            ("12345678.9", "Decimal(9, 2)"),
            ("9007199254740993", "Float64"),
            ("9007199254740993.0", "Float64"),
            ("0.30000000000000001", "Float64"),
            ("1e400", "Float64"),
            ("1e-400", "Float64"),
            ("0.123456789", "Float32"),
            (&format!("1{}", &text[1..]), "Int256"),
        ] {
            assert!(value(text, ty).is_err(), "{text} {ty}");
        }
    }

    #[test]
    fn times_are_within_their_columns() {
        assert_eq!(value("1970-01-02", "Date"), Ok(vec![1, 0]));
        assert_eq!(value("1900-01-01", "Date32"), Ok((-25_567i32).to_le_bytes().to_vec()));
        assert_eq!(value("1970-01-01T00:00:01.5Z", "DateTime64(3)"), Ok(1500i64.to_le_bytes().to_vec()));
        assert!(value("1970-01-01T00:00:01.5Z", "DateTime").unwrap_err().contains("precise"));
        for (text, ty) in [
            ("1969-12-31", "Date"),
            ("1899-12-31", "Date32"),
            ("2300-01-01", "Date32"),
            ("1969-12-31T23:59:59Z", "DateTime"),
            ("2300-01-01T00:00:00Z", "DateTime64(6)"),
            ("2263-01-01T00:00:00Z", "DateTime64(9)"),
        ] {
            assert!(value(text, ty).is_err(), "{text} {ty}");
        }
    }

    #[test]
    fn nested_values_have_the_form_of_their_type() {
        let json = |text: &str, ty: &str| value(text, ty);
        assert_eq!(json("[1,null]", "Array(Nullable(UInt8))"), Ok(vec![2, 0, 1, 1]));
        assert_eq!(json(r#"{"b":true}"#, "Map(String, Bool)"), Ok(vec![1, 1, b'b', 1]));
        assert_eq!(json(r#"{"b":1}"#, "Tuple(a Nullable(UInt8), b UInt8)"), Ok(vec![1, 1]));
        for (text, ty) in [
            ("[null]", "Array(UInt8)"),
            ("{}", "Array(UInt8)"),
            ("[256]", "Array(UInt8)"),
            (r#"{"c":1}"#, "Tuple(a Nullable(UInt8))"),
            ("[1]", "JSON"),
            (r#"{"a.b":1,"a":{"b":2}}"#, "JSON"),
            (r#"{"a":[12345678901234567890123]}"#, "JSON"),
            (r#"{"a":"\ud800"}"#, "JSON"),
            (r#"{"a.b":1}"#, "JSON"),
            (r#"{"a":{}}"#, "JSON"),
            (r#"{"a":[[9007199254740993],[1.5]]}"#, "JSON"),
        ] {
            assert!(json(text, ty).is_err(), "{text} {ty}");
        }
    }

    #[test]
    fn texts_become_addresses_and_members() {
        assert_eq!(value("1.2.3.4", "IPv4"), Ok(vec![4, 3, 2, 1]));
        assert_eq!(value("ab", "FixedString(3)"), Ok(b"ab\0".to_vec()));
        assert_eq!(value("x", "Enum8('x' = -2)"), Ok(vec![0xfe]));
        let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        assert_eq!(value(id, "UUID"), value(&id.replace('-', ""), "UUID"));
        for (text, ty) in [("abcd", "FixedString(3)"), ("y", "Enum8('x' = -2)"), ("a0ee", "UUID"), ("::", "IPv4")] {
            assert!(value(text, ty).is_err(), "{text} {ty}");
        }
    }
}
