//! Iceberg tables that others have made or changed, and kills of loads at named points.

use std::io::Write as _;
use std::process::{Child, Stdio};

use serde_json::json;

use crate::support::iceberg::{CATALOG, Readers, assert_no_orphans, files};
use crate::support::{Done, Place, exit, wait_for};

fn load(place: &Place, source: &str, table: &str, more: &[&str]) -> Done {
    let args = ["convert", source, "-o", CATALOG, "--into", table];
    place.run(&args.iter().chain(more).copied().collect::<Vec<_>>())
}

/// A number is judged by itself, and members of objects that are null are in the map of the table.
#[test]
fn numbers_and_maps_of_a_table_keep_what_the_records_have() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    readers.make(&place, "crm.t", "maps");
    place.write("in.ndjson", "{\"id\":2.0,\"m\":{\"a\":null,\"b\":2}}\n{\"id\":2.5,\"m\":{}}\n");
    load(&place, "in.ndjson", "crm.t", &[]).code(exit::BAD_DATA).says("the table has long");
    load(&place, "in.ndjson", "crm.t", &["--on-bad-record", "skip"]).code(exit::PARTIAL).says("1 rejected");
    let rows = readers.rows(&place, "crm.t");
    assert_eq!(rows[1], json!({"id": 2, "m": {"a": null, "b": 2}}));
}

#[test]
fn rows_that_another_engine_removed_are_said_to_be_gone() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    load(&place, "a.ndjson", "crm.t", &[]).ok();
    readers.change(&place, &["empty", "crm.t"]);
    let done = load(&place, "a.ndjson", "crm.t", &[]).ok();
    done.says("loaded on 20").says("the table has no rows now").says("`--load-key`");
    load(&place, "a.ndjson", "crm.t", &["--load-key", "more"]).ok().says("loaded 2 rows");
    assert_eq!(readers.rows(&place, "crm.t").len(), 2);
    let missing = |command: &str| {
        let done = place.run(&["loads", command, CATALOG, "--into", "crm.none"]).code(exit::LOAD_REFUSED);
        done.says("the catalog has no such table").hints("crm.companies");
    };
    missing("ls");
    missing("gc");
}

/// A table made from the printed statement takes mixed values as JSON text: the catalog numbers the fields as the statement
/// expects.
#[test]
fn the_printed_statement_says_what_text_is() {
    let place = Place::new();
    place.write("in.ndjson", "{\"id\":1,\"o\":{\"x\":1,\"w\":\"a\"}}\n{\"id\":2,\"o\":{\"x\":2,\"w\":[1]}}\n");
    let done = place.run_line("schema in.ndjson --format ddl:iceberg --into crm.t").ok();
    assert!(done.text().contains("'drawoff.text-forms' = '4:json'"), "{}", done.text());
}

/// A table that was renamed keeps its files, whatever is made in its place and removed there.
#[test]
fn files_of_another_table_in_the_same_place_are_kept() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    place.write("b.ndjson", "{\"id\":3}\n");
    let gc = |catalog: &str, table: &str| {
        place.run(&["loads", "gc", catalog, "--into", table, "--older-than", "0s"]).ok().says("removed 0 files")
    };
    load(&place, "a.ndjson", "crm.t", &[]).ok();
    readers.change(&place, &["rename", "crm.t", "crm.old"]);
    load(&place, "b.ndjson", "crm.t", &[]).ok().says("created the table");
    // Another catalog file, with the same directory.
    let other = "iceberg+sqlite:d.db?warehouse=wh";
    place.run(&["convert", "b.ndjson", "-o", other, "--into", "crm.t"]).ok().says("created the table");
    for (catalog, table) in [(CATALOG, "crm.t"), (CATALOG, "crm.old"), (other, "crm.t")] {
        gc(catalog, table);
    }
    assert_eq!((readers.rows(&place, "crm.old").len(), readers.rows(&place, "crm.t").len()), (2, 1));
    // Two tables that are in one place all the same, as older versions made them.
    let shared = |to: &str| std::fs::copy(place.path("c.db"), place.path(to)).unwrap();
    shared("copy.db");
    let copy = "iceberg+sqlite:copy.db?warehouse=wh";
    place.run(&["convert", "b.ndjson", "-o", copy, "--into", "crm.old"]).ok().says("loaded 1 row");
    let metadata = files(&place, "wh/crm/t/metadata").into_iter().filter(|name| name.ends_with(".metadata.json"));
    for name in metadata {
        let text = std::fs::read_to_string(place.path(&name)).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        if json["snapshots"].as_array().unwrap().len() == 2 {
            json["table-uuid"] = "11111111-2222-4333-8444-555555555555".into();
            std::fs::write(place.path(&name), json.to_string()).unwrap();
        }
    }
    gc(CATALOG, "crm.old");
}

