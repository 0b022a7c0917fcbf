//! Values in the form in which manifests have them: the bounds of columns in bytes, and the values of partitions.

use chrono::{NaiveDate, NaiveDateTime};
use serde_json::{Value, json};

use super::avro::Avro;
use crate::column::{Fixed, MAX_PRECISION, Type, Unit};
use crate::format::parquet::Bound;

/// Characters of a text that are kept of a bound, as other writers do by default.
const MAX_CHARACTERS: usize = 16;

/// Returns a bound in bytes; `None` if it cannot be said.
pub(super) fn bound_bytes(bound: &Bound, ty: &Type, is_upper: bool) -> Option<Vec<u8>> {
    Some(match (bound, ty) {
        (Bound::Bool(value), Type::Bool) => vec![(*value).into()],
        (Bound::Int(value), Type::Int { .. }) => value.to_le_bytes().to_vec(),
        // Writers may leave the zero of either sign out of the bounds.
        (Bound::Double(value), Type::Float) if *value == 0.0 => {
            (if is_upper { 0.0f64 } else { -0.0 }).to_le_bytes().to_vec()
        }
        (Bound::Double(value), Type::Float) => value.to_le_bytes().to_vec(),
        (Bound::Int(value), Type::Fixed(Fixed::Date)) => i32::try_from(*value).ok()?.to_le_bytes().to_vec(),
        (Bound::Int(value), Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, .. })) => value.to_le_bytes().to_vec(),
        (Bound::Decimal(value), Type::Decimal | Type::Fixed(Fixed::Decimal { .. })) => shortest(*value),
        (Bound::Text(bytes), ty) if ty.is_text_like() => {
            let text = std::str::from_utf8(bytes).ok()?;
            let Some((end, _)) = text.char_indices().nth(MAX_CHARACTERS) else { return Some(bytes.clone()) };
            match is_upper {
                false => text.as_bytes()[..end].to_vec(),
                true => next_text(&text[..end])?.into_bytes(),
            }
        }
        _ => return None,
    })
}

/// Returns the least text that is greater than all that begin with `text`; `None` if there is none.
fn next_text(text: &str) -> Option<String> {
    let mut kept: Vec<char> = text.chars().collect();
    while let Some(last) = kept.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            char::MAX => None,
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            kept.push(next);
            return Some(kept.into_iter().collect());
        }
    }
    None
}

/// Returns the two's complement of a number in the fewest bytes, the highest first.
fn shortest(value: i128) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let fill = if value < 0 { 0xff } else { 0 };
    let is_needless = |i: usize| bytes[i] == fill && (bytes[i + 1] ^ fill) & 0x80 == 0;
    let start = (0..bytes.len() - 1).take_while(|i| is_needless(*i)).count();
    bytes[start..].to_vec()
}

/// Bytes of a decimal in a partition.
fn fixed_bytes(precision: u8) -> usize {
    // The least number of bytes that holds the greatest number of so many digits.
    let greatest = 10i128.pow(precision.into()) - 1;
    shortest(greatest).len()
}

fn digits(ty: &Type) -> Option<(u8, u8)> {
    match ty {
        Type::Decimal => Some((MAX_PRECISION, 0)),
        Type::Fixed(Fixed::Decimal { precision, scale }) => Some((*precision, *scale)),
        _ => None,
    }
}

/// Returns the Avro type of the values of a partition column of this type.
pub(super) fn partition_type(ty: &Type, field_id: i64) -> Value {
    match ty {
        Type::Bool => json!("boolean"),
        Type::Int { .. } => json!("long"),
        Type::Float => json!("double"),
        Type::Fixed(Fixed::Date) => json!({"type": "int", "logicalType": "date"}),
        Type::Fixed(Fixed::Timestamp { local, .. }) => {
            json!({"type": "long", "logicalType": "timestamp-micros", "adjust-to-utc": !local})
        }
        ty => match digits(ty) {
            Some((precision, scale)) => json!({"type": "fixed", "logicalType": "decimal", "precision": precision,
                "scale": scale, "size": fixed_bytes(precision), "name": format!("decimal_{field_id}")}),
            None => json!("string"),
        },
    }
}

/// The value of a partition column.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PartitionValue {
    /// The value in a manifest.
    pub(super) avro: Avro,
    /// The value as a bound; `None` for null and for NaN.
    pub(super) bound: Option<Bound>,
}

