//! An output of several files: a directory of files, split by size and by the values of partition columns; or numbered
//! files of sheets, each as long as a spreadsheet shows.
//!
//! ```text
//! DIR/country=NO/part-00001.parquet      rows of one partition are appended to its current file;
//! DIR/country=NO/part-00002.parquet      when that is full, to the next
//! DIR/_manifest.json                     rows, bytes and digest of every file
//! DIR/_SUCCESS                           written last
//! ```
//!
//! A full file gets no more rows. A Parquet file gets its footer then, with the columns so far; a late column takes the
//! footer of every file off again, at the end. So a file costs little memory, however many there are. Buffered rows and open row groups are
//! bounded over all files together: above the bound, the files with the oldest last append are flushed first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use super::encode::{compressed, encode_for_file};
use super::file::{FinishedFile, OutputFile};
use super::manifest::{MANIFEST, Publication, Replaceable, StagedFile, digests, replaceable};
use super::names::numbered;
use super::rows::{FileRows, PartitionPath, PartitionRows};
use super::spill::{SpillEncoding, SpilledRows};
use super::spilled::SPILL_COMPRESSION;
use super::writer::{FactsLimit, WriterOptions};
use crate::column::{Batch, Field, Schema};
use crate::format::csv::{MAX_SHEET_ROWS, SheetCounts};
use crate::format::parquet::{EncodedRowGroup, FieldIds};
use crate::format::{Compression, OutputFormat};
use crate::pipeline::error::{Error, PartitionError};
use crate::pipeline::plan::Directory;
use crate::sink::{OnWait, Sink, Staging, sync_all};
use crate::text::plural;
use crate::warehouse::{FileLayout, FilesPlace};
use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;

/// Maximum directories; more are an error, because the values of the partition columns look like data. By eye: ten
/// times what a file system's directory is comfortable with, and each costs memory.
const MAX_DIRECTORIES: usize = 10_000;

/// Maximum open file handles; systems allow a process 1,024 or more.
const MAX_HANDLES: usize = 128;

/// Bytes of buffered rows at which they are written to their file. By eye: where the cost of a write does not show.
const PENDING_BYTES: usize = 256 << 10;

/// Write buffer of a file that is encoded from spilled rows; few of them are open at a time.
const ENCODING_BUFFER_BYTES: usize = 256 << 10;

/// The location of the files.
enum Destination {
    /// Files below a directory, which appear together, and the files there that they may replace.
    Directory { staging: Staging, directory: Box<Directory>, replaceable: Replaceable },
    /// Data files of a table, whose commit names them; `prefix` is that of their names.
    Table { staging: Staging, prefix: String },
    /// The files `people.csv`, `people-2.csv`, and so on.
    Numbered { path: PathBuf, no_clobber: bool },
}

/// An output of several files.
pub(super) struct PartitionedWriter {
    path: PathBuf,
    destination: Destination,
    options: WriterOptions,
    /// Compression of text, which is applied when buffered rows are written.
    compression: Compression,
    /// Maximum rows per file.
    max_rows: u64,
    /// Maximum bytes per file, as written.
    max_bytes: u64,
    /// Maximum of `buffered_bytes`.
    max_buffered_bytes: usize,
    /// All files so far, full ones included.
    files: Vec<PartitionFile>,
    /// Index of the file that takes the next rows of each partition.
    current: HashMap<PartitionPath, usize>,
    /// Number of each partition's last file, from 1.
    numbers: HashMap<PartitionPath, u32>,
    /// Appends so far, as a clock for [`PartitionFile::last_append`].
    appends: u64,
    /// Bytes of buffered rows and open row groups, over all files.
    buffered_bytes: usize,
    /// Files with `has_handle`.
    handles: usize,
    rows: u64,
    partition_by: Arc<[Arc<str>]>,
    /// True if the files contain these columns.
    keeps_partition_columns: bool,
    /// The columns of the last rows with others than those before.
    columns: Arc<Schema>,
    /// True if rows are spilled until all are read; `files` then contain spilled rows. See [`super::spill`].
    spilled: bool,
}

