//! Parquet and Arrow IPC as inputs: written by drawoff and by others, through every command that reads records.

use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
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
fn columns_without_a_counterpart_and_mixed_sources_are_refused() {
    let place = written();
    parquet(&place, "binary.parquet", &[("b", Arc::new(BinaryArray::from(vec![&b"x"[..]])))]);
    place.run_line("convert binary.parquet -o -").code(exit::BAD_DATA).says("the column `b` has the unsupported type");
    parquet(&place, "nan.parquet", &[("x", Arc::new(Float64Array::from(vec![f64::NAN])))]);
    place.run_line("convert nan.parquet -o -").code(exit::BAD_DATA).says("`x`").says("NaN");
    place.run_line("convert r.parquet r.ndjson -o out.csv").code(exit::USAGE).says("r.ndjson");
    place.run_line("convert r.ndjson r.parquet -o out.csv").code(exit::USAGE).says("r.parquet");
    place.run_line("convert r.parquet -o out.csv --in-delimiter ;").code(exit::USAGE).says("r.parquet is not CSV");
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

#[test]
fn files_of_pyarrow_and_duckdb_are_read() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_columnar_input.py")).arg(env!("CARGO_BIN_EXE_drawoff"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    assert!(Done::of(command).ok().text().contains("20000 rows of each"));
}
