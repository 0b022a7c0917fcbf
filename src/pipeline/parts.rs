//! An output of several files: a folder of parts, divided by size and by the values of columns, or one file that goes on
//! in others where a sheet ends.
//!
//! ```text
//! DIR/country=NO/part-00001.parquet      rows of one folder go into its open file; one that is full is closed and
//! DIR/country=NO/part-00002.parquet      another begun
//! DIR/_manifest.json                     what stands there: rows, bytes and digest of every file
//! DIR/_SUCCESS                           last
//! ```
//!
//! Closed only means that no more rows come: what belongs at the end of a file is written when the columns of all rows
//! are known, so that a column which comes late is in every file. Until then a file costs what its footer will say. Rows
//! that wait to be written, and row groups that are open, are bounded over all files together; beyond that, those that
//! were written to longest ago go first.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Error;
use super::encode::{Body, Folder, PartRows, body_of, compressed};
use super::one::{Make, One, write_error};
use super::plan::Directory;
use super::spool::{self, Encoding, Spooled};
use crate::column::{Batch, Field, Schema};
use crate::format::csv::{MAX_SHEET_ROWS, SheetCounts};
use crate::format::parquet::EncodedRowGroup;
use crate::format::{Compression, OutputFormat};
use crate::sink::{Sink, Staging};

/// More folders are refused: the values of the columns look like data. By eye: ten times what a file system's folder is
/// comfortable with, and each costs memory.
const MAX_FOLDERS: usize = 10_000;

/// Files that are open at a time; systems let a process have 1,024 or more.
const MAX_HANDLES: usize = 128;

/// Rows of one file are written once they have so many bytes. By eye: where a write's own cost does not show.
const PENDING_BYTES: usize = 256 << 10;

/// Bytes that are collected of a file that is encoded from rows that waited; there are few at a time.
const ENCODING_BUFFER_BYTES: usize = 256 << 10;

/// The name of what says which files there are. Readers of whole folders pass over names with this beginning.
const MANIFEST: &str = "_manifest.json";

/// The name of the file in a folder of outputs that says that all of them are whole.
pub const SUCCESS: &str = "_SUCCESS";

/// Where the files are.
enum Place {
    /// Below a folder, where they appear together.
    Folder { staging: Staging, directory: Box<Directory> },
    /// `people.csv`, `people-2.csv`, and so on.
    Numbered { path: PathBuf, no_clobber: bool },
}

/// An output of several files.
pub(super) struct Parts {
    path: PathBuf,
    place: Place,
    make: Make,
    /// Compression of text, which is done here.
    compression: Compression,
    max_rows: u64,
    max_bytes: u64,
    /// Bytes that may wait in all files together.
    max_waiting: usize,
    files: Vec<PartFile>,
    /// The file of each folder that takes its next rows.
    current: HashMap<Folder, usize>,
    /// The number of each folder's last file, from 1.
    numbers: HashMap<Folder, u32>,
    /// Counts appends, so that the oldest is known.
    clock: u64,
    /// What waits in all files.
    waiting: usize,
    /// Files that may have a handle.
    handles: usize,
    rows: u64,
    partition_by: Arc<[Arc<str>]>,
    /// Rows are set aside until all are there: `files` are then what waits. See [`super::spool`].
    spooled: bool,
}

struct PartFile {
    one: One,
    folder: Folder,
    /// Rows, those that wait included.
    rows: u64,
    pending: Pending,
    columns: Arc<Schema>,
    used: u64,
    has_handle: bool,
    /// Where it will stand, below the folder.
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

/// What is written of a file in the manifest.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Entry {
    path: String,
    rows: u64,
    bytes: u64,
    sha256: String,
    /// The first part of its name: files of one set are replaced together.
    set: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Manifest {
    version: u32,
    writer: String,
    rows: u64,
    bytes: u64,
    files: Vec<Entry>,
}

impl Parts {
    /// Begins to fill a folder.
    pub fn in_folder(directory: &Directory, mut make: Make, max_waiting: usize) -> Result<Self, Error> {
        let path = directory.path.clone();
        let staging = match &directory.store {
            Some(place) => Staging::in_store(place),
            None => Staging::create(&path),
        };
        let staging = staging.map_err(|cause| write_error(&path, cause))?;
        let has_results = || staging.exists(Path::new(MANIFEST)).map_err(|cause| write_error(&path, cause));
        if directory.no_clobber && has_results()? {
            let cause = std::io::Error::new(
                std::io::ErrorKind::AlreadyExists,
                "holds results already, and --no-clobber was given",
            );
            return Err(write_error(&path, cause));
        }
        // There may be thousands of these.
        make.buffer_bytes = 0;
        let is_sheet = matches!(make.format, OutputFormat::Csv(options) if options.excel);
        let max_rows = directory.max_file_rows.unwrap_or(u64::MAX);
        let max_rows = if is_sheet { max_rows.min(MAX_SHEET_ROWS - 1) } else { max_rows };
        let max_bytes = directory.max_file_bytes.unwrap_or(u64::MAX);
        let partition_by = directory.partition_by.clone();
        let place = Place::Folder { staging, directory: Box::new(directory.clone()) };
        Ok(Parts::new(path, place, make, (max_rows, max_bytes), max_waiting, partition_by))
    }

