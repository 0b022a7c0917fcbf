//! Broken input through whole executions: every record becomes a row or a reject, for any number of
//! workers and any size of morsels, and one output that ends does not end the others.

use std::io::Read;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::{TestDir, output, run, tiny};
use crate::column::testing::any_rows;
use crate::source::Source;

/// Executes the plan and returns the contents of each output and of the rejects.
fn outcome(
    dir: &TestDir,
    input: &str,
    outputs: &[&str],
    workers: usize,
    morsel_bytes: usize,
) -> (Report, Vec<Vec<u8>>) {
    let mut plan = ExecutionPlan::new(
        Source { name: input.into(), ..Source::file(dir.path(input)) },
        output(&dir.path(outputs[0])),
    );
    plan.outputs = outputs.iter().map(|name| output(&dir.path(name))).collect();
    plan.limits = tiny(workers, morsel_bytes);
    plan.on_bad_record = OnBadRecord::Skip;
    plan.rejects = Some(dir.path("rejects.ndjson"));
    let report = run(plan).unwrap();
    assert_eq!(report.rows_in, report.rows_written + report.rows_rejected);
    let rejects = std::fs::read(dir.path("rejects.ndjson")).unwrap_or_default();
    let files = outputs.iter().map(|name| std::fs::read(dir.path(name)).unwrap());
    (report, files.chain([rejects]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_same_whatever_the_number_of_workers(
        rows in any_rows(30),
        breaks in prop::collection::vec((any::<prop::sample::Index>(), 0usize..6), 30),
        morsel_bytes in 1usize..300,
    ) {
        let lines: Vec<Vec<u8>> = rows.iter().zip(&breaks).map(|(row, (at, how))| {
            let mut line = row.to_string().into_bytes();
            let at = at.index(line.len());
            match how {
                0 => line.truncate(at),
                1 => line[at] = 0xff,
                _ => {}
            }
            line
        }).collect();
        let good: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
        let bad: Vec<&[u8]> = lines
            .iter()
            .filter(|line| !line.is_empty() && serde_json::from_slice::<serde_json::Map<_, Value>>(line).is_err())
            .map(Vec::as_slice)
            .collect();
        let dir = TestDir::new();
        std::fs::write(dir.path("in.ndjson"), lines.join(&b'\n')).unwrap();
        let texts = ["out.ndjson", "out.csv", "out.json"];
        let (first, expected) = outcome(&dir, "in.ndjson", &texts, 1, 1 << 20);
        prop_assert_eq!(first.rows_written as usize, good.len());
        let rejects: Vec<Value> = expected[3].split(|&b| b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
        prop_assert_eq!(rejects.len(), bad.len());
        for (reject, line) in rejects.iter().zip(&bad) {
            let raw = match reject.get("raw_hex") {
                Some(hex) => hex.as_str().unwrap().as_bytes().chunks(2).map(|h| u8::from_str_radix(std::str::from_utf8(h).unwrap(), 16).unwrap()).collect(),
                None => reject["raw"].as_str().unwrap().as_bytes().to_vec(),
            };
            prop_assert_eq!(&raw, line, "kept byte for byte");
        }
        let fields = good.iter().any(|row| row.as_object().is_some_and(|row| !row.is_empty()));
        for workers in [1, 2, 7] {
            let (report, found) = outcome(&dir, "in.ndjson", &texts, workers, morsel_bytes);
            prop_assert_eq!(&report.schema, &first.schema);
            prop_assert_eq!(&found, &expected, "{} workers", workers);
            if fields || good.is_empty() {
                let (report, found) = outcome(&dir, "in.ndjson", &["out.parquet"], workers, morsel_bytes);
                crate::format::parquet::tests::assert_rows(&found[0].clone().into(), &report.schema, &good);
                prop_assert_eq!(&found[1], &expected[3], "rejects do not depend on the output");
            }
        }
    }
}

#[test]
fn lines_of_a_json_array_are_those_of_the_source() {
    let dir = TestDir::new();
    let text = "[\r\n  {\"a\": 1},\n  {\n    \"a\": tru\n  },\n\n{\"a\": 2}, {\"a\":\n\n3}, {\"a\" 4},\n  \"x\"\n]\n";
    std::fs::write(dir.path("in.json"), text).unwrap();
    for (workers, morsel_bytes) in [(1, 1), (2, 20), (7, 1), (1, 1 << 20)] {
        let (report, files) = outcome(&dir, "in.json", &["out.ndjson"], workers, morsel_bytes);
        assert_eq!((report.rows_written, report.rows_rejected), (3, 3));
        let rejects: Vec<Value> =
            String::from_utf8(files[1].clone()).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let places: Vec<_> = rejects.iter().map(|r| json!([r["line"], r["record"], r["path"], r["raw"]])).collect();
        assert_eq!(
            places,
            [json!([3, 1, "a", "{\n    \"a\": tru\n  }"]), json!([9, 4, "", "{\"a\" 4}"]), json!([10, 5, "", "\"x\""])]
        );
        for reject in &rejects {
            let byte = reject["byte"].as_u64().unwrap() as usize;
            assert!(text[byte..].starts_with(reject["raw"].as_str().unwrap()));
        }
    }
    // A record beyond the size limit, and text that breaks the array itself.
    let text = format!("[\n{{\"a\":\n\"{}\"\n}},\n{{\"a\" 1}}\n]", "x".repeat(300));
    std::fs::write(dir.path("in.json"), text).unwrap();
    let mut plan = ExecutionPlan::new(Source::file(dir.path("in.json")), output(&dir.path("out.ndjson")));
    plan.limits = Limits { max_record_bytes: 100, ..tiny(1, 64) };
    plan.on_bad_record = OnBadRecord::Limit(1);
    let Err(Error::TooManyBadRecords { position, .. }) = run(plan) else { panic!("two bad records") };
    assert_eq!((position.line, position.record), (5, 1));
    std::fs::write(dir.path("in.json"), "[\n{},\n\n,{}]").unwrap();
    let error =
        run(ExecutionPlan::new(Source::file(dir.path("in.json")), output(&dir.path("out.ndjson")))).unwrap_err();
    assert!(crate::text::error_chain(&error).contains("line 4 (byte 7)"), "{}", crate::text::error_chain(&error));
}

#[test]
fn an_open_quote_costs_its_line_and_is_named() {
    let dir = TestDir::new();
    let rows: String = (0..200).map(|i| format!("{i},text\n")).collect();
    let text = format!("i,x\n0,\"a\nb\"\n7,\"open\n{rows}");
    std::fs::write(dir.path("in.csv"), text).unwrap();
    for (workers, morsel_bytes) in [(1, 16), (7, 100), (2, 1 << 20)] {
        for name in ["out.parquet", "out.csv"] {
            let (report, files) = outcome(&dir, "in.csv", &[name], workers, morsel_bytes);
            assert_eq!((report.rows_written, report.rows_rejected), (201, 1), "{name}");
            let reject: Value = serde_json::from_slice(&files[1]).unwrap();
            let dir = json!([reject["line"], reject["record"], reject["offset"], reject["raw"], reject["reason"]]);
            assert_eq!(dir, json!([4, 1, 2, "7,\"open", "the quote is not closed"]));
        }
    }
    let error = run(ExecutionPlan::new(
        Source { name: "in.csv".into(), ..Source::file(dir.path("in.csv")) },
        output(&dir.path("no.csv")),
    ));
    assert_eq!(error.unwrap_err().to_string(), "in.csv line 4 (byte 12): the quote is not closed");
}

/// As root, a rename would replace `/dev/null` by a file.
#[cfg(unix)]
#[test]
fn rejects_to_a_pipe_leave_it_a_pipe() {
    let dir = TestDir::new();
    let pipe = dir.path("rejects");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (content, rejected) in [("{\"a\":1}\nbad\n", 1), ("{\"a\":1}\n", 0)] {
        let mut plan = ExecutionPlan::new(dir.write("in.ndjson", content), output(&dir.path("out.csv")));
        plan.on_bad_record = OnBadRecord::Skip;
        plan.rejects = Some(pipe.clone());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || if rejected > 0 { std::fs::read_to_string(pipe).unwrap() } else { String::new() }
        });
        assert_eq!(run(plan).unwrap().rows_rejected, rejected);
        assert_eq!(reader.join().unwrap().lines().count() as u64, rejected);
        let kind = std::fs::symlink_metadata(&pipe).unwrap().file_type();
        assert!(std::os::unix::fs::FileTypeExt::is_fifo(&kind));
    }
}

#[cfg(unix)]
#[test]
fn an_output_whose_reader_closes_it_ends_alone() {
    let dir = TestDir::new();
    let rows: String = (0..200_000).map(|i| format!("{{\"i\":{i}}}\n")).collect();
    let pipe = dir.path("pipe");
    let mut command = std::process::Command::new("mkfifo");
    assert!(command.arg(&pipe).status().unwrap().success());
    let plan = |names: &[&str]| {
        let mut plan = ExecutionPlan::new(dir.write("in.ndjson", &rows), output(&dir.path("out.ndjson")));
        plan.outputs = names
            .iter()
            .map(|name| match *name {
                "pipe" => Output {
                    format: crate::format::OutputFormat::Ndjson,
                    compression: crate::format::Compression::None,
                    target: Target::File { path: pipe.clone(), no_clobber: false, append: false },
                },
                name => output(&dir.path(name)),
            })
            .collect();
        plan.limits = tiny(2, 4096);
        plan
    };
    for names in [&["pipe", "out.csv"][..], &["out.csv", "pipe"], &["pipe"]] {
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || {
                // Reads a little and closes: far more is coming than a pipe holds.
                std::fs::File::open(pipe).unwrap().read_exact(&mut [0; 10]).unwrap();
            }
        });
        let report = run(plan(names)).unwrap();
        reader.join().unwrap();
        let alone = names.len() == 1;
        assert_eq!(report.stopped_early, alone);
        if !alone {
            assert_eq!(report.rows_written, 200_000);
            assert!(report.notes.iter().any(|note| note.contains("closed by its reader")), "{:?}", report.notes);
            assert_eq!(dir.read("out.csv").lines().count(), 200_001);
            std::fs::remove_file(dir.path("out.csv")).unwrap();
        }
    }
}

