//! One output of the plan on its target, whether a file, a stream, an object, a channel or several files: opened under
//! temporary names, filled with rows in order, and published when complete.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::channel::ChannelWriter;
use super::directory::{FinishedPartitions, PartitionedWriter};
use super::file::{FinishedFile, OutputFile};
use super::rows::EncodedRows;
use super::spec::TableRows;
use super::table::{ChunkPosition, FinishedTable, SourcesEnd, TableWriter};
use super::table_files::{FilesWriter, FinishedFiles};
use super::writer::WriterOptions;
use crate::column::{Batch, Schema};
use crate::format::parquet::EncodedRowGroup;
use crate::pipeline::error::Error;
use crate::pipeline::plan::{Output, Target};
use crate::sink::{ObjectUpload, OnWait, Sink, UploadControl};
use crate::warehouse::{Begun, Committed, LoadRequest, RecordMark, RecordsDigest, TableTarget, Widening};

/// One open output.
pub(crate) struct OutputWriter {
    /// The path or URL, or a stream's name.
    name: PathBuf,
    kind: Kind,
    /// True if `name` is a file to report, not a stream.
    is_file: bool,
    /// True once the reader has closed the pipe or was dropped; nothing more is written then.
    abandoned: bool,
}

enum Kind {
    File(Box<OutputFile>),
    Partitioned(Box<PartitionedWriter>),
    Channel(ChannelWriter),
    Table(Box<TableWriter>),
    TableFiles(Box<FilesWriter>),
}

impl OutputWriter {
    /// Opens an output under its temporary name. An output of several files buffers at most `max_buffered_bytes`. Waits
    /// while another command appends rows to the same file. A table follows `widening`; `cancel` ends the waits for its
    /// system.
    pub(crate) fn open(
        output: &Output,
        options: WriterOptions,
        max_buffered_bytes: usize,
        on_wait: OnWait<'_>,
        widening: Widening,
        cancel: &UploadControl,
    ) -> Result<Self, Error> {
        let (name, sink) = match &output.target {
            // A directory reports the files in it, not itself.
            Target::Directory(directory) => {
                let writer = PartitionedWriter::in_directory(directory, options, max_buffered_bytes)?;
                let name = directory.path.clone();
                return Ok(OutputWriter {
                    name,
                    kind: Kind::Partitioned(Box::new(writer)),
                    is_file: false,
                    abandoned: false,
                });
            }
            Target::File { path, no_clobber, .. } if output.is_sheets() => {
                let writer = PartitionedWriter::of_sheets(path, *no_clobber, options, max_buffered_bytes);
                let (name, kind) = (path.clone(), Kind::Partitioned(Box::new(writer)));
                return Ok(OutputWriter { name, kind, is_file: true, abandoned: false });
            }
            Target::File { path, append: true, .. } => (path.clone(), Sink::appending(path, on_wait)),
            Target::File { path, no_clobber, .. } => (path.clone(), Sink::file(path, *no_clobber)),
            Target::Object(location) => {
                let sink = ObjectUpload::begin(location).map(|upload| Sink::Object(Box::new(upload)));
                (PathBuf::from(&location.url), sink)
            }
            Target::Stdout => (PathBuf::from("standard output"), Sink::stdout()),
            Target::Channel(sender) => {
                let (name, kind) = (PathBuf::from("the batches"), Kind::Channel(ChannelWriter::new(sender.clone())));
                return Ok(OutputWriter { name, kind, is_file: false, abandoned: false });
            }
            Target::Table(target) => {
                let name = PathBuf::from(target.name());
                let kind = match target.files {
                    Some(_) => {
                        let writer = files_writer(target, options, max_buffered_bytes, widening, cancel)?;
                        Kind::TableFiles(Box::new(writer))
                    }
                    None => Kind::Table(Box::new(TableWriter::begin(target, widening, &options, cancel)?)),
                };
                return Ok(OutputWriter { name, kind, is_file: false, abandoned: false });
            }
        };
        let sink = sink.and_then(|sink| if options.whole_streams { sink.whole() } else { Ok(sink) });
        let sink = sink.map_err(|cause| Error::write(&name, cause))?;
        // A path may also be a pipe or a device, which is no file to report.
        let is_file = sink.is_file();
        let file = OutputFile::new(name.clone(), sink, &options)?;
        Ok(OutputWriter { name, kind: Kind::File(Box::new(file)), is_file, abandoned: false })
    }

