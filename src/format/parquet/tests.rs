use std::io::{self, Write as _};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Decimal128Type;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ConvertedType, Encoding, LogicalType};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::file::keeps_types;
use super::*;
use crate::column::testing::{any_flat_rows, any_rows, array, batch, expected, infer_schema, same, value};
use crate::column::{Batch, Field, Schema, Type, TypeMerge};
use crate::format::{ParquetCodec, ParquetOptions};

fn layout(schema: &Schema, options: &ParquetOptions) -> Result<Arc<Layout>, Error> {
    Ok(Arc::new(Layout::try_new(Arc::new(schema.clone()), options, TypeMerge::Json)?))
}

fn new_encoder(schema: &Schema) -> RowGroupEncoder {
    RowGroupEncoder::with_layout(layout(schema, &ParquetOptions::default()).unwrap()).unwrap()
}

fn finish(encoder: RowGroupEncoder) -> EncodedRowGroup {
    encoder.finish_with_scratch().unwrap().0
}

/// Encodes `rows` under `schema`, one batch per `batch_rows`.
fn encode(rows: &[Value], schema: &Schema, batch_rows: usize) -> EncodedRowGroup {
    let mut encoder = new_encoder(schema);
    let schema = Arc::new(schema.clone());
    for rows in rows.chunks(batch_rows.max(1)) {
        encoder.write(&batch(rows, schema.clone())).unwrap();
    }
    assert_eq!(encoder.rows(), rows.len());
    finish(encoder)
}

/// Appends `groups` and finishes. The file so far is handed over as it is at the end.
fn write(groups: Vec<EncodedRowGroup>, type_merge: TypeMerge) -> Result<(Bytes, Summary), Error> {
    write_with(groups, type_merge, usize::MAX)
}

/// As [`write`], with so many bytes of footer entries in memory.
fn write_with(
    groups: Vec<EncodedRowGroup>,
    type_merge: TypeMerge,
    entry_bytes: usize,
) -> Result<(Bytes, Summary), Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let writer = ParquetFileWriter::try_new(file.as_file_mut(), ParquetOptions::default(), type_merge, Vec::new())?;
    let new_file = || Ok(Box::new(tempfile::tempfile()?) as Box<dyn EntryFile>);
    let mut writer = writer.with_entry_file(entry_bytes, Box::new(new_file));
    for group in groups {
        writer.append(group)?;
    }
    let (_, summary) = writer.finish(|| std::fs::File::open(&path))?;
    let bytes = Bytes::from(std::fs::read(&path).unwrap());
    assert_eq!(bytes.len() as u64, summary.bytes);
    Ok((bytes, summary))
}

/// A file of row groups, each with the schema of its own rows.
fn evolved(groups: &[Vec<Value>]) -> (Bytes, Summary) {
    evolved_mixing(groups, TypeMerge::Json)
}

fn evolved_mixing(groups: &[Vec<Value>], type_merge: TypeMerge) -> (Bytes, Summary) {
    let encode = || groups.iter().map(|rows| encode(rows, &infer_schema(rows, type_merge), 3)).collect();
    // Joined or not, the rows are the same.
    let (joined, summary) = write_joined(encode(), type_merge);
    assert_holds(&joined, &summary, &groups.concat());
    let (file, summary) = write(encode(), type_merge).unwrap();
    // Wherever the entries of the footer waited, and whether the file was finished in between, it is the same.
    for entry_bytes in [0, 700] {
        let (spilled, _) = write_with(encode(), type_merge, entry_bytes).unwrap();
        assert!(spilled == file, "{entry_bytes}");
    }
    assert_reopens(encode(), type_merge, &file, &summary);
    (file, summary)
}

