//! The log entry of a load: everything that becomes true at once when the entry is there.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::actions::{Action, Add, LOAD_TAG, Metadata, Protocol, encoded_path, load_of};
use super::features::{LOCAL_TIMES, has_feature};
use super::ledger;
use super::schema::{FORMS, add_fields, has_local_times, new_schema};
use super::snapshot::Snapshot;
use super::statistics::{Indexed, statistics};
use crate::column::{Field, Fixed, Schema, Type};
use crate::warehouse::load_facts::LoadFacts;
use crate::warehouse::{DataFile, LoadClaim, LoadMode};

/// Everything about a load that its entry says.
pub(super) struct Entry<'a> {
    pub(super) files: &'a [DataFile],
    /// The columns of the files and of their partitions.
    pub(super) columns: &'a Schema,
    pub(super) partition_by: &'a [std::sync::Arc<str>],
    pub(super) mode: &'a LoadMode,
    /// Keys of the load.
    pub(super) claims: &'a [LoadClaim],
    pub(super) facts: LoadFacts,
    /// The keys of earlier loads whose files are removed.
    pub(super) replaces: &'a [String],
    pub(super) attempt: &'a str,
    /// Milliseconds since 1970.
    pub(super) now: i64,
}

/// A log entry.
pub(super) struct Written {
    /// Its text.
    pub(super) text: Vec<u8>,
    /// Sentences for the report.
    pub(super) notes: Vec<String>,
}

