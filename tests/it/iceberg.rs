//! Loads into Iceberg tables of catalogs in SQLite: every row is in the table once, whatever is killed, and readers see the
//! values that the records had.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::Stdio;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::iceberg::{CATALOG, Readers, assert_no_orphans, files};
use crate::support::plans::{self, SeededRng};
use crate::support::{Done, Morsels as _, Place, exit, wait_for};

/// Plans of kills, if all are executed.
const KILLS: u32 = 60;

const PEOPLE: &str = r#"{"id":1,"name":"Ada","score":1.5,"tags":["a",null],"hq":{"lat":1.25,"zip":null},"ok":true,"big":123456789012345678901234567890,"u":18446744073709551615,"n":null,"mixed":"a","country":"NO"}
{"id":2,"name":"B\u0000ø \"q\"\n","score":2,"tags":[],"hq":null,"ok":false,"big":1,"u":0,"n":null,"late":7,"mixed":1,"country":null}
{"id":3,"name":null,"score":-0.5,"tags":null,"hq":{"lat":2,"zip":"0150"},"ok":null,"big":null,"u":1,"n":null,"mixed":{"k":[1]},"country":"ø /=%"}
"#;

fn load(place: &Place, source: &str, table: &str, more: &[&str]) -> Done {
    let args = ["convert", source, "-o", CATALOG, "--into", table];
    place.run(&args.iter().chain(more).copied().collect::<Vec<_>>())
}

/// The files below the directory of a table that end like this.
fn found(place: &Place, table: &str, end: &str) -> BTreeSet<String> {
    let directory = format!("wh/{}", table.replace('.', "/"));
    files(place, &directory).into_iter().filter(|name| name.ends_with(end)).collect()
}

#[test]
fn a_new_table_gets_types_and_rows_once() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("people.ndjson", PEOPLE);
    let done = load(&place, "people.ndjson", "crm.people", &[]).ok();
    done.says("loaded 3 rows into crm.people of iceberg+sqlite:c.db").says("created the table").quiet();
    assert_eq!(
        readers.columns(&place, "crm.people"),
        [
            "id long",
            "name string",
            "score double",
            "tags list<string>",
            "hq struct<14: lat: optional double, 15: zip: optional string>",
            "ok boolean",
            "big decimal(38, 0)",
            "u decimal(38, 0)",
            "n string",
            "mixed string",
            "country string",
            "late long",
        ]
    );
    // The same rows do nothing.
    load(&place, "people.ndjson", "crm.people", &[]).ok().says("loaded on 20").says("nothing was changed");
    let state = readers.state(&place, "crm.people");
    assert_eq!((state.snapshots, state.keys.len(), state.loads, state.rows, &*state.total), (1, 1, 1, 3, "3"));
    assert_eq!(found(&place, "crm.people", ".parquet").len(), 1, "the files of loads that were not made are removed");
    let listed = place.run(&["loads", "ls", "-o", CATALOG, "-o", "ndjson"]).ok().records();
    assert_eq!((listed.len(), &listed[0]["rows"], &listed[0]["state"]), (1, &json!(3), &json!("loaded")));
    assert_eq!(listed[0]["table"], "crm.people");
    // A key that is known first ends the load before it reads a row.
    let keyed = ["--load-key", "k1"];
    load(&place, "people.ndjson", "crm.keyed", &keyed).ok().says("loaded 3 rows");
    load(&place, "people.ndjson", "crm.keyed", &keyed).ok().says("nothing was changed");

    let expected = [
        json!({"id": 1, "name": "Ada", "score": 1.5, "tags": ["a", null], "hq": {"lat": 1.25, "zip": null}, "ok": true,
            "big": {"decimal": "123456789012345678901234567890"}, "u": {"decimal": "18446744073709551615"}, "n": null,
            "mixed": "\"a\"", "country": "NO", "late": null}),
        json!({"id": 2, "name": "B\0ø \"q\"\n", "score": 2.0, "tags": [], "hq": null, "ok": false,
            "big": {"decimal": "1"}, "u": {"decimal": "0"}, "n": null, "mixed": "1", "country": null, "late": 7}),
        json!({"id": 3, "name": null, "score": -0.5, "tags": null, "hq": {"lat": 2.0, "zip": "0150"}, "ok": null,
            "big": null, "u": {"decimal": "1"}, "n": null, "mixed": "{\"k\":[1]}", "country": "ø /=%", "late": null}),
    ];
    assert_eq!(readers.rows(&place, "crm.people"), expected);
    load(&place, "people.ndjson", "crm.divided", &["--partition-by", "country", "--max-file-rows", "1"]).ok();
    assert_eq!(readers.rows(&place, "crm.divided"), expected);
    assert_eq!(readers.state(&place, "crm.divided").files.len(), 3);
    // Filters read the files whose partition or bounds allow it.
    let filter = |expression: &str| readers.filter(&place, "crm.divided", expression);
    assert_eq!(filter("country == 'NO'"), json!({"ids": [1], "files": 1}));
    assert_eq!(filter("country is null"), json!({"ids": [2], "files": 1}));
    assert_eq!(filter("id > 2"), json!({"ids": [3], "files": 1}));
    assert_eq!(filter("late is not null"), json!({"ids": [2], "files": 1}));
    assert_eq!(filter("score < 0"), json!({"ids": [3], "files": 1}));
}

