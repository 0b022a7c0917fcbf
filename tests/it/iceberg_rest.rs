//! Loads into Iceberg tables of a catalog over HTTP: lost responses, kills at each step of a commit, races, tokens.

use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::support::iceberg::{Readers, RestCatalog, assert_no_orphans, files};
use crate::support::{Done, Place, exit, wait_for};

const ROWS: &str = "{\"id\":1,\"c\":\"NO\"}\n{\"id\":2,\"c\":\"SE\"}\n";

struct Catalog {
    readers: Readers,
    place: Place,
    rest: RestCatalog,
}

impl Catalog {
    fn start(script: Value) -> Option<Self> {
        Self::start_in(Place::new(), script)
    }

    fn start_in(place: Place, script: Value) -> Option<Self> {
        let readers = Readers::find()?;
        place.write("in.ndjson", ROWS);
        let rest = readers.catalog(&place, &script);
        Some(Catalog { readers, place, rest })
    }

    fn url(&self) -> String {
        format!("iceberg+{}?warehouse=ws", self.rest.url)
    }

    fn args<'a>(&self, url: &'a str, source: &'a str) -> [&'a str; 6] {
        ["convert", source, "-o", url, "--into", "crm.t"]
    }

    fn load(&self, source: &str) -> Done {
        self.place.run(&self.args(&self.url(), source))
    }

    fn spawn(&self, source: &str) -> Child {
        let url = self.url();
        let mut command = self.place.command(&self.args(&url, source));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.place.path("catalog.log")).unwrap_or_default()
    }

    /// The table has the rows once, its key, and after `loads gc` no file besides.
    #[track_caller]
    fn assert_loaded_once(&self) {
        self.load("in.ndjson").ok().says("nothing was changed");
        let state = self.readers.state(&self.place, "crm.t");
        assert_eq!((state.rows, state.loads, state.keys.len(), state.snapshots), (2, 1, 1, 1), "{}", self.log());
        assert_no_orphans(&self.readers, &self.place, &self.url(), "crm.t");
    }
}

#[test]
fn a_table_of_a_catalog_gets_rows_once() {
    let Some(catalog) = Catalog::start(json!({})) else { return };
    catalog
        .load("in.ndjson")
        .ok()
        .says("loaded 2 rows into crm.t of iceberg+http://127.0.0.1")
        .says("created the table");
    catalog.assert_loaded_once();
    assert_eq!(catalog.log(), "arrived do\nmade\n");
    let listed = ["loads", "ls", &catalog.url(), "--into", "crm.t", "-o", "ndjson"];
    assert_eq!(catalog.place.run(&listed).ok().records()[0]["rows"], 2);
    catalog.place.run(&listed[..3]).code(exit::USAGE).says("listed by table");
    catalog.place.write("late.ndjson", "{\"id\":3,\"late\":{\"k\":[1.5]}}\n");
    catalog.load("late.ndjson").ok().says("added the column `late`");
    let rows = catalog.readers.rows(&catalog.place, "crm.t");
    assert_eq!(
        rows,
        [
            json!({"id": 1, "c": "NO", "late": null}),
            json!({"id": 2, "c": "SE", "late": null}),
            json!({"id": 3, "c": null, "late": {"k": [1.5]}}),
        ]
    );
    // Tables of others, and types that widen.
    catalog.readers.make(&catalog.place, "crm.plain", "divided");
    catalog.place.write("wide.ndjson", "{\"id\":4,\"i\":3000000000,\"country\":\"SE\"}\n");
    let url = catalog.url();
    let done = catalog.place.run(&["convert", "wide.ndjson", "-o", &url, "--into", "crm.plain"]).ok();
    done.says("widened `i` from int to long");
    assert_eq!(catalog.readers.rows(&catalog.place, "crm.plain")[2]["i"], 3_000_000_000_i64);
    // Without the parameter, and a namespace that is not there.
    let plain = format!("iceberg+{}", catalog.rest.url);
    catalog.place.run(&catalog.args(&plain, "in.ndjson")).ok().says("nothing was changed");
    let done = catalog.place.run(&["convert", "in.ndjson", "-o", &plain, "--into", "none.t"]);
    done.code(exit::USAGE).says("no namespace `none`").hints("CREATE NAMESPACE");
    let done = catalog.place.run(&["convert", "in.ndjson", "-o", &format!("{plain}/elsewhere"), "--into", "crm.t"]);
    assert!(done.code != 0, "{}", done.stderr);
}

