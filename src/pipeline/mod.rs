//! The plan, and its execution: reader, workers, writer, and the memory between them.

mod plan;
mod progress;
mod report;

use std::path::PathBuf;

pub use plan::{Limits, OnBadRecord, Output, Plan, SchemaChoice, SchemaFrom, SchemaPolicy, Target};
pub use progress::Control;
pub use report::Report;

use crate::format::Reject;
use crate::position::Position;

/// Why an execution ended without its output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The plan cannot be done; nothing was read.
    #[error("{0}")]
    Plan(String),
    /// A source could not be opened or read. A download's own error is inside `cause`.
    #[error("cannot read {name}")]
    Read {
        /// The source.
        name: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A record could not be used and the plan says to fail.
    #[error("{position}: {reject}")]
    BadRecord {
        /// Where.
        position: Position,
        /// Why.
        reject: Reject,
    },
    /// More records than the plan allows could not be used; this was the last straw.
    #[error("{position}: {reject} (more than {limit} such records)")]
    TooManyBadRecords {
        /// Where.
        position: Position,
        /// Why.
        reject: Reject,
        /// The plan's limit.
        limit: u64,
    },
    /// A column appeared or widened where the output could not go back.
    #[error("{position}: {what}")]
    Schema {
        /// Where.
        position: Position,
        /// What changed.
        what: String,
    },
    /// A step could not be applied.
    #[error("{0}")]
    Step(String),
    /// An output could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The output.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// Rows do not agree with what the API said.
    #[error("{name}: {found} rows arrived, but the API's row_count says {expected}")]
    RowCount {
        /// The source.
        name: String,
        /// Rows that came.
        found: u64,
        /// Rows that the API said.
        expected: u64,
    },
    /// Asked to stop.
    #[error("stopped before the end")]
    Cancelled,
    /// A thread panicked: our bug.
    #[error("internal error: {0}")]
    Bug(String),
}

/// Carries out `plan`. Blocks until the end; call it from a plain thread, not from a tokio worker.
///
/// On `Ok` every output stands whole at its final place and the report adds up; a count that
/// disagrees with [`crate::source::Source::expected_rows`] is [`Error::RowCount`] and publishes
/// nothing. On `Err` no output file was changed or left behind (standard output may have had
/// part of the records).
pub fn execute(plan: Plan, control: &Control) -> Result<Report, Error> {
    let _ = (plan, control);
    Err(Error::Bug("not wired yet".into()))
}
