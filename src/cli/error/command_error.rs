//! The error of a command, of which each layer below describes its part in its own terms.

use std::io;
use std::path::PathBuf;

use crate::cli::exit::Exit;
use crate::cli::settings::{self};
use crate::client::{self, StateError};
use crate::net::{self};
use crate::pipeline::{self};
use crate::scale::ScaleError;
use crate::transform::expr;

/// The name of standard output in errors, as the engine writes it, too.
pub(in crate::cli) const STDOUT: &str = "standard output";

/// The error of a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(in crate::cli) enum Error {
    /// Arguments, or combinations of them, that are not valid.
    #[error("{0}")]
    Usage(String),
    /// An invalid setting, or one whose file cannot be read.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// An error of the API's client.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A download that could not be opened.
    #[error("cannot download {name}")]
    Download {
        /// Name of the file, or URL without its query.
        name: String,
        /// Error of the request.
        #[source]
        cause: net::Error,
    },
    /// A flag whose value is an expression that cannot be parsed.
    #[error("{flag}: {cause}")]
    Expression {
        /// Name of the flag, with its dashes.
        flag: &'static str,
        /// Error with its position. Not a `source`, because the text is printed with a marker below it.
        cause: expr::Error,
    },
    /// An error of the state directory or of a ledger.
    #[error(transparent)]
    State(#[from] StateError),
    /// An earlier start without a response, of which it is unknown whether it began a run.
    #[error("a start of workflow {workflow} {ago} ago got no response, and {doubt}")]
    UnknownFate {
        /// Name of the workflow.
        workflow: String,
        /// Age of the start, for people.
        ago: String,
        /// The reason, such as the runs that it may have become.
        doubt: String,
    },
    /// An error of the engine.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// An output that cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Path of the output, or [`STDOUT`].
        path: PathBuf,
        /// Error of the system or of the store.
        #[source]
        cause: io::Error,
    },
    /// An input that cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Path of the input.
        path: PathBuf,
        /// Error of the system.
        #[source]
        cause: io::Error,
    },
    /// A JSON argument or file that cannot be parsed.
    #[error("{what} is not valid JSON ({})", json_place(cause))]
    Json {
        /// File, or flag, that contains it.
        what: String,
        /// Position of the error. Not a `source`, because its text is the parser's and may quote values.
        cause: serde_json::Error,
    },
    /// A local service that cannot be started.
    #[cfg(feature = "serve")]
    #[error("cannot start the local service")]
    Service(#[source] crate::service::Error),
    /// An export or import of the local service's state. Its message is complete by itself.
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Moved(crate::service::ArchiveError),
    /// Ctrl-C, SIGTERM or SIGHUP.
    #[error("interrupted")]
    Interrupted,
    /// A bug in drawoff, or a system that refuses threads or signals.
    #[error("internal error: {0}")]
    Bug(String),
    /// An error of a plan.
    #[error(transparent)]
    Scale(#[from] ScaleError),
    /// Runs of parts of an input failed, and so nothing was written.
    #[error("{text}")]
    Parts {
        /// Parts and consequence.
        text: String,
        /// Exit code of the first failed run.
        exit: Exit,
    },
}

fn json_place(cause: &serde_json::Error) -> String {
    if cause.is_eof() {
        "unexpected end".to_owned()
    } else {
        format!("line {}, column {}", cause.line(), cause.column())
    }
}
