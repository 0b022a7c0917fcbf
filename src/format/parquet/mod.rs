//! Parquet: workers encode row groups, one writer assembles files of them.
//!
//! A [`RowGroupEncoder`] belongs to one worker and turns batches into one [`EncodedRowGroup`]. The
//! [`ParquetFileWriter`] appends such groups in order; each may have its own schema, and the file
//! gets their join. When it is finished, column chunks whose carrier differs from the final one are
//! read back, cast, and encoded again at the end; every other chunk stays where it is, and only its
//! entry in the footer changes. So a late schema mismatch costs the affected columns, never the file;
//! the bytes of replaced chunks remain in it, unreferenced. `evolve.rs` has the algorithm and its
//! proof.
//!
//! Every column is optional and the files carry no Arrow schema, so that other readers see plain
//! strings, lists and structs. This module opens no files: it writes to the output it is given, and reads from the bytes.

mod align;
mod chunk;
mod codec;
mod encode;
mod error;
mod evolve;
mod facts;
mod file;
mod footer;
mod ids;
mod input;
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
pub use facts::{Bound, FileFacts, LeafFacts};
pub use file::{ParquetFileWriter, Summary};
pub use ids::FieldIds;
pub use input::{InputError, UUID_EXTENSION, input_metadata, open, with_uuid_marks};
pub use layout::{Layout, message_type};
pub use leaf::EncoderScratch;
pub use options::{ParquetCodec, ParquetOptions};
pub use order::SortKey;
pub use parquet::schema::types::ColumnPath;
pub use stored::{EntryFile, NewEntryFile};
