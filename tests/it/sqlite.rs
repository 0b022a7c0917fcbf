//! Loads into SQLite files: every row is in the table once, whatever is killed, with the value that it had.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::types::Value as Stored;
use serde_json::{Value, json};

use crate::support::plans::{self, SeededRng};
use crate::support::values::{drawn, same};
use crate::support::{Done, Morsels as _, Place, exit, tool, wait_for};

/// Plans of kills, if all are executed.
const KILLS: u32 = 100;

/// Drawn records of the round trip, if all are executed.
const RECORDS: u32 = 100_000;

const PEOPLE: &str = r#"{"id":1,"name":"Ada","score":1.5,"tags":["a",null],"hq":{"lat":1.50,"zip":null},"ok":true,"big":123456789012345678901234567890,"n":null}
{"id":-9223372036854775808,"name":"B\u0000ø \"q\"\n","score":2,"tags":[],"hq":null,"ok":false,"big":1,"n":null,"late":7}
{"id":3,"name":null,"score":-0.5,"tags":null,"hq":{},"ok":null,"big":null,"n":null}
"#;

/// Runs a load of `source` into `table` of `people.db`, with more flags.
fn load(place: &Place, source: &str, table: &str, more: &[&str]) -> Done {
    let args = ["convert", source, "-o", "sqlite:people.db", "--into", table];
    place.run(&args.iter().chain(more).copied().collect::<Vec<_>>())
}

/// Loads `text` with morsels of this size.
fn load_text(place: &Place, text: &str, table: &str, morsel: &str, more: &[&str]) -> Done {
    place.write("in.ndjson", text);
    let args = ["convert", "in.ndjson", "-o", "sqlite:people.db", "--into", table];
    let mut command = place.command(&args.iter().chain(more).copied().collect::<Vec<_>>());
    command.morsels(morsel);
    Done::of(command)
}

fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(60)).unwrap();
    db
}

/// Executes statements on `people.db`.
fn sql(place: &Place, sql: &str) {
    open(&place.path("people.db")).execute_batch(sql).unwrap();
}

/// Returns the rows of a query as text: values with their SQL spelling, columns with a bar, rows with a line feed between.
fn ask(place: &Place, query: &str) -> String {
    let db = open(&place.path("people.db"));
    let mut statement = db.prepare(query).unwrap();
    let n = statement.column_count();
    let shown = |value: Stored| match value {
        Stored::Null => "NULL".to_owned(),
        Stored::Integer(value) => value.to_string(),
        Stored::Real(value) => format!("{value:?}"),
        Stored::Text(text) => format!("'{text}'"),
        Stored::Blob(bytes) => format!("{bytes:?}"),
    };
    let rows = statement.query_map([], |row| {
        (0..n).map(|i| row.get(i).map(shown)).collect::<rusqlite::Result<Vec<String>>>().map(|row| row.join("|"))
    });
    rows.unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap().join("\n")
}

/// Returns the columns of a table with their declared types.
fn columns(place: &Place, table: &str) -> String {
    ask(place, &format!("SELECT name || ' ' || type FROM pragma_table_info('{table}')")).replace('\'', "")
}

