//! Loads into Delta tables in stores: conditional writes, lost responses, kills at each step of a commit, and races.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::delta::{Azurite, DeltaTable, Readers};
use crate::support::s3::{Act, Asked, FakeS3, Moto};
use crate::support::{Done, Place, exit, wait_for};

const ROWS: &str = "{\"id\":1,\"c\":\"NO\"}\n{\"id\":2,\"c\":\"SE\"}\n";

const LOAD: [&str; 4] = ["convert", "in.ndjson", "-o", "delta+s3://b/tables/t"];

/// Returns true for the request that puts an entry of the log.
fn is_entry(asked: &Asked) -> bool {
    asked.what == "put" && asked.key.ends_with(".json")
}

/// Returns true for the request that puts or completes a data file.
fn is_data(asked: &Asked) -> bool {
    matches!(asked.what, "put" | "begin") && asked.key.ends_with(".parquet")
}

/// The first request that matches gets `act`, all others are carried out.
fn first(
    matches: impl Fn(&Asked) -> bool + Send + Sync + 'static,
    act: Act,
) -> impl Fn(&Asked) -> Act + Send + Sync + 'static {
    let seen = AtomicUsize::new(0);
    move |asked| match matches(asked) && seen.fetch_add(1, Ordering::Relaxed) == 0 {
        true => act.clone(),
        false => Act::Do,
    }
}

fn place(store: &FakeS3) -> Place {
    let place = store.place();
    place.write("in.ndjson", ROWS);
    place
}

fn table(store: &FakeS3) -> DeltaTable {
    DeltaTable::read(|name| store.object(&format!("tables/t/{name}")))
}

/// Number of rows that readers see.
fn rows(store: &FakeS3) -> usize {
    table(store).rows(|name| store.object(&format!("tables/t/{name}"))).len()
}

/// Data files in the store, whether the log names them or not.
fn data_files(store: &FakeS3) -> Vec<String> {
    store.keys().into_iter().filter(|key| key.ends_with(".parquet")).collect()
}

