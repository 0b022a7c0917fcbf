//! Exact comparison of decimal numbers of any length and notation.
//!
//! The simple algorithm normalizes both numbers to a sign, the power of ten of the first digit, and the significant
//! digits ([`compare_texts`]). Departures from it:
//!
//! - Numbers of up to 18 digits without an exponent are compared as integers of a common scale, which fit in 128 bits.
//! - A double is first compared with the nearest double of the number: rounding is monotonic, so only equal doubles
//!   need the digits.

use std::cmp::Ordering;

/// Digits up to which a number is compared as one integer: two such numbers fit in 128 bits at a common scale.
const SHORT_DIGITS: usize = 18;

const POWERS: [i128; SHORT_DIGITS + 1] = {
    let mut powers = [1i128; SHORT_DIGITS + 1];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// A decimal number, prepared for comparison with many values.
#[derive(Clone, Debug)]
pub struct Decimal {
    text: Box<str>,
    short: Option<SmallDecimal>,
    nearest: f64,
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        compare(other.text.as_bytes(), self) == Some(Ordering::Equal)
    }
}

/// A short number, `mantissa / 10^scale`.
#[derive(Clone, Copy, Debug)]
struct SmallDecimal {
    mantissa: i64,
    scale: usize,
}

/// Sign, magnitude and digits of a number, without leading zeros.
struct Digits<'a> {
    negative: bool,
    /// Power of ten of the first digit, plus one. Saturates at magnitudes far beyond any input.
    top: i64,
    /// Digits before the point. Of `whole` and `fraction` together, the first digit is not 0; both are empty for 0.
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl Decimal {
    /// Parses an optional sign, digits with an optional fraction, and an optional exponent. `None` for other text.
    pub fn parse(text: &str) -> Option<Self> {
        digits(text.as_bytes())?;
        let nearest = text.parse().ok()?;
        Some(Decimal { text: text.into(), short: short(text.as_bytes()), nearest })
    }

    /// Returns the number as written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Compares the number in `text` with `number`; `None` if `text` is not a number.
#[inline]
pub(super) fn compare(text: &[u8], number: &Decimal) -> Option<Ordering> {
    if let (Some(a), Some(b)) = (short(text), number.short) {
        return Some(match a.scale == b.scale {
            true => a.mantissa.cmp(&b.mantissa),
            false => (i128::from(a.mantissa) * POWERS[b.scale]).cmp(&(i128::from(b.mantissa) * POWERS[a.scale])),
        });
    }
    compare_texts(text, number.text.as_bytes())
}

/// Compares two numbers by their digits; `None` if one is not a number.
pub(super) fn compare_texts<'a>(a: &'a [u8], b: &'a [u8]) -> Option<Ordering> {
    let (a, b) = (digits(a)?, digits(b)?);
    // Zero has no sign: `-0` equals `0`.
    let zero = |d: &Digits<'_>| d.whole.is_empty() && d.fraction.is_empty();
    let sign = |d: &Digits<'_>| if zero(d) { 0 } else { 1 - 2 * i32::from(d.negative) };
    let magnitudes = || {
        a.top.cmp(&b.top).then_with(|| {
            let len = (a.whole.len() + a.fraction.len()).max(b.whole.len() + b.fraction.len());
            // Of one magnitude, digits compare from the left, the shorter number padded with zeros.
            let padded = |d: &Digits<'a>| d.whole.iter().chain(d.fraction).chain(std::iter::repeat(&b'0')).take(len);
            padded(&a).cmp(padded(&b))
        })
    };
    Some(match (sign(&a), sign(&b)) {
        (1, 1) => magnitudes(),
        (-1, -1) => magnitudes().reverse(),
        (a, b) => a.cmp(&b),
    })
}

