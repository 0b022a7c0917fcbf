//! Loads into Delta tables in a directory: every row is in the table once, whatever is killed, and readers see the values
//! that the records had.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::delta::{DeltaTable, Readers};
use crate::support::plans::{self, SeededRng};
use crate::support::{Done, Morsels as _, Place, Service, exit, wait_for};

/// Plans of kills, if all are executed.
const KILLS: u32 = 100;

const PEOPLE: &str = r#"{"id":1,"name":"Ada","score":1.5,"tags":["a",null],"hq":{"lat":1.25,"zip":null},"ok":true,"big":123456789012345678901234567890,"n":null,"mixed":"a","country":"NO"}
{"id":2,"name":"B\u0000ø \"q\"\n","score":2,"tags":[],"hq":null,"ok":false,"big":1,"n":null,"late":7,"mixed":1,"country":null}
{"id":3,"name":null,"score":-0.5,"tags":null,"hq":{"lat":2,"zip":"0150"},"ok":null,"big":null,"n":null,"mixed":{"k":[1]},"country":"ø /=%"}
"#;

fn load(place: &Place, source: &str, table: &str, more: &[&str]) -> Done {
    let url = format!("delta:{table}");
    let args = ["convert", source, "-o", &url];
    place.run(&args.iter().chain(more).copied().collect::<Vec<_>>())
}

