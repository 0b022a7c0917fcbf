//! The ways in which a block of a run does not finish.

use std::io;

use crate::service::store;
use crate::text::error_chain;
use crate::transform::GroupError;

/// A block that did not finish.
#[derive(Debug)]
pub(in crate::service) enum Failure {
    /// It was asked to stop.
    Cancelled,
    /// The run took too long.
    TooLong,
    /// It failed; the text is for people.
    Failed(String),
}

/// The failure of a block whose rows cannot be read or written.
pub(in crate::service) fn unusable(error: io::Error) -> Failure {
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
