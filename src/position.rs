//! Where a record or a value sits, so that every data error can say it.

use std::fmt;
use std::sync::Arc;

/// The place of one record: source, byte from 0, line from 1, record from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Name of the source as the user knows it: a path, `stdin`, or a result file's name.
    pub source: Arc<str>,
    /// Offset of the record's first byte in the decompressed source, from 0.
    pub byte: u64,
    /// Line on which the record starts, from 1.
    pub line: u64,
    /// Number of the record in the source, from 0.
    pub record: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} line {} (byte {})", self.source, self.line, self.byte)
    }
}

/// The path of a value inside its record, such as `contacts[0].email`; empty for the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(String);

impl FieldPath {
    /// The record itself.
    pub fn root() -> Self {
        FieldPath::default()
    }

    /// The path of the field `name` in this value. Names that are not plain words are quoted.
    pub fn field(&self, name: &str) -> Self {
        let plain =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b >= 0x80);
        let dot = if self.0.is_empty() { "" } else { "." };
        FieldPath(if plain { format!("{}{dot}{name}", self.0) } else { format!("{}{dot}{name:?}", self.0) })
    }

    /// The path of element `index` in this list.
    pub fn element(&self, index: usize) -> Self {
        FieldPath(format!("{}[{index}]", self.0))
    }

    /// The path of all elements of this list.
    pub fn elements(&self) -> Self {
        FieldPath(format!("{}[]", self.0))
    }

    /// The path of all values of this map.
    pub fn values(&self) -> Self {
        FieldPath(format!("{}.*", self.0))
    }

    /// True for the record itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
