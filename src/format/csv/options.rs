//! The dialect of CSV outputs: delimiter, booleans, null, line ends, and the changes for
//! spreadsheets. Inputs have only a delimiter.

use std::fmt;

/// The dialect of a CSV output. The default is RFC 4180 with LF and lower-case booleans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// Separator of fields, one ASCII byte; a comma by default.
    pub delimiter: u8,
    /// Spelling of true and false.
    pub booleans: CsvBooleans,
    /// Spelling of null; the empty field by default. A value with the same text is quoted.
    pub null: NullText,
    /// End records with CR LF instead of LF; off by default.
    pub crlf: bool,
    /// Begin the file with a byte order mark, by which some programs recognise UTF-8; off by default.
    pub bom: bool,
    /// Write for spreadsheets, off by default: an apostrophe precedes text that they would run as a
    /// formula or convert, and numbers of more digits than they keep; all are counted, and a file has at most the
    /// rows of a sheet.
    pub excel: bool,
    /// Write numbers for spreadsheets with a decimal comma; off by default.
    pub decimal_comma: bool,
    /// Text that is a number counts as one, as in cells of CSV; off by default.
    pub numbers_in_text: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions {
            delimiter: b',',
            booleans: CsvBooleans::Json,
            null: NullText::EMPTY,
            crlf: false,
            bom: false,
            excel: false,
            decimal_comma: false,
            numbers_in_text: false,
        }
    }
}

/// The spelling of null in CSV, at most [`NullText::MAX_BYTES`] long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NullText {
    bytes: [u8; NullText::MAX_BYTES],
    len: u8,
}

impl NullText {
    /// Length of the longest spelling, in bytes.
    pub const MAX_BYTES: usize = 31;

    /// The empty field, the default.
    pub const EMPTY: NullText = NullText { bytes: [0; Self::MAX_BYTES], len: 0 };

    /// Makes a spelling of `text`. `None` if it is too long, or holds a quote or a line break.
    pub fn try_new(text: &str) -> Option<Self> {
        if text.len() > Self::MAX_BYTES || text.bytes().any(|b| matches!(b, b'"' | b'\n' | b'\r')) {
            return None;
        }
        let mut null = Self::EMPTY;
        null.bytes[..text.len()].copy_from_slice(text.as_bytes());
        null.len = text.len() as u8;
        Some(null)
    }

    /// Returns the spelling as bytes; none for the empty field.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for NullText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

/// The spelling of booleans in CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsvBooleans {
    /// `true`, `false`.
    Json,
    /// `True`, `False`, as in the API's own CSV results.
    Python,
}