/// All files below a directory, relative to it.
fn files(directory: &Path) -> BTreeSet<String> {
    fn walk(root: &Path, directory: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path: PathBuf = entry.path();
            match path.is_dir() {
                true => walk(root, &path, found),
                false => drop(found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned())),
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(directory, directory, &mut found);
    found
}

/// The data files below a directory, whether a version names them or not.
fn data_files(place: &Place, table: &str) -> BTreeSet<String> {
    files(&place.path(table)).into_iter().filter(|name| name.ends_with(".parquet")).collect()
}

#[test]
fn a_new_table_gets_types_and_rows_once() {
    let place = Place::new();
    place.write("people.ndjson", PEOPLE);
    let done = load(&place, "people.ndjson", "tables/people", &[]).ok();
    done.says("loaded 3 rows into delta:tables/people").says("created the table").quiet();
    let table = DeltaTable::of(&place, "tables/people");
    let columns: Vec<String> = table.columns().iter().map(|(name, ty)| format!("{name} {ty}")).collect();
    assert_eq!(
        columns,
        [
            "id \"long\"",
            "name \"string\"",
            "score \"double\"",
            r#"tags {"type":"array","elementType":"string","containsNull":true}"#,
            r#"hq {"type":"struct","fields":[{"name":"lat","type":"double","nullable":true,"metadata":{}},{"name":"zip","type":"string","nullable":true,"metadata":{}}]}"#,
            "ok \"boolean\"",
            "big \"decimal(38,0)\"",
            "n \"string\"",
            "mixed \"string\"",
            "country \"string\"",
            "late \"long\"",
        ]
    );
    assert_eq!(table.protocol, json!({"minReaderVersion": 1, "minWriterVersion": 2}));
    assert_eq!((table.versions, table.files.len(), table.loads()), (1, 1, 1));
    // The same rows do nothing, however the table is named.
    load(&place, "people.ndjson", "./tables/../tables/people/", &[])
        .ok()
        .says("loaded on 20")
        .says("nothing was changed");
    let absolute = format!("delta+file://{}", place.path("tables/people").display());
    place.run(&["convert", "people.ndjson", "-o", &absolute]).ok().says("nothing was changed");
    assert_eq!(DeltaTable::of(&place, "tables/people").versions, 1);
    assert_eq!(data_files(&place, "tables/people").len(), 1, "the files of loads that were not made are removed");
    let listed = place.run(&["loads", "ls", "-o", "delta:tables/people", "-o", "ndjson"]).ok().records();
    assert_eq!((listed.len(), &listed[0]["rows"], &listed[0]["state"]), (1, &json!(3), &json!("loaded")));
    // A key that is known first ends the load before it reads a row.
    let keyed = ["convert", "people.ndjson", "-o", "delta:keyed", "--load-key", "k1"];
    place.run(&keyed).ok().says("loaded 3 rows");
    place.run(&keyed).ok().says("nothing was changed");
    assert_eq!(DeltaTable::of(&place, "keyed").local_rows(&place, "keyed").len(), 3);

    let Some(readers) = Readers::find() else { return };
    let expected = [
        json!({"id": 1, "name": "Ada", "score": 1.5, "tags": ["a", null], "hq": {"lat": 1.25, "zip": null}, "ok": true,
            "big": {"decimal": "123456789012345678901234567890"}, "n": null, "mixed": "\"a\"", "country": "NO", "late": null}),
        json!({"id": 2, "name": "B\0ø \"q\"\n", "score": 2.0, "tags": [], "hq": null, "ok": false,
            "big": {"decimal": "1"}, "n": null, "mixed": "1", "country": null, "late": 7}),
        json!({"id": 3, "name": null, "score": -0.5, "tags": null, "hq": {"lat": 2.0, "zip": "0150"}, "ok": null,
            "big": null, "n": null, "mixed": "{\"k\":[1]}", "country": "ø /=%", "late": null}),
    ];
    assert_eq!(readers.rows(&place, "tables/people"), expected);
    load(&place, "people.ndjson", "divided", &["--partition-by", "country", "--max-file-rows", "1"]).ok();
    assert_eq!(readers.rows(&place, "divided"), expected);
    let values: Vec<Value> =
        DeltaTable::of(&place, "divided").files.values().map(|add| add["partitionValues"].clone()).collect();
    assert_eq!(values.len(), 3);
    assert!(values.contains(&json!({"country": null})) && values.contains(&json!({"country": "ø /=%"})), "{values:?}");
}

/// Times, decimals, maps and nested lists, as columns and as partitions, through two readers.
#[test]
fn values_of_every_type_are_read_back() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    let keys: String = (0..60).map(|i| format!("\"k{i}\":{i},")).collect();
    let first = r#"{"id":1,"d":"2024-02-29","at":"2024-01-31T12:00:00.123456+02:00","local":"1969-12-31T23:59:59.5","price":"-1.50","deep":[[1,null],[]],"m":{"x":1},"int":9007199254740993,"p":"2024-01-31T12:00:00Z"}"#;
    let second = format!(
        r#"{{"id":2,"d":null,"at":null,"local":null,"price":null,"deep":null,"m":{{{keys}"x":null}},"int":-1,"p":null}}"#
    );
    let text = format!("{first}\n{second}\n");
    place.write("in.ndjson", text);
    let casts = ["d:date", "at:timestamp", "local:timestamp(us,local)", "price:decimal(10,2)", "p:timestamp"];
    let mut flags: Vec<&str> = casts.iter().flat_map(|cast| ["--cast", *cast]).collect();
    flags.extend(["--partition-by", "p"]);
    load(&place, "in.ndjson", "t", &flags).ok();
    let rows = readers.rows(&place, "t");
    assert_eq!(rows[0]["d"], "2024-02-29");
    assert_eq!(rows[0]["at"], "2024-01-31T10:00:00.123456Z");
    assert_eq!(rows[0]["local"], "1969-12-31T23:59:59.500000");
    assert_eq!(rows[0]["price"], json!({"decimal": "-1.50"}));
    assert_eq!(rows[0]["deep"], json!([[1, null], []]));
    assert_eq!(rows[0]["int"], 9_007_199_254_740_993_i64);
    assert_eq!(rows[0]["p"], "2024-01-31T12:00:00.000000Z");
    assert_eq!(rows[1]["p"], Value::Null);
    assert_eq!(rows[1]["m"]["k59"], 59);
    let table = DeltaTable::of(&place, "t");
    assert_eq!(table.protocol["readerFeatures"], json!(["timestampNtz"]));
    // Nanoseconds would be cut.
    let done = load(&place, "in.ndjson", "ns", &["--cast", "at:timestamp(ns)"]);
    done.code(exit::LOAD_REFUSED).says("nanoseconds").says("`at`");
    assert!(!place.path("ns").exists());
}

