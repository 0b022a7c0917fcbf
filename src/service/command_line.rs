//! The client's command lines on the page. The service knows no flags: its starter hands over a function that writes
//! them.

use std::fmt;
use std::sync::Arc;

/// An act of a client, which a command line can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAct<'a> {
    /// Create a workflow from a definition file.
    CreateWorkflow {
        /// Name of the file.
        file: &'a str,
    },
    /// Print the definition of a workflow.
    GetWorkflow {
        /// Id of the workflow.
        workflow: &'a str,
    },
    /// Delete a workflow.
    DeleteWorkflow {
        /// Id of the workflow.
        workflow: &'a str,
    },
    /// Start a run and write its results.
    Run {
        /// Id of the workflow.
        workflow: &'a str,
        /// Input of its source.
        input: RunInput<'a>,
    },
    /// Watch a run until it ends.
    Watch {
        /// Id of the run.
        run: &'a str,
    },
    /// Cancel a run.
    Cancel {
        /// Id of the run.
        run: &'a str,
    },
    /// Write the results of a run.
    Pull {
        /// Id of the run.
        run: &'a str,
    },
}

/// Input of a run on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunInput<'a> {
    /// Rows as a JSON array.
    Rows(&'a str),
    /// File with rows as a JSON array, whose name is given.
    RowsFile(&'a str),
    /// File to upload, whose name is given.
    File(&'a str),
    /// None: the source makes its rows itself.
    Nothing,
}

/// A function that writes the command line for an act against the service at a base URL. `true` says that the service has
/// a key, which the command line must not contain.
#[derive(Clone)]
pub struct CommandLine(Arc<dyn Fn(&str, bool, ClientAct<'_>) -> String + Send + Sync>);

impl CommandLine {
    /// Wraps a function.
    pub fn new(write: impl Fn(&str, bool, ClientAct<'_>) -> String + Send + Sync + 'static) -> Self {
        CommandLine(Arc::new(write))
    }

    /// Returns the command line for `act`.
    pub(super) fn of(&self, base_url: &str, has_key: bool, act: ClientAct<'_>) -> String {
        (self.0)(base_url, has_key, act)
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandLine")
    }
}
