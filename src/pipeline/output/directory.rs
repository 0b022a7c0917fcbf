//! An output of several files: a directory of parts, divided by size and by the values of columns, or one file that goes on
//! in others where a sheet ends.
//!
//! ```text
//! DIR/country=NO/part-00001.parquet      rows of one directory go into its open file; one that is full is closed and
//! DIR/country=NO/part-00002.parquet      another begun
//! DIR/_manifest.json                     what stands there: rows, bytes and digest of every file
//! DIR/_SUCCESS                           last
//! ```
//!
//! Closed only means that no more rows come: what belongs at the end of a file is written when the columns of all rows
//! are known, so that a column which comes late is in every file. Until then a file costs what its footer will say. Rows
//! that wait to be written, and row groups that are open, are bounded over all files together; beyond that, those that
//! were written to longest ago go first.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use super::encode::{body_of, compressed};
use super::file::{FinishedFile, OutputFile};
use super::manifest::{MANIFEST, StagedFile, publish};
use super::rows::{FileRows, PartitionPath, PartitionRows};
use super::spill::{SpillEncoding, SpilledRows};
use super::spilled::SPILL_COMPRESSION;
use super::writer::WriterOptions;
use crate::column::{Batch, Field, Schema};
use crate::format::csv::{MAX_SHEET_ROWS, SheetCounts};
use crate::format::parquet::EncodedRowGroup;
use crate::format::{Compression, OutputFormat};
use crate::pipeline::error::{Error, PartitionError};
use crate::pipeline::plan::Directory;
use crate::sink::{Sink, Staging};
use crate::text::plural;
use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;

/// More directorys are refused: the values of the columns look like data. By eye: ten times what a file system's directory is
/// comfortable with, and each costs memory.
const MAX_DIRECTORIES: usize = 10_000;

/// Files that are open at a time; systems let a process have 1,024 or more.
const MAX_HANDLES: usize = 128;

/// Rows of one file are written once they have so many bytes. By eye: where a write's own cost does not show.
const PENDING_BYTES: usize = 256 << 10;

/// Bytes that are collected of a file that is encoded from rows that waited; there are few at a time.
const ENCODING_BUFFER_BYTES: usize = 256 << 10;

/// The places of the files.
enum Destination {
    /// Below a directory, where they appear together.
    Directory { staging: Staging, directory: Box<Directory> },
    /// `people.csv`, `people-2.csv`, and so on.
    Numbered { path: PathBuf, no_clobber: bool },
}

/// An output of several files.
pub struct PartitionedWriter {
    path: PathBuf,
    destination: Destination,
    options: WriterOptions,
    /// Compression of text, which is done here.
    compression: Compression,
    max_rows: u64,
    max_bytes: u64,
    /// Bytes that may wait in all files together.
    max_waiting: usize,
    files: Vec<PartitionFile>,
    /// The file of each directory that takes its next rows.
    current: HashMap<PartitionPath, usize>,
    /// The number of each directory's last file, from 1.
    numbers: HashMap<PartitionPath, u32>,
    /// Counts appends, so that the oldest is known.
    clock: u64,
    /// Bytes that wait in all files.
    waiting: usize,
    /// Files that may have a handle.
    handles: usize,
    rows: u64,
    partition_by: Arc<[Arc<str>]>,
    /// Rows are spilled until all are there: `files` are then what waits. See [`super::spill`].
    spilled: bool,
}

struct PartitionFile {
    file: OutputFile,
    directory: PartitionPath,
    /// Rows, those that wait included.
    rows: u64,
    pending: Pending,
    columns: Arc<Schema>,
    used: u64,
    has_handle: bool,
    /// Its final path, below the directory.
    name: PathBuf,
}

/// Rows that are not in the file yet.
#[derive(Default)]
struct Pending {
    text: Vec<u8>,
    arrow: Vec<RecordBatch>,
    rows: u64,
    bytes: usize,
}

