//! Aligns the parts of one row group that were encoded with different columns: a column that a part lacks is null in all
//! of its rows. Decodes nothing, and so aligns only parts whose chunks are valid under the wider schema as they are;
//! where a type widened, [`super::evolve`] encodes the row group again at the end.

use std::iter;
use std::sync::Arc;

use arrow_array::new_null_array;

use super::encode::is_kept;
use super::leaf::ChunkPart;
use super::{EncodedRowGroup, Error, Layout, RowGroupEncoder};
use crate::column::{Field, Schema, Type, TypeMerge, keeps_carrier};
use crate::format::ParquetOptions;

/// Returns the join of both schemas if parts with either can be aligned to it; `None` if a column with values would
/// have to be encoded again.
pub(super) fn aligned_schema(a: &Schema, b: &Schema, type_merge: TypeMerge) -> Option<Schema> {
    let joined = a.join(b, type_merge);
    (is_kept(a, &joined) && is_kept(b, &joined)).then_some(joined)
}

/// Returns the parts of each leaf of `layout`, in the order of `groups`. The schema of each group must have been
/// aligned to the layout's by [`aligned_schema`].
pub(super) fn align(
    groups: Vec<EncodedRowGroup>,
    layout: &Layout,
    options: &ParquetOptions,
    type_merge: TypeMerge,
) -> Result<Vec<Vec<ChunkPart>>, Error> {
    let mut groups =
        groups.into_iter().map(|group| Unaligned::try_new(group, layout)).collect::<Result<Vec<_>, _>>()?;
    let mut columns: Vec<Vec<ChunkPart>> = Vec::with_capacity(layout.descriptor.num_columns());
    for (root, field) in layout.schema.fields.iter().enumerate() {
        let first = columns.len();
        columns.resize_with(first + field.ty.n_leaves(), Vec::new);
        let leaves = &mut columns[first..];
        let mut add = |leaf: usize, mut part: ChunkPart| {
            part.descriptor = layout.descriptor.column(first + leaf);
            leaves[leaf].push(part);
        };
        // Consecutive groups without the column share one part of nulls.
        let mut null_rows = 0;
        for group in &mut groups {
            let Some(start) = group.starts[root] else {
                null_rows += group.rows;
                continue;
            };
            nulls(field, std::mem::take(&mut null_rows), options, type_merge)?
                .into_iter()
                .enumerate()
                .for_each(|(leaf, part)| add(leaf, part));
            for leaf in 0..field.ty.n_leaves() {
                add(leaf, group.parts[start + leaf].take().ok_or(Error::Batch)?);
            }
        }
        nulls(field, null_rows, options, type_merge)?.into_iter().enumerate().for_each(|(leaf, part)| add(leaf, part));
    }
    Ok(columns)
}

/// A part with the places of its leaves.
struct Unaligned {
    rows: usize,
    /// One per leaf of its own layout, until taken.
    parts: Vec<Option<ChunkPart>>,
    /// Index in `parts` of the first leaf of each root column of the wider layout; `None` if all rows are null there.
    starts: Vec<Option<usize>>,
}

impl Unaligned {
    fn try_new(group: EncodedRowGroup, layout: &Layout) -> Result<Self, Error> {
        let mut starts = vec![None; layout.schema.fields.len()];
        let mut start = 0;
        for (i, field) in group.layout.schema.fields.iter().enumerate() {
            let root = layout.column_index(i, &field.name).ok_or(Error::Batch)?;
            if keeps_carrier(&field.ty, &layout.schema.fields[root].ty) {
                starts[root] = Some(start);
            } else if field.ty != Type::Null {
                return Err(Error::Batch);
            }
            start += field.ty.n_leaves();
        }
        let parts = group.parts.into_iter().map(Some).collect();
        Ok(Unaligned { rows: group.rows, parts, starts })
    }
}

/// Encodes `rows` nulls as one part per leaf of `field`; none for no rows.
fn nulls(field: &Field, rows: usize, options: &ParquetOptions, type_merge: TypeMerge) -> Result<Vec<ChunkPart>, Error> {
    if rows == 0 {
        return Ok(Vec::new());
    }
    let layout = Arc::new(Layout::try_new(Arc::new(Schema::new(vec![field.clone()])), options, type_merge)?);
    let array = new_null_array(layout.arrow.field(0).data_type(), rows);
    let mut encoder = RowGroupEncoder::with_layout(layout)?;
    encoder.write_columns(rows, iter::once(&array))?;
    Ok(encoder.finish_with_scratch()?.0.parts)
}