#[test]
fn a_new_table_gets_types_and_rows_once() {
    let place = Place::new();
    place.write("people.ndjson", PEOPLE);
    let done = load(&place, "people.ndjson", "people", &[]).ok();
    done.says("loaded 3 rows into people of sqlite:people.db").says("created the table people").quiet();
    assert_eq!(
        columns(&place, "people"),
        "id INTEGER\nname TEXT\nscore REAL\ntags TEXT\nhq TEXT\nok INTEGER\nbig TEXT\nlate INTEGER\nn TEXT"
    );
    assert_eq!(
        ask(&place, "SELECT * FROM people"),
        "1|'Ada'|1.5|'[\"a\",null]'|'{\"lat\":1.50,\"zip\":null}'|1|'123456789012345678901234567890'|NULL|NULL\n\
         -9223372036854775808|'B\0ø \"q\"\n'|2.0|'[]'|NULL|0|'1'|7|NULL\n\
         3|NULL|-0.5|NULL|'{}'|NULL|NULL|NULL|NULL"
    );
    // The same rows do nothing, under any case of the name.
    load(&place, "people.ndjson", "People", &[]).ok().says("loaded on 20").says("nothing was changed");
    assert_eq!(ask(&place, "SELECT count(*) FROM people"), "3");
    let listed = place.run(&["loads", "ls", "sqlite:people.db", "-o", "ndjson"]).ok().records();
    assert_eq!((listed.len(), &listed[0]["rows"], &listed[0]["table"]), (1, &json!(3), &json!("people")));
    // A key that is known first; an absolute path.
    let url = format!("sqlite://{}", place.path("people.db").display());
    let keyed = ["convert", "people.ndjson", "-o", &url, "--into", "main.keyed", "--load-key", "k1"];
    place.run(&keyed).ok().says("loaded 3 rows");
    place.run(&keyed).ok().says("nothing was changed");
    // A table that is gone has no rows.
    sql(&place, "DROP TABLE keyed");
    place.run(&keyed).ok().says("loaded 3 rows");
    assert_eq!(ask(&place, "PRAGMA integrity_check"), "'ok'");
    // Nothing is left beside the file.
    assert_eq!(place.leftovers(), ["people.db", "people.ndjson"]);

    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let mut command = place.program(python);
    command.args([
        "-c",
        "import sqlite3\nfor row in sqlite3.connect('people.db').execute('SELECT id, name FROM people'): print(row)",
    ]);
    let done = Done::of(command).ok();
    assert_eq!(done.text(), "(1, 'Ada')\n(-9223372036854775808, 'B\\x00ø \"q\"\\n')\n(3, None)\n");
}

/// Columns and types that come late give the table that early ones give, wherever morsels end.
#[test]
fn late_columns_and_types_give_the_same_table_at_every_size() {
    let text = r#"{"a":1,"b":1,"c":null,"d":true,"e":"x","f":1.5,"g":9007199254740993}
{"a":2,"b":2.5,"c":null,"d":null,"e":"12","f":2.25,"g":1}
{"a":"3","b":3,"c":null,"d":"true","e":"y","f":3.5,"g":123456789012345678901}
{"a":4,"b":4,"c":[1],"d":false,"e":12,"f":"nan","g":2}
{"a":null,"b":null,"c":{"k":1.50},"d":1,"e":null,"f":7.25,"g":null,"h":"late"}
{"h":5,"e":"a\u0000\"b"}
"#;
    let place = Place::new();
    for (i, morsel) in ["1", "60", "150", "1048576"].into_iter().enumerate() {
        let table = format!("t{i}");
        load_text(&place, text, &table, morsel, &["--load-key", morsel]).ok();
        assert_eq!(
            columns(&place, &table).lines().map(|line| line.split(' ').nth(1).unwrap()).collect::<String>(),
            columns(&place, "t0").lines().map(|line| line.split(' ').nth(1).unwrap()).collect::<String>()
        );
        assert_eq!(
            ask(&place, &format!("SELECT a, b, c, d, e, f, g, h FROM {table}")),
            "'1'|1.0|NULL|'true'|'\"x\"'|'1.5'|'9007199254740993'|NULL\n\
             '2'|2.5|NULL|NULL|'\"12\"'|'2.25'|'1'|NULL\n\
             '\"3\"'|3.0|NULL|'\"true\"'|'\"y\"'|'3.5'|'123456789012345678901'|NULL\n\
             '4'|4.0|'[1]'|'false'|'12'|'\"nan\"'|'2'|NULL\n\
             NULL|NULL|'{\"k\":1.50}'|'1'|NULL|'7.25'|NULL|'\"late\"'\n\
             NULL|NULL|NULL|NULL|'\"a\\u0000\\\"b\"'|NULL|NULL|'5'",
            "morsels of {morsel}"
        );
        let merged = format!("m{i}");
        let keyed: String =
            text.lines().enumerate().map(|(i, line)| format!("{{\"key\":{i},{}\n", &line[1..])).collect();
        load_text(&place, &keyed, &merged, morsel, &["--load", "merge", "--key", "key"]).ok();
        assert_eq!(
            ask(&place, &format!("SELECT a, b, c, d, e, f, g, h FROM {merged} ORDER BY key")),
            ask(&place, "SELECT a, b, c, d, e, f, g, h FROM t0")
        );
        // Into a table that has one of the columns and gets the others.
        let other = format!("o{i}");
        sql(&place, &format!("CREATE TABLE {other} (a TEXT, b REAL)"));
        load_text(&place, text, &other, morsel, &[]).ok().says("added the column `c` (TEXT)");
        assert_eq!(
            ask(&place, &format!("SELECT b, c, d, e, f, g, h FROM {other}")),
            ask(&place, "SELECT b, c, d, e, f, g, h FROM t0")
        );
    }
    assert_eq!(ask(&place, "SELECT count(*) FROM sqlite_schema WHERE name LIKE '\\_drawoff\\_%' ESCAPE '\\'"), "1");
    assert_eq!(ask(&place, "PRAGMA integrity_check"), "'ok'");
}

