//! Edges of loads into ClickHouse: values that a default, the type of a batch or the server's own inference would change
//! without an error, and tables that are gone or become others while rows are loaded.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::clickhouse::ClickHouseShim;
use crate::support::tls::TlsProxy;
use crate::support::{Done, Morsels as _, Place, Service, exit};

/// The number of loads so far.
static LOADS: AtomicUsize = AtomicUsize::new(0);

/// Morsels of a few records, and of all.
const MORSELS: [&str; 2] = ["10", "1000000"];

/// Loads `text` into `crm.t`, which this statement makes, with morsels of this size. A table that is made anew by hand counts as
/// the same, so that each load has a key of its own.
fn load(shim: &ClickHouseShim, place: &Place, definition: &str, text: &str, morsel: &str, more: &[&str]) -> Done {
    shim.ask("DROP TABLE IF EXISTS crm.t SYNC");
    if !definition.is_empty() {
        shim.ask(&format!("CREATE TABLE crm.t {definition}"));
    }
    place.write("in.ndjson", text);
    let (url, key) = (shim.url(), LOADS.fetch_add(1, Ordering::Relaxed).to_string());
    let args = ["convert", "in.ndjson", "-o", &url, "--into", "t", "--load-key", &key];
    let mut command = place.command(&args.iter().chain(more).copied().collect::<Vec<_>>());
    command.morsels(morsel);
    Done::of(command)
}

fn values(shim: &ClickHouseShim) -> String {
    shim.ask("SELECT DISTINCT v FROM crm.t ORDER BY v").trim_end().replace('\n', ",")
}

/// A column of text has strings without quotes and numbers as they were read, whatever the type of their batch is.
#[test]
fn columns_of_text_have_values_as_they_were_read() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    let text =
        "{\"v\":\"abc\"}\n".repeat(30) + "{\"v\":1}\n{\"v\":\"a\\\"c\"}\n{\"v\":1.50}\n{\"v\":true}\n{\"v\":[1, 2]}\n";
    let numbers = "{\"v\":2}\n".repeat(30) + "{\"v\":1.50}\n{\"v\":2}\n";
    for morsel in MORSELS {
        for ty in ["Nullable(String)", "LowCardinality(String)"] {
            let table = format!("(v {ty}) ENGINE = MergeTree ORDER BY tuple()");
            load(&shim, &place, &table, &text, morsel, &[]).ok();
            assert_eq!(values(&shim), r#"1,1.50,[1, 2],a"c,abc,true"#);
            load(&shim, &place, &table, &numbers, morsel, &[]).ok();
            assert_eq!(values(&shim), "1.50,2");
        }
        let table = "(v FixedString(6)) ENGINE = MergeTree ORDER BY tuple()";
        load(&shim, &place, table, &text, morsel, &[]).ok();
        assert_eq!(values(&shim).replace("\\0", ""), r#"1,1.50,[1, 2],a"c,abc,true"#);
    }
    let digits = "{\"v\":9007199254740993.0}\n".to_owned() + &"{\"v\":0.5}\n".repeat(20);
    let table = "(v Decimal(20, 1)) ENGINE = MergeTree ORDER BY tuple()";
    load(&shim, &place, table, &digits, "1000", &[]).ok();
    assert_eq!(values(&shim), "0.5,9007199254740993");
    place.write("in.csv", "v\n1.10\n2\n1e2\n");
    let url = shim.url();
    shim.ask("CREATE TABLE crm.cells (v String) ENGINE = MergeTree ORDER BY tuple()");
    place.run(&["convert", "in.csv", "-o", &url, "--into", "cells"]).ok();
    assert_eq!(shim.ask("SELECT v FROM crm.cells"), "1.10\n2\n1e2\n");
}

/// A column of several types that the load makes has one form of numbers, whenever it became one.
#[test]
fn late_values_of_several_types_have_one_form() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    let numbers = [
        "2",
        "2.0",
        "1.50",
        "1e2",
        "1e-7",
        "0.00001",
        "0.00001234",
        "0.00000987",
        "0.0001",
        "-0.0",
        "-3.0",
        "1e15",
        "1.5e16",
        "9223372036854774784.0",
        "1e19",
        "1.2345678901234567e19",
        "-1e20",
        "-9223372036854775808.0",
        "1e21",
        "1.5e22",
        "1e300",
        "5e-324",
        "0.1",
    ];
    let text: String = (0..200).map(|i| format!("{{\"i\":{i},\"v\":{}}}\n", numbers[i % numbers.len()])).collect();
    let text = text + "{\"i\":-1,\"v\":\"x\"}\n";
    let rows = |morsel| {
        load(&shim, &place, "", &text, morsel, &[]).ok();
        shim.ask("SELECT v FROM crm.t ORDER BY i LIMIT 24")
    };
    let once = rows("1000000");
    assert!(once.starts_with("\"x\"\n2\n2\n1.5\n100\n1e-07\n1e-05\n1.234e-05\n9.87e-06\n0.0001\n-0.0\n-3\n"), "{once}");
    assert_eq!(rows("200"), once);
}

