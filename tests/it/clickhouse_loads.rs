//! Loads into ClickHouse, through a shim of its HTTP interface over its engine: what the tables hold, and that a load that is
//! interrupted anywhere has its rows there once.

use std::process::Child;
use std::thread;

use serde_json::{Value, json};

use crate::support::clickhouse::{ClickHouseShim, PASSWORD};
use crate::support::plans::{SeededRng, count, seed};
use crate::support::{Done, Place, exit, interrupt};

const ROWS: usize = 40;

fn people(late: &str) -> String {
    let row = |i| {
        let late = if i < 35 { "" } else { late };
        format!("{{\"id\":{i},\"name\":\"p{i}\",\"group\":\"{}\"{late}}}\n", ["a", "b", "c"][i % 3])
    };
    (0..ROWS).map(row).collect()
}

fn place() -> Place {
    let place = Place::new();
    place.write("people.ndjson", people(""));
    place
}

fn convert<'a>(url: &'a str, table: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["convert", "people.ndjson", "-o", url, "--into", table], more].concat()
}

/// A place whose rows need two INSERTs, because a column is first seen in the middle.
fn place_with_late_column() -> Place {
    let place = Place::new().morsels("200");
    place.write("people.ndjson", people(",\"late\":1"));
    place
}

/// Tables by partitions, so that rows of one load move in three steps.
const PARTITIONED: &str = "CREATE TABLE crm.people (id Int64, name String, `group` LowCardinality(String)) ENGINE = MergeTree \
    PARTITION BY `group` ORDER BY id";

fn assert_once(shim: &ClickHouseShim, what: &str) {
    assert_eq!(shim.ask("SELECT count(), uniqExact(id), sum(id) FROM crm.people"), "40\t40\t780\n", "{what}");
    let loads = shim.ask("SELECT commit_key, toString(max(state)), any(rows) FROM crm._drawoff_loads GROUP BY 1");
    assert!(loads.ends_with("\tmoved\t40\n") && loads.lines().count() == 1, "{what}: {loads}");
}

#[test]
fn a_file_is_loaded_once_and_widens_the_table() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place(), shim.url());
    place.run(&convert(&url, "people", &[])).ok().says("loaded 40 rows into people of clickhouse://");
    assert_once(&shim, "first");
    place.run(&convert(&url, "people", &[])).ok().says("loaded on 20").says("nothing was changed");
    assert_once(&shim, "second");
    assert_eq!(shim.leftovers(), "");
    let types = shim.ask("SELECT name, type FROM system.columns WHERE database = 'crm' AND table = 'people'");
    assert_eq!(types, "id\tNullable(Int64)\nname\tNullable(String)\ngroup\tNullable(String)\n");
    // Late columns, and a wider number.
    place.write(
        "people.ndjson",
        "{\"id\":1.5,\"late\":{\"b\": 1.0,\"a\":null}}\n{\"id\":2,\"name\":\"x\",\"late\":null}\n",
    );
    place
        .run(&convert(&url, "people", &[]))
        .ok()
        .says("added the column `late`")
        .says("from Nullable(Int64) to Nullable(Float64)");
    let rows = shim.rows("SELECT id, name, late FROM crm.people WHERE `group` IS NULL ORDER BY id");
    assert_eq!(
        rows,
        [
            json!({"id": 1.5, "name": null, "late": "{\"b\": 1.0,\"a\":null}"}),
            json!({"id": 2, "name": "x", "late": null}),
        ]
    );
    let loads = place.run(&["loads", "ls", &url]).ok();
    assert_eq!(loads.text().lines().filter(|line| line.contains("people")).count(), 2, "{}", loads.text());
}

#[test]
fn replaced_rows_are_gone_all_at_once_and_may_be_loaded_again() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place(), shim.url());
    place.run(&convert(&url, "people", &[])).ok();
    place.write("other.ndjson", "{\"id\":7}\n");
    place.run(&["convert", "other.ndjson", "-o", &url, "--into", "people", "--load", "replace"]).ok();
    assert_eq!(shim.ask("SELECT count(), sum(id) FROM crm.people"), "1\t7\n");
    assert!(shim.log().iter().all(|sql| !sql.contains("TRUNCATE") && !sql.contains("DELETE")));
    // The rows of the first load are not there any more, so they are no load that stands.
    place.run(&convert(&url, "people", &[])).ok().says("loaded 40 rows");
    assert_eq!(shim.ask("SELECT count() FROM crm.people"), "41\n");
    assert_eq!(shim.leftovers(), "");
    place
        .run(&convert(&url, "people", &["--load", "merge", "--key", "id"]))
        .code(exit::USAGE)
        .hints("ReplacingMergeTree");
}

