//! Errors of applying steps to batches. Errors of a step's text, found before any row is read, are
//! [`super::expr::Error`].

use super::sql::SqlError;

/// Error of applying a step to a batch.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An Arrow kernel failed on the columns of the batch.
    #[error("cannot compute the columns of a step")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// The spill file of a deduplicate step cannot be written or read.
    #[error("deduplicate: cannot spill keys to a temporary file")]
    Spill(#[source] std::io::Error),
    /// The query of an `sql` step failed.
    #[error("cannot run the query: {0}")]
    Sql(#[from] SqlError),
    /// Two columns would have the same name.
    #[error("duplicate column name: {first} and {second}")]
    SameName {
        /// Description of one column, such as ``the column `a` ``.
        first: String,
        /// Description of the other column.
        second: String,
    },
}
