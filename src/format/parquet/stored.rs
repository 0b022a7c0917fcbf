//! Row groups and column chunks as they stand in an unfinished file: their bytes are written, their entries in the footer
//! are not.

use std::io::Write;
use std::sync::Arc;

use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::writer::TrackedWrite;
use parquet::schema::types::ColumnDescPtr;

use super::chunk::EncodedChunk;
use super::{Error, Layout};
use crate::column::Schema;

/// A row group as it stands in the file.
pub(super) struct StoredGroup {
    /// The layout it was encoded with.
    pub(super) layout: Arc<Layout>,
    pub(super) rows: usize,
    /// One per leaf of `layout`.
    pub(super) columns: Vec<ColumnChunkMetaData>,
    /// The schema with which its rows were found to be in the order that is claimed for them.
    pub(super) sorted_as: Option<Arc<Schema>>,
}

/// Appends a chunk, and says where it is.
pub(super) fn put<W: Write + Send>(
    chunk: EncodedChunk,
    out: &mut TrackedWrite<W>,
) -> Result<ColumnChunkMetaData, Error> {
    let start = out.bytes_written() as i64;
    for page in &chunk.pages {
        out.write_all(page)?;
    }
    bind(&chunk.metadata, chunk.metadata.column_descr_ptr(), start)
}

/// The entry of `chunk` under another descriptor of the same carrier, its bytes `moved` along.
pub(super) fn bind(
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
