//! NDJSON, one JSON object per line: infers types, decodes records into columns, and encodes batches.
//! The other formats with JSON inside use the same parser: arrays are rewritten to lines first, and
//! CSV cells become records of one field.

mod cells;
mod check;
mod decode;
mod duplicates;
mod encode;
mod enforced;
mod infer;
mod scan;
mod walk;

pub use cells::decode_cells;
pub use check::JsonText;
pub use decode::{DecodeOptions, UnknownKey, decode, decode_under};
pub use encode::encode;
pub use infer::{InferOptions, ValueTypes, infer, infer_columns};
pub use scan::MAX_DEPTH;
pub use walk::number_type;

#[cfg(test)]
mod tests;
