//! The reading half of the engine: sources to morsels. Nothing here knows the schema or the outputs, nor more of the steps
//! than the columns that they read.

mod columnar;
mod columns;
mod digest;
mod item;
mod part_rows;
mod reader;
mod sample;

pub(super) use columns::{set_columns_read, set_source_columns, source_columns};
pub(super) use digest::SourceDigests;
pub(super) use item::{CsvSource, Item, SourceInfo};
pub use part_rows::TypedPart;
pub(super) use reader::SourceReader;
pub(super) use sample::{can_be_reread, first_records, forget_streams, keep_streams, reopen, take_sample_on_thread};