/// Statements of a load at which it is interrupted, and how often each is passed before.
const POINTS: &[(&str, usize)] = &[
    ("CREATE TABLE .*_l_", 0),
    ("INSERT INTO .*_l_", 0),
    ("ADD COLUMN", 0),
    ("INSERT INTO .*_l_", 1),
    ("count\\(\\) FROM .*_l_", 0),
    ("MODIFY COMMENT", 0),
    ("RENAME", 0),
    ("CREATE TABLE .*_e_", 0),
    ("INSERT INTO .*_drawoff_loads.*'loaded'", 0),
    ("DROP TABLE .*_e_", 0),
    ("MOVE PARTITION", 0),
    ("MOVE PARTITION", 1),
    ("MOVE PARTITION", 2),
    ("INSERT INTO .*_drawoff_loads.*'moved'", 0),
    ("DROP TABLE .*_c_", 0),
];

/// A fixed tenth of the cases, or all of them.
fn drawn<T>(mut cases: Vec<T>) -> Vec<T> {
    let mut rng = SeededRng::new(seed());
    let wanted = count(cases.len() as u32).max(1) as usize;
    while cases.len() > wanted {
        cases.swap_remove((rng.fraction() * cases.len() as f64) as usize);
    }
    cases
}

/// Each point of a load with each act.
fn points_with(acts: &[&'static str]) -> Vec<(&'static str, usize, &'static str)> {
    POINTS.iter().flat_map(|(point, skip)| acts.iter().map(|act| (*point, *skip, *act))).collect()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_load_killed_anywhere_is_completed_once() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place_with_late_column(), shim.url());
    let keys = [&[][..], &["--load-key", "first"]];
    let cases = points_with(&["hold-before", "hold-after"]);
    let cases: Vec<_> = cases.iter().flat_map(|case| keys.iter().map(move |key| (*case, *key))).collect();
    for ((point, skip, act), key) in drawn(cases) {
        shim.ask("DROP TABLE IF EXISTS crm.people SYNC");
        shim.ask("DROP TABLE IF EXISTS crm._drawoff_loads SYNC");
        shim.ask(PARTITIONED);
        let what = format!("{key:?} {act} {point} {skip}");
        shim.fault(point, skip, act);
        let child = place.command(&convert(&url, "people", key)).spawn().unwrap();
        shim.wait_until_held();
        kill(child);
        // The statement is executed after its client has ended, or was before.
        shim.release();
        let before = shim.ask("SELECT count() FROM crm.people");
        assert!(before.trim().parse::<usize>().unwrap() <= ROWS, "{what}");
        place.run(&convert(&url, "people", key)).ok();
        assert_once(&shim, &what);
        place.run(&convert(&url, "people", key)).ok().says("nothing was changed");
        assert_once(&shim, &what);
        assert_eq!(shim.leftovers(), "", "{what}");
    }
}

#[test]
fn a_response_that_is_lost_anywhere_changes_nothing() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place_with_late_column(), shim.url());
    for (point, skip, act) in drawn(points_with(&["cut-before", "cut-after", "late"])) {
        shim.ask("DROP TABLE IF EXISTS crm.people SYNC");
        shim.ask("DROP TABLE IF EXISTS crm._drawoff_loads SYNC");
        shim.ask(PARTITIONED);
        shim.fault(point, skip, act);
        place.run(&convert(&url, "people", &[])).ok().says("loaded 40 rows");
        assert_once(&shim, &format!("{act} {point} {skip}"));
        assert_eq!(shim.leftovers(), "");
    }
}

