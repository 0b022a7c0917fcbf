//! The errors of the client: failed calls, invalid inputs, and runs that do not end in results.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::StateError;
use crate::api::{RunId, WorkflowId};
use crate::net;
use crate::text::human_duration;

/// A failure of the client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API rejected a call, failed, or cannot be reached.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// An input or definition file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Path of the file, as it was given.
        path: PathBuf,
        /// The cause, of the system.
        #[source]
        cause: io::Error,
    },
    /// A file is not a valid workflow definition.
    #[error("{path} is not a valid workflow definition")]
    Definition {
        /// Path of the file, as it was given.
        path: PathBuf,
        /// The cause, with line and column.
        #[source]
        cause: serde_json::Error,
    },
    /// An input whose extension the API does not accept.
    #[error("cannot upload {name}: the API accepts only .csv, .json, .jsonl and .ndjson files")]
    UploadKind {
        /// Name of the file.
        name: String,
    },
    /// No workflow has this id or name.
    #[error("there is no workflow `{0}`")]
    UnknownWorkflow(String),
    /// Several workflows have this name.
    #[error("{} workflows are named `{name}`: {}", ids.len(), join(ids))]
    AmbiguousName {
        /// The ambiguous name.
        name: String,
        /// Ids of the workflows with this name, at least two.
        ids: Vec<WorkflowId>,
    },
    /// No run is what was looked for. The text says so.
    #[error("{0}")]
    NoSuchRun(String),
    /// The run ended in a state other than completed.
    #[error("run {run} {end}")]
    Ended {
        /// Id of the run.
        run: RunId,
        /// The state in which it ended.
        end: RunEnd,
    },
    /// Some of several runs ended in a state other than completed.
    #[error("{} of {total} runs did not complete: {}", ended.len() + unexplained.len(), join_ends(ended, unexplained))]
    SeveralEnded {
        /// Number of all runs.
        total: usize,
        /// The first of them, at least one, each with the state in which it ended.
        ended: Vec<(RunId, RunEnd)>,
        /// The others.
        unexplained: Vec<RunId>,
    },
    /// The deadline passed before the run ended. The run continues.
    #[error("run {run} is still {status} after {}", human_duration(*waited))]
    Deadline {
        /// Id of the run.
        run: RunId,
        /// Last known state, in the API's word.
        status: String,
        /// The deadline, counted from the start of the watch.
        waited: Duration,
    },
    /// The run has no result files in the requested formats.
    #[error("run {run} has no results in the format {formats}")]
    NoResults {
        /// Id of the run.
        run: RunId,
        /// The requested formats, joined by `or`.
        formats: String,
    },
    /// The run has no result of the requested block.
    #[error("run {run} has no result of block {block}; it has {}", join(present))]
    NoSuchBlock {
        /// Id of the run.
        run: RunId,
        /// Number of the requested block.
        block: i64,
        /// Numbers of the blocks that have results.
        present: Vec<i64>,
    },
    /// The API lists a file without a download URL.
    #[error("the API returned no download URL for {filename}{}", message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    NoLink {
        /// Name of the file in the API.
        filename: String,
        /// The API's message about the file, if it has one.
        message: Option<String>,
    },
}

/// The end of a run that did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// A block failed.
    Failed {
        /// Name and number of the failed block; `None` if the API does not name it.
        block: Option<(String, i64)>,
        /// Error message of the block, else of the run.
        message: Option<String>,
    },
    /// The run was cancelled.
    Cancelled,
    /// The service stopped the run because it exceeded its time limit.
    TimedOut,
}

impl std::fmt::Display for RunEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RunEnd::Failed { block, message } => {
                f.write_str("failed")?;
                if let Some((name, number)) = block {
                    write!(f, " in block {number} ({name})")?;
                }
                match message {
                    Some(message) => write!(f, ": {message}"),
                    None => f.write_str(" without an error message"),
                }
            }
            RunEnd::Cancelled => f.write_str("was cancelled"),
            RunEnd::TimedOut => f.write_str("timed out and was stopped by the service"),
        }
    }
}

fn join_ends(ended: &[(RunId, RunEnd)], unexplained: &[RunId]) -> String {
    let mut text = ended.iter().map(|(run, end)| format!("run {run} {end}")).collect::<Vec<_>>().join("; ");
    if !unexplained.is_empty() {
        text.push_str(&format!("; and {}", join(unexplained)));
    }
    text
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
