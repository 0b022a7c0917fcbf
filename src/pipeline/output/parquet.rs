//! Writes Parquet files: row groups that workers encoded, and the footer once the columns of all rows are known. Row
//! groups with fewer or narrower columns are completed at the end.

use std::io::{self, BufWriter, Read, Seek, SeekFrom};

use super::writer::{FactsLimit, FileError, FileWriter, WriterOptions, WrittenFile};
use crate::column::Schema;
use crate::format::ParquetOptions;
use crate::format::parquet::{EncodedRowGroup, EntryFile, ParquetFileWriter, Summary};
use crate::sink::{Reread, Sink, unnamed_file};

/// A Parquet file that is being written, or gets no more rows.
pub(super) struct ParquetFile {
    state: State,
    parquet: ParquetOptions,
    options: WriterOptions,
    /// Opens the file for reading, to rewrite row groups whose columns widened late. `None` for a stream.
    reread: Option<Reread>,
}

enum State {
    Open(Box<ParquetFileWriter<BufWriter<Sink>>>),
    /// A file with a footer of the columns so far, which are mostly the final ones.
    Sealed(Sink, Summary),
    /// A file that an error has ended.
    Broken,
}

/// Buffer of the writes that complete a sealed file; one is open at a time.
const COMPLETING_BUFFER_BYTES: usize = 256 << 10;

impl ParquetFile {
    /// Creates a file on `sink` and writes its magic bytes.
    pub(super) fn new(sink: Sink, parquet: ParquetOptions, options: &WriterOptions) -> Result<Self, FileError> {
        let reread = sink.rereader()?;
        let buffered = BufWriter::with_capacity(options.buffer_bytes, sink);
        let writer = ParquetFileWriter::try_new(buffered, parquet, options.type_merge, options.metadata.to_vec())?;
        let directory = options.spill_dir.clone();
        let new_file = move || Ok(Box::new(unnamed_file(directory.as_deref())?) as Box<dyn EntryFile>);
        let writer = writer.with_row_group_bytes(options.row_group_bytes).with_sort_keys(&options.sort_hint);
        let writer =
            writer.with_entry_file(options.footer_bytes, Box::new(new_file)).with_facts(options.facts.is_some());
        Ok(ParquetFile { state: State::Open(Box::new(writer)), parquet, options: options.clone(), reread })
    }

    fn writer(&mut self) -> Result<&mut ParquetFileWriter<BufWriter<Sink>>, FileError> {
        match &mut self.state {
            State::Open(writer) => Ok(writer),
            State::Sealed(..) | State::Broken => Err(FileError::Bug("rows follow the end of the file".into())),
        }
    }

    /// Opens a sealed file again, without its footer.
    fn reopen(&self, mut sink: Sink, file: &Summary) -> Result<ParquetFileWriter<BufWriter<Sink>>, FileError> {
        let mut footer = Vec::new();
        let mut whole = sink.reread()?.ok_or_else(|| io::Error::other("a stream cannot be read back"))?;
        whole.seek(SeekFrom::Start(file.bytes_before_footer))?;
        whole.read_to_end(&mut footer)?;
        sink.truncate(file.bytes_before_footer)?;
        let buffered = BufWriter::with_capacity(COMPLETING_BUFFER_BYTES, sink);
        let WriterOptions { type_merge, metadata, sort_hint, facts, .. } = &self.options;
        if let (Some(limit), Some(facts)) = (facts, &file.facts) {
            limit.give_back(facts);
        }
        let writer = ParquetFileWriter::reopen(buffered, self.parquet, *type_merge, metadata.to_vec(), file, &footer)?;
        Ok(writer.with_sort_keys(sort_hint).with_facts(facts.is_some()))
    }
}