impl PartitionedWriter {
    /// Begins to fill a directory.
    pub fn in_directory(directory: &Directory, mut options: WriterOptions, max_waiting: usize) -> Result<Self, Error> {
        let path = directory.path.clone();
        let staging = match &directory.store {
            Some(place) => Staging::in_store(place),
            None => Staging::create(&path),
        };
        let staging = staging.map_err(|cause| Error::write(&path, cause))?;
        let has_results = || staging.exists(Path::new(MANIFEST)).map_err(|cause| Error::write(&path, cause));
        if directory.no_clobber && has_results()? {
            let cause = std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "holds results already, and nothing may be replaced",
            );
            return Err(Error::write(&path, cause));
        }
        // There may be thousands of these.
        options.buffer_bytes = 0;
        let is_sheet = matches!(options.format, OutputFormat::Csv(options) if options.excel);
        let max_rows = directory.max_file_rows.unwrap_or(u64::MAX);
        let max_rows = if is_sheet { max_rows.min(MAX_SHEET_ROWS - 1) } else { max_rows };
        let max_bytes = directory.max_file_bytes.unwrap_or(u64::MAX);
        let partition_by = directory.partition_by.clone();
        let destination = Destination::Directory { staging, directory: Box::new(directory.clone()) };
        Ok(PartitionedWriter::new(path, destination, options, (max_rows, max_bytes), max_waiting, partition_by))
    }

    /// Begins a file for spreadsheets, which goes on in others.
    pub fn of_sheets(path: &Path, no_clobber: bool, options: WriterOptions, max_waiting: usize) -> Self {
        let destination = Destination::Numbered { path: path.to_owned(), no_clobber };
        let most = (MAX_SHEET_ROWS - 1, u64::MAX);
        PartitionedWriter::new(path.to_owned(), destination, options, most, max_waiting, Arc::new([]))
    }

    fn new(
        path: PathBuf,
        destination: Destination,
        options: WriterOptions,
        (max_rows, max_bytes): (u64, u64),
        max_waiting: usize,
        partition_by: Arc<[Arc<str>]>,
    ) -> Self {
        PartitionedWriter {
            path,
            destination,
            compression: options.compression,
            max_rows,
            max_bytes,
            max_waiting,
            files: Vec::new(),
            current: HashMap::new(),
            numbers: HashMap::new(),
            clock: 0,
            waiting: 0,
            handles: 0,
            rows: 0,
            spilled: options.format.is_typed() && !partition_by.is_empty(),
            options,
            partition_by,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.file.bytes()).sum()
    }

    /// Appends rows of one directory, cut where files end.
    pub fn append_rows(&mut self, part: PartitionRows) -> Result<(), Error> {
        let PartitionRows { directory, batch, body } = part;
        let rows = batch.rows as u64;
        if rows == 0 {
            return Ok(());
        }
        let bytes = match &body {
            FileRows::Text(text) => text.len() as u64,
            FileRows::Arrow(rows) => rows.get_array_memory_size() as u64,
        };
        let at = self.file_of(&directory)?;
        let file = &self.files[at];
        if self.spilled {
            let is_like = |(a, b): (&Field, &Field)| a.name == b.name && a.ty.is_like(&b.ty);
            let (a, b) = (&file.columns.fields, &batch.schema.fields);
            let same = a.len() == b.len() && a.iter().zip(b).all(is_like);
            if file.rows > 0 && !same {
                self.current.remove(&directory);
                return self.append_rows(PartitionRows { directory, batch, body });
            }
            return self.append(at, &batch, body);
        }
        let room = self.max_rows - file.rows;
        if room == 0 {
            self.current.remove(&directory);
            return self.append_rows(PartitionRows { directory, batch, body });
        }
        let too_large = file.rows > 0 && file.size() + bytes > self.max_bytes;
        if rows > 1 && (rows > room || bytes > self.max_bytes) {
            let cut = if rows > room { room } else { rows / 2 } as usize;
            for batch in [batch.slice(0, cut), batch.slice(cut, batch.rows - cut)] {
                // What it took for a spreadsheet was counted when the whole was encoded.
                let body = body_of(self.options.format, &batch, &mut SheetCounts::default())?;
                self.append_rows(PartitionRows { directory: directory.clone(), batch, body })?;
            }
            return Ok(());
        }
        if too_large {
            self.current.remove(&directory);
            return self.append_rows(PartitionRows { directory, batch, body });
        }
        self.append(at, &batch, body)
    }

    fn append(&mut self, at: usize, batch: &Batch, body: FileRows) -> Result<(), Error> {
        self.clock += 1;
        let is_begun = self.spilled && self.files[at].rows > 0;
        let same = |columns: &Arc<Schema>| Arc::ptr_eq(columns, &batch.schema) || **columns == *batch.schema;
        if !is_begun && !same(&self.files[at].columns) {
            self.write_pending(at)?;
            self.files[at].columns = batch.schema.clone();
        }
        let file = &mut self.files[at];
        file.used = self.clock;
        file.rows += batch.rows as u64;
        self.rows += batch.rows as u64;
        let before = file.pending.bytes;
        file.pending.rows += batch.rows as u64;
        match body {
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
        if file.pending.arrow.is_empty() {
            file.pending.bytes = file.pending.text.len();
        }
        self.waiting += file.pending.bytes - before;
        if file.pending.bytes >= PENDING_BYTES {
            self.write_pending(at)?;
        }
        self.relieve()
    }

    /// Appends a row group. It is not cut: workers make them small enough.
    pub fn append_row_group(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        let directory = &PartitionPath::from("");
        let (rows, bytes) = (group.rows() as u64, group.bytes() as u64);
        let mut at = self.file_of(directory)?;
        let file = &self.files[at];
        let full = file.rows + rows > self.max_rows
            || file.file.bytes() + file.file.open_bytes() as u64 + bytes > self.max_bytes;
        if file.rows > 0 && full {
            // What is open of it costs memory for nothing.
            self.close_row_group(at)?;
            self.current.remove(directory);
            at = self.file_of(directory)?;
        }
        self.clock += 1;
        let file = &mut self.files[at];
        file.used = self.clock;
        file.rows += rows;
        self.rows += rows;
        let before = file.file.open_bytes();
        let written = file.file.bytes();
        file.file.append_row_group(group)?;
        self.waiting = self.waiting + file.file.open_bytes() - before;
        if self.files[at].file.bytes() > written {
            self.opened(at)?;
        }
        self.relieve()
    }

    /// The file that takes the next rows of the directory `below` the output's.
    fn file_of(&mut self, below: &PartitionPath) -> Result<usize, Error> {
        if let Some(at) = self.current.get(below) {
            return Ok(*at);
        }
        let number = self.numbers.get(below).map_or(1, |number| number + 1);
        if number == 1 && self.numbers.len() >= MAX_DIRECTORIES {
            return Err(PartitionError::TooMany(MAX_DIRECTORIES).into());
        }
        let at = self.files.len();
        let (name, sink) = match &self.destination {
            Destination::Directory { staging, directory } => {
                let file = format!("{}-{number:05}.{}", directory.set, extension(&self.options));
                let name = if below.is_empty() { PathBuf::from(file) } else { Path::new(&**below).join(file) };
                (name, Ok(Sink::Part(staging.part(at))))
            }
            Destination::Numbered { path, no_clobber } => {
                let name = numbered(path, number);
                let sink = Sink::file(&name, *no_clobber);
                (name, sink)
            }
        };
        let path = match &self.destination {
            Destination::Directory { .. } => self.path.join(&name),
            Destination::Numbered { .. } => name.clone(),
        };
        let sink = sink.map_err(|cause| Error::write(&path, cause))?;
        let output = match self.spilled {
            true => {
                let waiting = (OutputFormat::Ndjson, SPILL_COMPRESSION);
                OutputFile::new(
                    path,
                    sink,
                    &WriterOptions { format: waiting.0, compression: waiting.1, ..self.options.clone() },
                )?
            }
            false => OutputFile::new(path, sink, &self.options)?,
        };
        self.files.push(PartitionFile { used: self.clock, ..PartitionFile::new(output, below.clone(), name) });
        self.current.insert(below.clone(), at);
        self.numbers.insert(below.clone(), number);
        Ok(at)
    }

    /// Writes what waits of one file.
    fn write_pending(&mut self, at: usize) -> Result<(), Error> {
        let file = &mut self.files[at];
        let pending = std::mem::take(&mut file.pending);
        if pending.rows == 0 {
            return Ok(());
        }
        self.waiting -= pending.bytes;
        match pending.arrow.first() {
            None => {
                let compression = if self.spilled { SPILL_COMPRESSION } else { self.compression };
                let text = match compression {
                    Compression::None => pending.text,
                    compression => compressed(compression, &pending.text),
                };
                file.file.append_text(pending.rows, &text, &file.columns)?;
            }
            Some(first) => {
                let rows = concat_batches(&first.schema(), &pending.arrow);
                let rows = rows.map_err(|e| Error::Bug(format!("rows cannot be put together: {e}")))?;
                file.file.append_arrow(&rows, &file.columns)?;
            }
        }
        self.opened(at)
    }

    fn close_row_group(&mut self, at: usize) -> Result<(), Error> {
        let file = &mut self.files[at];
        self.waiting -= file.file.open_bytes();
        file.file.close_row_group()?;
        self.opened(at)
    }

    /// Notes that a file was written to; of too many files with handles, those not written to for longest lose theirs.
    fn opened(&mut self, at: usize) -> Result<(), Error> {
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

    /// Writes what waits in files that were not written to for longest, until half of what may wait is left.
    fn relieve(&mut self) -> Result<(), Error> {
        if self.waiting <= self.max_waiting {
            return Ok(());
        }
        for at in self.oldest(|file| file.pending.rows > 0 || file.file.open_bytes() > 0) {
            if self.waiting <= self.max_waiting / 2 {
                break;
            }
            self.write_pending(at)?;
            if self.files[at].file.open_bytes() > 0 {
                self.close_row_group(at)?;
            }
        }
        Ok(())
    }

    /// The files that `are`, those first that were not written to for longest.
    fn oldest(&self, are: impl Fn(&PartitionFile) -> bool) -> Vec<usize> {
        let mut found: Vec<usize> = (0..self.files.len()).filter(|&at| are(&self.files[at])).collect();
        found.sort_by_key(|&at| self.files[at].used);
        found
    }

    /// Writes the ends of all files, with the final columns.
    pub fn finish(mut self, columns: &Schema) -> Result<FinishedPartitions, Error> {
        if self.files.is_empty() && self.partition_by.is_empty() {
            // No rows, but columns.
            self.file_of(&"".into())?;
        }
        let columns = columns.without(&self.partition_by);
        for at in 0..self.files.len() {
            self.write_pending(at)?;
        }
        let files = if self.spilled { self.encode_spilled(&columns)? } else { self.finish_files(&columns)? };
        Ok(FinishedPartitions { path: self.path, destination: self.destination, files })
    }

    fn finish_files(&mut self, columns: &Schema) -> Result<Vec<(PathBuf, FinishedFile)>, Error> {
        let finish = |part: PartitionFile| {
            let mut file = part.file.finish(columns)?;
            file.park();
            Ok((part.name, file))
        };
        std::mem::take(&mut self.files).into_iter().map(finish).collect()
    }

    /// Makes the files of what was spilled, several at a time.
    fn encode_spilled(&mut self, columns: &Schema) -> Result<Vec<(PathBuf, FinishedFile)>, Error> {
        let Destination::Directory { staging, directory } = &self.destination else { return Err(no_part()) };
        let mut waiting: Vec<(PartitionPath, Vec<SpilledRows>)> = Vec::new();
        let mut places: HashMap<PartitionPath, usize> = HashMap::new();
        let n_parts = self.files.len();
        for part in std::mem::take(&mut self.files) {
            let (directory, columns) = (part.directory, part.columns);
            let mut file = part.file.finish(&columns)?;
            file.park();
            let Sink::Part(part) = file.into_sink() else { return Err(no_part()) };
            let place = *places.entry(directory.clone()).or_insert_with(|| {
                waiting.push((directory, Vec::new()));
                waiting.len() - 1
            });
            waiting[place].1.push(SpilledRows { part, columns });
        }
        let workers = self.options.workers.clamp(1, waiting.len().max(1));
        let encoding = SpillEncoding {
            staging,
            next_part: &AtomicUsize::new(n_parts),
            columns,
            options: &WriterOptions { row_group_bytes: 0, buffer_bytes: ENCODING_BUFFER_BYTES, ..self.options.clone() },
            group_bytes: (self.max_waiting / workers).min(self.options.row_group_bytes),
            max_rows: self.max_rows,
            max_bytes: self.max_bytes,
        };
        // Taken from the end, put in order afterwards.
        let tasks = Mutex::new(waiting.into_iter().enumerate().collect::<Vec<_>>());
        let take = || tasks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let encode = || {
            let mut made = Vec::new();
            while let Some((i, (directory, rows))) = take() {
                let files = encoding.files(&self.path.join(&*directory), rows);
                if files.is_err() {
                    // The others need not go on.
                    tasks.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                made.push((i, directory, files?));
            }
            Ok::<_, Error>(made)
        };
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(encode)).collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            let ended =
                ended.map(|end| end.unwrap_or_else(|_| Err(Error::Bug("a thread that encodes broke down".into()))));
            ended.collect::<Result<Vec<_>, Error>>()
        })?;
        let mut made: Vec<_> = made.into_iter().flatten().collect();
        made.sort_by_key(|(i, ..)| *i);
        let extension = extension(&self.options);
        let mut named = Vec::new();
        for (_, below, files) in made {
            for (file, number) in files.into_iter().zip(1u32..) {
                let name = Path::new(&*below).join(format!("{}-{number:05}.{extension}", directory.set));
                named.push((name, file));
            }
        }
        Ok(named)
    }
}