/// One file of the output, open or full.
struct PartitionFile {
    file: OutputFile,
    directory: PartitionPath,
    /// Rows of the file, buffered ones included.
    rows: u64,
    pending: Pending,
    /// The columns of the buffered rows; of a file of spilled rows, those of all of its rows.
    columns: Arc<Schema>,
    /// Value of [`PartitionedWriter::appends`] at the last append.
    last_append: u64,
    /// True if the file may have an open handle.
    has_handle: bool,
    /// Final path, relative to the directory.
    name: PathBuf,
}

/// Buffered rows of one file, either as text or as Arrow rows.
#[derive(Default)]
struct Pending {
    text: Vec<u8>,
    arrow: Vec<RecordBatch>,
    rows: u64,
    bytes: usize,
}

impl Destination {
    /// Returns the place of the unpublished files, and the prefix of the final names.
    fn staging(&self) -> Result<(&Staging, &str), Error> {
        match self {
            Destination::Directory { staging, directory, .. } => Ok((staging, &directory.set)),
            Destination::Table { staging, prefix } => Ok((staging, prefix)),
            Destination::Numbered { .. } => Err(not_a_part()),
        }
    }
}

impl PartitionedWriter {
    /// Creates a writer into a directory. Fails if the directory holds results that may not be overwritten.
    pub(super) fn in_directory(
        directory: &Directory,
        mut options: WriterOptions,
        max_buffered_bytes: usize,
    ) -> Result<Self, Error> {
        let path = directory.path.clone();
        let staging = match &directory.store {
            Some(location) => Staging::in_store(location),
            None => Staging::create(&path),
        };
        let staging = staging.map_err(|cause| Error::write(&path, cause))?;
        let has_results = || staging.exists(Path::new(MANIFEST)).map_err(|cause| Error::write(&path, cause));
        if directory.no_clobber && has_results()? {
            let cause = std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "already holds results, and overwriting is not allowed",
            );
            return Err(Error::write(&path, cause));
        }
        // Before the rows are read; asked again under the lock before the files appear.
        let replaceable = replaceable(&staging, directory).map_err(|cause| Error::write(&path, cause))?;
        // There may be thousands of files, and their rows are buffered here.
        options.buffer_bytes = 0;
        let is_sheet = matches!(options.format, OutputFormat::Csv(options) if options.excel);
        let max_rows = directory.max_file_rows.unwrap_or(u64::MAX);
        let max_rows = if is_sheet { max_rows.min(MAX_SHEET_ROWS - 1) } else { max_rows };
        let max_bytes = directory.max_file_bytes.unwrap_or(u64::MAX);
        let partition_by = directory.partition_by.clone();
        let destination = Destination::Directory { staging, directory: Box::new(directory.clone()), replaceable };
        Ok(PartitionedWriter::new(path, destination, options, (max_rows, max_bytes), max_buffered_bytes, partition_by))
    }

    /// Creates a writer of data files in the place of a table, under the names of one attempt: their prefix, and its id.
    pub(super) fn of_table(
        place: &FilesPlace,
        (prefix, attempt): (&str, &str),
        layout: FileLayout,
        mut options: WriterOptions,
        max_buffered_bytes: usize,
    ) -> Result<Self, Error> {
        let path = place.path.clone();
        let staging = match &place.store {
            Some(location) => Staging::in_store(location),
            None => std::fs::create_dir_all(path.parent().unwrap_or(&path)).and_then(|()| Staging::create(&path)),
        };
        let staging = staging.and_then(|staging| staging.name_attempt(attempt).map(|()| staging));
        let staging = staging.map_err(|cause| Error::write(&path, cause))?;
        options.buffer_bytes = 0;
        options.facts = Some(FactsLimit::default());
        // Of this table alone.
        options.field_ids = Arc::default();
        let maxima = (layout.max_file_rows.unwrap_or(u64::MAX), layout.max_file_bytes.unwrap_or(u64::MAX));
        let destination = Destination::Table { staging, prefix: prefix.to_owned() };
        Ok(PartitionedWriter::new(path, destination, options, maxima, max_buffered_bytes, layout.partition_by))
    }

    /// Creates a writer of numbered CSV files for spreadsheets, each of the rows that one sheet shows.
    pub(super) fn of_sheets(path: &Path, no_clobber: bool, options: WriterOptions, max_buffered_bytes: usize) -> Self {
        let destination = Destination::Numbered { path: path.to_owned(), no_clobber };
        // The header is a row of the sheet.
        let maxima = (MAX_SHEET_ROWS - 1, u64::MAX);
        PartitionedWriter::new(path.to_owned(), destination, options, maxima, max_buffered_bytes, Arc::new([]))
    }

    fn new(
        path: PathBuf,
        destination: Destination,
        options: WriterOptions,
        (max_rows, max_bytes): (u64, u64),
        max_buffered_bytes: usize,
        partition_by: Arc<[Arc<str>]>,
    ) -> Self {
        PartitionedWriter {
            path,
            destination,
            compression: options.compression,
            max_rows,
            max_bytes,
            max_buffered_bytes,
            files: Vec::new(),
            current: HashMap::new(),
            numbers: HashMap::new(),
            appends: 0,
            buffered_bytes: 0,
            handles: 0,
            rows: 0,
            spilled: options.format.is_typed() && !partition_by.is_empty(),
            options,
            partition_by,
            keeps_partition_columns: false,
            columns: Arc::default(),
        }
    }

    /// Returns the rows appended so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the bytes written so far, over all files, without buffered rows.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.file.bytes()).sum()
    }

    /// Appends rows of one partition. Rows that do not fit into its current file are split and encoded again: those
    /// that fit, and the rest for the next file. Each recursion handles fewer rows or begins a file, so that it ends.
    pub(super) fn append_rows(&mut self, partition_rows: PartitionRows) -> Result<(), Error> {
        let PartitionRows { directory, batch, encoded } = partition_rows;
        let rows = batch.rows as u64;
        if rows == 0 {
            return Ok(());
        }
        let bytes = match &encoded {
            FileRows::Text(text) => text.len() as u64,
            FileRows::Arrow(rows) => rows.get_array_memory_size() as u64,
        };
        let at = self.current_file(&directory)?;
        let file = &self.files[at];
        // Sizes are decided when spilled rows are encoded. A file of them only ends where the columns change, since it
        // is decoded with one schema; flags inside integer types make no difference for that.
        if self.spilled {
            let is_like = |(a, b): (&Field, &Field)| a.name == b.name && a.ty.is_like(&b.ty);
            let (a, b) = (&file.columns.fields, &batch.schema.fields);
            let same = a.len() == b.len() && a.iter().zip(b).all(is_like);
            if file.rows > 0 && !same {
                self.end_file(at, &directory)?;
                return self.append_rows(PartitionRows { directory, batch, encoded });
            }
            return self.append(at, &batch, encoded);
        }
        let rows_left = self.max_rows - file.rows;
        if rows_left == 0 {
            self.end_file(at, &directory)?;
            return self.append_rows(PartitionRows { directory, batch, encoded });
        }
        // Measured before compression, which makes files rather too small than too large.
        let too_large = file.rows > 0 && file.size() + bytes > self.max_bytes;
        // Only halving tells how many rows fit by bytes, as rows differ in size. A single row is never split.
        if rows > 1 && (rows > rows_left || bytes > self.max_bytes) {
            let cut = if rows > rows_left { rows_left } else { rows / 2 } as usize;
            for batch in [batch.slice(0, cut), batch.slice(cut, batch.rows - cut)] {
                // Changes for spreadsheets were counted when the whole batch was encoded.
                let encoded = encode_for_file(self.options.format, &batch, &mut SheetCounts::default())?;
                self.append_rows(PartitionRows { directory: directory.clone(), batch, encoded })?;
            }
            return Ok(());
        }
        if too_large {
            self.end_file(at, &directory)?;
            return self.append_rows(PartitionRows { directory, batch, encoded });
        }
        self.append(at, &batch, encoded)
    }

    /// Appends rows to the buffer of file `at`, and flushes what exceeds the bounds of the file or of all files.
    fn append(&mut self, at: usize, batch: &Batch, encoded: FileRows) -> Result<(), Error> {
        self.appends += 1;
        let is_begun = self.spilled && self.files[at].rows > 0;
        let same = |columns: &Arc<Schema>| Arc::ptr_eq(columns, &batch.schema) || **columns == *batch.schema;
        // Buffered rows are written with one schema.
        if !is_begun && !same(&self.files[at].columns) {
            self.write_pending(at)?;
            // One copy of the columns for all files: every batch brings its own.
            if self.columns != batch.schema {
                self.columns = batch.schema.clone();
            }
            self.files[at].columns = self.columns.clone();
        }
        let file = &mut self.files[at];
        file.last_append = self.appends;
        file.rows += batch.rows as u64;
        self.rows += batch.rows as u64;
        let before = file.pending.bytes;
        file.pending.rows += batch.rows as u64;
        match encoded {
            FileRows::Text(text) if file.pending.text.is_empty() => file.pending.text = text,
            FileRows::Text(text) => {
                if self.options.format == OutputFormat::JsonArray {
                    file.pending.text.extend_from_slice(b",\n");
                }
                file.pending.text.extend_from_slice(&text);
            }
            FileRows::Arrow(rows) => {
                file.pending.bytes += rows.get_array_memory_size();
                file.pending.arrow.push(rows);
            }
        }
        // Text counts by its length with separators, Arrow rows were counted above.
        if file.pending.arrow.is_empty() {
            file.pending.bytes = file.pending.text.len();
        }
        self.buffered_bytes += file.pending.bytes - before;
        if file.pending.bytes >= PENDING_BYTES {
            self.write_pending(at)?;
        }
        self.flush_oldest()
    }

    /// Appends an encoded row group. It is not split between files: workers make row groups small enough for that.
    pub(super) fn append_row_group(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        // Partitioned outputs spill their rows, so that row groups only occur without partitions.
        let directory = &PartitionPath::from("");
        let (rows, bytes) = (group.rows() as u64, group.bytes() as u64);
        let mut at = self.current_file(directory)?;
        let file = &self.files[at];
        let full = file.rows + rows > self.max_rows
            || file.file.bytes() + file.file.open_bytes() as u64 + bytes > self.max_bytes;
        if file.rows > 0 && full {
            self.end_file(at, directory)?;
            at = self.current_file(directory)?;
        }
        self.appends += 1;
        let file = &mut self.files[at];
        file.last_append = self.appends;
        file.rows += rows;
        self.rows += rows;
        let before = file.file.open_bytes();
        let written = file.file.bytes();
        file.file.append_row_group(group)?;
        // The group may have completed the open one, which was then written: `open_bytes` may shrink.
        self.buffered_bytes = self.buffered_bytes + file.file.open_bytes() - before;
        // A group that only joined the open one has touched no file.
        if self.files[at].file.bytes() > written {
            self.note_handle(at)?;
        }
        self.flush_oldest()
    }

    /// Returns the index of the file that takes the next rows of `partition`, and begins a file if there is none. Fails
    /// if there are too many partitions.
    fn current_file(&mut self, partition: &PartitionPath) -> Result<usize, Error> {
        if let Some(at) = self.current.get(partition) {
            return Ok(*at);
        }
        let number = self.numbers.get(partition).map_or(1, |number| number + 1);
        // Checked only for a partition's first file: many files of one partition are a matter of sizes.
        if number == 1 && self.numbers.len() >= MAX_DIRECTORIES {
            return Err(PartitionError::TooMany(MAX_DIRECTORIES).into());
        }
        let at = self.files.len();
        let (name, sink) = match &self.destination {
            Destination::Directory { .. } | Destination::Table { .. } => {
                let (staging, set) = self.destination.staging()?;
                let file = format!("{set}-{number:05}.{}", extension(&self.options));
                let name = if partition.is_empty() { PathBuf::from(file) } else { Path::new(&**partition).join(file) };
                (name, Ok(Sink::Part(staging.part(at))))
            }
            // Each numbered file has a temporary name of its own beside its final one.
            Destination::Numbered { path, no_clobber } => {
                let name = numbered(path, number);
                let sink = Sink::file(&name, *no_clobber);
                (name, sink)
            }
        };
        let path = match &self.destination {
            Destination::Directory { .. } | Destination::Table { .. } => self.path.join(&name),
            Destination::Numbered { .. } => name.clone(),
        };
        let sink = sink.map_err(|cause| Error::write(&path, cause))?;
        let output = match self.spilled {
            // The name is not used for a file of spilled rows.
            true => {
                let (format, compression) = (OutputFormat::Ndjson, SPILL_COMPRESSION);
                let options = WriterOptions { format, compression, ..self.options.clone() };
                OutputFile::new(path, sink, &options)?
            }
            false => OutputFile::new(path, sink, &self.options)?,
        };
        let file = PartitionFile::new(output, partition.clone(), name);
        self.files.push(PartitionFile { last_append: self.appends, ..file });
        self.current.insert(partition.clone(), at);
        self.numbers.insert(partition.clone(), number);
        Ok(at)
    }

    /// Writes the buffered rows of file `at`.
    fn write_pending(&mut self, at: usize) -> Result<(), Error> {
        let file = &mut self.files[at];
        let pending = std::mem::take(&mut file.pending);
        if pending.rows == 0 {
            return Ok(());
        }
        self.buffered_bytes -= pending.bytes;
        match pending.arrow.first() {
            None => {
                // The workers left the text uncompressed, as it could still be split between files.
                let compression = if self.spilled { SPILL_COMPRESSION } else { self.compression };
                let text = match compression {
                    Compression::None => pending.text,
                    compression => compressed(compression, &pending.text),
                };
                file.file.append_text(pending.rows, &text, &file.columns)?;
            }
            // One message per write: a message of a few rows costs more than its rows.
            Some(first) => {
                let rows = concat_batches(&first.schema(), &pending.arrow);
                let rows = rows.map_err(|e| Error::Bug(format!("cannot concatenate rows: {e}")))?;
                file.file.append_arrow(&rows, &file.columns)?;
            }
        }
        self.note_handle(at)
    }

    /// Ends file `at`, the current one of `directory`: what it buffers is written, and the next rows begin another one.
    fn end_file(&mut self, at: usize, directory: &PartitionPath) -> Result<(), Error> {
        self.write_pending(at)?;
        let file = &mut self.files[at];
        self.buffered_bytes -= file.file.open_bytes();
        file.file.seal()?;
        if std::mem::take(&mut file.has_handle) {
            self.handles -= 1;
        }
        self.current.remove(directory);
        Ok(())
    }

    /// Writes the open row group of file `at`, however small it is.
    fn close_row_group(&mut self, at: usize) -> Result<(), Error> {
        let file = &mut self.files[at];
        self.buffered_bytes -= file.file.open_bytes();
        file.file.close_row_group()?;
        self.note_handle(at)
    }

    /// Records that file `at` has an open handle. Above [`MAX_HANDLES`], closes half of the handles, those with the
    /// oldest last append first.
    fn note_handle(&mut self, at: usize) -> Result<(), Error> {
        if !std::mem::replace(&mut self.files[at].has_handle, true) {
            self.handles += 1;
        }
        if self.handles <= MAX_HANDLES {
            return Ok(());
        }
        let open = self.oldest(|file| file.has_handle);
        for at in open.into_iter().take(MAX_HANDLES / 2) {
            self.files[at].file.park()?;
            self.files[at].has_handle = false;
            self.handles -= 1;
        }
        Ok(())
    }

    /// If the buffered bytes exceed their maximum, flushes files with the oldest last append until half of it is free:
    /// half, so that the next append does not flush again.
    fn flush_oldest(&mut self) -> Result<(), Error> {
        if self.buffered_bytes <= self.max_buffered_bytes {
            return Ok(());
        }
        for at in self.oldest(|file| file.pending.rows > 0 || file.file.open_bytes() > 0) {
            if self.buffered_bytes <= self.max_buffered_bytes / 2 {
                break;
            }
            self.write_pending(at)?;
            if self.files[at].file.open_bytes() > 0 {
                self.close_row_group(at)?;
            }
        }
        Ok(())
    }

    /// Returns the indices of the files that match, the oldest last append first.
    fn oldest(&self, matches: impl Fn(&PartitionFile) -> bool) -> Vec<usize> {
        let mut found: Vec<usize> = (0..self.files.len()).filter(|&at| matches(&self.files[at])).collect();
        found.sort_by_key(|&at| self.files[at].last_append);
        found
    }

    /// Writes the partition columns into the files, besides the names of their directories.
    pub(super) fn keep_partition_columns(&mut self) {
        self.keeps_partition_columns = true;
    }

    /// Sets the ids of the fields of Parquet files, before [`PartitionedWriter::finish`].
    pub(super) fn set_field_ids(&self, ids: FieldIds) {
        let _ = self.options.field_ids.set(ids);
    }

    /// Writes the ends of all files, or encodes the spilled rows, with the final columns.
    pub(super) fn finish(mut self, columns: &Schema) -> Result<FinishedPartitions, Error> {
        let is_table = matches!(self.destination, Destination::Table { .. });
        if self.files.is_empty() && self.partition_by.is_empty() && !is_table {
            // Without rows there is one file, for its columns. With partition columns no directory could be named. The
            // columns of a table are in its commit.
            self.current_file(&"".into())?;
        }
        let mut columns = match self.keeps_partition_columns {
            true => columns.clone(),
            false => columns.without(&self.partition_by),
        };
        if matches!(&self.destination, Destination::Directory { directory, .. } if directory.leaves_out_empty) {
            columns = columns.without_empty().0;
        }
        for at in 0..self.files.len() {
            self.write_pending(at)?;
        }
        let files = if self.spilled { self.encode_spilled(&columns)? } else { self.finish_files(&columns)? };
        Ok(FinishedPartitions { path: self.path, destination: self.destination, files, publication: None })
    }

    /// Writes the ends of all files and closes their handles.
    fn finish_files(&mut self, columns: &Schema) -> Result<Vec<(PathBuf, FinishedFile)>, Error> {
        let finish = |part: PartitionFile| {
            let mut file = part.file.finish(columns)?;
            file.park();
            Ok((part.name, file))
        };
        std::mem::take(&mut self.files).into_iter().map(finish).collect()
    }

    /// Encodes the spilled rows into files, several directories at a time. Returns the files in the order of their
    /// directories' first rows, whatever the threads do.
    fn encode_spilled(&mut self, columns: &Schema) -> Result<Vec<(PathBuf, FinishedFile)>, Error> {
        let (staging, set) = self.destination.staging()?;
        // A directory has several spilled files if its columns changed.
        let mut spilled: Vec<(PartitionPath, Vec<SpilledRows>)> = Vec::new();
        let mut index_of: HashMap<PartitionPath, usize> = HashMap::new();
        let n_parts = self.files.len();
        for part in std::mem::take(&mut self.files) {
            let (directory, columns) = (part.directory, part.columns);
            let mut file = part.file.finish(&columns)?;
            // There may be more files than handles.
            file.park();
            let Sink::Part(part) = file.into_sink() else { return Err(not_a_part()) };
            let index = *index_of.entry(directory.clone()).or_insert_with(|| {
                spilled.push((directory, Vec::new()));
                spilled.len() - 1
            });
            spilled[index].1.push(SpilledRows { part, columns });
        }
        let workers = self.options.workers.clamp(1, spilled.len().max(1));
        let encoding = SpillEncoding {
            staging,
            next_part: &AtomicUsize::new(n_parts),
            columns,
            options: &WriterOptions { row_group_bytes: 0, buffer_bytes: ENCODING_BUFFER_BYTES, ..self.options.clone() },
            // All threads together keep within the bound of buffered bytes.
            group_bytes: (self.max_buffered_bytes / workers).min(self.options.row_group_bytes),
            max_rows: self.max_rows,
            max_bytes: self.max_bytes,
        };
        // Taken from the end by all threads, sorted by index afterwards.
        let tasks = Mutex::new(spilled.into_iter().enumerate().collect::<Vec<_>>());
        let take = || tasks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let encode = || {
            let mut made = Vec::new();
            while let Some((i, (directory, rows))) = take() {
                let files = encoding.files(&self.path.join(&*directory), rows);
                if files.is_err() {
                    // One error ends the execution: no thread starts another directory.
                    tasks.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                made.push((i, directory, files?));
            }
            Ok::<_, Error>(made)
        };
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(encode)).collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            let ended = ended.map(|end| end.unwrap_or_else(|_| Err(Error::Bug("an encoding thread panicked".into()))));
            ended.collect::<Result<Vec<_>, Error>>()
        })?;
        let mut made: Vec<_> = made.into_iter().flatten().collect();
        made.sort_by_key(|(i, ..)| *i);
        let extension = extension(&self.options);
        let mut named = Vec::new();
        for (_, partition, files) in made {
            for (file, number) in files.into_iter().zip(1u32..) {
                let name = Path::new(&*partition).join(format!("{}-{number:05}.{extension}", set));
                named.push((name, file));
            }
        }
        Ok(named)
    }
}