    /// Returns true for a table.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.kind, Kind::Table(_) | Kind::TableFiles(_))
    }

    /// Returns the form of a table's rows, for workers; `None` for other outputs.
    pub(crate) fn table_rows(&self) -> Option<TableRows> {
        match &self.kind {
            Kind::Table(table) => Some(TableRows {
                encoder: table.encoder(),
                partition_by: Arc::default(),
                keeps_partition_columns: false,
            }),
            Kind::TableFiles(files) => Some(TableRows {
                encoder: files.row_check(),
                partition_by: files.partition_by(),
                keeps_partition_columns: files.keeps_partition_columns(),
            }),
            _ => None,
        }
    }

    /// Checks the columns that are known before the first row, after the steps. Returns sentences for the report.
    pub(crate) fn check_columns(&mut self, columns: &Schema) -> Result<Vec<String>, Error> {
        match &mut self.kind {
            Kind::Table(table) => table.check(columns),
            Kind::TableFiles(files) => files.check(columns),
            _ => Ok(Vec::new()),
        }
    }

    /// Returns true after [`OutputWriter::abandon`].
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Stops writing to an output whose reader has closed it. Returns a note for the report.
    pub(crate) fn abandon(&mut self) -> String {
        self.abandoned = true;
        self.abandoned_note()
    }

    /// Returns the note for the report that this output's reader has closed it.
    pub(crate) fn abandoned_note(&self) -> String {
        closed_note(&self.name.display().to_string())
    }

    /// Returns the bytes written so far, after compression.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.kind {
            Kind::File(file) => file.bytes(),
            Kind::Partitioned(partitioned) => partitioned.bytes(),
            Kind::Channel(channel) => channel.bytes(),
            Kind::Table(table) => table.bytes(),
            Kind::TableFiles(files) => files.bytes(),
        }
    }

    /// Returns the rows appended so far.
    pub(crate) fn rows(&self) -> u64 {
        match &self.kind {
            Kind::File(file) => file.rows(),
            Kind::Partitioned(partitioned) => partitioned.rows(),
            Kind::Channel(channel) => channel.rows(),
            Kind::Table(table) => table.rows(),
            Kind::TableFiles(files) => files.rows(),
        }
    }

    /// Returns the columns of the row groups so far; `None` unless it is one Parquet file.
    pub(crate) fn row_group_columns(&self) -> Option<&Schema> {
        match &self.kind {
            Kind::File(file) => file.row_group_columns(),
            Kind::Partitioned(_) | Kind::Channel(_) | Kind::Table(_) | Kind::TableFiles(_) => None,
        }
    }

    /// Appends encoded row groups in their order.
    pub(crate) fn append_row_groups(&mut self, groups: Vec<EncodedRowGroup>) -> Result<(), Error> {
        groups.into_iter().try_for_each(|group| match &mut self.kind {
            Kind::File(file) => file.append_row_group(group),
            Kind::Partitioned(partitioned) => partitioned.append_row_group(group),
            Kind::TableFiles(files) => files.append_row_group(group),
            Kind::Channel(_) | Kind::Table(_) => {
                Err(Error::Bug("a row group was sent to an output that takes rows".into()))
            }
        })
    }

    /// Appends `n_rows` rows with these columns. Returns the text, for its buffer, if it was copied to the target.
    pub(crate) fn append_rows(
        &mut self,
        n_rows: u64,
        rows: EncodedRows,
        columns: &Arc<Schema>,
    ) -> Result<Option<Vec<u8>>, Error> {
        match (&mut self.kind, rows) {
            (_, EncodedRows::InRowGroups) => {}
            (Kind::File(file), EncodedRows::Text(text)) => {
                file.append_text(n_rows, &text, columns)?;
                return Ok(Some(text));
            }
            (Kind::File(file), EncodedRows::Arrow(rows)) => file.append_arrow(&rows, columns)?,
            (Kind::Partitioned(partitioned), EncodedRows::Partitions(rows)) => {
                rows.into_iter().try_for_each(|rows| partitioned.append_rows(rows))?;
            }
            (Kind::TableFiles(files), EncodedRows::Partitions(rows)) => {
                rows.into_iter().try_for_each(|rows| files.append_rows(rows))?;
            }
            // Encoded for sheets when the path was a file or nothing; when it was opened it was a device or a pipe.
            (Kind::File(file), EncodedRows::Partitions(rows)) => {
                rows.iter().try_for_each(|rows| file.append(rows.batch.rows as u64, &rows.encoded, columns))?;
            }
            (Kind::Channel(channel), EncodedRows::Arrow(rows)) => {
                channel.append(rows).map_err(|cause| Error::write(&self.name, cause))?;
            }
            (Kind::Channel(channel), EncodedRows::Typed(rows)) => {
                channel.append_typed(rows).map_err(|cause| Error::write(&self.name, cause))?;
            }
            (_, EncodedRows::Typed(_)) => return Err(Error::Bug("rows with types were sent to another output".into())),
            (Kind::Table(table), EncodedRows::Load(rows)) => return table.append(n_rows, rows, columns),
            (Kind::Table(_), _) => return Err(Error::Bug("rows for a table were encoded for another output".into())),
            (_, EncodedRows::Load(_)) => {
                return Err(Error::Bug("the rows of a table were sent to another output".into()));
            }
            (Kind::Channel(_), _) => return Err(Error::Bug("text was sent to a channel of batches".into())),
            (Kind::Partitioned(_) | Kind::TableFiles(_), _) => {
                return Err(Error::Bug("rows for several files were not partitioned".into()));
            }
        }
        Ok(None)
    }

    fn table(&mut self) -> Result<&mut TableWriter, Error> {
        match &mut self.kind {
            Kind::Table(table) => Ok(table),
            _ => Err(Error::Bug("only a table is loaded in chunks".into())),
        }
    }

    /// Returns the position of a load in chunks.
    pub(crate) fn chunk_position(&mut self) -> Result<ChunkPosition, Error> {
        self.table()?.chunk_position()
    }

    /// Counts rows that the table has from an earlier chunk.
    pub(crate) fn skip_rows(&mut self, rows: u64) -> Result<(), Error> {
        self.table()?.skip(rows);
        Ok(())
    }

    /// Returns the last record of which the table has rows, if it is known.
    pub(crate) fn last_record(&mut self) -> Result<Option<RecordMark>, Error> {
        Ok(self.table()?.last_record())
    }

    /// Returns the records of which the table has rows, and their digest, if a load in chunks goes on behind them.
    pub(crate) fn records_there(&mut self) -> Result<Option<(u64, Option<RecordsDigest>)>, Error> {
        Ok(self.table()?.records_there())
    }

    /// Returns the error of sources that do not have the records of which the table has rows.
    pub(crate) fn other_records(&mut self, what: String) -> Error {
        self.table().map_or_else(|error| error, |table| table.other_records(what))
    }

    /// Fails if the table, as the chunks before have left it, cannot hold one of these rows.
    pub(crate) fn require_fit(&mut self, rows: &Batch) -> Result<(), Error> {
        self.table()?.require_fit(rows)
    }

    /// Commits the chunk that ends before `next_record`, with `last` as the record of its last row and the digest of
    /// all records so far, and begins the next one.
    pub(crate) fn end_chunk(
        &mut self,
        columns: &Schema,
        next_record: u64,
        last: Option<RecordMark>,
        digest: Option<RecordsDigest>,
        rejected: u64,
    ) -> Result<(), Error> {
        self.table()?.end_chunk(columns, next_record, last, digest, rejected)
    }

    /// Writes the ends of all files, and pads or rewrites earlier rows to the final columns. `end` is for the ledgers of
    /// tables.
    pub(crate) fn finish(self, columns: &Schema, end: &SourcesEnd) -> Result<FinishedOutput, Error> {
        let kind = match self.kind {
            Kind::File(file) => Finished::File(file.finish(columns)?),
            Kind::Partitioned(partitioned) => Finished::Partitioned(Box::new(partitioned.finish(columns)?)),
            Kind::Channel(mut channel) => {
                channel.finish(columns).map_err(|cause| Error::write(&self.name, cause))?;
                Finished::Sent(channel.bytes())
            }
            Kind::Table(table) => Finished::Table(Box::new(table.finish(columns, end)?)),
            Kind::TableFiles(files) => Finished::TableFiles(Box::new(files.finish(columns, end)?)),
        };
        Ok(FinishedOutput { name: self.name, kind, is_file: self.is_file })
    }
}

