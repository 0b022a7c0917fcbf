//! The modes and policies of loads.

use std::sync::Arc;

/// The effect of a load on rows that are in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LoadMode {
    /// They stay.
    #[default]
    Append,
    /// They are replaced by the rows of the load, all at once.
    Replace,
    /// Those with a key of the load are replaced; within the load, the last row of a key is kept.
    Merge {
        /// The columns of the key.
        key: Vec<Arc<str>>,
    },
}

impl LoadMode {
    /// Returns the word of the mode.
    pub fn as_str(&self) -> &'static str {
        match self {
            LoadMode::Append => "append",
            LoadMode::Replace => "replace",
            LoadMode::Merge { .. } => "merge",
        }
    }
}

/// The policy for U+0000 in text that the target cannot store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NulPolicy {
    /// The record is rejected.
    #[default]
    Reject,
    /// U+FFFD takes its place, and is counted.
    Replace,
}

/// The policy for columns and types that the table does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Widening {
    /// The table gets new columns and wider types.
    #[default]
    Evolve,
    /// The table stays as it is: other columns and wider values are errors before the first row.
    Fixed,
}
