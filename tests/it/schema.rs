//! `drawoff schema` and the flags for schemas: output formats, schema files, policies, `--extra-column` and
//! `--lossy-utf8`.

use serde_json::{Value, json};

use crate::support::rows;
use crate::support::{Place, exit};

/// The filler brings the sample to its end.
fn late(last: &str) -> String {
    let filler = "{\"a\":1,\"s\":{\"x\":1},\"filler\":\"some text so that the sample ends before the surprise\"}\n";
    filler.repeat(120_000) + last
}

#[test]
fn every_output_format_of_schema() {
    let place = Place::new();
    place.write("in.ndjson", "{\"id\":1,\"who\":[{\"mail\":\"a\"}]}\n{\"id\":2.5,\"who\":[{\"n\":1}]}\n");
    let done = place.run_line("schema in.ndjson").ok();
    let table: Vec<Vec<&str>> = done.text().lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(table[0], ["FIELD", "TYPE", "FROM", "SET", "BY", "BEFORE"]);
    assert_eq!(table[1][..4], ["id", "float", "all", "records"]);
    assert!(done.text().contains("in.ndjson line 2 (byte 30)"), "{}", done.text());
    assert_eq!(table[1].last(), Some(&"int"));
    assert_eq!((table[2][0], table[3][0], table[4][0]), ("who", "who[].mail", "who[].n"));

    let file: Value = serde_json::from_str(place.run_line("schema in.ndjson --format json").ok().text()).unwrap();
    assert_eq!(file["drawoff_schema"], 1);
    let set_by = json!({"source": "in.ndjson", "line": 2, "record": 1, "byte": 30, "before": "int"});
    assert_eq!(file["fields"][0], json!({"name": "id", "type": "float", "from": "full", "set_by": set_by}));
    let inner = &file["fields"][1]["item"]["fields"];
    assert_eq!((&inner[1]["name"], &inner[1]["set_by"]["before"]), (&json!("n"), &Value::Null));

    let text = place.run_line("schema in.ndjson --format parquet").ok();
    for part in ["message schema {", "OPTIONAL DOUBLE id;", "REPEATED group list", "BYTE_ARRAY mail (STRING)"] {
        assert!(text.text().contains(part), "{part} is missing in\n{}", text.text());
    }
    let arrow: Value = serde_json::from_str(place.run_line("schema in.ndjson --format arrow").ok().text()).unwrap();
    assert_eq!(arrow["fields"][0]["type"], json!({"name": "floatingpoint", "precision": "DOUBLE"}));

    // A stream, and a sample, say that they are not everything.
    let done = place.run_with_stdin(&["schema", "-"], b"a,b\n1,\n").ok();
    assert!(done.text().contains("header") && done.text().contains("sample"), "{}", done.text());
    done.says("later ones may widen it");
    place.run_line("schema in.ndjson --schema-from sample").ok().says("from the first 2 records");
    place.run_with_stdin(&["schema", "-", "--schema-from", "full"], b"{}").code(exit::USAGE).says("--schema-from full");
}

#[test]
fn declared_types_are_attributed_to_the_workflow() {
    let place = Place::new();
    place.write("in.ndjson", "{\"years\":null,\"x\":1}\n");
    place.write(
        "workflow.json",
        r#"{"edges":[],"blocks":[{"sequence_number":1,"block_type":"enrichment","block_name":"lead_enrichment",
            "specs":{"return_fields":{"years":{"type":"int","description":"Years in the role"}}}}]}"#,
    );
    let done = place.run_line("schema in.ndjson --workflow workflow.json --format json").ok();
    let file: Value = serde_json::from_str(done.text()).unwrap();
    let said: Vec<(&Value, &Value)> =
        file["fields"].as_array().unwrap().iter().map(|f| (&f["type"], &f["from"])).collect();
    assert_eq!(said, [(&json!("int"), &json!("workflow")), (&json!("int"), &json!("full"))]);
}