impl Entry<'_> {
    /// Returns the entry for the version after `snapshot`; the reason if the table cannot have these columns.
    pub(super) fn after(&self, snapshot: &Snapshot) -> Result<Written, String> {
        let mut notes = Vec::new();
        let is_new = snapshot.version.is_none();
        let mut actions: Vec<Action> = Vec::new();
        if is_new {
            actions.extend(self.creation()?);
            notes.push("created the table".to_owned());
        } else {
            actions.extend(self.widened(snapshot, &mut notes)?);
        }
        for claim in self.claims {
            let txns = ledger::recorded(snapshot, claim, &self.facts, self.now);
            actions.extend(txns.map(|txn| Action { txn: Some(txn), ..Action::default() }));
        }
        let is_replace = *self.mode == LoadMode::Replace;
        if is_replace {
            let txns = ledger::replaced(snapshot, self.claims, self.now).into_iter();
            actions.extend(txns.map(|txn| Action { txn: Some(txn), ..Action::default() }));
        }
        let removed: Vec<&Add> = self.removed(snapshot);
        if !removed.is_empty() {
            notes.push(format!("replaced {}", crate::text::counted(removed.len() as u64, "file")));
        }
        for add in &removed {
            actions.push(Action { remove: Some(add.remove(self.now)), ..Action::default() });
        }
        let indexed = Indexed::of(snapshot);
        let in_files = self.columns.without(self.partition_by);
        for file in self.files {
            actions.push(Action { add: Some(self.add(file, &in_files, &indexed)), ..Action::default() });
        }
        let info = self.commit_info(is_new, removed.len());
        actions.insert(0, Action { commit_info: Some(info), ..Action::default() });
        let mut text = Vec::new();
        for action in actions {
            serde_json::to_writer(&mut text, &action).map_err(|error| error.to_string())?;
            text.push(b'\n');
        }
        Ok(Written { text, notes })
    }

    /// Returns the files that the load replaces.
    pub(super) fn removed<'s>(&self, snapshot: &'s Snapshot) -> Vec<&'s Add> {
        let files = snapshot.files.iter().flat_map(|files| files.values());
        let is_removed =
            |add: &&Add| *self.mode == LoadMode::Replace || self.replaces.iter().any(|key| load_of(add) == Some(key));
        let mut removed: Vec<&Add> = files.filter(is_removed).collect();
        removed.sort_by(|a, b| a.path.cmp(&b.path));
        removed
    }

    fn creation(&self) -> Result<[Action; 2], String> {
        let schema = new_schema(self.columns).map_err(str::to_owned)?;
        let local = self.columns.fields.iter().any(|field| has_local_times(&field.ty));
        let features = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let protocol = match local {
            // The oldest versions, which every reader and writer knows.
            false => Protocol { min_reader_version: 1, min_writer_version: 2, ..Protocol::default() },
            true => Protocol {
                min_reader_version: 3,
                min_writer_version: 7,
                reader_features: features(&[LOCAL_TIMES]),
                writer_features: features(&[LOCAL_TIMES, "appendOnly", "invariants"]),
            },
        };
        let metadata = Metadata {
            id: uuid_of(self.attempt, self.now),
            name: None,
            description: None,
            format: json!({"provider": "parquet", "options": {}}),
            schema_string: schema.to_string(),
            partition_columns: self.partition_by.iter().map(|name| name.to_string()).collect(),
            created_time: Some(self.now),
            configuration: BTreeMap::new(),
        };
        Ok([
            Action { protocol: Some(protocol), ..Action::default() },
            Action { meta_data: Some(metadata), ..Action::default() },
        ])
    }

    /// Returns the new metadata if the files have columns that the table lacks.
    fn widened(&self, snapshot: &Snapshot, notes: &mut Vec<String>) -> Result<Option<Action>, String> {
        let before = snapshot.schema().map_err(|error| error.to_string())?;
        let mut schema = before.clone();
        let added = add_fields(&mut schema, &self.columns.fields).map_err(str::to_owned)?;
        if schema == before {
            return Ok(None);
        }
        let local = self.columns.fields.iter().any(|field: &Field| has_local_times(&field.ty));
        if local && !has_feature(snapshot, LOCAL_TIMES) {
            return Err(NO_LOCAL_TIMES.to_owned());
        }
        if !added.is_empty() {
            let s = if added.len() == 1 { "" } else { "s" };
            let named: Vec<String> = added.iter().map(|name| format!("`{name}`")).collect();
            notes.push(format!("added the column{s} {}", named.join(", ")));
        }
        let mut metadata = Metadata { schema_string: schema.to_string(), ..snapshot.metadata.clone() };
        // The fields say it themselves now.
        metadata.configuration.remove(FORMS);
        Ok(Some(Action { meta_data: Some(metadata), ..Action::default() }))
    }

    fn add(&self, file: &DataFile, in_files: &Schema, indexed: &Indexed) -> Add {
        let values = self.partition_by.iter().zip(&file.partition);
        let values = values.map(|(name, value)| {
            let ty = self.columns.fields.iter().find(|field| field.name == *name).map(|field| &field.ty);
            (name.to_string(), value.as_ref().map(|value| partition_text(ty, value)))
        });
        let tag = |claim: &LoadClaim| claim.set.as_ref().map_or(claim.key.as_str(), |set| &set.key).to_owned();
        let mut tags = BTreeMap::new();
        tags.insert(LOAD_TAG.to_owned(), self.claims.first().map(tag));
        Add {
            path: encoded_path(&file.name),
            partition_values: values.collect(),
            size: file.bytes as i64,
            modification_time: self.now,
            data_change: true,
            stats: Some(statistics(file, in_files, indexed)),
            tags: Some(tags),
            deletion_vector: None,
        }
    }

    fn commit_info(&self, is_new: bool, removed: usize) -> Value {
        let rows: u64 = self.files.iter().map(|file| file.rows).sum();
        let bytes: u64 = self.files.iter().map(|file| file.bytes).sum();
        let is_append = *self.mode == LoadMode::Append && self.replaces.is_empty();
        let partition_by: Vec<&str> = self.partition_by.iter().map(|name| &**name).collect();
        let mut info = Map::new();
        info.insert("timestamp".into(), self.now.into());
        info.insert("operation".into(), "WRITE".into());
        let parameters = json!({
            "mode": if is_append { "Append" } else { "Overwrite" },
            "partitionBy": json!(partition_by).to_string(),
        });
        info.insert("operationParameters".into(), parameters);
        info.insert("isolationLevel".into(), "Serializable".into());
        info.insert("isBlindAppend".into(), (is_append && removed == 0).into());
        let metrics = json!({
            "numFiles": self.files.len().to_string(),
            "numOutputRows": rows.to_string(),
            "numOutputBytes": bytes.to_string(),
        });
        info.insert("operationMetrics".into(), metrics);
        info.insert("engineInfo".into(), concat!("drawoff/", env!("CARGO_PKG_VERSION")).into());
        // Makes the text of each attempt its own: it is how a lost answer is settled.
        info.insert("txnId".into(), uuid_of(self.attempt, 0).into());
        info.insert("isNewTable".into(), is_new.into());
        Value::Object(info)
    }
}

/// Returns a value that divides the table as the protocol spells it: a local time with a space where its directory has a `T`.
fn partition_text(ty: Option<&Type>, value: &str) -> String {
    match ty {
        Some(Type::Fixed(Fixed::Timestamp { local: true, .. })) => value.replacen('T', " ", 1),
        _ => value.to_owned(),
    }
}

/// The reason for which local times cannot go into a table.
pub(super) const NO_LOCAL_TIMES: &str = "it has no feature `timestampNtz` for local times; cast them to times in UTC, or add \
     the feature to the table";

/// Returns an id in the form of a UUID, of an attempt and a time.
fn uuid_of(attempt: &str, now: i64) -> String {
    let digest = crate::warehouse::CommitKey::of(&["uuid", attempt, &now.to_string()]);
    let hex = digest.as_str();
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
