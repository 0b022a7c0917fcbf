//! The trait of the writer's half of a format: appends encoded rows to one file or stream and writes its end. Each
//! format has an implementation in a file of its own; none knows its path, which [`super::file`] adds to errors.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arrow_array::RecordBatch;

use super::encode::compressed;
use crate::column::{Schema, TypeMerge};
use crate::format::compress::PieceCompressor;
use crate::format::parquet::{self, EncodedRowGroup, FieldIds, FileFacts, SortKey};
use crate::format::{Compression, OutputFormat, arrow_ipc};
use crate::sink::Sink;
use crate::text::{error_chain, human_count};

/// Bytes of Parquet pages and Arrow messages that are collected for one write. By eye: where the cost of a write does
/// not show.
const BUFFER_BYTES: usize = 1 << 18;

/// One open file or stream of a format. Each format takes rows in one form; the methods of the other forms return a
/// bug.
///
/// Dropped before it is finished, it removes its file, as its sink does.
pub(super) trait FileWriter: Send {
    /// Appends rows with these columns byte by byte: compressed if the file is.
    fn append_text(&mut self, _text: &[u8], _columns: &Arc<Schema>) -> Result<(), FileError> {
        Err(FileError::WrongForm("text"))
    }

    /// Appends Arrow rows with these columns. There is at least one row.
    fn append_arrow(&mut self, _rows: &RecordBatch, _columns: &Schema) -> Result<(), FileError> {
        Err(FileError::WrongForm("Arrow rows"))
    }

    /// Appends an encoded row group, which may be merged with others.
    fn append_row_group(&mut self, _group: EncodedRowGroup) -> Result<(), FileError> {
        Err(FileError::WrongForm("a row group"))
    }

    /// Returns the bytes written so far, after compression.
    fn bytes(&self) -> u64;

    /// Returns the bytes of the open row group, which are in memory.
    fn open_bytes(&self) -> usize {
        0
    }

    /// Writes the open row group, however small it is.
    fn close_row_group(&mut self) -> Result<(), FileError> {
        Ok(())
    }

    /// Returns the columns of the row groups so far; `None` for formats without row groups.
    fn row_group_columns(&self) -> Option<&Schema> {
        None
    }

    /// Frees what is held for further rows: there will be none. Formats that hold little do nothing.
    fn seal(&mut self) -> Result<(), FileError> {
        Ok(())
    }

    /// Closes the file handle; the next write opens the file again. Does nothing for a stream.
    fn park(&mut self) -> Result<(), FileError>;

    /// Writes the end of the file, and pads or rewrites earlier rows to the final columns. Returns the complete file
    /// under its temporary name.
    fn finish(self: Box<Self>, columns: &Schema) -> Result<WrittenFile, FileError>;
}

/// A file with its end, under its temporary name.
pub(super) struct WrittenFile {
    pub sink: Sink,
    /// Size in bytes.
    pub bytes: u64,
    /// Nulls and bounds of the columns of a Parquet file.
    pub facts: Option<FileFacts>,
}

impl From<(Sink, u64)> for WrittenFile {
    /// Returns a file of a format that has no facts.
    fn from((sink, bytes): (Sink, u64)) -> Self {
        WrittenFile { sink, bytes, facts: None }
    }
}

