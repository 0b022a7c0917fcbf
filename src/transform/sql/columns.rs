//! Columns of ours as DataFusion sees them, and columns of its answers as ours.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type, TimestampMicrosecondType, TimestampMillisecondType};
use arrow_array::{Array, ArrayRef, NullArray, RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, DataType, SchemaRef, TimeUnit};
use datafusion::arrow::compute::{CastOptions, cast_with_options};

use super::error::{SqlError, without_values};
use crate::column::{Batch, Field, Fixed, Schema, Type, Unit};

/// How Parquet calls the elements of a list.
const ELEMENT: &str = "element";

/// The Arrow schema with which a file of ours is read: as its columns are carried, its lists as Parquet calls them.
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
            let DataType::Map(entries, sorted) = ty.to_arrow() else { unreachable!("a map is carried as one") };
            let DataType::Struct(pair) = entries.data_type() else { unreachable!("its entries are pairs") };
            let value = pair[1].as_ref().clone().with_data_type(stored_type(value));
            let pair = DataType::Struct(vec![pair[0].clone(), Arc::new(value)].into());
            DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(pair)), sorted)
        }
        other => other.to_arrow(),
    }
}

/// Marks text that is JSON, which one Arrow type does not tell from other text. It stays with a column that the query
/// hands on as it is.
const TYPE_KEY: &str = "drawoff.type";
const JSON: &str = "json";

/// The Arrow schema of a table with these columns.
pub(super) fn arrow_schema(schema: &Schema) -> arrow_schema::Schema {
    arrow_schema::Schema::new(schema.fields.iter().map(|field| arrow_field(&field.name, &field.ty)).collect::<Vec<_>>())
}

fn arrow_field(name: &str, ty: &Type) -> arrow_schema::Field {
    let data_type = match ty {
        // So that it goes with every other type.
        Type::Null => DataType::Null,
        Type::Struct(fields) if !fields.is_empty() => {
            DataType::Struct(fields.iter().map(|field| arrow_field_within(&field.name, &field.ty)).collect())
        }
        Type::List(item) => DataType::List(Arc::new(arrow_field_within("item", item))),
        other => other.to_arrow(),
    };
    marked(arrow_schema::Field::new(name, data_type, true), ty)
}

/// As [`arrow_field`], with the carrier of every value unchanged.
fn arrow_field_within(name: &str, ty: &Type) -> arrow_schema::Field {
    match ty {
        Type::Null => arrow_schema::Field::new(name, ty.to_arrow(), true),
        other => arrow_field(name, other),
    }
}

fn marked(field: arrow_schema::Field, ty: &Type) -> arrow_schema::Field {
    let is_json = matches!(ty, Type::Json) || matches!(ty, Type::Struct(fields) if fields.is_empty());
    if !is_json {
        return field;
    }
    field.with_metadata(HashMap::from([(TYPE_KEY.to_owned(), JSON.to_owned())]))
}

/// Our columns for those of an answer, called `names`.
pub(super) fn schema_of(arrow: &arrow_schema::Schema, names: &[String]) -> Result<Schema, SqlError> {
    let mut fields: Vec<Field> = Vec::with_capacity(names.len());
    for (field, name) in arrow.fields().iter().zip(names) {
        if fields.iter().any(|other| *other.name == **name) {
            let what = format!("two columns of the answer are called `{name}`; give one another name with AS");
            return Err(SqlError::new(what));
        }
        let ty = type_of(field).ok_or_else(|| {
            let ty = field.data_type();
            SqlError::new(format!(
                "the column `{name}` of the answer is of type {ty}, which no output has; CAST it to another"
            ))
        })?;
        fields.push(Field::new(name.as_str(), ty));
    }
    Ok(Schema::new(fields))
}

/// Our type for the values of an Arrow field; `None` if there is none.
fn type_of(field: &arrow_schema::Field) -> Option<Type> {
    let is_json = field.metadata().get(TYPE_KEY).is_some_and(|ty| ty == JSON);
    Some(match field.data_type() {
        DataType::Null => Type::Null,
        DataType::Boolean => Type::Bool,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Type::Int { fits_double: false },
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Type::Int { fits_double: false },
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
        // Words such as `1 days` say all of them.
        DataType::Interval(_) | DataType::Duration(_) | DataType::Time32(_) | DataType::Time64(_) => Type::Text,
        DataType::Dictionary(_, values) => type_of(&arrow_schema::Field::new("", (**values).clone(), true))?,
        DataType::Struct(fields) if !fields.is_empty() => Type::Struct(
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
            DataType::Struct(fields) if fields.len() == 2 => Type::map(type_of(&fields[1])?),
            _ => return None,
        },
        _ => return None,
    })
}

