//! Errors of writing Parquet.

use std::io;
use std::sync::Arc;

use parquet::errors::ParquetError;

use crate::column::CastError;

/// Why Parquet could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output could not be written, or not be read back.
    #[error("the output failed")]
    Io(#[from] io::Error),
    /// The encoder refused.
    #[error("cannot encode as Parquet")]
    Encode(#[source] ParquetError),
    /// Rows without columns: Parquet would lose them.
    #[error("none of the {rows} records has a field, and Parquet cannot hold rows without columns")]
    NoColumns {
        /// How many.
        rows: u64,
    },
    /// A column of untouched JSON text, which is for text outputs only.
    #[error("column `{column}` holds raw records, which Parquet does not carry")]
    Raw {
        /// The column.
        column: Arc<str>,
    },
    /// A batch's column that the row group does not have, or not as wide.
    #[error("column `{column}` does not fit the row group")]
    Column {
        /// The column.
        column: Arc<str>,
        /// Why, when it is there but not as wide.
        #[source]
        cause: Option<CastError>,
    },
    /// A batch whose columns are not as many or as long as it says.
    #[error("the columns of a batch do not agree with its schema and rows")]
    Batch,
    /// A record so long that no page can hold it.
    #[error("column `{column}` has {bytes} bytes between two rows, and a page holds 2 GiB")]
    PageSize {
        /// The path of the leaf.
        column: String,
        /// Bytes of its page.
        bytes: usize,
    },
    /// The file as read back is not what was written.
    #[error("the output changed while it was being written")]
    Changed,
}

impl From<ParquetError> for Error {
    /// I/O errors come out from inside, so that a full disk stays recognisable.
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(cause) => Error::Io(*cause),
                Err(cause) => Error::Encode(ParquetError::External(cause)),
            },
            other => Error::Encode(other),
        }
    }
}
