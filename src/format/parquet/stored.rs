//! Row groups and column chunks of an unfinished file: their bytes are written, their entries in the footer are kept
//! until the end, as bytes. That is why a chunk can still change its schema without being touched; see
//! [`super::evolve`].

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::TrackedWrite;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::EncodedChunk;
use super::{Error, Layout};
use crate::column::Schema;

/// A row group whose chunks are in the file, with its entry taken apart. One at a time: an entry takes about 1.6 KB per
/// column.
pub(super) struct StoredGroup {
    /// The layout of `columns`; once widened, that of the final schema.
    pub(super) layout: Arc<Layout>,
    pub(super) rows: usize,
    /// Footer entries, one per leaf of `layout`.
    pub(super) columns: Vec<ColumnChunkMetaData>,
    /// The schema under which the rows were in the declared order; `None` if they were not.
    pub(super) sorted_as: Option<Arc<Schema>>,
}

/// A row group whose chunks are in the file. Its footer entry is among the [`Entries`].
pub(super) struct ClosedGroup {
    /// The columns of its chunks.
    pub(super) schema: Arc<Schema>,
    pub(super) rows: usize,
    /// True if the entry declares the order of the rows.
    pub(super) is_sorted: bool,
    /// Length of the entry.
    pub(super) entry_bytes: usize,
}

/// A temporary file for entries.
pub trait EntryFile: Read + Write + Seek + Send {}

impl<F: Read + Write + Seek + Send> EntryFile for F {}

/// Creates a temporary file for entries.
pub type NewEntryFile = Box<dyn Fn() -> io::Result<Box<dyn EntryFile>> + Send>;

/// The footer entries of a file's row groups, in their order: the last ones in memory, those before in a temporary file.
pub(super) struct Entries {
    /// Entries behind those in `file`.
    bytes: Vec<u8>,
    /// Maximum of `bytes`, unless a single entry is larger.
    max_bytes: usize,
    /// Entries that did not fit; `None` before them.
    file: Option<Box<dyn EntryFile>>,
    new_file: Option<NewEntryFile>,
    /// Bytes of all entries together.
    total: u64,
    /// Bytes that were read.
    read: u64,
}

impl Entries {
    /// Creates entries that stay in memory.
    pub(super) fn in_memory() -> Self {
        Entries { bytes: Vec::new(), max_bytes: usize::MAX, file: None, new_file: None, total: 0, read: 0 }
    }

    /// Creates entries that go into a temporary file beyond `max_bytes`.
    pub(super) fn with_file(max_bytes: usize, new_file: NewEntryFile) -> Self {
        Entries { max_bytes, new_file: Some(new_file), ..Entries::in_memory() }
    }

    /// Appends an entry.
    pub(super) fn push(&mut self, entry: &[u8]) -> io::Result<()> {
        if self.bytes.len() + entry.len() > self.max_bytes && !self.bytes.is_empty() {
            if let (None, Some(new_file)) = (&self.file, &self.new_file) {
                self.file = Some(new_file()?);
            }
            if let Some(file) = &mut self.file {
                file.write_all(&self.bytes)?;
                self.bytes.clear();
            }
        }
        self.bytes.extend_from_slice(entry);
        self.total += entry.len() as u64;
        Ok(())
    }

    /// Returns the bytes of all entries together.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Takes all entries out, to be read from the first on; those appended then are in the same kind of place.
    pub(super) fn take(&mut self) -> io::Result<Self> {
        let mut taken = std::mem::replace(self, Entries { max_bytes: self.max_bytes, ..Entries::in_memory() });
        self.new_file = taken.new_file.take();
        if let Some(file) = &mut taken.file {
            file.seek(SeekFrom::Start(0))?;
        }
        Ok(taken)
    }