/// Times, decimals, maps and nested lists, as columns and as partitions, through two readers.
#[test]
fn values_of_every_type_are_read_back() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    let keys: String = (0..60).map(|i| format!("\"k{i}\":{i},")).collect();
    let first = r#"{"id":1,"d":"2024-02-29","at":"2024-01-31T12:00:00.123456+02:00","local":"1969-12-31T23:59:59.5","ms":"2024-01-31T12:00:00.5Z","price":"-1.50","deep":[[1,null],[]],"m":{"x":1},"int":9007199254740993,"flag":true}"#;
    let second = format!(
        r#"{{"id":2,"d":null,"at":null,"local":null,"ms":null,"price":null,"deep":null,"m":{{{keys}"x":null}},"int":-1,"flag":null}}"#
    );
    let text = format!("{first}\n{second}\n");
    place.write("in.ndjson", text);
    let casts = ["d:date", "at:timestamp", "local:timestamp(us,local)", "ms:timestamp(ms)", "price:decimal(10,2)"];
    let flags: Vec<&str> = casts.iter().flat_map(|cast| ["--cast", *cast]).collect();
    let expected = [
        json!({"id": 1, "d": "2024-02-29", "at": "2024-01-31T10:00:00.123456Z", "local": "1969-12-31T23:59:59.500000",
            "ms": "2024-01-31T12:00:00.500000Z", "price": {"decimal": "-1.50"}, "deep": [[1, null], []], "flag": true,
            "int": 9_007_199_254_740_993_i64}),
        json!({"id": 2, "d": null, "at": null, "local": null, "ms": null, "price": null, "deep": null, "flag": null, "int": -1}),
    ];
    for (i, by) in ["", "d", "at", "local", "ms", "price", "flag", "int"].iter().enumerate() {
        let table = format!("crm.t{i}");
        let partition = ["--partition-by", by];
        let more: Vec<&str> = flags.iter().chain(if by.is_empty() { &[][..] } else { &partition }).copied().collect();
        load(&place, "in.ndjson", &table, &more).ok();
        let mut rows = readers.rows(&place, &table);
        let m = rows.iter_mut().map(|row| row.as_object_mut().unwrap().remove("m").unwrap()).collect::<Vec<_>>();
        assert_eq!(rows, expected, "by {by}");
        assert_eq!((&m[0]["x"], &m[1]["k59"], &m[1]["x"]), (&json!(1), &json!(59), &Value::Null), "by {by}");
        let id = match *by {
            "price" => "price == -1.50",
            "flag" => "flag == true",
            "int" => "int == 9007199254740993",
            "d" => "d == '2024-02-29'",
            "at" => "at == '2024-01-31T10:00:00.123456+00:00'",
            "ms" => "ms == '2024-01-31T12:00:00.500000+00:00'",
            "local" => "local == '1969-12-31T23:59:59.500000'",
            _ => "id == 1",
        };
        assert_eq!(readers.filter(&place, &table, id)["ids"], json!([1]), "by {by}");
    }
    // Nanoseconds would be cut.
    let done = load(&place, "in.ndjson", "crm.ns", &["--cast", "at:timestamp(ns)"]);
    done.code(exit::LOAD_REFUSED).says("microseconds").says("`at`");
    assert!(files(&place, "wh/crm/ns").is_empty());
}

