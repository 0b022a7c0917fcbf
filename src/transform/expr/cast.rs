//! Casts of single values. A cast preserves the value or fails: it never truncates, rounds or wraps, except that a
//! number cast to float becomes the nearest double.

use std::borrow::Cow;

use chrono::NaiveDate;

use super::cast_type::{CastType, Zone, unit};
use super::datum::{Datum, Num, num_of};
use super::decimal::Decimal;
use super::eval_error::EvalError;
use super::number_format::{NumberFormat, may_have_marks};
use super::time_format::{DateTimeParts, offset};
use crate::column::{Fixed, Unit};

impl CastType {
    /// Casts `value` to this type; null stays null. Fails if the type cannot represent the value.
    pub(super) fn cast<'a>(&self, value: Datum<'a>) -> Result<Datum<'a>, EvalError> {
        let refuse = |value: &Datum<'_>, target: &str| {
            let marks = match value {
                Datum::Text(_) | Datum::Cell(..) if may_have_marks(&value.display_text()) => OTHER_MARKS,
                _ => "",
            };
            Err(EvalError::from(format!("cannot cast {} to {target}{marks}", value.kind())))
        };
        match (self, value) {
            (_, Datum::Null) => Ok(Datum::Null),
            (CastType::Int, value) => {
                let number = match &value {
                    Datum::Bool(b) => Some(Num::Int((*b).into())),
                    Datum::Text(text) => num_of(text.trim_ascii()),
                    other => other.number().ok(),
                };
                let int = match number {
                    Some(Num::Int(int)) => i64::try_from(int).ok().map(i128::from),
                    // By its digits, which may be an integer: `1.0`, `1e3`.
                    Some(Num::Float(_)) => parse_scaled(value.display_text().trim_ascii(), 0, 19)
                        .ok()
                        .filter(|int| i64::try_from(*int).is_ok()),
                    None => None,
                };
                match (int, number) {
                    (Some(int), _) => Ok(Datum::Int(int)),
                    (None, Some(_)) => Err("the number is not a 64-bit integer".into()),
                    (None, None) => refuse(&value, "int"),
                }
            }
            (CastType::Float, value) => {
                let number = match &value {
                    Datum::Bool(b) => Some(f64::from(u8::from(*b))),
                    Datum::Text(text) => num_of(text.trim_ascii()).map(Num::float),
                    other => other.number().ok().map(Num::float),
                };
                match number {
                    Some(float) if float.is_finite() => Ok(Datum::Float(float)),
                    Some(_) => Err("the number is too large for a double".into()),
                    None => refuse(&value, "float"),
                }
            }
            (CastType::Bool, value) => {
                let b = match &value {
                    Datum::Bool(b) => Some(*b),
                    Datum::Text(_) | Datum::Cell(..) => {
                        match value.display_text().trim_ascii().to_ascii_lowercase().as_str() {
                            "true" | "t" | "yes" | "y" | "1" => Some(true),
                            "false" | "f" | "no" | "n" | "0" => Some(false),
                            _ => None,
                        }
                    }
                    other => match other.number() {
                        Ok(Num::Int(0)) => Some(false),
                        Ok(Num::Int(1)) => Some(true),
                        _ => None,
                    },
                };
                b.map_or_else(|| refuse(&value, "bool"), |b| Ok(Datum::Bool(b)))
            }
            (CastType::Text, Datum::Text(text)) => Ok(Datum::Text(text)),
            (CastType::Text, Datum::Cell(text, _)) => Ok(Datum::Text(text.into())),
            (CastType::Text, value) => Ok(Datum::Text(value.display_text().into_owned().into())),
            (CastType::Json, Datum::Text(text)) => json_of(text),
            (CastType::Json, Datum::Cell(text, _)) => json_of(text.into()),
            (CastType::Json, value) => Ok(value),
            (CastType::Number(format), value) => match &value {
                Datum::Text(_) | Datum::Cell(..) => {
                    let text = value.display_text();
                    match format.to_json(&text) {
                        Some(json) => Ok(number_of_json(json)),
                        None if !may_have_marks(&text) => Err("cannot parse the text as a number".into()),
                        None if format.has_thousands() => {
                            Err("cannot parse the text as a number with these marks".into())
                        }
                        None if *format == NumberFormat::default() => {
                            Err(format!("cannot parse the text as a number{OTHER_MARKS}").into())
                        }
                        None => {
                            Err("cannot parse the text as a number with this decimal mark; specify a mark between \
                                     thousands, as in `number(x, ',', '.')`"
                                .into())
                        }
                    }
                }
                Datum::Fixed(fixed, _) if fixed.is_number() => Ok(number_of_json(value.display_text().into_owned())),
                Datum::Int(_) | Datum::Float(_) | Datum::Digits(_) => Ok(value),
                _ => refuse(&value, "number"),
            },
            (CastType::Date { format }, value) => {
                let parts = match (format, &value) {
                    (Some(format), Datum::Text(_) | Datum::Cell(..) | Datum::Int(_)) => {
                        format.read(&value.display_text())?
                    }
                    _ => {
                        let text = self.time_text(&value)?;
                        parse_date_time(text.trim_ascii()).ok_or_else(|| match has_digits(&text) {
                            true => EvalError::from(
                                "cannot parse the text as a date YYYY-MM-DD; specify its format, as in \
                                 `date(x, '%d/%m/%Y')`",
                            ),
                            false => "cannot parse the text as a date".into(),
                        })?
                    }
                };
                match parts {
                    DateTimeParts { nanos_of_day: 0, offset: None, days } => Ok(Datum::Fixed(Fixed::Date, days.into())),
                    _ if format.is_some() => Err("cannot cast a time of day to date; use `timestamp` instead".into()),
                    _ => Err("cannot cast a time of day to date; use `substr(x, 1, 10)` to truncate it".into()),
                }
            }
            (CastType::Timestamp { format, per_second, zone }, value) => {
                let (per_second, zone) = (*per_second, *zone);
                let fixed = Fixed::Timestamp { unit: unit(per_second), local: zone == Zone::Local };
                // 1000 for seconds, which are stored as milliseconds; 1 for all other units.
                let factor = unit(per_second).per_second() / per_second;
                let number = match &value {
                    // With a format, digits are those of fields.
                    _ if format.is_some() => None,
                    Datum::Int(_) | Datum::Digits(_) | Datum::Float(_) => Some(value.number()?),
                    // Only CSV cells are parsed as numbers: JSON text with digits is not a timestamp.
                    Datum::Cell(text, _) => num_of(text.trim_ascii()),
                    _ => None,
                };
                let count = match number {
                    Some(Num::Int(int)) => int.checked_mul(factor.into()),
                    Some(Num::Float(_)) => {
                        return Err(
                            "a numeric timestamp must be an integer; specify its unit, as in timestamp(ms)".into()
                        );
                    }
                    None => {
                        let parts = match (format, &value) {
                            (Some(format), Datum::Text(_) | Datum::Cell(..) | Datum::Int(_)) => {
                                format.read(&value.display_text())?
                            }
                            _ => {
                                let text = self.time_text(&value)?;
                                parse_date_time(text.trim_ascii()).ok_or_else(|| match has_digits(&text) {
                                    true => EvalError::from(
                                        "cannot parse the text as a timestamp; specify its format, as in \
                                         `timestamp(x, '%d/%m/%Y %H:%M')`",
                                    ),
                                    false => "cannot parse the text as a timestamp".into(),
                                })?
                            }
                        };
                        Some(count(parts, unit(per_second), zone)?)
                    }
                };
                // Limited to the years that chrono can format, so that every output can write the value.
                let seconds = |count: i128| count.div_euclid(unit(per_second).per_second().into());
                match count {
                    Some(count)
                        if i64::try_from(count).is_ok() && (FIRST_SECOND..=LAST_SECOND).contains(&seconds(count)) =>
                    {
                        Ok(Datum::Fixed(fixed, count))
                    }
                    _ => Err("the timestamp is out of range for its unit".into()),
                }
            }
            (CastType::Decimal { precision, scale }, value) => {
                let (precision, scale) = (*precision, *scale);
                let text = match &value {
                    Datum::Bool(_) | Datum::Nested(_) => return refuse(&value, "decimal"),
                    other => other.display_text(),
                };
                let digits = parse_scaled(text.trim_ascii(), scale, precision)?;
                Ok(Datum::Fixed(Fixed::Decimal { precision, scale }, digits))
            }
        }
    }

    /// Returns the text of a date or time; fails for values of other kinds.
    fn time_text<'s>(&self, value: &'s Datum<'_>) -> Result<Cow<'s, str>, EvalError> {
        match value {
            Datum::Text(_) | Datum::Cell(..) => Ok(value.display_text()),
            Datum::Fixed(fixed, _) if !fixed.is_number() => Ok(value.display_text()),
            other => {
                let target = if matches!(self, CastType::Date { .. }) { "date" } else { "timestamp" };
                Err(format!("cannot cast {} to {target}", other.kind()).into())
            }
        }
    }
}