#[test]
fn a_lost_response_to_the_commit_is_settled_by_sending_it_again() {
    for acts in [
        json!(["do-drop"]),
        json!(["drop"]),
        json!(["do-500"]),
        json!(["503"]),
        json!(["429"]),
        json!(["409"]),
        json!(["drop", "do-500", "drop"]),
    ] {
        let Some(catalog) = Catalog::start(json!({"commits": acts})) else { return };
        catalog.load("in.ndjson").ok().says("loaded 2 rows");
        catalog.assert_loaded_once();
    }
}

/// A page of a proxy is no commit: it is sent again, and is there once.
#[test]
fn a_response_that_is_no_commit_is_settled_by_sending_it_again() {
    for acts in [json!(["html"]), json!(["do-html"]), json!(["html", "do-html", "html"])] {
        let Some(catalog) = Catalog::start(json!({"commits": acts})) else { return };
        catalog.load("in.ndjson").ok().says("loaded 2 rows");
        catalog.assert_loaded_once();
    }
    let Some(catalog) = Catalog::start(json!({"commits": ["404-html"]})) else { return };
    let done = catalog.load("in.ndjson").code(exit::LOAD_REFUSED).says("responded with status 404");
    assert!(!done.stderr.contains("no Iceberg REST catalog"), "{}", done.stderr);
    catalog.load("in.ndjson").ok().says("loaded 2 rows");
    catalog.assert_loaded_once();
}

/// A catalog that refuses every commit is given up, with its message.
#[test]
fn a_conflict_without_a_change_ends_with_its_message() {
    let Some(catalog) = Catalog::start(json!({"always": "409"})) else { return };
    let done = catalog.load("in.ndjson");
    assert_ne!(done.code, 0);
    done.says("refuses each commit, although the table does not change: as the script says (409)");
    assert!(files(&catalog.place, "wh").is_empty());
}

/// A column that another command makes one without nulls while the load runs gets none.
#[test]
fn a_column_that_takes_no_nulls_meanwhile_gets_none() {
    let Some(catalog) = Catalog::start(json!({"commits": ["do", "require-c"]})) else { return };
    catalog.load("in.ndjson").ok();
    let url = catalog.url();
    let args = ["convert", "-", "--from", "ndjson", "-o", &url, "--into", "crm.t"];
    let mut command = catalog.place.command(&args);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"{\"id\":3,\"c\":null}\n").unwrap();
    let done = Done::of_child("a load".to_owned(), child);
    assert_ne!(done.code, 0);
    done.says("made its column `c` one without nulls meanwhile").hints("run the same command again");
    assert_eq!(catalog.readers.state(&catalog.place, "crm.t").rows, 2);
}

#[test]
fn a_refusal_leaves_neither_rows_nor_files() {
    let Some(catalog) = Catalog::start(json!({"stage": false})) else { return };
    let done = catalog.load("in.ndjson").code(exit::LOAD_REFUSED);
    done.says("stages no tables").hints("ddl:iceberg");
    assert!(files(&catalog.place, "wh").is_empty());
    // A table that exists needs no stage.
    catalog.readers.make(&catalog.place, "crm.t", "empty");
    catalog.place.write("a.ndjson", "{\"id\":1}\n");
    catalog.load("a.ndjson").ok().says("loaded 1 row");
}

