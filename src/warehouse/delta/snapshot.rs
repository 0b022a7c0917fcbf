//! One version of a Delta table, read from its log: the latest checkpoint and the entries after it.
//!
//! ```text
//! _delta_log/00000000000000000010.checkpoint.parquet     the state after entry 10
//! _delta_log/00000000000000000011.json                   the actions of entry 11, one a line
//! _delta_log/_last_checkpoint                            where to begin, perhaps outdated
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

use serde_json::{Value, json};

use super::actions::{Action, Add, Metadata, Protocol, Transaction, load_of, rows_of};
use super::checkpoint::read_checkpoint;
use super::schema::{FORMS, apply_forms};
use crate::sink::DirectoryStorage;
use crate::warehouse::LedgerRow;

/// The directory of the log, relative to the table.
pub(super) const LOG: &str = "_delta_log";

/// The file that names the latest checkpoint.
const LAST_CHECKPOINT: &str = "_delta_log/_last_checkpoint";

/// The failure to read a table.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The log is damaged, or of a form that is not known.
    #[error("{0}")]
    Log(String),
}

/// The state of a table after one version of its log.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// The version; `None` if there is no table.
    pub(super) version: Option<u64>,
    pub(super) protocol: Protocol,
    pub(super) metadata: Metadata,
    /// The last version of each application.
    pub(super) transactions: BTreeMap<String, Transaction>,
    /// The data files, by path and deletion vector; `None` if they were not asked for.
    pub(super) files: Option<HashMap<(String, String), Add>>,
    /// Paths of files that were removed, if the files were asked for.
    pub(super) removed: HashSet<String>,
}

/// Returns the name of a log entry, relative to the table.
pub(super) fn entry_name(version: u64) -> String {
    format!("{LOG}/{version:020}.json")
}

/// A checkpoint of a version, with its files.
struct Checkpoint {
    version: u64,
    files: Vec<String>,
}