#[test]
fn an_existing_table_is_checked_before_the_first_row() {
    let place = Place::new();
    sql(
        &place,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT NOT NULL, total REAL AS (id * 2), at DATETIME, need INT NOT NULL);
         CREATE VIEW v AS SELECT 1 AS id; CREATE VIRTUAL TABLE f USING fts5(id);
         CREATE TABLE s (id INT, data BLOB) STRICT; CREATE TABLE c (id INT CHECK (id > 5));",
    );
    let text = "{\"id\":1,\"name\":\"x\",\"total\":2,\"at\":[1]}\n";
    load_text(&place, text, "t", "100", &[])
        .code(exit::LOAD_REFUSED)
        .says("column `total` is computed by the table")
        .says("column `need` is required by the table");
    load_text(&place, "{\"id\":1}\n", "v", "100", &[]).code(exit::LOAD_REFUSED).says("it is a view");
    load_text(&place, "{\"id\":1}\n", "f", "100", &[]).code(exit::LOAD_REFUSED).says("it is a virtual table");
    load_text(&place, "{\"id\":1}\n", "f_data", "100", &[]).code(exit::LOAD_REFUSED).says("SQLite's own");
    load_text(&place, "{\"id\":1}\n", "sqlite_schema", "100", &[]).code(exit::USAGE);
    load_text(&place, "{\"id\":1}\n", "_drawoff_loads", "100", &[]).code(exit::USAGE).says("records the loads");
    load_text(&place, "{\"id\":1,\"data\":\"x\"}\n", "s", "100", &[])
        .code(exit::LOAD_REFUSED)
        .says("column `data` has text, and the table has BLOB");
    load_text(&place, "{\"id\":9}\n{\"id\":1}\n", "c", "100", &[])
        .code(exit::LOAD_REFUSED)
        .says("CHECK constraint failed: id > 5");
    load_text(&place, "{\"id\":9,\"x\":1}\n", "c", "100", &["--schema-policy", "fail"])
        .code(exit::SCHEMA_CHANGED)
        .says("field `x`: the table has no such column");
    load_text(&place, "{\"Id\":1,\"iD\":1}\n", "n", "100", &[]).code(exit::LOAD_REFUSED).says("ignores the case");
    let wide: String = (0..2001).map(|i| format!("\"c{i}\":1,")).collect();
    let wide = format!("{{{}}}\n", wide.trim_end_matches(','));
    load_text(&place, &wide, "w", "100", &[]).code(exit::LOAD_REFUSED).says("at most 2000");
    for table in ["t", "s", "c"] {
        assert_eq!(ask(&place, &format!("SELECT count(*) FROM {table}")), "0");
    }
    assert_eq!(ask(&place, "SELECT count(*) FROM sqlite_schema WHERE name IN ('n', 'w', '_drawoff_loads')"), "0");
    // As wide as a table may be.
    let wide = wide.replacen("\"c0\":1,", "", 1);
    load_text(&place, &wide.repeat(40), "w", "100000", &[]).ok();
    assert_eq!(ask(&place, "SELECT count(*), sum(c1), sum(c2000) FROM w"), "40|40|40");
}

