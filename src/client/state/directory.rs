//! The state directory: opened or made, and asked for the slots of starts and the ledgers of runs.

use std::io;
use std::path::{Path, PathBuf};

use super::error::StateError;
use super::ledger::{self, Ledger, OpenLedger};
use super::start::{OpenStart, StartIdentity};
use crate::api::RunId;

/// The state directory.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens `root`, or makes it, and makes sure that it can be written.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        for folder in [root.join("starts"), root.join("runs")] {
            let writable = create_directory(&folder).and_then(|()| tempfile::tempfile_in(&folder).map(drop));
            writable.map_err(|cause| StateError::Unusable { path: folder, cause })?;
        }
        Ok(StateDir { root: root.to_owned() })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The slot for starts of this meaning, locked until it is dropped.
    pub fn start(&self, meaning: &StartIdentity) -> Result<OpenStart, StateError> {
        OpenStart::open(&self.root.join("starts"), meaning)
    }

    /// The ledger of a run at `endpoint`, locked until it is dropped; a new one if there is none.
    pub fn ledger(&self, endpoint: &str, run: &RunId) -> Result<OpenLedger, StateError> {
        OpenLedger::open(&self.root.join("runs"), endpoint, run)
    }

    /// The ledger of a run as it stands, without its lock; `None` if there is none.
    pub fn peek(&self, endpoint: &str, run: &RunId) -> Result<Option<Ledger>, StateError> {
        ledger::peek(&self.root.join("runs"), endpoint, run)
    }

    /// All ledgers, the last changed first. One that cannot be read is its error, at the end.
    pub fn ledgers(&self) -> Result<Vec<Result<Ledger, StateError>>, StateError> {
        ledger::all(&self.root.join("runs"))
    }
}

#[cfg(unix)]
fn create_directory(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    // Names of files and workflows are private.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)
}
