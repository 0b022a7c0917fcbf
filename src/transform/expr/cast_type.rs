//! Target types of casts, their spelling in expressions, and their column types.

use std::fmt;
use std::sync::Arc;

use super::number_format::NumberFormat;
use super::time_format::TimeFormat;
use crate::column::{Fixed, Type, Unit};

/// Target type of a cast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CastType {
    /// 64-bit signed integers.
    Int,
    /// 64-bit floating-point numbers.
    Float,
    /// Booleans, `true` and `false`.
    Bool,
    /// UTF-8 text of any value.
    Text,
    /// Values parsed from JSON text.
    Json,
    /// Dates.
    Date {
        /// Format of the text; `None` for `YYYY-MM-DD`.
        format: Option<Arc<TimeFormat>>,
    },
    /// Timestamps, from text or from an integer of units since 1970.
    Timestamp {
        /// Format of the text; `None` for ISO 8601. With a format, no integers are taken.
        format: Option<Arc<TimeFormat>>,
        /// Units per second of numeric input. Seconds are stored as milliseconds.
        per_second: i64,
        /// Zone of text without an offset.
        zone: Zone,
    },
    /// Numbers with the digits and of the types that JSON numbers would have.
    Number(NumberFormat),
    /// Fixed-point decimals.
    Decimal {
        /// Total number of digits, 1 to 38.
        precision: u8,
        /// Digits after the decimal point, at most `precision`.
        scale: u8,
    },
}

/// Time zone of timestamps that do not name one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zone {
    /// Seconds ahead of UTC.
    Offset(i32),
    /// Unknown: timestamps have no zone, and text with an offset is rejected.
    Local,
}

/// Hint that lists the supported types.
pub(super) const KNOWN_TYPES: &str = "the supported types are int, float, bool, string, json, date('%d/%m/%Y'), timestamp(s|ms|us|ns, utc|local|'+02:00', '%d/%m/%Y %H:%M'), number(',', '.') and decimal(P,S)";

impl CastType {
    /// Returns the column type of its values; for numbers, which are of several types, the one that holds most of them.
    pub fn ty(&self) -> Type {
        match self {
            CastType::Int => Type::Int { fits_double: true },
            CastType::Float => Type::Float,
            CastType::Bool => Type::Bool,
            CastType::Text => Type::Text,
            CastType::Json => Type::Json,
            CastType::Date { .. } => Type::Fixed(Fixed::Date),
            CastType::Timestamp { per_second, zone, .. } => {
                Type::Fixed(Fixed::Timestamp { unit: unit(*per_second), local: *zone == Zone::Local })
            }
            CastType::Number(_) => Type::Float,
            CastType::Decimal { precision, scale } => {
                Type::Fixed(Fixed::Decimal { precision: *precision, scale: *scale })
            }
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
            CastType::Date { format: None } => f.write_str("date"),
            CastType::Date { format: Some(format) } => write!(f, "date('{format}')"),
            CastType::Number(format) => write!(f, "number({format})"),
            CastType::Timestamp { .. } | CastType::Decimal { .. } => self.ty().fmt(f),
        }
    }
}

/// Returns the unit in which timestamps of `per_second` are stored.
pub(super) fn unit(per_second: i64) -> Unit {
    match per_second {
        1_000_000_000 => Unit::Nanos,
        1_000_000 => Unit::Micros,
        _ => Unit::Millis,
    }
}
