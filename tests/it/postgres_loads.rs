//! Loads into PostgreSQL: every row is in the table once, whatever is killed or cut, with the value that it had.

use std::process::Stdio;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::plans::{self, SeededRng};
use crate::support::postgres::{Pgbouncer, Postgres};
use crate::support::relay::{Cut, CuttingRelay};
use crate::support::values::{drawn, same};
use crate::support::{Done, Morsels as _, Place, Service, exit, wait_for};

/// Plans of kills and cuts, if all are executed.
const PLANS: u32 = 120;

/// Drawn records of the round trip, if all are executed.
const RECORDS: u32 = 100_000;

const PEOPLE: &str = r#"{"id":1,"name":"Ada","score":1.5,"tags":["a","b"],"hq":{"city":"Oslo"},"ok":true,"big":123456789012345678901234567890,"n":null}
{"id":2,"name":"Bø \"q\"\n","score":2,"tags":[],"hq":null,"ok":false,"big":1,"n":null,"late":7}
{"id":3,"name":null,"score":-0.5,"tags":null,"hq":{"city":null,"x":1.50},"ok":null,"big":null,"n":null}
"#;

/// Runs a load of `source` into `table`, with more flags.
fn load(place: &Place, url: &str, source: &str, table: &str, more: &[&str]) -> Done {
    let args = ["convert", source, "-o", url, "--into", table];
    place.run(&args.iter().chain(more).copied().collect::<Vec<_>>())
}

#[test]
fn a_new_table_gets_types_and_rows_once() {
    for server in Postgres::versions() {
        let (place, db) = (Place::new(), server.database());
        let url = server.url(&db);
        place.write("people.ndjson", PEOPLE);
        let done = load(&place, &url, "people.ndjson", "people", &[]).ok();
        done.says("loaded 3 rows into people").says("created the table public.people").quiet();
        let types = "SELECT string_agg(column_name || ' ' || data_type, ',' ORDER BY ordinal_position) \
             FROM information_schema.columns WHERE table_name = 'people'";
        assert_eq!(
            server.psql(&db, types),
            "id bigint,name text,score double precision,tags jsonb,hq jsonb,ok boolean,big numeric,late bigint,n text"
        );
        let rows = server.psql(&db, "SELECT id, name, score, tags, hq, ok, big, late, n FROM people");
        let expected = "1|Ada|1.5|[\"a\", \"b\"]|{\"city\": \"Oslo\"}|t|123456789012345678901234567890||\n\
             2|Bø \"q\"\n|2|[]||f|1|7|\n\
             3||-0.5||{\"x\": 1.50, \"city\": null}||||";
        assert_eq!(rows, expected);

        load(&place, &url, "people.ndjson", "people", &[]).ok().says("loaded on 2").says("nothing was changed");
        // The same bytes under another name, too, and through a pipe.
        let args = ["convert", "-", "-o", &url, "--into", "people"];
        place.run_with_stdin(&args, PEOPLE.as_bytes()).ok().says("nothing was changed");
        assert_eq!(server.psql(&db, "SELECT count(*) FROM people"), "3");
        assert_eq!(server.psql(&db, "SELECT rows, rejected, table_name FROM _drawoff_loads"), "3|0|public.people");
        // Other steps are another load.
        load(&place, &url, "people.ndjson", "people", &["--where", "id > 2"]).ok().says("loaded 1 row");
        let listed = place.run(&["loads", "ls", &url, "-o", "ndjson"]).ok().records();
        assert_eq!(listed.len(), 2);
        assert_eq!((&listed[1]["rows"], &listed[1]["table"]), (&json!(3), &json!("public.people")));
        assert_eq!(place.run(&["loads", "ls", &url, "--into", "other", "-o", "ndjson"]).ok().records().len(), 0);
    }
}

