//! Numbers as people write them, with a decimal mark and a mark between thousands of their own: `1.234,50`. They are
//! converted to the digits of a JSON number, so that no digit is lost.

use std::fmt;

/// The marks of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberFormat {
    /// Mark before the fraction. Default a point.
    decimal: char,
    /// Mark between groups of digits; `None` if there is none.
    thousands: Option<char>,
}

impl Default for NumberFormat {
    fn default() -> Self {
        NumberFormat { decimal: '.', thousands: None }
    }
}

impl fmt::Display for NumberFormat {
    /// Writes the format as the parameters of a type: `','` or `',', '.'`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |mark: char| if mark == '\'' { "''''".to_owned() } else { format!("'{mark}'") };
        f.write_str(&quoted(self.decimal))?;
        match self.thousands {
            Some(mark) => write!(f, ", {}", quoted(mark)),
            None => Ok(()),
        }
    }
}

impl NumberFormat {
    /// Makes a format of the two marks, each one character that no number has besides.
    pub fn new(decimal: &str, thousands: Option<&str>) -> Result<Self, &'static str> {
        let mark = |text: &str| {
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) if !c.is_alphanumeric() && !matches!(c, '+' | '-') && !c.is_control() => Some(c),
                _ => None,
            }
        };
        let wrong = "a mark of a number must be one character, and no digit, letter or sign";
        let decimal = mark(decimal).filter(|c| !c.is_whitespace()).ok_or(wrong)?;
        let thousands = thousands.map(|text| mark(text).ok_or(wrong)).transpose()?;
        if thousands == Some(decimal) {
            return Err("the decimal mark and the mark between thousands must differ");
        }
        Ok(NumberFormat { decimal, thousands })
    }

    /// Returns true if a mark between thousands is specified.
    pub fn has_thousands(&self) -> bool {
        self.thousands.is_some()
    }

    /// Converts `text` to a number in JSON's grammar; `None` if it is not a number with these marks.
    ///
    /// Groups have three digits, or two before the last as in India; the first may be shorter. Zeros before the number
    /// and a plus sign are dropped, and the digit before the decimal mark may be absent.
    pub fn to_json(self, text: &str) -> Option<String> {
        let text = text.trim();
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (rest, None),
        };
        let (whole, fraction) = match mantissa.split_once(self.decimal) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if fraction.is_some_and(|fraction| !all_digits(fraction)) {
            return None;
        }
        if let Some(exponent) = exponent
            && !all_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))
        {
            return None;
        }
        let mut groups = whole.split(|c| self.is_thousands(c));
        let first = groups.next().unwrap_or_default();
        let rest: Vec<&str> = groups.collect();
        let grouped = match rest.split_last() {
            None => all_digits(first) || first.is_empty() && fraction.is_some(),
            Some((last, middle)) => {
                let in_threes = first.len() <= 3 && middle.iter().all(|group| group.len() == 3);
                let in_lakhs = first.len() <= 2 && middle.iter().all(|group| group.len() == 2);
                let digits = [first].into_iter().chain(rest.iter().copied()).all(all_digits);
                digits && last.len() == 3 && (in_threes || in_lakhs)
            }
        };
        if !grouped {
            return None;
        }
        let digits: String = [first].into_iter().chain(rest).collect();
        let digits = digits.trim_start_matches('0');
        let mut json = String::with_capacity(text.len() + 2);
        json.push_str(if negative { "-" } else { "" });
        json.push_str(if digits.is_empty() { "0" } else { digits });
        if let Some(fraction) = fraction {
            json.push('.');
            json.push_str(fraction);
        }
        if let Some(exponent) = exponent {
            json.push('e');
            json.push_str(exponent);
        }
        Some(json)
    }

    /// Returns true for the mark between thousands. Spaces and apostrophes each stand for their typographic forms, too.
    fn is_thousands(self, c: char) -> bool {
        match self.thousands {
            Some(' ' | '\u{a0}' | '\u{202f}' | '\u{2009}') => matches!(c, ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}'),
            Some('\'' | '\u{2019}') => matches!(c, '\'' | '\u{2019}'),
            Some(mark) => c == mark,
            None => false,
        }
    }
}