/// All files of such an output, whole and without their names.
pub struct FinishedPartitions {
    path: PathBuf,
    destination: Destination,
    /// Each with its path below the directory.
    files: Vec<(PathBuf, FinishedFile)>,
}

impl FinishedPartitions {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, file)| file.bytes).sum()
    }

    /// Makes all files durable, so that only their names are missing.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.files.iter_mut().try_for_each(|(_, file)| file.sync())
    }

    /// Gives all files their names, and returns these with their bytes.
    pub fn commit(self) -> Result<Vec<(PathBuf, u64)>, Error> {
        let FinishedPartitions { path, destination, files } = self;
        match destination {
            Destination::Numbered { .. } => {
                let mut named = Vec::new();
                for (_, file) in files {
                    named.push((file.path.clone(), file.bytes));
                    file.commit()?;
                }
                Ok(named)
            }
            Destination::Directory { staging, directory } => {
                let staged = files.into_iter().map(|(name, file)| {
                    let (rows, bytes) = (file.rows, file.bytes);
                    match file.into_sink() {
                        Sink::Part(part) => Ok(StagedFile { name, rows, bytes, part }),
                        _ => Err(no_part()),
                    }
                });
                let staged = staged.collect::<Result<Vec<_>, Error>>()?;
                let entries = publish(&staging, &directory, staged).map_err(|cause| Error::write(&path, cause))?;
                staging.end();
                Ok(entries.into_iter().map(|entry| (path.join(entry.path), entry.bytes)).collect())
            }
        }
    }

    /// A note for the report, if it is more than one file.
    pub fn note(&self) -> Option<String> {
        let files = self.files.len();
        match &self.destination {
            Destination::Directory { .. } => {
                let s = plural(files as u64);
                Some(format!("{files} file{s}, listed in {}", self.path.join(MANIFEST).display()))
            }
            Destination::Numbered { path, .. } => {
                let name = |number: usize| numbered(path, number as u32);
                let mut notes = Vec::new();
                if files > 1 {
                    notes.push(format!(
                        "more rows than a sheet has: they go on in files up to {}",
                        name(files).display()
                    ));
                }
                if name(files + 1).exists() {
                    notes.push(format!("{} is of an earlier time", name(files + 1).display()));
                }
                (!notes.is_empty()).then(|| notes.join("; "))
            }
        }
    }
}

