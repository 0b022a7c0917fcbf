//! Edges of loads into PostgreSQL: values and columns that a cast, a default or a second reading of the same bytes would
//! change without an error.

use std::thread;

use crate::support::postgres::Postgres;
use crate::support::{Done, Morsels as _, Place, exit};

/// Runs a load of `source` into `table`, with more flags.
fn load(place: &Place, url: &str, source: &str, table: &str, more: &[&str]) -> Done {
    let args = ["convert", source, "-o", url, "--into", table];
    place.run(&args.iter().chain(more).copied().collect::<Vec<_>>())
}

/// A column of text has numbers as they were read, strings without quotes, whatever the type of their batch is.
#[test]
fn text_and_numeric_columns_keep_what_was_read() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    server.psql(&db, "CREATE TABLE versions (v text, n numeric(30,10)); CREATE TABLE mixed (v text)");
    place.write("v.csv", "v,n\n1.10,1234567890123456.789\n2,0.1234567891\n");
    load(&place, &url, "v.csv", "versions", &[]).ok();
    let rows = "1.10|1234567890123456.7890000000\n2|0.1234567891";
    assert_eq!(server.psql(&db, "SELECT v, n FROM versions"), rows);
    // The number of four bytes that is shown as 0.1, as Parquet has it.
    server.psql(&db, "CREATE TABLE narrow (v real)");
    place.write("narrow.ndjson", "{\"v\":0.10000000149011612}\n");
    load(&place, &url, "narrow.ndjson", "narrow", &[]).ok();
    assert_eq!(server.psql(&db, "SELECT v FROM narrow"), "0.1");
    server.psql(&db, "TRUNCATE versions");
    place.write("v.ndjson", "{\"v\":1.10,\"n\":1234567890123456.789}\n{\"v\":2,\"n\":0.1234567891}\n");
    load(&place, &url, "v.ndjson", "versions", &[]).ok();
    assert_eq!(server.psql(&db, "SELECT v, n FROM versions"), rows);

    let text = "{\"v\":\"abc\"}\n".repeat(30) + "{\"v\":1}\n{\"v\":\"a\\\"c\"}\n{\"v\":1.50}\n{\"v\":\"abc\"}\n";
    place.write("mixed.ndjson", text);
    let mut command = place.command(&["convert", "mixed.ndjson", "-o", &url, "--into", "mixed"]);
    command.morsels("10");
    Done::of(command).ok();
    let counts = "SELECT string_agg(v || ':' || n, ',' ORDER BY v COLLATE \"C\") \
         FROM (SELECT v, count(*) AS n FROM mixed GROUP BY v) AS counted";
    assert_eq!(server.psql(&db, counts), "1:1,1.50:1,a\"c:1,abc:31");
}

/// A cast to a type with limits cuts; an assignment refuses.
#[test]
fn nothing_is_cut_to_the_length_of_a_column() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    server.psql(
        &db,
        "CREATE DOMAIN code AS varchar(3); CREATE DOMAIN given AS int NOT NULL CHECK (VALUE > 0); \
         CREATE TABLE t (id int, c character(3), d code, g given, l varchar(3)[], b bit(3))",
    );
    let good = r#"{"id":1,"c":"ab","d":"abc","g":1,"l":["a",null],"b":"101"}"#;
    place.write(
        "in.ndjson",
        format!(
            "{good}\n{}\n{}\n{}\n{}\n",
            good.replace("\"ab\"", "\"abcd\""),
            good.replace("\"abc\"", "\"abcd\""),
            good.replace("\"g\":1", "\"g\":null"),
            good.replace("[\"a\",null]", "\"a\"")
        ),
    );
    let skip = ["--on-bad-record", "skip", "--rejects", "rejects.ndjson"];
    load(&place, &url, "in.ndjson", "t", &skip).code(exit::PARTIAL).says("loaded 1 row");
    assert_eq!(server.psql(&db, "SELECT c, d, g, l, b FROM t"), "ab |abc|1|{a,NULL}|101");
    for (name, from, to) in [("long", "[\"a\",null]", "[\"abcd\"]"), ("bits", "\"101\"", "\"10101\"")] {
        let name = format!("{name}.ndjson");
        place.write(&name, good.replace(from, to) + "\n");
        load(&place, &url, &name, "t", &[]).code(exit::LOAD_REFUSED);
    }
    assert_eq!(server.psql(&db, "SELECT count(*) FROM t"), "1");
}

