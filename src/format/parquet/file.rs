//! Assembles one Parquet file of encoded row groups, in order, each with the schema that was known when
//! it was encoded. Joins parts into row groups while it writes, also parts with further columns (see
//! [`super::align`]), and brings all groups to the final schema when it finishes (see [`super::evolve`]).

use std::io::Write;
use std::sync::Arc;

use parquet::file::metadata::{
    ColumnChunkMetaData, FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::properties::WriterVersion;
use parquet::file::reader::ChunkReader;
use parquet::file::writer::TrackedWrite;
use parquet::schema::types::SchemaDescPtr;

use super::align::{align, aligned_schema};
use super::chunk::join;
use super::evolve::{Rewriter, keep_midpoint_inside};
use super::facts::FileFacts;
use super::ids::FieldIds;
use super::layout::CREATED_BY;
use super::leaf::EncoderScratch;
use super::order::{Run, SortKey, sorting_columns};
use super::stored::{StoredGroup, append_chunk};
use super::{EncodedRowGroup, Error, Layout};
use crate::column::{Schema, TypeMerge};
use crate::format::ParquetOptions;

/// Writer of one file. Row groups may differ in schema; the file has their join.
pub struct ParquetFileWriter<W: Write + Send> {
    out: TrackedWrite<W>,
    options: ParquetOptions,
    type_merge: TypeMerge,
    key_values: Vec<KeyValue>,
    /// The join of the declared schema and those of all groups so far.
    schema: Schema,
    groups: Vec<StoredGroup>,
    /// Parts of the next row group. The schema of each can be aligned to `open_schema`.
    open: Vec<EncodedRowGroup>,
    /// The join of the schemas of `open`; meaningless if there are no parts.
    open_schema: Arc<Schema>,
    /// True if the schemas of `open` differ.
    open_differs: bool,
    /// Bytes of `open` at which the row group is closed; 0 closes it at every append.
    row_group_bytes: usize,
    sort_keys: Arc<[SortKey]>,
    field_ids: FieldIds,
    scratch: Option<EncoderScratch>,
    rows: u64,
}

/// The most rows of a row group. Readers take a row group as their unit of work, and more rows make it no better.
const MAX_ROW_GROUP_ROWS: usize = 1 << 20;

/// Memory of an open row group of parts with different columns that is always allowed. By eye: an eighth of the least
/// useful memory bound, 64 MiB, as for other row groups.
const MAX_LATE_BYTES: usize = 8 << 20;

/// Facts about a finished file.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Final schema.
    pub schema: Schema,
    /// Number of rows.
    pub rows: u64,
    /// Length of the file, unreferenced chunks included.
    pub bytes: u64,
    /// Number of row groups.
    pub row_groups: usize,
    /// Number of row groups whose footer entry declares them sorted.
    pub sorted_row_groups: usize,
    /// Column chunks encoded at the end, because their column was added or widened late.
    pub rewritten_chunks: u64,
    /// Nulls and bounds of its columns.
    pub facts: FileFacts,
}

impl<W: Write + Send> ParquetFileWriter<W> {
    /// Begins a file on `out`, which must be empty, by writing the magic bytes. `key_values` go into the footer.
    pub fn try_new(
        out: W,
        options: ParquetOptions,
        type_merge: TypeMerge,
        key_values: Vec<(String, String)>,
    ) -> Result<Self, Error> {
        let mut out = TrackedWrite::new(out);
        out.write_all(b"PAR1")?;
        let key_values = key_values.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
        Ok(ParquetFileWriter {
            out,
            options,
            type_merge,
            key_values,
            schema: Schema::default(),
            groups: Vec::new(),
            open: Vec::new(),
            open_schema: Arc::default(),
            open_differs: false,
            row_group_bytes: 0,
            sort_keys: Arc::default(),
            field_ids: FieldIds::default(),
            scratch: None,
            rows: 0,
        })
    }

    /// Sets the size at which a row group is closed: parts are joined until they have this many encoded bytes.
    /// Without it every append is a row group.
    pub fn with_row_group_bytes(mut self, bytes: usize) -> Self {
        self.row_group_bytes = bytes;
        self
    }

    /// Sets the order that row groups declare, where they are in it. Their encoders must have layouts with the same keys.
    pub fn with_sort_keys(mut self, keys: &Arc<[SortKey]>) -> Self {
        self.sort_keys = keys.clone();
        self
    }

    /// Sets the ids that the footer gives to fields.
    pub fn set_field_ids(&mut self, ids: &FieldIds) {
        self.field_ids = ids.clone();
    }