impl PartitionFile {
    fn new(file: OutputFile, directory: PartitionPath, name: PathBuf) -> Self {
        let (pending, columns) = (Pending::default(), Arc::default());
        PartitionFile { file, directory, rows: 0, pending, columns, used: 0, has_handle: false, name }
    }

    /// Bytes of the file, what waits counted as it is.
    fn size(&self) -> u64 {
        self.file.bytes() + self.pending.bytes as u64
    }
}

fn no_part() -> Error {
    Error::Bug("a file of a directory is none of its parts".into())
}

/// The extension of the names of files.
fn extension(options: &WriterOptions) -> String {
    let format = options.format.extension();
    match options.compression {
        Compression::None => format.to_owned(),
        Compression::Gzip => format!("{format}.gz"),
        Compression::Zstd => format!("{format}.zst"),
    }
}

/// `people.csv.gz` and 2 give `people-2.csv.gz`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A name that begins with a dot has its stem behind that.
    let dot = name.char_indices().skip(1).find(|(_, c)| *c == '.').map_or(name.len(), |(at, _)| at);
    path.with_file_name(format!("{}-{number}{}", &name[..dot], &name[dot..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_are_numbered_before_their_extensions() {
        for (name, second) in [("d/a.csv.gz", "d/a-2.csv.gz"), ("a", "a-2"), (".a.csv", ".a-2.csv")] {
            assert_eq!(numbered(Path::new(name), 2), Path::new(second));
            assert_eq!(numbered(Path::new(name), 1), Path::new(name));
        }
    }
}
