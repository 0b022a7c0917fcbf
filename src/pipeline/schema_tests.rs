//! Schemas in whole executions: explicit, late and described ones, and values that do not fit them.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::oracle_tests::typed_rows;
use super::tests::{TestDir, lines, output, run, tiny};
use super::*;
use crate::column::{Field, Schema, Type};
use crate::format::schema_file;
use crate::source::Source;

const INT: Type = Type::Int { fits_double: true };

/// Parses a schema from the fields of a schema file.
fn given(fields: &str) -> Schema {
    schema_file::read(&format!("{{\"drawoff_schema\":1,\"fields\":[{fields}]}}")).unwrap()
}

fn words(schema: &Schema) -> Vec<String> {
    schema.fields.iter().map(|f| format!("{}: {}", f.name, f.ty)).collect()
}

fn rejects(dir: &TestDir) -> Vec<Value> {
    dir.read("rejects.ndjson").lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn parquet_rows(dir: &TestDir, report: &Report, rows: &[Value]) {
    let file = std::fs::read(dir.path("out.parquet")).unwrap().into();
    crate::format::parquet::tests::assert_rows(&file, &report.schema, rows);
}

/// Returns a plan that keeps rejects, with limits so low that each record is a morsel.
fn plan(source: Source, dir: &TestDir, name: &str, workers: usize) -> ExecutionPlan {
    let mut plan = ExecutionPlan::new(source, output(&dir.path(name)));
    plan.limits = tiny(workers, 1);
    plan.on_bad_record = OnBadRecord::Skip;
    plan.rejects = Some(dir.path("rejects.ndjson"));
    plan
}

/// Records with one value each that does not fit the records before, and its path and reason.
const LATE: [(&str, &str, &str); 4] = [
    (r#"{"hq":{"city":"Oslo","zip":1}}"#, "hq.zip", "the schema has no such field"),
    (r#"{"people":[{"n":1},{"n":2,"mail":"a"}]}"#, "people[1].mail", "the schema has no such field"),
    (r#"{"people":[{"n":1},{"n":"two"}]}"#, "people[1].n", "expected int, found a string"),
    (r#"{"hq":{"city":"Oslo"},"new":true}"#, "new", "the schema has no such field"),
];

const KNOWN: &str = r#"{"id":1,"hq":{"city":"Bergen"},"people":[{"n":7}]}"#;

#[test]
fn evolve_widens_nested_fields() {
    let dir = TestDir::new();
    let mut text = format!("{KNOWN}\n").repeat(60);
    LATE.iter().for_each(|(record, ..)| text.push_str(&format!("{record}\n{KNOWN}\n")));
    let rows: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    for workers in [1, 2, 7] {
        let report = run(plan(dir.write("in.ndjson", &text), &dir, "out.parquet", workers)).unwrap();
        assert_eq!(
            words(&report.schema),
            ["id: int", "hq: struct<city: text, zip: int>", "people: list<struct<n: json, mail: text>>", "new: bool"]
        );
        parquet_rows(&dir, &report, &rows);
    }
}

#[test]
fn late_keys_do_not_make_a_row_group_each() {
    let dir = TestDir::new();
    let columns: Vec<Value> = (0..300).map(|i| json!({"id": i, format!("k{i}"): i})).collect();
    let members = |i: usize| json!({"id": i, format!("o{}", i % 3): {format!("k{}", i / 3): 1}, "l": [{format!("m{}", i / 4): "x"}]});
    let members: Vec<Value> = (0..300).map(members).collect();
    for (rows, most) in [(columns, 3), (members, 12)] {
        for workers in [1, 2, 7] {
            let mut plan = plan(dir.write("in.ndjson", lines(&rows)), &dir, "out.parquet", workers);
            plan.limits = Limits { row_group_bytes: 4 << 10, ..tiny(workers, 60) };
            let report = run(plan).unwrap();
            parquet_rows(&dir, &report, &rows);
            let bytes = bytes::Bytes::from(std::fs::read(dir.path("out.parquet")).unwrap());
            let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
            let groups = reader.metadata().num_row_groups();
            assert!(groups <= most, "{groups} row groups of {} rows by {workers} workers", rows.len());
        }
    }
}

#[test]
fn freeze_rejects_and_fail_stops_at_the_exact_position() {
    let dir = TestDir::new();
    let known = format!("{KNOWN}\n").repeat(60);
    for (record, path, reason) in LATE {
        let text = format!("{known}{record}\n{KNOWN}\n");
        for workers in [1, 7] {
            let mut frozen = plan(dir.write("in.ndjson", &text), &dir, "out.parquet", workers);
            frozen.schema.policy = SchemaPolicy::Freeze;
            let report = run(frozen).unwrap();
            assert_eq!((report.rows_written, report.rows_rejected), (61, 1), "{record}");
            let reject = rejects(&dir).remove(0);
            assert_eq!((&reject["path"], &reject["reason"]), (&json!(path), &json!(reason)));
            assert_eq!(
                (&reject["line"], &reject["byte"], &reject["raw"]),
                (&json!(61), &json!(known.len()), &json!(record))
            );
            // The offset in the record is that of the value, or of the key that has no column.
            let offset = reject["offset"].as_u64().unwrap() as usize;
            let last = path.rsplit('.').next().unwrap();
            assert!(record[offset..].starts_with(&format!("\"{last}\"")) || record[offset..].starts_with("\"two\""));

            let mut failing = plan(dir.write("in.ndjson", &text), &dir, "failed.parquet", workers);
            failing.schema.policy = SchemaPolicy::Fail;
            let Err(Error::Schema { position, change }) = run(failing) else { panic!("{record}") };
            assert_eq!((position.line, position.record), (61, 60));
            assert!(change.to_string().contains(&format!("`{path}`")), "{change}");
            assert!(!dir.path("failed.parquet").exists());
        }
    }
}

#[test]
fn an_explicit_schema_is_enforced() {
    let dir = TestDir::new();
    let enforced = given(
        r#"{"name":"id","type":"int"},{"name":"score","type":"float"},{"name":"none","type":"bool"},
           {"name":"hq","type":"struct","fields":[{"name":"zip","type":"text"}]}"#,
    );
    let records = [
        (r#"{"score":1,"id":1,"hq":{"zip":"0150"}}"#, None),
        (r#"{"id":1.5}"#, Some(("id", "expected int by the schema file, found a number with a fraction or exponent"))),
        (r#"{"hq":{"zip":150}}"#, Some(("hq.zip", "expected text by the schema file, found a number"))),
        (r#"{"extra":[1],"id":2}"#, None),
        (r#"{"extra":"x","hq":{"city":"Oslo"}}"#, None),
        (r#"{"more":1,"id":"3"}"#, Some(("id", "expected int by the schema file, found a string"))),
        (
            r#"{"score":9007199254740993}"#,
            Some(("score", "expected float by the schema file, found an integer that no double holds")),
        ),
    ];
    let text: String = records.iter().map(|(record, _)| format!("{record}\n")).collect();
    let kept: Vec<Value> =
        records.iter().filter(|r| r.1.is_none()).map(|(r, _)| serde_json::from_str(r).unwrap()).collect();
    let misfits: Vec<(&str, &str)> = records.iter().filter_map(|r| r.1).collect();
    for (workers, sample_bytes, name) in [
        (1, 1, "out.parquet"),
        (7, 1, "out.parquet"),
        (2, 1 << 20, "out.parquet"),
        (2, 1, "out.csv"),
        (2, 1, "out.ndjson"),
    ] {
        let mut plan = plan(dir.write("in.ndjson", &text), &dir, name, workers);
        plan.limits.sample_bytes = sample_bytes;
        plan.schema.enforced = Some(enforced.clone());
        let report = run(plan).unwrap();
        let found: Vec<(String, String)> = rejects(&dir)
            .iter()
            .map(|r| (r["path"].as_str().unwrap().to_owned(), r["reason"].as_str().unwrap().to_owned()))
            .collect();
        let found: Vec<(&str, &str)> = found.iter().map(|(p, r)| (p.as_str(), r.as_str())).collect();
        assert_eq!(found, misfits, "{name}");
        match name {
            "out.parquet" => {
                let columns =
                    ["id: int", "score: float", "none: bool", "hq: struct<zip: text, city: text>", "extra: json"];
                assert_eq!(words(&report.schema), columns);
                parquet_rows(&dir, &report, &kept);
            }
            "out.csv" => assert!(dir.read(name).starts_with("id,score,none,hq,extra\n1,1,,"), "{}", dir.read(name)),
            _ => assert_eq!(dir.read(name).lines().count(), 3),
        }
    }
    // No further columns are allowed: under `freeze` or under `fail`.
    for name in ["out.parquet", "out.csv", "out.ndjson"] {
        let mut frozen = plan(dir.write("in.ndjson", &text), &dir, name, 2);
        frozen.schema.enforced = Some(enforced.clone());
        frozen.schema.policy = SchemaPolicy::Freeze;
        let report = run(frozen).unwrap();
        assert_eq!((report.rows_written, report.rows_rejected), (1, 6), "{name}");
        let paths: Vec<Value> = rejects(&dir).iter().map(|r| r["path"].clone()).collect();
        assert_eq!(paths, ["id", "hq.zip", "extra", "extra", "more", "score"], "{name}");
        let mut failing = plan(dir.write("in.ndjson", &text), &dir, "failed.ndjson", 2);
        failing.outputs = vec![Output { ..output(&dir.path(name)) }];
        failing.schema.enforced = Some(enforced.clone());
        failing.schema.policy = SchemaPolicy::Fail;
        let Err(Error::Schema { position, change }) = run(failing) else { panic!("{name}") };
        assert_eq!(position.line, 2);
        assert!(change.to_string().starts_with("field `id`: expected int"), "{change}");
    }
}

#[test]
fn an_explicit_schema_is_enforced_for_csv_cells() {
    let dir = TestDir::new();
    let enforced =
        given(r#"{"name":"n","type":"int"},{"name":"t","type":"text"},{"name":"l","type":"list","item":"int"}"#);
    let text = "t,n,l,x\n007,1,[1],a\n8,1.5,,b\n9,007,[],c\n10,2,[1.5],d\n11,,\"[2,3]\",5\n";
    for (name, workers) in [("out.parquet", 1), ("out.parquet", 7), ("out.csv", 2), ("out.ndjson", 2)] {
        let mut given = plan(dir.write("in.csv", text), &dir, name, workers);
        given.schema.enforced = Some(enforced.clone());
        let report = run(given).unwrap();
        assert_eq!((report.rows_written, report.rows_rejected), (2, 3), "{name}");
        let found: Vec<String> =
            rejects(&dir).iter().map(|r| format!("{} {} {}", r["line"], r["path"], r["reason"])).collect();
        assert_eq!(
            found,
            [
                r#"3 "n" "expected int by the schema file, found float""#,
                r#"4 "n" "expected int by the schema file, found text""#,
                r#"5 "l" "expected list<int> by the schema file, found other text""#
            ],
            "{name}"
        );
        match name {
            "out.parquet" => {
                assert_eq!(words(&report.schema), ["n: int", "t: text", "l: list<int>", "x: text"]);
                let rows = [json!({"n":1,"t":"007","l":[1],"x":"a"}), json!({"n":null,"t":"11","l":[2,3],"x":"5"})];
                parquet_rows(&dir, &report, &rows);
            }
            "out.csv" => assert_eq!(dir.read(name), "n,t,l,x\n1,007,[1],a\n,11,\"[2,3]\",5\n"),
            _ => assert_eq!(
                dir.read(name),
                "{\"n\":1,\"t\":\"007\",\"l\":[1],\"x\":\"a\"}\n{\"n\":null,\"t\":\"11\",\"l\":[2,3],\"x\":\"5\"}\n"
            ),
        }
        let mut frozen = plan(dir.write("in.csv", text), &dir, name, workers);
        frozen.schema.enforced = Some(enforced.clone());
        frozen.schema.policy = SchemaPolicy::Freeze;
        let report = run(frozen).unwrap();
        assert_eq!((report.rows_written, report.rows_rejected), (0, 5), "a column beside the schema, {name}");
        let mut failing = plan(dir.write("in.csv", text), &dir, name, workers);
        failing.schema.enforced = Some(enforced.clone());
        failing.schema.policy = SchemaPolicy::Fail;
        assert!(matches!(run(failing), Err(Error::Schema { .. })), "{name}");
    }
}

#[test]
fn an_enforced_struct_does_not_become_a_map() {
    let dir = TestDir::new();
    let record = |i: usize| format!("{{\"m\":{{\"{}\":1}}}}\n", 100_000 + i);
    let text: String = (0..20).map(record).collect();
    for sample_bytes in [1, 1 << 20] {
        let mut plan = plan(dir.write("in.ndjson", &text), &dir, "out.parquet", 2);
        plan.limits.sample_bytes = sample_bytes;
        plan.schema.enforced = Some(given(r#"{"name":"m","type":"struct","fields":[]}"#));
        let words = match run(plan) {
            Err(error @ (Error::Schema { .. } | Error::Plan(_))) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(words.contains("`m` have more keys than a struct can hold"), "{words}");
        assert!(!dir.path("out.parquet").exists());
    }
}

#[test]
fn a_saved_schema_can_be_used_again() {
    let dir = TestDir::new();
    let rows: Vec<Value> = (0..200)
        .map(|i| match i {
            199 => json!({"id": "x", "big": 18446744073709551615u64, "m": {}, "list": [[1], null]}),
            i => {
                json!({"id": i, "big": i, "m": {format!("https://a.test/{i}"): [i]}, "list": [[0.5]], "s": {"t": null}})
            }
        })
        .collect();
    let source = || dir.write("in.ndjson", lines(&rows));
    let full = SchemaSource { from: SchemaFrom::Full, ..SchemaSource::default() };
    let described = describe_schema(vec![source()], &full, &tiny(3, 64), &Control::new()).unwrap();
    let file = schema_file::write(&described.schema, &mut |_, _| {});
    let enforced = schema_file::read(&file).unwrap();
    assert_eq!(words(&enforced), words(&described.schema));
    for policy in [SchemaPolicy::Evolve, SchemaPolicy::Freeze, SchemaPolicy::Fail] {
        let mut again = plan(source(), &dir, "out.parquet", 7);
        again.schema = SchemaSource { enforced: Some(enforced.clone()), policy, ..SchemaSource::default() };
        let report = run(again).unwrap();
        assert_eq!((report.rows_written, words(&report.schema)), (200, words(&enforced)), "{policy:?}");
        parquet_rows(&dir, &report, &rows);
    }
}

#[test]
fn declared_types_are_checked_against_the_data() {
    let dir = TestDir::new();
    let declared = |name, ty| Field::new(name, ty);
    let text = "{\"a\":1,\"b\":\"x\",\"c\":null}\n{\"a\":2,\"b\":\"y\"}\n";
    let mut plan = plan(dir.write("in.ndjson", text), &dir, "out.parquet", 2);
    plan.schema.declared = Some(Schema::new(vec![
        declared("a", Type::Float),
        declared("b", INT),
        declared("c", Type::Text),
        declared("never", INT),
    ]));
    let report = run(plan).unwrap();
    assert_eq!(words(&report.schema), ["a: float", "b: json", "c: text"]);
    assert_eq!(report.notes, ["column `b` is declared as int, but its values widened it to json"]);
}

/// Returns rows whose objects have addresses as keys, more and more of them.
fn rows_with_open_keys() -> Vec<Value> {
    let inner = |i: usize| json!({format!("https://example.com/{}", i % 40): {"hits": i, "by": [{format!("{:08x}12", i % 30): null}]}});
    (0..120)
        .map(|i| if i < 50 { json!({"id": i, "pages": inner(i % 3)}) } else { json!({"id": i, "pages": inner(i)}) })
        .collect()
}

#[test]
fn objects_with_open_ended_keys_become_maps_late_too() {
    let dir = TestDir::new();
    let rows = rows_with_open_keys();
    let mut seen: Option<Vec<String>> = None;
    for (workers, morsel_bytes) in [(1, 1), (2, 100), (7, 1), (7, 1000), (2, 1 << 20)] {
        let mut plan = plan(dir.write("in.ndjson", lines(&rows)), &dir, "out.parquet", workers);
        plan.limits = tiny(workers, morsel_bytes);
        let report = run(plan).unwrap();
        let words = words(&report.schema);
        assert!(words[1].starts_with("pages: map<struct<by: list<map<null>>, hits: int>>"), "{words:?}");
        assert_eq!(seen.get_or_insert(words.clone()), &words, "{workers} workers, {morsel_bytes} bytes");
        parquet_rows(&dir, &report, &rows);
    }
}

#[test]
fn leaves_beyond_the_bound_become_json_text() {
    let dir = TestDir::new();
    let leaves = |n: usize| (0..n).map(|i| (format!("f{i}"), json!(i))).collect::<serde_json::Map<_, _>>();
    let wide = |n: usize| (0..n).map(|i| (format!("g{i}"), json!(leaves(100)))).collect::<serde_json::Map<_, _>>();
    let rows = [
        json!({"a": wide(15), "b": 1}),
        json!({"c": wide(20), "a": {"g0": {"f0": -1}}}),
        json!({"a": wide(16), "d": wide(9)}),
    ];
    for (workers, sample_bytes) in [(1, 1), (2, 1 << 20)] {
        let mut plan = plan(dir.write("in.ndjson", lines(&rows)), &dir, "out.parquet", workers);
        plan.limits.sample_bytes = sample_bytes;
        let report = run(plan).unwrap();
        // The widest column becomes JSON, so that the others stay within the bound.
        let is_json: Vec<bool> = report.schema.fields.iter().map(|f| f.ty == Type::Json).collect();
        assert_eq!(is_json, [false, false, true, false]);
        assert!(report.schema.n_leaves() <= crate::column::MAX_LEAVES);
        parquet_rows(&dir, &report, &rows);
    }
}

#[test]
fn an_extra_column_takes_keys_without_a_column() {
    let dir = TestDir::new();
    let text = [
        r#"{"a":1,"s":{"x":1}}"#,
        r#"{"late":"é\n","a":2,"late":[1, 2.50],"rest":{}}"#,
        r#"{"a":3,"s":{"x":2}}"#,
        r#"{"b\u0020c":null}"#,
    ]
    .map(|l| format!("{l}\n"))
    .concat();
    for workers in [1, 7] {
        let mut csv = plan(dir.write("in.ndjson", &text), &dir, "out.csv", workers);
        csv.schema.extra_column = Some("rest".into());
        let report = run(csv).unwrap();
        assert_eq!(
            dir.read("out.csv"),
            "a,s,rest\n1,\"{\"\"x\"\":1}\",\n2,,\"{\"\"late\"\":[1, 2.50],\"\"rest\"\":{}}\"\n3,\"{\"\"x\"\":2}\",\n,,\"{\"\"b\\u0020c\"\":null}\"\n"
        );
        assert_eq!(report.duplicate_keys, 1);

        let late = format!("{text}{{\"s\":{{\"y\":1}},\"z\":1}}\n");
        let mut parquet = plan(dir.write("in.ndjson", &late), &dir, "out.parquet", workers);
        parquet.schema.extra_column = Some("rest".into());
        let report = run(parquet).unwrap();
        assert_eq!(words(&report.schema), ["a: int", "s: struct<x: int, y: int>", "rest: json"]);
        let rows = [
            json!({"a":1,"s":{"x":1},"rest":null}),
            serde_json::from_str(r#"{"a":2,"rest":{"late":[1,2.50],"rest":{}}}"#).unwrap(),
            json!({"a":3,"s":{"x":2}}),
            json!({"rest":{"b c":null}}),
            json!({"s":{"y":1},"rest":{"z":1}}),
        ];
        parquet_rows(&dir, &report, &rows);
    }
    // A name that is taken, and an output that takes no extra column.
    let mut taken = plan(dir.write("in.ndjson", &text), &dir, "taken.csv", 1);
    taken.schema.extra_column = Some("a".into());
    assert_eq!(
        run(taken).unwrap_err().to_string(),
        "the extra column cannot be named `a`: the input has a column of that name"
    );
    let mut json = plan(dir.write("in.ndjson", &text), &dir, "out.ndjson", 1);
    json.schema.extra_column = Some("rest".into());
    assert_eq!(
        run(json).unwrap_err().to_string(),
        "an extra column applies only to CSV, Parquet and Arrow outputs; a JSON output keeps every key"
    );
}

#[test]
fn an_extra_column_takes_columns_of_later_csv_sources() {
    let dir = TestDir::new();
    for (name, expected) in [("out.csv", true), ("out.parquet", false)] {
        let mut plan = plan(dir.write("a.csv", "x,y\n1,a\n"), &dir, name, 2);
        plan.sources.push(dir.write("b.csv", "z,x,w\n\"p\"\"q\",2,\n,3,\n"));
        plan.schema.extra_column = Some("rest".into());
        let report = run(plan).unwrap();
        if expected {
            assert_eq!(dir.read("out.csv"), "x,y,rest\n1,a,\n2,,\"{\"\"z\"\":\"\"p\\\"\"q\"\"}\"\n3,,\n");
        } else {
            let rows = [json!({"x":1,"y":"a"}), json!({"x":2,"rest":{"z":"p\"q"}}), json!({"x":3})];
            parquet_rows(&dir, &report, &rows);
        }
    }
}

#[test]
fn invalid_utf8_is_replaced_if_the_plan_asks_for_it() {
    let dir = TestDir::new();
    let text = b"{\"a\":\"x\xffy\"}\n{\"a\":\n{\"a\":\"\xe2\x82\",\"b\":1}\n{\"a\":\"\xc3\xa9\"} \xff\n".to_vec();
    for (name, workers, morsel_bytes) in [("out.ndjson", 1, 1), ("out.ndjson", 7, 1000), ("out.parquet", 2, 1000)] {
        let mut plan = plan(dir.write("in.ndjson", &text), &dir, name, workers);
        plan.limits = tiny(workers, morsel_bytes);
        plan.lossy_utf8 = true;
        let report = run(plan).unwrap();
        assert_eq!((report.rows_written, report.rows_rejected, report.utf8_replaced), (2, 2, 3), "{name}");
        let rejects = rejects(&dir);
        assert_eq!((&rejects[0]["byte"], &rejects[0]["raw"]), (&json!(12), &json!("{\"a\":")));
        assert_eq!(
            (&rejects[1]["byte"], &rejects[1]["line"], &rejects[1]["offset"]),
            (&json!(35), &json!(4), &json!(11))
        );
        assert_eq!(rejects[1]["raw_hex"], "7b2261223a22c3a9227d20ff");
        if name == "out.ndjson" {
            assert_eq!(dir.read(name), "{\"a\":\"x\u{fffd}y\"}\n{\"a\":\"\u{fffd}\",\"b\":1}\n");
        }
    }
    let mut csv = plan(dir.write("in.csv", b"a\nx\xff\n"), &dir, "out.csv", 1);
    csv.lossy_utf8 = true;
    assert_eq!(run(csv).unwrap().utf8_replaced, 1);
    assert_eq!(dir.read("out.csv"), "a\nx\u{fffd}\n");
}

fn described(sources: Vec<Source>, choice: &SchemaSource, limits: &Limits) -> Vec<String> {
    let described = describe_schema(sources, choice, limits, &Control::new()).unwrap();
    let line = |(path, ty): (crate::position::FieldPath, &Type)| {
        let (from, by) = described.origin(&path).expect("every field has an origin");
        let by = by.map_or(String::new(), |by| {
            let p = &by.position;
            format!(" {}:{}:{}:{} {}", p.source, p.line, p.record, p.byte, by.before.as_deref().unwrap_or("-"))
        });
        format!("{path} {} {from:?}{by}", ty.outline())
    };
    described.fields().into_iter().map(line).collect()
}

#[test]
fn every_type_has_its_origin() {
    let dir = TestDir::new();
    let text = "\n{\"a\":1,\"n\":null,\"l\":[{\"x\":1}]}\r\n{broken\n{\"a\":2,\"l\":[]}\n{\"a\":2.5,\"l\":[{\"y\":[]},{\"x\":\"s\"}]}\n{\"a\":3}\n";
    let expected = |from: &str| {
        [
            format!("a float {from} a.ndjson:5:3:56 int"),
            format!("n null {from} a.ndjson:2:0:1 -"),
            format!("l list<struct> {from} a.ndjson:2:0:1 -"),
            format!("l[].x json {from} a.ndjson:5:3:56 int"),
            format!("l[].y list<null> {from} a.ndjson:5:3:56 -"),
        ]
    };
    for workers in [1, 2, 7] {
        for morsel_bytes in [1, 30, 1 << 20] {
            let sources = || vec![dir.write("a.ndjson", text), dir.write("b.ndjson", "{\"a\":1}\n")];
            let full = SchemaSource { from: SchemaFrom::Full, ..SchemaSource::default() };
            assert_eq!(described(sources(), &full, &tiny(workers, morsel_bytes)), expected("Full"));
            let sample = SchemaSource { from: SchemaFrom::Sample, ..SchemaSource::default() };
            let limits = Limits { sample_bytes: 1 << 20, ..tiny(workers, morsel_bytes) };
            assert_eq!(described(sources(), &sample, &limits), expected("Sample"));
        }
    }
    let choice = SchemaSource {
        from: SchemaFrom::Full,
        declared: Some(Schema::new(vec![Field::new("a", Type::Float), Field::new("n", INT)])),
        enforced: Some(given(
            r#"{"name":"l","type":"list","item":{"type":"struct","fields":[{"name":"x","type":"json"}]}},{"name":"z","type":"bool"}"#,
        )),
        ..SchemaSource::default()
    };
    assert_eq!(
        described(vec![dir.write("a.ndjson", text)], &choice, &tiny(2, 30)),
        [
            "l list<struct> SchemaFile",
            "l[].x json SchemaFile",
            "l[].y list<null> Full a.ndjson:5:3:56 -",
            "z bool SchemaFile",
            "a float Workflow a.ndjson:2:0:1 -",
            "n int Workflow a.ndjson:2:0:1 -",
        ]
    );
}

#[test]
fn columns_of_csv_have_their_origins() {
    let dir = TestDir::new();
    let text = "a,b,c,l\n1,,007,\n2.5,,1,[]\n\"x\",,\"two\nlines\",[1]\n";
    let choice = SchemaSource {
        from: SchemaFrom::Full,
        declared: Some(Schema::new(vec![Field::new("l", Type::List(Box::new(Type::Null)))])),
        ..SchemaSource::default()
    };
    for morsel_bytes in [1, 1 << 20] {
        assert_eq!(
            described(vec![dir.write("a.csv", text)], &choice, &tiny(2, morsel_bytes)),
            [
                "a text Full a.csv:4:2:26 float",
                "b null Header",
                "c text Full a.csv:2:0:8 null",
                "l list<int> Full a.csv:4:2:26 list<null>",
            ],
            "{morsel_bytes}"
        );
    }
}

#[test]
fn a_described_schema_counts_misfits_of_a_schema_file() {
    let dir = TestDir::new();
    let choice = SchemaSource {
        from: SchemaFrom::Full,
        enforced: Some(given(r#"{"name":"a","type":"int"}"#)),
        ..SchemaSource::default()
    };
    let text = "{\"a\":1}\n{\"a\":\"x\"}\n{\"a\":2}\n{\"a\":true}\n";
    let found = describe_schema(vec![dir.write("a.ndjson", text)], &choice, &tiny(3, 1), &Control::new()).unwrap();
    assert_eq!((found.records, found.misfits, words(&found.schema)), (4, 2, vec!["a: int".to_owned()]));
    let (position, reject) = found.first_misfit.unwrap();
    assert_eq!((position.line, position.byte, reject.path.as_str()), (2, 8, "a"));
}

/// Cells that need few or many digits before and after the point, in every order of which a column has one type.
const NUMBERS: [&str; 22] = [
    "",
    "0",
    "12",
    "1.5",
    "0.10",
    "0.100",
    "-2.25",
    "-0",
    "-0.0",
    "1e2",
    "99999999999999999",
    "9223372036854775807",
    "12345678901234567890",
    "-123456789012345678901234567890",
    "99999999999999999.9",
    "12345678901234567.25",
    "0.1000000000000000055",
    "0.30000000000000004",
    "1234567890123456789012345678901234567.5",
    "99999999999999999999999999999999999999",
    "007",
    "x",
];

#[test]
fn a_decimal_of_csv_has_the_places_of_all_its_cells() {
    let dir = TestDir::new();
    let rest = "1.5\n".repeat(10);
    for (cells, expected) in [
        (["99999999999999999.9", "0.10"], "n: decimal(19,2)"),
        (["0.1000000000000000055", "0"], "n: decimal(35,19)"),
        (["99999999999999999.9", "99999999999999999"], "n: decimal(20,1)"),
        (["12345678901234567890", "2"], "n: decimal(21,1)"),
        (["12345678901234567.25", "-0"], "n: text"),
    ] {
        for (workers, morsel_bytes) in [(1, 1), (1, 1 << 20), (2, 10), (7, 1)] {
            let text = format!("n\n{}\n{rest}{}\n", cells[0], cells[1]);
            let mut plan = ExecutionPlan::new(dir.write("in.csv", text), output(&dir.path("out.parquet")));
            plan.limits = tiny(workers, morsel_bytes);
            assert_eq!(words(&run(plan).unwrap().schema), [expected], "{cells:?} {workers} {morsel_bytes}");
        }
    }
}

#[test]
fn a_saved_decimal_takes_the_numbers_that_fit_in_it() {
    let dir = TestDir::new();
    let enforced = given(r#"{"name":"n","type":"decimal(19,2)"}"#);
    let cells = ["12345678901234567.25", "0.100", "7", "0.125", "123456789012345678", "", "1e2", "-0.5"];
    // A column beside it widens late, in some of them.
    let (alone, beside) = (|cell: &&str| format!("{cell},1\n"), |cell: &&str| format!("{cell},{cell}\n"));
    let texts = [cells.iter().map(alone).collect::<String>(), cells.iter().map(beside).collect()];
    for (workers, morsel_bytes) in [(1, 1), (7, 1), (2, 1 << 20)] {
        for (policy, rows) in
            [SchemaPolicy::Evolve, SchemaPolicy::Freeze].into_iter().flat_map(|p| [(p, &texts[0]), (p, &texts[1])])
        {
            let fields = if policy == SchemaPolicy::Evolve { "" } else { r#",{"name":"x","type":"text"}"# };
            let enforced = given(&format!(r#"{{"name":"n","type":"decimal(19,2)"}}{fields}"#));
            let mut again = plan(dir.write("in.csv", format!("n,x\n{rows}")), &dir, "out.parquet", workers);
            again.limits = tiny(workers, morsel_bytes);
            again.schema = SchemaSource { enforced: Some(enforced), policy, ..SchemaSource::default() };
            let report = run(again).unwrap();
            assert_eq!((report.rows_written, &*words(&report.schema)[0]), (5, "n: decimal(19,2)"));
            let reasons: Vec<Value> = rejects(&dir).iter().map(|reject| reject["reason"].clone()).collect();
            let expected = |found| json!(format!("expected decimal(19,2) by the schema file, found {found}"));
            assert_eq!(reasons, [expected("float"), expected("int"), expected("float")]);
            let read = typed_rows(&dir.path("out.parquet"), &report.schema);
            let values: Vec<&Value> = read.iter().map(|row| &row["n"]).collect();
            assert_eq!(serde_json::to_string(&values).unwrap(), "[12345678901234567.25,0.10,7.00,null,-0.50]");
        }
    }
    let source =
        SchemaSource { enforced: Some(enforced.clone()), policy: SchemaPolicy::Fail, ..SchemaSource::default() };
    let mut failing = plan(dir.write("in.csv", "n\n0.100\n7\n0.125\n"), &dir, "failed.parquet", 2);
    failing.schema = source.clone();
    assert!(matches!(run(failing), Err(Error::Schema { position, .. }) if position.line == 4));
    let mut json = plan(dir.write("in.ndjson", "{\"n\":1.5}\n"), &dir, "failed.parquet", 1);
    json.schema = source;
    assert!(run(json).unwrap_err().to_string().contains("type decimal(19,2) for column `n`"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Numbers of CSV that need a double, a decimal or text: the type of the column is the same for all morsel sizes and
    /// numbers of threads, and so are the values.
    #[test]
    fn types_of_csv_numbers_do_not_depend_on_the_cuts(
        early in prop::collection::vec(prop::sample::select(&NUMBERS[..]), 1..4),
        late in prop::collection::vec(prop::sample::select(&NUMBERS[..]), 1..4),
        repeated in 0usize..12,
        workers in prop::sample::select(vec![1usize, 2, 7]),
        morsel_bytes in prop::sample::select(vec![10usize, 25, 60, 300, 4096]),
    ) {
        let dir = TestDir::new();
        let cells = early.iter().chain(std::iter::repeat_n(&early[early.len() - 1], repeated)).chain(&late);
        let text: String = std::iter::once("n,i\n".to_owned()).chain(cells.map(|cell| format!("{cell},1\n"))).collect();
        let mut expected = None;
        for (workers, morsel_bytes) in [(1, 1 << 20), (workers, morsel_bytes)] {
            let mut found = Vec::new();
            for name in ["out.parquet", "out.arrow", "out.ndjson", "out.csv"] {
                let (format, compression) = crate::format::detect::output_format_of_path(&dir.path(name)).unwrap();
                let mut plan = ExecutionPlan::new(dir.write("in.csv", &text), output(&dir.path(name)));
                (plan.outputs[0].format, plan.outputs[0].compression) = (format, compression);
                plan.limits = tiny(workers, morsel_bytes);
                let report = run(plan).unwrap();
                found.push(match name {
                    "out.parquet" => format!("{:?}", typed_rows(&dir.path(name), &report.schema)),
                    "out.arrow" => String::new(),
                    name => dir.read(name),
                });
                found.extend(words(&report.schema));
            }
            let expected = expected.get_or_insert_with(|| found.clone());
            prop_assert_eq!(&found, &*expected, "{} workers, morsels of {}", workers, morsel_bytes);
        }
    }

    /// Keys of a few kinds in nested objects: the schema is the same for all morsel sizes and numbers of threads.
    #[test]
    fn maps_do_not_depend_on_the_cuts(
        keys in prop::collection::vec((0u32..30, any::<bool>(), 0u32..3), 1..60),
        objects in any::<bool>(),
        workers in prop::sample::select(vec![1usize, 2, 7]),
        morsel_bytes in 1usize..300,
    ) {
        let dir = TestDir::new();
        let rows: Vec<Value> = keys
            .iter()
            .map(|(n, plain, depth)| {
                let key = if *plain { format!("k{}", n % 4) } else { format!("{n}@example.com") };
                let value = match n % 5 {
                    0 if !objects => json!("s"),
                    _ if objects => json!({format!("f{}", n % 3): {format!("g{}", n % 7): null}}),
                    _ => json!(n),
                };
                (0..*depth).fold(json!({key: value}), |inner, d| json!({format!("d{d}"): inner}))
            })
            .map(|inner| json!({"o": inner}))
            .collect();
        let choice = SchemaSource { from: SchemaFrom::Full, ..SchemaSource::default() };
        let whole = describe_schema(vec![dir.write("in.ndjson", lines(&rows))], &choice, &tiny(1, 1 << 20), &Control::new()).unwrap();
        let mut plan = ExecutionPlan::new(dir.write("in.ndjson", lines(&rows)), output(&dir.path("out.parquet")));
        plan.limits = tiny(workers, morsel_bytes);
        let report = run(plan).unwrap();
        prop_assert_eq!(words(&report.schema), words(&whole.schema));
        parquet_rows(&dir, &report, &rows);
    }
}