/// A null is a null before the first value of its column, too, and not the default of the table.
#[test]
fn a_default_takes_the_place_of_no_null() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    server.psql(&db, "CREATE TABLE t (v int DEFAULT 7, w int); CREATE TABLE u (v int NOT NULL DEFAULT 7, w int)");
    let text = "{\"v\":null,\"w\":1}\n".repeat(30) + "{\"v\":1,\"w\":2}\n{\"v\":null,\"w\":3}\n";
    place.write("late.ndjson", text);
    let mut command = place.command(&["convert", "late.ndjson", "-o", &url, "--into", "t"]);
    command.morsels("10");
    Done::of(command).ok();
    assert_eq!(server.psql(&db, "SELECT count(*), count(v), max(v) FROM t"), "32|1|1");
    place.write("in.ndjson", "{\"v\":null,\"w\":1}\n{\"v\":3,\"w\":2}\n");
    load(&place, &url, "in.ndjson", "u", &["--on-bad-record", "skip"]).code(exit::PARTIAL).says("loaded 1 row");
    place.write("without.ndjson", "{\"w\":5}\n");
    load(&place, &url, "without.ndjson", "u", &[]).ok();
    assert_eq!(server.psql(&db, "SELECT v, w FROM u ORDER BY w"), "3|2\n7|5");
    // Rows that went into the table before the first record with the column get null there, if the column takes it.
    place.write("in.ndjson", "{\"w\":1}\n".repeat(30) + "{\"v\":1,\"w\":2}\n");
    server.psql(&db, "TRUNCATE t, u");
    for (table, code, rows) in [("t", exit::SUCCESS, "31|1"), ("u", exit::LOAD_REFUSED, "0|0")] {
        let mut command = place.command(&["convert", "in.ndjson", "-o", &url, "--into", table]);
        command.morsels("10");
        let done = Done::of(command).code(code);
        assert_eq!(done.stderr.contains("in an explicit schema"), code != 0);
        assert_eq!(server.psql(&db, &format!("SELECT count(*), count(v) FROM {table}")), rows);
    }
}

/// A record that is not stored decides nothing for those that are: they keep the default of a column that it alone has,
/// wherever morsels end and however many workers there are.
#[test]
fn a_bad_record_takes_no_default_away() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    server.psql(
        &db,
        "CREATE TABLE t (id int, c int NOT NULL DEFAULT 3); CREATE TABLE u (id int, c int DEFAULT 3); \
         CREATE TABLE m (id int PRIMARY KEY, c int DEFAULT 3)",
    );
    let row = |id: usize| match id {
        290 | 580 => format!("{{\"id\":{id},\"c\":\"abc\"}}\n"),
        // A late column of the rows sends those behind it into a stage.
        400 => format!("{{\"id\":{id},\"late\":1}}\n"),
        _ => format!("{{\"id\":{id}}}\n"),
    };
    let text: String = (1..=600).map(row).collect();
    place.write("bad.ndjson", &text);
    // The column is in this load, because of a row that is stored, with null in all others.
    place.write("good.ndjson", text.clone() + "{\"id\":601,\"c\":5}\n");
    let merge = &["--load", "merge", "--key", "id"][..];
    let replace = &["--load", "replace"][..];
    for (morsel, jobs) in [("20", "1"), ("20", "4"), ("300", "3"), ("600", "2")] {
        for (source, table, more, expected) in [
            ("bad.ndjson", "t", &[][..], "598|598|3"),
            ("bad.ndjson", "u", &[], "598|598|3"),
            ("bad.ndjson", "u", replace, "598|598|3"),
            ("bad.ndjson", "m", merge, "598|598|3"),
            ("good.ndjson", "u", &[], "599|1|5"),
            ("good.ndjson", "u", replace, "599|1|5"),
            ("good.ndjson", "m", merge, "599|1|5"),
            ("good.ndjson", "t", &[], "0|0|"),
        ] {
            server.psql(&db, &format!("TRUNCATE {table}; DROP TABLE IF EXISTS _drawoff_loads CASCADE"));
            let args = ["convert", source, "-o", &url, "--into", table, "--on-bad-record", "skip", "--jobs", jobs];
            let mut command = place.command(&[&args[..], more].concat());
            command.morsels(morsel);
            let refused = expected.starts_with('0');
            let done = Done::of(command).code(if refused { exit::LOAD_REFUSED } else { exit::PARTIAL });
            assert_eq!(done.stderr.contains("in an explicit schema"), refused, "{}", done.stderr);
            let counts = server.psql(&db, &format!("SELECT count(*), count(c), max(c) FROM {table}"));
            assert_eq!(counts, expected, "{source} {table} {more:?} {morsel} {jobs}");
        }
    }
    // The chunks behind the one with the bad record do not have the column either.
    server.psql(&db, "TRUNCATE u; DROP TABLE IF EXISTS _drawoff_loads CASCADE");
    let args = ["convert", "bad.ndjson", "-o", &url, "--into", "u", "--on-bad-record", "skip", "--load-key", "k"];
    let mut command = place.command(&[&args[..], &["--commit-every", "100"]].concat());
    command.morsels("20");
    Done::of(command).code(exit::PARTIAL);
    assert_eq!(server.psql(&db, "SELECT count(*), count(c), max(c) FROM u"), "598|598|3");
}

