//! NDJSON: one JSON object per line.

mod cells;
mod check;
mod decode;
mod encode;
mod infer;
mod law;
mod scan;
mod walk;

pub use cells::decode_cells;
pub use decode::{DecodeOptions, UnknownKey, decode, decode_under};
pub use encode::encode;
pub use infer::{Keys, SurveyOptions, infer, survey};
pub use scan::MAX_DEPTH;

#[cfg(test)]
mod tests;