#[test]
fn late_columns_and_wider_types_are_in_the_same_snapshot() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    let early = "{\"id\":1,\"v\":1}\n".repeat(2000);
    place.write("in.ndjson", format!("{early}{{\"id\":2,\"v\":2.5,\"late\":{{\"k\":[true]}}}}\n"));
    let mut command = place.command(&["convert", "in.ndjson", "-o", CATALOG, "--into", "a.b.t"]);
    command.morsels("1KiB");
    Done::of(command).ok();
    place.write("more.ndjson", "{\"id\":3,\"v\":7,\"late\":{\"k\":[],\"z\":\"x\"},\"new\":\"n\"}\n");
    let args = ["convert", "more.ndjson", "-o", CATALOG, "--into", "a.b.t"];
    place.run(&args).ok().says("added the columns `late.z`, `new`");
    let state = readers.state(&place, "a.b.t");
    assert_eq!((state.snapshots, state.rows, &*state.total), (2, 2002, "2002"));
    let rows = readers.rows(&place, "a.b.t");
    assert_eq!(rows.last().unwrap(), &json!({"id": 3, "v": 7.0, "late": {"k": [], "z": "x"}, "new": "n"}));
    assert_eq!(rows[2000], json!({"id": 2, "v": 2.5, "late": {"k": [true], "z": null}, "new": null}));
    // A column that does not fit is named before the first row, a value is a bad record.
    place.write("text.ndjson", "{\"id\":\"x\",\"v\":\"y\"}\n");
    let args = ["convert", "text.ndjson", "-o", CATALOG, "--into", "a.b.t"];
    let done = place.run(&args).code(exit::LOAD_REFUSED);
    done.says("column `id` has text, and the table has long").says("column `v` has text, and the table has double");
    let tail = "{\"id\":5,\"v\":1}\n".repeat(2000);
    place.write("tail.ndjson", format!("{tail}{{\"id\":\"x\"}}\n{{\"id\":6.5}}\n{{\"id\":7.0}}\n"));
    let args = ["convert", "tail.ndjson", "-o", CATALOG, "--into", "a.b.t", "--schema-from", "sample"];
    let mut command = place.command(&[&args[..], &["--on-bad-record", "skip"]].concat());
    command.morsels("1KiB");
    Done::of(command).code(exit::PARTIAL).says("2 rejected");
    assert_eq!(readers.state(&place, "a.b.t").rows, 4003);
    // Under a fixed schema the table stays as it is.
    place.write("new.ndjson", "{\"id\":9,\"unheard\":1}\n");
    let args = ["convert", "new.ndjson", "-o", CATALOG, "--into", "a.b.t", "--schema-policy", "freeze"];
    place.run(&args).code(exit::BAD_DATA).says("`unheard`").says("no such column");
}

