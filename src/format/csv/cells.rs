//! The reading of cells by a dialect: words for null, quotes other than `"`, and the marks of numbers. Decoders of sources
//! without such a dialect have no rules, so that it costs them nothing.
//!
//! Columns are made of spans of the morsel, so that a cell whose text is read differently needs its new text in the same
//! buffer. [`CellRules::rewrite`] copies the morsel, appends these texts behind its padding, and lists their spans; the
//! records stay where they are, and with them every position. [`CellRules::apply`] then doubles the list of a record's
//! cells: first all cells as they are, then all as they are read.

use std::sync::Arc;

use arrow_buffer::Buffer;

use super::dialect::CsvDialect;
use super::infer::is_number;
use super::split::{Span, Splitter, write_halved};
use crate::column::Morsel;
use crate::format::cell_kinds::NumberMarks;

/// The rules by which the cells of one source are read.
#[derive(Debug)]
pub(super) struct CellRules {
    null_words: Arc<[Box<str>]>,
    /// The quote if it is not `"`, whose pairs columns halve themselves.
    other_quote: Option<u8>,
    /// Marks of numbers if they are not those of JSON.
    numbers: Option<NumberMarks>,
}

/// The cells of one morsel that are read as another text.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    /// Start of the cell's value in the records, and the span of the text behind them; ascending.
    cells: Vec<(u32, Span)>,
}

/// The text behind the records as which cells are read that look like a number of JSON and are none by the marks, such as
/// `1.5` with a decimal comma. It is of no scalar type but text.
const NO_NUMBER: &[u8] = b"?";

impl CellRules {
    /// Makes the rules of `dialect`; `None` if cells are read as they are.
    pub(super) fn new(dialect: &CsvDialect) -> Option<Self> {
        let rules = CellRules {
            null_words: dialect.null_words.clone(),
            other_quote: dialect.quote.byte().filter(|&quote| quote != b'"'),
            numbers: Some(dialect.numbers).filter(|&numbers| numbers != NumberMarks::default()),
        };
        (!rules.null_words.is_empty() || rules.rewrites()).then_some(rules)
    }

    /// Returns the marks of numbers.
    pub(super) fn marks(&self) -> NumberMarks {
        self.numbers.unwrap_or_default()
    }

    /// Returns true if cells may be read as another text, so that [`CellRules::apply`] doubles them.
    pub(super) fn rewrites(&self) -> bool {
        self.other_quote.is_some() || self.numbers.is_some()
    }

    /// Returns the morsel with the texts of cells that are read as another one behind its padding. `splitter` is at its
    /// first record.
    pub(super) fn rewrite(&self, morsel: &Morsel, mut splitter: Splitter<'_>) -> (Morsel, Rewritten) {
        if !self.rewrites() {
            return (morsel.clone(), Rewritten::default());
        }
        let records = morsel.records();
        let padded = morsel.len + Morsel::PADDING;
        let mut bytes = Vec::with_capacity(padded + morsel.len / 4 + Morsel::PADDING);
        bytes.extend_from_slice(records);
        bytes.resize(padded, 0);
        bytes.extend_from_slice(NO_NUMBER);
        let no_number = Span::new(padded, bytes.len(), 0);
        let mut cells = Vec::new();
        let mut fields = Vec::new();
        while splitter.next_record(&mut fields).is_some() {
            for cell in fields.drain(..) {
                let (text, start) = (cell.of(records), bytes.len());
                let rewritten = match (self.other_quote, &self.numbers) {
                    (Some(quote), _) if cell.has_doubled_quotes() => {
                        write_halved(text, quote, &mut bytes);
                        Span::new(start, bytes.len(), Span::QUOTED)
                    }
                    (_, Some(marks)) if !cell.has_doubled_quotes() && marks.may_be_in(text) => {
                        if write_plain(text, marks, &mut bytes) {
                            Span::new(start, bytes.len(), 0)
                        } else if is_number(text) {
                            no_number
                        } else {
                            continue;
                        }
                    }
                    _ => continue,
                };
                cells.push((cell.start() as u32, rewritten));
            }
        }
        bytes.resize(bytes.len() + Morsel::PADDING, 0);
        (Morsel { bytes: Buffer::from_vec(bytes), ..*morsel }, Rewritten { cells })
    }

    /// Replaces the cells of a well-formed record, which are those of `fields` from `first` on, by null where they are a
    /// word for it. If cells are rewritten, appends all of them as they are read. `next` is the number of rewritten cells
    /// before the record.
    pub(super) fn apply(
        &self,
        bytes: &[u8],
        rewritten: &Rewritten,
        next: &mut usize,
        fields: &mut Vec<Span>,
        first: usize,
    ) {
        for cell in &mut fields[first..] {
            let text = cell.of(bytes);
            if !cell.is_quoted() && self.null_words.iter().any(|word| word.as_bytes() == text) {
                *cell = Span::NULL;
            }
        }
        if !self.rewrites() {
            return;
        }
        for i in first..fields.len() {
            let cell = fields[i];
            let mut read = cell;
            if !cell.is_null() {
                let ahead = &rewritten.cells[*next..];
                *next += ahead.iter().take_while(|(start, _)| (*start as usize) < cell.start()).count();
                if let Some((start, span)) = rewritten.cells.get(*next)
                    && *start as usize == cell.start()
                {
                    read = *span;
                }
            }
            fields.push(read);
        }
    }
}

