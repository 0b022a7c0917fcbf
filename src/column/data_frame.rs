//! Hands Arrow batches over to a polars `DataFrame`, through the Arrow C data interface. Buffers of values are passed, not
//! copied: a column has one chunk per batch, which keeps the memory of the batch alive.
//!
//! polars has other forms for some types. Of plain text it makes views over the same bytes, and of lists and maps
//! offsets of 64 bits; that takes a pass over views and offsets, not over values.
//!
//! One of the few files with `unsafe`: the interface is one of raw pointers. Each library has its own definition of the
//! two structures, which the Arrow specification lays down as C structures.

#![allow(unsafe_code, reason = "imports arrays through the Arrow C data interface; see the SAFETY comments")]

use std::mem::transmute;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, ArrayRef, RecordBatch, new_empty_array};
use arrow_schema::{ArrowError, Field, Schema};
use polars_arrow::ffi;
use polars_core::error::PolarsError;
use polars_core::prelude::{ArrowField, Column, DataFrame, Series};

/// Batches that cannot become a `DataFrame`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataFrameError {
    /// A batch with other columns than those of the frame.
    #[error("a batch has other columns than the first")]
    OtherColumns,
    /// A type that Arrow cannot hand over.
    #[error("cannot export column `{column}`")]
    Export {
        /// Name of the column.
        column: String,
        /// The error of the arrow crate.
        #[source]
        cause: ArrowError,
    },
    /// A column that polars refuses.
    #[error("polars cannot take the columns")]
    Polars(#[from] PolarsError),
}

/// Makes a `DataFrame` of `batches`, all of which have the columns of `schema`. Without batches it has these columns and
/// no rows.
///
/// # Errors
///
/// [`DataFrameError::OtherColumns`] if a batch has other columns, and the errors of both libraries for types that they do
/// not know; those of drawoff's own batches they do.
///
/// # Examples
///
/// ```
/// use drawoff::column::data_frame;
/// use drawoff::pipeline::{ExecutionPlan, read_batches};
/// use drawoff::source::Source;
///
/// let records = "{\"name\":\"Ada\",\"born\":1815}\n{\"name\":\"Alan\",\"born\":1912}\n";
/// let batches = read_batches(ExecutionPlan::reading(vec![Source::reader("people.ndjson", records.as_bytes())]))?;
/// let schema = batches.schema();
/// let people = data_frame(&schema, batches.collect::<Result<Vec<_>, _>>()?)?;
/// assert_eq!(people.shape(), (2, 2));
/// assert_eq!(people.column("born")?.i64()?.get(1), Some(1912));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn data_frame(
    schema: &Schema,
    batches: impl IntoIterator<Item = RecordBatch>,
) -> Result<DataFrame, DataFrameError> {
    let fields = schema.fields().iter().map(|field| import_field(field)).collect::<Result<Vec<_>, _>>()?;
    let mut chunks: Vec<Vec<_>> = fields.iter().map(|_| Vec::new()).collect();
    let mut rows = 0;
    for batch in batches {
        if batch.schema_ref().fields() != schema.fields() {
            return Err(DataFrameError::OtherColumns);
        }
        rows += batch.num_rows();
        for ((field, column), chunks) in fields.iter().zip(batch.columns()).zip(&mut chunks) {
            chunks.push(import_array(column, field)?);
        }
    }
    let columns = fields.iter().zip(schema.fields()).zip(chunks).map(|((field, of), mut chunks)| {
        if chunks.is_empty() {
            chunks.push(import_array(&new_empty_array(of.data_type()), field)?);
        }
        Ok(Column::from(Series::try_from((field, chunks))?))
    });
    let columns = columns.collect::<Result<Vec<_>, DataFrameError>>()?;
    Ok(DataFrame::new(rows, columns)?)
}

