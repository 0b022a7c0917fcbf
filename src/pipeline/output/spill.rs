//! Rows of typed files that are many: spilled as NDJSON until all are there, then encoded file by file.
//!
//! A row group wants many rows at once, and so does a message of Arrow. Of a thousand files each would get a few rows from
//! every morsel; encoders for all of them at a time, or row groups of so few rows and what a footer says of each, take
//! more memory than there is. Text of rows takes little more than the rows, and the files in the end are those that the
//! encoders would make of each file alone.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::encode::body_of;
use super::file::{FinishedFile, OutputFile};
use super::row_groups::RowGroupBuilder;
use super::rows::FileRows;
use super::spilled::{SPILL_COMPRESSION, restored, spilled_columns};
use super::writer::WriterOptions;
use crate::column::{Batch, Morsel, Schema};
use crate::format::OutputFormat;
use crate::format::compress::decompressing;
use crate::format::csv::SheetCounts;
use crate::format::decode::Outcome;
use crate::format::frame::{BufferPool, Framed, Framer, Framing};
use crate::format::ndjson::{self, DecodeOptions, UnknownKey, ValueTypes};
use crate::format::parquet::Layout;
use crate::pipeline::error::Error;
use crate::sink::{PartFile, Sink, Staging};

/// Bytes of rows that are decoded at a time.
const MORSEL_BYTES: usize = 256 << 10;

/// Rows of one directory that wait, all with the same columns.
pub struct SpilledRows {
    pub part: PartFile,
    pub columns: Arc<Schema>,
}

/// The rules by which files are made of spilled rows.
pub struct SpillEncoding<'a> {
    pub staging: &'a Staging,
    /// The number of the next part in the staging.
    pub next_part: &'a AtomicUsize,
    /// Of the files.
    pub columns: &'a Schema,
    pub options: &'a WriterOptions,
    /// Bytes of a row group, in memory.
    pub group_bytes: usize,
    pub max_rows: u64,
    pub max_bytes: u64,
}

impl SpillEncoding<'_> {
    /// The files of the rows in `spilled`, in order, finished. `path` is what errors call them.
    pub fn files(&self, path: &Path, spilled: Vec<SpilledRows>) -> Result<Vec<FinishedFile>, Error> {
        let layout = match self.options.format {
            OutputFormat::Parquet(options) => {
                let layout = Layout::try_new(Arc::new(self.columns.clone()), &options, self.options.type_merge);
                Some(Arc::new(layout?.with_sort_keys(&self.options.sort_hint)))
            }
            _ => None,
        };
        let group_bytes = match usize::try_from(self.max_bytes / 8) {
            Ok(eighth) => self.group_bytes.min(eighth),
            Err(_) => self.group_bytes,
        };
        let mut filling = OpenDirectories {
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
                filling.write(&restored(batch, &columns))
            })?;
            // Room for what is made of it.
            part.remove();
        }
        filling.close_file()?;
        Ok(filling.done)
    }
}

/// Calls `take` with the rows of `reader`, which have these columns.
fn each_batch(
    mut reader: impl Read,
    path: &Path,
    columns: &Arc<Schema>,
    take: &mut dyn FnMut(Batch) -> Result<(), Error>,
) -> Result<(), Error> {
    let pool = BufferPool::new(MORSEL_BYTES, 2);
    let mut framer = Framer::new(Framing::Lines, 1 << 30, 0, pool.clone());
    loop {
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
            let Framed::Morsel(morsel) = framed else { return Err(broken("a row is too long")) };
            decode(&morsel, columns, take)?;
            pool.recycle(morsel.bytes);
        }
        if n == 0 {
            return Ok(());
        }
    }
}

fn decode(
    morsel: &Morsel,
    columns: &Arc<Schema>,
    take: &mut dyn FnMut(Batch) -> Result<(), Error>,
) -> Result<(), Error> {
    let options = DecodeOptions {
        unknown_key: UnknownKey::SchemaMismatch,
        new_columns: ValueTypes::Typed,
        freeze: false,
        max_record_bytes: 1 << 30,
        max_cells: 1 << 20,
        record_spans: false,
    };
    let mut consumed = 0;
    while consumed < morsel.len {
        match ndjson::decode(&morsel.rest(consumed), columns, &options) {
            Outcome::Decoded(decoded) if decoded.rejects.is_empty() && decoded.consumed > 0 => {
                consumed += decoded.consumed;
                take(decoded.batch)?;
            }
            Outcome::Decoded(_) => return Err(broken("a row is refused")),
            Outcome::SchemaMismatch(surprise) => return Err(broken(&surprise.what)),
        }
    }
    Ok(())
}

/// The files of one directory, in the making.
struct OpenDirectories<'a> {
    encoding: &'a SpillEncoding<'a>,
    path: &'a Path,
    /// Of Parquet.
    layout: Option<Arc<Layout>>,
    row_groups: RowGroupBuilder,
    open: Option<OutputFile>,
    done: Vec<FinishedFile>,
}

impl OpenDirectories<'_> {
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut at = 0;
        while at < batch.rows {
            let in_file = self.open.as_ref().map_or(0, OutputFile::rows) + self.row_groups.open_rows() as u64;
            let room = self.encoding.max_rows - in_file;
            if room == 0 {
                self.close_file()?;
                continue;
            }
            let rows = (batch.rows - at).min(usize::try_from(room).unwrap_or(usize::MAX));
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

    /// Appends the row groups that are full, or all.
    fn append_row_groups(&mut self, all: bool) -> Result<(), Error> {
        let groups = if all { self.row_groups.take()? } else { self.row_groups.take_full() };
        for group in groups {
            self.make_room(group.bytes() as u64)?;
            self.open()?.append_row_group(group)?;
        }
        Ok(())
    }

    fn append_arrow(&mut self, rows: &Batch) -> Result<(), Error> {
        let format = self.encoding.options.format;
        // The columns of an Arrow output do not change, so that these are the file's.
        let FileRows::Arrow(encoded) = body_of(format, rows, &mut SheetCounts::default())? else {
            return Err(Error::Bug("only typed rows are spilled".into()));
        };
        self.make_room(encoded.get_array_memory_size() as u64)?;
        let columns = self.encoding.columns;
        self.open()?.append_arrow(&encoded, columns)
    }

    /// Finishes the open file if so many bytes more are too many for it.
    fn make_room(&mut self, bytes: u64) -> Result<(), Error> {
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

/// Rows that were good once do not read back.
fn broken(why: &str) -> Error {
    Error::Bug(format!("rows that were spilled cannot be read back: {why}"))
}
