//! Projection pushdown: the columns that a plan needs, computed step by step from the last to the first.

use std::collections::BTreeSet;

/// Columns that the steps behind a point of the plan need, in whole or in part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    All,
    Only(BTreeSet<String>),
}

impl Needed {
    /// Returns true if the column `name` is among them.
    pub(super) fn contains(&self, name: &str) -> bool {
        match self {
            Needed::All => true,
            Needed::Only(only) => only.contains(name),
        }
    }

    /// Adds `names`; does nothing if all columns are needed.
    pub(super) fn add<S: Into<String>>(&mut self, names: impl IntoIterator<Item = S>) {
        if let Needed::Only(only) = self {
            only.extend(names.into_iter().map(Into::into));
        }
    }
}
