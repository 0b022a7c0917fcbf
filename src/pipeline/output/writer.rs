//! The writer's half of a format, behind one trait: encoded rows into one file or stream, and what belongs at its end. Each
//! format has a file of its own; none of them knows the path that messages call it by, which [`super::file`] adds.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;

use super::encode::compressed;
use crate::column::{Schema, TypeMerge};
use crate::format::compress::PieceCompressor;
use crate::format::parquet::{self, EncodedRowGroup, SortKey};
use crate::format::{Compression, OutputFormat, arrow_ipc};
use crate::sink::Sink;
use crate::text::{error_chain, human_count};

/// Parquet's pages and Arrow's messages are collected to so much before they are written.
const BUFFER_BYTES: usize = 1 << 18;

/// One open file or stream of a format. Rows come in the form that the format takes; the other forms are a bug.
///
/// Dropped before it is finished, it leaves nothing behind, as its sink does.
pub trait FileWriter: Send {
    /// Appends rows with these columns, as they are to stand in the file: compressed, if the file is.
    fn append_text(&mut self, _text: &[u8], _columns: &Arc<Schema>) -> Result<(), FileError> {
        Err(FileError::WrongForm("text"))
    }

    /// Appends Arrow rows with these columns. There is at least one row.
    fn append_arrow(&mut self, _rows: &RecordBatch, _columns: &Schema) -> Result<(), FileError> {
        Err(FileError::WrongForm("Arrow rows"))
    }

    /// Appends a row group.
    fn append_row_group(&mut self, _group: EncodedRowGroup) -> Result<(), FileError> {
        Err(FileError::WrongForm("a row group"))
    }

    /// Bytes so far.
    fn bytes(&self) -> u64;

    /// Bytes of row groups that are not written yet.
    fn open_bytes(&self) -> usize {
        0
    }

    /// Writes what is open, as a row group of its own.
    fn close_row_group(&mut self) -> Result<(), FileError> {
        Ok(())
    }

    /// The columns of the row groups so far, if it has such.
    fn row_group_columns(&self) -> Option<&Schema> {
        None
    }

    /// Closes a file that can be opened again for the next write.
    fn park(&mut self) -> Result<(), FileError>;

    /// Writes what belongs at the end, and brings what was written up to the final columns. Returns the whole file, which
    /// has no name yet, and its bytes.
    fn finish(self: Box<Self>, columns: &Schema) -> Result<(Sink, u64), FileError>;
}

/// The reason for which rows cannot go into a file. [`super::file`] adds the path.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The target failed.
    #[error("the target failed")]
    Io(#[from] io::Error),
    /// The format cannot hold the rows.
    #[error("{0}")]
    Unencodable(String),
    /// The file that rows are added to begins with another header than this.
    #[error("its header differs from {0}")]
    HeaderDiffers(String),
    /// Rows came in a form that the format does not take: a bug.
    #[error("{0} came for a format of another form")]
    WrongForm(&'static str),
    /// Another bug.
    #[error("{0}")]
    Bug(String),
}

impl From<parquet::Error> for FileError {
    fn from(error: parquet::Error) -> Self {
        match error {
            parquet::Error::Io(cause) => FileError::Io(cause),
            parquet::Error::NoColumns { .. } => FileError::Unencodable(error.to_string()),
            other => FileError::Bug(error_chain(&other)),
        }
    }
}

impl From<arrow_ipc::Error> for FileError {
    fn from(error: arrow_ipc::Error) -> Self {
        match error {
            arrow_ipc::Error::Io(cause) => FileError::Io(cause),
            other => FileError::Bug(error_chain(&other)),
        }
    }
}

/// Options for writing the files of an output.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// The format.
    pub format: OutputFormat,
    /// Of text; Parquet and Arrow have their own inside.
    pub compression: Compression,
    /// Unlike scalars of a column, by the kind of the sources.
    pub type_merge: TypeMerge,
    /// A Parquet file closes a row group at so many bytes, as encoded.
    pub row_group_bytes: usize,
    /// Key and value pairs in the footer of Parquet and in the schema of Arrow.
    pub metadata: Arc<[(String, String)]>,
    /// Bytes that are collected before they are written.
    pub buffer_bytes: usize,
    /// The order that is claimed for the rows of Parquet files.
    pub sort_hint: Arc<[SortKey]>,
    /// Row groups of finished files, and those that are not in the order.
    pub order: Arc<OrderCounts>,
    /// Threads that may encode files at the end.
    pub workers: usize,
}

impl WriterOptions {
    /// Options for one file, with no metadata and no order.
    pub fn new(format: OutputFormat, compression: Compression, type_merge: TypeMerge, row_group_bytes: usize) -> Self {
        WriterOptions {
            format,
            compression,
            type_merge,
            row_group_bytes,
            metadata: Arc::new([]),
            buffer_bytes: BUFFER_BYTES,
            sort_hint: Arc::default(),
            order: Arc::default(),
            workers: 1,
        }
    }
}

/// Row groups of all files of an execution, and those of them that are not in the order that was claimed.
#[derive(Debug, Default)]
pub struct OrderCounts {
    row_groups: AtomicU64,
    unsorted: AtomicU64,
}

impl OrderCounts {
    /// Counts the row groups of one finished file.
    pub fn add(&self, row_groups: usize, sorted: usize) {
        self.row_groups.fetch_add(row_groups as u64, Ordering::Relaxed);
        self.unsorted.fetch_add((row_groups - sorted) as u64, Ordering::Relaxed);
    }

    /// A note for the report if the claim was not true of all of them.
    pub fn note(&self) -> Option<String> {
        let (all, unsorted) = (self.row_groups.load(Ordering::Relaxed), self.unsorted.load(Ordering::Relaxed));
        (unsorted > 0).then(|| {
            format!(
                "{} of {} row groups are not in the order of the sort hint, and do not say so",
                human_count(unsorted),
                human_count(all)
            )
        })
    }
}

/// A sink of text that counts its bytes.
pub struct TextSink {
    pub sink: Sink,
    pub compression: Compression,
    pub bytes: u64,
}

impl TextSink {
    pub fn new(sink: Sink, compression: Compression) -> Self {
        TextSink { sink, compression, bytes: 0 }
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes text, compressed if the file is.
    pub fn write_plain(&mut self, text: &[u8]) -> io::Result<()> {
        match self.compression {
            Compression::None => self.write(text),
            compression => self.write(&compressed(compression, text)),
        }
    }

    /// The whole file. A compressed file of nothing is one empty member, not no bytes.
    pub fn finish(mut self) -> io::Result<(Sink, u64)> {
        if self.bytes == 0 && self.compression != Compression::None {
            let mut empty = Vec::new();
            PieceCompressor::new(self.compression)?.compress(b"", &mut empty)?;
            self.write(&empty)?;
        }
        Ok((self.sink, self.bytes))
    }
}
