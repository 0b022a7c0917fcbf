//! Opens Parquet that others may have written, with Arrow types that hold each of its values. Of two old types the
//! library's own choice loses some: time stamps of 96 bits wrap around, and intervals lose their months.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Fields, SchemaRef, TimeUnit};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{ConvertedType, LogicalType, Type as PhysicalType};
use parquet::column::reader::ColumnReader;
use parquet::data_type::Int96;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescPtr;

use super::stored::SharedReader;

/// Values that are looked at at a time. By eye: 96 KiB.
const SCANNED_VALUES: usize = 8192;

/// Days of the Julian calendar before 1970-01-01, from which time stamps of 96 bits count.
const JULIAN_DAY_OF_EPOCH: i64 = 2_440_588;

/// Days from 1970 to the start of the years 1 and 10000, the range that every output supports.
const DAYS: std::ops::Range<i64> = -719_162..2_932_897;

/// Metadata of an Arrow field whose values are UUIDs: the name and the value.
pub const UUID_EXTENSION: (&str, &str) = ("ARROW:extension:name", "arrow.uuid");

const DAY_NANOS: i128 = 86_400_000_000_000;

/// Failure to open Parquet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// The Parquet library returned an error.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// A type that cannot be read without loss.
    #[error("the column `{column}` has the unsupported type {ty}")]
    Unsupported {
        /// Path of the leaf.
        column: String,
        /// The type, in Parquet's words.
        ty: &'static str,
    },
    /// Time stamps of 96 bits that no unit of 64 bits holds.
    #[error("the column `{column}` contains {what}")]
    Timestamps {
        /// Path of the leaf.
        column: String,
        /// The values.
        what: &'static str,
    },
}

/// Opens a reader of all rows of `source`; `is_read` is as in [`input_metadata`].
pub fn open<R: ChunkReader + 'static>(
    source: R,
    is_read: &dyn Fn(&str) -> bool,
) -> Result<ParquetRecordBatchReaderBuilder<impl ChunkReader + 'static>, InputError> {
    let source = SharedReader(Arc::new(source));
    let metadata = input_metadata(&source, is_read)?;
    Ok(ParquetRecordBatchReaderBuilder::new_with_metadata(source, metadata))
}

/// Reads the index of `source`, and chooses the Arrow types of its columns. Reads those of time stamps of 96 bits once, to
/// choose their unit: microseconds, which Spark writes, or nanoseconds if some value is finer. A column of which `is_read`
/// returns false may have types and values that cannot be read without loss.
pub fn input_metadata<R: ChunkReader + Clone + 'static>(
    source: &R,
    is_read: &dyn Fn(&str) -> bool,
) -> Result<ArrowReaderMetadata, InputError> {
    let metadata = ArrowReaderMetadata::load(source, ArrowReaderOptions::new())?;
    let leaves = metadata.metadata().file_metadata().schema_descr().columns();
    let mut units = vec![None; leaves.len()];
    for (i, leaf) in leaves.iter().enumerate() {
        if leaf.path().parts().first().is_some_and(|root| !is_read(root)) {
            units[i] = (leaf.physical_type() == PhysicalType::INT96).then_some(TimeUnit::Microsecond);
            continue;
        }
        let column = || leaf.path().string();
        if leaf.converted_type() == ConvertedType::INTERVAL {
            return Err(InputError::Unsupported { column: column(), ty: "INTERVAL" });
        }
        if leaf.physical_type() == PhysicalType::INT96 {
            let unit = unit_of_column(source.clone(), i)?;
            units[i] = Some(unit.map_err(|what| InputError::Timestamps { column: column(), what })?);
        }
    }
    if units.iter().all(Option::is_none) {
        return Ok(metadata);
    }
    let options = ArrowReaderOptions::new().with_schema(with_units(metadata.schema(), &units));
    Ok(ArrowReaderMetadata::try_new(metadata.metadata().clone(), options)?)
}

