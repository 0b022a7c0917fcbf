//! Iceberg tables as tests look at them: the readers of Python, and catalogs.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};

use serde_json::Value;

use super::{Done, Place, tool};

/// The catalog of all tests, in the directory of a place.
pub const CATALOG: &str = "iceberg+sqlite:c.db?warehouse=wh";

/// The readers and writers of Python.
pub struct Readers(PathBuf);

impl Readers {
    /// Finds the Python with pyiceberg; `None` where the test is to be skipped.
    pub fn find() -> Option<Self> {
        tool("DRAWOFF_TEST_ICEBERG_PYTHON").map(Readers)
    }

    fn script(&self, place: &Place, args: &[&str]) -> Done {
        let mut command = place.program(&self.0);
        command.arg("-c").arg(include_str!("iceberg_reader.py")).args(args);
        Done::of(command).ok()
    }

    /// Makes one of the tables of the script.
    pub fn make(&self, place: &Place, table: &str, kind: &str) {
        self.script(place, &["make", table, kind]);
    }

    /// Runs another command of the script.
    pub fn change(&self, place: &Place, args: &[&str]) {
        self.script(place, args);
    }

    /// Reads a table by each reader: rows sorted by `id`, which are the same in all of them.
    #[track_caller]
    pub fn rows(&self, place: &Place, table: &str) -> Vec<Value> {
        let mut found: Vec<Value> = self.script(place, &["read", table]).records();
        assert_eq!(found.len(), 2, "readers of {table}");
        for read in &mut found {
            let rows = read["rows"].as_array_mut().unwrap();
            rows.sort_by_key(|row| row["id"].as_i64());
        }
        let first = found[0]["rows"].as_array().unwrap().clone();
        for other in &found[1..] {
            assert_eq!(other["rows"], Value::Array(first.clone()), "{} reads {table} otherwise", other["reader"]);
        }
        first
    }

    /// Names and types of the columns.
    pub fn columns(&self, place: &Place, table: &str) -> Vec<String> {
        let found = self.script(place, &["read", table]).records();
        let columns = found[0]["columns"].as_array().unwrap().iter();
        columns.map(|column| format!("{} {}", column[0].as_str().unwrap(), column[1].as_str().unwrap())).collect()
    }

    /// Returns the files and loads that a table names.
    pub fn state(&self, place: &Place, table: &str) -> State {
        let found = self.script(place, &["state", table]).records().remove(0);
        let names = |list: &str| {
            let names = found[list].as_array().unwrap().iter();
            names.map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        State {
            files: names("files"),
            metadata: names("metadata"),
            snapshots: found["snapshots"].as_u64().unwrap(),
            keys: found["keys"].as_array().unwrap().iter().filter(|key| !key.is_null()).cloned().collect(),
            loads: found["properties"]
                .as_object()
                .unwrap()
                .keys()
                .filter(|name| name.starts_with("drawoff.load."))
                .count(),
            rows: found["rows"].as_u64().unwrap(),
            total: found["total"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// The ids that a filter keeps, and the number of files that it reads.
    pub fn filter(&self, place: &Place, table: &str, expression: &str) -> Value {
        self.script(place, &["filter", table, expression]).records().remove(0)
    }

    /// Locks the catalog of a place for writing.
    pub fn lock(&self, place: &Place) -> Lock {
        let mut command = place.program(&self.0);
        command.arg("-c").arg(include_str!("iceberg_reader.py")).arg("lock");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        let stdin = child.stdin.take();
        Lock { child, stdin }
    }

    /// Starts a catalog over HTTP in a place.
    pub fn catalog(&self, place: &Place, script: &Value) -> RestCatalog {
        let mut command = place.program(&self.0);
        command.arg("-c").arg(include_str!("iceberg_catalog.py")).arg(script.to_string());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        RestCatalog { child, url }
    }
}

/// The files and loads that a table names.
#[derive(Debug)]
pub struct State {
    /// Data files of all snapshots.
    pub files: BTreeSet<String>,
    /// Metadata, manifests and their lists.
    pub metadata: BTreeSet<String>,
    pub snapshots: u64,
    /// Commit keys in the summaries of snapshots.
    pub keys: Vec<Value>,
    /// Properties that record loads.
    pub loads: usize,
    pub rows: u64,
    /// Rows as the last snapshot counts them.
    pub total: String,
}

/// A lock on a catalog, released on drop.
pub struct Lock {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            let _ = stdin.flush();
        }
        let _ = self.child.wait();
    }
}

/// A catalog over HTTP, stopped on drop.
pub struct RestCatalog {
    child: Child,
    pub url: String,
}

impl Drop for RestCatalog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All files below a directory, relative to it.
pub fn files(place: &Place, directory: &str) -> BTreeSet<String> {
    fn walk(root: &std::path::Path, directory: &std::path::Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => walk(root, &path, found),
                false => drop(found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned())),
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&place.path(""), &place.path(directory), &mut found);
    found
}

/// The table has nothing but what it names, once orphans are removed.
#[track_caller]
pub fn assert_no_orphans(readers: &Readers, place: &Place, catalog: &str, table: &str) {
    place.run(&["loads", "gc", catalog, "--into", table, "--older-than", "0s"]).ok();
    let state = readers.state(place, table);
    let named: BTreeSet<String> = state.files.union(&state.metadata).cloned().collect();
    let mut found = files(place, &format!("wh/{}", table.replace('.', "/")));
    // A temporary file is kept for ten minutes: its writer may be about to give it its name.
    found.retain(|name| !name.ends_with(".tmp"));
    assert_eq!(found, named);
}
