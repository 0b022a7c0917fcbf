//! Encodes the files of partitioned Parquet and Arrow outputs from spilled rows: rows are spilled as NDJSON until all
//! are read, then encoded directory by directory. Runs at the end, in the writer; reads only files that the execution
//! wrote.
//!
//! The simple way keeps an encoder open per file. But a row group needs many rows at once, and so does an Arrow
//! message, and of a thousand files each gets a few rows from every morsel: a thousand open encoders, or row groups of
//! a few rows and their entries in the footer, take more memory than there is. Spilled text takes little more than the
//! rows, and the final files are the same as if each had been encoded alone.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::encode::encode_for_file;
use super::file::{FinishedFile, OutputFile};
use super::row_groups::RowGroupBuilder;
use super::rows::FileRows;
use super::spilled::{SPILL_COMPRESSION, from_spilled, spilled_columns};
use super::writer::WriterOptions;
use crate::column::{Batch, Morsel, Schema};
use crate::format::OutputFormat;
use crate::format::codec::decompressing;
use crate::format::csv::SheetCounts;
use crate::format::decode::Outcome;
use crate::format::frame::{BufferPool, Framed, Framer, Framing};
use crate::format::ndjson::{self, DecodeOptions, UnknownKey, ValueTypes};
use crate::format::parquet::Layout;
use crate::pipeline::error::Error;
use crate::sink::{PartFile, Sink, Staging};

/// Bytes of spilled rows that are decoded at a time. By eye: several threads decode at once.
const MORSEL_BYTES: usize = 256 << 10;

/// Spilled rows of one directory, all with the same columns.
pub(super) struct SpilledRows {
    pub part: PartFile,
    /// The columns of the rows before they were spilled.
    pub columns: Arc<Schema>,
}

/// The settings for encoding spilled rows, shared by all threads.
pub(super) struct SpillEncoding<'a> {
    pub staging: &'a Staging,
    /// Number of the next temporary file in the staging directory.
    pub next_part: &'a AtomicUsize,
    /// The final columns of the files.
    pub columns: &'a Schema,
    pub options: &'a WriterOptions,
    /// Bytes of a row group in memory, for one thread.
    pub group_bytes: usize,
    /// Maximum rows per file.
    pub max_rows: u64,
    /// Maximum bytes per file, as written.
    pub max_bytes: u64,
}

impl SpillEncoding<'_> {
    /// Encodes the rows of one directory, in order, and returns its finished files. `path` is the directory, for
    /// errors. Removes each spilled file when its rows are encoded.
    pub(super) fn files(&self, path: &Path, spilled: Vec<SpilledRows>) -> Result<Vec<FinishedFile>, Error> {
        let layout = match self.options.format {
            OutputFormat::Parquet(options) => {
                let layout = Layout::try_new(Arc::new(self.columns.clone()), &options, self.options.type_merge);
                Some(Arc::new(layout?.with_sort_keys(&self.options.sort_hint)))
            }
            _ => None,
        };
        // A row group is not split between files: an eighth of a file fills it closely to its maximum.
        let group_bytes = match usize::try_from(self.max_bytes / 8) {
            Ok(eighth) => self.group_bytes.min(eighth),
            Err(_) => self.group_bytes,
        };
        let mut files_of_directory = DirectoryFiles {
            encoding: self,
            path,
            layout,
            row_groups: RowGroupBuilder::new(usize::MAX, group_bytes),
            open: None,
            done: Vec::new(),
        };
        for SpilledRows { part, columns } in spilled {
            let file = part.reread().map_err(|cause| Error::write(path, cause))?;
            let carried = Arc::new(spilled_columns(&columns));
            each_batch(decompressing(SPILL_COMPRESSION, file), path, &carried, &mut |batch| {
                files_of_directory.write(&from_spilled(batch, &columns))
            })?;
            // Free the disk space for the files to come.
            part.remove();
        }
        files_of_directory.close_file()?;
        Ok(files_of_directory.done)
    }
}

/// Decodes the spilled rows of `reader`, which have these columns, and calls `take` for each batch.
fn each_batch(
    mut reader: impl Read,
    path: &Path,
    columns: &Arc<Schema>,
    take: &mut dyn FnMut(Batch) -> Result<(), Error>,
) -> Result<(), Error> {
    let pool = BufferPool::new(MORSEL_BYTES, 2);
    let mut framer = Framer::new(Framing::Lines, 1 << 30, 0, pool.clone());
    loop {
        // Any error is one of the output: the file is its own.
        let n = match reader.read(framer.space()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            n => n.map_err(|cause| Error::write(path, cause))?,
        };
        if n == 0 {
            framer.finish();
        } else {
            framer.filled(n);
        }
        while let Some(framed) = framer.pop() {
            let Framed::Morsel(morsel) = framed else { return Err(unreadable("a row is too long")) };
            decode(&morsel, columns, take)?;
            pool.recycle(morsel.bytes);
        }
        if n == 0 {
            return Ok(());
        }
    }
}

