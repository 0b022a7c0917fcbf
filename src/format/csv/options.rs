//! Options of CSV files that are written.

use std::fmt;

/// Options of CSV that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// Between fields; one ASCII byte.
    pub delimiter: u8,
    /// Spelling of true and false.
    pub booleans: CsvBooleans,
    /// Spelling of null: nothing by default. A value that reads the same is quoted.
    pub null: NullText,
    /// Records end with CR LF instead of LF.
    pub crlf: bool,
    /// The file begins with a byte order mark, by which some programs know UTF-8.
    pub bom: bool,
    /// For spreadsheets: an apostrophe stands before text that they would take for a formula and before
    /// numbers of more digits than they keep, and both are counted; files end where a sheet does.
    pub excel: bool,
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
        }
    }
}

/// Spelling of null in CSV.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NullText {
    bytes: [u8; NullText::MAX_BYTES],
    len: u8,
}

impl NullText {
    /// A longer one is no word for null.
    pub const MAX_BYTES: usize = 31;

    /// The empty field.
    pub const EMPTY: NullText = NullText { bytes: [0; Self::MAX_BYTES], len: 0 };

    /// `None` for a text that is too long, or holds a quote or a line break.
    pub fn try_new(text: &str) -> Option<Self> {
        if text.len() > Self::MAX_BYTES || text.bytes().any(|b| matches!(b, b'"' | b'\n' | b'\r')) {
            return None;
        }
        let mut null = Self::EMPTY;
        null.bytes[..text.len()].copy_from_slice(text.as_bytes());
        null.len = text.len() as u8;
        Some(null)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for NullText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

/// Spelling of booleans in CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsvBooleans {
    /// `true`, `false`.
    Json,
    /// `True`, `False`: how the API's own CSV results look.
    Python,
}