#[test]
fn a_saved_schema_gives_the_same_output() {
    let place = Place::new();
    for (format, source) in [("ndjson", "testdata/companies.ndjson"), ("csv", "testdata/companies.csv")] {
        let saved = place.run(&["schema", source, "--format", "json"]).ok();
        let file = format!("{format}.schema.json");
        place.write(&file, &saved.stdout);
        for policy in ["evolve", "freeze", "fail"] {
            place.run(&["convert", source, "-o", "out.parquet", "--schema", &file, "--schema-policy", policy]).ok();
        }
        place.run(&["convert", source, "-o", "plain.parquet"]).ok();
        assert_eq!(rows::parquet(place.read("out.parquet")), rows::parquet(place.read("plain.parquet")));
        // All of it is by the file now, and the types are the same.
        let types = |text: &str| -> Vec<Value> {
            let file: Value = serde_json::from_str(text).unwrap();
            file["fields"].as_array().unwrap().iter().map(|f| f["type"].clone()).collect()
        };
        let again = place.run(&["schema", source, "--schema", &file, "--format", "json"]).ok();
        assert_eq!(types(again.text()), types(saved.text()));
        assert!(!again.text().contains("\"full\""), "{}", again.text());
    }
}

#[test]
fn records_that_break_a_schema_file_are_bad() {
    let place = Place::new();
    place.write("s.json", "{\"drawoff_schema\":1,\"fields\":[\n{\"name\":\"id\",\"type\":\"int\"}]}");
    place.write("in.ndjson", "{\"id\":1}\n{\"id\":\"two\"}\n{\"id\":3,\"more\":[]}\n");
    let line = "convert in.ndjson --schema s.json -o out";
    for to in ["parquet", "csv", "ndjson"] {
        let line = format!("{line}.{to}");
        place.run_line(&line).code(exit::BAD_DATA).says("line 2").says("field `id`: expected int by the schema file");
        place.run_line(&format!("{line} --on-bad-record skip")).code(exit::PARTIAL).says("1 rejected");
        place
            .run_line(&format!("{line} --on-bad-record skip --schema-policy freeze"))
            .code(exit::PARTIAL)
            .says("2 rej");
        place.run_line(&format!("{line} --schema-policy fail")).code(exit::SCHEMA_CHANGED).hints("evolve");
    }
    let done = place.run_line("schema in.ndjson --schema s.json").code(exit::PARTIAL);
    assert!(done.text().contains("schema file") && done.text().contains("more"), "{}", done.text());
    done.says("1 of 3 records do not fit the schema file").says("line 2");

    place.write("bad.json", "{\"drawoff_schema\":1,\"fields\":[\n{\"name\":\"id\",\n\"type\":\"integer\"}]}");
    let done = place.run_line("convert in.ndjson --schema bad.json -o out.csv").code(exit::USAGE);
    done.says("bad.json: line 3: field `id`: unknown type `integer`").hints("--format json");
    place.run_line("convert in.ndjson --schema none.json -o out.csv").code(exit::CANNOT_READ).says("none.json");
}

