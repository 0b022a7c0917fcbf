//! Brings the chunks of an older row group up to the final schema, inside the unpublished file.
//!
//! A leaf column whose carrier is unchanged keeps its bytes: its place among the other leaves may
//! differ, its path and its levels do not. The leaves that changed are read back with the rest of
//! their root column, cast, encoded and appended.

use std::io::{self, Read, Write};
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, new_null_array};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{ColumnChunkMetaData, FileMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::TrackedWrite;

use super::chunk::join;
use super::layout::reading_descriptor;
use super::stored::{StoredGroup, bind, put};
use super::{Error, Layout, RowGroupEncoder};
use crate::column::{Schema, Type, TypeMerge, cast_array, keeps_carrier};
use crate::format::ParquetOptions;

/// Rows that are read back, cast and encoded at a time. By eye: nested columns of large records
/// then take a few MiB, and the cost per batch does not show.
const BATCH_ROWS: usize = 4096;

/// Where a leaf of the final schema comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeafSource {
    /// The chunk of this leaf of the old schema, untouched.
    Kept(usize),
    /// To be encoded.
    Encoded,
}

/// Works through the row groups of one file.
pub(super) struct Rewriter<R> {
    last: Arc<Layout>,
    options: ParquetOptions,
    type_merge: TypeMerge,
    /// The file so far.
    pub(super) input: Arc<R>,
    /// A layout of its own for each root column that was encoded before.
    roots: Vec<Option<Arc<Layout>>>,
}

impl<R: ChunkReader + 'static> Rewriter<R> {
    pub(super) fn new(last: Arc<Layout>, options: ParquetOptions, type_merge: TypeMerge, input: Arc<R>) -> Self {
        let roots = last.schema.fields.iter().map(|_| None).collect();
        Rewriter { last, options, type_merge, input, roots }
    }

    /// Gives `group` one chunk per leaf of the final schema and says how many had to be encoded.
    pub(super) fn bring_up<W: Write + Send>(
        &mut self,
        group: &mut StoredGroup,
        out: &mut TrackedWrite<W>,
    ) -> Result<u64, Error> {
        let last = self.last.clone();
        let old = group.layout.schema.clone();
        let old_ranges = leaf_ranges(&old);
        let mut columns = Vec::with_capacity(last.descriptor.num_columns());
        let mut encoded = 0;
        for (root, field) in last.schema.fields.iter().enumerate() {
            let place = old.position(&field.name);
            let mut leaves = Vec::new();
            plan(place.map(|p| (&old.fields[p].ty, old_ranges[p].start)), &field.ty, &mut leaves);
            let first = columns.len();
            let mut fresh = if leaves.contains(&LeafSource::Encoded) {
                self.encode(root, group, place.map(|p| (p, old_ranges[p].clone())), &leaves, out)?
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
                columns.push(bind(chunk, last.descriptor.column(first + i), 0)?);
            }
        }
        group.columns = columns;
        group.layout = last;
        Ok(encoded)
    }

    /// Encodes those leaves of root column `root` that `leaves` asks for, and appends them.
    fn encode<W: Write + Send>(
        &mut self,
        root: usize,
        group: &StoredGroup,
        old: Option<(usize, Range<usize>)>,
        leaves: &[LeafSource],
        out: &mut TrackedWrite<W>,
    ) -> Result<Vec<ColumnChunkMetaData>, Error> {
        let field = &self.last.schema.fields[root];
        let layout = match &mut self.roots[root] {
            Some(layout) => layout.clone(),
            none => {
                let alone = Arc::new(Schema::new(vec![field.clone()]));
                none.insert(Arc::new(Layout::try_new(alone, &self.options, self.type_merge)?)).clone()
            }
        };
        let carrier = layout.arrow.field(0).data_type().clone();
        let shop = layout.new_scratch()?;
        let mut encoder = RowGroupEncoder::with_scratch(layout, shop, |leaf| leaves[leaf] == LeafSource::Encoded);
        if let Some((place, range)) = old {
            let old_field = &group.layout.schema.fields[place];
            for batch in read_root(&self.input, group, place, range)? {
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
        if encoder.rows() != group.rows {
            return Err(Error::Changed);
        }
        let (group, mut shop) = encoder.finish_with_scratch()?;
        group.parts.into_iter().map(|part| put(join(vec![part], &mut shop)?, out)).collect()
    }
}

/// Leaves per root column.
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

/// For each leaf of `to` where it comes from; `from` is the old type with its first leaf.
fn plan(from: Option<(&Type, usize)>, to: &Type, leaves: &mut Vec<LeafSource>) {
    match (from, to) {
        (Some((from, first)), to) if keeps_carrier(from, to) => {
            leaves.extend((first..first + from.n_leaves()).map(LeafSource::Kept));
        }
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
                plan(found, &field.ty, leaves);
            }
        }
        (Some((Type::List(narrow), first)), Type::List(wide)) => plan(Some((narrow, first)), wide, leaves),
        (Some((Type::Map(narrow), first)), Type::Map(wide)) => {
            leaves.push(LeafSource::Kept(first));
            plan(Some((narrow, first + 1)), wide, leaves);
        }
        _ => leaves.extend(std::iter::repeat_n(LeafSource::Encoded, to.n_leaves())),
    }
}

/// A reader over one root column of one stored row group, in the arrays of its old type.
fn read_root<R: ChunkReader + 'static>(
    input: &Arc<R>,
    group: &StoredGroup,
    place: usize,
    range: Range<usize>,
) -> Result<ParquetRecordBatchReader, Error> {
    let schema = Schema::new(vec![group.layout.schema.fields[place].clone()]);
    let descriptor = reading_descriptor(&schema)?;
    let columns = group.columns[range]
        .iter()
        .zip(descriptor.columns())
        .map(|(chunk, leaf)| bind(chunk, leaf.clone(), 0))
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

/// Copies chunks of `group` to the end until the file reaches beyond the group's nominal middle.
///
/// Readers that divide a file into byte ranges (parquet-mr, hence Spark) give a row group to the
/// range that holds its middle, reckoned as the start of its first column plus half of its size.
/// After that column was encoded again near the end, the middle could lie behind the file, where
/// no range is, and the rows would silently be missing.
pub(super) fn keep_midpoint_inside<R: ChunkReader, W: Write + Send>(
    group: &mut StoredGroup,
    input: &R,
    out: &mut TrackedWrite<W>,
) -> Result<(), Error> {
    let Some(first) = group.columns.first() else { return Ok(()) };
    let start = first.byte_range().0;
    let middle = start + group.columns.iter().map(|c| c.byte_range().1).sum::<u64>() / 2;
    for column in &mut group.columns {
        // With all chunks behind the first, the file holds the group's whole size from `start`.
        let (offset, length) = column.byte_range();
        if (out.bytes_written() as u64) > middle {
            break;
        }
        if offset < start {
            let moved = out.bytes_written() as i64 - offset as i64;
            if io::copy(&mut input.get_read(offset)?.take(length), out)? != length {
                return Err(Error::Changed);
            }
            *column = bind(column, column.column_descr_ptr(), moved)?;
        }
    }
    Ok(())
}

/// A reader that several column readers share.
struct SharedReader<R>(Arc<R>);

impl<R: Length> Length for SharedReader<R> {
    fn len(&self) -> u64 {
        self.0.len()
    }
}

impl<R: ChunkReader> ChunkReader for SharedReader<R> {
    type T = R::T;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.0.get_bytes(start, length)
    }
}
