//! A table takes, changes or rejects a value by the value and the table alone: not by the records beside it, the size of the
//! morsels, the number of workers, or the moment at which one of them began.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::clickhouse::ClickHouseShim;
use crate::support::postgres::Postgres;
use crate::support::{Done, Place, exit};

/// Morsels of a record, of a few, and of all; workers.
const SHAPES: [(&str, &str); 4] = [("1", "7"), ("150", "2"), ("500", "7"), ("4000000", "1")];

/// Values of JSON that types would bend or take for others.
const JSON_VALUES: [&str; 36] = [
    "0",
    "1",
    "-7",
    "40000",
    "3000000000",
    "9007199254740992",
    "9007199254740993",
    "1152921504606846976",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "12345678901234567890123",
    "-0",
    "1.0",
    "2.50",
    "-1.5",
    "1e2",
    "1e30",
    "1e-400",
    "1e400",
    "9007199254740993.0",
    "0.1234567890123456789",
    "true",
    "false",
    "null",
    "\"\"",
    "\"12\"",
    "\"007\"",
    "\"1.5\"",
    "\"2.0\"",
    "\"true\"",
    "\"x\\u00e9\"",
    "\"2026-01-31\"",
    "[1, 2.50]",
    "{\"a\": 1.50}",
    "\"nan\"",
];

/// The same for cells of CSV.
const CELLS: [&str; 24] = [
    "0",
    "1",
    "-7",
    "40000",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "12345678901234567890123",
    "-0",
    "1.0",
    "2.50",
    "-1.5",
    "1e2",
    "1e30",
    "1e-400",
    "0.1234567890123456789",
    "true",
    "False",
    "",
    "007",
    "+5",
    "x",
    "2026-01-31",
    "nan",
];

/// A generator of numbers that is the same everywhere.
struct Draw(u64);

impl Draw {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % below
    }

    /// Returns drawn indices: runs of one kind, with others between, as they come in practice.
    fn indices(&mut self, kinds: usize, rows: usize) -> Vec<usize> {
        let mut usual = self.next(kinds);
        (0..rows)
            .map(|_| {
                if self.next(20) == 0 {
                    usual = self.next(kinds);
                }
                if self.next(4) == 0 { self.next(kinds) } else { usual }
            })
            .collect()
    }
}

/// The rows of a table by their id, and the rejected records with their reasons.
type Outcome = (Vec<String>, BTreeMap<u64, String>);

/// The reasons of the rejects, by record.
fn rejects(place: &Place) -> BTreeMap<u64, String> {
    let text = if place.path("rejects").exists() { place.read_text("rejects") } else { String::new() };
    let _ = std::fs::remove_file(place.path("rejects"));
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.map(|reject| (reject["record"].as_u64().unwrap(), reject["reason"].as_str().unwrap().to_owned())).collect()
}

/// Loads the drawn values of `input` into tables that `make` makes and `read` reads, in every shape, and compares. Returns
/// the numbers of rows and rejects.
fn assert_one_meaning(
    what: &str,
    place: &Place,
    input: &str,
    url: &str,
    make: &dyn Fn(),
    read: &dyn Fn() -> Vec<String>,
) -> (usize, usize) {
    let mut first: Option<(Outcome, &str)> = None;
    for (number, (morsel, workers)) in SHAPES.iter().enumerate() {
        make();
        let key = format!("{what} {number}");
        let mut args = vec!["convert", input, "-o", url, "--into", "t", "--load-key", &key, "--workers", workers];
        args.extend(["--on-bad-record", "skip", "--rejects", "rejects"]);
        let mut command = place.command(&args);
        // The integer and the text at the start, or all records.
        let sample = if number % 2 == 0 { "30" } else { "100000" };
        command.env("DRAWOFF_MORSEL_SIZE", morsel).env("DRAWOFF_SAMPLE_SIZE", sample);
        let done = Done::of(command);
        assert!([exit::SUCCESS, exit::PARTIAL].contains(&done.code), "{what}, {morsel} × {workers}: {}", done.stderr);
        let outcome = (read(), rejects(place));
        match &first {
            None => first = Some((outcome, done.stderr.clone().leak())),
            Some((expected, _)) => {
                assert_eq!(outcome.1, expected.1, "{what}, {morsel} × {workers}: rejects");
                assert_eq!(outcome.0, expected.0, "{what}, {morsel} × {workers}: rows");
            }
        }
    }
    let ((rows, rejected), _) = first.unwrap();
    (rows.len(), rejected.len())
}

/// Rows of an input.
const ROWS: usize = 240;

