//! Delta tables as tests look at them: a reader of the log of its own, and the readers of Python.

use std::collections::BTreeMap;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::{Done, Place, rows, tool};

/// The last version of a table.
#[derive(Default)]
pub struct DeltaTable {
    /// Number of log entries.
    pub versions: u64,
    /// The `add` of each data file, by its name.
    pub files: BTreeMap<String, Value>,
    /// The version of each transaction id.
    pub ids: BTreeMap<String, i64>,
    pub metadata: Value,
    pub protocol: Value,
}

impl DeltaTable {
    /// Reads the log of a table, whose files `read` returns.
    pub fn read(read: impl Fn(&str) -> Option<Vec<u8>>) -> Self {
        let mut table = DeltaTable::default();
        while let Some(entry) = read(&format!("_delta_log/{:020}.json", table.versions)) {
            for action in rows::ndjson(&entry) {
                let path = |kind: &str| {
                    action[kind]["path"]
                        .as_str()
                        .map(|text| percent_decode_str(text).decode_utf8().unwrap().into_owned())
                };
                if let Some(path) = path("add") {
                    table.files.insert(path, action["add"].clone());
                }
                if let Some(path) = path("remove") {
                    assert!(table.files.remove(&path).is_some(), "{path} was no file of the table");
                }
                if let Some(id) = action["txn"]["appId"].as_str() {
                    table.ids.insert(id.to_owned(), action["txn"]["version"].as_i64().unwrap());
                }
                for (kind, kept) in [("metaData", &mut table.metadata), ("protocol", &mut table.protocol)] {
                    if !action[kind].is_null() {
                        *kept = action[kind].clone();
                    }
                }
            }
            table.versions += 1;
        }
        table
    }

    /// Reads the log of a table in a directory.
    pub fn of(place: &Place, table: &str) -> Self {
        DeltaTable::read(|name| std::fs::read(place.path(table).join(name)).ok())
    }

    /// Number of loads that stand.
    pub fn loads(&self) -> usize {
        self.ids.iter().filter(|(id, version)| id.len() == 64 && *version % 2 == 1).count()
    }

    /// Names and types of the columns.
    pub fn columns(&self) -> Vec<(String, Value)> {
        let schema: Value = serde_json::from_str(self.metadata["schemaString"].as_str().unwrap()).unwrap();
        let fields = schema["fields"].as_array().unwrap().iter();
        fields.map(|field| (field["name"].as_str().unwrap().to_owned(), field["type"].clone())).collect()
    }

    /// Reads all rows, in the order of the names of the files; values of partitions are text.
    pub fn rows(&self, read: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<Value> {
        let mut all = Vec::new();
        for (name, add) in &self.files {
            let bytes = read(name).unwrap_or_else(|| panic!("{name} is named by the log and gone"));
            assert_eq!(bytes.len() as u64, add["size"].as_u64().unwrap(), "{name}");
            let found = rows::parquet(bytes);
            let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
            assert_eq!(stats["numRecords"].as_u64().unwrap(), found.len() as u64, "{name}");
            for row in found {
                let mut row: Map<String, Value> = row.as_object().unwrap().clone();
                row.extend(add["partitionValues"].as_object().unwrap().clone());
                all.push(Value::Object(row));
            }
        }
        all
    }

    /// Reads all rows of a table in a directory.
    pub fn local_rows(&self, place: &Place, table: &str) -> Vec<Value> {
        self.rows(|name| std::fs::read(place.path(table).join(name)).ok())
    }
}

/// The readers and writers of Python.
pub struct Readers(PathBuf);

impl Readers {
    /// Finds the Python with deltalake; `None` where the test is to be skipped.
    pub fn find() -> Option<Self> {
        tool("DRAWOFF_TEST_DELTA_PYTHON").map(Readers)
    }

    /// Runs the script with these arguments.
    pub fn script(&self, place: &Place, args: &[&str]) -> Done {
        let mut command = place.program(&self.0);
        command.arg("-c").arg(include_str!("delta_reader.py")).args(args);
        Done::of(command).ok()
    }

    /// Writes one of the tables of the script.
    pub fn make(&self, place: &Place, table: &str, name: &str) {
        self.script(place, &["make", table, name]);
    }

    /// Reads a table by each reader: rows sorted by `id`, which are the same in all of them.
    #[track_caller]
    pub fn rows(&self, place: &Place, table: &str) -> Vec<Value> {
        // DuckDB is not asked for tables in stores.
        self.rows_by(place, table, if table.contains("://") { 1 } else { 2 })
    }

    /// Reads a table by so many readers.
    #[track_caller]
    pub fn rows_by(&self, place: &Place, table: &str, n_readers: usize) -> Vec<Value> {
        let mut found: Vec<Value> = self.script(place, &["read", table]).records();
        assert_eq!(found.len(), n_readers, "readers of {table}");
        for read in &mut found {
            let rows = read["rows"].as_array_mut().unwrap();
            rows.sort_by_key(|row| row["id"].to_string());
        }
        let first = found[0]["rows"].as_array().unwrap().clone();
        for other in &found[1..] {
            assert_eq!(other["rows"], Value::Array(first.clone()), "{} reads {table} otherwise", other["reader"]);
        }
        first
    }
}

/// Azurite, Azure's store as a program of Node; killed on drop.
#[cfg(feature = "object-store")]
pub struct Azurite {
    process: std::process::Child,
    url: String,
}

#[cfg(feature = "object-store")]
impl Azurite {
    /// Starts the store with the container `bucket`; `None` without `DRAWOFF_TEST_AZURITE`.
    pub fn start(readers: &Readers) -> Option<Self> {
        use std::io::BufRead as _;
        use std::process::{Command, Stdio};

        let program = std::env::var_os("DRAWOFF_TEST_AZURITE").filter(|path| !path.is_empty())?;
        let mut command = Command::new("node");
        command.arg(program).args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence"]);
        command.args(["--skipApiVersionCheck", "--disableTelemetry"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = std::io::BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| Some(line.unwrap().split_once("listens on ")?.1.trim().to_owned()));
        let url = url.expect("azurite does not start");
        // Its pipe stays open: it logs each request.
        std::thread::spawn(move || lines.count());
        let store = Azurite { process, url };
        readers.script(&store.place(), &["container", &store.url]);
        Some(store)
    }

    /// A place whose commands use this store.
    pub fn place(&self) -> Place {
        Place::new().env("AZURE_STORAGE_USE_EMULATOR", "true").env("AZURITE_BLOB_STORAGE_URL", &self.url)
    }
}

#[cfg(feature = "object-store")]
impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