    /// Reads the next `len` bytes of entries that were taken out.
    pub(super) fn next(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let in_file = self.total - self.bytes.len() as u64;
        let mut entry = vec![0; len];
        match &mut self.file {
            Some(file) if self.read < in_file => file.read_exact(&mut entry)?,
            _ => {
                let start = (self.read - in_file) as usize;
                let found = self.bytes.get(start..start + len).ok_or(io::ErrorKind::UnexpectedEof)?;
                entry.copy_from_slice(found);
            }
        }
        self.read += len as u64;
        Ok(entry)
    }

    /// Writes all entries to `out`.
    pub(super) fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
            io::copy(file, out)?;
        }
        out.write_all(&self.bytes)
    }
}

/// The output of a file, with the position in it. A file that is opened again goes on behind the bytes that it has.
pub(super) struct Output<W: Write> {
    out: TrackedWrite<W>,
    /// Bytes of the file before the first of `out`.
    start: u64,
}

impl<W: Write + Send> Output<W> {
    /// Creates an output that goes on at byte `start` of the file.
    pub(super) fn new(out: W, start: u64) -> Self {
        Output { out: TrackedWrite::new(out), start }
    }

    /// Returns the bytes of the file so far.
    pub(super) fn position(&self) -> u64 {
        self.start + self.out.bytes_written() as u64
    }

    pub(super) fn inner_mut(&mut self) -> &mut W {
        self.out.inner_mut()
    }

    pub(super) fn into_inner(self) -> Result<W, Error> {
        Ok(self.out.into_inner()?)
    }
}

impl<W: Write + Send> Write for Output<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes the pages of a chunk and returns its footer entry, with absolute offsets.
pub(super) fn append_chunk<W: Write + Send>(
    chunk: EncodedChunk,
    out: &mut Output<W>,
) -> Result<ColumnChunkMetaData, Error> {
    let start = out.position() as i64;
    for page in &chunk.pages {
        out.write_all(page)?;
    }
    rebind(&chunk.metadata, chunk.metadata.column_descr_ptr(), start)
}

/// Returns the footer entry of `chunk` under another descriptor, with `moved` added to its offsets.
///
/// The descriptor must have the same physical type and maximum levels: pages are then valid under it as
/// they are, and statistics keep their meaning. Path, logical type and position among the leaves may differ.
pub(super) fn rebind(
    chunk: &ColumnChunkMetaData,
    descriptor: ColumnDescPtr,
    moved: i64,
) -> Result<ColumnChunkMetaData, Error> {
    let mut builder = ColumnChunkMetaData::builder(descriptor)
        .set_compression_codec(chunk.compression_codec())
        .set_encodings_mask(*chunk.encodings_mask())
        .set_total_compressed_size(chunk.compressed_size())
        .set_total_uncompressed_size(chunk.uncompressed_size())
        .set_num_values(chunk.num_values())
        .set_data_page_offset(chunk.data_page_offset() + moved)
        .set_dictionary_page_offset(chunk.dictionary_page_offset().map(|o| o + moved))
        .set_unencoded_byte_array_data_bytes(chunk.unencoded_byte_array_data_bytes())
        .set_repetition_level_histogram(chunk.repetition_level_histogram().cloned())
        .set_definition_level_histogram(chunk.definition_level_histogram().cloned());
    if let Some(statistics) = chunk.statistics() {
        builder = builder.set_statistics(statistics.clone());
    }
    if let Some(stats) = chunk.page_encoding_stats() {
        builder = builder.set_page_encoding_stats(stats.clone());
    }
    Ok(builder.build()?)
}

/// Reader that several column readers share.
pub(super) struct SharedReader<R>(pub(super) Arc<R>);

impl<R> Clone for SharedReader<R> {
    fn clone(&self) -> Self {
        SharedReader(self.0.clone())
    }
}

impl<R: Length> Length for SharedReader<R> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl<R: ChunkReader> ChunkReader for SharedReader<R> {
    type T = R::T;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.0.get_bytes(start, length)
    }
}
