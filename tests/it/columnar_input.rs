//! Parquet and Arrow IPC as inputs: written by drawoff and by others, through every command that reads records.

use std::sync::Arc;

use arrow_array::builder::{MapBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, Decimal256Array, DictionaryArray, DurationSecondArray, FixedSizeBinaryArray, Float64Array,
    Int8Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow_buffer::{OffsetBuffer, i256};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::data_type::{ByteArray, ByteArrayType, FixedLenByteArray, FixedLenByteArrayType, Int96, Int96Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;

use crate::support::{Done, Place, exit, root, rows, tool};

const ROWS: &str = r#"{"id":1,"name":"a","o":{"x":1,"y":"q"},"l":[1,2],"d":"2024-01-31","n":"1.50"}
{"id":2,"name":null,"o":null,"l":[],"d":"2024-02-01","n":null}
{"id":3,"name":"c","o":{"x":3,"y":null},"l":null,"d":null,"n":"2.25"}
"#;

const FILES: [&str; 3] = ["r.parquet", "r.arrow", "r.arrows"];

/// Writes the rows above in every columnar format.
fn written() -> Place {
    let place = Place::new();
    place.write("r.ndjson", ROWS);
    let typed = "--cast d:date --cast n:decimal(8,2)";
    place.run_line(&format!("convert r.ndjson -o r.parquet -o r.arrow -o r.arrows {typed}")).ok();
    place
}

fn parquet(place: &Place, name: &str, columns: &[(&str, ArrayRef)]) {
    let batch = RecordBatch::try_from_iter(columns.iter().map(|(name, column)| (*name, column.clone()))).unwrap();
    let file = std::fs::File::create(place.path(name)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn what_was_written_is_read_back_with_its_types() {
    let place = written();
    let expected = ROWS.replace("\"1.50\"", "1.50").replace("\"2.25\"", "2.25");
    for name in FILES {
        let done = place.run_line(&format!("convert {name} -o -")).ok();
        assert_eq!(done.text(), expected, "{name}");
        assert!(done.stderr.contains("3 rows in, 3 written"), "{}", done.stderr);
        place.run_line(&format!("convert {name} -o again.parquet")).ok();
        assert_eq!(
            rows::parquet_schema(place.read("again.parquet")),
            rows::parquet_schema(place.read("r.parquet")),
            "{name}"
        );
        assert_eq!(place.run_line("convert again.parquet -o -").ok().text(), expected, "{name}");
        let schema = place.run_line(&format!("schema {name}")).ok();
        assert!(schema.text().contains("decimal(8,2)") && schema.text().contains("date"), "{}", schema.text());
    }
}

#[test]
fn steps_and_queries_see_columnar_rows() {
    let place = written();
    for name in FILES {
        let run = |rest: &[&str]| place.run(&[&["convert", name, "-o", "-"], rest].concat());
        let done = run(&["--to", "csv", "--where", "id >= 2", "--select", "id,d"]).ok();
        assert_eq!(done.text(), "id,d\n2,2024-02-01\n3,\n");
        assert!(done.stderr.contains("3 rows in, 2 written, 0 rejected, 1 filtered"), "{}", done.stderr);
        assert_eq!(
            run(&["--sql", "select sum(id) s, max(d) m from results"]).ok().text(),
            "{\"s\":6,\"m\":\"2024-02-01\"}\n"
        );
        assert_eq!(run(&["--sql", "select id + 1 j from results where id < 3"]).ok().text(), "{\"j\":2}\n{\"j\":3}\n");
        assert_eq!(run(&["--limit", "1", "--select", "id"]).ok().text(), "{\"id\":1}\n");
        assert_eq!(run(&["--explode", "l", "--select", "id,l"]).ok().text().lines().count(), 4);
        run(&["--where", "foo = 1"]).code(exit::USAGE).says("there is no column `foo`");
        // A row is named by its number, and is shown as JSON in the rejects.
        run(&["--cast", "name:int"]).code(exit::BAD_DATA).says(&format!("{name} line 1"));
        let line = format!("convert {name} -o y.ndjson --cast name:int --on-bad-record skip");
        place.run_line(&line).code(exit::PARTIAL);
        let rejects = rows::ndjson(&place.read("y.rejects.ndjson"));
        assert_eq!(rejects.iter().map(|r| r["line"].clone()).collect::<Vec<_>>(), [json!(1), json!(3)]);
        let explained = place.run(&["explain", name, "--where", "id > 1"]).ok();
        assert!(explained.text().contains("list<int>"), "{}", explained.text());
    }
}

#[test]
fn truncated_columnar_sources_are_errors() {
    let place = written();
    for name in FILES {
        let bytes = place.read(name);
        // In the magic, in a batch, and without the last bytes, which are the proof of the end.
        for len in [12, bytes.len() / 2, bytes.len() - 9, bytes.len() - 4] {
            let cut = format!("cut{len}.{name}");
            place.write(&cut, &bytes[..len]);
            place.run_line(&format!("convert {cut} -o out.ndjson")).code(exit::BAD_DATA);
            assert!(!place.path("out.ndjson").exists(), "{cut}");
        }
    }
    let parquet = place.read("r.parquet");
    let done = place.run_with_stdin(&["convert", "-", "-o", "-"], &parquet).code(exit::BAD_DATA);
    done.says("stdin").hints("save it to a file");
    for name in ["r.arrow", "r.arrows"] {
        let done = place.run_with_stdin(&["convert", "-", "-o", "-"], &place.read(name)).ok();
        assert_eq!(done.text().lines().count(), 3);
    }
}

#[test]
fn a_column_that_nothing_reads_may_have_any_type_and_values() {
    let place = Place::new();
    let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), Some(f64::INFINITY), None]));
    let bytes = Decimal256Array::from(vec![Some(i256::ONE), None, Some(i256::ONE), Some(i256::ONE)]);
    let bytes: ArrayRef = Arc::new(bytes.with_precision_and_scale(50, 2).unwrap());
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let items = Arc::new(Field::new("item", DataType::Float64, true));
    let offsets = OffsetBuffer::from_lengths([2, 0, 1, 1]);
    let values: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 1.0, f64::NEG_INFINITY, 2.0]));
    let lists: ArrayRef = Arc::new(ListArray::new(items, offsets, values, None));
    let columns = [("n", ids), ("f", numbers), ("a b", bytes), ("l", lists)];
    parquet(&place, "all.parquet", &columns);
    let batch = RecordBatch::try_from_iter(columns.iter().map(|(name, column)| (*name, column.clone()))).unwrap();
    let mut writer = StreamWriter::try_new(std::fs::File::create(place.path("all.arrows")).unwrap(), &batch.schema());
    writer.as_mut().unwrap().write(&batch).unwrap();
    writer.unwrap().finish().unwrap();
    for name in ["all.parquet", "all.arrows"] {
        let read = |steps: &[&str]| {
            let line = [&["convert", name, "-o", "-", "--to", "ndjson"], steps].concat();
            place.run(&line)
        };
        let ids = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n";
        assert_eq!(read(&["--select", "n"]).ok().text(), ids);
        assert_eq!(read(&["--drop", "f,\"a b\"", "--drop", "l"]).ok().text(), ids);
        assert_eq!(read(&["--where", "n>1", "--drop", "f,\"a b\",l", "--where", "n<3"]).ok().text(), "{\"n\":2}\n");
        assert_eq!(
            read(&["--drop", "\"a b\",f,l", "--sql", "SELECT max(n) AS m FROM results"]).ok().text(),
            "{\"m\":4}\n"
        );
        assert_eq!(read(&["--with", "x=n+1", "--select", "x", "--limit", "1"]).ok().text(), "{\"x\":2}\n");
        // What is read is an error that names the way out.
        read(&[]).code(exit::BAD_DATA).says("the column `a b` has the unsupported type").hints("--drop '\"a b\"'");
        let refused = read(&["--select", "n,f"]).code(exit::BAD_DATA);
        refused
            .says("the column `f` contains an infinity or NaN")
            .hints("`--in-null NaN,inf,-inf`, or leave the column out with `--drop f`");
        read(&["--where", "f > 0", "--drop", "f,l,\"a b\""]).code(exit::BAD_DATA).says("`f`");
        read(&["--with", "x=f", "--drop", "f,l,\"a b\""]).code(exit::BAD_DATA).says("`f`");
        assert_eq!(read(&["--with", "x=n", "--cast", "x:string", "--drop", "x,f,l,\"a b\""]).ok().text(), ids);
        read(&["--rename", "l=m", "--drop", "f,\"a b\""]).code(exit::BAD_DATA).says("`a b`");
        read(&["--drop", "\"a b\",f", "--rename", "l=m"])
            .code(exit::BAD_DATA)
            .says("the column `l` contains an infinity");
        // As null, in lists too.
        let found = read(&["--in-null", "NaN,inf,-inf", "--drop", "\"a b\""]).ok().text().to_owned();
        let expected = "{\"n\":1,\"f\":0.5,\"l\":[null,1.0]}\n{\"n\":2,\"f\":null,\"l\":[]}\n{\"n\":3,\"f\":null,\"l\":[null]}\n{\"n\":4,\"f\":null,\"l\":[2.0]}\n";
        assert_eq!(found, expected);
        let partly = read(&["--in-null", "nan", "--select", "f", "--limit", "2"]).code(exit::BAD_DATA);
        partly.says("the column `f` contains an infinity");
        // Other words, and other properties of CSV, are none of these formats.
        read(&["--in-null", "NaN,-", "--select", "n"]).code(exit::USAGE).says("is not CSV");
        read(&["--in-null", "NaN", "--in-decimal", ",", "--select", "n"]).code(exit::USAGE).says("is not CSV");
    }
}

