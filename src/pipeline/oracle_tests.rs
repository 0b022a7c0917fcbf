//! One meaning for all outputs: drawn records go through drawn steps into every format, at several sizes of morsels and
//! numbers of workers, and each output must have the rows of the text output that no type has touched.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::*;
use crate::column::{Schema, Type};
use crate::source::Source;
use crate::transform::{Grammar, Step};

/// Number of cases, if `DRAWOFF_TEST_ALL` is set; otherwise the first tenth of them runs.
const CASES: u64 = 1500;

/// Default of `DRAWOFF_TEST_SEED`, from which the cases are drawn.
const SEED: u64 = 64;

/// A source of choices.
pub(super) struct Draw(pub(super) u64);

impl Draw {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % n as u64) as usize
    }

    pub(super) fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// Records of JSON: narrow types first, surprises later.
fn json_records(draw: &mut Draw) -> String {
    let early = [
        ("n", &["1", "2", "3", "-0", "9007199254740991", "12345678901234567"][..]),
        ("m", &["\"12\"", "\"x\"", "\"\""]),
        ("o", &["{\"k\":1}", "{\"k\":5}", "{\"k\":null}", "null"]),
        ("l", &["[]", "[1]", "[1,2]", "null"]),
        ("t", &["\"1\"", "\"01\"", "\"true\"", "\"\""]),
    ];
    let late = [
        ("n", &["1.0", "0.10", "1e+2", "0.5", "2.50", "0.10000000000000001", "1", "null"][..]),
        ("m", &["12", "1.50", "true", "{\"a\":1}", "\"12\"", "null", "[1.0]"]),
        ("o", &["{\"k\":1,\"m\":null}", "{\"m\":2,\"k\":1}", "{\"k\":\"1\"}", "{\"k\":1.0}", "{}", "{\"k\":1}"]),
        ("l", &["[1.0,2.50]", "[null]", "[\"a\",1]", "[{\"k\":1,\"m\":null}]", "[1]"]),
        ("t", &["\"\\u00e9\"", "null", "\"1\"", "\"a \\\"quoted\\\" word, with a comma\""]),
    ];
    // Names that no record has are errors, and so the first record has all of them.
    let mut text = String::from("{\"n\":1,\"m\":\"x\",\"o\":{\"k\":1},\"l\":[1],\"t\":\"1\"}\n");
    let (rows, surprise) = (3 + draw.below(14), draw.below(14));
    for row in 0..rows {
        let mut members = Vec::new();
        for ((name, early), (_, late)) in early.iter().zip(&late) {
            let values = if row >= surprise && draw.below(3) > 0 { late } else { early };
            if draw.below(6) > 0 {
                members.push(format!("\"{name}\":{}", draw.pick(values)));
            }
        }
        text.push_str(&format!("{{{}}}\n", members.join(",")));
    }
    text
}

/// Records of CSV: narrow types first, surprises later.
fn csv_records(draw: &mut Draw) -> String {
    let early = [&["1", "2", "", "9007199254740991"][..], &["True", "false", ""], &["1", "2", "0"], &["x", "1", ""]];
    let late = [&["1.0", "2.50", "1e2", "1"][..], &["true", "FALSE"], &["1", "x", "007"], &["1.0", "true", "é"]];
    let mut text = String::from("n,b,m,t\n1,True,1,x\n");
    let (rows, surprise) = (3 + draw.below(14), draw.below(14));
    for row in 0..rows {
        let cells = early.iter().zip(&late).map(|(early, late)| {
            let values = if row >= surprise && draw.below(3) > 0 { late } else { early };
            draw.pick(values)
        });
        text.push_str(&format!("{}\n", cells.collect::<Vec<_>>().join(",")));
    }
    text
}

