//! One output file or stream: an encoder's bytes on one target, whole in the end.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;

use super::Error;
use super::encode::compressed;
use crate::column::{Mixing, Schema};
use crate::format::arrow_ipc::{self, ArrowForm, ArrowWriter, plain_schema};
use crate::format::compress::{PieceCompressor, decompressing};
use crate::format::csv::CsvEncoder;
use crate::format::csv::pad::Remap;
use crate::format::parquet::{self, EncodedRowGroup, ParquetFileWriter, SortKey};
use crate::format::{Compression, CsvOptions, OutputFormat};
use crate::sink::Sink;
use crate::text::human_count;

/// How much of a CSV file is rewritten at a time when a late column came.
const REWRITE_BYTES: usize = 1 << 20;

/// Parquet's pages and Arrow's messages are collected to so much before they are written.
const BUFFER_BYTES: usize = 1 << 18;

/// How the files of an output are made.
#[derive(Clone, Debug)]
pub(super) struct Make {
    pub format: OutputFormat,
    pub compression: Compression,
    pub mixing: Mixing,
    /// Where a Parquet file closes a row group, as encoded.
    pub row_group_bytes: usize,
    /// What Parquet and Arrow files say of where they come from.
    pub metadata: Arc<[(String, String)]>,
    /// Bytes that are collected before they are written.
    pub buffer_bytes: usize,
    /// The order that is claimed for the rows of Parquet files.
    pub sort_hint: Arc<[SortKey]>,
    /// Row groups of finished files, and those that are not in the order.
    pub order: Arc<OrderTally>,
    /// Threads that may encode files at the end.
    pub workers: usize,
}

/// How many row groups are in the order that was claimed for them.
#[derive(Debug, Default)]
pub(super) struct OrderTally {
    row_groups: AtomicU64,
    unsorted: AtomicU64,
}

impl OrderTally {
    /// What people are told if the claim was not true of all of them.
    pub fn note(&self) -> Option<String> {
        let (all, unsorted) = (self.row_groups.load(Ordering::Relaxed), self.unsorted.load(Ordering::Relaxed));
        let row_groups = human_count(all);
        (unsorted > 0).then(|| {
            format!(
                "--sort-hint: {} of {row_groups} row groups are not in that order, and do not say so",
                human_count(unsorted)
            )
        })
    }
}

impl Make {
    pub fn new(format: OutputFormat, compression: Compression, mixing: Mixing, row_group_bytes: usize) -> Self {
        Make {
            format,
            compression,
            mixing,
            row_group_bytes,
            metadata: Arc::new([]),
            buffer_bytes: BUFFER_BYTES,
            sort_hint: Arc::default(),
            order: Arc::default(),
            workers: 1,
        }
    }
}

/// One open file or stream.
pub(super) struct One {
    path: PathBuf,
    body: Encoder,
    bytes: u64,
    rows: u64,
    /// Where a Parquet file counts its row groups, if an order was claimed for them.
    order: Option<Arc<OrderTally>>,
}

enum Encoder {
    Parquet(Box<Parquet>),
    Csv(Csv),
    Ndjson { sink: Sink, compression: Compression },
    JsonArray { sink: Sink, compression: Compression, any: bool },
    Arrow(Box<Arrow>),
}

#[expect(clippy::large_enum_variant, reason = "one per output")]
enum Parquet {
    /// With a second handle on the file, if it is one.
    Open(ParquetFileWriter<BufWriter<Sink>>, Option<Reread>),
    Finished(Sink),
    /// Only between the two, or after an error.
    Gone,
}

/// How what was written is read again.
type Reread = Box<dyn FnOnce() -> io::Result<File> + Send>;

enum Arrow {
    /// Before the first rows, whose columns are those of the file.
    Empty {
        sink: Sink,
        form: ArrowForm,
        metadata: Arc<[(String, String)]>,
        buffer_bytes: usize,
    },
    Open(ArrowWriter<BufWriter<Sink>>),
    Finished(Sink),
    /// Only in between, or after an error.
    Gone,
}

