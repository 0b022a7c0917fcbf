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

/// A command line to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandRequest<'a> {
    /// Base URL of the service.
    pub base_url: &'a str,
    /// True if the service has a key, which the command line must not contain; without one it takes any key.
    pub has_key: bool,
    /// Act to do.
    pub act: ClientAct<'a>,
}

/// A function that writes command lines.
#[derive(Clone)]
pub struct CommandLine(Arc<dyn Fn(CommandRequest<'_>) -> String + Send + Sync>);

impl CommandLine {
    /// Wraps a function.
    pub fn new(write: impl Fn(CommandRequest<'_>) -> String + Send + Sync + 'static) -> Self {
        CommandLine(Arc::new(write))
    }

    /// Returns the command line for a request.
    pub(super) fn of(&self, request: CommandRequest<'_>) -> String {
        (self.0)(request)
    }
}

impl fmt::Debug for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommandLine")
    }
}