#[test]
fn values_that_a_column_would_change_are_rejects() {
    let place = Place::new();
    sql(
        &place,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, i INTEGER, r REAL, x TEXT, d DATE, n DECIMAL(30,2), j JSON, a, b BOOLEAN NOT NULL)",
    );
    let good = r#"{"id":1,"i":"12","r":7,"x":7,"d":"2026-01-31","n":12.5,"j":"007","a":"007","b":true}
{"id":2,"i":1.5,"r":1e300,"x":{"a":1.50},"d":"now","n":"12.50","j":{"a":null},"a":12345678901234567890,"b":false}
"#;
    let bad = r#"{"id":null,"b":true}
{"id":4,"i":"007","b":true}
{"id":5,"i":"abc","b":true}
{"id":6,"r":9007199254740993,"b":true}
{"id":7,"d":"2026","b":true}
{"id":8,"n":12345678901234567890123,"b":true}
{"id":9,"j":12345678901234567890123,"b":true}
{"id":10,"b":null}
{"id":11,"b":"maybe"}
{"id":1.5,"b":true}
"#;
    load_text(&place, &format!("{good}{bad}"), "t", "1000", &["--on-bad-record", "skip", "--rejects", "bad.ndjson"])
        .code(exit::PARTIAL)
        .says("loaded 2 rows");
    assert_eq!(
        ask(&place, "SELECT * FROM t"),
        "1|12|7.0|'7'|'2026-01-31'|12.5|'\"007\"'|'007'|1\n\
         2|1.5|1e300|'{\"a\":1.50}'|'now'|12.5|'{\"a\":null}'|'12345678901234567890'|0"
    );
    let rejects = place.read_text("bad.ndjson");
    assert_eq!(rejects.lines().count(), 10, "{rejects}");
    for reason in ["takes no null", "not an integer", "more digits", "looks like a number", "not a boolean"] {
        assert!(rejects.contains(reason), "{reason}: {rejects}");
    }
    let row = open(&place.path("people.db"));
    let recorded: (i64, i64) =
        row.query_row("SELECT rows, rejected FROM _drawoff_loads", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(recorded, (2, 10));
}

