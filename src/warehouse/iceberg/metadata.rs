//! The metadata of a table, as its JSON is: read by name, so that whatever else is in it stays, and changed by the same
//! updates that a catalog over HTTP is sent. Pure.

use std::io::Read as _;

use serde_json::{Map, Value, json};

use super::types::{FORMS, TextForms};

/// The branch that loads commit to.
pub(super) const BRANCH: &str = "main";

/// Most bytes of a metadata file after decompression.
const MAX_METADATA_BYTES: u64 = 1 << 30;

/// Earlier metadata files that are kept by name, if the table does not say how many.
const PREVIOUS_VERSIONS: usize = 100;

/// The metadata of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TableMetadata(pub(super) Value);

impl TableMetadata {
    /// Reads a metadata file, which may be compressed.
    pub(super) fn of_file(bytes: &[u8]) -> Result<Self, String> {
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return Self::read(bytes);
        }
        let mut text = Vec::new();
        let plain = flate2::read::MultiGzDecoder::new(bytes).take(MAX_METADATA_BYTES).read_to_end(&mut text);
        plain.map_err(|error| error.to_string())?;
        Self::read(&text)
    }

    /// Reads the text of a metadata file.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        match value.get("format-version").and_then(Value::as_i64) {
            Some(_) => Ok(TableMetadata(value)),
            None => Err("it has no format-version".to_owned()),
        }
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    fn list(&self, name: &str) -> &[Value] {
        self.0.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn format_version(&self) -> i64 {
        self.int("format-version").unwrap_or(0)
    }

    pub(super) fn uuid(&self) -> &str {
        self.0.get("table-uuid").and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns the URL of the table, without a slash at its end.
    pub(super) fn location(&self) -> &str {
        self.0.get("location").and_then(Value::as_str).unwrap_or_default().trim_end_matches('/')
    }

    pub(super) fn properties(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.get("properties").and_then(Value::as_object).into_iter().flatten()
    }

    pub(super) fn property(&self, name: &str) -> Option<&str> {
        self.0.get("properties")?.get(name)?.as_str()
    }

    /// Returns what the text of fields is.
    pub(super) fn forms(&self) -> TextForms {
        TextForms::read(self.property(FORMS).unwrap_or_default())
    }

    pub(super) fn snapshots(&self) -> &[Value] {
        self.list("snapshots")
    }

    /// Returns true if a snapshot is there.
    pub(super) fn has_snapshot(&self, id: i64) -> bool {
        self.snapshots().iter().any(|snapshot| snapshot.get("snapshot-id").and_then(Value::as_i64) == Some(id))
    }

    /// Returns the id of the last snapshot of the branch; `None` before the first.
    pub(super) fn branch_snapshot(&self) -> Option<i64> {
        let of_branch = self.0.get("refs").and_then(|refs| refs.get(BRANCH)).and_then(|of| of.get("snapshot-id"));
        of_branch.and_then(Value::as_i64).or_else(|| self.int("current-snapshot-id")).filter(|id| *id >= 0)
    }

    /// Returns the last snapshot of the branch.
    pub(super) fn current_snapshot(&self) -> Option<&Value> {
        let id = self.branch_snapshot()?;
        self.snapshots().iter().find(|snapshot| snapshot.get("snapshot-id").and_then(Value::as_i64) == Some(id))
    }

    pub(super) fn schema_id(&self) -> i64 {
        self.int("current-schema-id").unwrap_or(0)
    }

    /// Returns the current schema.
    pub(super) fn schema(&self) -> Option<&Value> {
        let id = self.schema_id();
        self.list("schemas").iter().find(|schema| schema.get("schema-id").and_then(Value::as_i64) == Some(id))
    }

    /// Returns the id for another schema.
    pub(super) fn next_schema_id(&self) -> i64 {
        let ids = self.list("schemas").iter().filter_map(|schema| schema.get("schema-id")?.as_i64());
        ids.max().map_or(0, |id| id + 1)
    }

    pub(super) fn last_column_id(&self) -> i64 {
        self.int("last-column-id").unwrap_or(0)
    }

    pub(super) fn spec_id(&self) -> i64 {
        self.int("default-spec-id").unwrap_or(0)
    }

    /// Returns the default partition spec.
    pub(super) fn spec(&self) -> Option<&Value> {
        let id = self.spec_id();
        self.list("partition-specs").iter().find(|spec| spec.get("spec-id").and_then(Value::as_i64) == Some(id))
    }

    /// Returns the names of the partition fields of all specs, with the ids of their columns; those that a spec does not use any
    /// more included.
    pub(super) fn partition_names(&self) -> Vec<(String, Option<i64>)> {
        let fields = self.list("partition-specs").iter().filter_map(|spec| spec.get("fields")?.as_array()).flatten();
        let name = |field: &Value| {
            // A field of its own column has its name; the bucket of one has not.
            let is_column = field.get("transform").and_then(Value::as_str) == Some("identity");
            let source = field.get("source-id").and_then(Value::as_i64).filter(|_| is_column);
            Some((field.get("name")?.as_str()?.to_owned(), source))
        };
        fields.filter_map(name).collect()
    }

    pub(super) fn last_sequence_number(&self) -> i64 {
        self.int("last-sequence-number").unwrap_or(0)
    }

    /// Returns the URLs of the metadata files that it names.
    pub(super) fn metadata_log(&self) -> impl Iterator<Item = &str> {
        self.list("metadata-log").iter().filter_map(|entry| entry.get("metadata-file")?.as_str())
    }

    /// Returns the URLs of the manifest lists of all snapshots.
    pub(super) fn manifest_lists(&self) -> impl Iterator<Item = &str> {
        self.snapshots().iter().filter_map(|snapshot| snapshot.get("manifest-list")?.as_str())
    }

    /// Returns the URLs of further files of all snapshots: their statistics.
    pub(super) fn statistics_files(&self) -> impl Iterator<Item = &str> {
        let lists = ["statistics", "partition-statistics"].into_iter().flat_map(|name| self.list(name));
        lists.filter_map(|of| of.get("statistics-path")?.as_str())
    }

    /// Applies the updates of a commit at `now`, in milliseconds since 1970. `before` is the URL of this metadata.
    pub(super) fn update(&mut self, updates: &[Value], before: Option<&str>, now: i64) -> Result<(), String> {
        let earlier = self.int("last-updated-ms").unwrap_or(now);
        let now = now.max(earlier);
        for update in updates {
            self.apply(update, now)?;
        }
        if let Some(before) = before {
            let log = self.list_mut("metadata-log")?;
            log.push(json!({"metadata-file": before, "timestamp-ms": earlier}));
            let kept = self.property("write.metadata.previous-versions-max").and_then(|text| text.parse().ok());
            let kept = kept.unwrap_or(PREVIOUS_VERSIONS).max(1);
            let log = self.list_mut("metadata-log")?;
            let first = log.len().saturating_sub(kept);
            log.drain(..first);
        }
        self.set("last-updated-ms", now.into())
    }

    fn object(&mut self) -> Result<&mut Map<String, Value>, String> {
        self.0.as_object_mut().ok_or_else(|| "it is no object".to_owned())
    }

    fn set(&mut self, name: &str, value: Value) -> Result<(), String> {
        self.object()?.insert(name.to_owned(), value);
        Ok(())
    }

    fn list_mut(&mut self, name: &str) -> Result<&mut Vec<Value>, String> {
        let list = self.object()?.entry(name).or_insert_with(|| json!([]));
        list.as_array_mut().ok_or_else(|| format!("its {name} is no list"))
    }

    fn object_mut(&mut self, name: &str) -> Result<&mut Map<String, Value>, String> {
        let object = self.object()?.entry(name).or_insert_with(|| json!({}));
        object.as_object_mut().ok_or_else(|| format!("its {name} is no object"))
    }

    fn apply(&mut self, update: &Value, now: i64) -> Result<(), String> {
        let member = |name: &str| update.get(name).cloned().unwrap_or_default();
        match update.get("action").and_then(Value::as_str).unwrap_or_default() {
            "assign-uuid" => self.set("table-uuid", member("uuid")),
            "upgrade-format-version" => self.set("format-version", member("format-version")),
            "set-location" => self.set("location", member("location")),
            "add-schema" => {
                let last = member("last-column-id").as_i64().unwrap_or(0).max(self.last_column_id());
                self.set("last-column-id", last.into())?;
                self.list_mut("schemas")?.push(member("schema"));
                Ok(())
            }
            "set-current-schema" => {
                let last = self.list("schemas").last().and_then(|schema| schema.get("schema-id")).cloned();
                self.set("current-schema-id", last.unwrap_or_default())
            }
            "add-spec" => {
                let spec = member("spec");
                let ids = spec.get("fields").and_then(Value::as_array).into_iter().flatten();
                let last = ids.filter_map(|field| field.get("field-id")?.as_i64()).max().unwrap_or(999);
                self.set("last-partition-id", last.into())?;
                self.list_mut("partition-specs")?.push(spec);
                Ok(())
            }
            "set-default-spec" => self.set("default-spec-id", 0.into()),
            "add-sort-order" => {
                self.list_mut("sort-orders")?.push(member("sort-order"));
                Ok(())
            }
            "set-default-sort-order" => self.set("default-sort-order-id", 0.into()),
            "set-properties" => {
                let Value::Object(set) = member("updates") else { return Ok(()) };
                self.object_mut("properties")?.extend(set);
                Ok(())
            }
            "add-snapshot" => {
                let snapshot = member("snapshot");
                let sequence = snapshot.get("sequence-number").cloned().unwrap_or_default();
                self.set("last-sequence-number", sequence)?;
                self.list_mut("snapshots")?.push(snapshot);
                Ok(())
            }
            "set-snapshot-ref" => {
                let id = member("snapshot-id");
                let mut of = self.object_mut("refs")?.get(BRANCH).cloned().unwrap_or_else(|| json!({"type": "branch"}));
                of["snapshot-id"] = id.clone();
                self.object_mut("refs")?.insert(BRANCH.to_owned(), of);
                self.list_mut("snapshot-log")?.push(json!({"snapshot-id": id, "timestamp-ms": now}));
                self.set("current-snapshot-id", id)
            }
            other => Err(format!("it cannot be changed by `{other}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_changes_what_it_says_and_keeps_the_rest() {
        let text = json!({"format-version": 2, "last-updated-ms": 500, "unknown": {"kept": 9007199254740993_i64},
            "properties": {"a": "1", "write.metadata.previous-versions-max": "2"}, "last-sequence-number": 3,
            "refs": {"main": {"type": "branch", "snapshot-id": 1, "max-ref-age-ms": 5}, "other": {"snapshot-id": 9}},
            "snapshots": [{"snapshot-id": 1}], "schemas": [{"schema-id": 0, "fields": []}], "current-schema-id": 0,
            "metadata-log": [{"metadata-file": "m0"}, {"metadata-file": "m1"}], "last-column-id": 3});
        let mut metadata = TableMetadata::read(text.to_string().as_bytes()).unwrap();
        let updates = [
            json!({"action": "add-schema", "schema": {"schema-id": 1, "fields": []}, "last-column-id": 5}),
            json!({"action": "set-current-schema", "schema-id": -1}),
            json!({"action": "add-snapshot", "snapshot": {"snapshot-id": 7, "sequence-number": 4}}),
            json!({"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 7}),
            json!({"action": "set-properties", "updates": {"b": "2"}}),
        ];
        // A clock that runs behind that of the last writer.
        metadata.update(&updates, Some("m2"), 400).unwrap();
        assert_eq!((metadata.branch_snapshot(), metadata.schema_id(), metadata.last_column_id()), (Some(7), 1, 5));
        assert_eq!(metadata.0["refs"]["main"], json!({"type": "branch", "snapshot-id": 7, "max-ref-age-ms": 5}));
        assert_eq!(metadata.0["unknown"], text["unknown"]);
        assert_eq!((metadata.property("a"), metadata.property("b")), (Some("1"), Some("2")));
        assert_eq!(metadata.metadata_log().collect::<Vec<_>>(), ["m1", "m2"]);
        assert_eq!((&metadata.0["last-updated-ms"], metadata.last_sequence_number()), (&json!(500), 4));
        assert!(metadata.update(&[json!({"action": "unknown"})], None, 0).is_err());
        assert!(TableMetadata::read(b"{}").is_err());
    }

    #[test]
    fn a_table_without_snapshots_has_none() {
        for text in [json!({"format-version": 2, "current-snapshot-id": -1}), json!({"format-version": 2})] {
            assert_eq!(TableMetadata(text).branch_snapshot(), None);
        }
    }
}
