//! The record of the last start with one identity. By it a repeated command continues the same run, in place of
//! starting and paying for another.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::document;
use super::error::StateError;
use super::lock::Lock;
use super::stamp::{age_of, now};
use crate::api::{Graph, HandleId, RunId, WorkflowId};
use crate::client::digest::{digest_of, file_stem};
use crate::client::{IdempotencyKey, graph_digest};

/// The identity of a start, by its digest. Two starts with the same identity are the same start, repeated.
#[derive(Clone, Debug)]
pub struct StartIdentity {
    workflow: WorkflowId,
    name: String,
    digest: String,
}

impl StartIdentity {
    /// Creates the identity of a start of `workflow` at `endpoint`: its id and graph, the input file (digest, and
    /// extension, from which the API infers the format), and the rows of a payload. Result formats are not part of it:
    /// they change what can be downloaded, not the work that is paid for.
    pub fn new(
        endpoint: &str,
        (workflow, name, graph): (&WorkflowId, &str, &Graph),
        input: Option<(&str, &str)>,
        payload: Option<&str>,
    ) -> Self {
        let graph = graph_digest(graph);
        let (input, extension) = input.unwrap_or(("none", ""));
        let payload = payload.map_or_else(|| "none".to_owned(), |payload| digest_of(&[payload]));
        let digest = digest_of(&[endpoint, &workflow.0, &graph, input, extension, &payload]);
        StartIdentity { workflow: workflow.clone(), name: name.to_owned(), digest }
    }

    /// Returns the digest in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// The last start with one identity, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedStart {
    /// Id of the started workflow.
    pub workflow: WorkflowId,
    /// Name of the workflow at the time of the start.
    pub workflow_name: String,
    /// Digest of the [`StartIdentity`].
    #[serde(rename = "meaning")]
    pub identity: String,
    /// Idempotency key, carried by every repetition of the request.
    pub key: IdempotencyKey,
    /// Handle of the uploaded input, used again by a repetition; `None` without an input file.
    pub input: Option<HandleId>,
    /// Time of the first request; ISO 8601.
    pub asked_at: String,
    /// Id of the run that was started. `None` if no response was received: it is unknown whether the run exists.
    pub run: Option<RunId>,
}

impl RecordedStart {
    /// Creates the record of a new start, with a new idempotency key and without a run.
    pub fn new(identity: &StartIdentity, input: Option<HandleId>) -> Self {
        RecordedStart {
            workflow: identity.workflow.clone(),
            workflow_name: identity.name.clone(),
            identity: identity.digest.clone(),
            key: IdempotencyKey::fresh(&identity.digest),
            input,
            asked_at: now(),
            run: None,
        }
    }

    /// Returns the time since the first request; [`Duration::MAX`] if its time stamp is invalid.
    pub fn age(&self) -> Duration {
        age_of(&self.asked_at).unwrap_or(Duration::MAX)
    }
}

/// The locked record of one start identity, possibly empty.
#[derive(Debug)]
pub struct OpenStart {
    path: PathBuf,
    previous: Result<Option<RecordedStart>, StateError>,
    _lock: Lock,
}

impl OpenStart {
    pub(super) fn open(directory: &Path, identity: &StartIdentity) -> Result<Self, StateError> {
        let path = directory.join(file_stem(&identity.name, &[&identity.digest]) + ".json");
        let resource = format!("the start of workflow {} with this input", identity.name);
        // Read under the lock, so that no other process starts the same run in between.
        let lock = Lock::take(&path.with_extension("lock"), &resource)?;
        Ok(OpenStart { previous: document::read(&path), path, _lock: lock })
    }

    /// Takes the last start with this identity; `None` if there was none. An unreadable record is an error, because it
    /// may be of a run that exists and is paid for. Later calls return `None`.
    pub fn previous(&mut self) -> Result<Option<RecordedStart>, StateError> {
        std::mem::replace(&mut self.previous, Ok(None))
    }

    /// Stores `start`; it is durable on return.
    pub fn save(&self, start: &RecordedStart) -> Result<(), StateError> {
        document::write(&self.path, start)
    }

    /// Removes the record, after the API rejected the start: there is no run.
    pub fn forget(&self) -> Result<(), StateError> {
        match std::fs::remove_file(&self.path) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                Err(StateError::Unusable { path: self.path.clone(), cause })
            }
            _ => Ok(()),
        }
    }
}
