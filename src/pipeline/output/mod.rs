//! The outputs of an execution, in two halves. The workers' half encodes rows and knows no path, no sink and no file;
//! the writer's half appends encoded rows to files and publishes complete files.
//!
//! ```text
//! workers:  spec  rows  spilled  encode  row_groups  partition
//! writer:   writer (the trait)  csv  ndjson  json_array  parquet  arrow  channel  file
//!           table  names  manifest  ready_files  spill  directory  table_files  open
//! ```

mod arrow;
mod buffers;
mod channel;
mod csv;
mod directory;
mod encode;
mod file;
mod json_array;
mod manifest;
mod names;
mod ndjson;
mod open;
mod parquet;
mod partition;
mod ready_files;
mod row_groups;
mod rows;
mod spec;
mod spill;
mod spilled;
mod table;
mod table_files;
mod writer;

pub(super) use encode::encode_rows;
pub use manifest::{DirectoryConflict, SUCCESS, check_results_replaceable, is_result};
pub(super) use names::check_names;
pub use names::{SharedName, may_continue_in};
pub(super) use open::{FinishedOutput, OutputWriter, closed_note};
pub use ready_files::{ReadyFile, publish_ready_files};
pub(super) use row_groups::RowGroupBuilder;
pub(super) use rows::EncodedBatch;
pub(super) use spec::{OutputSpecs, TableRows};
pub(super) use table::{ChunkPosition, SourcesEnd};
pub(super) use writer::{OrderCounts, WriterOptions};