#[test]
fn of_loads_of_the_same_rows_one_counts() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place_with_late_column(), shim.url());
    for (point, skip, act) in drawn(points_with(&["hold-before", "hold-after"])) {
        shim.ask("DROP TABLE IF EXISTS crm.people SYNC");
        shim.ask("DROP TABLE IF EXISTS crm._drawoff_loads SYNC");
        shim.ask(PARTITIONED);
        // The first stands at this point until the second has ended.
        shim.fault(point, skip, act);
        let first = place.command(&convert(&url, "people", &[])).spawn().unwrap();
        shim.wait_until_held();
        place.run(&convert(&url, "people", &[])).ok();
        assert_once(&shim, &format!("second, first at {act} {point} {skip}"));
        shim.release();
        let first = Done::of_child("the first".to_owned(), first).ok();
        assert_once(&shim, &format!("first, {act} {point} {skip}: {}", first.stderr));
        assert_eq!(shim.leftovers(), "", "{point} {skip}");
    }
    shim.ask("DROP TABLE IF EXISTS crm.people SYNC");
    shim.ask("DROP TABLE IF EXISTS crm._drawoff_loads SYNC");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| place.run(&convert(&url, "people", &[])).ok());
        }
    });
    assert_once(&shim, "four at once, of a table that was not there");
    assert_eq!(shim.leftovers(), "");
}

#[test]
fn rows_that_a_table_cannot_hold_are_rejected_and_misfits_are_all_named() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (Place::new(), shim.url());
    shim.ask(
        "CREATE TABLE crm.t (small UInt8, text String, mood Enum8('good' = 1, 'bad' = 2), id UUID, at DateTime('UTC'), \
         code FixedString(2), list Array(Int16), map Map(String, Nullable(Int64)), price Decimal(6, 2), j Nullable(JSON), \
         pair Tuple(a Int8, b Nullable(String)), ip IPv4, big UInt256, low LowCardinality(Nullable(String)), \
         made String MATERIALIZED upper(text), other Int64 DEFAULT 5) ENGINE = MergeTree ORDER BY small",
    );
    let good = json!({
        "small": 255, "text": "é\u{0}", "mood": "bad", "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "at": "2026-01-31T12:00:00Z", "code": "ab", "list": [1, -2], "map": {"x": null, "y": 3}, "price": 12.5,
        "j": {"a": {"b": [1, 2.5]}}, "pair": {"a": -1}, "ip": "1.2.3.4", "low": null,
    });
    let mut text = String::new();
    let mut with = |name: &str, value: Value| {
        let mut row = good.clone();
        row[name] = value;
        text.push_str(&(row.to_string() + "\n"));
    };
    with("big", serde_json::from_str("123456789012345678901234567890").unwrap());
    for (name, value) in [
        ("small", json!(256)),
        ("small", json!(-1)),
        ("small", json!(null)),
        ("text", json!(null)),
        ("mood", json!("fine")),
        ("id", json!("a0")),
        ("at", json!("1969-01-01T00:00:00Z")),
        ("at", json!("2026-01-31T12:00:00.5Z")),
        ("code", json!("abc")),
        ("list", json!([40000])),
        ("list", json!(null)),
        ("map", json!({"x": "y"})),
        ("price", json!(12345.67)),
        ("price", json!(1.234)),
        ("pair", json!({"c": 1})),
        ("ip", json!("1.2.3")),
    ] {
        with(name, value);
    }
    // `big` is beyond what `json!` holds in the others.
    let text = text.replace("\"ip\"", "\"big\":1,\"ip\"").replacen("\"big\":1,", "", 1);
    place.write("rows.ndjson", text);
    let args = ["convert", "rows.ndjson", "-o", &url, "--into", "t", "--on-bad-record", "skip"];
    place.run(&args).code(exit::PARTIAL).says("16");
    let rows = shim.rows("SELECT *, made FROM crm.t");
    assert_eq!(
        rows,
        [json!({
            "small": 255, "text": "é\u{0}", "mood": "bad", "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "at": "2026-01-31 12:00:00", "code": "ab", "list": [1, -2], "map": {"x": null, "y": 3}, "price": 12.5,
            "j": {"a": {"b": [1, 2.5]}}, "pair": {"a": -1, "b": null}, "ip": "1.2.3.4",
            "big": serde_json::from_str::<Value>("123456789012345678901234567890").unwrap(), "low": null, "other": 5,
            "made": "É\u{0}".replace('É', "é"),
        })]
    );
    place.write("rows.ndjson", "{\"small\":true,\"list\":{\"a\":1},\"made\":\"x\"}\n");
    let done = place.run(&args);
    for column in ["`small`", "`list`", "`made`", "`text`", "`id`"] {
        assert!(done.stderr.contains(&format!("column {column}")), "{}", done.stderr);
    }
    assert_eq!(shim.leftovers(), "");
}