#[test]
fn rows_that_a_kill_left_before_the_entry_are_loaded_once_and_their_files_removed() {
    let place = Place::new();
    place.write("people.ndjson", PEOPLE);
    load(&place, "people.ndjson", "t", &["--partition-by", "country"]).ok();
    // As a kill between the files and the entry leaves the table.
    std::fs::remove_file(place.path("t/_delta_log/00000000000000000000.json")).unwrap();
    let orphans = data_files(&place, "t");
    assert_eq!(orphans.len(), 3);
    load(&place, "people.ndjson", "t", &["--partition-by", "country"]).ok().says("loaded 3 rows");
    let table = DeltaTable::of(&place, "t");
    assert_eq!(table.local_rows(&place, "t").len(), 3);
    assert_eq!(data_files(&place, "t").len(), 6);
    // Young files may be those of a load that is running elsewhere.
    place.run_line("loads gc delta:t").ok().says("removed 0 files").says("kept 3 files").quiet();
    let listed = place.run_line("loads gc -o delta:t --older-than 0s --dry-run").ok().says("would remove 3 files");
    assert_eq!(listed.text().lines().map(str::to_owned).collect::<BTreeSet<_>>(), orphans);
    assert_eq!(data_files(&place, "t").len(), 6);
    place.write("t/mine.parquet", "not of a load");
    place.write("t/drawoff-notes.parquet", "nor this");
    let done = place.run_line("loads gc delta:t --older-than 0s").ok().says("removed 3 files");
    assert_eq!(done.text().lines().count(), 3);
    let left = data_files(&place, "t");
    assert!(left.contains("mine.parquet") && left.contains("drawoff-notes.parquet"), "{left:?}");
    assert_eq!(left.len(), 5);
    assert_eq!(DeltaTable::of(&place, "t").local_rows(&place, "t").len(), 3);
    // Files of older versions are named by the log, and stay.
    load(&place, "people.ndjson", "t", &["--load", "replace", "--limit", "1"]).ok();
    place.run_line("loads gc delta:t --older-than 0s").ok().says("removed 0 files");
    assert_eq!(data_files(&place, "t").len(), 6);
    place.run_line("loads gc postgres:").code(exit::USAGE).says("no files");
}

