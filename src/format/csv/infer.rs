//! Type inference for the values of a CSV column: the narrowest type in which no value loses a digit, else text. Whether
//! numbers are doubles or decimals stays open until all values are known; see
//! [`crate::format::number`]. Nulls have no part in it; the caller leaves them out.

use crate::column::{Digits, Type, TypeMerge};
use crate::format::number;

/// The set of kinds of values that a column has so far, one bit each, and the digits of its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kinds {
    bits: u8,
    /// Digits of the numbers of kind [`NUMBER`]; `None` without any.
    digits: Option<Digits>,
}

const BOOL: u8 = 1;
const INT: u8 = 2;
const LONG_INT: u8 = 4;
const NUMBER: u8 = 8;
const TEXT: u8 = 16;

const KINDS: [(u8, Type); 4] = [
    (BOOL, Type::Bool),
    (INT, Type::Int { fits_double: true }),
    (LONG_INT, Type::Int { fits_double: false }),
    (TEXT, Type::Text),
];

impl Kinds {
    /// Adds a value that is not null. Its quotes may still be doubled: it is text either way.
    #[inline]
    pub(super) fn note(&mut self, value: &[u8]) {
        if self.bits & TEXT == 0 {
            let kind = kind(value);
            self.bits |= kind;
            if kind == NUMBER {
                let digits = digits(value);
                self.digits = Some(self.digits.map_or(digits, |all| all.join(digits)));
            }
        }
    }

    /// Returns the type that holds all values; [`Type::Null`] if there were none.
    pub(super) fn to_type(self) -> Type {
        let numbers = self.digits.map_or(Type::Null, Type::Number);
        KINDS
            .iter()
            .filter(|(bit, _)| self.bits & bit != 0)
            .fold(numbers, |ty, (_, kind)| ty.join(kind, TypeMerge::Text))
    }
}

/// Infers the type of one value that is not null.
pub(super) fn type_of(value: &[u8]) -> Type {
    let mut kinds = Kinds::default();
    kinds.note(value);
    kinds.to_type()
}

/// Parses a boolean as JSON or Python spells it; `None` for other text.
#[inline]
pub(super) fn parse_bool(value: &[u8]) -> Option<bool> {
    match value {
        b"true" | b"True" => Some(true),
        b"false" | b"False" => Some(false),
        _ => None,
    }
}

/// Returns true for a value of a numeric type.
pub(super) fn is_number(value: &[u8]) -> bool {
    kind(value) & (BOOL | TEXT) == 0
}

/// Returns the digits before and after the point that a column of decimals needs for this value: for an integer those of
/// its type. `None` for other text and for numbers of which no decimal is made.
pub(super) fn digits_of_number(value: &[u8]) -> Option<(u8, u8)> {
    match number::parse_int(value) {
        Some(int) => {
            let ty = Type::Int { fits_double: number::fits_double(int) };
            ty.digits().map(|digits| (digits.integer, digits.scale))
        }
        None => Some(digits(value)).filter(|digits| digits.integer < Digits::UNKNOWN).map(|d| (d.integer, d.scale)),
    }
}

/// Returns the digits of a number of kind [`NUMBER`].
fn digits(value: &[u8]) -> Digits {
    let exceeds_double = number::parse_float(value).is_none();
    match number::plain_digits(value) {
        // No integer is -0, and a decimal without a fraction is one.
        Some((integer, scale)) if value != b"-0" => Digits { integer, scale, exceeds_double },
        _ => Digits { integer: Digits::UNKNOWN, scale: 0, exceeds_double },
    }
}

fn kind(value: &[u8]) -> u8 {
    match value.first() {
        Some(b'-' | b'0'..=b'9') => match number::parse_int(value) {
            Some(value) if number::fits_double(value) => INT,
            Some(_) => LONG_INT,
            None if number::parse_float(value).is_some() || number::plain_digits(value).is_some() => NUMBER,
            None => TEXT,
        },
        Some(b't' | b'f' | b'T' | b'F') if parse_bool(value).is_some() => BOOL,
        _ => TEXT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Fixed;

    fn of(values: &[&str]) -> Type {
        let mut kinds = Kinds::default();
        values.iter().for_each(|value| kinds.note(value.as_bytes()));
        kinds.to_type().resolved()
    }

    #[test]
    fn a_column_has_a_type_only_if_every_value_has_it() {
        let int = Type::Int { fits_double: true };
        let long = Type::Int { fits_double: false };
        assert_eq!(of(&[]), Type::Null);
        assert_eq!(of(&["1", "-20"]), int);
        assert_eq!(of(&["1", "9007199254740993"]), long);
        assert_eq!(of(&["1", "9223372036854775808"]), Type::Decimal);
        assert_eq!(of(&["1", "1.5"]), Type::Float);
        assert_eq!(of(&["1e-05", "1e+16"]), Type::Float);
        let decimal = |precision, scale| Type::Fixed(Fixed::Decimal { precision, scale });
        assert_eq!(of(&["9007199254740993", "1.5"]), decimal(20, 1));
        assert_eq!(of(&["12345678901234567890", "1.5"]), decimal(21, 1));
        assert_eq!(of(&["0.1000000000000000055"]), decimal(19, 19));
        assert_eq!(of(&["12345678901234567.25", "1e5"]), Type::Text);
        assert_eq!(of(&["true", "False"]), Type::Bool);
        assert_eq!(of(&["true", "1"]), Type::Text);
        assert_eq!(of(&["10.50", "9.99", "7", "1e3", "-0"]), Type::Float);
        assert_eq!(of(&["10.50", "12345678901234567.25"]), decimal(19, 2));
        for text in ["007", "+4", "+47", "007.50", " 1", "TRUE", "nan", "", "1,5", "2024-01-01", "t"] {
            assert_eq!(of(&["1", text]), Type::Text, "{text:?}");
            assert_eq!(type_of(text.as_bytes()), Type::Text, "{text:?}");
        }
    }
}