/// The size of a morsel, and with it the place of each widening, changes nothing.
#[test]
fn late_columns_and_types_give_the_same_table_at_every_size() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    let mut text = String::new();
    for id in 0..60 {
        text.push_str(&match id {
            // An integer that a double holds, but not in its shortest digits.
            5 => json!({"id": id, "v": 4, "w": 1_152_921_504_606_846_976i64}).to_string(),
            20 => json!({"id": id, "v": 1.5, "late": "x", "w": 0.5}).to_string(),
            22 => json!({"id": id, "v": 5, "w": "text"}).to_string(),
            30 => json!({"id": id, "v": 2, "mixed": 1}).to_string(),
            40 => json!({"id": id, "v": 3, "mixed": "one", "o": {"a": 1}}).to_string(),
            50 => json!({"id": id, "v": 12345678901234567890u64 as f64, "mixed": [1], "o": "text"}).to_string(),
            _ => json!({"id": id, "v": id}).to_string(),
        });
        text.push('\n');
    }
    place.write("in.ndjson", text);
    let tables = [("t0", "1000000", "2"), ("t1", "20", "1"), ("t2", "50", "3"), ("t3", "200", "7")];
    let mut contents = Vec::new();
    for (table, morsel, workers) in tables {
        let mut command = place.command(&["convert", "in.ndjson", "-o", &url, "--into", table, "--workers", workers]);
        command.morsels(morsel);
        Done::of(command).ok();
        let types = format!(
            "SELECT string_agg(column_name || ' ' || data_type, ',' ORDER BY column_name) \
             FROM information_schema.columns WHERE table_name = '{table}'"
        );
        let rows = format!("SELECT id, v, late, mixed, o, w FROM {table}");
        contents.push((server.psql(&db, &types), server.psql(&db, &rows)));
    }
    assert!(contents[0].0.contains("v double precision") && contents[0].0.contains("mixed jsonb"), "{}", contents[0].0);
    assert!(contents[0].1.contains("40|3||\"one\"|{\"a\": 1}"), "{}", contents[0].1);
    assert!(contents[0].1.contains("5|4||||1152921504606846976"), "{}", contents[0].1);
    for other in &contents[1..] {
        assert_eq!(*other, contents[0]);
    }
}

#[test]
fn an_existing_table_is_checked_before_the_first_row() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    place.write("people.ndjson", PEOPLE);
    server.psql(
        &db,
        "CREATE TABLE wrong (id date, name int, hq int, req int NOT NULL, big int GENERATED ALWAYS AS (1) STORED)",
    );
    load(&place, &url, "people.ndjson", "wrong", &[])
        .code(exit::LOAD_REFUSED)
        .says("column `id` has integers, and the table has date")
        .says("column `hq` has objects, and the table has integer")
        .says("column `req` is required by the table")
        .says("column `big` is computed by the table");
    assert_eq!(server.psql(&db, "SELECT count(*) FROM _drawoff_loads"), "0");
    // A policy that forbids new columns names the first record with one.
    server.psql(&db, "CREATE TABLE narrow (id bigint, name text)");
    load(&place, &url, "people.ndjson", "narrow", &["--schema-policy", "fail"])
        .code(exit::SCHEMA_CHANGED)
        .says("field `score`: the table has no such column")
        .hints("--schema-policy evolve");
    server.psql(&db, "CREATE VIEW v AS SELECT 1 AS id");
    load(&place, &url, "people.ndjson", "v", &[]).code(exit::LOAD_REFUSED).says("not a table").hints("another name");
    load(&place, &url, "people.ndjson", "nowhere.people", &[]).code(exit::LOAD_REFUSED).hints("CREATE SCHEMA");
}

