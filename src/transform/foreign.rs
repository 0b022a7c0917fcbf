//! Columns of Parquet and Arrow that others have written: the rules for what drawoff has no counterpart of, and the errors.
//! Converts no column; that is the work of `sql`, which has the casts.

use std::fmt;

/// Rules for the columns of a file of others.
pub struct ForeignRules<'a> {
    /// Returns whether steps or outputs read a column. Values without a counterpart are null in a column that nothing reads,
    /// and an error in the others.
    pub is_read: &'a dyn Fn(&str) -> bool,
    /// NaN and infinities that are null.
    pub null_numbers: &'a [f64],
    /// True if the other ones are values, and not an error.
    pub keeps_not_finite: bool,
}

/// Failure to convert a column of a file of others.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForeignError {
    /// A type without a counterpart, such as decimals of 256 bits.
    #[error("the column `{column}` has the unsupported type {ty}")]
    Type {
        /// Name of the column.
        column: String,
        /// The type, in the words of Arrow.
        ty: String,
    },
    /// A value that outputs would write differently, or not at all.
    #[error("the column `{column}` contains {value}")]
    Value {
        /// Name of the column.
        column: String,
        /// The kind of the value.
        value: Unwritable,
    },
    /// Another reason.
    #[error("{0}")]
    Other(String),
}

/// A kind of values that outputs would write differently, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// NaN or an infinity.
    NotFinite,
    /// A date or time outside the years 1 to 9999.
    Date,
    /// A map that has a key twice.
    RepeatedKey,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unwritable::NotFinite => "an infinity or NaN, which not every output supports",
            Unwritable::Date => "a date outside the years 1 to 9999",
            Unwritable::RepeatedKey => "a map with the same key twice",
        })
    }
}
