//! Widens older row groups to the final schema of their file, before the file is published.
//!
//! # Late widening
//!
//! A Parquet file has one schema, in its footer, but records arrive in order and may add or widen a
//! column at any time. The simple algorithm decodes every row group written so far, casts it to the
//! final schema, and writes a new file: it costs the whole file for one new key in the last record.
//! This module does the same with less, by four departures. They rest on the format: the footer is the
//! only place that says where chunks are, it is written last, and bytes without an entry are ignored.
//!
//! **Widen once, at the end.** Each row group is written with the schema known at the time; the schemas
//! are only joined. [`super::ParquetFileWriter::finish`] then knows the final schema, and each group is
//! widened at most once, however often the schema changed. This is right because a join is associative
//! and commutative: to cast from the group's own schema to the last one is to cast through all between.
//!
//! **Keep chunks with the same carrier.** [`plan_leaves`] compares the group's type with the final type
//! of each root column, leaf by leaf. The chunk of a leaf is kept, without a byte read, if
//! [`keeps_carrier`] holds there: an integer column that no longer fits doubles, a column of nulls that
//! became text, JSON text that became plain text. Its pages are valid under the new descriptor:
//!
//! - The *physical type* is that of the carrier, which is equal.
//! - The *levels* depend on the nesting above the leaf only. Widening never changes it for a kept leaf:
//!   a struct stays a struct with more fields, a list a list, a map a map, and all nodes are optional
//!   from the start. Where the nesting changes, as of a struct that turns into a map, no leaf is kept.
//! - The *nulls* of new siblings do not matter: each leaf has its own levels.
//! - The *position* among the leaves may change, and so may the logical type. Both are in the footer, and
//!   [`rebind`] writes the old offsets, sizes and statistics under the new descriptor.
//!
//! **Encode the rest behind the file.** The other leaves are new, or of a wider carrier. If the root column
//! existed, it is read back whole, because its arrays are needed to cast it: [`read_root`] gives the reader
//! a footer of this one column, made in memory from the kept entries. Otherwise it is all nulls. It is then
//! cast in batches of [`BATCH_ROWS`], and only the changed leaves are encoded and appended; an encoder
//! skips the others. The old chunks stay in the file as dead bytes. The bounds: reading and encoding are
//! limited to the affected root columns of the groups that differ, memory to a batch and the chunks of one
//! root column, and the growth of the file to the new chunks (and those that the next step moves).
//!
//! **Keep the midpoint inside.** Appended chunks make a row group discontiguous, which the format allows.
//! Some readers, however, assign a group to a byte range by a midpoint computed as if it were contiguous;
//! [`keep_midpoint_inside`] names them, and moves kept chunks to the end until that point is in the file.
//! It ends at the latest when no chunk is before that of the first column, for the file then extends from
//! there by at least the size of the group.
//!
//! A group is in its declared sort order only under the schema with which it was checked: if a key has
//! another type by then, [`super::order::sorting_columns`] drops the declaration. A file that fails midway
//! is not published, so that no reader sees a half-widened one.

use std::io::{self, Read, Write};
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, new_null_array};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use super::chunk::join;
use super::layout::reading_descriptor;
use super::stored::{Output, SharedReader, StoredGroup, append_chunk, rebind};
use super::{Error, Layout, RowGroupEncoder};
use crate::column::{Schema, Type, TypeMerge, cast_array, keeps_carrier};
use crate::format::ParquetOptions;

/// Rows that are read back, cast and encoded at a time. By eye: nested columns of large records
/// then take a few MiB, and the cost per batch does not show in a profile.
const BATCH_ROWS: usize = 4096;

/// The source of a leaf of the final schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeafSource {
    /// The chunk of the leaf with this index in the old schema, unchanged.
    Kept(usize),
    /// A chunk that has to be encoded.
    Encoded,
}

/// Widener of the row groups of one file.
pub(super) struct Rewriter<R> {
    /// Layout of the final schema.
    target: Arc<Layout>,
    options: ParquetOptions,
    type_merge: TypeMerge,
    /// The bytes written so far, for reading.
    pub(super) input: Arc<R>,
    /// Single-column layouts of the root columns encoded so far, reused from group to group.
    roots: Vec<Option<Arc<Layout>>>,
}