/// Values that loaders get wrong, as JSON text.
const TRAPS: &[&str] = &[
    "null",
    "true",
    "0",
    "-0.0",
    "1.0",
    "9007199254740993",
    "9223372036854775807",
    "123456789012345678901234567890",
    "1e300",
    "\"\"",
    "\"a\\u0000b\"",
    "\"\\ud83d\\ude00 é\"",
    "\"null\"",
    "\"12\"",
    "\"\\\\N\"",
    "\"\\t\\n\\\\ '`\\\"\"",
    "[]",
    "[null]",
    "[1,\"a\",{}]",
    "{}",
    "{\"a\":null}",
    "{\"a\": 1.0, \"b\":[1e2]}",
    "{\"a\":{\"a\":\"\\ud800\"}}",
];

#[test]
fn drawn_rows_are_read_back_as_they_were() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let url = shim.url();
    let mut rng = SeededRng::new(seed());
    let mut below = |n: usize| (rng.fraction() * n as f64) as usize;
    for round in 0..4 {
        let place = Place::new().morsels("4KiB");
        // A column of each kind, which stays of this kind, and one of everything.
        let kinds: [&[&str]; 5] = [
            &["null", "true", "false"],
            &["null", "0", "-9223372036854775808", "9223372036854775807"],
            &["null", "\"\"", "\"a\\u0000b\"", "\"\\\\N\"", "\"é\\ud83d\\ude00\""],
            &["null", "[]", "[1]", "[null,-2]"],
            &["null", "1.5", "-0.25", "1e300"],
        ];
        let mut lines = Vec::new();
        for _ in 0..2500 {
            let mut members: Vec<String> = Vec::new();
            for (column, kind) in kinds.iter().enumerate() {
                if below(5) > 0 {
                    members.push(format!("\"c{column}\":{}", kind[below(kind.len())]));
                }
            }
            // Rarely, so that some rows are written before a column is of several types.
            if round > 0 && below(300) == 0 {
                members.push(format!("\"any\":{}", TRAPS[below(TRAPS.len())]));
            }
            lines.push(format!("{{{}}}", members.join(",")));
        }
        place.write("rows.ndjson", lines.join("\n") + "\n");
        let table = format!("drawn{round}");
        // An own column of numbers, by which the rows are compared.
        let text: String = lines
            .iter()
            .enumerate()
            .map(|(i, line)| {
                let rest = &line[1..];
                let comma = if rest == "}" { "" } else { "," };
                format!("{{\"n\":{i}{comma}{rest}\n")
            })
            .collect();
        place.write("rows.ndjson", text);
        place.run(&["convert", "rows.ndjson", "-o", &url, "--into", &table]).ok();
        let rows = shim.rows(&format!("SELECT * FROM crm.{table} ORDER BY n"));
        assert_eq!(rows.len(), lines.len());
        for (line, row) in lines.iter().zip(&rows) {
            let record: serde_json::Map<String, Value> =
                serde_json::from_str(&line.replace("\\ud800", "\\ufffd")).unwrap();
            for column in ["c0", "c1", "c2", "c3", "c4", "any"] {
                let (expected, found) = (record.get(column).unwrap_or(&Value::Null), &row[column]);
                let same = match (column, expected, found) {
                    (_, Value::Null, found) => found.is_null(),
                    ("c3" | "any", expected, Value::String(text)) => {
                        let value: Value = serde_json::from_str(&text.replace("\\ud800", "\\ufffd")).unwrap();
                        let is_nested = expected.is_array() || expected.is_object();
                        let same_number = expected.is_number() && value.as_f64() == expected.as_f64();
                        // Of nested values the record's own text.
                        same_number || value == *expected && (!is_nested || line.contains(text.as_str()))
                    }
                    ("c4", expected, found) => expected.as_f64() == found.as_f64(),
                    (_, expected, found) => expected == found,
                };
                assert!(same, "{column}: {found} of {line}");
            }
        }
    }
}

#[test]
fn the_commit_key_is_in_each_row_where_a_column_is_for_it() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place(), shim.url());
    place.run(&convert(&url, "people", &["--load-column", "_load"])).ok();
    let keys = shim
        .ask("SELECT uniqExact(_load), any(_load) = (SELECT any(commit_key) FROM crm._drawoff_loads) FROM crm.people");
    assert_eq!(keys, "1\t1\n");
    place.write("people.ndjson", "{\"id\":1}\n");
    place.run(&convert(&url, "people", &["--load-column", "_load"])).ok();
    assert_eq!(shim.ask("SELECT uniqExact(_load), count() FROM crm.people"), "2\t41\n");
}