#[test]
fn merge_replace_and_again_land_once() {
    let place = Place::new();
    let first = "{\"Domain\":\"a\",\"n\":1}\n{\"Domain\":\"b\",\"n\":2}\n{\"Domain\":\"a\",\"n\":3}\n";
    let second = "{\"domain\":\"a\",\"n\":10,\"new\":[1]}\n{\"domain\":\"c\",\"n\":4}\n";
    let merge = ["--load", "merge", "--key", "domain"];
    // A new table gets the key; the name of its column is that of the rows.
    load_text(&place, first, "m", "20", &["--load", "merge", "--key", "Domain"])
        .ok()
        .says("2 rows inserted and 0 updated");
    assert_eq!(ask(&place, "SELECT * FROM m"), "'b'|2\n'a'|3");
    load_text(&place, second, "m", "20", &merge).ok().says("1 row inserted and 1 updated by key");
    assert_eq!(ask(&place, "SELECT * FROM m ORDER BY 1"), "'a'|10|'[1]'\n'b'|2|NULL\n'c'|4|NULL");
    load_text(&place, second, "m", "20", &merge).ok().says("nothing was changed");
    load_text(&place, "{\"domain\":null}\n", "m", "20", &merge).code(exit::BAD_DATA).says("takes no null");
    load_text(&place, "{\"n\":1}\n", "m", "20", &merge)
        .code(exit::LOAD_REFUSED)
        .says("`domain` is a column of the key");
    // A table without a unique index: all rows of a key are updated.
    sql(
        &place,
        "CREATE TABLE u (domain TEXT, n INTEGER, kept TEXT DEFAULT 'k'); INSERT INTO u VALUES ('a', 0, 'x'), ('a', 1, 'y')",
    );
    load_text(&place, second, "u", "20", &merge).ok().says("1 row inserted and 2 updated");
    assert_eq!(ask(&place, "SELECT domain, n, kept FROM u"), "'a'|10|'x'\n'a'|10|'y'\n'c'|4|'k'");
    // Replace: the rows of before are there until the commit; a repetition does nothing, unless others came since.
    let replace = ["--load", "replace"];
    load_text(&place, first, "u", "20", &replace).ok().says("replaced 3 rows");
    load_text(&place, first, "u", "20", &replace).ok().says("nothing was changed");
    load_text(&place, "{\"n\":9}\n", "u", "20", &[]).ok();
    load_text(&place, first, "u", "20", &replace).ok().says("replaced 4 rows");
    assert_eq!(ask(&place, "SELECT count(*) FROM u"), "3");
    // The column of the key, for keys that are known at the end and first.
    for known in [&[][..], &["--load-key", "k"][..]] {
        let table = format!("again{}", known.len());
        fn with<'a>(known: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
            [&["--load-column", "load"][..], known, more].concat()
        }
        load_text(&place, first, &table, "20", &with(known, &[])).ok();
        sql(&place, &format!("INSERT INTO {table} (n) VALUES (77)"));
        load_text(&place, first, &table, "20", &with(known, &[])).ok().says("nothing was changed");
        load_text(&place, first, &table, "20", &with(known, &["--again"]))
            .ok()
            .says("replaced 3 rows of the earlier load");
        assert_eq!(
            ask(&place, &format!("SELECT count(*), count(load), count(DISTINCT load), sum(n) FROM {table}")),
            "4|3|1|83"
        );
        let keys = "SELECT count(*) FROM _drawoff_loads WHERE commit_key IN (SELECT load FROM ";
        assert_eq!(ask(&place, &format!("{keys}{table})")), "1");
    }
    load_text(&place, first, "u", "20", &["--again"]).code(exit::USAGE).says("cannot be told from others");
    // Rows of others that deleted rows would take along.
    sql(
        &place,
        "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE k (p REFERENCES p ON DELETE CASCADE); INSERT INTO p VALUES (1); INSERT INTO k VALUES (1)",
    );
    load_text(&place, "{\"id\":2}\n", "p", "20", &replace).code(exit::LOAD_REFUSED).says("would change rows of `k`");
    load_text(&place, "{\"p\":5}\n", "k", "20", &[]).code(exit::LOAD_REFUSED).says("FOREIGN KEY");
    assert_eq!(ask(&place, "SELECT * FROM k"), "1");
}

#[test]
fn files_that_cannot_be_loaded_into() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    place.write(
        "text.db",
        "this is no database, and it is long enough to be read as one, which takes a hundred bytes of it",
    );
    let load = |url: &str| place.run(&["convert", "in.ndjson", "-o", url, "--into", "t"]);
    load("sqlite:text.db").code(exit::LOAD_REFUSED).says("not an SQLite database").hints("another file");
    load("sqlite:state").code(exit::CANNOT_WRITE).says("it is a directory");
    load("sqlite:none/a.db").code(exit::CANNOT_WRITE).says("no such directory");
    load("sqlite:/dev/null").code(exit::CANNOT_WRITE).says("not a regular file");
    for url in ["sqlite:", "sqlite::memory:", "sqlite://a.db", "sqlite:a.db?mode=ro"] {
        load(url).code(exit::USAGE);
    }
    load("duckdb:people.duckdb").code(exit::USAGE).hints("people.parquet");
    place.run(&["loads", "ls", "sqlite:none.db"]).code(exit::LOAD_REFUSED).says("no such file");
    place
        .run(&["convert", "in.ndjson", "-o", "sqlite:a.db", "-o", "sqlite:./a.db", "--into", "t"])
        .code(exit::USAGE)
        .says("one load at a time");
    assert_eq!(place.leftovers(), ["in.ndjson", "text.db"]);
    load("sqlite:file:odd.db").ok();
    assert!(place.path("file:odd.db").exists());
    let ddl = place.run(&["schema", "in.ndjson", "--format", "ddl:sqlite", "--into", "T"]).ok();
    assert_eq!(ddl.text(), "CREATE TABLE \"T\" (\n    \"a\" INTEGER\n);\n");
}

