//! The plan, and its execution: reader, workers, writer, and the memory between them.

mod budget;
mod buffers;
mod compiled;
mod describe;
mod encode;
mod explain;
mod known;
mod one;
mod output;
mod parts;
mod plan;
mod progress;
mod query;
mod reader;
mod rejects;
mod report;
mod run;
mod spool;
mod turn;
mod worker;
mod writer;

use std::path::PathBuf;

pub use describe::{Described, SetBy, TypeFrom, describe_schema};
pub use explain::{Explained, explain_steps};
pub use known::{check_steps, doubt_steps};
pub use parts::SUCCESS;
pub use plan::{
    Directory, Limits, OnBadRecord, Output, Plan, SchemaChoice, SchemaFrom, SchemaPolicy, Target, is_sheets,
};
pub use progress::Control;
pub use rejects::is_rejects_file;
pub use report::Report;
pub use run::execute;

use crate::format::Reject;
use crate::position::Position;

/// Why an execution ended without its output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The plan cannot be done; nothing was read.
    #[error("{0}")]
    Plan(String),
    /// A step does not go with the columns; nothing was written.
    #[error(transparent)]
    Expression(#[from] crate::transform::expr::Error),
    /// A source could not be opened or read. A download's own error is inside `cause`.
    #[error("cannot read {name}")]
    Read {
        /// The source.
        name: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The compression of a source is cut short, damaged, or grows beyond measure.
    #[error("{name} is not whole")]
    Damaged {
        /// The source.
        name: String,
        /// What the decompression says.
        #[source]
        cause: std::io::Error,
    },
    /// A download ended where nothing says that it should.
    #[error("{name} may have been cut: its server says neither how long it is nor where it ends")]
    OpenEnd {
        /// The source.
        name: String,
    },
    /// The last line of a download has no end and cannot be used: it is not the whole file.
    #[error("{position}: the last line is cut short: {reject}")]
    LastLine {
        /// Where.
        position: Position,
        /// Why.
        reject: Reject,
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
        /// What changed, and why that is the end.
        what: String,
    },
    /// The query cannot be done.
    #[error("--sql: {0}")]
    Query(String),
    /// The query needs more memory than it may have.
    #[error("--sql: {0}")]
    QueryMemory(String),
    /// A table of the query cannot be read.
    #[error("--table {name}: {cause}")]
    Table {
        /// Its name.
        name: String,
        /// Why.
        cause: String,
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

#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod step_tests;
#[cfg(test)]
mod tests;
