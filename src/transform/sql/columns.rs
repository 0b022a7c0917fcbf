//! Conversion of column types and batches between drawoff and DataFusion, in both directions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, TimestampMicrosecondType, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, MapArray, NullArray, RecordBatch, RecordBatchOptions, make_array};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use arrow_select::filter::filter;
use datafusion::arrow::compute::{CastOptions, cast_with_options};

use super::bytes_text::{bytes_as_text, is_bytes};
use super::error::{SqlError, without_values};
use crate::column::{Batch, Field, Fixed, Schema, Type, Unit};
use crate::transform::foreign::Unwritable;

/// Name of the element field of a list in Parquet.
const ELEMENT: &str = "element";

/// Returns the Arrow schema for reading a file that drawoff wrote: the Arrow types of its columns, with list elements
/// named as in Parquet.
pub(super) fn stored_schema(schema: &Schema) -> arrow_schema::Schema {
    let stored = |field: &Field| arrow_schema::Field::new(&*field.name, stored_type(&field.ty), true);
    arrow_schema::Schema::new(schema.fields.iter().map(stored).collect::<Vec<_>>())
}

fn stored_type(ty: &Type) -> DataType {
    match ty {
        Type::Struct(fields) if !fields.is_empty() => {
            let stored = |field: &Field| arrow_schema::Field::new(&*field.name, stored_type(&field.ty), true);
            DataType::Struct(fields.iter().map(stored).collect())
        }
        Type::List(item) => DataType::List(Arc::new(arrow_schema::Field::new(ELEMENT, stored_type(item), true))),
        Type::Map(value) => {
            let DataType::Map(entries, sorted) = ty.to_arrow() else {
                unreachable!("the Arrow type of a map is a map")
            };
            let DataType::Struct(pair) = entries.data_type() else { unreachable!("its entries are pairs") };
            let value = pair[1].as_ref().clone().with_data_type(stored_type(value));
            let pair = DataType::Struct(vec![pair[0].clone(), Arc::new(value)].into());
            DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(pair)), sorted)
        }
        other => other.to_arrow(),
    }
}

/// Metadata key that marks text as JSON, which has the Arrow type of other text. A column that the query passes on
/// unchanged keeps the mark.
const TYPE_KEY: &str = "drawoff.type";
const JSON: &str = "json";

/// Returns the Arrow schema of a table with the columns of `schema`.
pub(super) fn arrow_schema(schema: &Schema) -> arrow_schema::Schema {
    arrow_schema::Schema::new(schema.fields.iter().map(|field| arrow_field(&field.name, &field.ty)).collect::<Vec<_>>())
}

fn arrow_field(name: &str, ty: &Type) -> arrow_schema::Field {
    let data_type = match ty {
        // The null type coerces to every other type.
        Type::Null => DataType::Null,
        Type::Struct(fields) if !fields.is_empty() => {
            DataType::Struct(fields.iter().map(|field| arrow_field_within(&field.name, &field.ty)).collect())
        }
        Type::List(item) => DataType::List(Arc::new(arrow_field_within("item", item))),
        other => other.to_arrow(),
    };
    with_json_mark(arrow_schema::Field::new(name, data_type, true), ty)
}

/// Returns the Arrow field of a nested value, like [`arrow_field`], but keeps the Arrow type of a null: nested arrays
/// are not rebuilt.
fn arrow_field_within(name: &str, ty: &Type) -> arrow_schema::Field {
    match ty {
        Type::Null => arrow_schema::Field::new(name, ty.to_arrow(), true),
        other => arrow_field(name, other),
    }
}

fn with_json_mark(field: arrow_schema::Field, ty: &Type) -> arrow_schema::Field {
    let is_json = matches!(ty, Type::Json) || matches!(ty, Type::Struct(fields) if fields.is_empty());
    if !is_json {
        return field;
    }
    field.with_metadata(HashMap::from([(TYPE_KEY.to_owned(), JSON.to_owned())]))
}

