//! Messages about loads that are there, are gone or wait, and the flags that make two loads of the same rows.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::clickhouse::ClickHouseShim;
use crate::support::postgres::Postgres;
use crate::support::{Done, Morsels as _, Place, exit, wait_for};

fn load(place: &Place, url: &str, source: &str, table: &str, more: &[&str]) -> Done {
    let args = ["convert", source, "-o", url, "--into", table];
    place.run(&args.iter().chain(more).copied().collect::<Vec<_>>())
}

const THREE: &str = "{\"v\":1}\n{\"v\":2}\n{\"v\":3}\n";

/// Executes statements on a database of SQLite.
fn sqlite(place: &Place, sql: &str) {
    rusqlite::Connection::open(place.path("a.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn rows_that_are_gone_are_said_to_be_gone() {
    let place = Place::new();
    place.write("in.ndjson", THREE);
    let check = |url: &str, sql: &dyn Fn(&str)| {
        load(&place, url, "in.ndjson", "t", &[]).ok().says("3 written");
        load(&place, url, "in.ndjson", "t", &[]).ok().says("0 written, 3 there before").says("nothing was changed\n");
        sql("DELETE FROM t");
        load(&place, url, "in.ndjson", "t", &[]).ok().says("none of them now").says("_drawoff_loads");
        let keyed = ["--load-column", "k", "--load-key", "one"];
        load(&place, url, "in.ndjson", "u", &keyed).ok().says("loaded 3 rows");
        sql("DELETE FROM u WHERE v < 3");
        load(&place, url, "in.ndjson", "u", &keyed).ok().says("only 1 row of this key");
        load(&place, url, "in.ndjson", "u", &[&keyed[..], &["--again"]].concat()).ok().says("loaded 3 rows");
        load(&place, url, "in.ndjson", "u", &keyed).ok().says("nothing was changed\n");
        // Of a pipe it is known at the end.
        let pipe = ["convert", "-", "-o", url, "--into", "t", "--report", "json"];
        let done = place.run_with_stdin(&pipe, THREE.as_bytes()).ok();
        let report: serde_json::Value = serde_json::from_str(done.stderr.lines().last().unwrap()).unwrap();
        assert_eq!((&report["rows_there_before"], &report["loads"][0]["rows_there"]), (&json!(3), &json!(0)));
        sql("DROP TABLE u");
        let listed = place.run(&["loads", "ls", "-o", url, "--into", "u"]).ok();
        assert!(listed.text().contains("append, table gone"), "{}", listed.text());
        let listed = place.run(&["loads", "ls", "-o", url, "-o", "ndjson"]).ok().records();
        assert_eq!(listed.iter().filter(|load| load["state"] == "dropped").count(), 1);
        assert_eq!(listed.iter().filter(|load| load["state"] == "loaded").count(), 1);
    };
    check("sqlite:a.db", &|sql| sqlite(&place, sql));
    if let Some(server) = Postgres::shared() {
        let db = server.database();
        check(&server.url(&db), &|sql| drop(server.psql(&db, sql)));
    }
    for args in
        [&["loads", "ls"][..], &["loads", "ls", "-o", "xml"], &["loads", "ls", "sqlite:a.db", "-o", "sqlite:b.db"]]
    {
        place.run(args).code(exit::USAGE).hints("loads ls");
    }
}

/// Flags that change rows make another load; without them the key is what it was before they counted.
#[test]
fn flags_that_change_rows_are_part_of_the_key() {
    let place = Place::new();
    place.write("in.ndjson", b"{\"v\":1,\"t\":\"a\xff\"}\n");
    place.write("v.json", "{\"fields\":[{\"name\":\"v\",\"type\":\"text\"}]}");
    let run = |more: &[&str]| load(&place, "sqlite:a.db", "in.ndjson", "t", &[&["--load-key", "k"], more].concat());
    run(&["--lossy-utf8"]).ok().says("loaded 1 row");
    run(&["--lossy-utf8"]).ok().says("nothing was changed");
    run(&["--on-bad-record", "skip"]).code(exit::PARTIAL).says("loaded 0 rows");
    run(&["--lossy-utf8", "--nul", "replace"]).ok().says("loaded 1 row");
    let keys = place.run(&["loads", "ls", "sqlite:a.db", "-o", "ndjson"]).ok().records();
    assert_eq!(keys.len(), 3);
}

/// A session of psql that holds a lock on the table `t` until it is killed.
fn lock(server: &Postgres, db: &str) -> Child {
    let mut locking = Command::new(server.bin.join("psql"));
    locking.args(["-XAtq", "-d", &server.url(db), "-c", "BEGIN; LOCK TABLE t; SELECT pg_sleep(60)"]);
    let locking = locking.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let locked = "SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE relname = 't' AND granted";
    wait_for("the lock", || (!server.psql(db, locked).is_empty()).then_some(()));
    locking
}

fn unlock(server: &Postgres, db: &str, mut locking: Child) {
    server.psql(db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%LOCK TABLE t%' AND pid <> pg_backend_pid()");
    locking.wait().unwrap();
}

#[test]
fn a_load_that_waits_says_so_and_a_lock_timeout_is_one() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    server.psql(&db, "CREATE TABLE t (v bigint)");
    place.write("in.ndjson", THREE);
    let locking = lock(server, &db);
    let mut command = place.command(&["convert", "in.ndjson", "-o", &url, "--into", "t"]);
    let said = place.path("said");
    let mut child = command.stderr(File::create(&said).unwrap()).spawn().unwrap();
    let waits =
        || std::fs::read_to_string(&said).unwrap().contains("waiting for another load or session that has locked t of");
    wait_for("the note", || waits().then_some(()));
    unlock(server, &db, locking);
    assert!(child.wait().unwrap().success());
    let said = std::fs::read_to_string(&said).unwrap();
    assert_eq!(said.matches("waiting for").count(), 1, "{said}");

    let locking = lock(server, &db);
    let mut command = place.command(&["convert", "-", "-o", &url, "--into", "t", "--load-key", "k"]);
    command.env("PGOPTIONS", "-clock_timeout=100").stdin(File::open(place.path("in.ndjson")).unwrap());
    Done::of(command).code(exit::TARGET_UNREACHABLE).says("lock timeout").hints("lock_timeout");
    unlock(server, &db, locking);
}

/// Thirty records without the key `v`, one that has it, and one without; and the same in another order.
fn late_default(last_first: bool) -> String {
    let without = (0..30).map(|w| format!("{{\"w\":{w}}}\n")).collect::<String>();
    let with = "{\"w\":100,\"v\":5}\n{\"w\":101}\n";
    if last_first { format!("{with}{without}") } else { format!("{without}{with}") }
}

/// A default of the table is for loads that lack the column, wherever in the data it is first seen.
#[test]
fn a_column_that_comes_late_gives_no_row_the_default() {
    let place = Place::new();
    place.write("late.ndjson", late_default(false));
    place.write("early.ndjson", late_default(true));
    place.write("required.ndjson", late_default(false).replace("{\"w\":101}\n", ""));
    place.write("never.ndjson", "{\"w\":1}\n{\"w\":2}\n");
    let run = |url: &str, source: &str, table: &str| {
        let mut command = place.command(&["convert", source, "-o", url, "--into", table]);
        command.morsels("10");
        Done::of(command)
    };
    if let Some(server) = Postgres::shared() {
        let db = server.database();
        let url = server.url(&db);
        for table in ["late", "early", "never"] {
            server.psql(
                &db,
                &format!("CREATE TABLE {table} (v int DEFAULT 7, w int); INSERT INTO {table} VALUES (9, -1)"),
            );
            run(&url, &format!("{table}.ndjson"), table).ok();
        }
        let rows = |table: &str| {
            server.psql(
                &db,
                &format!("SELECT string_agg(w || '=' || coalesce(v::text, '-'), ' ' ORDER BY w) FROM {table}"),
            )
        };
        assert_eq!(rows("late"), rows("early"));
        assert!(
            rows("late").starts_with("-1=9 0=- 1=- ") && rows("late").ends_with("29=- 100=5 101=-"),
            "{}",
            rows("late")
        );
        assert_eq!(rows("never"), "-1=9 1=7 2=7");
        server.psql(&db, "CREATE TABLE required (v int NOT NULL DEFAULT 7, w int)");
        run(&url, "required.ndjson", "required")
            .code(exit::LOAD_REFUSED)
            .says("`v` was first seen after rows were stored");
        assert_eq!(server.psql(&db, "SELECT count(*) FROM required"), "0");
    }
    if let Some(shim) = ClickHouseShim::start() {
        for table in ["late", "early", "never"] {
            shim.ask(&format!(
                "CREATE TABLE crm.{table} (v Nullable(Int32) DEFAULT 7, w Int32) ENGINE = MergeTree ORDER BY w"
            ));
            run(&shim.url(), &format!("{table}.ndjson"), table).ok();
        }
        let rows = |table: &str| {
            shim.ask(&format!("SELECT arrayStringConcat(groupArray(concat(toString(w), '=', ifNull(toString(v), '-'))), ' ') FROM (SELECT * FROM crm.{table} ORDER BY w)"))
        };
        assert_eq!(rows("late"), rows("early"));
        assert!(rows("late").trim().ends_with("29=- 100=5 101=-"), "{}", rows("late"));
        assert_eq!(rows("never").trim(), "1=7 2=7");
        shim.ask("CREATE TABLE crm.required (v Int32 DEFAULT 7, w Int32) ENGINE = MergeTree ORDER BY w");
        run(&shim.url(), "required.ndjson", "required").code(exit::LOAD_REFUSED);
    }
}