#[test]
fn extra_column_takes_the_late_fields_of_a_stream() {
    let place = Place::new();
    let text = late("{\"a\":2,\"late\":{\"k\":[1.50]}}\n{\"a\":\"three\",\"s\":{\"y\":2}}\n");
    for to in ["csv", "parquet"] {
        let args = ["convert", "-", "-o", "-", "--to", to];
        let done = place.run_with_stdin(&args, text.as_bytes()).code(exit::SCHEMA_CHANGED);
        done.says("late").hints("--extra-column");
        let done = place.run_with_stdin(&[&args[..], &["--extra-column", "rest"]].concat(), text.as_bytes()).ok();
        let last: Vec<Value> = match to {
            "csv" => {
                assert!(done.stdout.starts_with(b"a,s,filler,rest\n"));
                rows::csv_objects(&done.stdout)
            }
            _ => rows::parquet(done.stdout),
        };
        assert_eq!(last.len(), 120_002);
        let last = &last[120_000..];
        let rest = |row: &Value| serde_json::from_str::<Value>(row["rest"].as_str().unwrap()).unwrap();
        assert_eq!(rest(&last[0]).to_string(), r#"{"late":{"k":[1.50]}}"#, "digits are kept");
        match to {
            // A cell of CSV takes any value.
            "csv" => assert_eq!((&last[1]["a"], &last[1]["rest"]), (&json!("three"), &Value::Null)),
            _ => {
                assert_eq!((&last[1]["a"], &last[1]["s"]), (&Value::Null, &Value::Null));
                assert_eq!(rest(&last[1]), json!({"a": "three", "s": {"y": 2}}));
            }
        }
    }
    place.write("in.ndjson", "{\"a\":1}\n");
    let done = place.run_line("convert in.ndjson -o out.ndjson --extra-column rest").code(exit::USAGE);
    done.hints("JSON keeps every key");
    place
        .run_line("convert in.ndjson -o out.csv --extra-column a")
        .code(exit::USAGE)
        .says("the input has a column of that name")
        .hints("--extra-column NAME");
}

#[test]
fn invalid_utf_8_fails_or_is_replaced() {
    let place = Place::new();
    place.write("in.ndjson", b"{\"a\":\"x\xff\"}\n{\"a\":\"y\"}\n");
    place.run_line("convert in.ndjson -o out.csv").code(exit::BAD_DATA).says("invalid UTF-8");
    let done = place.run_line("convert in.ndjson -o out.csv --lossy-utf8").ok();
    done.says("1 invalid UTF-8 sequence replaced");
    assert_eq!(place.read_text("out.csv"), "a\nx\u{fffd}\ny\n");
    let done = place.run_line("convert in.ndjson -o out.csv --lossy-utf8 --report json").ok();
    let report: Value = serde_json::from_str(done.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(report["utf8_replaced"], 1);
}

/// The statement for DuckDB makes the columns that it finds in a Parquet file of the same rows.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[test]
fn the_statement_for_duckdb_is_what_it_reads_from_parquet() {
    let place = Place::new();
    place.write(
        "in.ndjson",
        r#"{"id":1,"Name \"x\"":"a","f":1.5,"big":123456789012345678901,"ok":true,"none":null,"mixed":1,"o":{"a":1,"B b":{"c":["x"]}},"l":[{"k":1.5}],"d":"2026-11-30","t":"2026-11-30T10:00:00Z","m":"x"}
{"id":2,"mixed":"y","m":"y"}
"#,
    );
    place.write("in.csv", "price,code\n12345678901234567.25,007\n1.5,08\n");
    for (input, steps) in [
        ("in.ndjson", &["--cast", "d:date", "--cast", "t:timestamp"][..]),
        ("in.csv", &[]),
        ("testdata/companies.ndjson", &[]),
    ] {
        let parquet: Vec<&str> = [&["convert", input, "-o", "out.parquet"], steps].concat();
        place.run(&parquet).ok();
        // `schema` has no steps: it describes the file that they made.
        let described = if steps.is_empty() { input } else { "out.parquet" };
        let ddl = place.run(&["schema", described, "--format", "ddl:duckdb", "--into", "main.made"]).ok();
        place.write("ddl.sql", ddl.text());
        let Some(python) = crate::support::tool("DRAWOFF_TEST_PYTHON") else { return };
        let mut command = place.program(python);
        let code = "import duckdb\nc = duckdb.connect()\nc.execute(open('ddl.sql').read())\n\
                    made = [row[:2] for row in c.execute('describe main.made').fetchall()]\n\
                    read = [row[:2] for row in c.execute(\"describe from 'out.parquet'\").fetchall()]\n\
                    assert made == read, (made, read)\n\
                    c.execute(\"insert into made by name from 'out.parquet'\")\n\
                    differ = \"select count(*) from (from made except all from 'out.parquet')\"\n\
                    assert c.execute(differ).fetchone() == (0,)\n\
                    assert c.execute('select count(*) > 1 from made').fetchone() == (True,)\n";
        command.args(["-c", code]);
        crate::support::Done::of(command).ok();
    }
    place.write("case.ndjson", "{\"a\":1,\"A\":2}\n");
    place.run(&["schema", "case.ndjson", "--format", "ddl:duckdb"]).code(exit::USAGE).says("by case");
}