struct Csv {
    sink: Sink,
    options: CsvOptions,
    compression: Compression,
    segments: Vec<Segment>,
    /// Rows are added to a file that has its header already.
    appending: bool,
}

/// A stretch of a CSV file whose rows have the same columns.
struct Segment {
    columns: Arc<Schema>,
    start: u64,
    end: u64,
}

impl One {
    /// Begins a file on `sink`, which is called `path`.
    pub fn new(path: PathBuf, sink: Sink, make: &Make) -> Result<Self, Error> {
        let compression = make.compression;
        let appending = sink.bytes_before() > 0;
        let body = match make.format {
            OutputFormat::Parquet(options) => {
                let reread = sink.rereader().map_err(|cause| write_error(&path, cause))?;
                let buffered = BufWriter::with_capacity(make.buffer_bytes, sink);
                let writer = ParquetFileWriter::try_new(buffered, options, make.mixing, make.metadata.to_vec());
                let writer = writer.map_err(|e| parquet_error(&path, e))?.with_row_group_bytes(make.row_group_bytes);
                let writer = writer.with_sort_keys(&make.sort_hint);
                Encoder::Parquet(Box::new(Parquet::Open(writer, reread)))
            }
            OutputFormat::Csv(options) => {
                Encoder::Csv(Csv { sink, options, compression, segments: Vec::new(), appending })
            }
            OutputFormat::Ndjson => Encoder::Ndjson { sink, compression },
            OutputFormat::JsonArray => Encoder::JsonArray { sink, compression, any: false },
            OutputFormat::Arrow(form) => {
                let (metadata, buffer_bytes) = (make.metadata.clone(), make.buffer_bytes);
                Encoder::Arrow(Box::new(Arrow::Empty { sink, form, metadata, buffer_bytes }))
            }
        };
        let order = (!make.sort_hint.is_empty()).then(|| make.order.clone());
        Ok(One { path, body, bytes: 0, rows: 0, order })
    }

