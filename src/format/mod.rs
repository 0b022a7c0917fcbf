//! Formats: how bytes become records and columns, and columns bytes again. Pure work.

pub mod arrow_ipc;
pub mod arrow_json;
pub mod compress;
pub mod csv;
pub mod decode;
pub mod detect;
mod extension;
pub mod frame;
pub mod json_array;
pub mod json_path;
pub mod ndjson;
pub mod parquet;
pub mod schema_file;
pub(crate) mod simd;
pub mod utf8;

use std::borrow::Cow;
use std::fmt;

pub use self::arrow_ipc::ArrowForm;
pub use self::extension::NamedFormat;
pub use crate::column::{json_text, number};
use crate::position::FieldPath;

/// A format that records are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Ndjson,
    /// RFC 4180 with a header.
    Csv,
    /// One JSON array of objects.
    JsonArray,
}

/// A format that records are written in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutputFormat {
    /// Parquet.
    Parquet(ParquetOptions),
    /// CSV.
    Csv(CsvOptions),
    /// One JSON object per line.
    Ndjson,
    /// One JSON array of objects.
    JsonArray,
    /// Arrow IPC.
    Arrow(ArrowForm),
}

impl OutputFormat {
    /// Its name among the extensions of files.
    pub fn named(&self) -> NamedFormat {
        match self {
            OutputFormat::Parquet(_) => NamedFormat::Parquet,
            OutputFormat::Csv(options) if options.delimiter == b'\t' => NamedFormat::Tsv,
            OutputFormat::Csv(_) => NamedFormat::Csv,
            OutputFormat::Ndjson => NamedFormat::Ndjson,
            OutputFormat::JsonArray => NamedFormat::Json,
            OutputFormat::Arrow(ArrowForm::Stream) => NamedFormat::ArrowStream,
            OutputFormat::Arrow(ArrowForm::File) => NamedFormat::Arrow,
        }
    }

    /// What the names of its files end with.
    pub fn extension(&self) -> &'static str {
        self.named().extension()
    }

    /// True where columns have types, and rows are not written from the text of their records.
    pub fn is_typed(&self) -> bool {
        matches!(self, OutputFormat::Parquet(_) | OutputFormat::Arrow(_))
    }
}

/// How Parquet is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParquetOptions {
    /// Codec of the pages.
    pub codec: ParquetCodec,
}

impl Default for ParquetOptions {
    fn default() -> Self {
        ParquetOptions { codec: ParquetCodec::ZSTD_DEFAULT }
    }
}

/// Codec of Parquet pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParquetCodec {
    /// None.
    Uncompressed,
    /// Snappy.
    Snappy,
    /// Raw LZ4.
    Lz4,
    /// Zstandard.
    Zstd {
        /// 1 to 22.
        level: i32,
    },
}

impl ParquetCodec {
    /// zstd at level 2: a twelfth more time in the codec than level 1 for a file smaller by a
    /// fourteenth, on the wide rows of the benchmarks; level 3 takes a fourth more.
    pub const ZSTD_DEFAULT: ParquetCodec = ParquetCodec::Zstd { level: 2 };
}

/// How CSV is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// Between fields; one ASCII byte.
    pub delimiter: u8,
    /// How true and false are spelled.
    pub booleans: CsvBooleans,
    /// How null is spelled: nothing by default. A value that reads the same is quoted.
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

/// How CSV spells null.
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

/// How CSV spells booleans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsvBooleans {
    /// `true`, `false`.
    Json,
    /// `True`, `False`: how the API's own CSV results look.
    Python,
}

/// Compression around a whole text file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// gzip, one or more members.
    Gzip,
    /// Zstandard, one or more frames.
    Zstd,
}

/// Why a record could not be used. Holds no value of the record: results are personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Byte in the record where it was noticed, from 0.
    pub offset: usize,
    /// The field, as far as it is known.
    pub path: FieldPath,
    /// Why, in words: `expected a number, found a string`.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_root() {
            f.write_str(&self.reason)
        } else {
            write!(f, "field `{}`: {}", self.path, self.reason)
        }
    }
}