/// Returns the unit that holds all values of a leaf of 96 bits, or a description of those that none holds.
fn unit_of_column(
    source: impl ChunkReader + 'static,
    leaf: usize,
) -> Result<Result<TimeUnit, &'static str>, ParquetError> {
    let file = SerializedFileReader::new(source)?;
    // Finer than microseconds, and beyond the range of nanoseconds in 64 bits.
    let (mut is_fine, mut is_far) = (false, false);
    let (mut definitions, mut repetitions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for group in 0..file.num_row_groups() {
        let ColumnReader::Int96ColumnReader(mut reader) = file.get_row_group(group)?.get_column_reader(leaf)? else {
            return Err(ParquetError::General("a column of 96 bits has other chunks".into()));
        };
        loop {
            definitions.clear();
            repetitions.clear();
            values.clear();
            let levels = (Some(&mut definitions), Some(&mut repetitions));
            let (records, ..) = reader.read_records(SCANNED_VALUES, levels.0, levels.1, &mut values)?;
            for value in &values {
                let Some(nanos) = nanos_of(value) else { return Ok(Err("a date outside the years 1 to 9999")) };
                is_fine |= nanos % 1000 != 0;
                is_far |= i64::try_from(nanos).is_err();
            }
            if records == 0 {
                break;
            }
        }
    }
    Ok(match (is_fine, is_far) {
        (true, true) => Err("both time stamps finer than microseconds and others beyond the range of nanoseconds"),
        (true, false) => Ok(TimeUnit::Nanosecond),
        (false, _) => Ok(TimeUnit::Microsecond),
    })
}

/// Returns the nanoseconds since 1970; `None` outside the years 1 to 9999.
fn nanos_of(value: &Int96) -> Option<i128> {
    let &[low, high, day] = value.data() else { return None };
    let day = i64::from(day) - JULIAN_DAY_OF_EPOCH;
    // Some writers count beyond the day or before it.
    let in_day = (u64::from(high) << 32 | u64::from(low)).cast_signed();
    let nanos = i128::from(day) * DAY_NANOS + i128::from(in_day);
    let days = i64::try_from(nanos.div_euclid(DAY_NANOS)).ok()?;
    DAYS.contains(&days).then_some(nanos)
}

/// Returns `schema` with the units of its leaves of 96 bits.
fn with_units(schema: &SchemaRef, units: &[Option<TimeUnit>]) -> SchemaRef {
    let mut units = units.iter().copied();
    with_leaves(schema, &mut |leaf| {
        let ty = match (units.next().flatten(), leaf.data_type()) {
            (Some(unit), DataType::Timestamp(_, zone)) => DataType::Timestamp(unit, zone.clone()),
            _ => return leaf,
        };
        leaf.with_data_type(ty)
    })
}

/// Returns `schema`, which has these `leaves`, with marks on those that are UUIDs: their Arrow type is that of other bytes.
pub fn with_uuid_marks(schema: &SchemaRef, leaves: &[ColumnDescPtr]) -> SchemaRef {
    let is_uuid = |leaf: &ColumnDescPtr| matches!(leaf.logical_type_ref(), Some(LogicalType::Uuid));
    if !leaves.iter().any(is_uuid) {
        return schema.clone();
    }
    let mut leaves = leaves.iter();
    with_leaves(schema, &mut |leaf| match leaves.next() {
        Some(described) if is_uuid(described) => {
            let mut metadata = leaf.metadata().clone();
            metadata.insert(UUID_EXTENSION.0.to_owned(), UUID_EXTENSION.1.to_owned());
            leaf.with_metadata(metadata)
        }
        _ => leaf,
    })
}

