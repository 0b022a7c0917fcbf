//! Rows between blocks: NDJSON written by this service, read and written one line at a time. Values keep their JSON
//! text, so numbers keep all digits. Input from outside never passes here before the pipeline has parsed it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::failure::{Failure, row_io_failure};
use crate::pipeline::Control;
use crate::service::{private_files, raw};

/// Rows between two checks for cancellation, and rows whose keys are looked up in one batch. By eye.
pub(super) const LINE_BATCH: usize = 1024;

/// Prefix of an NDJSON file written by this service.
pub(super) struct Lines {
    pub path: PathBuf,
    /// Length of the prefix. It ends at the end of a line.
    pub bytes: u64,
}

/// One row: each column name with the JSON text of its value.
pub(super) struct Row<'a>(pub Vec<(String, &'a str)>);

impl<'a> Row<'a> {
    /// Parses one line; `InvalidData` if it is not a JSON object.
    pub(super) fn parse(line: &'a str) -> io::Result<Self> {
        let members = raw::members(line).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Row(members))
    }

    /// Returns the JSON text of a column's value; `null` if the row lacks the column.
    pub(super) fn get(&self, column: &str) -> &'a str {
        // The last value of a duplicate key counts, as everywhere in drawoff.
        self.0.iter().rev().find(|(name, _)| name == column).map_or("null", |(_, json)| json)
    }
}

/// Buffered writer of rows to a file, which counts them in `control`.
pub(in crate::service) struct RowWriter<'c> {
    out: BufWriter<File>,
    control: &'c Control,
}

impl<'c> RowWriter<'c> {
    /// Creates the file at `path`, or truncates it.
    pub(in crate::service) fn create(path: &Path, control: &'c Control) -> io::Result<Self> {
        Ok(RowWriter { out: BufWriter::with_capacity(256 << 10, private_files::create(path)?), control })
    }

    /// Writes the buffered bytes to the file.
    pub(in crate::service) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes one row from column names and the JSON texts of their values.
    pub(super) fn row<'a>(&mut self, members: impl Iterator<Item = (&'a str, &'a str)>) -> io::Result<()> {
        self.out.write_all(b"{")?;
        for (i, (name, json)) in members.enumerate() {
            if i > 0 {
                self.out.write_all(b",")?;
            }
            serde_json::to_writer(&mut self.out, name)?;
            self.out.write_all(b":")?;
            self.out.write_all(json.as_bytes())?;
        }
        self.out.write_all(b"}\n")?;
        self.control.add_rows_written(1);
        Ok(())
    }

    /// Writes a row that is one line of JSON already, with or without its line break.
    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        self.out.write_all(line.as_bytes())?;
        if !line.ends_with('\n') {
            self.out.write_all(b"\n")?;
        }
        self.control.add_rows_written(1);
        Ok(())
    }
}

/// Reader of a block's input: the files of the blocks before it, one after the other.
pub(in crate::service) struct RowReader<'c> {
    pub feeds: Vec<PathBuf>,
    pub control: &'c Control,
}

impl RowReader<'_> {
    /// Calls `on_line` with each line, without its line break, and counts it as read afterwards.
    pub(super) fn each(self, mut on_line: impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
        let RowReader { feeds, control } = self;
        for feed in &feeds {
            each_line(feed, u64::MAX, control, |line| {
                on_line(line)?;
                control.add_rows_read(1);
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Calls `on_line` with each line in the first `bytes` of a file, without its line break. Empty lines are skipped.
/// Fails with [`Failure::Cancelled`] at most [`LINE_BATCH`] lines after a cancellation.
pub(super) fn each_line(
    path: &Path,
    bytes: u64,
    control: &Control,
    mut on_line: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader =
        BufReader::with_capacity(256 << 10, private_files::open(path).map_err(row_io_failure)?.take(bytes));
    let mut line = String::new();
    let mut n_lines = 0usize;
    while reader.read_line(&mut line).map_err(row_io_failure)? > 0 {
        if n_lines.is_multiple_of(LINE_BATCH) && control.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let text = line.trim_end_matches(['\n', '\r']);
        if !text.is_empty() {
            on_line(text)?;
        }
        n_lines += 1;
        line.clear();
    }
    Ok(())
}
