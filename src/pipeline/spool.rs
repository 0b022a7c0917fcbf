//! Rows of typed files that are many: set aside as NDJSON until all are there, then encoded file by file.
//!
//! A row group wants many rows at once, and so does a message of Arrow. Of a thousand files each would get a few rows from
//! every morsel; encoders for all of them at a time, or row groups of so few rows and what a footer says of each, take
//! more memory than there is. Text of rows takes little more than the rows, and what the encoders make in the end is
//! what they would make of each file alone.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, ArrayRef, Decimal128Array};

use super::Error;
use super::encode::{Body, body_of};
use super::one::{Make, One, write_error};
use crate::column::{Batch, Field, Morsel, Schema, Type};
use crate::format::compress::decompressing;
use crate::format::csv::SheetCounts;
use crate::format::decode::Outcome;
use crate::format::frame::{BufferPool, Framed, Framer, Framing};
use crate::format::ndjson::{self, DecodeOptions, Keys, UnknownKey};
use crate::format::parquet::{self, Layout, RowGroupEncoder, Workshop};
use crate::format::{Compression, OutputFormat};
use crate::sink::{PartFile, Sink, Staging};
use crate::text::error_chain;

/// How rows are compressed while they wait.
pub(super) const COMPRESSION: Compression = Compression::Zstd;

/// Bytes of rows that are decoded at a time.
const MORSEL_BYTES: usize = 256 << 10;

/// Rows of one folder that wait, all with the same columns.
pub(super) struct Spooled {
    pub part: PartFile,
    pub columns: Arc<Schema>,
}

/// `batch` as it is set aside: what only a cast makes goes as the integers that it is carried in.
pub(super) fn to_be_set_aside(mut batch: Batch) -> Batch {
    // Every value as it was decoded, and nothing else of its record.
    batch.records = None;
    let columns = batch.columns.iter().zip(&batch.schema.fields).map(|(column, field)| match field.ty {
        Type::Fixed(fixed) => {
            let values = (0..batch.rows).map(|row| if column.is_valid(row) { fixed.value(column, row) } else { 0 });
            let values = Decimal128Array::new(values.collect(), column.nulls().cloned());
            let values = values.with_precision_and_scale(38, 0);
            Arc::new(values.expect("an integer has no digits behind the point")) as ArrayRef
        }
        _ => column.clone(),
    });
    let columns = columns.collect();
    Batch { columns, schema: Arc::new(set_aside_columns(&batch.schema)), ..batch }
}

/// The columns of rows that were set aside from rows with these columns.
fn set_aside_columns(columns: &Schema) -> Schema {
    let carried = |field: &Field| match field.ty {
        Type::Fixed(_) => Field::new(field.name.clone(), Type::Decimal),
        _ => field.clone(),
    };
    Schema::new(columns.fields.iter().map(carried).collect())
}

/// [`to_be_set_aside`], back again; `columns` are those that it had then.
fn as_it_was(batch: Batch, columns: &Arc<Schema>) -> Batch {
    let restored = batch.columns.iter().zip(&columns.fields).map(|(column, field)| match field.ty {
        Type::Fixed(fixed) => {
            let values = column.as_primitive::<Decimal128Type>();
            fixed.array(values.values().to_vec(), values.nulls().cloned())
        }
        _ => column.clone(),
    });
    Batch { columns: restored.collect(), schema: columns.clone(), ..batch }
}

/// What files are made of spooled rows.
pub(super) struct Encoding<'a> {
    pub staging: &'a Staging,
    /// The number of the next part in the staging.
    pub next_part: &'a AtomicUsize,
    /// Of the files.
    pub columns: &'a Schema,
    pub make: &'a Make,
    /// Bytes of a row group, in memory.
    pub group_bytes: usize,
    pub max_rows: u64,
    pub max_bytes: u64,
}