/// The first half of `groups`, finished and opened again for the columns of all, holds its rows in these columns.
fn assert_reopens(mut groups: Vec<EncodedRowGroup>, type_merge: TypeMerge, file: &Bytes, summary: &Summary) {
    let half = groups.split_off(groups.len() / 2);
    let rows: u64 = groups.iter().map(|group| group.rows as u64).sum();
    drop(half);
    // Other files wait for their final types.
    let schemas = || groups.iter().map(|group| &*group.layout.schema);
    let joined = schemas().fold(Schema::default(), |joined, schema| joined.join(schema, type_merge));
    if !keeps_types(schemas(), &joined) {
        return;
    }
    let (before, first) = match write(groups, type_merge) {
        Ok(written) if rows > 0 => written,
        // The columns come with the other half.
        Err(Error::NoColumns { .. }) | Ok(_) => return,
        Err(other) => panic!("{other}"),
    };
    let mut again = tempfile::NamedTempFile::new().unwrap();
    let path = again.path().to_owned();
    let (kept, footer) = before.split_at(first.bytes_before_footer as usize);
    again.write_all(kept).unwrap();
    let options = ParquetOptions::default();
    let mut writer =
        ParquetFileWriter::reopen(again.as_file_mut(), options, type_merge, Vec::new(), &first, footer).unwrap();
    writer.declare(&summary.schema);
    writer.set_order(&summary.schema);
    let (_, reopened) = writer.finish(|| std::fs::File::open(&path)).unwrap();
    let bytes = Bytes::from(std::fs::read(&path).unwrap());
    assert_eq!((reopened.rows, reopened.bytes), (rows, bytes.len() as u64));
    assert!(reopened.has_columns(&summary.schema, type_merge) && reopened.schema == summary.schema);
    assert!(bytes == before || !first.has_columns(&summary.schema, type_merge));
    let (all, some) = (read(file, &summary.schema), read(&bytes, &reopened.schema));
    assert!(all[..some.len()].iter().zip(&some).all(|(all, some)| format!("{all:?}") == format!("{some:?}")));
    assert_eq!(some.len() as u64, rows);
}

fn metadata(file: &Bytes) -> ParquetMetaData {
    ParquetMetaDataReader::new().parse_and_finish(file).unwrap()
}

/// The rows of a file as another reader sees them: by the Parquet schema alone.
fn read(file: &Bytes, schema: &Schema) -> Vec<Vec<Value>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).unwrap().with_batch_size(2).build().unwrap();
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        assert_eq!(batch.num_columns(), schema.fields.len());
        for (arrow, field) in batch.schema().fields().iter().zip(&schema.fields) {
            assert_eq!(arrow.name(), &*field.name);
            assert!(arrow.is_nullable());
        }
        for row in 0..batch.num_rows() {
            rows.push(schema.fields.iter().zip(batch.columns()).map(|(f, c)| value(c, &f.ty, row)).collect());
        }
    }
    rows
}

/// The rows of a file of this schema are the originals, under the rules of their types.
pub(crate) fn assert_rows(file: &Bytes, schema: &Schema, originals: &[Value]) {
    let found = read(file, schema);
    assert_eq!(found.len(), originals.len());
    for (found, original) in found.iter().zip(originals) {
        for (found, field) in found.iter().zip(&schema.fields) {
            let wanted = expected(original.get(&*field.name).unwrap_or(&Value::Null), &field.ty);
            assert!(same(found, &wanted, &field.ty), "{} ({}): {found} is not {wanted}", field.name, field.ty);
        }
        for key in original.as_object().unwrap().keys() {
            assert!(schema.position(key).is_some(), "column {key} is missing");
        }
    }
}

/// Everything that must hold of any file: its rows, and a footer that agrees with its bytes.
fn assert_holds(file: &Bytes, summary: &Summary, originals: &[Value]) {
    assert_rows(file, &summary.schema, originals);
    assert_eq!(summary.rows, originals.len() as u64);

    let metadata = metadata(file);
    assert_eq!(metadata.num_row_groups(), summary.row_groups);
    assert_eq!(metadata.file_metadata().created_by(), Some(layout::CREATED_BY));
    let mut taken: Vec<(u64, u64)> = Vec::new();
    for group in metadata.row_groups() {
        let size = group.columns().iter().map(|c| c.byte_range().1).sum::<u64>();
        let start = group.column(0).byte_range().0;
        assert!(start + size / 2 < file.len() as u64, "the middle of a row group lies behind the file");
        assert_eq!(group.file_offset(), Some(start as i64));
        assert_eq!(group.total_byte_size(), group.columns().iter().map(|c| c.uncompressed_size()).sum::<i64>());
        taken.extend(group.columns().iter().map(|c| (c.byte_range().0, c.byte_range().0 + c.byte_range().1)));
    }
    taken.sort();
    assert!(taken.first().is_none_or(|c| c.0 >= 4));
    assert!(taken.windows(2).all(|w| w[0].1 <= w[1].0), "chunks overlap");
}

