//! Errors of writing Parquet. They name columns and sizes, never a file: the layer above knows it.

use std::io;
use std::sync::Arc;

use parquet::errors::ParquetError;

use crate::column::CastError;
use crate::text::{human_bytes, human_count};

/// Failure to write Parquet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The output returned an error on writing or reading back.
    #[error("cannot write the output")]
    Io(#[from] io::Error),
    /// The Parquet library returned an error of its own.
    #[error("cannot encode as Parquet")]
    Encode(#[source] ParquetError),
    /// Rows without columns, which Parquet would lose.
    #[error("none of the {rows} records has a field, and Parquet cannot hold rows without columns")]
    NoColumns {
        /// Number of rows.
        rows: u64,
    },
    /// A column of raw JSON text, which is for text outputs only.
    #[error("cannot write column `{column}` as Parquet: it holds raw JSON text")]
    Raw {
        /// Name of the column.
        column: Arc<str>,
    },
    /// A column of a batch that the row group lacks, or has with a narrower type.
    #[error("column `{column}` does not fit the row group")]
    Column {
        /// Name of the column.
        column: Arc<str>,
        /// The failed cast; `None` if the column is missing, or known to be narrower.
        #[source]
        cause: Option<CastError>,
    },
    /// A batch whose columns differ in number from its schema, or in length from its row count.
    #[error("the columns of a batch do not match its schema and row count")]
    Batch,
    /// A page body beyond the 32-bit sizes of page headers: rows of one batch that are too large.
    #[error("column `{column}` has {bytes} bytes in one page, and a Parquet page holds 2 GiB")]
    PageSize {
        /// Path of the leaf.
        column: String,
        /// Length of the page body.
        bytes: usize,
    },
    /// A footer beyond the 32-bit length of the format.
    #[error(
        "{} row groups have a footer of {}, and a Parquet file holds 2 GiB: write several smaller files, or fewer columns",
        human_count(*.row_groups as u64),
        human_bytes(*.bytes)
    )]
    FooterSize {
        /// Length of the footer.
        bytes: u64,
        /// Number of row groups.
        row_groups: usize,
    },
    /// A footer of the Parquet library that cannot be taken apart.
    #[error("the footer of the Parquet library has another form")]
    Footer,
    /// The file as read back differs from the one written.
    #[error("the output file changed while it was being written")]
    Changed,
}

impl From<ParquetError> for Error {
    /// Unwraps I/O errors, so that a full disk stays recognisable.
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
