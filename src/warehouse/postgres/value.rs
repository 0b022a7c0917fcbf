//! The binary form of one value in COPY, or the reason why its column cannot hold it. Pure.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, StringViewArray};
use memchr::memchr;

use super::numeric;
use super::types::Wire;
use crate::column::json_text::write_json_string;
use crate::column::number::fits_double;
use crate::column::{Type, Unit};
use crate::transform::expr::{parse_days, parse_micros};
use crate::warehouse::NulPolicy;
use crate::warehouse::cells::{Cell, MORE_DIGITS, NO_NUMBER, Reason, canonical, is_not_zero};
use crate::warehouse::uuid::uuid;

/// Days and microseconds from 1970 to 2000, from which the server counts.
const DAYS_TO_2000: i64 = 10_957;
const MICROS_TO_2000: i64 = DAYS_TO_2000 * 86_400_000_000;

/// The years that the server holds, as days and microseconds from 2000: 4713 BC to 5874897 and to 294276.
const DATES: RangeInclusive<i64> = -2_451_545..=2_145_031_948;
const TIMESTAMPS: RangeInclusive<i64> = -211_813_488_000_000_000..=9_223_371_331_199_999_999;

/// The longest value that the server takes, in bytes.
const MAX_VALUE_BYTES: usize = (1 << 30) - 1;

/// The most digits of a text that becomes a double: as many as tell all doubles apart.
const DOUBLE_DIGITS: usize = 17;

/// The column that takes values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) wire: Wire,
    /// True if the column of the table is an array.
    pub(super) takes_lists: bool,
    /// True if it was a column of integers, which these values have made wider.
    pub(super) is_widened: bool,
    pub(super) nul: NulPolicy,
    /// True if text in it may hold what the column cannot: U+0000, an escape of it or of half a surrogate pair, or in JSON a
    /// number beyond `numeric`.
    pub(super) is_suspicious: bool,
}

impl Slot {
    /// Appends the value. Fails with a reason if the column cannot hold it.
    pub(super) fn write(&self, cell: Cell<'_>, out: &mut Vec<u8>) -> Result<(), Reason> {
        match (self.wire, cell) {
            (Wire::Bool, Cell::Bool(value)) => out.push(u8::from(value)),
            (Wire::Date, Cell::Date(days)) => return write_date(days, out),
            (Wire::Timestamp, Cell::Time { count, unit, .. }) => {
                let micros = match unit {
                    Unit::Millis => count * 1000,
                    Unit::Micros => count,
                    Unit::Nanos if count % 1000 == 0 => count / 1000,
                    Unit::Nanos => return Err("the time is more precise than a microsecond".into()),
                };
                return write_timestamp(i64::try_from(micros).unwrap_or(i64::MAX), out);
            }
            (Wire::Int2 | Wire::Int4 | Wire::Int8, cell) => match (integer(&cell, self.wire)?, self.wire) {
                (value, Wire::Int2) => out.extend_from_slice(&(value as i16).to_be_bytes()),
                (value, Wire::Int4) => out.extend_from_slice(&(value as i32).to_be_bytes()),
                (value, _) => out.extend_from_slice(&value.to_be_bytes()),
            },
            (Wire::Float8, cell) => {
                let value = match cell.whole().filter(|_| self.is_widened) {
                    Some(value) => value as f64,
                    None => cell.double(DOUBLE_DIGITS)?,
                };
                out.extend_from_slice(&value.to_be_bytes());
            }
            (Wire::Float4, cell) => {
                let value = cell.double(DOUBLE_DIGITS)?;
                let narrow = value as f32;
                // A number of four bytes that was widened, such as one of Parquet; or the same number in the fewest digits,
                // by which 0.1 stays 0.1.
                let is_same = f64::from(narrow) == value
                    || !value.is_finite()
                    || narrow.is_finite() && format!("{narrow:e}") == format!("{value:e}");
                if !is_same {
                    return Err("the number has more digits than the column's type, real".into());
                }
                out.extend_from_slice(&narrow.to_be_bytes());
            }
            (Wire::Numeric(limits), cell) => {
                let text = match (self.is_widened.then(|| cell.whole()).flatten(), cell) {
                    (Some(value), _) => value.to_string().into(),
                    // The double that it would be in a column of doubles: rows before may have made it one.
                    (None, Cell::Float { value, .. }) if self.is_widened => canonical(value).into(),
                    (None, Cell::Date(_) | Cell::Time { .. } | Cell::Bool(_) | Cell::Nested(_)) => {
                        return Err(NO_NUMBER.into());
                    }
                    (None, cell) => cell.into_text()?,
                };
                numeric::write(text.as_bytes(), limits, out)?;
            }
            (Wire::Text(limit), cell) => return self.write_text(&cell.into_text()?, limit, out),
            (Wire::Json | Wire::Jsonb, cell) => {
                let json = json_form(cell)?;
                return self.write_json(&json, out);
            }
            (wire, cell) => return from_text(&cell.into_text()?, wire, out),
        }
        Ok(())
    }