/// Steps over the columns of JSON records; those of the second list need the column `x`.
pub(super) const JSON_STEPS: [&[&str]; 2] = [
    &[
        "where n > 0.5",
        "where n = 0.1 or n = 1",
        "where cast(n as string) like '%0'",
        "where cast(n as string) <> '1'",
        "where cast(m as string) like '1%'",
        "where length(cast(o as string)) < 12",
        "where cast(json_text(o) as string) = '{\"k\":1}'",
        "where o.k is not null",
        "where length(l) > 1",
        "where l[0] is null",
        "with x = n + 1",
        "with x = coalesce(n, 0)",
        "with x = cast(n as string)",
        "with x = n || ':' || t",
        "with x = cast(o as string)",
        "with x = cast(l as string)",
        "with x = length(o)",
        "with x = case when n > 0.5 then n else 0 end",
        "with x = o.k",
        "with x = l[0]",
        "with x = m",
        "with x = o",
        "with x = concat(m, n, o)",
        "dedupe n",
        "dedupe m",
        "dedupe o",
        "dedupe l",
        "dedupe *",
        "dedupe n,t",
        "flatten .",
        "explode l",
        "json o",
        "drop t",
        "rename n=x",
        "select n,o.k,l,m,t",
        "flatten .; select n,m,`o`",
        "flatten .; select n,m",
        "with x = cast(t as json)",
        "cast m:json",
        "with x = m[0]",
        "with x = number(t)",
        "with x = number(m)",
        "cast t:number('.', ',')",
        "cast n:number",
        "with x = coalesce(number(t), n)",
        "with x = number(concat(t, ',50'), ',') + 1",
        "with x = number(concat(t, '12345678901234567'), ',')",
        "with x = date(concat('0', t, '.02.2024'), '%d.%m.%Y')",
        "with x = timestamp(concat(t, ' Mar 24 1 PM'), '%d %b %y %I %p', ms)",
        "with x = row_number()",
        "with x = if(row_number() % 2 = 0, t, source())",
        "where row_number() > 3",
        "where row_number() <> 5 and n > 0",
        "where n > 0.5; where row_number() < 9",
        "with x = run()",
        "select l,*",
        "select *,n",
        "select t,*,o.k",
    ],
    &[
        "where cast(x as string) like '1%'",
        "where length(cast(x as string)) > 1",
        "dedupe x",
        "with y = x || ''",
        "with y = coalesce(x, 'none')",
        "select x,m",
        "rename x=z",
    ],
];

/// As [`JSON_STEPS`], for CSV records.
const CSV_STEPS: [&[&str]; 2] = [
    &[
        "where n = '1'",
        "where n = 1",
        "where n > 1",
        "where b like 'T%'",
        "where b = true",
        "where b",
        "where b = 'true'",
        "where m = 1",
        "where n = m",
        "where length(n) > 1",
        "with x = length(n)",
        "with x = n",
        "with x = n + 1",
        "with x = n || b",
        "with x = coalesce(n, 0)",
        "with x = coalesce(n, t)",
        "with x = case when n > 1 then n else m end",
        "with x = nullif(n, 1)",
        "with x = upper(b)",
        "dedupe n",
        "dedupe b",
        "dedupe *",
        "dedupe n,m",
        "rename n=x",
        "select m,n",
        "with x = number(m)",
        "with x = number(n, ',', '.')",
        "cast n:number",
        "cast t:number('.')",
        "with x = number(n) * 2",
        "with x = coalesce(number(n), m)",
        "with x = date(concat(m, '.02.2024'), '%d.%m.%Y')",
        "with x = row_number()",
        "where row_number() > 3",
        "with x = source()",
        "select m,*",
        "select *,n",
    ],
    &[
        "where x = '1'",
        "where x = 1",
        "where length(x) = 1",
        "dedupe x",
        "with y = x || ''",
        "with y = x",
        "select x,m",
    ],
];

pub(super) fn draw_steps(draw: &mut Draw, steps: [&'static [&'static str]; 2]) -> Vec<&'static str> {
    let mut drawn: Vec<&str> = (0..1 + draw.below(2)).map(|_| draw.pick(steps[0])).collect();
    if drawn.last().is_some_and(|step| step.starts_with("with x") || step.ends_with("=x")) {
        drawn.extend((0..1 + draw.below(2)).map(|_| draw.pick(steps[1])));
    }
    drawn
}

