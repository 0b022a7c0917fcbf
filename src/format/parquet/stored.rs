//! Row groups and column chunks of an unfinished file: their bytes are written, their entries in the footer are kept in
//! memory until the end. That is why a chunk can still change its schema without being touched; see [`super::evolve`].

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::TrackedWrite;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::EncodedChunk;
use super::{Error, Layout};
use crate::column::Schema;

/// A row group whose chunks are in the file.
pub(super) struct StoredGroup {
    /// The layout of `columns`; once widened, that of the final schema.
    pub(super) layout: Arc<Layout>,
    pub(super) rows: usize,
    /// Footer entries, one per leaf of `layout`.
    pub(super) columns: Vec<ColumnChunkMetaData>,
    /// The schema under which the rows were in the declared order; `None` if they were not.
    pub(super) sorted_as: Option<Arc<Schema>>,
}

/// Writes the pages of a chunk and returns its footer entry, with absolute offsets.
pub(super) fn append_chunk<W: Write + Send>(
    chunk: EncodedChunk,
    out: &mut TrackedWrite<W>,
) -> Result<ColumnChunkMetaData, Error> {
    let start = out.bytes_written() as i64;
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
