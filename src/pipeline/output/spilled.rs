//! The form of spilled rows: NDJSON, which restores every value exactly. Workers encode it, the writer decodes it;
//! neither the file nor its path is known here.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, ArrayRef, Decimal128Array};

use crate::column::{Batch, Field, Schema, Type};
use crate::format::Compression;

/// The compression of spilled rows, the same for workers and writer.
pub(super) const SPILL_COMPRESSION: Compression = Compression::Zstd;

/// Converts `batch` to its spilled form: values of types that only a cast makes become the integers that carry them.
pub(super) fn to_spilled(mut batch: Batch) -> Batch {
    // Encode the columns: a copy of the source record would restore other columns.
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
    Batch { columns, schema: Arc::new(spilled_columns(&batch.schema)), ..batch }
}

/// Returns the columns of the spilled form of rows with `columns`.
pub(super) fn spilled_columns(columns: &Schema) -> Schema {
    let carried = |field: &Field| match field.ty {
        Type::Fixed(_) => Field::new(field.name.clone(), Type::Decimal),
        _ => field.clone(),
    };
    Schema::new(columns.fields.iter().map(carried).collect())
}

/// Restores a batch from its spilled form; `columns` are those that it had before [`to_spilled`].
pub(super) fn from_spilled(batch: Batch, columns: &Arc<Schema>) -> Batch {
    let from_spilled = batch.columns.iter().zip(&columns.fields).map(|(column, field)| match field.ty {
        Type::Fixed(fixed) => {
            let values = column.as_primitive::<Decimal128Type>();
            fixed.array(values.values().to_vec(), values.nulls().cloned())
        }
        _ => column.clone(),
    });
    Batch { columns: from_spilled.collect(), schema: columns.clone(), ..batch }
}