/// Offset of the chunk at a dotted path in each row group.
fn offsets(file: &Bytes, path: &str) -> Vec<u64> {
    let start = |c: &ColumnChunkMetaData| c.byte_range().0;
    metadata(file)
        .row_groups()
        .iter()
        .map(|g| g.columns().iter().find(|c| c.column_path().string() == path).map(start).expect("column"))
        .collect()
}

fn objects(rows: Value) -> Vec<Value> {
    rows.as_array().unwrap().clone()
}

fn rich_rows() -> Vec<Value> {
    objects(json!([
        {
            "null": null, "bool": true, "int": -1, "big": u64::MAX, "float": 0.1, "text": "é\"東", "json": 1,
            "struct": {"a": 1, "in": {"x": null}}, "empty": {},
            "list": [1, null], "lists": [[1], [], null], "map": {"k": 1.5, "n": null},
            "contacts": [{"email": "a", "tags": [{"t": "x"}, {}]}, null, {"email": null, "tags": []}]
        },
        {"null": null, "json": {"a": [1, "x"]}, "struct": {}, "list": [], "lists": [], "map": {}, "contacts": []},
        {
            "null": null, "bool": null, "int": null, "big": null, "float": null, "text": null, "json": null,
            "struct": null, "empty": null, "list": null, "lists": null, "map": null, "contacts": null
        },
        {},
        {"struct": {"in": null}, "text": "", "json": "s", "float": -1e300, "big": 1, "contacts": [null]}
    ]))
}

#[test]
fn values_of_every_type_are_read_back() {
    let rows = rich_rows();
    let schema = infer_schema(&rows, TypeMerge::Json);
    for batch_rows in [1, 2, 100] {
        let (file, summary) = write(vec![encode(&rows, &schema, batch_rows)], TypeMerge::Json).unwrap();
        assert_eq!(*summary.schema, schema);
        assert_eq!(summary.rewritten_chunks, 0);
        assert_holds(&file, &summary, &rows);
    }
}

#[test]
fn null_and_empty_are_distinct() {
    let rows = objects(json!([{"l": [], "m": {"k": 1}, "s": {"a": 1}}, {"l": null}, {"l": [null], "s": {}}]));
    let schema = Schema::new(vec![
        Field::new("l", Type::List(Box::new(Type::Text))),
        Field::new("s", Type::Struct(vec![Field::new("a", Type::Bool)])),
        Field::new("m", Type::Map(Box::new(Type::Null))),
    ]);
    let rows: Vec<Value> = rows
        .iter()
        .map(|r| json!({"l": r["l"], "s": if r["s"].is_null() { Value::Null } else { json!({}) }, "m": null}))
        .collect();
    let (file, _) = write(vec![encode(&rows, &schema, 8)], TypeMerge::Json).unwrap();
    assert_eq!(
        read(&file, &schema),
        [
            vec![json!([]), json!({}), Value::Null],
            vec![Value::Null, Value::Null, Value::Null],
            vec![json!([null]), json!({}), Value::Null]
        ]
    );
}

#[test]
fn decimals_keep_38_digits() {
    let digits = 99_999_999_999_999_999_999_999_999_999_999_999_999_i128;
    let schema = Arc::new(Schema::new(vec![Field::new("d", Type::Decimal)]));
    let column = arrow_array::Decimal128Array::from(vec![Some(digits), None, Some(-digits)]);
    let column = Arc::new(column.with_precision_and_scale(38, 0).unwrap());
    let mut encoder = new_encoder(&schema);
    encoder.write(&Batch::new(schema, vec![column.clone()], 3)).unwrap();
    let (file, _) = write(vec![finish(encoder)], TypeMerge::Json).unwrap();
    let batch = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap().next().unwrap().unwrap();
    assert_eq!(batch.column(0).as_primitive::<Decimal128Type>(), &*column);
}