    /// Begins a file for spreadsheets, which goes on in others.
    pub fn of_sheets(path: &Path, no_clobber: bool, make: Make, max_waiting: usize) -> Self {
        let place = Place::Numbered { path: path.to_owned(), no_clobber };
        let most = (MAX_SHEET_ROWS - 1, u64::MAX);
        Parts::new(path.to_owned(), place, make, most, max_waiting, Arc::new([]))
    }

    fn new(
        path: PathBuf,
        place: Place,
        make: Make,
        (max_rows, max_bytes): (u64, u64),
        max_waiting: usize,
        partition_by: Arc<[Arc<str>]>,
    ) -> Self {
        Parts {
            path,
            place,
            compression: make.compression,
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
            spooled: make.format.is_typed() && !partition_by.is_empty(),
            make,
            partition_by,
        }
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.one.bytes()).sum()
    }

    /// Appends rows of one folder, cut where files end.
    pub fn rows_of(&mut self, part: PartRows) -> Result<(), Error> {
        let PartRows { folder, batch, body } = part;
        let rows = batch.rows as u64;
        if rows == 0 {
            return Ok(());
        }
        let bytes = match &body {
            Body::Text(text) => text.len() as u64,
            Body::Arrow(rows) => rows.get_array_memory_size() as u64,
        };
        let at = self.file_of(&folder)?;
        let file = &self.files[at];
        if self.spooled {
            let is_like = |(a, b): (&Field, &Field)| a.name == b.name && a.ty.is_like(&b.ty);
            let (a, b) = (&file.columns.fields, &batch.schema.fields);
            let same = a.len() == b.len() && a.iter().zip(b).all(is_like);
            if file.rows > 0 && !same {
                self.current.remove(&folder);
                return self.rows_of(PartRows { folder, batch, body });
            }
            return self.append(at, &batch, body);
        }
        let room = self.max_rows - file.rows;
        if room == 0 {
            self.current.remove(&folder);
            return self.rows_of(PartRows { folder, batch, body });
        }
        let too_large = file.rows > 0 && file.size() + bytes > self.max_bytes;
        if rows > 1 && (rows > room || bytes > self.max_bytes) {
            let cut = if rows > room { room } else { rows / 2 } as usize;
            for batch in [batch.slice(0, cut), batch.slice(cut, batch.rows - cut)] {
                // What it took for a spreadsheet was counted when the whole was encoded.
                let body = body_of(self.make.format, &batch, &mut SheetCounts::default())?;
                self.rows_of(PartRows { folder: folder.clone(), batch, body })?;
            }
            return Ok(());
        }
        if too_large {
            self.current.remove(&folder);
            return self.rows_of(PartRows { folder, batch, body });
        }
        self.append(at, &batch, body)
    }

