//! From sources to morsels. Nothing here knows the schema, the steps or the outputs.

mod item;
mod reader;
mod sample;

pub use item::{Item, SourceInfo};
pub use reader::SourceReader;
pub use sample::{are_rereadable, read_again, sample_aside};