pub(super) fn parsed(steps: &[&str]) -> Vec<Step> {
    let parse = |step: &str| {
        let (word, text) = step.split_once(' ').expect("a word and its text");
        Grammar::of(word).expect("a step").parse(text, 0).expect("a text that parses")
    };
    steps.iter().flat_map(|steps| steps.split("; ")).flat_map(parse).collect()
}

/// The rows of an output, and how many were read, rejected and filtered.
#[derive(Debug, PartialEq)]
struct Rows {
    rows: Vec<Value>,
    counts: (u64, u64, u64, u64),
}

struct Case<'a> {
    dir: &'a std::path::Path,
    input: PathBuf,
    steps: Vec<Step>,
}

impl Case<'_> {
    /// Executes the steps into `outputs`; `None` if the sample shows that a step does not fit.
    fn execute(&self, outputs: &[&str], workers: usize, morsel_bytes: usize) -> Result<Option<Report>, Error> {
        let source = Source { name: "in".into(), ..Source::file(self.input.clone()) };
        let outputs: Vec<Output> = outputs
            .iter()
            .map(|name| {
                let path = self.dir.join(name);
                let (format, compression) = crate::format::detect::output_format_of_path(&path).expect("a format");
                Output { format, compression, target: Target::File { path, no_clobber: false, append: false } }
            })
            .collect();
        let mut plan = ExecutionPlan::new(source, outputs[0].clone());
        plan.outputs = outputs;
        plan.steps = self.steps.clone();
        plan.on_bad_record = OnBadRecord::Skip;
        plan.limits =
            Limits { workers, morsel_bytes, row_group_bytes: 3 * morsel_bytes, sample_bytes: 1, ..Limits::default() };
        match execute(plan, &Control::new()) {
            Ok(report) => Ok(Some(report)),
            // Types in the sample decide about these, and small morsels make a small sample.
            Err(Error::Expression(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads an output, with every value in the form in which formats are compared.
    fn rows(&self, output: &str, report: &Report) -> Rows {
        let path = self.dir.join(output);
        let rows = match output.rsplit('.').next() {
            Some("csv") => csv_rows(&path),
            Some("ndjson") => {
                let text = std::fs::read_to_string(&path).expect("a file");
                text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
            }
            _ => parquet_rows(&path, &report.schema),
        };
        let counts = (report.rows_in, report.rows_added, report.rows_rejected, report.rows_filtered);
        Rows { rows, counts }
    }
}

fn csv_rows(path: &std::path::Path) -> Vec<Value> {
    let mut reader = csv::Reader::from_path(path).expect("a file");
    let names = reader.headers().expect("a header").clone();
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.expect("a record");
        Value::Object(names.iter().zip(&record).map(|(name, cell)| (name.to_owned(), cell.into())).collect())
    };
    reader.records().map(row).collect()
}

fn parquet_rows(path: &std::path::Path, schema: &Schema) -> Vec<Value> {
    let parsed = |(name, value): (String, Value)| {
        let ty = &schema.fields[schema.position(&name).expect("a column")].ty;
        let value = parsed_json(value, ty);
        (name, value)
    };
    let rows = typed_rows(path, schema).into_iter();
    rows.map(|row| Value::Object(row.into_iter().map(parsed).collect())).collect()
}

/// Reads the rows of a Parquet file, with JSON text as text.
pub(super) fn typed_rows(path: &std::path::Path, schema: &Schema) -> Vec<Map<String, Value>> {
    let bytes = bytes::Bytes::from(std::fs::read(path).expect("a file"));
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
    let mut rows = Vec::new();
    for batch in reader.build().expect("Parquet") {
        let batch = batch.expect("Parquet");
        for row in 0..batch.num_rows() {
            let mut members = Map::new();
            for (field, column) in schema.fields.iter().zip(batch.columns()) {
                let value = crate::column::testing::value(column, &field.ty, row);
                members.insert(field.name.to_string(), value);
            }
            rows.push(members);
        }
    }
    rows
}

/// Replaces the JSON text of mixed values by what it says.
fn parsed_json(value: Value, ty: &Type) -> Value {
    match (value, ty) {
        (Value::String(text), Type::Json) => serde_json::from_str(&text).expect("JSON text"),
        (Value::String(text), Type::Struct(_)) => serde_json::from_str(&text).expect("JSON text"),
        (Value::Array(items), Type::List(item)) => {
            Value::Array(items.into_iter().map(|value| parsed_json(value, item)).collect())
        }
        (Value::Object(members), Type::Struct(fields)) => members
            .into_iter()
            .map(|(key, value)| {
                let ty = fields.iter().find(|field| *field.name == *key).map_or(&Type::Null, |field| &field.ty);
                (key, parsed_json(value, ty))
            })
            .collect::<Map<_, _>>()
            .into(),
        (Value::Object(members), Type::Map(of)) => {
            members.into_iter().map(|(key, value)| (key, parsed_json(value, of))).collect::<Map<_, _>>().into()
        }
        (value, _) => value,
    }
}

/// Converts a value to what all formats keep of it: absent and null are one, a number is its value.
fn kept(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(int) if int.unsigned_abs() > 1 << 53 => value.clone(),
            _ => Value::from(number.as_f64().expect("a finite number")),
        },
        Value::Array(items) => items.iter().map(kept).collect(),
        Value::Object(members) => {
            let present = members.iter().filter(|(_, value)| !value.is_null());
            present.map(|(key, value)| (key.clone(), kept(value))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Converts a value to what a cell of CSV keeps of it.
fn cell(value: &Value) -> Value {
    match value {
        Value::Null => "".into(),
        Value::String(text) => text.clone().into(),
        Value::Bool(b) => b.to_string().into(),
        Value::Number(number) => number.to_string().into(),
        nested => nested.to_string().into(),
    }
}

/// Returns the rows with the columns of `names` alone, each value converted by `form`.
fn with_columns(rows: &[Value], names: &[String], form: fn(&Value) -> Value) -> Vec<Vec<Value>> {
    rows.iter().map(|row| names.iter().map(|name| form(row.get(name).unwrap_or(&Value::Null))).collect()).collect()
}

fn names_of(rows: &[Value]) -> Vec<String> {
    let mut names = Vec::new();
    for key in rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys()) {
        if !names.contains(key) {
            names.push(key.clone());
        }
    }
    names
}

/// Cells that all text and typed outputs of CSV records keep: a number by its value, a boolean in any case.
fn cell_value(value: &Value) -> Value {
    let text = match value {
        Value::Number(number) => number.to_string(),
        other => cell(other).as_str().unwrap_or_default().to_lowercase(),
    };
    match text.parse::<f64>() {
        Ok(number) => Value::from(number),
        Err(_) => text.into(),
    }
}

fn compare(
    what: &str,
    found: &Rows,
    expected: &Rows,
    names: &[String],
    form: fn(&Value) -> Value,
) -> Result<(), String> {
    if found.counts != expected.counts {
        return Err(format!("{what}: counts {:?}, expected {:?}", found.counts, expected.counts));
    }
    let (found, expected) = (with_columns(&found.rows, names, form), with_columns(&expected.rows, names, form));
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what} {names:?}:\n  found    {found:?}\n  expected {expected:?}")),
    }
}

/// Executes one case into every output, and returns the first difference.
fn judge(seed: u64) -> Result<bool, String> {
    let mut draw = Draw(seed);
    draw.below(2);
    let is_csv = draw.below(3) == 0;
    let (name, content, steps) = match is_csv {
        true => ("in.csv", csv_records(&mut draw), draw_steps(&mut draw, CSV_STEPS)),
        false => ("in.ndjson", json_records(&mut draw), draw_steps(&mut draw, JSON_STEPS)),
    };
    let (workers, morsel_bytes) = ([1, 2, 7][draw.below(3)], [1, 10, 60, 300, 1 << 20][draw.below(5)]);
    let dir = tempfile::tempdir().expect("a directory");
    let case = Case { dir: dir.path(), input: dir.path().join(name), steps: parsed(&steps) };
    std::fs::write(&case.input, &content).expect("a file");
    let about =
        |error: String| format!("{error}\nsteps {steps:?}, {workers} workers, morsels of {morsel_bytes}\n{content}");
    let failed = |output: &str, error: Error| about(format!("{output}: {error:?}"));
    let reference = if is_csv { "all.csv" } else { "all.ndjson" };
    let Some(report) = case.execute(&[reference], 1, morsel_bytes).map_err(|error| failed(reference, error))? else {
        return Ok(false);
    };
    let expected = case.rows(reference, &report);
    for outputs in [
        &["one.ndjson"][..],
        &["one.csv"],
        &["one.parquet"],
        &["two.parquet", "two.csv"],
        &["three.csv", "three.ndjson"],
        &["four.parquet", "four.ndjson"],
    ] {
        let report = case.execute(outputs, workers, morsel_bytes).map_err(|error| failed(outputs[0], error))?;
        let Some(report) = report else { return Err(about(format!("{outputs:?}: a step does not fit"))) };
        for output in outputs {
            let found = case.rows(output, &report);
            let is_cells = output.ends_with(".csv");
            let form = match (is_csv, is_cells) {
                (true, true) => cell,
                (true, false) => cell_value,
                (false, true) => cell,
                (false, false) => kept,
            };
            // Text outputs of JSON records are the same to the last digit and null, beside typed ones too.
            if !is_csv && output.ends_with(".ndjson") && found.rows != expected.rows {
                return Err(about(format!("{output}:\n  found    {:?}\n  expected {:?}", found.rows, expected.rows)));
            }
            let names = if output.ends_with(".ndjson") { names_of(&expected.rows) } else { names_of(&found.rows) };
            compare(&format!("{output} of {outputs:?}"), &found, &expected, &names, form).map_err(about)?;
        }
    }
    // Mixed values as text: the same bytes, wherever the value came that mixed them.
    let mut texts = Vec::new();
    for (workers, morsel_bytes) in [(1, 1 << 20), (workers, morsel_bytes)] {
        let report = case.execute(&["text.parquet"], workers, morsel_bytes);
        match report.map_err(|error| failed("text.parquet", error))? {
            Some(report) => texts.push(typed_rows(&dir.path().join("text.parquet"), &report.schema)),
            None => return Ok(true),
        }
    }
    match texts[0] == texts[1] {
        true => Ok(true),
        false => Err(about(format!("text.parquet:\n  whole {:?}\n  parts {:?}", texts[0], texts[1]))),
    }
}

/// Judges cases drawn from a seed: a tenth of `all`, or all of them if `DRAWOFF_TEST_ALL` is set. Returns the verdicts.
///
/// # Panics
///
/// If a case is wrong.
pub(super) fn cases(seed: u64, all: u64, judge: fn(u64) -> Result<bool, String>) -> Vec<bool> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let seed = variable("DRAWOFF_TEST_SEED").map_or(seed, |seed| seed.parse().expect("a seed is a number"));
    let n_cases = match variable("DRAWOFF_TEST_ALL").is_some_and(|value| value != "0") {
        true => all,
        false => all.div_ceil(10),
    };
    let judged: Vec<_> = (0..n_cases).map(|i| judge(seed.wrapping_add(i.wrapping_mul(0x1000_0001)))).collect();
    let wrong: Vec<&String> = judged.iter().filter_map(|judged| judged.as_ref().err()).collect();
    let shown: Vec<&str> = wrong.iter().take(3).map(|text| text.as_str()).collect();
    assert!(wrong.is_empty(), "DRAWOFF_TEST_SEED={seed}: {} of {n_cases} cases\n{}", wrong.len(), shown.join("\n\n"));
    judged.into_iter().flatten().collect()
}

#[test]
fn every_output_has_the_same_rows() {
    let judged = cases(SEED, CASES, judge);
    // The test proves something only if most cases reach their outputs.
    let compared = judged.iter().filter(|judged| **judged).count();
    assert!(compared * 2 > judged.len(), "{compared} of {} cases were compared", judged.len());
}