/// Numbers in a column that gets text late have the digits of the record, as those behind the text have.
#[test]
fn numbers_before_a_late_text_keep_their_digits() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    let numbers = ["1.50", "2.0", "1e3", "0.12345678901234567891", "-0.0", "1.25", "7", "-2.5E-3"];
    let text: String = (0..400).map(|i| format!("{{\"i\":{i},\"v\":{}}}\n", numbers[i % numbers.len()])).collect();
    let late = text.clone() + "{\"i\":400,\"v\":\"x\"}\n" + &text.replace("{\"i\":", "{\"i\":1");
    place.write("late.ndjson", &late);
    place
        .write("early.ndjson", "{\"i\":400,\"v\":\"x\"}\n".to_owned() + &late.replace("{\"i\":400,\"v\":\"x\"}\n", ""));
    server.psql(&db, "CREATE TABLE there (i int)");
    let rows = |source: &str, table: &str, morsel: &str| {
        let mut command = place.command(&["convert", source, "-o", &url, "--into", table, "--load-key", morsel]);
        command.morsels(morsel);
        let done = Done::of(command).ok();
        assert!(!done.stderr.contains("sent as doubles"), "{}", done.stderr);
        server.psql(&db, &format!("SELECT DISTINCT v::text FROM {table} ORDER BY 1"))
    };
    let once = rows("early.ndjson", "early", "1000000");
    assert!(once.contains("0.12345678901234567891") && once.contains("1.50"), "{once}");
    assert_eq!(rows("late.ndjson", "late", "30"), once);
    assert_eq!(rows("late.ndjson", "late2", "1000"), once);
    assert_eq!(rows("late.ndjson", "there", "30"), once);
    // Doubles that lose nothing are followed without a second pass.
    place.write("plain.ndjson", "{\"v\":1.5}\n{\"v\":0.25}\n".repeat(50) + "{\"v\":\"x\"}\n");
    assert_eq!(rows("plain.ndjson", "plain", "30"), "\"x\"\n0.25\n1.5");
    let mut command = place.command(&["convert", "-", "-o", &url, "--into", "piped", "--from", "ndjson"]);
    command.morsels("30").stdin(std::fs::File::open(place.path("late.ndjson")).unwrap());
    let done = Done::of(command).ok();
    assert!(!done.stderr.contains("sent as doubles"), "{}", done.stderr);
    assert_eq!(server.psql(&db, "SELECT v::text FROM piped WHERE i = 0"), "1.50");
    assert_eq!(server.psql(&db, "SELECT DISTINCT v::text FROM piped ORDER BY 1"), once);
}