/// A directory of its own for each table does not keep a killed creation from being removed: the catalog knows it.
#[test]
fn what_a_killed_creation_left_is_removed() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1}\n");
    load(&place, "a.ndjson", "crm.first", &[]).ok();
    load(&place, "a.ndjson", "crm.t", &[]).ok();
    // As if the row had not been written: a kill between the metadata and the catalog.
    readers.change(&place, &["unmake", "crm.t"]);
    load(&place, "a.ndjson", "crm.t", &[]).ok().says("created the table");
    assert_eq!(found(&place, "metadata", ".metadata.json").len(), 2, "it is in its own place");
    assert_no_orphans(&readers, &place, CATALOG, "crm.t");
}

#[test]
fn names_that_readers_cannot_tell_apart_are_refused() {
    let place = Place::new();
    let refused = |rows: &str, more: &[&str], code: i32| {
        place.write("in.ndjson", rows);
        load(&place, "in.ndjson", "crm.t", more).code(code)
    };
    for rows in ["{\"a\":{\"b\":1},\"a.b\":2}\n", "{\"l\":[1],\"l.element\":2}\n"] {
        refused(rows, &[], exit::LOAD_REFUSED).says("two fields are named `").hints("rename");
    }
    let by = "{\"id\":1,\"é\":\"x\",\"_xE9\":\"y\"}\n";
    refused(by, &["--partition-by", "é,_xE9"], exit::USAGE).says("have one name in manifests");
    refused(by, &["--partition-by", "é"], exit::SUCCESS).says("loaded 1 row");
    refused("{\"id\":[\"x\"]}\n", &[], exit::LOAD_REFUSED).says("column `id` has lists, and the table has long");
    assert_eq!(found(&place, "data", ".parquet").len(), 1);
    let Some(readers) = Readers::find() else { return };
    readers.make(&place, "crm.divided", "divided");
    place.write("where.ndjson", "{\"id\":3,\"where\":\"x\"}\n");
    let done = load(&place, "where.ndjson", "crm.divided", &[]).code(exit::LOAD_REFUSED);
    done.says("`where` has the name of a partition field");
    place.write("l.ndjson", "{\"id\":3,\"l\":[{\"x\":\"text\"}]}\n");
    let done = load(&place, "l.ndjson", "crm.divided", &[]).code(exit::LOAD_REFUSED);
    done.says("has text in `l[].x`, and the table has integers there");
}

/// Values that divide a table are in its files, too: filters that exclude a value do not keep nulls. Doubles, which a reader
/// takes for floats, divide no new table, and are whole in one of others.
#[test]
fn values_that_divide_a_table_are_in_its_files() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    let rows =
        "{\"id\":1,\"d\":0.1,\"c\":\"NO\"}\n{\"id\":2,\"d\":1e300,\"c\":null}\n{\"id\":3,\"d\":null,\"c\":\"SE\"}\n";
    place.write("in.ndjson", rows);
    for by in ["d", "id,d"] {
        let done = load(&place, "in.ndjson", "crm.no", &["--partition-by", by]).code(exit::LOAD_REFUSED);
        done.says("column `d` has doubles");
    }
    assert!(files(&place, "wh").is_empty());
    readers.make(&place, "crm.doubles", "doubles");
    load(&place, "in.ndjson", "crm.doubles", &[]).ok();
    place.write("nulls.ndjson", "{\"id\":9,\"d\":null,\"c\":null}\n");
    let more: [(&str, &[&str]); 2] = [("crm.c", &["--partition-by", "c"]), ("crm.all", &["--partition-by", "id,c"])];
    for (table, by) in more {
        load(&place, "in.ndjson", table, by).ok();
        // A later load whose rows have only nulls there.
        load(&place, "nulls.ndjson", table, &[]).ok();
        assert_eq!(readers.filter(&place, table, "c != 'NO'")["ids"], json!([3]), "{table}");
        assert_eq!(readers.filter(&place, table, "c == 'NO'"), json!({"ids": [1], "files": 1}), "{table}");
        assert_eq!(readers.rows(&place, table).len(), 4);
    }
    for table in ["crm.doubles", "crm.c", "crm.all"] {
        let values: Vec<serde_json::Value> =
            readers.rows(&place, table).iter().take(3).map(|row| row["d"].clone()).collect();
        assert_eq!(values, [json!(0.1), json!(1e300), serde_json::Value::Null], "{table}");
    }
}

#[test]
fn files_that_are_no_catalog_are_refused() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1}\n");
    for command in ["ls", "gc"] {
        let args = ["loads", command, "iceberg+sqlite:typo.db", "--into", "crm.t"];
        place.run(&args).code(exit::LOAD_REFUSED).says("there is no file typo.db");
    }
    place.run(&["loads", "ls", "iceberg+sqlite:typo.db"]).code(exit::LOAD_REFUSED).says("there is no file typo.db");
    assert!(!place.path("typo.db").exists());
    readers.change(&place, &["other", "other.db"]);
    let done = place.run(&["convert", "a.ndjson", "-o", "iceberg+sqlite:other.db?warehouse=wh", "--into", "crm.t"]);
    done.code(exit::LOAD_REFUSED).says("it has tables of another program").hints("specify the file of a catalog");
    let done = place.run(&["convert", "a.ndjson", "-o", "iceberg+sqlite:c.db?warehouse=x#y", "--into", "crm.t"]);
    done.code(exit::USAGE).says("readers cut at `#` or `?`");
    let url = "iceberg+sqlite:c.db?warehouse=s3://k:marked@lake/w";
    let done = place.run(&["convert", "a.ndjson", "-o", url, "--into", "crm.t"]).code(exit::USAGE);
    assert!(!done.stderr.contains("marked"), "{}", done.stderr);
    done.says("its warehouse has credentials");
    assert!(files(&place, "wh").is_empty() && !place.path("c.db").exists());
}