/// A writer that is at work is waited for; readers see the rows of before, and the journal mode stays.
#[test]
fn others_read_and_write_the_same_file() {
    for mode in ["delete", "wal"] {
        let place = Place::new();
        sql(&place, &format!("PRAGMA journal_mode = {mode}; CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)"));
        place.write("in.ndjson", "{\"a\":2}\n");
        let writer = open(&place.path("people.db"));
        writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (3)").unwrap();
        let child = place.command(&["convert", "in.ndjson", "-o", "sqlite:people.db", "--into", "t"]).spawn().unwrap();
        thread::sleep(Duration::from_millis(300));
        assert_eq!(ask(&place, "SELECT count(*) FROM t"), "1");
        writer.execute_batch("COMMIT").unwrap();
        Done::of_child("a load that waited".into(), child).ok().says("loaded 1 row");
        assert_eq!(ask(&place, "SELECT count(*) FROM t"), "3");
        assert_eq!(ask(&place, "PRAGMA journal_mode"), format!("'{mode}'"));
    }
}

#[test]
fn a_signal_ends_a_load_that_waits_or_works() {
    let place = Place::new();
    sql(&place, "CREATE TABLE t (a INTEGER)");
    place.write("in.ndjson", "{\"a\":2}\n");
    let writer = open(&place.path("people.db"));
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let child = place.command(&["convert", "in.ndjson", "-o", "sqlite:people.db", "--into", "t"]).spawn().unwrap();
    // The load has the file open.
    let opened = format!("/proc/{}/fd", child.id());
    let file = place.path("people.db");
    wait_for("the open file", || {
        let mut names =
            std::fs::read_dir(&opened).ok()?.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        names.any(|name| name == file).then_some(())
    });
    let start = Instant::now();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    Done::of_child("a load that was interrupted".into(), child).code(exit::INTERRUPTED);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    drop(writer);
    assert_eq!(ask(&place, "SELECT count(*) FROM t"), "0");
}

