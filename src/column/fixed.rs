//! Types that JSON has no spelling for: dates, timestamps, decimals with a fraction. They are never inferred; a column
//! has one only after a step has cast to it. Here are their arrays and their text, not the parsing.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
};
use arrow_array::{
    Array, ArrayRef, Date32Array, Decimal128Array, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray,
};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::{DataType, TimeUnit};
use chrono::{DateTime, Datelike, Timelike};

/// A type that only a cast makes. Its values are integers: days, units of time, or units of the last decimal place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// Calendar date, in days since 1970-01-01.
    Date,
    /// Point in time, in units since 1970-01-01T00:00:00.
    Timestamp {
        /// Unit of the count.
        unit: Unit,
        /// True for local time without a time zone, false for an instant in UTC.
        local: bool,
    },
    /// Decimal number of fixed scale.
    Decimal {
        /// Significant digits, 1 to 38.
        precision: u8,
        /// Digits after the decimal point.
        scale: u8,
    },
}

/// The resolution of a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds, 1,000 per second.
    Millis,
    /// Microseconds, 1,000,000 per second.
    Micros,
    /// Nanoseconds, 1,000,000,000 per second.
    Nanos,
}

impl Unit {
    /// Returns the number of units per second.
    pub fn per_second(self) -> i64 {
        match self {
            Unit::Millis => 1_000,
            Unit::Micros => 1_000_000,
            Unit::Nanos => 1_000_000_000,
        }
    }
}

impl Fixed {
    /// Returns the Arrow type that carries this type.
    pub fn to_arrow(self) -> DataType {
        match self {
            Fixed::Date => DataType::Date32,
            Fixed::Timestamp { unit, local } => {
                let unit = match unit {
                    Unit::Millis => TimeUnit::Millisecond,
                    Unit::Micros => TimeUnit::Microsecond,
                    Unit::Nanos => TimeUnit::Nanosecond,
                };
                DataType::Timestamp(unit, (!local).then(|| "UTC".into()))
            }
            Fixed::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
        }
    }

    /// Makes an array of `values`, which must be within the type's bounds: larger ones would be cut to 32 or 64 bits.
    pub fn array(self, values: Vec<i128>, nulls: Option<NullBuffer>) -> ArrayRef {
        let longs = |values: Vec<i128>| values.into_iter().map(|v| v as i64).collect::<ScalarBuffer<i64>>();
        match self {
            Fixed::Date => {
                let days = values.into_iter().map(|v| v as i32).collect();
                Arc::new(Date32Array::new(days, nulls))
            }
            Fixed::Timestamp { unit, local } => {
                let zone: Option<Arc<str>> = (!local).then(|| "UTC".into());
                match unit {
                    Unit::Millis => {
                        Arc::new(TimestampMillisecondArray::new(longs(values), nulls).with_timezone_opt(zone))
                    }
                    Unit::Micros => {
                        Arc::new(TimestampMicrosecondArray::new(longs(values), nulls).with_timezone_opt(zone))
                    }
                    Unit::Nanos => {
                        Arc::new(TimestampNanosecondArray::new(longs(values), nulls).with_timezone_opt(zone))
                    }
                }
            }
            Fixed::Decimal { precision, scale } => {
                let array = Decimal128Array::new(values.into(), nulls);
                let array = array.with_precision_and_scale(precision, scale as i8);
                Arc::new(array.expect("casts keep to 38 digits"))
            }
        }
    }

    /// Returns the value at `row` of an array that carries this type; unspecified for a null.
    pub fn value(self, array: &dyn Array, row: usize) -> i128 {
        match self {
            Fixed::Date => array.as_primitive::<Date32Type>().value(row).into(),
            Fixed::Decimal { .. } => array.as_primitive::<Decimal128Type>().value(row),
            Fixed::Timestamp { unit: Unit::Millis, .. } => {
                array.as_primitive::<TimestampMillisecondType>().value(row).into()
            }
            Fixed::Timestamp { unit: Unit::Micros, .. } => {
                array.as_primitive::<TimestampMicrosecondType>().value(row).into()
            }
            Fixed::Timestamp { unit: Unit::Nanos, .. } => {
                array.as_primitive::<TimestampNanosecondType>().value(row).into()
            }
        }
    }

