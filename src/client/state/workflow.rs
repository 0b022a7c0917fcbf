//! The record of the workflow that was created from one definition, so that a repeated command uses it again.
//!
//! The API may rewrite the graph that it stores, such as by filling in defaults. So a workflow is recognized by its
//! recorded id and by the graph that the API returned for it before, not by comparison with what was sent.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::document;
use super::error::StateError;
use super::lock::Lock;
use super::stamp::now;
use crate::api::WorkflowId;
use crate::client::digest::{digest_of, file_stem};

/// The workflow of one definition at one endpoint, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedWorkflow {
    /// Id of the workflow, chosen by this client before the creation.
    pub id: WorkflowId,
    /// Digest of the graph as the API returned it last. `None` if no response to the creation was received: it is
    /// unknown whether the workflow exists.
    pub stored_graph: Option<String>,
    /// Time of the record; ISO 8601.
    pub at: String,
}

impl RecordedWorkflow {
    /// Creates a record of the current time.
    pub fn new(id: WorkflowId, stored_graph: Option<String>) -> Self {
        RecordedWorkflow { id, stored_graph, at: now() }
    }
}

/// The locked record of one definition, possibly empty.
#[derive(Debug)]
pub struct OpenWorkflow {
    path: PathBuf,
    /// The last record. A damaged one counts as none: it only saves a comparison of graphs.
    pub previous: Option<RecordedWorkflow>,
    _lock: Lock,
}

impl OpenWorkflow {
    pub(super) fn open(directory: &Path, endpoint: &str, name: &str, definition: &str) -> Result<Self, StateError> {
        let path = directory.join(file_stem(name, &[&digest_of(&[endpoint, definition])]) + ".json");
        let lock = Lock::take(&path.with_extension("lock"), &format!("workflow {name}"))?;
        let previous = match document::read(&path) {
            Err(StateError::Damaged { .. }) => None,
            found => found?,
        };
        Ok(OpenWorkflow { path, previous, _lock: lock })
    }

    /// Stores `workflow`; it is durable on return.
    pub fn save(&self, workflow: &RecordedWorkflow) -> Result<(), StateError> {
        document::write(&self.path, workflow)
    }
}