/// The first values of a column without any decide what its text is.
#[test]
fn a_column_of_nulls_takes_what_comes() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1,\"n\":null,\"t\":null,\"o\":{},\"l\":[]}\n");
    place.write("b.ndjson", "{\"id\":2,\"n\":5,\"t\":\"x\",\"o\":{\"k\":1},\"l\":[1]}\n");
    place.write("c.ndjson", "{\"id\":3,\"n\":\"a\",\"t\":\"y\",\"o\":null,\"l\":null}\n");
    for source in ["a.ndjson", "b.ndjson", "c.ndjson"] {
        load(&place, source, "crm.t", &[]).ok();
    }
    let rows = readers.rows(&place, "crm.t");
    let values = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(values("n"), [Value::Null, json!("5"), json!("\"a\"")]);
    assert_eq!(values("t"), [Value::Null, json!("x"), json!("y")]);
    assert_eq!(values("o"), [json!("{}"), json!("{\"k\":1}"), Value::Null]);
    assert_eq!(values("l"), [json!([]), json!(["1"]), Value::Null]);
}

/// Text of values of several types stays JSON text in later loads.
#[test]
fn columns_of_several_types_stay_json() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1,\"v\":\"a\",\"l\":[1,\"x\"]}\n{\"id\":2,\"v\":2,\"l\":[]}\n");
    place.write("b.ndjson", "{\"id\":3,\"v\":\"b\",\"l\":[\"y\"]}\n");
    load(&place, "a.ndjson", "crm.t", &[]).ok();
    load(&place, "b.ndjson", "crm.t", &[]).ok();
    let rows = readers.rows(&place, "crm.t");
    let values: Vec<&Value> = rows.iter().map(|row| &row["v"]).collect();
    assert_eq!(values, [&json!("\"a\""), &json!("2"), &json!("\"b\"")]);
    assert_eq!(rows[2]["l"], json!(["\"y\""]));
}

#[test]
fn tables_of_others_are_honoured_or_refused_by_name() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    let row = r#"{"id":3,"name":"c","i":3000000000,"f":0.1,"price":"12345678901.25","country":"SE","l":[{"x":2,"y":"z"}],"new":true}"#;
    place.write("in.ndjson", format!("{row}\n"));
    let wide = ["--cast", "price:decimal(13,2)"];
    let expected = json!({"id": 3, "name": "c", "i": 3_000_000_000_i64, "f": 0.1, "price": {"decimal": "12345678901.25"},
        "at": null, "country": "SE", "l": [{"x": 2, "y": "z"}], "raw": null, "new": true});
    for kind in ["plain", "divided", "empty", "deletes", "gzip"] {
        let table = format!("crm.{kind}");
        readers.make(&place, &table, kind);
        let before = readers.rows(&place, &table);
        let done = load(&place, "in.ndjson", &table, &wide).ok();
        done.says("added the columns `l.y`, `new`")
            .says("widened `i` from int to long, `f` from float to double, `price` from decimal(10, 2) to decimal(13, 2), `l.x` from int to long");
        load(&place, "in.ndjson", &table, &wide).ok().says("nothing was changed");
        let rows = readers.rows(&place, &table);
        assert_eq!(rows.len(), before.len() + 1, "{table}");
        assert_eq!(rows.last().unwrap(), &expected, "{table}");
        if let Some(first) = before.first() {
            assert_eq!((&rows[0]["i"], &rows[0]["f"], &rows[0]["price"]), (&first["i"], &first["f"], &first["price"]));
        }
        // Another writer goes on from ours.
        readers.change(&place, &["append", &table, "9"]);
        assert_eq!(readers.state(&place, &table).rows, before.len() as u64 + 2, "{table}");
        load(&place, "in.ndjson", &table, &wide).ok().says("nothing was changed");
        assert_no_orphans(&readers, &place, CATALOG, &table);
    }
    // What is null, or not there, widens nothing.
    readers.make(&place, "crm.narrow", "plain");
    place.write("nulls.ndjson", "{\"id\":4,\"i\":null,\"raw\":null}\n");
    load(&place, "nulls.ndjson", "crm.narrow", &[]).ok().quiet();
    assert!(readers.columns(&place, "crm.narrow").contains(&"i int".to_owned()));
    let done = load(&place, "in.ndjson", "crm.narrow", &["--schema-policy", "freeze"]).code(exit::LOAD_REFUSED);
    done.says("column `i` has integers, and the table has int");
    place.write("raw.ndjson", "{\"id\":3,\"raw\":\"x\",\"Name\":\"y\"}\n");
    let done = load(&place, "raw.ndjson", "crm.narrow", &[]).code(exit::LOAD_REFUSED);
    done.says("column `raw` has text, and the table has binary, which drawoff does not write")
        .says("the table has `name`, and Iceberg ignores case");

    // The key is found without its snapshot, and without its property.
    load(&place, "in.ndjson", "crm.narrow", &["--load-key", "k"]).code(exit::LOAD_REFUSED);
    load(&place, "nulls.ndjson", "crm.narrow", &["--load-key", "k"]).ok();
    readers.change(&place, &["append", "crm.narrow", "9"]);
    readers.change(&place, &["expire", "crm.narrow"]);
    load(&place, "nulls.ndjson", "crm.narrow", &[]).ok().says("nothing was changed");
    load(&place, "nulls.ndjson", "crm.narrow", &["--load-key", "k"]).ok().says("nothing was changed");
    load(&place, "nulls.ndjson", "crm.narrow", &["--load-key", "k2"]).ok().says("loaded 1 row");
    readers.change(&place, &["forget", "crm.narrow"]);
    load(&place, "nulls.ndjson", "crm.narrow", &["--load-key", "k2"]).ok().says("nothing was changed");

    readers.make(&place, "crm.required", "required");
    place.write("null.ndjson", "{\"id\":null,\"name\":\"x\"}\n{\"id\":5,\"name\":null}\n");
    load(&place, "null.ndjson", "crm.required", &["--on-bad-record", "skip"]).code(exit::PARTIAL).says("1 rejected");
    place.write("name.ndjson", "{\"name\":\"x\"}\n");
    load(&place, "name.ndjson", "crm.required", &[]).code(exit::LOAD_REFUSED).says("column `id` takes no null");
    readers.make(&place, "crm.bucket", "bucket");
    load(&place, "in.ndjson", "crm.bucket", &[])
        .code(exit::LOAD_REFUSED)
        .says("divided by bucket[4] of `id_bucket`")
        .hints("new table");
    readers.make(&place, "crm.v1", "v1");
    load(&place, "in.ndjson", "crm.v1", &[]).code(exit::LOAD_REFUSED).says("format version 1").hints("upgrade");
    load(&place, "in.ndjson", "crm.divided", &["--partition-by", "name"])
        .code(exit::USAGE)
        .says("divided by `country`");
}