#[test]
fn bytes_are_base64_and_uuids_have_their_own_form() {
    let place = Place::new();
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![Some(&b"\x00\xff"[..]), None]));
    let id = [0x0b, 0x7c, 0xf3, 0xa4, 0x1f, 0x7e, 0x4c, 0x55, 0x8a, 0x39, 0x9e, 0x2d, 0x6f, 0x1c, 0x0a, 0x77];
    let ids: ArrayRef = Arc::new(FixedSizeBinaryArray::try_from_iter([id, id].into_iter()).unwrap());
    let fields = vec![
        Field::new("b", DataType::Binary, true),
        Field::new("id", DataType::FixedSizeBinary(16), false)
            .with_metadata([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into()),
        Field::new("raw", DataType::FixedSizeBinary(16), false),
    ];
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), vec![bytes, ids.clone(), ids]).unwrap();
    let mut writer = StreamWriter::try_new(std::fs::File::create(place.path("x.arrows")).unwrap(), &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    // The logical type of Parquet, as DuckDB and others write it.
    let message = "message m { optional binary b; required fixed_len_byte_array(16) id (UUID);
        required fixed_len_byte_array(16) raw; }";
    let types = Arc::new(parse_message_type(message).unwrap());
    let mut file = std::fs::File::create(place.path("x.parquet")).unwrap();
    let mut writer = SerializedFileWriter::new(&mut file, types, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let some = ByteArray::from(vec![0, 0xff]);
    column.typed::<ByteArrayType>().write_batch(&[some], Some(&[1, 0]), None).unwrap();
    column.close().unwrap();
    for _ in 0..2 {
        let mut column = group.next_column().unwrap().unwrap();
        let id = FixedLenByteArray::from(ByteArray::from(id.to_vec()));
        column.typed::<FixedLenByteArrayType>().write_batch(&[id.clone(), id], None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
    let uuid = "0b7cf3a4-1f7e-4c55-8a39-9e2d6f1c0a77";
    let raw = "C3zzpB9+TFWKOZ4tbxwKdw==";
    let expected = [json!({"b": "AP8=", "id": uuid, "raw": raw}), json!({"b": null, "id": uuid, "raw": raw})];
    for name in ["x.arrows", "x.parquet"] {
        assert_eq!(place.run_line(&format!("convert {name} -o -")).ok().records(), expected, "{name}");
        assert_eq!(place.run_line(&format!("head {name} -o ndjson")).ok().records(), expected, "{name}");
        let done = place.run_line(&format!("schema {name}")).ok();
        assert_eq!(done.text().matches("text").count(), 3, "{}", done.text());
        let done = place.run_line(&format!("stats {name} -o ndjson")).ok();
        assert_eq!(done.records().iter().map(|column| column["nulls"].clone()).collect::<Vec<_>>(), [1, 0, 0]);
        let done =
            place.run(&["convert", name, "-o", "-", "--where", &format!("id = '{uuid}' and b is not null")]).ok();
        assert_eq!(done.records(), expected[..1], "{name}");
        let done =
            place.run(&["convert", name, "-o", "-", "--sql", "SELECT b FROM results WHERE id LIKE '0b7c%'"]).ok();
        assert_eq!(done.records(), [json!({"b": "AP8="}), json!({"b": null})], "{name}");
    }
}

#[test]
fn columns_without_a_counterpart_and_mixed_sources_are_refused() {
    let place = written();
    let wide = Decimal256Array::from(vec![i256::ONE]).with_precision_and_scale(50, 2).unwrap();
    let wide = [("w", Arc::new(wide) as ArrayRef), ("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef)];
    parquet(&place, "wide.parquet", &wide);
    for command in ["convert wide.parquet -o -", "head wide.parquet", "stats wide.parquet"] {
        let done = place.run_line(command).code(exit::BAD_DATA).says("the column `w` has the unsupported type");
        done.hints("`--drop w`");
        place.run_line(&format!("{command} --drop w")).ok();
    }
    // `schema` has no steps: the command of its hint does what it could not.
    let done = place.run_line("schema wide.parquet").code(exit::BAD_DATA);
    let hint = done.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap();
    let command = hint.split('`').nth(1).unwrap().strip_prefix("drawoff ").unwrap();
    assert!(place.run_line(command).ok().text().contains("n       int"));
    parquet(&place, "nan.parquet", &[("x", Arc::new(Float64Array::from(vec![f64::NAN])))]);
    place.run_line("convert nan.parquet -o -").code(exit::BAD_DATA).says("`x`").says("NaN");
    place.run_line("convert r.parquet r.ndjson -o out.csv").code(exit::USAGE).says("r.ndjson");
    place.run_line("convert r.ndjson r.parquet -o out.csv").code(exit::USAGE).says("r.parquet");
    place.run_line("convert r.parquet -o out.csv --in-delimiter ;").code(exit::USAGE).says("r.parquet is not CSV");
    for name in FILES {
        // Every byte is text in such an encoding.
        let line = format!("convert {name} -o out.csv --in-encoding latin1");
        place.run_line(&line).code(exit::USAGE).says(&format!("{name} is not text"));
    }
    // An empty source is of any kind.
    place.write("empty", "");
    for line in ["convert empty r.arrow -o - --select id", "convert r.arrow empty -o - --select id"] {
        assert_eq!(place.run_line(line).ok().text().lines().count(), 3);
    }
    assert!(!place.path("out.csv").exists());
}

#[test]
fn columns_of_several_files_are_merged() {
    let place = Place::new();
    parquet(&place, "a.parquet", &[("n", Arc::new(Int64Array::from(vec![1])))]);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    parquet(&place, "b.parquet", &[("s", text), ("n", Arc::new(Int64Array::from(vec![2])))]);
    for out in ["-", "x.ndjson"] {
        let done = place.run(&["convert", "a.parquet", "b.parquet", "-o", out, "--to", "ndjson"]).ok();
        let text = if out == "-" { done.text().to_owned() } else { place.read_text(out) };
        assert_eq!(text, "{\"n\":1,\"s\":null}\n{\"n\":2,\"s\":\"x\"}\n");
    }
    // Without rows the columns remain.
    parquet(&place, "none.parquet", &[("n", Arc::new(Int64Array::from(Vec::<i64>::new())))]);
    assert_eq!(place.run_line("convert none.parquet -o - --to csv").ok().text(), "n\n");
}

fn arrow(place: &Place, name: &str, column: ArrayRef) {
    let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
    let mut writer = StreamWriter::try_new(std::fs::File::create(place.path(name)).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
}

#[test]
fn later_sources_widen_the_columns_whatever_was_known_before() {
    let place = Place::new();
    place.write("1.ndjson", "{\"a\":1}\n");
    place.write("2.ndjson", "{\"b\":\"x\",\"a\":2.5}\n");
    for name in ["1", "2"] {
        place.run_line(&format!("convert {name}.ndjson -o {name}.arrows")).ok();
    }
    let second = place.read("2.arrows");
    let row = |a: f64, b: Option<&str>| json!({"a": a, "b": b});
    let expected = [row(1.0, None), row(2.5, Some("x"))];
    // A pipe is not read before the first row is written, and neither are files under `sample`.
    for out in ["x.parquet", "x.ndjson"] {
        let run = |args: &[&str], input: &[u8]| {
            place.run_with_stdin(&[&["convert", "1.arrows"], args, &["-o", out]].concat(), input).ok();
            let text = place.run_line(&format!("convert {out} -o -")).ok();
            let mut found = rows::ndjson(text.text().as_bytes());
            // A copy into NDJSON has the columns of each row.
            found[0].as_object_mut().unwrap().entry("b").or_insert(json!(null));
            found.iter_mut().for_each(|row| row["a"] = json!(row["a"].as_f64()));
            assert_eq!(found, expected, "{out} {args:?}");
        };
        run(&["-"], &second);
        run(&["2.arrows", "--schema-from", "sample"], b"");
        run(&["2.arrows"], b"");
    }
    let done = place.run_with_stdin(&["convert", "1.arrows", "-", "-o", "-"], &second).ok();
    assert_eq!(done.text(), "{\"a\":1}\n{\"a\":2.5,\"b\":\"x\"}\n");
    // Steps may name a column that only the second has, as one that appears in later records.
    for sources in [&["1.arrows", "2.arrows"][..], &["1.arrows", "-"]] {
        let run = |condition: &str| {
            place.run_with_stdin(&[&["convert"], sources, &["-o", "-", "--where", condition]].concat(), &second)
        };
        for condition in ["`b` = 'x'", "b = 'x'"] {
            let found = rows::ndjson(run(condition).ok().text().as_bytes());
            assert_eq!(found, [row(2.5, Some("x"))], "{sources:?}");
        }
        run("c = 'x'").code(exit::USAGE).says("no record has a value in a column `c`");
        run("`c` = 'x'").ok().says("no record had a column `c`");
        place.run(&["explain", "1.arrows", "2.arrows", "--where", "`b` = 'x'"]).ok();
    }
    // An integer beyond the doubles beside doubles is kept as text.
    place.write("3.ndjson", "{\"a\":9007199254740993}\n");
    place.run_line("convert 3.ndjson -o 3.arrows").ok();
    place.run_line("convert 1.arrows 2.arrows 3.arrows -o x.parquet --schema-from sample").ok();
    let text = place.run_line("convert x.parquet -o - --select a").ok();
    assert_eq!(text.text(), "{\"a\":\"1\"}\n{\"a\":\"2.5\"}\n{\"a\":\"9007199254740993\"}\n");
    // What cannot follow is an error, and never a row without its values.
    let csv = ["convert", "1.arrows", "-", "-o", "-", "--to", "csv"];
    place.run_with_stdin(&csv, &second).code(exit::SCHEMA_CHANGED).says("stdin line 1").says("column `b`");
    let rest = "convert 1.arrows 2.arrows -o x.csv --extra-column rest --schema-policy fail --schema-from sample";
    place.run_line(rest).code(exit::SCHEMA_CHANGED).says("column `b`");
}

#[test]
fn a_schema_file_holds_for_columnar_rows() {
    let place = written();
    let schema = |ty: &str| {
        place.write("s.json", format!("{{\"drawoff_schema\":1,\"fields\":[{{\"name\":\"id\",\"type\":\"{ty}\"}}]}}"))
    };
    let run = |policy: &str| {
        let line = format!("convert r.parquet -o - --to csv --select id --schema s.json --schema-policy {policy}");
        place.run_line(&line)
    };
    schema("int");
    assert_eq!(run("evolve").ok().text(), "id\n1\n2\n3\n");
    for policy in ["freeze", "fail"] {
        run(policy).code(exit::SCHEMA_CHANGED).says("column `name`").says(policy);
    }
    schema("text");
    run("evolve").code(exit::USAGE).says("the column `id` of a source would make the type json");
}

#[test]
fn values_that_a_cast_would_change_stay_or_are_refused() {
    let place = Place::new();
    let read = |name: &str| place.run(&["convert", name, "-o", "-"]);
    // A dictionary may hold a null.
    let values: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None]));
    let dictionary = DictionaryArray::new(Int8Array::from(vec![Some(0), Some(1), None]), values);
    arrow(&place, "dictionary.arrows", Arc::new(dictionary));
    assert_eq!(read("dictionary.arrows").ok().text(), "{\"c\":\"x\"}\n{\"c\":null}\n{\"c\":null}\n");
    arrow(&place, "long.arrows", Arc::new(DurationSecondArray::from(vec![i64::MAX])));
    read("long.arrows").code(exit::BAD_DATA).says("column `c`").says("too long");
    arrow(&place, "short.arrows", Arc::new(DurationSecondArray::from(vec![90])));
    assert_eq!(read("short.arrows").ok().text(), "{\"c\":\"PT90S\"}\n");
    // What stands beneath a null is no value, and NaN in an element is one.
    let list = |valid: [bool; 2]| {
        let item = Arc::new(Field::new("item", DataType::Float64, true));
        let values: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN]));
        ListArray::new(item, OffsetBuffer::from_lengths([1, 1]), values, Some(valid.to_vec().into()))
    };
    arrow(&place, "null.arrows", Arc::new(list([true, false])));
    assert_eq!(read("null.arrows").ok().text(), "{\"c\":[1.0]}\n{\"c\":null}\n");
    arrow(&place, "nan.arrows", Arc::new(list([false, true])));
    read("nan.arrows").code(exit::BAD_DATA).says("NaN");
    // A key stands once in an object.
    let field = |name: &str| Arc::new(Field::new(name, DataType::Int64, true));
    let ones: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let twice = StructArray::from(vec![(field("a"), ones.clone()), (field("a"), ones)]);
    arrow(&place, "twice.arrows", Arc::new(twice));
    read("twice.arrows").code(exit::BAD_DATA).says("unsupported type");
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for keys in [["a", "b"], ["k", "k"]] {
        for key in keys {
            map.keys().append_value(key);
            map.values().append_value("v");
        }
        map.append(true).unwrap();
    }
    let map = map.finish();
    arrow(&place, "map.arrows", Arc::new(map.slice(0, 1)));
    assert_eq!(read("map.arrows").ok().text(), "{\"c\":{\"a\":\"v\",\"b\":\"v\"}}\n");
    arrow(&place, "map.arrows", Arc::new(map));
    read("map.arrows").code(exit::BAD_DATA).says("the same key twice");
}