/// Rows of ours as the table of `schema`, which [`arrow_schema`] has made of their columns.
pub(super) fn to_table(columns: &[ArrayRef], rows: usize, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let as_table = |(column, field): (&ArrayRef, &Arc<arrow_schema::Field>)| -> Result<ArrayRef, ArrowError> {
        match field.data_type() {
            DataType::Null => Ok(Arc::new(NullArray::new(rows))),
            // The same but for what is said of fields inside.
            other if column.data_type() != other => relabelled(column, other),
            _ => Ok(column.clone()),
        }
    };
    let columns = columns.iter().zip(schema.fields()).map(as_table).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

/// `column` under a type that differs in what is said of fields only.
fn relabelled(column: &ArrayRef, ty: &DataType) -> Result<ArrayRef, ArrowError> {
    let data = column.to_data();
    let mut children = Vec::with_capacity(data.child_data().len());
    let fields: Vec<&Arc<arrow_schema::Field>> = match ty {
        DataType::Struct(fields) => fields.iter().collect(),
        DataType::List(item) | DataType::Map(item, _) => vec![item],
        _ => Vec::new(),
    };
    for (child, field) in data.child_data().iter().zip(fields) {
        children.push(relabelled(&arrow_array::make_array(child.clone()), field.data_type())?.to_data());
    }
    let data = data.into_builder().data_type(ty.clone()).child_data(children).build()?;
    Ok(arrow_array::make_array(data))
}

/// Rows of an answer as ours, with the columns that [`schema_of`] has made of theirs.
pub(super) fn to_batch(rows: &RecordBatch, schema: &Arc<Schema>) -> Result<Batch, SqlError> {
    let carried = |(column, field): (&ArrayRef, &Field)| -> Result<ArrayRef, SqlError> {
        let carrier = field.ty.to_arrow();
        if *column.data_type() == carrier {
            return Ok(column.clone());
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(column, &carrier, &options)
            .map_err(|error| SqlError::new(format!("the column `{}`: {}", field.name, without_values(&error))))
    };
    let carried = |(column, field): (&ArrayRef, &Field)| -> Result<ArrayRef, SqlError> {
        let column = carried((column, field))?;
        match unwritable(&column) {
            None => Ok(column),
            Some(what) => Err(SqlError::new(format!("the column `{}` of the answer has {what}", field.name))),
        }
    };
    let columns = rows.columns().iter().zip(&schema.fields).map(carried).collect::<Result<_, _>>()?;
    Ok(Batch { schema: schema.clone(), columns, rows: rows.num_rows(), records: None })
}

/// Days and seconds from 1970 to the years 1 and 10000: the calendar that every output and reader has.
const DAYS: std::ops::Range<i64> = -719_162..2_932_897;
const DAY_SECONDS: i64 = 86_400;

/// A value that outputs would write each in its own way, or not at all: an infinity, no number (NaN), a date outside the
/// years 1 to 9999. `None` if there is none in `column`, which is carried as ours.
fn unwritable(column: &dyn Array) -> Option<&'static str> {
    const DATE: &str = "a date outside the years 1 to 9999";
    let outside = |values: &mut dyn Iterator<Item = Option<i64>>, per_second: i64| {
        let (first, end) = (DAYS.start * DAY_SECONDS * per_second, DAYS.end * DAY_SECONDS * per_second);
        values.flatten().any(|value| !(first..end).contains(&value)).then_some(DATE)
    };
    match column.data_type() {
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            let finite = values.iter().flatten().all(f64::is_finite);
            (!finite)
                .then_some("an infinity or NaN, which not every output can hold; exclude it, for instance by NULLIF")
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
        // 64 bits of nanoseconds reach from 1677 to 2262.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => None,
        DataType::Struct(_) => column.as_struct().columns().iter().find_map(|column| unwritable(column)),
        DataType::List(_) => unwritable(column.as_list::<i32>().values()),
        DataType::Map(_, _) => unwritable(column.as_map().values()),
        _ => None,
    }
}