/// Killed with its files written before the commit arrives, before it is made, and with its response lost; alone and with
/// another at once.
#[test]
fn rows_are_there_once_after_a_kill_at_each_step() {
    for (act, line) in [("hang", "arrived hang"), ("do-hang", "made")] {
        for (with_another, exists) in [(false, false), (true, false), (true, true)] {
            let commits = if exists { json!(["do", act]) } else { json!([act]) };
            let Some(catalog) = Catalog::start(json!({"commits": commits})) else { return };
            if exists {
                catalog.place.write("old.ndjson", "{\"id\":0}\n");
                catalog.load("old.ndjson").ok();
            }
            let made = catalog.log().matches(line).count();
            let mut killed = catalog.spawn("in.ndjson");
            wait_for(line, || (catalog.log().matches(line).count() > made).then_some(()));
            if with_another {
                let done = catalog.load("in.ndjson").ok();
                done.says(if act == "do-hang" { "nothing was changed" } else { "loaded 2 rows" });
            }
            killed.kill().unwrap();
            killed.wait().unwrap();
            catalog.load("in.ndjson").ok();
            let state = catalog.readers.state(&catalog.place, "crm.t");
            let more = u64::from(exists);
            assert_eq!((state.rows, state.loads as u64), (2 + more, 1 + more), "{act}");
            assert_no_orphans(&catalog.readers, &catalog.place, &catalog.url(), "crm.t");
        }
    }
}

#[test]
fn racing_loads_lose_nothing_and_double_nothing() {
    let Some(catalog) = Catalog::start(json!({})) else { return };
    catalog.place.write("other.ndjson", "{\"id\":3,\"c\":\"DK\"}\n");
    let url = catalog.url();
    let children: Vec<Child> = (0..6)
        .map(|i| {
            let source = if i % 3 == 2 { "other.ndjson" } else { "in.ndjson" };
            catalog.place.command(&catalog.args(&url, source)).spawn().unwrap()
        })
        .collect();
    let done: Vec<Done> = children.into_iter().map(|child| Done::of_child("a load".to_owned(), child).ok()).collect();
    assert_eq!(done.iter().filter(|done| done.stderr.contains("nothing was changed")).count(), 4);
    let state = catalog.readers.state(&catalog.place, "crm.t");
    assert_eq!((state.rows, state.loads, state.snapshots), (3, 2, 2));
    assert_eq!(catalog.readers.rows(&catalog.place, "crm.t").len(), 3);
    let data: Vec<String> =
        files(&catalog.place, "wh/crm/t").into_iter().filter(|name| name.ends_with(".parquet")).collect();
    assert_eq!(data.len(), 2, "the losers have removed their files: {data:?}");
}

#[test]
fn tokens_are_sent_fetched_and_renewed() {
    let secret = || Place::new().env("ICEBERG_TOKEN", "marked-token");
    let Some(catalog) = Catalog::start_in(secret(), json!({"token": "marked-token"})) else { return };
    catalog.load("in.ndjson").ok().says("loaded 2 rows");
    catalog.assert_loaded_once();
    let Some(catalog) = Catalog::start_in(secret(), json!({"token": "another"})) else { return };
    let done = catalog.load("in.ndjson").code(exit::LOAD_REFUSED);
    assert!(!done.stderr.contains("marked"), "{}", done.stderr);
    done.says("no such token").hints("ICEBERG_TOKEN");
    // A message that repeats the token is shown without it, and cut; the line break of a file is none of the token.
    let line = Place::new().env("ICEBERG_TOKEN", "marked-token\n");
    let Some(catalog) = Catalog::start_in(line, json!({"token": "marked-token", "commits": ["echo"]})) else { return };
    let done = catalog.load("in.ndjson").code(exit::LOAD_REFUSED).says("bad Bearer *** xxx");
    assert!(!done.stderr.contains("marked") && done.stderr.len() < 2000, "{}", done.stderr);
    // Each token is good for two requests.
    let place = Place::new().env("ICEBERG_CREDENTIAL", "id:secret");
    let Some(catalog) = Catalog::start_in(place, json!({"expires": 2})) else { return };
    catalog.load("in.ndjson").ok().says("loaded 2 rows");
    catalog.assert_loaded_once();
    let place = Place::new().env("ICEBERG_CREDENTIAL", "id:marked-wrong");
    let Some(catalog) = Catalog::start_in(place, json!({"expires": 2})) else { return };
    let done = catalog.load("in.ndjson");
    assert!(done.code != 0 && !done.stderr.contains("marked"), "{}", done.stderr);
    // Beyond this machine a token needs TLS.
    let done = catalog.place.run(&["convert", "in.ndjson", "-o", "iceberg+http://catalog.test/x", "--into", "crm.t"]);
    done.code(exit::USAGE).says("unencrypted").hints("--insecure-http");
}