/// A wider type that some rows needed stays, whatever comes later: nothing is cut back to the type of before.
#[test]
fn numbers_of_a_widened_column_are_not_cut() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    let late = "{\"v\":2}\n{\"v\":\"x\"}\n{\"v\":3}\n";
    for (first, wide) in [("1.5", "Float64"), ("12345678901234567890", "Decimal(38, 0)")] {
        let text = format!("{{\"v\":{first}}}\n").repeat(30) + late;
        let table = "(v Nullable(Int32)) ENGINE = MergeTree ORDER BY tuple()";
        load(&shim, &place, table, &text, "10", &["--on-bad-record", "skip"])
            .code(exit::PARTIAL)
            .says("loaded 32 rows");
        let counts = shim.ask("SELECT v, count() FROM crm.t GROUP BY v ORDER BY count() DESC, v");
        assert_eq!(counts, format!("{first}\t30\n2\t1\n3\t1\n"));
        assert_eq!(shim.ask("SELECT DISTINCT toTypeName(v) FROM crm.t"), format!("Nullable({wide})\n"));
    }
    // An integer that the double cannot hold is not rounded either.
    let text = "{\"v\":1.5}\n".repeat(30) + "{\"v\":9007199254740993}\n{\"v\":\"x\"}\n";
    let table = "(v Nullable(Int64)) ENGINE = MergeTree ORDER BY tuple()";
    load(&shim, &place, table, &text, "10", &["--on-bad-record", "skip"]).code(exit::LOAD_REFUSED).says("double holds");
    assert_eq!(shim.leftovers(), "");
}

/// A null is a null before the first value of its column, too, and not the default of the table.
#[test]
fn a_default_takes_the_place_of_no_null() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    let table = "(v Nullable(Int32) DEFAULT 7, w Int32) ENGINE = MergeTree ORDER BY w";
    let tail = "{\"v\":1,\"w\":2}\n{\"v\":null,\"w\":3}\n{\"w\":4}\n";
    for first in ["{\"v\":null,\"w\":1}\n", "{\"w\":1}\n"] {
        for morsel in MORSELS {
            load(&shim, &place, table, &(first.repeat(30) + tail), morsel, &[]).ok();
            assert_eq!(shim.ask("SELECT count(), count(v), max(v) FROM crm.t"), "33\t1\t1\n", "{first} {morsel}");
        }
    }
    load(&shim, &place, table, "{\"w\":1}\n", "10", &[]).ok();
    assert_eq!(shim.ask("SELECT v FROM crm.t"), "7\n");
    // Columns that take no null have no value for rows without them.
    for ty in ["Int32 DEFAULT 7", "Array(Int32)"] {
        let table = format!("(v {ty}, w Int32) ENGINE = MergeTree ORDER BY w");
        let value = if ty.starts_with('A') { "[1]" } else { "1" };
        let text = "{\"w\":1}\n".repeat(30) + &format!("{{\"v\":{value},\"w\":2}}\n");
        load(&shim, &place, &table, &text, "10", &[]).code(exit::LOAD_REFUSED).says("in an explicit schema");
        assert_eq!(shim.leftovers(), "");
    }
}