/// Decodes one morsel of spilled rows. Anything unexpected is a bug: these rows were valid when they were spilled.
fn decode(
    morsel: &Morsel,
    columns: &Arc<Schema>,
    take: &mut dyn FnMut(Batch) -> Result<(), Error>,
) -> Result<(), Error> {
    // The schema is known exactly, so any mismatch is a bug; limits are above those that the rows have passed.
    let options = DecodeOptions {
        unknown_key: UnknownKey::SchemaMismatch,
        new_columns: ValueTypes::Typed,
        freeze: false,
        max_record_bytes: 1 << 30,
        max_cells: 1 << 20,
        record_spans: false,
        canonical_json: false,
    };
    let mut consumed = 0;
    while consumed < morsel.len {
        match ndjson::decode(&morsel.rest(consumed), columns, &options) {
            Outcome::Decoded(decoded) if decoded.rejects.is_empty() && decoded.consumed > 0 => {
                consumed += decoded.consumed;
                take(decoded.batch)?;
            }
            Outcome::Decoded(_) => return Err(unreadable("a row is refused")),
            Outcome::SchemaMismatch(mismatch) => return Err(unreadable(&mismatch.what)),
        }
    }
    Ok(())
}

/// The files of one directory while they are encoded.
struct DirectoryFiles<'a> {
    encoding: &'a SpillEncoding<'a>,
    path: &'a Path,
    /// The layout of Parquet row groups; `None` for Arrow.
    layout: Option<Arc<Layout>>,
    row_groups: RowGroupBuilder,
    /// The file that takes the next rows; `None` before them.
    open: Option<OutputFile>,
    done: Vec<FinishedFile>,
}

impl DirectoryFiles<'_> {
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut at = 0;
        while at < batch.rows {
            // The rows of the open row group will be in the open file.
            let in_file = self.open.as_ref().map_or(0, OutputFile::rows) + self.row_groups.open_rows() as u64;
            let rows_left = self.encoding.max_rows - in_file;
            if rows_left == 0 {
                self.close_file()?;
                continue;
            }
            let rows = (batch.rows - at).min(usize::try_from(rows_left).unwrap_or(usize::MAX));
            let slice = batch.slice(at, rows);
            at += rows;
            match self.layout.clone() {
                Some(layout) => {
                    self.row_groups.write(&slice, || Ok(layout.clone()))?;
                    self.append_row_groups(false)?;
                }
                None => self.append_arrow(&slice)?,
            }
        }
        Ok(())
    }

    /// Appends the full row groups to the open file, with `all` also the one that is not full.
    fn append_row_groups(&mut self, all: bool) -> Result<(), Error> {
        let groups = if all { self.row_groups.take()? } else { self.row_groups.take_full() };
        for group in groups {
            self.close_if_too_large(group.bytes() as u64)?;
            self.open()?.append_row_group(group)?;
        }
        Ok(())
    }

    fn append_arrow(&mut self, rows: &Batch) -> Result<(), Error> {
        let format = self.encoding.options.format;
        // The columns of an Arrow output are fixed, so that those of the rows are those of the file.
        let FileRows::Arrow(encoded) = encode_for_file(format, rows, &mut SheetCounts::default())? else {
            return Err(Error::Bug("rows of a text format were spilled".into()));
        };
        self.close_if_too_large(encoded.get_array_memory_size() as u64)?;
        let columns = self.encoding.columns;
        self.open()?.append_arrow(&encoded, columns)
    }

    /// Finishes the open file if `bytes` more would exceed its maximum.
    fn close_if_too_large(&mut self, bytes: u64) -> Result<(), Error> {
        match self.open.as_ref().is_some_and(|open| open.bytes() + bytes > self.encoding.max_bytes) {
            true => self.finish_open(),
            false => Ok(()),
        }
    }

    fn open(&mut self) -> Result<&mut OutputFile, Error> {
        match &mut self.open {
            Some(open) => Ok(open),
            none => {
                let part = self.encoding.staging.part(self.encoding.next_part.fetch_add(1, Ordering::Relaxed));
                let path: PathBuf = self.path.to_owned();
                Ok(none.insert(OutputFile::new(path, Sink::Part(part), self.encoding.options)?))
            }
        }
    }

    fn close_file(&mut self) -> Result<(), Error> {
        self.append_row_groups(true)?;
        self.finish_open()
    }

    fn finish_open(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let mut finished = open.finish(self.encoding.columns)?;
        finished.park();
        self.done.push(finished);
        Ok(())
    }
}

/// Returns the error for spilled rows that cannot be decoded again.
fn unreadable(why: &str) -> Error {
    Error::Bug(format!("cannot read spilled rows: {why}"))
}
