//! Steps in whole executions, compared with a plain evaluation over JSON rows.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::source::Source;
use crate::transform::{Grammar, Limit, OnBadCast, Step};

/// Parses a step from the text of its flag.
fn step(word: &str, text: &str) -> Step {
    Grammar::of(word).unwrap().parse(text, 0).unwrap().remove(0)
}

fn where_(text: &str) -> Step {
    step("where", text)
}

fn select(text: &str) -> Step {
    step("select", text)
}

fn drop_(text: &str) -> Step {
    step("drop", text)
}

fn rename(text: &str) -> Step {
    step("rename", text)
}

fn with(text: &str) -> Step {
    step("with", text)
}

fn cast(text: &str) -> Step {
    step("cast", text)
}

fn explode(text: &str) -> Step {
    step("explode", text)
}

fn dedupe(text: &str) -> Step {
    step("dedupe", text)
}

fn flatten() -> Step {
    step("flatten", ".")
}

fn first(rows: u64) -> Step {
    Limit(rows).into()
}

struct TestDir(tempfile::TempDir);

impl TestDir {
    fn new() -> Self {
        TestDir(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn plan(&self, input: &str, content: &str, output: &str, steps: &[Step]) -> ExecutionPlan {
        std::fs::write(self.path(input), content).unwrap();
        let path = self.path(output);
        let (format, compression) = crate::format::detect::output_format_of_path(&path).unwrap();
        let output = Output { format, compression, target: Target::File { path, no_clobber: false, append: false } };
        let source = Source { name: input.into(), ..Source::file(self.path(input)) };
        ExecutionPlan { steps: steps.to_vec(), ..ExecutionPlan::new(source, output) }
    }

    fn read(&self, name: &str) -> String {
        String::from_utf8(std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn rows(&self, name: &str) -> Vec<Value> {
        self.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn run(mut plan: ExecutionPlan, workers: usize, morsel_bytes: usize) -> Result<Report, Error> {
    plan.limits =
        Limits { workers, morsel_bytes, row_group_bytes: 3 * morsel_bytes, sample_bytes: 1, ..Limits::default() };
    let report = execute(plan, &Control::new())?;
    assert_eq!(report.rows_in + report.rows_added, report.rows_written + report.rows_filtered + report.rows_rejected);
    Ok(report)
}

/// Runs `plan` with small morsels and a sample of so many bytes.
fn run_with_sample(mut plan: ExecutionPlan, sample_bytes: usize) -> Result<Report, Error> {
    plan.limits = Limits { workers: 2, morsel_bytes: 256, sample_bytes, ..Limits::default() };
    execute(plan, &Control::new())
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Reads the rows of a Parquet file as JSON, without nulls.
fn parquet_rows(report: &Report, bytes: Vec<u8>) -> Vec<Value> {
    let batches = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))
        .unwrap()
        .build()
        .unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let batch = batch.unwrap();
        for row in 0..batch.num_rows() {
            let members = report.schema.fields.iter().zip(batch.columns());
            let members = members.map(|(f, c)| (f.name.to_string(), crate::column::testing::value(c, &f.ty, row)));
            rows.push(Value::Object(members.filter(|(_, v)| !v.is_null()).collect()));
        }
    }
    rows
}

fn any_rows() -> impl Strategy<Value = Vec<Value>> {
    let value = prop_oneof![
        2 => (0i64..6).prop_map(|n| json!(n)),
        1 => (0i64..40).prop_map(|n| json!(n as f64 / 8.0)),
        1 => Just(Value::Null),
    ];
    let text = "[a-c\"\\\\é]{0,14}";
    let row = (
        prop::option::of(value),
        prop::option::of(text),
        prop::option::of(any::<bool>()),
        prop::option::of((0i64..5, text)),
    );
    let row = row.prop_map(|(n, t, b, o)| {
        let members = [
            ("n", n),
            ("pad", Some(json!({"x": ["]}", {"y": [1, [], {}]}], "\\": -1.5e-3}))),
            ("t", t.map(Value::from)),
            ("b", b.map(Value::from)),
            ("o", o.map(|(k, t)| json!({"k": k, "t": t}))),
        ];
        Value::Object(members.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect())
    });
    prop::collection::vec(row, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn rows_and_columns_are_chosen_alike_at_any_size(
        mut rows in any_rows(),
        limit in prop::option::of(0usize..20),
        workers in prop::sample::select(vec![1usize, 2, 7]),
        morsel_bytes in 1usize..400,
    ) {
        // Names that no record has are errors.
        rows.insert(0, json!({"n": 1, "t": "x", "o": {"k": 0, "t": "x"}}));
        let wanted = |row: &&Value| {
            row["n"].as_f64().is_some_and(|n| n >= 1.5) && row["o"]["k"] != json!(2) && !row["o"]["k"].is_null()
                || row["t"].as_str().is_some_and(|t| t.starts_with('a'))
        };
        let twin: Vec<Value> = rows.iter().filter(wanted).take(limit.unwrap_or(usize::MAX)).map(|row| {
            let mut out = Map::new();
            for (name, value) in [("t", row.get("t")), ("o.k", row["o"].get("k")), ("m", row.get("n"))] {
                out.extend(value.map(|v| (name.to_owned(), v.clone())));
            }
            Value::Object(out)
        }).collect();
        let mut steps = vec![where_("n >= 1.5 and o.k <> 2 or t like 'a%'"), select("t,o.k,n"), rename("n=m")];
        steps.extend(limit.map(|n| first(n as u64)));
        let dir = TestDir::new();

        // The raw text of the selected values, in the order of the selection.
        let report = run(dir.plan("in.ndjson", &lines(&rows), "out.ndjson", &steps), workers, morsel_bytes).unwrap();
        prop_assert_eq!(dir.read("out.ndjson"), lines(&twin));
        prop_assert_eq!(report.rows_written as usize, twin.len());
        if limit.is_none() {
            prop_assert_eq!(report.rows_in as usize, rows.len());
        }

        // CSV, and the same steps on that CSV: to filter and then write is to write and then filter.
        run(dir.plan("in.ndjson", &lines(&rows), "out.csv", &steps), workers, morsel_bytes).unwrap();
        let flat = [select("t,o.k,n")];
        run(dir.plan("in.ndjson", &lines(&rows), "flat.csv", &flat), workers, morsel_bytes).unwrap();
        let flat = dir.read("flat.csv");
        prop_assert!(flat.starts_with("t,o.k,n\n"));
        run(dir.plan("flat2.csv", &flat, "out2.csv", &steps), workers, morsel_bytes).unwrap();
        prop_assert_eq!(dir.read("out.csv"), dir.read("out2.csv"));

        // Parquet, which does not distinguish nulls from absent keys.
        let report = run(dir.plan("in.ndjson", &lines(&rows), "out.parquet", &steps), workers, morsel_bytes).unwrap();
        let names: Vec<&str> = report.schema.fields.iter().map(|f| &*f.name).collect();
        prop_assert_eq!(names, ["t", "o.k", "m"]);
        let bytes = std::fs::read(dir.path("out.parquet")).unwrap();
        let plain = |row: &Value| {
            let members = row.as_object().unwrap().iter().filter(|(_, v)| !v.is_null());
            members.map(|(k, v)| (k.clone(), v.as_f64().map_or(v.clone(), Value::from))).collect::<Map<_, _>>().into()
        };
        let found: Vec<Value> = parquet_rows(&report, bytes).iter().map(plain).collect();
        prop_assert_eq!(found, twin.iter().map(plain).collect::<Vec<Value>>());
    }

    #[test]
    fn whole_records_are_copied_to_the_byte(mut rows in any_rows(), morsel_bytes in 1usize..400) {
        // Names that no record has are errors.
        rows.insert(0, json!({"b": true, "n": 1}));
        let dir = TestDir::new();
        let spaced: String = rows.iter().map(|row| format!(" {} \r\n", row.to_string().replace("\":", "\" : "))).collect();
        let plan = dir.plan("in.ndjson", &spaced, "out.ndjson", &[where_("not b or n > 2")]);
        run(plan, 2, morsel_bytes).unwrap();
        let kept = rows.iter().filter(|row| row["b"] == json!(false) || row["n"].as_f64().is_some_and(|n| n > 2.0));
        let twin: String = kept.map(|row| format!("{}\n", row.to_string().replace("\":", "\" : "))).collect();
        prop_assert_eq!(dir.read("out.ndjson"), twin);
    }

    #[test]
    fn values_that_are_left_out_are_checked_all_the_same(broken in r#"[\[\]{}:,"a0-9.eE+ntrufls\\ -]{0,12}"#, morsel_bytes in 1usize..200) {
        let record = format!("{{\"x\":{broken},\"a\":1}}");
        let good = serde_json::from_str::<Map<String, Value>>(&record);
        let content = format!("{{\"a\":0}}\n{record}\n{{\"y\":2,\"a\":2}}\n");
        let dir = TestDir::new();
        let mut plan = dir.plan("in.ndjson", &content, "out.ndjson", &[select("a")]);
        plan.on_bad_record = OnBadRecord::Skip;
        let report = run(plan, 1, morsel_bytes).unwrap();
        prop_assert_eq!(report.rows_rejected, u64::from(good.is_err()), "{}", record);
        let middle = good.ok().and_then(|map| map.get("a").map(|a| json!({ "a": a })));
        let twin: Vec<Value> = [Some(json!({"a": 0})), middle, Some(json!({"a": 2}))].into_iter().flatten().collect();
        prop_assert_eq!(dir.rows("out.ndjson"), twin);
    }
}

#[test]
fn a_limit_reads_no_further_and_counts_the_records_read() {
    let dir = TestDir::new();
    let mut content = String::new();
    for i in 0..100 {
        content.push_str(&if i % 10 == 3 { "broken\n".to_owned() } else { format!("{{\"i\":{i}}}\n") });
    }
    for output in ["out.ndjson", "out.csv", "out.json", "out.parquet", "out.csv.gz"] {
        for (steps, rows_in, written, rejected) in [
            (vec![first(3)], 3, 3, 0),
            (vec![first(4)], 5, 4, 1),
            (vec![where_("i >= 20"), first(5)], 26, 5, 3),
            (vec![first(5), where_("i >= 2")], 6, 3, 1),
            (vec![first(7), where_("i >= 2"), first(2)], 5, 2, 1),
            (vec![first(0)], 0, 0, 0),
            (vec![first(1000)], 100, 90, 10),
            (vec![where_("i > 1000"), first(5)], 100, 0, 10),
        ] {
            for morsel_bytes in [1, 50, 10_000] {
                let mut plan = dir.plan("in.ndjson", &content, output, &steps);
                plan.on_bad_record = OnBadRecord::Skip;
                let report = run(plan, 2, morsel_bytes).unwrap();
                let counts = (report.rows_in, report.rows_written, report.rows_rejected);
                assert_eq!(counts, (rows_in, written, rejected), "{output} {steps:?} {morsel_bytes}");
                assert_eq!(report.reached_limit, rows_in < 100);
            }
        }
    }
    // Invalid text after the limit is never read, and the API's row count is not compared.
    let mut plan = dir.plan("in.ndjson", &content, "out.ndjson", &[first(3)]);
    plan.sources[0].expected_rows = Some(100);
    run(plan, 2, 10_000).unwrap();
}

#[test]
fn steps_are_checked_against_the_columns_before_anything_is_written() {
    let dir = TestDir::new();
    let json = "{\"employee_count\":1,\"name\":\"a\",\"hq\":{\"city\":\"x\"},\"l\":[{\"e\":1}],\"a.b\":1}\n";
    let csv = "employee_count,name\n1,a\n";
    let fault = |input: &str, steps: &[Step]| {
        let content = if input.ends_with("csv") { csv } else { json };
        match run(dir.plan(input, content, "out.ndjson", steps), 1, 1000) {
            Err(Error::Expression(error)) => (error.at, error.message, error.hint.unwrap_or_default().to_string()),
            other => panic!("{other:?}"),
        }
    };
    for (step, at, message, hint) in [
        (
            where_("name = 'a' and emplyee_count > 1"),
            15,
            "there is no column `emplyee_count`",
            "did you mean `employee_count`?",
        ),
        (select("name,hq.ctiy"), 5, "`hq` has no field `ctiy`", "did you mean `hq.city`?"),
        (where_("name = \"acme\""), 7, "there is no column `acme`", "put text in single quotes"),
        (where_("name > 5"), 0, "cannot compare `name` (text) with a number", "compare with text, '5'"),
        (where_("employee_count = '5'"), 0, "cannot compare `employee_count` (numbers) with text", "without quotes"),
        (where_("hq = 'x'"), 0, "cannot compare `hq` (objects) with text", ""),
        (where_("name"), 0, "cannot use `name` (text) as a condition", ""),
        (where_("l.e = 1"), 0, "cannot read field `e` of `l`: expected objects, found lists", "`l[0].e`"),
        (where_("name.x = 1"), 0, "cannot read field `x` of `name`: expected objects, found text", ""),
        (select("name,hq,name"), 8, "duplicate column `name`: selected as `name` and as `name`", ""),
        (select("hq.city,\"hq.city\""), 8, "there is no column `hq.city`", ""),
        (drop_("hq.city"), 0, "cannot drop `hq.city`: it is a value inside the column `hq`", "`select`"),
        (rename("name=hq"), 0, "cannot rename `name` to `hq`: a column of that name exists", "`drop hq`"),
        (rename("name=x,hq=x"), 7, "cannot rename both `name` and `hq` to `x`", ""),
        (rename("name=x,name=y"), 7, "`name` is renamed twice", ""),
    ] {
        let (found_at, found, found_hint) = fault("in.ndjson", std::slice::from_ref(&step));
        assert_eq!((found_at, found.as_str()), (at, message));
        assert!(found_hint.contains(hint), "{found_hint}");
        assert!(!dir.path("out.ndjson").exists());
    }
    // Later steps see the columns after the earlier ones.
    assert!(fault("in.ndjson", &[select("name"), where_("employee_count = 1")]).1.contains("no column"));
    assert!(fault("in.ndjson", &[rename("name=title"), where_("name = 'a'")]).1.contains("no column"));
    assert!(fault("in.csv", &[where_("other = 1")]).2.contains("the columns are employee_count, name"));
    assert!(fault("in.csv", &[where_("name.x = 1")]).1.contains("CSV cells"));
    for steps in [
        vec![rename("name=title"), where_("title = 'a'"), select("title,a.b")],
        vec![rename("name=l,l=name")],
        vec![where_("`emplyee_count` is null")],
        vec![where_("`something_else` is null")],
        vec![drop_("l"), rename("name=l")],
        vec![where_("a.b = 1 and \"a.b\" = 1 and hq.city = 'x'")],
    ] {
        run(dir.plan("in.ndjson", json, "out.ndjson", &steps), 1, 1000).unwrap();
    }
    assert!(dir.read("out.ndjson").starts_with("{\"employee_count\""));
}

#[test]
fn objects_that_were_cast_to_text_are_text_for_later_steps() {
    let dir = TestDir::new();
    let content = "{\"hq\":{\"city\":\"Oslo\"}}\n{\"hq\":{\"city\":\"Bergen\"}}\n{\"hq\":null}\n";
    for output in ["out.ndjson", "out.csv", "out.parquet"] {
        let steps = [cast("hq:string"), where_("hq like '%Oslo%'"), with("n = upper(hq)")];
        let report = run(dir.plan("in.ndjson", content, output, &steps), 1, 1000).unwrap();
        assert_eq!((report.rows_written, report.rows_filtered), (1, 2), "{output}");
    }
    assert_eq!(dir.rows("out.ndjson")[0]["n"], json!("{\"CITY\":\"OSLO\"}"));
}

/// A bare name that no record has is an error, found before an output appears: at once where the sample is everything, at the
/// end where it is not.
#[test]
fn columns_that_no_record_has_are_errors() {
    let dir = TestDir::new();
    let rows: Vec<Value> = (0..200).map(|i| json!({"id": i, "email": "a@b.example", "city": "Oslo"})).collect();
    let content = lines(&rows) + "{\"id\":200,\"late\":1}\n";
    std::fs::write(dir.path("out.ndjson"), "before\n").unwrap();
    for sample_bytes in [64, 1 << 20] {
        for (steps, message, hint) in [
            (
                vec![where_("city = Oslo")],
                "there is no column `Oslo`",
                "put text in single quotes; the columns are id, email, city",
            ),
            (vec![select("id,quux")], "there is no column `quux`", "in later records needs backticks: `quux`"),
            (vec![dedupe("contact")], "there is no column `contact`", "the columns are id"),
            (vec![drop_("quux")], "there is no column `quux`", "the columns are id"),
            (vec![where_("late is null and quux = 1")], "there is no column `quux`", "the columns are id"),
        ] {
            for output in ["out.ndjson", "out.csv", "out.parquet"] {
                let plan = dir.plan("in.ndjson", &content, output, &steps);
                let error = match run_with_sample(plan, sample_bytes) {
                    Err(Error::Expression(error)) => error,
                    other => panic!("{output} {steps:?}: {other:?}"),
                };
                let late = message.replace("there is no column", "no record has a value in a column");
                assert!(error.message == message || sample_bytes == 64 && error.message == late, "{output}: {error}");
                let found = error.hint.unwrap_or_default().to_string();
                assert!(found.contains(hint), "{found}");
            }
        }
        // Late or in backticks: no error.
        for steps in [vec![where_("late is null")], vec![select("id,`quux`")], vec![dedupe("`quux`,id")]] {
            run_with_sample(dir.plan("in.ndjson", &content, "out2.ndjson", &steps), sample_bytes).unwrap();
        }
    }
    assert_eq!(dir.read("out.ndjson"), "before\n");
    assert!(!dir.path("out.csv").exists() && !dir.path("out.parquet").exists());
    // Nothing is known of the columns of no records.
    run(dir.plan("in.ndjson", "", "out2.ndjson", &[where_("city = 1")]), 1, 1000).unwrap();
}

#[test]
fn mismatches_and_unseen_columns_are_noted() {
    let dir = TestDir::new();
    let content = "{\"n\":1}\n{\"n\":\"x\"}\n{\"n\":2}\n{\"n\":[]}\n{\"late\":1}\n";
    for output in ["out.ndjson", "out.parquet", "out.csv"] {
        let plan = dir.plan("in.ndjson", content, output, &[where_("n > 0 or `never` = 1 or late = 1")]);
        let report = run(plan, 1, 1).unwrap();
        assert_eq!((report.rows_written, report.rows_filtered), (3, 2), "{output}");
        assert_eq!(
            report.notes,
            [
                "`n > 0`: 2 rows had a value of another type there, which does not compare",
                "no record had a column `never`"
            ],
            "{output}"
        );
    }
}

#[test]
fn late_columns_go_through_steps() {
    let dir = TestDir::new();
    let mut rows: Vec<Value> = (0..50).map(|i| json!({"i": i, "t": format!("t{i}")})).collect();
    rows.extend((50..60).map(|i| json!({"i": format!("x{i}"), "hq": {"city": "c"}, "new": true})));
    for workers in [1, 3] {
        let steps = [drop_("t"), rename("i=id")];
        run(dir.plan("in.ndjson", &lines(&rows), "out.csv", &steps), workers, 64).unwrap();
        let csv = dir.read("out.csv");
        assert!(
            csv.starts_with("id,hq,new\n0,,\n") && csv.ends_with("\nx59,\"{\"\"city\"\":\"\"c\"\"}\",true\n"),
            "{csv}"
        );
        let steps = [select("hq.city,i,new")];
        let report = run(dir.plan("in.ndjson", &lines(&rows), "out.parquet", &steps), workers, 64).unwrap();
        let types: Vec<String> = report.schema.fields.iter().map(|f| format!("{} {}", f.name, f.ty)).collect();
        assert_eq!(types, ["hq.city text", "i json", "new bool"]);
        let found = parquet_rows(&report, std::fs::read(dir.path("out.parquet")).unwrap());
        assert_eq!(
            (&found[0], &found[59]),
            (&json!({"i": "0"}), &json!({"hq.city": "c", "i": "\"x59\"", "new": true}))
        );
        // A late column whose name is taken is an error: nothing is lost silently.
        let error = run(dir.plan("in.ndjson", &lines(&rows), "out.ndjson", &[rename("t=new")]), workers, 64);
        assert!(error.unwrap_err().to_string().contains("duplicate column name"));
    }
}

/// Evaluates the steps plainly on rows `{"a": …, "l": […]}`. Returns rows in, added, filtered, rejected, and the
/// output values of `l`.
fn exploded_up_to(rows: &[Value], limit: usize) -> (u64, u64, u64, u64, Vec<Value>) {
    let (mut rows_in, mut added, mut filtered, mut rejected) = (0, 0, 0, 0);
    let mut out: Vec<Value> = Vec::new();
    for row in rows {
        if out.len() >= limit {
            break;
        }
        rows_in += 1;
        let Ok(a) = row["a"].as_str().unwrap().parse::<i64>() else {
            rejected += 1;
            continue;
        };
        let none = vec![Value::Null];
        let items = row["l"].as_array().filter(|items| !items.is_empty()).unwrap_or(&none);
        added += items.len() as u64 - 1;
        for item in items {
            let stays = a > 1 && out.len() < limit;
            if stays {
                out.push(item.clone());
            } else {
                filtered += 1;
            }
        }
    }
    (rows_in, added, filtered, rejected, out)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_count_adds_up_whatever_steps_do_to_rows(
        rows in prop::collection::vec(("[0-3x]", prop::option::of(prop::collection::vec(0i64..5, 0..4))), 1..30),
        limit in 1usize..20,
        workers in prop::sample::select(vec![1usize, 2, 7]),
        morsel_bytes in 1usize..300,
    ) {
        let rows: Vec<Value> = rows.into_iter().map(|(a, l)| json!({"a": a, "l": l})).collect();
        let steps = [cast("a:int"), explode("l"), where_("a > 1"), first(limit as u64)];
        let dir = TestDir::new();
        for output in ["out.ndjson", "out.csv", "out.parquet"] {
            for (steps, limit) in [(&steps[..3], usize::MAX), (&steps[..], limit)] {
                let mut plan = dir.plan("in.ndjson", &lines(&rows), output, steps);
                plan.on_bad_record = OnBadRecord::Skip;
                plan.rejects = Some(dir.path("rejects.ndjson"));
                let report = run(plan, workers, morsel_bytes).unwrap();
                let (rows_in, added, filtered, rejected, out) = exploded_up_to(&rows, limit);
                let found = (report.rows_in, report.rows_added, report.rows_filtered, report.rows_rejected);
                prop_assert_eq!(found, (rows_in, added, filtered, rejected), "{} {}", output, limit);
                prop_assert_eq!(report.rows_written as usize, out.len());
                if output == "out.ndjson" {
                    let found: Vec<Value> = dir.rows(output).iter().map(|row| row["l"].clone()).collect();
                    prop_assert_eq!(found, out);
                }
                let rejects = if rejected > 0 { dir.rows("rejects.ndjson") } else { Vec::new() };
                for reject in rejects {
                    let record = reject["record"].as_u64().unwrap() as usize;
                    prop_assert_eq!(&reject["raw"], &json!(rows[record].to_string()));
                    prop_assert_eq!(&reject["line"], &json!(record + 1));
                    prop_assert_eq!(&reject["path"], &json!("a"));
                }
            }
        }
    }

    #[test]
    fn types_of_made_columns_follow_those_they_are_made_of(
        rows in prop::collection::vec(prop_oneof![
            (-9i64..9).prop_map(|n| json!({"n": n})),
            Just(json!({"n": null})),
            Just(json!({"n": (1i64 << 53) - 1})),
            (0i64..9).prop_map(|n| json!({"n": n as f64 + 0.5})),
            Just(json!({"o": {"k": 1}})),
            Just(json!({"o": {"k": "x", "l": {"m": true}}})),
            Just(json!({"o": null})),
        ], 1..30),
        workers in prop::sample::select(vec![1usize, 2, 7]),
        morsel_bytes in 1usize..200,
    ) {
        let dir = TestDir::new();
        let steps = [with("x = `n` + 2"), with("y = `n` / 2"), with("z = coalesce(`n`, 0)"), flatten()];
        let plan = dir.plan("in.ndjson", &lines(&rows), "out.parquet", &steps);
        let report = run(plan, workers, morsel_bytes).unwrap();
        let found = parquet_rows(&report, std::fs::read(dir.path("out.parquet")).unwrap());
        prop_assert_eq!(found.len(), rows.len());
        // Numbers in a column of JSON text, because of other values of other types, are still numbers.
        let number = |v: &Value| match v {
            Value::String(text) => serde_json::from_str::<f64>(text).ok(),
            v => v.as_f64(),
        };
        for (found, row) in found.iter().zip(&rows) {
            let n = row["n"].as_f64();
            prop_assert_eq!(number(&found["x"]), n.map(|n| n + 2.0), "{} {}", found, row);
            prop_assert_eq!(found["y"].as_f64(), n.map(|n| n / 2.0), "{} {}", found, row);
            prop_assert_eq!(number(&found["z"]), Some(n.unwrap_or(0.0)), "{} {}", found, row);
            prop_assert_eq!(&found["o.l.m"], &row["o"]["l"]["m"]);
        }
        // The schema is that of all records, for any size of morsels.
        let again = dir.plan("in.ndjson", &lines(&rows), "again.parquet", &steps);
        let again = run(again, 1, 1 << 20).unwrap();
        prop_assert_eq!(report.schema, again.schema);
    }
}

#[test]
fn failed_casts_are_null_under_that_policy() {
    let dir = TestDir::new();
    let content = "{\"a\":\"1\",\"b\":1}\n{\"a\":\"x\",\"b\":2}\n{\"b\":3}\n";
    for (output, expected) in
        [("out.ndjson", "{\"a\":1,\"b\":1}\n{\"a\":null,\"b\":2}\n{\"b\":3}\n"), ("out.csv", "a,b\n1,1\n,2\n,3\n")]
    {
        let mut plan = dir.plan("in.ndjson", content, output, &[cast("a:int")]);
        plan.on_bad_cast = OnBadCast::Null;
        let report = run(plan, 2, 1).unwrap();
        assert_eq!(dir.read(output), expected);
        assert_eq!((report.rows_written, report.rows_rejected), (3, 0));
        assert_eq!(report.notes, ["`cast a:int` failed for 1 value, which was set to null"]);
    }
}

#[test]
fn a_flattened_object_that_becomes_another_value_repeats_the_pass() {
    let dir = TestDir::new();
    let content = "{\"o\":{\"k\":1}}\n{\"o\":{\"k\":2}}\n{\"o\":\"x\"}\n{\"o\":{\"k\":3,\"m\":null}}\n";
    for morsel_bytes in [1, 1000] {
        run(dir.plan("in.ndjson", content, "out.csv", &[flatten()]), 2, morsel_bytes).unwrap();
        assert_eq!(
            dir.read("out.csv"),
            "o\n\"{\"\"k\"\":1}\"\n\"{\"\"k\"\":2}\"\nx\n\"{\"\"k\"\":3,\"\"m\"\":null}\"\n"
        );
        run(dir.plan("in.ndjson", content, "out.ndjson", &[flatten()]), 2, morsel_bytes).unwrap();
        assert_eq!(dir.read("out.ndjson"), content);
    }
}

#[test]
fn rows_of_flattened_records_have_no_null_keys() {
    let dir = TestDir::new();
    let records: [&str; 8] = [
        r#"{"a":null,"id":1}"#,
        r#"{"id":2,"h":{"x":null,"y":{"z":null}}}"#,
        r#"{"id":3,"h":{"x":4},"a":"t"}"#,
        r#"{"id":4,"h":null,"a":null}"#,
        r#"{"id":5,"h":{}}"#,
        r#"{"id":6,"l":[null]}"#,
        r#"{"id":7,"h":{"y":{"z":{"w":1}}}}"#,
        r#"{"id":8,"h":{"y":{"z":null}}}"#,
    ];
    let rows: [&str; 8] = [
        r#"{"id":1}"#,
        r#"{"id":2}"#,
        r#"{"id":3,"a":"t","h.x":4}"#,
        r#"{"id":4}"#,
        r#"{"id":5}"#,
        r#"{"id":6,"l":[null]}"#,
        r#"{"id":7,"h.y.z.w":1}"#,
        r#"{"id":8}"#,
    ];
    let sorted = |text: &str| -> Vec<serde_json::Value> {
        let mut rows: Vec<serde_json::Value> = text.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
        rows.sort_by_key(|row| row["id"].as_u64());
        rows
    };
    for order in [[0, 1, 2, 3, 4, 5, 6, 7], [6, 2, 0, 1, 3, 4, 5, 7], [1, 3, 0, 7, 4, 5, 6, 2]] {
        let content: String = order.iter().map(|i| format!("{}\n", records[*i])).collect();
        for morsel_bytes in [1, 60, 1000] {
            run(dir.plan("in.ndjson", &content, "out.ndjson", &[flatten()]), 2, morsel_bytes).unwrap();
            assert_eq!(sorted(&dir.read("out.ndjson")), sorted(&rows.join("\n")), "{order:?}, {morsel_bytes}");
        }
    }
    let cells = "a,id\n,1\nx,2\n,3\n";
    for morsel_bytes in [1, 1000] {
        run(dir.plan("in.csv", cells, "out.ndjson", &[flatten()]), 2, morsel_bytes).unwrap();
        assert_eq!(dir.read("out.ndjson"), "{\"id\":1}\n{\"a\":\"x\",\"id\":2}\n{\"id\":3}\n");
    }
}

#[test]
fn records_behind_a_limit_fit_no_step_and_need_not() {
    let dir = TestDir::new();
    let content: String = (0..100).map(|i| format!("{{\"id\":{i},\"p\":\"{i:050}\"}}\n")).collect();
    let content = content + "{\"id\":100,\"late\":\"t\"}\n";
    for steps in [
        vec![first(3), explode("`late`")],
        vec![first(3), where_("coalesce(`late`, 4) > 3")],
        vec![first(5), explode("`late`"), first(3)],
    ] {
        for morsel_bytes in [1, 1000, 1 << 20] {
            let report = run(dir.plan("in.ndjson", &content, "out.csv", &steps), 2, morsel_bytes);
            assert_eq!(report.unwrap().rows_written, 3, "{steps:?} {morsel_bytes}");
        }
    }
}