/// A record that is not stored decides nothing for those that are.
#[test]
fn a_bad_record_takes_no_default_away() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    let row = |id: usize| match id {
        290 | 580 => format!("{{\"id\":{id},\"c\":\"abc\"}}\n"),
        400 => format!("{{\"id\":{id},\"late\":1}}\n"),
        _ => format!("{{\"id\":{id}}}\n"),
    };
    let bad: String = (1..=600).map(row).collect();
    let good = bad.clone() + "{\"id\":601,\"c\":5}\n";
    let skip = ["--on-bad-record", "skip"];
    for morsel in ["20", "600"] {
        for (ty, value) in [("Int32 DEFAULT 3", 3), ("Nullable(Int32) DEFAULT 3", 3), ("Array(Int32)", 0)] {
            let table = format!("(id Int32, c {ty}) ENGINE = MergeTree ORDER BY id");
            load(&shim, &place, &table, &bad, morsel, &skip).code(exit::PARTIAL).says("loaded 598 rows");
            let value = if value == 3 { "3" } else { "[]" };
            assert_eq!(
                shim.ask("SELECT count(), any(c), uniqExact(c) FROM crm.t"),
                format!("598\t{value}\t1\n"),
                "{ty}"
            );
            if ty.starts_with("Nullable") {
                load(&shim, &place, &table, &good, morsel, &skip).code(exit::PARTIAL);
                assert_eq!(shim.ask("SELECT count(), count(c), max(c) FROM crm.t"), "599\t1\t5\n");
            } else if ty.starts_with("Int32") {
                let done = load(&shim, &place, &table, &good, morsel, &skip).code(exit::LOAD_REFUSED);
                done.says("in an explicit schema");
            }
        }
    }
    assert_eq!(shim.leftovers(), "");
}

/// The rows of a table that is gone are gone, also for other loads of the table that is made in its place.
#[test]
fn a_table_that_was_dropped_is_loaded_again() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    let url = shim.url();
    place.write("a.ndjson", "{\"v\":1}\n");
    place.write("b.ndjson", "{\"v\":2}\n");
    let load =
        |source, more: &[&str]| place.run(&[&["convert", source, "-o", &url, "--into", "people"], more].concat()).ok();
    for more in [&[][..], &["--load-key", "one"]] {
        load("a.ndjson", more).says("loaded 1 row");
        load("b.ndjson", &[]).says("loaded 1 row");
        load("a.ndjson", more).says("nothing was changed");
        shim.ask("DROP TABLE crm.people SYNC");
        load("a.ndjson", more).says("loaded 1 row");
        load("a.ndjson", more).says("nothing was changed");
        load("b.ndjson", &[]).says("loaded 1 row");
        assert_eq!(shim.ask("SELECT count(), uniqExact(v) FROM crm.people"), "2\t2\n");
        shim.ask("DROP TABLE crm.people SYNC");
    }
}

/// Rows that are complete beside the table are not in it: `sync` asks for them again, which moves them.
#[test]
fn sync_completes_a_load_that_was_killed_and_loads_a_dropped_table_again() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let own = Place::new();
    let service = Service::start(&own, "data", &[]);
    let place = Place::with_service(&service.url);
    for _ in 0..2 {
        let run =
            ["run", "testdata/workflows/qualify-companies.json", "--input", "testdata/companies.csv", "--new-run"];
        place.run(&[&run[..], &["-o", "-"]].concat()).ok();
    }
    let url = shim.url();
    let sync = ["sync", "Qualify companies", "-o", &url, "--into", "t", "--no-state"];
    shim.fault("MOVE PARTITION", 0, "hold-before");
    let mut child = place.command(&sync).spawn().unwrap();
    shim.wait_until_held();
    child.kill().unwrap();
    child.wait().unwrap();
    // The statement that was held is one that never came.
    shim.ask("RENAME TABLE crm.t TO crm.kept");
    shim.release();
    shim.ask("RENAME TABLE crm.kept TO crm.t");
    assert_eq!(shim.ask("SELECT count() FROM crm.t"), "0\n");
    place.run(&sync).ok();
    let per_run = 1302;
    assert_eq!(shim.ask("SELECT count() FROM crm.t"), format!("{}\n", 2 * per_run));
    assert_eq!(shim.leftovers(), "");
    place.run(&sync).ok().says("0 runs written, 2 there before");
    shim.ask("DROP TABLE crm.t SYNC");
    place.run(&sync).ok().says("2 runs written, 0 there before");
    assert_eq!(shim.ask("SELECT count() FROM crm.t"), format!("{}\n", 2 * per_run));
}

