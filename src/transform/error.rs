//! Errors of steps.

use super::sql::SqlError;

/// Why a step could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Arrow refused the rows.
    #[error("cannot keep the rows that passed a filter")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// The keys of a deduplicate step cannot be remembered on disk.
    #[error("deduplicate: the temporary file for keys that memory does not hold cannot be used")]
    Spill(#[source] std::io::Error),
    /// The query cannot be done.
    #[error("cannot run the query: {0}")]
    Sql(#[from] SqlError),
    /// Two columns would have one name.
    #[error("{first} and {second} would have the same name")]
    SameName {
        /// The one, in words.
        first: String,
        /// The other.
        second: String,
    },
}
