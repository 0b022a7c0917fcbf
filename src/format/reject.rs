//! Reasons why records are rejected. Decoders and steps make them; the rejects file and the report
//! show them.

use std::borrow::Cow;
use std::fmt;

use crate::position::FieldPath;

/// The reason why a record is rejected. Holds no value of the record: results are personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Byte in the record at which the error was detected, from 0.
    pub offset: usize,
    /// Path of the field; the root if the record as a whole is rejected.
    pub path: FieldPath,
    /// Message without the path: `expected a number, found a string`.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_root() {
            f.write_str(&self.reason)
        } else {
            write!(f, "field `{}`: {}", self.path, self.reason)
        }
    }
}
