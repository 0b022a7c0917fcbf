//! The reading half of the engine: sources to morsels. Nothing here knows the schema, the steps or the outputs.

mod item;
mod reader;
mod sample;

pub use item::{Item, SourceInfo};
pub use reader::SourceReader;
pub use sample::{can_be_reread, reopen, take_sample_on_thread};
