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

/// The end of the reason of a record that is too long; what comes before differs.
const TOO_LONG: &str = "the maximum record size";

impl Reject {
    /// The rejection of a record of `len` bytes as longer than `max_bytes`.
    pub fn too_long(len: u64, max_bytes: usize) -> Self {
        let reason = format!("the record has {len} bytes and is longer than {max_bytes} bytes, {TOO_LONG}");
        Reject { offset: 0, path: FieldPath::root(), reason: reason.into() }
    }

    /// Returns true for a rejection by [`Reject::too_long`].
    pub fn is_too_long(&self) -> bool {
        self.reason.ends_with(TOO_LONG)
    }
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