/// The parts of a load from a pipe that is killed are removed, and those of one that is running are not.
#[test]
fn the_files_of_a_load_that_is_running_are_kept() {
    let place = Place::new();
    place.write("people.ndjson", PEOPLE);
    load(&place, "people.ndjson", "t", &[]).ok();
    let mut command = place.command(&["convert", "-", "-o", "delta:t", "--from", "ndjson"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"id\":4}\n").unwrap();
    // Its sample ends with the input, or with enough bytes.
    stdin.write_all("{\"id\":5}\n".repeat(700_000).as_bytes()).unwrap();
    let attempt = wait_for("the attempt", || {
        files(&place.path("t")).into_iter().find_map(|name| Some(name.split_once("/attempt.")?.1.to_owned()))
    });
    let of_attempt = format!("t/drawoff-{attempt}-00001.parquet");
    place.write(&of_attempt, "as if it were complete");
    place.run_line("loads gc delta:t --older-than 0s").ok().says("removed 0 files").says("kept 1 file");
    assert!(place.path(&of_attempt).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    place.run_line("loads gc delta:t --older-than 0s").ok().says("removed 1 file");
    let left = files(&place.path("t"));
    assert!(!left.iter().any(|name| name.contains(".partial") || name.contains(&attempt)), "{left:?}");
    assert_eq!(DeltaTable::of(&place, "t").local_rows(&place, "t").len(), 3);
}

/// Killed at drawn moments, alone or two at once: the same command loads what is not there, and nothing is left over.
#[test]
fn rows_are_there_once_after_every_kill() {
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
    let modes: [&[&str]; 4] =
        [&[], &["--load-key", "k"], &["--partition-by", "p"], &["--load", "replace", "--max-file-rows", "3000"]];
    let start = Instant::now();
    load(&place, "in.ndjson", "warm", &[]).ok();
    let whole = start.elapsed();
    let mut killed = 0;
    for plan in 0..plans::count(KILLS) {
        let table = format!("p{plan}");
        let url = format!("delta:{table}");
        let args = [&["convert", "in.ndjson", "-o", &url][..], modes[plan as usize % modes.len()]].concat();
        let commands = if plan % 3 == 1 { 2 } else { 1 };
        killed += place.kill_after(&args, commands, whole.mul_f64(rng.fraction() * 1.2));
        place.run(&args).ok();
        place.run(&args).ok().says("nothing was changed");
        let found = DeltaTable::of(&place, &table);
        let ids: BTreeSet<i64> =
            found.local_rows(&place, &table).iter().map(|row| row["id"].as_i64().unwrap()).collect();
        let n = found.local_rows(&place, &table).len();
        assert_eq!((n, ids.len(), found.loads()), (rows, rows, 1), "plan {plan}: {args:?}");
        place.run(&["loads", "gc", &url, "--older-than", "0s"]).ok();
        let named: BTreeSet<String> = found.files.keys().cloned().collect();
        assert_eq!(data_files(&place, &table), named, "plan {plan}: {args:?}");
        let left = files(&place.path(&table));
        // The temporary file of an entry is kept for ten minutes: its writer may be about to give it its name.
        let is_kept = |name: &str| name.starts_with("_delta_log/.drawoff-") && name.ends_with(".tmp");
        let is_left = |name: &String| !is_kept(name) && (name.contains(".tmp") || name.contains(".partial"));
        assert!(!left.iter().any(is_left), "{left:?}");
    }
    assert!(killed > 0, "no plan killed a load");
}

#[test]
fn loaders_at_once_load_each_key_once() {
    let place = Place::new();
    let rows: String = (0..500).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    place.write("a.ndjson", &rows);
    place.write("b.ndjson", rows.replace('}', ",\"other\":\"x\"}"));
    place.write("c.ndjson", rows.replace('}', ",\"other\":\"y\",\"third\":1}"));
    let children: Vec<_> = (0..9)
        .map(|i| {
            let source = ["a.ndjson", "b.ndjson", "c.ndjson"][i % 3];
            let command = ["convert", source, "-o", "delta:t"];
            let spawned = place.command(&command).spawn().unwrap();
            (format!("{command:?}"), spawned)
        })
        .collect();
    let outcomes: Vec<Done> = children.into_iter().map(|(what, child)| Done::of_child(what, child).ok()).collect();
    let loaded = outcomes.iter().filter(|done| done.stderr.contains("loaded 500 rows")).count();
    let there = outcomes.iter().filter(|done| done.stderr.contains("loaded on 20")).count();
    assert_eq!((loaded, there), (3, 6));
    let table = DeltaTable::of(&place, "t");
    assert_eq!((table.local_rows(&place, "t").len(), table.loads(), table.versions), (1500, 3, 3));
    let names: BTreeSet<String> = table.columns().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["id", "other", "third"].map(str::to_owned).into());
    assert_eq!(data_files(&place, "t").len(), 3, "those that were not taken are removed");
    if let Some(readers) = Readers::find() {
        assert_eq!(readers.rows(&place, "t").len(), 1500);
    }
}

/// Columns and types that come late give the table that early ones give.
#[test]
fn late_columns_and_wider_types_are_in_the_same_version() {
    let place = Place::new();
    let early = "{\"id\":1,\"v\":1}\n".repeat(2000);
    place.write("in.ndjson", format!("{early}{{\"id\":2,\"v\":2.5,\"late\":{{\"k\":[true]}}}}\n"));
    let mut command = place.command(&["convert", "in.ndjson", "-o", "delta:t"]);
    command.morsels("1KiB");
    Done::of(command).ok();
    let table = DeltaTable::of(&place, "t");
    assert_eq!(table.columns()[1], ("v".to_owned(), json!("double")));
    assert_eq!((table.versions, table.local_rows(&place, "t").len()), (1, 2001));
    // A later load adds columns, and members of objects, in its own version.
    place.write("more.ndjson", "{\"id\":3,\"v\":7,\"late\":{\"k\":[],\"z\":\"x\"},\"new\":\"n\"}\n");
    load(&place, "more.ndjson", "t", &[]).ok().says("added the columns `late.z`, `new`");
    let table = DeltaTable::of(&place, "t");
    assert_eq!((table.versions, table.local_rows(&place, "t").len()), (2, 2002));
    if let Some(readers) = Readers::find() {
        let rows = readers.rows(&place, "t");
        assert_eq!(rows.last().unwrap(), &json!({"id": 3, "v": 7.0, "late": {"k": [], "z": "x"}, "new": "n"}));
        assert_eq!(rows[2000], json!({"id": 2, "v": 2.5, "late": {"k": [true], "z": null}, "new": null}));
    }
    // Types of the table stay: a column that does not fit is named before the first row, a value is a bad record.
    place.write("text.ndjson", "{\"id\":\"x\",\"v\":\"y\"}\n");
    let done = load(&place, "text.ndjson", "t", &[]).code(exit::LOAD_REFUSED);
    done.says("column `id` has text, and the table has long").says("column `v` has text, and the table has double");
    let tail = "{\"id\":5,\"v\":1}\n".repeat(2000);
    place.write(
        "tail.ndjson",
        format!("{tail}{{\"id\":\"x\"}}\n{{\"id\":6.5}}\n{{\"id\":7.0,\"v\":9007199254740993}}\n"),
    );
    let run = |more: &[&str]| {
        let args = ["convert", "tail.ndjson", "-o", "delta:t", "--schema-from", "sample"];
        let mut command = place.command(&[&args[..], more].concat());
        command.morsels("1KiB");
        Done::of(command)
    };
    let done = run(&["--on-bad-record", "skip", "--rejects", "bad.ndjson"]).code(exit::PARTIAL);
    done.says("3 rejected");
    let rejects = place.read_text("bad.ndjson");
    assert!(rejects.contains("the table has long") && rejects.contains("the table has double"), "{rejects}");
    let table = DeltaTable::of(&place, "t");
    assert_eq!(table.local_rows(&place, "t").len(), 4002);
    assert_eq!(table.columns()[0], ("id".to_owned(), json!("long")));
    // Under a fixed schema the table stays as it is.
    place.write("new.ndjson", "{\"id\":9,\"unheard\":1}\n");
    let done = load(&place, "new.ndjson", "t", &["--schema-policy", "freeze"]).code(exit::BAD_DATA);
    done.says("`unheard`").says("no such column");
    load(&place, "new.ndjson", "t", &["--schema-policy", "fail"]).code(exit::SCHEMA_CHANGED).says("`unheard`");
}

/// Text of values of several types stays JSON text in later loads.
#[test]
fn columns_of_several_types_stay_json() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1,\"v\":\"a\",\"l\":[1,\"x\"]}\n{\"id\":2,\"v\":2,\"l\":[]}\n");
    place.write("b.ndjson", "{\"id\":3,\"v\":\"b\",\"l\":[\"y\"]}\n");
    load(&place, "a.ndjson", "t", &[]).ok();
    load(&place, "b.ndjson", "t", &[]).ok();
    let mut rows = DeltaTable::of(&place, "t").local_rows(&place, "t");
    rows.sort_by_key(|row| row["id"].as_i64());
    let values: Vec<&Value> = rows.iter().map(|row| &row["v"]).collect();
    assert_eq!(values, [&json!("\"a\""), &json!("2"), &json!("\"b\"")]);
    assert_eq!(rows[2]["l"], json!(["\"y\""]));
}