#[test]
fn modes_and_urls_that_do_not_fit_are_refused_before_the_first_row() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    let refused = |more: &[&str]| load(&place, "a.ndjson", "crm.t", more).code(exit::USAGE);
    refused(&["--load", "replace"]).says("replaces no rows").hints("DELETE FROM");
    refused(&["--load", "merge", "--key", "id"]).says("not merged by key").hints("MERGE INTO");
    refused(&["--again", "--load-key", "k"]).says("replaces no rows of an earlier load");
    refused(&["--load-column", "k"]).says("no column is needed");
    refused(&["--commit-every", "1", "--load-key", "x"]).says("a load is one snapshot");
    refused(&["--to", "csv"]).says("`--to` cannot apply");
    load(&place, "a.ndjson", "t", &[])
        .code(exit::USAGE)
        .says("not the name of an Iceberg table")
        .hints("crm.companies");
    place.run_line("convert a.ndjson -o iceberg+sqlite:c.db").code(exit::USAGE).says("no table is specified");
    let done = place.run_line("convert a.ndjson -o iceberg+sqlite:c.db --into crm.t").code(exit::USAGE);
    done.says("no place for its files").hints("?warehouse=");
    place.run_line("convert a.ndjson -o iceberg+sqlite: --into a.b").code(exit::USAGE).says("names no file");
    place.run_line("convert a.ndjson -o iceberg+ftp://x --into a.b").code(exit::USAGE).says("begins with none of");
    place.run(&["loads", "gc", CATALOG]).code(exit::USAGE).says("no table is specified");
    place.write("case.ndjson", "{\"id\":1,\"Id\":2}\n");
    load(&place, "case.ndjson", "crm.t", &[]).code(exit::LOAD_REFUSED).says("differs only in case");
    place.write("none.ndjson", "");
    load(&place, "none.ndjson", "crm.t", &[]).code(exit::USAGE).says("no column is known");
    assert!(!place.path("c.db").exists() && files(&place, "wh").is_empty());
    place.write("people.ndjson", PEOPLE);
    let done = place.run_line("schema people.ndjson --format ddl:iceberg --into crm.people").ok();
    let text = done.text();
    assert!(text.starts_with("CREATE TABLE `crm`.`people` (\n  `id` BIGINT,\n  `name` STRING,\n"), "{text}");
    assert!(
        text.contains("  `hq` STRUCT<`lat`: DOUBLE, `zip`: STRING>,\n") && text.contains(") USING iceberg"),
        "{text}"
    );
}

