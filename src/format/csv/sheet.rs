//! Protection of cells of CSV from spreadsheets, which run formulas, round long numbers, and convert text that resembles a number
//! or a date. Decides which cells need an apostrophe, and counts them.

use std::sync::Arc;

/// The most characters that a cell of a spreadsheet holds, in UTF-16 code units.
pub const MAX_SHEET_CELL: usize = 32_767;

/// The most rows of a sheet, the header included.
pub const MAX_SHEET_ROWS: u64 = 1_048_576;

/// Significant digits of a number that spreadsheets keep; they set the rest to zero.
const MAX_SHEET_DIGITS: usize = 15;

/// Counts of cells that were changed for a spreadsheet, exceed its limits, or may be lost by other readers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SheetCounts {
    /// Cells that got an apostrophe because they begin like a formula.
    pub formulas: u64,
    /// Numbers that got an apostrophe because they have more digits than a spreadsheet keeps.
    pub long_numbers: u64,
    /// Text cells that got an apostrophe because a spreadsheet would convert them, `01000` to 1000 and `3-4` to a date.
    pub converted: u64,
    /// Cells longer than [`MAX_SHEET_CELL`], written unchanged.
    pub long_cells: u64,
    /// Row, from 0, and column name of the first of these.
    pub first_long_cell: Option<(u64, Arc<str>)>,
    /// Rows of one column that are empty lines, because null is the empty field. Some readers skip them.
    pub empty_lines: u64,
}

impl SheetCounts {
    /// Returns the number of cells that were changed.
    pub fn cells_changed(&self) -> u64 {
        self.formulas + self.long_numbers + self.converted
    }

    /// Adds the counts of rows that come after the first `rows` rows.
    pub fn add(&mut self, later: SheetCounts, rows: u64) {
        self.formulas += later.formulas;
        self.long_numbers += later.long_numbers;
        self.converted += later.converted;
        self.long_cells += later.long_cells;
        self.empty_lines += later.empty_lines;
        if self.first_long_cell.is_none() {
            self.first_long_cell = later.first_long_cell.map(|(row, column)| (rows + row, column));
        }
    }
}

/// Returns true for text that a spreadsheet may run as a formula: `=1+1`, `@SUM(A1)`, `+47…`. False for numbers, although
/// they may begin with a sign.
pub(super) fn begins_like_a_formula(text: &[u8]) -> bool {
    match text.first() {
        Some(b'=' | b'@' | b'\t' | b'\r') => true,
        Some(b'+' | b'-') => number_digits(text).is_none(),
        _ => false,
    }
}

/// Returns true for numbers of more than [`MAX_SHEET_DIGITS`] digits.
pub(super) fn has_long_digits(text: &[u8]) -> bool {
    // Length and first byte exclude most text at once.
    text.len() > MAX_SHEET_DIGITS
        && matches!(text[0], b'-' | b'0'..=b'9')
        && number_digits(text).is_some_and(|digits| digits > MAX_SHEET_DIGITS)
}

/// Counts the digits of a number before its exponent, without leading zeros; `None` if `text` is not a number. Accepts
/// numbers as in JSON, and any number of leading zeros.
pub(super) fn number_digits(text: &[u8]) -> Option<usize> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let (mut digits, mut any, mut at, mut point) = (0, false, 0, false);
    while let Some(&b) = unsigned.get(at) {
        match b {
            b'0' if digits == 0 => any = true,
            b'0'..=b'9' => (digits, any) = (digits + 1, true),
            b'.' if any && !point && matches!(unsigned.get(at + 1), Some(b'0'..=b'9')) => point = true,
            _ => break,
        }
        at += 1;
    }
    let exponent = match &unsigned[at..] {
        [] => return any.then_some(digits),
        [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] => exponent,
        _ => return None,
    };
    (any && !exponent.is_empty() && exponent.iter().all(u8::is_ascii_digit)).then_some(digits)
}

pub(super) fn is_longer_than_a_cell(text: &[u8]) -> bool {
    // A character has at most as many UTF-16 units as bytes, so that the length in bytes excludes most.
    let units = |text: &[u8]| String::from_utf8_lossy(text).encode_utf16().count();
    text.len() > MAX_SHEET_CELL && units(text) > MAX_SHEET_CELL
}

/// Returns true for a number in JSON's grammar.
pub(super) fn is_number(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    !matches!(unsigned, [b'0', b'0'..=b'9', ..]) && number_digits(text).is_some()
}

/// The longest text that [`is_changed`] looks at: `September 30, 2024` with some blanks.
const MAX_CONVERTED: usize = 24;

