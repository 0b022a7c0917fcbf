//! The text forms of numbers: the canonical one, in which they are written, and those in which cells of CSV are numbers.
//!
//! The canonical form of a double is that of Python's `repr` and of its JSON: the fewest digits that parse to the same
//! double, plain from 0.0001 up to below 1e16, else with a signed exponent of at least two digits.
//!
//! A cell is a number if it is one in JSON's grammar, so that `007` and `+4` stay text, and if the column's type loses no
//! digit of it: an integer of up to 38 digits, or a double of at most 15 significant digits, zeros at the end aside, such as
//! `10.50`. Longer ones are doubles in canonical form alone, as Python writes them; they parse to the double that was
//! written. Others without an exponent are decimals of up to 38 digits; the rest stays text, digit for digit.

/// The largest integer up to which a double holds every integer exactly: 2^53.
pub const MAX_EXACT_IN_DOUBLE: u64 = 1 << 53;

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Appends `value` in canonical form; `nan`, `inf` and `-inf` if it is not finite.
pub fn write_float(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        let text: &[u8] = match value {
            v if v.is_nan() => b"nan",
            v if v > 0.0 => b"inf",
            _ => b"-inf",
        };
        return out.extend_from_slice(text);
    }
    let mut buffer = ryu::Buffer::new();
    let text = buffer.format_finite(value);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    if let Some((mantissa, exponent)) = digits.split_once('e') {
        // ryu writes `1.5e-7` and `1e300`.
        out.extend_from_slice(sign.as_bytes());
        out.extend_from_slice(mantissa.as_bytes());
        let (exponent_sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => (b'-', exponent),
            None => (b'+', exponent),
        };
        write_exponent(exponent_sign, exponent.as_bytes(), out);
    } else if let Some(significant) = digits.strip_prefix("0.0000") {
        // ryu writes `0.0000125` for 1.25e-05; the first digit is not zero.
        out.extend_from_slice(sign.as_bytes());
        let (first, rest) = significant.as_bytes().split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        write_exponent(b'-', b"5", out);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

fn write_exponent(sign: u8, digits: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'e', sign]);
    if digits.len() < 2 {
        out.push(b'0');
    }
    out.extend_from_slice(digits);
}