/// Writes `2020-01-01` and `9999-12-31` as time stamps of 96 bits, in a row of two.
fn int96(place: &Place, name: &str) {
    let schema = parse_message_type("message m { required int96 a; required int96 b; }").unwrap();
    let file = std::fs::File::create(place.path(name)).unwrap();
    let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for julian_day in [2_458_850, 5_373_484] {
        let mut column = group.next_column().unwrap().unwrap();
        let mut value = Int96::new();
        value.set_data(0, 0, julian_day);
        column.typed::<Int96Type>().write_batch(&[value], None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn time_stamps_of_96_bits_do_not_wrap_around() {
    let place = Place::new();
    int96(&place, "spark.parquet");
    let expected = "{\"a\":\"2020-01-01T00:00:00\",\"b\":\"9999-12-31T00:00:00\"}\n";
    assert_eq!(place.run_line("convert spark.parquet -o -").ok().text(), expected);
    let query = ["--table", "t=spark.parquet", "--sql", "select t.* from results, t"];
    place.write("one.ndjson", "{\"z\":1}\n");
    assert_eq!(place.run(&[&["convert", "one.ndjson", "-o", "-"], &query[..]].concat()).ok().text(), expected);
}

#[test]
fn pages_of_every_codec_are_read_and_their_checksums_compared() {
    let place = Place::new();
    let column: ArrayRef = Arc::new(StringArray::from_iter_values((0..500).map(|i| format!("row {i}"))));
    let batch = RecordBatch::try_from_iter([("s", column)]).unwrap();
    let expected: String = (0..500).map(|i| format!("{{\"s\":\"row {i}\"}}\n")).collect();
    for codec in ["uncompressed", "snappy", "gzip(6)", "brotli(3)", "lz4", "lz4_raw", "zstd(3)"] {
        let properties = WriterProperties::builder().set_compression(codec.parse().unwrap()).build();
        let file = std::fs::File::create(place.path("codec.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        assert_eq!(place.run_line("convert codec.parquet -o -").ok().text(), expected, "{codec}");
    }
    // By pyarrow: uncompressed, and the checksum of its one page is right until a value in it is another.
    let mut bytes = std::fs::read(root().join("testdata/page_checksum.parquet")).unwrap();
    place.write("sum.parquet", &bytes);
    assert_eq!(place.run_line("convert sum.parquet -o -").ok().text(), "{\"n\":1}\n{\"n\":771122}\n{\"n\":3}\n");
    let value = memchr::memmem::find(&bytes, &771_122_i64.to_le_bytes()).unwrap();
    bytes[value] ^= 1;
    place.write("sum.parquet", &bytes);
    place.run_line("convert sum.parquet -o -").code(exit::BAD_DATA).says("CRC");
}

#[test]
fn arrow_files_are_read_by_their_index_and_streams_to_their_end() {
    let place = written();
    // As polars writes them: behind the magic stands no message of a stream.
    let mut bytes = place.read("r.arrow");
    let message = bytes.windows(4).position(|word| word == [0xff; 4]).unwrap();
    bytes[message..message + 8].copy_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0]);
    place.write("polars.arrow", &bytes);
    let expected = place.run_line("convert r.arrow -o -").ok();
    assert_eq!(place.run_line("convert polars.arrow -o -").ok().text(), expected.text());
    let piped = place.run_with_stdin(&["convert", "-", "-o", "-"], &bytes);
    piped.code(exit::BAD_DATA).says("save it to a file");
    let stream = place.read("r.arrows");
    let joined = place.run_with_stdin(&["convert", "-", "-o", "-"], &[&stream[..], &stream].concat());
    joined.code(exit::BAD_DATA).says("bytes follow the end of the Arrow stream");
    // A type that the decoder panics on is no bug of the program.
    let widths = memchr::memmem::find_iter(&stream, &[64, 0, 0, 0]).collect::<Vec<_>>();
    let is_refused = |&width: &usize| {
        let mut wide = stream.clone();
        wide[width] = 128;
        place.write("wide.arrows", &wide);
        let done = place.run_line("convert wide.arrows -o wide.ndjson");
        assert!(!done.stderr.contains("bug"), "{}", done.stderr);
        done.code == exit::BAD_DATA && done.stderr.contains("bit width of 128")
    };
    assert!(widths.iter().any(is_refused), "{widths:?}");
}

#[test]
fn files_of_pyarrow_and_duckdb_are_read() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_columnar_input.py")).arg(env!("CARGO_BIN_EXE_drawoff"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    assert!(Done::of(command).ok().text().contains("20000 rows of each"));
}
