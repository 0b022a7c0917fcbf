//! Writes Parquet files: row groups that workers encoded, and the footer once the columns of all rows are known. Row
//! groups with fewer or narrower columns are completed at the end.

use std::io::{self, BufWriter};
use std::sync::{Arc, OnceLock};

use super::writer::{FileError, FileWriter, OrderCounts, WriterOptions, WrittenFile};
use crate::column::Schema;
use crate::format::ParquetOptions;
use crate::format::parquet::{EncodedRowGroup, FieldIds, ParquetFileWriter};
use crate::sink::{Reread, Sink};

/// A Parquet file that is being written.
pub(super) struct ParquetFile {
    writer: ParquetFileWriter<BufWriter<Sink>>,
    /// Opens the file for reading, to rewrite row groups whose columns widened late. `None` for a stream.
    reread: Option<Reread>,
    /// Counts of sorted row groups; `None` without a sort hint.
    order: Option<Arc<OrderCounts>>,
    /// Ids of the fields, if they are set when the file is finished.
    field_ids: Arc<OnceLock<FieldIds>>,
}

impl ParquetFile {
    /// Creates a file on `sink` and writes its magic bytes.
    pub(super) fn new(sink: Sink, parquet: ParquetOptions, options: &WriterOptions) -> Result<Self, FileError> {
        let reread = sink.rereader()?;
        let buffered = BufWriter::with_capacity(options.buffer_bytes, sink);
        let writer = ParquetFileWriter::try_new(buffered, parquet, options.type_merge, options.metadata.to_vec())?;
        let writer = writer.with_row_group_bytes(options.row_group_bytes).with_sort_keys(&options.sort_hint);
        let order = (!options.sort_hint.is_empty()).then(|| options.order.clone());
        Ok(ParquetFile { writer, reread, order, field_ids: options.field_ids.clone() })
    }
}

impl FileWriter for ParquetFile {
    fn append_row_group(&mut self, group: EncodedRowGroup) -> Result<(), FileError> {
        Ok(self.writer.append(group)?)
    }

    fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    fn open_bytes(&self) -> usize {
        self.writer.open_bytes()
    }

    fn close_row_group(&mut self) -> Result<(), FileError> {
        Ok(self.writer.close_open()?)
    }

    fn row_group_columns(&self) -> Option<&Schema> {
        Some(self.writer.schema())
    }

    fn park(&mut self) -> Result<(), FileError> {
        self.writer.flush()?;
        self.writer.get_mut().get_mut().park();
        Ok(())
    }

    fn finish(self: Box<Self>, columns: &Schema) -> Result<WrittenFile, FileError> {
        let ParquetFile { mut writer, reread, order, field_ids } = *self;
        if let Some(ids) = field_ids.get() {
            writer.set_field_ids(ids);
        }
        writer.declare(columns);
        writer.set_order(columns);
        let reread = || match reread {
            Some(reread) => reread(),
            None => Err(io::Error::other("a stream cannot be read back")),
        };
        let (buffered, summary) = writer.finish(reread)?;
        let sink = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
        if let Some(order) = order {
            order.add(summary.row_groups, summary.sorted_row_groups);
        }
        Ok(WrittenFile { sink, bytes: summary.bytes, facts: Some(summary.facts) })
    }
}
