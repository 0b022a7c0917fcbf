//! The form in which rows wait on disk: as NDJSON, in which every value comes back as it was. Written by workers, read by
//! the writer.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, ArrayRef, Decimal128Array};

use crate::column::{Batch, Field, Schema, Type};
use crate::format::Compression;

/// The compression of rows while they wait.
pub const SPILL_COMPRESSION: Compression = Compression::Zstd;

/// `batch` as it is spilled: values of types that only a cast makes go as the integers that carry them.
pub fn spilled(mut batch: Batch) -> Batch {
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
    Batch { columns, schema: Arc::new(spilled_columns(&batch.schema)), ..batch }
}

/// The columns of rows that were spilled, made of rows with these columns.
pub fn spilled_columns(columns: &Schema) -> Schema {
    let carried = |field: &Field| match field.ty {
        Type::Fixed(_) => Field::new(field.name.clone(), Type::Decimal),
        _ => field.clone(),
    };
    Schema::new(columns.fields.iter().map(carried).collect())
}

/// [`spilled`], back again; `columns` are those that it had then.
pub fn restored(batch: Batch, columns: &Arc<Schema>) -> Batch {
    let restored = batch.columns.iter().zip(&columns.fields).map(|(column, field)| match field.ty {
        Type::Fixed(fixed) => {
            let values = column.as_primitive::<Decimal128Type>();
            fixed.array(values.values().to_vec(), values.nulls().cloned())
        }
        _ => column.clone(),
    });
    Batch { columns: restored.collect(), schema: columns.clone(), ..batch }
}