/// Reads the text of a value that names a partition; `None` if it is none of this type.
pub(super) fn partition_value(text: Option<&str>, ty: &Type) -> Option<PartitionValue> {
    let Some(text) = text else { return Some(PartitionValue { avro: Avro::Null, bound: None }) };
    let int = |value: i64| PartitionValue { avro: Avro::Int(value), bound: Some(Bound::Int(value)) };
    Some(match ty {
        Type::Bool => {
            let value = text.parse().ok()?;
            PartitionValue { avro: Avro::Bool(value), bound: Some(Bound::Bool(value)) }
        }
        Type::Int { .. } => int(text.parse().ok()?),
        Type::Float => {
            let value: f64 = text.parse().ok()?;
            PartitionValue { avro: Avro::Double(value), bound: (!value.is_nan()).then_some(Bound::Double(value)) }
        }
        Type::Fixed(Fixed::Date) => {
            let date: NaiveDate = text.parse().ok()?;
            int(date.signed_duration_since(NaiveDate::default()).num_days())
        }
        Type::Fixed(Fixed::Timestamp { .. }) => {
            let time: NaiveDateTime = text.trim_end_matches('Z').parse().ok()?;
            int(time.and_utc().timestamp_micros())
        }
        ty => match digits(ty) {
            Some((precision, scale)) => {
                let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
                let zeros = usize::from(scale).checked_sub(fraction.len())?;
                let value: i128 = format!("{whole}{fraction}{}", "0".repeat(zeros)).parse().ok()?;
                let size = fixed_bytes(precision);
                let bytes = value.to_be_bytes()[16usize.checked_sub(size)?..].to_vec();
                PartitionValue { avro: Avro::Bytes(bytes), bound: Some(Bound::Decimal(value)) }
            }
            None => {
                PartitionValue { avro: Avro::Text(text.to_owned()), bound: Some(Bound::Text(text.as_bytes().to_vec())) }
            }
        },
    })
}

/// Returns the bytes of a partition's value in the summary of a manifest, which are never cut.
pub(super) fn summary_bytes(bound: &Bound, ty: &Type) -> Option<Vec<u8>> {
    match bound {
        Bound::Text(bytes) => Some(bytes.clone()),
        bound => bound_bytes(bound, ty, false),
    }
}

/// Returns a name as a name of Avro, in the way of other writers.
pub(super) fn avro_name(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        match c {
            c if c.is_ascii_alphabetic() || c == '_' => out.push(c),
            c if c.is_ascii_digit() && i > 0 => out.push(c),
            c if c.is_ascii_digit() => out.extend(['_', c]),
            c => out.push_str(&format!("_x{:X}", u32::from(c))),
        }
    }
    out
}

/// Returns two names that are the same as names of Avro, so that a manifest cannot have both; `None` if there are none.
pub(super) fn same_avro_names<'a>(names: impl Iterator<Item = &'a str>) -> Option<(&'a str, &'a str)> {
    let mut seen = std::collections::BTreeMap::new();
    for name in names {
        if let Some(other) = seen.insert(avro_name(name), name) {
            return Some((other, name));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_in_the_bytes_of_the_specification() {
        let of = |bound: Bound, ty: Type, is_upper| bound_bytes(&bound, &ty, is_upper);
        let int = Type::Int { fits_double: true };
        assert_eq!(of(Bound::Int(-2), int, false).unwrap(), (-2i64).to_le_bytes());
        assert_eq!(of(Bound::Int(1), Type::Fixed(Fixed::Date), false).unwrap(), [1, 0, 0, 0]);
        for (value, bytes) in
            [(0, vec![0]), (127, vec![127]), (128, vec![0, 128]), (-128, vec![128]), (-129, vec![255, 127])]
        {
            assert_eq!(of(Bound::Decimal(value), Type::Decimal, false).unwrap(), bytes, "{value}");
        }
        let text = |text: &str, is_upper| of(Bound::Text(text.as_bytes().to_vec()), Type::Text, is_upper);
        let long = "é".repeat(20);
        assert_eq!(text(&long, false).unwrap(), "é".repeat(16).as_bytes());
        assert_eq!(text(&long, true).unwrap(), format!("{}ê", "é".repeat(15)).as_bytes());
        assert_eq!(text(&long[..32], true).unwrap(), &long.as_bytes()[..32]);
        assert_eq!(text(&char::MAX.to_string().repeat(20), true), None);
        let tail = format!("a{}", char::MAX.to_string().repeat(20));
        assert_eq!(text(&tail, true).unwrap(), b"b");
        assert_eq!(of(Bound::Text(vec![0xff]), Type::Text, true), None);
    }

    #[test]
    fn partitions_have_the_values_of_their_columns() {
        let value = |text: &str, ty: &Type| partition_value(Some(text), ty).map(|value| value.avro);
        let time = |local| Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local });
        let money = Type::Fixed(Fixed::Decimal { precision: 4, scale: 2 });
        assert_eq!(value("-7", &Type::Int { fits_double: true }), Some(Avro::Int(-7)));
        assert_eq!(value("1969-12-31", &Type::Fixed(Fixed::Date)), Some(Avro::Int(-1)));
        assert_eq!(value("1970-01-01T00:00:01.5Z", &time(false)), Some(Avro::Int(1_500_000)));
        assert_eq!(value("1970-01-01T00:00:00.000001", &time(true)), Some(Avro::Int(1)));
        assert_eq!(value("-1.5", &money), Some(Avro::Bytes(vec![0xff, 0x6a])));
        assert_eq!(value("", &Type::Text), Some(Avro::Text(String::new())));
        assert_eq!(value("x", &Type::Bool), None);
        assert_eq!(partition_value(None, &Type::Text).unwrap().avro, Avro::Null);
        assert_eq!(fixed_bytes(38), 16);
        assert_eq!(same_avro_names(["é", "x", "_xE9"].into_iter()), Some(("é", "_xE9")));
        assert_eq!(same_avro_names(["é", "x", "_xe9"].into_iter()), None);
        assert_eq!([avro_name("a b"), avro_name("1x"), avro_name("ok_1")], ["a_x20b", "_1x", "ok_1"]);
    }
}
