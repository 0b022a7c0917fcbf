//! The dialect of a CSV source, as far as it is specified. Knows neither flags nor files.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::format::cell_kinds::NumberMarks;

/// The dialect of a CSV source. The default is RFC 4180 with a delimiter that is inferred.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CsvDialect {
    /// Delimiter of fields: an ASCII byte other than NUL, quote, CR and LF. `None` is a tab for `.tsv` and `.tab`, else a
    /// comma, unless another delimiter certainly splits the header and the first records, as a note then says.
    pub delimiter: Option<u8>,
    /// The character around fields that contain delimiters, line ends or quotes. Default: `"`.
    pub quote: CsvQuote,
    /// Lines before the header that are no records and are not parsed. Default: 0.
    pub skip_lines: u64,
    /// The record with the names of the columns. Default: the first.
    pub header: HeaderRecord,
    /// Texts of cells that are null, as empty cells are. A quoted cell is text whatever it contains. Empty by default.
    pub null_words: Arc<[Box<str>]>,
    /// The marks in numbers. Default: those of JSON.
    pub numbers: NumberMarks,
}

impl CsvDialect {
    /// Returns the first property that is specified; `None` for the default.
    pub fn first_specified(&self) -> Option<CsvProperty> {
        let specified = [
            (self.delimiter.is_some(), CsvProperty::Delimiter),
            (self.quote != CsvQuote::default(), CsvProperty::Quote),
            (self.skip_lines > 0, CsvProperty::SkipLines),
            (self.header != HeaderRecord::default(), CsvProperty::Header),
            (!self.null_words.is_empty(), CsvProperty::NullWords),
            (self.numbers.decimal != NumberMarks::default().decimal, CsvProperty::Decimal),
            (self.numbers.thousands.is_some(), CsvProperty::Thousands),
        ];
        specified.into_iter().find_map(|(is_specified, property)| is_specified.then_some(property))
    }
}

/// The quote of a CSV source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsvQuote {
    /// This ASCII byte, other than NUL, CR, LF and the delimiter. It is doubled inside quoted fields.
    Byte(u8),
    /// None: every byte but delimiters and line ends is part of a field, and every line end ends a record.
    None,
}

impl Default for CsvQuote {
    fn default() -> Self {
        CsvQuote::Byte(b'"')
    }
}

impl CsvQuote {
    /// Returns the quote; `None` without quotes.
    pub fn byte(self) -> Option<u8> {
        match self {
            CsvQuote::Byte(byte) => Some(byte),
            CsvQuote::None => None,
        }
    }
}

/// The record of a CSV source that names its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRecord {
    /// None: the columns are `column_1`, `column_2` and so on, as many as the first record that is not blank has fields.
    Absent,
    /// The record with this number, from 1, among those that are not blank. Those before it are dropped.
    Nth(NonZeroU64),
}

impl Default for HeaderRecord {
    fn default() -> Self {
        HeaderRecord::Nth(NonZeroU64::MIN)
    }
}

impl HeaderRecord {
    /// Returns the number of records before the one that names or numbers the columns.
    pub(super) fn records_before(self) -> u64 {
        match self {
            HeaderRecord::Absent => 0,
            HeaderRecord::Nth(nth) => nth.get() - 1,
        }
    }
}

/// A property of [`CsvDialect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsvProperty {
    /// [`CsvDialect::delimiter`].
    Delimiter,
    /// [`CsvDialect::quote`].
    Quote,
    /// [`CsvDialect::skip_lines`].
    SkipLines,
    /// [`CsvDialect::header`].
    Header,
    /// [`CsvDialect::null_words`].
    NullWords,
    /// [`NumberMarks::decimal`] of [`CsvDialect::numbers`].
    Decimal,
    /// [`NumberMarks::thousands`] of [`CsvDialect::numbers`].
    Thousands,
}

impl fmt::Display for CsvProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CsvProperty::Delimiter => "a delimiter",
            CsvProperty::Quote => "a quote",
            CsvProperty::SkipLines => "a number of lines to skip",
            CsvProperty::Header => "a header of CSV",
            CsvProperty::NullWords => "a word for null",
            CsvProperty::Decimal => "a decimal mark",
            CsvProperty::Thousands => "a mark of thousands",
        })
    }
}