#[test]
fn lists_and_maps_have_the_standard_levels() {
    let rows = rich_rows();
    let (file, _) = write(vec![encode(&rows, &infer_schema(&rows, TypeMerge::Json), 8)], TypeMerge::Json).unwrap();
    let metadata = metadata(&file);
    assert!(metadata.file_metadata().key_value_metadata().is_none(), "no Arrow schema");
    let columns = metadata.file_metadata().schema_descr().columns();
    let paths: Vec<String> = columns.iter().map(|c| c.path().string()).collect();
    for path in ["lists.list.element.list.element", "map.key_value.key", "contacts.list.element.tags.list.element.t"] {
        assert!(paths.iter().any(|p| p == path), "{path} in {paths:?}");
    }
    let leaf = |path: &str| columns.iter().find(|c| c.path().string() == path).unwrap();
    for text in ["text", "null", "json", "empty", "map.key_value.key"] {
        assert_eq!(leaf(text).logical_type_ref(), Some(&LogicalType::String), "{text}");
        assert_eq!(leaf(text).converted_type(), ConvertedType::UTF8, "{text}");
    }
    assert_eq!(leaf("big").converted_type(), ConvertedType::DECIMAL);
    for column in metadata.row_group(0).columns() {
        assert!(column.statistics().is_some());
        assert_eq!(column.offset_index_offset(), None);
        assert_eq!(column.column_index_offset(), None);
        assert_eq!(column.bloom_filter_offset(), None);
    }
}

#[test]
fn codecs_are_used_and_unknown_levels_refused() {
    let rows = objects(json!([{"a": "x"}, {"a": "y"}]));
    let schema = Arc::new(infer_schema(&rows, TypeMerge::Json));
    for (codec, found) in [
        (ParquetCodec::Uncompressed, Compression::UNCOMPRESSED),
        (ParquetCodec::Snappy, Compression::SNAPPY),
        (ParquetCodec::Lz4, Compression::LZ4_RAW),
    ] {
        let mut encoder = RowGroupEncoder::with_layout(layout(&schema, &ParquetOptions { codec }).unwrap()).unwrap();
        encoder.write(&batch(&rows, schema.clone())).unwrap();
        let (file, summary) = write(vec![finish(encoder)], TypeMerge::Json).unwrap();
        assert_eq!(metadata(&file).row_group(0).column(0).compression(), found);
        assert_holds(&file, &summary, &rows);
    }
    let wrong = ParquetOptions { codec: ParquetCodec::Zstd { level: 99 } };
    let error = layout(&schema, &wrong).unwrap_err();
    assert_eq!(
        crate::text::error_chain(&error),
        "cannot encode as Parquet: Parquet error: valid compression range 1..=22 exceeded."
    );
}

#[test]
fn narrower_batches_fit_and_wider_ones_do_not() {
    let all = objects(json!([{"a": 1}, {"b": "x", "a": 2.5}, {"s": {"x": 1}}]));
    let schema = infer_schema(&all, TypeMerge::Json);
    let mut encoder = new_encoder(&schema);
    for row in &all {
        let narrow = Arc::new(infer_schema(std::slice::from_ref(row), TypeMerge::Json));
        encoder.write(&batch(std::slice::from_ref(row), narrow)).unwrap();
    }
    let (file, summary) = write(vec![finish(encoder)], TypeMerge::Json).unwrap();
    assert_holds(&file, &summary, &all);

    for wide in [json!({"new": 1}), json!({"b": 1}), json!({"s": {"y": 1}}), json!({"a": i64::MAX})] {
        let wide = [wide];
        let batch = batch(&wide, Arc::new(infer_schema(&wide, TypeMerge::Json)));
        let mut encoder = new_encoder(&schema);
        let column = wide[0].as_object().unwrap().keys().next().unwrap();
        let error = encoder.write(&batch).unwrap_err().to_string();
        assert_eq!(error, format!("column `{column}` does not fit the row group"), "{wide:?}");
    }
}