/// Keys that only a setting of the table allows, and an order that the names of columns do not tell.
#[test]
fn keys_of_every_kind_take_rows() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    let text = "{\"v\":1,\"w\":\"a\"}\n{\"v\":2,\"w\":null}\n";
    for table in [
        "(v Int64, w Nullable(String)) ENGINE = MergeTree ORDER BY w SETTINGS allow_nullable_key = 1",
        "(v Int64, w Nullable(String)) ENGINE = MergeTree ORDER BY (v DESC) SETTINGS allow_experimental_reverse_key = 1",
        "(v Int64, w Nullable(String)) ENGINE = ReplacingMergeTree(v) PARTITION BY v % 2 PRIMARY KEY (v, cityHash64(v)) ORDER BY (v, \
         cityHash64(v)) SAMPLE BY cityHash64(v) TTL toDate('2100-01-01') + v DELETE WHERE w = ' SETTINGS '",
    ] {
        for mode in ["append", "replace"] {
            load(&shim, &place, table, text, "1000", &["--load", mode]).ok();
            assert_eq!(shim.ask("SELECT v, w FROM crm.t ORDER BY v"), "1\ta\n2\t\\N\n", "{table}");
        }
    }
}

/// A table that becomes another one while rows are loaded takes none of them, and no load is stuck for it.
#[test]
fn a_table_that_becomes_another_is_loaded_anew() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    let url = shim.url();
    place.write("in.ndjson", "{\"v\":1}\n");
    let args = ["convert", "in.ndjson", "-o", &url, "--into", "t"];
    shim.fault("RENAME TABLE", 0, "hold-before");
    thread::scope(|scope| {
        let first = scope.spawn(|| place.run(&args));
        shim.wait_until_held();
        shim.ask("DROP TABLE crm.t SYNC");
        shim.ask("CREATE TABLE crm.t (v Int64) ENGINE = MergeTree ORDER BY v");
        shim.release();
        first.join().unwrap().ok().says("loaded 1 row").says("began again once");
    });
    assert_eq!(shim.leftovers(), "");
    assert_eq!(shim.ask("SELECT count() FROM crm.t"), "1\n");
    // Dropped after the attempt was chosen: the next command makes the table anew.
    place.write("in.ndjson", "{\"v\":2}\n");
    shim.ask("DROP TABLE crm.t SYNC");
    shim.fault("MOVE PARTITION", 0, "hold-before");
    let mut child = place.command(&args).spawn().unwrap();
    shim.wait_until_held();
    child.kill().unwrap();
    child.wait().unwrap();
    shim.ask("DROP TABLE crm.t SYNC");
    shim.release();
    place.run(&args).ok();
    assert_eq!(shim.ask("SELECT v FROM crm.t"), "2\n");
    assert_eq!(shim.leftovers(), "");
}

/// The type JSON keeps what it is given, or the record is rejected.
#[test]
fn objects_in_columns_of_json_are_exact_or_rejected() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    let kept = [
        r#"{"a":"2020-01-01T00:00:00Z"}"#,
        r#"{"a":["2020-01-01","2020-01-02 00:00:00"]}"#,
        r#"{"a":[true,1]}"#,
        r#"{"a":[true,"x",1.5]}"#,
        r#"{"a":{"b":[]}}"#,
        r#"{"a":18446744073709551615}"#,
    ];
    let rejected = [
        r#"{"a":{}}"#,
        r#"{"a.b":1}"#,
        r#"{"a":[{"b":{}}]}"#,
        r#"{"a":[9007199254740993,1.5]}"#,
        r#"{"a":[[18446744073709551615],[0.5]]}"#,
    ];
    let text: String = kept.iter().chain(&rejected).map(|json| format!("{{\"j\":{json}}}\n")).collect();
    let table = "(j JSON) ENGINE = MergeTree ORDER BY tuple()";
    load(&shim, &place, table, &text, "1000", &["--on-bad-record", "skip"]).code(exit::PARTIAL).says("loaded 6 rows");
    let sql = "SELECT j FROM crm.t FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 0";
    let read: Vec<String> = shim.ask(sql).lines().map(str::to_owned).collect();
    assert_eq!(read, kept.map(|json| format!("{{\"j\":{json}}}")));
}