#[test]
fn values_that_a_column_cannot_hold_are_rejects() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    server.psql(
        &db,
        "CREATE TABLE t (id int NOT NULL, name varchar(4), amount numeric(6,2), day date, at timestamptz, u uuid, r real, j jsonb)",
    );
    let good = r#"{"id":1,"name":"Åbcd","amount":1234.5,"day":"2026-02-28","at":"2026-02-28T12:00:00.5+01:00","u":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","r":0.1,"j":{"a":"\\u0000"}}"#;
    let bad = [
        (r#"{"id":3000000000}"#, "beyond the column's type, integer"),
        (r#"{"id":1.5}"#, ""),
        (r#"{"id":null}"#, "takes no null"),
        (r#"{"name":"x"}"#, "takes no null"),
        (r#"{"id":2,"name":"Åbcde"}"#, "longer than the column"),
        (r#"{"id":2,"name":"a\u0000b"}"#, "U+0000"),
        (r#"{"id":2,"amount":12345.5}"#, "before the point"),
        (r#"{"id":2,"amount":1.255}"#, "decimal places"),
        (r#"{"id":2,"day":"2026-02-30"}"#, "not a date"),
        (r#"{"id":2,"at":"yesterday"}"#, "not a time"),
        (r#"{"id":2,"u":"a0ee"}"#, "not a UUID"),
        (r#"{"id":2,"r":0.123456789}"#, "real"),
        (r#"{"id":2,"j":{"a":"\u0000"}}"#, "U+0000"),
        (r#"{"id":2,"j":["\ud800"]}"#, "surrogate"),
    ];
    for (record, reason) in bad.iter().filter(|(_, reason)| !reason.is_empty()) {
        place.write("bad.ndjson", format!("{good}\n{record}\n"));
        load(&place, &url, "bad.ndjson", "t", &[]).code(exit::BAD_DATA).says("bad.ndjson line 2").says(reason);
    }
    assert_eq!(server.psql(&db, "SELECT count(*) FROM t"), "0");
    let others: String =
        bad.iter().filter(|(_, reason)| !reason.is_empty()).map(|(record, _)| format!("{record}\n")).collect();
    place.write("in.ndjson", format!("{good}\n{others}{}\n", good.replace("\"id\":1", "\"id\":9")));
    let skip = ["--on-bad-record", "skip", "--rejects", "rejects.ndjson"];
    load(&place, &url, "in.ndjson", "t", &skip).code(exit::PARTIAL).says("loaded 2 rows").says("13 rejected");
    assert_eq!(place.read_text("rejects.ndjson").lines().count(), 13);
    assert_eq!(
        server.psql(&db, "SET timezone = 'UTC'; SELECT id, name, amount, day, at, u, r, j FROM t WHERE id = 1"),
        "1|Åbcd|1234.50|2026-02-28|2026-02-28 11:00:00.5+00|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|0.1|{\"a\": \"\\\\u0000\"}"
    );
    assert_eq!(server.psql(&db, "SELECT rows, rejected FROM _drawoff_loads"), "2|13");
    // U+0000 by choice.
    place.write("nul.ndjson", "{\"id\":5,\"name\":\"a\\u0000b\",\"j\":{\"k\":\"\\u0000\"}}\n");
    load(&place, &url, "nul.ndjson", "t", &["--nul", "replace"]).ok();
    assert_eq!(server.psql(&db, "SELECT name, j FROM t WHERE id = 5"), "a\u{fffd}b|{\"k\": \"\u{fffd}\"}");
}

/// Columns of a user's table get wider numbers and new columns at the end of the load, and never text.
#[test]
fn an_existing_table_widens_at_the_end_of_the_load() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    server.psql(&db, "CREATE TABLE t (id bigint PRIMARY KEY, v int, w bigint, mood text[]); INSERT INTO t VALUES (0, 7, 9007199254740993)");
    place.write("in.ndjson", "{\"id\":1,\"v\":1,\"w\":1}\n{\"id\":2,\"v\":2.5,\"w\":0.5,\"mood\":[\"a\",\"b\"]}\n{\"id\":3,\"new\":{\"a\":1}}\n");
    for morsel in ["10", "1000000"] {
        server
            .psql(&db, "DROP TABLE IF EXISTS u; CREATE TABLE u (LIKE t INCLUDING ALL); INSERT INTO u SELECT * FROM t");
        let mut command = place.command(&["convert", "in.ndjson", "-o", &url, "--into", "u", "--load-key", morsel]);
        command.morsels(morsel);
        Done::of(command).ok().says("changed the column `v`").says("added the column `new` (jsonb)");
        assert_eq!(
            server.psql(&db, "SELECT id, v, w, mood, new FROM u ORDER BY id"),
            "0|7|9007199254740993||\n1|1|1||\n2|2.5|0.5|{a,b}|\n3||||{\"a\": 1}"
        );
        let types = "SELECT string_agg(data_type, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'u'";
        assert_eq!(server.psql(&db, types), "bigint,double precision,numeric,ARRAY,jsonb");
    }
    place.write("text.ndjson", "{\"id\":9,\"v\":\"many\"}\n");
    load(&place, &url, "text.ndjson", "u", &[]).code(exit::BAD_DATA).says("field `v`");
}

#[test]
fn merge_replace_and_again_land_once() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    place.write("one.csv", "id,v,x\n1,a,\n2,b,1\n1,c,2\n");
    place.write("two.csv", "id,v,y\n1,z,9\n3,q,8\n");
    let merge = ["--load", "merge", "--key", "id"];
    load(&place, &url, "one.csv", "m", &merge).ok().says("2 rows inserted and 0 updated");
    assert_eq!(server.psql(&db, "SELECT * FROM m ORDER BY id"), "1|c|2\n2|b|1");
    load(&place, &url, "two.csv", "m", &merge).ok().says("1 rows inserted and 1 updated");
    // Columns that the load lacks stay.
    assert_eq!(server.psql(&db, "SELECT id, v, x, y FROM m ORDER BY id"), "1|z|2|9\n2|b|1|\n3|q||8");
    load(&place, &url, "one.csv", "m", &merge).ok().says("nothing was changed");
    load(&place, &url, "one.csv", "m", &["--load", "merge"]).code(exit::USAGE).hints("--key");
    load(&place, &url, "one.csv", "m", &["--load", "merge", "--key", "nope"]).code(exit::LOAD_REFUSED).says("nope");

    let replace = ["--load", "replace"];
    load(&place, &url, "two.csv", "m", &replace).ok().says("replaced 3 rows");
    assert_eq!(server.psql(&db, "SELECT id, v, x, y FROM m ORDER BY id"), "1|z||9\n3|q||8");
    load(&place, &url, "two.csv", "m", &replace).ok().says("nothing was changed");
    // The rows of the first load are gone, so it is made again. Its key is twice in it, and the table has a primary key.
    load(&place, &url, "one.csv", "m", &[]).code(exit::LOAD_REFUSED).says("m_pkey").hints("merge");
    load(&place, &url, "one.csv", "m", &merge).ok().says("loaded 3 rows");
    assert_eq!(server.psql(&db, "SELECT count(*) FROM m"), "3");
    // The table is not as after the last replacement.
    load(&place, &url, "two.csv", "m", &replace).ok().says("replaced 3 rows");

    load(&place, &url, "one.csv", "c", &["--again"]).code(exit::USAGE);
    let column = ["--load-column", "load_key"];
    load(&place, &url, "one.csv", "c", &column).ok();
    load(&place, &url, "two.csv", "c", &column).ok();
    load(&place, &url, "one.csv", "c", &["--load-column", "load_key", "--again"]).ok().says("replaced 3 rows");
    assert_eq!(server.psql(&db, "SELECT count(*), count(DISTINCT load_key) FROM c"), "5|2");
    let keys = "SELECT (SELECT array_agg(DISTINCT load_key ORDER BY load_key) FROM c) = \
         (SELECT array_agg(commit_key ORDER BY commit_key) FROM _drawoff_loads WHERE table_name = 'public.c')";
    assert_eq!(server.psql(&db, keys), "t");
}

#[test]
fn names_are_kept_cut_or_refused() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    let long = "é".repeat(40);
    place.write("in.ndjson", json!({"Order": 1, "a\"b": 2, &*long: 3, "select": 4, "a b": 5}).to_string());
    load(&place, &url, "in.ndjson", "\"My Table\"", &[]).ok().says("names have at most 63 bytes");
    let names = server.rows(
        &db,
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'My Table' ORDER BY ordinal_position",
    );
    assert_eq!((&*names[0], &*names[1], &*names[3], &*names[4]), ("Order", "a\"b", "select", "a b"));
    assert!(names[2].starts_with("ééé") && names[2].len() <= 63, "{names:?}");
    let renamed: Value = serde_json::from_str(&server.psql(&db, "SELECT columns FROM _drawoff_loads")).unwrap();
    assert_eq!(renamed[&*long], names[2]);
    place.run(&["convert", "in.ndjson", "-o", &url]).code(exit::USAGE).hints("--into");
    place.run(&["convert", "in.ndjson", "-o", "x.csv", "--into", "t"]).code(exit::USAGE).says("applies only to tables");
}

/// A table and a file from one pass; a pipe ends without either if the load is refused.
#[test]
fn a_table_and_a_file_appear_together() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    place.write("people.ndjson", PEOPLE);
    let args = ["convert", "people.ndjson", "-o", &url, "--into", "people", "-o", "p.parquet"];
    place.run(&args).ok();
    assert_eq!(crate::support::rows::parquet(place.read("p.parquet")).len(), 3);
    server.psql(&db, "CREATE TABLE wrong (id date)");
    let args = ["convert", "people.ndjson", "-o", &url, "--into", "wrong", "-o", "q.parquet"];
    place.run(&args).code(exit::LOAD_REFUSED);
    assert!(!place.path("q.parquet").exists());
    // The server refuses the rows at their end: a constraint that cannot be known.
    server.psql(&db, "CREATE TABLE checked (id bigint CHECK (id < 3))");
    let args = ["convert", "people.ndjson", "-o", &url, "--into", "checked", "-o", "q.parquet"];
    place.run(&args).code(exit::LOAD_REFUSED).says("checked_id_check");
    assert!(!place.path("q.parquet").exists());
    assert_eq!(server.psql(&db, "SELECT count(*) FROM checked"), "0");
}

/// The points at which a connection is cut, or the process killed.
fn cut_of(rng: &mut SeededRng) -> Cut {
    const MARKS: [&[u8]; 9] = [
        b"CREATE TABLE IF NOT EXISTS",
        b"BEGIN",
        b"INSERT INTO \"public\".\"_drawoff",
        b"CREATE TABLE \"public\"",
        b"COPY",
        b"ALTER TABLE",
        b"INSERT INTO \"public\".\"t\"",
        b"UPDATE \"public\".\"_drawoff",
        b"COMMIT",
    ];
    let mark = MARKS[(rng.fraction() * MARKS.len() as f64) as usize];
    match (rng.fraction() * 4.0) as u32 {
        0 => Cut::Before(mark),
        1 => Cut::ResponseTo(mark),
        2 => Cut::Sent((rng.fraction() * 200_000.0) as u64),
        // The commit is where most depends on the answer.
        _ if rng.fraction() < 0.5 => Cut::ResponseTo(b"COMMIT"),
        _ => Cut::Before(b"COMMIT"),
    }
}

/// After a cut or a kill at any point, by one loader or two, the same command leaves every row once.
#[test]
fn rows_are_there_once_after_every_cut_and_kill() {
    let Some(server) = Postgres::shared() else { return };
    let place = Place::new();
    let mut text = String::new();
    for id in 0..3000 {
        let late = if id == 1500 { ",\"late\":1.5" } else { "" };
        text.push_str(&format!("{{\"id\":{id},\"v\":{},\"name\":\"name {id}\"{late}}}\n", id * 7));
    }
    place.write("in.ndjson", text);
    let db = server.database();
    let mut rng = SeededRng::new(plans::seed());
    for plan in 0..plans::count(PLANS) {
        let cut = cut_of(&mut rng);
        let (kills, two, known, exists, merges) = (
            rng.fraction() < 0.5,
            rng.fraction() < 0.3,
            rng.fraction() < 0.5,
            rng.fraction() < 0.5,
            rng.fraction() < 0.3,
        );
        let what =
            format!("plan {plan}: {cut:?} kills={kills} two={two} known={known} exists={exists} merges={merges}");
        server.psql(&db, "DROP TABLE IF EXISTS t, _drawoff_loads");
        if exists {
            server.psql(&db, "CREATE TABLE t (id bigint, v int)");
        }
        let relay = CuttingRelay::start(server.port, cut, 1);
        let cut_url = format!("postgres://postgres@127.0.0.1:{}/{db}", relay.port);
        let mut flags = vec!["--workers", "2"];
        if known {
            flags.extend(["--load-key", "k"]);
        }
        if merges {
            flags.extend(["--load", "merge", "--key", "id"]);
        }
        let command = |url: &str| {
            let args = ["convert", "in.ndjson", "-o", url, "--into", "t"];
            let mut command = place.command(&args.iter().chain(&flags).copied().collect::<Vec<_>>());
            command.morsels("20000");
            command
        };
        let mut first = command(&cut_url).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let second = two.then(|| command(&server.url(&db)).spawn().unwrap());
        if kills {
            let ended = wait_for("the cut, or the end", || match first.try_wait().unwrap() {
                Some(_) => Some(true),
                None => (relay.cuts() > 0).then_some(false),
            });
            if !ended {
                first.kill().unwrap();
            }
        }
        first.wait().unwrap();
        if let Some(second) = second {
            Done::of_child(what.clone(), second).ok();
        }
        Done::of(command(&server.url(&db))).ok();
        let counts =
            server.psql(&db, "SELECT count(*), count(DISTINCT id), sum(v)::bigint, count(late), count(name) FROM t");
        assert_eq!(counts, "3000|3000|31489500|1|3000", "{what}");
        assert_eq!(server.psql(&db, "SELECT count(*), sum(rows) FROM _drawoff_loads"), "1|3000", "{what}");
        Done::of(command(&server.url(&db))).ok().says("nothing was changed");
    }
}

/// Several loaders of one key and of several, at once, into a table that none finds.
#[test]
fn loaders_at_once_load_each_key_once() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    for name in ["a", "b"] {
        let rows: String = (0..500).map(|id| format!("{{\"id\":{id},\"of\":\"{name}\"}}\n")).collect();
        place.write(&format!("{name}.ndjson"), rows);
    }
    let started = ["a", "b", "a", "b", "a"].map(|name| {
        let source = format!("{name}.ndjson");
        place.command(&["convert", &source, "-o", &url, "--into", "t"]).spawn().unwrap()
    });
    let done = started.map(|child| Done::of_child("a load".into(), child).ok());
    let loaded = done.iter().filter(|done| done.stderr.contains("loaded 500 rows")).count();
    assert_eq!(loaded, 2);
    assert_eq!(server.psql(&db, "SELECT of, count(*) FROM t GROUP BY of ORDER BY of"), "a|500\nb|500");
}

/// A load that waits for a lock of another session ends at once by a signal, and says which command waits.
#[test]
fn a_signal_ends_a_load_that_waits_for_a_lock() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    place.write("people.ndjson", PEOPLE);
    server.psql(&db, "CREATE TABLE people (id bigint)");
    let mut locking = std::process::Command::new(server.bin.join("psql"));
    locking.args(["-XAtq", "-d", &url, "-c", "BEGIN; LOCK TABLE people; SELECT pg_sleep(30)"]);
    let mut locking = locking.stdout(Stdio::null()).spawn().unwrap();
    let locked = "SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE relname = 'people' AND granted";
    wait_for("the lock", || (!server.psql(&db, locked).is_empty()).then_some(()));
    let child = place.command(&["convert", "people.ndjson", "-o", &url, "--into", "people"]).spawn().unwrap();
    let waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'drawoff%'";
    wait_for("the load to wait", || (!server.psql(&db, waits).is_empty()).then_some(()));
    crate::support::interrupt(&child);
    Done::of_child("the load".into(), child).code(exit::INTERRUPTED);
    wait_for("the server to end the wait", || server.psql(&db, waits).is_empty().then_some(()));
    locking.kill().unwrap();
    locking.wait().unwrap();
}

/// Runs of a workflow go into a table once each, through kills.
#[test]
fn sync_loads_each_run_once() {
    let Some(server) = Postgres::shared() else { return };
    let db = server.database();
    let url = server.url(&db);
    let own = Place::new();
    let service = Service::start(&own, "data", &[]);
    let place = Place::with_service(&service.url);
    let workflow = "testdata/workflows/qualify-companies.json";
    let run = || {
        let args = ["run", workflow, "--input", "testdata/companies.csv", "--new-run", "-o", "-"];
        place.run(&args).ok();
    };
    for _ in 0..3 {
        run();
    }
    let sync = ["sync", "Qualify companies", "-o", &url, "--into", "companies"];
    // A first one is killed somewhere.
    let mut child = place.command(&sync).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let loads = "SELECT count(*) FROM information_schema.tables WHERE table_name = '_drawoff_loads'";
    wait_for("the sync to begin", || (server.psql(&db, loads) != "0").then_some(()));
    thread::sleep(Duration::from_millis(50));
    child.kill().unwrap();
    child.wait().unwrap();
    let at_once = [place.command(&sync).spawn().unwrap(), place.command(&sync).spawn().unwrap()];
    for child in at_once {
        Done::of_child("a sync".into(), child);
    }
    place.run(&sync).ok().says("0 runs written, 3 there before");
    let per_run = server.psql(&db, "SELECT count(*), min(rows), max(rows) FROM _drawoff_loads");
    let rows: Vec<&str> = per_run.split('|').collect();
    assert_eq!((rows[0], rows[1]), ("3", rows[2]));
    let n: u64 = rows[1].parse().unwrap();
    assert_eq!(server.psql(&db, "SELECT count(*) FROM companies"), (3 * n).to_string());
    run();
    place.run(&sync).ok().says("1 run written, 3 there before");
    place
        .run(&["sync", "Qualify companies", "-o", &url, "--into", "c2", "--since", "2999-01-01"])
        .ok()
        .says("0 runs written");
    place.run(&["sync", "Qualify companies", "-o", "x.parquet"]).code(exit::USAGE);
    let replace = ["sync", "Qualify companies", "-o", &url, "--into", "companies", "--load", "replace"];
    place.run(&replace).code(exit::USAGE).hints("--load merge");
    place.run(&["sync", "Qualify companies", "-o", "results/"]).ok().says("4 runs written");
    // A run by itself is known under the same key, also in another format.
    let run_id = server.psql(&db, "SELECT run_id FROM _drawoff_loads LIMIT 1");
    let pull = ["pull", &run_id, "-o", &url, "--into", "companies", "--format", "csv"];
    place.run(&pull).ok().says("nothing was changed");
    // The statement for the run makes the table that its load makes.
    let ddl = place.run(&["schema", &run_id, "--format", "ddl:postgres", "--into", "by_ddl"]).ok();
    server.psql(&db, ddl.text());
    let columns = |table: &str| {
        let of = "SELECT string_agg(column_name || ' ' || data_type, ',' ORDER BY ordinal_position) \
             FROM information_schema.columns WHERE table_name =";
        server.psql(&db, &format!("{of} '{table}'"))
    };
    assert_eq!(columns("by_ddl"), columns("companies"));
}

#[test]
fn loads_go_through_pgbouncer() {
    let Some(server) = Postgres::shared() else { return };
    let Some(bouncer) = Pgbouncer::start(server) else { return };
    let (place, db) = (Place::new(), server.database());
    let url = bouncer.url(&db);
    for n in 0..6 {
        place.write("in.ndjson", format!("{{\"id\":{n}}}\n{{\"id\":{n},\"late\":1.5}}\n"));
        let mut command = place.command(&["convert", "in.ndjson", "-o", &url, "--into", "t"]);
        command.morsels("12");
        Done::of(command).ok();
    }
    assert_eq!(server.psql(&db, "SELECT count(*), count(late) FROM t"), "12|6");
}

/// Texts among drawn values; PostgreSQL has no U+0000.
const TEXTS: [&str; 11] =
    ["", " ", "NULL", "\\N", "a\tb\nc\r\\", "\"q\"", "Zürich 東京 🦀", "1", "true", "{}", "\u{1}\u{7f}"];

#[test]
fn drawn_records_come_back_as_they_were() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let mut rng = SeededRng::new(plans::seed());
    let n = plans::count(RECORDS);
    let mut records = Vec::new();
    for id in 0..n {
        let mut record = serde_json::Map::new();
        record.insert("id".into(), json!(id));
        record.insert("int".into(), json!((rng.fraction() * 1e15) as i64));
        record.insert("float".into(), json!(rng.fraction() * 1e3));
        record.insert("text".into(), drawn_text(&mut rng));
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
    place.write("in.ndjson", text);
    load(&place, &server.url(&db), "in.ndjson", "t", &[]).ok();
    let rows = server.rows(&db, "SELECT to_jsonb(t) FROM t");
    assert_eq!(rows.len(), records.len());
    for (row, record) in rows.iter().zip(&records) {
        let row: Value = serde_json::from_str(row).unwrap();
        for (key, value) in record.as_object().unwrap() {
            assert!(same(value, &row[key]), "{key}: {value} became {}", row[key]);
        }
    }
}

fn drawn_text(rng: &mut SeededRng) -> Value {
    loop {
        if let text @ Value::String(_) = drawn(rng, 0, &TEXTS) {
            return text;
        }
    }
}

/// A connection that breaks while rows go in costs nothing but time.
#[test]
fn a_broken_connection_is_made_again() {
    let Some(server) = Postgres::shared() else { return };
    let db = server.database();
    let rows: String = (0..5000).map(|id| format!("{{\"id\":{id},\"name\":\"name {id}\"}}\n")).collect();
    let relay = CuttingRelay::start(server.port, Cut::Sent(60_000), 1);
    let url = format!("postgres://postgres@127.0.0.1:{}/{db}", relay.port);
    let place = Place::new();
    place.write("in.ndjson", &rows);
    load(&place, &url, "in.ndjson", "t", &[]).ok().says("began again once");
    assert_eq!(server.psql(&db, "SELECT count(*), count(DISTINCT id) FROM t"), "5000|5000");

    // A pipe cannot be read again: the command says so, and the same command loads the rows.
    let relay = CuttingRelay::start(server.port, Cut::Sent(60_000), 1);
    let url = format!("postgres://postgres@127.0.0.1:{}/{db}", relay.port);
    let args = ["convert", "-", "-o", &url, "--into", "u"];
    place.run_with_stdin(&args, rows.as_bytes()).code(exit::TARGET_UNREACHABLE).hints("run the same command again");
    place.run_with_stdin(&args, rows.as_bytes()).ok().says("loaded 5 000 rows");
    assert_eq!(server.psql(&db, "SELECT count(*), count(DISTINCT id) FROM u"), "5000|5000");

    // A download begins again from its run.
    let own = Place::new();
    let service = Service::start(&own, "data", &[]);
    let place = Place::with_service(&service.url);
    let relay = CuttingRelay::start(server.port, Cut::Sent(100_000), 1);
    let url = format!("postgres://postgres@127.0.0.1:{}/{db}", relay.port);
    let workflow = "testdata/workflows/qualify-companies.json";
    let run = ["run", workflow, "--input", "testdata/companies.csv", "-o", &url, "--into", "companies"];
    place.run(&run).ok().says("beginning again");
    let counts =
        server.psql(&db, "SELECT (SELECT count(*) FROM companies) = rows FROM _drawoff_loads WHERE run_id IS NOT NULL");
    assert_eq!(counts, "t");
}

#[test]
fn rows_without_values_and_names_that_sql_lacks() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    let load = |text: &str, table: &str| {
        place.write("in.ndjson", text);
        let mut command = place.command(&["convert", "in.ndjson", "-o", &url, "--into", table]);
        command.morsels("10");
        Done::of(command)
    };
    let nulls = "{\"a\":null,\"b\":null}\n{\"a\":null}\n";
    load(nulls, "n").ok();
    load(&format!("{nulls}{{\"b\":7}}\n{{\"a\":[1]}}\n"), "n2").ok();
    assert_eq!(server.psql(&db, "SELECT a, b FROM n2"), "|\n|\n|7\n[1]|");
    server.psql(&db, "CREATE TABLE e (b int)");
    load(nulls, "e").ok();
    assert_eq!(server.psql(&db, "SELECT count(*), count(b) FROM e"), "2|0");
    load("{\"x\":null}\n", "e").code(exit::LOAD_REFUSED).says("only nulls");
    load("{}\n{}\n", "z").code(exit::USAGE).says("no columns");
    load("{\"\":1}\n", "z").code(exit::LOAD_REFUSED).says("empty");
    load("{\"a\\u0000\":1}\n", "z").code(exit::LOAD_REFUSED).says("U+0000");
    // No rows, and known columns.
    place.write("none.csv", "id,name\n");
    place.run(&["convert", "none.csv", "-o", &url, "--into", "none"]).ok().says("loaded 0 rows");
    assert_eq!(server.psql(&db, "SELECT count(*) FROM none"), "0");
    assert_eq!(
        server
            .psql(&db, "SELECT string_agg(column_name, ',') FROM information_schema.columns WHERE table_name = 'none'"),
        "id,name"
    );
    // Passwords are in no message.
    let url = url.replace("postgres@", "postgres:marked-4711@");
    let done = place.run(&["convert", "none.csv", "-o", &url, "--into", "none"]).ok().says("password");
    assert!(!done.stderr.contains("marked-4711"), "{}", done.stderr);
}