#[test]
fn rejects_appear_only_with_their_output() {
    let dir = TestDir::new();
    let source = || dir.write("in.ndjson", "{\"a\":1}\n{broken\n");
    std::fs::write(dir.path("rejects.ndjson"), "earlier").unwrap();
    // Another process creates the path of the output while it is being written.
    let mut plan = ExecutionPlan::new(source(), output(&dir.path("out.ndjson")));
    plan.outputs[0].target = Target::File { path: dir.path("out.ndjson"), no_clobber: true, append: false };
    plan.on_bad_record = OnBadRecord::Skip;
    plan.rejects = Some(dir.path("rejects.ndjson"));
    struct Late(std::path::PathBuf, std::io::Cursor<Vec<u8>>);
    impl Read for Late {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.read(buf)?;
            if n == 0 {
                std::fs::write(&self.0, "somebody else's")?;
            }
            Ok(n)
        }
    }
    impl crate::source::ByteSource for Late {}
    // More than the sample, so that the output is open by then.
    let text = "{\"a\":1}\n{broken\n".repeat(1000).into_bytes();
    let late = Late(dir.path("out.ndjson"), std::io::Cursor::new(text));
    plan.sources = vec![Source::stream("late.ndjson", Box::new(late))];
    plan.limits = tiny(1, 64);
    assert!(matches!(run(plan), Err(Error::Write { .. })));
    assert_eq!(dir.read("rejects.ndjson"), "earlier");
    assert_eq!(dir.read("out.ndjson"), "somebody else's");
}