/// Killed at drawn moments, alone or two at once: the same command loads what is not there.
#[test]
fn rows_are_there_once_after_every_kill() {
    let mut rng = SeededRng::new(plans::seed());
    let place = Place::new();
    let rows = 30_000;
    let text: String = (0..rows)
        .map(|id| match id > rows / 2 {
            true => format!("{{\"id\":{id},\"v\":\"s{id}\",\"late\":{id}}}\n"),
            false => format!("{{\"id\":{id},\"v\":{id}}}\n"),
        })
        .collect();
    place.write("in.ndjson", &text);
    let modes: [&[&str]; 5] = [
        &[],
        &["--load", "merge", "--key", "id"],
        &["--load-column", "load"],
        &["--load", "replace"],
        &["--load-key", "k"],
    ];
    let start = Instant::now();
    load(&place, "in.ndjson", "warm", &[]).ok();
    let whole = start.elapsed();
    let mut killed = 0;
    for plan in 0..plans::count(KILLS) {
        let file = format!("p{plan}.db");
        let url = format!("sqlite:{file}");
        let db = open(&place.path(&file));
        if plan % 2 == 0 {
            db.execute_batch("PRAGMA journal_mode = wal").unwrap();
        }
        if plan % 3 == 0 {
            db.execute_batch("CREATE TABLE t (id INTEGER, v TEXT)").unwrap();
        }
        drop(db);
        let args =
            [&["convert", "in.ndjson", "-o", &url, "--into", "t"][..], modes[plan as usize % modes.len()]].concat();
        let commands = if plan % 4 == 1 { 2 } else { 1 };
        killed += place.kill_after(&args, commands, whole.mul_f64(rng.fraction() * 1.2));
        place.run(&args).ok();
        place.run(&args).ok().says("nothing was changed");
        let db = open(&place.path(&file));
        let counts: (i64, i64, i64, i64) = db
            .query_row(
                "SELECT (SELECT count(*) FROM t), (SELECT count(DISTINCT id) FROM t), (SELECT count(*) FROM _drawoff_loads), \
                 (SELECT sum(rows) FROM _drawoff_loads)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .unwrap();
        assert_eq!(counts, (rows, rows, 1, rows), "plan {plan}: {args:?}");
        let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
    assert!(killed > 0, "no plan killed a load");
}

#[test]
fn loaders_at_once_load_each_key_once() {
    let place = Place::new();
    let rows: String = (0..2000).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    place.write("a.ndjson", &rows);
    place.write("b.ndjson", rows.replace("\"id\"", "\"other\""));
    let children: Vec<_> = (0..6)
        .map(|i| {
            let source = if i % 2 == 0 { "a.ndjson" } else { "b.ndjson" };
            place.command(&["convert", source, "-o", "sqlite:people.db", "--into", "t"]).spawn().unwrap()
        })
        .collect();
    let done: Vec<Done> = children.into_iter().map(|child| Done::of_child("one of six".into(), child).ok()).collect();
    assert_eq!(done.iter().filter(|done| done.stderr.contains("loaded 2 000 rows")).count(), 2);
    assert_eq!(ask(&place, "SELECT count(*), count(DISTINCT id), count(DISTINCT other) FROM t"), "4000|2000|2000");
    assert_eq!(ask(&place, "SELECT count(*) FROM _drawoff_loads"), "2");
}

/// Texts among drawn values.
const TEXTS: [&str; 12] =
    ["", " ", "NULL", "\0", "a\tb\nc\r\\", "\"q\"", "Zürich 東京 🦀", "007", "true", "{}", "\u{1}\u{7f}", "1e5"];

#[test]
fn drawn_records_come_back_as_they_were() {
    let place = Place::new();
    let mut rng = SeededRng::new(plans::seed());
    let n = plans::count(RECORDS);
    let mut records = Vec::new();
    for id in 0..n {
        let mut record = serde_json::Map::new();
        record.insert("id".into(), json!(id));
        record.insert("int".into(), json!((rng.fraction() * 1e15) as i64));
        record.insert("float".into(), json!(rng.fraction() * 1e3 + 0.1));
        record.insert("text".into(), json!(["", "007", "a\0b", "é\n", "1e5"][(rng.fraction() * 5.0) as usize]));
        record.insert(
            "list".into(),
            Value::Array((0..(rng.fraction() * 3.0) as usize).map(|_| drawn(&mut rng, 2, &TEXTS)).collect()),
        );
        record.insert("object".into(), json!({"a": drawn(&mut rng, 2, &TEXTS), "b": drawn(&mut rng, 1, &TEXTS)}));
        record.insert("any".into(), drawn(&mut rng, 2, &TEXTS));
        if id > n / 2 {
            record.insert("late".into(), drawn(&mut rng, 0, &TEXTS));
        }
        records.push(Value::Object(record));
    }
    let text: String = records.iter().map(|record| format!("{record}\n")).collect();
    load_text(&place, &text, "t", "100000", &[]).ok();
    let db = open(&place.path("people.db"));
    let mut query = db.prepare("SELECT * FROM t ORDER BY rowid").unwrap();
    let names: Vec<String> = query.column_names().map(str::to_owned).collect();
    let mut rows = query.query([]).unwrap();
    for record in &records {
        let row = rows.next().unwrap().expect("a row for each record");
        for (i, name) in names.iter().enumerate() {
            let expected = record.get(name).unwrap_or(&Value::Null);
            let is_json = !["id", "int", "float", "text"].contains(&name.as_str());
            let stored = match row.get::<_, Stored>(i).unwrap() {
                Stored::Null => Value::Null,
                Stored::Integer(value) => json!(value),
                Stored::Real(value) => json!(value),
                Stored::Text(text) if is_json => serde_json::from_str(&text).unwrap(),
                Stored::Text(text) => Value::String(text),
                Stored::Blob(_) => panic!("a blob"),
            };
            assert!(same(expected, &stored), "{name}: {expected} became {stored}");
        }
    }
    assert!(rows.next().unwrap().is_none());

    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let script = "import json, sqlite3, sys\n\
        db = sqlite3.connect('people.db')\n\
        n = 0\n\
        for line, row in zip(open('in.ndjson'), db.execute('SELECT id, int, float, text, list, object, any FROM t')):\n    \
            r = json.loads(line)\n    \
            assert (r['id'], r['int'], r['float'], r['text']) == row[:4], (r, row)\n    \
            for key, value in zip(['list', 'object', 'any'], row[4:]):\n        \
                assert r[key] == (None if value is None else json.loads(value)), (r, row)\n    \
            n += 1\n\
        print(n)\n";
    let mut command: Command = place.program(python);
    command.args(["-c", script]);
    assert_eq!(Done::of(command).ok().text().trim(), n.to_string());
}

#[test]
fn rows_without_values_and_names_that_sql_lacks() {
    let place = Place::new();
    let nulls = "{\"a\":null,\"b\":null}\n{\"a\":null}\n";
    load_text(&place, nulls, "n", "10", &[]).ok();
    assert_eq!(ask(&place, "SELECT * FROM n"), "NULL|NULL\nNULL|NULL");
    load_text(&place, &format!("{nulls}{{\"b\":7}}\n{{\"a\":[1]}}\n"), "n2", "10", &[]).ok();
    assert_eq!(ask(&place, "SELECT a, b FROM n2"), "NULL|NULL\nNULL|NULL\nNULL|7\n'[1]'|NULL");
    assert_eq!(columns(&place, "n2"), "a TEXT\nb INTEGER");
    sql(&place, "CREATE TABLE e (b INT DEFAULT 5, c TEXT DEFAULT 'c')");
    // A null is a null, and no default; a column that no row has gets it.
    load_text(&place, nulls, "e", "10", &[]).ok();
    assert_eq!(ask(&place, "SELECT b, c FROM e"), "NULL|'c'\nNULL|'c'");
    load_text(&place, "{\"c\":\"x\"}\n", "e", "10", &[]).ok();
    assert_eq!(ask(&place, "SELECT b, c FROM e WHERE c = 'x'"), "5|'x'");
    load_text(&place, "{\"x\":null}\n", "e", "10", &[]).ok();
    load_text(&place, "{}\n{}\n", "z", "10", &[]).code(exit::USAGE).says("no columns");
    load_text(&place, "{\"a\\u0000\":1}\n", "z", "10", &[]).code(exit::LOAD_REFUSED).says("U+0000");
    let odd = "{\"\":1,\"a\\\"b\":2,\"select\":3,\"rowid\":4,\"oid\":5,\"_rowid_\":6,\"x.y\":\"\"}\n";
    load_text(&place, &odd.repeat(3), "\"the \"\"t\"\"\"", "10", &[]).ok();
    assert_eq!(ask(&place, "SELECT * FROM \"the \"\"t\"\"\" LIMIT 1"), "1|2|3|4|5|6|''");
    place.write("none.csv", "id,name\n");
    load(&place, "none.csv", "none", &[]).ok().says("loaded 0 rows");
    assert_eq!(columns(&place, "none"), "id TEXT\nname TEXT");
}

/// DuckDB files are loaded by way of Parquet, as docs/warehouses.md says.
#[test]
fn duckdb_reads_what_the_documented_way_writes() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    place.write("people.ndjson", PEOPLE);
    place.run(&["convert", "people.ndjson", "-o", "people.parquet"]).ok();
    let page = std::fs::read_to_string(crate::support::root().join("docs/warehouses.md")).unwrap();
    let statement = "CREATE TABLE people AS FROM 'people.parquet'";
    assert!(page.contains(statement), "docs/warehouses.md has the statement");
    let script = format!(
        "import duckdb\ndb = duckdb.connect('people.duckdb')\ndb.execute(\"{statement}\")\n\
         print(db.execute('SELECT count(*), sum(late), max(big) FROM people').fetchone())"
    );
    let mut command = place.program(python);
    command.args(["-c", &script]);
    assert!(Done::of(command).ok().text().starts_with("(3, 7, "));
}
