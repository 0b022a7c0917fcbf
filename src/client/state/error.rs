//! The ways in which state cannot be kept or read.

use std::io;
use std::path::PathBuf;

/// Why state cannot be kept or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The system refuses.
    #[error("cannot keep state in {path}")]
    Unusable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file is not what it was when it was written.
    #[error("{path} is damaged: {text}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        text: String,
    },
    /// A file of a version that this one does not know.
    #[error("{path} was written by a newer drawoff: it has version {found}, and this one knows version {known}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest that is known here.
        known: u64,
    },
    /// Another process holds the lock.
    #[error("{what} is in the hands of another drawoff{}", pid.map(|pid| format!(", process {pid}")).unwrap_or_default())]
    Busy {
        /// What both want.
        what: String,
        /// The other process, if it has said so yet.
        pid: Option<u32>,
    },
}
