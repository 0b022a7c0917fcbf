//! The outputs of an execution: each takes finished pieces in order and appears whole.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::worker::compressed;
use super::writer::write_all;
use super::{Control, Error, Output, Target};
use crate::column::{Mixing, Schema};
use crate::format::compress::{PieceCompressor, decompressing};
use crate::format::csv::CsvEncoder;
use crate::format::csv::pad::Remap;
use crate::format::parquet::{self, EncodedRowGroup, ParquetFileWriter};
use crate::format::{Compression, CsvOptions, OutputFormat};
use crate::sink::{PendingFile, Sink};

/// How much of a CSV file is rewritten at a time when a late column came.
const REWRITE_BYTES: usize = 1 << 20;

/// One open output.
pub(super) struct Out {
    path: PathBuf,
    /// The path is a file's, not a stream's name.
    is_file: bool,
    bytes: u64,
    kind: Kind,
    /// Its reader went away, so that nothing more is written to it.
    gone: bool,
}

enum Kind {
    Parquet(Box<Parquet>),
    Csv(Csv),
    Ndjson { sink: Sink, compression: Compression },
    JsonArray { sink: Sink, compression: Compression, any: bool },
}

#[expect(clippy::large_enum_variant, reason = "one per output")]
enum Parquet {
    /// With a second handle on the file, if it is one.
    Open(ParquetFileWriter<BufWriter<Sink>>, Option<File>),
    Finished(Sink),
    /// Only between the two, or after an error.
    Gone,
}

struct Csv {
    sink: Sink,
    options: CsvOptions,
    compression: Compression,
    segments: Vec<Segment>,
}

/// A stretch of a CSV file whose rows have the same columns.
struct Segment {
    columns: Arc<Schema>,
    start: u64,
    end: u64,
}

impl Out {
    /// Opens an output under its temporary name.
    ///
    /// `row_group_bytes` is where a Parquet output closes a row group, as encoded.
    pub fn open(output: &Output, mixing: Mixing, row_group_bytes: usize) -> Result<Self, Error> {
        let (path, sink) = match &output.target {
            Target::File { path, no_clobber } => (path.clone(), Sink::file(path, *no_clobber)),
            Target::Stdout => (PathBuf::from("standard output"), Sink::stdout()),
        };
        let sink = sink.map_err(|cause| write_error(&path, cause))?;
        let is_file = sink.can_go_back();
        let kind = match output.format {
            OutputFormat::Parquet(options) => {
                let reread = sink.reread().map_err(|cause| write_error(&path, cause))?;
                let buffered = BufWriter::with_capacity(1 << 18, sink);
                let writer = ParquetFileWriter::try_new(buffered, options, mixing, Vec::new());
                let writer = writer.map_err(|e| parquet_error(&path, e))?.with_row_group_bytes(row_group_bytes);
                Kind::Parquet(Box::new(Parquet::Open(writer, reread)))
            }
            OutputFormat::Csv(options) => {
                Kind::Csv(Csv { sink, options, compression: output.compression, segments: Vec::new() })
            }
            OutputFormat::Ndjson => Kind::Ndjson { sink, compression: output.compression },
            OutputFormat::JsonArray => Kind::JsonArray { sink, compression: output.compression, any: false },
        };
        Ok(Out { path, is_file, bytes: 0, kind, gone: false })
    }