/// Appends a canonical form, the same for all texts of one number. Returns false, and appends nothing, if `text` is not
/// a number.
pub fn write_canonical_number(text: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(digits) = digits(text) else { return false };
    let all = digits.whole.iter().chain(digits.fraction);
    let len = all.clone().enumerate().filter(|(_, digit)| **digit != b'0').last().map_or(0, |(i, _)| i + 1);
    if len == 0 {
        out.push(b'0');
    } else {
        out.push(if digits.negative { b'-' } else { b'+' });
        out.extend_from_slice(&digits.top.to_le_bytes());
        out.extend(all.take(len));
    }
    true
}

/// Compares an integer with `number`.
#[inline]
pub(super) fn compare_int(value: i128, number: &Decimal) -> Ordering {
    if let (Some(b), Ok(a)) = (number.short, i64::try_from(value)) {
        // 19 digits scaled by 18 more fit in 128 bits.
        return (i128::from(a) * POWERS[b.scale]).cmp(&i128::from(b.mantissa));
    }
    compare_texts(itoa::Buffer::new().format(value).as_bytes(), number.text.as_bytes()).expect("both are numbers")
}

/// Compares a double, taken as the shortest decimal that parses back to it, with `number`.
///
/// Rounding is monotonic: if the nearest double of `number` differs, the order of the doubles is the result. `None` for
/// infinities and NaN, which are not numbers.
#[inline]
pub(super) fn compare_float(value: f64, number: &Decimal) -> Option<Ordering> {
    if !value.is_finite() {
        return None;
    }
    match value.partial_cmp(&number.nearest) {
        Some(Ordering::Equal) | None => {
            compare_texts(ryu::Buffer::new().format_finite(value).as_bytes(), number.text.as_bytes())
        }
        order => order,
    }
}

/// Parses a number of up to 18 digits without an exponent; `None` for other text.
#[inline]
fn short(text: &[u8]) -> Option<SmallDecimal> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > SHORT_DIGITS {
        return None;
    }
    let mut mantissa = 0i64;
    let mut point = None;
    for (i, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            mantissa = mantissa * 10 + i64::from(digit);
        // A point needs digits on both sides; `.5` and `1.` are left to the full parser, which rejects them.
        } else if byte == b'.' && point.is_none() && i > 0 {
            point = Some(i);
        } else {
            return None;
        }
    }
    let scale = match point {
        Some(point) if point + 1 == digits.len() => return None,
        Some(point) => digits.len() - point - 1,
        None => 0,
    };
    Some(SmallDecimal { mantissa: if negative { -mantissa } else { mantissa }, scale })
}

