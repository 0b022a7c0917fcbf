//! The records of workers and of the commit: receipts, failures, the target, and the commit itself. Values only.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::types;
use crate::column::Schema;

/// A file of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Name relative to the plan.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// The proof that an item is done: its parts are whole, and these are their counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The digest of the plan.
    pub plan_digest: String,
    /// The item.
    pub item: String,
    /// The attempt that made the parts.
    pub attempt: String,
    /// Files in the order of their rows; none if the item has no row.
    pub parts: Vec<Part>,
    /// Files of the same rows as text, compressed; none if the plan does not keep them, or if the item has no row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<Part>,
    /// Columns of the parts, with the types that the worker knew.
    pub columns: Value,
    /// Columns of the records before all steps; `None` if a type of them has no written form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_columns: Option<Value>,
    /// Columns that steps name and no record of the item has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen_columns: Vec<String>,
    /// Records that were read.
    pub rows_in: u64,
    /// Rows in the parts.
    pub rows: u64,
    /// Rows that steps dropped.
    pub rows_filtered: u64,
    /// Rows that steps added.
    pub rows_added: u64,
    /// Records that were rejected.
    pub rows_rejected: u64,
    /// File of the rejected records; `None` if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejects: Option<String>,
    /// Time of the receipt.
    pub finished_at: String,
    /// Version of drawoff.
    pub drawoff: String,
}

impl Receipt {
    /// Returns the written form of columns; `None` for types that no part has.
    pub fn columns_form(schema: &Schema) -> Option<Value> {
        types::write(schema)
    }

    /// Returns the columns of the parts; `None` if the receipt has none that can be read.
    pub fn columns(&self) -> Option<Schema> {
        types::read(&self.columns)
    }

    /// Returns the columns of the records before all steps; `None` if they are not known.
    pub fn input_columns(&self) -> Option<Schema> {
        types::read(self.input_columns.as_ref()?)
    }

    /// Returns all files that the receipt names.
    pub(super) fn files(&self) -> impl Iterator<Item = &String> {
        self.parts.iter().chain(&self.records).map(|part| &part.name).chain(&self.rejects)
    }

    /// Returns the counts that do not agree; `None` if all do. `row_count` is the API's count of the records.
    pub(super) fn mismatch(&self, row_count: Option<u64>) -> Option<String> {
        if let Some(expected) = row_count.filter(|expected| *expected != self.rows_in) {
            return Some(format!("{} records were read, and the API's row_count is {expected}", self.rows_in));
        }
        let of_parts: u64 = self.parts.iter().map(|part| part.rows).sum();
        if of_parts != self.rows {
            return Some(format!("its parts have {of_parts} rows, and its receipt says {}", self.rows));
        }
        let of_records: u64 = self.records.iter().map(|part| part.rows).sum();
        if !self.records.is_empty() && of_records != self.rows {
            return Some(format!("its records have {of_records} rows, and its receipt says {}", self.rows));
        }
        let before = u128::from(self.rows_in) + u128::from(self.rows_added);
        let after = [self.rows, self.rows_filtered, self.rows_rejected].into_iter().map(u128::from).sum::<u128>();
        (before != after).then(|| format!("{before} rows in, and {after} written, filtered or rejected"))
    }
}

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// The item.
    pub item: String,
    /// The attempt.
    pub attempt: String,
    /// Message of the error.
    pub error: String,
    /// Number of the exit code that the error has.
    pub exit_code: u8,
    /// Word for the prospect of a retry.
    pub retry: String,
    /// Time of the failure.
    pub failed_at: String,
}

/// The target of a commit that has begun, recorded before a row is in it: no other gets the rows of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitTarget {
    /// The digest of the plan.
    pub plan_digest: String,
    /// Names of the targets, without secrets.
    pub target: String,
    /// The targets, however they are typed: absolute paths, tables, formats; without secrets.
    pub identity: String,
    /// Time at which the commit began.
    pub began_at: String,
}

/// The record of the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// The digest of the plan, which is the key of the commit.
    pub plan_digest: String,
    /// Names of the targets, without secrets.
    pub target: String,
    /// The targets, however they are typed; see [`CommitTarget::identity`].
    #[serde(default)]
    pub identity: String,
    /// Number of items.
    pub items: usize,
    /// Rows that the target got.
    pub rows: u64,
    /// Records that were rejected.
    pub rows_rejected: u64,
    /// Time of the commit.
    pub committed_at: String,
    /// Version of drawoff.
    pub drawoff: String,
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn receipt(item: &str, attempt: &str, digest: &str, rows: u64) -> Receipt {
        Receipt {
            plan_digest: digest.into(),
            item: item.into(),
            attempt: attempt.into(),
            parts: vec![Part { name: "p".into(), rows, bytes: 9, sha256: "0".into() }],
            records: Vec::new(),
            columns: json!([["a", "int"]]),
            input_columns: None,
            unseen_columns: Vec::new(),
            rows_in: rows,
            rows,
            rows_filtered: 0,
            rows_added: 0,
            rows_rejected: 0,
            rejects: None,
            finished_at: String::new(),
            drawoff: String::new(),
        }
    }

    #[test]
    fn counts_must_agree() {
        let whole = receipt("i", "a", "d", 5);
        assert_eq!(whole.mismatch(Some(5)), None);
        assert_eq!(whole.mismatch(None), None);
        assert!(whole.mismatch(Some(6)).unwrap().contains("row_count is 6"));
        assert!(Receipt { rows: 4, ..whole.clone() }.mismatch(None).unwrap().contains("parts have 5 rows"));
        let records = vec![Part { rows: 4, ..whole.parts[0].clone() }];
        assert!(Receipt { records, ..whole.clone() }.mismatch(None).unwrap().contains("records have 4 rows"));
        assert!(Receipt { rows_filtered: 1, ..whole.clone() }.mismatch(None).unwrap().contains("5 rows in, and 6"));
        assert_eq!(Receipt { rows_filtered: 1, rows_added: 1, ..whole }.mismatch(None), None);
    }
}