#[test]
fn a_batch_that_contradicts_itself_is_refused() {
    let schema = Schema::new(vec![Field::new("a", Type::Bool)]);
    let mut encoder = new_encoder(&schema);
    let column = array(&[Some(&json!(true))], &Type::Bool);
    let columns = vec![column];
    let wrong = Batch::new(Arc::new(schema), columns, 2);
    let error = encoder.write(&wrong).unwrap_err().to_string();
    assert_eq!(error, "the columns of a batch do not match its schema and row count");
}

#[test]
fn raw_columns_are_refused() {
    let schema = Schema::new(vec![Field::new("r", Type::List(Box::new(Type::Raw)))]);
    let error = layout(&schema, &ParquetOptions::default()).unwrap_err().to_string();
    assert_eq!(error, "cannot write column `r` as Parquet: it holds raw JSON text");
}

#[test]
fn row_groups_of_one_schema_are_never_read_back() {
    let rows = rich_rows();
    let schema = infer_schema(&rows, TypeMerge::Json);
    let mut writer = ParquetFileWriter::try_new(
        Vec::new(),
        ParquetOptions::default(),
        TypeMerge::Json,
        vec![("k".into(), "v".into())],
    )
    .unwrap();
    for _ in 0..3 {
        writer.append(encode(&rows, &schema, 8)).unwrap();
    }
    let (file, summary) = writer.finish::<Bytes>(|| unreachable!("nothing to read back")).unwrap();
    let file = Bytes::from(file);
    assert_holds(&file, &summary, &[rows.clone(), rows.clone(), rows].concat());
    let key_values = metadata(&file).file_metadata().key_value_metadata().unwrap().clone();
    assert_eq!(key_values[0].key, "k");
    assert_eq!(key_values[0].value.as_deref(), Some("v"));
}

#[test]
fn columns_widen_late_in_every_way() {
    let cases = [
        ("late key", json!([{"a": 1}]), json!([{"a": 1, "b": "x"}])),
        ("late key, first", json!([{"a": 1}, {"a": 2}]), json!([{"b": [1], "a": 1}])),
        ("int to float", json!([{"a": 1}, {"a": null}]), json!([{"a": 1.5}])),
        ("int to decimal", json!([{"a": i64::MIN}]), json!([{"a": u64::MAX}])),
        ("big int to json", json!([{"a": i64::MAX}]), json!([{"a": 0.5}])),
        ("null to struct", json!([{"a": null}]), json!([{"a": {"x": [1]}}, {"a": {}}])),
        ("null to list", json!([{"a": null}]), json!([{"a": [{"x": 1}]}])),
        ("text to json", json!([{"a": "x\"y"}, {"a": null}]), json!([{"a": 1}])),
        ("struct to json", json!([{"a": {"x": 1, "y": [null]}}, {"a": {}}]), json!([{"a": "s"}])),
        ("empty struct to struct", json!([{"a": {}}, {"a": null}]), json!([{"a": {"x": 1}}])),
        ("empty struct to json", json!([{"a": {}}, {"a": null}]), json!([{"a": 1}])),
        ("list item null to int", json!([{"a": [null]}, {"a": []}]), json!([{"a": [1]}])),
        ("list item gets a key", json!([{"a": [{"x": 1}, null]}]), json!([{"a": [{"y": {"z": "s"}}]}])),
        ("struct gets a key", json!([{"a": {"x": 1}}, {"a": null}, {}]), json!([{"a": {"y": true}}])),
        ("struct key order", json!([{"a": {"x": 1, "y": 2}}]), json!([{"a": {"y": 1, "x": "s"}}])),
        ("map value widens", json!([{"map": {"k": 1}}, {"map": {}}]), json!([{"map": {"k": 0.5}}])),
        ("struct to map", json!([{"s": [{"map": {"k": 1}}, {"map": null}]}]), json!([{"s": [{"map": {"j": 1}}]}])),
    ];
    for (name, before, after) in cases {
        let (before, after) = (objects(before), objects(after));
        // The wider type comes in the last group, in the middle, and twice.
        for groups in [
            vec![before.clone(), after.clone()],
            vec![before.clone(), before.clone(), after.clone(), before.clone()],
            vec![after.clone(), before.clone(), after.clone()],
        ] {
            let (file, summary) = evolved(&groups);
            assert!(summary.row_groups == groups.len(), "{name}");
            assert_holds(&file, &summary, &groups.concat());
        }
    }
}

