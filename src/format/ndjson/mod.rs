//! NDJSON: one JSON object per line.

mod decode;
mod infer;
mod scan;

pub use decode::{DecodeOptions, UnknownKey, decode};
pub use infer::{Keys, infer};
pub use scan::MAX_DEPTH;