/// Returns true if `text` could be a number with other marks than a decimal point.
pub(super) fn may_have_marks(text: &str) -> bool {
    let text = text.trim();
    let is_mark = |c: char| matches!(c, ',' | '.' | '\'' | '_' | '\u{2019}') || c.is_whitespace();
    text.contains(|c: char| c.is_ascii_digit())
        && text.contains(is_mark)
        && text.chars().all(|c| c.is_ascii_digit() || is_mark(c) || matches!(c, '+' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stay_and_marks_go() {
        let german = NumberFormat::new(",", Some(".")).unwrap();
        for (text, expected) in [
            ("1.234,50", Some("1234.50")),
            ("1234,5", Some("1234.5")),
            ("-1.234.567", Some("-1234567")),
            ("+007", Some("7")),
            (",5", Some("0.5")),
            (" 12 ", Some("12")),
            ("0", Some("0")),
            ("-0", Some("-0")),
            ("1,5e3", Some("1.5e3")),
            ("12.345.678.901.234.567.890,00000000000000000001", Some("12345678901234567890.00000000000000000001")),
            ("12.34.567", Some("1234567")),
            ("1.23", None),
            ("1234.567", None),
            ("1.234.56", None),
            ("1..234", None),
            (".234", None),
            ("1,2,3", None),
            ("1,", None),
            ("1,234.5", None),
            ("1,5e", None),
            ("", None),
            (",", None),
            ("-", None),
            ("--1", None),
            ("1 234", None),
            ("0x10", None),
            ("nan", None),
            ("١", None),
            ("5 €", None),
        ] {
            assert_eq!(german.to_json(text).as_deref(), expected, "{text}");
        }
        let swiss = NumberFormat::new(".", Some("'")).unwrap();
        assert_eq!(swiss.to_json("1’234'567.05").as_deref(), Some("1234567.05"));
        let french = NumberFormat::new(",", Some(" ")).unwrap();
        assert_eq!(french.to_json("1\u{202f}234\u{a0}567,05").as_deref(), Some("1234567.05"));
        assert_eq!(NumberFormat::default().to_json("1,234"), None);
        for (decimal, thousands) in [(",", Some(",")), ("", None), (",,", None), ("1", None), ("e", None), (" ", None)]
        {
            assert!(NumberFormat::new(decimal, thousands).is_err(), "{decimal} {thousands:?}");
        }
    }

    proptest::proptest! {
        /// Numbers written with marks are read as the same digits, and JSON parses them.
        #[test]
        fn written_with_marks_and_read(whole in 0u64.., fraction in "[0-9]{0,12}", marks in 0usize..4, negative: bool) {
            let (decimal, thousands) = [(',', '.'), ('.', ','), (',', ' '), ('.', '\'')][marks];
            let digits = whole.to_string();
            let mut grouped = String::new();
            for (i, digit) in digits.chars().enumerate() {
                if i > 0 && (digits.len() - i) % 3 == 0 {
                    grouped.push(thousands);
                }
                grouped.push(digit);
            }
            let sign = if negative { "-" } else { "" };
            let (mark, point) = if fraction.is_empty() { (String::new(), "") } else { (decimal.to_string(), ".") };
            let format = NumberFormat::new(&decimal.to_string(), Some(&thousands.to_string())).unwrap();
            let json = format.to_json(&format!("{sign}{grouped}{mark}{fraction}"));
            proptest::prop_assert_eq!(json.as_deref(), Some(&*format!("{sign}{digits}{point}{fraction}")));
            proptest::prop_assert!(serde_json::from_str::<serde_json::Number>(&json.unwrap()).is_ok());
        }
    }
}
