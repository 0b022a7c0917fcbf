//! The binary form of `numeric`: digits to the base of 10,000, the weight of the first, a sign, and the number of decimal
//! places that are shown.

/// Sign of a number that is not negative.
const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xc000;
const INFINITY: u16 = 0xd000;
const MINUS_INFINITY: u16 = 0xf000;

/// The most digits before the point, and after it.
const MAX_WHOLE_DIGITS: i64 = 131_072;
const MAX_SCALE: i64 = 16_383;

/// Appends the value of `text`, a number of JSON or one of Rust's spellings of the numbers that are none. `limits` are the
/// precision and scale of the column. Fails with the reason if it has no exact form.
pub(super) fn write(text: &[u8], limits: Option<(u16, i16)>, out: &mut Vec<u8>) -> Result<(), &'static str> {
    match text {
        b"nan" => return special(NAN, out),
        // Columns with a precision hold no infinity.
        b"inf" if limits.is_none() => return special(INFINITY, out),
        b"-inf" if limits.is_none() => return special(MINUS_INFINITY, out),
        b"inf" | b"-inf" => return Err("an infinity is beyond the precision of the column"),
        _ => {}
    }
    let Number { negative, digits, exponent } = parse(text).ok_or("the value is not a number")?;
    // The value is 0.d1d2d3… times 10 to the power of `point`.
    let point = digits.len() as i64 + exponent;
    let scale = (-exponent).max(0);
    if point > MAX_WHOLE_DIGITS || scale > MAX_SCALE {
        return Err("the number is out of range for numeric");
    }
    let mut shown = scale;
    if let Some((precision, column_scale)) = limits {
        let (precision, column_scale) = (i64::from(precision), i64::from(column_scale));
        if scale > column_scale.max(0) || column_scale < 0 && !digits.is_empty() && exponent < -column_scale {
            return Err("the number has more decimal places than the column");
        }
        if !digits.is_empty() && point > precision - column_scale {
            return Err("the number has more digits before the point than the column");
        }
        shown = column_scale.max(0);
    }
    // Groups of four digits, aligned to the point.
    let first_group = point.div_euclid(4) + i64::from(point.rem_euclid(4) != 0);
    let lead = (first_group * 4 - point) as usize;
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    let mut groups = 0u16;
    if !digits.is_empty() {
        let (mut group, mut places) = (0u16, lead);
        for digit in &digits {
            group = group * 10 + u16::from(*digit);
            places += 1;
            if places == 4 {
                out.extend_from_slice(&group.to_be_bytes());
                groups += 1;
                (group, places) = (0, 0);
            }
        }
        if places > 0 {
            for _ in places..4 {
                group *= 10;
            }
            out.extend_from_slice(&group.to_be_bytes());
            groups += 1;
        }
    }
    let weight = if digits.is_empty() { 0 } else { (first_group - 1) as i16 };
    let sign = if negative && !digits.is_empty() { NEGATIVE } else { POSITIVE };
    out[start..start + 2].copy_from_slice(&groups.to_be_bytes());
    out[start + 2..start + 4].copy_from_slice(&weight.to_be_bytes());
    out[start + 4..start + 6].copy_from_slice(&sign.to_be_bytes());
    out[start + 6..start + 8].copy_from_slice(&(shown as u16).to_be_bytes());
    Ok(())
}

fn special(sign: u16, out: &mut Vec<u8>) -> Result<(), &'static str> {
    out.extend_from_slice(&[0, 0, 0, 0]);
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    Ok(())
}

/// Returns true if JSON text has a number that `jsonb`, which stores numbers as `numeric`, cannot hold. The text is valid.
pub(super) fn is_beyond_jsonb(json: &[u8]) -> bool {
    if !may_be_beyond_jsonb(json) {
        return false;
    }
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(byte) = json.get(at).filter(|byte| **byte != b'"') {
                    at += if *byte == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let rest = &json[at..];
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
                let len = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                if is_beyond(&rest[..len]) {
                    return true;
                }
                at += len;
            }
            _ => at += 1,
        }
    }
    false
}

/// Returns false for JSON text that certainly has no number beyond `jsonb`, as for nearly all text: such a number is long,
/// or has an exponent of four digits.
pub(super) fn may_be_beyond_jsonb(json: &[u8]) -> bool {
    json.len() >= MAX_SCALE as usize || has_long_exponent(json)
}

/// Returns true if `text` has the letter of an exponent with four digits behind it.
fn has_long_exponent(text: &[u8]) -> bool {
    memchr::memchr2_iter(b'e', b'E', text).any(|at| {
        let rest = &text[at + 1..];
        let rest = rest.strip_prefix(b"+").or_else(|| rest.strip_prefix(b"-")).unwrap_or(rest);
        rest.len() >= 4 && rest[..4].iter().all(u8::is_ascii_digit)
    })
}

