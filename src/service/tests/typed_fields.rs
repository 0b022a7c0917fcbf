//! Property: whatever texts a reference table has and whatever types are requested, every result is valid, all formats
//! agree, and no value changes.

use proptest::prelude::*;
use proptest::test_runner::{Config as TestConfig, TestRunner};
use serde_json::{Map, Value, json};

use super::Local;
use crate::service::EnrichTable;

/// Requested types, one column each.
const TYPES: [&str; 13] = [
    "str",
    "int",
    "float",
    "number",
    "bool",
    "dict",
    "object",
    "object_list",
    "list",
    "list[str]",
    "list[int]",
    "list[float]",
    "list[list[int]]",
];

/// Texts near the numbers, literals and structures of JSON, and others.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ ]?[-+]?[0-9]{0,3}([.][0-9]{0,3})?([eE][-+]?[0-9]{0,3})?[ ]?",
        2 => "-?[0-9]{1,45}([.][0-9]{1,20})?",
        2 => r#"[\[\]{},:"\\ 0-9a]{0,12}"#,
        2 => r#"\[(0?[0-9]|"a"|null| ){0,3}(,0?[0-9])?\]"#,
        1 => r#"\{"a": ?(0?[0-9]|"\\u(00e9|d800)"|\[0[0-9]\])\}"#,
        1 => "(true|TRUE|False|null|NaN|Infinity|-inf|0x1F|1_000|١٢)",
        1 => any::<String>(),
    ]
}

/// A value of the table: mostly a string, else the JSON value that its text is.
fn value() -> impl Strategy<Value = Value> {
    (text(), any::<bool>()).prop_map(|(text, bare)| match serde_json::from_str(&text) {
        Ok(value) if bare => value,
        _ => Value::String(text),
    })
}

/// Returns true if a cell of CSV is that of a value. serde_json spells numbers anew (`1E5` as `1e+5`), so they are
/// compared by value, at any number of digits.
fn is_cell_of(text: &str, value: &Value) -> bool {
    match value {
        Value::Null => text.is_empty(),
        Value::Bool(true) => text == "True",
        Value::Bool(false) => text == "False",
        Value::String(string) => text == string,
        Value::Number(number) => decimal(text).is_some() && decimal(text) == decimal(&number.to_string()),
        value => serde_json::from_str::<Value>(text).is_ok_and(|cell| cell == *value),
    }
}

/// A value without its nesting: neither the brackets of lists nor the quotes of structures within strings count.
#[derive(Debug, PartialEq)]
enum Leaf {
    Null,
    Number((bool, String, i64)),
    /// In lower case, because any spelling of a boolean may become one.
    Text(String),
}

/// Appends the leaves of a value: what no conversion may change.
fn leaves(value: &Value, found: &mut Vec<Leaf>) {
    match value {
        Value::Null => found.push(Leaf::Null),
        Value::Bool(value) => found.push(Leaf::Text(value.to_string())),
        Value::Number(number) => leaf(&number.to_string(), found),
        Value::String(text) => match serde_json::from_str(text.trim()) {
            Ok(inner @ (Value::Array(_) | Value::Object(_))) => leaves(&inner, found),
            _ => leaf(text.trim(), found),
        },
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(members) => {
            for (name, value) in members {
                found.push(Leaf::Text(name.to_lowercase()));
                leaves(value, found);
            }
        }
    }
}

fn leaf(text: &str, found: &mut Vec<Leaf>) {
    found.push(decimal(text).map_or_else(|| Leaf::Text(text.to_lowercase()), Leaf::Number));
}

/// Checks that a result has the value of the table, as whatever type.
fn check_unchanged(ty: &str, given: &Value, found: &Value) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    leaves(given, &mut before);
    leaves(found, &mut after);
    assert_eq!(before, after, "{ty}: {given} became {found}");
}

/// The value of a number as its significant digits and a power of ten, exact at any length.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let number: serde_json::Number = serde_json::from_str(text).ok()?;
    let text = number.to_string().to_lowercase();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let power = exponent.parse::<i64>().ok()? - fraction.len() as i64 + (digits.len() - significant.len()) as i64;
    Some((whole.starts_with('-'), significant.to_owned(), power))
}

/// Enriches one row per table row with every type and checks the files of all formats.
async fn check(values: Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table.ndjson");
    let lines: String = values.iter().enumerate().map(|(i, value)| format!("{}\n", table_row(i, value))).collect();
    std::fs::write(&path, lines).unwrap();
    let block = "company_enrichment".to_owned();
    let tables = vec![EnrichTable { block, path, key: "key".to_owned() }];
    let local = Local::start_with(|config| config.enrich = tables).await;
    let fields: Map<String, Value> = TYPES.iter().map(|ty| (ty.to_string(), json!({ "type": ty }))).collect();
    let enrich = json!({ "return_fields": fields });
    let workflow = local.chain(&[("webhook", json!({})), ("company_enrichment", enrich)]).await;
    let rows: Vec<Value> = (0..values.len()).map(|i| json!({ "key": i.to_string() })).collect();
    let formats = "&result_formats=csv&result_formats=ndjson&result_formats=json";
    let run = local.run(&workflow, formats, json!({ "webhook_payload": rows })).await;
    local.completed(&run).await;
    let mut files = Vec::new();
    for format in ["ndjson", "json", "csv"] {
        files.push(local.fetch(local.links(&run, format).await.last().unwrap()).await);
    }
    let found: Vec<Value> = files[0]
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(found.len(), values.len());
    assert_eq!(serde_json::from_str::<Vec<Value>>(&files[1]).unwrap(), found);
    let mut reader = csv::Reader::from_reader(files[2].as_bytes());
    let header = reader.headers().unwrap().clone();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), values.len());
    for ((row, record), given) in found.iter().zip(&records).zip(&values) {
        for (name, text) in header.iter().zip(record) {
            assert!(is_cell_of(text, &row[name]), "{name} of {row}: {text:?}");
        }
        for ty in TYPES {
            check_unchanged(ty, given, &row[ty]);
        }
    }
}

fn table_row(key: usize, value: &Value) -> Value {
    let mut row = json!({ "key": key.to_string() });
    for ty in TYPES {
        row[ty] = value.clone();
    }
    row
}

#[test]
fn any_text_under_any_type_gives_valid_results_that_agree() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // More rows than a result carries inline, so that the files alone are checked.
    let rows = proptest::collection::vec(value(), 30..120);
    let mut runner = TestRunner::new(TestConfig { cases: 12, failure_persistence: None, ..TestConfig::default() });
    runner
        .run(&rows, |values| {
            runtime.block_on(check(values));
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn leading_zeros_stay_and_digits_are_kept() {
    let texts =
        ["007", "-007", "00", "0", "-0", "12345678901234567.89", "1e400", "[007]", "{\"a\":01}", "[\"\\ud800\"]"];
    let filler = (0..30).map(|i| Value::String(i.to_string()));
    check(texts.into_iter().map(Value::from).chain(filler).collect()).await;
}
