//! Edges of loads into SQLite: values and rows that the size of morsels, a rule of the table, or its own names would change
//! or lose without an error.

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::support::{Done, Morsels as _, Place, Service, exit};

/// Morsels of a few records, and of all.
const MORSELS: [&str; 2] = ["10", "1000000"];

/// Loads `text` into a table of `t.db` that these statements make, with morsels of this size.
fn load(place: &Place, definition: &str, text: &str, morsel: &str, more: &[&str]) -> Done {
    let path = place.path("t.db");
    let _ = std::fs::remove_file(&path);
    Connection::open(&path).unwrap().execute_batch(definition).unwrap();
    place.write("in.ndjson", text);
    let args = ["convert", "in.ndjson", "-o", "sqlite:t.db", "--into", "t"];
    let mut command = place.command(&args.iter().chain(more).copied().collect::<Vec<_>>());
    command.morsels(morsel);
    Done::of(command)
}

/// Returns the rows of a query of one column, with commas between; texts in quotes.
fn ask(place: &Place, query: &str) -> String {
    let db = Connection::open(place.path("t.db")).unwrap();
    let mut statement = db.prepare(query).unwrap();
    let rows = statement.query_map([], |row| {
        Ok(match row.get(0)? {
            Value::Null => "NULL".to_owned(),
            Value::Integer(value) => value.to_string(),
            Value::Real(value) => format!("{value:?}"),
            Value::Text(text) => format!("'{text}'"),
            Value::Blob(_) => "blob".to_owned(),
        })
    });
    rows.unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap().join(",")
}

