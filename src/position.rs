//! Positions of records and paths of values, which every data error carries. Plain values: nothing
//! here reads data, and none of them holds a value of a record.

use std::fmt;
use std::sync::Arc;

/// The position of one record: source, byte from 0, line from 1, record from 0.
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
    /// Returns the empty path, which means the record itself.
    pub fn root() -> Self {
        FieldPath::default()
    }

    /// Appends the field `name`. Names other than ASCII letters, digits, `_`, `-` and non-ASCII text are quoted.
    pub fn field(&self, name: &str) -> Self {
        let plain =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b >= 0x80);
        let dot = if self.0.is_empty() { "" } else { "." };
        FieldPath(if plain { format!("{}{dot}{name}", self.0) } else { format!("{}{dot}{name:?}", self.0) })
    }

    /// Appends element `index` of a list, counted from 0: `contacts[0]`.
    pub fn element(&self, index: usize) -> Self {
        FieldPath(format!("{}[{index}]", self.0))
    }

    /// Appends all elements of a list: `contacts[]`.
    pub fn elements(&self) -> Self {
        FieldPath(format!("{}[]", self.0))
    }

    /// Appends all values of a map: `scores.*`.
    pub fn values(&self) -> Self {
        FieldPath(format!("{}.*", self.0))
    }

    /// Returns true for the empty path, the record itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the path in its text form; empty for the record itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
