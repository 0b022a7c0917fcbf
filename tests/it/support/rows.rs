//! Simple, slow readers of the output formats, and the comparison of rows across formats.

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

/// A CSV cell: `None` when empty, `Some("")` when quoted and empty.
pub type Cell = Option<String>;

/// Reads NDJSON.
#[track_caller]
pub fn ndjson(bytes: &[u8]) -> Vec<Value> {
    std::str::from_utf8(bytes)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}")))
        .collect()
}

/// Reads the header and the records of RFC 4180 text.
pub fn csv(bytes: &[u8]) -> (Vec<String>, Vec<Vec<Cell>>) {
    let text = std::str::from_utf8(bytes).unwrap();
    let mut records = Vec::new();
    let mut record: Vec<Cell> = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.peek().is_some() {
        let mut cell = String::new();
        let quoted = chars.next_if_eq(&'"').is_some();
        if quoted {
            loop {
                match chars.next().expect("a closing quote") {
                    '"' if chars.next_if_eq(&'"').is_some() => cell.push('"'),
                    '"' => break,
                    c => cell.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| !matches!(c, ',' | '\n' | '\r')) {
                cell.push(c);
            }
        }
        record.push((quoted || !cell.is_empty()).then_some(cell));
        match chars.next() {
            Some(',') => continue,
            Some('\r') => assert_eq!(chars.next(), Some('\n'), "a carriage return stands before a line feed"),
            Some('\n') | None => {}
            Some(c) => panic!("{c:?} after a cell"),
        }
        records.push(std::mem::take(&mut record));
    }
    assert!(record.is_empty(), "the last line ends after a comma");
    let mut records = records.into_iter();
    let header = records.next().expect("a header").into_iter().map(Option::unwrap_or_default).collect();
    (header, records.collect())
}

/// Reads CSV as objects with text values; nulls are left out.
pub fn csv_objects(bytes: &[u8]) -> Vec<Value> {
    let (header, records) = csv(bytes);
    let object = |record: Vec<Cell>| {
        assert_eq!(record.len(), header.len(), "every record has a cell per column");
        let cells = header.iter().cloned().zip(record);
        Value::Object(cells.filter_map(|(name, cell)| Some((name, Value::String(cell?)))).collect())
    };
    records.into_iter().map(object).collect()
}

/// Reads the names and types of the columns of a Parquet file.
pub fn parquet_schema(bytes: Vec<u8>) -> Vec<(String, DataType)> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
    builder.schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect()
}

/// Reads a Parquet file as objects.
pub fn parquet(bytes: Vec<u8>) -> Vec<Value> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap().build().unwrap();
    reader.flat_map(|batch| batch_objects(&batch.unwrap())).collect()
}

fn batch_objects(batch: &RecordBatch) -> Vec<Value> {
    let schema = batch.schema();
    let object = |row| {
        let fields = schema.fields().iter().zip(batch.columns());
        Value::Object(fields.map(|(field, array)| (field.name().clone(), value(&**array, row))).collect())
    };
    (0..batch.num_rows()).map(object).collect()
}

fn value(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::Decimal128(_, _) => array.as_primitive::<Decimal128Type>().value_as_string(row).into(),
        DataType::Date32 => {
            let day = array.as_primitive::<Date32Type>().value_as_date(row);
            day.map_or(Value::Null, |day| day.to_string().into())
        }
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).map(|i| value(&*items, i)).collect()
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let object: Map<_, _> = fields
                .iter()
                .zip(columns)
                .map(|(field, column)| (field.name().clone(), value(&**column, row)))
                .collect();
            Value::Object(object)
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0).clone(), entries.column(1).clone());
            let key = |i| value(&*keys, i).as_str().expect("keys are text").to_owned();
            Value::Object((0..entries.len()).map(|i| (key(i), value(&*values, i))).collect())
        }
        other => panic!("drawoff writes no {other}"),
    }
}

/// True if `a` and `b` are the same value. Numbers compare by value, an absent key equals null, and text equals the JSON
/// value that it spells, because CSV has only text.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let covers = |a: &Map<String, Value>, b: &Map<String, Value>| {
                a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&Value::Null)))
            };
            covers(a, b) && covers(b, a)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Number(a), Value::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a == b,
            _ => a.as_f64() == b.as_f64(),
        },
        (Value::String(a), Value::String(b)) => a == b,
        (Value::String(text), other) | (other, Value::String(text)) => {
            !other.is_null()
                && serde_json::from_str::<Value>(text)
                    .is_ok_and(|spelled| !spelled.is_string() && same(&spelled, other))
        }
        (a, b) => a == b,
    }
}

/// Checks that both contain the same rows in the same order, by [`same`].
#[track_caller]
pub fn assert_same(found: &[Value], expected: &[Value]) {
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(same(f, e), "row {i}\n   found {f}\nexpected {e}");
    }
    assert_eq!(found.len(), expected.len(), "number of rows");
}

#[test]
fn csv_cells_that_are_empty_or_quoted_and_empty_differ() {
    let (header, records) = csv(b"a,b\n1,\"\"\n,\"x \"\"y\"\"\r\nz\"\r\n");
    assert_eq!(header, ["a", "b"]);
    let text = |s: &str| Some(s.to_owned());
    assert_eq!(records, [[text("1"), text("")], [None, text("x \"y\"\r\nz")]]);
}
