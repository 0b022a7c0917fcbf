//! Why a block of a run did not finish.

use std::io;

use crate::service::store;
use crate::text::error_chain;
use crate::transform::GroupError;

/// Why a block did not finish.
pub(super) enum Failure {
    /// Somebody asked it to stop.
    Cancelled,
    /// The run took too long.
    TooLong,
    /// It failed; the text is for people.
    Failed(String),
}

pub(super) fn unusable(error: io::Error) -> Failure {
    Failure::Failed(format!("rows between blocks cannot be kept: {error}"))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        unusable(error)
    }
}

impl From<GroupError> for Failure {
    fn from(error: GroupError) -> Self {
        Failure::Failed(error_chain(&error))
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Failure::Failed(error_chain(&error))
    }
}
