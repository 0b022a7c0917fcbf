//! Rows between blocks: NDJSON of our own writing, read and written one line at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::failure::{Failure, unusable};
use crate::pipeline::Control;
use crate::service::raw;

/// Rows between two looks whether to stop, and whose keys are looked up together.
pub(super) const STRIDE: usize = 1024;

/// The first bytes of a file of NDJSON of our own writing.
pub(super) struct Lines {
    pub path: PathBuf,
    pub bytes: u64,
}

/// One row: each column with the JSON text of its value.
pub(super) struct Row<'a>(pub Vec<(String, &'a str)>);

impl<'a> Row<'a> {
    pub(super) fn read(line: &'a str) -> io::Result<Self> {
        let members = raw::members(line).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Row(members))
    }

    /// The value of a column; `null` if it is not there.
    pub(super) fn get(&self, column: &str) -> &'a str {
        // Of a key that stands twice the last one counts.
        self.0.iter().rev().find(|(name, _)| name == column).map_or("null", |(_, json)| json)
    }
}

/// Rows on their way to a file.
pub(in crate::service) struct RowWriter<'c> {
    out: BufWriter<File>,
    control: &'c Control,
}

impl<'c> RowWriter<'c> {
    /// A writer of a new file.
    pub(in crate::service) fn create(path: &Path, control: &'c Control) -> io::Result<Self> {
        Ok(RowWriter { out: BufWriter::with_capacity(256 << 10, File::create(path)?), control })
    }

    /// Hands on what is buffered.
    pub(in crate::service) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes one row.
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
        self.line_end()
    }

    /// Writes a row that is a line already.
    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        self.out.write_all(line.as_bytes())?;
        self.line_end_after(line)
    }

    fn line_end(&mut self) -> io::Result<()> {
        self.out.write_all(b"}\n")?;
        self.control.add_rows_written(1);
        Ok(())
    }

    fn line_end_after(&mut self, line: &str) -> io::Result<()> {
        if !line.ends_with('\n') {
            self.out.write_all(b"\n")?;
        }
        self.control.add_rows_written(1);
        Ok(())
    }
}

/// The rows of the blocks before, read one after the other.
pub(in crate::service) struct RowReader<'c> {
    pub feeds: Vec<PathBuf>,
    pub control: &'c Control,
}

impl RowReader<'_> {
    /// Gives each line to `take`, without its end.
    pub(super) fn each(self, mut take: impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
        let RowReader { feeds, control } = self;
        for feed in &feeds {
            each_line(feed, u64::MAX, control, |line| {
                take(line)?;
                control.add_rows_read(1);
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Gives each line of the first `bytes` of a file to `take`, without its end.
pub(super) fn each_line(
    path: &Path,
    bytes: u64,
    control: &Control,
    mut take: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader = BufReader::with_capacity(256 << 10, File::open(path).map_err(unusable)?.take(bytes));
    let mut line = String::new();
    let mut lines = 0usize;
    while reader.read_line(&mut line).map_err(unusable)? > 0 {
        if lines.is_multiple_of(STRIDE) && control.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        let text = line.trim_end_matches(['\n', '\r']);
        if !text.is_empty() {
            take(text)?;
        }
        lines += 1;
        line.clear();
    }
    Ok(())
}