/// Begins the load of a table of data files.
fn files_writer(
    target: &TableTarget,
    options: WriterOptions,
    max_buffered_bytes: usize,
    widening: Widening,
    cancel: &UploadControl,
) -> Result<FilesWriter, Error> {
    let request = LoadRequest {
        target,
        widening,
        type_merge: options.type_merge,
        may_start_over: options.may_start_over,
        cancel: cancel.clone(),
    };
    match target.warehouse.begin(request)? {
        Begun::Files(load) => FilesWriter::begin(load, target, options, max_buffered_bytes),
        Begun::Loaded(row) => Ok(FilesWriter::loaded(row, target)),
        Begun::Load(_) => Err(Error::Bug("a table of data files takes rows one by one".into())),
    }
}

/// Returns the note for the report that the reader of the output `name` has closed it.
pub(crate) fn closed_note(name: &str) -> String {
    format!("{name}: closed by its reader before the end (broken pipe)")
}

/// A complete output under its temporary name, or a stream at its end.
pub(crate) struct FinishedOutput {
    /// As of [`OutputWriter`].
    name: PathBuf,
    kind: Finished,
    is_file: bool,
}

enum Finished {
    File(FinishedFile),
    Partitioned(Box<FinishedPartitions>),
    /// All rows were received by a reader; their bytes in memory.
    Sent(u64),
    /// All rows are in a table, invisible until the commit.
    Table(Box<FinishedTable>),
    /// All rows are in data files, which no table names until the commit.
    TableFiles(Box<FinishedFiles>),
}