/// Parses a number: an optional sign, digits with an optional fraction, an optional exponent.
fn digits(text: &[u8]) -> Option<Digits<'_>> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let run = |bytes: &[u8]| bytes.iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len());
    let (whole, rest) = rest.split_at(run(rest));
    if whole.is_empty() {
        return None;
    }
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] if rest.first().is_some_and(u8::is_ascii_digit) => rest.split_at(run(rest)),
        rest => (&[][..], rest),
    };
    let exponent = match rest {
        [] => 0,
        [b'e' | b'E', rest @ ..] => {
            let (sign, digits) = match rest {
                [b'-', digits @ ..] => (-1, digits),
                [b'+', digits @ ..] => (1, digits),
                digits => (1, digits),
            };
            if digits.is_empty() || run(digits) < digits.len() {
                return None;
            }
            // No record has a quintillion digits, so a saturated exponent decides the order by itself.
            let magnitude = digits.iter().fold(0i64, |e, d| e.saturating_mul(10).saturating_add(i64::from(d - b'0')));
            sign * magnitude.min(i64::MAX / 4)
        }
        _ => return None,
    };
    // Normalize: drop leading zeros and move the point into `top`.
    let leading = |digits: &[u8]| digits.iter().position(|&b| b != b'0').unwrap_or(digits.len());
    let zeros = leading(whole);
    let (top, whole, fraction) = if zeros < whole.len() {
        ((whole.len() - zeros) as i64, &whole[zeros..], fraction)
    } else {
        let zeros = leading(fraction);
        (-(zeros as i64), &[][..], &fraction[zeros..])
    };
    Some(Digits { negative, top: top + exponent, whole, fraction })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(a: &str, b: &str) -> Option<Ordering> {
        compare(a.as_bytes(), &Decimal::parse(b)?)
    }

    #[test]
    fn numbers_compare_by_digits_and_not_as_doubles() {
        use Ordering::*;
        for (a, b, expected) in [
            ("9007199254740993", "9007199254740992", Greater),
            ("0.1", "0.10", Equal),
            ("0.1", "0.1000000000000000055", Less),
            ("100", "1e2", Equal),
            ("1E+2", "100.0", Equal),
            ("-0", "0", Equal),
            ("-0.0", "0e5", Equal),
            ("-1", "1", Less),
            ("-10", "-9", Less),
            ("-1e-999", "0", Less),
            ("1e999999999999999999999", "1e999", Greater),
            ("0e999999999999999999999", "0", Equal),
            ("123456789012345678901234567890.5", "123456789012345678901234567890.49", Greater),
            ("0.00012", "0.00011999999999999999999999999", Greater),
            ("007", "7", Equal),
        ] {
            assert_eq!(order(a, b), Some(expected), "{a} {b}");
            assert_eq!(order(b, a), Some(expected.reverse()), "{b} {a}");
        }
        for text in ["", "-", ".5", "1.", "1e", "1e+", "0x1", "1 ", "nan", "inf", "1.2.3", "--1"] {
            assert!(order(text, "1").is_none() && Decimal::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_double_is_its_shortest_decimal() {
        let order = |value, text| compare_float(value, &Decimal::parse(text).unwrap());
        assert_eq!(order(0.1, "0.1"), Some(Ordering::Equal));
        assert_eq!(order(0.1, "0.1000000000000000055"), Some(Ordering::Less));
        assert_eq!(order(0.1, "0.09999999999999999999"), Some(Ordering::Greater));
        assert_eq!(order(1e300, "1e400"), Some(Ordering::Less));
        assert_eq!(order(f64::INFINITY, "1"), None);
        assert_eq!(order(-0.0, "0"), Some(Ordering::Equal));
    }

    proptest! {
        #[test]
        fn short_and_long_agree(a in -2_000_000i64..2_000_000, b in -2_000_000i64..2_000_000, p in 0u32..6, q in 0u32..6) {
            // The obvious reference: integers at a common scale.
            let reference = (i128::from(a) * 10i128.pow(q)).cmp(&(i128::from(b) * 10i128.pow(p)));
            let text = |v: i64, places: u32| {
                let sign = if v < 0 { "-" } else { "" };
                let digits = format!("{:0>width$}", v.unsigned_abs(), width = places as usize + 1);
                let (whole, fraction) = digits.split_at(digits.len() - places as usize);
                if places == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
            };
            let (ta, tb) = (text(a, p), text(b, q));
            prop_assert_eq!(order(&ta, &tb), Some(reference), "{} {}", ta, tb);
            prop_assert_eq!(compare_texts(ta.as_bytes(), tb.as_bytes()), Some(reference), "{} {}", ta, tb);
            prop_assert_eq!(order(&format!("{a}e-{p}"), &format!("{b}e-{q}")), Some(reference));
        }

        #[test]
        fn integers_and_doubles_compare_as_their_text(a in any::<i64>(), b in any::<i64>(), f in any::<f64>(), g in any::<f64>()) {
            let number = Decimal::parse(&b.to_string()).unwrap();
            prop_assert_eq!(compare_int(a.into(), &number), a.cmp(&b));
            prop_assert_eq!(compare_int(i128::from(a) * 1_000_000, &number), (i128::from(a) * 1_000_000).cmp(&b.into()));
            prop_assume!(f.is_finite() && g.is_finite());
            prop_assert_eq!(compare_float(f, &Decimal::parse(&format!("{g:e}")).unwrap()), f.partial_cmp(&g));
        }
    }
}
