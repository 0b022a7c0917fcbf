//! Reads checkpoints of a Delta log: Parquet files with one action a row. Of each row only the members that a load needs
//! are read, so that the statistics of thousands of files take no memory.

use std::fs::File;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type};
use arrow_array::{Array, StructArray};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use serde_json::{Map, Value};

use super::actions::Action;

/// Rows of a checkpoint that are read at a time. By eye: a MB of paths.
const BATCH_ROWS: usize = 4096;

/// Members of an action of a file that are left out: large, and of use to readers only.
const LEFT_OUT: &[&str] = &["stats_parsed", "partitionValues_parsed", "clusteringProvider"];

/// Reads the actions of a checkpoint and calls `take` for each; those of files only `with_files`.
pub(super) fn read_checkpoint(
    file: File,
    with_files: bool,
    take: &mut dyn FnMut(Action) -> Result<(), String>,
) -> Result<(), String> {
    let failed = |error: ParquetError| error.to_string();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
    let is_read = |path: &[String]| match path.first().map(String::as_str) {
        Some("protocol" | "metaData" | "txn" | "sidecar") => true,
        Some("remove") => with_files && path.get(1).is_some_and(|member| member == "path"),
        Some("add") => with_files && !path.get(1).is_some_and(|member| LEFT_OUT.contains(&member.as_str())),
        _ => false,
    };
    let leaves = builder.parquet_schema().columns().iter().enumerate();
    let leaves: Vec<usize> = leaves.filter(|(_, leaf)| is_read(leaf.path().parts())).map(|(i, _)| i).collect();
    let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(failed)?;
    for batch in reader {
        let rows = StructArray::from(batch.map_err(|error| error.to_string())?);
        for row in 0..rows.len() {
            let value = json_of(&rows, row).unwrap_or(Value::Null);
            take(serde_json::from_value(value).map_err(|error| error.to_string())?)?;
        }
    }
    Ok(())
}

/// Returns a value as JSON, without null members; `None` for null and for types that no action has.
fn json_of(array: &dyn Array, row: usize) -> Option<Value> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::List(_) => items(&array.as_list::<i32>().value(row)).into(),
        DataType::LargeList(_) => items(&array.as_list::<i64>().value(row)).into(),
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(array.as_struct().columns());
            let members = columns.filter_map(|(field, column)| Some((field.name().clone(), json_of(column, row)?)));
            Value::Object(members.collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let mut members = Map::new();
            for entry in 0..entries.len() {
                let Some(Value::String(key)) = json_of(keys, entry) else { continue };
                members.insert(key, json_of(values, entry).unwrap_or(Value::Null));
            }
            Value::Object(members)
        }
        _ => return None,
    })
}

fn items(array: &Arc<dyn Array>) -> Vec<Value> {
    (0..array.len()).map(|row| json_of(array, row).unwrap_or(Value::Null)).collect()
}