/// A replacement that was stopped between its statements, and was completed by another loader, takes no rows of later loads.
#[test]
fn a_replacement_that_goes_on_late_leaves_later_rows() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    let url = shim.url();
    shim.ask("CREATE TABLE crm.t (p Int64, v Int64) ENGINE = MergeTree ORDER BY v PARTITION BY p");
    shim.ask("INSERT INTO crm.t VALUES (1, 1), (2, 2)");
    place.write("new.ndjson", "{\"p\":1,\"v\":10}\n");
    place.write("later.ndjson", "{\"p\":2,\"v\":20}\n");
    let replace = ["convert", "new.ndjson", "-o", &url, "--into", "t", "--load", "replace"];
    shim.fault("allow_replace_partition_from_empty_source", 0, "hold-before");
    thread::scope(|scope| {
        let first = scope.spawn(|| place.run(&replace));
        shim.wait_until_held();
        place.run(&replace).ok().says("nothing was changed");
        assert_eq!(shim.ask("SELECT p, v FROM crm.t ORDER BY p"), "1\t10\n");
        place.run(&["convert", "later.ndjson", "-o", &url, "--into", "t"]).ok();
        shim.release();
        first.join().unwrap().ok();
    });
    assert_eq!(shim.ask("SELECT p, v FROM crm.t ORDER BY p"), "1\t10\n2\t20\n");
    assert_eq!(shim.leftovers(), "");
}

/// A server behind a certificate of a CA of one's own, which `SSL_CERT_FILE` names.
#[test]
fn a_server_behind_tls_is_loaded_by_its_own_ca() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let proxy = TlsProxy::start(shim.url().replace("clickhouse://", "http://").trim_end_matches("/crm"));
    let url = format!("{}/crm", proxy.url.replace("https://", "clickhouse+https://"));
    let load = |place: &Place| {
        place.write("in.ndjson", "{\"v\":1}\n");
        place.run(&["convert", "in.ndjson", "-o", &url, "--into", "t"])
    };
    let place = Place::new();
    let pem = place.write("ca.pem", &proxy.certificate).display().to_string();
    load(&place).code(exit::LOAD_REFUSED).says("certificate");
    load(&place.env("SSL_CERT_FILE", &pem)).ok().says("loaded 1 row");
    assert_eq!(shim.ask("SELECT v FROM crm.t"), "1\n");
}

/// A user who may only read, and a column that takes rows in another form, are named before the first row.
#[test]
fn a_user_who_may_not_write_and_nested_columns_are_explained() {
    let Some(shim) = ClickHouseShim::start() else { return };
    let place = Place::new();
    place.write("in.ndjson", "{\"o\":[{\"a\":1}]}\n");
    let url = shim.url();
    let args = ["convert", "in.ndjson", "-o", &url, "--into", "t"];
    let refusal = "Code: 164. DB::Exception: default: Cannot execute query in readonly mode. (READONLY)";
    shim.fault("CREATE TABLE", 0, &format!("refuse {refusal}"));
    place.run(&args).code(exit::LOAD_REFUSED).says("readonly").hints("a user who may write");
    shim.ask("CREATE TABLE crm.t (o Nested(a Int64, b String)) ENGINE = MergeTree ORDER BY tuple()");
    place.run(&args).code(exit::LOAD_REFUSED).says("column `o` is of the type Nested").says("`o.a`, `o.b`");
    place.write("in.ndjson", "{\"o.a\":[1,2],\"o.b\":[\"x\",\"y\"]}\n");
    place.run(&args).ok();
    assert_eq!(shim.ask("SELECT o.a, o.b FROM crm.t"), "[1,2]\t['x','y']\n");
}
