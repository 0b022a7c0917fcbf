//! The actions of a Delta log, as far as a load reads or writes them: one JSON object a line, of one member.
//! Members that are not known are ignored, as the protocol asks for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The tag of data files that names the load.
pub(super) const LOAD_TAG: &str = "drawoff.load";

/// One line of a log entry, or one row of a checkpoint.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Action {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) commit_info: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) meta_data: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) txn: Option<Transaction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remove: Option<Remove>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) add: Option<Add>,
    /// A file of a checkpoint that has actions of files.
    #[serde(skip_serializing)]
    pub(super) sidecar: Option<Sidecar>,
}

/// The versions and features that readers and writers of the table must know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    pub(super) min_reader_version: u32,
    pub(super) min_writer_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) writer_features: Option<Vec<String>>,
}

/// The columns and properties of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) format: Value,
    pub(super) schema_string: String,
    #[serde(default)]
    pub(super) partition_columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created_time: Option<i64>,
    #[serde(default, deserialize_with = "texts")]
    pub(super) configuration: BTreeMap<String, String>,
}

/// The last version that an application has written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Transaction {
    pub(super) app_id: String,
    pub(super) version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_updated: Option<i64>,
}

/// A data file that becomes part of the table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Add {
    /// The path as a URI relative to the table, percent-encoded once more.
    pub(super) path: String,
    #[serde(default)]
    pub(super) partition_values: BTreeMap<String, Option<String>>,
    #[serde(default)]
    pub(super) size: i64,
    #[serde(default)]
    pub(super) modification_time: i64,
    #[serde(default)]
    pub(super) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tags: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deletion_vector: Option<Value>,
}

/// A data file that was part of the table.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remove {
    pub(super) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deletion_timestamp: Option<i64>,
    #[serde(default)]
    pub(super) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deletion_vector: Option<Value>,
}

/// A file that a checkpoint refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Sidecar {
    pub(super) path: String,
}

impl Add {
    /// Returns the identity of the file in the table: its path and its deletion vector.
    pub(super) fn key(&self) -> (String, String) {
        (self.path.clone(), vector_id(self.deletion_vector.as_ref()))
    }

    /// Returns the action that removes the file.
    pub(super) fn remove(&self, now: i64) -> Remove {
        Remove {
            path: self.path.clone(),
            deletion_timestamp: Some(now),
            data_change: true,
            extended_file_metadata: Some(true),
            partition_values: Some(self.partition_values.clone()),
            size: Some(self.size),
            deletion_vector: self.deletion_vector.clone(),
        }
    }
}

impl Remove {
    /// As [`Add::key`].
    pub(super) fn key(&self) -> (String, String) {
        (self.path.clone(), vector_id(self.deletion_vector.as_ref()))
    }
}

/// Returns the rows of a data file as its statistics have them.
pub(super) fn rows_of(add: &Add) -> Option<u64> {
    let stats: Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
    stats.get("numRecords")?.as_u64()
}

/// Returns the unique id of a deletion vector; empty for none.
fn vector_id(vector: Option<&Value>) -> String {
    let Some(vector) = vector.filter(|vector| !vector.is_null()) else { return String::new() };
    let text = |name: &str| vector.get(name).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
    let offset = text("offset").filter(|offset| offset != "null").map(|offset| format!("@{offset}"));
    format!(
        "{}{}{}",
        text("storageType").unwrap_or_default(),
        text("pathOrInlineDv").unwrap_or_default(),
        offset.unwrap_or_default()
    )
}

/// Reads properties, of which some writers have null ones.
fn texts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let found = Option::<BTreeMap<String, Option<String>>>::deserialize(deserializer)?;
    Ok(found.into_iter().flatten().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// Returns a path as an action has it: a URI, in which all but letters, digits and the marks of paths are percent-encoded.
pub(super) fn encoded_path(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for &byte in name.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/=+,@!$&'()*;:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Returns the name of the file that an action's path is of, relative to the table; `None` for a path elsewhere.
pub(super) fn decoded_path(path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains("://") || path.starts_with("file:") {
        return None;
    }
    percent_decode_str(path).decode_utf8().ok().map(Cow::into_owned)
}

/// Returns the load that a data file is of, by its tag.
pub(super) fn load_of(add: &Add) -> Option<&str> {
    add.tags.as_ref()?.get(LOAD_TAG)?.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded_once_more() {
        let name = "country=%C3%B8 a/drawoff-1.parquet";
        assert_eq!(encoded_path(name), "country=%25C3%25B8%20a/drawoff-1.parquet");
        assert_eq!(decoded_path(&encoded_path(name)).unwrap(), name);
        assert_eq!(decoded_path("s3://b/x"), None);
        assert_eq!(decoded_path("100%.parquet").unwrap(), "100%.parquet");
    }

    #[test]
    fn a_file_is_known_by_its_path_and_its_deletion_vector() {
        let add = |text: &str| serde_json::from_str::<Action>(text).unwrap().add.unwrap();
        let plain = add(r#"{"add":{"path":"a","partitionValues":{"c":null},"size":1,"dataChange":true,"x":2}}"#);
        let deleted = add(
            r#"{"add":{"path":"a","deletionVector":{"storageType":"u","pathOrInlineDv":"x","offset":1,"sizeInBytes":9}}}"#,
        );
        assert_eq!(plain.key(), ("a".into(), String::new()));
        assert_eq!(deleted.key(), ("a".into(), "ux@1".into()));
        assert_eq!(deleted.remove(5).key(), deleted.key());
        assert_eq!(plain.partition_values["c"], None);
    }
}
