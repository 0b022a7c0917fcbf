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
mod error;
mod evolve;
mod file;
mod layout;
mod leaf;
mod levels;
mod numbers;
mod options;
mod order;
mod rle;
mod stored;
#[cfg(test)]
pub(crate) mod tests;
mod values;

pub use encode::{EncodedRowGroup, RowGroupEncoder};
pub use error::Error;
pub use file::{ParquetFileWriter, Summary};
pub use layout::{Layout, message_type};
pub use leaf::EncoderScratch;
pub use options::{ParquetCodec, ParquetOptions};
pub use order::SortKey;
pub use parquet::file::reader::{ChunkReader, Length};
pub use parquet::schema::types::ColumnPath;
