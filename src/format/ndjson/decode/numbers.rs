//! Numbers, as the carriers of columns hold them.

use super::Decoder;
use crate::format::ndjson::scan::{MAX_FEW_DIGITS, Number};
use crate::format::ndjson::walk::fits_in_double;

impl Decoder<'_> {
    fn text(&self, n: Number) -> &str {
        std::str::from_utf8(&self.cursor.bytes()[n.start..n.end]).expect("numbers are ASCII")
    }

    #[inline]
    pub(super) fn integer(&self, n: Number) -> Option<i64> {
        if !n.integer {
            return None;
        }
        let digits = n.whole();
        if digits > MAX_FEW_DIGITS {
            return self.text(n).parse().ok();
        }
        let value = self.cursor.few_digits(n.first_digit(), digits) as i64;
        match n.negative {
            false => Some(value),
            // Only a double distinguishes `-0` from 0.
            true if value == 0 => None,
            true => Some(-value),
        }
    }

    pub(super) fn decimal(&self, n: Number) -> Option<i128> {
        let text = self.text(n);
        let digits = text.trim_start_matches('-').len();
        if n.integer && digits <= 38 && text != "-0" { text.parse().ok() } else { None }
    }

    /// Returns the number as a double; `None` if it is an integer that a double cannot hold exactly, or too large.
    #[inline]
    pub(super) fn float(&self, n: Number) -> Option<f64> {
        if n.integer {
            let text = self.text(n);
            // An integer beyond 64 bits is a decimal, whether exact in a double or not: one rule, whatever the
            // order of the records.
            let i: i64 = text.parse().ok()?;
            // `-0` is an integer in JSON, and a double distinguishes it from 0.
            return fits_in_double(i).then_some(if text == "-0" { -0.0 } else { i as f64 });
        }
        if let Some(f) = self.short_float(n) {
            return Some(f);
        }
        let f: f64 = self.text(n).parse().expect("the grammar of JSON numbers is a part of Rust's");
        f.is_finite().then_some(f)
    }

    /// Parses a number of up to 15 digits without an exponent; `None` for others. Digits and power of ten are below 2^53 and
    /// so exact in a double, and their division rounds once, so that the result is the correctly rounded one.
    #[inline]
    fn short_float(&self, n: Number) -> Option<f64> {
        const POWERS: [u64; 16] = {
            let mut powers = [1; 16];
            let mut i = 1;
            while i < 16 {
                powers[i] = powers[i - 1] * 10;
                i += 1;
            }
            powers
        };
        if n.exponent || n.whole() + n.fraction > 15 {
            return None;
        }
        let whole = n.whole();
        let power = POWERS[n.fraction];
        let (first, point) = (n.first_digit(), n.first_digit() + whole);
        let digits = self.cursor.few_digits(first, whole) * power + self.cursor.few_digits(point + 1, n.fraction);
        let value = digits as f64 / power as f64;
        Some(if n.negative { -value } else { value })
    }
}