impl Encoding<'_> {
    /// The files of the rows in `spools`, in order, finished; each with its rows. `path` is what errors call them.
    pub fn files(&self, path: &Path, spools: Vec<Spooled>) -> Result<Vec<One>, Error> {
        let layout = match self.make.format {
            OutputFormat::Parquet(options) => {
                let layout = Layout::try_new(Arc::new(self.columns.clone()), &options, self.make.mixing);
                Some(Arc::new(layout.map_err(bug)?.with_sort_keys(&self.make.sort_hint)))
            }
            _ => None,
        };
        let group_bytes = match usize::try_from(self.max_bytes / 8) {
            Ok(eighth) => self.group_bytes.min(eighth),
            Err(_) => self.group_bytes,
        };
        let mut filling = Filling {
            encoding: self,
            path,
            layout,
            encoder: None,
            shop: None,
            group_bytes,
            open: None,
            done: Vec::new(),
        };
        for Spooled { part, columns } in spools {
            let file = part.reread().map_err(|cause| write_error(path, cause))?;
            let carried = Arc::new(set_aside_columns(&columns));
            each_batch(decompressing(COMPRESSION, file), path, &carried, &mut |batch| {
                filling.write(&as_it_was(batch, &columns))
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
            n => n.map_err(|cause| write_error(path, cause))?,
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
        unknown_key: UnknownKey::Surprise,
        new_columns: Keys::Typed,
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
            Outcome::Surprise(surprise) => return Err(broken(&surprise.what)),
        }
    }
    Ok(())
}

/// The files of one folder, in the making.
struct Filling<'a> {
    encoding: &'a Encoding<'a>,
    path: &'a Path,
    /// Of Parquet.
    layout: Option<Arc<Layout>>,
    encoder: Option<RowGroupEncoder>,
    shop: Option<Workshop>,
    group_bytes: usize,
    open: Option<One>,
    done: Vec<One>,
}

impl Filling<'_> {
    fn write(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut at = 0;
        while at < batch.rows {
            let in_file =
                self.open.as_ref().map_or(0, One::rows) + self.encoder.as_ref().map_or(0, |e| e.rows() as u64);
            let room = self.encoding.max_rows - in_file;
            if room == 0 {
                self.close_file()?;
                continue;
            }
            let rows = (batch.rows - at).min(usize::try_from(room).unwrap_or(usize::MAX));
            let slice = batch.slice(at, rows);
            at += rows;
            match self.layout.clone() {
                Some(layout) => self.write_parquet(&layout, &slice)?,
                None => self.write_arrow(&slice)?,
            }
        }
        Ok(())
    }

    fn write_parquet(&mut self, layout: &Arc<Layout>, rows: &Batch) -> Result<(), Error> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(match self.shop.take() {
                Some(shop) => RowGroupEncoder::again(layout.clone(), shop),
                None => RowGroupEncoder::with_layout(layout.clone()).map_err(bug)?,
            }),
        };
        encoder.write(rows).map_err(bug)?;
        if encoder.memory_size() >= self.group_bytes { self.close_row_group() } else { Ok(()) }
    }

    fn close_row_group(&mut self) -> Result<(), Error> {
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        let (group, shop) = encoder.finish_in_workshop().map_err(bug)?;
        self.shop = Some(shop);
        let size = group.bytes() as u64;
        if self.open.as_ref().is_some_and(|open| open.bytes() + size > self.encoding.max_bytes) {
            self.finish_open()?;
        }
        self.open()?.row_group(group)
    }

    fn write_arrow(&mut self, rows: &Batch) -> Result<(), Error> {
        let format = self.encoding.make.format;
        // The columns of an Arrow output do not change, so that these are the file's.
        let Body::Arrow(encoded) = body_of(format, rows, &mut SheetCounts::default())? else {
            return Err(Error::Bug("only typed rows are spooled".into()));
        };
        let size = encoded.get_array_memory_size() as u64;
        if self.open.as_ref().is_some_and(|open| open.bytes() + size > self.encoding.max_bytes) {
            self.finish_open()?;
        }
        let columns = self.encoding.columns;
        self.open()?.arrow(&encoded, columns)
    }

    fn open(&mut self) -> Result<&mut One, Error> {
        match &mut self.open {
            Some(open) => Ok(open),
            none => {
                let part = self.encoding.staging.part(self.encoding.next_part.fetch_add(1, Ordering::Relaxed));
                let path: PathBuf = self.path.to_owned();
                Ok(none.insert(One::new(path, Sink::Part(part), self.encoding.make)?))
            }
        }
    }

    fn close_file(&mut self) -> Result<(), Error> {
        self.close_row_group()?;
        self.finish_open()
    }

    fn finish_open(&mut self) -> Result<(), Error> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        open.finish(self.encoding.columns)?;
        open.park_finished();
        self.done.push(open);
        Ok(())
    }
}

/// Rows that were good once do not read back.
fn broken(why: &str) -> Error {
    Error::Bug(format!("rows that were set aside cannot be read back: {why}"))
}

fn bug(error: parquet::Error) -> Error {
    match error {
        parquet::Error::NoColumns { .. } => Error::Step(error.to_string()),
        other => Error::Bug(format!("cannot encode a row group: {}", error_chain(&other))),
    }
}