impl FinishedOutput {
    /// Returns its size in bytes, over all of its files.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.kind {
            Finished::File(file) => file.bytes,
            Finished::Partitioned(partitioned) => partitioned.bytes(),
            Finished::Sent(bytes) => *bytes,
            Finished::Table(table) => table.bytes,
            Finished::TableFiles(files) => files.bytes(),
        }
    }

    /// Syncs the output to disk, so that only renames are left.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        match &mut self.kind {
            Finished::File(file) => file.sync(),
            Finished::Partitioned(partitioned) => partitioned.sync(),
            Finished::TableFiles(files) => files.sync(),
            Finished::Sent(_) | Finished::Table(_) => Ok(()),
        }
    }

    /// Returns a note for the report about its files; `None` if there is nothing to say.
    pub(crate) fn note(&self) -> Option<String> {
        match &self.kind {
            Finished::File(file) => file.note(),
            Finished::Sent(_) | Finished::Table(_) | Finished::TableFiles(_) => None,
            Finished::Partitioned(partitioned) => partitioned.note(),
        }
    }

    /// Returns true for a stream.
    pub(crate) fn is_stream(&self) -> bool {
        match &self.kind {
            Finished::File(file) => file.is_stream(),
            Finished::Sent(_) => true,
            Finished::Partitioned(_) | Finished::Table(_) | Finished::TableFiles(_) => false,
        }
    }

    /// Returns true for a table.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.kind, Finished::Table(_) | Finished::TableFiles(_))
    }

    /// Returns the name of a file or a stream, for notes.
    pub(crate) fn name(&self) -> String {
        match &self.kind {
            Finished::File(file) => file.path.display().to_string(),
            Finished::Sent(_) | Finished::Partitioned(_) | Finished::Table(_) | Finished::TableFiles(_) => {
                String::new()
            }
        }
    }

    /// Returns the final paths of its files on this machine, once its directory is locked.
    pub(crate) fn final_paths(&self) -> Vec<PathBuf> {
        match &self.kind {
            Finished::File(file) if self.is_file => vec![file.path.clone()],
            Finished::File(_) | Finished::Sent(_) | Finished::Table(_) | Finished::TableFiles(_) => Vec::new(),
            Finished::Partitioned(partitioned) => partitioned.final_paths(),
        }
    }

    /// Returns the directory that must be locked before the commit; `None` if there is none or it is locked.
    pub(crate) fn directory_to_lock(&self) -> Option<&Path> {
        match &self.kind {
            Finished::Partitioned(partitioned) => partitioned.directory_to_lock(),
            Finished::File(_) | Finished::Sent(_) | Finished::Table(_) | Finished::TableFiles(_) => None,
        }
    }

    /// Locks the directory until the commit. Returns notes for the report.
    pub(crate) fn lock(&mut self, on_wait: OnWait<'_>) -> Result<Vec<String>, Error> {
        match &mut self.kind {
            Finished::Partitioned(partitioned) => partitioned.lock(on_wait),
            Finished::File(_) | Finished::Sent(_) | Finished::Table(_) | Finished::TableFiles(_) => Ok(Vec::new()),
        }
    }

    /// Publishes the output under its final names. Returns its files with their bytes; none for a stream.
    pub(crate) fn commit(self) -> Result<Vec<(PathBuf, u64)>, Error> {
        match self.kind {
            Finished::File(file) => {
                let named = self.is_file.then(|| (file.path.clone(), file.bytes));
                file.commit()?;
                Ok(named.into_iter().collect())
            }
            Finished::Partitioned(partitioned) => partitioned.commit(),
            Finished::Sent(_) => Ok(Vec::new()),
            Finished::Table(_) | Finished::TableFiles(_) => Err(Error::Bug("a table is committed as a load".into())),
        }
    }

    /// Commits the load into a table. Returns its name, the outcome, and the rows that the table had before.
    pub(crate) fn commit_load(self) -> Result<(String, Committed, u64), Error> {
        let name = self.name.display().to_string();
        match self.kind {
            Finished::Table(table) => {
                let (committed, there_before) = table.commit()?;
                Ok((name, committed, there_before))
            }
            Finished::TableFiles(files) => {
                let (committed, there_before) = files.commit()?;
                Ok((name, committed, there_before))
            }
            _ => Err(Error::Bug("only a table is committed as a load".into())),
        }
    }
}
