//! The errors of the state directory.

use std::io;
use std::path::PathBuf;

/// A file of state that cannot be read, written or locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A system call on a file or directory of the state failed.
    #[error("cannot keep state in {path}")]
    Unusable {
        /// Path of the file or directory.
        path: PathBuf,
        /// The cause, of the system.
        #[source]
        cause: io::Error,
    },
    /// A file is not a valid document of its version.
    #[error("{path} is damaged: {text}")]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// The error of the parser, or the missing version.
        text: String,
    },
    /// A file of a version that this build does not support.
    #[error("{path} was written by a newer drawoff: its version is {found}, the newest supported version is {known}")]
    Newer {
        /// Path of the file.
        path: PathBuf,
        /// Version of the file.
        found: u64,
        /// Newest supported version.
        known: u64,
    },
    /// Another process holds the lock.
    #[error("{resource} is locked by another drawoff process{}", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Busy {
        /// The locked resource, such as `run 5f0c`.
        resource: String,
        /// Id of the other process; `None` if it has not written it to the lock file yet.
        pid: Option<u32>,
    },
}