fn start(place: &Place) -> Child {
    place.command(&LOAD).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The table has the rows once, its key, and after `loads gc` no file besides.
fn assert_loaded_once(store: &FakeS3, place: &Place) {
    assert_eq!((rows(store), table(store).loads()), (2, 1));
    place.run(&LOAD).ok().says("nothing was changed");
    assert_eq!((rows(store), table(store).versions), (2, 1));
    place.run_line("loads gc delta+s3://b/tables/t --older-than 0s").ok();
    let mut files: Vec<String> = table(store).files.keys().map(|name| format!("tables/t/{name}")).collect();
    files.sort();
    assert_eq!(data_files(store), files);
}

#[test]
fn a_table_in_a_store_gets_rows_once() {
    let store = FakeS3::start(|_| Act::Do);
    let place = place(&store);
    place.run(&LOAD).ok().says("loaded 2 rows into delta+s3://b/tables/t").says("created the table");
    assert_loaded_once(&store, &place);
    // Every entry is put under the condition that it does not exist.
    let entries: Vec<Asked> = store.asked().into_iter().filter(is_entry).collect();
    assert!(!entries.is_empty() && entries.iter().all(|asked| asked.headers["if-none-match"] == "*"));
    place
        .run(&[&LOAD[..], &["--load", "replace", "--partition-by", "c"]].concat())
        .code(exit::USAGE)
        .says("divided by");
    place.run(&[&LOAD[..], &["--load", "replace"]].concat()).ok().says("replaced 1 file");
    assert_eq!(rows(&store), 2);
    let listed = place.run_line("loads ls delta+s3://b/tables/t -o ndjson").ok().records();
    assert_eq!(listed.iter().filter(|load| load["state"] == "loaded").count(), 1, "{listed:?}");
    // Nothing but data files and the log is left in the store.
    assert!(store.keys().iter().all(|key| key.ends_with(".parquet") || key.ends_with(".json")), "{:?}", store.keys());
    assert_eq!(store.open_uploads(), 0);
}

/// Two loads at once would both think that they have written the same entry.
#[test]
fn a_store_that_ignores_conditions_is_refused_before_the_first_row() {
    let store = FakeS3::start(|asked| if asked.what == "put" { Act::DoAnyway } else { Act::Do });
    let place = place(&store);
    let done = place.run(&LOAD).code(exit::USAGE).says("If-None-Match");
    done.hints("conditional writes");
    assert!(store.keys().is_empty(), "{:?}", store.keys());
}

#[test]
fn a_lost_response_to_the_entry_is_settled_by_reading_it() {
    for act in [Act::DoAndDrop, Act::Drop, Act::DoAndRefuse(500, "InternalError"), Act::Refuse(503, "SlowDown", "slow")]
    {
        let store = FakeS3::start(first(is_entry, act.clone()));
        let place = place(&store);
        place.run(&LOAD).ok().says("loaded 2 rows");
        assert_eq!((rows(&store), table(&store).versions), (2, 1), "{act:?}");
        assert_loaded_once(&store, &place);
    }
    // Another request writes the same object, S3 says.
    let conflict = Act::Refuse(409, "ConditionalRequestConflict", "in progress");
    let store = FakeS3::start(first(is_entry, conflict));
    let place = place(&store);
    place.run(&LOAD).ok().says("loaded 2 rows");
    assert_loaded_once(&store, &place);
}

#[test]
fn a_refused_entry_leaves_neither_rows_nor_files() {
    let denied = Act::Refuse(403, "AccessDenied", "Access Denied");
    let store = FakeS3::start(move |asked| if is_entry(asked) { denied.clone() } else { Act::Do });
    let place = place(&store);
    place.run(&LOAD).code(exit::CANNOT_WRITE).says("s3:PutObject");
    assert!(data_files(&store).is_empty(), "{:?}", store.keys());
    let denied = Act::Refuse(403, "AccessDenied", "Access Denied");
    let store = FakeS3::start(move |asked| if is_data(asked) { denied.clone() } else { Act::Do });
    let place = self::place(&store);
    place.run(&LOAD).code(exit::CANNOT_WRITE);
    assert!(store.keys().is_empty(), "{:?}", store.keys());
}

/// Killed while a data file is put, before the entry is there, and after it is, with one command and with another at once.
#[test]
fn rows_are_there_once_after_a_kill_at_each_step() {
    type Matches = fn(&Asked) -> bool;
    let points: [(&str, Matches, Act); 4] = [
        ("a data file does not arrive", is_data, Act::Hang),
        ("a data file arrives", is_data, Act::DoAndHang),
        ("the entry does not arrive", is_entry, Act::Hang),
        ("the entry arrives and its response is lost", is_entry, Act::DoAndHang),
    ];
    for (point, matches, act) in points {
        for with_another in [false, true] {
            let store = FakeS3::start(first(matches, act.clone()));
            let place = place(&store);
            let mut killed = start(&place);
            wait_for(point, || store.asked().iter().any(matches).then_some(()));
            if act == Act::DoAndHang {
                wait_for(point, || {
                    let is_there = |asked: &Asked| store.object(&asked.key).is_some();
                    store.asked().iter().filter(|asked| matches(asked)).any(is_there).then_some(())
                });
            }
            // The other one meets whatever the first has done so far.
            if with_another {
                let done = place.run(&LOAD).ok();
                let is_loaded = point.starts_with("the entry arrives");
                done.says(if is_loaded { "nothing was changed" } else { "loaded 2 rows" });
            }
            killed.kill().unwrap();
            killed.wait().unwrap();
            place.run(&LOAD).ok();
            assert_loaded_once(&store, &place);
        }
    }
}

/// One whose entry another has taken looks for its key again: the same rows are there once, other rows in a version of
/// their own.
#[test]
fn racing_loads_lose_nothing_and_double_nothing() {
    let store = FakeS3::start(|_| Act::Do);
    let place = place(&store);
    place.write("other.ndjson", "{\"id\":3,\"late\":true}\n");
    let children: Vec<Child> = (0..6)
        .map(|i| {
            let source = if i % 3 == 2 { "other.ndjson" } else { "in.ndjson" };
            place.command(&["convert", source, "-o", "delta+s3://b/tables/t"]).spawn().unwrap()
        })
        .collect();
    let done: Vec<Done> = children.into_iter().map(|child| Done::of_child("a load".to_owned(), child).ok()).collect();
    assert_eq!(done.iter().filter(|done| done.stderr.contains("nothing was changed")).count(), 4);
    let found = table(&store);
    assert_eq!((rows(&store), found.loads(), found.versions), (3, 2, 2));
    assert_eq!(data_files(&store).len(), found.files.len(), "the losers have removed their files");
}

/// Entry after entry is taken by others: each is read, and the load goes on behind them.
#[test]
fn a_load_goes_on_behind_the_entries_of_others() {
    let taken = Arc::new(AtomicUsize::new(0));
    let of_act = taken.clone();
    let held = Arc::new(std::sync::Mutex::new(None::<Arc<FakeS3>>));
    let of_store = held.clone();
    let store = Arc::new(FakeS3::start(move |asked| {
        if is_entry(asked) && of_act.load(Ordering::Relaxed) < 3 {
            let n = of_act.fetch_add(1, Ordering::Relaxed);
            let entry = match n {
                0 => concat!(
                    r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#,
                    "\n",
                    r#"{"metaData":{"id":"x","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}},{\"name\":\"n\",\"type\":\"string\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"configuration":{}}}"#,
                    "\n"
                ),
                _ => "{\"txn\":{\"appId\":\"another\",\"version\":1}}\n",
            };
            if let Some(store) = &*of_store.lock().unwrap() {
                store.put(&asked.key, entry.as_bytes());
            }
        }
        Act::Do
    }));
    *held.lock().unwrap() = Some(store.clone());
    let place = place(&store);
    // From a pipe, which cannot be read again.
    let input = b"{\"id\":1,\"c\":\"NO\",\"n\":null}\n{\"id\":2}\n";
    let args = ["convert", "-", "--from", "ndjson", "-o", "delta+s3://b/tables/t"];
    place.run_with_stdin(&args, input).ok().says("loaded 2 rows").says("added the column `c`");
    let found = table(&store);
    assert_eq!((found.versions, found.loads(), rows(&store)), (4, 1, 2));
    assert_eq!(taken.load(Ordering::Relaxed), 3);
    held.lock().unwrap().take();
}

/// The columns of the table changed under the load so that its files do not fit any more.
#[test]
fn a_table_that_changed_meanwhile_is_looked_at_again() {
    let held = Arc::new(std::sync::Mutex::new(None::<Arc<FakeS3>>));
    let of_store = held.clone();
    let done = AtomicUsize::new(0);
    let store = Arc::new(FakeS3::start(move |asked| {
        if is_entry(asked) && done.fetch_add(1, Ordering::Relaxed) == 0 {
            let entry = concat!(
                r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#,
                "\n",
                r#"{"metaData":{"id":"x","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"double\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":[],"configuration":{}}}"#,
                "\n"
            );
            if let Some(store) = &*of_store.lock().unwrap() {
                store.put(&asked.key, entry.as_bytes());
            }
        }
        Act::Do
    }));
    *held.lock().unwrap() = Some(store.clone());
    let place = place(&store);
    // A file can be read again: the load begins again, and gives its rows the type of the table.
    place.run(&LOAD).ok().says("loaded 2 rows").says("began again once");
    let found = table(&store);
    assert_eq!(found.columns()[0], ("id".to_owned(), json!("double")));
    assert_eq!((found.versions, rows(&store), data_files(&store).len()), (2, 2, 1));
    held.lock().unwrap().take();
}

/// The same against moto's S3, which deltalake reads, too.
#[test]
fn moto_and_deltalake_agree() {
    let (Some(readers), Some(python)) = (Readers::find(), crate::support::tool("DRAWOFF_TEST_MOTO_PYTHON")) else {
        return;
    };
    let server = Moto::start(&python);
    assert_races_are_won_once(&readers, &server.place(), "s3://bucket/tables/t");
}

/// The same against Azure's store.
#[test]
fn azurite_and_deltalake_agree() {
    let Some(readers) = Readers::find() else { return };
    let Some(server) = Azurite::start(&readers) else { return };
    assert_races_are_won_once(&readers, &server.place(), "az://bucket/tables/t");
}

/// Loads at once, a late column, and a replacement, in a store that others have made.
fn assert_races_are_won_once(readers: &Readers, place: &Place, url: &str) {
    place.write("in.ndjson", ROWS);
    place.write("more.ndjson", "{\"id\":3,\"late\":[1.5]}\n");
    let delta = format!("delta+{url}");
    let args = ["convert", "in.ndjson", "-o", &delta, "--partition-by", "c"];
    let children: Vec<Child> = (0..3).map(|_| place.command(&args).spawn().unwrap()).collect();
    let done: Vec<Done> = children.into_iter().map(|child| Done::of_child("a load".to_owned(), child).ok()).collect();
    assert_eq!(done.iter().filter(|done| done.stderr.contains("nothing was changed")).count(), 2);
    place.run(&["convert", "more.ndjson", "-o", &delta]).ok().says("added the column `late`");
    assert_eq!(
        readers.rows(place, url),
        [
            json!({"id": 1, "c": "NO", "late": null}),
            json!({"id": 2, "c": "SE", "late": null}),
            json!({"id": 3, "c": null, "late": [1.5]}),
        ]
    );
    // A checkpoint of another writer is where the next load begins to read.
    readers.make(place, url, "state");
    place.run(&["convert", "more.ndjson", "-o", &delta]).ok().says("nothing was changed");
    place.run(&["loads", "gc", &delta, "--older-than", "0s"]).ok().says("removed 0 files");
    place.run(&["convert", "more.ndjson", "-o", &delta, "--load", "replace"]).ok().says("replaced 3 files");
    assert_eq!(readers.rows(place, url), [json!({"id": 3, "c": null, "late": [1.5]})]);
}
