//! Formats: how bytes become records and columns, and columns bytes again. Pure work.

pub mod arrow_json;
pub mod compress;
pub mod csv;
pub mod decode;
pub mod detect;
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
}

impl Default for CsvOptions {
    fn default() -> Self {
        CsvOptions { delimiter: b',', booleans: CsvBooleans::Json }
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