/// A load without rows leaves a table that readers read, and that the next load goes on from.
#[test]
fn a_load_without_rows_is_a_load() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1}\n");
    let none = ["--where", "id > 1"];
    load(&place, "a.ndjson", "crm.t", &none).ok().says("loaded 0 rows");
    assert!(readers.rows(&place, "crm.t").is_empty());
    load(&place, "a.ndjson", "crm.t", &none).ok().says("nothing was changed");
    load(&place, "a.ndjson", "crm.t", &[]).ok().says("loaded 1 row");
    assert_eq!(readers.rows(&place, "crm.t"), [json!({"id": 1})]);
}

/// Killed with all files written, before the row of the catalog changes: no reader sees them, and they are removed.
#[test]
fn rows_that_a_kill_left_before_the_commit_are_loaded_once_and_their_files_removed() {
    let Some(readers) = Readers::find() else { return };
    for with_another in [false, true] {
        let place = Place::new();
        place.write("old.ndjson", "{\"id\":0}\n");
        load(&place, "old.ndjson", "crm.t", &[]).ok();
        let before = files(&place, "wh");
        place.write("people.ndjson", PEOPLE);
        // Readers are let in, writers wait.
        let lock = readers.lock(&place);
        let start = || {
            let mut command = place.command(&["convert", "people.ndjson", "-o", CATALOG, "--into", "crm.t"]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let mut killed = start();
        wait_for("its metadata", || (found(&place, "crm.t", ".metadata.json").len() == 2).then_some(()));
        let another = with_another.then(start);
        if with_another {
            wait_for("the metadata of the other", || {
                (found(&place, "crm.t", ".metadata.json").len() == 3).then_some(())
            });
        }
        // Files of loads that are running are kept, whatever their age.
        let done = place.run(&["loads", "gc", CATALOG, "--into", "crm.t", "--older-than", "0s"]).ok();
        done.says("removed 0 files").says(if with_another { "kept 8 files" } else { "kept 4 files" });
        killed.kill().unwrap();
        killed.wait().unwrap();
        drop(lock);
        if let Some(mut another) = another {
            assert!(another.wait().unwrap().success());
        }
        let state = readers.state(&place, "crm.t");
        assert_eq!((state.rows, state.loads), if with_another { (4, 2) } else { (1, 1) });
        load(&place, "people.ndjson", "crm.t", &[]).ok();
        load(&place, "people.ndjson", "crm.t", &[]).ok().says("nothing was changed");
        let state = readers.state(&place, "crm.t");
        assert_eq!((state.rows, state.loads, state.keys.len()), (4, 2, 2));
        // Young files may be those of a load that is running elsewhere.
        place.run(&["loads", "gc", CATALOG, "--into", "crm.t"]).ok().says("removed 0 files").says("kept 4 files");
        let done = place.run(&["loads", "gc", CATALOG, "--into", "crm.t", "--older-than", "0s", "--dry-run"]);
        done.ok().says("would remove 4 files");
        place.write("wh/crm/t/data/mine.parquet", "not of a load");
        let done = place.run(&["loads", "gc", CATALOG, "--into", "crm.t", "--older-than", "0s"]);
        assert_eq!(done.ok().says("removed 4 files").text().lines().count(), 4);
        std::fs::remove_file(place.path("wh/crm/t/data/mine.parquet")).unwrap();
        assert_no_orphans(&readers, &place, CATALOG, "crm.t");
        assert!(before.iter().all(|name| place.path(name).exists()));
    }
}

/// Killed at drawn moments, alone or two at once: the same command loads what is not there, and nothing is left over.
#[test]
fn rows_are_there_once_after_every_kill() {
    let Some(readers) = Readers::find() else { return };
    let mut rng = SeededRng::new(plans::seed());
    let place = Place::new();
    let rows = 20_000;
    let text: String = (0..rows)
        .map(|id| match id > rows / 2 {
            true => format!("{{\"id\":{id},\"v\":\"s{id}\",\"late\":{id},\"p\":{}}}\n", id % 3),
            false => format!("{{\"id\":{id},\"v\":{id},\"p\":{}}}\n", id % 3),
        })
        .collect();
    place.write("in.ndjson", &text);
    let modes: [&[&str]; 3] = [&["--max-file-rows", "3000"], &["--load-key", "k"], &["--partition-by", "p"]];
    let start = Instant::now();
    load(&place, "in.ndjson", "crm.warm", &[]).ok();
    let whole = start.elapsed();
    let mut killed = 0;
    for plan in 0..plans::count(KILLS) {
        let table = format!("crm.p{plan}");
        let args = ["convert", "in.ndjson", "-o", CATALOG, "--into", &table];
        let args = [&args[..], modes[plan as usize % modes.len()]].concat();
        let start = || {
            let mut command = place.command(&args);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let mut children = vec![start()];
        if plan % 2 == 1 {
            children.push(start());
        }
        thread::sleep(whole.mul_f64(rng.fraction() * 1.2));
        for child in &mut children {
            killed += u32::from(child.try_wait().unwrap().is_none());
            let _ = child.kill();
            child.wait().unwrap();
        }
        place.run(&args).ok();
        place.run(&args).ok().says("nothing was changed");
        let found = readers.rows(&place, &table);
        let ids: BTreeSet<i64> = found.iter().map(|row| row["id"].as_i64().unwrap()).collect();
        assert_eq!((found.len(), ids.len()), (rows, rows), "plan {plan}: {args:?}");
        assert_eq!(readers.state(&place, &table).loads, 1, "plan {plan}: {args:?}");
        assert_no_orphans(&readers, &place, CATALOG, &table);
    }
    assert!(killed > 0, "no plan killed a load");
}

/// One whose commit another has come before looks for its key again: the same rows are there once, other rows in snapshots
/// of their own, and late columns of several loads in one schema.
#[test]
fn loaders_at_once_load_each_key_once() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    let rows: String = (0..500).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    place.write("a.ndjson", &rows);
    place.write("b.ndjson", rows.replace('}', ",\"other\":\"x\"}"));
    place.write("c.ndjson", rows.replace('}', ",\"other\":\"y\",\"third\":1}"));
    let children: Vec<_> = (0..9)
        .map(|i| {
            let source = ["a.ndjson", "b.ndjson", "c.ndjson"][i % 3];
            let command = ["convert", source, "-o", CATALOG, "--into", "crm.t"];
            let spawned = place.command(&command).spawn().unwrap();
            (format!("{command:?}"), spawned)
        })
        .collect();
    let outcomes: Vec<Done> = children.into_iter().map(|(what, child)| Done::of_child(what, child).ok()).collect();
    let loaded = outcomes.iter().filter(|done| done.stderr.contains("loaded 500 rows")).count();
    let there = outcomes.iter().filter(|done| done.stderr.contains("loaded on 20")).count();
    assert_eq!((loaded, there), (3, 6));
    let state = readers.state(&place, "crm.t");
    assert_eq!((state.rows, state.loads, state.snapshots, &*state.total), (1500, 3, 3, "1500"));
    assert_eq!(readers.columns(&place, "crm.t"), ["id long", "other string", "third long"]);
    assert_eq!(readers.rows(&place, "crm.t").len(), 1500);
    assert_eq!(found(&place, "crm.t", ".parquet").len(), 3, "those that were not taken are removed");
    let metadata = files(&place, "wh/crm/t/metadata");
    assert_eq!(metadata, state.metadata, "metadata that was not taken is removed");
}

/// The files of a table in a store, each killed or dropped request included.
#[cfg(feature = "object-store")]
#[test]
fn a_table_in_a_store_gets_rows_once() {
    use crate::support::s3::{Act, FakeS3};
    use std::sync::atomic::{AtomicUsize, Ordering};

    const STORE: &str = "iceberg+sqlite:c.db?warehouse=s3://b/lake";
    const LOAD: [&str; 6] = ["convert", "in.ndjson", "-o", STORE, "--into", "crm.t"];
    let points = [".parquet", "-m0.avro", "snap-", ".metadata.json"];
    for (point, kill) in points.iter().flat_map(|point| [(*point, false), (*point, true)]) {
        let seen = AtomicUsize::new(0);
        let store = FakeS3::start(move |asked| {
            let is_point = matches!(asked.what, "put" | "begin") && asked.key.contains(point);
            match is_point && seen.fetch_add(1, Ordering::Relaxed) == 0 {
                true if kill => Act::DoAndHang,
                true => Act::DoAndDrop,
                false => Act::Do,
            }
        });
        let place = store.place();
        place.write("in.ndjson", "{\"id\":1,\"c\":\"NO\"}\n{\"id\":2,\"c\":\"a b\"}\n");
        if kill {
            let mut child = place.command(&LOAD).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            wait_for(point, || store.keys().iter().any(|key| key.contains(point)).then_some(()));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        place.run(&LOAD).ok().says("loaded 2 rows").says("created the table");
        place.run(&LOAD).ok().says("nothing was changed");
        place.run(&["loads", "gc", STORE, "--into", "crm.t", "--older-than", "0s"]).ok();
        let keys = store.keys();
        let count = |end: &str| keys.iter().filter(|key| key.contains(end)).count();
        assert_eq!([count(".parquet"), count("-m0.avro"), count("snap-"), count(".metadata.json")], [1; 4], "{keys:?}");
        assert_eq!(keys.len(), 4, "{keys:?}");
        let data = keys.iter().find(|key| key.ends_with(".parquet")).unwrap();
        assert!(data.starts_with("lake/crm/t/data/drawoff-"), "{data}");
        let rows = crate::support::rows::parquet(store.object(data).unwrap());
        assert_eq!(rows, [json!({"id": 1, "c": "NO"}), json!({"id": 2, "c": "a b"})]);
        assert_eq!(store.open_uploads(), 0);
    }
}

/// Two loads whose new columns would get the same id: the table gets one of them, and the other ends with the advice to
/// repeat it.
#[test]
fn another_column_of_the_same_id_is_noticed() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1}\n");
    load(&place, "a.ndjson", "crm.t", &[]).ok();
    let mut command = place.command(&["convert", "-", "--from", "ndjson", "-o", CATALOG, "--into", "crm.t"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all("{\"id\":2,\"mine\":1}\n".repeat(700_000).as_bytes()).unwrap();
    wait_for("its place", || {
        files(&place, "wh/crm/t/data").iter().any(|name| name.contains("/attempt.")).then_some(())
    });
    place.write("b.ndjson", "{\"id\":3,\"theirs\":\"x\"}\n");
    load(&place, "b.ndjson", "crm.t", &[]).ok();
    drop(stdin);
    let done = Done::of_child("the first".to_owned(), child);
    assert!(done.code != 0 && done.stderr.contains("changed its columns meanwhile"), "{}", done.stderr);
    assert_eq!(readers.state(&place, "crm.t").rows, 2);
    assert_no_orphans(&readers, &place, CATALOG, "crm.t");
}