impl Snapshot {
    /// Reads the latest version; that of no table if there is no log. The data files are kept only `with_files`.
    pub(super) fn read(storage: &DirectoryStorage, with_files: bool) -> Result<Self, ReadError> {
        let hint = storage.read(LAST_CHECKPOINT)?;
        let hint = hint.and_then(|text| serde_json::from_slice::<Value>(&text).ok()?.get("version")?.as_u64());
        let from = hint.unwrap_or(0);
        // Entries before the checkpoint are of no use, and a table that is years old has many.
        let after = (from > 0).then(|| format!("{LOG}/{:020}", from - 1) + ".z");
        let mut listed = Log::list(storage, after.as_deref())?;
        if hint.is_some() && listed.checkpoint().is_none() {
            // The hint is wrong: its checkpoint is gone.
            listed = Log::list(storage, None)?;
        }
        let mut snapshot = Snapshot { files: with_files.then(HashMap::new), ..Snapshot::default() };
        let checkpoint = listed.checkpoint();
        let mut next = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.version + 1);
        if let Some(checkpoint) = checkpoint {
            for name in &checkpoint.files {
                snapshot.apply_checkpoint(storage, name)?;
            }
            snapshot.version = Some(checkpoint.version);
        }
        for version in listed.entries.into_iter().filter(|version| *version >= next).collect::<Vec<_>>() {
            if version != next {
                return Err(ReadError::Log(format!("entry {next} of its log is missing, and {version} is there")));
            }
            let text = storage.read(&entry_name(version))?;
            let text = text.ok_or_else(|| ReadError::Log(format!("entry {version} of its log is gone")))?;
            snapshot.apply_entry(version, &text)?;
            next += 1;
        }
        if snapshot.version.is_some() && snapshot.protocol.min_writer_version == 0 {
            return Err(ReadError::Log("its log has no protocol".to_owned()));
        }
        Ok(snapshot)
    }

    /// Reads the entries that others have written since.
    pub(super) fn advance(&mut self, storage: &DirectoryStorage) -> Result<(), ReadError> {
        loop {
            let next = self.version.map_or(0, |version| version + 1);
            match storage.read(&entry_name(next))? {
                Some(text) => self.apply_entry(next, &text)?,
                None => return Ok(()),
            }
        }
    }

    /// Applies an entry of the log.
    fn apply_entry(&mut self, version: u64, text: &[u8]) -> Result<(), ReadError> {
        each_action(text, &mut |action| {
            self.apply(action);
            Ok(())
        })
        .map_err(|cause| ReadError::Log(format!("entry {version} of its log cannot be read: {cause}")))?;
        self.version = Some(version);
        Ok(())
    }

    /// Applies a file of a checkpoint, and those that it refers to.
    fn apply_checkpoint(&mut self, storage: &DirectoryStorage, name: &str) -> Result<(), ReadError> {
        let with_files = self.files.is_some();
        let mut sidecars = Vec::new();
        let mut take = |action: Action| {
            sidecars.extend(action.sidecar.as_ref().map(|sidecar| sidecar.path.clone()));
            self.apply(action);
            Ok(())
        };
        read_actions(storage, name, with_files, &mut take)?;
        for sidecar in sidecars.iter().filter(|_| with_files) {
            let name = format!("{LOG}/_sidecars/{sidecar}");
            read_actions(storage, &name, with_files, &mut |action| {
                self.apply(action);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn apply(&mut self, action: Action) {
        let Action { protocol, meta_data, txn, remove, add, commit_info: _, sidecar: _ } = action;
        if let Some(protocol) = protocol {
            self.protocol = protocol;
        }
        if let Some(metadata) = meta_data {
            self.metadata = metadata;
        }
        if let Some(txn) = txn {
            self.transactions.insert(txn.app_id.clone(), txn);
        }
        let Some(files) = &mut self.files else { return };
        if let Some(remove) = remove {
            files.remove(&remove.key());
            self.removed.insert(remove.path);
        }
        if let Some(mut add) = add {
            // All else of the statistics is of use to readers only, and large.
            add.stats = rows_of(&add).map(|rows| json!({"numRecords": rows}).to_string());
            files.insert(add.key(), add);
        }
    }

    /// Returns a property of the table.
    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.metadata.configuration.get(name).map(String::as_str)
    }

    /// Returns true if no row of a load is in the table any more: there are no files, or each is one of another load. Files
    /// that other engines have written may have any rows. False if the files were not asked for.
    pub(super) fn has_lost(&self, load: &LedgerRow) -> bool {
        let Some(files) = &self.files else { return false };
        let is_of_another = |add: &Add| load_of(add).is_some_and(|key| key != load.row_key());
        files.is_empty() || load.set.is_none() && files.values().all(is_of_another)
    }

    /// Returns the schema in JSON.
    pub(super) fn schema(&self) -> Result<Value, ReadError> {
        let schema = serde_json::from_str(&self.metadata.schema_string);
        let mut schema = schema.map_err(|error| ReadError::Log(format!("its schema cannot be read: {error}")))?;
        if let Some(forms) = self.property(FORMS) {
            apply_forms(&mut schema, forms);
        }
        Ok(schema)
    }
}

/// Reads the actions of a file of a checkpoint.
fn read_actions(
    storage: &DirectoryStorage,
    name: &str,
    with_files: bool,
    take: &mut dyn FnMut(Action) -> Result<(), String>,
) -> Result<(), ReadError> {
    let gone = || ReadError::Log(format!("{name} is gone"));
    let read = match name.ends_with(".json") {
        true => each_action(&storage.read(name)?.ok_or_else(gone)?, take),
        false => read_checkpoint(storage.open_file(name)?.ok_or_else(gone)?, with_files, take),
    };
    read.map_err(|cause| ReadError::Log(format!("{name} cannot be read: {cause}")))
}

/// Calls `take` for each action of a text with one a line.
pub(super) fn each_action(text: &[u8], take: &mut dyn FnMut(Action) -> Result<(), String>) -> Result<(), String> {
    for line in text.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        take(serde_json::from_slice(line).map_err(|error| error.to_string())?)?;
    }
    Ok(())
}

/// The files of a log.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Versions of entries, ascending.
    pub(super) entries: Vec<u64>,
    /// Files of checkpoints: version, the number of files it has, and the name.
    checkpoints: Vec<(u64, u64, String)>,
}

impl Log {
    /// Lists the files of the log, those of names greater than `after` at least.
    pub(super) fn list(storage: &DirectoryStorage, after: Option<&str>) -> Result<Self, ReadError> {
        let mut log = Log::default();
        for file in storage.list(LOG, after, false)? {
            let Some(name) = file.name.strip_prefix(LOG).map(|name| name.trim_start_matches('/')) else { continue };
            let Some((version, rest)) = name.split_once('.') else { continue };
            let Some(version) = (version.len() == 20).then(|| version.parse().ok()).flatten() else { continue };
            if rest == "json" {
                log.entries.push(version);
            } else if let Some(rest) = rest.strip_prefix("checkpoint.") {
                let parts: Vec<&str> = rest.split('.').collect();
                let of = match parts[..] {
                    ["parquet"] | [_, "parquet" | "json"] => 1,
                    [_, of, "parquet"] => of.parse().unwrap_or(u64::MAX),
                    _ => continue,
                };
                log.checkpoints.push((version, of, file.name.clone()));
            }
        }
        log.entries.sort_unstable();
        Ok(log)
    }

