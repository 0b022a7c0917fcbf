//! The table that a command loads into, as plain data of a plan.

use std::fmt;
use std::sync::Arc;

use super::identity::LoadIdentity;
use super::load::Warehouse;

/// A table as the target of an output.
#[derive(Clone)]
pub struct TableTarget {
    /// The system that has the table.
    pub warehouse: Arc<dyn Warehouse>,
    /// The table as it was typed: its name, or schema and name with a dot between.
    pub table: String,
    /// The effect on rows that are in the table.
    pub mode: LoadMode,
    /// A column that gets the commit key in each row; `None` for no columns besides those of the rows.
    pub load_column: Option<Arc<str>>,
    /// Replace the rows of an earlier load with the same key.
    pub again: bool,
    /// The policy for U+0000 in text that the target cannot store.
    pub nul: NulPolicy,
    /// Everything that makes the load the same load.
    pub identity: LoadIdentity,
}

impl TableTarget {
    /// Returns the name of target and table for messages, without secrets.
    pub fn name(&self) -> String {
        format!("{} of {}", self.table, self.warehouse.name())
    }
}

impl fmt::Debug for TableTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableTarget").field("name", &self.name()).field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl PartialEq for TableTarget {
    fn eq(&self, other: &Self) -> bool {
        self.warehouse.name() == other.warehouse.name() && self.table == other.table
    }
}

impl Eq for TableTarget {}

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