#[test]
fn modes_replace_all_rows_or_those_of_a_load_and_the_rest_is_refused() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    place.write("b.ndjson", "{\"id\":3}\n");
    let ids = |table: &str| {
        let rows = DeltaTable::of(&place, table).local_rows(&place, table);
        let mut ids: Vec<i64> = rows.iter().map(|row| row["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    load(&place, "a.ndjson", "t", &[]).ok();
    load(&place, "b.ndjson", "t", &[]).ok();
    assert_eq!(ids("t"), [1, 2, 3]);
    // Removes and adds are one version.
    load(&place, "b.ndjson", "t", &["--load", "replace"]).ok().says("replaced 2 files");
    assert_eq!((ids("t"), DeltaTable::of(&place, "t").versions), (vec![3], 3));
    load(&place, "b.ndjson", "t", &["--load", "replace"]).ok().says("nothing was changed");
    // Loads whose rows were replaced may be made again.
    load(&place, "a.ndjson", "t", &[]).ok().says("loaded 2 rows");
    load(&place, "a.ndjson", "t", &[]).ok().says("nothing was changed");
    assert_eq!(ids("t"), [1, 2, 3]);
    let listed = place.run_line("loads ls delta:t -o ndjson").ok().records();
    let states: Vec<(&str, &str)> =
        listed.iter().map(|row| (row["mode"].as_str().unwrap(), row["state"].as_str().unwrap())).collect();
    assert_eq!(states.iter().filter(|state| state.1 == "loaded").count(), 2, "{states:?}");
    // A replacement that others have come after is made again.
    load(&place, "b.ndjson", "t", &["--load", "replace"]).ok().says("loaded 1 row");
    assert_eq!(ids("t"), [3]);
    // The rows of one load give way to those of the same load.
    let keyed = |source: &str, more: &[&str]| load(&place, source, "k", &[&["--load-key", "k"], more].concat());
    keyed("a.ndjson", &[]).ok();
    load(&place, "b.ndjson", "k", &[]).ok();
    keyed("b.ndjson", &["--again"]).ok().says("replaced 1 file").says("loaded 1 row");
    assert_eq!(ids("k"), [3, 3]);
    load(&place, "b.ndjson", "k", &["--again"]).ok();
    assert_eq!(ids("k"), [3, 3]);

    let refused = |more: &[&str]| load(&place, "a.ndjson", "t", more).code(exit::USAGE);
    refused(&["--load", "merge", "--key", "id"]).says("not merged by key").hints("MERGE INTO");
    refused(&["--load-column", "k"]).says("no column is needed");
    refused(&["--commit-every", "1", "--load-key", "x"]).says("one entry of the log");
    refused(&["--into", "people"]).says("no further tables");
    refused(&["--partition-by", "id"]).says("it is divided by no column");
    refused(&["--to", "csv"]).says("`--to` cannot apply");
    place.run_line("convert a.ndjson -o delta:").code(exit::USAGE).says("names no directory");
    place.run_line("loads gc a.ndjson").code(exit::USAGE).says("no system with tables");
    let done = place.run_line("loads ls snowflake://acme/CRM/LOADS").code(exit::USAGE);
    done.says("does not list the loads of").hints("_drawoff_loads");
    assert_eq!(ids("t"), [3]);
    // Not one of these has left a file.
    assert_eq!(data_files(&place, "t").len(), 5);
}

#[test]
fn names_and_values_that_delta_does_not_have_are_refused_before_the_first_row() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1,\"first name\":\"x\",\"o\":{\"a;b\":1}}\n");
    let done = load(&place, "a.ndjson", "t", &[]).code(exit::LOAD_REFUSED);
    done.says("`first name` is no name in Delta").says("`a;b` is no name").hints("--rename");
    assert!(!place.path("t").exists(), "a table that was not made leaves nothing");
    place.write("case.ndjson", "{\"id\":1,\"Id\":2}\n");
    load(&place, "case.ndjson", "t", &[]).code(exit::LOAD_REFUSED).says("differs only in case");
    place.write("part.ndjson", "{\"id\":1,\"c\":\"\"}\n{\"id\":2,\"c\":\"x\"}\n");
    let done = load(&place, "part.ndjson", "t", &["--partition-by", "c", "--on-bad-record", "skip"]);
    done.code(exit::PARTIAL).says("1 rejected");
    assert_eq!(DeltaTable::of(&place, "t").local_rows(&place, "t"), [json!({"id": 2, "c": "x"})]);
    place.write("none.ndjson", "");
    load(&place, "none.ndjson", "none", &[]).code(exit::USAGE).says("no column is known");
}