/// Under a policy by which the columns stay, those of the table are columns of the load, wherever a record has them first, and
/// the table judges their values.
#[test]
fn a_fixed_schema_has_the_columns_of_the_table() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    let row = |id: usize| match id {
        301 => "{\"i\":301,\"c\":12}\n".to_owned(),
        302 => "{\"i\":302,\"c\":\"text\",\"j\":{\"a\":[1.50]}}\n".to_owned(),
        303 => "{\"i\":303,\"n\":\"bad\"}\n".to_owned(),
        _ => format!("{{\"i\":{id}}}\n"),
    };
    let text: String = (1..=400).map(row).collect();
    place.write("in.ndjson", &text);
    place.write("other.ndjson", text.clone() + "{\"i\":1,\"zz\":1}\n");
    place.write("one.ndjson", "{\"i\":1}\n");
    let schema = place.run(&["schema", "one.ndjson", "--format", "json"]).ok();
    place.write("schema.json", schema.text());
    for policy in ["freeze", "fail"] {
        server.psql(
            &db,
            "DROP TABLE IF EXISTS t, _drawoff_loads CASCADE; CREATE TABLE t (i int, c text, j jsonb, n int NOT NULL DEFAULT 7, \
             d int DEFAULT 4, g int GENERATED ALWAYS AS (i * 2) STORED)",
        );
        let load = |source: &str, more: &[&str]| {
            let args =
                ["convert", source, "-o", &url, "--into", "t", "--on-bad-record", "skip", "--schema-policy", policy];
            let mut command = place.command(&[&args[..], more].concat());
            command.morsels("100");
            Done::of(command)
        };
        let done = load("in.ndjson", &[]);
        if policy == "fail" {
            done.code(exit::SCHEMA_CHANGED).says("field `n`: ").says("line 303 ");
            continue;
        }
        done.code(exit::PARTIAL).says("loaded 399 rows");
        assert_eq!(server.psql(&db, "SELECT i, c, j FROM t WHERE c IS NOT NULL"), "301|12|\n302|text|{\"a\": [1.50]}");
        assert_eq!(server.psql(&db, "SELECT count(*), sum(n), sum(d), sum(g) = 2 * sum(i) FROM t"), "399|2793|1596|t");
        load("other.ndjson", &[]).code(exit::PARTIAL).says("399 written, 2 rejected");
        // With an explicit schema, its columns are the only ones.
        let done = load("in.ndjson", &["--schema", "schema.json", "--load-key", "own"]);
        done.code(exit::PARTIAL).says("397 written, 3 rejected");
    }
}

/// The bytes identify rows only together with the way in which they are read.
#[test]
fn the_same_bytes_read_in_another_way_are_another_load() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    server.psql(&db, "CREATE TABLE t (a text, b text)");
    place.write("in.csv", b"a;b\n1,5;caf\xe9\n2;NA\n");
    let german = ["--in-encoding", "latin1", "--in-delimiter", ";", "--in-decimal", ","];
    load(&place, &url, "in.csv", "t", &german).ok().says("loaded 2 rows");
    load(&place, &url, "in.csv", "t", &german).ok().says("nothing was changed");
    load(&place, &url, "in.csv", "t", &german[..4]).ok().says("loaded 2 rows");
    load(&place, &url, "in.csv", "t", &[&german[..], &["--in-null", "NA"]].concat()).ok().says("loaded 2 rows");
    let greek = ["--in-encoding", "iso-8859-7", "--in-delimiter", ";", "--in-decimal", ","];
    load(&place, &url, "in.csv", "t", &greek).ok().says("loaded 2 rows");
    assert_eq!(server.psql(&db, "SELECT count(*) FROM t"), "8");
    // A delimiter that was found is the one that is specified.
    place.write("plain.csv", "a,b\n1,x\n");
    load(&place, &url, "plain.csv", "p", &[]).ok();
    load(&place, &url, "plain.csv", "p", &["--in-delimiter", ","]).ok().says("nothing was changed");
    // Columns from the names of directories are no part of the bytes.
    for directory in ["one/year=2025", "two/year=2026"] {
        std::fs::create_dir_all(place.path(directory)).unwrap();
        place.write(&format!("{directory}/x.ndjson"), "{\"v\":1}\n");
    }
    load(&place, &url, "one/", "years", &[]).ok().says("loaded 1 row");
    load(&place, &url, "one/", "years", &[]).ok().says("nothing was changed");
    load(&place, &url, "two/", "years", &[]).ok().says("loaded 1 row");
    assert_eq!(server.psql(&db, "SELECT string_agg(year::text, ',' ORDER BY year) FROM years"), "2025,2026");
    // Streams of Arrow have no index by which they are read.
    place.run(&["convert", "one/year=2025/x.ndjson", "-o", "x.arrows"]).ok();
    load(&place, &url, "x.arrows", "stream", &[]).ok().says("loaded 1 row");
    let args = ["convert", "-", "-o", &url, "--into", "stream"];
    place.run_with_stdin(&args, &place.read("x.arrows")).ok().says("nothing was changed");
    // The ledger has the digest of the bytes alone.
    assert_eq!(server.psql(&db, "SELECT DISTINCT length(digest) FROM _drawoff_loads"), "64");
}