    fn append(&mut self, at: usize, batch: &Batch, body: Body) -> Result<(), Error> {
        self.clock += 1;
        let is_begun = self.spooled && self.files[at].rows > 0;
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
            Body::Text(text) if file.pending.text.is_empty() => file.pending.text = text,
            Body::Text(text) => {
                if self.make.format == OutputFormat::JsonArray {
                    file.pending.text.extend_from_slice(b",\n");
                }
                file.pending.text.extend_from_slice(&text);
            }
            Body::Arrow(rows) => {
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
    pub fn row_group(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        let folder = &Folder::from("");
        let (rows, bytes) = (group.rows() as u64, group.bytes() as u64);
        let mut at = self.file_of(folder)?;
        let file = &self.files[at];
        let full = file.rows + rows > self.max_rows
            || file.one.bytes() + file.one.open_bytes() as u64 + bytes > self.max_bytes;
        if file.rows > 0 && full {
            // What is open of it costs memory for nothing.
            self.close_row_group(at)?;
            self.current.remove(folder);
            at = self.file_of(folder)?;
        }
        self.clock += 1;
        let file = &mut self.files[at];
        file.used = self.clock;
        file.rows += rows;
        self.rows += rows;
        let before = file.one.open_bytes();
        let written = file.one.bytes();
        file.one.row_group(group)?;
        self.waiting = self.waiting + file.one.open_bytes() - before;
        if self.files[at].one.bytes() > written {
            self.has_handle(at)?;
        }
        self.relieve()
    }

    /// The file that takes the next rows of `folder`.
    fn file_of(&mut self, folder: &Folder) -> Result<usize, Error> {
        if let Some(at) = self.current.get(folder) {
            return Ok(*at);
        }
        let number = self.numbers.get(folder).map_or(1, |number| number + 1);
        if number == 1 && self.numbers.len() >= MAX_FOLDERS {
            return Err(Error::Step(format!(
                "the values of the columns to divide by make more than {MAX_FOLDERS} folders; they look like data"
            )));
        }
        let at = self.files.len();
        let (name, sink) = match &self.place {
            Place::Folder { staging, directory } => {
                let file = format!("{}-{number:05}.{}", directory.set, extension(&self.make));
                let name = if folder.is_empty() { PathBuf::from(file) } else { Path::new(&**folder).join(file) };
                (name, Ok(Sink::Part(staging.part(at))))
            }
            Place::Numbered { path, no_clobber } => {
                let name = numbered(path, number);
                let sink = Sink::file(&name, *no_clobber);
                (name, sink)
            }
        };
        let path = match &self.place {
            Place::Folder { .. } => self.path.join(&name),
            Place::Numbered { .. } => name.clone(),
        };
        let sink = sink.map_err(|cause| write_error(&path, cause))?;
        let one = match self.spooled {
            true => {
                let waiting = (OutputFormat::Ndjson, spool::COMPRESSION);
                One::new(path, sink, &Make { format: waiting.0, compression: waiting.1, ..self.make.clone() })?
            }
            false => One::new(path, sink, &self.make)?,
        };
        self.files.push(PartFile { used: self.clock, ..PartFile::new(one, folder.clone(), name) });
        self.current.insert(folder.clone(), at);
        self.numbers.insert(folder.clone(), number);
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
                let compression = if self.spooled { spool::COMPRESSION } else { self.compression };
                let text = match compression {
                    Compression::None => pending.text,
                    compression => compressed(compression, &pending.text),
                };
                file.one.text(pending.rows, &text, &file.columns)?;
            }
            Some(first) => {
                let rows = concat_batches(&first.schema(), &pending.arrow);
                let rows = rows.map_err(|e| Error::Bug(format!("rows cannot be put together: {e}")))?;
                file.one.arrow(&rows, &file.columns)?;
            }
        }
        self.has_handle(at)
    }

    fn close_row_group(&mut self, at: usize) -> Result<(), Error> {
        let file = &mut self.files[at];
        self.waiting -= file.one.open_bytes();
        file.one.close_row_group()?;
        self.has_handle(at)
    }

