//! The formats that are read, those that are written, and the properties by which a plan decides what
//! an output supports. Enums only; the work is in the modules of the formats.

use super::arrow_ipc::ArrowForm;
use super::csv::CsvOptions;
use super::extension::NamedFormat;
use super::parquet::ParquetOptions;
use crate::column::TypeMerge;

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
    /// Parquet, with its codec.
    Parquet(ParquetOptions),
    /// CSV or TSV, with its dialect.
    Csv(CsvOptions),
    /// One JSON object per line.
    Ndjson,
    /// One JSON array of objects.
    JsonArray,
    /// Arrow IPC, as a stream or a file.
    Arrow(ArrowForm),
    /// Rows of a table, in the form of the system that has it.
    Table,
}

impl OutputFormat {
    /// Returns the format for values that merge by `type_merge`: text of CSV inputs is a number where it is one.
    pub fn for_values(self, type_merge: TypeMerge) -> Self {
        match self {
            OutputFormat::Csv(options) => {
                OutputFormat::Csv(CsvOptions { numbers_in_text: type_merge == TypeMerge::Text, ..options })
            }
            other => other,
        }
    }

    /// Returns the entry of the extension table for this format; `None` for tables, which are no files.
    pub fn named(&self) -> Option<NamedFormat> {
        Some(match self {
            OutputFormat::Parquet(_) => NamedFormat::Parquet,
            OutputFormat::Csv(options) if options.delimiter == b'\t' => NamedFormat::Tsv,
            OutputFormat::Csv(_) => NamedFormat::Csv,
            OutputFormat::Ndjson => NamedFormat::Ndjson,
            OutputFormat::JsonArray => NamedFormat::Json,
            OutputFormat::Arrow(ArrowForm::Stream) => NamedFormat::ArrowStream,
            OutputFormat::Arrow(ArrowForm::File) => NamedFormat::Arrow,
            OutputFormat::Table => return None,
        })
    }

    /// Returns the extension of files in this format, without the dot; empty for tables.
    pub fn extension(&self) -> &'static str {
        self.named().map_or("", |named| named.extension())
    }

    /// Returns the properties by which plans decide; the one table of them.
    pub fn properties(&self) -> FormatProperties {
        use {FileEnd::*, LateColumns::*, RowForm::*};
        let (rows, late_columns, end) = match self {
            OutputFormat::Parquet(_) => (Columns, BeforeItAppears, Footer),
            OutputFormat::Csv(_) => (Cells, BeforeItAppears, Open),
            OutputFormat::Ndjson => (Json, Anytime, Open),
            OutputFormat::JsonArray => (Json, Anytime, Bracket),
            OutputFormat::Arrow(_) => (Columns, Never, Footer),
            OutputFormat::Table => (Columns, BeforeItAppears, Open),
        };
        FormatProperties { rows, late_columns, end }
    }

    /// Returns true for formats of typed columns, whose rows cannot be copied from the text of records.
    pub fn is_typed(&self) -> bool {
        self.properties().rows == RowForm::Columns
    }
}

/// The properties of a format by which plans decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatProperties {
    /// Layout of its rows.
    pub rows: RowForm,
    /// Support for columns that are added after rows were written.
    pub late_columns: LateColumns,
    /// Content after the last row.
    pub end: FileEnd,
}

/// The layout of the rows of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowForm {
    /// Typed columns.
    Columns,
    /// Cells of text under the names of a header.
    Cells,
    /// JSON objects, each with its own keys.
    Json,
}

/// Support of a format for columns that are added after rows were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateColumns {
    /// Supported always: each row carries its own keys.
    Anytime,
    /// Supported until the file is published, by rewriting rows or chunks; not in a stream.
    BeforeItAppears,
    /// Not supported: the first rows fix the columns.
    Never,
}

/// The content after the last row, which decides whether rows can be appended later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileEnd {
    /// No content: rows can be appended.
    Open,
    /// Metadata of the whole file.
    Footer,
    /// The bracket that closes the JSON array.
    Bracket,
}
