//! Parquet: row groups encoded by workers, files put together by one writer.
//!
//! A [`RowGroupEncoder`] belongs to one worker and turns batches into one [`EncodedRowGroup`]. The
//! [`ParquetFileWriter`] appends such groups in order; each may have its own schema, and the file
//! gets their join. At the end, column chunks whose carrier differs from the final one are read
//! back, cast, and encoded again behind the rest; every other chunk stays where it is, and only
//! its entry in the footer is bound to the final schema. So a late surprise costs the touched
//! columns, never the file, and leaves the bytes of the old chunks dead inside it.
//!
//! Every column is optional and carries no Arrow schema, so that other readers see plain strings,
//! lists and structs. This module opens no files: it writes to what it is given.

mod chunk;
mod codec;
mod encode;
mod evolve;
mod file;
mod layout;
mod leaf;
mod levels;
mod numbers;
mod order;
mod rle;
#[cfg(test)]
pub(crate) mod tests;
mod values;

use std::io;
use std::sync::Arc;

use parquet::errors::ParquetError;

pub use encode::{EncodedRowGroup, RowGroupEncoder};
pub use file::{ParquetFileWriter, Summary};
pub use layout::Layout;
pub use leaf::Workshop;
pub use order::SortKey;
pub use parquet::file::reader::{ChunkReader, Length};
pub use parquet::schema::types::ColumnPath;

use super::ParquetOptions;
use crate::column::{CastError, Mixing, Schema};

/// The message type of a file with the columns of `schema`, as text.
pub fn message_type(schema: &Schema) -> Result<String, Error> {
    let layout = Layout::try_new(Arc::new(schema.clone()), &ParquetOptions::default(), Mixing::Json)?;
    let mut text = Vec::new();
    parquet::schema::printer::print_schema(&mut text, layout.descriptor.root_schema());
    Ok(String::from_utf8_lossy(&text).into_owned())
}

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
