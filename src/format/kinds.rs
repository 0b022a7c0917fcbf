//! The formats: which are read, which are written, and what plans have to know of each.

use super::arrow_ipc::ArrowForm;
use super::csv::CsvOptions;
use super::extension::NamedFormat;
use super::parquet::ParquetOptions;

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

    /// The extension that its files are given.
    pub fn extension(&self) -> &'static str {
        self.named().extension()
    }

    /// True where columns have types, and rows are not written from the text of their records.
    pub fn is_typed(&self) -> bool {
        matches!(self, OutputFormat::Parquet(_) | OutputFormat::Arrow(_))
    }
}
