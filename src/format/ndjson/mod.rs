//! NDJSON: one JSON object per line.

mod cells;
mod decode;
mod encode;
mod infer;
mod scan;

pub use cells::decode_cells;
pub use decode::{DecodeOptions, UnknownKey, decode};
pub use encode::encode;
pub use infer::{Keys, infer};
pub use scan::MAX_DEPTH;

#[cfg(test)]
mod tests;
