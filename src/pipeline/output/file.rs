//! One output file or stream under its path: a writer of its format until it is finished, then a complete file under a
//! temporary name. Adds the path to every error.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::arrow::ArrowFile;
use super::csv::CsvFile;
use super::json_array::JsonArrayFile;
use super::ndjson::NdjsonFile;
use super::parquet::ParquetFile;
use super::rows::FileRows;
use super::writer::{FileError, FileWriter, WriterOptions, WrittenFile};
use crate::column::Schema;
use crate::format::OutputFormat;
use crate::format::parquet::{EncodedRowGroup, FileFacts};
use crate::pipeline::error::{Error, PlanError};
use crate::sink::Sink;

/// Creates the writer of the options' format on `sink`: the only table of formats that can be written.
fn writer_of(sink: Sink, options: &WriterOptions) -> Result<Box<dyn FileWriter>, FileError> {
    let compression = options.compression;
    Ok(match options.format {
        OutputFormat::Parquet(parquet) => Box::new(ParquetFile::new(sink, parquet, options)?),
        OutputFormat::Csv(csv) => Box::new(CsvFile::new(sink, csv, compression)),
        OutputFormat::Ndjson => Box::new(NdjsonFile::new(sink, compression)),
        OutputFormat::JsonArray => Box::new(JsonArrayFile::new(sink, compression)),
        OutputFormat::Arrow(form) => Box::new(ArrowFile::new(sink, form, options)),
        OutputFormat::Table => return Err(FileError::WrongForm("rows of a table")),
    })
}

/// An open file or stream.
pub(super) struct OutputFile {
    path: PathBuf,
    writer: Box<dyn FileWriter>,
    rows: u64,
}

impl OutputFile {
    /// Creates a file on `sink`. `path` is its name in messages: the final path, or a stream's name.
    pub(super) fn new(path: PathBuf, sink: Sink, options: &WriterOptions) -> Result<Self, Error> {
        let writer = writer_of(sink, options).map_err(|error| with_path(&path, error))?;
        Ok(OutputFile { path, writer, rows: 0 })
    }

    /// Returns the bytes written so far, after compression.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Returns the rows appended so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the bytes of the open row group, which are in memory.
    pub(super) fn open_bytes(&self) -> usize {
        self.writer.open_bytes()
    }

    /// Returns the columns of the row groups so far; `None` for formats without row groups.
    pub(super) fn row_group_columns(&self) -> Option<&Schema> {
        self.writer.row_group_columns()
    }

    /// Writes the open row group, however small it is.
    pub(super) fn close_row_group(&mut self) -> Result<(), Error> {
        self.writer.close_row_group().map_err(|error| with_path(&self.path, error))
    }

    /// Frees what is held for further rows, and closes the file handle: there will be no more rows.
    pub(super) fn seal(&mut self) -> Result<(), Error> {
        let sealed = self.writer.seal().and_then(|()| self.writer.park());
        sealed.map_err(|error| with_path(&self.path, error))
    }

    /// Closes the file handle; the next write opens the file again.
    pub(super) fn park(&mut self) -> Result<(), Error> {
        self.writer.park().map_err(|error| with_path(&self.path, error))
    }

    /// Appends an encoded row group, which may be merged with others.
    pub(super) fn append_row_group(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        self.rows += group.rows() as u64;
        self.writer.append_row_group(group).map_err(|error| with_path(&self.path, error))
    }

    /// Appends `rows` rows with these columns, byte by byte: compressed if the file is.
    pub(super) fn append_text(&mut self, rows: u64, text: &[u8], columns: &Arc<Schema>) -> Result<(), Error> {
        self.rows += rows;
        self.writer.append_text(text, columns).map_err(|error| with_path(&self.path, error))
    }

    /// Appends Arrow rows with these columns; no rows are no error.
    pub(super) fn append_arrow(&mut self, rows: &RecordBatch, columns: &Schema) -> Result<(), Error> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.rows += rows.num_rows() as u64;
        self.writer.append_arrow(rows, columns).map_err(|error| with_path(&self.path, error))
    }

    /// Appends `rows` rows with these columns, as text or as Arrow rows.
    pub(super) fn append(&mut self, rows: u64, body: &FileRows, columns: &Arc<Schema>) -> Result<(), Error> {
        match body {
            FileRows::Text(text) => self.append_text(rows, text, columns),
            FileRows::Arrow(rows) => self.append_arrow(rows, columns),
        }
    }

    /// Writes the end of the file, and pads or rewrites earlier rows to the final columns.
    pub(super) fn finish(self, columns: &Schema) -> Result<FinishedFile, Error> {
        let OutputFile { path, writer, rows } = self;
        match writer.finish(columns) {
            Ok(WrittenFile { sink, bytes, facts }) => Ok(FinishedFile { path, rows, bytes, facts, sink }),
            Err(error) => Err(with_path(&path, error)),
        }
    }
}

/// A complete file under its temporary name, or a stream at its end. Dropped, the file is removed.
pub(super) struct FinishedFile {
    /// The final path, or a stream's name.
    pub path: PathBuf,
    /// Number of rows.
    pub rows: u64,
    /// Size in bytes, after compression.
    pub bytes: u64,
    /// Nulls and bounds of the columns of a Parquet file.
    pub facts: Option<FileFacts>,
    sink: Sink,
}

impl FinishedFile {
    /// Closes the file handle, for outputs of many files.
    pub(super) fn park(&mut self) {
        self.sink.park();
    }

    /// Syncs the file to disk, so that only the rename is left.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.sink.sync().map_err(|cause| Error::write(&self.path, cause))
    }

    /// Returns a note for the report on what the commit changes besides the contents; `None` for nothing.
    pub(super) fn note(&self) -> Option<String> {
        self.sink.note().map(|note| format!("{}: {note}", self.path.display()))
    }

    /// Returns true for a stream.
    pub(super) fn is_stream(&self) -> bool {
        self.sink.is_stream()
    }

    /// Renames the file to its final path.
    pub(super) fn commit(self) -> Result<(), Error> {
        self.sink.commit().map_err(|cause| Error::write(&self.path, cause))
    }

    /// Returns the sink, for callers that name the file themselves.
    pub(super) fn into_sink(self) -> Sink {
        self.sink
    }
}

/// Adds the path to the error of a file.
fn with_path(path: &Path, error: FileError) -> Error {
    match error {
        FileError::Io(cause) => Error::write(path, cause),
        FileError::Unencodable(what) => Error::Unencodable(what),
        FileError::OpenQuote(line) => PlanError::OpenQuote { path: path.to_owned(), line }.into(),
        FileError::HeaderDiffers(expected) => PlanError::HeaderDiffers { path: path.to_owned(), expected }.into(),
        bug @ (FileError::WrongForm(_) | FileError::Bug(_)) => {
            Error::Bug(format!("cannot write {}: {bug}", path.display()))
        }
    }
}