#[test]
fn structs_become_maps_beyond_their_limit() {
    let wide = |from: usize| {
        let members = (from..from + 200).map(|i| (format!("k{i}"), json!(i))).collect();
        json!({"id": 1, "open": Value::Object(members)})
    };
    let groups = vec![vec![wide(0), json!({"open": null})], vec![wide(200), json!({"open": {}})]];
    let (file, summary) = evolved(&groups);
    assert!(matches!(summary.schema.fields[1].ty, Type::Map(_)));
    // Key and value in both groups.
    assert_eq!(summary.rewritten_chunks, 4);
    assert_holds(&file, &summary, &groups.concat());
}

#[test]
fn untouched_chunks_stay_where_they_are() {
    let before = objects(json!([
        {"id": "a", "contacts": [{"email": "x", "phones": ["1", null]}, {"email": "y"}], "n": 1, "t": "k"},
        {"id": "b", "contacts": [], "n": 2}
    ]));
    let after = objects(json!([{"id": "c", "contacts": [{"email": "z", "age": 3}], "n": 0.5, "late": true}]));
    let alone = evolved(std::slice::from_ref(&before)).0;
    let (file, summary) = evolved(&[before.clone(), after.clone()]);
    assert_holds(&file, &summary, &[before, after].concat());
    for kept in ["id", "contacts.list.element.email", "contacts.list.element.phones.list.element", "t"] {
        assert_eq!(offsets(&file, kept)[0], offsets(&alone, kept)[0], "{kept}");
        let old = metadata(&alone);
        let old = old.row_group(0).columns().iter().find(|c| c.column_path().string() == kept).unwrap();
        let (start, length) = old.byte_range();
        let range = start as usize..(start + length) as usize;
        assert_eq!(file[range.clone()], alone[range], "{kept}");
    }
    for fresh in ["contacts.list.element.age", "n", "late"] {
        assert!(offsets(&file, fresh)[0] > offsets(&file, "late")[1], "{fresh}");
    }
    // age, n and late of the first group; t and phones of the second, which it never had.
    assert_eq!(summary.rewritten_chunks, 5);
}

#[test]
fn columns_without_values_become_text_without_being_read() {
    let groups =
        [objects(json!([{"a": null, "b": 1}])), objects(json!([{"a": "x", "b": 1}])), objects(json!([{"a": null}]))];
    let (file, summary) = evolved(&groups);
    assert_eq!(summary.rewritten_chunks, 1, "only `b` of the last group");
    assert_holds(&file, &summary, &groups.concat());
}

#[test]
fn a_rewritten_first_column_keeps_the_middle_of_its_group_inside_the_file() {
    // A small first column that widens in front of a large one: encoded again at the end, half of
    // the group's size would reach beyond the file.
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        state.to_string()
    };
    let before: Vec<Value> = (0..2000).map(|i| json!({"a": i, "noise": noise()})).collect();
    let groups = [before, objects(json!([{"a": 0.5, "noise": "x"}]))];
    let (file, summary) = evolved(&groups);
    assert_holds(&file, &summary, &groups.concat());
}

#[test]
fn rows_without_columns_are_refused_not_lost() {
    let empty = Schema::default();
    let rows = objects(json!([{}, {}]));
    assert!(matches!(write(vec![encode(&rows, &empty, 8)], TypeMerge::Json), Err(Error::NoColumns { rows: 2 })));

    let groups = [rows, objects(json!([{"a": 1}])), objects(json!([{}]))];
    let (file, summary) = evolved(&groups);
    assert_holds(&file, &summary, &groups.concat());
}

