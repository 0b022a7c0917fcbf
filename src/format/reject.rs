//! Records that could not be used, and why.

use std::borrow::Cow;
use std::fmt;

use crate::position::FieldPath;

/// The reason why a record could not be used. Holds no value of the record: results are personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Byte in the record where it was noticed, from 0.
    pub offset: usize,
    /// The field, as far as it is known.
    pub path: FieldPath,
    /// Why, in words: `expected a number, found a string`.
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