#[test]
fn tables_of_others_are_honoured_or_refused_by_name() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("in.ndjson", "{\"id\":3,\"name\":\"c\",\"score\":2,\"country\":\"SE\",\"new\":true}\n");
    let expected = json!({"id": 3, "name": "c", "score": 2.0, "at": null, "price": null, "country": "SE", "new": true});
    for name in ["plain", "divided", "checkpoint", "append-only", "vectors"] {
        readers.make(&place, name, name);
        // deltalake writes tables with deletion vectors, and does not read them.
        let n_readers = if name == "vectors" { 1 } else { 2 };
        let before = readers.rows_by(&place, name, n_readers).len();
        load(&place, "in.ndjson", name, &[]).ok().says("added the column `new`");
        load(&place, "in.ndjson", name, &[]).ok().says("nothing was changed");
        let rows = readers.rows_by(&place, name, n_readers);
        assert_eq!(rows.len(), before + 1, "{name}");
        assert_eq!(rows.last().unwrap(), &expected, "{name}");
    }
    // A checkpoint by another writer keeps what the log knows of loads, also when the entries are gone.
    readers.make(&place, "plain", "state");
    for version in 0..2 {
        std::fs::remove_file(place.path(&format!("plain/_delta_log/{version:020}.json"))).unwrap();
    }
    load(&place, "in.ndjson", "plain", &[]).ok().says("loaded on 20").says("(1 row");
    assert_eq!(place.run_line("loads ls delta:plain -o ndjson").ok().records()[0]["rows"], 1);
    place.run_line("loads gc delta:plain --older-than 0s").ok().says("removed 0 files");
    load(&place, "in.ndjson", "plain", &["--load", "replace"]).ok();
    assert_eq!(readers.rows(&place, "plain").len(), 1);
    // Files that another writer has put together hold no load of their own any more.
    load(&place, "in.ndjson", "divided", &["--load-key", "k"]).ok();
    readers.make(&place, "divided", "compact");
    let done = load(&place, "in.ndjson", "divided", &["--load-key", "k", "--again"]);
    done.code(exit::LOAD_REFUSED).says("cannot be told from others");

    load(&place, "in.ndjson", "append-only", &["--load", "replace"]).code(exit::LOAD_REFUSED).says("delta.appendOnly");
    load(&place, "in.ndjson", "divided", &["--partition-by", "name"]).code(exit::USAGE).says("divided by `country`");
    readers.make(&place, "constraint", "constraint");
    load(&place, "in.ndjson", "constraint", &[]).code(exit::LOAD_REFUSED).says("CHECK constraint `positive`");
    readers.make(&place, "narrow", "narrow");
    place.write("raw.ndjson", "{\"id\":3,\"raw\":\"x\"}\n");
    let done = load(&place, "raw.ndjson", "narrow", &[]).code(exit::LOAD_REFUSED);
    done.says("column `raw` has text, and the table has binary, which drawoff does not write");
    readers.make(&place, "required", "required");
    place.write("null.ndjson", "{\"id\":null,\"name\":\"x\"}\n{\"id\":5,\"name\":null}\n");
    load(&place, "null.ndjson", "required", &["--on-bad-record", "skip"]).code(exit::PARTIAL).says("1 rejected");
    assert_eq!(readers.rows(&place, "required").len(), 2);
    place.write("name.ndjson", "{\"name\":\"x\"}\n");
    load(&place, "name.ndjson", "required", &[]).code(exit::LOAD_REFUSED).says("column `id` takes no null");
}

