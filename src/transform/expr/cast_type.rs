//! Types to cast to, as they are written.

use std::fmt;

use crate::column::{Fixed, Type, Unit};

/// A type to cast to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CastType {
    /// 64-bit integers.
    Int,
    /// Doubles.
    Float,
    /// true and false.
    Bool,
    /// Text.
    Text,
    /// The value that a text says as JSON.
    Json,
    /// `YYYY-MM-DD`.
    Date,
    /// Times, as ISO 8601 has them or as a number of units since 1970.
    Timestamp {
        /// Units in a second, of numbers. Seconds are kept as milliseconds.
        per_second: i64,
        /// What a time without an offset means.
        zone: Zone,
    },
    /// Decimals.
    Decimal {
        /// Digits in all, 1 to 38.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
}

/// Where a clock stands that does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// So many seconds ahead of UTC.
    Offset(i32),
    /// Unknown: times stay without a zone, and those with one do not fit.
    Local,
}

/// What is known of types, for messages.
pub const KNOWN_TYPES: &str =
    "the types are int, float, bool, string, json, date, timestamp(s|ms|us|ns, utc|local|'+02:00') and decimal(P,S)";

impl CastType {
    /// The column type of its values.
    pub fn ty(self) -> Type {
        match self {
            CastType::Int => Type::Int { fits_double: true },
            CastType::Float => Type::Float,
            CastType::Bool => Type::Bool,
            CastType::Text => Type::Text,
            CastType::Json => Type::Json,
            CastType::Date => Type::Fixed(Fixed::Date),
            CastType::Timestamp { per_second, zone } => {
                Type::Fixed(Fixed::Timestamp { unit: unit(per_second), local: zone == Zone::Local })
            }
            CastType::Decimal { precision, scale } => Type::Fixed(Fixed::Decimal { precision, scale }),
        }
    }
}

impl fmt::Display for CastType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CastType::Int => f.write_str("int"),
            CastType::Float => f.write_str("float"),
            CastType::Bool => f.write_str("bool"),
            CastType::Text => f.write_str("string"),
            CastType::Json => f.write_str("json"),
            CastType::Date => f.write_str("date"),
            CastType::Timestamp { .. } | CastType::Decimal { .. } => self.ty().fmt(f),
        }
    }
}

/// The unit in which times of this scale are kept.
pub(super) fn unit(per_second: i64) -> Unit {
    match per_second {
        1_000_000_000 => Unit::Nanos,
        1_000_000 => Unit::Micros,
        _ => Unit::Millis,
    }
}

/// Seconds ahead of UTC that `Z`, `+02`, `+02:00` or `+0200` says; nothing says nothing.
pub(super) fn offset(text: &str) -> Option<Option<i32>> {
    let (sign, rest) = match text.as_bytes() {
        [] => return Some(None),
        [b'Z' | b'z'] => return Some(Some(0)),
        [b'+', ..] => (1, &text[1..]),
        [b'-', ..] => (-1, &text[1..]),
        _ => return None,
    };
    let digits: String = match rest.len() {
        5 if rest.as_bytes()[2] == b':' => rest.replacen(':', "", 1),
        2 => format!("{rest}00"),
        4 => rest.to_owned(),
        _ => return None,
    };
    if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (hours < 24 && minutes < 60).then_some(Some(sign * (hours * 3600 + minutes * 60)))
}