/// End of the reason of a failed cast for text that could be a number with other marks.
const OTHER_MARKS: &str = "; specify its decimal mark and the mark between thousands, as in `number(x, ',', '.')`";

fn has_digits(text: &str) -> bool {
    text.contains(|c: char| c.is_ascii_digit())
}

/// Returns the value of a number in JSON's grammar.
fn number_of_json<'a>(json: String) -> Datum<'a> {
    match Datum::of_json(&json) {
        Datum::Int(int) => Datum::Int(int),
        _ => Datum::Digits(json.into()),
    }
}

/// Seconds since 1970 of the years 1 to 9999.
const FIRST_SECOND: i128 = -62_135_596_800;
const LAST_SECOND: i128 = 253_402_300_799;

/// Parses text as JSON and puts it on one line.
fn json_of<'a>(text: Cow<'a, str>) -> Result<Datum<'a>, EvalError> {
    let trimmed = text.trim_matches([' ', '\t', '\r', '\n']);
    if serde_json::from_str::<serde::de::IgnoredAny>(trimmed).is_err() {
        return Err("the text is not valid JSON".into());
    }
    // NDJSON needs one line per record. A valid JSON text has line breaks only between tokens, where a space will do.
    let flat = |text: &str| text.replace(['\r', '\n'], " ");
    Ok(match text {
        Cow::Borrowed(text) if !text.contains(['\r', '\n']) => {
            Datum::of_json(text.trim_matches([' ', '\t', '\r', '\n']))
        }
        other => match Datum::of_json(&flat(other.trim_matches([' ', '\t', '\r', '\n']))) {
            Datum::Nested(json) => Datum::Nested(json.into_owned().into()),
            Datum::Digits(text) => Datum::Digits(text.into_owned().into()),
            Datum::Text(text) => Datum::Text(text.into_owned().into()),
            Datum::Bool(b) => Datum::Bool(b),
            Datum::Int(int) => Datum::Int(int),
            _ => Datum::Null,
        },
    })
}

