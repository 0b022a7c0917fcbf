//! Columns of which something is needed, worked out step by step from the last to the first.

use std::collections::BTreeSet;

/// Columns of which something is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    All,
    Only(BTreeSet<String>),
}

impl Needed {
    /// These, too.
    pub fn add<S: Into<String>>(&mut self, names: impl IntoIterator<Item = S>) {
        if let Needed::Only(only) = self {
            only.extend(names.into_iter().map(Into::into));
        }
    }
}