impl<R: ChunkReader + 'static> Rewriter<R> {
    pub(super) fn new(target: Arc<Layout>, options: ParquetOptions, type_merge: TypeMerge, input: Arc<R>) -> Self {
        let roots = target.schema.fields.iter().map(|_| None).collect();
        Rewriter { target, options, type_merge, input, roots }
    }

    /// Gives `group` one chunk per leaf of the final schema; returns the number of chunks encoded.
    pub(super) fn widen_group<W: Write + Send>(
        &mut self,
        group: &mut StoredGroup,
        out: &mut Output<W>,
    ) -> Result<u64, Error> {
        let target = self.target.clone();
        let old = group.layout.schema.clone();
        let old_ranges = leaf_ranges(&old);
        let mut columns = Vec::with_capacity(target.descriptor.num_columns());
        let mut encoded = 0;
        for (root, field) in target.schema.fields.iter().enumerate() {
            let old_idx = old.position(&field.name);
            let mut leaves = Vec::new();
            plan_leaves(old_idx.map(|i| (&old.fields[i].ty, old_ranges[i].start)), &field.ty, &mut leaves);
            let first = columns.len();
            // One pass over the root column encodes all of its changed leaves, in their order.
            let mut fresh = if leaves.contains(&LeafSource::Encoded) {
                self.encode(root, group, old_idx.map(|i| (i, old_ranges[i].clone())), &leaves, out)?
            } else {
                Vec::new()
            }
            .into_iter();
            for (i, leaf) in leaves.iter().enumerate() {
                let chunk = match leaf {
                    LeafSource::Kept(from) => &group.columns[*from],
                    LeafSource::Encoded => {
                        encoded += 1;
                        &fresh.next().ok_or(Error::Changed)?
                    }
                };
                columns.push(rebind(chunk, target.descriptor.column(first + i), 0)?);
            }
        }
        group.columns = columns;
        group.layout = target;
        Ok(encoded)
    }

    /// Encodes the leaves of root column `root` that are [`LeafSource::Encoded`], and appends their chunks. `old` is the
    /// column's index and leaf range in the group's schema; `None` makes a column of nulls.
    fn encode<W: Write + Send>(
        &mut self,
        root: usize,
        group: &StoredGroup,
        old: Option<(usize, Range<usize>)>,
        leaves: &[LeafSource],
        out: &mut Output<W>,
    ) -> Result<Vec<ColumnChunkMetaData>, Error> {
        let field = &self.target.schema.fields[root];
        // The layout of a schema of this column alone, so that its leaves are numbered from 0 as in `leaves`.
        let layout = match &mut self.roots[root] {
            Some(layout) => layout.clone(),
            none => {
                let alone = Arc::new(Schema::new(vec![field.clone()]));
                none.insert(Arc::new(Layout::try_new(alone, &self.options, self.type_merge)?)).clone()
            }
        };
        let carrier = layout.arrow.field(0).data_type().clone();
        let scratch = layout.new_scratch()?;
        let mut encoder = RowGroupEncoder::with_scratch(layout, scratch, |leaf| leaves[leaf] == LeafSource::Encoded);
        if let Some((old_idx, range)) = old {
            let old_field = &group.layout.schema.fields[old_idx];
            for batch in read_root(&self.input, group, old_idx, range)? {
                let batch = batch.map_err(parquet::errors::ParquetError::from)?;
                let array = cast_array(batch.column(0), &old_field.ty, &field.ty)
                    .map_err(|cause| Error::Column { column: field.name.clone(), cause: Some(cause) })?;
                encoder.write_columns(array.len(), iter::once(&array))?;
            }
        } else {
            while encoder.rows() < group.rows {
                let rows = BATCH_ROWS.min(group.rows - encoder.rows());
                encoder.write_columns(rows, iter::once(&new_null_array(&carrier, rows)))?;
            }
        }
        // Every row that was written must have been read back.
        if encoder.rows() != group.rows {
            return Err(Error::Changed);
        }
        let (group, mut scratch) = encoder.finish_with_scratch()?;
        group.parts.into_iter().map(|part| append_chunk(join(vec![part], &mut scratch)?, out)).collect()
    }
}