fn import_field(field: &Field) -> Result<ArrowField, DataFrameError> {
    let export = |cause| DataFrameError::Export { column: field.name().clone(), cause };
    let exported = FFI_ArrowSchema::try_from(field).map_err(export)?;
    // SAFETY: both types are the structure `ArrowSchema` of the C data interface, with its fields in its order and
    // `repr(C)`. `transmute` takes `exported` without dropping it, so that `schema` alone releases what it owns.
    let schema = unsafe { transmute::<FFI_ArrowSchema, ffi::ArrowSchema>(exported) };
    // SAFETY: `schema` was made by an exporter of the interface from a valid field, and was not released.
    Ok(unsafe { ffi::import_field_from_c(&schema) }?)
}

fn import_array(array: &ArrayRef, field: &ArrowField) -> Result<Box<dyn polars_arrow::array::Array>, DataFrameError> {
    let exported = FFI_ArrowArray::new(&array.to_data());
    // SAFETY: as above, for the structure `ArrowArray`.
    let exported = unsafe { transmute::<FFI_ArrowArray, ffi::ArrowArray>(exported) };
    // SAFETY: `exported` was made by an exporter of the interface from a valid array, was not released, and is of the type
    // of `field`: `data_frame` has compared the types before.
    Ok(unsafe { ffi::import_array_from_c(exported, field.dtype().clone()) }?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Float64Array, Int64Array, StringViewArray};
    use polars_core::prelude::{AnyValue, DataType};
    use serde_json::json;

    use super::*;
    use crate::column::testing::{batch, infer_schema};
    use crate::column::{Fixed, Type, TypeMerge, Unit};

    fn record_batch(batch: &crate::column::Batch) -> RecordBatch {
        RecordBatch::try_new(Arc::new(batch.schema.to_arrow()), batch.columns.clone()).unwrap()
    }

    #[test]
    fn values_of_all_types_are_those_of_the_batches() {
        let long = "a text that is longer than a view holds";
        let rows = [
            json!({"b": true, "i": 1, "f": 1.5, "t": "short", "big": 12345678901234567890123_u128.to_string(), "o": {"x": [1, 2], "y": {"z": "q"}}}),
            json!({"b": null, "i": null, "f": null, "t": null, "o": null}),
            json!({"b": false, "i": -7, "f": -0.0, "t": long, "big": "", "o": {"x": [], "y": null}}),
            json!({"i": 9, "o": {"x": null}}),
        ];
        let schema = Arc::new(infer_schema(&rows, TypeMerge::Json));
        let batches = rows.chunks(3).map(|rows| record_batch(&batch(rows, schema.clone())));
        let frame = data_frame(&schema.to_arrow(), batches).unwrap();
        assert_eq!(frame.shape(), (4, schema.fields.len()));
        let value = |name: &str, row: usize| frame.column(name).unwrap().get(row).unwrap().into_static();
        assert_eq!((value("b", 0), value("b", 1)), (AnyValue::Boolean(true), AnyValue::Null));
        assert_eq!((value("i", 2), value("i", 3)), (AnyValue::Int64(-7), AnyValue::Int64(9)));
        assert_eq!(value("f", 0), AnyValue::Float64(1.5));
        assert_eq!(value("t", 2).get_str(), Some(long));
        assert_eq!((value("t", 0).get_str(), value("t", 1)), (Some("short"), AnyValue::Null));
        let x = |row: usize| {
            let objects = frame.column("o").unwrap().struct_().unwrap().clone();
            objects.field_by_name("x").unwrap().get(row).unwrap().into_static()
        };
        let AnyValue::List(list) = x(0) else { panic!("{:?}", x(0)) };
        assert_eq!(list.i64().unwrap().iter().collect::<Vec<_>>(), [Some(1), Some(2)]);
        let AnyValue::List(empty) = x(2) else { panic!("{:?}", x(2)) };
        assert!(empty.is_empty() && x(1).is_null() && x(3).is_null());
    }

    #[test]
    fn types_that_only_casts_make_keep_their_meaning() {
        let date = Fixed::Date;
        let time = |unit, local| Fixed::Timestamp { unit, local };
        let decimal = Fixed::Decimal { precision: 20, scale: 4 };
        let kinds = [date, time(Unit::Millis, false), time(Unit::Micros, true), time(Unit::Nanos, false), decimal];
        let (fields, columns): (Vec<_>, Vec<_>) = kinds
            .iter()
            .enumerate()
            .map(|(i, fixed)| {
                let nulls = arrow_buffer::NullBuffer::from(vec![true, false, true]);
                let array = fixed.array(vec![1_000, 0, -2], Some(nulls));
                (crate::column::Field::new(format!("c{i}"), Type::Fixed(*fixed)), array)
            })
            .unzip();
        let schema = crate::column::Schema::new(fields).to_arrow();
        let rows = RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap();
        let frame = data_frame(&schema, [rows.clone(), rows.slice(1, 2)]).unwrap();
        assert_eq!(frame.height(), 5);
        let physical = |i: usize| {
            let column = frame.column(&format!("c{i}")).unwrap().to_physical_repr();
            (0..5).map(|row| column.get(row).unwrap().extract::<i128>()).collect::<Vec<_>>()
        };
        for i in 0..kinds.len() {
            assert_eq!(physical(i), [Some(1_000), None, Some(-2), None, Some(-2)], "{:?}", kinds[i]);
        }
        let dtype = |i: usize| frame.column(&format!("c{i}")).unwrap().dtype().clone();
        assert_eq!((dtype(0), dtype(4)), (DataType::Date, DataType::Decimal(20, 4)));
        let zones = [1, 2, 3].map(|i| match dtype(i) {
            DataType::Datetime(_, zone) => zone.is_some(),
            other => panic!("{other:?}"),
        });
        assert_eq!(zones, [true, false, true]);
    }

    /// The chunks are the buffers of the batches, and outlive them.
    #[test]
    fn values_are_not_copied() {
        let numbers = Int64Array::from_iter_values(0..1000);
        let doubles = Float64Array::from_iter((0..1000).map(|i| (i % 3 > 0).then_some(f64::from(i))));
        let texts = StringViewArray::from_iter_values((0..1000).map(|i| format!("a text of some length, number {i}")));
        let addresses = (
            numbers.values().as_ptr() as usize,
            doubles.values().as_ptr() as usize,
            texts.data_buffers()[0].as_ptr() as usize,
        );
        let columns: Vec<(&str, ArrayRef)> =
            vec![("n", Arc::new(numbers)), ("d", Arc::new(doubles)), ("t", Arc::new(texts))];
        let rows = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
        let frame = data_frame(&rows.schema(), [rows]).unwrap();
        let column = |name: &str| frame.column(name).unwrap().as_materialized_series().clone();
        let (numbers, doubles, texts) = (column("n"), column("d"), column("t"));
        let found = (
            numbers.i64().unwrap().downcast_iter().next().unwrap().values().as_ptr() as usize,
            doubles.f64().unwrap().downcast_iter().next().unwrap().values().as_ptr() as usize,
            texts.str().unwrap().downcast_iter().next().unwrap().data_buffers()[0].as_ptr() as usize,
        );
        assert_eq!(found, addresses);
        drop(frame);
        assert_eq!(texts.str().unwrap().get(999), Some("a text of some length, number 999"));
        assert_eq!((doubles.f64().unwrap().get(998), doubles.null_count()), (Some(998.0), 334));
    }

    #[test]
    fn no_batches_make_no_rows_and_others_are_refused() {
        let rows = [json!({"a": 1, "b": {"c": "x"}, "d": [1.5]})];
        let schema = Arc::new(infer_schema(&rows, TypeMerge::Json));
        let frame = data_frame(&schema.to_arrow(), []).unwrap();
        assert_eq!(frame.shape(), (0, 3));
        assert_eq!(frame.column("a").unwrap().dtype(), &DataType::Int64);
        let other = [json!({"a": 1})];
        let other = record_batch(&batch(&other, Arc::new(infer_schema(&other, TypeMerge::Json))));
        assert!(matches!(data_frame(&schema.to_arrow(), [other]), Err(DataFrameError::OtherColumns)));
        let nothing = data_frame(&Schema::empty(), []).unwrap();
        assert_eq!(nothing.shape(), (0, 0));
    }
}