#[test]
fn tables_that_cannot_be_loaded_once_are_refused_before_a_row() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place(), shim.url());
    shim.ask("CREATE TABLE crm.m (id Int64) ENGINE = Memory");
    shim.ask("CREATE VIEW crm.v AS SELECT 1 AS id");
    for (table, words) in [
        ("m", "engine Memory"),
        ("v", "engine View"),
        ("no.t", "no database `no`"),
        ("_drawoff_loads", "records the loads"),
    ] {
        // The last is none whatever the server has.
        let code = if table == "_drawoff_loads" { exit::USAGE } else { exit::LOAD_REFUSED };
        place.run(&convert(&url, table, &[])).code(code).says(words);
    }
    shim.ask("CREATE TABLE crm.r (id Int64, name String, `group` String) ENGINE = ReplacingMergeTree ORDER BY id");
    place.run(&convert(&url, "r", &[])).ok();
    place.write(
        "people.ndjson",
        "{\"id\":3,\"name\":\"new\",\"group\":\"x\"}\n{\"id\":3,\"name\":\"newer\",\"group\":\"x\"}\n",
    );
    place.run(&convert(&url, "r", &[])).ok().says("loaded 2 rows");
    assert_eq!(shim.ask("SELECT count(), countIf(name = 'newer') FROM crm.r FINAL"), "40\t1\n");
}

#[test]
fn a_password_is_sent_to_its_server_and_shown_nowhere() {
    let Some(shim) = ClickHouseShim::start_with(PASSWORD) else { return };
    let place = place();
    let escaped = PASSWORD.replace('/', "%2f");
    let url = format!("clickhouse://ann:{escaped}@127.0.0.1:{}/default", shim.port);
    let done = place.run(&convert(&url, "people", &[])).ok();
    assert!(!done.stderr.contains("marked"), "{}", done.stderr);
    let wrong = url.replace("marked", "marked-wrong");
    let done = place.run(&convert(&wrong, "people", &[]));
    assert!(done.stderr.contains("Authentication failed") && !done.stderr.contains("marked"), "{}", done.stderr);
    let done = place.run(&convert("clickhouse://ann:pw-marked@db.example/crm", "people", &[])).code(exit::USAGE);
    assert!(done.stderr.contains("--insecure-http") && !done.stderr.contains("marked"), "{}", done.stderr);
    let place = place.env("CLICKHOUSE_HOST", &format!("127.0.0.1:{}", shim.port)).env("CLICKHOUSE_PASSWORD", PASSWORD);
    place.run(&convert("clickhouse:", "people", &[])).ok().says("nothing was changed");
}

#[test]
fn the_statement_of_a_new_table_is_that_of_a_load() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place(), shim.url());
    let ddl = place.run(&["schema", "people.ndjson", "--format", "ddl:clickhouse", "--into", "crm.made"]).ok();
    shim.ask(ddl.text());
    place.run(&convert(&url, "loaded", &[])).ok();
    let columns = |table: &str| {
        shim.ask(&format!(
            "SELECT name, type FROM system.columns WHERE database = 'crm' AND table = '{table}' ORDER BY position"
        ))
    };
    assert_eq!(columns("made"), columns("loaded"));
    let sorting = |table: &str| {
        shim.ask(&format!("SELECT engine_full FROM system.tables WHERE database = 'crm' AND name = '{table}'"))
    };
    assert_eq!(sorting("made"), sorting("loaded"));
}

#[test]
fn rows_without_values_are_rows() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place(), shim.url());
    let columns = |table: &str| {
        shim.ask(&format!(
            "SELECT name, type FROM system.columns WHERE database = 'crm' AND table = '{table}' ORDER BY position"
        ))
    };
    for (table, text, count, expected) in [
        ("nulls", "{\"a\":null}\n{\"a\":null}\n", "2", "a\tNullable(String)\n"),
        ("late", "{\"a\":null}\n{\"a\":null,\"b\":1}\n", "2", "a\tNullable(String)\nb\tNullable(Int64)\n"),
        ("none", "{\"a\":1}\n", "1", "a\tNullable(Int64)\n"),
    ] {
        place.write("people.ndjson", text);
        place.run(&convert(&url, table, &[])).ok();
        assert_eq!(shim.ask(&format!("SELECT count() FROM crm.{table}")).trim(), count, "{table}");
        assert_eq!(columns(table), expected);
    }
    // Into tables that are there: nulls alone, and no rows at all.
    place.write("people.ndjson", "{\"a\":null}\n{\"c\":null}\n");
    place.run(&convert(&url, "none", &[])).ok();
    assert_eq!(shim.ask("SELECT count(), countIf(a IS NULL) FROM crm.none"), "3\t2\n");
    place.run(&convert(&url, "none", &["--where", "a = 7"])).ok().says("loaded 0 rows");
    place.run(&convert(&url, "none", &["--where", "a = 7"])).ok().says("nothing was changed");
    assert_eq!(shim.leftovers(), "");
}