    /// How it is called in messages: its final path, or a stream's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of row groups that are not written yet.
    pub fn open_bytes(&self) -> usize {
        match &self.body {
            Encoder::Parquet(parquet) => match &**parquet {
                Parquet::Open(writer, _) => writer.open_bytes(),
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Writes what is open, as a row group of its own.
    pub fn close_row_group(&mut self) -> Result<(), Error> {
        if let Encoder::Parquet(parquet) = &mut self.body
            && let Parquet::Open(writer, _) = &mut **parquet
        {
            writer.close_open().map_err(|e| parquet_error(&self.path, e))?;
            self.bytes = writer.bytes();
        }
        Ok(())
    }

    /// Gives up the handle of a file that has one for each write, if it has one.
    pub fn park(&mut self) -> Result<(), Error> {
        let sink = match &mut self.body {
            Encoder::Parquet(parquet) => match &mut **parquet {
                Parquet::Open(writer, _) => {
                    writer.flush().map_err(|e| parquet_error(&self.path, e))?;
                    writer.get_mut().get_mut()
                }
                _ => return Ok(()),
            },
            Encoder::Csv(csv) => &mut csv.sink,
            Encoder::Ndjson { sink, .. } | Encoder::JsonArray { sink, .. } => sink,
            Encoder::Arrow(arrow) => match &mut **arrow {
                Arrow::Open(writer) => writer.get_mut().get_mut(),
                _ => return Ok(()),
            },
        };
        sink.park();
        Ok(())
    }

    /// The columns of the row groups so far, if it has such.
    pub fn columns(&self) -> Option<&Schema> {
        match &self.body {
            Encoder::Parquet(parquet) => match &**parquet {
                Parquet::Open(writer, _) => Some(writer.schema()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Appends a row group.
    pub fn row_group(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        let Encoder::Parquet(parquet) = &mut self.body else { unreachable!("row groups come for Parquet only") };
        let Parquet::Open(writer, _) = &mut **parquet else { unreachable!("row groups come before the end") };
        self.rows += group.rows() as u64;
        writer.append(group).map_err(|e| parquet_error(&self.path, e))?;
        self.bytes = writer.bytes();
        Ok(())
    }

    /// Appends `rows` rows with these columns, as they are to stand in the file.
    pub fn text(&mut self, rows: u64, text: &[u8], columns: &Arc<Schema>) -> Result<(), Error> {
        self.rows += rows;
        match &mut self.body {
            Encoder::Parquet(_) | Encoder::Arrow(_) => unreachable!("text comes for text outputs only"),
            Encoder::Csv(csv) => csv.append(text, columns, &self.path, &mut self.bytes)?,
            Encoder::Ndjson { sink, .. } => {
                write_all(sink, text, &self.path)?;
                self.bytes += text.len() as u64;
            }
            Encoder::JsonArray { sink, compression, any } => {
                if !text.is_empty() {
                    let opening: &[u8] = if *any { b",\n" } else { b"[\n" };
                    *any = true;
                    let opening = compressed(*compression, opening);
                    write_all(sink, &opening, &self.path)?;
                    write_all(sink, text, &self.path)?;
                    self.bytes += (opening.len() + text.len()) as u64;
                }
            }
        }
        Ok(())
    }

    /// Appends rows to an Arrow output; `columns` are theirs.
    pub fn arrow(&mut self, rows: &RecordBatch, columns: &Schema) -> Result<(), Error> {
        let Encoder::Arrow(arrow) = &mut self.body else { unreachable!("Arrow rows come for Arrow only") };
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.rows += rows.num_rows() as u64;
        let writer = arrow.open(columns, &self.path)?;
        writer.write(rows).map_err(|e| arrow_error(&self.path, e))?;
        self.bytes = writer.bytes();
        Ok(())
    }

    /// Writes what belongs at the end, and brings what was written up to the final columns.
    pub fn finish(&mut self, columns: &Schema) -> Result<(), Error> {
        match &mut self.body {
            Encoder::Parquet(parquet) => {
                let Parquet::Open(mut writer, reread) = std::mem::replace(&mut **parquet, Parquet::Gone) else {
                    unreachable!("an output is finished once")
                };
                writer.declare(columns);
                writer.set_order(columns);
                let reread = || match reread {
                    Some(reread) => reread(),
                    None => Err(io::Error::other("a stream cannot be read back")),
                };
                let (buffered, summary) = writer.finish(reread).map_err(|e| parquet_error(&self.path, e))?;
                let sink = buffered.into_inner().map_err(|e| write_error(&self.path, e.into_error()))?;
                **parquet = Parquet::Finished(sink);
                self.bytes = summary.bytes;
                if let Some(order) = &self.order {
                    let (all, sorted) = (summary.row_groups as u64, summary.sorted_row_groups as u64);
                    order.row_groups.fetch_add(all, Ordering::Relaxed);
                    order.unsorted.fetch_add(all - sorted, Ordering::Relaxed);
                }
            }
            Encoder::Csv(csv) => {
                csv.finish(columns, &self.path, &mut self.bytes)?;
                self.bytes += close_empty(&mut csv.sink, csv.compression, self.bytes, &self.path)?;
            }
            Encoder::Ndjson { sink, compression } => {
                self.bytes += close_empty(sink, *compression, self.bytes, &self.path)?;
            }
            Encoder::JsonArray { sink, compression, any } => {
                let closing: &[u8] = if *any { b"\n]\n" } else { b"[]\n" };
                let closing = compressed(*compression, closing);
                write_all(sink, &closing, &self.path)?;
                self.bytes += closing.len() as u64;
            }
            Encoder::Arrow(arrow) => {
                arrow.open(columns, &self.path)?;
                let Arrow::Open(writer) = std::mem::replace(&mut **arrow, Arrow::Gone) else {
                    unreachable!("it was opened above")
                };
                let (buffered, bytes) = writer.finish().map_err(|e| arrow_error(&self.path, e))?;
                let sink = buffered.into_inner().map_err(|e| write_error(&self.path, e.into_error()))?;
                **arrow = Arrow::Finished(sink);
                self.bytes = bytes;
            }
        }
        Ok(())
    }

    fn finished(&mut self) -> &mut Sink {
        match &mut self.body {
            Encoder::Parquet(parquet) => match &mut **parquet {
                Parquet::Finished(sink) => sink,
                _ => unreachable!("an output is finished before it is synced and committed"),
            },
            Encoder::Csv(csv) => &mut csv.sink,
            Encoder::Ndjson { sink, .. } | Encoder::JsonArray { sink, .. } => sink,
            Encoder::Arrow(arrow) => match &mut **arrow {
                Arrow::Finished(sink) => sink,
                _ => unreachable!("an output is finished before it is synced and committed"),
            },
        }
    }

    /// Closes a finished file that can be opened again.
    pub fn park_finished(&mut self) {
        self.finished().park();
    }

    /// Makes the finished output durable, so that only its name is missing.
    pub fn sync(&mut self) -> Result<(), Error> {
        let synced = self.finished().sync();
        synced.map_err(|cause| write_error(&self.path, cause))
    }

    /// Makes the finished output appear.
    pub fn commit(mut self) -> Result<(), Error> {
        let sink = std::mem::replace(self.finished(), Sink::Nothing);
        sink.commit().map_err(|cause| write_error(&self.path, cause))
    }

    /// The finished output where it stands until it gets its name.
    pub fn into_sink(mut self) -> Sink {
        std::mem::replace(self.finished(), Sink::Nothing)
    }
}

impl Arrow {
    /// The writer, opened with these columns if it is not open yet.
    fn open(&mut self, columns: &Schema, path: &Path) -> Result<&mut ArrowWriter<BufWriter<Sink>>, Error> {
        if let Arrow::Empty { .. } = self {
            let Arrow::Empty { sink, form, metadata, buffer_bytes } = std::mem::replace(self, Arrow::Gone) else {
                unreachable!("it was empty just now")
            };
            let buffered = BufWriter::with_capacity(buffer_bytes, sink);
            let writer = ArrowWriter::try_new(buffered, form, plain_schema(columns, &metadata));
            *self = Arrow::Open(writer.map_err(|e| arrow_error(path, e))?);
        }
        match self {
            Arrow::Open(writer) => Ok(writer),
            _ => Err(Error::Bug("an Arrow output is written to after its end".into())),
        }
    }
}

impl Csv {
    fn append(&mut self, rows: &[u8], columns: &Arc<Schema>, path: &Path, bytes: &mut u64) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        if !self.segments.last().is_some_and(|last| same_names(&last.columns, columns)) {
            if self.segments.is_empty() {
                self.begin(columns, path, bytes)?;
            }
            self.segments.push(Segment { columns: columns.clone(), start: *bytes, end: *bytes });
        }
        write_all(&mut self.sink, rows, path)?;
        *bytes += rows.len() as u64;
        self.segments.last_mut().expect("there is one by now").end = *bytes;
        Ok(())
    }

    /// Writes the header, or compares it with that of the file that rows are added to.
    fn begin(&mut self, columns: &Schema, path: &Path, bytes: &mut u64) -> Result<(), Error> {
        let header = self.header(columns);
        if !self.appending {
            write_all(&mut self.sink, &header, path)?;
            *bytes += header.len() as u64;
            return Ok(());
        }
        let mut there = Vec::new();
        let read = self.sink.reread().and_then(|file| match file {
            Some(file) => file.take(header.len() as u64).read_to_end(&mut there),
            None => Ok(0),
        });
        read.map_err(|cause| write_error(path, cause))?;
        if there == header {
            return Ok(());
        }
        let names = |header: &[u8]| String::from_utf8_lossy(header).trim_end().to_owned();
        Err(Error::Plan(format!(
            "--append: {} begins with another header than the rows to add, which have {}",
            path.display(),
            names(&header)
        )))
    }

    fn header(&self, columns: &Schema) -> Vec<u8> {
        let mut header = Vec::new();
        CsvEncoder::new(self.options).write_header(columns, &mut header);
        compressed(self.compression, &header)
    }

    fn finish(&mut self, columns: &Schema, path: &Path, bytes: &mut u64) -> Result<(), Error> {
        if self.segments.is_empty() {
            if !columns.fields.is_empty() {
                self.begin(columns, path, bytes)?;
            }
            return Ok(());
        }
        if self.segments.iter().all(|s| same_names(&s.columns, columns)) {
            return Ok(());
        }
        if self.appending || !self.sink.can_go_back() {
            return Err(Error::Bug("the columns of a stream changed".into()));
        }
        self.sink = self.rewrite(columns, bytes).map_err(|cause| write_error(path, cause))?;
        Ok(())
    }

    /// Copies the file with every row brought to `columns`, cells as they are.
    fn rewrite(&mut self, columns: &Schema, bytes: &mut u64) -> io::Result<Sink> {
        let mut new = self.sink.replacement()?;
        let header = self.header(columns);
        new.write_all(&header)?;
        *bytes = header.len() as u64;
        for segment in &self.segments {
            let mut rows = self.sink.reread()?.ok_or_else(|| io::Error::other("a stream cannot be read back"))?;
            rows.seek(SeekFrom::Start(segment.start))?;
            let rows = rows.take(segment.end - segment.start);
            let mut rows: Box<dyn Read + Send> = match self.compression {
                Compression::None => Box::new(rows),
                compression => decompressing(compression, rows),
            };
            let remap = Remap::new(&segment.columns, columns, self.options)
                .ok_or_else(|| io::Error::other("a column of the file is gone"))?;
            let mut pieces = Pieces { target: &mut new, compression: self.compression, buffer: Vec::new(), written: 0 };
            remap.rewrite(&mut rows, &mut pieces)?;
            pieces.flush()?;
            *bytes += pieces.written;
        }
        Ok(new)
    }
}

fn same_names(a: &Schema, b: &Schema) -> bool {
    a.fields.len() == b.fields.len() && a.fields.iter().zip(&b.fields).all(|(a, b)| a.name == b.name)
}

/// Collects bytes to pieces and writes them compressed.
struct Pieces<'a> {
    target: &'a mut Sink,
    compression: Compression,
    buffer: Vec<u8>,
    written: u64,
}

impl Write for Pieces<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(buf);
        if self.buffer.len() >= REWRITE_BYTES {
            self.flush()?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = compressed(self.compression, &self.buffer);
        self.buffer.clear();
        self.target.write_all(&piece)?;
        self.written += piece.len() as u64;
        Ok(())
    }
}

/// A compressed file of nothing is one empty member, not no bytes. Returns the bytes written.
fn close_empty(sink: &mut Sink, compression: Compression, bytes: u64, path: &Path) -> Result<u64, Error> {
    if bytes > 0 || compression == Compression::None {
        return Ok(0);
    }
    let mut empty = Vec::new();
    let made = PieceCompressor::new(compression).and_then(|mut c| c.compress(b"", &mut empty));
    made.map_err(|cause| write_error(path, cause))?;
    write_all(sink, &empty, path)?;
    Ok(empty.len() as u64)
}

/// Writes all of `bytes`, naming the target in the error.
fn write_all(target: &mut impl Write, bytes: &[u8], path: &Path) -> Result<(), Error> {
    target.write_all(bytes).map_err(|cause| write_error(path, cause))
}

/// An error of an output, under its path.
pub(super) fn write_error(path: &Path, cause: io::Error) -> Error {
    Error::Write { path: path.to_owned(), cause }
}

/// The system's error inside a Parquet error, if that is what it was.
fn parquet_error(path: &Path, error: parquet::Error) -> Error {
    match error {
        parquet::Error::Io(cause) => write_error(path, cause),
        parquet::Error::NoColumns { .. } => Error::Step(error.to_string()),
        other => Error::Bug(format!("cannot write {}: {}", path.display(), crate::text::error_chain(&other))),
    }
}

fn arrow_error(path: &Path, error: arrow_ipc::Error) -> Error {
    match error {
        arrow_ipc::Error::Io(cause) => write_error(path, cause),
        other => Error::Bug(format!("cannot write {}: {}", path.display(), crate::text::error_chain(&other))),
    }
}