/// Parses an integer in canonical form: no plus sign, no leading zeros, no `-0`, within 64 bits.
/// `None` for any other text.
#[inline]
pub fn parse_int(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!negative).then_some(0),
        [b'0', ..] => return None,
        _ if digits.len() > 19 => return None,
        _ => {}
    }
    // Nineteen digits fit into an unsigned 64-bit integer, so that nothing overflows here.
    let mut magnitude = 0u64;
    for &b in digits {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// Parses an integer of up to 38 digits in canonical form. `None` for any other text.
pub fn parse_decimal(text: &[u8]) -> Option<i128> {
    if let Some(value) = parse_int(text) {
        return Some(value.into());
    }
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !(1..=38).contains(&digits.len()) || digits[0] == b'0' || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Counts the digits before and after the point of a number in JSON's grammar without an exponent, zeros included. `None` for
/// any other text, and for more than 38 digits in all.
pub fn plain_digits(text: &[u8]) -> Option<(u8, u8)> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let point = memchr::memchr(b'.', unsigned);
    let (integer, fraction) = unsigned.split_at(point.unwrap_or(unsigned.len()));
    let fraction = fraction.strip_prefix(b".").unwrap_or_default();
    let is_integer = matches!(integer, [b'0'] | [b'1'..=b'9', ..]) && integer.iter().all(u8::is_ascii_digit);
    let is_fraction = fraction.iter().all(u8::is_ascii_digit) && (point.is_none() || !fraction.is_empty());
    // The zero before a point is no digit of the value.
    let integer_len = if integer == b"0" { 0 } else { integer.len() };
    let fits = is_integer && is_fraction && integer_len + fraction.len() <= 38;
    fits.then_some((integer_len as u8, fraction.len() as u8))
}

/// Parses a number as [`plain_digits`] counts them, in units of the last of `scale` places; zeros behind those are dropped.
/// `None` for other text and for a number that needs more places or more than `precision` digits.
pub fn parse_scaled(text: &[u8], precision: u8, scale: u8) -> Option<i128> {
    plain_digits(text)?;
    let (negative, unsigned) = match text {
        [b'-', unsigned @ ..] => (true, unsigned),
        unsigned => (false, unsigned),
    };
    let (integer, fraction) = match memchr::memchr(b'.', unsigned) {
        Some(point) => (&unsigned[..point], &unsigned[point + 1..]),
        None => (unsigned, &[][..]),
    };
    let (kept, dropped) = fraction.split_at(fraction.len().min(scale.into()));
    if dropped.iter().any(|&digit| digit != b'0') {
        return None;
    }
    // At most 38 digits and as many zeros: checked, as 10^38 does not fit twice.
    let zeros = std::iter::repeat_n(&b'0', usize::from(scale) - kept.len());
    let mut digits = integer.iter().chain(kept).chain(zeros);
    let value = digits.try_fold(0i128, |value, digit| value.checked_mul(10)?.checked_add((digit - b'0').into()))?;
    (value < 10i128.pow(precision.into())).then_some(if negative { -value } else { value })
}

/// Returns true if a double holds this integer and all of smaller magnitude exactly.
#[inline]
pub fn fits_double(value: i64) -> bool {
    value.unsigned_abs() <= MAX_EXACT_IN_DOUBLE
}

/// Parses a number with a fraction or an exponent, in JSON's grammar, of at most 15 significant digits or in canonical
/// form. `None` for any other text, integers other than `-0` included.
///
/// The simple algorithm: check the grammar, count the digits, parse with the standard library. `parse_long` does that;
/// most numbers do not need it, because `parse_plain` decides first.
#[inline]
pub fn parse_float(text: &[u8]) -> Option<f64> {
    match parse_plain(text) {
        Plain::Number(value) => Some(value),
        Plain::Text => None,
        Plain::Undecided => parse_long(text),
    }
}

/// The result of [`parse_plain`].
enum Plain {
    /// A number that a double holds.
    Number(f64),
    /// Not a number.
    Text,
    /// Too many digits or an exponent: [`parse_long`] decides.
    Undecided,
}

/// Decides by the digits alone, for up to 15 of them without an exponent.
///
/// No digit is lost: every decimal of up to 15 significant digits survives the conversion to a double and back. The value
/// is right without a general parser: the digits are an integer below 10^15 < 2^53 and the power of ten is at most 10^15,
/// both exact in a double, so that the division rounds once, as the correct result is rounded.
#[inline]
fn parse_plain(text: &[u8]) -> Plain {
    let (negative, unsigned) = match text {
        [b'-', unsigned @ ..] => (true, unsigned),
        unsigned => (false, unsigned),
    };
    let mut digits = 0u64;
    let mut point = None;
    // Fifteen digits and the point.
    if unsigned.len() > 16 {
        return Plain::Undecided;
    }
    for (i, &b) in unsigned.iter().enumerate() {
        let digit = b.wrapping_sub(b'0');
        if digit <= 9 {
            digits = digits * 10 + u64::from(digit);
        } else if b == b'.' && point.is_none() {
            point = Some(i);
        } else if i > 0 && (b | 0x20) == b'e' {
            return Plain::Undecided;
        } else {
            return Plain::Text;
        }
    }
    // Without a point the number is an integer, which `parse_int` takes, but for the one that is no integer of 64 bits.
    let Some(point) = point else { return if text == b"-0" { Plain::Number(-0.0) } else { Plain::Text } };
    let fraction = &unsigned[point + 1..];
    if let ([], _) | (_, []) | ([b'0', _, ..], _) = (&unsigned[..point], fraction) {
        return Plain::Text;
    }
    let value = digits as f64 / EXACT_POWERS[fraction.len()];
    Plain::Number(if negative { -value } else { value })
}

/// Decides for texts that are too long for [`parse_plain`] or have an exponent.
#[cold]
fn parse_long(text: &[u8]) -> Option<f64> {
    let significant = significant_digits(text)?;
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    // Subnormal doubles hold fewer digits, and what is beyond all doubles becomes zero or infinite.
    if significant <= 15 && (significant == 0 || value.is_normal()) {
        return Some(value);
    }
    // The longest canonical form: -2.2250738585072014e-308.
    if text.len() > 24 {
        return None;
    }
    let mut back = Vec::with_capacity(24);
    write_float(value, &mut back);
    (back == text).then_some(value)
}

/// Counts the digits of a number with a fraction or an exponent without zeros at the start and the end. `None` for an
/// integer, and for text that is not a number in JSON's grammar.
fn significant_digits(text: &[u8]) -> Option<usize> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let digits_of = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (integer, rest) = unsigned.split_at(digits_of(unsigned));
    if integer.is_empty() || (integer[0] == b'0' && integer.len() > 1) {
        return None;
    }
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => rest.split_at(digits_of(rest)),
        rest => (&[][..], rest),
    };
    let has_point = unsigned.len() > integer.len() + rest.len();
    if has_point && fraction.is_empty() {
        return None;
    }
    match rest {
        [] if has_point => {}
        [b'e' | b'E', exponent @ ..] => {
            let exponent = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
            if exponent.is_empty() || digits_of(exponent) < exponent.len() {
                return None;
            }
        }
        _ => return None,
    }
    // Counts up to the last digit that is not zero, from the first one.
    let count = |(all, to_last): (usize, usize), digit: &u8| match digit {
        b'0' if all == 0 => (0, 0),
        b'0' => (all + 1, to_last),
        _ => (all + 1, all + 1),
    };
    Some(integer.iter().chain(fraction).fold((0, 0), count).1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        write_float(value, &mut out);
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn doubles_are_written_as_python_does() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (1.5, "1.5"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (0.00001, "1e-05"),
            (-0.0000125, "-1.25e-05"),
            (0.000001, "1e-06"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1234567890123456.0, "1234567890123456.0"),
            (1e16, "1e+16"),
            (1.2345678901234567e16, "1.2345678901234568e+16"),
            (1e100, "1e+100"),
            (2.5e-308, "2.5e-308"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(written(value), text);
        }
    }

    #[test]
    fn only_the_canonical_form_is_an_integer() {
        for text in ["", "-", "+1", "01", "00", "-0", "1 ", " 1", "1_0", "9223372036854775808", "1.0", "1e2", "٣"] {
            assert_eq!(parse_int(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_int(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_int(b"9223372036854775807"), Some(i64::MAX));
        assert_eq!(parse_decimal(b"9223372036854775808"), Some(9223372036854775808));
        assert_eq!(parse_decimal("9".repeat(38).as_bytes()), Some(10i128.pow(38) - 1));
        assert_eq!(parse_decimal("9".repeat(39).as_bytes()), None);
        assert_eq!(parse_decimal(b"-09223372036854775808"), None);
    }

    #[test]
    fn decimals_have_digits_and_places() {
        for (text, digits) in [
            ("10.50", Some((2, 2))),
            ("-0.001", Some((0, 3))),
            ("0", Some((0, 0))),
            ("12345678901234567.25", Some((17, 2))),
            ("00.5", None),
            ("1.", None),
            (".5", None),
            ("1e5", None),
            ("+1", None),
            ("-", None),
            ("", None),
            ("1.2.3", None),
        ] {
            assert_eq!(plain_digits(text.as_bytes()), digits, "{text}");
        }
        let long = "9".repeat(39);
        assert_eq!((plain_digits(long.as_bytes()), plain_digits(&long.as_bytes()[1..])), (None, Some((38, 0))));
        for (text, precision, scale, value) in [
            ("10.5", 19, 2, Some(1050)),
            ("-10.50", 19, 2, Some(-1050)),
            ("-0.00", 3, 2, Some(0)),
            ("7", 19, 2, Some(700)),
            ("1.500", 19, 2, Some(150)),
            ("1.505", 19, 2, None),
            ("99.99", 4, 2, Some(9999)),
            ("100", 4, 2, None),
            ("12345678901234567.25", 19, 2, Some(1234567890123456725)),
            ("1e2", 19, 2, None),
            ("007", 19, 2, None),
        ] {
            assert_eq!(parse_scaled(text.as_bytes(), precision, scale), value, "{text}");
        }
        assert_eq!(parse_scaled(&long.as_bytes()[1..], 38, 0), Some(10i128.pow(38) - 1));
        assert_eq!(parse_scaled(&long.as_bytes()[1..], 38, 1), None);
    }

    #[test]
    fn a_double_loses_no_digit() {
        for (text, value) in [
            ("10.50", 10.5),
            ("9.99", 9.99),
            ("1.00", 1.0),
            ("0.00001", 1e-5),
            ("-0.00", -0.0),
            ("-0", -0.0),
            ("1e5", 1e5),
            ("1E-05", 1e-5),
            ("1.0e-05", 1e-5),
            ("1.50E+3", 1500.0),
            ("0e9", 0.0),
            ("0.000000000000000000000000000000", 0.0),
            ("123456789012345.0000000000000000000", 123456789012345.0),
            ("0.00000000000000000123456789012345", 1.23456789012345e-18),
            ("100000000000000000000.0", 1e20),
            // Longer, but as Python writes them.
            ("0.30000000000000004", 0.1 + 0.2),
            ("1234567890123456.0", 1234567890123456.0),
            ("5e-324", 5e-324),
        ] {
            assert_eq!(parse_float(text.as_bytes()).map(f64::to_bits), Some(f64::to_bits(value)), "{text}");
        }
        for text in [
            "",
            ".",
            "1",
            "0",
            "1.",
            ".5",
            "01.5",
            "007",
            "-.5",
            "-",
            "1e",
            "1e+",
            "e5",
            "1.e5",
            "01e5",
            "1e5.0",
            "1e+16.0",
            "nan",
            "inf",
            "infinity",
            "1..5",
            "--1.5",
            "+1.5",
            "+47",
            "1.5 ",
            "1,5",
            "0x1p3",
            "9223372036854775808",
            "0.1000000000000000055",
            "1234567890123456.50",
            "12345678901234567.25",
            "1e400",
            "1e-400",
            "1.50e-320",
        ] {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_double_survives_writing_and_parsing(bits in any::<u64>(), small in -1_000_000_000i64..1_000_000_000, places in 0i32..9) {
            for value in [f64::from_bits(bits), small as f64 / 10f64.powi(places)] {
                if value.is_finite() {
                    let text = written(value);
                    prop_assert_eq!(parse_float(text.as_bytes()).map(f64::to_bits), Some(value.to_bits()), "{}", text);
                }
            }
        }

        #[test]
        fn a_text_is_a_number_if_it_is_one_in_json_and_loses_no_digit(text in "-?[0-9]{0,4}[0.]{0,5}[0-9.e+-]{0,14}") {
            let mantissa = text.split('e').next().unwrap_or_default().replace(['-', '.'], "");
            let is_short = mantissa.trim_matches('0').len() <= 15;
            let is_zero = mantissa.trim_matches('0').is_empty();
            let is_json = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            let is_float = text.contains(['.', 'e']) || text == "-0";
            let value = text.parse::<f64>().ok().filter(|value| is_zero || value.is_normal() || !is_short);
            let expected = value.filter(|&value| is_json && is_float && (is_short || written(value) == text));
            let expected = expected.or_else(|| text.parse().ok().filter(|&value| is_json && is_float && written(value) == text));
            prop_assert_eq!(parse_float(text.as_bytes()).map(f64::to_bits), expected.map(f64::to_bits));
            let expected = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(parse_int(text.as_bytes()), expected);
        }

        #[test]
        fn a_text_is_a_long_integer_if_it_is_written_back_the_same(text in "-?[0-9]{15,42}") {
            let expected = text.parse::<i128>().ok().filter(|v| v.to_string() == text && v.unsigned_abs() < 10u128.pow(38));
            prop_assert_eq!(parse_decimal(text.as_bytes()), expected);
        }
    }
}
