//! Counts of the kinds of cells in columns of text, for the report: a few words among numbers make a column text.
//!
//! A column of plain text costs next to nothing: its count ends as soon as more than a few of its cells are text.

use memchr::memchr_iter;

use super::super::cells::{ReadCell, is_number_by};
use super::super::infer::{is_number, parse_bool};
use crate::format::cell_kinds::{CellKinds, NumberMarks, TextCell, TextForm};

/// Text cells that are counted in any case, before their share ends the count. By eye.
const FEW_TEXTS: u64 = 64;

/// The share of text cells that ends the count, as a divisor: an eighth, far above what a report calls few.
const MANY_TEXTS: u64 = 8;

impl CellKinds {
    /// Counts cells of records of `bytes`; `dialect` is that of the source.
    pub(super) fn count(&mut self, bytes: &[u8], cells: impl Iterator<Item = ReadCell>, dialect: NumberMarks) {
        if self.is_text {
            return;
        }
        for cell in cells {
            if cell.cell.is_null() {
                continue;
            }
            let value = cell.read.of(bytes);
            if is_number(value) {
                self.numbers += 1;
            } else if parse_bool(value).is_some() {
                self.booleans += 1;
            } else {
                self.texts += 1;
                let (byte, text) = (cell.cell.start(), cell.cell.of(bytes));
                self.first_text.get_or_insert_with(|| TextCell {
                    byte,
                    line: memchr_iter(b'\n', &bytes[..byte]).count() as u64,
                    form: form_of(text, dialect),
                });
                self.is_text = self.texts > FEW_TEXTS && self.texts * MANY_TEXTS > self.numbers + self.booleans;
                if self.is_text {
                    return;
                }
            }
        }
    }
}

/// Returns the form of a cell that is text in the dialect with the marks `dialect`.
fn form_of(text: &[u8], dialect: NumberMarks) -> TextForm {
    if !text.iter().any(u8::is_ascii_digit) {
        return TextForm::Word;
    }
    // The plainest first.
    let thousands = [None, Some('.'), Some(','), Some('\''), Some(' '), Some('\u{a0}'), Some('\u{202f}')];
    let marks =
        thousands.into_iter().flat_map(|thousands| [b'.', b','].map(|decimal| NumberMarks { decimal, thousands }));
    let mut others = marks.filter(|marks| *marks != dialect && marks.thousands != Some(marks.decimal.into()));
    others.find(|marks| is_number_by(text, *marks)).map_or(TextForm::Other, TextForm::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_among_numbers_has_a_form() {
        let form = |text: &str| form_of(text.as_bytes(), NumberMarks::default());
        let marks = |decimal, thousands| TextForm::Number(NumberMarks { decimal, thousands });
        assert_eq!((form("NA"), form("-"), form("é")), (TextForm::Word, TextForm::Word, TextForm::Word));
        assert_eq!((form("1,5"), form("1,234")), (marks(b',', None), marks(b',', None)));
        assert_eq!(form("1.234,50"), marks(b',', Some('.')));
        assert_eq!(form("1,234.50"), marks(b'.', Some(',')));
        assert_eq!(form("1'234"), marks(b'.', Some('\'')));
        assert_eq!(form("1\u{a0}234,5"), marks(b',', Some('\u{a0}')));
        for other in ["007", "+47", "12 kg", "1.2.3", "2024-01-01", " 1"] {
            assert_eq!(form(other), TextForm::Other, "{other}");
        }
        let comma = NumberMarks { decimal: b',', thousands: None };
        assert_eq!(form_of(b"1.5", comma), marks(b'.', None));
        assert_eq!(form_of(b"1.234,5", comma), marks(b',', Some('.')));
    }
}