/// A column of text has strings without quotes and numbers as they were read, whatever the type of their batch is; one
/// without a type has them as numbers.
#[test]
fn columns_that_exist_have_values_as_they_were_read() {
    let place = Place::new();
    let text =
        "{\"v\":\"abc\"}\n".repeat(30) + "{\"v\":1}\n{\"v\":\"a\\\"c\"}\n{\"v\":1.50}\n{\"v\":true}\n{\"v\":[1, 2]}\n";
    let numbers = "{\"v\":2}\n".repeat(30) + "{\"v\":1.50}\n{\"v\":2}\n{\"v\":\"x\"}\n";
    let values = "SELECT DISTINCT v FROM t ORDER BY rowid";
    for morsel in MORSELS {
        load(&place, "CREATE TABLE t (v TEXT)", &text, morsel, &[]).ok();
        assert_eq!(ask(&place, values), r#"'abc','1','a"c','1.50','true','[1, 2]'"#);
        load(&place, "CREATE TABLE t (v TEXT)", &numbers, morsel, &[]).ok();
        assert_eq!(ask(&place, values), "'2','1.50','x'");
        load(&place, "CREATE TABLE t (v)", &text, morsel, &[]).ok();
        assert_eq!(ask(&place, values), r#"'abc',1,'a"c',1.5,'[1, 2]'"#);
        load(&place, "CREATE TABLE t (v)", &numbers, morsel, &[]).ok();
        assert_eq!(ask(&place, values), "2,1.5,'x'");
        load(&place, "CREATE TABLE t (v ANY, w TEXT) STRICT", &numbers.replace("}", ",\"w\":1.10}"), morsel, &[]).ok();
        assert_eq!(ask(&place, values), "2,1.5,'x'");
        assert_eq!(ask(&place, "SELECT DISTINCT w FROM t"), "'1.10'");
        // The key of a merge is the same text, too.
        let keyed = "{\"id\":\"a\",\"v\":1}\n".repeat(20) + "{\"id\":2,\"v\":2}\n{\"id\":\"a\",\"v\":3}\n";
        let merge = ["--load", "merge", "--key", "id"];
        load(&place, "CREATE TABLE t (id TEXT, v INT); INSERT INTO t VALUES ('a', 0)", &keyed, morsel, &merge).ok();
        assert_eq!(ask(&place, "SELECT id || v FROM t ORDER BY id DESC"), "'a3','22'");
    }
    place.write("in.csv", "v\n1.10\n2\n1e2\n");
    load(&place, "CREATE TABLE t (v TEXT)", "{\"v\":null}\n", "10", &[]).ok();
    place.run(&["convert", "in.csv", "-o", "sqlite:t.db", "--into", "t"]).ok();
    assert_eq!(ask(&place, "SELECT v FROM t WHERE v IS NOT NULL"), "'1.10','2','1e2'");
}

/// A column of several types that the load makes has one form of numbers, whenever it became one.
#[test]
fn late_values_of_several_types_have_one_form() {
    let place = Place::new();
    let text = "{\"v\":2}\n{\"v\":2.0}\n{\"v\":1.50}\n{\"v\":1e2}\n{\"v\":1e-7}\n".repeat(8)
        + "{\"v\":\"x\"}\n{\"v\":2}\n{\"v\":[1.50]}\n";
    for morsel in MORSELS {
        for more in [&[][..], &["--load-column", "k"]] {
            load(&place, "", &text, morsel, more).ok();
            assert_eq!(ask(&place, "SELECT DISTINCT v FROM t ORDER BY v"), r#"'"x"','1.5','100','1e-07','2','[1.50]'"#);
        }
        let keyed: String =
            text.lines().enumerate().map(|(i, line)| format!("{{\"id\":{i},{}\n", &line[1..])).collect();
        load(&place, "", &keyed, morsel, &["--load", "merge", "--key", "id"]).ok();
        assert_eq!(ask(&place, "SELECT DISTINCT v FROM t ORDER BY v"), r#"'"x"','1.5','100','1e-07','2','[1.50]'"#);
    }
}

/// By a rule of the table a row would take the place of another, or be left out.
#[test]
fn rules_for_conflicts_lose_no_row() {
    let place = Place::new();
    let text = "{\"id\":1,\"v\":1}\n{\"id\":1,\"v\":2}\n";
    for rule in ["REPLACE", "IGNORE", "ROLLBACK", "FAIL"] {
        let table = format!("CREATE TABLE t (id INT PRIMARY KEY ON\n conflict {rule}, v INT)");
        load(&place, &table, text, "1000", &[]).code(exit::LOAD_REFUSED).says("UNIQUE constraint failed: t.id");
        assert_eq!(ask(&place, "SELECT v FROM t"), "");
        load(&place, &format!("{table}; INSERT INTO t VALUES (1, 0)"), "{\"id\":1,\"v\":1}\n", "1000", &[])
            .code(exit::LOAD_REFUSED);
        assert_eq!(ask(&place, "SELECT v FROM t"), "0");
        load(&place, &table, text, "1000", &["--load", "merge", "--key", "id"]).ok();
        assert_eq!(ask(&place, "SELECT v FROM t"), "2");
        // What overrides the rule would override those of triggers.
        let trigger = format!("{table}; CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END");
        load(&place, &trigger, text, "1000", &[]).code(exit::LOAD_REFUSED).says("ON CONFLICT");
    }
    let others =
        "CREATE TABLE t (id INT PRIMARY KEY, v INT UNIQUE ON CONFLICT REPLACE); INSERT INTO t VALUES (1, 5), (2, 6)";
    let merge = ["--load", "merge", "--key", "id"];
    load(&place, others, "{\"id\":1,\"v\":6}\n", "1000", &merge).code(exit::LOAD_REFUSED);
    let without_index =
        "CREATE TABLE t (id INT, v INT UNIQUE ON CONFLICT REPLACE); INSERT INTO t VALUES (1, 5), (2, 6)";
    load(&place, without_index, "{\"id\":1,\"v\":6}\n", "1000", &merge).code(exit::LOAD_REFUSED);
    assert_eq!(ask(&place, "SELECT v FROM t"), "5,6");
}

/// Columns that do not fit and are first seen late are the same error as at the beginning.
#[test]
fn late_misfits_are_named() {
    let place = Place::new();
    let early = "{\"a\":1}\n".repeat(20);
    for morsel in MORSELS {
        let generated = "CREATE TABLE t (a INT, g INT GENERATED ALWAYS AS (a * 2))";
        let text = format!("{early}{{\"a\":1,\"g\":2}}\n");
        load(&place, generated, &text, morsel, &[])
            .code(exit::LOAD_REFUSED)
            .says("column `g` is computed by the table");
        let text = format!("{early}{{\"A\":1}}\n");
        load(&place, "", &text, morsel, &[]).code(exit::LOAD_REFUSED).says("SQLite ignores the case of names");
        let wide: Vec<String> = (0..2000).map(|i| format!("\"c{i}\":{i}")).collect();
        let text = format!("{early}{{{}}}\n", wide.join(","));
        load(&place, "", &text, morsel, &[]).code(exit::LOAD_REFUSED).says("at most 2000");
        let text = format!("{early}{{\"a\":\"x\",\"k\":1}}\n");
        load(&place, "", &text, morsel, &["--load-column", "k"])
            .code(exit::LOAD_REFUSED)
            .says("column for the commit key");
    }
    load(&place, "CREATE TABLE t (a INT, d INT DEFAULT 7)", &(early.clone() + "{\"d\":1}\n"), "10", &[])
        .code(exit::LOAD_REFUSED)
        .says("in an explicit schema");
    let rows: String =
        (1..40).map(|i| format!("{{\"rowid\":{},\"oid\":1,\"_rowid_\":2,\"n\":\"a\"}}\n", 100 - i)).collect();
    let rows = rows + "{\"rowid\":1,\"oid\":1,\"_rowid_\":2,\"n\":1}\n";
    let table = "CREATE TABLE t (rowid INT, oid INT, _rowid_ INT)";
    load(&place, table, &rows, "10", &[]).code(exit::USAGE).hints("rename one of them");
    load(&place, table, &rows, "1000000", &[]).ok();
    assert_eq!(ask(&place, "SELECT DISTINCT n FROM t ORDER BY n"), "'\"a\"','1'");
}

/// A record that is not stored decides nothing for those that are.
#[test]
fn a_bad_record_takes_no_default_away() {
    let place = Place::new();
    let row = |id: usize| match id {
        290 | 580 => format!("{{\"id\":{id},\"c\":[1]}}\n"),
        400 => format!("{{\"id\":{id},\"late\":1}}\n"),
        _ => format!("{{\"id\":{id}}}\n"),
    };
    let bad: String = (1..=600).map(row).collect();
    let good = bad.clone() + "{\"id\":601,\"c\":5}\n";
    let skip = ["--on-bad-record", "skip"];
    let merge = ["--on-bad-record", "skip", "--load", "merge", "--key", "id"];
    for morsel in ["20", "300", "600"] {
        for null in ["NOT NULL", ""] {
            let table = format!("CREATE TABLE t (id INT PRIMARY KEY, c INT {null} DEFAULT 3)");
            for more in [&skip[..], &merge] {
                load(&place, &table, &bad, morsel, more).code(exit::PARTIAL);
                assert_eq!(ask(&place, "SELECT count(*) || '|' || count(c) || '|' || max(c) FROM t"), "'598|598|3'");
            }
            // Rows that have the default stay as they are, so that a value that comes late ends the load.
            load(&place, &table, &good, morsel, &skip).code(exit::LOAD_REFUSED).says("in an explicit schema");
            match null {
                "" => {
                    load(&place, &table, &good, morsel, &merge).code(exit::PARTIAL);
                    assert_eq!(ask(&place, "SELECT count(*) || '|' || count(c) || '|' || max(c) FROM t"), "'599|1|5'");
                }
                _ => {
                    load(&place, &table, &good, morsel, &merge).code(exit::LOAD_REFUSED).says("in an explicit schema");
                }
            }
        }
    }
}

/// SQLite takes a file that is shorter than a page for an empty database, and would write over it.
#[test]
fn a_short_file_of_another_kind_is_kept() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    for (name, text) in [("notes.txt", "x"), ("list.txt", "milk\nbread\n")] {
        place.write(name, text);
        let url = format!("sqlite:{name}");
        let args = ["convert", "in.ndjson", "-o", &url, "--into", "t"];
        place.run(&args).code(exit::LOAD_REFUSED).says("not an SQLite database");
        assert_eq!(place.read_text(name), text);
    }
    place.write("empty.db", "");
    place.run(&["convert", "in.ndjson", "-o", "sqlite:empty.db", "--into", "t"]).ok();
}

/// Keys that the column of a table takes for the same are the same in a merge.
#[test]
fn a_merge_compares_keys_as_the_table_does() {
    let place = Place::new();
    let text = "{\"id\":\"a\",\"v\":1}\n{\"id\":\"B\",\"v\":2}\n{\"id\":\"b\",\"v\":3}\n";
    let merge = ["--load", "merge", "--key", "id"];
    for key in ["", "PRIMARY KEY"] {
        let table = format!("CREATE TABLE t (id TEXT COLLATE nocase {key}, v INT); INSERT INTO t VALUES ('A', 0)");
        load(&place, &table, text, "1000", &merge).ok().says("1 row inserted and 1 updated");
        assert_eq!(ask(&place, "SELECT id || v FROM t"), "'A1','b3'");
    }
}

/// The target says which runs it has, and a key of the user's own is no key of several.
#[test]
fn sync_loads_runs_into_files_and_tables_that_are_not_there() {
    let own = Place::new();
    let service = Service::start(&own, "data", &[]);
    let place = Place::with_service(&service.url);
    for _ in 0..2 {
        let run =
            ["run", "testdata/workflows/qualify-companies.json", "--input", "testdata/companies.csv", "--new-run"];
        place.run(&[&run[..], &["-o", "-"]].concat()).ok();
    }
    let sync = ["sync", "Qualify companies", "-o", "sqlite:t.db", "--into", "t"];
    place.run(&[&sync[..], &["--load-key", "one"]].concat()).code(exit::USAGE).says("one of each run");
    // Two at once on one machine: none fails for the other's lock.
    let at_once = [place.command(&sync).spawn().unwrap(), place.command(&sync).spawn().unwrap()];
    for child in at_once {
        Done::of_child("a sync".into(), child).ok();
    }
    place.run(&sync).ok().says("0 runs written, 2 there before");
    let rows = ask(&place, "SELECT count(*) FROM t");
    place.run(&["loads", "ls", "sqlite:none.db"]).code(exit::LOAD_REFUSED).says("no such file");
    Connection::open(place.path("t.db")).unwrap().execute_batch("DROP TABLE t").unwrap();
    place.run(&sync).ok().says("2 runs written, 0 there before");
    assert_eq!(ask(&place, "SELECT count(*) FROM t"), rows);
}