    pub(super) fn write_text(&self, text: &str, limit: Option<u32>, out: &mut Vec<u8>) -> Result<(), Reason> {
        let text = match (self.is_suspicious && memchr(0, text.as_bytes()).is_some(), self.nul) {
            (false, _) => Cow::Borrowed(text),
            (true, NulPolicy::Replace) => Cow::Owned(text.replace('\0', "\u{fffd}")),
            (true, NulPolicy::Reject) => return Err("the text has U+0000, which PostgreSQL cannot store".into()),
        };
        if limit.is_some_and(|limit| text.len() > limit as usize && text.chars().count() > limit as usize) {
            return Err("the text is longer than the column".into());
        }
        if text.len() > MAX_VALUE_BYTES {
            return Err("the text is longer than PostgreSQL can store".into());
        }
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    pub(super) fn write_json(&self, json: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.wire == Wire::Json {
            out.extend_from_slice(json);
            return Ok(());
        }
        let json = match self.is_suspicious.then(|| bad_escape(json)).flatten() {
            None => Cow::Borrowed(json),
            Some(BadEscape::Nul) if self.nul == NulPolicy::Replace => Cow::Owned(without_nul(json)),
            Some(BadEscape::Nul) => return Err("the text has U+0000, which PostgreSQL cannot store".into()),
            Some(BadEscape::Surrogate) => {
                return Err("the text has half of a surrogate pair, which jsonb cannot store".into());
            }
        };
        if json.len() >= MAX_VALUE_BYTES {
            return Err("the value is longer than PostgreSQL can store".into());
        }
        if self.takes_lists && json.first() != Some(&b'[') {
            return Err("the value is no list, and the column is an array".into());
        }
        if self.is_suspicious && numeric::is_beyond_jsonb(&json) {
            return Err("a number in it is out of range for jsonb".into());
        }
        // The version of the form.
        out.push(1);
        out.extend_from_slice(&json);
        Ok(())
    }
}

/// Returns the JSON text of a value.
fn json_form(cell: Cell<'_>) -> Result<Cow<'_, [u8]>, Reason> {
    let quoted = |text: &str| {
        let mut json = Vec::with_capacity(text.len() + 2);
        write_json_string(text, &mut json);
        json
    };
    Ok(match cell {
        Cell::Nested(json) => json,
        Cell::Text(text) => quoted(&text).into(),
        cell @ (Cell::Date(_) | Cell::Time { .. }) => quoted(&cell.into_text()?).into(),
        Cell::Float { value, text: None } if !value.is_finite() => return Err("JSON has no such number".into()),
        other => match other.into_text()? {
            Cow::Borrowed(text) => text.as_bytes().into(),
            Cow::Owned(text) => text.into_bytes().into(),
        },
    })
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
    /// A number that counts by its digits.
    Numeric,
}

/// Returns the need of a value in a column of integers. Fails with a reason if no wider number holds it, or if it is an integer
/// of 64 bits that is beyond the column.
pub(super) fn width(cell: &Cell<'_>, wire: Wire) -> Result<Width, Reason> {
    match (cell.whole(), cell) {
        (None, Cell::Float { value, text }) if *value == 0.0 && text.is_some_and(is_not_zero) => {
            Err(MORE_DIGITS.into())
        }
        (None, Cell::Float { .. }) => Ok(Width::Double),
        (None, Cell::Big(digits) | Cell::Decimal(digits)) => {
            numeric::write(digits.as_bytes(), None, &mut Vec::new())?;
            Ok(Width::Numeric)
        }
        _ => integer(cell, wire).map(|value| if fits_double(value) { Width::Small } else { Width::Large }),
    }
}

/// Returns the integer of a column of integers.
pub(super) fn integer(cell: &Cell<'_>, wire: Wire) -> Result<i64, Reason> {
    let (range, beyond) = match wire {
        Wire::Int2 => (i16::MIN.into()..=i16::MAX.into(), "the number is beyond the column's type, smallint"),
        Wire::Int4 => (i32::MIN.into()..=i32::MAX.into(), "the number is beyond the column's type, integer"),
        _ => (i64::MIN..=i64::MAX, "the number is beyond the column's type, bigint"),
    };
    match cell.whole() {
        Some(value) if range.contains(&value) => Ok(value),
        Some(_) => Err(beyond.into()),
        None => match (cell, cell.double(usize::MAX)) {
            (Cell::Big(_), _) => Err(beyond.into()),
            (_, Ok(value)) if value.fract() == 0.0 && value.is_finite() => Err(beyond.into()),
            (_, Ok(_)) => Err("the number is not an integer".into()),
            (_, Err(_)) => Err("the value is not an integer".into()),
        },
    }
}

/// Appends the value that `text` spells. Fails with a reason if it spells none that the column can hold.
fn from_text(text: &str, wire: Wire, out: &mut Vec<u8>) -> Result<(), Reason> {
    match wire {
        Wire::Bool => match text {
            "true" | "True" | "TRUE" => out.push(1),
            "false" | "False" | "FALSE" => out.push(0),
            _ => return Err("the value is not a boolean".into()),
        },
        Wire::Date => {
            return write_date(parse_days(text).ok_or("the text is not a date such as 2026-01-31")?.into(), out);
        }
        Wire::Timestamp => {
            let micros = parse_micros(text).ok_or("the text is not a time such as 2026-01-31T12:00:00Z")?;
            return write_timestamp(micros, out);
        }
        Wire::Uuid => out.extend_from_slice(&uuid(text).ok_or("the text is not a UUID")?),
        _ => return Err("text is not converted to the form of the column".into()),
    }
    Ok(())
}

/// Returns true if text in the column may hold U+0000, or JSON text an escape or a number that `jsonb` refuses.
pub(super) fn is_suspicious(array: &dyn Array, ty: &Type) -> bool {
    let any = |array: &StringViewArray, test: fn(&[u8]) -> bool| {
        (0..array.len()).any(|row| !array.is_null(row) && test(array.value(row).as_bytes()))
    };
    match ty {
        Type::Text => any(array.as_string_view(), |text| memchr(0, text).is_some()),
        Type::Json | Type::Raw | Type::Opaque(_) => any(array.as_string_view(), is_suspicious_json),
        Type::Struct(fields) if fields.is_empty() => any(array.as_string_view(), is_suspicious_json),
        Type::Struct(fields) => {
            // A key may have it, too.
            fields.iter().any(|field| memchr(0, field.name.as_bytes()).is_some())
                || fields
                    .iter()
                    .zip(array.as_struct().columns())
                    .any(|(field, column)| is_suspicious(column, &field.ty))
        }
        Type::List(item) => is_suspicious(array.as_list::<i32>().values(), item),
        Type::Map(value) => {
            let map = array.as_map();
            is_suspicious(map.keys(), &Type::Text) || is_suspicious(map.values(), value)
        }
        _ => false,
    }
}

/// Returns true if JSON text may hold an escape or a number that `jsonb` refuses.
fn is_suspicious_json(text: &[u8]) -> bool {
    memchr(b'\\', text).is_some() || numeric::may_be_beyond_jsonb(text)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadEscape {
    Nul,
    Surrogate,
}

/// Returns the first escape of JSON text that `jsonb` refuses: of U+0000, or of half a surrogate pair.
fn bad_escape(json: &[u8]) -> Option<BadEscape> {
    let mut at = 0;
    while let Some(found) = memchr(b'\\', &json[at..]) {
        at += found;
        if json.get(at + 1) != Some(&b'u') {
            at += 2;
            continue;
        }
        match unit(json, at)? {
            0 => return Some(BadEscape::Nul),
            0xd800..=0xdbff => match unit(json, at + 6) {
                Some(0xdc00..=0xdfff) => at += 12,
                _ => return Some(BadEscape::Surrogate),
            },
            0xdc00..=0xdfff => return Some(BadEscape::Surrogate),
            _ => at += 6,
        }
        if at >= json.len() {
            break;
        }
    }
    None
}

/// Returns the value of the escape `\uXXXX` at a byte.
fn unit(json: &[u8], at: usize) -> Option<u32> {
    let escape = json.get(at..at + 6)?;
    let digits = escape.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Returns JSON text with U+FFFD for each escape of U+0000.
fn without_nul(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'\\' if unit(json, at) == Some(0) => {
                out.extend_from_slice("\u{fffd}".as_bytes());
                at += 6;
            }
            b'\\' => {
                out.extend_from_slice(&json[at..(at + 2).min(json.len())]);
                at += 2;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn write_date(days: i64, out: &mut Vec<u8>) -> Result<(), Reason> {
    let days = days.saturating_sub(DAYS_TO_2000);
    let days = i32::try_from(days).ok().filter(|days| DATES.contains(&i64::from(*days)));
    out.extend_from_slice(&days.ok_or("the date is beyond the years that PostgreSQL holds")?.to_be_bytes());
    Ok(())
}

fn write_timestamp(micros: i64, out: &mut Vec<u8>) -> Result<(), Reason> {
    let micros = micros.checked_sub(MICROS_TO_2000).filter(|micros| TIMESTAMPS.contains(micros));
    out.extend_from_slice(&micros.ok_or("the time is beyond the years that PostgreSQL holds")?.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(wire: Wire) -> Slot {
        Slot { wire, takes_lists: false, is_widened: false, nul: NulPolicy::Reject, is_suspicious: true }
    }

    #[test]
    fn escapes_that_jsonb_refuses_are_found() {
        for (json, expected) in [
            (r#""a""#, None),
            (r#""\u0041""#, None),
            (r#""\u0000""#, Some(BadEscape::Nul)),
            (r#""\\u0000""#, None),
            (r#""\\\u0000""#, Some(BadEscape::Nul)),
            (r#""\ud83d\ude00""#, None),
            (r#""\ud83d""#, Some(BadEscape::Surrogate)),
            (r#""\ude00""#, Some(BadEscape::Surrogate)),
            (r#""\ud83d\u0041""#, Some(BadEscape::Surrogate)),
            (r#"{"a":"\n","b":"\\"}"#, None),
        ] {
            assert_eq!(bad_escape(json.as_bytes()), expected, "{json}");
        }
        assert_eq!(without_nul(br#""a\u0000\\u0000""#), "\"a\u{fffd}\\\\u0000\"".as_bytes());
    }

    #[test]
    fn text_becomes_a_value_or_a_reason() {
        let value = |text: &str, wire| {
            let mut out = Vec::new();
            slot(wire).write(Cell::Text(text.into()), &mut out).map(|()| out).map_err(Cow::into_owned)
        };
        assert_eq!(value("12", Wire::Int4), Ok(12i32.to_be_bytes().to_vec()));
        assert_eq!(value("2.0", Wire::Int8), Ok(2i64.to_be_bytes().to_vec()));
        assert!(value("2.5", Wire::Int8).unwrap_err().contains("not an integer"));
        assert!(value("+5", Wire::Int8).is_err() && value("abc", Wire::Int8).is_err());
        assert!(value("3000000000", Wire::Int4).unwrap_err().contains("beyond"));
        assert_eq!(value("0.1", Wire::Float4), Ok(0.1f32.to_be_bytes().to_vec()));
        assert!(value("0.123456789", Wire::Float4).is_err());
        assert_eq!(value("33554432", Wire::Float4), Ok(33_554_432f32.to_be_bytes().to_vec()));
        // As in a column of integers alone.
        for (text, fits) in [("9007199254740992", true), ("9007199254740993", false), ("-9007199254740993", false)] {
            assert_eq!(value(text, Wire::Float8).is_ok(), fits, "{text}");
        }
        assert_eq!(value("9007199254740993.5", Wire::Float8), Ok(9007199254740993.5f64.to_be_bytes().to_vec()));
        assert_eq!(value("2000-01-02", Wire::Date), Ok(1i32.to_be_bytes().to_vec()));
        assert_eq!(value("2000-01-01T00:00:01Z", Wire::Timestamp), Ok(1_000_000i64.to_be_bytes().to_vec()));
        assert!(value("31.01.2000", Wire::Date).is_err());
        let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        assert_eq!(value(id, Wire::Uuid), value(&id.replace('-', "").to_uppercase(), Wire::Uuid));
        assert!(value("a0eebc99", Wire::Uuid).is_err());
    }
}