/// Writes drawn values for a column. The first records have an integer and text, so that no column is refused as
/// a whole.
fn write_input(place: &Place, seed: u64, is_drawn: fn(&str) -> bool) {
    let mut draw = Draw(seed);
    let of = |values: &[&'static str]| values.iter().copied().filter(|value| is_drawn(value)).collect::<Vec<_>>();
    let (json, cells) = (of(&JSON_VALUES), of(&CELLS));
    let drawn = draw.indices(json.len(), ROWS);
    let value = |row: usize| [Some("1"), Some("\"x\"")].get(row).copied().flatten().unwrap_or(json[drawn[row]]);
    let lines = (0..ROWS).map(|row| format!("{{\"id\":{row},\"v\":{}}}\n", value(row)));
    place.write("in.ndjson", lines.collect::<String>());
    let drawn = draw.indices(cells.len(), ROWS);
    let cell = |row: usize| [Some("1"), Some("x")].get(row).copied().flatten().unwrap_or(cells[drawn[row]]);
    let lines = (0..ROWS).map(|row| format!("{row},{}\n", cell(row)));
    place.write("in.csv", "id,v\n".to_owned() + &lines.collect::<String>());
}

/// Checks each column alone, for both inputs: a row that one column refuses tells nothing of the others.
fn for_each_column(
    columns: &[&str],
    is_drawn: fn(&str) -> bool,
    mut check: impl FnMut(&Place, &str, &str) -> (usize, usize),
) {
    for (number, column) in columns.iter().enumerate() {
        let place = Place::new();
        write_input(&place, number as u64 + 1, is_drawn);
        for input in ["in.ndjson", "in.csv"] {
            let (rows, rejected) = check(&place, column, input);
            assert!(rows > 0 && rows + rejected == ROWS, "{column}: {rows} rows and {rejected} rejects");
        }
    }
}

#[test]
fn a_value_has_one_meaning_for_a_table_of_postgres() {
    let columns = [
        "bigint",
        "integer",
        "smallint",
        "double precision",
        "real",
        "numeric",
        "numeric(12,2)",
        "text",
        "varchar(4)",
        "boolean",
        "jsonb",
        "json",
        "date",
    ];
    // The values are judged by us: one version of the server is as good as another.
    if let Some(server) = Postgres::shared() {
        let db = server.database();
        for_each_column(
            &columns,
            |_| true,
            |place, column, input| {
                let what = format!("postgres {column} {input}");
                let make = || {
                    server.psql(&db, &format!("DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint, v {column})"));
                };
                let read = || server.rows(&db, "SELECT id, pg_typeof(v), v FROM t ORDER BY id");
                assert_one_meaning(&what, place, input, &server.url(&db), &make, &read)
            },
        );
    }
}

#[test]
fn a_value_has_one_meaning_for_a_table_of_sqlite() {
    let columns =
        ["INTEGER", "REAL", "TEXT", "", "NUMERIC", "BOOLEAN", "JSON", "DATETIME", "INTEGER STRICT", "ANY STRICT"];
    for_each_column(
        &columns,
        |_| true,
        |place, column, input| {
            let path = place.path("t.db");
            let (ty, strict) = column.strip_suffix(" STRICT").map_or((column, ""), |ty| (ty, "STRICT"));
            let make = || {
                let db = rusqlite::Connection::open(&path).unwrap();
                db.execute_batch(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (id INTEGER, v {ty}) {strict}"))
                    .unwrap();
            };
            let read = || {
                let db = rusqlite::Connection::open(&path).unwrap();
                let mut rows = db
                    .prepare("SELECT id || ' ' || typeof(v) || ' ' || coalesce(quote(v), '') FROM t ORDER BY id")
                    .unwrap();
                rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
            };
            let url = format!("sqlite:{}", path.display());
            assert_one_meaning(&format!("sqlite {column} {input}"), place, input, &url, &make, &read)
        },
    );
}

#[test]
fn a_value_has_one_meaning_for_a_table_of_clickhouse() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let check = |columns: &[&str], is_drawn: fn(&str) -> bool| {
        for_each_column(columns, is_drawn, |place, column, input| {
            let make = || {
                shim.ask("DROP TABLE IF EXISTS crm.t SYNC");
                shim.ask(&format!(
                    "CREATE TABLE crm.t (id Int64, v Nullable({column})) ENGINE = MergeTree ORDER BY id"
                ));
            };
            let read = || {
                let text = shim.ask("SELECT id, toTypeName(v), v FROM crm.t ORDER BY id");
                text.lines().map(str::to_owned).collect()
            };
            assert_one_meaning(&format!("clickhouse {column} {input}"), place, input, &shim.url(), &make, &read)
        });
    };
    check(&["Float64", "Float32", "Decimal(38, 2)", "String", "Bool", "Date32"], |_| true);
    // A load fails as a whole where integers that no double holds meet fractions in a column of integers.
    check(&["Int64", "UInt8"], |value| value.len() < 16 && !value.contains("1e30"));
    check(&["UInt64", "Int32", "Int128"], |value| !value.contains(['.', 'e']) || value.contains('"'));
}
