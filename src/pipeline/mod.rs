//! The engine: executes a plan from sources through steps to outputs. Knows neither the API nor the command line.
//!
//! ```text
//! reader ──item groups──► workers: decode, apply steps, encode ──group results──► writer: order, counts, files
//! ```
//!
//! Its files are layers: each imports only from those before it in this list, and a test checks that.
//!
//! ```text
//! channel plan error cell_kinds report progress budget sequencer
//! input/ item columns columnar digest reader part_rows sample
//! schema/ rules decode registry infer describe names check
//! rejects/ list file
//! output/ buffers spec rows spilled partition encode row_groups
//! output/ writer csv ndjson json_array parquet arrow channel table file names manifest ready_files spill directory table_files open
//! message prepared chunks partial worker limit writer threads run tables explain query execute read statistics cut
//! ```
//!
//! `input` turns sources into items, and `schema` knows no output. The first line of `output` is the workers' half,
//! without a path, a sink or a file; the second is the writer's.
//!
//! Other invariants: workers know no path and no sink, so that an item group can be processed in another process; only
//! the writer publishes the schema; only the reader waits for memory; no message names a flag of the command line.

mod budget;
mod cell_kinds;
mod channel;
mod chunks;
mod cut;
mod error;
mod execute;
mod explain;
mod input;
mod limit;
mod message;
mod output;
mod partial;
mod plan;
mod prepared;
mod progress;
mod query;
mod read;
mod rejects;
mod report;
mod run;
mod schema;
mod sequencer;
mod statistics;
mod tables;
mod threads;
mod worker;
mod writer;

pub use cell_kinds::TextColumn;
pub use channel::BatchSender;
pub use cut::{Cutter, Part, PartFormat, PartLimits};
pub use error::{BrokenContract, ColumnPurpose, Error, FixedSchema, PartitionError, PlanError, SchemaChange};
pub use execute::execute;
pub use explain::{Explained, explain_steps};
pub use input::TypedPart;
pub use output::{
    DirectoryConflict, ReadyFile, SUCCESS, SharedName, check_results_replaceable, is_result, may_continue_in,
    publish_ready_files,
};
pub use plan::{Directory, ExecutionPlan, Limits, OnBadRecord, Output, SchemaFrom, SchemaPolicy, SchemaSource, Target};
pub use progress::Control;
pub use read::{BatchReader, TypedReader, read_batches};
pub use rejects::is_rejects_file;
pub use report::Report;
pub use schema::{DescribedSchema, SetBy, TypeFrom, check_steps, check_steps_of_run, columns_after, describe_schema};
pub use statistics::{CollectedStatistics, collect_statistics};

#[cfg(test)]
mod files_tests;
#[cfg(all(test, feature = "sqlite"))]
mod opaque_tests;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod step_tests;
#[cfg(test)]
mod tests;
