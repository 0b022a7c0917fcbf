//! Nested values that go into tables as their own text, without being parsed: drawn records go through drawn steps into
//! a table alone, and into a table beside a Parquet file, for which they are parsed. Tables, counts and rejects must be
//! the same.

use std::sync::Arc;

use rusqlite::types::Value as Stored;

use super::oracle_tests::{Draw, JSON_STEPS, cases, draw_steps, parsed};
use super::*;
use crate::format::{Compression, OutputFormat};
use crate::source::Source;
use crate::transform::Step;
use crate::warehouse::sqlite::{Location, Sqlite};
use crate::warehouse::{LoadIdentity, LoadMode, NulPolicy, TableTarget};

/// Number of cases, if all run.
const CASES: u64 = 1500;

/// Default of `DRAWOFF_TEST_SEED`.
const SEED: u64 = 65;

/// Values by column: those of the first records, and those of later ones.
const VALUES: [(&str, &[&str], &[&str]); 8] = [
    (
        "o",
        &[r#"{"k":1}"#, r#"{"k":5, "m" : null}"#, "null", "{}", r#"{"k":1.50,"l":{"x":[]}}"#],
        &[
            r#"{"k":"1"}"#,
            r#"{"m":2,"k":1}"#,
            r#"{"k":1,"k":2}"#,
            r#"{"k":{"a":1,"\u0061":2},"k":{"a":1}}"#,
            r#"{"n":1e400,"p":123456789012345678901234567890}"#,
            r#"{"a long key, longer than eight":1,"a long key, longer than nine!":2,"a long key, longer than eight":3}"#,
            r#""text""#,
            "[1]",
            "12",
        ],
    ),
    (
        "l",
        &["[]", "[1]", "[1, 2]", "null", r#"[{"k":1},{"k":2}]"#],
        &[
            r#"["a",1]"#,
            r#"[{"k":1,"k":1},{"m":null}]"#,
            "[[[]]]",
            "[1.0,2.50]",
            r#"{"k":1}"#,
            r#""é\n""#,
            r#"["\ud83d\ude00"]"#,
        ],
    ),
    // Mixed numbers have no fractions: the digits of one depend on when its column became mixed.
    ("n", &["1", "2", "null"], &["12345678901234567", "true", r#"{"k":1}"#]),
    ("f", &["0.5", "null"], &["1.50", "2.25", "0.10"]),
    ("m", &[r#""12""#, r#""x""#], &["12", r#"{"b":1,"a":[null]}"#, "null", "[]"]),
    ("t", &[r#""1""#, r#""é""#], &[r#""\u0000""#, "null", r#"{"t":"\u0000"}"#]),
    // Only nulls at first.
    ("v", &["null"], &[r#"{"a":1}"#, "[1]", r#"{"a":[1]}"#]),
    // Keys that are data.
    (
        "ids",
        &[r#"{"https://a.test/1":1,"https://a.test/2":2}"#],
        &[
            r#"{"https://a.test/3":1,"https://a.test/3":2,"https://a.test/4":[1]}"#,
            r#"{"1":1,"2":1,"3":1,"4":1,"5":1,"6":1,"7":1,"8":1,"9":1,"10":1,"1":2}"#,
        ],
    ),
];

/// Records that are broken, or have a key of their own.
const ODD: [&str; 12] = [
    r#"{"n":1,"o":{"k":1,"k":2}"#,
    r#"{"n":1,"o":{"k":tru}}"#,
    r#"{"n":1,"o":{"k":"\ud800"}}"#,
    r#"{"n":1,"l":[{"k":1,"k":1},}"#,
    r#"{"n":1,"o":{"k":01}}"#,
    r#"{"n":1,"l":[1,2}"#,
    r#"{"n":1,"o":{k:1}}"#,
    "[1]",
    r#"{"n":1,"late":{"x":1}}"#,
    r#"{"n":1,"late":[1],"o":{"k":1},"o":{"m":1,"m":1}}"#,
    r#"{"o":{"k":1},"o":null,"n":2}"#,
    "{\"n\":1,\"o\":{\"k\":\"\u{1}\"}}",
];

/// Returns the records, one on a line or as elements of an array over several lines.
fn records(draw: &mut Draw, is_array: bool) -> String {
    // Names that no record has are errors, and so the first record has all of them.
    let mut records = vec![r#"{"n":1,"m":"x","o":{"k":1},"l":[1],"t":"1","v":null,"ids":{}}"#.to_owned()];
    let (rows, surprise) = (3 + draw.below(20), draw.below(20));
    for row in 0..rows {
        if draw.below(8) == 0 && !is_array {
            records.push(draw.pick(&ODD).to_owned());
            continue;
        }
        let mut members = Vec::new();
        for (name, early, late) in VALUES {
            if draw.below(6) > 0 {
                let values = if row >= surprise && draw.below(3) > 0 { late } else { early };
                members.push(format!("\"{name}\":{}", draw.pick(values)));
            }
        }
        records.push(format!("{{{}}}", members.join(",")));
    }
    if is_array {
        // Line breaks between tokens, also inside nested values.
        return format!("[{}]", records.join(",\n").replace("\":", "\":\n ").replace(",\"", ",\r\n\""));
    }
    // Of a reject, the last line may lack its end.
    if draw.below(4) == 0 { records.join("\n") } else { records.join("\n") + "\n" }
}

/// Everything about an execution that must not depend on how its nested values were decoded.
#[derive(Debug, PartialEq)]
struct Loaded {
    /// Names and types in their order; the column that has only nulls at first is the last, because its place depends on
    /// when it gets a value.
    columns: Vec<(String, String)>,
    rows: Vec<Vec<Stored>>,
    counts: [u64; 6],
    rejects: String,
}

struct Case<'a> {
    dir: &'a std::path::Path,
    input: std::path::PathBuf,
    steps: Vec<Step>,
    limits: Limits,
}

impl Case<'_> {
    /// Loads the records into a table of the file `name`, beside a Parquet file if `is_parsed`. Returns the error as text.
    fn load(&self, name: &str, is_parsed: bool) -> Result<Loaded, String> {
        let path = self.dir.join(name);
        let location = Location::parse(&format!("sqlite://{}", path.display())).expect("a path");
        let table = TableTarget {
            files: None,
            commit_every: None,
            warehouse: Arc::new(Sqlite::new(location)),
            table: "t".into(),
            mode: LoadMode::Append,
            load_column: None,
            again: false,
            nul: NulPolicy::Reject,
            identity: LoadIdentity::default(),
        };
        let table =
            Output { format: OutputFormat::Table, compression: Compression::None, target: Target::Table(table) };
        let source = Source { name: "in".into(), ..Source::file(self.input.clone()) };
        let mut plan = ExecutionPlan::new(source, table);
        if is_parsed {
            plan.outputs.push(super::tests::output(&self.dir.join(format!("{name}.parquet"))));
        }
        plan.steps = self.steps.clone();
        plan.on_bad_record = OnBadRecord::Skip;
        let rejects = self.dir.join(format!("{name}.rejects"));
        plan.rejects = Some(rejects.clone());
        plan.limits = self.limits.clone();
        let report = execute(plan, &Control::new()).map_err(|error| error.to_string())?;
        let db = rusqlite::Connection::open(&path).expect("a database");
        let mut columns =
            db.prepare("SELECT name, type FROM pragma_table_info('t') ORDER BY name = 'v', cid").expect("a table");
        let columns = columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        let columns: Vec<(String, String)> = columns.and_then(Iterator::collect).expect("columns");
        let names: Vec<String> = columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let mut statement = db.prepare(&format!("SELECT {} FROM t", names.join(", "))).expect("a table");
        let n_columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..n_columns).map(|i| row.get(i)).collect());
        let rows = rows.and_then(Iterator::collect).expect("rows");
        Ok(Loaded {
            columns,
            rows,
            counts: [
                report.rows_in,
                report.rows_written,
                report.rows_added,
                report.rows_filtered,
                report.rows_rejected,
                report.duplicate_keys,
            ],
            rejects: std::fs::read_to_string(rejects).unwrap_or_default(),
        })
    }
}

/// Compares the two loads of one case. Returns true if they made a table.
fn judge(seed: u64) -> Result<bool, String> {
    let mut draw = Draw(seed);
    draw.below(2);
    let is_array = draw.below(5) == 0;
    let content = records(&mut draw, is_array);
    let steps = if draw.below(2) == 0 { Vec::new() } else { draw_steps(&mut draw, JSON_STEPS) };
    let dir = tempfile::tempdir().expect("a directory");
    let input = dir.path().join(if is_array { "in.json" } else { "in.ndjson" });
    std::fs::write(&input, &content).expect("a file");
    let (workers, morsel_bytes) = ([1, 2, 7][draw.below(3)], [1, 60, 300, 1 << 20][draw.below(4)]);
    let case =
        Case { dir: dir.path(), input, steps: parsed(&steps), limits: super::tests::tiny(workers, morsel_bytes) };
    let (text, parsed) = (case.load("text.db", false), case.load("parsed.db", true));
    let difference = match (&text, &parsed) {
        (Ok(text), Ok(parsed)) if text.columns != parsed.columns => {
            format!("{:?}\n  {:?}", text.columns, parsed.columns)
        }
        (Ok(text), Ok(parsed)) if text.counts != parsed.counts => format!("{:?}\n  {:?}", text.counts, parsed.counts),
        (Ok(text), Ok(parsed)) if text.rejects != parsed.rejects => format!("{}\n  {}", text.rejects, parsed.rejects),
        (text, parsed) if text != parsed => format!("{text:?}\n  {parsed:?}"),
        _ => return Ok(text.is_ok()),
    };
    Err(format!("  {difference}\nsteps {steps:?}, {workers} workers, morsels of {morsel_bytes}\n{content}"))
}

#[test]
fn nested_values_as_text_make_the_same_table() {
    let judged = cases(SEED, CASES, judge);
    let loaded = judged.iter().filter(|loaded| **loaded).count();
    assert!(loaded * 2 > judged.len(), "{loaded} of {} cases made a table", judged.len());
}