/// A table that was dropped has no rows of earlier loads.
#[test]
fn a_table_that_was_dropped_is_loaded_again() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    place.write("in.ndjson", "{\"v\":1}\n");
    for more in [&[][..], &["--load-key", "one"]] {
        load(&place, &url, "in.ndjson", "t", more).ok().says("loaded 1 row");
        load(&place, &url, "in.ndjson", "t", more).ok().says("nothing was changed");
        server.psql(&db, "DROP TABLE t");
        load(&place, &url, "in.ndjson", "t", more).ok().says("loaded 1 row");
        load(&place, &url, "in.ndjson", "t", more).ok().says("nothing was changed");
        assert_eq!(server.psql(&db, "SELECT count(*) FROM t"), "1");
        server.psql(&db, "DROP TABLE t");
    }
}

/// Rows without the key cannot be told from others: they are not doubled.
#[test]
fn again_replaces_the_rows_or_nothing() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    place.write("in.ndjson", "{\"v\":1}\n{\"v\":2}\n");
    place.write("more.ndjson", "{\"v\":3}\n");
    load(&place, &url, "in.ndjson", "t", &[]).ok();
    let again = ["--load-column", "k", "--again"];
    load(&place, &url, "in.ndjson", "t", &again).code(exit::USAGE).says("cannot be replaced");
    load(&place, &url, "more.ndjson", "t", &["--load-column", "k"]).ok().says("added the column `k` (text)");
    load(&place, &url, "in.ndjson", "t", &again).code(exit::USAGE).says("cannot be replaced");
    load(&place, &url, "more.ndjson", "t", &again).ok().says("replaced 1 rows");
    assert_eq!(server.psql(&db, "SELECT count(*), count(k) FROM t"), "3|1");
    server.psql(&db, "TRUNCATE t");
    load(&place, &url, "in.ndjson", "t", &again).ok().says("loaded 2 rows");
}

/// A merge has a stage for each change of types, of which the first ones lack the late columns.
#[test]
fn late_columns_of_a_merge_come_from_every_stage() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    let mut text = String::new();
    for id in 0..60 {
        text.push_str(&match id {
            15 => format!("{{\"id\":{id},\"n\":1.5}}\n"),
            30 => format!("{{\"id\":{id},\"n\":\"x\"}}\n"),
            45 => format!("{{\"id\":{id},\"late\":[1]}}\n"),
            _ => format!("{{\"id\":{id},\"n\":{id}}}\n"),
        });
    }
    place.write("in.ndjson", text);
    for (table, morsel) in [("t", "10"), ("u", "1000000")] {
        let args = ["convert", "in.ndjson", "-o", &url, "--into", table, "--load", "merge", "--key", "id"];
        let mut command = place.command(&args);
        command.morsels(morsel);
        Done::of(command).ok().says("60 rows inserted");
        assert_eq!(server.psql(&db, &format!("SELECT late FROM {table} WHERE late IS NOT NULL")), "[1]");
        assert_eq!(server.psql(&db, &format!("SELECT count(n) FROM {table} WHERE n = to_jsonb(id)")), "57");
    }
}