#[test]
fn an_interrupted_load_drops_its_stage() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place(), shim.url());
    for point in ["INSERT INTO .*_l_", "count\\(\\) FROM .*_l_"] {
        shim.fault(point, 0, "hold-before");
        let child = place.command(&convert(&url, "people", &[])).spawn().unwrap();
        shim.wait_until_held();
        interrupt(&child);
        Done::of_child("interrupted".to_owned(), child).code(exit::INTERRUPTED);
        shim.release();
        assert_eq!(shim.leftovers(), "", "{point}");
    }
    place.run(&convert(&url, "people", &[])).ok();
    assert_once(&shim, "afterwards");
}

#[test]
fn a_server_that_is_not_there_is_said_at_once() {
    let place = place();
    // A port of which nothing listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("clickhouse://127.0.0.1:{port}/crm");
    let done = place.run(&convert(&url, "people", &[]));
    assert_ne!(done.code, 0);
    assert!(done.stderr.contains(&format!("cannot connect to 127.0.0.1:{port}")), "{}", done.stderr);
    assert!(done.stderr.contains("8123"), "{}", done.stderr);
}

#[test]
fn a_frozen_table_stays_as_it_is() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let (place, url) = (place(), shim.url());
    shim.ask("CREATE TABLE crm.people (id Int64, name Nullable(String)) ENGINE = MergeTree ORDER BY id");
    let done = place.run(&convert(&url, "people", &["--schema-policy", "freeze"]));
    done.code(exit::BAD_DATA).says("the table has no such column");
    // A key of the table cannot become wider, so numbers with fractions are bad records.
    place.write("people.ndjson", "{\"id\":1}\n{\"id\":2.5}\n{\"id\":3.0}\n");
    place.run(&convert(&url, "people", &["--on-bad-record", "skip"])).code(exit::PARTIAL);
    assert_eq!(shim.ask("SELECT id FROM crm.people ORDER BY id"), "1\n3\n");
    // The table judges records alike wherever they come, and has its own columns late, with and without a default.
    shim.ask("CREATE TABLE crm.late (id Int64, q Nullable(Int64) DEFAULT 7, v Nullable(Int64)) ENGINE = MergeTree ORDER BY id");
    let record = |id: usize| match id {
        30 => "{\"id\":30,\"n\":1}\n".to_owned(),
        60 => "{\"id\":60,\"v\":\"x\"}\n".to_owned(),
        61 => "{\"id\":61,\"v\":5,\"q\":1}\n".to_owned(),
        _ => format!("{{\"id\":{id}}}\n"),
    };
    place.write("people.ndjson", (0..100).map(record).collect::<String>());
    let mut expected = None;
    for (size, policy) in
        [("20", "freeze"), ("300", "freeze"), ("100000", "freeze"), ("20", "fail"), ("100000", "fail")]
    {
        shim.ask("TRUNCATE TABLE crm.late");
        let key = format!("{policy}-{size}");
        let args = ["--schema-policy", policy, "--on-bad-record", "skip", "--rejects", "bad", "--load-key", &key];
        let mut command = place.command(&convert(&url, "late", &args));
        command.env("DRAWOFF_MORSEL_SIZE", size).env("DRAWOFF_SAMPLE_SIZE", size);
        let done = Done::of(command);
        if policy == "fail" {
            done.code(exit::SCHEMA_CHANGED).says("line 31 ").says("field `n`: the table has no such column");
            continue;
        }
        done.code(exit::PARTIAL);
        let rows = shim.ask("SELECT count(), sum(v), countIf(q IS NULL), sum(q) FROM crm.late");
        let found = (rows, place.read_text("bad"));
        assert_eq!(expected.get_or_insert_with(|| found.clone()), &found, "morsels of {size}");
    }
    assert_eq!(expected.unwrap().0, "98\t5\t97\t1\n");
}