/// Returns `schema` with its leaves, in the order of Parquet, changed by `change`.
fn with_leaves(schema: &SchemaRef, change: &mut dyn FnMut(Field) -> Field) -> SchemaRef {
    let fields: Fields = schema.fields().iter().map(|field| with_leaves_of(field, change)).collect();
    Arc::new(arrow_schema::Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn with_leaves_of(field: &FieldRef, change: &mut dyn FnMut(Field) -> Field) -> FieldRef {
    let ty = match field.data_type() {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| with_leaves_of(field, change)).collect())
        }
        DataType::List(item) => DataType::List(with_leaves_of(item, change)),
        DataType::LargeList(item) => DataType::LargeList(with_leaves_of(item, change)),
        DataType::ListView(item) => DataType::ListView(with_leaves_of(item, change)),
        DataType::LargeListView(item) => DataType::LargeListView(with_leaves_of(item, change)),
        DataType::FixedSizeList(item, len) => DataType::FixedSizeList(with_leaves_of(item, change), *len),
        DataType::Map(entries, sorted) => DataType::Map(with_leaves_of(entries, change), *sorted),
        // All else is one leaf.
        _ => return Arc::new(change(Field::clone(field))),
    };
    Arc::new(Field::clone(field).with_data_type(ty))
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::{TimestampMicrosecondType, TimestampNanosecondType};
    use bytes::Bytes;
    use parquet::data_type::Int96Type;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// Writes one optional column of 96 bits, in row groups of one value; a null is an empty row group's only row.
    fn file(values: &[Option<(i64, i64)>]) -> Bytes {
        let schema = parse_message_type("message m { required group s { optional int96 t; } }").unwrap();
        let mut bytes = Vec::new();
        let properties = Arc::new(WriterProperties::builder().build());
        let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), properties).unwrap();
        for value in values {
            let mut group = writer.next_row_group().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let int96 = value.map(|(day, nanos)| {
                let mut int96 = Int96::new();
                int96.set_data(nanos as u32, (nanos >> 32) as u32, (day + JULIAN_DAY_OF_EPOCH) as u32);
                int96
            });
            let level = [i16::from(int96.is_some())];
            column.typed::<Int96Type>().write_batch(int96.as_slice(), Some(&level), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        writer.close().unwrap();
        bytes.into()
    }

    #[test]
    fn intervals_are_refused_because_they_would_lose_their_months() {
        let schema = parse_message_type("message m { required fixed_len_byte_array(12) i (INTERVAL); }").unwrap();
        let mut bytes = Vec::new();
        SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::default()).unwrap().close().unwrap();
        let error = open(Bytes::from(bytes), &|_| true).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "the column `i` has the unsupported type INTERVAL");
    }

    #[test]
    fn time_stamps_of_96_bits_get_a_unit_that_holds_them() {
        let read = |values: &[Option<(i64, i64)>]| {
            let batches: Result<Vec<_>, _> = open(file(values), &|_| true)?.build()?.collect();
            let batches = batches.unwrap();
            Ok(batches.iter().map(|batch| batch.column(0).as_struct().column(0).clone()).collect::<Vec<_>>())
        };
        let far = (2_932_896, 86_399_999_999_000);
        let columns = read(&[Some((0, 1000)), None, Some(far), Some((-719_162, 0))]).unwrap();
        let micros = columns.iter().flat_map(|c| c.as_primitive::<TimestampMicrosecondType>());
        assert_eq!(
            micros.collect::<Vec<_>>(),
            [Some(1), None, Some(253_402_300_799_999_999), Some(-62_135_596_800_000_000)]
        );
        let columns = read(&[Some((1, 1))]).unwrap();
        assert_eq!(columns[0].as_primitive::<TimestampNanosecondType>().value(0), 86_400_000_000_001);
        let error = |values: &[Option<(i64, i64)>]| read(values).map(|_: Vec<_>| ()).map_err(|e: InputError| e);
        assert!(error(&[Some((0, 1)), Some(far)]).unwrap_err().to_string().contains("`s.t` contains both"));
        assert!(error(&[Some((2_932_897, 0))]).unwrap_err().to_string().contains("outside the years"));
    }
}