    /// Adds the columns of `schema` even if no row group has them. Declared before the first row group, they
    /// come first.
    pub fn declare(&mut self, schema: &Schema) {
        self.schema = self.schema.join(schema, self.type_merge);
    }

    /// Moves the columns of `schema` to the front, in its order; others keep theirs behind them.
    pub fn set_order(&mut self, schema: &Schema) {
        let index = |name: &str| schema.position(name).unwrap_or(usize::MAX);
        self.schema.fields.sort_by_cached_key(|field| index(&field.name));
    }

    /// Appends encoded rows. A part without rows only adds its columns to the schema.
    pub fn append(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        let same = |other: &Arc<Layout>| Arc::ptr_eq(other, &group.layout) || *other.schema == *group.layout.schema;
        let last = self.open.last().map(|g| &g.layout).or(self.groups.last().map(|g| &g.layout));
        let is_new = !last.is_some_and(same);
        if is_new {
            self.declare(&group.layout.schema);
        }
        if group.rows == 0 {
            return Ok(());
        }
        if self.open.is_empty() {
            self.open_schema = group.layout.schema.clone();
        } else if is_new {
            self.widen_open(&group.layout.schema)?;
        }
        self.rows += group.rows as u64;
        self.open.push(group);
        let rows = self.open.iter().map(|g| g.rows).sum::<usize>();
        // Each late column makes a part, of few rows and many columns: their memory is the bound then.
        let is_full = match self.open_differs {
            true => self.open_bytes() >= self.row_group_bytes.max(MAX_LATE_BYTES),
            false => self.open.iter().map(|g| g.bytes).sum::<usize>() >= self.row_group_bytes,
        };
        if is_full || rows >= MAX_ROW_GROUP_ROWS {
            self.close_row_group()?;
        }
        Ok(())
    }

    /// Widens the open row group to the columns of `schema`. Closes it instead if a column with values has another
    /// type now, or if the values of a sort key would be compared in another way.
    fn widen_open(&mut self, schema: &Arc<Schema>) -> Result<(), Error> {
        let key_type =
            |schema: &Schema, key: &SortKey| schema.position(&key.column).map(|i| schema.fields[i].ty.clone());
        let same_keys = self.sort_keys.iter().all(|key| key_type(&self.open_schema, key) == key_type(schema, key));
        match aligned_schema(&self.open_schema, schema, self.type_merge).filter(|_| same_keys) {
            Some(joined) => {
                self.open_schema = Arc::new(joined);
                self.open_differs = true;
            }
            None => {
                self.close_row_group()?;
                self.open_schema = schema.clone();
            }
        }
        Ok(())
    }

    /// Joins the open parts and writes them as one row group.
    fn close_row_group(&mut self) -> Result<(), Error> {
        let Some(first) = self.open.first() else { return Ok(()) };
        let differs = std::mem::take(&mut self.open_differs);
        let layout = match differs {
            true => Arc::new(Layout::try_new(self.open_schema.clone(), &self.options, self.type_merge)?),
            false => first.layout.clone(),
        };
        let scratch = match &mut self.scratch {
            Some(scratch) => scratch,
            none => none.insert(layout.new_scratch()?),
        };
        let rows = self.open.iter().map(|g| g.rows).sum();
        let runs: Option<Vec<Run>> = self.open.iter_mut().map(|g| g.order.take()).collect();
        let is_sorted = runs.is_some_and(|runs| Run::join(runs).is_in_order());
        let sorted_as = is_sorted.then(|| layout.schema.clone());
        let open = std::mem::take(&mut self.open);
        let columns = if differs {
            let leaves = align(open, &layout, &self.options, self.type_merge)?.into_iter();
            leaves.map(|parts| append_chunk(join(parts, scratch)?, &mut self.out)).collect::<Result<_, _>>()?
        } else {
            let mut parts: Vec<_> = open.into_iter().map(|g| g.parts.into_iter()).collect();
            let leaf = |_| parts.iter_mut().filter_map(Iterator::next).collect();
            let leaves = (0..layout.descriptor.num_columns()).map(leaf);
            leaves.map(|parts| append_chunk(join(parts, scratch)?, &mut self.out)).collect::<Result<_, _>>()?
        };
        self.groups.push(StoredGroup { layout, rows, columns, sorted_as });
        Ok(())
    }

    /// Returns the memory of the open parts, which are not written yet, in bytes.
    pub fn open_bytes(&self) -> usize {
        self.open.iter().map(EncodedRowGroup::memory_size).sum()
    }

    /// Writes the open parts as a row group, however small it is.
    pub fn close_open(&mut self) -> Result<(), Error> {
        self.close_row_group()
    }