    /// Returns true for types whose values JSON spells as numbers, without quotes.
    pub fn is_number(self) -> bool {
        matches!(self, Fixed::Decimal { .. })
    }

    /// Appends the text of a value: `2024-01-31`, `2024-01-31T12:00:00.5Z` (without the `Z` where the zone is not
    /// known), `-12.50`.
    pub fn write(self, value: i128, out: &mut Vec<u8>) {
        match self {
            Fixed::Date => {
                let days = DateTime::UNIX_EPOCH.date_naive().checked_add_signed(chrono::TimeDelta::days(value as i64));
                let date = days.expect("casts make dates of the calendar");
                out.extend_from_slice(format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day()).as_bytes());
            }
            Fixed::Timestamp { unit, local } => {
                // Euclidean division: a point before 1970 has a positive fraction of its second.
                let per_second = unit.per_second();
                let (seconds, part) = ((value as i64).div_euclid(per_second), (value as i64).rem_euclid(per_second));
                let nanos = (part * (1_000_000_000 / per_second)) as u32;
                let time = DateTime::from_timestamp(seconds, nanos).expect("casts make times of the calendar");
                let (date, clock) = (time.date_naive(), time.time());
                let text = format!(
                    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
                    date.year(),
                    date.month(),
                    date.day(),
                    clock.hour(),
                    clock.minute(),
                    clock.second()
                );
                out.extend_from_slice(text.as_bytes());
                if nanos > 0 {
                    let fraction = format!("{nanos:09}");
                    out.push(b'.');
                    out.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
                }
                if !local {
                    out.push(b'Z');
                }
            }
            Fixed::Decimal { scale, .. } => {
                // Padded to one digit before the point.
                let digits = format!("{:0>width$}", value.unsigned_abs(), width = usize::from(scale) + 1);
                let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
                if value < 0 {
                    out.push(b'-');
                }
                out.extend_from_slice(whole.as_bytes());
                if scale > 0 {
                    out.push(b'.');
                    out.extend_from_slice(fraction.as_bytes());
                }
            }
        }
    }

    /// Appends a value as JSON: decimals as numbers, the others as strings of their text.
    pub fn write_json(self, value: i128, out: &mut Vec<u8>) {
        if self.is_number() {
            return self.write(value, out);
        }
        out.push(b'"');
        self.write(value, out);
        out.push(b'"');
    }
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fixed::Date => f.write_str("date"),
            Fixed::Timestamp { unit, local } => {
                let unit = match unit {
                    Unit::Millis => "ms",
                    Unit::Micros => "us",
                    Unit::Nanos => "ns",
                };
                write!(f, "timestamp({unit}{})", if *local { ", local" } else { "" })
            }
            Fixed::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_their_text() {
        let text = |fixed: Fixed, value| {
            let array = fixed.array(vec![value], None);
            assert_eq!(array.data_type(), &fixed.to_arrow());
            let mut out = Vec::new();
            fixed.write(fixed.value(&array, 0), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(Fixed::Date, -1), "1969-12-31");
        assert_eq!(text(Fixed::Date, 19_782), "2024-02-29");
        let time = |unit, local| Fixed::Timestamp { unit, local };
        assert_eq!(text(time(Unit::Millis, false), -1), "1969-12-31T23:59:59.999Z");
        assert_eq!(text(time(Unit::Micros, true), 1_500_000), "1970-01-01T00:00:01.5");
        assert_eq!(text(time(Unit::Nanos, false), 1), "1970-01-01T00:00:00.000000001Z");
        let decimal = |precision, scale| Fixed::Decimal { precision, scale };
        assert_eq!(text(decimal(10, 2), -5), "-0.05");
        assert_eq!(text(decimal(10, 0), 120), "120");
        assert_eq!(text(decimal(38, 2), 1234), "12.34");
    }
}