/// One cell of a record in the forms in which it is looked at.
#[derive(Clone, Copy)]
pub(super) struct ReadCell {
    /// The cell as it is. Its quotes, if it has any, may be other ones than `"`.
    pub cell: Span,
    /// The cell as it is read: a number in JSON's grammar, or [`NO_NUMBER`].
    pub read: Span,
}

impl ReadCell {
    /// Returns the cell for a column of text, which keeps the marks of numbers.
    #[inline]
    pub(super) fn text(self) -> Span {
        if self.cell.has_doubled_quotes() { self.read } else { self.cell }
    }

    /// Returns the cell as steps see it.
    #[inline]
    pub(super) fn seen(self, bytes: &[u8]) -> Span {
        if self.read != self.cell && self.read.of(bytes) == NO_NUMBER { self.cell } else { self.read }
    }
}

impl NumberMarks {
    /// Returns true unless `cell` is read the same as with the marks of JSON, or is certainly no number.
    fn may_be_in(&self, cell: &[u8]) -> bool {
        let digits = cell.strip_prefix(b"-").unwrap_or(cell);
        digits.first().is_some_and(u8::is_ascii_digit)
            && digits.iter().any(|&b| !b.is_ascii_digit() && !matches!(b, b'e' | b'E'))
    }
}

/// Returns true if `cell` is a number by `marks`.
pub(super) fn is_number_by(cell: &[u8], marks: NumberMarks) -> bool {
    write_plain(cell, &marks, &mut Vec::new())
}

/// Appends the number `cell` to `out` in JSON's grammar. Appends nothing and returns false if it is none by the marks.
fn write_plain(cell: &[u8], marks: &NumberMarks, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let rest = push_plain(cell, marks, out);
    let is_number = rest.is_some_and(<[u8]>::is_empty) && is_number(&out[start..]);
    if !is_number {
        out.truncate(start);
    }
    is_number
}

/// Appends the number at the start of `cell` and returns the bytes after it; `None` if it is none.
fn push_plain<'a>(cell: &'a [u8], marks: &NumberMarks, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let digits_of = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = cell;
    if let Some(unsigned) = rest.strip_prefix(b"-") {
        out.push(b'-');
        rest = unsigned;
    }
    let (first, mut rest) = rest.split_at(digits_of(rest));
    out.extend_from_slice(first);
    let mut buffer = [0; 4];
    if let Some(mark) = marks.thousands.map(|mark| mark.encode_utf8(&mut buffer).as_bytes())
        && (1..=3).contains(&first.len())
    {
        // Groups of three digits, or it is another kind of text: `1.5` is no number where the point is a mark of thousands.
        while let Some(group) = rest.strip_prefix(mark) {
            if digits_of(group) != 3 {
                return None;
            }
            out.extend_from_slice(&group[..3]);
            rest = &group[3..];
        }
    }
    if let Some(fraction) = rest.strip_prefix(&[marks.decimal]) {
        let (digits, after) = fraction.split_at(digits_of(fraction));
        out.push(b'.');
        out.extend_from_slice(digits);
        rest = after;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let unsigned = exponent.strip_prefix(b"-").or_else(|| exponent.strip_prefix(b"+")).unwrap_or(exponent);
        let len = rest.len() - unsigned.len() + digits_of(unsigned);
        out.extend_from_slice(&rest[..len]);
        rest = &rest[len..];
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(cell: &str, decimal: u8, thousands: Option<char>) -> Option<String> {
        let mut out = b"before".to_vec();
        let is_number = write_plain(cell.as_bytes(), &NumberMarks { decimal, thousands }, &mut out);
        assert!(is_number || out == b"before");
        is_number.then(|| String::from_utf8(out.split_off(6)).unwrap())
    }

    #[test]
    fn numbers_are_read_by_their_marks() {
        for (cell, expected) in [
            ("1.234,50", "1234.50"),
            ("-1.234.567", "-1234567"),
            ("1234,5", "1234.5"),
            ("0,001", "0.001"),
            ("12", "12"),
            ("1,5e-3", "1.5e-3"),
            ("123.456.789.012.345.678,90", "123456789012345678.90"),
        ] {
            assert_eq!(plain(cell, b',', Some('.')).as_deref(), Some(expected), "{cell}");
        }
        for text in [
            "1.5",
            "1234.567",
            "1.23.456",
            "1,234,5",
            "0.123",
            "007,5",
            "1.234.",
            "1,",
            ",5",
            "1.2345",
            "1.234,5 ",
            "+1,5",
            "1,5.000",
            "-",
            "",
            "1e",
            "1.234e5.6",
        ] {
            assert_eq!(plain(text, b',', Some('.')), None, "{text}");
        }
        assert_eq!(plain("1'234.5", b'.', Some('\'')).as_deref(), Some("1234.5"));
        assert_eq!(plain("1\u{202f}234,5", b',', Some('\u{202f}')).as_deref(), Some("1234.5"));
        assert_eq!((plain("1.234", b',', None), plain("1,234", b'.', None)), (None, None));
    }
}