/// Converts the Arrow schema of a result to columns called `names`. Fails on duplicate names and on types that no
/// output supports.
pub(super) fn schema_of(arrow: &arrow_schema::Schema, names: &[String]) -> Result<Schema, SqlError> {
    let mut fields: Vec<Field> = Vec::with_capacity(names.len());
    for (field, name) in arrow.fields().iter().zip(names) {
        if fields.iter().any(|other| *other.name == **name) {
            let message = format!("duplicate column `{name}` in the result; rename one of them with AS");
            return Err(SqlError::new(message));
        }
        let ty = type_of(field).ok_or_else(|| {
            let ty = field.data_type();
            SqlError::new(format!("cannot output the column `{name}` of type {ty}; CAST it to a supported type"))
        })?;
        fields.push(Field::new(name.as_str(), ty));
    }
    Ok(Schema::new(fields))
}

/// Converts the type of an Arrow field; `None` if it has no counterpart.
pub(super) fn type_of(field: &arrow_schema::Field) -> Option<Type> {
    let is_json = field.metadata().get(TYPE_KEY).is_some_and(|ty| ty == JSON);
    Some(match field.data_type() {
        DataType::Null => Type::Null,
        DataType::Boolean => Type::Bool,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Type::Int { fits_double: false },
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Type::Int { fits_double: false },
        // Unsigned 64-bit integers do not fit in `Type::Int`.
        DataType::UInt64 | DataType::Decimal128(38, 0) => Type::Decimal,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Type::Float,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            Type::Fixed(Fixed::Decimal { precision: *precision, scale: *scale as u8 })
        }
        DataType::Date32 => Type::Fixed(Fixed::Date),
        DataType::Date64 => Type::Fixed(Fixed::Timestamp { unit: Unit::Millis, local: true }),
        DataType::Timestamp(unit, zone) => {
            let unit = match unit {
                TimeUnit::Second | TimeUnit::Millisecond => Unit::Millis,
                TimeUnit::Microsecond => Unit::Micros,
                TimeUnit::Nanosecond => Unit::Nanos,
            };
            Type::Fixed(Fixed::Timestamp { unit, local: zone.is_none() })
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            if is_json {
                Type::Json
            } else {
                Type::Text
            }
        }
        // Written as base64, or as a UUID.
        ty if is_bytes(ty) => Type::Text,
        // Written as text, such as `1 days`.
        DataType::Interval(_) | DataType::Duration(_) | DataType::Time32(_) | DataType::Time64(_) => Type::Text,
        // Dictionaries are decoded when the batch is converted.
        DataType::Dictionary(_, values) => type_of(&arrow_schema::Field::new("", (**values).clone(), true))?,
        // An object has each key once.
        DataType::Struct(fields) if !fields.is_empty() && has_distinct_names(fields) => Type::Struct(
            fields
                .iter()
                .map(|field| Some(Field::new(field.name().as_str(), type_of(field)?)))
                .collect::<Option<_>>()?,
        ),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => Type::List(Box::new(type_of(item)?)),
        DataType::Map(entries, _) => match entries.data_type() {
            // Keys become text, which those of nested values have not.
            DataType::Struct(fields) if fields.len() == 2 => match type_of(&fields[0])? {
                Type::Struct(_) | Type::List(_) | Type::Map(_) => return None,
                _ => Type::map(type_of(&fields[1])?),
            },
            _ => return None,
        },
        _ => return None,
    })
}

fn has_distinct_names(fields: &arrow_schema::Fields) -> bool {
    let names: HashSet<&String> = fields.iter().map(|field| field.name()).collect();
    names.len() == fields.len()
}