    /// Returns the latest checkpoint of which all files are there.
    fn checkpoint(&self) -> Option<Checkpoint> {
        let mut sets: BTreeMap<(u64, std::cmp::Reverse<u64>), Vec<String>> = BTreeMap::new();
        for (version, of, name) in &self.checkpoints {
            sets.entry((*version, std::cmp::Reverse(*of))).or_default().push(name.clone());
        }
        // Of one version, that in one file is the last.
        let complete = sets.into_iter().rev().find(|((_, of), names)| of.0 == 1 || names.len() as u64 == of.0);
        let ((version, of), mut files) = complete?;
        files.sort();
        if of.0 == 1 {
            // Several checkpoints of one version are the same state.
            files.truncate(1);
        }
        Some(Checkpoint { version, files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::PutNew;

    fn table(files: &[(&str, &str)]) -> (tempfile::TempDir, DirectoryStorage) {
        let directory = tempfile::tempdir().unwrap();
        let storage = DirectoryStorage::Local(directory.path().to_owned());
        for (name, text) in files {
            assert!(matches!(storage.put_new(&format!("{LOG}/{name}"), text.as_bytes()).unwrap(), PutNew::Written));
        }
        (directory, storage)
    }

    const FIRST: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"x","format":{"provider":"parquet","options":{}},"schemaString":"{}","partitionColumns":[],"configuration":{"delta.appendOnly":"true"}}}
{"add":{"path":"a","partitionValues":{},"size":1,"modificationTime":1,"dataChange":true}}
"#;

    #[test]
    fn a_table_is_what_its_log_says() {
        let second = "{\"txn\":{\"appId\":\"k\",\"version\":1}}\n{\"remove\":{\"path\":\"a\",\"dataChange\":true}}\n";
        let (_directory, storage) =
            table(&[("00000000000000000000.json", FIRST), (".00000000000000000001.json.tmp", "{}"), ("x.json", "")]);
        let mut snapshot = Snapshot::read(&storage, true).unwrap();
        assert_eq!((snapshot.version, snapshot.files.as_ref().unwrap().len()), (Some(0), 1));
        assert_eq!(snapshot.property("delta.appendOnly"), Some("true"));
        storage.put_new(&entry_name(1), second.as_bytes()).unwrap();
        snapshot.advance(&storage).unwrap();
        assert_eq!((snapshot.version, snapshot.files.as_ref().unwrap().len()), (Some(1), 0));
        assert_eq!(snapshot.transactions["k"].version, 1);
        assert_eq!(Snapshot::read(&storage, false).unwrap().version, Some(1));
        storage.put_new(&entry_name(3), b"{}").unwrap();
        assert!(Snapshot::read(&storage, false).unwrap_err().to_string().contains("entry 2 of its log is missing"));
    }

    #[test]
    fn no_log_is_no_table_and_a_damaged_one_an_error() {
        let (_directory, storage) = table(&[]);
        assert_eq!(Snapshot::read(&storage, false).unwrap().version, None);
        storage.put_new(&entry_name(0), b"{\"protocol\":1}").unwrap();
        assert!(Snapshot::read(&storage, false).unwrap_err().to_string().contains("entry 0 of its log cannot be read"));
    }

    #[test]
    fn the_latest_complete_checkpoint_counts() {
        let of = |names: &[&str]| {
            let files: Vec<(&str, &str)> = names.iter().map(|name| (*name, "")).collect();
            let (_directory, storage) = table(&files);
            let log = Log::list(&storage, None).unwrap();
            log.checkpoint().map(|checkpoint| (checkpoint.version, checkpoint.files.len()))
        };
        let part = |i: u32| format!("00000000000000000009.checkpoint.{i:010}.0000000002.parquet");
        assert_eq!(of(&["00000000000000000003.checkpoint.parquet", &part(1)]), Some((3, 1)));
        assert_eq!(of(&["00000000000000000003.checkpoint.parquet", &part(1), &part(2)]), Some((9, 2)));
        assert_eq!(of(&["00000000000000000004.checkpoint.80a083e8-7026.json"]), Some((4, 1)));
        assert_eq!(of(&["00000000000000000004.json", "00000000000000000002.crc"]), None);
    }
}
