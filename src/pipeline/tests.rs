//! Whole executions over files, with limits so low that every branch runs.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::column::testing::any_rows;
use crate::format::Compression;
use crate::source::{ByteSource, Source};
use crate::transform::{Condition, Deduplicate, Filter, Logic, RemoveColumns, Step, Test};

/// A temporary directory for inputs and outputs.
pub(super) struct TestDir(tempfile::TempDir);

impl TestDir {
    pub(super) fn new() -> Self {
        TestDir(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Source {
        std::fs::write(self.path(name), content).unwrap();
        Source { name: name.into(), ..Source::file(self.path(name)) }
    }

    pub(super) fn read(&self, name: &str) -> String {
        String::from_utf8(std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// Returns the names of all files, hidden ones included.
    pub(super) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub(super) fn output(path: &Path) -> Output {
    let (format, compression) = crate::format::detect::output_format_of_path(path).unwrap();
    Output { format, compression, target: Target::File { path: path.to_owned(), no_clobber: false, append: false } }
}

/// Returns limits that split little input into many morsels and row groups.
pub(super) fn tiny(workers: usize, morsel_bytes: usize) -> Limits {
    Limits {
        workers,
        morsel_bytes,
        row_group_bytes: 3 * morsel_bytes,
        sample_bytes: 1,
        // The default's share for row groups is far above these.
        ..Limits::default()
    }
}

pub(super) fn run(plan: ExecutionPlan) -> Result<Report, Error> {
    execute(plan, &Control::new())
}

pub(super) fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

#[test]
fn order_and_counts_hold_at_any_number_of_workers() {
    let dir = TestDir::new();
    let rows: Vec<Value> = (0..500).map(|i| json!({"i": i, "name": format!("n {i}"), "list": [i, null]})).collect();
    for workers in [1, 2, 7] {
        for name in ["out.csv", "out.ndjson", "out.json", "out.csv.gz", "out.ndjson.zst", "out.parquet"] {
            let mut plan = ExecutionPlan::new(dir.write("in.ndjson", lines(&rows)), output(&dir.path(name)));
            plan.limits = tiny(workers, 128);
            let report = run(plan).unwrap();
            assert_eq!((report.rows_in, report.rows_written, report.rows_rejected), (500, 500, 0), "{name}");
            // Everything reads back as the same rows.
            let back = dir.path("back.ndjson");
            if name != "out.parquet" {
                let mut plan = ExecutionPlan::new(Source::file(dir.path(name)), output(&back));
                plan.limits = tiny(workers, 128);
                run(plan).unwrap();
                let found: Vec<Value> =
                    dir.read("back.ndjson").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
                let is: Vec<&Value> = found.iter().map(|row| &row["i"]).collect();
                assert_eq!(is, rows.iter().map(|row| &row["i"]).collect::<Vec<_>>(), "{name}");
            } else {
                let file = std::fs::read(dir.path(name)).unwrap().into();
                crate::format::parquet::tests::assert_rows(&file, &report.schema, &rows);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_become_parquet_and_are_the_same(
        rows in any_rows(40),
        workers in prop::sample::select(vec![1usize, 2, 7]),
        morsel_bytes in 1usize..400,
    ) {
        prop_assume!(rows.is_empty() || rows.iter().any(|row| !row.as_object().unwrap().is_empty()));
        let dir = TestDir::new();
        let mut plan = ExecutionPlan::new(dir.write("in.ndjson", lines(&rows)), output(&dir.path("out.parquet")));
        plan.limits = tiny(workers, morsel_bytes);
        let report = run(plan).unwrap();
        prop_assert_eq!(report.rows_written, rows.len() as u64);
        let file = std::fs::read(dir.path("out.parquet")).unwrap().into();
        crate::format::parquet::tests::assert_rows(&file, &report.schema, &rows);
    }

    #[test]
    fn late_columns_of_csv_are_never_lost(
        rows in prop::collection::vec(prop::collection::btree_map("[a-e]", 0u32..100, 1..4), 1..60),
        workers in prop::sample::select(vec![1usize, 2, 7]),
        morsel_bytes in 1usize..200,
        gzip in any::<bool>(),
    ) {
        let dir = TestDir::new();
        let text: String = rows.iter().map(|r| format!("{}\n", json!(r))).collect();
        let name = if gzip { "out.csv.gz" } else { "out.csv" };
        let mut plan = ExecutionPlan::new(dir.write("in.ndjson", text), output(&dir.path(name)));
        plan.limits = tiny(workers, morsel_bytes);
        run(plan).unwrap();
        let mut csv = String::new();
        let file = std::fs::File::open(dir.path(name)).unwrap();
        let compression = if gzip { Compression::Gzip } else { Compression::None };
        crate::format::codec::decompressing(compression, file).read_to_string(&mut csv).unwrap();
        let mut found = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = found.next().unwrap();
        for row in &rows {
            let cells = found.next().unwrap();
            prop_assert_eq!(cells.len(), header.len());
            for (name, cell) in header.iter().zip(cells) {
                prop_assert_eq!(row.get(*name).map(u32::to_string).unwrap_or_default(), cell);
            }
            prop_assert!(row.keys().all(|key| header.contains(&key.as_str())));
        }
        prop_assert!(found.next().is_none());
    }
}

#[test]
fn cells_keep_their_spelling_when_their_column_becomes_text_late() {
    let dir = TestDir::new();
    let cells = ["1", "2.5", "3.0", "10", "4", "n/a", "5"];
    for (morsel_bytes, workers) in [(1, 1), (1, 7), (8, 2), (1 << 20, 2)] {
        let text = format!("x,y\n{}", cells.map(|c| format!("{c},True\n")).concat());
        let mut plan = ExecutionPlan::new(dir.write("in.csv", text + "6,maybe\n"), output(&dir.path("out.parquet")));
        plan.limits = tiny(workers, morsel_bytes);
        plan.schema.from = SchemaFrom::Sample;
        let report = run(plan).unwrap();
        let mut rows: Vec<Value> = cells.iter().map(|c| json!({"x": c, "y": "True"})).collect();
        rows.push(json!({"x": "6", "y": "maybe"}));
        let file = std::fs::read(dir.path("out.parquet")).unwrap().into();
        crate::format::parquet::tests::assert_rows(&file, &report.schema, &rows);
        assert_eq!(report.rows_in, 8, "what was done anew counts once");
    }
}

#[test]
fn a_bad_record_is_named_and_nothing_is_left_behind() {
    let dir = TestDir::new();
    let mut text: String = (0..100).map(|i| format!("{{\"hq\":{{\"lat\":{i}}}}}\r\n\n")).collect();
    let byte = text.len();
    text.push_str("{\"hq\":{\"lat\":}}\n{\"hq\":null}\n");
    for name in ["out.parquet", "out.csv", "out.ndjson"] {
        for workers in [1, 7] {
            let mut plan = ExecutionPlan::new(dir.write("in.ndjson", &text), output(&dir.path(name)));
            plan.limits = tiny(workers, 64);
            let Err(Error::BadRecord { position, reject }) = run(plan) else { panic!("{name}: a bad record") };
            assert_eq!((position.byte, position.line, position.record), (byte as u64, 201, 100), "{name}");
            assert_eq!(reject.offset, 13);
            assert_eq!(&*position.source, "in.ndjson");
            assert_eq!(dir.names(), ["in.ndjson"], "{name}");
        }
    }
}

#[test]
fn rejects_are_written_whole_and_counted() {
    let dir = TestDir::new();
    let text = b"{\"a\":1}\n{\"a\":\n{\"a\":2}\n{\"a\":\"\xff\"}\n[7]\n".to_vec();
    let mut plan = ExecutionPlan::new(dir.write("in.ndjson", &text), output(&dir.path("out.ndjson")));
    plan.on_bad_record = OnBadRecord::Skip;
    plan.rejects = Some(dir.path("rejects.ndjson"));
    let report = run(plan).unwrap();
    assert_eq!((report.rows_in, report.rows_written, report.rows_rejected), (5, 2, 3));
    assert_eq!(dir.read("out.ndjson"), "{\"a\":1}\n{\"a\":2}\n");
    let rejects: Vec<Value> = dir.read("rejects.ndjson").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(rejects[0]["raw"], "{\"a\":");
    assert_eq!((&rejects[0]["line"], &rejects[0]["record"], &rejects[0]["byte"]), (&json!(2), &json!(1), &json!(8)));
    assert_eq!(rejects[1]["raw_hex"], "7b2261223a22ff227d");
    assert_eq!(rejects[2]["reason"], "expected an object, found a list");

    let mut plan = ExecutionPlan::new(dir.write("in.ndjson", &text), output(&dir.path("out2.ndjson")));
    plan.on_bad_record = OnBadRecord::Limit(2);
    assert!(matches!(run(plan), Err(Error::TooManyBadRecords { limit: 2, .. })));
    assert!(!dir.path("out2.ndjson").exists());
}

#[test]
fn a_record_beyond_the_limit_costs_one_record() {
    let dir = TestDir::new();
    let text = format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}\n{{\"a\":3}}\n{{broken\n", "x".repeat(5000));
    for name in ["out.ndjson", "out.parquet"] {
        let mut plan = ExecutionPlan::new(dir.write("in.ndjson", &text), output(&dir.path(name)));
        plan.limits = Limits { max_record_bytes: 1000, ..tiny(2, 64) };
        plan.on_bad_record = OnBadRecord::Skip;
        plan.rejects = Some(dir.path("rejects.ndjson"));
        let report = run(plan).unwrap();
        assert_eq!((report.rows_written, report.rows_rejected), (2, 2), "{name}");
        let lines: Vec<Value> = dir
            .read("rejects.ndjson")
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap()["line"].clone())
            .collect();
        assert_eq!(lines, [json!(2), json!(4)], "{name}");
    }
}

#[test]
fn rows_must_agree_with_the_row_count_of_the_api() {
    let dir = TestDir::new();
    for (expected, agrees) in [(2, true), (3, false)] {
        let source = Source { expected_rows: Some(expected), ..dir.write("in.ndjson", "{\"a\":1}\n{\"a\":2}\n") };
        let result = run(ExecutionPlan::new(source, output(&dir.path("out.parquet"))));
        match result {
            Ok(_) => assert!(agrees),
            Err(Error::RowCount { found, expected, .. }) => {
                assert_eq!((found, expected), (2, 3));
                assert!(!agrees);
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(dir.path("out.parquet").exists(), agrees);
        let _ = std::fs::remove_file(dir.path("out.parquet"));
    }
}

/// A source whose connection ended, perhaps too early.
struct Unproven(io::Cursor<Vec<u8>>);

impl Read for Unproven {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl ByteSource for Unproven {
    fn is_end_proven(&mut self) -> bool {
        false
    }
}

#[test]
fn an_unproven_end_needs_evidence_of_the_format() {
    let dir = TestDir::new();
    let gzipped = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let (csv, ndjson) = ("n,city\n1,Oslo\n2,London\n", "{\"n\":1}\n{\"n\":2}\n");
    let cases: [(&str, Vec<u8>, Option<u64>, bool); 11] = [
        ("in.csv", csv.into(), Some(2), true),
        ("in.csv", csv.into(), None, false),
        // The row count agrees, but `London` may be longer.
        ("in.csv", csv.trim_end().into(), Some(2), false),
        ("in.csv.gz", gzipped(csv), Some(2), true),
        ("in.csv.gz", gzipped(csv.trim_end()), Some(2), false),
        ("in.csv.gz", gzipped(csv), None, false),
        ("in.ndjson", ndjson.into(), Some(2), true),
        ("in.ndjson", ndjson.trim_end().into(), Some(2), true),
        ("in.ndjson", ndjson.into(), None, false),
        ("in.ndjson.gz", gzipped(ndjson), None, false),
        ("in.json", "[{\"n\":1},{\"n\":2}]".into(), None, true),
    ];
    for (name, bytes, expected_rows, suffices) in cases {
        let source = Source { expected_rows, ..Source::stream(name, Box::new(Unproven(io::Cursor::new(bytes)))) };
        match run(ExecutionPlan::new(source, output(&dir.path("out.ndjson")))) {
            Ok(_) => assert!(suffices, "{name} {expected_rows:?}"),
            Err(Error::OpenEnd { .. }) => assert!(!suffices, "{name} {expected_rows:?}"),
            Err(other) => panic!("{name}: {other}"),
        }
    }
}

/// A source that blocks for ever after its text.
struct Stuck(io::Cursor<Vec<u8>>);

impl Read for Stuck {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => loop {
                std::thread::park_timeout(Duration::from_secs(3600));
            },
            n => Ok(n),
        }
    }
}

impl ByteSource for Stuck {}

#[test]
fn a_cancel_ends_even_a_stuck_execution() {
    let dir = TestDir::new();
    // More than the sample, so that it sticks once while workers are at it; then less.
    for lines in [400_000, 10] {
        let text: String = (0..lines).map(|i| format!("{{\"i\":{i}}}\n")).collect();
        for name in ["out.parquet", "out.ndjson"] {
            let head = io::Cursor::new(text.clone().into_bytes());
            let source = Source::stream("stuck.ndjson", Box::new(Stuck(head)));
            let mut plan = ExecutionPlan::new(source, output(&dir.path(name)));
            plan.limits = tiny(2, 4096);
            let control = Control::new();
            let execution = std::thread::spawn({
                let control = control.clone();
                move || execute(plan, &control)
            });
            while control.bytes_read() < text.len() as u64 {
                std::thread::yield_now();
            }
            control.cancel();
            assert!(matches!(execution.join().unwrap(), Err(Error::Cancelled)));
            assert_eq!(dir.names(), Vec::<String>::new());
        }
    }
}

/// A source that fails after its text, as a broken download does.
struct Broken(io::Cursor<Vec<u8>>);

impl Read for Broken {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the connection was reset")),
            n => Ok(n),
        }
    }
}

impl ByteSource for Broken {}

#[test]
fn a_source_that_breaks_publishes_nothing() {
    let dir = TestDir::new();
    for lines in [1, 10_000] {
        let text: String = (0..lines).map(|i| format!("{{\"i\":{i}}}\n")).collect();
        let source = Source::stream("cut.ndjson", Box::new(Broken(io::Cursor::new(text.into_bytes()))));
        let mut plan = ExecutionPlan::new(source, output(&dir.path("out.csv")));
        plan.limits = tiny(2, 512);
        let Err(Error::Read { name, cause }) = run(plan) else { panic!("the read fails") };
        assert_eq!((name.as_str(), cause.kind()), ("cut.ndjson", io::ErrorKind::ConnectionReset));
        assert_eq!(dir.names(), Vec::<String>::new());
    }
}

#[test]
fn policies_for_a_late_schema_change() {
    let dir = TestDir::new();
    let known = "{\"a\":1}\n".repeat(1000);
    let text = format!("{known}{{\"a\":\"x\"}}\n{{\"a\":2,\"b\":true}}\n{{\"a\":3}}\n");
    let plan = |policy, name: &str| {
        let mut plan = ExecutionPlan::new(dir.write("in.ndjson", &text), output(&dir.path(name)));
        // The sample is the first records alone.
        plan.limits = tiny(1, 64);
        plan.schema.policy = policy;
        plan.on_bad_record = OnBadRecord::Skip;
        plan.rejects = Some(dir.path("rejects.ndjson"));
        plan
    };
    let report = run(plan(SchemaPolicy::Evolve, "out.parquet")).unwrap();
    let words: Vec<String> = report.schema.fields.iter().map(|f| format!("{}: {}", f.name, f.ty)).collect();
    assert_eq!(words, ["a: json", "b: bool"]);
    assert_eq!(report.rows_written, 1003);

    let report = run(plan(SchemaPolicy::Freeze, "out.parquet")).unwrap();
    assert_eq!((report.rows_written, report.rows_rejected), (1001, 2));
    let reasons: Vec<String> = dir
        .read("rejects.ndjson")
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["reason"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(reasons, ["expected int, found a string", "the schema has no such field"]);

    let Err(Error::Schema { position, change }) = run(plan(SchemaPolicy::Fail, "failed.parquet")) else {
        panic!("a late change is an error");
    };
    assert_eq!((position.line, position.byte), (1001, 8000));
    assert!(change.to_string().starts_with("field `a`: expected int, found a string"), "{change}");
    assert!(!dir.path("failed.parquet").exists());
}

#[test]
fn numbers_of_csv_keep_their_digits_in_text_outputs() {
    let dir = TestDir::new();
    for from in [SchemaFrom::Auto, SchemaFrom::Full] {
        let source = dir.write("in.csv", "x,y,z\n1,7,a\n2.5,,b\n3.0,8,\n1e-05,9,\"\"\n");
        let mut plan = ExecutionPlan::new(source, output(&dir.path("out.ndjson")));
        plan.outputs.push(output(&dir.path("out.csv")));
        plan.limits = tiny(2, 1);
        plan.schema.from = from;
        run(plan).unwrap();
        let lines = [
            r#"{"x":1,"y":7,"z":"a"}"#,
            r#"{"x":2.5,"y":null,"z":"b"}"#,
            r#"{"x":3.0,"y":8,"z":null}"#,
            r#"{"x":1e-05,"y":9,"z":""}"#,
        ];
        assert_eq!(dir.read("out.ndjson"), lines.map(|l| format!("{l}\n")).concat());
        assert_eq!(dir.read("out.csv"), "x,y,z\n1,7,a\n2.5,,b\n3.0,8,\n1e-05,9,\"\"\n");
    }
}

#[test]
fn csv_detected_by_content_follows_the_rules_of_csv() {
    let dir = TestDir::new();
    // Declared types join in the same way, and do not keep the column from becoming text.
    let cells: Vec<String> = (0..40).map(|i| if i == 37 { "n/a".into() } else { format!("{i}") }).collect();
    let text = format!("x\n{}", cells.iter().map(|c| format!("{c}\n")).collect::<String>());
    for workers in [1, 7] {
        let mut plan = ExecutionPlan::new(dir.write("data.txt", &text), output(&dir.path("out.parquet")));
        plan.limits = tiny(workers, 8);
        plan.schema.declared =
            Some(crate::column::Schema::new(vec![crate::column::Field::new("x", crate::column::Type::Float)]));
        let report = run(plan).unwrap();
        let rows: Vec<Value> = cells.iter().map(|c| json!({"x": c})).collect();
        let file = std::fs::read(dir.path("out.parquet")).unwrap().into();
        crate::format::parquet::tests::assert_rows(&file, &report.schema, &rows);
    }
}

#[test]
fn csv_and_json_sources_cannot_be_mixed() {
    let dir = TestDir::new();
    let mut plan = ExecutionPlan::new(dir.write("a.ndjson", "{\"x\":1}\n"), output(&dir.path("out.csv")));
    plan.sources.push(dir.write("b.csv", "x\nAda\n"));
    let Err(Error::Plan(error)) = run(plan) else { panic!("the plan is invalid") };
    assert_eq!(
        error.to_string(),
        "b.csv: cannot read CSV and JSON sources in one execution: their types are inferred by different rules"
    );
    assert_eq!(dir.names(), ["a.ndjson", "b.csv"]);
}

#[test]
fn a_reader_that_panics_is_no_clean_end() {
    struct Panics(io::Cursor<Vec<u8>>);
    impl Read for Panics {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 => panic!("a fault in a source"),
                n => Ok(n),
            }
        }
    }
    impl ByteSource for Panics {}
    let dir = TestDir::new();
    let text: String = (0..10_000).map(|i| format!("{{\"i\":{i}}}\n")).collect();
    for name in ["out.parquet", "out.ndjson"] {
        let source = Source::stream("x.ndjson", Box::new(Panics(io::Cursor::new(text.clone().into_bytes()))));
        let mut plan = ExecutionPlan::new(source, output(&dir.path(name)));
        plan.limits = tiny(2, 512);
        assert!(matches!(run(plan), Err(Error::Bug(_))), "{name}");
        assert_eq!(dir.names(), Vec::<String>::new());
    }
}

#[test]
fn a_sample_of_all_records_meets_no_late_change() {
    let dir = TestDir::new();
    // The default sample holds all of it.
    let mut plan = ExecutionPlan::new(dir.write("in.ndjson", "{\"a\":1}\n{\"b\":2}\n"), output(&dir.path("out.csv")));
    plan.schema.policy = SchemaPolicy::Fail;
    assert!(run(plan).is_ok());
    assert_eq!(dir.read("out.csv"), "a,b\n1,\n,2\n");
}

#[test]
fn several_outputs_and_steps_in_one_pass() {
    let dir = TestDir::new();
    let rows: Vec<Value> = (0..200)
        .map(
            |i| json!({"id": i % 50, "n": i, "secret": "s", "name": if i % 3 == 0 { json!(null) } else { json!("x") }}),
        )
        .collect();
    for workers in [1, 2, 7] {
        let mut plan = ExecutionPlan::new(dir.write("in.ndjson", lines(&rows)), output(&dir.path("out.csv")));
        plan.outputs.push(output(&dir.path("out.ndjson")));
        plan.outputs.push(output(&dir.path("out.json")));
        // With two workers, the keys are spilled to disk.
        let max_step_bytes = (workers == 2).then_some(0);
        plan.limits = Limits { max_step_bytes, ..tiny(workers, 100) };
        plan.steps = vec![
            Step::from(Filter::Conditions(vec![
                Condition { column: "n".into(), test: Test::Greater(json!(19)), logic: Logic::And },
                Condition { column: "name".into(), test: Test::IsNotEmpty, logic: Logic::And },
            ])),
            Deduplicate::by_names(["id".to_owned()]).into(),
            RemoveColumns::by_names(["secret".to_owned()]).into(),
        ];
        let report = run(plan).unwrap();
        let mut seen = std::collections::HashSet::new();
        let kept: Vec<Value> = rows
            .iter()
            .filter(|r| r["n"].as_i64().unwrap() > 19 && r["name"].is_string() && seen.insert(r["id"].to_string()))
            .map(|r| json!({"id": r["id"], "n": r["n"], "name": r["name"]}))
            .collect();
        assert_eq!(report.rows_in, report.rows_written + report.rows_filtered);
        assert_eq!(report.rows_written as usize, kept.len());
        let found: Vec<Value> = dir.read("out.ndjson").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(found, kept);
        assert_eq!(serde_json::from_str::<Vec<Value>>(&dir.read("out.json")).unwrap(), kept);
        let csv: String = kept.iter().map(|r| format!("{},{},x\n", r["id"], r["n"])).collect();
        assert_eq!(dir.read("out.csv"), format!("id,n,name\n{csv}"));
    }
}

#[test]
fn several_sources_are_one_sequence() {
    let dir = TestDir::new();
    let mut plan = ExecutionPlan::new(dir.write("a.csv", "x,y\n1,a\n"), output(&dir.path("out.csv")));
    plan.sources.push(dir.write("b.csv", "y,z\nb,2\n"));
    plan.sources.push(dir.write("empty.csv", ""));
    let report = run(plan).unwrap();
    assert_eq!(report.rows_written, 2);
    assert_eq!(dir.read("out.csv"), "x,y,z\n1,a,\n,b,2\n");
}

#[test]
fn edges() {
    let dir = TestDir::new();
    for (input, name, expected) in [
        ("", "out.ndjson", ""),
        ("", "out.json", "[]\n"),
        ("", "out.csv", ""),
        ("{}\n{}", "out.ndjson", "{}\n{}\n"),
        ("[]", "out.json", "[]\n"),
        ("[{\"a\":\n1},{\"a\":2}]", "out.csv", "a\n1\n2\n"),
    ] {
        let source = Source { format: None, ..dir.write("in", input) };
        run(ExecutionPlan::new(source, output(&dir.path(name)))).unwrap();
        assert_eq!(dir.read(name), expected, "{input:?} to {name}");
    }
    // A header without records still has columns.
    run(ExecutionPlan::new(dir.write("head.csv", "a,b\n"), output(&dir.path("out.csv")))).unwrap();
    assert_eq!(dir.read("out.csv"), "a,b\n");
    let report = run(ExecutionPlan::new(dir.write("head.csv", "a,b\n"), output(&dir.path("out.parquet")))).unwrap();
    assert_eq!(report.schema.fields.len(), 2);
}

#[test]
fn tabs_are_detected_and_non_data_is_refused() {
    let dir = TestDir::new();
    run(ExecutionPlan::new(dir.write("in.dat", "a\tb\n1\t\"x\ty\"\n"), output(&dir.path("out.ndjson")))).unwrap();
    assert_eq!(dir.read("out.ndjson"), "{\"a\":1,\"b\":\"x\\ty\"}\n");
    for (bytes, word) in [
        (b"PAR1\x15\x04".to_vec(), "Parquet"),
        (b"<!DOCTYPE html>\n<p>Log in, please".to_vec(), "web page"),
        (b"a,b\r1,2\r3,4\r".to_vec(), "carriage return"),
    ] {
        let error = run(ExecutionPlan::new(dir.write("in.dat", bytes), output(&dir.path("no.ndjson")))).unwrap_err();
        let text = crate::text::error_chain(&error);
        assert!(text.contains(word), "{text}");
        assert!(!dir.path("no.ndjson").exists());
    }
}

#[test]
fn values_nested_too_deep_for_parquet_readers_are_json_text() {
    let dir = TestDir::new();
    let deep = format!("{{\"a\":{}1{},\"b\":[[2]]}}\n", "[".repeat(100), "]".repeat(100));
    let report = run(ExecutionPlan::new(dir.write("in.ndjson", &deep), output(&dir.path("out.parquet")))).unwrap();
    let mut ty = &report.schema.fields[0].ty;
    let mut depth = 0;
    while let crate::column::Type::List(item) = ty {
        (ty, depth) = (&**item, depth + 1);
    }
    assert_eq!((depth, ty), (crate::column::MAX_TYPE_DEPTH, &crate::column::Type::Json));
    let file = std::fs::read(dir.path("out.parquet")).unwrap().into();
    let rows = [serde_json::from_str(&deep).unwrap()];
    crate::format::parquet::tests::assert_rows(&file, &report.schema, &rows);
}

#[test]
fn short_records_with_many_columns_are_sent_in_partial_results() {
    let dir = TestDir::new();
    let record: String = (0..4000).map(|i| format!("\"k{i}\":1,")).collect();
    // 4,000 columns for each of these: more than one batch takes.
    let text = format!("{{{record}\"end\":1}}\n{}{{broken\n{{\"end\":2}}\n", "{}\n".repeat(3000));
    for name in ["out.parquet", "out.csv"] {
        let mut plan = ExecutionPlan::new(dir.write("in.ndjson", &text), output(&dir.path(name)));
        plan.on_bad_record = OnBadRecord::Skip;
        plan.rejects = Some(dir.path("rejects.ndjson"));
        let report = run(plan).unwrap();
        assert_eq!((report.rows_in, report.rows_written, report.rows_rejected), (3003, 3002, 1), "{name}");
        let reject: Value = serde_json::from_str(dir.read("rejects.ndjson").lines().next().unwrap()).unwrap();
        assert_eq!((&reject["line"], &reject["record"]), (&json!(3002), &json!(3001)), "{name}");
    }
    let last = dir.read("out.csv").lines().last().unwrap().to_owned();
    assert!(last.starts_with(",,,") && last.ends_with(",2"));
}

#[test]
fn too_many_columns_are_refused() {
    let dir = TestDir::new();
    let record: String = (0..5000).map(|i| format!("\"k{i}\":1,")).collect();
    for name in ["out.parquet", "out.csv"] {
        let text = format!("{{{}\"end\":1}}\n", record);
        let result = run(ExecutionPlan::new(dir.write("in.ndjson", text), output(&dir.path(name))));
        let Err(Error::Plan(error)) = result else { panic!("{name}: the plan is invalid") };
        assert!(error.to_string().ends_with(" columns: the keys of the records look like data"), "{error}");
    }
}

#[test]
fn compression_is_detected_by_content_and_may_have_several_members() {
    let dir = TestDir::new();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let mut bytes = Vec::new();
        let mut compressor = crate::format::compress::PieceCompressor::new(compression).unwrap();
        compressor.compress(b"{\"a\":1}\n{\"a\"", &mut bytes).unwrap();
        compressor.compress(b":2}\n", &mut bytes).unwrap();
        run(ExecutionPlan::new(dir.write("in.dat", &bytes), output(&dir.path("out.csv")))).unwrap();
        assert_eq!(dir.read("out.csv"), "a\n1\n2\n");
        // A truncated stream is never a clean end.
        bytes.truncate(bytes.len() - 3);
        let cut = run(ExecutionPlan::new(dir.write("in.dat", &bytes), output(&dir.path("cut.csv"))));
        let Err(error @ Error::Damaged { .. }) = cut else { panic!("{compression:?}: the source is truncated") };
        assert_eq!(error.to_string(), "cannot decompress in.dat");
        assert!(!dir.path("cut.csv").exists());
    }
}

#[test]
fn invalid_plans_are_refused() {
    let dir = TestDir::new();
    let mut plan = ExecutionPlan::new(dir.write("in.ndjson", "{}"), output(&dir.path("out.parquet")));
    plan.outputs.clear();
    assert_eq!(run(plan).unwrap_err().to_string(), "no output is specified");
    let missing = ExecutionPlan::new(Source::file(dir.path("none.csv")), output(&dir.path("out.csv")));
    assert!(matches!(run(missing), Err(Error::Read { .. })));
    let nowhere = ExecutionPlan::new(dir.write("in.ndjson", "{}"), output(&dir.path("no/such/directory/out.csv")));
    assert!(matches!(run(nowhere), Err(Error::Write { .. })));
    assert_eq!(dir.names(), ["in.ndjson"]);
}

mod broken;

/// Returns the estimate of bytes left after each small morsel of these sources.
fn left_after_each(sources: Vec<Source>) -> Vec<Option<u64>> {
    let limits = tiny(1, 1 << 10);
    let pool = crate::format::frame::BufferPool::new(limits.morsel_bytes, 1);
    let mut reader = input::SourceReader::new(sources, &limits, false, pool, &Control::new());
    let mut left = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        if let input::Item::Morsel(..) = item {
            left.push(reader.bytes_left());
        }
    }
    left
}

#[test]
fn bytes_left_are_estimated_for_the_last_source() {
    let dir = TestDir::new();
    let lines: String = (0..2000u32).map(|i| format!("{{\"n\":{}}}\n", i.wrapping_mul(0x9e37_79b9))).collect();
    let plain = || dir.write("in.ndjson", &lines);
    let left = left_after_each(vec![plain()]);
    let size = lines.len() as u64;
    assert!(left.len() > 10 && left[0].is_some_and(|left| left > size * 3 / 4 && left < size), "{left:?}");
    assert!(left.is_sorted_by(|a, b| b.is_none() || a > b), "{left:?}");
    assert_eq!(left.last(), Some(&None), "nothing is left, or it has grown");
    let of_two = left_after_each(vec![plain(), plain()]);
    assert!(of_two[..left.len()].iter().all(Option::is_none), "more sources follow: {of_two:?}");
    assert_eq!(of_two[left.len()..], left);
    // Only approximate for compressed sources: the decompression has read ahead.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, lines.repeat(40).as_bytes()).unwrap();
    let of_packed = left_after_each(vec![dir.write("in.ndjson.gz", packed.finish().unwrap())]);
    let middle = of_packed[of_packed.len() / 2];
    assert!(middle.is_some_and(|left| left < size * 40), "{middle:?} of {}", size * 40);
    assert_eq!(of_packed.last(), Some(&None));
}

#[test]
fn columns_are_in_the_order_of_records_for_any_number_of_inferring_threads() {
    let lines: String = (0..60).map(|i| format!("{{\"c{i:02}\":{i}}}\n")).collect();
    for workers in [1, 2, 3, 7] {
        let dir = TestDir::new();
        let mut plan = ExecutionPlan::new(dir.write("in.ndjson", &lines), output(&dir.path("out.parquet")));
        plan.limits = Limits { sample_bytes: 1 << 20, ..tiny(workers, 64) };
        let report = run(plan).unwrap();
        let names: Vec<String> = report.schema.fields.iter().map(|field| field.name.to_string()).collect();
        assert_eq!(names, (0..60).map(|i| format!("c{i:02}")).collect::<Vec<_>>(), "{workers} workers");
    }
}