    /// Notes that a file was written to; of too many files with handles, those not written to for longest lose theirs.
    fn has_handle(&mut self, at: usize) -> Result<(), Error> {
        if !std::mem::replace(&mut self.files[at].has_handle, true) {
            self.handles += 1;
        }
        if self.handles <= MAX_HANDLES {
            return Ok(());
        }
        let open = self.oldest(|file| file.has_handle);
        for at in open.into_iter().take(MAX_HANDLES / 2) {
            self.files[at].one.park()?;
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
        for at in self.oldest(|file| file.pending.rows > 0 || file.one.open_bytes() > 0) {
            if self.waiting <= self.max_waiting / 2 {
                break;
            }
            self.write_pending(at)?;
            if self.files[at].one.open_bytes() > 0 {
                self.close_row_group(at)?;
            }
        }
        Ok(())
    }

    /// The files that `are`, those first that were not written to for longest.
    fn oldest(&self, are: impl Fn(&PartFile) -> bool) -> Vec<usize> {
        let mut found: Vec<usize> = (0..self.files.len()).filter(|&at| are(&self.files[at])).collect();
        found.sort_by_key(|&at| self.files[at].used);
        found
    }

    /// Writes the ends of all files, with the final columns.
    pub fn finish(&mut self, columns: &Schema) -> Result<(), Error> {
        if self.files.is_empty() && self.partition_by.is_empty() {
            // No rows, but columns.
            self.file_of(&"".into())?;
        }
        let columns = columns.without(&self.partition_by);
        for at in 0..self.files.len() {
            self.write_pending(at)?;
        }
        if self.spooled {
            return self.encode_spooled(&columns);
        }
        self.files.iter_mut().try_for_each(|file| file.one.finish(&columns))
    }

    /// Makes the files of what was set aside, several at a time.
    fn encode_spooled(&mut self, columns: &Schema) -> Result<(), Error> {
        let mut waiting: Vec<(Folder, Vec<Spooled>)> = Vec::new();
        let mut places: HashMap<Folder, usize> = HashMap::new();
        let n_parts = self.files.len();
        for mut file in std::mem::take(&mut self.files) {
            file.one.finish(&file.columns.clone())?;
            let Sink::Part(mut part) = file.one.into_sink() else { return Err(no_part()) };
            part.park();
            let place = *places.entry(file.folder.clone()).or_insert_with(|| {
                waiting.push((file.folder.clone(), Vec::new()));
                waiting.len() - 1
            });
            waiting[place].1.push(Spooled { part, columns: file.columns });
        }
        let Place::Folder { staging, directory } = &self.place else { return Err(no_part()) };
        let workers = self.make.workers.clamp(1, waiting.len().max(1));
        let encoding = Encoding {
            staging,
            next_part: &AtomicUsize::new(n_parts),
            columns,
            make: &Make { row_group_bytes: 0, buffer_bytes: ENCODING_BUFFER_BYTES, ..self.make.clone() },
            group_bytes: (self.max_waiting / workers).min(self.make.row_group_bytes),
            max_rows: self.max_rows,
            max_bytes: self.max_bytes,
        };
        // Taken from the end, put in order afterwards.
        let tasks = Mutex::new(waiting.into_iter().enumerate().collect::<Vec<_>>());
        let take = || tasks.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let encode = || {
            let mut made = Vec::new();
            while let Some((i, (folder, spools))) = take() {
                let files = encoding.files(&self.path.join(&*folder), spools);
                if files.is_err() {
                    // The others need not go on.
                    tasks.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                made.push((i, folder, files?));
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
        let extension = extension(&self.make);
        for (_, folder, files) in made {
            for (one, number) in files.into_iter().zip(1u32..) {
                let name = Path::new(&*folder).join(format!("{}-{number:05}.{extension}", directory.set));
                self.files.push(PartFile { rows: one.rows(), ..PartFile::new(one, folder.clone(), name) });
            }
        }
        Ok(())
    }

    /// Makes all files durable, so that only their names are missing.
    pub fn sync(&mut self) -> Result<(), Error> {
        for file in &mut self.files {
            file.one.sync()?;
        }
        Ok(())
    }

    /// Gives all files their names, and returns these with their bytes.
    pub fn commit(self) -> Result<Vec<(PathBuf, u64)>, Error> {
        match self.place {
            Place::Numbered { .. } => {
                let mut files = Vec::new();
                for file in self.files {
                    let (path, bytes) = (file.one.path().to_owned(), file.one.bytes());
                    file.one.commit()?;
                    files.push((path, bytes));
                }
                Ok(files)
            }
            Place::Folder { staging, directory } => {
                let path = self.path;
                let commit = Commit { staging: &staging, directory: &directory };
                let files = commit.publish(self.files).map_err(|cause| write_error(&path, cause))?;
                staging.end();
                Ok(files.into_iter().map(|entry| (path.join(entry.path), entry.bytes)).collect())
            }
        }
    }

    /// What people are told of it, if it is more than one file.
    pub fn note(&self) -> Option<String> {
        let files = self.files.len();
        match &self.place {
            Place::Folder { .. } => {
                let s = if files == 1 { "" } else { "s" };
                Some(format!("{files} file{s}, listed in {}", self.path.join(MANIFEST).display()))
            }
            Place::Numbered { path, .. } => {
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

impl PartFile {
    fn new(one: One, folder: Folder, name: PathBuf) -> Self {
        let (pending, columns) = (Pending::default(), Arc::default());
        PartFile { one, folder, rows: 0, pending, columns, used: 0, has_handle: false, name }
    }

    /// Bytes of the file, what waits counted as it is.
    fn size(&self) -> u64 {
        self.one.bytes() + self.pending.bytes as u64
    }
}

/// The last act of a folder.
struct Commit<'a> {
    staging: &'a Staging,
    directory: &'a Directory,
}

impl Commit<'_> {
    fn publish(&self, files: Vec<PartFile>) -> std::io::Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(files.len());
        let mut sinks = Vec::with_capacity(files.len());
        for file in files {
            let path = file.name.to_string_lossy().into_owned();
            let (rows, bytes) = (file.rows, file.one.bytes());
            let Sink::Part(part) = file.one.into_sink() else {
                return Err(std::io::Error::other("no part of a folder"));
            };
            if self.directory.no_clobber && self.staging.exists(Path::new(&path))? {
                let what = format!("{path} exists already, and --no-clobber was given");
                return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, what));
            }
            let sha256 = digest_of(part.reread()?)?;
            entries.push(Entry { path, rows, bytes, sha256, set: self.directory.set.clone() });
            sinks.push(part);
        }
        // What an earlier time left of the same set, also one that was broken off here.
        let old = self.staging.read(MANIFEST)?.and_then(|text| serde_json::from_str::<Manifest>(&text).ok());
        let others: Vec<Entry> = old
            .iter()
            .flat_map(|old| old.files.iter().filter(|file| file.set != self.directory.set).cloned())
            .collect();
        let journal: Vec<String> =
            self.staging.read_journal()?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let kept: BTreeSet<&str> = entries.iter().chain(&others).map(|entry| &*entry.path).collect();
        let ours = old.iter().flat_map(|old| old.files.iter().filter(|file| file.set == self.directory.set));
        let stale: BTreeSet<String> = ours
            .map(|entry| entry.path.clone())
            .chain(journal)
            .filter(|path| !kept.contains(&**path) && is_below(path))
            .collect();
        let names: Vec<&str> =
            entries.iter().map(|entry| &*entry.path).chain(stale.iter().map(|path| &**path)).collect();
        self.staging.write_journal(&serde_json::to_vec(&names)?)?;
        // From here on the folder is not whole, until its end says so.
        self.staging.remove(Path::new(SUCCESS))?;
        for (part, entry) in sinks.iter().zip(&entries) {
            self.staging.publish(part.path(), Path::new(&entry.path))?;
        }
        for path in &stale {
            self.staging.remove(Path::new(path))?;
        }
        let folders: BTreeSet<PathBuf> =
            entries.iter().filter_map(|entry| Some(Path::new(&entry.path).parent()?.to_owned())).collect();
        self.staging.sync_folders(folders.into_iter());
        let mut all: BTreeMap<String, Entry> = others.into_iter().map(|entry| (entry.path.clone(), entry)).collect();
        all.extend(entries.iter().map(|entry| (entry.path.clone(), entry.clone())));
        let manifest = Manifest {
            version: 1,
            writer: concat!("drawoff ", env!("CARGO_PKG_VERSION")).to_owned(),
            rows: all.values().map(|entry| entry.rows).sum(),
            bytes: all.values().map(|entry| entry.bytes).sum(),
            files: all.into_values().collect(),
        };
        self.staging.write_whole(MANIFEST, &serde_json::to_vec_pretty(&manifest)?)?;
        self.staging.write_whole(SUCCESS, b"")?;
        self.staging.remove_journal()?;
        self.staging.sync_folders(std::iter::empty());
        Ok(entries)
    }
}

fn no_part() -> Error {
    Error::Bug("a file of a folder is none of its parts".into())
}

/// True for a path that leads nowhere but below its folder; manifests could be written by anybody.
fn is_below(path: &str) -> bool {
    Path::new(path).components().all(|component| matches!(component, std::path::Component::Normal(_)))
}

fn digest_of(mut file: impl Read) -> std::io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// What the names of files end with.
fn extension(make: &Make) -> String {
    let format = make.format.extension();
    match make.compression {
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

    #[test]
    fn a_manifest_removes_nothing_outside() {
        assert!(is_below("a=1/part-00001.csv") && is_below("x"));
        assert!(!is_below("../x") && !is_below("/x") && !is_below("a/../../x"));
    }
}
