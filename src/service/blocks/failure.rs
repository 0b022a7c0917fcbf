//! Failure of a block in a run, with the conversions from the errors of its parts.

use std::io;

use crate::service::store;
use crate::text::error_chain;
use crate::transform::GroupError;

/// Reason why a block did not complete.
#[derive(Debug)]
pub(in crate::service) enum Failure {
    /// The run was cancelled or the service stopped.
    Cancelled,
    /// The run exceeded its time limit.
    TooLong,
    /// The block failed; the text is its `error_message`.
    Failed(String),
}

/// Returns the failure of a block whose rows cannot be read from or written to disk.
pub(in crate::service) fn row_io_failure(error: io::Error) -> Failure {
    Failure::Failed(format!("cannot read or write the rows between blocks: {error}"))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        row_io_failure(error)
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
