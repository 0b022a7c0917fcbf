//! The parts that all interfaces share: rows of text, errors of statements, and ids of requests.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::http::{CallError, without_values};
use super::script::GUARD;
use crate::text::hex;

/// The help where nothing says whether the rows of a load are in the table.
pub(super) const LOOK_FIRST: &str = "look first whether the rows of this load are in the table: if they are, set the state of its \
     row of `_drawoff_loads` to `loaded`; if none are, delete that row; then run the same command again";

/// Rows of a result; each value as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows(pub(super) Vec<Vec<Option<String>>>);

/// The failure of a statement.
pub(super) enum StatementError {
    /// It could not be sent, or its response was lost.
    Call(CallError),
    /// Something that it names does not exist.
    NoObject(String),
    /// The service refused it, and did nothing of it.
    Refused { code: String, text: String },
    /// It was refused, and earlier parts of the load may be in the table: its record stays, and the hint says what to do.
    Kept { text: String, hint: &'static str },
}

impl StatementError {
    /// Returns the same error where the statement, or an earlier sending of it, may have been executed all the same.
    pub(super) fn perhaps_executed(self) -> Self {
        match self {
            error @ (StatementError::Call(CallError::Lost(_)) | StatementError::Kept { .. }) => error,
            StatementError::Call(CallError::Load(error)) => StatementError::Call(CallError::Lost(error.to_string())),
            StatementError::NoObject(text) => StatementError::Call(CallError::Lost(text)),
            StatementError::Refused { text, .. } => StatementError::Call(CallError::Lost(without_values(&text))),
        }
    }
}

/// Returns true for the message of a statement that another writer was in the way of.
pub(super) fn is_conflict(text: &str) -> bool {
    text.to_lowercase().contains("concurrent")
}

/// Returns true for the error of a user who lacks a right.
pub(super) fn is_denied(code: &str, text: &str) -> bool {
    let words = ["PERMISSION", "ACCESS DENIED", "ACCESSDENIED", "PRIVILEGE", "NOT AUTHORIZED"];
    let text = text.to_uppercase();
    code == "403" || words.iter().any(|word| text.contains(word) || code.to_uppercase().contains(word))
}

impl From<CallError> for StatementError {
    fn from(error: CallError) -> Self {
        StatementError::Call(error)
    }
}

impl Rows {
    /// Reads a list of lists.
    pub(super) fn of_lists(value: Option<&Value>) -> Self {
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let row = |row: &Value| row.as_array().map(|row| row.iter().map(text).collect()).unwrap_or_default();
        Rows(value.and_then(Value::as_array).map(|rows| rows.iter().map(row).collect()).unwrap_or_default())
    }

    /// Returns a number of the first row.
    pub(super) fn number(&self, column: usize) -> Option<u64> {
        self.0.first()?.get(column)?.as_ref()?.parse().ok()
    }
}

/// Returns the text of a guard that has failed, from the error of a server; `None` for other errors.
pub(super) fn failed_guard(text: &str) -> Option<&str> {
    let (_, text) = text.split_once(GUARD)?;
    Some(text.split('\'').next().unwrap_or(text).trim_end())
}

/// Returns a UUID (version 8) made from these parts.
pub(super) fn uuid_of(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = hash.finalize();
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes[..16]);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_found_and_values_are_not_shown() {
        let text = "Numeric value 'drawoff: the rows are loaded already' is not recognized";
        assert_eq!(failed_guard(text), Some("the rows are loaded already"));
        assert_eq!(failed_guard("Numeric value 'ada@example.com' is not recognized"), None);
        assert_eq!(without_values("Numeric value 'ada@example.com' is not"), "Numeric value '…' is not");
        assert_eq!(without_values("cut in 'ada@exam"), "cut in '…'");
        assert_eq!(without_values("Could not parse \"ada@example.com\" as INT64"), "Could not parse \"…\" as INT64");
    }

    #[test]
    fn ids_are_uuids_of_their_parts() {
        let id = uuid_of(&["a", "b"]);
        assert_eq!(id.len(), 36);
        assert_eq!((&id[14..15], id == uuid_of(&["a", "b"]), id == uuid_of(&["ab", ""])), ("8", true, false));
    }
}