#[test]
fn the_statement_of_a_table_is_printed() {
    let place = Place::new();
    place.write("people.ndjson", PEOPLE);
    let done = place.run_line("schema people.ndjson --format ddl:delta --into crm.people").ok();
    let text = done.text();
    assert!(text.starts_with("CREATE TABLE `crm`.`people` (\n  `id` BIGINT,\n  `name` STRING,\n"), "{text}");
    assert!(
        text.contains("  `hq` STRUCT<`lat`: DOUBLE, `zip`: STRING>,\n")
            && text.ends_with(") USING DELTA\nTBLPROPERTIES ('drawoff.forms' = 'n=null,mixed=json');\n"),
        "{text}"
    );
}

/// Runs go into a table once each, by `run`, `pull` and `sync`, alone and together, through a kill.
#[test]
fn runs_go_into_a_table_once() {
    let own = Place::new();
    let service = Service::start(&own, "data", &[]);
    let place = Place::with_service(&service.url);
    let run = |output: &str| {
        let workflow = "testdata/workflows/qualify-companies.json";
        let args = ["run", workflow, "--input", "testdata/companies.csv", "--new-run", "-o", output];
        place.run(&args).ok()
    };
    run("delta:by_run").says("into delta:by_run");
    run("-");
    let sync = ["sync", "Qualify companies", "-o", "delta:companies"];
    let mut child = place.command(&sync).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("the sync to begin", || place.path("companies").exists().then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let at_once = [place.command(&sync).spawn().unwrap(), place.command(&sync).spawn().unwrap()];
    for child in at_once {
        Done::of_child("a sync".into(), child);
    }
    place.run(&sync).ok().says("0 runs written, 2 there before");
    let table = DeltaTable::of(&place, "companies");
    let per_run = DeltaTable::of(&place, "by_run").local_rows(&place, "by_run").len();
    assert_eq!((table.loads(), table.local_rows(&place, "companies").len()), (2, 2 * per_run));
    let listed = place.run_line("loads ls delta:companies -o ndjson").ok().records();
    let runs: Vec<&str> = listed.iter().map(|load| load["run"].as_str().unwrap()).collect();
    let pull = |runs: &[&str], more: &[&str]| place.run(&[&["pull"], runs, more].concat());
    pull(&runs[..1], &["-o", "delta:companies", "--format", "csv"]).ok().says("nothing was changed");
    // Several runs in one load are known each by itself.
    pull(&runs, &["-o", "delta:set"]).ok().says("loaded");
    pull(&runs[..1], &["-o", "delta:set"]).ok().says("nothing was changed");
    assert_eq!(DeltaTable::of(&place, "set").local_rows(&place, "set").len(), 2 * per_run);
    pull(&runs[..1], &["-o", "delta:one"]).ok().says("loaded");
    pull(&runs, &["-o", "delta:one"]).code(exit::LOAD_REFUSED).says("it has 1 of the 2 runs already");
    pull(&runs, &["-o", "delta:one", "--again"]).ok().says("replaced 1 file");
    assert_eq!(DeltaTable::of(&place, "one").local_rows(&place, "one").len(), 2 * per_run);
    // The statement for a run, and a table that cannot be written: said before a run is started.
    let ddl = place.run(&["schema", runs[0], "--format", "ddl:delta"]).ok();
    assert!(ddl.text().starts_with("CREATE TABLE `results` ("), "{}", ddl.text());
    let metadata = place.path("one/_delta_log/00000000000000000002.json");
    std::fs::write(metadata, "{\"protocol\":{\"minReaderVersion\":9,\"minWriterVersion\":9}}\n").unwrap();
    let runs_before = place.run_line("runs ls -o ndjson").ok().records().len();
    let args = ["run", "testdata/workflows/qualify-companies.json", "--input", "testdata/companies.csv", "--new-run"];
    place.run(&[&args[..], &["-o", "delta:one"]].concat()).code(exit::LOAD_REFUSED).says("newer than drawoff knows");
    assert_eq!(place.run_line("runs ls -o ndjson").ok().records().len(), runs_before);
}

/// A column of objects without members is text in the table; the first members do not change that.
#[test]
fn objects_that_had_no_members_stay_text() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1,\"o\":{},\"n\":{\"i\":{}},\"l\":[{}]}\n");
    place.write("b.ndjson", "{\"id\":2,\"o\":{\"a\":7},\"n\":{\"i\":{\"a\":7}},\"l\":[{\"b\":1}]}\n");
    place.run_line("convert a.ndjson -o delta:t").ok();
    place.run_line("convert b.ndjson -o delta:t").ok();
    place.run_line("convert a.ndjson -o delta:t --load-key again").ok();
    let Some(rows) = rows_of(&place, "t") else { return };
    let texts: Vec<&Value> = rows.iter().map(|row| &row["o"]).collect();
    assert!(rows.len() == 3 && texts.contains(&&json!("{\"a\":7}")) && texts.contains(&&json!("{}")), "{rows:?}");
}

