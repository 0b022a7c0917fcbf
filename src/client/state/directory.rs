//! The state directory itself: creates it, and opens the start records and the ledgers in it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::StateError;
use super::ledger::{self, Ledger, OpenLedger};
use super::parts::{self, OpenParts, PartsIdentity, RecordedParts};
use super::prune::{self, Pruned};
use super::start::{self, EarlierFormStart, OpenStart, RecordedStart, StartIdentity};
use super::workflow::OpenWorkflow;
use crate::api::RunId;

/// A state directory that exists and is writable.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Opens the directory at `root`, created if it does not exist. Fails if no file can be created in it.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        for directory in ["starts", "runs", "workflows", "parts"].map(|name| root.join(name)) {
            // A read-only directory must fail now, not after the run was started and paid for.
            let writable = create_directory(&directory).and_then(|()| tempfile::tempfile_in(&directory).map(drop));
            writable.map_err(|cause| StateError::Unusable { path: directory, cause })?;
        }
        Ok(StateDir { root: root.to_owned() })
    }

    /// Returns the path of the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens the record of starts with this identity, locked until it is dropped.
    pub fn start(&self, identity: &StartIdentity) -> Result<OpenStart, StateError> {
        OpenStart::open(&self.root.join("starts"), identity)
    }

    /// Reads the last start with this identity without locking it; `None` if there is none.
    pub fn peek_start(&self, identity: &StartIdentity) -> Result<Option<RecordedStart>, StateError> {
        start::peek(&self.root.join("starts"), identity)
    }

    /// Opens the record of an input's parts, locked until it is dropped. `anew` begins other ones, except under a name
    /// that the caller chose.
    pub fn parts(&self, identity: &PartsIdentity, anew: bool) -> Result<OpenParts, StateError> {
        OpenParts::open(&self.root.join("parts"), identity, anew)
    }

    /// Reads the parts of an input without locking them; `None` if none are begun.
    pub fn peek_parts(&self, identity: &PartsIdentity) -> Result<Option<RecordedParts>, StateError> {
        parts::peek(&self.root.join("parts"), identity)
    }

    /// Reads the starts that earlier versions recorded under another form of identity.
    pub fn earlier_form_starts(&self) -> Result<Vec<EarlierFormStart>, StateError> {
        start::earlier_form(&self.root.join("starts"))
    }

    /// Opens the record of the workflow that was created at `endpoint` from the definition with this name and digest,
    /// locked until it is dropped.
    pub fn workflow(&self, endpoint: &str, name: &str, definition: &str) -> Result<OpenWorkflow, StateError> {
        OpenWorkflow::open(&self.root.join("workflows"), endpoint, name, definition)
    }

    /// Opens the ledger of a run at `endpoint`, locked until it is dropped; an empty one if there is none.
    pub fn ledger(&self, endpoint: &str, run: &RunId) -> Result<OpenLedger, StateError> {
        self.ledger_of_runs(endpoint, std::slice::from_ref(run))
    }

    /// Opens the ledger of the results of `runs` as one sequence of records, in which their order counts; that of the run
    /// if there is only one. Locked until it is dropped; an empty one if there is none.
    pub fn ledger_of_runs(&self, endpoint: &str, runs: &[RunId]) -> Result<OpenLedger, StateError> {
        OpenLedger::open(&self.root.join("runs"), endpoint, runs)
    }

    /// Reads the ledger of a run without locking it; `None` if there is none.
    pub fn peek(&self, endpoint: &str, run: &RunId) -> Result<Option<Ledger>, StateError> {
        ledger::peek(&self.root.join("runs"), endpoint, run)
    }

    /// Reads all ledgers, the most recently changed first. Errors of unreadable ones are at the end.
    pub fn ledgers(&self) -> Result<Vec<Result<Ledger, StateError>>, StateError> {
        ledger::all(&self.root.join("runs"))
    }

    /// Removes the ledgers whose outputs were all written more than `age` ago, and the starts of their runs, except those
    /// with a name of the caller's. Under `dry_run` they are counted and stay.
    pub fn prune(&self, age: Duration, dry_run: bool) -> Result<Pruned, StateError> {
        prune::prune(&self.root.join("runs"), &self.root.join("starts"), age, dry_run)
    }
}

#[cfg(unix)]
fn create_directory(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    // Only for the user: the names of files and workflows are private.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(not(unix))]
fn create_directory(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)
}
