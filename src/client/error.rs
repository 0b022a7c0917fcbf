//! What can go wrong between a workflow and its results.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::api::{RunId, WorkflowId};
use crate::net;
use crate::text::human_duration;

/// Why the client could not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API refused, failed or cannot be reached.
    #[error(transparent)]
    Net(#[from] net::Error),
    /// A file that was named cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A definition file is not one.
    #[error("{path} is not a workflow definition")]
    Definition {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: serde_json::Error,
    },
    /// An input that the API's upload does not take.
    #[error("{name}: the API takes .csv, .json, .jsonl and .ndjson files")]
    UploadKind {
        /// The file.
        name: String,
    },
    /// No workflow has this id or name.
    #[error("there is no workflow `{0}`")]
    UnknownWorkflow(String),
    /// Several workflows have this name.
    #[error("{} workflows are named `{name}`: {}", ids.len(), join(ids))]
    AmbiguousName {
        /// The name.
        name: String,
        /// Their ids.
        ids: Vec<WorkflowId>,
    },
    /// The run ended otherwise than well.
    #[error("run {run} {end}")]
    Ended {
        /// The run.
        run: RunId,
        /// How.
        end: RunEnd,
    },
    /// The deadline passed while the run went on.
    #[error("run {run} is still {status} after {}", human_duration(*waited))]
    Deadline {
        /// The run.
        run: RunId,
        /// Its last state.
        status: String,
        /// The deadline.
        waited: Duration,
    },
    /// The run has no result file of the kind that was asked for.
    #[error("run {run} has no results as {formats}")]
    NoResults {
        /// The run.
        run: RunId,
        /// The formats that were asked for.
        formats: String,
    },
    /// The run has no result of that block.
    #[error("run {run} has no result of block {block}; it has {}", join(present))]
    NoSuchBlock {
        /// The run.
        run: RunId,
        /// The block that was asked for.
        block: i64,
        /// The blocks that are there.
        present: Vec<i64>,
    },
    /// The API gave no link to a file that it lists.
    #[error("the API gives no link to {filename}{}", message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    NoLink {
        /// The file.
        filename: String,
        /// What the API says about it.
        message: Option<String>,
    },
}

/// How a run ended, if not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// It failed: the block that did, and what it says.
    Failed {
        /// The block's name and number.
        block: Option<(String, i64)>,
        /// Its message, or the run's.
        message: Option<String>,
    },
    /// It was cancelled.
    Cancelled,
    /// The service stopped it for taking too long.
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
                    None => f.write_str(" without saying why"),
                }
            }
            RunEnd::Cancelled => f.write_str("was cancelled"),
            RunEnd::TimedOut => f.write_str("timed out: the service stopped it"),
        }
    }
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