/// Returns true if `numeric` cannot hold a number of JSON. Zeros at its end count.
fn is_beyond(number: &[u8]) -> bool {
    let mut parts = number.splitn(2, |byte| matches!(byte, b'e' | b'E'));
    let mantissa = parts.next().unwrap_or_default();
    let exponent = match parts.next().map(|text| std::str::from_utf8(text).unwrap_or_default().parse::<i64>()) {
        None => 0,
        Some(Ok(exponent)) if exponent.abs() < i64::from(i32::MAX / 2) => exponent,
        Some(_) => return true,
    };
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let decimals = mantissa.len().saturating_sub(point + 1) as i64;
    let digits = mantissa.iter().filter(|byte| byte.is_ascii_digit());
    let significant = digits.skip_while(|digit| **digit == b'0').count() as i64;
    decimals - exponent > MAX_SCALE || significant > 0 && significant - decimals + exponent > MAX_WHOLE_DIGITS
}

/// A decimal number: its digits without zeros at either end, none for zero, and the power of ten of the last.
struct Number {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

/// Parses `-12.50e3`, as in JSON but with leading zeros; `None` for other text.
fn parse(text: &[u8]) -> Option<Number> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa, mut exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], std::str::from_utf8(&text[at + 1..]).ok()?.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let mut digits = Vec::with_capacity(mantissa.len());
    let mut point = None;
    for byte in mantissa {
        match byte {
            b'0'..=b'9' => digits.push(byte - b'0'),
            b'.' if point.is_none() && !digits.is_empty() => point = Some(digits.len()),
            _ => return None,
        }
    }
    if digits.is_empty() || point == Some(digits.len()) {
        return None;
    }
    exponent = exponent.checked_sub(point.map_or(0, |point| (digits.len() - point) as i64))?;
    while digits.last() == Some(&0) {
        digits.pop();
        exponent = exponent.checked_add(1)?;
    }
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    if digits.is_empty() {
        exponent = 0;
    }
    Some(Number { negative, digits, exponent })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, limits: Option<(u16, i16)>) -> Result<String, &'static str> {
        let mut out = Vec::new();
        write(text.as_bytes(), limits, &mut out)?;
        let words: Vec<i16> = out.chunks(2).map(|two| i16::from_be_bytes([two[0], two[1]])).collect();
        // The value back as text, from the definition of the form.
        let (n, weight, sign, shown) = (words[0], i64::from(words[1]), words[2], words[3] as usize);
        assert_eq!(words.len(), 4 + n as usize);
        let group = |at: i64| {
            let index = weight - at;
            let known = (0..i64::from(n)).contains(&index);
            if known { words[4 + index as usize] } else { 0 }
        };
        let whole: String = (0..=weight.max(0)).rev().map(|at| format!("{:04}", group(at))).collect();
        let fraction: String = (1..=(shown as i64 + 3) / 4).map(|at| format!("{:04}", group(-at))).collect();
        let whole = whole.trim_start_matches('0');
        let whole = if whole.is_empty() { "0" } else { whole };
        let sign = if sign == 0x4000 { "-" } else { "" };
        Ok(match shown {
            0 => format!("{sign}{whole}"),
            _ => format!("{sign}{whole}.{}", &fraction[..shown]),
        })
    }

    #[test]
    fn numbers_keep_their_value() {
        for (text, expected) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("1", "1"),
            ("-1", "-1"),
            ("10000", "10000"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("0.1", "0.1"),
            ("1.50", "1.5"),
            ("0.00001234", "0.00001234"),
            ("123.456", "123.456"),
            ("1e20", "100000000000000000000"),
            ("1.5e-7", "0.00000015"),
            ("99999.99995", "99999.99995"),
            ("007", "7"),
        ] {
            assert_eq!(written(text, None).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn numbers_that_jsonb_cannot_hold_are_found() {
        for (json, expected) in [
            ("{\"a\":1e200000}", true),
            ("[1e131071]", false),
            ("[1e131072]", true),
            ("[1e-16383]", false),
            ("[1.0e-16383]", true),
            ("[\"1e200000\"]", false),
            ("{\"\\\"1e200000\":1}", false),
            ("[1e99999999999999999999]", true),
            ("[0e99999]", false),
            ("[1.5e+20,true,\"e1234\"]", false),
        ] {
            assert_eq!(is_beyond_jsonb(json.as_bytes()), expected, "{json}");
        }
        assert!(is_beyond_jsonb(format!("[{}]", "9".repeat(131_073)).as_bytes()));
        assert!(!is_beyond_jsonb(format!("[{}]", "9".repeat(131_072)).as_bytes()));
    }

    #[test]
    fn columns_with_a_scale_take_no_more_than_it() {
        assert_eq!(written("1.5", Some((10, 2))).as_deref(), Ok("1.50"));
        assert_eq!(written("12345678.25", Some((10, 2))).as_deref(), Ok("12345678.25"));
        assert!(written("123456789", Some((10, 2))).unwrap_err().contains("before the point"));
        assert!(written("1.255", Some((10, 2))).unwrap_err().contains("decimal places"));
        assert_eq!(written("0", Some((2, 2))).as_deref(), Ok("0.00"));
        assert_eq!(written("1200", Some((3, -2))).as_deref(), Ok("1200"));
        assert!(written("1250", Some((3, -2))).is_err());
        for text in ["", "-", ".5", "1.", "1e", "x", "1 ", "0x1"] {
            assert!(written(text, None).is_err(), "{text}");
        }
        assert!(written("1e200000", None).is_err());
    }
}