/// Writes the footer and returns the file, complete. Its facts are kept up to `limit`.
fn finish(
    writer: ParquetFileWriter<BufWriter<Sink>>,
    reread: Option<Reread>,
    limit: Option<&FactsLimit>,
) -> Result<(Sink, Summary), FileError> {
    let reread = || match reread {
        Some(reread) => reread(),
        None => Err(io::Error::other("a stream cannot be read back")),
    };
    let (buffered, mut summary) = writer.finish(reread)?;
    if let (Some(limit), Some(facts)) = (limit, &mut summary.facts) {
        limit.apply(facts);
    }
    Ok((buffered.into_inner().map_err(io::IntoInnerError::into_error)?, summary))
}

impl FileWriter for ParquetFile {
    fn append_row_group(&mut self, group: EncodedRowGroup) -> Result<(), FileError> {
        Ok(self.writer()?.append(group)?)
    }

    fn bytes(&self) -> u64 {
        match &self.state {
            State::Open(writer) => writer.bytes(),
            State::Sealed(_, file) => file.bytes,
            State::Broken => 0,
        }
    }

    fn open_bytes(&self) -> usize {
        match &self.state {
            State::Open(writer) => writer.open_bytes(),
            State::Sealed(..) | State::Broken => 0,
        }
    }

    fn close_row_group(&mut self) -> Result<(), FileError> {
        match &mut self.state {
            State::Open(writer) => Ok(writer.close_open()?),
            State::Sealed(..) | State::Broken => Ok(()),
        }
    }

    fn row_group_columns(&self) -> Option<&Schema> {
        match &self.state {
            State::Open(writer) => Some(writer.schema()),
            State::Sealed(_, file) => Some(&file.schema),
            State::Broken => None,
        }
    }

    /// Writes the footer: there may be thousands of files, and the entries of their row groups take memory. Where a
    /// column comes or widens later, the end takes the footer off again.
    fn seal(&mut self) -> Result<(), FileError> {
        let State::Open(writer) = &mut self.state else { return Ok(()) };
        // No file has rows without columns; these may come later.
        let has_columns = !writer.schema().fields.is_empty();
        let sink = writer.get_mut().get_mut();
        // The bytes of a stream or an object cannot be taken back.
        if !has_columns || !sink.can_truncate() {
            return self.close_row_group();
        }
        // What would be encoded again waits for the final types.
        if !writer.keeps_types()? {
            return Ok(());
        }
        let sink = writer.get_mut().get_mut();
        let reread = sink.rereader()?;
        if let State::Open(writer) = std::mem::replace(&mut self.state, State::Broken) {
            let (sink, summary) = finish(*writer, reread, self.options.facts.as_ref())?;
            self.state = State::Sealed(sink, summary);
        }
        Ok(())
    }

    fn park(&mut self) -> Result<(), FileError> {
        match &mut self.state {
            State::Open(writer) => {
                writer.flush()?;
                writer.get_mut().get_mut().park();
            }
            State::Sealed(sink, _) => sink.park(),
            State::Broken => {}
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, columns: &Schema) -> Result<WrittenFile, FileError> {
        let ids = self.options.field_ids.get().cloned().unwrap_or_default();
        let (sink, summary) = match std::mem::replace(&mut self.state, State::Broken) {
            // The ids of its fields are known only now, if it gets some.
            State::Sealed(sink, file) if ids.is_empty() && file.has_columns(columns, self.options.type_merge) => {
                (sink, file)
            }
            state => {
                let mut writer = match state {
                    State::Open(writer) => *writer,
                    State::Sealed(sink, file) => self.reopen(sink, &file)?,
                    State::Broken => return Err(FileError::Bug("the file was broken before".into())),
                };
                writer.set_field_ids(&ids);
                writer.declare(columns);
                writer.set_order(columns);
                finish(writer, self.reread.take(), self.options.facts.as_ref())?
            }
        };
        if !self.options.sort_hint.is_empty() {
            self.options.order.add(summary.row_groups, summary.sorted_row_groups);
        }
        Ok(WrittenFile { sink, bytes: summary.bytes, facts: summary.facts })
    }
}
