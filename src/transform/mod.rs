//! Transforms between decoder and encoder: filter rows, and select, rename and compute columns, batch by batch.
//!
//! The [`Step`]s of a plan are bound to the known columns ([`bind`]), report which input columns they need
//! ([`columns_needed`] and the functions beside it), and run as [`Steps`] on each worker. Each step is one file of
//! `steps`; `step.rs` has the table of steps, `kind.rs` the traits that a step implements. Nothing here reads sources,
//! writes outputs, or knows the command line; only stateful steps and queries use temporary files.

mod apply;
mod batch_origin;
mod bind;
mod binding;
mod cell;
mod derived_column;
mod describe;
mod distinct;
mod error;
pub mod expr;
mod foreign;
mod group;
mod key;
mod kind;
mod needed;
mod needs;
mod options;
mod record_spans;
mod row_tracker;
mod sorter;
#[cfg(feature = "sql")]
mod sql;
#[cfg(not(feature = "sql"))]
#[path = "no_sql.rs"]
mod sql;
mod step;
mod step_counts;
mod steps;

pub use apply::{Applied, Steps};
pub use batch_origin::BatchOrigin;
pub use bind::bind;
pub use binding::{KnownColumns, UnknownColumn};
pub use cell::Cell;
pub use describe::{StepMemory, StepText};
pub use distinct::{Distinct, SpillBudget};
pub use error::Error;
pub use foreign::{ForeignError, ForeignRules, Unwritable};
pub use group::{Aggregate, GroupError, Groups};
pub use key::{Key, KeyWriter};
pub use kind::{ArgumentForm, Properties};
pub use needs::{
    columns_dropped, columns_looked_at, columns_needed, columns_opened, columns_written, keeps_records,
    needs_record_spans, needs_structs,
};
pub use options::{OnBadCast, StepOptions};
pub use record_spans::RecordSpans;
pub use sql::{
    ByRows, Query, QueryResources, QueryRows, RESULTS, SqlError, TableFile, arrow_to_batch, arrow_to_schema,
};
pub use step::{Grammar, ReadError, Step};
pub use step_counts::{FailedRow, StepCounts};
pub use steps::cast::Cast;
pub use steps::check_rows::{CheckRows, RowCheck};
pub use steps::deduplicate::Deduplicate;
pub use steps::explode::Explode;
pub use steps::filter::{Condition, Filter, Logic, Test};
pub use steps::flatten::Flatten;
pub use steps::json_text::JsonText;
pub use steps::limit::Limit;
pub use steps::lookup::Lookup;
pub use steps::remove_columns::RemoveColumns;
pub use steps::rename::Rename;
pub use steps::sample::Sample;
pub use steps::select::Select;
pub use steps::with::With;