/// The reason for which rows cannot go into a file. [`super::file`] adds the path.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// An I/O error of the file, stream or store.
    #[error("I/O error")]
    Io(#[from] io::Error),
    /// The format cannot hold the rows.
    #[error("{0}")]
    Unencodable(String),
    /// The file to append to has another header than this one of the new rows.
    #[error("its header differs from {0}")]
    HeaderDiffers(String),
    /// The file to append to ends within quotes, which were opened in this line.
    #[error("the quote that line {0} opens is not closed")]
    OpenQuote(u64),
    /// A bug: rows were appended in a form that the format does not take.
    #[error("the format does not take {0}")]
    WrongForm(&'static str),
    /// A bug in an encoder or a writer.
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

/// Memory for the facts of all files of a table, which are kept until the commit names the files. An eighth of the default
/// memory bound: about 150,000 columns of files.
const MAX_FACT_BYTES: usize = 32 << 20;

/// The limit of the facts of all files of a table, shared by them. Tables do without those of the files behind it, which
/// readers then open to learn what is in them.
#[derive(Clone, Debug, Default)]
pub(crate) struct FactsLimit {
    kept_bytes: Arc<AtomicUsize>,
}

impl FactsLimit {
    /// Counts the facts of a finished file, or takes those of its columns away where no memory is left for them.
    pub(super) fn apply(&self, facts: &mut FileFacts) {
        let bytes = facts.memory_size();
        if self.kept_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MAX_FACT_BYTES {
            self.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
            facts.leaves = Vec::new();
        }
    }

    /// Takes the facts of a file off, which is written again.
    pub(super) fn give_back(&self, facts: &FileFacts) {
        self.kept_bytes.fetch_sub(facts.memory_size(), Ordering::Relaxed);
    }
}

/// Options for writing the files of an output.
#[derive(Clone, Debug)]
pub(crate) struct WriterOptions {
    /// The format of the files.
    pub format: OutputFormat,
    /// Compression of text formats; Parquet and Arrow have their own inside.
    pub compression: Compression,
    /// The merge of unlike scalars in a column, by the kind of the sources.
    pub type_merge: TypeMerge,
    /// Encoded bytes at which a Parquet file closes a row group; 0 for one group per appended one.
    pub row_group_bytes: usize,
    /// Bytes of a Parquet file's footer entries in memory; more are in a temporary file until its end.
    pub footer_bytes: usize,
    /// Directory of such temporary files; `None` is the system's.
    pub spill_dir: Option<PathBuf>,
    /// Key and value pairs for the footer of Parquet and the schema of Arrow.
    pub metadata: Arc<[(String, String)]>,
    /// Bytes of Parquet and Arrow files that are collected for one write; default 256 KiB, 0 for none.
    pub buffer_bytes: usize,
    /// The order that is claimed for the rows of Parquet files; empty for none.
    pub sort_hint: Arc<[SortKey]>,
    /// Counts of sorted row groups, shared by all files of the execution.
    pub order: Arc<OrderCounts>,
    /// Ids of the fields of Parquet files, if they have any; set once, before the ends of the files are written.
    pub field_ids: Arc<OnceLock<FieldIds>>,
    /// Number of threads that may encode spilled files at the end.
    pub workers: usize,
    /// Streams get their bytes only at the commit; default false.
    pub whole_streams: bool,
    /// True if the pass may begin again with the types of all records.
    pub may_start_over: bool,
    /// Nulls and bounds of the columns of Parquet files are kept, up to a limit; default not.
    pub facts: Option<FactsLimit>,
}

impl WriterOptions {
    /// Creates options without metadata and without a sort hint, for one thread.
    pub(crate) fn new(
        format: OutputFormat,
        compression: Compression,
        type_merge: TypeMerge,
        row_group_bytes: usize,
    ) -> Self {
        WriterOptions {
            format: format.for_values(type_merge),
            compression,
            type_merge,
            row_group_bytes,
            footer_bytes: usize::MAX,
            spill_dir: None,
            metadata: Arc::new([]),
            buffer_bytes: BUFFER_BYTES,
            sort_hint: Arc::default(),
            order: Arc::default(),
            field_ids: Arc::default(),
            workers: 1,
            whole_streams: false,
            may_start_over: false,
            facts: None,
        }
    }
}

/// Counts of all row groups of an execution, and of those that are not in the order of the sort hint.
#[derive(Debug, Default)]
pub(crate) struct OrderCounts {
    row_groups: AtomicU64,
    unsorted: AtomicU64,
}

impl OrderCounts {
    /// Adds the row groups of one finished file, `sorted` of which are in order.
    pub(crate) fn add(&self, row_groups: usize, sorted: usize) {
        self.row_groups.fetch_add(row_groups as u64, Ordering::Relaxed);
        self.unsorted.fetch_add((row_groups - sorted) as u64, Ordering::Relaxed);
    }

    /// Returns a note for the report if some row groups are not in order.
    pub(crate) fn note(&self) -> Option<String> {
        let (all, unsorted) = (self.row_groups.load(Ordering::Relaxed), self.unsorted.load(Ordering::Relaxed));
        (unsorted > 0).then(|| {
            format!(
                "{} of {} row groups are not in the order of the sort hint and are not marked as sorted",
                human_count(unsorted),
                human_count(all)
            )
        })
    }
}

/// A sink of text that counts its bytes.
pub(super) struct TextSink {
    pub sink: Sink,
    pub compression: Compression,
    pub bytes: u64,
}

impl TextSink {
    pub(super) fn new(sink: Sink, compression: Compression) -> Self {
        TextSink { sink, compression, bytes: 0 }
    }

    /// Writes bytes that are compressed already, if the file is.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Compresses text if the file is compressed, and writes it.
    pub(super) fn write_plain(&mut self, text: &[u8]) -> io::Result<()> {
        match self.compression {
            Compression::None => self.write(text),
            compression => self.write(&compressed(compression, text)),
        }
    }

    /// Returns the sink and its bytes. A compressed file without text gets one empty member: no bytes at all would not
    /// be a valid gzip file.
    pub(super) fn finish(mut self) -> io::Result<(Sink, u64)> {
        if self.bytes == 0 && self.compression != Compression::None {
            let mut empty = Vec::new();
            PieceCompressor::new(self.compression)?.compress(b"", &mut empty)?;
            self.write(&empty)?;
        }
        Ok((self.sink, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::parquet::LeafFacts;

    #[test]
    fn facts_beyond_the_limit_are_not_kept() {
        let leaf = LeafFacts {
            path: vec!["c".repeat(1 << 20)],
            bytes: 0,
            values: 0,
            nulls: None,
            bounds: None,
            is_unbounded: false,
        };
        let facts = FileFacts { leaves: vec![leaf; 9], row_group_offsets: vec![4], ..FileFacts::default() };
        let limit = FactsLimit::default();
        let is_kept = || {
            let mut facts = facts.clone();
            limit.apply(&mut facts);
            assert_eq!(facts.row_group_offsets, [4]);
            !facts.leaves.is_empty()
        };
        assert_eq!([is_kept(), is_kept(), is_kept(), is_kept()], [true, true, true, false]);
        limit.give_back(&facts);
        assert_eq!([is_kept(), is_kept()], [true, false]);
        // Those that were taken away give nothing back.
        limit.give_back(&FileFacts::default());
        assert!(!is_kept());
    }
}