/// Converts columns to a record batch of `schema`, which [`arrow_schema`] made of their types.
pub(super) fn to_table(columns: &[ArrayRef], rows: usize, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let as_table = |(column, field): (&ArrayRef, &Arc<arrow_schema::Field>)| -> Result<ArrayRef, ArrowError> {
        match field.data_type() {
            DataType::Null => Ok(Arc::new(NullArray::new(rows))),
            // The types differ in the names or metadata of nested fields only.
            other if column.data_type() != other => relabelled(column, other),
            _ => Ok(column.clone()),
        }
    };
    let columns = columns.iter().zip(schema.fields()).map(as_table).collect::<Result<Vec<_>, _>>()?;
    // A table without columns still has rows, as for `count(*)`.
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

/// Returns `column` under the type `ty`, which differs only in the names or metadata of nested fields. Copies no
/// values.
fn relabelled(column: &ArrayRef, ty: &DataType) -> Result<ArrayRef, ArrowError> {
    let data = column.to_data();
    let mut children = Vec::with_capacity(data.child_data().len());
    let fields: Vec<&Arc<arrow_schema::Field>> = match ty {
        DataType::Struct(fields) => fields.iter().collect(),
        DataType::List(item) | DataType::Map(item, _) => vec![item],
        _ => Vec::new(),
    };
    for (child, field) in data.child_data().iter().zip(fields) {
        children.push(relabelled(&make_array(child.clone()), field.data_type())?.to_data());
    }
    // `build` validates the buffers against the new type, so a real difference is an error.
    let data = data.into_builder().data_type(ty.clone()).child_data(children).build()?;
    Ok(make_array(data))
}

/// Converts a record batch of a result to a batch of `schema`, which [`schema_of`] made of its columns.
pub(super) fn to_batch(rows: &RecordBatch, schema: &Arc<Schema>) -> Result<Batch, SqlError> {
    let arrow = rows.schema_ref().fields();
    let checked =
        |((column, arrow), field): ((&ArrayRef, &Arc<arrow_schema::Field>), &Field)| -> Result<ArrayRef, SqlError> {
            let column = to_carrier(column, arrow, field)?;
            let Some(value) = unwritable(&column, false) else { return Ok(column) };
            let advice = match value {
                Unwritable::NotFinite => "; exclude it, for example with NULLIF",
                Unwritable::Date | Unwritable::RepeatedKey => "",
            };
            Err(SqlError::new(format!("cannot output the column `{}`: it contains {value}{advice}", field.name)))
        };
    let columns = rows.columns().iter().zip(arrow).zip(&schema.fields).map(checked).collect::<Result<_, _>>()?;
    Ok(Batch::new(schema.clone(), columns, rows.num_rows()))
}

/// Casts a column to the Arrow type of `field`, whose type [`type_of`] made of `arrow`, the field of the column.
pub(super) fn to_carrier(column: &ArrayRef, arrow: &arrow_schema::Field, field: &Field) -> Result<ArrayRef, SqlError> {
    let carrier = field.ty.to_arrow();
    if *column.data_type() == carrier {
        return Ok(column.clone());
    }
    let failed = |error: ArrowError| SqlError::new(format!("column `{}`: {}", field.name, without_values(&error)));
    let column = &bytes_as_text(column, arrow).map_err(failed)?;
    let prepared;
    let column = match is_cast_badly(column.data_type()) {
        true => {
            prepared = castable(column).map_err(failed)?;
            &prepared
        }
        false => column,
    };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(column, &carrier, &options).map_err(failed)
}

/// Returns true if a type has values within that the cast of arrow would change: see [`castable`].
fn is_cast_badly(ty: &DataType) -> bool {
    match ty {
        DataType::Dictionary(..) | DataType::Duration(_) => true,
        DataType::Struct(fields) => fields.iter().any(|field| is_cast_badly(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => is_cast_badly(item.data_type()),
        _ => false,
    }
}

/// Returns `column` so that a cast keeps its values. A null value of a dictionary, which a cast to text takes for the empty
/// text, becomes a null of its rows. Fails for a duration beyond the range that has a text.
fn castable(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if let DataType::Duration(unit) = column.data_type() {
        let most = match unit {
            TimeUnit::Second => i64::MAX / 1000,
            _ => i64::MAX,
        };
        let values = column.to_data();
        let values = &values.buffers()[0].typed_data::<i64>()[values.offset()..][..values.len()];
        let is_outside =
            |(row, value): (usize, &i64)| column.is_valid(row) && value.unsigned_abs() > most.unsigned_abs();
        if values.iter().enumerate().any(is_outside) {
            return Err(ArrowError::ComputeError("a duration is too long to be written as text".into()));
        }
    }
    let data = column.to_data();
    let children = data.child_data().iter().map(|child| Ok(castable(&make_array(child.clone()))?.to_data()));
    let children = children.collect::<Result<_, ArrowError>>()?;
    let is_dictionary = matches!(column.data_type(), DataType::Dictionary(..));
    let nulls = if is_dictionary { column.logical_nulls() } else { column.nulls().cloned() };
    Ok(make_array(data.into_builder().nulls(nulls).child_data(children).build()?))
}

/// Days from 1970 to the start of the years 1 and 10000, the range that every output and reader supports.
const DAYS: std::ops::Range<i64> = -719_162..2_932_897;
const DAY_SECONDS: i64 = 86_400;

/// Returns the first kind of values in `column` that outputs would write differently, or not at all; `None` if there are
/// none. With `keeps_not_finite`, NaN and infinities are none of them. The column must have the Arrow type of its drawoff type.
pub(super) fn unwritable(column: &dyn Array, keeps_not_finite: bool) -> Option<Unwritable> {
    const DATE: Unwritable = Unwritable::Date;
    let outside = |values: &mut dyn Iterator<Item = Option<i64>>, per_second: i64| {
        let (first, end) = (DAYS.start * DAY_SECONDS * per_second, DAYS.end * DAY_SECONDS * per_second);
        values.flatten().any(|value| !(first..end).contains(&value)).then_some(DATE)
    };
    match column.data_type() {
        DataType::Float64 if keeps_not_finite => None,
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            let finite = values.iter().flatten().all(f64::is_finite);
            (!finite).then_some(Unwritable::NotFinite)
        }
        DataType::Date32 => {
            let values = column.as_primitive::<Date32Type>();
            values.iter().flatten().any(|day| !DAYS.contains(&i64::from(day))).then_some(DATE)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            outside(&mut column.as_primitive::<TimestampMillisecondType>().iter(), 1_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            outside(&mut column.as_primitive::<TimestampMicrosecondType>().iter(), 1_000_000)
        }
        // In nanoseconds 64 bits span the years 1677 to 2262, so none is outside.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => None,
        // Whatever stands beneath a null is no value. It is rare, and so the values are only then looked at without it.
        DataType::Struct(_) => {
            let of = |column: &dyn Array| {
                column.as_struct().columns().iter().find_map(|column| unwritable(column, keeps_not_finite))
            };
            of(column)?;
            of(&non_null(column))
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            unwritable(list.values(), keeps_not_finite)?;
            unwritable(&elements(list.values(), list.offsets(), list.nulls()), keeps_not_finite)
        }
        DataType::Map(_, _) => {
            let map = column.as_map();
            repeated_key(map).or_else(|| {
                unwritable(map.values(), keeps_not_finite)?;
                unwritable(&elements(map.values(), map.offsets(), map.nulls()), keeps_not_finite)
            })
        }
        _ => None,
    }
}

/// Returns the rows of `column` that are not null.
fn non_null(column: &dyn Array) -> ArrayRef {
    let valid = match column.nulls() {
        Some(nulls) => nulls.inner().clone(),
        None => BooleanBuffer::new_set(column.len()),
    };
    filter(column, &BooleanArray::new(valid, None)).expect("as long as the column")
}

/// Returns the elements of lists that are not null.
fn elements(values: &dyn Array, offsets: &[i32], nulls: Option<&NullBuffer>) -> ArrayRef {
    let mut within = vec![false; values.len()];
    for (row, range) in offsets.windows(2).enumerate() {
        if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            within[range[0] as usize..range[1] as usize].fill(true);
        }
    }
    filter(values, &BooleanArray::from(within)).expect("as long as the values")
}

/// Describes a key that a row of `map` has twice, as an object cannot.
fn repeated_key(map: &MapArray) -> Option<Unwritable> {
    let keys = map.keys().as_string_view();
    let mut seen = HashSet::new();
    let is_repeated = (0..map.len()).filter(|&row| map.is_valid(row)).any(|row| {
        let (first, end) = (map.offsets()[row] as usize, map.offsets()[row + 1] as usize);
        seen.clear();
        // Most maps are small.
        (first..end).any(|i| match end - first {
            0..=8 => (first..i).any(|before| keys.value(before) == keys.value(i)),
            _ => !seen.insert(keys.value(i)),
        })
    });
    is_repeated.then_some(Unwritable::RepeatedKey)
}
