//! `sync` as a whole command: rounds at an interval, and runs in directories and object stores.

use std::process::Stdio;

use rusqlite::Connection;

use crate::support::s3::{Act, FakeS3};
use crate::support::{Done, Place, Service, exit, interrupt, wait_for};

const WORKFLOW: &str = "testdata/workflows/qualify-companies.json";

fn run(place: &Place) {
    place.run(&["run", WORKFLOW, "--input", "testdata/companies.csv", "--new-run", "-o", "-"]).ok();
}

/// Runs that complete while the command waits are written in the next round, and a round that fails is followed by others.
#[test]
fn rounds_go_on_until_the_command_is_stopped() {
    let own = Place::new();
    let service = Service::start(&own, "data", &[]);
    let place = Place::with_service(&service.url);
    run(&place);
    // No database can be opened here in the first rounds.
    std::fs::create_dir(place.path("t.db")).unwrap();
    let mut command =
        place.command(&["sync", "Qualify companies", "-o", "sqlite:t.db", "--into", "t", "--every", "1s"]);
    let stderr = std::fs::File::create(place.path("stderr")).unwrap();
    let mut child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
    let said = |text: &str| place.read_text("stderr").contains(text);
    wait_for("a round that fails", || {
        assert!(child.try_wait().unwrap().is_none(), "{}", place.read_text("stderr"));
        said("t.db").then_some(())
    });
    std::fs::remove_dir(place.path("t.db")).unwrap();
    let loads = || {
        let db = Connection::open(place.path("t.db")).ok()?;
        let sql = "SELECT count(*) FROM _drawoff_loads WHERE state = 'loaded'";
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).ok()
    };
    wait_for("the first run", || (loads() == Some(1)).then_some(()));
    run(&place);
    wait_for("the second run", || (loads() == Some(2)).then_some(()));
    wait_for("a round without a new run", || said("0 runs written, 2 there before").then_some(()));
    assert!(child.try_wait().unwrap().is_none());
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(exit::INTERRUPTED));
    let db = Connection::open(place.path("t.db")).unwrap();
    let counts = "SELECT count(*) = (SELECT sum(rows) FROM _drawoff_loads) FROM t";
    assert!(db.query_row(counts, [], |row| row.get::<_, bool>(0)).unwrap());
}

/// Each run has files of its own in a store, whole, also after two commands at once and from another machine.
#[test]
fn each_run_is_in_a_store_once() {
    let own = Place::new();
    let service = Service::start(&own, "data", &[]);
    let store = FakeS3::start(|_| Act::Do);
    let place = || {
        let place = store.place();
        place.env("SIXTYFOUR_API_ENDPOINT", &service.url).env("SIXTYFOUR_API_KEY", crate::support::MARKED_KEY)
    };
    let (here, there) = (place(), place());
    run(&here);
    run(&here);
    let sync = ["sync", "Qualify companies", "-o", "s3://b/results/", "--to", "ndjson"];
    let at_once = [here.command(&sync).spawn().unwrap(), there.command(&sync).spawn().unwrap()];
    for child in at_once {
        let done = Done::of_child("a sync".into(), child);
        // Who comes second may find a file that is being written, and says so.
        assert!([exit::SUCCESS, exit::PARTIAL].contains(&done.code), "{}", done.stderr);
    }
    for place in [&here, &there] {
        place.run(&sync).ok();
    }
    let files: Vec<String> = store.keys().into_iter().filter(|key| key.ends_with(".ndjson")).collect();
    let rows: Vec<usize> =
        files.iter().map(|key| String::from_utf8(store.object(key).unwrap()).unwrap().lines().count()).collect();
    assert!(files.len() == 2 && rows[0] > 0 && rows[0] == rows[1], "{files:?} {rows:?}");
    assert_eq!(store.open_uploads(), 0);
}