/// All files of an output of several files, complete and under temporary names.
pub(super) struct FinishedPartitions {
    path: PathBuf,
    destination: Destination,
    /// The files with their final paths, relative to the directory; none once they are in `publication`.
    files: Vec<(PathBuf, FinishedFile)>,
    /// The files and their names in the directory, since it was locked.
    publication: Option<Publication>,
}

impl FinishedPartitions {
    /// Returns the bytes of all files together.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, file)| file.bytes).sum()
    }

    /// Syncs all files to disk, so that only renames are left.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        sync_all(&mut self.files, |(_, file)| file.sync())
    }

    /// Returns the files of a table under their temporary names, with their final ones.
    pub(super) fn into_staged(self) -> Result<(Staging, Vec<(PathBuf, FinishedFile)>), Error> {
        match self.destination {
            Destination::Table { staging, .. } => Ok((staging, self.files)),
            _ => Err(Error::Bug("the files are not those of a table".into())),
        }
    }

    /// Returns the directory that must be locked before the commit; `None` for numbered files, or if it is locked.
    pub(super) fn directory_to_lock(&self) -> Option<&Path> {
        (matches!(self.destination, Destination::Directory { .. }) && self.publication.is_none()).then_some(&*self.path)
    }

    /// Locks the directory against other commands until the commit, and decides which of its files are replaced. Fails
    /// if these are not the ones that the execution found at its start. Returns notes for the report.
    pub(super) fn lock(&mut self, on_wait: OnWait<'_>) -> Result<Vec<String>, Error> {
        let Destination::Directory { staging, directory, replaceable } = &mut self.destination else {
            return Ok(Vec::new());
        };
        let staged = std::mem::take(&mut self.files).into_iter().map(|(name, file)| {
            let (rows, bytes) = (file.rows, file.bytes);
            match file.into_sink() {
                Sink::Part(part) => Ok(StagedFile { name, rows, bytes, part }),
                _ => Err(not_a_part()),
            }
        });
        let staged = staged.collect::<Result<Vec<_>, Error>>()?;
        let plan = || {
            // Before the lock: this reads every byte again.
            let digests = digests(&staged)?;
            staging.lock(on_wait)?;
            Publication::plan(staging, directory, replaceable, staged, digests)
        };
        let mut publication = plan().map_err(|cause| Error::write(&self.path, cause))?;
        let notes = std::mem::take(&mut publication.notes);
        self.publication = Some(publication);
        Ok(notes)
    }

    /// Returns the final paths of its files on this machine; those of a directory once it is locked.
    pub(super) fn final_paths(&self) -> Vec<PathBuf> {
        match &self.destination {
            Destination::Numbered { .. } => self.files.iter().map(|(_, file)| file.path.clone()).collect(),
            Destination::Directory { staging, .. } if staging.is_local() => {
                let names = self.publication.iter().flat_map(Publication::names);
                names.map(|name| self.path.join(name)).collect()
            }
            Destination::Directory { .. } | Destination::Table { .. } => Vec::new(),
        }
    }

    /// Renames all files to their final paths, and returns these with their bytes. A directory must be locked.
    pub(super) fn commit(self) -> Result<Vec<(PathBuf, u64)>, Error> {
        let FinishedPartitions { path, destination, files, publication } = self;
        match destination {
            // In order: an interrupt leaves the first files, never a gap.
            Destination::Numbered { .. } => {
                let mut named = Vec::new();
                for (_, file) in files {
                    named.push((file.path.clone(), file.bytes));
                    file.commit()?;
                }
                Ok(named)
            }
            Destination::Table { .. } => Err(Error::Bug("the files of a table are committed by it".into())),
            Destination::Directory { staging, .. } => {
                let publication = publication.ok_or_else(|| Error::Bug("a directory is not locked".into()))?;
                let entries = publication.publish(&staging).map_err(|cause| Error::write(&path, cause))?;
                staging.end();
                Ok(entries.into_iter().map(|entry| (path.join(entry.path), entry.bytes)).collect())
            }
        }
    }

    /// Returns a note for the report: the files of a directory, or of sheets if there is more than one.
    pub(super) fn note(&self) -> Option<String> {
        let files = self.files.len();
        match &self.destination {
            Destination::Table { .. } => None,
            Destination::Directory { .. } => {
                let s = plural(files as u64);
                Some(format!("{files} file{s}, listed in {}", self.path.join(MANIFEST).display()))
            }
            Destination::Numbered { path, .. } => {
                let name = |number: usize| numbered(path, number as u32);
                let mut notes = Vec::new();
                if files > 1 {
                    notes.push(format!(
                        "more rows than a sheet holds: continued in files up to {}",
                        name(files).display()
                    ));
                }
                // Such a file looks as if it continued this output.
                if name(files + 1).exists() {
                    notes.push(format!("{} is left from an earlier run", name(files + 1).display()));
                }
                (!notes.is_empty()).then(|| notes.join("; "))
            }
        }
    }
}

impl PartitionFile {
    fn new(file: OutputFile, directory: PartitionPath, name: PathBuf) -> Self {
        let (pending, columns) = (Pending::default(), Arc::default());
        PartitionFile { file, directory, rows: 0, pending, columns, last_append: 0, has_handle: false, name }
    }

    /// Returns the bytes of the file, with buffered rows before compression.
    fn size(&self) -> u64 {
        self.file.bytes() + self.pending.bytes as u64
    }
}

fn not_a_part() -> Error {
    Error::Bug("a file of a directory is not in its staging directory".into())
}

/// Returns the file name extension for a format and its compression, such as `csv.gz`.
fn extension(options: &WriterOptions) -> String {
    let format = options.format.extension();
    match options.compression {
        Compression::None => format.to_owned(),
        Compression::Gzip => format!("{format}.gz"),
        Compression::Zstd => format!("{format}.zst"),
    }
}