    /// Flushes buffered bytes to the output.
    pub fn flush(&mut self) -> Result<(), Error> {
        Ok(self.out.flush()?)
    }

    /// Returns the output. Bytes written to it directly would make the offsets in the footer wrong.
    pub fn get_mut(&mut self) -> &mut W {
        self.out.inner_mut()
    }

    /// Returns the schema that the file would have if it were finished now.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Returns the bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.out.bytes_written() as u64
    }

    /// Widens older row groups to the final schema, writes the footer, and returns the output, flushed but
    /// not synced.
    ///
    /// `reread` opens the bytes written so far for reading; it is called only if row groups differ in
    /// schema. It must not be a duplicate of the writer's own file handle: the two would share one
    /// position.
    pub fn finish<R: ChunkReader + 'static>(
        mut self,
        reread: impl FnOnce() -> Result<R, std::io::Error>,
    ) -> Result<(W, Summary), Error> {
        self.close_row_group()?;
        if self.schema.fields.is_empty() && self.rows > 0 {
            return Err(Error::NoColumns { rows: self.rows });
        }
        let last = Arc::new(Layout::try_new(Arc::new(self.schema), &self.options, self.type_merge)?);
        let mut rewritten_chunks = 0;
        if self.groups.iter().any(|g| *g.layout.schema != *last.schema) {
            self.out.flush()?;
            let mut rewriter = Rewriter::new(last.clone(), self.options, self.type_merge, Arc::new(reread()?));
            for group in &mut self.groups {
                rewritten_chunks += rewriter.widen_group(group, &mut self.out)?;
            }
            // After all chunks are appended: the file only grows, so that a midpoint inside it stays inside.
            for group in &mut self.groups {
                keep_midpoint_inside(group, &*rewriter.input, &mut self.out)?;
            }
        }
        let facts = FileFacts::of(&self.groups, &last);
        let descriptor = self.field_ids.applied_to(&last.descriptor)?;
        let row_groups = self
            .groups
            .into_iter()
            .enumerate()
            .map(|(index, group)| row_group_metadata(index, group, (&last, &descriptor), &self.sort_keys))
            .collect::<Result<Vec<_>, _>>()?;
        let n_row_groups = row_groups.len();
        let sorted_row_groups = row_groups.iter().filter(|group| group.sorting_columns().is_some()).count();
        let file = FileMetaData::new(
            WriterVersion::PARQUET_1_0.as_num(),
            self.rows as i64,
            Some(CREATED_BY.to_owned()),
            if self.key_values.is_empty() { None } else { Some(self.key_values) },
            descriptor,
            None,
        );
        // Through a buffer of its own, because the library's footer writer ignores errors of its last
        // flush. The offsets in the footer are absolute already.
        let mut footer = Vec::new();
        ParquetMetaDataWriter::new(&mut footer, &ParquetMetaData::new(file, row_groups)).finish()?;
        self.out.write_all(&footer)?;
        self.out.flush()?;
        let bytes = self.out.bytes_written() as u64;
        let schema = (*last.schema).clone();
        Ok((
            self.out.into_inner()?,
            Summary {
                schema,
                rows: self.rows,
                bytes,
                row_groups: n_row_groups,
                sorted_row_groups,
                rewritten_chunks,
                facts,
            },
        ))
    }
}

fn row_group_metadata(
    index: usize,
    group: StoredGroup,
    (last, descriptor): (&Layout, &SchemaDescPtr),
    sort_keys: &[SortKey],
) -> Result<RowGroupMetaData, Error> {
    let sorted_as = group.sorted_as.filter(|_| !sort_keys.is_empty());
    let sorting = sorted_as.and_then(|then| sorting_columns(sort_keys, &then, &last.schema));
    // The start of the first column: readers that divide a file into byte ranges look there.
    let file_offset = group.columns.first().map_or(4, |c| c.byte_range().0 as i64);
    let uncompressed = group.columns.iter().map(ColumnChunkMetaData::uncompressed_size).sum();
    let metadata = RowGroupMetaData::builder(descriptor.clone())
        .set_column_metadata(group.columns)
        .set_total_byte_size(uncompressed)
        .set_num_rows(group.rows as i64)
        .set_sorting_columns(sorting)
        .set_file_offset(file_offset);
    // The format has sixteen bits for the optional ordinal: later row groups have none.
    let metadata = match i16::try_from(index) {
        Ok(ordinal) => metadata.set_ordinal(ordinal),
        Err(_) => metadata,
    };
    Ok(metadata.build()?)
}