/// Parses a number of any notation into units of 10^-`scale`. Fails if it has more decimal places than `scale`, or more
/// than `precision` digits in all.
fn parse_scaled(text: &str, scale: u8, precision: u8) -> Result<i128, EvalError> {
    if Decimal::parse(text).is_none() {
        let marks = if may_have_marks(text) { OTHER_MARKS } else { "" };
        return Err(format!("cannot parse the text as a number{marks}").into());
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let negative = mantissa.starts_with('-');
    let (whole, fraction) = mantissa.trim_start_matches(['-', '+']).split_once('.').unwrap_or((mantissa, ""));
    let whole = whole.trim_start_matches(['-', '+']);
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    // Without leading and trailing zeros, so that `1.50` fits in one decimal place and `007` in one digit.
    let trimmed = significant.trim_end_matches('0');
    if trimmed.is_empty() {
        return Ok(0);
    }
    // Clamped: beyond 38 digits every exponent is out of range alike.
    let exponent: i64 = exponent.parse().unwrap_or(if exponent.starts_with('-') { -100_000 } else { 100_000 });
    let exponent = exponent.clamp(-100_000, 100_000);
    let shift = exponent - fraction.len() as i64 + (significant.len() - trimmed.len()) as i64 + i64::from(scale);
    if shift < 0 {
        let places = match scale {
            0 => "the number is not an integer".to_owned(),
            _ => format!("the number has more than {scale} decimal places"),
        };
        return Err(places.into());
    }
    // `shift` zeros follow the digits in the units of the type.
    if trimmed.len() as i64 + shift > i64::from(precision) {
        return Err(format!("the number has more than {} digits before the point", precision - scale).into());
    }
    let magnitude: i128 = trimmed.parse().map_err(|_| EvalError::from("the number has too many digits"))?;
    let value = magnitude * 10i128.pow(shift as u32);
    Ok(if negative { -value } else { value })
}

/// Parses `YYYY-MM-DD`, optionally followed by `T` or a space, `HH:MM`, `:SS`, `.fraction` of up to 9 digits, and `Z`
/// or an offset. `None` for other text and for dates that do not exist.
fn parse_date_time(text: &str) -> Option<DateTimeParts> {
    let bytes = text.as_bytes();
    let number = |at: usize, len: usize| -> Option<u32> {
        let digits = bytes.get(at..at + len)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0')))
    };
    if bytes.get(4) != Some(&b'-') || bytes.get(7) != Some(&b'-') {
        return None;
    }
    let date = NaiveDate::from_ymd_opt(number(0, 4)? as i32, number(5, 2)?, number(8, 2)?)?;
    let days = date.signed_duration_since(NaiveDate::default()).num_days() as i32;
    if bytes.len() == 10 {
        return Some(DateTimeParts { days, nanos_of_day: 0, offset: None });
    }
    if !matches!(bytes[10], b'T' | b't' | b' ') || bytes.get(13) != Some(&b':') {
        return None;
    }
    let (hour, minute) = (number(11, 2)?, number(14, 2)?);
    let mut at = 16;
    let mut second = 0;
    let mut nanos = 0u64;
    if bytes.get(at) == Some(&b':') {
        second = number(at + 1, 2)?;
        at += 3;
        if bytes.get(at) == Some(&b'.') {
            let len = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
            if !(1..=9).contains(&len) {
                return None;
            }
            nanos = u64::from(number(at + 1, len)?) * 10u64.pow(9 - len as u32);
            at += 1 + len;
        }
    }
    // Leap seconds and 24:00 are rejected: not every output can represent them.
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset = offset(text.get(at..)?)?;
    let seconds = u64::from(hour * 3600 + minute * 60 + second);
    Some(DateTimeParts { days, nanos_of_day: seconds * 1_000_000_000 + nanos, offset })
}

/// Converts a date and time into units since 1970; `zone` applies to text without an offset.
fn count(parts: DateTimeParts, unit: Unit, zone: Zone) -> Result<i128, EvalError> {
    let offset_seconds = match (parts.offset, zone) {
        (Some(_), Zone::Local) => return Err("cannot cast a time with an offset to a local timestamp".into()),
        (None, Zone::Local) => 0,
        (Some(offset), _) | (None, Zone::Offset(offset)) => offset,
    };
    let seconds = i128::from(parts.days) * 86_400 - i128::from(offset_seconds);
    let nanos = seconds * 1_000_000_000 + i128::from(parts.nanos_of_day);
    let per_unit = i128::from(1_000_000_000 / unit.per_second());
    if nanos % per_unit != 0 {
        return Err("the time is more precise than its unit; use timestamp(ns)".into());
    }
    Ok(nanos / per_unit)
}

/// Parses an ISO 8601 date and time into microseconds since 1970 in UTC; text without an offset is in UTC. `None` for
/// other text, and for times that are more precise.
pub fn parse_micros(text: &str) -> Option<i64> {
    let parts = parse_date_time(text.trim_ascii())?;
    i64::try_from(count(parts, Unit::Micros, Zone::Offset(0)).ok()?).ok()
}

/// Parses `YYYY-MM-DD` into days since 1970-01-01; `None` for other text.
pub fn parse_days(text: &str) -> Option<i32> {
    let text = text.trim_ascii();
    (text.len() == 10).then(|| parse_date_time(text).map(|parts| parts.days)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::expr::datum::CellForm;

    fn text(ty: CastType, value: &str) -> Result<String, String> {
        let cast = |value| ty.cast(value).map(|d| d.display_text().into_owned()).map_err(|error| error.to_string());
        let (as_text, as_cell) = (cast(Datum::Text(value.into())), cast(Datum::Cell(value, CellForm::Text)));
        if as_text.is_ok() {
            assert_eq!(as_text, as_cell, "{value}");
        }
        as_cell
    }

    #[test]
    fn numbers_keep_their_value_or_fail() {
        let int = |v| text(CastType::Int, v).ok();
        for (value, expected) in [
            ("12", Some("12")),
            (" 007 ", Some("7")),
            ("1e3", Some("1000")),
            ("1.0", Some("1")),
            ("-9223372036854775808", Some("-9223372036854775808")),
            ("9223372036854775808", None),
            ("1.5", None),
            ("", None),
            ("0x10", None),
            ("1e30", None),
        ] {
            assert_eq!(int(value).as_deref(), expected, "{value}");
        }
        for (value, message) in [
            ("1.5", "the number is not a 64-bit integer"),
            ("1e30", "the number is not a 64-bit integer"),
            ("0x10", "cannot cast text to int"),
        ] {
            assert_eq!(text(CastType::Int, value).unwrap_err(), message, "{value}");
        }
        let decimal = |v| text(CastType::Decimal { precision: 5, scale: 2 }, v).ok();
        for (value, expected) in [
            ("1", Some("1.00")),
            ("-0.1", Some("-0.10")),
            ("1.2e1", Some("12.00")),
            ("1e-2", Some("0.01")),
            ("0.010", Some("0.01")),
            ("999.99", Some("999.99")),
            ("1000", None),
            ("0.001", None),
            ("0e999999999999999999999", Some("0.00")),
            ("1e999999999999999999999", None),
            ("x", None),
        ] {
            assert_eq!(decimal(value).as_deref(), expected, "{value}");
        }
        for (value, message) in [
            ("1000", "the number has more than 3 digits before the point"),
            ("0.001", "the number has more than 2 decimal places"),
            ("x", "cannot parse the text as a number"),
        ] {
            assert_eq!(text(CastType::Decimal { precision: 5, scale: 2 }, value).unwrap_err(), message, "{value}");
        }
    }

    #[test]
    fn times_have_a_zone_a_unit_and_no_loss() {
        let time = |per_second, zone| CastType::Timestamp { format: None, per_second, zone };
        let utc = time(1_000_000, Zone::Offset(0));
        for (value, expected) in [
            ("2024-01-31T12:00:00Z", Some("2024-01-31T12:00:00Z")),
            ("2024-01-31 12:00:00.5+02:00", Some("2024-01-31T10:00:00.5Z")),
            ("2024-01-31T00:30-0130", Some("2024-01-31T02:00:00Z")),
            ("2024-01-31", Some("2024-01-31T00:00:00Z")),
            ("0001-01-01T00:00:00Z", Some("0001-01-01T00:00:00Z")),
            ("0001-01-01T00:00:00+01", None),
            ("2024-02-30", None),
            ("2024-01-31T24:00", None),
            ("2024-01-31T12:00:00.1234567Z", None),
            ("2024-01-31T12:00:00.1234560Z", Some("2024-01-31T12:00:00.123456Z")),
            ("yesterday", None),
        ] {
            assert_eq!(text(utc.clone(), value).ok().as_deref(), expected, "{value}");
        }
        assert_eq!(text(time(1, Zone::Offset(7200)), "2024-01-31 12:00").unwrap(), "2024-01-31T10:00:00Z");
        assert_eq!(text(time(1_000, Zone::Local), "2024-01-31 12:00").unwrap(), "2024-01-31T12:00:00");
        assert_eq!(
            text(time(1_000, Zone::Local), "2024-01-31 12:00Z").unwrap_err(),
            "cannot cast a time with an offset to a local timestamp"
        );
        assert_eq!(text(time(1, Zone::Offset(0)), "1706702400").unwrap(), "2024-01-31T12:00:00Z");
        assert_eq!(
            text(time(1_000_000_000, Zone::Offset(0)), "2300-01-01").unwrap_err(),
            "the timestamp is out of range for its unit",
            "beyond 64 bits of nanoseconds"
        );
        assert_eq!(text(utc.clone(), "yesterday").unwrap_err(), "cannot parse the text as a timestamp");
        assert_eq!(
            text(utc.clone(), "2024-01-31T12:00:00.1234567Z").unwrap_err(),
            "the time is more precise than its unit; use timestamp(ns)"
        );
        assert_eq!(text(CastType::Date { format: None }, "2024-02-29").unwrap(), "2024-02-29");
        assert_eq!(
            text(CastType::Date { format: None }, "2024-02-29T01:00:00").unwrap_err(),
            "cannot cast a time of day to date; use `substr(x, 1, 10)` to truncate it"
        );
        assert_eq!(text(CastType::Date { format: None }, "soon").unwrap_err(), "cannot parse the text as a date");
    }

    #[test]
    fn text_is_read_as_json_and_stays_on_one_line() {
        assert_eq!(text(CastType::Json, "{\"a\":\n1}").unwrap(), "{\"a\": 1}");
        assert_eq!(text(CastType::Json, " [1, 2] ").unwrap(), "[1, 2]");
        assert_eq!(text(CastType::Json, "\"x\"").unwrap(), "x");
        assert_eq!(text(CastType::Json, "{a}").unwrap_err(), "the text is not valid JSON");
    }
}
