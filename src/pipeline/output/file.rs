//! One output file or stream under its path: the writer of its format until it is finished, then a whole file that only
//! lacks its name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::arrow::ArrowFile;
use super::csv::CsvFile;
use super::json_array::JsonArrayFile;
use super::ndjson::NdjsonFile;
use super::parquet::ParquetFile;
use super::rows::FileRows;
use super::writer::{FileError, FileWriter, WriterOptions};
use crate::column::Schema;
use crate::format::OutputFormat;
use crate::format::parquet::EncodedRowGroup;
use crate::pipeline::error::{Error, PlanError};
use crate::sink::Sink;

/// Begins a file of the options' format on `sink`: the one table of formats that can be written.
fn writer_of(sink: Sink, options: &WriterOptions) -> Result<Box<dyn FileWriter>, FileError> {
    let compression = options.compression;
    Ok(match options.format {
        OutputFormat::Parquet(parquet) => Box::new(ParquetFile::new(sink, parquet, options)?),
        OutputFormat::Csv(csv) => Box::new(CsvFile::new(sink, csv, compression)),
        OutputFormat::Ndjson => Box::new(NdjsonFile::new(sink, compression)),
        OutputFormat::JsonArray => Box::new(JsonArrayFile::new(sink, compression)),
        OutputFormat::Arrow(form) => Box::new(ArrowFile::new(sink, form, options)),
    })
}

/// An open file or stream.
pub struct OutputFile {
    path: PathBuf,
    writer: Box<dyn FileWriter>,
    rows: u64,
}

impl OutputFile {
    /// Begins a file on `sink`. `path` is its name in messages: the final path, or a stream's name.
    pub fn new(path: PathBuf, sink: Sink, options: &WriterOptions) -> Result<Self, Error> {
        let writer = writer_of(sink, options).map_err(|error| placed(&path, error))?;
        Ok(OutputFile { path, writer, rows: 0 })
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of row groups that are not written yet.
    pub fn open_bytes(&self) -> usize {
        self.writer.open_bytes()
    }

    /// The columns of the row groups so far, if it has such.
    pub fn row_group_columns(&self) -> Option<&Schema> {
        self.writer.row_group_columns()
    }

    /// Writes what is open, as a row group of its own.
    pub fn close_row_group(&mut self) -> Result<(), Error> {
        self.writer.close_row_group().map_err(|error| placed(&self.path, error))
    }

    /// Closes a file that can be opened again for the next write.
    pub fn park(&mut self) -> Result<(), Error> {
        self.writer.park().map_err(|error| placed(&self.path, error))
    }

    /// Appends a row group.
    pub fn append_row_group(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        self.rows += group.rows() as u64;
        self.writer.append_row_group(group).map_err(|error| placed(&self.path, error))
    }

    /// Appends `rows` rows with these columns, as they are to stand in the file.
    pub fn append_text(&mut self, rows: u64, text: &[u8], columns: &Arc<Schema>) -> Result<(), Error> {
        self.rows += rows;
        self.writer.append_text(text, columns).map_err(|error| placed(&self.path, error))
    }

    /// Appends Arrow rows with these columns.
    pub fn append_arrow(&mut self, rows: &RecordBatch, columns: &Schema) -> Result<(), Error> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.rows += rows.num_rows() as u64;
        self.writer.append_arrow(rows, columns).map_err(|error| placed(&self.path, error))
    }

    /// Appends `rows` rows with these columns, in either form.
    pub fn append(&mut self, rows: u64, body: &FileRows, columns: &Arc<Schema>) -> Result<(), Error> {
        match body {
            FileRows::Text(text) => self.append_text(rows, text, columns),
            FileRows::Arrow(rows) => self.append_arrow(rows, columns),
        }
    }

    /// Writes what belongs at the end, and brings what was written up to the final columns.
    pub fn finish(self, columns: &Schema) -> Result<FinishedFile, Error> {
        let OutputFile { path, writer, rows } = self;
        match writer.finish(columns) {
            Ok((sink, bytes)) => Ok(FinishedFile { path, rows, bytes, sink }),
            Err(error) => Err(placed(&path, error)),
        }
    }
}

/// A whole file under its temporary name, or a stream at its end.
pub struct FinishedFile {
    /// Its final path, or a stream's name.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
    /// Its bytes.
    pub bytes: u64,
    sink: Sink,
}

impl FinishedFile {
    /// Closes a file that can be opened again.
    pub fn park(&mut self) {
        self.sink.park();
    }

    /// Makes the file durable, so that only its name is missing.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.sink.sync().map_err(|cause| Error::write(&self.path, cause))
    }

    /// Makes the file appear.
    pub fn commit(self) -> Result<(), Error> {
        self.sink.commit().map_err(|cause| Error::write(&self.path, cause))
    }

    /// The target, where the file stands until it gets its name.
    pub fn into_sink(self) -> Sink {
        self.sink
    }
}

/// The error of a file, with its path.
fn placed(path: &Path, error: FileError) -> Error {
    match error {
        FileError::Io(cause) => Error::write(path, cause),
        FileError::Unencodable(what) => Error::Unencodable(what),
        FileError::HeaderDiffers(expected) => PlanError::HeaderDiffers { path: path.to_owned(), expected }.into(),
        bug @ (FileError::WrongForm(_) | FileError::Bug(_)) => {
            Error::Bug(format!("cannot write {}: {bug}", path.display()))
        }
    }
}