/// Objects with hundreds of members in all fit the table's object one by one, and no file could hold them: the load is refused
/// rather than committed with files that readers fail on.
#[test]
fn objects_that_become_maps_are_refused() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1,\"o\":{\"a\":1}}\n");
    let keys: String = (0..300).map(|i| format!("{{\"id\":{i},\"o\":{{\"k{i}\":{i}}}}}\n")).collect();
    place.write("b.ndjson", keys);
    place.run_line("convert a.ndjson -o delta:t").ok();
    for morsel in ["64", "256", "4000", "1000000"] {
        let mut command = place.command(&["convert", "b.ndjson", "-o", "delta:t"]);
        command.morsels(morsel);
        let done = crate::support::Done::of(command);
        assert!([exit::LOAD_REFUSED, exit::BAD_DATA].contains(&done.code), "{morsel}: {}", done.stderr);
    }
    assert!(rows_of(&place, "t").is_none_or(|rows| rows.len() == 1));
}

/// No row for a table that exists is no error: a workflow may have had none.
#[test]
fn no_rows_for_a_table_that_exists_are_a_load() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1}\n");
    place.write("none.ndjson", "");
    place.run_line("convert a.ndjson -o delta:t").ok();
    place.run_line("convert none.ndjson -o delta:t").ok();
    assert!(rows_of(&place, "t").is_none_or(|rows| rows.len() == 1));
}

/// The rows as other readers have them; `None` if they are not installed.
fn rows_of(place: &Place, table: &str) -> Option<Vec<Value>> {
    Readers::find().map(|readers| readers.rows(place, table))
}