/// A moment of a load at which it is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    /// Its data files are being written.
    Parts,
    /// The metadata of its commit is there, and the catalog does not name it.
    BeforeCommit,
    /// The catalog names it: the response is lost.
    Committed,
}

/// Killed at each point, alone or beside a second load of the same rows: the same command has every row once, and the key is
/// found.
#[test]
fn rows_are_there_once_after_a_kill_at_each_point() {
    let Some(readers) = Readers::find() else { return };
    // More than is looked at before the first part is written.
    let rows = 100_000;
    let text: String = (0..rows)
        .map(|id| {
            format!(
                "{{\"id\":{id},\"v\":\"some text that makes the records long enough for this many of them: {id}\"}}\n"
            )
        })
        .collect();
    for (point, racing) in
        [Point::Parts, Point::BeforeCommit, Point::Committed].map(|p| [(p, false), (p, true)]).concat()
    {
        let place = Place::new();
        place.write("in.ndjson", &text);
        place.write("old.ndjson", "{\"id\":-1,\"v\":\"old\"}\n");
        load(&place, "old.ndjson", "crm.t", &[]).ok();
        let start = |source: &str| {
            let args = ["convert", source, "--from", "ndjson", "-o", CATALOG, "--into", "crm.t", "--load-key", "k"];
            let mut command = place.command(&[&args[..], &["--max-file-rows", "10000"]].concat());
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let metadata = || found(&place, "metadata", ".metadata.json");
        let before = metadata();
        let (mut killed, mut others): (Child, Vec<Child>);
        match point {
            Point::Parts => {
                killed = start("-");
                killed.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
                wait_for("its parts", || found_any(&place, "/attempt.").then_some(()));
                others = Vec::from_iter(racing.then(|| start("in.ndjson")));
                killed.kill().unwrap();
            }
            Point::BeforeCommit | Point::Committed => {
                let lock = readers.lock(&place);
                killed = start("in.ndjson");
                others = Vec::from_iter(racing.then(|| start("in.ndjson")));
                let wanted = before.len() + 1 + usize::from(racing);
                wait_for("the metadata of each", || (metadata().len() == wanted).then_some(()));
                if point == Point::BeforeCommit {
                    killed.kill().unwrap();
                    drop(lock);
                } else {
                    drop(lock);
                    let is_named = |name: &String| {
                        let catalog = std::fs::read(place.path("c.db")).unwrap_or_default();
                        let name = name.rsplit('/').next().unwrap().as_bytes();
                        catalog.windows(name.len()).any(|window| window == name)
                    };
                    let new =
                        || metadata().into_iter().filter(|name| !before.contains(name)).any(|name| is_named(&name));
                    wait_for("the commit", || new().then_some(()));
                    let _ = killed.kill();
                    others.iter_mut().for_each(|other| drop(other.kill()));
                }
            }
        }
        killed.wait().unwrap();
        for other in &mut others {
            let ended = other.wait().unwrap();
            assert!(ended.success() || point == Point::Committed, "{point:?}, racing {racing}");
        }
        let again = load(&place, "in.ndjson", "crm.t", &["--load-key", "k"]).ok();
        match (point, racing) {
            // The name may be in the file of the catalog before SQLite has committed it.
            (Point::Committed, _) => again,
            (_, true) => again.says("nothing was changed"),
            (_, false) => again.says("rows into crm.t"),
        };
        load(&place, "in.ndjson", "crm.t", &["--load-key", "k"]).ok().says("nothing was changed");
        let state = readers.state(&place, "crm.t");
        let what = format!("{point:?}, racing {racing}");
        assert_eq!((state.rows, state.loads, state.snapshots), (rows + 1, 2, 2), "{what}");
        assert_no_orphans(&readers, &place, CATALOG, "crm.t");
        let ids: std::collections::BTreeSet<i64> =
            readers.rows(&place, "crm.t").iter().map(|row| row["id"].as_i64().unwrap()).collect();
        assert_eq!(ids.len() as u64, rows + 1, "{what}");
    }
}

fn found(place: &Place, directory: &str, end: &str) -> Vec<String> {
    files(place, &format!("wh/crm/t/{directory}")).into_iter().filter(|name| name.ends_with(end)).collect()
}

fn found_any(place: &Place, part: &str) -> bool {
    files(place, "wh/crm/t/data").iter().any(|name| name.contains(part))
}