/// Returns the range of leaves of each root column.
fn leaf_ranges(schema: &Schema) -> Vec<Range<usize>> {
    let mut end = 0;
    schema
        .fields
        .iter()
        .map(|field| {
            let start = end;
            end += field.ty.n_leaves();
            start..end
        })
        .collect()
}

/// Appends the source of each leaf of `to` to `leaves`. `from` is the old type with the index of its first leaf; `None`
/// if the column or field is new.
fn plan_leaves(from: Option<(&Type, usize)>, to: &Type, leaves: &mut Vec<LeafSource>) {
    match (from, to) {
        (Some((from, first)), to) if keeps_carrier(from, to) => {
            leaves.extend((first..first + from.n_leaves()).map(LeafSource::Kept));
        }
        // A struct without fields was carried as text, so that it has no leaves to keep.
        (Some((Type::Struct(narrow), first)), Type::Struct(wide)) if !narrow.is_empty() => {
            for field in wide {
                let mut start = first;
                let mut found = None;
                for old in narrow {
                    if old.name == field.name {
                        found = Some((&old.ty, start));
                        break;
                    }
                    start += old.ty.n_leaves();
                }
                plan_leaves(found, &field.ty, leaves);
            }
        }
        (Some((Type::List(narrow), first)), Type::List(wide)) => plan_leaves(Some((narrow, first)), wide, leaves),
        // The keys are text in every map.
        (Some((Type::Map(narrow), first)), Type::Map(wide)) => {
            leaves.push(LeafSource::Kept(first));
            plan_leaves(Some((narrow, first + 1)), wide, leaves);
        }
        _ => leaves.extend(std::iter::repeat_n(LeafSource::Encoded, to.n_leaves())),
    }
}

/// Opens a reader of one root column of one stored row group, into arrays of its old type. `range` are its leaves.
fn read_root<R: ChunkReader + 'static>(
    input: &Arc<R>,
    group: &StoredGroup,
    old_idx: usize,
    range: Range<usize>,
) -> Result<ParquetRecordBatchReader, Error> {
    // A file of this one column, which exists only as metadata.
    let schema = Schema::new(vec![group.layout.schema.fields[old_idx].clone()]);
    let descriptor = reading_descriptor(&schema)?;
    let columns = group.columns[range]
        .iter()
        .zip(descriptor.columns())
        .map(|(chunk, leaf)| rebind(chunk, leaf.clone(), 0))
        .collect::<Result<_, _>>()?;
    let row_group = RowGroupMetaData::builder(descriptor.clone())
        .set_num_rows(group.rows as i64)
        .set_column_metadata(columns)
        .build()?;
    let file = FileMetaData::new(1, group.rows as i64, None, None, descriptor.clone(), None);
    let metadata = ArrowReaderMetadata::try_new(
        Arc::new(ParquetMetaData::new(file, vec![row_group])),
        ArrowReaderOptions::new().with_schema(Arc::new(schema.to_arrow())),
    )?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(SharedReader(input.clone()), metadata);
    Ok(builder.with_batch_size(BATCH_ROWS).build()?)
}

/// Copies chunks of `group` to the end until the file extends beyond the group's nominal midpoint.
///
/// Readers that divide a file into byte ranges (parquet-mr, hence Spark) assign a row group to the
/// range that holds its midpoint, computed as the start of its first column plus half of its size.
/// If that column was encoded again near the end, the midpoint could lie behind the end of the file,
/// where no range is, and the rows would silently be missing.
pub(super) fn keep_midpoint_inside<R: ChunkReader, W: Write + Send>(
    group: &mut StoredGroup,
    input: &R,
    out: &mut Output<W>,
) -> Result<(), Error> {
    let Some(first) = group.columns.first() else { return Ok(()) };
    let start = first.byte_range().0;
    let middle = start + group.columns.iter().map(|c| c.byte_range().1).sum::<u64>() / 2;
    for column in &mut group.columns {
        // Ends at the latest when all chunks follow the first: the file then extends to `start` plus the whole size.
        let (offset, length) = column.byte_range();
        if out.position() > middle {
            break;
        }
        if offset < start {
            let moved = out.position() as i64 - offset as i64;
            if io::copy(&mut input.get_read(offset)?.take(length), out)? != length {
                return Err(Error::Changed);
            }
            *column = rebind(column, column.column_descr_ptr(), moved)?;
        }
    }
    Ok(())
}