#[test]
fn a_file_without_rows_has_the_columns_that_were_declared() {
    let schema = Schema::new(vec![Field::new("a", Type::Null), Field::new("b", Type::Float)]);
    let mut writer =
        ParquetFileWriter::try_new(Vec::new(), ParquetOptions::default(), TypeMerge::Json, Vec::new()).unwrap();
    writer.declare(&schema);
    writer.append(encode(&[], &Schema::new(vec![Field::new("c", Type::Bool)]), 8)).unwrap();
    let (file, summary) = writer.finish::<Bytes>(|| unreachable!("nothing to read back")).unwrap();
    assert_eq!(summary.row_groups, 0);
    let names: Vec<&str> = summary.schema.fields.iter().map(|f| &*f.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_holds(&Bytes::from(file), &summary, &[]);
}

#[test]
fn columns_that_outgrow_their_dictionary_are_named_and_can_be_plain() {
    let rows: Vec<Value> = (0..20_000u64)
        .map(|i| {
            // Too many bytes for a dictionary, and too many values for it to be of use.
            let number = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12;
            json!({"id": format!("{i:0100}"), "number": number, "kind": if i % 2 == 0 { "x" } else { "y" }})
        })
        .collect();
    let schema = Arc::new(infer_schema(&rows, TypeMerge::Json));
    let group = encode(&rows, &schema, 5000);
    let plain = group.outgrown_dictionaries();
    assert_eq!(plain.iter().map(|p| p.string()).collect::<Vec<_>>(), ["id", "number"]);
    let few = encode(&rows[..100], &schema, 100);
    assert!(few.outgrown_dictionaries().is_empty(), "few rows say nothing");

    let layout =
        Layout::with_plain_columns(schema.clone(), &ParquetOptions::default(), TypeMerge::Json, &plain).unwrap();
    let mut encoder = RowGroupEncoder::with_layout(Arc::new(layout)).unwrap();
    encoder.write(&batch(&rows, schema)).unwrap();
    assert!(encoder.memory_size() > 0);
    let second = finish(encoder);
    assert!(second.bytes() > 0);
    let (file, summary) = write(vec![group, second], TypeMerge::Json).unwrap();
    let metadata = metadata(&file);
    for group in metadata.row_groups() {
        assert_eq!(group.column(0).dictionary_page_offset(), None);
        assert_eq!(group.column(1).dictionary_page_offset(), None);
        assert!(group.column(2).dictionary_page_offset().is_some());
    }
    assert_eq!(summary.rows, 40_000);
}

/// Writes `parts` as the parts of one row group.
fn write_joined(parts: Vec<EncodedRowGroup>, type_merge: TypeMerge) -> (Bytes, Summary) {
    let mut out = tempfile::NamedTempFile::new().unwrap();
    let path = out.path().to_owned();
    let writer =
        ParquetFileWriter::try_new(out.as_file_mut(), ParquetOptions::default(), type_merge, Vec::new()).unwrap();
    let mut writer = writer.with_row_group_bytes(usize::MAX);
    for part in parts {
        writer.append(part).unwrap();
    }
    let (_, summary) = writer.finish(|| std::fs::File::open(&path)).unwrap();
    (Bytes::from(std::fs::read(&path).unwrap()), summary)
}

#[test]
fn late_columns_join_the_open_row_group() {
    let rows = |row: &dyn Fn(usize) -> Value, ids: std::ops::Range<usize>| ids.map(row).collect::<Vec<_>>();
    let groups = [
        rows(&|i| json!({"id": i, "later": null}), 0..5),
        rows(&|i| json!({"id": i, "later": i, "o": {"a": [i, null]}}), 5..7),
        // As another worker encodes them, which does not know the columns of the part before.
        rows(&|i| json!({"other": "x", "id": i}), 7..8),
        rows(&|i| json!({"id": i, "later": null, "o": null, "m": [[i]], "other": format!("y{i}")}), 8..20),
    ];
    let encode = |groups: &[Vec<Value>]| {
        groups.iter().map(|rows| encode(rows, &infer_schema(rows, TypeMerge::Json), 3)).collect::<Vec<_>>()
    };
    let (file, summary) = write_joined(encode(&groups), TypeMerge::Json);
    assert_eq!((summary.row_groups, summary.rewritten_chunks), (1, 0));
    assert_holds(&file, &summary, &groups.concat());
    // Values of another type close the row group, which is encoded again at the end.
    let wider = [groups[0].clone(), rows(&|i| json!({"id": format!("t{i}")}), 0..3)];
    let (file, summary) = write_joined(encode(&wider), TypeMerge::Json);
    assert_eq!((summary.row_groups, summary.rewritten_chunks), (2, 3));
    assert_holds(&file, &summary, &wider.concat());
}

#[test]
fn dictionaries_of_parts_are_joined_up_to_their_limit() {
    // Each part has a dictionary of more than a MiB for `long`, its own but for two strings, and
    // one of a few entries for `short`.
    let part = |n: u64| -> Vec<Value> {
        (0..1500u64)
            .map(|i| {
                let which = if i % 300 < 2 { 0 } else { n };
                let long = format!("{which}-{:04}-{}", i % 300, "x".repeat(4000));
                json!({"long": long, "short": [i % 3, n], "none": null, "flag": n == 2, "float": (i % 4) as f64 - 1.5})
            })
            .collect()
    };
    let all: Vec<Vec<Value>> = (0..4).map(part).collect();
    let schema = Arc::new(infer_schema(&all.concat(), TypeMerge::Json));
    let parts = all.iter().map(|rows| encode(rows, &schema, 500)).collect();
    let (file, summary) = write_joined(parts, TypeMerge::Json);
    assert_eq!(summary.row_groups, 1);
    assert_holds(&file, &summary, &all.concat());
    let metadata = metadata(&file);
    let column = |i: usize| metadata.row_group(0).column(i);
    let data_pages_are = |i: usize, encoding| column(i).page_encoding_stats_mask().unwrap().is_only(encoding);
    // The first part's dictionary was closed to the others, which had to be made plain.
    assert!(column(0).dictionary_page_offset().is_some());
    assert!(!data_pages_are(0, Encoding::RLE_DICTIONARY) && !data_pages_are(0, Encoding::PLAIN));
    assert!(data_pages_are(1, Encoding::RLE_DICTIONARY));
    assert!(data_pages_are(2, Encoding::PLAIN) && data_pages_are(3, Encoding::PLAIN));
    assert!(data_pages_are(4, Encoding::RLE_DICTIONARY));
    let floats = metadata.row_group(0).column(4).statistics().unwrap();
    assert_eq!(floats.min_bytes_opt(), Some(&(-1.5f64).to_le_bytes()[..]));
    assert_eq!(floats.max_bytes_opt(), Some(&1.5f64.to_le_bytes()[..]));
}

#[test]
fn a_full_disk_is_recognisable() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }
    let mut state = 1_u64;
    let rows: Vec<Value> = (0..5000)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            json!({"a": state.to_string()})
        })
        .collect();
    let mut writer = ParquetFileWriter::try_new(Full, ParquetOptions::default(), TypeMerge::Json, Vec::new()).unwrap();
    let result = writer.append(encode(&rows, &infer_schema(&rows, TypeMerge::Json), 5000));
    assert!(matches!(result, Err(Error::Io(e)) if e.kind() == io::ErrorKind::StorageFull));
}

#[test]
fn groups_travel_between_threads() {
    fn is_send<T: Send>() {}
    fn is_shared<T: Send + Sync>() {}
    is_send::<RowGroupEncoder>();
    is_send::<EncodedRowGroup>();
    is_send::<ParquetFileWriter<std::fs::File>>();
    is_shared::<Layout>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However the rows are cut into row groups, the file holds them all.
    #[test]
    fn any_rows_in_any_row_groups_are_read_back(groups in prop::collection::vec(any_rows(5), 1..5)) {
        let rows = groups.concat();
        prop_assume!(rows.is_empty() || rows.iter().any(|r| !r.as_object().unwrap().is_empty()));
        let (file, summary) = evolved(&groups);
        assert_holds(&file, &summary, &rows);
    }

    #[test]
    fn any_cells_in_any_row_groups_are_read_back(groups in prop::collection::vec(any_flat_rows(5), 1..5)) {
        let rows = groups.concat();
        prop_assume!(rows.is_empty() || rows.iter().any(|r| !r.as_object().unwrap().is_empty()));
        let (file, summary) = evolved_mixing(&groups, TypeMerge::Text);
        assert_holds(&file, &summary, &rows);
    }
}