/// Returns true for text that a spreadsheet shows as something else: `01000` as 1000, `12E5` as 1.2E+06, `3-4`, `1/2` and
/// `MARCH1` as dates. With `decimal_comma`, in countries that have one, `1.2` is a date, and `1.234` a thousand.
///
/// Errs on the side of text. Dates as `2024-01-31` are dates everywhere, and numbers without zeros before them are as good
/// as the text.
pub(super) fn is_changed(text: &[u8], decimal_comma: bool) -> bool {
    if text.len() > MAX_CONVERTED || !text.iter().any(u8::is_ascii_digit) {
        return false;
    }
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let text = text.trim_matches(' ');
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    if whole.len() > 1 && whole.starts_with('0') && digits(whole) && digits(fraction) {
        return true;
    }
    if let Some((mantissa, exponent)) = text.split_once(['e', 'E'])
        && digits(mantissa)
        && digits(exponent)
    {
        return true;
    }
    // `1:2` is a time of day, and shown as `01:02`.
    if let Some((hours, minutes)) = text.split_once(':')
        && digits(hours)
        && digits(minutes)
        && (hours.len() == 1 || minutes.len() == 1)
    {
        return true;
    }
    is_like_a_date(text, decimal_comma)
}

/// Returns true for text that some spreadsheet takes for a date, apart from `2024-01-31`.
fn is_like_a_date(text: &str, decimal_comma: bool) -> bool {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let is_month = |word: &str| {
        let word = word.to_ascii_lowercase();
        word == "sept" || MONTHS.iter().any(|month| word == *month || word == month[..3])
    };
    // Runs of digits and of letters, with the separators between them.
    let (mut parts, mut separators) = (Vec::new(), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        let is_digit = rest.starts_with(|c: char| c.is_ascii_digit());
        let in_run = |c: char| if is_digit { c.is_ascii_digit() } else { c.is_ascii_alphabetic() };
        let end = rest.find(|c| !in_run(c)).unwrap_or(rest.len());
        if end == 0 || parts.len() == 3 {
            return false;
        }
        parts.push(&rest[..end]);
        rest = &rest[end..];
        let end = rest.find(|c: char| !matches!(c, '-' | '/' | '.' | ',' | ' ')).unwrap_or(rest.len());
        if end > 2 || end > 0 && end == rest.len() {
            return false;
        }
        separators.push(&rest[..end]);
        rest = &rest[end..];
    }
    let numbers: Vec<u32> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    let is_day_or_year = |n: u32| n <= 99 || (1900..=9999).contains(&n);
    if parts.len() < 2 || !numbers.iter().all(|&n| is_day_or_year(n)) {
        return false;
    }
    if numbers.len() < parts.len() {
        // One name of a month, and numbers.
        let words: Vec<&&str> =
            parts.iter().filter(|part| part.starts_with(|c: char| c.is_ascii_alphabetic())).collect();
        return words.len() == 1 && is_month(words[0]);
    }
    let separator = separators[0];
    if separators[..parts.len() - 1].iter().any(|other| *other != separator)
        || !numbers.iter().any(|n| (1..=12).contains(n))
    {
        return false;
    }
    match (parts.len(), separator) {
        (2, "-" | "/") => true,
        (2, ".") => decimal_comma,
        (3, "-") => parts[0].len() != 4 || parts[1].len() != 2 || parts[2].len() != 2,
        (3, "/" | ".") => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_a_spreadsheet_would_convert() {
        for text in [
            "01000",
            "007",
            "-01",
            "00.5",
            "12E5",
            "3e10",
            "3-4",
            "1/2",
            "MARCH1",
            "Sept2",
            "DEC-1",
            "1-dec",
            "5 Mar",
            "Mar 5, 2024",
            "1-2-3",
            "31/01/2024",
            "2024/1/2",
            "10-2024",
            "1:2",
            " 01 ",
            "1.2.2024",
            "12 may 24",
        ] {
            assert!(is_changed(text.as_bytes(), false), "{text}");
        }
        for text in [
            "0",
            "0.5",
            "10",
            "1.50",
            "-5",
            "2024-01-31",
            "2024-01-31T12:00:00",
            "12:30",
            "555-1234",
            "99-99",
            "0-0",
            "a1",
            "MARCHE1",
            "1E",
            "E5",
            "1e-05",
            "1.5e3",
            "",
            "-",
            "v1.2",
            "1.2",
            "10.0.0.1",
            "march",
            "x-1",
            "1-2-3-4",
            "é1",
            "12 monkeys",
            "+47 912",
            "1--",
            "/1/2",
        ] {
            assert!(!is_changed(text.as_bytes(), false), "{text}");
        }
        // A point is no decimal mark in these countries.
        for text in ["1.2", "3.4", "12.2024", "01.5"] {
            assert!(is_changed(text.as_bytes(), true), "{text}");
        }
    }
}