    /// True when what is written to an output is out, and somebody may be looking: standard output,
    /// a pipe or a device.
    pub fn is_watched(output: &Output) -> bool {
        match &output.target {
            Target::Stdout => true,
            Target::File { path, .. } => std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()),
        }
    }

    /// The path, if this is a file.
    pub fn path(&self) -> Option<&Path> {
        self.is_file.then_some(&self.path)
    }

    /// True once [`Out::give_up`] was called.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Leaves the output as it is: its reader went away. Returns a note of that.
    pub fn give_up(&mut self) -> String {
        self.gone = true;
        format!("{}: its reader went away before the end", self.path.display())
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The columns of the row groups so far, if it has such.
    pub fn columns(&self) -> Option<&Schema> {
        match &self.kind {
            Kind::Parquet(parquet) => match &**parquet {
                Parquet::Open(writer, _) => Some(writer.schema()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Appends a row group.
    pub fn row_group(&mut self, group: EncodedRowGroup, control: &Control) -> Result<(), Error> {
        let Kind::Parquet(parquet) = &mut self.kind else { unreachable!("row groups come for Parquet only") };
        let Parquet::Open(writer, _) = &mut **parquet else { unreachable!("row groups come before the end") };
        writer.append(group).map_err(|e| parquet_error(&self.path, e))?;
        let bytes = writer.bytes();
        control.add_bytes_written(bytes - self.bytes);
        self.bytes = bytes;
        Ok(())
    }

    /// Appends encoded rows with these columns.
    pub fn text(&mut self, rows: &[u8], columns: &Arc<Schema>, control: &Control) -> Result<(), Error> {
        let before = self.bytes;
        match &mut self.kind {
            Kind::Parquet(_) => unreachable!("text comes for text outputs only"),
            Kind::Csv(csv) => csv.append(rows, columns, &self.path, &mut self.bytes)?,
            Kind::Ndjson { sink, .. } => {
                write_all(sink, rows, &self.path)?;
                self.bytes += rows.len() as u64;
            }
            Kind::JsonArray { sink, compression, any } => {
                if !rows.is_empty() {
                    let opening: &[u8] = if *any { b",\n" } else { b"[\n" };
                    *any = true;
                    let opening = compressed(*compression, opening);
                    write_all(sink, &opening, &self.path)?;
                    write_all(sink, rows, &self.path)?;
                    self.bytes += (opening.len() + rows.len()) as u64;
                }
            }
        }
        control.add_bytes_written(self.bytes - before);
        Ok(())
    }

    /// Writes what belongs at the end, and brings what was written up to the final columns.
    pub fn finish(&mut self, columns: &Schema, control: &Control) -> Result<(), Error> {
        let before = self.bytes;
        match &mut self.kind {
            Kind::Parquet(parquet) => {
                let Parquet::Open(mut writer, reread) = std::mem::replace(&mut **parquet, Parquet::Gone) else {
                    unreachable!("an output is finished once")
                };
                writer.declare(columns);
                writer.set_order(columns);
                let reread = || reread.ok_or_else(|| io::Error::other("a stream cannot be read back"));
                let (buffered, summary) = writer.finish(reread).map_err(|e| parquet_error(&self.path, e))?;
                let sink = buffered.into_inner().map_err(|e| write_error(&self.path, e.into_error()))?;
                **parquet = Parquet::Finished(sink);
                self.bytes = summary.bytes;
            }
            Kind::Csv(csv) => {
                csv.finish(columns, &self.path, &mut self.bytes)?;
                self.bytes += close_empty(&mut csv.sink, csv.compression, self.bytes, &self.path)?;
            }
            Kind::Ndjson { sink, compression } => {
                self.bytes += close_empty(sink, *compression, self.bytes, &self.path)?;
            }
            Kind::JsonArray { sink, compression, any } => {
                let closing: &[u8] = if *any { b"\n]\n" } else { b"[]\n" };
                let closing = compressed(*compression, closing);
                write_all(sink, &closing, &self.path)?;
                self.bytes += closing.len() as u64;
            }
        }
        control.add_bytes_written(self.bytes.saturating_sub(before));
        Ok(())
    }

    /// Makes the finished output durable, so that only its name is missing.
    pub fn sync(&mut self) -> Result<(), Error> {
        let sink = match &mut self.kind {
            Kind::Parquet(parquet) => match &mut **parquet {
                Parquet::Finished(sink) => sink,
                _ => unreachable!("an output is finished before it is synced"),
            },
            Kind::Csv(csv) => &mut csv.sink,
            Kind::Ndjson { sink, .. } | Kind::JsonArray { sink, .. } => sink,
        };
        sink.sync().map_err(|cause| write_error(&self.path, cause))
    }

    /// Makes the output appear.
    pub fn commit(self) -> Result<(), Error> {
        let sink = match self.kind {
            Kind::Parquet(parquet) => match *parquet {
                Parquet::Finished(sink) => sink,
                _ => unreachable!("an output is finished before it is committed"),
            },
            Kind::Csv(csv) => csv.sink,
            Kind::Ndjson { sink, .. } | Kind::JsonArray { sink, .. } => sink,
        };
        sink.commit().map_err(|cause| write_error(&self.path, cause))
    }
}

impl Csv {
    fn append(&mut self, rows: &[u8], columns: &Arc<Schema>, path: &Path, bytes: &mut u64) -> Result<(), Error> {
        if rows.is_empty() {
            return Ok(());
        }
        if !self.segments.last().is_some_and(|last| same_names(&last.columns, columns)) {
            if self.segments.is_empty() {
                let header = self.header(columns);
                write_all(&mut self.sink, &header, path)?;
                *bytes += header.len() as u64;
            }
            self.segments.push(Segment { columns: columns.clone(), start: *bytes, end: *bytes });
        }
        write_all(&mut self.sink, rows, path)?;
        *bytes += rows.len() as u64;
        self.segments.last_mut().expect("there is one by now").end = *bytes;
        Ok(())
    }

    fn header(&self, columns: &Schema) -> Vec<u8> {
        let mut header = Vec::new();
        CsvEncoder::new(self.options).write_header(columns, &mut header);
        compressed(self.compression, &header)
    }

    fn finish(&mut self, columns: &Schema, path: &Path, bytes: &mut u64) -> Result<(), Error> {
        if self.segments.is_empty() {
            if !columns.fields.is_empty() {
                let header = self.header(columns);
                write_all(&mut self.sink, &header, path)?;
                *bytes = header.len() as u64;
            }
            return Ok(());
        }
        if self.segments.iter().all(|s| same_names(&s.columns, columns)) {
            return Ok(());
        }
        let Sink::File(old) = &self.sink else {
            return Err(Error::Bug("the columns of a stream changed".into()));
        };
        let new = self.rewrite(old, columns, bytes).map_err(|cause| write_error(path, cause))?;
        self.sink = Sink::File(new);
        Ok(())
    }

    /// Copies the file with every row brought to `columns`, cells as they are.
    fn rewrite(&self, old: &PendingFile, columns: &Schema, bytes: &mut u64) -> io::Result<PendingFile> {
        let mut new = old.replacement()?;
        let header = self.header(columns);
        new.write_all(&header)?;
        *bytes = header.len() as u64;
        for segment in &self.segments {
            let mut rows = old.reread()?;
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
    target: &'a mut PendingFile,
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
