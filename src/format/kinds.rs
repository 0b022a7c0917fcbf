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

    /// Its properties: the one table of formats that plans decide by.
    pub fn properties(&self) -> FormatProperties {
        use {FileEnd::*, LateColumns::*, RowForm::*};
        let (rows, late_columns, end) = match self {
            OutputFormat::Parquet(_) => (Columns, BeforeItAppears, Footer),
            OutputFormat::Csv(_) => (Cells, BeforeItAppears, Open),
            OutputFormat::Ndjson => (Json, Anytime, Open),
            OutputFormat::JsonArray => (Json, Anytime, Bracket),
            OutputFormat::Arrow(_) => (Columns, Never, Footer),
        };
        FormatProperties { rows, late_columns, end }
    }

    /// True where columns have types, and rows are not written from the text of their records.
    pub fn is_typed(&self) -> bool {
        self.properties().rows == RowForm::Columns
    }
}

/// Properties of a format that plans decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatProperties {
    /// The form of its rows.
    pub rows: RowForm,
    /// Whether a column can come after rows were written.
    pub late_columns: LateColumns,
    /// The end of its files.
    pub end: FileEnd,
}

/// The form of the rows of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowForm {
    /// Columns that have types.
    Columns,
    /// Cells of text under names.
    Cells,
    /// JSON objects, each with every key where it is.
    Json,
}

/// Columns that come after rows were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateColumns {
    /// Rows carry their own names: always.
    Anytime,
    /// What was written is brought up to them while the file has not appeared; not in a stream.
    BeforeItAppears,
    /// The first rows fix the columns.
    Never,
}

/// The end of a file, which decides whether rows can be added to it later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEnd {
    /// Nothing: rows can be added.
    Open,
    /// A description of the whole file.
    Footer,
    /// The end of an array.
    Bracket,
}
