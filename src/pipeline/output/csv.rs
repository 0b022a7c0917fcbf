//! Writes CSV files: a header, and the rows that workers encoded. If columns were added after the first rows, the file
//! is copied once at the end, with every row padded to the final columns. Encodes and reorders no rows.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use super::encode::compressed;
use super::writer::{FileError, FileWriter, TextSink, WrittenFile};
use crate::column::Schema;
use crate::format::codec::decompressing;
use crate::format::csv::pad::Remap;
use crate::format::csv::{CsvEncoder, line_of_open_quote};
use crate::format::{Compression, CsvOptions};
use crate::sink::Sink;

/// Bytes of a CSV file that are padded at a time. By eye: where the cost of a write does not show.
const REWRITE_BYTES: usize = 1 << 20;

/// A CSV file that is being written.
pub(super) struct CsvFile {
    text: TextSink,
    options: CsvOptions,
    /// The rows so far, in order and without gaps.
    segments: Vec<Segment>,
    /// True if rows are appended to a file that has its header already.
    appending: bool,
}

/// Consecutive rows of a CSV file with the same columns.
struct Segment {
    columns: Arc<Schema>,
    /// Position of the first row in the file, in bytes as written.
    start: u64,
    /// Position behind the last row.
    end: u64,
}

impl CsvFile {
    /// Creates a file on `sink`, or appends to the rows that it has.
    pub(super) fn new(sink: Sink, options: CsvOptions, compression: Compression) -> Self {
        let appending = sink.bytes_before() > 0;
        CsvFile { text: TextSink::new(sink, compression), options, segments: Vec::new(), appending }
    }

    /// Writes the header, or compares it with that of the file that rows are appended to.
    fn write_or_check_header(&mut self, columns: &Schema) -> Result<(), FileError> {
        let header = self.header(columns);
        if !self.appending {
            return Ok(self.text.write(&header)?);
        }
        let mut there = Vec::new();
        if let Some(file) = self.text.sink.reread()? {
            file.take(header.len() as u64).read_to_end(&mut there)?;
        }
        if there != header {
            return Err(FileError::HeaderDiffers(String::from_utf8_lossy(&header).trim_end().to_owned()));
        }
        // For every reader the new rows would be text of that cell.
        match self.text.sink.reread()? {
            Some(file) => match line_of_open_quote(file, self.options.delimiter)? {
                Some(line) => Err(FileError::OpenQuote(line)),
                None => Ok(()),
            },
            None => Ok(()),
        }
    }

    fn header(&self, columns: &Schema) -> Vec<u8> {
        let mut header = Vec::new();
        CsvEncoder::new(self.options).write_header(columns, &mut header);
        compressed(self.text.compression, &header)
    }

    /// Copies the file with every row padded to `columns`. Cells keep their bytes.
    fn rewrite(&self, columns: &Schema) -> io::Result<TextSink> {
        let mut new = TextSink::new(self.text.sink.replacement()?, self.text.compression);
        new.write(&self.header(columns))?;
        for segment in &self.segments {
            let rows = self.text.sink.reread()?;
            let mut rows = rows.ok_or_else(|| io::Error::other("a stream cannot be read back"))?;
            rows.seek(SeekFrom::Start(segment.start))?;
            // A segment begins and ends between compressed members, so that it can be decompressed alone.
            let rows = rows.take(segment.end - segment.start);
            let mut rows: Box<dyn Read + Send> = match new.compression {
                Compression::None => Box::new(rows),
                compression => decompressing(compression, rows),
            };
            let remap = Remap::new(&segment.columns, columns, self.options)
                .ok_or_else(|| io::Error::other("the final columns lack a column of the file"))?;
            let mut rewritten = RewriteBuffer { target: &mut new, buffer: Vec::new() };
            remap.rewrite(&mut rows, &mut rewritten)?;
            rewritten.flush()?;
        }
        Ok(new)
    }
}

impl FileWriter for CsvFile {
    fn append_text(&mut self, text: &[u8], columns: &Arc<Schema>) -> Result<(), FileError> {
        if text.is_empty() {
            return Ok(());
        }
        // A changed type alone changes no cell: only names begin a segment.
        if !self.segments.last().is_some_and(|last| same_names(&last.columns, columns)) {
            if self.segments.is_empty() {
                self.write_or_check_header(columns)?;
            }
            let start = self.text.bytes;
            self.segments.push(Segment { columns: columns.clone(), start, end: start });
        }
        self.text.write(text)?;
        self.segments.last_mut().expect("there is one by now").end = self.text.bytes;
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.text.bytes
    }

    fn park(&mut self) -> Result<(), FileError> {
        self.text.sink.park();
        Ok(())
    }

    fn finish(mut self: Box<Self>, columns: &Schema) -> Result<WrittenFile, FileError> {
        if self.segments.is_empty() {
            if !columns.fields.is_empty() {
                self.write_or_check_header(columns)?;
            }
        } else if !self.segments.iter().all(|segment| same_names(&segment.columns, columns)) {
            // Workers and the writer refuse such a change of an output with fixed columns before.
            if self.appending || !self.text.sink.can_go_back() {
                return Err(FileError::Bug("the columns of a stream changed".into()));
            }
            self.text = self.rewrite(columns)?;
        }
        Ok(self.text.finish()?.into())
    }
}

fn same_names(a: &Schema, b: &Schema) -> bool {
    a.fields.len() == b.fields.len() && a.fields.iter().zip(&b.fields).all(|(a, b)| a.name == b.name)
}

/// Collects padded rows and writes them compressed, [`REWRITE_BYTES`] at a time.
struct RewriteBuffer<'a> {
    target: &'a mut TextSink,
    buffer: Vec<u8>,
}

impl Write for RewriteBuffer<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(buf);
        if self.buffer.len() >= REWRITE_BYTES {
            self.flush()?;
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.target.write_plain(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}