/// Merges at once see each other's rows, whatever the default isolation of the database is.
#[test]
fn merges_at_once_make_one_row_of_a_key() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    server.psql(&db, &format!("ALTER DATABASE \"{db}\" SET default_transaction_isolation = 'repeatable read'"));
    server.psql(&db, "CREATE TABLE t (id int, v int)");
    let rows: String = (0..2000).map(|id| format!("{{\"id\":{id},\"v\":0}}\n")).collect();
    for loader in 0..4 {
        place.write(&format!("{loader}.ndjson"), rows.replace("\"v\":0", &format!("\"v\":{loader}")));
    }
    thread::scope(|scope| {
        for loader in 0..4 {
            let (place, url) = (&place, &url);
            scope.spawn(move || {
                load(place, url, &format!("{loader}.ndjson"), "t", &["--load", "merge", "--key", "id"]).ok();
            });
        }
    });
    assert_eq!(server.psql(&db, "SELECT count(*), count(DISTINCT id) FROM t"), "2000|2000");
}

/// The server takes no COPY into a table whose policies decide row by row.
#[test]
fn tables_with_row_policies_take_rows() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    let user = format!("limited_{db}");
    server.psql(
        &db,
        &format!(
            "CREATE ROLE \"{user}\" LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO \"{user}\"; CREATE TABLE t (v int); \
             ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY small ON t USING (v < 5) WITH CHECK (v < 5); \
             GRANT ALL ON t TO \"{user}\""
        ),
    );
    let url = url.replace("postgres@", &format!("{user}@"));
    place.write("in.ndjson", "{\"v\":1}\n");
    place.write("beyond.ndjson", "{\"v\":9}\n");
    load(&place, &url, "in.ndjson", "t", &[]).ok().says("loaded 1 row");
    load(&place, &url, "beyond.ndjson", "t", &[]).code(exit::LOAD_REFUSED).says("row-level security policy");
    assert_eq!(server.psql(&db, "SELECT count(*) FROM t"), "1");
}

#[test]
fn long_names_and_large_numbers_are_no_surprise() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    let (key, own) = ("k".repeat(70), "l".repeat(70));
    place.write("in.ndjson", format!("{{\"{key}\":1}}\n"));
    let merge = ["--load", "merge", "--key", &key, "--load-column", &own];
    load(&place, &url, "in.ndjson", "t", &merge).ok().says("1 rows inserted");
    load(&place, &url, "in.ndjson", "t", &[&merge[..], &["--again"]].concat())
        .ok()
        .says("0 rows inserted and 1 updated");
    load(&place, &url, "in.ndjson", &key, &[]).code(exit::USAGE).says("the name has 70 bytes");
    place.write("large.ndjson", "{\"j\":{\"a\":1e200000}}\n{\"j\":{\"a\":\"1e200000\"}}\n");
    load(&place, &url, "large.ndjson", "j", &["--on-bad-record", "skip"]).code(exit::PARTIAL).says("loaded 1 row");
}

/// A wider type that some rows needed stays, whatever comes later: nothing is rounded back into the type of before.
#[test]
fn numbers_of_a_widened_column_are_not_rounded() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    let url = server.url(&db);
    let late = "{\"n\":2}\n{\"n\":\"x\"}\n{\"n\":3}\n";
    for (first, wide) in [("1.5", "double precision"), ("12345678901234567890", "numeric")] {
        server.psql(&db, "CREATE TABLE t (n int)");
        place.write("in.ndjson", format!("{{\"n\":{first}}}\n").repeat(30) + late);
        let args = ["convert", "in.ndjson", "-o", &url, "--into", "t", "--on-bad-record", "skip"];
        let mut command = place.command(&args);
        command.morsels("10");
        Done::of(command).code(exit::PARTIAL).says("loaded 32 rows");
        let rows = format!("{first}:30,2:1,3:1");
        let counts = "SELECT string_agg(n || ':' || c, ',' ORDER BY c DESC, n) FROM (SELECT n, count(*) AS c FROM t GROUP BY n) AS g";
        assert_eq!(server.psql(&db, counts), rows);
        let ty = "SELECT data_type FROM information_schema.columns WHERE table_name = 't'";
        assert_eq!(server.psql(&db, ty), wide);
        server.psql(&db, "DROP TABLE t");
    }
}
